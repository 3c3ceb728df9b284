//! A task: one row to be solved.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{BoundingBox, Message, Picture};

/// Where a task's picture comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// A file, resolved against the data set's folder.
    Path(PathBuf),
    /// Pixels made by a generator. Not written into episode records: the task's id names generator, seed and row.
    #[serde(skip)]
    Pixels(Picture),
}

/// What a right answer is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A string to be matched by a text or number verifier.
    Text(String),
    /// A box in pixels of the first source picture.
    Box(BoundingBox),
}

/// One row: what the model sees, what is right, and what the row is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Unique inside its data set; names the row in errors and keys its random streams.
    pub id: String,
    /// The conversation up to the model's turn.
    pub messages: Vec<Message>,
    /// The pictures that `Part::Image` indices point into. Episode records keep the files' names only.
    #[serde(default)]
    pub images: Vec<ImageSource>,
    pub target: Option<Target>,
    /// A demonstration of a whole model turn, for supervised stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstration: Option<String>,
    /// Free labels: `task`, `source`, `difficulty`, …
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl Task {
    /// The row's `task` tag, or `""`.
    pub fn kind(&self) -> &str {
        self.tags.get("task").map_or("", String::as_str)
    }
}
