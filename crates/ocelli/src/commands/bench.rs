//! `ocelli bench`: what a recipe gains, over seeds and against a control arm.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use ocelli_learn::evaluation::EvalRow;
use ocelli_learn::recipe::StageKind;
use ocelli_learn::stage::StageEnd;
use ocelli_learn::train::{Finished, train, train_file};
use ocelli_learn::{Observer, Recipe};
use serde::Serialize;

use super::{misuse, print, read_recipe, settle, stop_flag};
use crate::progress::Progress;

/// Arguments of `ocelli bench`.
#[derive(Args)]
pub struct Arguments {
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

/// Runs seeds and control.
///
/// # Errors
/// When a run fails.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let data = arguments.data.as_deref();
    let mut recipe = read_recipe(&arguments.recipe, &arguments.overrides, data)?;
    let last = recipe
        .stage
        .len()
        .checked_sub(1)
        .filter(|&last| last > 0 || Path::new(&recipe.model.path).is_dir());
    let Some(last) = last else {
        return Err(misuse(
            "the recipe needs a stage before the one under test, or a checkpoint to start from",
        ));
    };
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
    if arguments.control && recipe.stage[last].kind != StageKind::Grpo {
        return Err(misuse(
            "--control shuffles rewards, so the last stage must be `grpo`",
        ));
    }
    let root = settle(&mut recipe, &arguments.recipe)?;
    let stem = arguments
        .recipe
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
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
    let mut arm = recipe.clone();
    arm.run.seed = seed;
    let mut stage = arm.stage.remove(last);
    if last > 0 {
        let before = ocelli_learn::run::Run::checkpoints(&treatment.folder)?
            .into_iter()
            .filter(|(progress, _)| progress.stage + 1 == last)
            .max()
            .context("the stage before the last left no checkpoint")?;
        arm.model.path = before.1.display().to_string();
        arm.model.overrides = Default::default();
    }
    stage.algorithm.get_or_insert_default().shuffle_rewards = true;
    arm.stage = vec![stage];
    Ok(train(
        &arm,
        &format!("{stem}-seed-{seed}-control"),
        root,
        progress,
        stop,
    )?)
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
