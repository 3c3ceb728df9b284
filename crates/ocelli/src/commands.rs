//! The sub-commands, one file each. Results go to stdout, everything else to stderr.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Subcommand;
use ocelli_learn::{LearnError, Recipe};
use ocelli_model::error::ModelError;
use ocelli_reward::RewardError;

pub mod bench;
pub mod difficulty;
pub mod doctor;
pub mod eval;
pub mod generate;
pub mod inspect;
pub mod merge;
pub mod report;
mod reward_file;
pub mod score;
pub mod serve;
mod shown;
pub mod train;
pub mod validate;

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Train a recipe, or go on with a run that was stopped.
    Train(train::Arguments),
    /// Check a recipe, and predict the memory that each of its phases will need on this machine.
    Doctor(doctor::Arguments),
    /// Measure a checkpoint on held-out rows.
    Eval(eval::Arguments),
    /// Ask a checkpoint a question about a picture.
    Generate(generate::Arguments),
    /// Look at a checkpoint, a prompt, or what the model sees of a picture.
    Inspect(inspect::Arguments),
    /// Add an adapter into the weights of its model.
    Merge(merge::Arguments),
    /// Write a run's report page again.
    Report(report::Arguments),
    /// Run a recipe with several seeds and with a control arm, and print what it gained.
    Bench(bench::Arguments),
    /// Measure how often a recipe's model solves each row of a stage, for `data.difficulty`.
    Difficulty(difficulty::Arguments),
    /// Score recorded episodes anew, with any reward.
    Score(score::Arguments),
    /// Check that the rows' own answers get full marks.
    Validate(validate::Arguments),
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
        || error
            .downcast_ref::<ModelError>()
            .is_some_and(ModelError::is_misuse)
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
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Merge(arguments) => merge::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Difficulty(arguments) => difficulty::run(&arguments),
        Command::Score(arguments) => score::run(&arguments),
        Command::Validate(arguments) => validate::run(&arguments),
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

/// Reads a recipe with changes from the command line; `data` is the folder of its data files.
fn read_recipe(path: &Path, overrides: &[String], data: Option<&Path>) -> anyhow::Result<Recipe> {
    let mut overrides = overrides.to_vec();
    if let Some(data) = data {
        let folder = absolute(data)?.display().to_string();
        overrides.push(format!("data.root={}", toml::Value::String(folder)));
    }
    let recipe = Recipe::read(path, &overrides)?;
    let stages = recipe.stage.iter().flat_map(|stage| stage.data.tables());
    let mut tables = stages.chain(recipe.eval.as_ref().map(|eval| &eval.data));
    if data.is_some() && !tables.any(|table| table.path.is_some()) {
        return Err(misuse(format!(
            "--data has no effect: {} reads no data files, its rows are generated",
            path.display()
        )));
    }
    Ok(recipe)
}

/// Makes a recipe stand on its own, wherever it is read: its folders of data and model become absolute. Returns the data's.
fn settle(recipe: &mut Recipe, path: &Path) -> anyhow::Result<PathBuf> {
    let root = absolute(&data_root(recipe, path))?;
    recipe.data.root = Some(root.clone());
    let model = Path::new(&recipe.model.path);
    if model.is_dir() {
        recipe.model.path = absolute(model)?.display().to_string();
    }
    Ok(root)
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    let here = Path::new(".");
    let path = if path == "" { here } else { path };
    std::path::absolute(path).with_context(|| path.display().to_string())
}

/// The folder a recipe's data paths are relative to.
fn data_root(recipe: &Recipe, recipe_path: &Path) -> PathBuf {
    let own_folder = || match recipe_path.parent() {
        Some(folder) if folder != "" => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    recipe.data.root.clone().unwrap_or_else(own_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lies_beside_the_recipe_unless_said_otherwise() {
        let mut recipe: Recipe = toml::from_str(
            "[model]\npath = \"tiny-qwen2_5_vl\"\n[[stage]]\nkind = \"sft\"\n\
             data = { generator = \"pointing\", rows = 1 }\nexit = { max_steps = 1 }",
        )
        .unwrap();
        for (path, root) in [("a.toml", "."), ("b/a.toml", "b"), ("/b/a.toml", "/b")] {
            assert_eq!(data_root(&recipe, path.as_ref()), PathBuf::from(root));
        }
        recipe.data.root = Some("c".into());
        assert_eq!(data_root(&recipe, "b/a.toml".as_ref()), PathBuf::from("c"));
    }
}
