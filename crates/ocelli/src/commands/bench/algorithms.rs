//! `ocelli bench algorithms`: every preset as the last stage of a recipe, from the same checkpoint.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use ocelli_learn::algorithm::{AlgorithmConfig, Preset};
use ocelli_learn::recipe::StageKind;
use ocelli_learn::stage::StageEnd;
use ocelli_learn::train::train;
use ocelli_learn::{Observer, Recipe};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{checkpoint_before, compare, last_stage_alone, stage_under_test};
use crate::commands::{misuse, print, read_recipe, settle, stop_flag};
use crate::progress::Progress;
use verdict::table;

mod verdict;

/// Arguments of `ocelli bench algorithms`.
#[derive(Args)]
pub(super) struct Arguments {
    /// The recipe; its last stage is trained with each preset, everything else of it the same.
    recipe: PathBuf,
    /// Where scores.csv, curves.csv and table.md are written. What scores.csv has already is not trained again.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Presets, the first one is what the others are compared with; by default all, with `grpo` first.
    #[arg(long, value_delimiter = ',')]
    presets: Vec<String>,
    /// Seeds, one run each for every preset.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2")]
    seeds: Vec<u64>,
    /// Folder with the data files that the recipe names.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Change a key of the recipe.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// No progress on stderr.
    #[arg(long, short)]
    quiet: bool,
}

/// A line of scores.csv: one figure before and after the stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Score {
    preset: String,
    seed: u64,
    mode: String,
    task: String,
    score: String,
    before: f64,
    after: f64,
}

/// A line of curves.csv: means over the steps up to this one, from the line before.
#[derive(Debug, Serialize, Deserialize)]
struct Point {
    preset: String,
    seed: u64,
    step: u64,
    reward: Option<f64>,
    kl: Option<f64>,
    entropy: Option<f64>,
    length: Option<f64>,
}

/// Lines of a curve.
const POINTS: usize = 20;

/// Trains every preset with every seed.
///
/// # Errors
/// When a run fails, or the folder can't be written.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let presets = presets(&arguments.presets)?;
    let data = arguments.data.as_deref();
    let mut recipe = read_recipe(&arguments.recipe, &arguments.overrides, data)?;
    let last = stage_under_test(&recipe)?;
    if recipe.stage[last].kind != StageKind::Grpo {
        return Err(misuse(
            "presets are of stages `grpo`; the last stage is another kind",
        ));
    }
    let root = settle(&mut recipe, &arguments.recipe)?;
    let refused = refusals(&recipe, last, &presets);
    fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let bench = Bench {
        stem: super::stem(&arguments.recipe),
        scores: arguments.out.join("scores.csv"),
        curves: arguments.out.join("curves.csv"),
        root,
        last,
        recipe,
    };
    let mut scores: Vec<Score> = read(&bench.scores)?;
    let mut curves: Vec<Point> = read(&bench.curves)?;
    let stop = stop_flag()?;
    let mut progress = Progress::new(arguments.quiet);
    'seeds: for &seed in &arguments.seeds {
        let done = |scores: &[Score], preset: &str| {
            scores.iter().any(|s| s.preset == preset && s.seed == seed)
        };
        let names = presets.iter().map(|preset| (*preset, preset.name()));
        let left: Vec<_> = names
            .filter(|(_, name)| !done(&scores, name) && !refused.contains_key(name))
            .collect();
        if left.is_empty() {
            continue;
        }
        let Some(start) = bench.start(seed, &mut progress, &stop)? else {
            break;
        };
        for (preset, name) in left {
            let Some((found, points)) = bench.arm(preset, seed, &start, &mut progress, &stop)?
            else {
                break 'seeds;
            };
            scores.retain(|s| (s.preset.as_str(), s.seed) != (&name, seed));
            curves.retain(|p| (p.preset.as_str(), p.seed) != (&name, seed));
            scores.extend(found);
            curves.extend(points);
            write(&bench.curves, &curves)?;
            write(&bench.scores, &scores)?;
        }
    }
    let names: Vec<String> = presets.iter().map(|preset| preset.name()).collect();
    let table = table(&names, &scores, &refused);
    let path = arguments.out.join("table.md");
    fs::write(&path, &table).with_context(|| path.display().to_string())?;
    print(&table)
}

/// The presets of these names, or all.
fn presets(names: &[String]) -> anyhow::Result<Vec<Preset>> {
    if names.is_empty() {
        return Ok(Preset::ALL.to_vec());
    }
    let find = |name: &String| {
        let found = Preset::ALL.iter().find(|preset| preset.name() == *name);
        found.copied().ok_or_else(|| {
            let all: Vec<String> = Preset::ALL.iter().map(|preset| preset.name()).collect();
            misuse(format!(
                "--presets {name}: no such preset; there are {}",
                all.join(", ")
            ))
        })
    };
    names.iter().map(find).collect()
}

fn with_preset(recipe: &Recipe, last: usize, preset: Preset) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.stage[last].algorithm = Some(AlgorithmConfig {
        preset,
        ..AlgorithmConfig::default()
    });
    recipe
}

/// Why presets can't train this recipe.
fn refusals(recipe: &Recipe, last: usize, presets: &[Preset]) -> BTreeMap<String, String> {
    let check = |preset: &Preset| {
        let error = with_preset(recipe, last, *preset).check().err()?;
        Some((preset.name(), error))
    };
    presets.iter().filter_map(check).collect()
}

struct Bench {
    recipe: Recipe,
    last: usize,
    root: PathBuf,
    stem: String,
    scores: PathBuf,
    curves: PathBuf,
}

impl Bench {
    /// The checkpoint that every preset starts from with this seed; `None` when the run was stopped.
    fn start(
        &self,
        seed: u64,
        progress: &mut Progress,
        stop: &std::sync::atomic::AtomicBool,
    ) -> anyhow::Result<Option<PathBuf>> {
        if self.last == 0 {
            return Ok(Some(PathBuf::from(&self.recipe.model.path)));
        }
        let mut before = self.recipe.clone();
        before.run.seed = seed;
        before.stage.truncate(self.last);
        let name = format!("{}-start-{seed}", self.stem);
        let finished = train(&before, &name, &self.root, progress, stop)?;
        if finished.end == StageEnd::Stopped {
            return Ok(None);
        }
        checkpoint_before(&finished.folder, self.last).map(Some)
    }

    /// Scores and curve of one preset; `None` when the run was stopped.
    fn arm(
        &self,
        preset: Preset,
        seed: u64,
        start: &Path,
        progress: &mut Progress,
        stop: &std::sync::atomic::AtomicBool,
    ) -> anyhow::Result<Option<(Vec<Score>, Vec<Point>)>> {
        let name = preset.name();
        progress.message(&format!("preset {name}, seed {seed}"));
        let whole = with_preset(&self.recipe, self.last, preset);
        let arm = last_stage_alone(&whole, self.last, seed, start);
        let run = format!("{}-{name}-{seed}", self.stem);
        let finished = train(&arm, &run, &self.root, progress, stop)?;
        if finished.end == StageEnd::Stopped {
            return Ok(None);
        }
        let scores = compare("", seed, &finished.evaluations, 0).into_iter();
        let scores = scores.map(|f| Score {
            preset: name.clone(),
            seed,
            mode: f.mode,
            task: f.task,
            score: f.score,
            before: f.before,
            after: f.after,
        });
        Ok(Some((
            scores.collect(),
            curve(&name, seed, &finished.folder)?,
        )))
    }
}

/// A run's metrics in [`POINTS`] means.
fn curve(preset: &str, seed: u64, folder: &Path) -> anyhow::Result<Vec<Point>> {
    let path = folder.join("metrics.jsonl");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let rows: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .with_context(|| path.display().to_string())?;
    let points = rows.chunks(rows.len().div_ceil(POINTS).max(1)).map(|rows| {
        let mean = |key: &str| {
            let values: Vec<f64> = rows.iter().filter_map(|row| row[key].as_f64()).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        Point {
            preset: preset.to_owned(),
            seed,
            step: rows
                .last()
                .and_then(|row| row["step"].as_u64())
                .unwrap_or(0),
            reward: mean("reward"),
            kl: mean("kl"),
            entropy: mean("entropy"),
            length: mean("completions/mean_length"),
        }
    });
    Ok(points.collect())
}

/// The lines of a CSV file, none if there is no such file.
fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let context = || path.display().to_string();
    let mut reader = csv::Reader::from_path(path).with_context(context)?;
    let rows: Result<Vec<T>, _> = reader.deserialize().collect();
    rows.with_context(context)
}

fn write<T: Serialize>(path: &Path, rows: &[T]) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_path(path).with_context(|| path.display().to_string())?;
    for row in rows {
        writer.serialize(row)?;
    }
    writer.flush().with_context(|| path.display().to_string())
}
