//! How token losses become one number.

use serde::{Deserialize, Serialize};

/// What a batch's token losses are divided by; verl's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossAggregation {
    /// Mean over sequences of the mean over each sequence's tokens (Shao et al. 2024).
    SeqMeanTokenMean,
    /// Sum over tokens divided by all trained tokens of the batch (DAPO; Yu et al. 2025, arXiv 2503.14476).
    TokenMean,
    /// Mean over sequences of the sum over each sequence's tokens (LUSPO).
    SeqMeanTokenSum,
    /// Sum over tokens divided by sequences × `max_completion_length` (Dr. GRPO; Liu et al. 2025, arXiv 2503.20783). verl does not divide
    /// by the number of sequences.
    SeqMeanTokenSumNorm,
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
/// use ocelli_learn::objective::{token_weight, BatchSize, LossAggregation};
/// let batch = BatchSize { sequences: 2, tokens: 8, max_completion_length: 10 };
/// assert_eq!(token_weight(LossAggregation::SeqMeanTokenMean, 2, batch), 0.25);
/// assert_eq!(token_weight(LossAggregation::TokenMean, 2, batch), 0.125);
/// assert_eq!(token_weight(LossAggregation::SeqMeanTokenSum, 2, batch), 0.5);
/// assert_eq!(token_weight(LossAggregation::SeqMeanTokenSumNorm, 2, batch), 0.05);
/// ```
pub fn token_weight(aggregation: LossAggregation, length: usize, batch: BatchSize) -> f64 {
    let divisor = match aggregation {
        LossAggregation::SeqMeanTokenMean => batch.sequences * length,
        LossAggregation::TokenMean => batch.tokens,
        LossAggregation::SeqMeanTokenSum => batch.sequences,
        LossAggregation::SeqMeanTokenSumNorm => batch.sequences * batch.max_completion_length,
    };
    1.0 / divisor.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_of_one_length_make_all_means_one() {
        let batch = BatchSize {
            sequences: 3,
            tokens: 12,
            max_completion_length: 4,
        };
        let mean = token_weight(LossAggregation::TokenMean, 4, batch);
        assert_eq!(
            token_weight(LossAggregation::SeqMeanTokenMean, 4, batch),
            mean
        );
        assert_eq!(
            token_weight(LossAggregation::SeqMeanTokenSumNorm, 4, batch),
            mean
        );
        assert_eq!(
            token_weight(LossAggregation::SeqMeanTokenSum, 4, batch),
            4.0 * mean
        );
    }
}
