//! How much memory a recipe's phases will need on this machine, before any of them starts: the arithmetic of [`crate::memory`] on
//! the recipe's own model and on a sample of its rows.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ocelli_core::{ImageSource, Purpose, SeedKey, Task};
use ocelli_data::Dataset;
use ocelli_data::cache::DEFAULT_BUDGET;
use ocelli_model::weights::Weights;
use ocelli_rollout::{CollectError, Policy};
use rand::RngExt;
use rayon::prelude::*;

use crate::error::LearnError;
use crate::given_turns::{TurnsOf, demonstration, pair};
use crate::memory::machine::{available, resident};
use crate::memory::shape::WeightBytes;
use crate::memory::{Moment, Pass, Sampling, Shape, UpdatePlan, sampling, unused, update};
use crate::packing::cut;
use crate::preflight::extents;
use crate::recipe::{Recipe, StageConfig, StageKind};
use crate::recipe_data::RecipeData;
use crate::train;
use crate::trainable::Training;

/// Rows of a data set whose prompts and pictures are measured.
const SAMPLE: usize = 256;
/// Batches that are drawn from them; the largest counts.
const DRAWS: u64 = 64;
/// Answers of an evaluation that are drawn at a time (`evaluation.rs`).
const EVALUATED: usize = 128;

/// Memory of one phase in bytes, by what it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// `reading`, `1 sft: update`, `2 grpo: sampling`, `evaluation`.
    pub name: String,
    /// The program, its rows, tokenizer and template: what this process holds now.
    pub base: usize,
    /// What the allocator has and nobody uses.
    pub allocator: usize,
    /// Decoded pictures that are kept.
    pub pictures: usize,
    pub weights: usize,
    /// The model that a KL penalty pulls to, or that pairs are compared with.
    pub reference: usize,
    /// AdamW's.
    pub moments: usize,
    pub gradients: usize,
    /// The log of keys and values.
    pub key_values: usize,
    pub activations: usize,
    pub logits: usize,
    /// Processed pictures of a batch.
    pub pixels: usize,
}

impl Phase {
    /// All of it, at the moment when it is most.
    pub fn peak(&self) -> usize {
        let parts = self.parts();
        parts.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Names and bytes of the parts.
    pub fn parts(&self) -> [(&'static str, usize); 11] {
        [
            ("base", self.base),
            ("allocator", self.allocator),
            ("pictures", self.pictures),
            ("weights", self.weights),
            ("reference", self.reference),
            ("moments", self.moments),
            ("gradients", self.gradients),
            ("keys, values", self.key_values),
            ("activations", self.activations),
            ("logits", self.logits),
            ("pixels", self.pixels),
        ]
    }
}

/// A change of the recipe, and the peak with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    pub change: String,
    pub peak: usize,
}

/// What a recipe will need.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    pub phases: Vec<Phase>,
    /// Bytes that this process can have; `None` where the system does not tell.
    pub available: Option<usize>,
    /// What would need less, the most effective first.
    pub advice: Vec<Advice>,
}

impl Forecast {
    /// The largest phase.
    pub fn peak(&self) -> usize {
        self.phases.iter().map(Phase::peak).max().unwrap_or(0)
    }

    /// Whether it fits. Where nobody knows what there is, it is taken to.
    pub fn fits(&self) -> bool {
        self.available
            .is_none_or(|available| self.peak() <= available)
    }
}

/// Sizes of one row.
#[derive(Clone, Debug)]
struct Row {
    prompt: usize,
    /// Of each picture.
    patches: Vec<usize>,
    /// Tokens of the turns that the data give.
    turns: Vec<usize>,
}

impl Row {
    fn all_patches(&self) -> usize {
        self.patches.iter().sum()
    }

    /// The row as a tree with these answers, as [`crate::packing::Tree`] counts.
    fn tree(&self, answers: &[usize]) -> Pass {
        let branches = answers.iter().map(|length| length.saturating_sub(1));
        Pass {
            rows: self.prompt + branches.sum::<usize>(),
            patches: self.all_patches(),
            scored: answers.iter().sum(),
            keys: self.prompt + answers.iter().max().copied().unwrap_or(0),
            patch_keys: self.patches.iter().max().copied().unwrap_or(0),
        }
    }

    /// As it would be with pictures of a quarter of the area.
    fn with_small_pictures(&self, merged: usize) -> Self {
        let saved: usize = self
            .patches
            .iter()
            .map(|p| (p - p / 4) / merged.max(1))
            .sum();
        Self {
            prompt: self.prompt.saturating_sub(saved).max(1),
            patches: self.patches.iter().map(|p| (p / 4).max(1)).collect(),
            turns: self.turns.clone(),
        }
    }
}

/// All that the prediction starts from, so that it can be made again for a changed recipe.
struct Facts<'a> {
    policy: &'a Policy,
    base: usize,
    /// The most that reading took.
    reading: usize,
    /// Rows and pictures kept by then, of each stage.
    stages: Vec<(Vec<Row>, usize)>,
    eval: Option<(Vec<Row>, usize)>,
    seed: u64,
    threads: usize,
}

/// What [`train::plan`] tells of a recipe, and the memory that each phase will need.
///
/// # Errors
/// As [`train::plan`].
pub fn examine(recipe: &Recipe, root: &Path) -> Result<(Vec<String>, Forecast), LearnError> {
    let (data, policy) = train::read(recipe, root)?;
    let forecast = forecast(recipe, &data, &policy)?;
    Ok((train::lines(recipe, &data, &policy), forecast))
}

/// Predicts the phases of a recipe whose data are read and whose model is loaded, and what would need less where they don't fit.
///
/// # Errors
/// When a row's prompt or picture can't be measured.
pub(crate) fn forecast(
    recipe: &Recipe,
    data: &RecipeData,
    policy: &Policy,
) -> Result<Forecast, LearnError> {
    let facts = facts(recipe, data, policy)?;
    let weights = &policy.checkpoint.weights;
    let phases = phases(recipe, &facts, weights);
    let mut forecast = Forecast {
        phases,
        available: available(),
        advice: Vec::new(),
    };
    if !forecast.fits() {
        forecast.advice = advice(recipe, &facts, forecast.peak());
    }
    Ok(forecast)
}

/// What to tell at the start of a run that will not fit.
pub(crate) fn warning(recipe: &Recipe, data: &RecipeData, policy: &Policy) -> Option<String> {
    let forecast = forecast(recipe, data, policy).ok()?;
    let available = forecast.available.filter(|_| !forecast.fits())?;
    let mebibytes = |bytes: usize| bytes >> 20;
    let help = forecast.advice.first().map_or_else(String::new, |advice| {
        format!(
            "; with {} it would need {} MiB",
            advice.change,
            mebibytes(advice.peak)
        )
    });
    Some(format!(
        "this run is predicted to need {} MiB of memory, and {} MiB are available{help}; `ocelli doctor` says what for",
        mebibytes(forecast.peak()),
        mebibytes(available),
    ))
}

fn facts<'a>(
    recipe: &Recipe,
    data: &RecipeData,
    policy: &'a Policy,
) -> Result<Facts<'a>, LearnError> {
    let weights = WeightBytes::of(&policy.checkpoint.weights, |_| false);
    let held = data.stages.first().map(|stage| &stage.rows);
    let held = held.map_or(0, |rows| rows.pictures.bytes());
    let process = resident();
    let now = process.map_or(0, |r| r.now);
    let mut seen = HashSet::new();
    let mut kept = held;
    let mut stages = Vec::new();
    for (stage, data) in recipe.stage.iter().zip(&data.stages) {
        let drawn = stage.rows_drawn() as u64 * stage.draws_a_step();
        let drawn = drawn.saturating_mul(stage.exit.max_steps);
        kept += newly_kept(&data.rows, drawn, &mut seen)?;
        let rows = sample(policy, &data.rows, imitated(stage))?;
        stages.push((rows, kept.min(DEFAULT_BUDGET.max(held))));
    }
    let eval = match &data.eval {
        None => None,
        Some((_, rows, _)) => {
            kept += newly_kept(rows, u64::MAX, &mut seen)?;
            let kept = kept.min(DEFAULT_BUDGET.max(held));
            Some((sample(policy, rows, None)?, kept))
        }
    };
    Ok(Facts {
        policy,
        base: now.saturating_sub(held + weights.wide),
        reading: process.map_or(0, |r| r.peak),
        stages,
        eval,
        seed: recipe.run.seed,
        threads: rayon::current_num_threads(),
    })
}

/// Evenly spread rows.
fn spread(data: &Dataset, count: usize) -> impl Iterator<Item = &Task> {
    let (all, count) = (data.tasks.len(), count.min(data.tasks.len()));
    (0..count).map(move |i| data.tasks[i * all / count].as_ref())
}

/// Bytes of the pictures in files that `drawn` rows show for the first time. Each epoch shows every row once.
fn newly_kept(
    data: &Dataset,
    drawn: u64,
    seen: &mut HashSet<PathBuf>,
) -> Result<usize, LearnError> {
    let count = usize::try_from(drawn).unwrap_or(usize::MAX);
    let mut new = 0;
    for task in spread(data, count) {
        for source in &task.images {
            if let ImageSource::Path(path) = source
                && seen.insert(path.clone())
            {
                new += 1;
            }
        }
    }
    let mut sizes = Vec::new();
    for task in spread(data, SAMPLE).filter(|_| new > 0) {
        for index in 0..task.images.len() {
            let (width, height) = data.picture_size(task, index)?;
            sizes.push(3 * width * height);
        }
    }
    let mean = sizes.iter().sum::<usize>() / sizes.len().max(1);
    Ok(new * mean)
}

/// The turns of a row that a stage imitates or compares; none where answers are sampled, or were recorded.
fn imitated(stage: &StageConfig) -> Option<TurnsOf> {
    match stage.kind {
        StageKind::Sft => Some(demonstration),
        StageKind::OffPolicy if stage.episodes.is_empty() => Some(demonstration),
        StageKind::Dpo | StageKind::Reward => Some(pair),
        StageKind::Grpo | StageKind::OffPolicy => None,
    }
}

/// Sizes of some rows, with the turns that are imitated or compared. Rows that only decoding could measure are left out.
fn sample(
    policy: &Policy,
    data: &Dataset,
    turns_of: Option<TurnsOf>,
) -> Result<Vec<Row>, LearnError> {
    let tasks: Vec<&Task> = spread(data, SAMPLE).collect();
    let rows = tasks
        .par_iter()
        .map(|task| {
            let Some(shown) = extents(policy, data, task)? else {
                return Ok(None);
            };
            let prompt = policy
                .processor
                .prompt_length(&task.id, &task.messages, &shown)
                .map_err(CollectError::row(&task.id))?;
            let turns = match turns_of {
                None => Vec::new(),
                Some(turns) => turns(policy, data, task)?.iter().map(Vec::len).collect(),
            };
            Ok(Some(Row {
                prompt,
                patches: shown.iter().map(|e| e.grid().iter().product()).collect(),
                turns,
            }))
        })
        .collect::<Result<Vec<_>, LearnError>>()?;
    Ok(rows.into_iter().flatten().collect())
}

/// Every phase of the recipe, in order.
fn phases(recipe: &Recipe, facts: &Facts, weights: &Weights) -> Vec<Phase> {
    let config = &facts.policy.checkpoint.config;
    let trains_any = |name: &str| weights.trains(name);
    let own = WeightBytes::of(weights, trains_any);
    let mut phases = Vec::new();
    let blank = |name: String, pictures: usize| Phase {
        name,
        base: facts.base,
        allocator: 0,
        pictures,
        weights: own.all(),
        reference: 0,
        moments: 0,
        gradients: 0,
        key_values: 0,
        activations: 0,
        logits: 0,
        pixels: 0,
    };
    let mut last_moments = 0;
    for (index, (stage, (rows, pictures))) in recipe.stage.iter().zip(&facts.stages).enumerate() {
        let training = Training::of(recipe, stage);
        let shape = Shape::of(config, weights, |name| training.trains(weights, name));
        let reference = match stage.has_reference() && weights.adapter().is_none() {
            true if index == 0 => WeightBytes::of(weights, |_| false).all(),
            true => weights.scalars() * size_of::<f32>(),
            false => 0,
        };
        let moments = 2 * shape.trained() * size_of::<f32>();
        last_moments = moments;
        let name = |what: &str| format!("{} {}: {what}", index + 1, stage.kind.name());
        let phase = |what: &str, (moment, pixels): (Moment, usize)| {
            let phase = Phase {
                reference,
                moments,
                ..blank(name(what), *pictures)
            };
            with(phase, &moment, pixels)
        };
        if stage.kind == StageKind::Grpo {
            let rollout = stage.rollout.clone().unwrap_or_default();
            let asked = (rollout.num_generations, rollout.max_completion_length);
            let found = asking(
                &shape,
                rows,
                stage.rows_drawn(),
                asked,
                facts,
                stage.exit.max_steps,
            );
            phases.push(phase("sampling", found));
        }
        let found = updating(&shape, stage, rows, training.gradient_checkpointing, facts);
        phases.push(phase("update", found));
    }
    if let (Some(eval), Some((rows, pictures))) = (&recipe.eval, &facts.eval) {
        let shape = Shape::of(config, weights, |_| false);
        let samples = match eval.modes.contains(&crate::recipe::EvalMode::Sampled) {
            true => eval.samples,
            false => 1,
        };
        // With one answer a row, more rows are asked at a time.
        let asks = [1, samples].map(|samples| {
            let count = (EVALUATED / samples).max(1);
            asking(
                &shape,
                rows,
                count,
                (samples, eval.max_completion_length),
                facts,
                8,
            )
        });
        let largest = asks
            .into_iter()
            .max_by_key(|(m, pixels)| m.bytes() + pixels);
        let phase = Phase {
            moments: last_moments,
            ..blank("evaluation".into(), *pictures)
        };
        let (moment, pixels) = largest.unwrap_or_default();
        phases.push(with(phase, &moment, pixels));
    }
    phases.insert(
        0,
        Phase {
            base: facts.reading,
            weights: 0,
            ..blank("reading".into(), 0)
        },
    );
    phases
}

/// A phase with what comes and goes in it.
fn with(phase: Phase, moment: &Moment, pixels: usize) -> Phase {
    Phase {
        allocator: unused(moment.bytes() + pixels),
        gradients: moment.gradients,
        key_values: moment.key_values,
        activations: moment.activations,
        logits: moment.logits,
        pixels: moment.pixels + pixels,
        ..phase
    }
}

/// The same batches for the same recipe: `count` rows of the sample for each draw.
fn draws(rows: &[Row], count: usize, steps: u64, seed: u64) -> impl Iterator<Item = Vec<&Row>> {
    let steps = if rows.is_empty() { 0 } else { steps.min(DRAWS) };
    (0..steps).map(move |step| {
        let mut rng = SeedKey::new(seed, Purpose::Shuffle).step(step).rng();
        (0..count)
            .map(|_| &rows[rng.random_range(0..rows.len())])
            .collect()
    })
}

fn patch_bytes(shape: &Shape, rows: &[&Row]) -> usize {
    let patches: usize = rows.iter().map(|row| row.all_patches()).sum();
    patches * shape.tower.map_or(0, |tower| tower.patch) * size_of::<f32>()
}

/// The largest moment of sampling `samples` answers of `tokens` tokens to each of `count` rows, and the bytes of their pictures.
fn asking(
    shape: &Shape,
    rows: &[Row],
    count: usize,
    (samples, tokens): (usize, usize),
    facts: &Facts,
    steps: u64,
) -> (Moment, usize) {
    let moments = draws(rows, count, steps, facts.seed).map(|rows| {
        let mut prompts = Pass::default();
        rows.iter().for_each(|row| prompts += row.tree(&[]));
        let moment = sampling(
            shape,
            &Sampling {
                prompts,
                count,
                samples,
                tokens,
                threads: facts.threads,
            },
        );
        (moment, patch_bytes(shape, &rows))
    });
    moments
        .max_by_key(|(moment, pixels)| moment.bytes() + pixels)
        .unwrap_or_default()
}

/// The largest moment of a stage's updates, and the bytes of a batch's pictures. Sampled answers are taken to be as long as they may.
fn updating(
    shape: &Shape,
    stage: &StageConfig,
    rows: &[Row],
    recomputes: bool,
    facts: &Facts,
) -> (Moment, usize) {
    let rollout = stage.rollout.clone().unwrap_or_default();
    let sampled = vec![rollout.max_completion_length; rollout.num_generations];
    let answers = |row: &Row| match stage.kind {
        StageKind::Grpo => sampled.clone(),
        _ => row.turns.clone(),
    };
    let moments = draws(rows, stage.batch.size, stage.exit.max_steps, facts.seed).map(|rows| {
        let trees: Vec<Pass> = rows.iter().map(|row| row.tree(&answers(row))).collect();
        let lengths: Vec<usize> = trees.iter().map(|tree| tree.rows).collect();
        let batches = cut(&lengths, stage.batch.max_tokens);
        let plan = UpdatePlan {
            threads: facts.threads,
            recomputes,
            reference: stage.has_reference(),
            adds_up: batches.len() > 1,
        };
        let peaks = batches.into_iter().map(|range| {
            let mut pass = Pass::default();
            trees[range].iter().for_each(|tree| pass += *tree);
            update(shape, &pass, &plan)
        });
        let peak = peaks.max_by_key(Moment::bytes).unwrap_or_default();
        (peak, patch_bytes(shape, &rows))
    });
    moments
        .max_by_key(|(moment, pixels)| moment.bytes() + pixels)
        .unwrap_or_default()
}

/// Changes that need less than `peak`, the most effective first.
fn advice(recipe: &Recipe, facts: &Facts, peak: usize) -> Vec<Advice> {
    let policy = facts.policy;
    let weights = &policy.checkpoint.weights;
    let largest = |phases: &[Phase]| phases.iter().map(Phase::peak).max().unwrap_or(0);
    let mut found = Vec::new();
    let mut try_out = |change: &str, recipe: &Recipe, facts: &Facts, weights: &Weights| {
        let peak = largest(&phases(recipe, facts, weights));
        found.push(Advice {
            change: change.to_owned(),
            peak,
        });
    };
    let mut changed = recipe.clone();
    changed.model.gradient_checkpointing = true;
    try_out(
        "model.gradient_checkpointing = true",
        &changed,
        facts,
        weights,
    );
    for tokens in [4096, 1024] {
        let mut changed = recipe.clone();
        for stage in &mut changed.stage {
            stage.batch.max_tokens = stage.batch.max_tokens.min(tokens);
        }
        let change = format!("batch.max_tokens = {tokens} in every stage");
        try_out(&change, &changed, facts, weights);
    }
    let mut changed = recipe.clone();
    let mut samples = false;
    for rollout in changed.stage.iter_mut().filter_map(|s| s.rollout.as_mut()) {
        samples |= rollout.num_generations > 2;
        rollout.num_generations = (rollout.num_generations / 2).max(2);
    }
    if samples {
        try_out(
            "half as many rollout.num_generations",
            &changed,
            facts,
            weights,
        );
    }
    let mut changed = recipe.clone();
    changed
        .stage
        .iter_mut()
        .for_each(|s| s.batch.size = (s.batch.size / 2).max(1));
    try_out("batch.size halved in every stage", &changed, facts, weights);
    if weights.adapter().is_none()
        && let Ok(adapter) =
            toml::from_str::<ocelli_model::adapter::AdapterConfig>("kind = \"lora\"")
        && let Ok(adapted) =
            adapter.attach(&policy.checkpoint.config, weights, "", 0, &policy.device)
    {
        try_out(
            "model.adapter = { kind = \"lora\" }",
            recipe,
            facts,
            &adapted,
        );
    }
    let shape = Shape::of(&policy.checkpoint.config, weights, |_| false);
    if let Some(tower) = shape.tower {
        let small = |rows: &[Row]| -> Vec<Row> {
            rows.iter()
                .map(|row| row.with_small_pictures(tower.merged))
                .collect()
        };
        let stages = facts.stages.iter().map(|(rows, kept)| (small(rows), *kept));
        let smaller = Facts {
            stages: stages.collect(),
            eval: facts.eval.as_ref().map(|(rows, kept)| (small(rows), *kept)),
            ..*facts
        };
        let change = "pictures of a quarter of the area (max_pixels in preprocessor_config.json)";
        try_out(change, recipe, &smaller, weights);
    }
    // What saves next to nothing is no advice.
    found.retain(|advice| advice.peak * 100 < peak * 97);
    found.sort_by_key(|advice| advice.peak);
    found
}
