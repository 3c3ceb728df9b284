//! Readers of what stands inside an answer: a letter, a number, boxes, points, times, a route, …
//!
//! Each takes time linear in the text's length and bounded memory, whatever a policy has written. A reader takes the
//! first thing that has the form it looks for and never goes on to a later one because the first has a bad value.
//! Coordinates stay in the units they are written in; [`ocelli_core::FrameSizes`] takes them from frame to frame.

mod boxes;
mod code;
mod cursor;
mod failure;
mod frame_boxes;
mod integers;
mod interval;
mod json;
mod layout;
mod letter;
mod meta_action;
mod number;
mod points;
mod route;
mod segmentation;
mod text;

use std::collections::BTreeSet;

use ocelli_core::BoundingBox;
use serde::{Deserialize, Serialize};

pub use boxes::{BoxList, LabelledBox, parse_box, parse_boxes, parse_centre_box};
pub use code::{Code, parse_code};
pub use failure::ParseFailure;
pub use frame_boxes::{FrameBoxes, parse_frame_boxes};
pub use integers::parse_integers;
pub(crate) use interval::clock_time;
pub use interval::{parse_interval, parse_intervals};
pub use layout::{PlacedObject, parse_layout};
pub use letter::{parse_letter, parse_yes_no};
pub use meta_action::parse_meta_action;
pub use number::{parse_number, parse_percent};
pub use points::{
    LabelledPoint, PointDepth, parse_labelled_points, parse_point_depths, parse_points,
    parse_polygon, parse_trajectory,
};
pub use route::parse_route;
pub use segmentation::{Segmentation, parse_segmentation};
pub use text::{parse_formula, parse_label, parse_label_list, parse_label_set, parse_text};

use crate::measure::consistency::MetaAction;
use crate::measure::intervals::Interval;
use crate::measure::routes::Segment;

/// Most items of one answer: boxes, points, labels, segments. No task has so many, and a policy that writes the same
/// item again and again should not cost memory.
const MAX_ITEMS: usize = 10_000;

/// What an answer is to be read as, by the name that recipes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadKind {
    /// [`parse_letter`] with unknown options.
    Letter,
    /// [`parse_yes_no`].
    YesNo,
    /// [`parse_number`].
    Number,
    /// [`parse_percent`].
    Percent,
    /// [`parse_label`].
    Label,
    /// [`parse_label_set`].
    LabelSet,
    /// [`parse_integers`].
    Integers,
    /// [`parse_box`].
    Box,
    /// [`parse_centre_box`].
    CentreBox,
    /// [`parse_boxes`].
    Boxes,
    /// [`parse_points`].
    Points,
    /// [`parse_labelled_points`].
    LabelledPoints,
    /// [`parse_point_depths`].
    PointDepths,
    /// [`parse_polygon`].
    Polygon,
    /// [`parse_trajectory`].
    Trajectory,
    /// [`parse_interval`].
    Interval,
    /// [`parse_intervals`].
    Intervals,
    /// [`parse_frame_boxes`].
    FrameBoxes,
    /// [`parse_segmentation`].
    Segmentation,
    /// [`parse_route`].
    Route,
    /// [`parse_formula`].
    Formula,
    /// [`parse_layout`].
    Layout,
    /// [`parse_code`].
    Code,
    /// [`parse_meta_action`].
    MetaAction,
    /// [`parse_text`].
    Text,
}

/// An answer that was read. Serialized as `{"kind": "letter", "value": "B"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Payload {
    Letter(char),
    YesNo(bool),
    Number(f64),
    /// In percent.
    Percent(f64),
    Label(String),
    LabelSet(BTreeSet<String>),
    Integers(Vec<i64>),
    Box(BoundingBox),
    CentreBox(BoundingBox),
    Boxes(BoxList),
    Points(Vec<[f64; 2]>),
    LabelledPoints(Vec<LabelledPoint>),
    PointDepths(Vec<PointDepth>),
    Polygon(Vec<[f64; 2]>),
    Trajectory(Vec<[f64; 2]>),
    Interval(Interval),
    Intervals(Vec<Interval>),
    FrameBoxes(FrameBoxes),
    Segmentation(Segmentation),
    Route(Vec<Segment>),
    Formula(String),
    Layout(Vec<PlacedObject>),
    Code(Code),
    MetaAction(MetaAction),
    Text(String),
}

impl PayloadKind {
    /// Every kind.
    pub const ALL: [Self; 25] = [
        Self::Letter,
        Self::YesNo,
        Self::Number,
        Self::Percent,
        Self::Label,
        Self::LabelSet,
        Self::Integers,
        Self::Box,
        Self::CentreBox,
        Self::Boxes,
        Self::Points,
        Self::LabelledPoints,
        Self::PointDepths,
        Self::Polygon,
        Self::Trajectory,
        Self::Interval,
        Self::Intervals,
        Self::FrameBoxes,
        Self::Segmentation,
        Self::Route,
        Self::Formula,
        Self::Layout,
        Self::Code,
        Self::MetaAction,
        Self::Text,
    ];

    /// Reads `answer` as this kind.
    ///
    /// ```
    /// use ocelli_reward::{Payload, PayloadKind};
    ///
    /// assert_eq!(PayloadKind::Letter.parse("The answer is (B)."), Ok(Payload::Letter('B')));
    /// ```
    ///
    /// # Errors
    /// Those of the kind's reader.
    pub fn parse(self, answer: &str) -> Result<Payload, ParseFailure> {
        match self {
            Self::Letter => parse_letter(answer, &[]).map(Payload::Letter),
            Self::YesNo => parse_yes_no(answer).map(Payload::YesNo),
            Self::Number => parse_number(answer).map(Payload::Number),
            Self::Percent => parse_percent(answer).map(Payload::Percent),
            Self::Label => parse_label(answer).map(Payload::Label),
            Self::LabelSet => parse_label_set(answer).map(Payload::LabelSet),
            Self::Integers => parse_integers(answer).map(Payload::Integers),
            Self::Box => parse_box(answer).map(Payload::Box),
            Self::CentreBox => parse_centre_box(answer).map(Payload::CentreBox),
            Self::Boxes => parse_boxes(answer).map(Payload::Boxes),
            Self::Points => parse_points(answer).map(Payload::Points),
            Self::LabelledPoints => parse_labelled_points(answer).map(Payload::LabelledPoints),
            Self::PointDepths => parse_point_depths(answer).map(Payload::PointDepths),
            Self::Polygon => parse_polygon(answer).map(Payload::Polygon),
            Self::Trajectory => parse_trajectory(answer).map(Payload::Trajectory),
            Self::Interval => parse_interval(answer).map(Payload::Interval),
            Self::Intervals => parse_intervals(answer).map(Payload::Intervals),
            Self::FrameBoxes => parse_frame_boxes(answer).map(Payload::FrameBoxes),
            Self::Segmentation => parse_segmentation(answer).map(Payload::Segmentation),
            Self::Route => parse_route(answer).map(Payload::Route),
            Self::Formula => parse_formula(answer).map(Payload::Formula),
            Self::Layout => parse_layout(answer).map(Payload::Layout),
            Self::Code => parse_code(answer).map(Payload::Code),
            Self::MetaAction => parse_meta_action(answer).map(Payload::MetaAction),
            Self::Text => parse_text(answer).map(Payload::Text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer of each kind. Kinds are tested by mutating all of them.
    const ANSWERS: [&str; 21] = [
        "(1, 2), (3, 4), (5, 6)",
        "The answer is (B) a cat.",
        "Yes, true",
        "-12,345.6e3 km",
        "12.5 percent",
        "- cat\n- Straße; [\"a\", 'b']",
        "[[2, 1], [3, 4]] -> 5",
        "```json\n[{\"bbox_2d\": [1, 2.5, 3, 4], 'label': 'the dog's tail'},]\n```",
        "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>",
        "<ref>cat</ref><box>[[1, 2, 3, 4]]</box>",
        "<point>[[1, 2], [3, 4]]</point><depth>[500, 600]</depth>",
        "<points x1=\"1\" y1=\"2\" x2=\"3\" y2=\"4\" alt=\"cats\">cats</points>",
        "{\"x\": 0.5, \"y\": 0.25, \"width\": 0.5, \"height\": 0.5}",
        "from 00:12.5 to 1:00:15 and 3s \u{2013} 4 s",
        "{\"time\": [0.5, 2], \"boxes\": {\"1\": [1, 2, 3, 4], \"12\": [5, 6, 7, 8]}}",
        "{\"boxes\": [1,2,3,4], \"positive_points\": [[1, 2]], \"negative_points\": [[9, 9]], \"time\": 1}",
        "Route Name: Line 1\nDeparture Stop: A\nArrival Stop: B\n--\nRoute Name: 2\nDeparture Stop: B\nArrival Stop: C",
        r"$\boxed{-k x - \frac{1}{2} x^3}$",
        "[{\"new_object_id\": \"bed_1\", \"x\": 1, \"y\": 2.5, \"z\": 0}]",
        "```python\nx = 1\n```",
        "KEEP, LEFT_TURN",
    ];

    /// The kinds that an answer of [`ANSWERS`] was written for can be read, and every kind has one.
    #[test]
    fn every_kind_reads_some_answer() {
        for kind in PayloadKind::ALL {
            let read = ANSWERS
                .iter()
                .filter_map(|answer| kind.parse(answer).ok())
                .next();
            let payload = read.unwrap_or_else(|| panic!("{kind:?} reads no answer"));
            let written = serde_json::to_value(&payload).unwrap();
            assert_eq!(written["kind"], serde_json::to_value(kind).unwrap());
            let back: Payload = serde_json::from_value(written).unwrap();
            assert_eq!(back, payload);
        }
    }

    #[test]
    fn deep_brackets_and_odd_numbers_are_only_failures() {
        let hostile = [
            "[".repeat(100_000),
            "{\"a\":".repeat(100_000),
            "(".repeat(100_000),
            r"\boxed{".repeat(100_000),
            "**".repeat(100_000),
            "9".repeat(100_000),
            format!("[{}, 1, 2, 3]", "9".repeat(100_000)),
            "[NaN, inf, -Infinity, 1e999]".to_owned(),
            "\u{0}\u{feff}\u{202e}\u{1f1e6}\u{1f1e6}e\u{301}".to_owned(),
        ];
        for text in &hostile {
            for kind in PayloadKind::ALL {
                let read = kind.parse(text);
                let textual = [
                    PayloadKind::Text,
                    PayloadKind::Label,
                    PayloadKind::LabelSet,
                    PayloadKind::Formula,
                ];
                let head: String = text.chars().take(20).collect();
                assert!(
                    read.is_err() || textual.contains(&kind),
                    "{kind:?} {head}: {read:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn no_reader_panics_on_any_text(text in any::<String>()) {
            for kind in PayloadKind::ALL {
                let _ = kind.parse(&text);
            }
        }

        /// Cutting, doubling and overwriting good answers reaches deeper than random text.
        #[test]
        fn no_reader_panics_on_mutated_answers(
            answer in prop::sample::select(&ANSWERS[..]),
            edits in prop::collection::vec(
                (any::<prop::sample::Index>(), 0usize..6, "[\\[\\](){}<>\",':;.0-9eE+\\-− \naZé`*$\\\\|]{0,3}"), 0..6
            )
        ) {
            let mut characters: Vec<char> = answer.chars().collect();
            for (at, removed, put) in edits {
                let at = at.index(characters.len() + 1);
                let end = (at + removed).min(characters.len());
                characters.splice(at..end, put.chars());
            }
            let text: String = characters.into_iter().collect();
            for kind in PayloadKind::ALL {
                if let Ok(payload) = kind.parse(&text) {
                    // JSON has no NaN and no infinity: they would come back as something else.
                    let written = serde_json::to_string(&payload).unwrap();
                    prop_assert!(serde_json::from_str::<Payload>(&written).is_ok(), "{:?}", payload);
                }
            }
        }
    }
}
