//! PPO's value head in a stage of groups: values before the update, what they make of the rewards, and metrics under TRL's names.

use ocelli_core::{Episode, Metrics};
use ocelli_model::network::Network;
use ocelli_rollout::{Group, Policy};

use super::batch::{TokenBatch, behavior_logprobs};
use super::metrics::Statistics;
use super::signal::Signal;
use crate::algorithm::Critic;
use crate::credit::gae::{TokenGae, episode};
use crate::credit::normalize::{scale_to_unit_variance, whiten};
use crate::credit::reinforce::WHITEN_EPSILON;
use crate::objective::value::{explained_variance, is_clipped};
use crate::packing::{Tree, micro_batches, score_with_values, values};

/// What the value head said of every trained token before the update.
pub(super) fn values_before(
    policy: &Policy,
    network: &Network,
    trees: &[Tree],
    (temperature, max_rows): (f32, usize),
) -> Vec<f32> {
    let choice = (temperature, policy.rules.banned.as_slice());
    micro_batches(trees, max_rows)
        .into_iter()
        .flat_map(|range| {
            let (_, found) =
                score_with_values(network, &trees[range], choice, &policy.device, false);
            values(found)
        })
        .collect()
}

/// Advantages and returns of every trained token, one entry an episode; an episode without a reward has no part in anything, and its
/// `valued` is all false.
pub(super) fn estimate(
    signal: &Signal,
    groups: &[Group],
    old_values: &[f32],
    critic: &Critic,
    normalize: bool,
) -> Vec<TokenGae> {
    let episodes: Vec<&Episode> = groups.iter().flat_map(|g| &g.episodes).collect();
    let lengths: Vec<usize> = episodes
        .iter()
        .map(|e| behavior_logprobs(e).count())
        .collect();
    let mut rewards = signal.token_rewards(&lengths);
    if critic.whiten_rewards {
        rewards = scale_to_unit_variance(&rewards, WHITEN_EPSILON);
    }
    let mut start = 0;
    let mut found: Vec<TokenGae> = Vec::with_capacity(episodes.len());
    for ((episode_of, rewards), &length) in episodes.iter().zip(&rewards).zip(&lengths) {
        let own = &old_values[start..start + length];
        start += length;
        if rewards.is_empty() {
            found.push(TokenGae::default());
            continue;
        }
        let own: Vec<f64> = own.iter().map(|v| f64::from(*v)).collect();
        let steps: Vec<usize> = episode_of
            .decisions()
            .map(|s| s.train_mask.iter().filter(|t| **t).count())
            .collect();
        found.push(episode(rewards, &own, &steps, critic.rule));
    }
    if normalize {
        let plain: Vec<Vec<f64>> = found.iter().map(|e| e.advantages.clone()).collect();
        let white = whiten(&plain, 1, WHITEN_EPSILON);
        for (episode, white) in found.iter_mut().zip(white) {
            episode.advantages = white;
        }
    }
    for (episode, length) in found.iter_mut().zip(lengths) {
        episode.advantages.resize(length, 0.0);
        episode.returns.resize(length, 0.0);
        episode.valued.resize(length, false);
    }
    found
}

/// What a value head learns from a batch, one number a trained token.
#[derive(Clone, Default)]
pub(super) struct Valued {
    pub(super) old_value: Vec<f32>,
    pub(super) target: Vec<f32>,
    /// Whether the token's value is learnt.
    pub(super) learns: Vec<bool>,
}

impl Valued {
    pub(super) fn new(old_value: Vec<f32>, found: &[TokenGae]) -> Self {
        let targets = found.iter().flat_map(|e| &e.returns);
        Self {
            old_value,
            target: targets.map(|r| *r as f32).collect(),
            learns: found.iter().flat_map(|e| e.valued.clone()).collect(),
        }
    }

    /// Shares with which the losses of the values that learn make their mean.
    pub(super) fn weights(&self) -> Vec<f32> {
        let count = self.learns.iter().filter(|learns| **learns).count();
        let share = 1.0 / count.max(1) as f32;
        let weight = |learns: &bool| if *learns { share } else { 0.0 };
        self.learns.iter().map(weight).collect()
    }

    /// The numbers of the tokens at these places.
    pub(super) fn pick(&self, tokens: &[usize]) -> Self {
        Self {
            old_value: tokens.iter().map(|i| self.old_value[*i]).collect(),
            target: tokens.iter().map(|i| self.target[*i]).collect(),
            learns: tokens.iter().map(|i| self.learns[*i]).collect(),
        }
    }
}

/// What the optimizer steps on one batch add up to; their means are TRL's `…_avg`.
#[derive(Default)]
pub(super) struct Averages {
    steps: f64,
    policy_loss: f64,
    value_loss: f64,
    approx_kl: f64,
    clipped: f64,
    values_clipped: f64,
    entropy: f64,
    /// Mean ratio of each step.
    ratios: Vec<f64>,
}

impl Averages {
    /// Takes in one optimizer step.
    pub(super) fn add(&mut self, step: &Statistics, tokens: &TokenBatch, critic: &Critic) {
        let trained: Vec<usize> = (0..tokens.weight.len())
            .filter(|&i| tokens.weight[i] > 0.0)
            .collect();
        let mean = |of: &dyn Fn(usize) -> f64| {
            trained.iter().map(|&i| of(i)).sum::<f64>() / trained.len().max(1) as f64
        };
        let moved = |i: usize| f64::from(step.logprob[i] - tokens.old_logprob[i]);
        self.steps += 1.0;
        self.policy_loss += step.policy_loss;
        self.value_loss += step.value_loss;
        self.approx_kl += 0.5 * mean(&|i| moved(i).powi(2));
        self.entropy += mean(&|i| f64::from(step.entropy[i]));
        self.clipped += mean(&|i| f64::from(u8::from(step.beyond[i] != 0)));
        self.ratios.push(mean(&|i| moved(i).exp()));
        if let (Some(valued), Some(width)) = (&tokens.valued, critic.clip) {
            let learnt = (0..valued.learns.len()).filter(|&i| valued.learns[i]);
            let (mut count, mut clipped) = (0.0, 0.0);
            for i in learnt {
                let number = |values: &[f32]| f64::from(values[i]);
                let (value, old) = (number(&step.value), number(&valued.old_value));
                count += 1.0;
                clipped += f64::from(u8::from(is_clipped(
                    value,
                    old,
                    number(&valued.target),
                    width,
                )));
            }
            self.values_clipped += clipped / f64::max(count, 1.0);
        }
    }

    pub(super) fn record(&self, metrics: &mut Metrics) {
        let steps = self.steps.max(1.0);
        for (name, sum) in [
            ("loss/policy_avg", self.policy_loss),
            ("loss/value_avg", self.value_loss),
            ("policy/approxkl_avg", self.approx_kl),
            ("policy/clipfrac_avg", self.clipped),
            ("policy/entropy_avg", self.entropy),
            ("val/clipfrac_avg", self.values_clipped),
        ] {
            metrics.set(name, sum / steps);
        }
        let (ratio, spread) = ocelli_core::metrics::mean_std(&self.ratios);
        metrics.set("val/ratio", ratio);
        metrics.set("val/ratio_var", spread * spread);
    }
}

/// Rewards as TRL's PPO reports them, and how good the values were before the update.
pub(super) fn record_objective(
    metrics: &mut Metrics,
    signal: &Signal,
    groups: &[Group],
    valued: &Valued,
) {
    let episodes: Vec<&Episode> = groups.iter().flat_map(|g| &g.episodes).collect();
    let count = episodes.len().max(1) as f64;
    let surprise = |e: &&Episode| -behavior_logprobs(e).map(f64::from).sum::<f64>();
    metrics.set(
        "objective/entropy",
        episodes.iter().map(surprise).sum::<f64>() / count,
    );
    let (divergence, cost) = signal.penalty_sums();
    metrics.set("objective/kl", divergence / count);
    metrics.set("objective/non_score_reward", -cost / count);
    // What is known here has the penalties taken off.
    let known: Vec<f64> = signal.rewards.iter().flatten().copied().flatten().collect();
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    metrics.set("objective/rlhf_reward", mean);
    metrics.set("objective/scores", mean + cost / count);
    let of = |values: &[f32]| -> Vec<f64> {
        let pairs = values.iter().zip(&valued.learns);
        pairs
            .filter(|(_, l)| **l)
            .map(|(v, _)| f64::from(*v))
            .collect()
    };
    let (old, targets) = (of(&valued.old_value), of(&valued.target));
    let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    metrics.set("critic/values/mean", average(&old));
    metrics.set("critic/returns/mean", average(&targets));
    metrics.set("val/explained_variance", explained_variance(&old, &targets));
}
