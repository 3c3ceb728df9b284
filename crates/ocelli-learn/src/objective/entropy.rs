//! Entropy: which tokens learn, and how much spread is rewarded.

use serde::{Deserialize, Serialize};

/// Marks the tokens whose entropy is at least the `1 − share` quantile of all (Wang et al. 2025, arXiv 2506.01939; TRL's `top_entropy_quantile`).
/// Quantiles lie between neighbours as in NumPy and torch; a share of 0 keeps the highest entropy alone.
pub fn top_entropy(entropy: &[f32], share: f64) -> Vec<bool> {
    let mut sorted = entropy.to_vec();
    sorted.sort_by(f32::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return Vec::new();
    };
    let place = (1.0 - share).clamp(0.0, 1.0) * last as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    let threshold = below + (above - below) * place.fract() as f32;
    entropy.iter().map(|h| *h >= threshold).collect()
}

/// Bounds of the adaptive coefficient (Skywork-OR1, arXiv 2505.22312).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EntropyRule {
    /// Nats a token below which the bonus acts; 0.2.
    pub target: f64,
    /// Change of the coefficient a step; 0.005.
    pub delta: f64,
    pub min: f64,
    pub max: f64,
}

/// The adaptive coefficient of the entropy bonus, as TRL moves it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveEntropy {
    pub coefficient: f64,
    /// Mean entropy of the last step; `None` before the first.
    pub last: Option<f64>,
}

impl AdaptiveEntropy {
    /// Starts with a coefficient that does not act before the first step's entropy is known.
    pub fn new(coefficient: f64) -> Self {
        Self {
            coefficient,
            last: None,
        }
    }

    /// The coefficient of this step: 0 while the entropy is above its target.
    pub fn active(&self, rule: EntropyRule) -> f64 {
        match self.last {
            Some(entropy) if entropy <= rule.target => self.coefficient,
            _ => 0.0,
        }
    }

    /// Takes in a step's mean entropy: up by delta at or below the target, down above it.
    pub fn update(&mut self, entropy: f64, rule: EntropyRule) {
        let step = if entropy <= rule.target {
            rule.delta
        } else {
            -rule.delta
        };
        self.coefficient = (self.coefficient + step).clamp(rule.min, rule.max);
        self.last = Some(entropy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_share_of_tokens() {
        let h = [0.1, 0.9, 0.5, 0.3, 0.7];
        // the 0.6 quantile of 0.1 0.3 0.5 0.7 0.9 lies at place 2.4: 0.58
        assert_eq!(top_entropy(&h, 0.4), [false, true, false, false, true]);
        assert_eq!(top_entropy(&h, 1.0), [true; 5]);
        assert_eq!(top_entropy(&h, 0.0), [false, true, false, false, false]);
        assert!(top_entropy(&[], 0.2).is_empty());
    }

    #[test]
    fn the_coefficient_follows_the_entropy() {
        let rule = EntropyRule {
            target: 0.2,
            delta: 0.005,
            min: 0.0,
            max: 0.007,
        };
        let mut adaptive = AdaptiveEntropy::new(0.0);
        assert_eq!(adaptive.active(rule), 0.0);
        adaptive.update(0.1, rule);
        assert_eq!(adaptive.active(rule), 0.005);
        adaptive.update(0.1, rule);
        assert_eq!(adaptive.active(rule), 0.007);
        adaptive.update(0.3, rule);
        assert_eq!((adaptive.active(rule), adaptive.coefficient), (0.0, 0.002));
    }
}
