//! Episodes for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli_core::{Episode, Target, Task};

/// An episode on task `row-1`, tagged `task = "ref"`, whose only turn is `text`.
pub(crate) fn episode(target: Option<Target>, text: &str) -> Episode {
    Episode::of_answer(
        Arc::new(Task {
            id: "row-1".to_owned(),
            target,
            tags: BTreeMap::from([("task".to_owned(), "ref".to_owned())]),
            ..Task::default()
        }),
        text,
        vec![1],
    )
}

pub(crate) fn box_target(corners: [f64; 4]) -> Target {
    Target::Box(corners.into())
}

pub(crate) fn text_target(text: &str) -> Target {
    Target::Text(text.to_owned())
}
