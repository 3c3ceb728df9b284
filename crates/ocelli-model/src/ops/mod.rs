//! Fused tensor operations with their own backward passes.
//!
//! Each file owns one operation: the arithmetic on plain slices, its registration with burn's `Flex` backend and with
//! autodiff over it, and the function the networks call. burn composes the same formulas from smaller operations, but
//! then memory traffic costs more than arithmetic on a CPU, and attention keeps the whole score matrix.
//!
//! Results do not depend on the number of threads: every parallel task owns its outputs and sums in a fixed order.
#![allow(
    unsafe_code,
    reason = "matrix products take raw pointers; every use states why it is sound"
)]

pub mod adamw;
pub mod attention;
pub mod cache_attention;
pub mod gather;
pub mod layer_norm;
pub mod linear;
pub mod logprob;
pub mod recompute;
pub mod rms_norm;
pub mod rotary;
pub mod swiglu;

mod blas;
mod half;
mod lanes;

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};

/// The elements of a contiguous f32 tensor.
fn elements(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice::<f32>()
        .expect("operations make their inputs contiguous f32 first")
}

/// A contiguous f32 tensor of the given shape.
fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    debug_assert_eq!(values.len(), shape.iter().product::<usize>());
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(Shape::from(shape)),
        DType::F32,
    )
}

/// Length of dimension `index`.
fn dim(tensor: &FlexTensor, index: usize) -> usize {
    tensor.layout().shape()[index]
}

/// A pointer that tasks may share because they write to disjoint places.
#[derive(Clone, Copy)]
struct SharedPointer(*mut f32);

// SAFETY: the pointer is only dereferenced by tasks that own disjoint elements behind it, while the buffer it points into
// is borrowed for the whole parallel section.
unsafe impl Send for SharedPointer {}
// SAFETY: as above.
unsafe impl Sync for SharedPointer {}

impl SharedPointer {
    /// The pointer `offset` elements on.
    fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// The numbers of a tensor, row-major.
///
/// # Panics
/// When they are not f32, which no network here computes in.
pub fn values<const D: usize>(tensor: burn::tensor::Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .try_into_vec()
        .expect("networks compute in f32")
}
