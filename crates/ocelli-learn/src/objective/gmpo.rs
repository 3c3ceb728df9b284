//! GMPO (arXiv 2507.20673): the geometric mean of clipped token ratios.

use burn::tensor::Tensor;

use super::clip::ClipBounds;
use super::ratio::{LOG_RATIO_LIMIT, Sequences};

/// `−A exp(mean_t d̂_t)` at each of a sequence's tokens, where `d̂` is the token's log-ratio, clipped to `[−low, high]` on the side
/// that would help: `min(d, d clipped)` for A > 0, `max` otherwise. To be averaged with
/// [`super::LossAggregation::SeqMeanTokenMean`], which gives the mean over sequences.
pub fn gmpo(
    log_ratio: Tensor<1>,
    advantage: Tensor<1>,
    bounds: ClipBounds,
    sequences: &Sequences,
) -> Tensor<1> {
    let log_ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT);
    let positive = advantage.clone().greater_elem(0.0);
    let above = log_ratio.clone().clamp_max(bounds.high);
    let below = log_ratio.clamp_min(-bounds.low);
    let clipped = below.mask_where(positive, above);
    -sequences.spread(sequences.mean(clipped).exp()) * advantage
}

#[cfg(test)]
mod tests {
    use super::super::ratio::{ImportanceSamplingLevel, log_ratio};
    use super::super::testing::{assert_near, tensor, value_and_gradient};
    use super::super::{clipped_surrogate, testing};
    use super::*;

    #[test]
    fn a_worked_pair_of_sequences() {
        // A > 0: log-ratios (1, −1) clipped above at .4: mean −.3. A < 0: (1, −1) clipped below at −.4: mean .3.
        let sequences = Sequences::new(vec![2, 2]);
        let (loss, gradient) = value_and_gradient(&[1.0, -1.0, 1.0, -1.0], |d| {
            let loss = gmpo(
                d,
                tensor(&[2.0, 2.0, -1.0, -1.0]),
                ClipBounds::new(0.4, 0.4),
                &sequences,
            );
            loss * 0.5
        });
        let (low, high) = ((-0.3f32).exp(), 0.3f32.exp());
        assert_near(&loss, &[-low, -low, 0.5 * high, 0.5 * high]);
        assert_near(&gradient, &[0.0, -low, 0.5 * high, 0.0]);
    }

    #[test]
    fn without_a_clip_it_is_the_sequence_ratio() {
        let sequences = Sequences::new(vec![2, 1]);
        let old = tensor(&[-1.0, -2.0, -0.5]);
        let advantage = tensor(&[1.0, 1.0, -1.0]);
        let logprob = [-1.2, -1.5, -0.3];
        let got = value_and_gradient(&logprob, |l| {
            gmpo(
                l - old.clone(),
                advantage.clone(),
                ClipBounds::new(50.0, 50.0),
                &sequences,
            )
        });
        let want = value_and_gradient(&logprob, |l| {
            let d = log_ratio(
                l,
                old.clone(),
                ImportanceSamplingLevel::Sequence,
                &sequences,
            );
            clipped_surrogate(d, advantage.clone(), ClipBounds::new(1.0, 1e6))
        });
        testing::assert_near(&got.0, &want.0);
        testing::assert_near(&got.1, &want.1);
    }
}
