//! Weights for samples that another policy made: an older one, or the same weights in another engine.
//!
//! They multiply the loss of each token and carry no gradient. Ocelli's own rollouts need none: one network samples and trains.

use serde::{Deserialize, Serialize};

/// Largest log-weight, as in verl.
const LIMIT: f64 = 20.0;

/// What a weight is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StalenessLevel {
    Token,
    /// The product over the sequence: exact, but its spread grows with length.
    Sequence,
}

/// What happens to weights out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StalenessBound {
    /// They are set to the bound (TIS).
    Truncate,
    /// Their tokens are left out (MIS).
    Mask,
}

/// Settings of [`staleness_weights`]; TRL's names are `vllm_importance_sampling_mode`, `…_clip_min` and `…_clip_max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StalenessRule {
    pub level: StalenessLevel,
    pub bound: StalenessBound,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

/// `ρ = exp(log π_old − log π_sampler)` at each token of one sequence. DART's weight is `truncate` at 1. A token that the sampler gave no
/// number (NaN) counts as equal.
pub fn staleness_weights(
    old_logprob: &[f32],
    sampler_logprob: &[f32],
    rule: StalenessRule,
) -> Vec<f64> {
    let difference = |(old, sampler): (&f32, &f32)| {
        let d = f64::from(*old) - f64::from(*sampler);
        if d.is_nan() { 0.0 } else { d }
    };
    let mut logs: Vec<f64> = old_logprob
        .iter()
        .zip(sampler_logprob)
        .map(difference)
        .collect();
    if rule.level == StalenessLevel::Sequence {
        let total: f64 = logs.iter().sum();
        logs.fill(total);
    }
    let (min, max) = (rule.min.unwrap_or(0.0), rule.max.unwrap_or(f64::INFINITY));
    logs.iter()
        .map(|log| {
            let weight = log.clamp(-LIMIT, LIMIT).exp();
            match rule.bound {
                StalenessBound::Truncate => weight.max(min).min(max),
                StalenessBound::Mask if weight < min || weight > max => 0.0,
                StalenessBound::Mask => weight,
            }
        })
        .collect()
}

/// Whether a sequence stays in the loss (DeepSeek-V3.2, arXiv 2512.02556, equation 9; TRL's `off_policy_mask_threshold`): always with A ≥ 0, else
/// only while `mean_t(log π_old − log π) ≤ threshold`.
pub fn keeps_sequence(
    advantage: f64,
    old_logprob: &[f32],
    logprob: &[f32],
    threshold: f64,
) -> bool {
    let total: f64 = old_logprob
        .iter()
        .zip(logprob)
        .map(|(o, n)| f64::from(*o) - f64::from(*n))
        .sum();
    advantage >= 0.0 || total / old_logprob.len().max(1) as f64 <= threshold
}

/// Effective sample size of weights, as a share of their number: `(Σ w)² / (n Σ w²)`; 1 when all are equal, 0 when there are none.
pub fn effective_sample_size(weights: &[f64]) -> f64 {
    let (sum, squares) = weights
        .iter()
        .fold((0.0, 0.0), |(s, q), w| (s + w, q + w * w));
    if squares == 0.0 {
        return 0.0;
    }
    sum * sum / (weights.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(level: StalenessLevel, bound: StalenessBound) -> StalenessRule {
        StalenessRule {
            level,
            bound,
            min: Some(0.5),
            max: Some(3.0),
        }
    }

    fn near(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (a, b) in got.iter().zip(want) {
            assert!((a - b).abs() < 1e-6, "{got:?} {want:?}");
        }
    }

    #[test]
    fn four_modes() {
        let old = [-1.0, -1.0, -1.0];
        let sampler = [-1.0 - 2f32.ln(), -1.0 - 8f32.ln(), -1.0 + 4f32.ln()];
        use StalenessBound::{Mask, Truncate};
        use StalenessLevel::{Sequence, Token};
        near(
            &staleness_weights(&old, &sampler, rule(Token, Truncate)),
            &[2.0, 3.0, 0.5],
        );
        near(
            &staleness_weights(&old, &sampler, rule(Token, Mask)),
            &[2.0, 0.0, 0.0],
        );
        // the product 2 · 8 / 4
        near(
            &staleness_weights(&old, &sampler, rule(Sequence, Truncate)),
            &[3.0; 3],
        );
        near(
            &staleness_weights(&old, &sampler, rule(Sequence, Mask)),
            &[0.0; 3],
        );
    }

    #[test]
    fn the_same_policy_needs_no_weight() {
        let same = [-0.3, -2.0];
        for level in [StalenessLevel::Token, StalenessLevel::Sequence] {
            near(
                &staleness_weights(&same, &same, rule(level, StalenessBound::Mask)),
                &[1.0, 1.0],
            );
        }
        near(
            &staleness_weights(
                &[-1.0],
                &[f32::NAN],
                rule(StalenessLevel::Token, StalenessBound::Mask),
            ),
            &[1.0],
        );
    }

    #[test]
    fn only_bad_sequences_are_dropped() {
        assert!(keeps_sequence(1.0, &[-1.0], &[-9.0], 0.5));
        assert!(!keeps_sequence(-1.0, &[-1.0, -1.0], &[-3.0, -1.0], 0.5));
        assert!(keeps_sequence(-1.0, &[-1.0, -1.0], &[-2.0, -1.0], 0.5));
    }

    #[test]
    fn sample_sizes() {
        assert_eq!(effective_sample_size(&[2.0; 5]), 1.0);
        assert_eq!(effective_sample_size(&[1.0, 0.0, 0.0, 0.0]), 0.25);
        assert_eq!(effective_sample_size(&[]), 0.0);
    }
}
