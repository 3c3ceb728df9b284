//! Python plug-in rewards: functions written for EasyR1, verl or TRL, taken as they are and run in processes of their own.
//!
//! A plug-in that hangs, crashes or returns nonsense costs the episodes of its call: each gets [`Verdict::Error`] with
//! what happened, and the process is started again. The calling conventions and what is checked stand in
//! `docs/python-rewards.md`.

mod error;
mod process;
mod row;
mod worker;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ocelli_core::{Episode, FailureKind, Verdict, VerifierError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::suggest::closest;

pub use error::PluginError;
pub(crate) use process::Log;
use row::Row;
use worker::{Job, Launch, Worker};

/// The convention a function is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Style {
    /// EasyR1's batch form: `compute_score(reward_inputs: list[dict]) -> list[dict]`.
    #[serde(rename = "easyr1_batch")]
    EasyR1Batch,
    /// EasyR1's sequential form: `compute_score(reward_input: dict) -> dict`.
    #[serde(rename = "easyr1")]
    EasyR1,
    /// `compute_score(data_source, solution_str, ground_truth, extra_info) -> float | dict`.
    #[serde(rename = "verl")]
    Verl,
    /// `f(prompts, completions, completion_ids, **columns) -> list[float | None]`.
    #[serde(rename = "trl")]
    Trl,
}

impl Style {
    /// Whether one call gets many episodes, and so may compare them.
    pub fn takes_batches(self) -> bool {
        matches!(self, Self::EasyR1Batch | Self::Trl)
    }
}

/// What TRL's `prompts` and `completions` hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completions {
    /// Strings.
    Text,
    /// Lists of chat messages, `[{"role": "assistant", "content": text}]`.
    Messages,
}

/// A plug-in reward as a recipe describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// The Python file.
    pub path: PathBuf,
    /// The function's name in it.
    pub function: String,
    /// The calling convention; told from the function's arguments when not given.
    pub style: Option<Style>,
    /// The form of TRL's completions. When not given, messages if the file reads `…[0]["content"]` somewhere, else text,
    /// until a call fails because it takes the text for messages.
    pub completions: Option<Completions>,
    /// Further keyword arguments of every call (EasyR1's `reward_function_kwargs`, verl's `reward_kwargs`).
    pub kwargs: Map<String, Value>,
    /// Processes that share a batch, from 1 on.
    pub workers: usize,
    /// Most seconds one worker may take for its part of a batch.
    pub timeout_seconds: f64,
    /// Most seconds one worker may take to start and load the file.
    pub start_timeout_seconds: f64,
    /// Most address space of a worker in MiB; no limit when not given. Libraries with many threads map gigabytes that
    /// they never use.
    pub memory_mb: Option<u64>,
    /// The interpreter; when not given, that of the environment variable `OCELLI_PYTHON`, else `python3`.
    pub python: Option<PathBuf>,
}

impl PluginConfig {
    /// Reads `file.py:function`; the rest is at its default: one worker, 60 s a batch, 120 s to start.
    ///
    /// ```
    /// let config = ocelli_reward::PluginConfig::parse("rewards/counting.py:compute_score").unwrap();
    /// assert_eq!(config.function, "compute_score");
    /// assert_eq!(config.to_string(), "rewards/counting.py:compute_score");
    /// ```
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse(text: &str) -> Result<Self, PluginError> {
        match text.rsplit_once(':') {
            Some((path, function)) if path.ends_with(".py") && is_identifier(function) => {
                Ok(Self {
                    path: path.into(),
                    function: function.to_owned(),
                    style: None,
                    completions: None,
                    kwargs: Map::new(),
                    workers: 1,
                    timeout_seconds: 60.0,
                    start_timeout_seconds: 120.0,
                    memory_mb: None,
                    python: None,
                })
            }
            _ => Err(PluginError::BadName {
                given: text.to_owned(),
            }),
        }
    }

    /// Checks the settings, which takes no file.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        if !(1..=MOST_WORKERS).contains(&self.workers) {
            let wanted = "a number from 1 to 1024";
            return Err(self.bad("workers", self.workers.to_string(), wanted));
        }
        if self.memory_mb == Some(0) {
            return Err(self.bad("memory_mb", "0".to_owned(), "a number from 1 on"));
        }
        self.seconds("timeout_seconds", self.timeout_seconds)?;
        self.seconds("start_timeout_seconds", self.start_timeout_seconds)?;
        Ok(())
    }

    /// Looks for the file, and in its text for the function's name. Python is not asked, so this takes no time, and a name
    /// that the file gets in some roundabout way is left for the start to find.
    ///
    /// # Errors
    /// When there is no such file, or nothing in it can define the function.
    pub(crate) fn check_file(&self) -> Result<(), PluginError> {
        let path = self.full_path()?;
        // What is no UTF-8 is for Python to read: the file may name its encoding.
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Ok(());
        };
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let mut words = text.split(|c| !is_part(c));
        if words.any(|word| word == self.function) || text.contains("import *") {
            return Ok(());
        }
        let defined: Vec<&str> = text
            .lines()
            .filter_map(|line| {
                let line = line.strip_prefix("async ").unwrap_or(line);
                line.strip_prefix("def ")?.split(|c| !is_part(c)).next()
            })
            .collect();
        Err(self.no_function(&defined))
    }

    fn no_function(&self, defined: &[&str]) -> PluginError {
        PluginError::NoFunction {
            plugin: self.to_string(),
            function: self.function.clone(),
            hint: match closest(&self.function, defined.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None if defined.is_empty() => "it defines none".to_owned(),
                None => format!("it defines: {}", defined.join(", ")),
            },
        }
    }

    fn full_path(&self) -> Result<PathBuf, PluginError> {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        if !path.is_file() {
            return Err(PluginError::NoFile {
                plugin: self.to_string(),
                looked_at: path.display().to_string(),
            });
        }
        if path.to_str().is_none() {
            return Err(self.bad("path", path.display().to_string(), "a path in Unicode"));
        }
        Ok(path)
    }

    fn seconds(&self, key: &'static str, seconds: f64) -> Result<Duration, PluginError> {
        match Duration::try_from_secs_f64(seconds) {
            Ok(limit) if !limit.is_zero() => Ok(limit),
            _ => Err(self.bad(key, seconds.to_string(), "seconds above 0")),
        }
    }

    fn bad(&self, key: &'static str, value: String, wanted: &'static str) -> PluginError {
        PluginError::BadValue {
            plugin: self.to_string(),
            key,
            value,
            wanted,
        }
    }

    fn launch(&self, log: Log) -> Result<Launch, PluginError> {
        self.check()?;
        Ok(Launch {
            python: interpreter(self.python.as_deref(), std::env::var_os("OCELLI_PYTHON")),
            path: self.full_path()?,
            time_limit: self.seconds("timeout_seconds", self.timeout_seconds)?,
            start_limit: self.seconds("start_timeout_seconds", self.start_timeout_seconds)?,
            config: self.clone(),
            log,
        })
    }
}

const MOST_WORKERS: usize = 1024;

/// The plug-in's name, `file.py:function`.
impl fmt::Display for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.function)
    }
}

fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_')
        && characters.all(|c| c.is_alphanumeric() || c == '_')
}

fn interpreter(option: Option<&Path>, environment: Option<OsString>) -> PathBuf {
    match (option, environment) {
        (Some(python), _) => python.to_owned(),
        (None, Some(python)) if !python.is_empty() => python.into(),
        _ => "python3".into(),
    }
}

/// What a plug-in says of one episode.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginVerdict {
    /// The reward: EasyR1's `overall`, verl's `score`, TRL's number; [`Verdict::Skip`] for TRL's `None`.
    pub verdict: Verdict,
    /// The other numbers that the function returned or logged for the episode, for metrics.
    pub scores: BTreeMap<String, f64>,
}

impl PluginVerdict {
    fn error(error: VerifierError) -> Self {
        Self {
            verdict: Verdict::Error(error),
            scores: BTreeMap::new(),
        }
    }
}

/// Running workers of one plug-in. Dropping it kills them and all they have started.
pub struct Plugin {
    name: String,
    style: Style,
    workers: Vec<Worker>,
}

impl Plugin {
    /// Starts the workers and has each load the file. `log` gets every line that the plug-in prints, opened by its name.
    ///
    /// # Errors
    /// When a setting is out of range, the file, the function or the interpreter is missing, the file does not load, or
    /// the calling convention cannot be told.
    pub fn start(
        config: &PluginConfig,
        log: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, PluginError> {
        let launch = config.launch(Arc::new(Mutex::new(log)))?;
        let not_started = || PluginError::NotStarted {
            plugin: config.to_string(),
            message: "its thread ended".to_owned(),
        };
        // All at once: an import may take seconds.
        let (workers, ready): (Vec<Worker>, Vec<_>) = (0..config.workers)
            .map(|index| Worker::start(launch.clone(), index))
            .unzip();
        let mut style = None;
        for ready in ready {
            style = Some(ready.recv().map_err(|_| not_started())??);
        }
        Ok(Self {
            name: config.to_string(),
            style: style.ok_or_else(not_started)?,
            workers,
        })
    }

    /// The convention that the function is called by.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Judges each episode of `batch`, in order.
    ///
    /// With several workers the batch is split among them. Neighbours of one task stay in one call when the style
    /// [takes batches](Style::takes_batches), so that a function can compare the samples of a group.
    pub fn score(&self, batch: &[&Episode]) -> Vec<PluginVerdict> {
        let parts = split(batch, self.workers.len(), self.style.takes_batches());
        let (reply, replies) = channel();
        for (part, (range, worker)) in parts.iter().zip(&self.workers).enumerate() {
            let rows: Vec<Row> = batch[range.clone()]
                .iter()
                .map(|episode| Row::new(episode, self.style))
                .collect();
            worker.submit(Job {
                rows: serde_json::to_vec(&rows).unwrap_or_default(),
                count: rows.len(),
                part,
                reply: reply.clone(),
            });
        }
        drop(reply);
        // A worker's thread that has panicked sends nothing.
        let lost = PluginVerdict::error(VerifierError {
            kind: FailureKind::Crash,
            message: format!("`{}` was not run: its worker's thread has ended", self.name),
            retryable: false,
        });
        let mut verdicts = vec![lost; batch.len()];
        for (part, scored) in replies {
            verdicts[parts[part].clone()].clone_from_slice(&scored);
        }
        verdicts
    }
}

/// At most `parts` neighbouring ranges that cover `batch`, about equally long. With `keep_groups` none ends between two
/// episodes of one task.
fn split(batch: &[&Episode], parts: usize, keep_groups: bool) -> Vec<Range<usize>> {
    let share = batch.len().div_ceil(parts.max(1));
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < batch.len() {
        let mut end = (start + share).min(batch.len());
        while keep_groups && end < batch.len() && batch[end].task.id == batch[end - 1].task.id {
            end += 1;
        }
        ranges.push(start..end);
        start = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::episode;

    #[test]
    fn reads_a_plug_ins_name() {
        let config = PluginConfig::parse("C:/rewards/a.b.py:_score2").unwrap();
        assert_eq!(config.path, Path::new("C:/rewards/a.b.py"));
        assert_eq!(config.function, "_score2");
        for bad in [
            "", "exact", "a.py", "a.py:", ":f", "a.txt:f", "a.py:2f", "a.py:f()", "a.py:f:g",
        ] {
            let error = PluginConfig::parse(bad).unwrap_err().to_string();
            assert!(
                error.contains("as in `my_rewards.py:compute_score`"),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn the_option_names_the_interpreter_before_the_environment() {
        let option = Some(Path::new("/opt/python"));
        let environment = || Some(OsString::from("/usr/bin/python3.9"));
        assert_eq!(interpreter(option, environment()), Path::new("/opt/python"));
        assert_eq!(
            interpreter(None, environment()),
            Path::new("/usr/bin/python3.9")
        );
        assert_eq!(
            interpreter(None, Some(OsString::new())),
            Path::new("python3")
        );
        assert_eq!(interpreter(None, None), Path::new("python3"));
    }

    #[test]
    fn bad_settings_are_refused_before_anything_is_started() {
        let config = PluginConfig::parse("no_such_file.py:f").unwrap();
        let refused = |config: PluginConfig| match Plugin::start(&config, |_| {}) {
            Ok(_) => panic!("{config:?} was accepted"),
            Err(error) => error.to_string(),
        };
        for (config, message) in [
            (config.clone(), "no_such_file.py`; write its path in full"),
            (
                PluginConfig {
                    workers: 0,
                    ..config.clone()
                },
                "`workers = 0` is not allowed",
            ),
            (
                PluginConfig {
                    workers: 2000,
                    ..config.clone()
                },
                "`workers = 2000` is not allowed",
            ),
        ] {
            let error = refused(config);
            assert!(
                error.contains("no_such_file.py:f") && error.contains(message),
                "{error}"
            );
        }
        let file = tempfile::Builder::new().suffix(".py").tempfile().unwrap();
        let config = PluginConfig {
            path: file.path().to_owned(),
            ..config
        };
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            let error = refused(PluginConfig {
                timeout_seconds: seconds,
                ..config.clone()
            });
            assert!(error.contains("it takes seconds above 0"), "{error}");
        }
        let error = refused(PluginConfig {
            python: Some("no-such-python".into()),
            ..config
        });
        assert!(
            error.contains("`no-such-python` cannot be started"),
            "{error}"
        );
        assert!(error.contains("OCELLI_PYTHON"), "{error}");
    }

    #[test]
    fn batches_are_split_evenly_and_between_tasks() {
        let episodes: Vec<Episode> = ["a", "a", "a", "b", "b", "c", "d"]
            .into_iter()
            .map(|id| {
                let mut episode = episode(None, "");
                Arc::make_mut(&mut episode.task).id = id.to_owned();
                episode
            })
            .collect();
        let batch: Vec<&Episode> = episodes.iter().collect();
        let ends = |batch: &[&Episode], parts, keep_groups| -> Vec<usize> {
            let ranges = split(batch, parts, keep_groups);
            let starts = ranges.iter().map(|range| range.start);
            assert!(
                starts.eq([0]
                    .into_iter()
                    .chain(ranges.iter().map(|range| range.end))
                    .take(ranges.len()))
            );
            ranges.iter().map(|range| range.end).collect()
        };
        assert_eq!(ends(&batch, 1, true), [7]);
        assert_eq!(ends(&batch, 3, false), [3, 6, 7]);
        assert_eq!(ends(&batch, 4, true), [3, 5, 7]);
        assert_eq!(ends(&batch, 2, true), [5, 7]);
        assert_eq!(ends(&batch, 100, false), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(ends(&batch[..3], 2, true), [3]);
        assert!(ends(&[], 2, true).is_empty());
    }
}
