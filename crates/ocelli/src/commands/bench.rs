//! `ocelli bench`: what a recipe gains, over seeds and against a control arm.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use ocelli_learn::evaluation::EvalRow;
use ocelli_learn::recipe::StageKind;
use ocelli_learn::stage::StageEnd;
use ocelli_learn::train::{Finished, train, train_file};
use ocelli_learn::{Observer, Recipe};
use serde::Serialize;

use super::{misuse, print, read_recipe, settle, stop_flag};
use crate::progress::Progress;

mod algorithms;

/// Arguments of `ocelli bench`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    gain: Option<GainArguments>,
}

#[derive(Subcommand)]
enum What {
    /// Train the last stage with every preset algorithm from the same checkpoint, and compare them.
    Algorithms(algorithms::Arguments),
}

#[derive(Args)]
struct GainArguments {
    /// The recipe; its last stage is the one under test.
    recipe: PathBuf,
    /// Seeds, one run each.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2")]
    seeds: Vec<u64>,
    /// Also run the last stage with rewards shuffled over the batch, from the same checkpoint.
    #[arg(long)]
    control: bool,
    /// Folder with the data files that the recipe names.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Change a key of the recipe.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Write every figure to this JSON file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// No progress on stderr.
    #[arg(long, short)]
    quiet: bool,
}

/// One figure before and after the last stage.
#[derive(Debug, Serialize)]
struct Figure {
    arm: &'static str,
    seed: u64,
    mode: String,
    task: String,
    score: String,
    before: f64,
    after: f64,
}

/// Runs seeds and control, or presets.
///
/// # Errors
/// When a run fails.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match (&arguments.what, &arguments.gain) {
        (Some(What::Algorithms(arguments)), _) => algorithms::run(arguments),
        (None, Some(arguments)) => gain(arguments),
        (None, None) => Err(misuse("give a recipe, or `algorithms` and a recipe")),
    }
}

fn gain(arguments: &GainArguments) -> anyhow::Result<()> {
    let data = arguments.data.as_deref();
    let mut recipe = read_recipe(&arguments.recipe, &arguments.overrides, data)?;
    let last = stage_under_test(&recipe)?;
    if arguments.control && recipe.stage[last].kind != StageKind::Grpo {
        return Err(misuse(
            "--control shuffles rewards, so the last stage must be `grpo`",
        ));
    }
    let root = settle(&mut recipe, &arguments.recipe)?;
    let stem = stem(&arguments.recipe);
    let stop = stop_flag()?;
    let mut progress = Progress::new(arguments.quiet);
    let mut figures = Vec::new();
    let mut stopped = false;
    for &seed in &arguments.seeds {
        let mut arm = recipe.clone();
        arm.run.seed = seed;
        let began = std::time::Instant::now();
        let finished = train_file(
            &arm,
            Some(&arguments.recipe),
            &format!("{stem}-seed-{seed}"),
            &root,
            &mut progress,
            &stop,
        )?;
        crate::report::write_report(&finished.folder)?;
        if finished.end == StageEnd::Stopped {
            break;
        }
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        progress.message(&format!(
            "seed {seed}: {minutes:.1} minutes, {}",
            finished.folder.display()
        ));
        figures.extend(compare(
            "treatment",
            seed,
            &finished.evaluations,
            last as i64,
        ));
        if arguments.control {
            let finished = control(
                &recipe,
                seed,
                &stem,
                &root,
                last,
                &finished,
                &mut progress,
                &stop,
            )?;
            if finished.end == StageEnd::Stopped {
                stopped = true;
            } else {
                figures.extend(compare("control", seed, &finished.evaluations, 0));
            }
        }
        if let Some(path) = &arguments.out {
            let text = format!("{:#}\n", serde_json::json!(figures));
            std::fs::write(path, text).with_context(|| path.display().to_string())?;
        }
        if stopped {
            break;
        }
    }
    print(&table(&figures))
}

/// The last stage alone, from the checkpoint before it, with rewards that say nothing.
#[expect(
    clippy::too_many_arguments,
    reason = "one caller; the arms share everything"
)]
fn control(
    recipe: &Recipe,
    seed: u64,
    stem: &str,
    root: &Path,
    last: usize,
    treatment: &Finished,
    progress: &mut Progress,
    stop: &std::sync::atomic::AtomicBool,
) -> anyhow::Result<Finished> {
    let start = match last {
        0 => PathBuf::from(&recipe.model.path),
        _ => checkpoint_before(&treatment.folder, last)?,
    };
    let mut arm = last_stage_alone(recipe, last, seed, &start);
    let algorithm = &mut arm.stage[0].algorithm;
    algorithm.get_or_insert_default().shuffle_rewards = true;
    Ok(train(
        &arm,
        &format!("{stem}-seed-{seed}-control"),
        root,
        progress,
        stop,
    )?)
}

/// The index of the last stage, where a recipe allows it to be compared with what was before.
fn stage_under_test(recipe: &Recipe) -> anyhow::Result<usize> {
    let last = recipe
        .stage
        .len()
        .checked_sub(1)
        .filter(|&last| last > 0 || Path::new(&recipe.model.path).is_dir());
    let last = last.ok_or_else(|| {
        misuse("the recipe needs a stage before the one under test, or a checkpoint to start from")
    })?;
    if recipe.eval.is_none() {
        return Err(misuse(
            "the recipe has no [eval] table, so there is nothing to compare; say there what is measured",
        ));
    }
    if recipe.stage.iter().any(|stage| stage.repeat.is_some()) {
        return Err(misuse(
            "the last stage is compared with the one before it, which `repeat` makes many; remove it",
        ));
    }
    Ok(last)
}

/// A recipe's name.
fn stem(recipe: &Path) -> String {
    let stem = recipe.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// The checkpoint that a run's stage `last` began with.
fn checkpoint_before(folder: &Path, last: usize) -> anyhow::Result<PathBuf> {
    let checkpoints = ocelli_learn::run::Run::checkpoints(folder)?.into_iter();
    let newest = checkpoints
        .filter(|(progress, _)| progress.stage + 1 == last)
        .max();
    let (_, path) = newest.context("the stage before the last left no checkpoint")?;
    Ok(path)
}

/// The last stage by itself, from a checkpoint.
fn last_stage_alone(recipe: &Recipe, last: usize, seed: u64, start: &Path) -> Recipe {
    let mut arm = recipe.clone();
    arm.run.seed = seed;
    arm.stage = vec![arm.stage.remove(last)];
    if last > 0 {
        arm.model.path = start.display().to_string();
        arm.model.overrides = Default::default();
    }
    arm
}

/// Each score before and after the stage of that index.
fn compare(arm: &'static str, seed: u64, rows: &[EvalRow], stage: i64) -> Vec<Figure> {
    let after = rows.iter().filter(|row| row.stage_index == stage);
    after
        .flat_map(|after| {
            let before = rows.iter().find(|row| {
                row.stage_index == stage - 1 && row.mode == after.mode && row.task == after.task
            });
            after.scores.iter().filter_map(move |(score, value)| {
                Some(Figure {
                    arm,
                    seed,
                    mode: after.mode.clone(),
                    task: after.task.clone(),
                    score: score.clone(),
                    before: *before?.scores.get(score)?,
                    after: *value,
                })
            })
        })
        .collect()
}

fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "{:<10} {:>4}  {:<8} {:<10} {:<12} {:>7} {:>7} {:>8}\n",
        "arm", "seed", "mode", "task", "score", "before", "after", "change"
    );
    for f in figures {
        text += &format!(
            "{:<10} {:>4}  {:<8} {:<10} {:<12} {:>7.3} {:>7.3} {:>+8.3}\n",
            f.arm,
            f.seed,
            f.mode,
            f.task,
            f.score,
            f.before,
            f.after,
            f.after - f.before
        );
    }
    text
}
