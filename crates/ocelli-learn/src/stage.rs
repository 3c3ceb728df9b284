//! What all stages share: the session they run in, and the loop around a step.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use burn::tensor::Tensor;
use ocelli_core::{Episode, Metrics, Purpose, SeedKey, Verdict};
use ocelli_rollout::Policy;

use crate::algorithm::AlgorithmState;
use crate::curriculum::{CurriculumState, SamplerKind};
use crate::error::LearnError;
use crate::observer::Observer;
use crate::optimizer::{NamedGradients, Optimizer, StepReport};
use crate::packing::Tree;
use crate::recipe::{StageConfig, StageKind};
use crate::run::{Progress, Run};

/// A training run in memory.
pub struct Session<'a> {
    pub policy: Policy,
    pub run: Run,
    pub observer: &'a mut dyn Observer,
    pub seed: u64,
    pub save_steps: u64,
    pub log_episodes_steps: u64,
    /// Set from outside to end the run after the current step.
    pub stop: &'a AtomicBool,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// What the stage's algorithm remembers.
    pub state: AlgorithmState,
    /// What its curriculum remembers.
    pub curriculum: CurriculumState,
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

/// Steps in a row without a finite gradient, or without any reward, after which a run gives up.
const PATIENCE: u64 = 20;

/// Counts steps in a row in which no episode got a reward.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unjudged(u64);

impl Unjudged {
    /// Counts step `step` (from 0) of `total` with its episodes. Returns what to tell the user at the first step in a row without a
    /// reward.
    ///
    /// # Errors
    /// After too many such steps, or when a whole stage is made of them. Names the nodes and the first verifier's error.
    pub fn count<'a>(
        &mut self,
        (step, total): (u64, u64),
        nodes: impl Iterator<Item = &'a str>,
        episodes: impl Iterator<Item = &'a Episode> + Clone,
    ) -> Result<Option<String>, LearnError> {
        if episodes.clone().any(|e| e.outcome.reward.is_some()) {
            self.0 = 0;
            return Ok(None);
        }
        self.0 += 1;
        let verdicts = episodes.flat_map(|e| e.outcome.verdicts.iter().map(move |v| (e, v)));
        let mut errors = verdicts.filter_map(|(episode, (node, verdict))| match verdict {
            Verdict::Error(error) => Some(format!(
                "`{node}` says of row `{}`: {}",
                episode.task.id, error.message
            )),
            Verdict::Score { .. } | Verdict::Skip => None,
        });
        let reason = errors.next().unwrap_or_else(|| {
            "none of them applies to these rows: look at `when`, at `weight`, and at the rows' answers".into()
        });
        if self.0 < PATIENCE.min(total) {
            let tell = self.0 == 1;
            return Ok(tell.then(|| format!("step {}: no answer has a reward: {reason}", step + 1)));
        }
        let nodes: Vec<String> = nodes.map(|node| format!("`{node}`")).collect();
        Err(LearnError::Unjudged {
            stage: StageKind::Grpo.name().to_owned(),
            step: step + 1,
            count: self.0,
            nodes: nodes.join(", "),
            reason,
        })
    }
}

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
        let (before, version) = (session.tokens, session.policy.version);
        let measured = step(session, &mut plan.optimizer, number)?;
        unsound = if measured.contains("skipped") && session.policy.version == version {
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
        if plan.config.sampler.kind == SamplerKind::Staged {
            let phase = session.curriculum.phase.index as u64;
            metrics.set_count("sampler/phase", phase + 1);
        }
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
        session
            .curriculum
            .after_step(plan.config, number + 1, &metrics)?;

        let stopped = session.stop.load(Ordering::Relaxed);
        let due = session.save_steps > 0 && (number + 1).is_multiple_of(session.save_steps);
        let over = number + 1 == total || session.curriculum.exited;
        if over || stopped || due {
            save(session, plan, number + 1)?;
        }
        if over && !stopped {
            break;
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
    session.run.save_checkpoint(
        &session.policy.checkpoint,
        plan.config.kind.name(),
        &progress,
        &plan.optimizer,
        &session.state,
        &session.curriculum,
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
    mut loss: impl FnMut(&ocelli_model::network::Network, std::ops::Range<usize>) -> Tensor<1>,
) -> StepReport {
    let mut gradients = NamedGradients::new();
    {
        let (training, weights) = (optimizer.training, &policy.checkpoint.weights);
        let mut tracked = weights.tracked(|name| training.trains(weights, name));
        if training.gradient_checkpointing {
            tracked = tracked.recomputing();
        }
        let key = SeedKey::new(training.seed, Purpose::Dropout).step(policy.version);
        let batches = crate::packing::micro_batches(trees, max_rows);
        for (index, range) in batches.into_iter().enumerate() {
            // A backward pass uses up the graph behind it, and that begins with the network's views of the weights.
            let key = key.clone().sample(index as u64);
            let network = policy.network_of(&tracked.clone().with_dropout(key));
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

/// Metrics of an optimizer step; those of several on one batch are the last one's, but `skipped` counts them all.
pub fn record_step(metrics: &mut Metrics, report: &StepReport) {
    metrics.set("grad_norm", report.grad_norm);
    metrics.set("learning_rate", report.learning_rate);
    if !report.applied {
        metrics.set("skipped", metrics.get("skipped").unwrap_or(0.0) + 1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ocelli_core::{Outcome, Task, VerifierError};

    use super::*;

    fn episode(reward: Option<f64>) -> Episode {
        let task: Task =
            serde_json::from_str(r#"{"id": "r1", "messages": [], "target": null}"#).unwrap();
        let verdict = match reward {
            Some(value) => Verdict::score(value),
            None => Verdict::Error(VerifierError {
                message: "no box".into(),
                ..VerifierError::default()
            }),
        };
        Episode {
            task: Arc::new(task),
            sample: 0,
            pictures: Vec::new(),
            segments: Vec::new(),
            outcome: Outcome {
                verdicts: [("box_iou".to_owned(), verdict)].into(),
                reward,
                ..Outcome::default()
            },
        }
    }

    #[test]
    fn a_stage_without_any_reward_is_ended_with_the_reason() {
        let nodes = || ["box_iou", "tags"].into_iter();
        let mut unjudged = Unjudged::default();
        let (known, unknown) = ([episode(None), episode(Some(0.0))], [episode(None)]);
        for step in 0..19 {
            let told = unjudged
                .count((step, 100), nodes(), unknown.iter())
                .unwrap();
            assert_eq!(told.is_some(), step == 0, "{told:?}");
            assert!(told.is_none_or(|told| told.contains("row `r1`: no box")));
        }
        // One reward begins the count anew.
        unjudged.count((19, 100), nodes(), known.iter()).unwrap();
        for step in 20..39 {
            unjudged
                .count((step, 100), nodes(), unknown.iter())
                .unwrap();
        }
        let error = unjudged
            .count((39, 100), nodes(), unknown.iter())
            .unwrap_err();
        let text = error.to_string();
        for part in [
            "step 40",
            "20 steps",
            "`box_iou`, `tags`",
            "row `r1`: no box",
        ] {
            assert!(text.contains(part), "{text}");
        }
        // A shorter stage is over before the patience is.
        let mut unjudged = Unjudged::default();
        unjudged.count((0, 2), nodes(), unknown.iter()).unwrap();
        assert!(unjudged.count((1, 2), nodes(), unknown.iter()).is_err());
    }

    #[test]
    fn skipped_steps_are_counted() {
        let report = |applied| StepReport {
            grad_norm: 1.0,
            learning_rate: 1.0,
            applied,
        };
        let mut metrics = Metrics::default();
        record_step(&mut metrics, &report(true));
        assert!(!metrics.contains("skipped"));
        for applied in [false, true, false] {
            record_step(&mut metrics, &report(applied));
        }
        assert_eq!(metrics.get("skipped"), Some(2.0));
    }
}
