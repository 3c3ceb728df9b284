//! Matrix products on strided slices.

use gemm::Parallelism;

/// A read-only matrix in memory: element `(i, j)` is at `pointer + i * row_stride + j * column_stride`.
#[derive(Clone, Copy)]
pub(super) struct MatrixRef {
    pub(super) pointer: *const f32,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl MatrixRef {
    /// A row-major matrix with `columns` elements between the starts of rows.
    pub(super) fn rows(values: &[f32], columns: usize) -> Self {
        Self::strided(values.as_ptr(), columns)
    }

    /// A row-major matrix at `pointer`.
    pub(super) fn strided(pointer: *const f32, row_stride: usize) -> Self {
        Self {
            pointer,
            row_stride,
            column_stride: 1,
        }
    }

    /// The transposed view.
    pub(super) fn transposed(self) -> Self {
        Self {
            pointer: self.pointer,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// From this many multiply-adds on, a product is worth splitting between threads.
const PARALLEL_FROM: usize = 1 << 20;

/// Splits large products over all threads of the pool.
pub(super) fn parallel_if_large(m: usize, n: usize, k: usize) -> Parallelism {
    if m * n * k >= PARALLEL_FROM {
        Parallelism::Rayon(0)
    } else {
        Parallelism::None
    }
}

/// `destination[m, n] = alpha · left[m, k] · right[k, n]`, added to what is there when `accumulate`.
///
/// # Safety
/// All elements addressed by the sizes and strides must be valid; those of `destination` must not be touched by others.
#[expect(clippy::too_many_arguments, reason = "the sizes of a matrix product")]
pub(super) unsafe fn product(
    (m, n, k): (usize, usize, usize),
    destination: *mut f32,
    destination_row_stride: usize,
    accumulate: bool,
    alpha: f32,
    left: MatrixRef,
    right: MatrixRef,
    parallelism: Parallelism,
) {
    if m == 0 || n == 0 {
        return;
    }
    // `gemm` scales the old destination by its `alpha` and the product by its `beta`.
    // SAFETY: passed on to the caller.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            destination,
            1,
            destination_row_stride as isize,
            accumulate,
            left.pointer,
            left.column_stride as isize,
            left.row_stride as isize,
            right.pointer,
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// `left[m, k] · right[k, n]` as a row-major matrix of its own, split over the threads when it is large. The memory is not cleared
/// first: the product writes every element, and clearing costs a pass over it on one thread.
///
/// # Safety
/// All elements addressed by the sizes and strides must be valid.
pub(super) unsafe fn new_product(
    (m, n, k): (usize, usize, usize),
    left: MatrixRef,
    right: MatrixRef,
) -> Vec<f32> {
    if k == 0 {
        return vec![0.0; m * n];
    }
    let mut values = Vec::with_capacity(m * n);
    let parallelism = parallel_if_large(m, n, k);
    // SAFETY: the capacity holds `m` rows of `n`, all of them are written, and the rest is passed on to the caller.
    unsafe {
        product(
            (m, n, k),
            values.as_mut_ptr(),
            n,
            false,
            1.0,
            left,
            right,
            parallelism,
        );
        values.set_len(m * n);
    }
    values
}
