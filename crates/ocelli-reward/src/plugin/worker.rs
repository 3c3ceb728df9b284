//! A worker: a thread that owns one Python process, starts it again when it has died, and scores one job at a time.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ocelli_core::{FailureKind, Verdict, VerifierError};
use serde::Deserialize;
use serde_json::json;

use super::process::{Ending, Log, Process, Silence};
use super::{PluginConfig, PluginError, PluginVerdict, Style};

/// Rows to score, with where to send their verdicts.
pub(crate) struct Job {
    /// A JSON list of [`super::row::Row`].
    pub(crate) rows: Vec<u8>,
    pub(crate) count: usize,
    /// Which part of the caller's batch this is.
    pub(crate) part: usize,
    pub(crate) reply: Sender<(usize, Vec<PluginVerdict>)>,
}

/// A checked plug-in, ready to be started any number of times.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) config: PluginConfig,
    /// The interpreter, by the option, the environment or default.
    pub(crate) python: PathBuf,
    /// The file's full path.
    pub(crate) path: PathBuf,
    pub(crate) time_limit: Duration,
    pub(crate) start_limit: Duration,
    pub(crate) log: Log,
}

/// The handle to a worker's thread.
pub(crate) struct Worker {
    /// `None` once the worker is being dropped, which ends the thread.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread, which starts the process and sends what came of it.
    pub(crate) fn start(
        launch: Launch,
        index: usize,
    ) -> (Self, Receiver<Result<Style, PluginError>>) {
        let (jobs, to_do) = channel();
        let (started, ready) = channel();
        let thread = thread::spawn(move || run(&launch, index, &to_do, &started));
        let worker = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        (worker, ready)
    }

    /// Hands a job over; it is scored after those before it. Without a reply when the thread is gone.
    pub(crate) fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    launch: &Launch,
    index: usize,
    jobs: &Receiver<Job>,
    started: &Sender<Result<Style, PluginError>>,
) {
    let mut process = match launch.start(index) {
        Ok((process, style)) => {
            let _ = started.send(Ok(style));
            Some(process)
        }
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    for (id, job) in jobs.iter().enumerate() {
        let verdicts = launch
            .score(&mut process, index, id, &job)
            .unwrap_or_else(|error| vec![PluginVerdict::error(error); job.count]);
        let _ = job.reply.send((job.part, verdicts));
    }
}

/// One line from a runner that has been asked to load the plug-in.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Greeting {
    Ready {
        style: Style,
    },
    Refused {
        kind: String,
        message: String,
        names: Vec<String>,
    },
}

/// One line from a runner that has been given rows: verdicts, or a fault of the whole call.
#[derive(Deserialize)]
struct Reply {
    id: usize,
    rows: Option<Vec<Judged>>,
    fault: Option<VerifierError>,
}

/// What became of one row; all absent when the function does not apply to it.
#[derive(Deserialize)]
struct Judged {
    value: Option<f64>,
    #[serde(default)]
    names: std::collections::BTreeMap<String, f64>,
    fault: Option<VerifierError>,
}

impl Launch {
    /// Starts a process and has it load the plug-in.
    fn start(&self, index: usize) -> Result<(Process, Style), PluginError> {
        let plugin = self.config.to_string();
        let label = match self.config.workers {
            1 => plugin.clone(),
            _ => format!("{plugin}[{index}]"),
        };
        let process = Process::spawn(&self.python, label, self.log.clone()).map_err(|error| {
            PluginError::NoInterpreter {
                plugin: plugin.clone(),
                python: self.python.display().to_string(),
                reason: error.to_string(),
            }
        })?;
        let setup = json!({
            "path": self.path,
            "function": self.config.function,
            "style": self.config.style,
            "completions": self.config.completions,
            "kwargs": self.config.kwargs,
            "memory_bytes": self.config.memory_mb.map(|mb| mb.saturating_mul(1 << 20).min(i64::MAX as u64)),
        });
        let line = match process.exchange(setup.to_string().into_bytes(), self.start_limit) {
            Ok(line) => line,
            Err(silence) => {
                return Err(PluginError::NotStarted {
                    plugin,
                    message: self.what_happened(process.end(silence), silence, self.start_limit),
                });
            }
        };
        match serde_json::from_slice(&line) {
            Ok(Greeting::Ready { style }) => Ok((process, style)),
            Ok(Greeting::Refused {
                kind,
                message,
                names,
            }) => Err(self.refusal(&kind, message, &names)),
            Err(error) => Err(PluginError::NotStarted {
                plugin,
                message: format!("its first line is not of the protocol ({error})"),
            }),
        }
    }

    fn refusal(&self, kind: &str, message: String, names: &[String]) -> PluginError {
        let plugin = self.config.to_string();
        let function = self.config.function.clone();
        match kind {
            "syntax" => PluginError::Syntax { plugin, message },
            "import" => PluginError::Import {
                plugin,
                message,
                python: self.python.display().to_string(),
            },
            "load" => PluginError::Load { plugin, message },
            "function" => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.config.no_function(&names)
            }
            "callable" => PluginError::NotAFunction {
                plugin,
                function,
                found: message,
            },
            "style" => PluginError::UnknownStyle {
                plugin,
                arguments: message,
            },
            "kwargs" => PluginError::BadKwargs { plugin, message },
            _ => PluginError::NotStarted { plugin, message },
        }
    }

    /// Scores `job` in `process`, which is started anew when it is not there, and ended when it breaks the protocol.
    fn score(
        &self,
        process: &mut Option<Process>,
        index: usize,
        id: usize,
        job: &Job,
    ) -> Result<Vec<PluginVerdict>, VerifierError> {
        // It may have died between two batches, of a thread of its own or by a foreign hand: no fault of this one.
        if process.as_mut().is_some_and(Process::has_ended) {
            *process = None;
        }
        let running = match process.take() {
            Some(running) => running,
            None => match self.start(index) {
                Ok((running, _)) => running,
                Err(error) => {
                    return Err(VerifierError {
                        kind: FailureKind::Crash,
                        message: format!("{error} (it had to be started again)"),
                        retryable: true,
                    });
                }
            },
        };
        let mut request = format!("{{\"id\":{id},\"rows\":").into_bytes();
        request.extend_from_slice(&job.rows);
        request.push(b'}');
        let line = match running.exchange(request, self.time_limit) {
            Ok(line) => line,
            Err(silence) => {
                let what = self.what_happened(running.end(silence), silence, self.time_limit);
                let kind = match silence {
                    Silence::TimedOut => FailureKind::Timeout,
                    Silence::Ended => FailureKind::Crash,
                };
                return Err(self.error(kind, &what, true));
            }
        };
        let reply: Reply = serde_json::from_slice(&line).map_err(|error| {
            self.error(
                FailureKind::Protocol,
                &format!("the worker's reply is not of the protocol ({error})"),
                false,
            )
        })?;
        if reply.id != id {
            let what = "the worker's reply belongs to another batch";
            return Err(self.error(FailureKind::Protocol, what, false));
        }
        let verdicts = match reply {
            Reply {
                fault: Some(fault), ..
            } => Err(self.error(FailureKind::Crash, &fault.message, fault.retryable)),
            Reply {
                rows: Some(rows), ..
            } if rows.len() == job.count => {
                Ok(rows.into_iter().map(|row| self.verdict(row)).collect())
            }
            _ => {
                let what = "the worker's reply is of another length than the batch";
                return Err(self.error(FailureKind::Protocol, what, false));
            }
        };
        *process = Some(running);
        verdicts
    }

    fn verdict(&self, row: Judged) -> PluginVerdict {
        match row {
            Judged {
                fault: Some(fault), ..
            } => PluginVerdict::error(self.error(
                FailureKind::Crash,
                &fault.message,
                fault.retryable,
            )),
            Judged {
                value: Some(value),
                names,
                ..
            } => PluginVerdict {
                verdict: Verdict::score(value),
                scores: names,
            },
            Judged { .. } => PluginVerdict {
                verdict: Verdict::Skip,
                scores: Default::default(),
            },
        }
    }

    /// Every error of a plug-in opens with its file and function.
    fn error(&self, kind: FailureKind, what: &str, retryable: bool) -> VerifierError {
        VerifierError {
            kind,
            message: format!("`{}` {what}", self.config),
            retryable,
        }
    }

    /// Why a process gave no reply, from how it ended and what it printed last.
    fn what_happened(&self, ending: Ending, silence: Silence, limit: Duration) -> String {
        let place = self
            .place_in(&ending.lines)
            .map(|line| format!(" (it was in line {line})"));
        if silence == Silence::TimedOut {
            let seconds = limit.as_secs_f64();
            return format!(
                "took longer than {seconds} s and was killed{}",
                place.unwrap_or_default()
            );
        }
        let how = ending.status.map_or_else(
            || "in an unknown way".to_owned(),
            |status| status.to_string(),
        );
        let last_line = || {
            let line = ending
                .lines
                .iter()
                .rev()
                .find(|line| !line.trim().is_empty())?;
            Some(format!("; it printed last: {line}"))
        };
        format!(
            "ended its process ({how}){}",
            place.or_else(last_line).unwrap_or_default()
        )
    }

    /// The line of the plug-in's file in a dumped stack, innermost call first: `  File "path", line 7 in name`.
    fn place_in(&self, lines: &[String]) -> Option<u64> {
        let dump = lines
            .iter()
            .rposition(|line| line.starts_with("Current thread") || line.starts_with("Stack ("))?;
        let file = format!("File \"{}\", line ", self.path.display());
        lines[dump..].iter().find_map(|line| {
            let (_, rest) = line.split_once(&file)?;
            rest.split(' ').next()?.parse().ok()
        })
    }
}
