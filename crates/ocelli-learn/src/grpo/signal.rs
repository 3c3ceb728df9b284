//! What the rewards of a batch say to each token.

use ocelli_core::{Episode, Progress, SeedKey, Verdict};
use ocelli_reward::RewardGraph;
use ocelli_rollout::Group;
use rand::seq::SliceRandom;

use super::batch::behavior_logprobs;
use super::demonstrations::is_demonstration;
use crate::algorithm::{Algorithm, AlgorithmState};
use crate::credit::advantage_weighted::{advantage_weighted, reward_weighted};
use crate::credit::baseline::{gpg, length_weighted, remax};
use crate::credit::decoupled::{MultiObjectiveAggregation, gdpo};
use crate::credit::demonstration::demonstrated_groups;
use crate::credit::leave_one_out::leave_one_out;
use crate::credit::normalize::normalize_batch;
use crate::credit::pass_at_k::pass_at_k;
use crate::credit::reinforce::{reinforce_plus_plus, reinforce_plus_plus_baseline};
use crate::credit::softmax::softmax;
use crate::credit::{AdvantageEstimator, EPSILON, group_relative};
use crate::objective::KlEstimator;
use crate::objective::difficulty::DifficultyWeight;
use crate::objective::kl::kl_value;

/// Rewards by group, `None` where no verifier could judge.
type Rewards = Vec<Vec<Option<f64>>>;

/// The rewards of a batch.
pub(super) struct Signal {
    pub(super) rewards: Rewards,
    /// Rewards of the greedy answers, when there are any.
    greedy: Vec<Option<f64>>,
    /// Scores and weight of each reward by itself.
    parts: Vec<(Rewards, f64)>,
    /// Penalty of each token, when the KL term stands in the reward.
    penalties: Option<Vec<Vec<f64>>>,
    /// Divergence from the reference, summed over all tokens.
    divergence: f64,
}

impl Signal {
    pub(super) fn new(
        groups: &[Group],
        greedy: &[Group],
        graph: &RewardGraph,
        progress: Progress,
    ) -> Self {
        let of = |read: &dyn Fn(&Episode) -> Option<f64>| -> Rewards {
            groups
                .iter()
                .map(|group| group.episodes.iter().map(read).collect())
                .collect()
        };
        let parts = graph
            .node_names()
            .zip(graph.weights(progress))
            .filter(|(_, weight)| *weight != 0.0)
            .map(|(name, weight)| {
                let score = |episode: &Episode| match episode.outcome.verdicts.get(name) {
                    Some(Verdict::Score { value, .. }) => Some(*value),
                    _ => None,
                };
                (of(&score), weight)
            });
        Self {
            rewards: of(&|episode| episode.outcome.reward),
            greedy: greedy
                .iter()
                .map(|group| group.episodes.first().and_then(|e| e.outcome.reward))
                .collect(),
            parts: parts.collect(),
            penalties: None,
            divergence: 0.0,
        }
    }

    /// The control arm: rewards dealt out anew over the whole batch, an episode's rewards together.
    pub(super) fn shuffle(&mut self, key: &SeedKey) {
        let count = self.rewards.iter().map(Vec::len).sum();
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut key.rng());
        let deal = |rewards: &mut Rewards| {
            let all: Vec<Option<f64>> = rewards.iter().flatten().copied().collect();
            for (reward, from) in rewards.iter_mut().flatten().zip(&order) {
                *reward = all[*from];
            }
        };
        deal(&mut self.rewards);
        self.parts.iter_mut().for_each(|(part, _)| deal(part));
    }

    /// Takes `beta` times the divergence from the reference, summed over its tokens, from each episode's reward. `reference` holds the
    /// log-probabilities of all trained tokens. Returns the mean divergence a token.
    pub(super) fn penalize(
        &mut self,
        estimator: KlEstimator,
        beta: f64,
        groups: &[Group],
        reference: &[f32],
    ) -> f64 {
        let mut reference = reference.iter();
        let divergences: Vec<Vec<f64>> = groups
            .iter()
            .flat_map(|g| &g.episodes)
            .map(|episode| {
                behavior_logprobs(episode)
                    .zip(&mut reference)
                    .map(|(old, pulled)| kl_value(estimator, f64::from(old), f64::from(*pulled)))
                    .collect()
            })
            .collect();
        for (reward, divergence) in self.rewards.iter_mut().flatten().zip(&divergences) {
            *reward = reward.map(|r| r - beta * divergence.iter().sum::<f64>());
        }
        let count = divergences.iter().map(Vec::len).sum::<usize>().max(1);
        self.divergence = divergences.iter().flatten().sum();
        let mean = self.divergence / count as f64;
        let cost = |tokens: Vec<f64>| tokens.into_iter().map(|kl| beta * kl).collect();
        self.penalties = Some(divergences.into_iter().map(cost).collect());
        mean
    }

    /// Advantages of the trained tokens, one list an episode.
    pub(super) fn advantages(
        &self,
        groups: &[Group],
        algorithm: &Algorithm,
        state: &mut AlgorithmState,
    ) -> Vec<Vec<f64>> {
        let lengths: Vec<Vec<usize>> = groups
            .iter()
            .map(|group| {
                let count = |e| behavior_logprobs(e).count();
                group.episodes.iter().map(count).collect()
            })
            .collect();
        let rewards = &self.rewards;
        let of_episodes = match algorithm.estimator {
            AdvantageEstimator::ReinforcePlusPlus => {
                return self.whitened_returns(&lengths.concat(), algorithm.gamma);
            }
            AdvantageEstimator::ReinforcePlusPlusBaseline => {
                return reinforce_plus_plus_baseline(rewards, &lengths);
            }
            AdvantageEstimator::GroupRelative if algorithm.demonstrations.is_some() => {
                let joined = |group: &Group| group.episodes.last().is_some_and(is_demonstration);
                let joined: Vec<bool> = groups.iter().map(joined).collect();
                demonstrated_groups(rewards, &joined, algorithm.scale.epsilon)
            }
            AdvantageEstimator::GroupRelative => match algorithm.multi_objective {
                MultiObjectiveAggregation::SumThenNormalize => {
                    group_relative(rewards, algorithm.scale)
                }
                MultiObjectiveAggregation::NormalizeThenSum => {
                    let (scores, weights): (Vec<Rewards>, Vec<f64>) =
                        self.parts.iter().cloned().unzip();
                    gdpo(&scores, &weights)
                }
            },
            AdvantageEstimator::LeaveOneOut => leave_one_out(rewards),
            AdvantageEstimator::Remax => remax(rewards, &self.greedy),
            AdvantageEstimator::Opo => length_weighted(rewards, &lengths),
            AdvantageEstimator::Gpg => gpg(rewards),
            AdvantageEstimator::PassAtK => pass_at_k(rewards, algorithm.scale),
            AdvantageEstimator::TaskSpread => {
                let tasks: Vec<&str> = groups.iter().map(|g| g.task.kind()).collect();
                state
                    .task_spread
                    .advantages(rewards, &tasks, algorithm.task_spread)
            }
            AdvantageEstimator::Softmax => softmax(rewards, algorithm.softmax_beta),
            AdvantageEstimator::Awr => {
                let rule = algorithm.advantage_weights;
                advantage_weighted(rewards, rule.temperature, rule.cap)
            }
            AdvantageEstimator::Reward => reward_weighted(rewards),
            AdvantageEstimator::Gae => unreachable!("values are asked for before this"),
        };
        let of_episodes = match algorithm.normalize_advantages {
            true => normalize_batch(&of_episodes, |i, j| rewards[i][j].is_some(), EPSILON),
            false => of_episodes,
        };
        of_episodes
            .iter()
            .flatten()
            .zip(lengths.iter().flatten())
            .map(|(advantage, length)| vec![*advantage; *length])
            .collect()
    }

    /// Divergence from the reference and what it cost, summed over all tokens; zeros without a penalty in the reward.
    pub(super) fn penalty_sums(&self) -> (f64, f64) {
        let costs = self.penalties.iter().flatten().flatten();
        (self.divergence, costs.sum())
    }

    /// An episode's reward on its last token, penalties on every token; nothing where there is no reward.
    pub(super) fn token_rewards(&self, lengths: &[usize]) -> Vec<Vec<f64>> {
        let rewards: Vec<Option<f64>> = self.rewards.iter().flatten().copied().collect();
        rewards
            .iter()
            .zip(lengths)
            .enumerate()
            .map(|(i, (reward, &length))| {
                let Some(reward) = reward else {
                    return Vec::new();
                };
                let penalties = self.penalties.as_ref().map(|p| &p[i]);
                let cost = |t: usize| penalties.map_or(0.0, |p| p[t]);
                let mut tokens: Vec<f64> = (0..length).map(|t| -cost(t)).collect();
                if let Some(last) = tokens.last_mut() {
                    // `rewards` has the penalties taken off already.
                    *last += reward + (0..length).map(cost).sum::<f64>();
                }
                tokens
            })
            .collect()
    }

    /// REINFORCE++. Episodes without a reward get zeros.
    fn whitened_returns(&self, lengths: &[usize], gamma: f64) -> Vec<Vec<f64>> {
        let mut advantages = reinforce_plus_plus(&self.token_rewards(lengths), gamma);
        for (tokens, &length) in advantages.iter_mut().zip(lengths) {
            tokens.resize(length, 0.0);
        }
        advantages
    }

    /// Weight of each group by its mean reward as a share of the sum of positive weights.
    pub(super) fn difficulty(&self, rule: DifficultyWeight) -> Vec<f64> {
        let largest: f64 = self.parts.iter().map(|(_, weight)| weight.max(0.0)).sum();
        self.rewards
            .iter()
            .map(|group| {
                let known: Vec<f64> = group.iter().copied().flatten().collect();
                let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
                rule.of(mean / if largest > 0.0 { largest } else { 1.0 })
            })
            .collect()
    }
}
