//! Weights stored in half precision. Networks compute in f32; frozen weights may stay as the checkpoint stores them, at half
//! the memory, and are widened (which is exact) where they are used.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, bf16, f16};

use super::{dim, elements, tensor};

/// The elements of a contiguous tensor, in the type it is stored in.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    F16(&'a [f16]),
}

impl<'a> Stored<'a> {
    pub(super) fn of(tensor: &'a FlexTensor) -> Self {
        const CONTIGUOUS: &str = "operations make their inputs contiguous first";
        match tensor.dtype() {
            DType::BF16 => Self::Bf16(tensor.as_slice().expect(CONTIGUOUS)),
            DType::F16 => Self::F16(tensor.as_slice().expect(CONTIGUOUS)),
            _ => Self::F32(elements(tensor)),
        }
    }

    /// Elements `start..start + out.len()`, widened.
    #[inline(always)]
    pub(super) fn widen(self, start: usize, out: &mut [f32]) {
        let end = start + out.len();
        match self {
            Self::F32(values) => out.copy_from_slice(&values[start..end]),
            Self::Bf16(values) => {
                for (out, value) in out.iter_mut().zip(&values[start..end]) {
                    *out = f32::from_bits(u32::from(value.to_bits()) << 16);
                }
            }
            Self::F16(values) => {
                for (out, value) in out.iter_mut().zip(&values[start..end]) {
                    *out = value.to_f32();
                }
            }
        }
    }
}

/// Whether a tensor is stored in half precision.
pub(super) fn is_half(tensor: &FlexTensor) -> bool {
    matches!(tensor.dtype(), DType::BF16 | DType::F16)
}

/// A contiguous matrix in f32.
pub(super) fn widened(matrix: FlexTensor) -> FlexTensor {
    if !is_half(&matrix) {
        return matrix;
    }
    let shape = [dim(&matrix, 0), dim(&matrix, 1)];
    let mut values = vec![0.0; shape[0] * shape[1]];
    Stored::of(&matrix).widen(0, &mut values);
    tensor(values, shape)
}
