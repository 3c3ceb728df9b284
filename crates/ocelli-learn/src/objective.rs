//! Objectives: from log-probabilities and advantages to a loss. Pure functions of tensors `[tokens]`.

use burn::tensor::Tensor;

/// Bounds of the probability ratio: it is clipped to `[1 − low, 1 + high]`.
#[derive(Clone, Copy, Debug)]
pub struct ClipBounds {
    pub low: f64,
    pub high: f64,
}

/// The clipped surrogate of PPO (Schulman et al. 2017, equation 7), as a loss a token:
/// `−min(r A, clip(r, 1 − ε_low, 1 + ε_high) A)` with `r = exp(log π − log π_old)`.
///
/// All inputs `[tokens]`; the gradient flows through `logprob` only.
pub fn clipped_surrogate(
    logprob: Tensor<1>,
    old_logprob: Tensor<1>,
    advantage: Tensor<1>,
    bounds: ClipBounds,
) -> Tensor<1> {
    let ratio = (logprob - old_logprob).exp();
    let clipped = ratio.clone().clamp(1.0 - bounds.low, 1.0 + bounds.high);
    let plain = ratio * advantage.clone();
    let clipped = clipped * advantage;
    // min(a, b) = b where b < a
    let smaller = clipped.clone().lower(plain.clone());
    -plain.mask_where(smaller, clipped)
}

/// The k3 estimator of KL(π ‖ π_ref) a token (Schulman 2020): `e^q − q − 1`, `q = log π_ref − log π`. Never negative.
pub fn k3(logprob: Tensor<1>, reference_logprob: Tensor<1>) -> Tensor<1> {
    let q = reference_logprob - logprob;
    q.clone().exp() - q - 1.0
}

/// How token losses become one number; the preset says which where a recipe does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// Mean over sequences of the mean over each sequence's tokens (Shao et al. 2024).
    Grpo,
    /// Sum over tokens divided by all trained tokens of the batch (DAPO; Yu et al. 2025).
    Dapo,
    /// Sum over tokens divided by sequences × `max_completion_length` (Dr. GRPO; Liu et al. 2025).
    DrGrpo,
}

/// What a batch's token losses are divided by, known before it is cut into micro-batches.
#[derive(Clone, Copy, Debug)]
pub struct BatchSize {
    pub sequences: usize,
    pub tokens: usize,
    pub max_completion_length: usize,
}

/// Weight of every token of a sequence of `length` trained tokens, such that the weighted sum over all micro-batches is
/// the batch's loss: micro-batches then only add up.
///
/// ```
/// use ocelli_learn::objective::{token_weight, BatchSize, LossType};
/// let batch = BatchSize { sequences: 2, tokens: 8, max_completion_length: 10 };
/// assert_eq!(token_weight(LossType::Grpo, 2, batch), 0.25);
/// assert_eq!(token_weight(LossType::Dapo, 2, batch), 0.125);
/// assert_eq!(token_weight(LossType::DrGrpo, 2, batch), 0.05);
/// ```
pub fn token_weight(loss: LossType, length: usize, batch: BatchSize) -> f64 {
    let divisor = match loss {
        LossType::Grpo => batch.sequences * length,
        LossType::Dapo => batch.tokens,
        LossType::DrGrpo => batch.sequences * batch.max_completion_length,
    };
    1.0 / divisor.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn tensor(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::flex().autodiff())
    }

    fn values(t: Tensor<1>) -> Vec<f32> {
        t.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn the_ratio_is_clipped_only_where_that_is_worse() {
        // ratios 1.5, 1.5, 0.5, 0.5 with advantages +1, −1, +1, −1 and ε = 0.2
        let logprob = tensor(&[1.5f32.ln(), 1.5f32.ln(), 0.5f32.ln(), 0.5f32.ln()]).require_grad();
        let bounds = ClipBounds {
            low: 0.2,
            high: 0.2,
        };
        let loss = clipped_surrogate(
            logprob.clone(),
            tensor(&[0.0; 4]),
            tensor(&[1.0, -1.0, 1.0, -1.0]),
            bounds,
        );
        let gradients = &loss.clone().sum().backward();
        for (got, want) in values(loss).iter().zip([-1.2, 1.5, -0.5, 0.8]) {
            assert!((got - want).abs() < 1e-6);
        }
        // d(−r A)/d log π = −r A where not clipped
        let gradient = values(logprob.grad(gradients).unwrap());
        for (got, want) in gradient.iter().zip([0.0, 1.5, -0.5, 0.0]) {
            assert!((got - want).abs() < 1e-6, "{gradient:?}");
        }
    }

    #[test]
    fn on_policy_the_gradient_is_the_policy_gradient() {
        let logprob = tensor(&[-0.3, -2.0]).require_grad();
        let bounds = ClipBounds {
            low: 0.2,
            high: 0.2,
        };
        let loss = clipped_surrogate(
            logprob.clone(),
            tensor(&[-0.3, -2.0]),
            tensor(&[0.7, -1.1]),
            bounds,
        );
        let gradients = loss.sum().backward();
        let gradient = values(logprob.grad(&gradients).unwrap());
        assert!((gradient[0] + 0.7).abs() < 1e-6 && (gradient[1] - 1.1).abs() < 1e-6);
    }

    #[test]
    fn k3_of_a_worked_example() {
        let kl = values(k3(tensor(&[-1.0, -1.0]), tensor(&[-1.0, -1.0 + 2f32.ln()])));
        assert!(kl[0].abs() < 1e-6 && (kl[1] - (2.0 - 2f32.ln() - 1.0)).abs() < 1e-6);
    }
}
