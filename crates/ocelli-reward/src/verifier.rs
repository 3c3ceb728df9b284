//! Verifiers: pure functions of a recorded episode to a verdict.
//!
//! The enum and its `match` are the registry. A wrong answer and an answer that cannot be read both score 0, the second
//! with its reason; a row that the verifier cannot judge is an error and never a 0.

use ocelli_core::{BoundingBox, Episode, Progress, Schedule, Target, Task, Verdict, VerifierError};
use serde::{Deserialize, Serialize};

use crate::math::{self, MathFailure, Options};
use crate::measure::similarity::anls;
use crate::payload::{ParseFailure, parse_box, parse_letter, parse_number, parse_text};
use crate::tags::{sections, tag_credit};

/// A check of the text of the policy's last turn against the task's target. The fields are the keys that a recipe's node
/// takes beside those that all nodes have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verifier", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verifier {
    /// Intersection over union of the answered box and the target box, in `[0, 1]`; with a threshold, 1 from it on and
    /// 0 below. Both boxes are taken to be in the same units. Areas are continuous; VLM-R1's function takes one pixel
    /// off and adds it again, which comes to the same, but gives 0 when the overlap is at most one pixel wide or high.
    /// A box whose corners are out of order scores 0.
    BoxIou {
        #[serde(default)]
        threshold: Option<Schedule>,
        #[serde(default)]
        answer_in: AnswerIn,
    },
    /// 1 when the turn is well formed (see [`crate::Sections::well_formed`]), else 0; or [`tag_credit`] when `partial`.
    Tags {
        #[serde(default)]
        partial: bool,
    },
    /// 1 when answer and target text are equal after [`parse_text`], else 0.
    Exact {
        #[serde(default)]
        answer_in: AnswerIn,
    },
    /// 1 when `|answer − target| ≤ tolerance · |target|`, both read by [`parse_number`], else 0. A target of 0 asks for
    /// exactly 0.
    Number {
        #[serde(default = "default_tolerance")]
        tolerance: f64,
        #[serde(default)]
        answer_in: AnswerIn,
    },
    /// 1 when the final answer is the target as mathematics ([`crate::math::score`] with its default options), else 0.
    Math {
        #[serde(default)]
        answer_in: AnswerIn,
    },
    /// 1 when answer and target choose the same letter ([`parse_letter`]), else 0. The options are not known to it, so
    /// an answer must name the letter.
    Letter {
        #[serde(default)]
        answer_in: AnswerIn,
    },
    /// Average normalised Levenshtein similarity of answer and target ([`anls`]), in `[0, 1]`.
    Anls {
        /// Normalised distance from which on the score is 0.
        #[serde(default = "default_anls_threshold")]
        threshold: f64,
        #[serde(default)]
        answer_in: AnswerIn,
    },
}

fn default_tolerance() -> f64 {
    Verifier::DEFAULT_TOLERANCE
}

/// The benchmark's (Biten and others, 2019).
fn default_anls_threshold() -> f64 {
    0.5
}

/// Where in a turn the answer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerIn {
    /// Inside the first `<answer>…</answer>`.
    #[default]
    Answer,
    /// Anywhere in the turn.
    Text,
}

/// Why there is no plain score.
enum Refusal {
    /// The answer cannot be read, for this reason.
    Unparsed(String),
    Unjudgeable(VerifierError),
}

impl From<ParseFailure> for Refusal {
    fn from(failure: ParseFailure) -> Self {
        Self::Unparsed(failure.to_string())
    }
}

impl Verifier {
    /// Relative tolerance of `number` when none is given: room for rounding in the last digits, and no more.
    pub const DEFAULT_TOLERANCE: f64 = 1e-9;

    /// The names that recipes use, in the order of the documentation.
    pub const NAMES: [&'static str; 7] = [
        "box_iou", "tags", "exact", "number", "math", "letter", "anls",
    ];

    /// The name that recipes use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BoxIou { .. } => "box_iou",
            Self::Tags { .. } => "tags",
            Self::Exact { .. } => "exact",
            Self::Number { .. } => "number",
            Self::Math { .. } => "math",
            Self::Letter { .. } => "letter",
            Self::Anls { .. } => "anls",
        }
    }

    /// Whether a row can be such that it has no score.
    pub(crate) fn can_fail(&self) -> bool {
        !matches!(self, Self::Tags { .. })
    }

    /// What is wrong with its settings, in words that say how to mend them.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::BoxIou {
                threshold: Some(threshold),
                ..
            } => {
                let in_threshold = |problem| format!("`threshold`: {problem}");
                threshold.check().map_err(in_threshold)?;
                let outside = |value: &f64| !(*value > 0.0 && *value <= 1.0);
                match threshold.values().into_iter().find(outside) {
                    Some(value) => Err(format!(
                        "`threshold = {value}` is not allowed; it takes a number in (0, 1]"
                    )),
                    None => Ok(()),
                }
            }
            Self::Number { tolerance, .. } if !(*tolerance >= 0.0 && tolerance.is_finite()) => {
                Err(format!(
                    "`tolerance = {tolerance}` is not allowed; it takes a finite number from 0 on"
                ))
            }
            Self::Anls { threshold, .. } if !(*threshold > 0.0 && *threshold <= 1.0) => Err(
                format!("`threshold = {threshold}` is not allowed; it takes a number in (0, 1]"),
            ),
            _ => Ok(()),
        }
    }

    /// Judges `episode` by the text of its last decision.
    ///
    /// An answer that cannot be read gives [`Verdict::unparsed`]; a row without a target of the wanted kind gives
    /// [`Verdict::Error`] with the task's id.
    pub fn verify(&self, episode: &Episode, progress: Progress) -> Verdict {
        match self.judge(&episode.task, episode.answer_text(), progress) {
            Ok(value) => Verdict::score(value),
            Err(Refusal::Unparsed(reason)) => Verdict::unparsed(reason),
            Err(Refusal::Unjudgeable(error)) => Verdict::Error(error),
        }
    }

    /// Targets are read before answers: a row that cannot be judged is an error whatever the policy has said.
    fn judge(&self, task: &Task, text: &str, progress: Progress) -> Result<f64, Refusal> {
        match self {
            Self::BoxIou {
                threshold,
                answer_in,
            } => {
                let target = self.box_target(task)?;
                let iou = parse_box(answer(text, *answer_in)?)?.iou(&target);
                let threshold = threshold.as_ref().map(|rule| rule.at(progress));
                Ok(threshold.map_or(iou, |least| one_if(iou >= least)))
            }
            Self::Tags { partial: false } => Ok(one_if(sections(text).well_formed)),
            Self::Tags { partial: true } => Ok(tag_credit(text)),
            Self::Exact { answer_in } => {
                let target = self.text_target(task, parse_text)?;
                Ok(one_if(parse_text(answer(text, *answer_in)?)? == target))
            }
            Self::Number {
                tolerance,
                answer_in,
            } => {
                let target = self.text_target(task, parse_number)?;
                let found = parse_number(answer(text, *answer_in)?)?;
                Ok(one_if((found - target).abs() <= tolerance * target.abs()))
            }
            Self::Math { answer_in } => {
                let target = self.text_target(task, |target| Ok(target.to_owned()))?;
                let found = math::score(answer(text, *answer_in)?, &target, &Options::default());
                match found {
                    Ok(right) => Ok(one_if(right)),
                    Err(failure @ MathFailure::NoGold) => {
                        Err(self.unjudgeable(task, &failure.to_string(), "mend the row"))
                    }
                    Err(failure) => Err(Refusal::Unparsed(failure.to_string())),
                }
            }
            Self::Letter { answer_in } => {
                let target = self.text_target(task, |target| parse_letter(target, &[]))?;
                Ok(one_if(
                    parse_letter(answer(text, *answer_in)?, &[])? == target,
                ))
            }
            Self::Anls {
                threshold,
                answer_in,
            } => {
                let target = self.text_target(task, |target| Ok(target.to_owned()))?;
                anls(answer(text, *answer_in)?, &[&target], *threshold)
                    .map_err(|error| Refusal::Unparsed(error.to_string()))
            }
        }
    }

    fn box_target(&self, task: &Task) -> Result<BoundingBox, Refusal> {
        match &task.target {
            Some(Target::Box(target)) if target.is_valid() && target.area() > 0.0 => Ok(*target),
            Some(Target::Box(target)) => Err(self.unjudgeable(
                task,
                &format!("the row's box {:?} has no area", <[f64; 4]>::from(*target)),
                "write it as [x1, y1, x2, y2] with x1 < x2 and y1 < y2",
            )),
            other => Err(self.wrong_target(task, "box", other.as_ref())),
        }
    }

    fn text_target<T>(
        &self,
        task: &Task,
        read: impl Fn(&str) -> Result<T, ParseFailure>,
    ) -> Result<T, Refusal> {
        match &task.target {
            Some(Target::Text(target)) => read(target).map_err(|failure| {
                let what = format!("the row's text {target:?} cannot be read: {failure}");
                self.unjudgeable(task, &what, "mend the row")
            }),
            other => Err(self.wrong_target(task, "text", other.as_ref())),
        }
    }

    fn wrong_target(&self, task: &Task, wanted: &str, found: Option<&Target>) -> Refusal {
        let found = match found {
            None => "the row has no target".to_owned(),
            Some(Target::Text(_)) => "the row's target is a text".to_owned(),
            Some(Target::Box(_)) => "the row's target is a box".to_owned(),
        };
        let mend = format!("give the row a {wanted}, or keep such rows from this node with `when`");
        self.unjudgeable(task, &found, &mend)
    }

    fn unjudgeable(&self, task: &Task, what: &str, mend: &str) -> Refusal {
        Refusal::Unjudgeable(VerifierError {
            message: format!(
                "task `{}`: `{}` cannot judge it, {what}; {mend}",
                task.id,
                self.name()
            ),
            retryable: false,
        })
    }
}

fn answer(text: &str, answer_in: AnswerIn) -> Result<&str, ParseFailure> {
    match answer_in {
        AnswerIn::Text => Ok(text),
        AnswerIn::Answer => sections(text).answer.ok_or(ParseFailure::NoAnswer),
    }
}

fn one_if(right: bool) -> f64 {
    f64::from(u8::from(right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{box_target, episode, text_target};

    const IN_ANSWER: AnswerIn = AnswerIn::Answer;
    const START: Progress = Progress {
        step: 0,
        max_steps: 10,
    };

    fn box_iou(threshold: Option<f64>) -> Verifier {
        Verifier::BoxIou {
            threshold: threshold.map(Schedule::Constant),
            answer_in: IN_ANSWER,
        }
    }

    fn number(tolerance: f64) -> Verifier {
        Verifier::Number {
            tolerance,
            answer_in: IN_ANSWER,
        }
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
        let verifier = Verifier::BoxIou {
            threshold: None,
            answer_in: AnswerIn::Text,
        };
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
                let verdict = Verifier::Tags { partial }.verify(&episode, START);
                assert_eq!(verdict, Verdict::score(value), "{text}");
            }
        }
    }

    #[test]
    fn exact_takes_letter_case_and_white_space_as_equal() {
        let verifier = Verifier::Exact {
            answer_in: IN_ANSWER,
        };
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
            let verdict =
                number(tolerance).verify(&episode(Some(text_target(target)), &text), START);
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
        let exact = Verifier::Exact {
            answer_in: IN_ANSWER,
        };
        for (verifier, target, message) in [
            (
                box_iou(None),
                None,
                "the row has no target; give the row a box",
            ),
            (
                box_iou(None),
                Some(text_target("a")),
                "the row's target is a text; give the row a box",
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

    #[test]
    fn every_name_is_a_verifier_of_that_name() {
        for name in Verifier::NAMES {
            let verifier: Verifier =
                serde_json::from_value(serde_json::json!({ "verifier": name })).unwrap();
            assert_eq!(verifier.name(), name);
            verifier.check().unwrap();
        }
    }
}
