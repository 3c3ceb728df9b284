//! A run's folder: recipe, metrics, evaluations, gallery, episodes and checkpoints.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use ocelli_core::{Episode, Metrics};
use ocelli_model::checkpoint::Checkpoint;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::algorithm::AlgorithmState;
use crate::error::LearnError;
use crate::recipe::Recipe;

/// An open run folder.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    metrics: File,
}

/// Where a checkpoint stands in its run; kept in `trainer/state.json`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Progress {
    /// Stage that wrote it, from 0.
    pub stage: usize,
    /// Steps of that stage that are done.
    pub step: u64,
    /// Steps of that stage the optimizer applied.
    pub optimizer_steps: u64,
    /// Optimizer steps of all stages.
    pub version: u64,
    /// Tokens trained on since the run began.
    pub tokens: u64,
}

/// File in a checkpoint that holds [`Progress`].
const STATE: &str = "trainer/state.json";
/// File in a checkpoint that holds the optimizer's moments.
const OPTIMIZER: &str = "trainer/optimizer.safetensors";
/// File in a checkpoint that holds [`AlgorithmState`], when there is something to remember.
const ALGORITHM: &str = "trainer/algorithm.json";

impl Run {
    /// Makes a new run folder `output_dir/name`, or `name-2`, `name-3` … when that is taken.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn create(recipe: &Recipe, name: &str) -> Result<Self, LearnError> {
        let base = &recipe.run.output_dir;
        fs::create_dir_all(base).map_err(LearnError::file(base))?;
        let mut number = 1;
        let folder = loop {
            let folder = base.join(if number == 1 {
                name.to_owned()
            } else {
                format!("{name}-{number}")
            });
            match fs::create_dir(&folder) {
                Ok(()) => break folder,
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(LearnError::file(&folder)(e)),
            }
        };
        let run = Self::open(&folder)?;
        let resolved = toml::to_string(recipe).map_err(|e| LearnError::Recipe {
            path: folder.join("resolved.toml"),
            message: e.to_string(),
        })?;
        run.write("resolved.toml", resolved.as_bytes())?;
        run.write_json("env.json", &environment())?;
        Ok(run)
    }

    /// Opens an existing folder for more metrics.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn open(folder: &Path) -> Result<Self, LearnError> {
        let path = folder.join("metrics.jsonl");
        let metrics = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(LearnError::file(&path))?;
        Ok(Self {
            folder: folder.to_owned(),
            metrics,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends one line to `metrics.jsonl`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn record(&mut self, metrics: &Metrics) -> Result<(), LearnError> {
        let mut line = json!(metrics).to_string();
        line.push('\n');
        let path = self.folder.join("metrics.jsonl");
        self.metrics
            .write_all(line.as_bytes())
            .map_err(LearnError::file(&path))
    }

    /// Appends rows to a JSONL file of the folder.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn append<T: Serialize>(&self, name: &str, rows: &[T]) -> Result<(), LearnError> {
        let path = self.folder.join(name);
        let text: String = rows
            .iter()
            .map(|row| json!(row).to_string() + "\n")
            .collect();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(LearnError::file(&path))
    }

    /// Writes a step's episodes to `episodes/`.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn save_episodes<'a>(
        &self,
        stage: &str,
        step: u64,
        episodes: impl Iterator<Item = &'a Episode>,
    ) -> Result<(), LearnError> {
        let folder = self.folder.join("episodes");
        fs::create_dir_all(&folder).map_err(LearnError::file(&folder))?;
        let mut text = Vec::new();
        for episode in episodes {
            // Not through a JSON value: that would write the log-probabilities with the digits of an f64.
            serde_json::to_writer(&mut text, episode)
                .map_err(|e| LearnError::file(&folder)(e.into()))?;
            text.push(b'\n');
        }
        self.write(&format!("episodes/{stage}-{step:06}.jsonl"), &text)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), LearnError> {
        let path = self.folder.join(name);
        fs::write(&path, bytes).map_err(LearnError::file(&path))
    }

    fn write_json(&self, name: &str, value: &Value) -> Result<(), LearnError> {
        self.write(name, format!("{value:#}\n").as_bytes())
    }

    /// Writes a checkpoint with all that resuming needs.
    ///
    /// # Errors
    /// When it can't be written; no folder of the final name is left then.
    pub fn save_checkpoint(
        &self,
        checkpoint: &Checkpoint,
        kind: &str,
        progress: &Progress,
        optimizer: Vec<u8>,
        algorithm: &AlgorithmState,
    ) -> Result<PathBuf, LearnError> {
        let folder = self.folder.join(format!(
            "checkpoints/{}-{kind}-step-{:06}",
            progress.stage + 1,
            progress.step
        ));
        let state = format!("{:#}\n", json!(progress));
        let mut extra = BTreeMap::from([
            (STATE.to_owned(), state.into_bytes()),
            (OPTIMIZER.to_owned(), optimizer),
        ]);
        if *algorithm != AlgorithmState::default() {
            let text = format!("{:#}\n", json!(algorithm));
            extra.insert(ALGORITHM.to_owned(), text.into_bytes());
        }
        checkpoint.save(&folder, &extra)?;
        Ok(folder)
    }

    /// The newest checkpoint of a run, if it has any.
    ///
    /// # Errors
    /// When the folder or a state can't be read.
    pub fn latest_checkpoint(folder: &Path) -> Result<Option<(Progress, PathBuf)>, LearnError> {
        let mut latest: Option<(Progress, PathBuf)> = None;
        for (progress, path) in Self::checkpoints(folder)? {
            if latest.as_ref().is_none_or(|(best, _)| progress > *best) {
                latest = Some((progress, path));
            }
        }
        Ok(latest)
    }

    /// All whole checkpoints of a run.
    ///
    /// # Errors
    /// When the folder or a state can't be read.
    pub fn checkpoints(folder: &Path) -> Result<Vec<(Progress, PathBuf)>, LearnError> {
        let folder = folder.join("checkpoints");
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(LearnError::file(&folder))? {
            let path = entry.map_err(LearnError::file(&folder))?.path();
            let state = path.join(STATE);
            // Names with a dot in front are being written.
            let hidden = path
                .file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with('.'));
            if hidden || !state.is_file() {
                continue;
            }
            let text = fs::read_to_string(&state).map_err(LearnError::file(&state))?;
            let progress = serde_json::from_str(&text).map_err(|e| LearnError::Resume {
                message: e.to_string(),
                path: state,
            })?;
            found.push((progress, path));
        }
        Ok(found)
    }

    /// The optimizer's state in a checkpoint.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn optimizer_state(checkpoint: &Path) -> Result<Vec<u8>, LearnError> {
        let path = checkpoint.join(OPTIMIZER);
        fs::read(&path).map_err(LearnError::file(&path))
    }

    /// What the algorithm remembered when a checkpoint was written.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn algorithm_state(checkpoint: &Path) -> Result<AlgorithmState, LearnError> {
        let path = checkpoint.join(ALGORITHM);
        if !path.is_file() {
            return Ok(AlgorithmState::default());
        }
        let text = fs::read_to_string(&path).map_err(LearnError::file(&path))?;
        serde_json::from_str(&text).map_err(|e| LearnError::Resume {
            message: e.to_string(),
            path,
        })
    }

    /// Drops what was written after `progress`, so that a resumed run writes it again: lines of metrics past the step, and
    /// evaluations and pictures of stages that had not ended.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn rewind(folder: &Path, progress: &Progress, stage_over: bool) -> Result<(), LearnError> {
        let number = |row: &Value, key: &str| row[key].as_i64().unwrap_or(-1);
        let (stage, step) = (progress.stage as i64, progress.step as i64);
        keep_lines(&folder.join("metrics.jsonl"), |row| {
            (number(row, "stage_index"), number(row, "step")) <= (stage, step)
        })?;
        for name in ["evals.jsonl", "gallery.jsonl"] {
            keep_lines(&folder.join(name), |row| {
                let of = number(row, "stage_index");
                of < stage || (of == stage && stage_over)
            })?;
        }
        Ok(())
    }
}

/// Rewrites a JSONL file with the rows that `keep` accepts; a torn last line goes.
fn keep_lines(path: &Path, keep: impl Fn(&Value) -> bool) -> Result<(), LearnError> {
    if !path.is_file() {
        return Ok(());
    }
    let file = File::open(path).map_err(LearnError::file(path))?;
    let mut kept = String::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(LearnError::file(path))?;
        if serde_json::from_str(&line).is_ok_and(|row| keep(&row)) {
            kept.push_str(&line);
            kept.push('\n');
        }
    }
    let partial = path.with_extension("jsonl.partial");
    fs::write(&partial, kept).map_err(LearnError::file(&partial))?;
    fs::rename(&partial, path).map_err(LearnError::file(path))
}

/// Facts about the program and machine.
fn environment() -> Value {
    json!({
        "ocelli": env!("CARGO_PKG_VERSION"),
        "backend": "burn 0.22.1 flex",
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "threads": rayon::current_num_threads(),
    })
}
