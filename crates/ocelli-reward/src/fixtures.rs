//! Episodes for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli_core::{Call, Episode, Finish, Outcome, Segment, SegmentKind, Target, Task};

/// An episode on task `row-1`, tagged `task = "ref"`, whose only turn is `text`.
pub(crate) fn episode(target: Option<Target>, text: &str) -> Episode {
    Episode {
        task: Arc::new(Task {
            id: "row-1".to_owned(),
            messages: Vec::new(),
            images: Vec::new(),
            target,
            demonstration: None,
            rejected: None,
            columns: Default::default(),
            tags: BTreeMap::from([("task".to_owned(), "ref".to_owned())]),
        }),
        sample: 0,
        pictures: Vec::new(),
        segments: vec![Segment {
            parent: None,
            kind: SegmentKind::Decision {
                behavior_logprobs: vec![-0.5],
                policy_version: 0,
                finish: Finish::Stop,
                call: Call::Answer {
                    text: text.to_owned(),
                },
            },
            token_ids: vec![1],
            train_mask: vec![true],
            text: text.to_owned(),
        }],
        outcome: Outcome::default(),
    }
}

pub(crate) fn box_target(corners: [f64; 4]) -> Target {
    Target::Box(corners.into())
}

pub(crate) fn text_target(text: &str) -> Target {
    Target::Text(text.to_owned())
}
