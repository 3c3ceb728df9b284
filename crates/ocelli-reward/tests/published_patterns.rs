//! Our tags and boxes against the published patterns (VLM-R1, TRL, V-Triune), on texts judged by Python's `re`.
//!
//! They agree on every text but those listed here, where we differ on purpose.

use ocelli_reward::{parse_box, sections, tag_credit};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    text: String,
    format: bool,
    think: Option<String>,
    answer: Option<String>,
    #[serde(rename = "box")]
    corners: Option<[f64; 4]>,
    think_format: bool,
    tag_credit: f64,
}

/// We allow white space around the turn.
const LOOSER_FORMAT: [&str; 3] = ["space before", "line break after", "space around"];

/// We want each tag once.
const STRICTER_FORMAT: [&str; 10] = [
    "two thinks",
    "nested think",
    "think opened twice",
    "think mentioned",
    "two answers",
    "nested answer",
    "answer opened twice",
    "answer closed twice",
    "answer mentioned in think",
    "whole turn twice",
];

/// We read fractions, signs, free white space and pairs of points, and refuse coordinates beyond any picture.
const OTHER_BOX: [(&str, Option<[f64; 4]>); 6] = [
    ("box of fractions", Some([1.5, 2.0, 3.25, 4.0])),
    ("box with a negative", Some([-1.0, 2.0, 3.0, 4.0])),
    ("box with inner blanks", Some([1.0, 2.0, 3.0, 4.0])),
    ("box of points", Some([1.0, 2.0, 3.0, 4.0])),
    ("fractions before whole numbers", Some([0.1, 0.2, 0.3, 0.4])),
    ("box beyond any picture", None),
];

fn rows() -> Vec<Row> {
    let golden: Golden = serde_json::from_str(include_str!("golden/rewards.json"))
        .expect("make_rewards.py writes what Row reads");
    assert!(golden.rows.len() >= 60);
    golden.rows
}

#[test]
fn the_form_is_that_of_vlm_r1_but_for_the_listed_texts() {
    for row in rows() {
        let name = row.name.as_str();
        let ours = sections(&row.text).well_formed;
        if LOOSER_FORMAT.contains(&name) {
            assert!(ours && !row.format, "{name}");
        } else if STRICTER_FORMAT.contains(&name) {
            assert!(!ours && row.format, "{name}");
        } else {
            assert_eq!(ours, row.format, "{name}");
        }
    }
}

#[test]
fn sections_are_those_of_the_search_patterns() {
    for row in rows() {
        let ours = sections(&row.text);
        assert_eq!(ours.think, row.think.as_deref(), "{}", row.name);
        assert_eq!(ours.answer, row.answer.as_deref(), "{}", row.name);
    }
}

/// TRL asks for one think section at the very start and lets anything follow, so our form implies it.
#[test]
fn a_well_formed_turn_also_has_the_think_format_of_trl() {
    for row in rows() {
        if sections(row.text.trim_start()).well_formed && !row.text.starts_with(char::is_whitespace)
        {
            assert!(row.think_format, "{}", row.name);
        }
    }
}

#[test]
fn partial_credit_is_that_of_v_triune() {
    for row in rows() {
        assert_eq!(tag_credit(&row.text), row.tag_credit, "{}", row.name);
    }
}

#[test]
fn the_box_is_that_of_vlm_r1_but_for_the_listed_texts() {
    for row in rows() {
        let ours = sections(&row.text)
            .answer
            .and_then(|answer| parse_box(answer).ok())
            .map(<[f64; 4]>::from);
        match OTHER_BOX.iter().find(|(name, _)| *name == row.name) {
            Some((name, wanted)) => {
                assert_eq!(ours, *wanted, "{name}");
                assert_ne!(ours, row.corners, "{name}");
            }
            None => assert_eq!(ours, row.corners, "{}", row.name),
        }
    }
}
