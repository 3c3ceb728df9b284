//! The clipped surrogate of PPO (Schulman et al. 2017, arXiv 1707.06347, equation 7) with its later bounds.

use burn::tensor::Tensor;

/// Bounds of the probability ratio: it is clipped to `[1 − low, 1 + high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipBounds {
    pub low: f64,
    pub high: f64,
    /// Largest ratio of the unclipped term: TRL's `delta` (INTELLECT-2). Above `1 + high` it acts on negative advantages alone and is
    /// the dual clip of verl and EasyR1 (Ye et al. 2020, arXiv 1912.09729): `max(…, …) ≤ −c A`.
    pub cap: Option<f64>,
}

impl ClipBounds {
    /// `[1 − low, 1 + high]` without a cap.
    pub fn new(low: f64, high: f64) -> Self {
        Self {
            low,
            high,
            cap: None,
        }
    }
}

/// `−min(min(r, cap) A, clip(r, 1 − low, 1 + high) A)` with `r = exp(log_ratio)`; all `[tokens]`.
pub fn clipped_surrogate(
    log_ratio: Tensor<1>,
    advantage: Tensor<1>,
    bounds: ClipBounds,
) -> Tensor<1> {
    let ratio = log_ratio.exp();
    let clipped = ratio.clone().clamp(1.0 - bounds.low, 1.0 + bounds.high);
    let ratio = match bounds.cap {
        Some(cap) => ratio.clamp_max(cap),
        None => ratio,
    };
    let plain = ratio * advantage.clone();
    let clipped = clipped * advantage;
    // min(a, b) = b where b < a
    let smaller = clipped.clone().lower(plain.clone());
    -plain.mask_where(smaller, clipped)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, tensor, value_and_gradient};
    use super::*;

    #[test]
    fn the_ratio_is_clipped_only_where_that_is_worse() {
        // ratios 1.5, 1.5, 0.5, 0.5 with advantages +1, −1, +1, −1 and ε = 0.2
        let (loss, gradient) = value_and_gradient(
            &[1.5f32.ln(), 1.5f32.ln(), 0.5f32.ln(), 0.5f32.ln()],
            |log_ratio| {
                clipped_surrogate(
                    log_ratio,
                    tensor(&[1.0, -1.0, 1.0, -1.0]),
                    ClipBounds::new(0.2, 0.2),
                )
            },
        );
        assert_near(&loss, &[-1.2, 1.5, -0.5, 0.8]);
        // d(−r A)/d log π = −r A where not clipped
        assert_near(&gradient, &[0.0, 1.5, -0.5, 0.0]);
    }

    #[test]
    fn on_policy_the_gradient_is_the_policy_gradient() {
        let (_, gradient) = value_and_gradient(&[0.0, 0.0], |log_ratio| {
            clipped_surrogate(log_ratio, tensor(&[0.7, -1.1]), ClipBounds::new(0.2, 0.2))
        });
        assert_near(&gradient, &[-0.7, 1.1]);
    }

    #[test]
    fn a_cap_bounds_what_a_bad_token_can_cost() {
        let ratios = [5f32.ln(), 2f32.ln(), 5f32.ln()];
        let at = |cap| {
            value_and_gradient(&ratios, |log_ratio| {
                let bounds = ClipBounds {
                    cap,
                    ..ClipBounds::new(0.2, 0.2)
                };
                clipped_surrogate(log_ratio, tensor(&[-1.0, -1.0, 1.0]), bounds)
            })
        };
        let (loss, gradient) = at(Some(3.0));
        assert_near(&loss, &[3.0, 2.0, -1.2]);
        assert_near(&gradient, &[0.0, 2.0, 0.0]);
        // A cap no ratio reaches changes nothing.
        assert_eq!(at(Some(1e9)), at(None));
    }

    #[test]
    fn bounds_that_nothing_reaches_leave_the_plain_ratio() {
        let (loss, gradient) = value_and_gradient(&[0.3, -2.0], |log_ratio| {
            clipped_surrogate(log_ratio, tensor(&[2.0, -1.0]), ClipBounds::new(1.0, 1e6))
        });
        assert_near(&loss, &[-2.0 * 0.3f32.exp(), (-2f32).exp()]);
        assert_near(&gradient, &loss);
    }
}
