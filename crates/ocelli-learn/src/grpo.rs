//! GRPO (Shao et al. 2024): collect → score → credit → objective → step.
//!
//! How this differs from the paper: the old log-probabilities are the sampler's own (one network samples and trains, so no
//! second pass is needed; their largest difference from the trainer's is a metric), the KL term is off by default, and the
//! loss can be averaged as in DAPO or Dr. GRPO (`loss_type`).

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use ocelli_core::metrics::mean_std;
use ocelli_core::{Episode, Metrics, Purpose, SeedKey, SegmentKind};
use ocelli_data::Dataset;
use ocelli_env::{CallCodec, Question};
use ocelli_model::qwen2_5_vl::QwenVl;
use ocelli_reward::{RewardGraph, error_rate, record_rewards};
use ocelli_rollout::{CollectPlan, Group, Policy, collect, prepare};
use rand::seq::SliceRandom;

use crate::credit::group_relative;
use crate::error::LearnError;
use crate::objective::{BatchSize, ClipBounds, clipped_surrogate, k3, token_weight};
use crate::optimizer::{Optimizer, StepReport};
use crate::packing::{Branch, Tree, score, values};
use crate::recipe::{AlgorithmConfig, RolloutConfig, StageConfig};
use crate::stage::{
    RowOrder, Session, StageEnd, StagePlan, Unjudged, record_step, run_steps, update,
};

/// Runs the stage. `reference` is the model that the KL penalty pulls to, needed when `beta > 0`.
///
/// # Errors
/// When a picture can't be read, a prompt is too long, or a file can't be written.
pub fn run(
    session: &mut Session,
    plan: &mut StagePlan,
    data: &Dataset,
    reference: Option<&QwenVl>,
) -> Result<StageEnd, LearnError> {
    let stage = plan.config.clone();
    let rollout = stage.rollout.clone().unwrap_or_default();
    let algorithm = stage.algorithm.clone().unwrap_or_default();
    let graph = RewardGraph::new(&stage.reward)?;
    let mut order = RowOrder::new(data.tasks.len(), session.seed, plan.index);
    let stage_index = plan.index as u64;
    let mut unjudged = Unjudged::default();

    run_steps(session, plan, |session, optimizer, step| {
        // collect
        let tasks = order.tasks(data, step, stage.batch.size);
        let prepared = prepare(&session.policy, &tasks, |task, index| {
            data.picture(task, index)
        })?;
        let seed = SeedKey::new(session.seed, Purpose::Sampling).step(stage_index << 32 | step);
        let mut groups = collect(&session.policy, &prepared, &collect_plan(&rollout, seed))?;

        // score
        for group in &mut groups {
            graph.score_all(&mut group.episodes);
        }
        if session.log_episodes_steps > 0 && step.is_multiple_of(session.log_episodes_steps) {
            let episodes = groups.iter().flat_map(|g| &g.episodes);
            session
                .run
                .save_episodes(&format!("{}-grpo", stage_index + 1), step + 1, episodes)?;
        }
        let episodes = groups.iter().flat_map(|g| &g.episodes);
        unjudged.count((step, stage.exit.max_steps), graph.node_names(), episodes)?;

        // credit
        let mut rewards: Vec<Vec<Option<f64>>> = groups
            .iter()
            .map(|g| g.episodes.iter().map(|e| e.outcome.reward).collect())
            .collect();
        if algorithm.shuffle_rewards {
            let key = SeedKey::new(session.seed, Purpose::Control).step(stage_index << 32 | step);
            shuffle(&mut rewards, &key);
        }
        let advantages = group_relative(&rewards, algorithm.scale_rewards());

        // objective and step
        let trees = groups
            .iter()
            .map(|group| trees(&session.policy, group))
            .collect::<Result<Vec<_>, _>>()?
            .concat();
        let tokens = TokenBatch::new(&groups, &trees, &advantages, &algorithm, &rollout);
        session.tokens += trees.iter().map(Tree::rows).sum::<usize>() as u64;
        let mut metrics = Metrics::default();
        for _ in 0..algorithm.num_iterations {
            let learner = Learner {
                stage: &stage,
                rollout: &rollout,
                algorithm: &algorithm,
                reference,
                progress: (step, stage.exit.max_steps),
            };
            let (report, statistics) =
                learner.step(&mut session.policy, optimizer, &trees, &tokens);
            record_step(&mut metrics, &report);
            statistics.record(&mut metrics, reference.is_some());
        }
        record_batch(&mut metrics, &graph, &groups, &rewards);
        Ok(metrics)
    })
}

/// Single-turn questions, `num_generations` samples each.
fn collect_plan(rollout: &RolloutConfig, seed: SeedKey) -> CollectPlan<'static> {
    CollectPlan {
        samples: rollout.num_generations,
        sampling: rollout.sampling(),
        max_prompt_length: rollout.max_prompt_length,
        max_turns: 1,
        seed,
        codec: CallCodec::WholeText,
        env: &|| Box::new(Question::default()),
    }
}

/// The control arm: rewards dealt out anew over the whole batch.
fn shuffle(rewards: &mut [Vec<Option<f64>>], key: &SeedKey) {
    let mut all: Vec<Option<f64>> = rewards.iter().flatten().copied().collect();
    all.shuffle(&mut key.rng());
    let mut all = all.into_iter();
    for reward in rewards.iter_mut().flatten() {
        *reward = all.next().flatten();
    }
}

/// One tree for each run of episodes that were shown the same first observation (all of them, in the envs so far), and what
/// follows it in each episode. Sampled tokens are scored, shown ones are not.
///
/// # Errors
/// When pictures and prompt don't match.
pub fn trees(policy: &Policy, group: &Group) -> Result<Vec<Tree>, LearnError> {
    fn shown(episode: &Episode) -> (&[u32], &SegmentKind) {
        let first = &episode.segments[0];
        (&first.token_ids, &first.kind)
    }
    group
        .episodes
        .chunk_by(|a, b| shown(a) == shown(b))
        .map(|episodes| {
            let (ids, kind) = shown(&episodes[0]);
            let images: Vec<_> = match kind {
                SegmentKind::Observation { images } => {
                    images.iter().map(|&i| group.images[i].clone()).collect()
                }
                SegmentKind::Decision { .. } => unreachable!("episodes begin with what is shown"),
            };
            let context = policy.processor.expanded(ids, &images)?;
            Ok(Tree {
                context: Arc::new(context),
                branches: episodes.iter().map(branch).collect(),
            })
        })
        .collect()
}

fn branch(episode: &Episode) -> Branch {
    let later = &episode.segments[1..];
    Branch {
        tokens: later.iter().flat_map(|s| &s.token_ids).copied().collect(),
        mask: later.iter().flat_map(|s| &s.train_mask).copied().collect(),
    }
}

/// Log-probabilities of an episode's trained tokens when they were sampled.
fn behavior_logprobs(episode: &Episode) -> impl Iterator<Item = f32> {
    episode.decisions().flat_map(|segment| {
        let SegmentKind::Decision {
            behavior_logprobs, ..
        } = &segment.kind
        else {
            unreachable!("decisions are of that kind");
        };
        let trained = segment.train_mask.iter();
        behavior_logprobs
            .iter()
            .zip(trained)
            .filter(|(_, t)| **t)
            .map(|(l, _)| *l)
    })
}

/// One number a trained token, in the order in which [`score`] returns them.
struct TokenBatch {
    old_logprob: Vec<f32>,
    advantage: Vec<f32>,
    weight: Vec<f32>,
    /// Where each tree's tokens begin, and the end.
    starts: Vec<usize>,
}

impl TokenBatch {
    fn new(
        groups: &[Group],
        trees: &[Tree],
        advantages: &[Vec<f64>],
        algorithm: &AlgorithmConfig,
        rollout: &RolloutConfig,
    ) -> Self {
        let size = BatchSize {
            sequences: groups.iter().map(|g| g.episodes.len()).sum(),
            tokens: trees.iter().map(Tree::scored).sum(),
            max_completion_length: rollout.max_completion_length,
        };
        let mut batch = Self {
            old_logprob: Vec::with_capacity(size.tokens),
            advantage: Vec::with_capacity(size.tokens),
            weight: Vec::with_capacity(size.tokens),
            starts: vec![0],
        };
        let mut episodes = groups
            .iter()
            .flat_map(|group| &group.episodes)
            .zip(advantages.iter().flatten());
        for tree in trees {
            for (branch, (episode, &advantage)) in tree.branches.iter().zip(&mut episodes) {
                let length = branch.scored();
                let weight = token_weight(algorithm.loss_type(), length, size);
                batch.old_logprob.extend(behavior_logprobs(episode));
                batch
                    .advantage
                    .extend(std::iter::repeat_n(advantage as f32, length));
                batch
                    .weight
                    .extend(std::iter::repeat_n(weight as f32, length));
            }
            batch.starts.push(batch.weight.len());
        }
        batch
    }

    /// The tokens of a range of trees.
    fn span(&self, trees: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        self.starts[trees.start]..self.starts[trees.end]
    }
}

/// What one optimizer step needs to know.
struct Learner<'a> {
    stage: &'a StageConfig,
    rollout: &'a RolloutConfig,
    algorithm: &'a AlgorithmConfig,
    reference: Option<&'a QwenVl>,
    progress: (u64, u64),
}

impl Learner<'_> {
    fn step(
        &self,
        policy: &mut Policy,
        optimizer: &mut Optimizer,
        trees: &[Tree],
        tokens: &TokenBatch,
    ) -> (StepReport, Statistics) {
        let (low, high) = self.algorithm.epsilons();
        let bounds = ClipBounds { low, high };
        let (inner, device) = (policy.device.clone(), policy.device.clone().autodiff());
        let banned = policy.rules.banned.clone();
        let temperature = self.rollout.temperature;
        let mut statistics = Statistics::default();
        let report = update(
            policy,
            optimizer,
            trees,
            self.stage.batch.max_tokens,
            self.progress,
            |network, range| {
                let span = tokens.span(&range);
                let trees = &trees[range];
                let constant = |values: &[f32]| constant(&values[span.clone()], &device);
                let new = score(network, trees, temperature, &banned, &device);
                let (old, advantage) = (constant(&tokens.old_logprob), constant(&tokens.advantage));
                let mut loss = clipped_surrogate(new.logprob.clone(), old, advantage, bounds);
                if let Some(reference) = self.reference {
                    let pulled = score(reference, trees, temperature, &banned, &inner);
                    let kl = k3(new.logprob.clone(), Tensor::from_inner(pulled.logprob));
                    statistics.kl.extend(values(kl.clone().inner()));
                    loss = loss + kl * self.algorithm.beta as f32;
                }
                let loss = (loss * constant(&tokens.weight)).sum();
                statistics.add(
                    &values(new.logprob.inner()),
                    &values(new.entropy.inner()),
                    &values(loss.clone().inner()),
                    tokens,
                    span,
                    bounds,
                );
                loss
            },
        );
        (report, statistics)
    }
}

fn constant(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

/// What the pass of one step saw, token by token.
#[derive(Default)]
struct Statistics {
    loss: f64,
    entropy: Vec<f32>,
    kl: Vec<f32>,
    /// |log π at training − log π at sampling|.
    difference: Vec<f32>,
    clipped_low: usize,
    clipped_high: usize,
}

impl Statistics {
    fn add(
        &mut self,
        logprob: &[f32],
        entropy: &[f32],
        loss: &[f32],
        tokens: &TokenBatch,
        span: std::ops::Range<usize>,
        bounds: ClipBounds,
    ) {
        self.loss += f64::from(loss[0]);
        self.entropy.extend_from_slice(entropy);
        for (&new, i) in logprob.iter().zip(span) {
            let difference = new - tokens.old_logprob[i];
            let ratio = f64::from(difference).exp();
            self.difference.push(difference.abs());
            self.clipped_low += usize::from(ratio < 1.0 - bounds.low && tokens.advantage[i] < 0.0);
            self.clipped_high +=
                usize::from(ratio > 1.0 + bounds.high && tokens.advantage[i] > 0.0);
        }
    }

    /// Under TRL's names.
    fn record(&self, metrics: &mut Metrics, has_reference: bool) {
        let count = self.entropy.len().max(1) as f64;
        metrics.set("loss", self.loss);
        metrics.set("entropy", mean(&self.entropy));
        if has_reference {
            metrics.set("kl", mean(&self.kl));
        }
        metrics.set("clip_ratio/low_mean", self.clipped_low as f64 / count);
        metrics.set("clip_ratio/high_mean", self.clipped_high as f64 / count);
        metrics.set(
            "clip_ratio/region_mean",
            (self.clipped_low + self.clipped_high) as f64 / count,
        );
        metrics.set(
            "sampling/sampling_logp_difference/mean",
            mean(&self.difference),
        );
        let largest = self.difference.iter().copied().fold(0.0, f32::max);
        metrics.set("sampling/sampling_logp_difference/max", f64::from(largest));
    }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64
}

/// Rewards and lengths of the batch, under TRL's names.
fn record_batch(
    metrics: &mut Metrics,
    graph: &RewardGraph,
    groups: &[Group],
    rewards: &[Vec<Option<f64>>],
) {
    let episodes: Vec<Episode> = groups
        .iter()
        .flat_map(|g| g.episodes.iter().cloned())
        .collect();
    let known: Vec<f64> = rewards.iter().flatten().copied().flatten().collect();
    // Null where no reward is known: zero would be a reward.
    let (reward, reward_std) = if known.is_empty() {
        (f64::NAN, f64::NAN)
    } else {
        mean_std(&known)
    };
    metrics.set("reward", reward);
    metrics.set("reward_std", reward_std);
    // Not by the deviation, which rounding keeps from zero for eight times 0.7.
    let dead = rewards
        .iter()
        .filter(|group| group.iter().flatten().is_sorted_by(|a, b| a == b));
    metrics.set(
        "frac_reward_zero_std",
        dead.count() as f64 / rewards.len().max(1) as f64,
    );
    record_rewards(metrics, graph.node_names(), &episodes);
    metrics.set("verifier_error_rate", error_rate(&episodes));
    let lengths = |keep: &dyn Fn(&Episode) -> bool| -> Vec<f64> {
        episodes
            .iter()
            .filter(|e| keep(e))
            .map(|e| e.sampled_tokens() as f64)
            .collect()
    };
    for (name, lengths) in [
        ("length", lengths(&|_| true)),
        ("terminated_length", lengths(&|e| !e.truncated())),
    ] {
        let extreme = |f: fn(f64, f64) -> f64| lengths.iter().copied().reduce(f).unwrap_or(0.0);
        metrics.set(format!("completions/mean_{name}"), mean_std(&lengths).0);
        metrics.set(format!("completions/min_{name}"), extreme(f64::min));
        metrics.set(format!("completions/max_{name}"), extreme(f64::max));
    }
    let cut = episodes.iter().filter(|e| e.truncated()).count();
    metrics.set(
        "completions/clipped_ratio",
        cut as f64 / episodes.len().max(1) as f64,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(rewards: &[Vec<Option<f64>>]) -> Metrics {
        let mut metrics = Metrics::default();
        let graph = RewardGraph::new(&[ocelli_reward::NodeConfig::new("tags")]).unwrap();
        record_batch(&mut metrics, &graph, &[], rewards);
        metrics
    }

    #[test]
    fn groups_of_one_reward_are_counted_whatever_its_digits() {
        let rewards = vec![vec![Some(0.7); 8], vec![Some(0.1), Some(0.2)]];
        assert!(mean_std(&[0.7; 8]).1 > 0.0, "rounding");
        assert_eq!(recorded(&rewards).get("frac_reward_zero_std"), Some(0.5));
        let unknown = vec![vec![None, Some(0.3)], vec![None, None]];
        assert_eq!(recorded(&unknown).get("frac_reward_zero_std"), Some(1.0));
    }

    #[test]
    fn no_reward_is_not_a_reward_of_zero() {
        let metrics = recorded(&[vec![None, None]]);
        for name in ["reward", "reward_std"] {
            assert!(metrics.contains(name) && metrics.get(name).is_none());
        }
        assert_eq!(recorded(&[vec![Some(0.0)]]).get("reward"), Some(0.0));
    }
}
