//! Draws the rows of each step.

use std::collections::BTreeSet;

use ocelli_core::{Metrics, Purpose, SeedKey, Task};
use ocelli_data::{Arrangement, Dataset, Pool, suggest};

use super::CurriculumState;
use super::config::{Bandit, SamplerConfig, SamplerKind, TagOrder, TagValue};
use super::posterior::nearest;
use crate::error::LearnError;
use crate::recipe::StageConfig;

/// The rows of some sources: weight and rows of each.
type SourceRows = Vec<(f64, Vec<usize>)>;

/// What came of a row that was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub row: usize,
    /// How far each answer was right, 0 to 1; those that nothing could judge are left out.
    pub successes: Vec<f64>,
}

impl Seen {
    /// Mean success, where anything could be judged.
    pub fn rate(&self) -> Option<f64> {
        let count = self.successes.len();
        (count > 0).then(|| self.successes.iter().sum::<f64>() / count as f64)
    }

    /// Whether its answers differ in success, so that comparing them teaches.
    pub fn is_informative(&self) -> bool {
        self.successes
            .iter()
            .any(|s| Some(s) != self.successes.first())
    }
}

/// Draws the rows of each step of a stage. All it remembers is in [`CurriculumState`]; what it holds itself follows from recipe and data.
pub struct Curator {
    config: SamplerConfig,
    /// Rows that may be drawn, by phase.
    phases: Vec<SourceRows>,
    arrangement: Arrangement,
    /// The pool of a phase, and how often phases had changed when it was made.
    pool: Option<(u64, Pool)>,
    ids: Vec<String>,
    seed: u64,
    stage: u64,
    /// Rows of a draw.
    size: usize,
    /// Draws that a step may make.
    attempts: u64,
}

impl Curator {
    /// For stage `stage` (from 0) of a run of seed `seed`.
    ///
    /// # Errors
    /// When the rows lack the tag or its values.
    pub fn new(
        config: &StageConfig,
        data: &Dataset,
        seed: u64,
        stage: usize,
    ) -> Result<Self, LearnError> {
        let refused = |message: String| LearnError::Config {
            place: format!("stage {} ({}): sampler", stage + 1, config.kind.name()),
            message,
        };
        let sampler = config.sampler.clone();
        let all: SourceRows = data
            .source_rows()
            .map(|(_, weight, rows)| (weight, rows.collect()))
            .collect();
        let tag = sampler.tag.as_deref().unwrap_or_default();
        let arrangement = match sampler.kind {
            SamplerKind::Ordered => Arrangement::Ranked {
                ranks: ranks(data, &sampler, tag).map_err(refused)?,
                shuffle: sampler.shuffle.unwrap_or(true),
            },
            _ => Arrangement::Shuffled,
        };
        let phases = match sampler.kind {
            SamplerKind::Staged => sampler
                .phases
                .iter()
                .map(|phase| with_values(data, &all, tag, &phase.values))
                .collect::<Result<_, _>>()
                .map_err(refused)?,
            _ => vec![all],
        };
        Ok(Self {
            phases,
            arrangement,
            pool: None,
            ids: data.tasks.iter().map(|task| task.id.clone()).collect(),
            seed,
            stage: stage as u64,
            size: config.rows_drawn(),
            attempts: config.draws_a_step(),
            config: sampler,
        })
    }

    /// The rows of draw `attempt` (from 0) of step `step` (from 0), by their places in the data. A step has places of its own in the order
    /// of rows, used or not, so that a resumed run goes on with the same rows.
    pub fn draw(&mut self, state: &CurriculumState, step: u64, attempt: u64) -> Vec<usize> {
        let phase = &state.phase;
        let block = (step - phase.since) * self.attempts + attempt;
        let size = self.size;
        if let Some(bandit) = self.config.bandit() {
            let most = bandit.candidates * size;
            let first = block * most as u64;
            let candidates = self.places(state, first..first + most as u64);
            return self.choose(bandit, state, &candidates, (step, attempt));
        }
        let mut rows = self.returned(state, step);
        let taken = rows.len() as u64;
        let mut first = block * size as u64 - state.retry.displaced;
        let mut count = size as u64;
        if attempt == 0 {
            count -= taken;
        } else {
            first -= taken;
            rows.clear();
        }
        rows.extend(self.places(state, first..first + count));
        rows
    }

    /// The failed rows that come back at a step.
    fn returned(&self, state: &CurriculumState, step: u64) -> Vec<usize> {
        let retry = self.config.retry.as_ref();
        retry.map_or_else(Vec::new, |retry| retry.due(&state.retry, step, self.size))
    }

    /// The rows at some places of the current phase.
    fn places(&mut self, state: &CurriculumState, places: std::ops::Range<u64>) -> Vec<usize> {
        let changes = state.phase.changes;
        if self.pool.as_ref().is_none_or(|(made, _)| *made != changes) {
            let rows = self.phases[state.phase.index].clone();
            // Stages of a run, and phases of a stage, have orders of their own.
            let seed = self.seed ^ ((self.stage + 1) << 48) ^ (changes << 40);
            self.pool = Pool::new(rows, self.arrangement.clone(), seed).map(|pool| (changes, pool));
        }
        let pool = self.pool.as_mut().map(|(_, pool)| pool);
        pool.map_or_else(Vec::new, |pool| {
            places.map(|place| pool.at(place)).collect()
        })
    }

    /// Thompson sampling among the candidates, each of which counts once.
    fn choose(
        &self,
        bandit: Bandit,
        state: &CurriculumState,
        candidates: &[usize],
        (step, attempt): (u64, u64),
    ) -> Vec<usize> {
        let mut once = BTreeSet::new();
        let candidates: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|row| once.insert(*row))
            .collect();
        let key = SeedKey::new(self.seed, Purpose::Curriculum)
            .step(self.stage << 32 | step)
            .attempt(attempt);
        let draw = |row: &usize| {
            let posterior = state.posteriors.get(row).copied().unwrap_or(bandit.prior);
            posterior.draw(&mut key.clone().task(self.ids[*row].as_str()).rng())
        };
        let rates: Vec<f64> = candidates.iter().map(draw).collect();
        let chosen = nearest(&rates, bandit.target, self.size);
        chosen.into_iter().map(|i| candidates[i]).collect()
    }

    /// Learns from what came of the rows that step `step` drew.
    pub fn observe(
        &self,
        state: &mut CurriculumState,
        step: u64,
        seen: &[Seen],
        metrics: &mut Metrics,
    ) {
        if !self.config.learns() {
            return;
        }
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let known = || {
            seen.iter()
                .filter_map(|seen| Some((seen.row, seen.rate()?)))
        };
        metrics.set(
            "sampler/success_rate",
            mean(known().map(|(_, rate)| rate).collect()),
        );
        let informative = seen
            .iter()
            .map(|seen| f64::from(u8::from(seen.is_informative())));
        metrics.set("sampler/informative", mean(informative.collect()));
        if let Some(bandit) = self.config.bandit() {
            let guess = |seen: &Seen| {
                let posterior = state.posteriors.get(&seen.row).copied();
                posterior.unwrap_or(bandit.prior).mean()
            };
            metrics.set(
                "sampler/posterior_mean",
                mean(seen.iter().map(guess).collect()),
            );
            for seen in seen {
                let Some(rate) = seen.rate() else {
                    continue;
                };
                let posterior = state.posteriors.entry(seen.row).or_insert(bandit.prior);
                *posterior =
                    posterior.update(bandit.prior, bandit.decay, seen.successes.len(), rate);
            }
            metrics.set_count("sampler/rows_seen", state.posteriors.len() as u64);
        }
        if let Some(retry) = &self.config.retry {
            let returned = self.returned(state, step);
            retry.observe(&mut state.retry, step, &returned, known());
            metrics.set_count("sampler/returned", returned.len() as u64);
            metrics.set_count("sampler/waiting", state.retry.waiting.len() as u64);
        }
    }
}

/// A rank of each row by its tag.
fn ranks(data: &Dataset, sampler: &SamplerConfig, tag: &str) -> Result<Vec<f64>, String> {
    let number = |task: &Task| -> Result<f64, String> {
        let text = task.tags.get(tag).ok_or_else(|| without(data, task, tag))?;
        let number = text.parse::<f64>().ok().filter(|n| n.is_finite());
        let number = number.ok_or_else(|| {
            format!(
                "row `{}`: its tag `{tag}` is `{text}`, no number; give the order as `values`",
                task.id
            )
        })?;
        Ok(match sampler.order.unwrap_or_default() {
            TagOrder::Ascending => number,
            TagOrder::Descending => -number,
        })
    };
    let place = |task: &Task, values: &[TagValue]| -> Result<f64, String> {
        let text = task.tags.get(tag).ok_or_else(|| without(data, task, tag))?;
        let place = values.iter().position(|TagValue(value)| value == text);
        let place = place.ok_or_else(|| {
            format!("row `{}`: its tag `{tag}` is `{text}`, which `values` lacks; add it, or leave the row out", task.id)
        })?;
        Ok(place as f64)
    };
    let tasks = data.tasks.iter();
    tasks
        .map(|task| match &sampler.values {
            Some(values) => place(task, values),
            None => number(task),
        })
        .collect()
}

fn without(data: &Dataset, task: &Task, tag: &str) -> String {
    let known: BTreeSet<&str> = data
        .tasks
        .iter()
        .flat_map(|t| t.tags.keys())
        .map(String::as_str)
        .collect();
    let known: Vec<&str> = known.into_iter().collect();
    let near =
        suggest(tag, &known).map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
    let tags = if known.is_empty() {
        "no tags".to_owned()
    } else {
        known.join(", ")
    };
    format!(
        "row `{}` has no tag `{tag}`{near} The rows have {tags}",
        task.id
    )
}

/// The rows whose tag has one of the values.
fn with_values(
    data: &Dataset,
    all: &SourceRows,
    tag: &str,
    values: &[TagValue],
) -> Result<SourceRows, String> {
    let value = |row: usize| data.tasks[row].tags.get(tag);
    for TagValue(wanted) in values {
        if (0..data.tasks.len()).any(|row| value(row) == Some(wanted)) {
            continue;
        }
        let known: BTreeSet<&str> = data
            .tasks
            .iter()
            .filter_map(|t| t.tags.get(tag))
            .map(String::as_str)
            .collect();
        let known: Vec<&str> = known.into_iter().collect();
        if known.is_empty() {
            return Err(without(data, &data.tasks[0], tag));
        }
        let near = suggest(wanted, &known)
            .map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
        return Err(format!(
            "no row's tag `{tag}` is `{wanted}`{near} The rows have {}",
            known.join(", ")
        ));
    }
    let allowed = |row: &usize| {
        values
            .iter()
            .any(|TagValue(wanted)| value(*row) == Some(wanted))
    };
    let sources = all.iter();
    Ok(sources
        .map(|(weight, rows)| (*weight, rows.iter().copied().filter(allowed).collect()))
        .collect())
}
