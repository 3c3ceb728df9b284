//! The keys of answers that are older than the policy, and of weights instead of advantages.

use serde::{Deserialize, Serialize};

use super::check::{Refusal, refusal};
use super::{Algorithm, AlgorithmConfig, LossType};
use crate::credit::AdvantageEstimator;
use crate::objective::staleness::{StalenessBound, StalenessLevel, StalenessRule};

/// Over what the weights of older answers are taken, and what happens to those out of bounds; TRL's `vllm_importance_sampling_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StalenessCorrection {
    TokenTruncate,
    TokenMask,
    SequenceTruncate,
    SequenceMask,
}

/// Weights of advantage-weighted regression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdvantageWeights {
    pub temperature: f64,
    pub cap: f64,
}

impl AlgorithmConfig {
    pub(super) fn advantage_weights(&self) -> AdvantageWeights {
        AdvantageWeights {
            temperature: self.awr_temperature.unwrap_or(1.0),
            cap: self.awr_cap.unwrap_or(20.0),
        }
    }

    pub(super) fn staleness(&self) -> Option<StalenessRule> {
        use StalenessBound::{Mask, Truncate};
        use StalenessLevel::{Sequence, Token};
        let (level, bound) = match self.staleness_correction? {
            StalenessCorrection::TokenTruncate => (Token, Truncate),
            StalenessCorrection::TokenMask => (Token, Mask),
            StalenessCorrection::SequenceTruncate => (Sequence, Truncate),
            StalenessCorrection::SequenceMask => (Sequence, Mask),
        };
        Some(StalenessRule {
            level,
            bound,
            min: self.staleness_min,
            max: Some(self.staleness_max.unwrap_or(3.0)),
        })
    }

    pub(super) fn staleness_refusals(&self, resolved: &Algorithm) -> Vec<Refusal> {
        let wrong = |value: Option<f64>| value.is_some_and(|v| !(v > 0.0 && v.is_finite()));
        let weighted = resolved.estimator == AdvantageEstimator::Awr;
        let rule = resolved.staleness;
        vec![
            refusal(
                wrong(self.awr_temperature) || wrong(self.awr_cap),
                "`algorithm.awr_temperature` and `awr_cap` must be above 0",
            ),
            refusal(
                (self.awr_temperature.is_some() || self.awr_cap.is_some()) && !weighted,
                "`algorithm.awr_temperature` and `awr_cap` have no effect without `advantage_estimator = \"awr\"`; remove them",
            ),
            refusal(
                weighted && resolved.loss_type != LossType::Reinforce,
                "`algorithm.advantage_estimator = \"awr\"` gives positive weights for a likelihood; set `loss_type = \"reinforce\"`",
            ),
            refusal(
                weighted && resolved.normalize_advantages,
                "`algorithm.normalize_advantages` would make weights of `awr` negative; remove it",
            ),
            refusal(
                wrong(self.staleness_min) || wrong(self.staleness_max),
                "`algorithm.staleness_min` and `staleness_max` must be above 0",
            ),
            refusal(
                rule.is_some_and(|rule| rule.min >= rule.max),
                "`algorithm.staleness_min` must be below `staleness_max`, which is 3 unless it is given",
            ),
            refusal(
                rule.is_none() && (self.staleness_min.is_some() || self.staleness_max.is_some()),
                "`algorithm.staleness_min` and `staleness_max` have no effect without `staleness_correction`; set it, `\"token_truncate\"` for one",
            ),
            refusal(
                rule.is_some() && resolved.loss_type == LossType::Gmpo,
                "`algorithm.staleness_correction` weighs tokens, and `loss_type = \"gmpo\"` has one loss an answer; remove it, or use `grpo`",
            ),
        ]
    }
}
