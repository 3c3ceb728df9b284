//! Log-probability of chosen tokens and entropy of their distributions, straight from hidden states:
//! `z = h Wᵀ / T`, `log p = z_target − log Σ exp z`, `H = −Σ p log p`.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use gemm::Parallelism;
use rayon::prelude::*;

use super::blas::{MatrixRef, parallel_if_large, product};
use super::half::widened;
use super::lanes::{softmax_entropy, vectorized};
use super::{dim, elements, tensor};

/// Which tokens were chosen, from which distribution.
#[derive(Clone, Debug)]
pub struct Choice {
    /// One token a row.
    pub targets: Vec<u32>,
    /// Divides the logits.
    pub temperature: f32,
    /// Tokens that cannot be sampled: left out of the distribution.
    pub banned: Vec<u32>,
}

/// Backends that run the fused output layer.
#[backend_extension(Flex, Autodiff)]
pub trait LogprobOps: Backend {
    /// See [`choice_logprob`].
    fn choice_logprob(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        choice: Arc<Choice>,
    ) -> FloatTensor<Self>;
}

/// `hidden [rows, width]`, `weight [vocabulary, width]` → `[rows, 3]`: log-probability of the row's target, entropy in
/// nats, and 1 where the target is the most likely token. The first two carry gradients.
pub fn choice_logprob(hidden: Tensor<2>, weight: Tensor<2>, choice: &Arc<Choice>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as LogprobOps>::choice_logprob(
        hidden.into_dispatch(),
        weight.into_dispatch(),
        choice.clone(),
    ))
}

/// Rows whose logits are in memory at once.
const ROWS: usize = 128;

/// Logit of tokens that cannot be sampled; finite, so that it times a weight of zero is zero.
const BANNED: f32 = -1e9;

/// What is known of a row once its distribution is computed.
struct Row {
    /// `log p` of the target.
    logprob: f32,
    /// In nats.
    entropy: f32,
    /// Whether no token is more likely than the target.
    is_peak: bool,
}

/// Columns of the result.
const COLUMNS: usize = 3;

/// Softmax weights of the `hidden` rows into `probabilities`; `each` gets a row's index, summary and weights.
fn distribution(
    hidden: &[f32],
    weight: &[f32],
    width: usize,
    choice: &Choice,
    targets: &[u32],
    probabilities: &mut [f32],
    mut each: impl FnMut(usize, Row, &mut [f32]),
) {
    let (rows, vocabulary) = (targets.len(), weight.len() / width);
    // SAFETY: `hidden` is `[rows, width]`, `weight` `[vocabulary, width]`, `probabilities` `[rows, vocabulary]`.
    unsafe {
        product(
            (rows, vocabulary, width),
            probabilities.as_mut_ptr(),
            vocabulary,
            false,
            1.0 / choice.temperature,
            MatrixRef::rows(hidden, width),
            MatrixRef::rows(weight, width).transposed(),
            Parallelism::None,
        );
    }
    for (i, (row, &target)) in probabilities
        .chunks_exact_mut(vocabulary)
        .zip(targets)
        .enumerate()
    {
        for &token in &choice.banned {
            row[token as usize] = BANNED;
        }
        let target_logit = row[target as usize];
        let (peak, log_total, entropy) = vectorized(
            #[inline(always)]
            || softmax_entropy(row),
        );
        let summary = Row {
            logprob: target_logit - log_total,
            entropy,
            is_peak: target_logit >= peak,
        };
        each(i, summary, row);
    }
}

fn forward(hidden: &FlexTensor, weight: &FlexTensor, choice: &Choice) -> FlexTensor {
    let (rows, width, vocabulary) = (dim(hidden, 0), dim(hidden, 1), dim(weight, 0));
    assert_eq!(rows, choice.targets.len(), "one target a row");
    let (hidden, weight) = (elements(hidden), elements(weight));
    let mut out = vec![0.0; rows * COLUMNS];
    out.par_chunks_mut(ROWS * COLUMNS)
        .zip(hidden.par_chunks(ROWS * width))
        .zip(choice.targets.par_chunks(ROWS))
        .for_each_init(
            || vec![0.0; ROWS * vocabulary],
            |scratch, ((out, hidden), targets)| {
                let scratch = &mut scratch[..targets.len() * vocabulary];
                distribution(
                    hidden,
                    weight,
                    width,
                    choice,
                    targets,
                    scratch,
                    |i, row, _| {
                        out[COLUMNS * i] = row.logprob;
                        out[COLUMNS * i + 1] = row.entropy;
                        out[COLUMNS * i + 2] = f32::from(row.is_peak);
                    },
                );
            },
        );
    tensor(out, [rows, COLUMNS])
}

/// `dz = dℓ (1[target] − p) − dH · p (log p + H)`, then `dh = dz W / T`, `dW = dzᵀ h / T`. The logits are computed again.
fn backward(
    hidden: &FlexTensor,
    weight: &FlexTensor,
    choice: &Choice,
    gradient: &FlexTensor,
) -> [FlexTensor; 2] {
    let (rows, width, vocabulary) = (dim(hidden, 0), dim(hidden, 1), dim(weight, 0));
    let (hidden, weight, gradient) = (elements(hidden), elements(weight), elements(gradient));
    let inverse = 1.0 / choice.temperature;
    let mut d_hidden = vec![0.0; rows * width];
    let mut d_weight = vec![0.0; vocabulary * width];
    // Larger pieces than the forward pass: the product for the weight runs over their rows.
    let piece = ROWS * 16;
    let mut d_logits = vec![0.0; piece.min(rows) * vocabulary];
    for start in (0..rows).step_by(piece) {
        let end = (start + piece).min(rows);
        let d_logits = &mut d_logits[..(end - start) * vocabulary];
        let hidden = &hidden[start * width..end * width];
        d_logits
            .par_chunks_mut(ROWS * vocabulary)
            .zip(hidden.par_chunks(ROWS * width))
            .zip(choice.targets[start..end].par_chunks(ROWS))
            .zip(gradient[start * COLUMNS..end * COLUMNS].par_chunks(ROWS * COLUMNS))
            .zip(d_hidden[start * width..end * width].par_chunks_mut(ROWS * width))
            .for_each(|((((d_logits, hidden), targets), gradient), d_hidden)| {
                distribution(
                    hidden,
                    weight,
                    width,
                    choice,
                    targets,
                    d_logits,
                    |i, summary, row| {
                        let (d_logprob, d_entropy) =
                            (gradient[COLUMNS * i], gradient[COLUMNS * i + 1]);
                        if d_entropy == 0.0 {
                            row.iter_mut().for_each(|p| *p *= -d_logprob);
                        } else {
                            for p in row.iter_mut().filter(|p| **p > 0.0) {
                                *p = -*p * (d_logprob + d_entropy * (p.ln() + summary.entropy));
                            }
                        }
                        row[targets[i] as usize] += d_logprob;
                    },
                );
                // SAFETY: sizes follow from the pieces; `d_hidden` is this task's own.
                unsafe {
                    product(
                        (targets.len(), width, vocabulary),
                        d_hidden.as_mut_ptr(),
                        width,
                        false,
                        inverse,
                        MatrixRef::rows(d_logits, vocabulary),
                        MatrixRef::rows(weight, width),
                        Parallelism::None,
                    );
                }
            });
        // SAFETY: `d_logits` is `[rows of the piece, vocabulary]`; `d_weight` is ours.
        unsafe {
            product(
                (vocabulary, width, end - start),
                d_weight.as_mut_ptr(),
                width,
                start > 0,
                inverse,
                MatrixRef::rows(d_logits, vocabulary).transposed(),
                MatrixRef::rows(hidden, width),
                parallel_if_large(vocabulary, width, end - start),
            );
        }
    }
    [
        tensor(d_hidden, [rows, width]),
        tensor(d_weight, [vocabulary, width]),
    ]
}

impl LogprobOps for Flex {
    fn choice_logprob(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        choice: Arc<Choice>,
    ) -> FloatTensor<Self> {
        forward(
            &hidden.to_contiguous(),
            &widened(weight.to_contiguous()),
            &choice,
        )
    }
}

#[derive(Debug)]
struct LogprobBackward;

impl Backward<Flex, 2> for LogprobBackward {
    type State = (FlexTensor, FlexTensor, Arc<Choice>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (hidden, weight, choice) = ops.state;
        let gradients = backward(&hidden, &weight, &choice, &gradient);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl<C: CheckpointStrategy> LogprobOps for Autodiff<Flex, C> {
    fn choice_logprob(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        choice: Arc<Choice>,
    ) -> FloatTensor<Self> {
        let ((hidden, hidden_node), (weight, weight_node)) =
            (hidden.into_parts(), weight.into_parts());
        let (hidden, weight) = (hidden.to_contiguous(), widened(weight.to_contiguous()));
        let y = forward(&hidden, &weight, &choice);
        match LogprobBackward
            .prepare::<C>([hidden_node, weight_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((hidden, weight, choice), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
