//! The `algorithm` table of a recipe: credit and objective, key by key, and what they resolve to.

mod check;
mod critic;
mod preset;
mod stale;
mod state;

use serde::{Deserialize, Serialize};

use crate::credit::decoupled::MultiObjectiveAggregation;
use crate::credit::gae::GaeLevel;
use crate::credit::task_spread::TaskSpreadRule;
use crate::credit::{AdvantageEstimator, EPSILON, GroupScale, ScaleRewards};
use crate::objective::cispo::CispoRule;
use crate::objective::covariance::ClipCov;
use crate::objective::difficulty::DifficultyWeight;
use crate::objective::entropy::EntropyRule;
use crate::objective::staleness::StalenessRule;
use crate::objective::{
    CispoBounds, ClipBounds, ImportanceSamplingLevel, KlEstimator, LossAggregation,
    SapoTemperatures, Surrogate, VespoShape,
};

pub use critic::Critic;
pub use preset::Preset;
pub use stale::{AdvantageWeights, StalenessCorrection};
pub use state::AlgorithmState;

/// What a token's loss is and, unless `loss_aggregation` says otherwise, how token losses are averaged. TRL's names, and more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// Clipped ratio; mean over sequences of the mean over each one's tokens.
    Grpo,
    /// Clipped ratio; mean over all trained tokens. TRL means the tokens of a micro-batch; here micro-batches leave no trace, so this is
    /// `dapo`.
    Bnpo,
    /// Clipped ratio; sum divided by sequences × `max_completion_length`.
    DrGrpo,
    /// Clipped ratio; mean over all trained tokens.
    #[default]
    Dapo,
    /// The clipped ratio as a constant weight; mean over all trained tokens.
    Cispo,
    /// A soft gate of the ratio; mean over sequences.
    Sapo,
    /// Clipped ratio of the sequence times its length; mean over sequences.
    Luspo,
    /// A smooth weight of the sequence's ratio; mean over all trained tokens.
    Vespo,
    /// Geometric mean of clipped ratios; mean over sequences.
    Gmpo,
    /// Log-probability times advantage, no ratio; mean over all trained tokens.
    Reinforce,
    /// Clipped ratio; tokens of high covariance lose their gradient; mean over all trained tokens.
    ClipCov,
    /// Unclipped ratio; tokens of high covariance pay for moving; mean over all trained tokens.
    KlCov,
}

impl LossType {
    /// Whether the ratio is clipped to `[1 − epsilon, 1 + epsilon_high]` as in PPO.
    pub fn clips(self) -> bool {
        matches!(
            self,
            Self::Grpo | Self::Bnpo | Self::DrGrpo | Self::Dapo | Self::Luspo | Self::ClipCov
        )
    }

    fn aggregation(self) -> LossAggregation {
        match self {
            Self::Grpo | Self::Sapo | Self::Gmpo => LossAggregation::SeqMeanTokenMean,
            Self::DrGrpo => LossAggregation::SeqMeanTokenSumNorm,
            Self::Luspo => LossAggregation::SeqMeanTokenSum,
            Self::Bnpo
            | Self::Dapo
            | Self::Cispo
            | Self::Vespo
            | Self::Reinforce
            | Self::ClipCov
            | Self::KlCov => LossAggregation::TokenMean,
        }
    }
}

/// Where the KL penalty stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlIn {
    /// Added to each token's loss.
    #[default]
    Loss,
    /// Taken from the reward before credit, at sampling.
    Reward,
}

/// Credit and objective.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlgorithmConfig {
    /// Sets the keys below together; see `docs/algorithms.md`. Keys given beside it win.
    pub preset: Preset,
    /// How rewards become advantages.
    #[serde(alias = "adv_estimator", skip_serializing_if = "Option::is_none")]
    pub advantage_estimator: Option<AdvantageEstimator>,
    /// What centred rewards are divided by: `group`, `batch` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_rewards: Option<ScaleRewards>,
    /// Added to that standard deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_epsilon: Option<f64>,
    /// Whether finished advantages are normalised once more over the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize_advantages: Option<bool>,
    /// In which order several rewards are added and normalised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_objective_aggregation: Option<MultiObjectiveAggregation>,
    /// Discount of rewards to come in `reinforce_plus_plus` and `gae`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// λ of `gae`: 0 trusts the values alone, 1 the rewards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lam: Option<f64>,
    /// What has a value in `gae`: a `token`, or a `step`, which is a turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gae_level: Option<GaeLevel>,
    /// Weight of the value loss in `gae`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vf_coef: Option<f64>,
    /// How far a value may move from the one at sampling in `gae`; 0 for no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cliprange_value: Option<f64>,
    /// Whether the value loss is kept from the network under the head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detach_value_head: Option<bool>,
    /// Whether token rewards are divided by their deviation over the batch in `gae`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whiten_rewards: Option<bool>,
    /// Steps at the beginning of the stage in which only the value head learns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critic_warmup: Option<u64>,
    /// Temperature of the weights of `awr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awr_temperature: Option<f64>,
    /// Largest weight of `awr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awr_cap: Option<f64>,
    /// How recorded answers are weighed by what the policy thinks of them now: `token_truncate`, `token_mask`, `sequence_truncate` or
    /// `sequence_mask`.
    #[serde(
        alias = "vllm_importance_sampling_mode",
        skip_serializing_if = "Option::is_none"
    )]
    pub staleness_correction: Option<StalenessCorrection>,
    /// Smallest of these weights.
    #[serde(
        alias = "vllm_importance_sampling_clip_min",
        skip_serializing_if = "Option::is_none"
    )]
    pub staleness_min: Option<f64>,
    /// Largest of these weights.
    #[serde(
        alias = "vllm_importance_sampling_clip_max",
        skip_serializing_if = "Option::is_none"
    )]
    pub staleness_max: Option<f64>,
    /// Sharpness of the weights of `softmax`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub softmax_beta: Option<f64>,
    /// Share of the old moments that `task_spread` keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
    /// What a token's loss is and how token losses are averaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_type: Option<LossType>,
    /// How token losses are averaged, where it is not as `loss_type` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_aggregation: Option<LossAggregation>,
    /// What a ratio is taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance_sampling_level: Option<ImportanceSamplingLevel>,
    /// The ratio is clipped below 1 − epsilon.
    #[serde(
        alias = "clip_ratio_low",
        alias = "cliprange",
        skip_serializing_if = "Option::is_none"
    )]
    pub epsilon: Option<f64>,
    /// The ratio is clipped above 1 + epsilon_high; by default epsilon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon_high: Option<f64>,
    /// Largest ratio that a bad token is charged for.
    #[serde(
        alias = "clip_ratio_c",
        alias = "clip_ratio_dual",
        skip_serializing_if = "Option::is_none"
    )]
    pub delta: Option<f64>,
    /// Whose bounds the widths mean in `cispo`: `trl` or `verl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cispo_bounds: Option<CispoRule>,
    /// Sharpness of `sapo`'s gate where the advantage is positive.
    #[serde(alias = "tau_positive", skip_serializing_if = "Option::is_none")]
    pub sapo_temperature_pos: Option<f64>,
    /// Sharpness of `sapo`'s gate elsewhere.
    #[serde(alias = "tau_negative", skip_serializing_if = "Option::is_none")]
    pub sapo_temperature_neg: Option<f64>,
    /// Power of the ratio in `vespo`'s weight where the advantage is not negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vespo_k_pos: Option<f64>,
    /// Decay of `vespo`'s weight where the advantage is not negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vespo_lambda_pos: Option<f64>,
    /// Power of the ratio in `vespo`'s weight where the advantage is negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vespo_k_neg: Option<f64>,
    /// Decay of `vespo`'s weight where the advantage is negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vespo_lambda_neg: Option<f64>,
    /// Share of the tokens that `clip_cov` leaves out or `kl_cov` charges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cov_ratio: Option<f64>,
    /// Covariances that `clip_cov` may choose lie between these two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_cov_bounds: Option<(f64, f64)>,
    /// What `kl_cov` charges for a unit of log-ratio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppo_kl_coef: Option<f64>,
    /// Weight of the KL penalty against the model at the start of the stage; 0 needs no reference.
    #[serde(alias = "kl_coef", skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// How the divergence is estimated: `k1`, `k2`, `k3`, `abs`, `k1+` or `k3+`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_estimator: Option<KlEstimator>,
    /// Where the penalty stands: `loss` or `reward`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_in: Option<KlIn>,
    /// Whether the penalty in the loss is multiplied by the ratio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_bias_correction_kl: Option<bool>,
    /// Divergence that an adaptive `beta` seeks; without it `beta` stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_target: Option<f64>,
    /// Samples over which the adaptive `beta` moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_horizon: Option<f64>,
    /// Whether answers cut at `max_completion_length` are left out of the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_truncated_completions: Option<bool>,
    /// Share of the tokens, those of highest entropy, that learn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_entropy_quantile: Option<f64>,
    /// Mean drop in log-probability from which a sequence with a negative advantage is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_policy_mask_threshold: Option<f64>,
    /// How hard groups weigh more: `exponential`, `linear` or `logarithmic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difficulty_weight: Option<DifficultyWeight>,
    /// Share of each answer's tokens, those that depend on the picture most, that learn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependence_quantile: Option<f64>,
    /// Factor of the advantage of the answer that depends on the picture least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependence_floor: Option<f64>,
    /// Weight of the entropy bonus; negative for a penalty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_coef: Option<f64>,
    /// Whether that weight moves with the entropy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_adaptive_entropy: Option<bool>,
    /// Lower bound of the moving weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_coef_min: Option<f64>,
    /// Upper bound of the moving weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_coef_max: Option<f64>,
    /// Change of the moving weight a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_coef_delta: Option<f64>,
    /// Entropy, in nats a token, below which the bonus acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_target: Option<f64>,
    /// Whether a row's demonstration joins its group: `always`, or `on_failure`, where no sample is as good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demonstration: Option<DemonstrationRule>,
    /// Reward nodes that give a demonstration nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demonstration_skips: Option<Vec<String>>,
    /// How often the same completions are learnt from.
    #[serde(alias = "num_ppo_epochs", skip_serializing_if = "Option::is_none")]
    pub num_iterations: Option<usize>,
    /// Into how many optimizer steps the prompts of a batch are dealt, each time anew by chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_mini_batches: Option<usize>,
    /// Control arm: rewards are shuffled over the batch, so that they say nothing about their completions.
    pub shuffle_rewards: bool,
}

/// When a demonstration joins its group ([`crate::credit::demonstration`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DemonstrationRule {
    Always,
    /// Where its reward is above every sample's.
    OnFailure,
}

/// Demonstrations in sampled groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Demonstrations {
    pub rule: DemonstrationRule,
    /// Reward nodes that give them nothing.
    pub skips: Vec<String>,
}

/// The KL penalty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlTerm {
    /// Its weight, or the first one of an adaptive weight.
    pub beta: f64,
    pub estimator: KlEstimator,
    pub place: KlIn,
    /// Multiplied by the ratio, which makes k3 unbiased off-policy (DeepSeek-V3.2, arXiv 2512.02556).
    pub bias_correction: bool,
    /// Target and horizon of an adaptive weight.
    pub adaptive: Option<(f64, f64)>,
}

/// Credit by dependence on the picture ([`crate::objective::dependence`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dependence {
    pub share: f64,
    pub floor: f64,
}

/// Which tokens are chosen by covariance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CovarianceRule {
    Clip(ClipCov),
    Kl { ratio: f64 },
}

/// The bonus for entropy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EntropyBonus {
    /// Its weight, or the first one of an adaptive weight.
    pub coefficient: f64,
    pub adaptive: Option<EntropyRule>,
}

/// What the keys come to, with presets and defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Algorithm {
    pub estimator: AdvantageEstimator,
    pub scale: GroupScale,
    pub normalize_advantages: bool,
    pub multi_objective: MultiObjectiveAggregation,
    pub gamma: f64,
    pub softmax_beta: f64,
    pub task_spread: TaskSpreadRule,
    pub loss_type: LossType,
    pub surrogate: Surrogate,
    pub aggregation: LossAggregation,
    pub level: ImportanceSamplingLevel,
    pub covariance: Option<CovarianceRule>,
    /// `None` when `beta` is 0.
    pub kl: Option<KlTerm>,
    pub mask_truncated: bool,
    pub top_entropy_quantile: f64,
    pub off_policy_mask_threshold: Option<f64>,
    pub difficulty_weight: Option<DifficultyWeight>,
    pub dependence: Option<Dependence>,
    pub entropy: Option<EntropyBonus>,
    pub demonstrations: Option<Demonstrations>,
    pub num_iterations: usize,
    pub num_mini_batches: usize,
    /// Of `awr`.
    pub advantage_weights: AdvantageWeights,
    /// Weights of recorded answers.
    pub staleness: Option<StalenessRule>,
    /// The value head, with `gae` alone.
    pub critic: Option<Critic>,
    pub shuffle_rewards: bool,
}

impl AlgorithmConfig {
    /// Fills in the preset and the defaults.
    pub fn resolve(&self) -> Algorithm {
        let keys = self.clone().or(self.preset.keys());
        let loss_type = keys.loss_type.unwrap_or(LossType::Grpo);
        let low = keys.epsilon.unwrap_or(0.2);
        let high = keys.epsilon_high.unwrap_or(low);
        let bounds = ClipBounds {
            low,
            high,
            cap: keys.delta,
        };
        let surrogate = match loss_type {
            LossType::Cispo => Surrogate::Cispo(match keys.cispo_bounds.unwrap_or_default() {
                CispoRule::Trl => CispoBounds::Max(high),
                CispoRule::Verl => CispoBounds::Interval { low, high },
            }),
            LossType::Sapo => {
                let default = SapoTemperatures::default();
                Surrogate::Sapo(SapoTemperatures {
                    positive: keys.sapo_temperature_pos.unwrap_or(default.positive),
                    negative: keys.sapo_temperature_neg.unwrap_or(default.negative),
                })
            }
            LossType::Vespo => {
                let default = VespoShape::default();
                Surrogate::Vespo(VespoShape {
                    k_positive: keys.vespo_k_pos.unwrap_or(default.k_positive),
                    lambda_positive: keys.vespo_lambda_pos.unwrap_or(default.lambda_positive),
                    k_negative: keys.vespo_k_neg.unwrap_or(default.k_negative),
                    lambda_negative: keys.vespo_lambda_neg.unwrap_or(default.lambda_negative),
                })
            }
            LossType::Gmpo => Surrogate::Gmpo(bounds),
            LossType::Reinforce => Surrogate::Reinforce,
            LossType::KlCov => Surrogate::KlCov {
                coefficient: keys.ppo_kl_coef.unwrap_or(1.0),
            },
            _ => Surrogate::Clip(bounds),
        };
        let cov_ratio = keys.cov_ratio.unwrap_or(ClipCov::default().ratio);
        let beta = keys.beta.unwrap_or(0.0);
        let horizon = keys.kl_horizon.unwrap_or(10_000.0);
        let adaptive_entropy = keys.use_adaptive_entropy.unwrap_or(false);
        let coefficient = keys.entropy_coef.unwrap_or(0.0);
        let critic = keys.critic();
        let (advantage_weights, staleness) = (keys.advantage_weights(), keys.staleness());
        Algorithm {
            estimator: keys.advantage_estimator.unwrap_or_default(),
            scale: GroupScale {
                epsilon: keys.scale_epsilon.unwrap_or(EPSILON),
                ..keys.scale_rewards.unwrap_or_default().into()
            },
            normalize_advantages: keys
                .normalize_advantages
                .unwrap_or(keys.advantage_estimator == Some(AdvantageEstimator::Gae)),
            multi_objective: keys.multi_objective_aggregation.unwrap_or_default(),
            gamma: keys.gamma.unwrap_or(1.0),
            softmax_beta: keys.softmax_beta.unwrap_or(1.0),
            task_spread: TaskSpreadRule {
                decay: keys.ema_decay.unwrap_or(TaskSpreadRule::default().decay),
                ..TaskSpreadRule::default()
            },
            loss_type,
            surrogate,
            aggregation: keys.loss_aggregation.unwrap_or(loss_type.aggregation()),
            level: keys.importance_sampling_level.unwrap_or(match loss_type {
                LossType::Luspo => ImportanceSamplingLevel::Sequence,
                _ => ImportanceSamplingLevel::Token,
            }),
            covariance: match loss_type {
                LossType::ClipCov => Some(CovarianceRule::Clip(ClipCov {
                    ratio: cov_ratio,
                    bounds: keys.clip_cov_bounds.unwrap_or(ClipCov::default().bounds),
                })),
                LossType::KlCov => Some(CovarianceRule::Kl { ratio: cov_ratio }),
                _ => None,
            },
            kl: (beta != 0.0).then(|| KlTerm {
                beta,
                estimator: keys.kl_estimator.unwrap_or_default(),
                place: keys.kl_in.unwrap_or_default(),
                bias_correction: keys.use_bias_correction_kl.unwrap_or(false),
                adaptive: keys.kl_target.map(|target| (target, horizon)),
            }),
            mask_truncated: keys.mask_truncated_completions.unwrap_or(false),
            top_entropy_quantile: keys.top_entropy_quantile.unwrap_or(1.0),
            off_policy_mask_threshold: keys.off_policy_mask_threshold,
            difficulty_weight: keys.difficulty_weight,
            dependence: (keys.dependence_quantile.is_some() || keys.dependence_floor.is_some())
                .then(|| Dependence {
                    share: keys.dependence_quantile.unwrap_or(1.0),
                    floor: keys.dependence_floor.unwrap_or(1.0),
                }),
            entropy: (adaptive_entropy || coefficient != 0.0).then(|| EntropyBonus {
                coefficient,
                adaptive: adaptive_entropy.then(|| EntropyRule {
                    target: keys.entropy_target.unwrap_or(0.2),
                    delta: keys.entropy_coef_delta.unwrap_or(0.005),
                    min: keys.entropy_coef_min.unwrap_or(0.0),
                    max: keys.entropy_coef_max.unwrap_or(1.0),
                }),
            }),
            demonstrations: keys.demonstration.map(|rule| Demonstrations {
                rule,
                skips: keys.demonstration_skips.unwrap_or_default(),
            }),
            num_iterations: keys.num_iterations.unwrap_or(1),
            num_mini_batches: keys.num_mini_batches.unwrap_or(1),
            critic,
            advantage_weights,
            staleness,
            shuffle_rewards: keys.shuffle_rewards,
        }
    }

    /// The keys of `self`, and those of `other` where `self` has none.
    fn or(self, other: Self) -> Self {
        macro_rules! either {
            ($($key:ident),* $(,)?) => {
                Self {
                    preset: self.preset,
                    shuffle_rewards: self.shuffle_rewards,
                    $($key: self.$key.or(other.$key),)*
                }
            };
        }
        either!(
            advantage_estimator,
            scale_rewards,
            scale_epsilon,
            normalize_advantages,
            multi_objective_aggregation,
            gamma,
            awr_temperature,
            awr_cap,
            staleness_correction,
            staleness_min,
            staleness_max,
            lam,
            gae_level,
            vf_coef,
            cliprange_value,
            detach_value_head,
            whiten_rewards,
            critic_warmup,
            softmax_beta,
            ema_decay,
            loss_type,
            loss_aggregation,
            importance_sampling_level,
            epsilon,
            epsilon_high,
            delta,
            cispo_bounds,
            sapo_temperature_pos,
            sapo_temperature_neg,
            vespo_k_pos,
            vespo_lambda_pos,
            vespo_k_neg,
            vespo_lambda_neg,
            cov_ratio,
            clip_cov_bounds,
            ppo_kl_coef,
            beta,
            kl_estimator,
            kl_in,
            use_bias_correction_kl,
            kl_target,
            kl_horizon,
            mask_truncated_completions,
            top_entropy_quantile,
            off_policy_mask_threshold,
            difficulty_weight,
            dependence_quantile,
            dependence_floor,
            entropy_coef,
            use_adaptive_entropy,
            entropy_coef_min,
            entropy_coef_max,
            entropy_coef_delta,
            entropy_target,
            demonstration,
            demonstration_skips,
            num_iterations,
            num_mini_batches,
        )
    }
}
