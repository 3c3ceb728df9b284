//! The two passes of resizing, along rows and along columns, in fixed point.
//!
//! Integer sums do not depend on their order, so the compiler is free to use the widest instructions of the machine.

use super::Axis;

/// Runs `body` compiled for the best vector instructions of this machine.
#[inline(always)]
fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    struct Body<F>(F);
    impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Body<F> {
        type Output = R;
        #[inline(always)]
        fn call(self) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Body(body))
}

/// Horizontal pass over all rows of `rgb`, `[rows, old, 3]` to `[rows, new, 3]`.
pub(super) fn resize_rows(rgb: &[u8], old: usize, axis: &Axis) -> Vec<u8> {
    if old == axis.windows.len() {
        return rgb.to_vec();
    }
    // A pixel more than there is, for windows of an odd number of weights.
    let mut pixels = vec![[0i32; 4]; old + 1];
    let mut out = vec![0; rgb.len() / old * axis.windows.len()];
    vectorized(|| {
        let rows = out.chunks_exact_mut(axis.windows.len() * 3);
        for (row, out) in rgb.chunks_exact(old * 3).zip(rows) {
            for (pixel, bytes) in pixels.iter_mut().zip(row.as_chunks::<3>().0) {
                *pixel = [bytes[0].into(), bytes[1].into(), bytes[2].into(), 0];
            }
            for (window, out) in axis.windows.iter().zip(out.as_chunks_mut::<3>().0) {
                let (weights, _) = window.weights.as_chunks::<2>();
                let (pairs, _) = pixels[window.start..].as_chunks::<2>();
                let mut sums = [0i32; 8];
                for (pair, weights) in pairs.iter().zip(weights) {
                    for lane in 0..4 {
                        sums[lane] += pair[0][lane] * weights[0];
                        sums[lane + 4] += pair[1][lane] * weights[1];
                    }
                }
                *out = std::array::from_fn(|c| axis.to_byte(sums[c] + sums[c + 4] + axis.half()));
            }
        }
    });
    out
}

/// Bytes that are summed up at once in the vertical pass.
const BLOCK: usize = 32;

/// Vertical pass, `[old, width, 3]` to `[new, width, 3]`.
pub(super) fn resize_columns(rgb: &[u8], width: usize, axis: &Axis) -> Vec<u8> {
    let stride = width * 3;
    if rgb.len() == stride * axis.windows.len() {
        return rgb.to_vec();
    }
    let mut out = vec![0; stride * axis.windows.len()];
    vectorized(|| {
        for (window, out) in axis.windows.iter().zip(out.chunks_exact_mut(stride)) {
            let rows = &rgb[window.start * stride..];
            let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
            for (block, out) in blocks.iter_mut().enumerate() {
                *out = sum_columns(rows, stride, block * BLOCK, axis, &window.weights);
            }
            let first = stride - rest.len();
            for (column, out) in rest.iter_mut().enumerate() {
                [*out] = sum_columns(rows, stride, first + column, axis, &window.weights);
            }
        }
    });
    out
}

/// `N` bytes from `left` on of the row that `weights` make of the first of `rows`.
#[inline(always)]
fn sum_columns<const N: usize>(
    rows: &[u8],
    stride: usize,
    left: usize,
    axis: &Axis,
    weights: &[i32],
) -> [u8; N] {
    let mut sums = [axis.half(); N];
    // The weight that makes their number even is zero and may have no row.
    for (row, &weight) in rows.chunks_exact(stride).zip(weights) {
        if let Some(bytes) = row[left..].first_chunk::<N>() {
            for (sum, &byte) in sums.iter_mut().zip(bytes) {
                *sum += i32::from(byte) * weight;
            }
        }
    }
    sums.map(|sum| axis.to_byte(sum))
}
