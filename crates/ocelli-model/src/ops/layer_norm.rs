//! Layer normalisation (Ba et al. 2016): `y = (x − mean) / sqrt(var + ε) · g + b`, variance with divisor `width`.

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
pub trait LayerNormOps: Backend {
    /// See [`layer_norm`].
    fn layer_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;
}

/// `x [rows, width]`, `gain [width]`, `bias [width]` → `[rows, width]`.
pub fn layer_norm(x: Tensor<2>, gain: Tensor<1>, bias: Tensor<1>, epsilon: f32) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as LayerNormOps>::layer_norm(
        x.into_dispatch(),
        gain.into_dispatch(),
        bias.into_dispatch(),
        epsilon,
    ))
}

/// Rows a task handles; fixed, so that sums over rows do not depend on the number of threads.
const ROWS: usize = 256;

/// Writes `x − mean` into `centred` and gives `1 / sqrt(var + ε)`.
#[inline(always)]
fn centre(x: &[f32], centred: &mut [f32], epsilon: f32) -> f32 {
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    for (c, &x) in centred.iter_mut().zip(x) {
        *c = x - mean;
    }
    1.0 / (dot(centred, centred) / x.len() as f32 + epsilon).sqrt()
}

fn forward(x: &FlexTensor, gain: &FlexTensor, bias: &FlexTensor, epsilon: f32) -> FlexTensor {
    let (rows, width) = (dim(x, 0), dim(x, 1));
    let (values, gain, bias) = (elements(x), elements(gain), elements(bias));
    let mut y = vec![0.0; rows * width];
    y.par_chunks_mut(ROWS * width)
        .zip(values.par_chunks(ROWS * width))
        .for_each(|(y, x)| {
            vectorized(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        let scale = centre(x, y, epsilon);
                        for ((y, &g), &b) in y.iter_mut().zip(gain).zip(bias) {
                            *y = *y * scale * g + b;
                        }
                    }
                },
            );
        });
    tensor(y, [rows, width])
}

/// With `n = (x − mean)·s`: `dx = s (w − mean(w) − n · mean(n∘w))` for `w = g∘dy`, `dg = Σ_rows n∘dy`, `db = Σ_rows dy`.
fn backward(x: &FlexTensor, gain: &FlexTensor, epsilon: f32, dy: &FlexTensor) -> [FlexTensor; 3] {
    let (rows, width) = (dim(x, 0), dim(x, 1));
    let (values, gain, dy) = (elements(x), elements(gain), elements(dy));
    let mut dx = vec![0.0; rows * width];
    let partial: Vec<[Vec<f32>; 2]> = dx
        .par_chunks_mut(ROWS * width)
        .zip(values.par_chunks(ROWS * width))
        .zip(dy.par_chunks(ROWS * width))
        .map(|((dx, x), dy)| {
            let [mut d_gain, mut d_bias, mut normal, mut weighted] =
                std::array::from_fn(|_| vec![0.0; width]);
            vectorized(
                #[inline(always)]
                || {
                    for ((dx, x), dy) in dx
                        .chunks_exact_mut(width)
                        .zip(x.chunks_exact(width))
                        .zip(dy.chunks_exact(width))
                    {
                        let scale = centre(x, &mut normal, epsilon);
                        for ((((n, w), &g), &dy), dg) in normal
                            .iter_mut()
                            .zip(&mut weighted)
                            .zip(gain)
                            .zip(dy)
                            .zip(&mut d_gain)
                        {
                            *n *= scale;
                            *w = g * dy;
                            *dg += *n * dy;
                        }
                        axpy(1.0, dy, &mut d_bias);
                        let mean = weighted.iter().sum::<f32>() / width as f32;
                        let slope = dot(&normal, &weighted) / width as f32;
                        for ((dx, &n), &w) in dx.iter_mut().zip(&normal).zip(&weighted) {
                            *dx = scale * (w - mean - n * slope);
                        }
                    }
                },
            );
            [d_gain, d_bias]
        })
        .collect();
    let [mut d_gain, mut d_bias] = [vec![0.0; width], vec![0.0; width]];
    for [gain, bias] in &partial {
        axpy(1.0, gain, &mut d_gain);
        axpy(1.0, bias, &mut d_bias);
    }
    [
        tensor(dx, [rows, width]),
        tensor(d_gain, [width]),
        tensor(d_bias, [width]),
    ]
}

impl LayerNormOps for Flex {
    fn layer_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        forward(
            &x.to_contiguous(),
            &gain.to_contiguous(),
            &bias.to_contiguous(),
            epsilon,
        )
    }
}

#[derive(Debug)]
struct LayerNormBackward;

impl Backward<Flex, 3> for LayerNormBackward {
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, gain, epsilon) = ops.state;
        let gradients = backward(&x, &gain, epsilon, &dy);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl<C: CheckpointStrategy> LayerNormOps for Autodiff<Flex, C> {
    fn layer_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (gain, gain_node), (bias, bias_node)) =
            (x.into_parts(), gain.into_parts(), bias.into_parts());
        let (x, gain) = (x.to_contiguous(), gain.to_contiguous());
        let y = forward(&x, &gain, &bias.to_contiguous(), epsilon);
        match LayerNormBackward
            .prepare::<C>([x_node, gain_node, bias_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, gain, epsilon), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
