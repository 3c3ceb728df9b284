//! The loss of a value head (Schulman et al. 2017, arXiv 1707.06347, equation 9, with the clip of its code).

use burn::tensor::Tensor;

/// `½ max((V − R)², (clip(V, V_old − c, V_old + c) − R)²)` at every token; all `[tokens]`, gradients flow through `value` only. Without `clip` it is
/// `½ (V − R)²`. As TRL's `PPOTrainer` and verl.
pub fn value_loss(
    value: Tensor<1>,
    old_value: Tensor<1>,
    target: Tensor<1>,
    clip: Option<f64>,
) -> Tensor<1> {
    let square = |value: Tensor<1>| {
        let error = value - target.clone();
        error.clone() * error
    };
    let plain = square(value.clone());
    let Some(width) = clip else {
        return plain * 0.5;
    };
    // Bounds as tensors, so that a value inside of them keeps its digits.
    let clipped = value
        .max_pair(old_value.clone() - width)
        .min_pair(old_value + width);
    let clipped = square(clipped);
    let larger = clipped.clone().greater(plain.clone());
    plain.mask_where(larger, clipped) * 0.5
}

/// Whether the clip decides a value's loss, as a plain number.
pub fn is_clipped(value: f64, old_value: f64, target: f64, width: f64) -> bool {
    let clipped = value.clamp(old_value - width, old_value + width);
    (clipped - target).abs() > (value - target).abs()
}

/// Share of the targets' variance that the values explain, `1 − Var(R − V) / Var(R)`; not a number where the targets are all the same.
pub fn explained_variance(values: &[f64], targets: &[f64]) -> f64 {
    let variance = |numbers: &[f64]| {
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / numbers.len() as f64
    };
    let errors: Vec<f64> = targets.iter().zip(values).map(|(r, v)| r - v).collect();
    let spread = variance(targets);
    if spread < 1e-12 {
        return f64::NAN;
    }
    1.0 - variance(&errors) / spread
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, tensor, value_and_gradient};
    use super::*;

    #[test]
    fn a_value_that_has_moved_too_far_learns_no_more() {
        // V_old = 0, c = 0.2: inside; beyond and right (no gradient); beyond and wrong, where the plain error is the larger one.
        let (loss, gradient) = value_and_gradient(&[0.1, 0.5, 0.5], |v| {
            value_loss(v, tensor(&[0.0; 3]), tensor(&[1.0, 1.0, -1.0]), Some(0.2))
        });
        assert_near(&loss, &[0.405, 0.32, 1.125]);
        assert_near(&gradient, &[-0.9, 0.0, 1.5]);
        let sides = [(0.1, 1.0), (0.5, 1.0), (0.5, -1.0)];
        assert_eq!(
            sides.map(|(value, target)| is_clipped(value, 0.0, target, 0.2)),
            [false, true, false]
        );
    }

    #[test]
    fn without_a_clip_it_is_half_the_square() {
        let (loss, gradient) = value_and_gradient(&[0.5], |v| {
            value_loss(v, tensor(&[0.0]), tensor(&[1.0]), None)
        });
        assert_near(&loss, &[0.125]);
        assert_near(&gradient, &[-0.5]);
    }

    #[test]
    fn values_explain_all_or_nothing() {
        let targets = [0.0, 1.0, 1.0, 0.0];
        assert_eq!(explained_variance(&targets, &targets), 1.0);
        assert_eq!(explained_variance(&[0.7; 4], &targets), 0.0);
        assert!(explained_variance(&[0.7; 2], &[1.0; 2]).is_nan());
    }
}
