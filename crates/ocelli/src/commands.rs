//! The sub-commands, one file each. Results go to stdout, everything else to stderr.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Subcommand;
use ocelli_core::Metrics;
use ocelli_learn::{LearnError, Observer};
use ocelli_model::error::ModelError;
use ocelli_reward::RewardError;

use crate::progress::Progress;

pub mod bench;
pub mod eval;
pub mod generate;
pub mod report;
pub mod serve;
pub mod train;

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Train a recipe, or go on with a run that was stopped.
    Train(train::Arguments),
    /// Measure a checkpoint on held-out rows.
    Eval(eval::Arguments),
    /// Ask a checkpoint a question about a picture.
    Generate(generate::Arguments),
    /// Write a run's report page again.
    Report(report::Arguments),
    /// Run a recipe with several seeds and with a control arm, and print what it gained.
    Bench(bench::Arguments),
    /// Serve verifiers to other programs.
    Serve(serve::Arguments),
}

/// The user's command or recipe is wrong, as opposed to the run having failed.
#[derive(Debug)]
struct Misuse(String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

fn misuse(message: impl Into<String>) -> anyhow::Error {
    Misuse(message.into()).into()
}

/// Whether an error calls for exit code 2.
pub fn is_misuse(error: &anyhow::Error) -> bool {
    error.is::<Misuse>()
        || error.is::<RewardError>()
        || matches!(error.downcast_ref(), Some(ModelError::NoSuchModel { .. }))
        || error
            .downcast_ref::<LearnError>()
            .is_some_and(LearnError::is_misuse)
}

/// Runs a sub-command.
///
/// # Errors
/// Whatever ends it early.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Train(arguments) => train::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
    }
}

/// Writes a result to stdout. A reader that has gone away (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("stdout"),
    }
}

/// A run shown in the terminal.
struct Terminal(Progress);

impl Observer for Terminal {
    fn begin_stage(&mut self, name: &str, total: u64) {
        self.0.begin_stage(name, total);
    }

    fn step(&mut self, step: u64, metrics: &Metrics) {
        self.0.step(step, metrics);
    }

    fn end_stage(&mut self) {
        self.0.end_stage();
    }

    fn message(&mut self, text: &str) {
        self.0.message(text);
    }
}

/// A flag that SIGINT and SIGTERM set: the run then ends after its current step, with a checkpoint. A second signal ends the
/// program at once.
fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        let _ = writeln!(
            std::io::stderr(),
            "stopping after this step; press Ctrl-C again to stop at once"
        );
    })
    .context("signal handler")?;
    Ok(stop)
}

/// The folder a recipe's data paths are relative to.
fn data_root(recipe: &ocelli_learn::Recipe, recipe_path: &std::path::Path) -> PathBuf {
    recipe
        .data
        .root
        .clone()
        .unwrap_or_else(|| recipe_path.parent().map(PathBuf::from).unwrap_or_default())
}
