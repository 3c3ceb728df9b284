//! Objectives without a ratio: REINFORCE, and likelihood weighted by how good a sample was.

use burn::tensor::Tensor;

/// `−A log π` (Williams 1992); both `[tokens]`. Equal in gradient to the unclipped surrogate while the policy is the one that sampled.
/// With weights as `advantage` it is the off-policy likelihood of SOPHIA and of softmax-weighted groups.
pub fn reinforce(logprob: Tensor<1>, advantage: Tensor<1>) -> Tensor<1> {
    -advantage * logprob
}

/// Weights of advantage-weighted regression (Peng et al. 2019, arXiv 1910.00177, equation 9): `min(e^{A/temperature}, cap)`, always positive.
pub fn advantage_weights(advantages: &[f64], temperature: f64, cap: f64) -> Vec<f64> {
    advantages
        .iter()
        .map(|a| (a / temperature).exp().min(cap))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, tensor, value_and_gradient};
    use super::super::{ClipBounds, clipped_surrogate};
    use super::*;

    #[test]
    fn on_policy_it_has_the_gradient_of_the_clipped_surrogate() {
        let logprob = [-0.4, -3.0];
        let (loss, gradient) = value_and_gradient(&logprob, |l| reinforce(l, tensor(&[2.0, -0.5])));
        assert_near(&loss, &[0.8, -1.5]);
        let clipped = value_and_gradient(&logprob, |l| {
            clipped_surrogate(
                l - tensor(&logprob),
                tensor(&[2.0, -0.5]),
                ClipBounds::new(0.2, 0.2),
            )
        });
        assert_near(&gradient, &clipped.1);
    }

    #[test]
    fn weights_are_capped() {
        let w = advantage_weights(&[0.0, 1.0, 100.0], 0.5, 20.0);
        assert!((w[0] - 1.0).abs() < 1e-12 && (w[1] - 2f64.exp()).abs() < 1e-12 && w[2] == 20.0);
    }
}
