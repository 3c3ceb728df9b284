//! One optimizer step on a batch of answers.

use std::ops::Range;

use burn::tensor::Tensor;
use ocelli_core::SeedKey;
use ocelli_model::network::Network;
use ocelli_rollout::Policy;

use super::batch::{TokenBatch, logprobs};
use super::critic::Valued;
use super::metrics::Statistics;
use crate::algorithm::{Algorithm, AlgorithmState, CovarianceRule};
use crate::objective::covariance::{clip_cov_tokens, covariances, kl_cov_tokens};
use crate::objective::entropy::top_entropy;
use crate::objective::staleness::keeps_sequence;
use crate::objective::value::value_loss;
use crate::objective::{Sequences, SurrogateInput, kl, log_ratio};
use crate::optimizer::{Optimizer, StepReport};
use crate::packing::{Tree, constant, score, score_with_values, values};
use crate::recipe::{RolloutConfig, StageConfig};
use crate::stage::update;

/// What one optimizer step needs to know.
pub(super) struct Learner<'a> {
    pub(super) stage: &'a StageConfig,
    pub(super) rollout: &'a RolloutConfig,
    pub(super) algorithm: &'a Algorithm,
    pub(super) reference: Option<&'a Network>,
    pub(super) progress: (u64, u64),
    /// Of the tokens that are chosen at random.
    pub(super) key: SeedKey,
}

/// Which tokens a step treats differently from others.
#[derive(Default)]
struct Selection {
    /// Factor of each token's surrogate.
    factor: Option<Vec<f32>>,
    /// 1 at tokens of high covariance.
    chosen: Option<Vec<f32>>,
    /// Tokens that learn, where not all do.
    learning: Option<Vec<bool>>,
}

impl Learner<'_> {
    pub(super) fn step(
        &self,
        policy: &mut Policy,
        optimizer: &mut Optimizer,
        trees: &[Tree],
        tokens: &TokenBatch,
        state: &AlgorithmState,
    ) -> (StepReport, Statistics) {
        let algorithm = self.algorithm;
        let (inner, device) = (policy.device.clone(), policy.device.clone().autodiff());
        let banned = policy.rules.banned.clone();
        let temperature = self.rollout.temperature;
        let selection = self.select(policy, trees, tokens);
        let coefficient = algorithm.entropy_coefficient(state);
        let (beta, kl_term) = (algorithm.beta(state), algorithm.kl_in_loss());
        let spread = entropy_weights(tokens, &selection);
        let value_weights = tokens.valued.as_ref().map_or(Vec::new(), Valued::weights);
        let mut statistics = Statistics::default();
        let report = update(
            policy,
            optimizer,
            trees,
            self.stage.batch.max_tokens,
            self.progress,
            |network, range: Range<usize>| {
                let (span, answers) = tokens.span(&range);
                let trees = &trees[range];
                let constant = |values: &[f32]| constant(&values[span.clone()], &device);
                let sequences = Sequences::new(tokens.lengths[answers].to_vec());
                let (new, value) = match &algorithm.critic {
                    None => (score(network, trees, temperature, &banned, &device), None),
                    Some(critic) => {
                        let choice = (temperature, banned.as_slice());
                        let detached = critic.detached || self.warming_up();
                        let (new, value) =
                            score_with_values(network, trees, choice, &device, detached);
                        (new, Some(value))
                    }
                };
                let old = constant(&tokens.old_logprob);
                let mut loss = algorithm.surrogate.token_loss(SurrogateInput {
                    logprob: new.logprob.clone(),
                    old_logprob: old.clone(),
                    advantage: constant(&tokens.advantage),
                    sequences: &sequences,
                    level: algorithm.level,
                    chosen: selection.chosen.as_ref().map(|c| constant(c)),
                });
                if let Some(factor) = &selection.factor {
                    loss = loss * constant(factor);
                }
                if let (Some(term), Some(reference)) = (kl_term, self.reference) {
                    let pulled = score(reference, trees, temperature, &banned, &inner);
                    let pulled = Tensor::from_inner(pulled.logprob);
                    let mut kl = kl(term.estimator, new.logprob.clone(), pulled);
                    if term.bias_correction {
                        let level = algorithm.level;
                        kl = kl * log_ratio(new.logprob.clone(), old, level, &sequences).exp();
                    }
                    statistics.kl.extend(values(kl.clone().inner()));
                    loss = loss + kl * beta as f32;
                }
                let mut loss = (loss * constant(&tokens.weight)).sum();
                statistics.policy_loss += f64::from(values(loss.clone().inner())[0]);
                if coefficient != 0.0 {
                    let bonus = (new.entropy.clone() * constant(&spread)).sum();
                    loss = loss - bonus * coefficient as f32;
                }
                if let (Some(value), Some(critic), Some(valued)) =
                    (value, &algorithm.critic, &tokens.valued)
                {
                    statistics.value.extend(values(value.clone().inner()));
                    let (old, target) = (constant(&valued.old_value), constant(&valued.target));
                    let term = value_loss(value, old, target, critic.clip);
                    let term = (term * constant(&value_weights)).sum();
                    statistics.value_loss += f64::from(values(term.clone().inner())[0]);
                    let term = term * critic.coefficient as f32;
                    loss = if self.warming_up() { term } else { loss + term };
                }
                statistics.loss += f64::from(values(loss.clone().inner())[0]);
                statistics.logprob.extend(values(new.logprob.inner()));
                statistics.entropy.extend(values(new.entropy.inner()));
                loss
            },
        );
        statistics.entropy_weights = spread;
        if algorithm.critic.is_some() {
            statistics.beyond = Statistics::clipped(&statistics.logprob, tokens, algorithm);
        }
        (report, statistics)
    }

    /// Whether only the value head learns yet.
    fn warming_up(&self) -> bool {
        let critic = self.algorithm.critic;
        critic.is_some_and(|critic| self.progress.0 < critic.warmup)
    }

    /// Looks at the whole batch before it is cut, so that micro-batches leave no trace.
    fn select(&self, policy: &Policy, trees: &[Tree], tokens: &TokenBatch) -> Selection {
        let algorithm = self.algorithm;
        let mut selection = Selection {
            factor: tokens.factor.clone(),
            ..Selection::default()
        };
        if !algorithm.looks_ahead() {
            return selection;
        }
        let look = (self.rollout.temperature, self.stage.batch.max_tokens);
        let (logprob, entropy) = logprobs(policy, &policy.network(), trees, look);
        // Answers that are left out have no say in what is chosen.
        let trained: Vec<usize> = (0..logprob.len())
            .filter(|&i| tokens.weight[i] > 0.0)
            .collect();
        let of_trained = |values: &[f32]| trained.iter().map(|&i| values[i]).collect::<Vec<f32>>();
        let mark = |chosen: &[bool]| {
            let mut marks = vec![false; logprob.len()];
            for (&i, &chosen) in trained.iter().zip(chosen) {
                marks[i] = chosen;
            }
            marks
        };
        let mut factor = selection
            .factor
            .take()
            .unwrap_or_else(|| vec![1.0; logprob.len()]);
        if algorithm.top_entropy_quantile < 1.0 {
            let kept = mark(&top_entropy(
                &of_trained(&entropy),
                algorithm.top_entropy_quantile,
            ));
            factor
                .iter_mut()
                .zip(&kept)
                .for_each(|(f, kept)| *f *= f32::from(*kept));
            selection.learning = Some(kept);
        }
        if let Some(threshold) = algorithm.off_policy_mask_threshold {
            for span in tokens.answers() {
                let advantage = tokens.advantage.get(span.start).copied().unwrap_or(0.0);
                let (old, new) = (&tokens.old_logprob[span.clone()], &logprob[span.clone()]);
                if !keeps_sequence(f64::from(advantage), old, new, threshold) {
                    factor[span].fill(0.0);
                }
            }
        }
        if let Some(rule) = algorithm.covariance {
            let covariances = covariances(&of_trained(&tokens.advantage), &of_trained(&logprob));
            let chosen = match rule {
                CovarianceRule::Kl { ratio } => kl_cov_tokens(&covariances, ratio),
                CovarianceRule::Clip(rule) => {
                    let clipped = Statistics::clipped(&logprob, tokens, algorithm);
                    let clipped: Vec<bool> = trained.iter().map(|&i| clipped[i] != 0).collect();
                    clip_cov_tokens(&covariances, &clipped, rule, &mut self.key.rng())
                }
            };
            selection.chosen = Some(mark(&chosen).into_iter().map(f32::from).collect());
        }
        selection.factor = Some(factor);
        selection
    }
}

/// Weights that make the sum of entropies their mean over the tokens that learn.
fn entropy_weights(tokens: &TokenBatch, selection: &Selection) -> Vec<f32> {
    let learns = |i: usize| {
        tokens.weight[i] > 0.0
            && selection
                .learning
                .as_ref()
                .is_none_or(|learning| learning[i])
    };
    let count = (0..tokens.weight.len())
        .filter(|&i| learns(i))
        .count()
        .max(1);
    let share = 1.0 / count as f32;
    (0..tokens.weight.len())
        .map(|i| if learns(i) { share } else { 0.0 })
        .collect()
}
