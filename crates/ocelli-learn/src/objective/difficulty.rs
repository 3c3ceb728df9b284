//! Weights of whole prompt groups by how hard they are.

use serde::{Deserialize, Serialize};

/// How a group's mean score `m` (0 to 1) becomes the weight of its surrogate; the KL term keeps weight 1 (UniVG-R1, arXiv 2505.14231).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifficultyWeight {
    /// `e^{1 − m}`, from e for the hopeless to 1 for the solved.
    Exponential,
    /// `1.05 − m`.
    Linear,
    /// `−ln(0.02 + m)`.
    Logarithmic,
}

impl DifficultyWeight {
    /// The weight of a group with this mean score, which is cut to 0…1.
    pub fn of(self, mean_score: f64) -> f64 {
        let m = mean_score.clamp(0.0, 1.0);
        match self {
            Self::Exponential => (1.0 - m).exp(),
            Self::Linear => 1.05 - m,
            Self::Logarithmic => -(0.02 + m).ln(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::E;

    #[test]
    fn worked_weights() {
        let exponential = [1.0, 0.5, 0.0].map(|m| DifficultyWeight::Exponential.of(m));
        for (got, want) in exponential.iter().zip([1.0, E.sqrt(), E]) {
            assert!((got - want).abs() < 1e-6);
        }
        assert!((DifficultyWeight::Linear.of(1.7) - 0.05).abs() < 1e-12);
        assert!((DifficultyWeight::Logarithmic.of(0.48) - 2f64.ln()).abs() < 1e-12);
    }
}
