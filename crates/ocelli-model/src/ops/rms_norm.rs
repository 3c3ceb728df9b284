//! Root-mean-square normalisation: `y = x / sqrt(mean(x²) + ε) · g`.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::lanes::{axpy, dot, vectorized};
use super::{dim, elements, tensor};

/// Backends that run the fused normalisation.
#[backend_extension(Flex, Autodiff)]
pub trait RmsNormOps: Backend {
    /// See [`rms_norm`].
    fn rms_norm(x: FloatTensor<Self>, gain: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self>;
}

/// `x [rows, width]`, `gain [width]` → `[rows, width]`.
pub fn rms_norm(x: Tensor<2>, gain: Tensor<1>, epsilon: f32) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as RmsNormOps>::rms_norm(
        x.into_dispatch(),
        gain.into_dispatch(),
        epsilon,
    ))
}

/// Rows a task handles; fixed, so that sums over rows do not depend on the number of threads.
const ROWS: usize = 256;

fn inverse_rms(row: &[f32], epsilon: f32) -> f32 {
    1.0 / (dot(row, row) / row.len() as f32 + epsilon).sqrt()
}

fn forward(x: &FlexTensor, gain: &FlexTensor, epsilon: f32) -> FlexTensor {
    let (rows, width) = (dim(x, 0), dim(x, 1));
    let (values, gain) = (elements(x), elements(gain));
    let mut y = vec![0.0; rows * width];
    y.par_chunks_mut(ROWS * width)
        .zip(values.par_chunks(ROWS * width))
        .for_each(|(y, x)| {
            vectorized(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        let scale = inverse_rms(x, epsilon);
                        for ((y, &x), &g) in y.iter_mut().zip(x).zip(gain) {
                            *y = x * scale * g;
                        }
                    }
                },
            );
        });
    tensor(y, [rows, width])
}

/// With `n = x·s`, `s = 1/rms`: `dx = s (g∘dy − n · mean(n∘g∘dy))`, `dg = Σ_rows n∘dy`.
fn backward(
    x: &FlexTensor,
    gain: &FlexTensor,
    epsilon: f32,
    dy: &FlexTensor,
) -> (FlexTensor, FlexTensor) {
    let (rows, width) = (dim(x, 0), dim(x, 1));
    let (values, gain, dy) = (elements(x), elements(gain), elements(dy));
    let mut dx = vec![0.0; rows * width];
    let partial: Vec<Vec<f32>> = dx
        .par_chunks_mut(ROWS * width)
        .zip(values.par_chunks(ROWS * width))
        .zip(dy.par_chunks(ROWS * width))
        .map(|((dx, x), dy)| {
            let mut gain_gradient = vec![0.0; width];
            let mut weighted = vec![0.0; width];
            vectorized(
                #[inline(always)]
                || {
                    for ((dx, x), dy) in dx
                        .chunks_exact_mut(width)
                        .zip(x.chunks_exact(width))
                        .zip(dy.chunks_exact(width))
                    {
                        let scale = inverse_rms(x, epsilon);
                        for ((w, &g), &dy) in weighted.iter_mut().zip(gain).zip(dy) {
                            *w = g * dy;
                        }
                        let mean = dot(x, &weighted) * scale * scale / width as f32;
                        for ((dx, &x), &w) in dx.iter_mut().zip(x).zip(&weighted) {
                            *dx = scale * (w - x * mean);
                        }
                        for ((dg, &x), &dy) in gain_gradient.iter_mut().zip(x).zip(dy) {
                            *dg += x * scale * dy;
                        }
                    }
                },
            );
            gain_gradient
        })
        .collect();
    let mut gain_gradient = vec![0.0; width];
    for part in &partial {
        axpy(1.0, part, &mut gain_gradient);
    }
    (tensor(dx, [rows, width]), tensor(gain_gradient, [width]))
}

impl RmsNormOps for Flex {
    fn rms_norm(x: FloatTensor<Self>, gain: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        forward(&x.to_contiguous(), &gain.to_contiguous(), epsilon)
    }
}

#[derive(Debug)]
struct RmsNormBackward;

impl Backward<Flex, 2> for RmsNormBackward {
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, gain, epsilon) = ops.state;
        let (dx, dg) = backward(&x, &gain, epsilon, &dy);
        let [x, gain] = ops.parents;
        if let Some(node) = x {
            grads.register::<Flex>(node.id, dx);
        }
        if let Some(node) = gain {
            grads.register::<Flex>(node.id, dg);
        }
    }
}

impl<C: CheckpointStrategy> RmsNormOps for Autodiff<Flex, C> {
    fn rms_norm(x: FloatTensor<Self>, gain: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let ((x, x_node), (gain, gain_node)) = (x.into_parts(), gain.into_parts());
        let (x, gain) = (x.to_contiguous(), gain.to_contiguous());
        let y = forward(&x, &gain, epsilon);
        match RmsNormBackward
            .prepare::<C>([x_node, gain_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, gain, epsilon), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
