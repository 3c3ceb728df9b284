//! CISPO (MiniMax-M1, arXiv 2506.13585, equations 4 and 5): the ratio is a clipped constant weight, so no token loses its gradient.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// The two ways in which the ratio is bounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CispoBounds {
    /// TRL: `min(r, max)`. TRL calls `max` `epsilon_high`; 5.0 is recommended, and its default of 0.2 would scale every gradient
    /// down to a fifth or less.
    Max(f64),
    /// verl and EasyR1: `clip(r, 1 − low, 1 + high)`.
    Interval { low: f64, high: f64 },
}

/// Whose bounds `epsilon` and `epsilon_high` mean with `loss_type = "cispo"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CispoRule {
    /// The weight is at most `epsilon_high`; there is no lower bound.
    #[default]
    Trl,
    /// The weight lies in `[1 − epsilon, 1 + epsilon_high]`.
    Verl,
}

/// `−sg(bounded r) · A · log π`; all `[tokens]`.
pub fn cispo(
    logprob: Tensor<1>,
    log_ratio: Tensor<1>,
    advantage: Tensor<1>,
    bounds: CispoBounds,
) -> Tensor<1> {
    let ratio = log_ratio.exp().detach();
    let weight = match bounds {
        CispoBounds::Max(max) => ratio.clamp_max(max),
        CispoBounds::Interval { low, high } => ratio.clamp(1.0 - low, 1.0 + high),
    };
    -(weight * advantage) * logprob
}

#[cfg(test)]
mod tests {
    use super::super::likelihood::reinforce;
    use super::super::testing::{assert_near, tensor, value_and_gradient};
    use super::*;

    #[test]
    fn a_clipped_token_keeps_its_gradient() {
        let old = tensor(&[-1.0, -1.0, -1.0]);
        let at = |bounds| {
            value_and_gradient(&[-1.0 + 8f32.ln(), -1.0 - 2f32.ln(), -1.0], |logprob| {
                let log_ratio = logprob.clone() - old.clone();
                cispo(logprob, log_ratio, tensor(&[1.0, -2.0, 1.0]), bounds)
            })
            .1
        };
        assert_near(&at(CispoBounds::Max(5.0)), &[-5.0, 1.0, -1.0]);
        let interval = CispoBounds::Interval {
            low: 0.2,
            high: 4.0,
        };
        assert_near(&at(interval), &[-5.0, 1.6, -1.0]);
    }

    #[test]
    fn with_an_interval_of_no_width_it_is_reinforce() {
        let old = tensor(&[-0.5, -2.5]);
        let got = value_and_gradient(&[-0.7, -2.0], |logprob| {
            let log_ratio = logprob.clone() - old.clone();
            cispo(
                logprob,
                log_ratio,
                tensor(&[0.3, -1.0]),
                CispoBounds::Interval {
                    low: 0.0,
                    high: 0.0,
                },
            )
        });
        let want = value_and_gradient(&[-0.7, -2.0], |logprob| {
            reinforce(logprob, tensor(&[0.3, -1.0]))
        });
        assert_eq!(got, want);
    }
}
