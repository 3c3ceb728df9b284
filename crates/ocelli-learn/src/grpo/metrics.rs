//! Metrics of a step, under TRL's names where TRL has them.

use ocelli_core::metrics::mean_std;
use ocelli_core::{Episode, Metrics};
use ocelli_data::Dataset;
use ocelli_reward::{RewardGraph, error_rate, record_rewards};
use ocelli_rollout::Group;

use super::batch::TokenBatch;
use crate::alarms::repetition;
use crate::algorithm::{Algorithm, AlgorithmState};
use crate::objective::entropy::AdaptiveEntropy;
use crate::objective::kl::AdaptiveKl;
use crate::objective::staleness::effective_sample_size;
use crate::objective::vespo;
use crate::objective::{CispoBounds, ImportanceSamplingLevel, Surrogate};

/// What the pass of one step saw, token by token.
#[derive(Default)]
pub(super) struct Statistics {
    pub(super) loss: f64,
    /// Without the entropy bonus and the value loss.
    pub(super) policy_loss: f64,
    /// Before its weight.
    pub(super) value_loss: f64,
    /// What the value head said.
    pub(super) value: Vec<f32>,
    /// Which tokens were clipped, see [`Self::clipped`]; for a critic's averages alone.
    pub(super) beyond: Vec<i8>,
    pub(super) logprob: Vec<f32>,
    pub(super) entropy: Vec<f32>,
    pub(super) kl: Vec<f32>,
    /// Shares with which the entropies of the tokens that learn make their mean.
    pub(super) entropy_weights: Vec<f32>,
}

impl Statistics {
    /// −1 where a token's ratio lies below its bound and its advantage is negative, 1 where it lies above and the advantage is positive.
    pub(super) fn clipped(logprob: &[f32], tokens: &TokenBatch, algorithm: &Algorithm) -> Vec<i8> {
        let log_ratios = log_ratios(logprob, tokens, algorithm.level);
        let side = |(log, advantage): (&f64, &f32)| {
            let ratio = log.exp();
            let (low, high) = match algorithm.surrogate {
                Surrogate::Clip(b) => (ratio < 1.0 - b.low, ratio > 1.0 + b.high),
                Surrogate::Gmpo(b) => (*log < -b.low, *log > b.high),
                _ => (false, false),
            };
            match (low && *advantage < 0.0, high && *advantage > 0.0) {
                (true, _) => -1,
                (_, true) => 1,
                _ => 0,
            }
        };
        log_ratios.iter().zip(&tokens.advantage).map(side).collect()
    }

    pub(super) fn record(&self, metrics: &mut Metrics, algorithm: &Algorithm, tokens: &TokenBatch) {
        let trained: Vec<usize> = (0..tokens.weight.len())
            .filter(|&i| tokens.weight[i] > 0.0)
            .collect();
        let of_trained = |values: &[f32]| trained.iter().map(|&i| values[i]).collect::<Vec<f32>>();
        metrics.set("loss", self.loss);
        metrics.set("entropy", mean(&of_trained(&self.entropy)));
        if algorithm.kl_in_loss().is_some() {
            metrics.set("kl", mean(&of_trained(&self.kl)));
        }
        if algorithm.entropy.is_some() {
            metrics.set("policy_loss", self.policy_loss);
            let learning = self.entropy.iter().zip(&self.entropy_weights);
            let mean = learning
                .map(|(h, share)| f64::from(*h) * f64::from(*share))
                .sum();
            metrics.set("learning_entropy", mean);
        }
        self.record_clipping(metrics, algorithm, tokens, &trained);
        let difference: Vec<f32> = trained
            .iter()
            .map(|&i| (self.logprob[i] - tokens.old_logprob[i]).abs())
            .collect();
        metrics.set("sampling/sampling_logp_difference/mean", mean(&difference));
        let largest = difference.iter().copied().fold(0.0, f32::max);
        metrics.set("sampling/sampling_logp_difference/max", f64::from(largest));
        let ratios = log_ratios(&self.logprob, tokens, ImportanceSamplingLevel::Token);
        let ratios: Vec<f64> = trained.iter().map(|&i| ratios[i].exp()).collect();
        metrics.set("effective_sample_size", effective_sample_size(&ratios));
    }

    fn record_clipping(
        &self,
        metrics: &mut Metrics,
        algorithm: &Algorithm,
        tokens: &TokenBatch,
        trained: &[usize],
    ) {
        let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
        match algorithm.surrogate {
            Surrogate::Clip(_) | Surrogate::Gmpo(_) => {
                let clipped = Self::clipped(&self.logprob, tokens, algorithm);
                let of_answers = |counts: &dyn Fn(i8) -> bool| -> Vec<f64> {
                    tokens
                        .answers()
                        .filter(|span| !span.is_empty() && tokens.weight[span.start] > 0.0)
                        .map(|span| {
                            let count = clipped[span.clone()].iter().filter(|c| counts(**c));
                            share(count.count(), span.len())
                        })
                        .collect()
                };
                let by_token = algorithm.level == ImportanceSamplingLevel::Token
                    || matches!(algorithm.surrogate, Surrogate::Gmpo(_));
                let whole = |counts: &dyn Fn(i8) -> bool| {
                    if by_token {
                        let count = trained.iter().filter(|&&i| counts(clipped[i]));
                        return share(count.count(), trained.len());
                    }
                    mean_std(&of_answers(counts)).0
                };
                let (low, high) = (|side| side < 0, |side| side > 0);
                metrics.set("clip_ratio/low_mean", whole(&low));
                metrics.set("clip_ratio/high_mean", whole(&high));
                metrics.set("clip_ratio/region_mean", whole(&|side| side != 0));
                let least = of_answers(&low).into_iter().reduce(f64::min);
                let most = of_answers(&high).into_iter().reduce(f64::max);
                metrics.set("clip_ratio/low_min", least.unwrap_or(0.0));
                metrics.set("clip_ratio/high_max", most.unwrap_or(0.0));
            }
            Surrogate::Cispo(bounds) => {
                let limit = match bounds {
                    CispoBounds::Max(max) => max,
                    CispoBounds::Interval { high, .. } => 1.0 + high,
                };
                let ratios = log_ratios(&self.logprob, tokens, algorithm.level);
                let clipped = trained
                    .iter()
                    .filter(|&&i| ratios[i].exp() > limit && tokens.advantage[i] > 0.0);
                metrics.set("cispo_clip_ratio", share(clipped.count(), trained.len()));
            }
            Surrogate::Vespo(shape) => {
                let logs = log_ratios(
                    &self.logprob,
                    tokens,
                    ImportanceSamplingLevel::SequenceProduct,
                );
                let weights: Vec<f64> = tokens
                    .answers()
                    .filter(|span| !span.is_empty())
                    .map(|span| {
                        vespo::weight_value(
                            logs[span.start],
                            f64::from(tokens.advantage[span.start]),
                            shape,
                        )
                    })
                    .collect();
                metrics.set("vespo/phi_seq_mean", mean_std(&weights).0);
            }
            Surrogate::Sapo(_) | Surrogate::Reinforce | Surrogate::KlCov { .. } => {}
        }
    }
}

/// Log-ratios of every token, taken over what `level` says.
fn log_ratios(logprob: &[f32], tokens: &TokenBatch, level: ImportanceSamplingLevel) -> Vec<f64> {
    let mut logs: Vec<f64> = logprob
        .iter()
        .zip(&tokens.old_logprob)
        .map(|(new, old)| f64::from(new - old))
        .collect();
    if level == ImportanceSamplingLevel::Token {
        return logs;
    }
    for span in tokens.answers() {
        let sum: f64 = logs[span.clone()].iter().sum();
        let value = match level {
            ImportanceSamplingLevel::SequenceProduct => sum,
            _ => sum / span.len().max(1) as f64,
        };
        logs[span].fill(value);
    }
    logs
}

impl AlgorithmState {
    /// Moves adaptive coefficients by what the step measured, and records them.
    pub(super) fn update(&mut self, algorithm: &Algorithm, metrics: &mut Metrics, samples: usize) {
        if let Some(bonus) = algorithm.entropy {
            if let Some(rule) = bonus.adaptive {
                let adaptive = self
                    .entropy
                    .get_or_insert_with(|| AdaptiveEntropy::new(bonus.coefficient));
                adaptive.update(
                    metrics.get("learning_entropy").unwrap_or(f64::INFINITY),
                    rule,
                );
            }
            let coefficient = self.entropy.map_or(bonus.coefficient, |a| a.coefficient);
            metrics.set("entropy_coef", coefficient);
        }
        let Some((term, (target, horizon))) =
            algorithm.kl.and_then(|term| Some((term, term.adaptive?)))
        else {
            return;
        };
        let adaptive = self.kl.get_or_insert(AdaptiveKl {
            coefficient: term.beta,
        });
        if let Some(kl) = metrics.get("kl") {
            adaptive.update(kl, target, horizon, samples);
        }
        metrics.set("kl_coef", adaptive.coefficient);
    }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64
}

/// Rewards and lengths of the batch, under TRL's names.
pub(super) fn record_batch(
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
    metrics.set("completions/repetition", repetition(episodes.iter()));
    let cut = episodes.iter().filter(|e| e.truncated()).count();
    metrics.set(
        "completions/clipped_ratio",
        cut as f64 / episodes.len().max(1) as f64,
    );
}

/// Rewards by source, where the rows come from several.
pub(super) fn record_sources(
    metrics: &mut Metrics,
    data: &Dataset,
    groups: &[Group],
    rewards: &[Vec<Option<f64>>],
) {
    let names: Vec<&str> = data.source_rows().map(|(name, ..)| name).collect();
    if names.len() < 2 {
        return;
    }
    for name in names {
        let of_source = groups
            .iter()
            .zip(rewards)
            .filter(|(group, _)| data.source_name(&group.task.id) == name);
        let (mut count, mut known) = (0, Vec::new());
        for (_, rewards) in of_source {
            count += 1;
            known.extend(rewards.iter().copied().flatten());
        }
        metrics.set_count(format!("sources/{name}/rows"), count);
        // Null where no reward is known.
        metrics.set(
            format!("sources/{name}/reward"),
            known.iter().sum::<f64>() / known.len() as f64,
        );
    }
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
