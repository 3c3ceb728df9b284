//! Refusals: mixes that contradict themselves and keys without effect, each with the reason and the mend.

use super::{Algorithm, AlgorithmConfig, KlIn, LossType, Preset};
use crate::credit::decoupled::MultiObjectiveAggregation;
use crate::credit::{AdvantageEstimator, ScaleRewards};
use crate::objective::cispo::CispoRule;
use crate::objective::{CispoBounds, ImportanceSamplingLevel, KlEstimator, Surrogate};

/// A mix that is refused when `wrong` holds.
pub(super) struct Refusal {
    wrong: bool,
    message: &'static str,
}

pub(super) fn refusal(wrong: bool, message: &'static str) -> Refusal {
    Refusal { wrong, message }
}

impl AlgorithmConfig {
    /// What is wrong with the keys in a stage of groups of `num_generations`, beginning with the key's name.
    ///
    /// # Errors
    /// The first refusal.
    pub fn check(&self, num_generations: usize) -> Result<(), String> {
        let resolved = self.resolve();
        let all = self
            .ranges(&resolved)
            .into_iter()
            .chain(self.critic_refusals(&resolved))
            .chain(self.staleness_refusals(&resolved))
            .chain(self.keys_without_effect(&resolved))
            .chain(self.contradictions(&resolved, num_generations));
        match all.into_iter().find(|refusal| refusal.wrong) {
            Some(refusal) => Err(refusal.message.to_owned()),
            None => Ok(()),
        }
    }

    fn ranges(&self, resolved: &Algorithm) -> Vec<Refusal> {
        let outside = |value: Option<f64>, low: f64, high: f64| {
            value.is_some_and(|v| !(low..=high).contains(&v))
        };
        let not_positive = |value: Option<f64>| value.is_some_and(|v| !(v > 0.0 && v.is_finite()));
        let not_finite = |value: Option<f64>| value.is_some_and(|v| !v.is_finite());
        let widest = match resolved.loss_type {
            LossType::Gmpo => f64::INFINITY,
            _ => 1.0,
        };
        vec![
            refusal(
                outside(self.epsilon, 0.0, widest),
                "`algorithm.epsilon` must be between 0 and 1",
            ),
            refusal(
                outside(self.epsilon_high, 0.0, f64::MAX),
                "`algorithm.epsilon_high` must be 0 or more",
            ),
            refusal(
                outside(self.beta, 0.0, f64::MAX),
                "`algorithm.beta` must be 0 or more",
            ),
            refusal(
                self.num_iterations == Some(0),
                "`algorithm.num_iterations` must be at least 1",
            ),
            refusal(
                outside(self.scale_epsilon, 0.0, f64::MAX),
                "`algorithm.scale_epsilon` must be 0 or more",
            ),
            refusal(
                outside(self.gamma, 0.0, 1.0),
                "`algorithm.gamma` must be between 0 and 1",
            ),
            refusal(
                not_positive(self.softmax_beta),
                "`algorithm.softmax_beta` must be above 0",
            ),
            refusal(
                outside(self.ema_decay, 0.0, 1.0),
                "`algorithm.ema_decay` must be between 0 and 1",
            ),
            refusal(
                not_positive(self.sapo_temperature_pos) || not_positive(self.sapo_temperature_neg),
                "`algorithm.sapo_temperature_pos` and `sapo_temperature_neg` must be above 0",
            ),
            refusal(
                not_positive(self.vespo_lambda_pos) || not_positive(self.vespo_lambda_neg),
                "`algorithm.vespo_lambda_pos` and `vespo_lambda_neg` must be above 0",
            ),
            refusal(
                outside(self.vespo_k_pos, 0.0, f64::MAX)
                    || outside(self.vespo_k_neg, 0.0, f64::MAX),
                "`algorithm.vespo_k_pos` and `vespo_k_neg` must be 0 or more",
            ),
            refusal(
                not_positive(self.cov_ratio) || outside(self.cov_ratio, 0.0, 1.0),
                "`algorithm.cov_ratio` must be above 0 and at most 1",
            ),
            refusal(
                self.clip_cov_bounds.is_some_and(|(low, high)| {
                    low.partial_cmp(&high) != Some(std::cmp::Ordering::Less)
                }),
                "`algorithm.clip_cov_bounds` must be a lower and a higher number",
            ),
            refusal(
                outside(self.ppo_kl_coef, 0.0, f64::MAX),
                "`algorithm.ppo_kl_coef` must be 0 or more",
            ),
            refusal(
                not_positive(self.kl_target),
                "`algorithm.kl_target` must be above 0",
            ),
            refusal(
                not_positive(self.kl_horizon),
                "`algorithm.kl_horizon` must be above 0",
            ),
            refusal(
                outside(self.top_entropy_quantile, 0.0, 1.0),
                "`algorithm.top_entropy_quantile` must be between 0 and 1",
            ),
            refusal(
                not_positive(self.off_policy_mask_threshold),
                "`algorithm.off_policy_mask_threshold` must be above 0",
            ),
            refusal(
                not_positive(self.dependence_quantile)
                    || outside(self.dependence_quantile, 0.0, 1.0),
                "`algorithm.dependence_quantile` must be above 0 and at most 1",
            ),
            refusal(
                outside(self.dependence_floor, 0.0, 1.0),
                "`algorithm.dependence_floor` must be between 0 and 1",
            ),
            refusal(
                [
                    self.entropy_coef,
                    self.entropy_coef_min,
                    self.entropy_coef_max,
                    self.entropy_coef_delta,
                    self.entropy_target,
                ]
                .into_iter()
                .any(not_finite),
                "`algorithm.entropy_coef` and what belongs to it must be finite numbers",
            ),
            refusal(
                resolved
                    .entropy
                    .and_then(|e| e.adaptive)
                    .is_some_and(|rule| rule.min > rule.max),
                "`algorithm.entropy_coef_min` must not be above `entropy_coef_max`",
            ),
        ]
    }

    fn keys_without_effect(&self, resolved: &Algorithm) -> Vec<Refusal> {
        let loss = resolved.loss_type;
        let has_widths = loss.clips() || matches!(loss, LossType::Cispo | LossType::Gmpo);
        let capped = matches!(resolved.surrogate, Surrogate::Cispo(CispoBounds::Max(_)));
        let estimator = resolved.estimator;
        let scales = matches!(
            estimator,
            AdvantageEstimator::GroupRelative | AdvantageEstimator::PassAtK
        );
        let without_kl = resolved.kl.is_none();
        let in_reward = resolved.kl.is_some_and(|kl| kl.place == KlIn::Reward);
        let adaptive_entropy = resolved.entropy.is_some_and(|e| e.adaptive.is_some());
        vec![
            refusal(
                self.epsilon.is_some() && capped,
                "`algorithm.epsilon` has no effect: TRL's cispo has no lower bound; remove it, or set `cispo_bounds = \"verl\"`",
            ),
            refusal(
                (self.epsilon.is_some() || self.epsilon_high.is_some()) && !has_widths,
                "`algorithm.epsilon` and `epsilon_high` have no effect: this `loss_type` clips nothing; remove them",
            ),
            refusal(
                self.delta.is_some() && !loss.clips(),
                "`algorithm.delta` has no effect: this `loss_type` has no clipped ratio; remove it",
            ),
            refusal(
                self.cispo_bounds.is_some() && loss != LossType::Cispo,
                "`algorithm.cispo_bounds` has no effect without `loss_type = \"cispo\"`; remove it",
            ),
            refusal(
                (self.sapo_temperature_pos.is_some() || self.sapo_temperature_neg.is_some())
                    && loss != LossType::Sapo,
                "`algorithm.sapo_temperature_pos` and `sapo_temperature_neg` have no effect without `loss_type = \"sapo\"`; remove them",
            ),
            refusal(
                [
                    self.vespo_k_pos,
                    self.vespo_lambda_pos,
                    self.vespo_k_neg,
                    self.vespo_lambda_neg,
                ]
                .iter()
                .any(Option::is_some)
                    && loss != LossType::Vespo,
                "`algorithm.vespo_…` keys have no effect without `loss_type = \"vespo\"`; remove them",
            ),
            refusal(
                self.cov_ratio.is_some() && resolved.covariance.is_none(),
                "`algorithm.cov_ratio` has no effect without `loss_type = \"clip_cov\"` or `\"kl_cov\"`; remove it",
            ),
            refusal(
                self.clip_cov_bounds.is_some() && loss != LossType::ClipCov,
                "`algorithm.clip_cov_bounds` has no effect without `loss_type = \"clip_cov\"`; remove it",
            ),
            refusal(
                self.ppo_kl_coef.is_some() && loss != LossType::KlCov,
                "`algorithm.ppo_kl_coef` has no effect without `loss_type = \"kl_cov\"`; remove it",
            ),
            refusal(
                self.importance_sampling_level.is_some()
                    && matches!(loss, LossType::Vespo | LossType::Gmpo | LossType::Reinforce),
                "`algorithm.importance_sampling_level` has no effect: this `loss_type` has a level of its own; remove it",
            ),
            refusal(
                self.scale_rewards.is_some() && !scales,
                "`algorithm.scale_rewards` has no effect with this `advantage_estimator`; remove it",
            ),
            refusal(
                self.scale_epsilon.is_some()
                    && (!scales || resolved.scale.by == ScaleRewards::None),
                "`algorithm.scale_epsilon` has no effect: nothing is divided by a standard deviation; remove it",
            ),
            refusal(
                self.gamma.is_some()
                    && !matches!(
                        estimator,
                        AdvantageEstimator::ReinforcePlusPlus | AdvantageEstimator::Gae
                    ),
                "`algorithm.gamma` has no effect without `advantage_estimator = \"reinforce_plus_plus\"` or `\"gae\"`; remove it",
            ),
            refusal(
                self.softmax_beta.is_some() && estimator != AdvantageEstimator::Softmax,
                "`algorithm.softmax_beta` has no effect without `advantage_estimator = \"softmax\"`; remove it",
            ),
            refusal(
                self.ema_decay.is_some() && estimator != AdvantageEstimator::TaskSpread,
                "`algorithm.ema_decay` has no effect without `advantage_estimator = \"task_spread\"`; remove it",
            ),
            refusal(
                self.demonstration_skips.is_some() && resolved.demonstrations.is_none(),
                "`algorithm.demonstration_skips` has no effect without `demonstration`; remove it",
            ),
            refusal(
                resolved.demonstrations.is_some()
                    && (estimator != AdvantageEstimator::GroupRelative
                        || resolved.scale.by != ScaleRewards::Group
                        || resolved.multi_objective != MultiObjectiveAggregation::SumThenNormalize
                        || resolved.shuffle_rewards),
                "`algorithm.demonstration` compares rewards within its group and by its deviation; remove it, or use \
                 `advantage_estimator = \"group_relative\"` with `scale_rewards = \"group\"`, without `multi_objective_aggregation` \
                 and `shuffle_rewards`",
            ),
            refusal(
                without_kl
                    && (self.kl_estimator.is_some()
                        || self.kl_in.is_some()
                        || self.use_bias_correction_kl == Some(true)
                        || self.kl_target.is_some()
                        || self.kl_horizon.is_some()),
                "`algorithm.kl_…` keys have no effect with `beta = 0`, which keeps no reference; give `beta` a value or remove them",
            ),
            refusal(
                self.kl_horizon.is_some() && self.kl_target.is_none(),
                "`algorithm.kl_horizon` has no effect without `kl_target`; give both or none",
            ),
            refusal(
                in_reward && self.use_bias_correction_kl == Some(true),
                "`algorithm.use_bias_correction_kl` has no effect with the penalty in the reward; remove it, or set `kl_in = \"loss\"`",
            ),
            refusal(
                !adaptive_entropy
                    && [
                        self.entropy_coef_min,
                        self.entropy_coef_max,
                        self.entropy_coef_delta,
                        self.entropy_target,
                    ]
                    .iter()
                    .any(Option::is_some),
                "`algorithm.entropy_coef_min`, `_max`, `_delta` and `entropy_target` have no effect without `use_adaptive_entropy = true`",
            ),
            refusal(
                self.off_policy_mask_threshold.is_some()
                    && resolved.num_iterations == 1
                    && resolved.num_mini_batches == 1,
                "`algorithm.off_policy_mask_threshold` has no effect: with `num_iterations = 1` the policy that learns is the one that \
                 sampled; remove it",
            ),
        ]
    }

    fn contradictions(&self, resolved: &Algorithm, num_generations: usize) -> Vec<Refusal> {
        let sequence_preset = matches!(
            self.preset,
            Preset::Gspo | Preset::GspoToken | Preset::Luspo
        );
        let token_level = resolved.level == ImportanceSamplingLevel::Token;
        let estimator = resolved.estimator;
        let gdpo = resolved.multi_objective == MultiObjectiveAggregation::NormalizeThenSum;
        let in_reward = resolved.kl.is_some_and(|kl| kl.place == KlIn::Reward);
        let kl_estimator = resolved.kl.map(|kl| kl.estimator);
        let straight = matches!(
            kl_estimator,
            Some(KlEstimator::K1Straight | KlEstimator::K3Straight)
        );
        let whitened = matches!(
            estimator,
            AdvantageEstimator::ReinforcePlusPlus | AdvantageEstimator::ReinforcePlusPlusBaseline
        );
        let cap_below_bound = match resolved.surrogate {
            Surrogate::Clip(bounds) => bounds
                .cap
                .is_some_and(|cap| cap <= 1.0 + bounds.high || !cap.is_finite()),
            _ => false,
        };
        let cispo = resolved.loss_type == LossType::Cispo;
        let verl_bounds = self.cispo_bounds == Some(CispoRule::Verl);
        vec![
            refusal(
                num_generations < 2 && estimator.needs_group(),
                "`rollout.num_generations` must be at least 2: a group of one has nothing to compare with",
            ),
            refusal(
                sequence_preset && token_level,
                "`algorithm.importance_sampling_level = \"token\"` contradicts the preset, whose clip of 3e-4 belongs to ratios of whole \
                 sequences; remove it, or start from `preset = \"grpo\"`",
            ),
            refusal(
                sequence_preset
                    && resolved.level == ImportanceSamplingLevel::SequenceProduct
                    && self.epsilon.is_none(),
                "`algorithm.importance_sampling_level = \"sequence_product\"` contradicts the preset's clip of 3e-4, which belongs to \
                 geometric means; give `epsilon` too",
            ),
            refusal(
                matches!(resolved.surrogate, Surrogate::Cispo(CispoBounds::Max(max)) if max < 1.0),
                "`algorithm.epsilon_high` is the largest weight in TRL's cispo, not a width: below 1 it shrinks every gradient; 5.0 is \
                 usual",
            ),
            refusal(
                cispo && verl_bounds && self.epsilon_high.is_none(),
                "`algorithm.cispo_bounds = \"verl\"` needs its own widths; give `epsilon` and `epsilon_high` (EasyR1's script has 0 and 4)",
            ),
            refusal(
                cap_below_bound,
                "`algorithm.delta` must be above 1 + epsilon_high, or it cuts the ratio before the clip does; 3.0 is usual",
            ),
            refusal(
                gdpo && estimator != AdvantageEstimator::GroupRelative,
                "`algorithm.multi_objective_aggregation = \"normalize_then_sum\"` is an estimator of its own; remove `advantage_estimator`",
            ),
            refusal(
                gdpo && (resolved.scale.by != ScaleRewards::Group
                    || self.scale_epsilon.is_some()
                    || resolved.normalize_advantages),
                "`algorithm.multi_objective_aggregation = \"normalize_then_sum\"` divides by the group's and then by the batch's standard \
                 deviation; remove `scale_rewards`, `scale_epsilon` and `normalize_advantages`",
            ),
            refusal(
                gdpo && in_reward,
                "`algorithm.kl_in = \"reward\"` contradicts `normalize_then_sum`, where no single reward is left to take it from; use \
                 `kl_in = \"loss\"`",
            ),
            refusal(
                resolved.normalize_advantages && whitened,
                "`algorithm.normalize_advantages` has no effect: this `advantage_estimator` normalises over the batch already; remove it",
            ),
            refusal(
                estimator == AdvantageEstimator::Softmax
                    && resolved.loss_type != LossType::Reinforce,
                "`algorithm.advantage_estimator = \"softmax\"` gives positive weights for a likelihood; set `loss_type = \"reinforce\"`",
            ),
            refusal(
                estimator == AdvantageEstimator::Softmax && resolved.normalize_advantages,
                "`algorithm.normalize_advantages` would make softmax weights negative; remove it",
            ),
            refusal(
                !in_reward && kl_estimator == Some(KlEstimator::K1),
                "`algorithm.kl_estimator = \"k1\"` pulls nowhere in the loss: its gradient has mean zero; set `kl_in = \"reward\"`, or use \
                 `k2`, `k3` or `k1+`",
            ),
            refusal(
                in_reward && straight,
                "`algorithm.kl_estimator`: the `+` changes a gradient, and a penalty in the reward has none; write `k1` or `k3`",
            ),
            refusal(
                resolved.loss_type == LossType::Gmpo && resolved.top_entropy_quantile < 1.0,
                "`algorithm.top_entropy_quantile` contradicts `loss_type = \"gmpo\"`: the geometric mean is over all tokens; remove it",
            ),
            refusal(
                resolved.loss_type == LossType::Gmpo
                    && resolved.aggregation != LossType::Gmpo.aggregation(),
                "`algorithm.loss_aggregation` contradicts `loss_type = \"gmpo\"`, whose loss is one number a sequence; remove it",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(keys: &str, num_generations: usize) -> Result<(), String> {
        let config: AlgorithmConfig = toml::from_str(keys).unwrap();
        config.check(num_generations)
    }

    #[test]
    fn every_preset_is_sound_by_itself() {
        for name in PRESETS {
            assert_eq!(checked(&format!("preset = {name:?}"), 2), Ok(()), "{name}");
        }
    }

    const PRESETS: [&str; 35] = [
        "grpo",
        "dr_grpo",
        "dapo",
        "vlm-r1",
        "lite_ppo",
        "gspo",
        "gspo_token",
        "bn-gspo",
        "cispo",
        "scale-rl",
        "sapo",
        "gmpo",
        "luspo",
        "vespo",
        "gdpo",
        "rloo",
        "reinforce++",
        "reinforce++-baseline",
        "remax",
        "opo",
        "gpg",
        "pass_at_k",
        "clip_cov",
        "kl_cov",
        "v-triune",
        "easy-r1",
        "vppo",
        "ema-grpo",
        "univg-r1",
        "softmax_likelihood",
        "ppo",
        "vl-dac",
        "visurf",
        "awr",
        "reward_likelihood",
    ];

    #[test]
    fn contradictions_are_refused_with_the_mend() {
        for (keys, wanted) in [
            ("preset = 'grpo'\nepsilon = 1.5", "between 0 and 1"),
            ("preset = 'sapo'\nepsilon = 0.2", "clips nothing"),
            ("preset = 'cispo'\nepsilon = 0.2", "no lower bound"),
            ("preset = 'cispo'\nepsilon_high = 0.28", "5.0 is usual"),
            (
                "preset = 'cispo'\ncispo_bounds = 'verl'",
                "needs its own widths",
            ),
            (
                "preset = 'gspo'\nimportance_sampling_level = 'token'",
                "whole sequences",
            ),
            ("delta = 1.1", "above 1 + epsilon_high"),
            ("kl_estimator = 'k2'", "beta = 0"),
            ("beta = 0.1\nkl_estimator = 'k1'", "pulls nowhere"),
            (
                "beta = 0.1\nkl_estimator = 'k3+'\nkl_in = 'reward'",
                "write `k1` or `k3`",
            ),
            ("preset = 'rloo'\nscale_rewards = 'group'", "no effect"),
            ("preset = 'gdpo'\nscale_rewards = 'none'", "divides by"),
            (
                "preset = 'reinforce++'\nnormalize_advantages = true",
                "already",
            ),
            (
                "advantage_estimator = 'softmax'",
                "loss_type = \"reinforce\"",
            ),
            ("entropy_target = 0.1", "use_adaptive_entropy"),
            ("off_policy_mask_threshold = 0.1", "num_iterations = 1"),
            (
                "preset = 'gmpo'\ntop_entropy_quantile = 0.2",
                "geometric mean",
            ),
            ("num_iterations = 0", "at least 1"),
            ("gamma = 0.9", "reinforce_plus_plus"),
            (
                "loss_type = 'reinforce'\nimportance_sampling_level = 'sequence'",
                "level of its own",
            ),
            ("epsilon = nan", "between 0 and 1"),
            ("vf_coef = 0.5", "without a value head"),
            ("preset = 'ppo'\nlam = 1.5", "between 0 and 1"),
            (
                "preset = 'ppo'\nscale_rewards = 'group'",
                "not with its group",
            ),
            ("preset = 'ppo'\ndemonstration = 'always'", "has no group"),
            ("preset = 'ppo'\nloss_type = 'gmpo'", "one a token"),
            ("num_mini_batches = 0", "at least 1"),
            ("preset = 'awr'\nloss_type = 'dapo'", "positive weights"),
            (
                "preset = 'awr'\nnormalize_advantages = true",
                "weights of `awr` negative",
            ),
            ("awr_cap = 3.0", "advantage_estimator = \"awr\""),
            ("staleness_max = 2.0", "staleness_correction"),
            (
                "staleness_correction = 'token_mask'\nstaleness_min = 4.0",
                "must be below",
            ),
            (
                "preset = 'visurf'\nscale_rewards = 'none'",
                "within its group",
            ),
        ] {
            let error = checked(keys, 4).expect_err(keys);
            assert!(error.contains(wanted), "{keys}: {error}");
        }
    }

    #[test]
    fn a_group_of_one_needs_a_baseline_from_elsewhere() {
        assert!(
            checked("preset = 'grpo'", 1)
                .unwrap_err()
                .contains("at least 2")
        );
        assert!(checked("preset = 'rloo'", 1).is_err());
        assert_eq!(checked("preset = 'reinforce++'", 1), Ok(()));
        assert_eq!(checked("preset = 'remax'", 1), Ok(()));
        assert_eq!(checked("preset = 'ppo'", 1), Ok(()));
    }

    #[test]
    fn keys_beside_a_preset_win() {
        let resolve = |keys: &str| toml::from_str::<AlgorithmConfig>(keys).unwrap().resolve();
        let dapo = resolve("preset = 'dapo'");
        let widths = |a: &Algorithm| match a.surrogate {
            Surrogate::Clip(bounds) => (bounds.low, bounds.high),
            _ => unreachable!("a clip"),
        };
        assert_eq!(widths(&dapo), (0.2, 0.28));
        assert_eq!(dapo.loss_type, LossType::Dapo);
        assert_eq!(widths(&resolve("epsilon = 0.1")), (0.1, 0.1));
        assert_eq!(
            widths(&resolve("preset = 'dapo'\nepsilon = 0.1")),
            (0.1, 0.28)
        );
        assert_eq!(resolve("").loss_type, LossType::Grpo);
        assert_eq!(resolve("preset = 'dr_grpo'").scale.by, ScaleRewards::None);
        assert!(resolve("preset = 'rloo'\nbeta = 0.0").kl.is_none());
    }
}
