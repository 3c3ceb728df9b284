//! VESPO: the whole sequence's ratio enters through a smooth weight instead of a clip.

use burn::tensor::Tensor;

use super::ratio::{LOG_RATIO_LIMIT, Sequences};

/// Shape of the weight, by sign of the advantage. `lambda` is at least 1e-4.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VespoShape {
    /// Where A ≥ 0.
    pub k_positive: f64,
    pub lambda_positive: f64,
    /// Where A < 0.
    pub k_negative: f64,
    pub lambda_negative: f64,
}

impl Default for VespoShape {
    fn default() -> Self {
        Self {
            k_positive: 2.0,
            lambda_positive: 3.0,
            k_negative: 3.0,
            lambda_negative: 2.0,
        }
    }
}

/// `−φ(w) · A · log π` with the constant weight `φ(w) = e^λ w^k e^{−λ w}`, `φ(1) = 1`, and `w` the product of the sequence's ratios;
/// `log w` is cut to `[ln 1e-8, 20]`. All `[tokens]`.
pub fn vespo(
    logprob: Tensor<1>,
    log_ratio: Tensor<1>,
    advantage: Tensor<1>,
    shape: VespoShape,
    sequences: &Sequences,
) -> Tensor<1> {
    let log_ratio = log_ratio.detach().clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT);
    let log_w = sequences.spread(sequences.sum(log_ratio));
    let phi = weight(log_w, advantage.clone(), shape);
    -(phi * advantage) * logprob
}

/// `φ` at every token, from `log w`.
pub fn weight(log_w: Tensor<1>, advantage: Tensor<1>, shape: VespoShape) -> Tensor<1> {
    let log_w = log_w.clamp(1e-8f32.ln(), LOG_RATIO_LIMIT);
    let negative = advantage.clone().lower_elem(0.0);
    let by_sign = |positive: f64, other: f64| {
        let constant = advantage.zeros_like().add_scalar(positive);
        constant.mask_fill(negative.clone(), other)
    };
    let k = by_sign(shape.k_positive, shape.k_negative);
    let lambda = by_sign(
        shape.lambda_positive.max(1e-4),
        shape.lambda_negative.max(1e-4),
    );
    (lambda.clone() + k * log_w.clone() - lambda * log_w.exp()).exp()
}

/// `φ` as a plain number.
pub fn weight_value(log_w: f64, advantage: f64, shape: VespoShape) -> f64 {
    let log_w = log_w.clamp(1e-8f64.ln(), f64::from(LOG_RATIO_LIMIT));
    let (k, lambda) = match advantage < 0.0 {
        true => (shape.k_negative, shape.lambda_negative),
        false => (shape.k_positive, shape.lambda_positive),
    };
    let lambda = lambda.max(1e-4);
    (lambda + k * log_w - lambda * log_w.exp()).exp()
}

#[cfg(test)]
mod tests {
    use super::super::likelihood::reinforce;
    use super::super::testing::{assert_near, tensor, value_and_gradient};
    use super::*;

    #[test]
    fn on_policy_it_is_reinforce() {
        let sequences = Sequences::new(vec![2, 1]);
        let logprob = [-0.5, -1.0, -2.0];
        let got = value_and_gradient(&logprob, |l| {
            let log_ratio = tensor(&[0.0; 3]);
            vespo(
                l,
                log_ratio,
                tensor(&[1.0, 1.0, -2.0]),
                VespoShape::default(),
                &sequences,
            )
        });
        let want = value_and_gradient(&logprob, |l| reinforce(l, tensor(&[1.0, 1.0, -2.0])));
        assert_near(&got.0, &want.0);
        assert_near(&got.1, &want.1);
    }

    #[test]
    fn the_weight_falls_off_on_both_sides() {
        let phi = |log_w: f32| {
            super::super::testing::values(weight(
                tensor(&[log_w]),
                tensor(&[1.0]),
                VespoShape::default(),
            ))[0]
        };
        let want = (3.0 + 2.0 * 2f32.ln() - 6.0).exp();
        assert!((phi(2f32.ln()) - want).abs() < 1e-6);
        assert!(phi(-30.0) < 1e-10 && phi(30.0) == 0.0);
    }
}
