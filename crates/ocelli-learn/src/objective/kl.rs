//! Estimates of KL(π ‖ π_ref) from the sampled tokens (Schulman 2020, "Approximating KL Divergence").

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Which estimate, with `q = log π_ref − log π`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KlEstimator {
    /// `−q`. Unbiased as a number; in the loss its gradient has mean zero and pulls nowhere, so it belongs in the reward.
    #[serde(rename = "k1", alias = "kl")]
    K1,
    /// `q²/2`. Biased as a number; its gradient is that of the divergence.
    #[serde(rename = "k2", alias = "mse")]
    K2,
    /// `e^q − q − 1`. Unbiased, never negative. Not cut off, as in TRL; verl's `low_var_kl` cuts it at 10.
    #[default]
    #[serde(rename = "k3")]
    K3,
    /// `|q|`.
    #[serde(rename = "abs")]
    Abs,
    /// The value of k1 with the gradient of k2 (verl).
    #[serde(rename = "k1+")]
    K1Straight,
    /// The value of k3 with the gradient of k2 (verl).
    #[serde(rename = "k3+")]
    K3Straight,
}

/// The estimate at every token; both `[tokens]`, gradients flow through `logprob` only.
pub fn kl(estimator: KlEstimator, logprob: Tensor<1>, reference_logprob: Tensor<1>) -> Tensor<1> {
    let q = reference_logprob - logprob;
    let k2 = |q: Tensor<1>| q.clone() * q * 0.5;
    let k3 = |q: Tensor<1>| q.clone().exp() - q - 1.0;
    let with_gradient_of_k2 = |value: Tensor<1>, q: Tensor<1>| {
        let gradient = k2(q);
        value.detach() + gradient.clone() - gradient.detach()
    };
    match estimator {
        KlEstimator::K1 => -q,
        KlEstimator::K2 => k2(q),
        KlEstimator::K3 => k3(q),
        KlEstimator::Abs => q.abs(),
        KlEstimator::K1Straight => with_gradient_of_k2(-q.clone(), q),
        KlEstimator::K3Straight => with_gradient_of_k2(k3(q.clone()), q),
    }
}

/// The estimate as a plain number, for penalties in the reward.
pub fn kl_value(estimator: KlEstimator, logprob: f64, reference_logprob: f64) -> f64 {
    let q = reference_logprob - logprob;
    match estimator {
        KlEstimator::K1 | KlEstimator::K1Straight => -q,
        KlEstimator::K2 => 0.5 * q * q,
        KlEstimator::K3 | KlEstimator::K3Straight => q.exp() - q - 1.0,
        KlEstimator::Abs => q.abs(),
    }
}

/// A coefficient that seeks a target divergence (Ziegler et al. 2019, arXiv 1909.08593, section 2.2; verl's and EasyR1's `adaptive`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveKl {
    pub coefficient: f64,
}

impl AdaptiveKl {
    /// `coefficient ·= 1 + clip(kl/target − 1, ±0.2) · samples/horizon`.
    pub fn update(&mut self, kl: f64, target: f64, horizon: f64, samples: usize) {
        let error = (kl / target - 1.0).clamp(-0.2, 0.2);
        self.coefficient *= 1.0 + error * samples as f64 / horizon;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, tensor, value_and_gradient};
    use super::*;

    #[test]
    fn worked_estimates() {
        let q = 2f32.ln();
        let at = |estimator| {
            let (value, gradient) = value_and_gradient(&[-1.0, -1.0], |l| {
                kl(estimator, l, tensor(&[-1.0, -1.0 + q]))
            });
            assert_eq!(value[0].abs(), 0.0);
            let number = kl_value(estimator, -1.0, -1.0 + f64::from(q));
            assert!((number - f64::from(value[1])).abs() < 1e-6);
            (value[1], gradient[1])
        };
        let near =
            |got: (f32, f32), want: (f32, f32)| assert_near(&[got.0, got.1], &[want.0, want.1]);
        near(at(KlEstimator::K1), (-q, 1.0));
        near(at(KlEstimator::K2), (0.5 * q * q, -q));
        near(at(KlEstimator::K3), (1.0 - q, -1.0));
        near(at(KlEstimator::Abs), (q, -1.0));
        near(at(KlEstimator::K1Straight), (-q, -q));
        near(at(KlEstimator::K3Straight), (1.0 - q, -q));
    }

    #[test]
    fn estimates_agree_for_a_small_distance() {
        for estimator in [KlEstimator::K2, KlEstimator::K3] {
            let value = kl_value(estimator, -1.0, -1.001);
            assert!((value - 0.5e-6).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn the_coefficient_seeks_its_target() {
        let mut adaptive = AdaptiveKl { coefficient: 0.1 };
        adaptive.update(1.0, 0.1, 10_000.0, 100);
        assert!((adaptive.coefficient - 0.1 * 1.002).abs() < 1e-12);
        adaptive.update(0.09, 0.1, 10_000.0, 100);
        assert!((adaptive.coefficient - 0.1 * 1.002 * 0.999).abs() < 1e-12);
    }
}
