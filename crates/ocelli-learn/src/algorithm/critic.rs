//! The keys of a value head: what it learns, and how its values become advantages.

use super::check::{Refusal, refusal};
use super::{Algorithm, AlgorithmConfig};
use crate::credit::AdvantageEstimator;
use crate::credit::gae::GaeRule;
use crate::objective::ImportanceSamplingLevel;

/// A value head and what is made of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Critic {
    pub rule: GaeRule,
    /// Weight of the value loss beside the policy's.
    pub coefficient: f64,
    /// How far a value may move from the one at sampling.
    pub clip: Option<f64>,
    /// Keeps the value loss from the network under the head.
    pub detached: bool,
    /// Divides token rewards by their deviation in the batch.
    pub whiten_rewards: bool,
    /// Steps at the beginning of the stage in which only the head learns.
    pub warmup: u64,
}

impl AlgorithmConfig {
    /// The value head, where the estimator has one.
    pub(super) fn critic(&self) -> Option<Critic> {
        (self.advantage_estimator == Some(AdvantageEstimator::Gae)).then(|| Critic {
            rule: GaeRule {
                gamma: self.gamma.unwrap_or(1.0),
                lambda: self.lam.unwrap_or(0.95),
                level: self.gae_level.unwrap_or_default(),
            },
            coefficient: self.vf_coef.unwrap_or(0.1),
            clip: match self.cliprange_value {
                None => Some(0.2),
                Some(width) => (width > 0.0).then_some(width),
            },
            detached: self.detach_value_head.unwrap_or(false),
            whiten_rewards: self.whiten_rewards.unwrap_or(false),
            warmup: self.critic_warmup.unwrap_or(0),
        })
    }

    pub(super) fn critic_refusals(&self, resolved: &Algorithm) -> Vec<Refusal> {
        let outside = |value: Option<f64>, low: f64, high: f64| {
            value.is_some_and(|v| !(low..=high).contains(&v))
        };
        let given = [
            self.lam.is_some(),
            self.gae_level.is_some(),
            self.vf_coef.is_some(),
            self.cliprange_value.is_some(),
            self.detach_value_head.is_some(),
            self.whiten_rewards.is_some(),
            self.critic_warmup.is_some(),
        ];
        let gae = resolved.critic.is_some();
        let whole = matches!(
            resolved.level,
            ImportanceSamplingLevel::Sequence | ImportanceSamplingLevel::SequenceProduct
        );
        vec![
            refusal(
                outside(self.lam, 0.0, 1.0),
                "`algorithm.lam` must be between 0 and 1",
            ),
            refusal(
                outside(self.vf_coef, 0.0, f64::MAX),
                "`algorithm.vf_coef` must be 0 or more",
            ),
            refusal(
                outside(self.cliprange_value, 0.0, f64::MAX),
                "`algorithm.cliprange_value` must be above 0, or 0 for no clip",
            ),
            refusal(
                self.num_mini_batches == Some(0),
                "`algorithm.num_mini_batches` must be at least 1",
            ),
            refusal(
                given.contains(&true) && !gae,
                "`algorithm.lam`, `gae_level`, `vf_coef`, `cliprange_value`, `detach_value_head`, `whiten_rewards` and `critic_warmup` have \
                 no effect without a value head; set `advantage_estimator = \"gae\"` or `preset = \"ppo\"`, or remove them",
            ),
            refusal(
                gae && self.scale_rewards.is_some(),
                "`algorithm.scale_rewards` contradicts `advantage_estimator = \"gae\"`, which compares an answer with its values and not with its \
                 group; remove it, or set `whiten_rewards`",
            ),
            refusal(
                gae && resolved.demonstrations.is_some(),
                "`algorithm.demonstration` compares rewards within a group, and `advantage_estimator = \"gae\"` has no group; remove it, or \
                 imitate in a stage `sft`",
            ),
            refusal(
                gae && whole,
                "`algorithm.importance_sampling_level`: a ratio of a whole answer has one advantage, and `advantage_estimator = \"gae\"` gives \
                 one to every token; use `token` or `sequence_token`",
            ),
            refusal(
                gae && resolved.loss_type == super::LossType::Gmpo,
                "`algorithm.loss_type = \"gmpo\"` has one advantage an answer, and `advantage_estimator = \"gae\"` one a token; set \
                 `loss_type = \"dapo\"`",
            ),
            refusal(
                gae && resolved.loss_type == super::LossType::Vespo,
                "`algorithm.loss_type = \"vespo\"` has one advantage an answer, and `advantage_estimator = \"gae\"` one a token; set \
                 `loss_type = \"dapo\"`",
            ),
        ]
    }
}
