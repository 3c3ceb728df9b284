//! Runs of small recipes and what they wrote, for the tests beside this folder.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses a part, and unwraps as tests do"
)]

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ocelli_learn::observer::Silent;
use ocelli_learn::train::{Finished, train};
use ocelli_learn::{LearnError, Observer, Recipe};
use serde_json::Value;

/// A small network: every test trains one.
pub(crate) const MODEL: &str = r#"
[model]
path = "tiny-qwen2_5_vl"
overrides = { vision_hidden_size = 32, vision_depth = 1, vision_intermediate_size = 32, num_hidden_layers = 1 }
"#;

/// Runs a recipe with changes in a run folder of its own below `folder`.
pub(crate) fn finished(
    folder: &Path,
    text: &str,
    changes: &[&str],
) -> Result<Finished, LearnError> {
    watched(folder, text, changes, &mut Silent)
}

/// As [`finished`], and tells `observer`.
pub(crate) fn watched(
    folder: &Path,
    text: &str,
    changes: &[&str],
    observer: &mut dyn Observer,
) -> Result<Finished, LearnError> {
    let path = folder.join("recipe.toml");
    fs::write(&path, text).unwrap();
    let mut changes: Vec<String> = changes.iter().map(|s| (*s).to_owned()).collect();
    let runs = tempfile::tempdir_in(folder).unwrap().keep();
    changes.push(format!("run.output_dir={runs:?}"));
    let recipe = Recipe::read(&path, &changes)?;
    train(&recipe, "run", folder, observer, &AtomicBool::new(false))
}

/// The metrics of the steps of stages of this kind.
pub(crate) fn steps(finished: &Finished, stage: &str) -> Vec<Value> {
    let written = fs::read_to_string(finished.folder.join("metrics.jsonl")).unwrap();
    let rows = written
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter(|row| row["stage"] == stage).collect()
}

/// A metric that must be there.
pub(crate) fn number(row: &Value, name: &str) -> f64 {
    row[name]
        .as_f64()
        .unwrap_or_else(|| panic!("no {name} in {row}"))
}
