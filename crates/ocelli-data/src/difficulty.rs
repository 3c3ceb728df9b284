//! Rows chosen by how often a model solved them before.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_core::Task;
use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// Keeps the rows whose pass rate lies in a band.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difficulty {
    /// A file that `ocelli difficulty` wrote, relative to the recipe's folder or `data.root`.
    pub file: PathBuf,
    /// Least pass rate that is kept.
    #[serde(default)]
    pub min: f64,
    /// Largest pass rate that is kept.
    #[serde(default = "one")]
    pub max: f64,
}

fn one() -> f64 {
    1.0
}

/// One line of such a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassRate {
    /// The row.
    pub id: String,
    /// Its source, where the stage had several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Answers that could be judged.
    pub samples: usize,
    /// Mean success of the answers, 0 to 1; `null` where none could be judged.
    pub pass_rate: Option<f64>,
    /// Mean reward of the answers.
    pub reward: Option<f64>,
}

/// Tag that kept rows get, to order or stage them by.
const TAG: &str = "pass_rate";

impl Difficulty {
    /// # Errors
    /// When the band is none.
    pub fn check(&self) -> Result<(), DataError> {
        let (min, max) = (self.min, self.max);
        if !(0.0 <= min && min <= max && max <= 1.0) {
            return Err(DataError::config(
                "difficulty",
                format!("`min = {min}` and `max = {max}` must be two rates in order, from 0 to 1"),
            ));
        }
        Ok(())
    }

    /// Keeps the rows in the band, both ends included, and gives them the tag `pass_rate`. A row that could not be judged is not kept.
    /// `source` is what a list of sources calls the table.
    ///
    /// # Errors
    /// When the file can't be read, or a row is not in it.
    pub(crate) fn keep(
        &self,
        tasks: Vec<Task>,
        root: &Path,
        source: &str,
    ) -> Result<Vec<Task>, DataError> {
        let path = root.join(&self.file);
        let rates = read(&path, source)?;
        let mut kept = Vec::new();
        for mut task in tasks {
            let rate = rates.get(&task.id).ok_or_else(|| {
                DataError::file(
                    &path,
                    format!(
                        "it has no line for row `{}`: measure these rows with `ocelli difficulty`, or name their own file",
                        task.id
                    ),
                )
            })?;
            if let Some(rate) = rate.filter(|rate| (self.min..=self.max).contains(rate)) {
                task.tags.insert(TAG.to_owned(), rate.to_string());
                kept.push(task);
            }
        }
        Ok(kept)
    }
}

/// The pass rates of a file by row; lines of other sources are passed over.
fn read(path: &Path, source: &str) -> Result<HashMap<String, Option<f64>>, DataError> {
    let text = fs::read_to_string(path).map_err(|e| DataError::read(path, e))?;
    let mut rates = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let row: PassRate = serde_json::from_str(line).map_err(|e| DataError::Row {
            path: path.to_owned(),
            line: index + 1,
            problem: format!("{e}; write the file with `ocelli difficulty`"),
        })?;
        if row.source.is_none_or(|of| of == source) {
            rates.insert(row.id, row.pass_rate);
        }
    }
    Ok(rates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(ids: &[&str]) -> Vec<Task> {
        let task = |id: &&str| Task {
            id: (*id).to_owned(),
            ..Task::default()
        };
        ids.iter().map(task).collect()
    }

    const LINES: &str = r#"{"id": "a", "samples": 4, "pass_rate": 0.0, "reward": 0.0}
{"id": "b", "samples": 4, "pass_rate": 0.25, "reward": 0.5}
{"id": "c", "samples": 4, "pass_rate": 1.0, "reward": 2.0}
{"id": "d", "samples": 0, "pass_rate": null, "reward": null}
{"id": "a", "source": "other", "samples": 4, "pass_rate": 0.5, "reward": 0.0}
"#;

    #[test]
    fn rows_in_the_band_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rates.jsonl"), LINES).unwrap();
        let kept = |min, max, source: &str| {
            let band = Difficulty {
                file: "rates.jsonl".into(),
                min,
                max,
            };
            let kept = band
                .keep(tasks(&["a", "b", "c", "d"]), folder.path(), source)
                .unwrap();
            kept.into_iter()
                .map(|task| (task.id, task.tags["pass_rate"].clone()))
                .collect::<Vec<_>>()
        };
        let pair = |id: &str, rate: &str| (id.to_owned(), rate.to_owned());
        assert_eq!(kept(0.1, 0.9, "rows"), [pair("b", "0.25")]);
        assert_eq!(
            kept(0.0, 1.0, "rows"),
            [pair("a", "0"), pair("b", "0.25"), pair("c", "1")]
        );
        assert_eq!(kept(0.5, 0.5, "other"), [pair("a", "0.5")]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rates.jsonl");
        let band = Difficulty {
            file: "rates.jsonl".into(),
            min: 0.0,
            max: 1.0,
        };
        let error = || {
            band.keep(tasks(&["e"]), folder.path(), "")
                .unwrap_err()
                .to_string()
        };
        assert!(error().contains("rates.jsonl"));
        fs::write(&path, LINES).unwrap();
        assert!(error().contains("no line for row `e`"));
        fs::write(&path, "{\"id\": 3}\n").unwrap();
        assert!(error().contains("line 1"));
        for (min, max) in [(0.5, 0.4), (-0.1, 1.0), (0.0, 1.1), (f64::NAN, 1.0)] {
            let band = Difficulty {
                min,
                max,
                ..band.clone()
            };
            assert!(
                band.check()
                    .unwrap_err()
                    .to_string()
                    .contains("data.difficulty")
            );
        }
    }
}
