//! A run's folder: recipe, metrics, evaluations, gallery, episodes and checkpoints.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use ocelli_core::{Episode, Metrics};
use ocelli_model::checkpoint::{Checkpoint, write_file};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::alarms::AlarmState;
use crate::algorithm::AlgorithmState;
use crate::curriculum::CurriculumState;
use crate::error::LearnError;
use crate::optimizer::Optimizer;
use crate::recipe::Recipe;

/// An open run folder. Nobody else can open it meanwhile.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    metrics: File,
    /// Holds the lock until it is closed.
    _lock: File,
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
/// File in a checkpoint that holds what alarms compare with, when there is something.
const ALARMS: &str = "trainer/alarms.json";
/// File in a checkpoint that holds [`CurriculumState`], when there is something to remember.
const CURRICULUM: &str = "trainer/curriculum.json";

/// File that an open run holds a lock on.
const LOCK: &str = ".lock";

impl Run {
    /// Makes a new run folder `output_dir/name`, or `name-2`, `name-3` … when that is taken.
    ///
    /// # Errors
    /// When the name is no name of a folder, or the folder can't be written.
    pub fn create(recipe: &Recipe, name: &str) -> Result<Self, LearnError> {
        check_name(name)?;
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
    /// When it can't be written, or another run is open in it.
    pub fn open(folder: &Path) -> Result<Self, LearnError> {
        let path = folder.join(LOCK);
        let lock = File::create(&path).map_err(LearnError::file(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LearnError::Busy {
                    folder: folder.to_owned(),
                });
            }
            // Some network file systems know no locks; a run is worth more than the check.
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(LearnError::file(&path)(e)),
        }
        Ok(Self {
            folder: folder.to_owned(),
            metrics: open_metrics(folder)?,
            _lock: lock,
        })
    }

    /// Keeps the recipe's text as it was given, comments and all, beside the resolved one.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn keep_recipe(&self, file: &Path) -> Result<(), LearnError> {
        let text = fs::read(file).map_err(LearnError::file(file))?;
        self.write("recipe.toml", &text)
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

    /// Adds rows to a JSONL file of the folder, in place of those that `stale` finds: written twice, they stand there once.
    /// The file is whole at every moment.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn replace<T: Serialize>(
        &self,
        name: &str,
        rows: &[T],
        stale: impl Fn(&Value) -> bool,
    ) -> Result<(), LearnError> {
        let added: String = rows
            .iter()
            .map(|row| json!(row).to_string() + "\n")
            .collect();
        rewrite(&self.folder.join(name), |row| !stale(row), &added)
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
        optimizer: &Optimizer,
        algorithm: &AlgorithmState,
        curriculum: &CurriculumState,
    ) -> Result<PathBuf, LearnError> {
        let folder = self.folder.join(format!(
            "checkpoints/{}-{kind}-step-{:06}",
            progress.stage + 1,
            progress.step
        ));
        let state = format!("{:#}\n", json!(progress));
        checkpoint.save(&folder, |partial| {
            write_file(&partial.join(STATE), state.as_bytes())?;
            let without_alarms = AlgorithmState {
                alarms: AlarmState::default(),
                ..algorithm.clone()
            };
            if without_alarms != AlgorithmState::default() {
                let text = format!("{:#}\n", json!(algorithm));
                write_file(&partial.join(ALGORITHM), text.as_bytes())?;
            }
            if algorithm.alarms != AlarmState::default() {
                let text = format!("{:#}\n", json!(algorithm.alarms));
                write_file(&partial.join(ALARMS), text.as_bytes())?;
            }
            if *curriculum != CurriculumState::default() {
                let text = format!("{:#}\n", json!(curriculum));
                write_file(&partial.join(CURRICULUM), text.as_bytes())?;
            }
            optimizer.save(&partial.join(OPTIMIZER))
        })?;
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
        Ok(AlgorithmState {
            alarms: remembered(&checkpoint.join(ALARMS))?,
            ..remembered(&checkpoint.join(ALGORITHM))?
        })
    }

    /// What the curriculum remembered when a checkpoint was written.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn curriculum_state(checkpoint: &Path) -> Result<CurriculumState, LearnError> {
        remembered(&checkpoint.join(CURRICULUM))
    }

    /// Drops what was written after `progress`, so that a resumed run writes it again: lines of metrics past the step, and
    /// evaluations and pictures of stages that had not ended.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn rewind(&mut self, progress: &Progress, stage_over: bool) -> Result<(), LearnError> {
        let number = |row: &Value, key: &str| row[key].as_i64().unwrap_or(-1);
        let (stage, step) = (progress.stage as i64, progress.step as i64);
        let keep = |row: &Value| (number(row, "stage_index"), number(row, "step")) <= (stage, step);
        rewrite(&self.folder.join("metrics.jsonl"), keep, "")?;
        self.metrics = open_metrics(&self.folder)?;
        for name in ["evals.jsonl", "gallery.jsonl"] {
            let path = self.folder.join(name);
            if path.is_file() {
                let keep = |row: &Value| {
                    let of = number(row, "stage_index");
                    of < stage || (of == stage && stage_over)
                };
                rewrite(&path, keep, "")?;
            }
        }
        Ok(())
    }
}

/// What a file of a checkpoint holds, or nothing when there is no such file.
fn remembered<T: Default + DeserializeOwned>(path: &Path) -> Result<T, LearnError> {
    if !path.is_file() {
        return Ok(T::default());
    }
    let text = fs::read_to_string(path).map_err(LearnError::file(path))?;
    serde_json::from_str(&text).map_err(|e| LearnError::Resume {
        message: e.to_string(),
        path: path.to_owned(),
    })
}

/// Refuses names that would lead out of the folder of runs, or hide in it.
fn check_name(name: &str) -> Result<(), LearnError> {
    if name.trim().is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        return Err(LearnError::Config {
            place: format!("run name {name:?}"),
            message: "give the name of one folder, without `/` and not beginning with a dot; folders of runs are chosen by \
                      run.output_dir"
                .into(),
        });
    }
    Ok(())
}

fn open_metrics(folder: &Path) -> Result<File, LearnError> {
    let path = folder.join("metrics.jsonl");
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(LearnError::file(&path))
}

/// The rows of a JSONL file that can be read: a torn line, which a kill in the midst of writing leaves, is passed over. No
/// rows when there is no file.
///
/// # Errors
/// When the file can't be read.
pub(crate) fn read_rows(path: &Path) -> Result<Vec<Value>, LearnError> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let bytes = fs::read(path).map_err(LearnError::file(path))?;
    // Bytes, for a line may be torn inside a character.
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

/// Rewrites a JSONL file with the lines that `keep` accepts and what is `added`; torn lines go.
fn rewrite(path: &Path, keep: impl Fn(&Value) -> bool, added: &str) -> Result<(), LearnError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(LearnError::file(path)(e)),
    };
    let mut kept = Vec::with_capacity(bytes.len() + added.len());
    for line in bytes.split(|byte| *byte == b'\n') {
        if serde_json::from_slice(line).is_ok_and(|row| keep(&row)) {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
    }
    kept.extend_from_slice(added.as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(folder: &Path) -> Recipe {
        let mut recipe: Recipe = toml::from_str(
            "[model]\npath = \"tiny-qwen2_5_vl\"\n[[stage]]\nkind = \"sft\"\n\
             data = { generator = \"pointing\", rows = 1 }\nexit = { max_steps = 1 }",
        )
        .unwrap();
        recipe.run.output_dir = folder.to_owned();
        recipe
    }

    #[test]
    fn a_run_is_open_once() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recipe(folder.path());
        let run = Run::create(&recipe, "a").unwrap();
        let error = Run::open(run.folder()).unwrap_err().to_string();
        assert!(error.contains(&run.folder().display().to_string()) && error.contains("in use"));
        let path = run.folder().to_owned();
        drop(run);
        assert!(Run::open(&path).is_ok());
        // A second run of the name gets a folder of its own.
        assert!(Run::create(&recipe, "a").unwrap().folder().ends_with("a-2"));
    }

    #[test]
    fn names_that_are_no_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recipe(folder.path());
        for name in ["", " ", "a/b", "/a", "..", ".a", "a\\b", "a\0b"] {
            let error = Run::create(&recipe, name).unwrap_err();
            assert!(error.is_misuse(), "{name:?}: {error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn rows_written_twice_stand_there_once_and_torn_lines_go() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::create(&recipe(folder.path()), "a").unwrap();
        let path = run.folder().join("gallery.jsonl");
        let row = |stage: i64, id: u64| json!({"stage_index": stage, "id": id, "text": "ü"});
        let of = |stage: i64| move |row: &Value| row["stage_index"] == stage;
        run.replace("gallery.jsonl", &[row(0, 1)], of(0)).unwrap();
        run.replace("gallery.jsonl", &[row(1, 1), row(1, 2)], of(1))
            .unwrap();
        // Killed inside the two bytes of a letter.
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"stage_index\": 1, \"text\": \"\xc3");
        fs::write(&path, bytes).unwrap();
        assert_eq!(read_rows(&path).unwrap().len(), 3);
        run.replace("gallery.jsonl", &[row(1, 3)], of(1)).unwrap();
        assert_eq!(read_rows(&path).unwrap(), [row(0, 1), row(1, 3)]);
    }

    #[test]
    fn rewinding_passes_over_a_line_torn_inside_a_character() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::create(&recipe(folder.path()), "a").unwrap();
        let path = run.folder().join("metrics.jsonl");
        let line = |step: u64| json!({"stage_index": 0, "step": step}).to_string() + "\n";
        let mut bytes = (line(1) + &line(2)).into_bytes();
        bytes.extend_from_slice(b"{\"stage\": \"\xc3");
        fs::write(&path, bytes).unwrap();
        let progress = Progress {
            stage: 0,
            step: 1,
            optimizer_steps: 1,
            version: 1,
            tokens: 0,
        };
        run.rewind(&progress, false).unwrap();
        let mut metrics = Metrics::default();
        metrics.set_count("step", 2);
        run.record(&metrics).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            line(1) + "{\"step\":2}\n"
        );
    }
}
