//! Clip-Cov and KL-Cov (Cui et al. 2025, arXiv 2505.22617): the few tokens whose log-probability and advantage rise together drain
//! the entropy; they lose their gradient, or pay for moving.

use burn::tensor::Tensor;
use rand::seq::SliceRandom;

/// `(A_t − mean A)(log π_t − mean log π)` over all tokens.
pub fn covariances(advantage: &[f32], logprob: &[f32]) -> Vec<f64> {
    let mean = |values: &[f32]| {
        values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64
    };
    let (a, l) = (mean(advantage), mean(logprob));
    advantage
        .iter()
        .zip(logprob)
        .map(|(x, y)| (f64::from(*x) - a) * (f64::from(*y) - l))
        .collect()
}

/// Settings of [`clip_cov_tokens`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipCov {
    /// Share of the tokens to choose; 0.0002.
    pub ratio: f64,
    /// Covariances strictly between these may be chosen; 1 and 5.
    pub bounds: (f64, f64),
}

impl Default for ClipCov {
    fn default() -> Self {
        Self {
            ratio: 2e-4,
            bounds: (1.0, 5.0),
        }
    }
}

/// Clip-Cov: a random share of the tokens, at least one, among those with a covariance within the bounds. `clipped` tokens have no gradient
/// already and are not chosen.
pub fn clip_cov_tokens(
    covariances: &[f64],
    clipped: &[bool],
    rule: ClipCov,
    rng: &mut impl rand::Rng,
) -> Vec<bool> {
    let (low, high) = rule.bounds;
    let mut candidates: Vec<usize> = (0..covariances.len())
        .filter(|&i| covariances[i] > low && covariances[i] < high && !clipped[i])
        .collect();
    candidates.shuffle(rng);
    candidates.truncate(((rule.ratio * covariances.len() as f64) as usize).max(1));
    marked(covariances.len(), &candidates)
}

/// KL-Cov: the share of the tokens with the largest covariances, at least one.
pub fn kl_cov_tokens(covariances: &[f64], ratio: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..covariances.len()).collect();
    order.sort_by(|a, b| covariances[*b].total_cmp(&covariances[*a]));
    order.truncate(((ratio * covariances.len() as f64) as usize).max(1));
    marked(covariances.len(), &order)
}

fn marked(count: usize, chosen: &[usize]) -> Vec<bool> {
    let mut marks = vec![false; count];
    for &i in chosen {
        marks[i] = true;
    }
    marks
}

/// Log-ratios up to this are noise: the largest difference that the sampler's and the trainer's arithmetic may have.
const UNMOVED: f32 = 1e-4;

/// `−r A`, and `+ coefficient · |log r|` at the chosen tokens; all `[tokens]`.
///
/// A token that has not moved pays nothing. The slope of `|log r|` is ±1 however near zero it is, so the first update of a
/// batch, whose ratios are one up to rounding, would push tokens in random directions. In verl these ratios are one exactly
/// and have no slope.
pub fn kl_cov(
    log_ratio: Tensor<1>,
    advantage: Tensor<1>,
    chosen: Option<Tensor<1>>,
    coefficient: f64,
) -> Tensor<1> {
    let loss = -log_ratio.clone().exp() * advantage;
    match chosen {
        Some(chosen) => {
            let distance = log_ratio.abs();
            let moved = distance.clone().detach().greater_elem(UNMOVED).float();
            loss + distance * moved * chosen * coefficient
        }
        None => loss,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, tensor, value_and_gradient};
    use super::*;
    use ocelli_core::{Purpose, SeedKey};

    #[test]
    fn covariances_are_products_of_distances_from_the_means() {
        assert_eq!(
            covariances(&[1.0, -1.0, 0.0], &[-1.0, -3.0, -2.0]),
            [1.0, 1.0, 0.0]
        );
        assert!(covariances(&[], &[]).is_empty());
    }

    #[test]
    fn the_largest_are_chosen() {
        let c = [0.1, 3.0, -2.0, 2.0];
        assert_eq!(kl_cov_tokens(&c, 0.5), [false, true, false, true]);
        assert_eq!(kl_cov_tokens(&c, 1e-9), [false, true, false, false]);
    }

    #[test]
    fn clip_cov_keeps_within_its_bounds() {
        let c = [0.5, 1.5, 4.0, 5.0, 6.0, 2.0];
        let clipped = [false, false, false, false, false, true];
        let rule = ClipCov {
            ratio: 1.0,
            ..ClipCov::default()
        };
        let mut rng = SeedKey::new(0, Purpose::Control).rng();
        assert_eq!(
            clip_cov_tokens(&c, &clipped, rule, &mut rng),
            [false, true, true, false, false, false]
        );
        let one = clip_cov_tokens(&c, &clipped, ClipCov::default(), &mut rng);
        assert_eq!(one.iter().filter(|x| **x).count(), 1);
    }

    #[test]
    fn chosen_tokens_pay_for_moving() {
        let (loss, gradient) = value_and_gradient(&[0.5, 0.5, -0.5], |d| {
            kl_cov(d, tensor(&[1.0; 3]), Some(tensor(&[0.0, 1.0, 1.0])), 0.1)
        });
        let (up, down) = (0.5f32.exp(), (-0.5f32).exp());
        assert_near(&loss, &[-up, -up + 0.05, -down + 0.05]);
        assert_near(&gradient, &[-up, -up + 0.1, -down - 0.1]);
    }

    #[test]
    fn tokens_that_have_not_moved_are_not_pushed() {
        let (_, gradient) = value_and_gradient(&[0.0, 2e-6, -5e-5, 2e-4], |d| {
            kl_cov(d, tensor(&[0.0; 4]), Some(tensor(&[1.0; 4])), 0.1)
        });
        assert_near(&gradient, &[0.0, 0.0, 0.0, 0.1]);
    }
}
