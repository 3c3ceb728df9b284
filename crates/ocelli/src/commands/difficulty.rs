//! `ocelli difficulty`.

use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use ocelli_learn::curriculum::success::SuccessRule;
use ocelli_learn::difficulty::measure;

use super::{misuse, print, read_recipe, settle};

/// Arguments of `ocelli difficulty`.
#[derive(Args)]
pub struct Arguments {
    /// Recipe whose model is asked the rows of one of its stages.
    recipe: PathBuf,
    /// File to write: one line a row, for `data.difficulty`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The stage, from 1; by default the first one with a reward.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    stage: Option<u32>,
    /// Answers a row; by default the stage's `num_generations`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    samples: Option<u32>,
    /// Reward node whose score is the success; by default the reward as a share of the largest one.
    #[arg(long, value_name = "NODE")]
    success: Option<String>,
    /// From which score on an answer counts as right, and wrong below it; by default scores count as they are.
    #[arg(long, value_name = "X")]
    threshold: Option<f64>,
    /// Folder of the recipe's data files.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Change a key of the recipe, such as model.path.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Measures.
///
/// # Errors
/// When recipe, model, data or file can't be used.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments
        .threshold
        .is_some_and(|t| !(t > 0.0 && t.is_finite()))
    {
        return Err(misuse("--threshold: give a number above 0"));
    }
    let mut recipe = read_recipe(&arguments.recipe, &arguments.set, arguments.data.as_deref())?;
    let root = settle(&mut recipe, &arguments.recipe)?;
    let rewarded = recipe
        .stage
        .iter()
        .position(|stage| !stage.reward.is_empty());
    let stage = arguments
        .stage
        .map_or(rewarded.unwrap_or(0), |n| n as usize - 1);
    let success = SuccessRule {
        node: arguments.success.clone(),
        threshold: arguments.threshold,
    };
    // Whole or not there: half a file would leave rows out.
    let partial = arguments.out.with_extension("partial");
    let place = || arguments.out.display().to_string();
    let mut file = BufWriter::new(std::fs::File::create(&partial).with_context(place)?);
    let samples = arguments.samples.map(|n| n as usize);
    let rows = measure(&recipe, (stage, samples), &success, &root, &mut file)?;
    file.into_inner()
        .map_err(|e| e.into_error())
        .with_context(place)?;
    std::fs::rename(&partial, &arguments.out).with_context(place)?;
    let count = |keep: fn(f64) -> bool| {
        let rates = rows.iter().filter_map(|row| row.pass_rate);
        rates.filter(|rate| keep(*rate)).count()
    };
    print(&format!(
        "{} rows: {} never solved, {} sometimes, {} always, {} not judged\n",
        rows.len(),
        count(|rate| rate <= 0.0),
        count(|rate| rate > 0.0 && rate < 1.0),
        count(|rate| rate >= 1.0),
        rows.iter().filter(|row| row.pass_rate.is_none()).count(),
    ))
}
