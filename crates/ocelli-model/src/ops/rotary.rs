//! Rotary position embedding in the half-split layout of Llama and Qwen: `y = x ∘ cos + rotate_half(x) ∘ sin`.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::lanes::vectorized;
use super::{dim, elements, tensor};

/// Angles of every row: `cos` and `sin` are `[rows, head_dim / 2]`, row-major.
#[derive(Debug)]
pub struct RotaryTable {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RotaryTable {
    /// The table of `angles`, `[rows, half]` in radians.
    pub fn from_angles(half: usize, angles: &[f32]) -> Arc<Self> {
        assert_eq!(angles.len() % half, 0, "rotary angles come in whole rows");
        Arc::new(Self {
            half,
            cos: angles.iter().map(|a| a.cos()).collect(),
            sin: angles.iter().map(|a| a.sin()).collect(),
        })
    }
}

/// Backends that run the fused rotation.
#[backend_extension(Flex, Autodiff)]
pub trait RotaryOps: Backend {
    /// See [`rotary`].
    fn rotary(x: FloatTensor<Self>, table: Arc<RotaryTable>) -> FloatTensor<Self>;
}

/// Rotates every head of `x [rows, heads · head_dim]` by its row's angles.
pub fn rotary(x: Tensor<2>, table: &Arc<RotaryTable>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as RotaryOps>::rotary(
        x.into_dispatch(),
        table.clone(),
    ))
}

/// Rotates by the angle (`direction` 1) or back (−1). Rotations are orthogonal, so rotating back is the gradient.
fn rotate(x: &FlexTensor, table: &RotaryTable, direction: f32) -> FlexTensor {
    const ROWS: usize = 128;
    let (rows, width, half) = (dim(x, 0), dim(x, 1), table.half);
    assert_eq!(table.cos.len(), rows * half, "one row of angles a row");
    assert_eq!(width % (2 * half), 0, "rows hold whole heads");
    let mut y = vec![0.0; rows * width];
    y.par_chunks_mut(ROWS * width)
        .zip(elements(x).par_chunks(ROWS * width))
        .zip(table.cos.par_chunks(ROWS * half))
        .zip(table.sin.par_chunks(ROWS * half))
        .for_each(|(((y, x), cos), sin)| {
            vectorized(
                #[inline(always)]
                || {
                    for (row, (y, x)) in y
                        .chunks_exact_mut(width)
                        .zip(x.chunks_exact(width))
                        .enumerate()
                    {
                        let cos = &cos[row * half..][..half];
                        let sin = &sin[row * half..][..half];
                        for (y, x) in y.chunks_exact_mut(2 * half).zip(x.chunks_exact(2 * half)) {
                            let (y1, y2) = y.split_at_mut(half);
                            let (x1, x2) = x.split_at(half);
                            for i in 0..half {
                                let s = direction * sin[i];
                                y1[i] = x1[i] * cos[i] - x2[i] * s;
                                y2[i] = x2[i] * cos[i] + x1[i] * s;
                            }
                        }
                    }
                },
            );
        });
    tensor(y, [rows, width])
}

impl RotaryOps for Flex {
    fn rotary(x: FloatTensor<Self>, table: Arc<RotaryTable>) -> FloatTensor<Self> {
        rotate(&x.to_contiguous(), &table, 1.0)
    }
}

#[derive(Debug)]
struct RotaryBackward;

impl Backward<Flex, 1> for RotaryBackward {
    type State = Arc<RotaryTable>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x] = ops.parents;
        if let Some(node) = x {
            grads.register::<Flex>(node.id, rotate(&dy, &ops.state, -1.0));
        }
    }
}

impl<C: CheckpointStrategy> RotaryOps for Autodiff<Flex, C> {
    fn rotary(x: FloatTensor<Self>, table: Arc<RotaryTable>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let y = rotate(&x.to_contiguous(), &table, 1.0);
        match RotaryBackward
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(table, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
