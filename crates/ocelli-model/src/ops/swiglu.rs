//! The gate of a SwiGLU feed-forward layer: `y = silu(gate) ∘ up`, `silu(z) = z σ(z)`.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::lanes::{exp, vectorized};
use super::{dim, elements, tensor};

/// Backends that run the fused gate.
#[backend_extension(Flex, Autodiff)]
pub trait SwigluOps: Backend {
    /// See [`swiglu`].
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// `gate [rows, width]`, `up [rows, width]` → `[rows, width]`.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as SwigluOps>::swiglu(
        gate.into_dispatch(),
        up.into_dispatch(),
    ))
}

/// Elements a task handles.
const CHUNK: usize = 1 << 15;

fn forward(gate: &FlexTensor, up: &FlexTensor) -> FlexTensor {
    let shape = [dim(gate, 0), dim(gate, 1)];
    let (gate, up) = (elements(gate), elements(up));
    let mut y = vec![0.0; gate.len()];
    y.par_chunks_mut(CHUNK)
        .zip(gate.par_chunks(CHUNK))
        .zip(up.par_chunks(CHUNK))
        .for_each(|((y, gate), up)| {
            vectorized(
                #[inline(always)]
                || {
                    for ((y, &z), &u) in y.iter_mut().zip(gate).zip(up) {
                        *y = z / (1.0 + exp(-z)) * u;
                    }
                },
            );
        });
    tensor(y, shape)
}

/// `silu'(z) = σ (1 + z (1 − σ))`.
fn backward(gate: &FlexTensor, up: &FlexTensor, dy: &FlexTensor) -> (FlexTensor, FlexTensor) {
    let shape = [dim(gate, 0), dim(gate, 1)];
    let (gate, up, dy) = (elements(gate), elements(up), elements(dy));
    let (mut dgate, mut dup) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
    dgate
        .par_chunks_mut(CHUNK)
        .zip(dup.par_chunks_mut(CHUNK))
        .zip(gate.par_chunks(CHUNK))
        .zip(up.par_chunks(CHUNK))
        .zip(dy.par_chunks(CHUNK))
        .for_each(|((((dgate, dup), gate), up), dy)| {
            vectorized(
                #[inline(always)]
                || {
                    for i in 0..gate.len() {
                        let z = gate[i];
                        let sigma = 1.0 / (1.0 + exp(-z));
                        dup[i] = dy[i] * z * sigma;
                        dgate[i] = dy[i] * up[i] * sigma * (1.0 + z * (1.0 - sigma));
                    }
                },
            );
        });
    (tensor(dgate, shape), tensor(dup, shape))
}

impl SwigluOps for Flex {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        forward(&gate.to_contiguous(), &up.to_contiguous())
    }
}

#[derive(Debug)]
struct SwigluBackward;

impl Backward<Flex, 2> for SwigluBackward {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (dgate, dup) = backward(&ops.state.0, &ops.state.1, &dy);
        let [gate, up] = ops.parents;
        if let Some(node) = gate {
            grads.register::<Flex>(node.id, dgate);
        }
        if let Some(node) = up {
            grads.register::<Flex>(node.id, dup);
        }
    }
}

impl<C: CheckpointStrategy> SwigluOps for Autodiff<Flex, C> {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((gate, gate_node), (up, up_node)) = (gate.into_parts(), up.into_parts());
        let (gate, up) = (gate.to_contiguous(), up.to_contiguous());
        let y = forward(&gate, &up);
        match SwigluBackward
            .prepare::<C>([gate_node, up_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((gate, up), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
