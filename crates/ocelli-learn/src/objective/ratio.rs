//! The probability ratio between the policy and the one that sampled, for a token or for a whole sequence.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Log-ratios beyond this are cut, as in verl and EasyR1: `e^20` is 5·10⁸. TRL does not cut them, and its gradient is lost (not a
/// number) from a log-ratio of 88 on.
pub const LOG_RATIO_LIMIT: f32 = 20.0;

/// What a ratio is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportanceSamplingLevel {
    /// Each token has its own (PPO, GRPO).
    #[default]
    Token,
    /// The geometric mean over the sequence's tokens (GSPO; Zheng et al. 2025, arXiv 2507.18071, equation 7).
    Sequence,
    /// The same value as `sequence`, but the gradient of each token weighs only itself, so that tokens may have advantages of their
    /// own (GSPO-token, equation 14).
    SequenceToken,
    /// The product over the sequence's tokens (RLOO as in TRL).
    SequenceProduct,
}

/// Where each sequence's tokens lie in a packed run: one after another, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    lengths: Vec<usize>,
}

impl Sequences {
    /// Sequences of so many tokens each.
    pub fn new(lengths: Vec<usize>) -> Self {
        Self { lengths }
    }

    /// Tokens of each.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    fn of_tokens(&self, like: &Tensor<1>) -> Tensor<1, Int> {
        let ids: Vec<i32> = self
            .lengths
            .iter()
            .enumerate()
            .flat_map(|(i, length)| std::iter::repeat_n(i as i32, *length))
            .collect();
        let count = ids.len();
        Tensor::from_data(TensorData::new(ids, [count]), &like.device())
    }

    /// Sums over each sequence: `[tokens]` → `[sequences]`.
    pub fn sum(&self, tokens: Tensor<1>) -> Tensor<1> {
        let ids = self.of_tokens(&tokens);
        let zeros = Tensor::zeros([self.lengths.len()], &tokens.device());
        zeros.select_assign(0, ids, tokens, IndexingUpdateOp::Add)
    }

    /// Means over each sequence: `[tokens]` → `[sequences]`; 0 for an empty one.
    pub fn mean(&self, tokens: Tensor<1>) -> Tensor<1> {
        let shares: Vec<f32> = self
            .lengths
            .iter()
            .map(|l| 1.0 / (*l).max(1) as f32)
            .collect();
        let count = shares.len();
        let shares = Tensor::from_data(TensorData::new(shares, [count]), &tokens.device());
        self.sum(tokens) * shares
    }

    /// Each sequence's value at all its tokens: `[sequences]` → `[tokens]`.
    pub fn spread(&self, sequences: Tensor<1>) -> Tensor<1> {
        let ids = self.of_tokens(&sequences);
        sequences.select(0, ids)
    }
}

/// `log r` at every token, cut at ±20.
pub fn log_ratio(
    logprob: Tensor<1>,
    old_logprob: Tensor<1>,
    level: ImportanceSamplingLevel,
    sequences: &Sequences,
) -> Tensor<1> {
    let difference = logprob.clone() - old_logprob;
    let log_ratio = match level {
        ImportanceSamplingLevel::Token => difference,
        ImportanceSamplingLevel::Sequence => sequences.spread(sequences.mean(difference)),
        ImportanceSamplingLevel::SequenceToken => {
            let value = sequences.spread(sequences.mean(difference)).detach();
            // A zero whose gradient is that of the token's own log-probability.
            value + logprob.clone() - logprob.detach()
        }
        ImportanceSamplingLevel::SequenceProduct => sequences.spread(sequences.sum(difference)),
    };
    log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, tensor, value_and_gradient, values};
    use super::*;

    #[test]
    fn sequences_add_up_by_themselves() {
        let sequences = Sequences::new(vec![2, 0, 3]);
        let tokens = tensor(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(values(sequences.sum(tokens.clone())), [3.0, 0.0, 12.0]);
        assert_near(&values(sequences.mean(tokens)), &[1.5, 0.0, 4.0]);
        let spread = sequences.spread(tensor(&[7.0, 8.0, 9.0]));
        assert_eq!(values(spread), [7.0, 7.0, 9.0, 9.0, 9.0]);
    }

    #[test]
    fn levels_differ_in_value_and_gradient() {
        let sequences = Sequences::new(vec![2, 1]);
        let at = |level| {
            value_and_gradient(&[-1.0, -2.0, -3.0], |logprob| {
                let ratio = log_ratio(logprob, tensor(&[-1.5, -1.9, -3.2]), level, &sequences);
                ratio * tensor(&[1.0, 10.0, 100.0])
            })
        };
        let (value, gradient) = at(ImportanceSamplingLevel::Token);
        assert_near(&value, &[0.5, -1.0, 20.0]);
        assert_near(&gradient, &[1.0, 10.0, 100.0]);
        let (value, gradient) = at(ImportanceSamplingLevel::Sequence);
        assert_near(&value, &[0.2, 2.0, 20.0]);
        assert_near(&gradient, &[5.5, 5.5, 100.0]);
        let (value, gradient) = at(ImportanceSamplingLevel::SequenceToken);
        assert_near(&value, &[0.2, 2.0, 20.0]);
        assert_near(&gradient, &[1.0, 10.0, 100.0]);
        let (value, gradient) = at(ImportanceSamplingLevel::SequenceProduct);
        assert_near(&value, &[0.4, 4.0, 20.0]);
        assert_near(&gradient, &[11.0, 11.0, 100.0]);
    }

    #[test]
    fn sequences_of_one_token_have_one_level() {
        let sequences = Sequences::new(vec![1; 3]);
        let at = |level| {
            let old = tensor(&[-0.5, -2.0, -0.1]);
            value_and_gradient(&[-0.3, -2.2, -0.4], |logprob| {
                log_ratio(logprob, old.clone(), level, &sequences).exp()
            })
        };
        let token = at(ImportanceSamplingLevel::Token);
        for level in [
            ImportanceSamplingLevel::Sequence,
            ImportanceSamplingLevel::SequenceToken,
            ImportanceSamplingLevel::SequenceProduct,
        ] {
            let (value, gradient) = at(level);
            assert_near(&value, &token.0);
            assert_near(&gradient, &token.1);
        }
    }
}
