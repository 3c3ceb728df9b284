//! A task: one row to be solved.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{BoundingBox, Message, Picture};

/// Where a task's picture comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "StoredSource", from = "StoredSource")]
pub enum ImageSource {
    /// A file, resolved against the data set's folder.
    Path(PathBuf),
    /// An encoded picture inside a data file, by the name that its data set gives it: `train.parquet#17/0` is the first
    /// picture of row 17.
    Embedded(String),
    /// Pixels made by a generator.
    Pixels(Picture),
    /// Pixels that a record did not keep: the task's id names generator and row, which make them again.
    Generated,
    /// Another picture, moved `by` pixels to the right and downwards: how a training stage showed a row.
    Moved { of: Box<ImageSource>, by: [i32; 2] },
}

/// What a record keeps of an [`ImageSource`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredSource {
    Path(PathBuf),
    Embedded(String),
    Generated,
    Moved { of: Box<ImageSource>, by: [i32; 2] },
}

impl From<ImageSource> for StoredSource {
    fn from(source: ImageSource) -> Self {
        match source {
            ImageSource::Path(path) => Self::Path(path),
            ImageSource::Embedded(name) => Self::Embedded(name),
            ImageSource::Pixels(_) | ImageSource::Generated => Self::Generated,
            ImageSource::Moved { of, by } => Self::Moved { of, by },
        }
    }
}

impl From<StoredSource> for ImageSource {
    fn from(source: StoredSource) -> Self {
        match source {
            StoredSource::Path(path) => Self::Path(path),
            StoredSource::Embedded(name) => Self::Embedded(name),
            StoredSource::Generated => Self::Generated,
            StoredSource::Moved { of, by } => Self::Moved { of, by },
        }
    }
}

/// Where a task's video comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoSource {
    /// A folder of frames, an animation, or a video file, resolved against the data set's folder.
    pub path: PathBuf,
    /// Frames a second, where the row says it: for folders, which don't, and in place of what a file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Unique inside its data set; names the row in errors and keys its random streams.
    pub id: String,
    /// The conversation up to the model's turn.
    pub messages: Vec<Message>,
    /// The pictures that `Part::Image` indices point into. Episode records keep the files' names only.
    #[serde(default)]
    pub images: Vec<ImageSource>,
    /// The videos that `Part::Video` indices point into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub videos: Vec<VideoSource>,
    /// The sound files that `Part::Audio` indices point into, resolved against the data set's folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audios: Vec<PathBuf>,
    pub target: Option<Target>,
    /// A demonstration of a whole model turn, for supervised stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstration: Option<String>,
    /// A whole model turn that is worse than the demonstration, for stages that learn from pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// Columns of the row that are no texts, as the data file has them; `tags` has them as texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, serde_json::Value>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_generated_pictures_can_be_written_and_read() {
        let sources = vec![
            ImageSource::Path("a.png".into()),
            ImageSource::Embedded("train.parquet#17/0".into()),
            ImageSource::Pixels(Picture::new(1, 1, vec![0u8; 3])),
            ImageSource::Moved {
                of: Box::new(ImageSource::Path("a.png".into())),
                by: [3, -1],
            },
        ];
        let text = serde_json::to_string(&sources).unwrap();
        assert_eq!(
            text,
            r#"[{"path":"a.png"},{"embedded":"train.parquet#17/0"},"generated",{"moved":{"of":{"path":"a.png"},"by":[3,-1]}}]"#
        );
        let read: Vec<ImageSource> = serde_json::from_str(&text).unwrap();
        assert_eq!(read[..2], sources[..2]);
        assert_eq!(read[2], ImageSource::Generated);
        assert_eq!(read[3], sources[3]);
    }
}
