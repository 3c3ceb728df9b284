//! What all stages share: the session they run in, the order of rows, and the loop around a step.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use burn::tensor::Tensor;
use ocelli_core::{Metrics, Task};
use ocelli_data::{Dataset, epoch_order};
use ocelli_rollout::Policy;

use crate::algorithm::AlgorithmState;
use crate::error::LearnError;
use crate::observer::Observer;
use crate::optimizer::{NamedGradients, Optimizer, StepReport};
use crate::packing::Tree;
use crate::recipe::StageConfig;
use crate::run::{Progress, Run};

/// A training run in memory.
pub struct Session<'a> {
    pub policy: Policy,
    pub run: Run,
    pub observer: &'a mut dyn Observer,
    /// Folder that data paths are relative to.
    pub root: &'a Path,
    pub seed: u64,
    pub save_steps: u64,
    pub log_episodes_steps: u64,
    /// Set from outside to end the run after the current step.
    pub stop: &'a AtomicBool,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// What the stage's algorithm remembers.
    pub state: AlgorithmState,
}

/// A stage of the recipe and where it begins.
pub struct StagePlan<'a> {
    pub index: usize,
    pub config: &'a StageConfig,
    /// Steps already done.
    pub start: u64,
    pub optimizer: Optimizer,
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageEnd {
    Done,
    /// Stopped from outside, with a checkpoint written.
    Stopped,
}

/// The rows of every step: each epoch once through all rows in a new order.
pub struct RowOrder {
    rows: usize,
    seed: u64,
    epoch: u64,
    order: Vec<usize>,
}

impl RowOrder {
    /// For `rows` rows; stages of a run have orders of their own.
    pub fn new(rows: usize, seed: u64, stage: usize) -> Self {
        let seed = seed ^ ((stage as u64 + 1) << 48);
        Self {
            rows,
            seed,
            epoch: 0,
            order: epoch_order(rows, seed, 0),
        }
    }

    /// The tasks of a step of `size` rows.
    pub fn tasks(&mut self, data: &Dataset, step: u64, size: usize) -> Vec<Arc<Task>> {
        (0..size as u64)
            .map(|i| {
                let place = step * size as u64 + i;
                let epoch = place / self.rows as u64;
                if epoch != self.epoch {
                    self.epoch = epoch;
                    self.order = epoch_order(self.rows, self.seed, epoch);
                }
                data.tasks[self.order[(place % self.rows as u64) as usize]].clone()
            })
            .collect()
    }
}

/// Steps in a row without a finite gradient after which a run gives up.
const PATIENCE: u64 = 20;

/// Runs `step` until the stage's last one, recording metrics and writing checkpoints.
///
/// # Errors
/// Whatever a step or a file operation fails with.
pub fn run_steps(
    session: &mut Session,
    plan: &mut StagePlan,
    mut step: impl FnMut(&mut Session, &mut Optimizer, u64) -> Result<Metrics, LearnError>,
) -> Result<StageEnd, LearnError> {
    let (name, total) = (plan.config.kind.name(), plan.config.exit.max_steps);
    session.observer.begin_stage(name, total);
    let mut unsound = 0;
    for number in plan.start..total {
        let began = Instant::now();
        let before = session.tokens;
        let measured = step(session, &mut plan.optimizer, number)?;
        unsound = if measured.get("skipped") == Some(1.0) {
            unsound + 1
        } else {
            0
        };
        if unsound >= PATIENCE {
            return Err(LearnError::Diverged {
                stage: name.to_owned(),
                step: number + 1,
                count: unsound,
            });
        }
        let seconds = began.elapsed().as_secs_f64();
        let mut metrics = Metrics::default();
        metrics.set_text("stage", name);
        metrics.set_count("stage_index", plan.index as u64);
        metrics.set_count("step", number + 1);
        metrics.extend(&measured);
        metrics.set_count("num_tokens", session.tokens);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        metrics.set("time", now.as_secs_f64());
        metrics.set("step_time", seconds);
        metrics.set(
            "tokens_per_second",
            (session.tokens - before) as f64 / seconds,
        );
        session.run.record(&metrics)?;
        session.observer.step(number + 1, &metrics);

        let stopped = session.stop.load(Ordering::Relaxed);
        let due = session.save_steps > 0 && (number + 1).is_multiple_of(session.save_steps);
        if number + 1 == total || stopped || due {
            save(session, plan, number + 1)?;
        }
        if stopped {
            session.observer.end_stage();
            return Ok(StageEnd::Stopped);
        }
    }
    session.observer.end_stage();
    Ok(StageEnd::Done)
}

fn save(session: &Session, plan: &StagePlan, step: u64) -> Result<(), LearnError> {
    let progress = Progress {
        stage: plan.index,
        step,
        optimizer_steps: plan.optimizer.steps(),
        version: session.policy.version,
        tokens: session.tokens,
    };
    let optimizer = plan
        .optimizer
        .to_bytes()
        .map_err(|message| LearnError::Resume {
            path: session.run.folder().to_owned(),
            message,
        })?;
    session.run.save_checkpoint(
        &session.policy.checkpoint,
        plan.config.kind.name(),
        &progress,
        optimizer,
        &session.state,
    )?;
    Ok(())
}

/// One optimizer step on a batch of trees, in micro-batches whose gradients add up. `loss` builds the loss of one
/// micro-batch from the tracked network; its argument is the micro-batch's range of trees.
pub fn update(
    policy: &mut Policy,
    optimizer: &mut Optimizer,
    trees: &[Tree],
    max_rows: usize,
    (step, total): (u64, u64),
    mut loss: impl FnMut(&ocelli_model::qwen2_5_vl::QwenVl, std::ops::Range<usize>) -> Tensor<1>,
) -> StepReport {
    let mut gradients = NamedGradients::new();
    {
        let tracked = policy.checkpoint.weights.tracked(|_| true);
        for range in crate::packing::micro_batches(trees, max_rows) {
            // A backward pass uses up the graph behind it, and that begins with the network's views of the weights.
            let network = policy.network_of(&tracked);
            let mut computed = loss(&network, range).backward();
            crate::optimizer::accumulate(&mut gradients, tracked.gradients(&mut computed));
        }
    }
    let report = optimizer.step(&mut policy.checkpoint.weights, gradients, step, total);
    if report.applied {
        policy.version += 1;
    }
    report
}

/// Metrics of an optimizer step.
pub fn record_step(metrics: &mut Metrics, report: &StepReport) {
    metrics.set("grad_norm", report.grad_norm);
    metrics.set("learning_rate", report.learning_rate);
    if !report.applied {
        metrics.set("skipped", 1.0);
    }
}
