//! `y = x Wᵀ + b` with the weight stored `[out, in]`, as Hugging Face checkpoints do.

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

use super::blas::{MatrixRef, new_product, parallel_if_large, product};
use super::half::{Stored, is_half};
use super::lanes::vectorized;
use super::{SharedPointer, dim, elements, tensor};

/// Backends that run the fused linear layer.
#[backend_extension(Flex, Autodiff)]
pub trait LinearOps: Backend {
    /// `x Wᵀ`.
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// `x Wᵀ + b`.
    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// `x [rows, in]`, `weight [out, in]`, `bias [out]` → `[rows, out]`. The weight may be stored in half precision; it has no
/// gradient then.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        None => <Dispatch as LinearOps>::linear(x, weight),
        Some(bias) => <Dispatch as LinearOps>::linear_bias(x, weight, bias.into_dispatch()),
    })
}

/// Inputs kept for the backward pass.
#[derive(Clone, Debug)]
struct Saved {
    x: FlexTensor,
    weight: FlexTensor,
}

/// Elements of a weight that are widened at once: they stay in a core's cache.
const WIDENED: usize = 1 << 16;

/// Rows of a half-precision weight that are widened at once.
fn rows_at_once(inputs: usize) -> usize {
    (WIDENED / inputs.max(1)).max(1)
}

/// `x Wᵀ + b` with a weight stored in half precision, piece by piece.
fn forward_half(x: &FlexTensor, weight: &FlexTensor, bias: Option<&FlexTensor>) -> FlexTensor {
    let (rows, inputs, outputs) = (dim(x, 0), dim(x, 1), dim(weight, 0));
    let stored = Stored::of(weight);
    let mut y = match bias {
        Some(bias) => elements(bias).repeat(rows),
        None => vec![0.0; rows * outputs],
    };
    let piece = rows_at_once(inputs);
    let (x, out) = (elements(x), SharedPointer(y.as_mut_ptr()));
    (0..outputs.div_ceil(piece)).into_par_iter().for_each_init(
        || vec![0.0; piece * inputs],
        |wide, i| {
            let first = i * piece;
            let count = piece.min(outputs - first);
            let wide = &mut wide[..count * inputs];
            vectorized(
                #[inline(always)]
                || stored.widen(first * inputs, wide),
            );
            // SAFETY: the piece's columns of `y` belong to this task alone; sizes follow from the shapes.
            unsafe {
                product(
                    (rows, count, inputs),
                    out.at(first),
                    outputs,
                    true,
                    1.0,
                    MatrixRef::rows(x, inputs),
                    MatrixRef::rows(wide, inputs).transposed(),
                    Parallelism::None,
                );
            }
        },
    );
    tensor(y, [rows, outputs])
}

/// `dy W` with a weight stored in half precision. Pieces are added up in order, so threads share the rows instead.
fn input_gradient_half(saved: &Saved, dy: &FlexTensor) -> FlexTensor {
    let (rows, inputs, outputs) = (dim(&saved.x, 0), dim(&saved.x, 1), dim(&saved.weight, 0));
    let stored = Stored::of(&saved.weight);
    let piece = rows_at_once(inputs);
    let mut wide = vec![0.0; piece * inputs];
    let mut dx = vec![0.0; rows * inputs];
    let dy = elements(dy);
    for first in (0..outputs).step_by(piece) {
        let count = piece.min(outputs - first);
        let wide = &mut wide[..count * inputs];
        wide.par_chunks_mut(WIDENED / 8)
            .enumerate()
            .for_each(|(i, part)| {
                vectorized(
                    #[inline(always)]
                    || stored.widen(first * inputs + i * (WIDENED / 8), part),
                );
            });
        // SAFETY: sizes follow from the shapes; `dx` is ours.
        unsafe {
            product(
                (rows, inputs, count),
                dx.as_mut_ptr(),
                inputs,
                true,
                1.0,
                MatrixRef::strided(dy[first..].as_ptr(), outputs),
                MatrixRef::rows(wide, inputs),
                parallel_if_large(rows, inputs, count),
            );
        }
    }
    tensor(dx, [rows, inputs])
}

fn forward(x: &FlexTensor, weight: &FlexTensor, bias: Option<&FlexTensor>) -> FlexTensor {
    let (rows, inputs, outputs) = (dim(x, 0), dim(x, 1), dim(weight, 0));
    assert_eq!(inputs, dim(weight, 1), "inputs of a linear layer");
    if is_half(weight) {
        return forward_half(x, weight, bias);
    }
    let sizes = (rows, outputs, inputs);
    let left = MatrixRef::rows(elements(x), inputs);
    let right = MatrixRef::rows(elements(weight), inputs).transposed();
    let y = match bias {
        // SAFETY: sizes follow from the shapes checked above.
        None => unsafe { new_product(sizes, left, right) },
        Some(bias) => {
            let mut y = elements(bias).repeat(rows);
            let parallelism = parallel_if_large(rows, outputs, inputs);
            // SAFETY: sizes follow from the shapes checked above; `y` is ours.
            unsafe {
                product(
                    sizes,
                    y.as_mut_ptr(),
                    outputs,
                    true,
                    1.0,
                    left,
                    right,
                    parallelism,
                );
            }
            y
        }
    };
    tensor(y, [rows, outputs])
}

/// `dx = dy W`.
fn input_gradient(saved: &Saved, dy: &FlexTensor) -> FlexTensor {
    if is_half(&saved.weight) {
        return input_gradient_half(saved, dy);
    }
    let (rows, inputs, outputs) = (dim(&saved.x, 0), dim(&saved.x, 1), dim(&saved.weight, 0));
    // SAFETY: sizes follow from the shapes.
    let dx = unsafe {
        new_product(
            (rows, inputs, outputs),
            MatrixRef::rows(elements(dy), outputs),
            MatrixRef::rows(elements(&saved.weight), inputs),
        )
    };
    tensor(dx, [rows, inputs])
}

/// `dW = dyᵀ x`.
fn weight_gradient(saved: &Saved, dy: &FlexTensor) -> FlexTensor {
    let (rows, inputs, outputs) = (dim(&saved.x, 0), dim(&saved.x, 1), dim(&saved.weight, 0));
    // SAFETY: sizes follow from the shapes.
    let dw = unsafe {
        new_product(
            (outputs, inputs, rows),
            MatrixRef::rows(elements(dy), outputs).transposed(),
            MatrixRef::rows(elements(&saved.x), inputs),
        )
    };
    tensor(dw, [outputs, inputs])
}

/// `db = Σ_rows dy`.
fn bias_gradient(dy: &FlexTensor) -> FlexTensor {
    let outputs = dim(dy, 1);
    let mut db = vec![0.0; outputs];
    super::lanes::vectorized(
        #[inline(always)]
        || {
            for row in elements(dy).chunks_exact(outputs) {
                super::lanes::axpy(1.0, row, &mut db);
            }
        },
    );
    tensor(db, [outputs])
}

impl LinearOps for Flex {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        forward(&x.to_contiguous(), &weight.to_contiguous(), None)
    }

    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        forward(
            &x.to_contiguous(),
            &weight.to_contiguous(),
            Some(&bias.to_contiguous()),
        )
    }
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 2> for LinearBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x, weight] = ops.parents;
        if let Some(node) = x {
            grads.register::<Flex>(node.id, input_gradient(&ops.state, &dy));
        }
        if let Some(node) = weight {
            grads.register::<Flex>(node.id, weight_gradient(&ops.state, &dy));
        }
    }
}

#[derive(Debug)]
struct LinearBiasBackward;

impl Backward<Flex, 3> for LinearBiasBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x, weight, bias] = ops.parents;
        if let Some(node) = x {
            grads.register::<Flex>(node.id, input_gradient(&ops.state, &dy));
        }
        if let Some(node) = weight {
            grads.register::<Flex>(node.id, weight_gradient(&ops.state, &dy));
        }
        if let Some(node) = bias {
            grads.register::<Flex>(node.id, bias_gradient(&dy));
        }
    }
}

impl<C: CheckpointStrategy> LinearOps for Autodiff<Flex, C> {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let y = forward(&x, &weight, None);
        match LinearBackward
            .prepare::<C>([x_node, weight_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(Saved { x, weight }, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node), (bias, bias_node)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let y = forward(&x, &weight, Some(&bias.to_contiguous()));
        match LinearBiasBackward
            .prepare::<C>([x_node, weight_node, bias_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(Saved { x, weight }, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
