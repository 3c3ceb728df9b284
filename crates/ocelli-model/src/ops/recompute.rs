//! Gradient checkpointing (Chen et al. 2016): a function of rows whose inner activations are not kept. The forward pass runs it without
//! a graph and keeps its input; the backward pass runs it once more, with a graph of its own that ends there.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Device, Tensor, TensorData};

use super::{dim, elements, tensor, values};

/// What is computed twice.
pub trait Recomputed: Debug + Send + Sync {
    /// `x [rows, width]` → `[rows, width']`, without a graph.
    fn forward(&self, x: Tensor<2>) -> Tensor<2>;

    /// Gradient by `x` of the function at `x`, from the gradient `dy` by its value. Gradients by parameters are the function's own to
    /// keep.
    fn backward(&self, x: Tensor<2>, dy: Tensor<2>) -> Tensor<2>;
}

/// Backends that run functions twice.
#[backend_extension(Flex, Autodiff)]
pub trait RecomputeOps: Backend {
    /// See [`recompute`].
    fn recompute(x: FloatTensor<Self>, function: Arc<dyn Recomputed>) -> FloatTensor<Self>;
}

/// `function(x)`, computed again when its gradient is needed. The function is asked for its gradients even where nothing before it is
/// trained.
pub fn recompute(x: Tensor<2>, function: Arc<dyn Recomputed>) -> Tensor<2> {
    let x = if x.is_tracked() { x } else { x.require_grad() };
    Tensor::from_dispatch(<Dispatch as RecomputeOps>::recompute(
        x.into_dispatch(),
        function,
    ))
}

fn outer(x: &FlexTensor) -> Tensor<2> {
    let data = TensorData::new(elements(x).to_vec(), [dim(x, 0), dim(x, 1)]);
    Tensor::from_data(data, &Device::flex())
}

fn inner(x: Tensor<2>) -> FlexTensor {
    let shape = x.dims();
    tensor(values(x), shape)
}

impl RecomputeOps for Flex {
    fn recompute(x: FloatTensor<Self>, function: Arc<dyn Recomputed>) -> FloatTensor<Self> {
        inner(function.forward(outer(&x.to_contiguous())))
    }
}

#[derive(Debug)]
struct RecomputeBackward;

impl Backward<Flex, 1> for RecomputeBackward {
    type State = (FlexTensor, Arc<dyn Recomputed>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, function) = ops.state;
        let dx = function.backward(outer(&x), outer(&dy));
        let [x] = ops.parents;
        if let Some(node) = x {
            grads.register::<Flex>(node.id, inner(dx));
        }
    }
}

impl<C: CheckpointStrategy> RecomputeOps for Autodiff<Flex, C> {
    fn recompute(x: FloatTensor<Self>, function: Arc<dyn Recomputed>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = x.to_contiguous();
        let y = <Flex as RecomputeOps>::recompute(x.clone(), function.clone());
        match RecomputeBackward
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, function), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
