//! Named algorithms: each sets every key that belongs to it.

use serde::{Deserialize, Serialize};

use super::{AlgorithmConfig, DemonstrationRule, KlIn, LossType};
use crate::credit::decoupled::MultiObjectiveAggregation;
use crate::credit::gae::GaeLevel;
use crate::credit::{AdvantageEstimator, ScaleRewards};
use crate::objective::{ImportanceSamplingLevel, KlEstimator, LossAggregation};

/// Coupled settings under one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Group z-score, symmetric clip 0.2, mean of sequence means.
    #[default]
    Grpo,
    /// No division by the standard deviation; sums divided by a constant.
    DrGrpo,
    /// Clip 0.2 below and 0.28 above, mean over all tokens.
    Dapo,
    /// `grpo` with a KL penalty of 0.04, as VLM-R1 trains.
    #[serde(rename = "vlm-r1")]
    VlmR1,
    /// Batch-scaled rewards and mean over all tokens.
    LitePpo,
    /// Ratios of sequences, clip 3e-4 and 4e-4.
    Gspo,
    /// `gspo` whose gradient is each token's own.
    GspoToken,
    /// Ratios of sequences, advantages normalised over the batch too.
    #[serde(rename = "bn-gspo")]
    BnGspo,
    /// Ratios as weights of at most 5.
    Cispo,
    /// CISPO with rewards scaled by the batch.
    #[serde(rename = "scale-rl")]
    ScaleRl,
    /// A soft gate of the ratio.
    Sapo,
    /// Geometric mean of ratios clipped to e^±0.4.
    Gmpo,
    /// Ratios of sequences, weighted by length.
    Luspo,
    /// A smooth weight of the sequence's ratio.
    Vespo,
    /// Each reward normalised by itself before they are added.
    Gdpo,
    /// Leave-one-out baseline, ratio of whole sequences, KL 0.05 in the reward.
    Rloo,
    /// Returns whitened over the batch; a KL penalty, if any, stands in the reward.
    #[serde(rename = "reinforce++")]
    ReinforcePlusPlus,
    /// Group mean as baseline, whitened over the batch; a KL penalty, if any, is k2 in the loss.
    #[serde(rename = "reinforce++-baseline")]
    ReinforcePlusPlusBaseline,
    /// The greedy answer as baseline.
    Remax,
    /// Length-weighted baseline.
    Opo,
    /// Centred rewards scaled up where few are rewarded, no ratio.
    Gpg,
    /// Only the best sample of a group counts.
    PassAtK,
    /// Tokens of high covariance lose their gradient.
    ClipCov,
    /// Tokens of high covariance pay for moving.
    KlCov,
    /// V-Triune: clip 0.2 and 0.28, mean over all tokens, no reference.
    #[serde(rename = "v-triune")]
    VTriune,
    /// EasyR1's defaults: clip 0.2 and 0.3, dual clip 3, mean over all tokens, KL 0.01 in the loss.
    #[serde(rename = "easy-r1")]
    EasyR1,
    /// VPPO: credit by dependence on the picture.
    Vppo,
    /// OneThinker: distances from the group's mean in moving standard deviations of the task.
    #[serde(rename = "ema-grpo")]
    EmaGrpo,
    /// UniVG-R1: hard groups weigh more.
    #[serde(rename = "univg-r1")]
    UnivgR1,
    /// Softmax-weighted likelihood of a group's samples.
    SoftmaxLikelihood,
    /// A value head, generalised advantages over tokens, a KL penalty of 0.05 in the reward, four epochs.
    Ppo,
    /// ViSurf: the row's demonstration joins its group.
    #[serde(rename = "visurf")]
    Visurf,
    /// Advantage-weighted regression: likelihood with weights that grow with the reward.
    Awr,
    /// Likelihood weighted by the reward itself.
    RewardLikelihood,
    /// VL-DAC: a value for every turn, ratios of tokens, a KL penalty of 0.04 in the loss.
    #[serde(rename = "vl-dac")]
    VlDac,
}

impl Preset {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::Grpo,
        Self::DrGrpo,
        Self::Dapo,
        Self::VlmR1,
        Self::LitePpo,
        Self::Gspo,
        Self::GspoToken,
        Self::BnGspo,
        Self::Cispo,
        Self::ScaleRl,
        Self::Sapo,
        Self::Gmpo,
        Self::Luspo,
        Self::Vespo,
        Self::Gdpo,
        Self::Rloo,
        Self::ReinforcePlusPlus,
        Self::ReinforcePlusPlusBaseline,
        Self::Remax,
        Self::Opo,
        Self::Gpg,
        Self::PassAtK,
        Self::ClipCov,
        Self::KlCov,
        Self::VTriune,
        Self::EasyR1,
        Self::Vppo,
        Self::EmaGrpo,
        Self::UnivgR1,
        Self::SoftmaxLikelihood,
        Self::Ppo,
        Self::Visurf,
        Self::Awr,
        Self::RewardLikelihood,
        Self::VlDac,
    ];

    /// As a recipe writes it.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => unreachable!("a preset is written as its name"),
        }
    }

    /// The keys it sets.
    pub fn keys(self) -> AlgorithmConfig {
        let keys = AlgorithmConfig::default();
        let clip = |loss_type, low, high| AlgorithmConfig {
            loss_type: Some(loss_type),
            epsilon: Some(low),
            epsilon_high: Some(high),
            ..AlgorithmConfig::default()
        };
        let estimate = |estimator, keys| AlgorithmConfig {
            advantage_estimator: Some(estimator),
            ..keys
        };
        let level = |level, keys| AlgorithmConfig {
            importance_sampling_level: Some(level),
            ..keys
        };
        // The upper width follows `epsilon` unless it is given.
        let symmetric = |loss_type| AlgorithmConfig {
            epsilon_high: None,
            ..clip(loss_type, 0.2, 0.2)
        };
        let plain = |loss_type| AlgorithmConfig {
            loss_type: Some(loss_type),
            ..AlgorithmConfig::default()
        };
        match self {
            Self::Grpo => symmetric(LossType::Grpo),
            Self::DrGrpo => AlgorithmConfig {
                scale_rewards: Some(ScaleRewards::None),
                ..symmetric(LossType::DrGrpo)
            },
            Self::Dapo => clip(LossType::Dapo, 0.2, 0.28),
            Self::VlmR1 => AlgorithmConfig {
                beta: Some(0.04),
                ..symmetric(LossType::Grpo)
            },
            Self::LitePpo => AlgorithmConfig {
                scale_rewards: Some(ScaleRewards::Batch),
                ..symmetric(LossType::Dapo)
            },
            Self::Gspo => level(
                ImportanceSamplingLevel::Sequence,
                clip(LossType::Grpo, 3e-4, 4e-4),
            ),
            Self::GspoToken => level(
                ImportanceSamplingLevel::SequenceToken,
                clip(LossType::Grpo, 3e-4, 4e-4),
            ),
            Self::BnGspo => AlgorithmConfig {
                normalize_advantages: Some(true),
                ..level(
                    ImportanceSamplingLevel::Sequence,
                    clip(LossType::Grpo, 0.2, 0.28),
                )
            },
            Self::Cispo => AlgorithmConfig {
                epsilon_high: Some(5.0),
                ..plain(LossType::Cispo)
            },
            Self::ScaleRl => AlgorithmConfig {
                epsilon_high: Some(5.0),
                scale_rewards: Some(ScaleRewards::Batch),
                ..plain(LossType::Cispo)
            },
            Self::Sapo => AlgorithmConfig {
                sapo_temperature_pos: Some(1.0),
                sapo_temperature_neg: Some(1.05),
                ..plain(LossType::Sapo)
            },
            Self::Gmpo => clip(LossType::Gmpo, 0.4, 0.4),
            Self::Luspo => level(
                ImportanceSamplingLevel::Sequence,
                clip(LossType::Luspo, 3e-4, 4e-4),
            ),
            Self::Vespo => plain(LossType::Vespo),
            Self::Gdpo => AlgorithmConfig {
                multi_objective_aggregation: Some(MultiObjectiveAggregation::NormalizeThenSum),
                ..symmetric(LossType::Grpo)
            },
            Self::Rloo => AlgorithmConfig {
                beta: Some(0.05),
                kl_estimator: Some(KlEstimator::K1),
                kl_in: Some(KlIn::Reward),
                ..level(
                    ImportanceSamplingLevel::SequenceProduct,
                    estimate(AdvantageEstimator::LeaveOneOut, symmetric(LossType::Grpo)),
                )
            },
            Self::ReinforcePlusPlus => AlgorithmConfig {
                kl_estimator: Some(KlEstimator::K1),
                kl_in: Some(KlIn::Reward),
                ..estimate(
                    AdvantageEstimator::ReinforcePlusPlus,
                    symmetric(LossType::Dapo),
                )
            },
            Self::ReinforcePlusPlusBaseline => AlgorithmConfig {
                kl_estimator: Some(KlEstimator::K2),
                ..estimate(
                    AdvantageEstimator::ReinforcePlusPlusBaseline,
                    symmetric(LossType::Dapo),
                )
            },
            Self::Remax => estimate(AdvantageEstimator::Remax, symmetric(LossType::Dapo)),
            Self::Opo => estimate(AdvantageEstimator::Opo, symmetric(LossType::Dapo)),
            Self::Gpg => estimate(AdvantageEstimator::Gpg, plain(LossType::Reinforce)),
            Self::PassAtK => estimate(AdvantageEstimator::PassAtK, symmetric(LossType::Grpo)),
            Self::ClipCov => AlgorithmConfig {
                cov_ratio: Some(2e-4),
                clip_cov_bounds: Some((1.0, 5.0)),
                ..symmetric(LossType::ClipCov)
            },
            Self::KlCov => AlgorithmConfig {
                cov_ratio: Some(2e-4),
                ppo_kl_coef: Some(1.0),
                ..plain(LossType::KlCov)
            },
            Self::VTriune => AlgorithmConfig {
                scale_epsilon: Some(1e-6),
                ..clip(LossType::Dapo, 0.2, 0.28)
            },
            Self::EasyR1 => AlgorithmConfig {
                scale_epsilon: Some(1e-6),
                delta: Some(3.0),
                beta: Some(0.01),
                ..clip(LossType::Dapo, 0.2, 0.3)
            },
            Self::Vppo => AlgorithmConfig {
                scale_epsilon: Some(1e-6),
                dependence_quantile: Some(0.4),
                dependence_floor: Some(0.9),
                entropy_coef: Some(-0.06),
                ..clip(LossType::Dapo, 0.2, 0.28)
            },
            Self::EmaGrpo => AlgorithmConfig {
                ema_decay: Some(0.99),
                delta: Some(3.0),
                ..estimate(
                    AdvantageEstimator::TaskSpread,
                    clip(LossType::Dapo, 0.2, 0.3),
                )
            },
            Self::UnivgR1 => AlgorithmConfig {
                difficulty_weight: Some(
                    crate::objective::difficulty::DifficultyWeight::Exponential,
                ),
                beta: Some(0.04),
                ..symmetric(LossType::Grpo)
            },
            Self::Ppo => AlgorithmConfig {
                lam: Some(0.95),
                vf_coef: Some(0.1),
                cliprange_value: Some(0.2),
                num_iterations: Some(4),
                beta: Some(0.05),
                kl_estimator: Some(KlEstimator::K1),
                kl_in: Some(KlIn::Reward),
                ..estimate(AdvantageEstimator::Gae, symmetric(LossType::Dapo))
            },
            Self::Visurf => AlgorithmConfig {
                demonstration: Some(DemonstrationRule::Always),
                ..symmetric(LossType::Grpo)
            },
            Self::Awr => AlgorithmConfig {
                awr_temperature: Some(1.0),
                awr_cap: Some(20.0),
                ..estimate(AdvantageEstimator::Awr, plain(LossType::Reinforce))
            },
            Self::RewardLikelihood => {
                estimate(AdvantageEstimator::Reward, plain(LossType::Reinforce))
            }
            Self::VlDac => AlgorithmConfig {
                gamma: Some(0.99),
                lam: Some(0.95),
                gae_level: Some(GaeLevel::Step),
                vf_coef: Some(0.5),
                cliprange_value: Some(0.2),
                detach_value_head: Some(true),
                num_iterations: Some(2),
                beta: Some(0.04),
                epsilon: Some(0.1),
                ..estimate(AdvantageEstimator::Gae, plain(LossType::Grpo))
            },
            Self::SoftmaxLikelihood => AlgorithmConfig {
                softmax_beta: Some(1.0),
                loss_aggregation: Some(LossAggregation::SeqMeanTokenSum),
                ..estimate(
                    AdvantageEstimator::Softmax,
                    AlgorithmConfig {
                        loss_type: Some(LossType::Reinforce),
                        ..keys
                    },
                )
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_presets_are_listed() {
        // The error for a wrong name tells every variant that there is.
        let error = serde_json::from_str::<Preset>("\"none\"")
            .unwrap_err()
            .to_string();
        let known = Preset::ALL
            .iter()
            .map(|preset| format!("`{}`", preset.name()));
        let known: Vec<String> = known.collect();
        assert!(
            error.contains(&format!("expected one of {}", known.join(", "))),
            "{error}"
        );
    }
}
