//! SAPO (arXiv 2511.20347): a soft gate in place of the clip.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;

/// How sharply the gate closes, by sign of the advantage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SapoTemperatures {
    /// Where A > 0; 1.0.
    pub positive: f64,
    /// Elsewhere; 1.05. EasyR1 draws the line at A ≥ 0, where the loss is zero either way.
    pub negative: f64,
}

impl Default for SapoTemperatures {
    fn default() -> Self {
        Self {
            positive: 1.0,
            negative: 1.05,
        }
    }
}

/// `−σ(τ (r − 1)) · 4/τ · A`; all `[tokens]`. The gradient at r = 1 is that of `−r A`.
pub fn sapo(
    log_ratio: Tensor<1>,
    advantage: Tensor<1>,
    temperatures: SapoTemperatures,
) -> Tensor<1> {
    let positive = advantage.clone().greater_elem(0.0);
    let tau = advantage
        .zeros_like()
        .add_scalar(temperatures.negative)
        .mask_fill(positive, temperatures.positive);
    let gate = sigmoid(tau.clone() * (log_ratio.exp() - 1.0)) * 4.0 / tau;
    -gate * advantage
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, tensor, value_and_gradient};
    use super::*;

    #[test]
    fn at_ratio_one_the_gradient_is_the_policy_gradient() {
        let (_, gradient) = value_and_gradient(&[0.0, 0.0], |log_ratio| {
            sapo(log_ratio, tensor(&[1.5, -0.5]), SapoTemperatures::default())
        });
        assert_near(&gradient, &[-1.5, 0.5]);
    }

    #[test]
    fn a_low_temperature_leaves_the_plain_ratio() {
        // σ(x) ≈ 1/2 + x/4: the gate becomes 2/τ + (r − 1), whose gradient is that of r.
        let soft = SapoTemperatures {
            positive: 1e-3,
            negative: 1e-3,
        };
        let (_, gradient) = value_and_gradient(&[0.4, -0.7], |log_ratio| {
            sapo(log_ratio, tensor(&[1.0, -1.0]), soft)
        });
        for (got, want) in gradient.iter().zip([-(0.4f32.exp()), (-0.7f32).exp()]) {
            assert!((got - want).abs() < 1e-4, "{gradient:?}");
        }
    }

    #[test]
    fn far_away_the_gradient_dies_out() {
        let (_, gradient) = value_and_gradient(&[4.0], |log_ratio| {
            sapo(log_ratio, tensor(&[-1.0]), SapoTemperatures::default())
        });
        assert!(gradient[0].abs() < 1e-6);
    }
}
