//! `ocelli train`.

use std::path::{Path, PathBuf};

use clap::Args;
use ocelli_data::DataError;
use ocelli_learn::stage::StageEnd;
use ocelli_learn::train::{Finished, plan, resume, train_file};
use ocelli_learn::{LearnError, Observer, Recipe};

use super::{data_root, misuse, print, read_recipe, settle, stop_flag};
use crate::evaluation_table::format_eval_table;
use crate::progress::Progress;
use crate::report::write_report;

/// Arguments of `ocelli train`.
#[derive(Args)]
pub struct Arguments {
    /// The recipe, a TOML file.
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    recipe: Option<PathBuf>,
    /// Go on with this run folder from its newest checkpoint.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Change a key of the recipe, such as `--set run.seed=1` or `--set stage.grpo.exit.max_steps=50`.
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "resume")]
    overrides: Vec<String>,
    /// Folder with the data files that the recipe names.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    data: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    seed: Option<u64>,
    /// Name of the run's folder; by default the recipe's file name.
    #[arg(long, conflicts_with = "resume")]
    name: Option<String>,
    /// Read recipe, model and data, say what would be done, and stop.
    #[arg(long)]
    dry_run: bool,
    /// No progress on stderr.
    #[arg(long, short)]
    quiet: bool,
    /// Print the evaluations as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Trains.
///
/// # Errors
/// When the recipe, its data or the run folder can't be used.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(folder) = &arguments.resume {
        return go_on(folder, arguments);
    }
    let path = arguments
        .recipe
        .as_deref()
        .ok_or_else(|| misuse("give a recipe, or --resume RUN"))?;
    let mut overrides = arguments.overrides.clone();
    if let Some(seed) = arguments.seed {
        overrides.push(format!("run.seed={seed}"));
    }
    let mut recipe = read_recipe(path, &overrides, arguments.data.as_deref())?;
    let given = recipe.data.root.is_some();
    let root = settle(&mut recipe, path)?;
    if arguments.dry_run {
        let lines = plan(&recipe, &root).map_err(|e| data_hint(e, given))?;
        return print(&(lines.join("\n") + "\n"));
    }
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let name = arguments
        .name
        .clone()
        .or_else(|| recipe.run.name.clone())
        .or(stem)
        .unwrap_or_else(|| "run".into());
    let stop = stop_flag()?;
    let mut progress = Progress::new(arguments.quiet);
    let finished = train_file(&recipe, Some(path), &name, &root, &mut progress, &stop)
        .map_err(|e| data_hint(e, given))?;
    tell(&finished, arguments, &mut progress)
}

fn go_on(folder: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let path = folder.join("resolved.toml");
    if !path.is_file() {
        return Err(misuse(format!(
            "{}: no run here (resolved.toml is missing); give a folder that `ocelli train` made",
            folder.display()
        )));
    }
    let recipe = Recipe::read(&path, &[])?;
    let root = data_root(&recipe, &path);
    if arguments.dry_run {
        return print(&(plan(&recipe, &root)?.join("\n") + "\n"));
    }
    let stop = stop_flag()?;
    let mut progress = Progress::new(arguments.quiet);
    let finished = resume(folder, &recipe, &root, &mut progress, &stop)?;
    tell(&finished, arguments, &mut progress)
}

/// Tells how to name the data folder when a file is not where the recipe looks for it.
pub(super) fn data_hint(error: LearnError, given: bool) -> anyhow::Error {
    match &error {
        LearnError::Data(DataError::Read { source, .. })
            if !given && source.kind() == std::io::ErrorKind::NotFound =>
        {
            misuse(format!(
                "{error}; say where the recipe's data files are with --data DIR"
            ))
        }
        _ => error.into(),
    }
}

fn tell(finished: &Finished, arguments: &Arguments, progress: &mut Progress) -> anyhow::Result<()> {
    let report = write_report(&finished.folder)?;
    if finished.end == StageEnd::Stopped {
        progress.message(&format!(
            "stopped with a checkpoint; go on with: ocelli train --resume {}",
            finished.folder.display()
        ));
    }
    if arguments.json {
        let text = serde_json::json!({
            "run": finished.folder,
            "checkpoint": finished.checkpoint,
            "report": report,
            "evaluations": finished.evaluations,
        });
        return print(&format!("{text:#}\n"));
    }
    let mut text = String::new();
    if !finished.evaluations.is_empty() {
        text += &format_eval_table(&finished.evaluations);
        text.push('\n');
    }
    if let Some(checkpoint) = &finished.checkpoint {
        text += &format!("checkpoint  {}\n", checkpoint.display());
    }
    text += &format!("report      {}\n", report.display());
    print(&text)
}
