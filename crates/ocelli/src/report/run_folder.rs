//! A run folder as the report reads it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, bail};
use ocelli_core::BoundingBox;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::evaluation_table::{EvalRow, finite_scores};

/// Everything the page is made of.
pub(super) struct RunFolder {
    /// The folder's own name.
    pub(super) name: String,
    pub(super) metrics: Lines<MetricLine>,
    pub(super) evaluations: Lines<EvalRow>,
    pub(super) gallery: Lines<GalleryLine>,
    /// Text of `resolved.toml`.
    pub(super) recipe: Option<String>,
    /// `env.json`.
    pub(super) environment: Option<Map<String, Value>>,
}

/// What could be read of a file with one JSON object a line.
pub(super) struct Lines<T> {
    pub(super) items: Vec<T>,
    pub(super) status: FileStatus,
}

/// Whether a file was there, and which of its lines could not be read.
pub(super) struct FileStatus {
    pub(super) file: &'static str,
    pub(super) missing: bool,
    /// Line numbers, from 1. A last line that was only half written is one of them.
    pub(super) skipped: Vec<usize>,
}

/// One line of `metrics.jsonl`. Counts are read as floats, since a writer may not tell the two apart.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct MetricLine {
    pub(super) stage: String,
    #[serde(default)]
    pub(super) stage_index: f64,
    pub(super) step: f64,
    /// Seconds since 1970.
    #[serde(default)]
    pub(super) time: Option<f64>,
    /// All other names; only numbers among them are drawn.
    #[serde(flatten)]
    pub(super) values: Map<String, Value>,
}

/// One line of `gallery.jsonl`: what the model said about one held-out picture at one moment.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct GalleryLine {
    pub(super) id: String,
    #[serde(default)]
    pub(super) question: String,
    /// A `data:` address of the picture.
    #[serde(default)]
    pub(super) image: String,
    /// Size of the picture in its own pixels, the unit of both boxes.
    pub(super) width: f64,
    pub(super) height: f64,
    #[serde(default)]
    pub(super) gold_text: Option<String>,
    #[serde(default)]
    pub(super) gold_box: Option<BoundingBox>,
    pub(super) after: String,
    /// Position of the stage, where the writer tells; without it, phases stand in the order in which they came.
    #[serde(default)]
    pub(super) stage_index: i64,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default, rename = "box")]
    pub(super) answer_box: Option<BoundingBox>,
    #[serde(default, deserialize_with = "finite_scores")]
    pub(super) scores: BTreeMap<String, f64>,
}

impl RunFolder {
    /// Reads the folder. Missing files are no error; see [`super::write_report`] for what is.
    pub(super) fn read(run_dir: &Path) -> anyhow::Result<Self> {
        if !run_dir.is_dir() {
            bail!(
                "{} is not a run folder: there is no such folder; give the path of a run, such as runs/quickstart",
                run_dir.display()
            );
        }
        // Asked as ".", a folder has a name only once its path is resolved.
        let resolved = fs::canonicalize(run_dir).unwrap_or_else(|_| run_dir.to_path_buf());
        let name = resolved.file_name().map_or_else(
            || "run".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        Ok(Self {
            name,
            metrics: read_lines(run_dir, "metrics.jsonl")?,
            evaluations: read_lines(run_dir, "evals.jsonl")?,
            gallery: read_lines(run_dir, "gallery.jsonl")?,
            recipe: read_optional(run_dir, "resolved.toml")?
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            // An env.json that is being written counts as missing: it holds nothing the other sections need.
            environment: read_optional(run_dir, "env.json")?
                .and_then(|bytes| serde_json::from_slice(&bytes).ok()),
        })
    }
}

fn read_lines<T: DeserializeOwned>(run_dir: &Path, file: &'static str) -> anyhow::Result<Lines<T>> {
    let bytes = read_optional(run_dir, file)?;
    let (items, skipped) = parse_lines(bytes.as_deref().unwrap_or_default());
    Ok(Lines {
        items,
        status: FileStatus {
            file,
            missing: bytes.is_none(),
            skipped,
        },
    })
}

fn read_optional(run_dir: &Path, file: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let path = run_dir.join(file);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(error).with_context(|| format!("cannot read {} for the report", path.display()))
        }
    }
}

/// Values of the lines that can be read, and the numbers (from 1) of those that cannot. Blank lines are neither.
fn parse_lines<T: DeserializeOwned>(bytes: &[u8]) -> (Vec<T>, Vec<usize>) {
    let mut items = Vec::new();
    let mut skipped = Vec::new();
    for (position, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(item) => items.push(item),
            Err(_) => skipped.push(position + 1),
        }
    }
    (items, skipped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_half_written_line_is_named_and_left_out() {
        let bytes =
            b"{\"stage\":\"sft\",\"step\":1,\"loss\":2.5,\"kl\":null}\n\n{\"stage\":\"sft\",\"st";
        let (lines, skipped) = parse_lines::<MetricLine>(bytes);
        assert_eq!(skipped, [3]);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].values["loss"], 2.5);
        assert!(lines[0].values["kl"].is_null());
        assert_eq!(lines[0].stage_index, 0.0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_names_it() {
        let Err(error) = RunFolder::read(Path::new("no/such/run")) else {
            panic!("read a folder that does not exist");
        };
        assert!(error.to_string().contains("no/such/run"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_skipped(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (lines, skipped) = parse_lines::<GalleryLine>(&bytes);
            let filled = bytes.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty()).count();
            prop_assert_eq!(lines.len() + skipped.len(), filled);
        }

        #[test]
        fn a_cut_anywhere_costs_at_most_one_line(cut in 0usize..150) {
            let line = "{\"stage\":\"grpo\",\"stage_index\":1,\"step\":2,\"reward\":0.5}\n";
            let bytes = line.repeat(3);
            let cut = cut.min(bytes.len());
            let (lines, skipped) = parse_lines::<MetricLine>(&bytes.as_bytes()[..cut]);
            prop_assert!(skipped.len() <= 1);
            prop_assert!(lines.len() >= cut / line.len());
        }
    }
}
