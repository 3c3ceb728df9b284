//! One AdamW step (Loshchilov and Hutter 2019, algorithm 2) in a single pass over memory.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::lanes::vectorized;

/// Scalars of one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    pub learning_rate: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    pub weight_decay: f32,
    /// Steps taken, this one included; corrects the bias of the moments.
    pub step: u64,
    /// Multiplies the gradient first (global-norm clipping).
    pub gradient_scale: f32,
}

/// Backends that run the fused update.
#[backend_extension(Flex, Autodiff)]
pub trait AdamWOps: Backend {
    /// See [`adamw`].
    fn adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// New parameter, first and second moment, all `[n]`. Works in place when the tensors are not shared.
pub fn adamw(
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    first: Tensor<1>,
    second: Tensor<1>,
    step: AdamWStep,
) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
    let (parameter, first, second) = <Dispatch as AdamWOps>::adamw(
        parameter.into_dispatch(),
        gradient.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        step,
    );
    (
        Tensor::from_dispatch(parameter),
        Tensor::from_dispatch(first),
        Tensor::from_dispatch(second),
    )
}

impl AdamWOps for Flex {
    fn adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        const CHUNK: usize = 1 << 15;
        let gradient = gradient.to_contiguous();
        let (mut parameter, mut first, mut second) = (
            parameter.to_contiguous(),
            first.to_contiguous(),
            second.to_contiguous(),
        );
        let correction1 = 1.0 - f64::from(step.beta1).powf(step.step as f64);
        let correction2 = 1.0 - f64::from(step.beta2).powf(step.step as f64);
        let step_size = (f64::from(step.learning_rate) / correction1) as f32;
        let inverse_root2 = (1.0 / correction2.sqrt()) as f32;
        let decay = 1.0 - step.learning_rate * step.weight_decay;
        parameter
            .storage_mut::<f32>()
            .par_chunks_mut(CHUNK)
            .zip(first.storage_mut::<f32>().par_chunks_mut(CHUNK))
            .zip(second.storage_mut::<f32>().par_chunks_mut(CHUNK))
            .zip(super::elements(&gradient).par_chunks(CHUNK))
            .for_each(|(((p, m), v), g)| {
                vectorized(
                    #[inline(always)]
                    || {
                        for i in 0..p.len() {
                            let g = g[i] * step.gradient_scale;
                            m[i] = step.beta1 * m[i] + (1.0 - step.beta1) * g;
                            v[i] = step.beta2 * v[i] + (1.0 - step.beta2) * g * g;
                            let denominator = v[i].sqrt() * inverse_root2 + step.epsilon;
                            p[i] = p[i] * decay - step_size * m[i] / denominator;
                        }
                    },
                );
            });
        (parameter, first, second)
    }
}

impl<C: CheckpointStrategy> AdamWOps for Autodiff<Flex, C> {
    fn adamw(
        _parameter: FloatTensor<Self>,
        _gradient: FloatTensor<Self>,
        _first: FloatTensor<Self>,
        _second: FloatTensor<Self>,
        _step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("the optimizer updates tensors without autodiff")
    }
}
