//! What holds for several verifiers.

mod page;

use ocelli_core::{FailureKind, Frame, FrameSizes, Target};
use serde_json::json;

use super::*;
use crate::fixtures::{box_target, episode, text_target};

const START: Progress = Progress {
    step: 0,
    max_steps: 10,
};

/// The verifier of these keys, checked.
pub(super) fn verifier(rule: Value) -> Verifier {
    let verifier: Verifier = serde_json::from_value(rule).unwrap();
    verifier.check().unwrap();
    verifier
}

/// Why these keys are refused.
pub(super) fn refused(rule: Value) -> String {
    match serde_json::from_value::<Verifier>(rule.clone()) {
        Err(error) => error.to_string(),
        Ok(verifier) => verifier.check().expect_err(&format!("{rule} is taken")),
    }
}

/// What the rule says of an answer to a text target.
pub(super) fn verdict(rule: &Value, target: &str, answer: &str) -> Verdict {
    let text = format!("<answer>{answer}</answer>");
    let episode = episode(Some(text_target(target)), &text);
    verifier(rule.clone()).verify(&episode, START)
}

/// Checks the scores of answers to one text target.
#[track_caller]
pub(super) fn scores(rule: Value, target: &str, answers: &[(&str, f64)]) {
    for (answer, wanted) in answers {
        match verdict(&rule, target, answer) {
            Verdict::Score {
                value,
                parse_failure: None,
            } if (value - wanted).abs() < 1e-9 => {}
            other => panic!("{rule}: {answer} for {target} gives {other:?}, not {wanted}"),
        }
    }
}

/// Checks that the answer is not read, for a reason that holds these words.
#[track_caller]
pub(super) fn unread(rule: Value, target: &str, answer: &str, reason: &str) {
    match verdict(&rule, target, answer) {
        Verdict::Score {
            value: 0.0,
            parse_failure: Some(found),
        } if found.contains(reason) => {}
        other => panic!("{rule}: {answer} for {target} gives {other:?}"),
    }
}

/// Checks that a row with this target cannot be judged, whatever the answer, and that no target is an error too.
#[track_caller]
pub(super) fn bad_target(rule: Value, target: &str, message: &str) {
    match verdict(&rule, target, "no answer") {
        Verdict::Error(error) => {
            assert_eq!(error.kind, FailureKind::TargetUnreadable, "{error:?}");
            assert!(error.message.contains(message), "{}", error.message);
            assert!(error.message.contains("row-1"), "{}", error.message);
        }
        other => panic!("{rule}: the target {target} gives {other:?}"),
    }
    match verifier(rule).verify(&episode(None, ""), START) {
        Verdict::Error(error) => assert_eq!(error.kind, FailureKind::TargetMissing),
        other => panic!("no target gives {other:?}"),
    }
}

fn box_iou(threshold: Option<f64>) -> Verifier {
    match threshold {
        Some(threshold) => verifier(json!({"verifier": "box_iou", "threshold": threshold})),
        None => verifier(json!({"verifier": "box_iou"})),
    }
}

fn number(tolerance: f64) -> Verifier {
    verifier(json!({"verifier": "number", "tolerance": tolerance}))
}

#[test]
fn box_iou_of_worked_examples() {
    let target = box_target([0.0, 0.0, 10.0, 10.0]);
    for (text, iou) in [
        ("<answer>[0, 0, 10, 10]</answer>", 1.0),
        ("<answer>[5, 0, 15, 10]</answer>", 50.0 / 150.0),
        ("<answer>(5,5),(15,15)</answer>", 25.0 / 175.0),
        ("[9, 9, 9, 9] <answer>[0, 0, 10, 5]</answer>", 0.5),
        ("<answer>[20, 20, 30, 30]</answer>", 0.0),
        ("<answer>[10, 10, 0, 0]</answer>", 0.0),
    ] {
        let verdict = box_iou(None).verify(&episode(Some(target.clone()), text), START);
        let value = verdict.value().unwrap();
        assert!((value - iou).abs() < 1e-12, "{text}: {value}");
        assert_eq!(verdict, Verdict::score(value));
    }
}

#[test]
fn a_threshold_makes_it_all_or_nothing() {
    let target = Some(box_target([0.0, 0.0, 10.0, 10.0]));
    for (text, value) in [
        ("<answer>[0, 0, 10, 5]</answer>", 1.0),
        ("<answer>[0, 0, 10, 4.9]</answer>", 0.0),
    ] {
        let episode = episode(target.clone(), text);
        assert_eq!(
            box_iou(Some(0.5)).verify(&episode, START),
            Verdict::score(value)
        );
    }
}

#[test]
fn the_whole_turn_may_be_the_answer() {
    let verifier = verifier(json!({"verifier": "box_iou", "answer_in": "text"}));
    let bare = episode(Some(box_target([0.0, 0.0, 2.0, 2.0])), "it is [0, 0, 2, 2]");
    assert_eq!(verifier.verify(&bare, START), Verdict::score(1.0));
    assert_eq!(
        box_iou(None).verify(&bare, START),
        Verdict::unparsed("no <answer>…</answer> section")
    );
}

#[test]
fn tags_judge_the_form_alone() {
    for (text, whole, part) in [
        ("<think>a</think> <answer>b</answer>", 1.0, 1.0),
        ("<answer>b</answer>", 0.0, 0.5),
        ("<answer>b</answer><think>a</think>", 0.0, 1.0),
        ("", 0.0, 0.0),
    ] {
        let episode = episode(None, text);
        for (partial, value) in [(false, whole), (true, part)] {
            let verdict =
                verifier(json!({"verifier": "tags", "partial": partial})).verify(&episode, START);
            assert_eq!(verdict, Verdict::score(value), "{text}");
        }
    }
}

#[test]
fn exact_takes_letter_case_and_white_space_as_equal() {
    let verifier = verifier(json!({"verifier": "exact"}));
    let target = Some(text_target("A red  car"));
    for (text, value) in [
        ("<answer> a RED\ncar </answer>", 1.0),
        ("<answer>a red car.</answer>", 0.0),
        ("<answer>a redcar</answer>", 0.0),
    ] {
        let verdict = verifier.verify(&episode(target.clone(), text), START);
        assert_eq!(verdict, Verdict::score(value), "{text}");
    }
    let empty = verifier.verify(&episode(target, "<answer> </answer>"), START);
    assert_eq!(empty, Verdict::unparsed("the answer is empty"));
}

#[test]
fn number_compares_within_a_share_of_the_target() {
    for (tolerance, target, answer, value) in [
        (1e-9, "1,000", "1000.0 cm", 1.0),
        (1e-9, "0.3", "0.30000000000000004", 1.0),
        (1e-9, "1000", "1000.00001", 0.0),
        (0.05, "200", "210", 1.0),
        (0.05, "200", "210.1", 0.0),
        (0.05, "-200", "-190", 1.0),
        (0.05, "0", "0", 1.0),
        (0.05, "0", "0.001", 0.0),
        (0.0, "7", "7", 1.0),
    ] {
        let text = format!("<answer>{answer}</answer>");
        let verdict = number(tolerance).verify(&episode(Some(text_target(target)), &text), START);
        assert_eq!(verdict, Verdict::score(value), "{answer} for {target}");
    }
    let hedged = episode(Some(text_target("3")), "<answer>3 or 4</answer>");
    assert!(matches!(
        number(0.0).verify(&hedged, START),
        Verdict::Score { value: 0.0, parse_failure: Some(reason) } if reason.contains("digits follow")
    ));
}

#[test]
fn a_row_that_cannot_be_judged_is_an_error_and_names_the_task() {
    let exact = verifier(json!({"verifier": "exact"}));
    for (verifier, target, message) in [
        (
            box_iou(None),
            None,
            "the row has no target; give the row a box",
        ),
        (
            box_iou(None),
            Some(text_target("a")),
            "the row's text \"a\" cannot be read: no box",
        ),
        (
            box_iou(None),
            Some(box_target([0.0, 0.0, 0.0, 5.0])),
            "box [0.0, 0.0, 0.0, 5.0] has no area",
        ),
        (
            box_iou(None),
            Some(box_target([5.0, 0.0, 0.0, 5.0])),
            "has no area",
        ),
        (exact.clone(), None, "give the row a text"),
        (
            exact.clone(),
            Some(box_target([0.0, 0.0, 1.0, 1.0])),
            "the row's target is a box; give the row a text",
        ),
        (exact, Some(text_target(" ")), "the answer is empty"),
        (
            number(0.0),
            Some(text_target("five")),
            "\"five\" cannot be read",
        ),
    ] {
        // An unreadable answer must not hide the row's fault.
        match verifier.verify(&episode(target, "no answer here"), START) {
            Verdict::Error(error) => {
                assert!(
                    error.message.starts_with("task `row-1`: `"),
                    "{}",
                    error.message
                );
                assert!(error.message.contains(message), "{}", error.message);
                assert!(!error.retryable);
            }
            other => panic!("{verifier:?} gave {other:?}"),
        }
    }
}

#[test]
fn an_episode_without_a_decision_is_unparsed() {
    let mut silent = episode(Some(box_target([0.0, 0.0, 1.0, 1.0])), "");
    silent.segments.clear();
    assert_eq!(
        box_iou(None).verify(&silent, START),
        Verdict::unparsed("no <answer>…</answer> section")
    );
}

#[test]
fn texts_are_compared_as_mathematics_as_letters_or_by_their_distance() {
    for (rule, target, answer, wanted) in [
        (
            r#"{"verifier": "math"}"#,
            r"\frac{1}{2}",
            "0.5",
            Verdict::score(1.0),
        ),
        (r#"{"verifier": "math"}"#, "12", "$13$", Verdict::score(0.0)),
        (
            r#"{"verifier": "math"}"#,
            "12",
            "no idea",
            Verdict::unparsed("the text holds no answer"),
        ),
        (
            r#"{"verifier": "letter"}"#,
            "B",
            "(b) a cat",
            Verdict::score(1.0),
        ),
        (r#"{"verifier": "letter"}"#, "B", "C", Verdict::score(0.0)),
        (
            r#"{"verifier": "anls"}"#,
            "hello",
            "Hallo",
            Verdict::score(0.8),
        ),
        (
            r#"{"verifier": "anls"}"#,
            "hello",
            "world",
            Verdict::score(0.0),
        ),
    ] {
        let verifier: Verifier = serde_json::from_str(rule).unwrap();
        let text = format!("<answer>{answer}</answer>");
        let found = verifier.verify(&episode(Some(text_target(target)), &text), START);
        match (&found, &wanted) {
            (Verdict::Score { value: a, .. }, Verdict::Score { value: b, .. }) => {
                assert!((a - b).abs() < 1e-9, "{rule}: {answer}: {found:?}");
            }
            _ => assert_eq!(found, wanted),
        }
    }
    let math: Verifier = serde_json::from_str(r#"{"verifier": "math"}"#).unwrap();
    let empty = math.verify(&episode(Some(text_target("")), "<answer>1</answer>"), START);
    assert!(matches!(empty, Verdict::Error(_)), "{empty:?}");
    for verifier in ["math", "letter", "anls"] {
        let rule = serde_json::json!({ "verifier": verifier });
        let verifier: Verifier = serde_json::from_value(rule).unwrap();
        let boxed = Some(box_target([0.0, 0.0, 1.0, 1.0]));
        let verdict = verifier.verify(&episode(boxed, "<answer>1</answer>"), START);
        assert!(matches!(verdict, Verdict::Error(_)), "{verdict:?}");
    }
}

#[test]
fn a_threshold_may_follow_a_schedule() {
    let rule = r#"{"verifier": "box_iou", "threshold": {"steps": [[0, 0.4], [0.5, 0.9]]}}"#;
    let verifier: Verifier = serde_json::from_str(rule).unwrap();
    let half = episode(
        Some(box_target([0.0, 0.0, 10.0, 10.0])),
        "<answer>[0, 0, 10, 5]</answer>",
    );
    for (step, value) in [(4, 1.0), (5, 0.0)] {
        let at = Progress {
            step,
            max_steps: 10,
        };
        assert_eq!(verifier.verify(&half, at), Verdict::score(value));
    }
}

/// The least keys that each verifier takes.
pub(super) fn least(name: &str) -> Value {
    let more = match name {
        "vision_r1_detection" => json!({"metric": "recall"}),
        "trajectory" => json!({"metric": "vla_r1"}),
        "hit_at" => json!({"most": 3}),
        "readable" => json!({"as": "number"}),
        "soft_overlong" => json!({"max_completion_length": 20, "cache": 5}),
        "driving" => json!({"metric": "ade", "worst": 5}),
        "plan_consistency" => json!({"step_seconds": 0.5}),
        "taxonomy" => json!({"parents": {"eczema": "inflammatory"}}),
        _ => json!({}),
    };
    let mut rule = more;
    rule["verifier"] = name.into();
    rule
}

#[test]
fn every_name_is_a_verifier_of_that_name() {
    for name in Verifier::NAMES {
        assert_eq!(verifier(least(name)).name(), name);
    }
}

#[test]
fn a_key_that_has_no_effect_is_refused() {
    for (rule, message) in [
        (
            json!({"verifier": "tags", "answer_in": "text"}),
            "`answer_in` has no effect",
        ),
        (
            json!({"verifier": "exact", "frame": "unit"}),
            "`frame` has no effect",
        ),
        (
            json!({"verifier": "exact", "answer_in": "text", "section": "answer"}),
            "`section` has no effect",
        ),
        (
            json!({"verifier": "exact", "partial": true}),
            "unknown field `partial`",
        ),
        (
            json!({"verifier": "box_iou", "frame": "pixels"}),
            "unknown variant `pixels`",
        ),
        (
            json!({"verifier": "exact", "answer_in": "think_anser"}),
            "did you mean `think_answer`?",
        ),
        (
            json!({"verifier": "exact", "answer_in": "think_output"}),
            "no section `answer`; set `section` to one of `think`, `output`",
        ),
        (
            json!({"verifier": "exact", "section": "look"}),
            "no section `look`; set `section` to one of `think`, `answer`",
        ),
        (
            json!({"verifier": "tags", "grammar": "whole"}),
            "every turn has the form",
        ),
        (
            json!({"verifier": "box_iou", "overlap": "pixel_iou", "target_frame": "unit"}),
            "has no pixels",
        ),
        (
            json!({"verifier": "gui_g1", "frame": "unit", "target_frame": "unit"}),
            "has no pixels",
        ),
    ] {
        let error = refused(rule.clone());
        assert!(error.contains(message), "{rule}: {error}");
    }
}

#[test]
fn an_answer_may_stand_in_any_section_of_any_grammar() {
    let turn = "<think>a dog</think> <output>a cat</output>";
    let judged = |rule: Value, text: &str| {
        verifier(rule).verify(&episode(Some(text_target("a cat")), text), START)
    };
    for (rule, text, wanted) in [
        (
            json!({"answer_in": "think_output", "section": "output"}),
            turn,
            Verdict::score(1.0),
        ),
        (
            json!({"answer_in": "think_output", "section": "think"}),
            turn,
            Verdict::score(0.0),
        ),
        (
            json!({"section": "think"}),
            "<think>a cat</think>",
            Verdict::score(1.0),
        ),
        (
            json!({"answer_in": "boxed"}),
            r"so \boxed{a cat}.",
            Verdict::score(1.0),
        ),
        (
            json!({"answer_in": {"sections": [{"name": "answer", "marks": {"between": ["<reply>", "</reply>"]}}]}}),
            "<reply>a cat</reply>",
            Verdict::score(1.0),
        ),
        (
            json!({"answer_in": "boxed"}),
            "a cat",
            Verdict::unparsed("section `answer` is missing"),
        ),
    ] {
        let mut rule = rule;
        rule["verifier"] = "exact".into();
        assert_eq!(judged(rule.clone(), text), wanted, "{rule}");
    }
}

#[test]
fn tags_take_any_grammar() {
    for (rule, text, value) in [
        (
            json!({"grammar": "think_look_answer"}),
            "<think>a</think><look>b</look><answer>c</answer>",
            1.0,
        ),
        (
            json!({"grammar": "think_look_answer"}),
            "<think>a</think><answer>c</answer>",
            0.0,
        ),
        (
            json!({"grammar": "think_look_answer", "partial": true}),
            "<think>a</think><answer>c</answer>",
            4.0 / 6.0,
        ),
        (
            json!({"grammar": "v_triune", "partial": true}),
            "<think>\na\n</think>\n<answer>c</answer>",
            0.5,
        ),
    ] {
        let mut rule = rule;
        rule["verifier"] = "tags".into();
        let found = verifier(rule.clone()).verify(&episode(None, text), START);
        assert_eq!(found, Verdict::score(value), "{rule}: {text}");
    }
}

#[test]
fn places_are_taken_into_the_frame_of_the_target() {
    let sizes = FrameSizes::new([640, 480], [336, 252]).unwrap();
    let target = Some(box_target([160.0, 120.0, 320.0, 240.0]));
    let judged = |frame: Frame, corners: &str, pictures: Vec<FrameSizes>| {
        let text = format!("<answer>[{corners}]</answer>");
        let mut episode = episode(target.clone(), &text);
        episode.pictures = pictures;
        verifier(json!({"verifier": "box_iou", "frame": frame})).verify(&episode, START)
    };
    for (frame, corners) in [
        (Frame::SourcePixels, "160, 120, 320, 240"),
        (Frame::ModelPixels, "84, 63, 168, 126"),
        (Frame::PerThousand, "250, 250, 500, 500"),
        (Frame::Unit, "0.25, 0.25, 0.5, 0.5"),
    ] {
        assert_eq!(
            judged(frame, corners, vec![sizes]),
            Verdict::score(1.0),
            "{frame:?}"
        );
    }
    assert_eq!(
        judged(Frame::Unit, "160, 120, 320, 240", vec![sizes]),
        Verdict::unparsed("a coordinate is outside 0 to 1")
    );
    assert_eq!(
        judged(Frame::SourcePixels, "160, 120, 320, 240", Vec::new()),
        Verdict::score(1.0)
    );
    match judged(Frame::PerThousand, "250, 250, 500, 500", Vec::new()) {
        Verdict::Error(error) => {
            assert_eq!(error.kind, FailureKind::FrameUnknown);
            assert!(error.message.contains("`row-1`"), "{}", error.message);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_target_may_be_in_another_frame_too() {
    let judged = |rule: Value, corners: &str| {
        let text = format!("<answer>[{corners}]</answer>");
        let target = Some(box_target([0.25, 0.25, 0.5, 0.5]));
        verifier(rule).verify(&episode(target, &text), START)
    };
    let rule = |frame: &str| json!({"verifier": "box_iou", "frame": frame, "target_frame": "unit"});
    // Neither frame depends on the picture.
    assert_eq!(
        judged(rule("unit"), "0.25, 0.25, 0.5, 0.5"),
        Verdict::score(1.0)
    );
    assert_eq!(
        judged(rule("per_thousand"), "250, 250, 500, 500"),
        Verdict::score(1.0)
    );
    assert_eq!(
        judged(rule("per_thousand"), "250, 250, 500, 1500"),
        Verdict::unparsed("a coordinate is outside 0 to 1000")
    );
    assert!(matches!(
        judged(rule("model_pixels"), "250, 250, 500, 500"),
        Verdict::Error(_)
    ));
}

#[test]
fn targets_are_judged_before_answers() {
    for name in Verifier::NAMES {
        let verifier = verifier(least(name));
        // What it counts is no part of the target.
        if !verifier.can_fail() || name == "soft_overlong" {
            continue;
        }
        match verifier.verify(&episode(None, "no answer"), START) {
            Verdict::Error(error) => {
                assert_eq!(error.kind, FailureKind::TargetMissing, "{name}");
                let start = format!("task `row-1`: `{name}` cannot judge it, ");
                assert!(error.message.starts_with(&start), "{}", error.message);
            }
            other => panic!("{name}: {other:?}"),
        }
        // A text that says nothing of any verifier's kind.
        if let Verdict::Score { parse_failure, .. } =
            verifier.verify(&episode(Some(text_target("A red car")), "?"), START)
        {
            assert!(parse_failure.is_some(), "{name}");
        }
    }
}

#[test]
fn no_answer_makes_a_verifier_panic() {
    let targets: [Target; 4] = [
        box_target([0.0, 0.0, 10.0, 10.0]),
        text_target("[[1, 2], [3, 4], [5, 6]]"),
        text_target(r#"[{"bbox_2d": [1, 2, 30, 40], "label": "cat"}]"#),
        text_target("3"),
    ];
    for name in Verifier::NAMES {
        let verifier = verifier(least(name));
        for target in &targets {
            for answer in [
                "",
                "[]",
                "{}",
                "[[",
                "nan",
                "1e999",
                "-1",
                "[1, 2, 3, 4]",
                "é…",
                "A, B",
                "--",
            ] {
                let text = format!("<think>{answer}</think><answer>{answer}</answer>");
                let verdict = verifier.verify(&episode(Some(target.clone()), &text), START);
                if let Some(value) = verdict.value() {
                    assert!(value.is_finite(), "{name}: {answer}: {value}");
                }
            }
        }
    }
}
