//! The two passes of resizing, along rows and along columns, in fixed point.
//!
//! Integer sums do not depend on their order, so the compiler is free to use the widest instructions of the machine.

use super::Axis;

/// Bytes that are summed up at once.
const BLOCK: usize = 32;

/// Horizontal pass over all rows of `rgb`, `[rows, old, 3]` to `[rows, new, 3]`: rows are turned into columns, a block of
/// them at a time, since columns are what vector instructions sum up best.
pub(super) fn resize_rows(rgb: &[u8], old: usize, axis: &Axis) -> Vec<u8> {
    let new = axis.windows.len();
    if old == new {
        return rgb.to_vec();
    }
    let mut out = vec![0; rgb.len() / old * new];
    let mut turned = vec![[0; BLOCK]; old * 3];
    let mut between = vec![[0; BLOCK]; new * 3];
    let blocks = rgb.chunks(old * 3 * BLOCK);
    for (rows, out) in blocks.zip(out.chunks_mut(new * 3 * BLOCK)) {
        turn(rows, &mut turned);
        pulp::Arch::new().dispatch(Columns {
            rgb: turned.as_flattened(),
            stride: 3 * BLOCK,
            axis,
            out: between.as_flattened_mut(),
        });
        turn_back(&between, out);
    }
    out
}

/// Bytes of a row that are turned at once, so that what is read and written stays near.
const STRETCH: usize = 16;

/// `[rows, length]` to `[length, BLOCK]`, for at most [`BLOCK`] rows; the rest is left as it is.
fn turn(rows: &[u8], turned: &mut [[u8; BLOCK]]) {
    let length = turned.len();
    for (index, turned) in turned.chunks_mut(STRETCH).enumerate() {
        let start = index * STRETCH;
        for (place, row) in rows.chunks_exact(length).enumerate().take(BLOCK) {
            for (&byte, turned) in row[start..].iter().zip(turned.iter_mut()) {
                turned[place] = byte;
            }
        }
    }
}

/// The reverse of [`turn`].
fn turn_back(turned: &[[u8; BLOCK]], rows: &mut [u8]) {
    let length = turned.len();
    for (index, turned) in turned.chunks(STRETCH).enumerate() {
        let start = index * STRETCH;
        for (place, row) in rows.chunks_exact_mut(length).enumerate().take(BLOCK) {
            for (byte, turned) in row[start..].iter_mut().zip(turned) {
                *byte = turned[place];
            }
        }
    }
}

/// Vertical pass, `[old, width, 3]` to `[new, width, 3]`.
pub(super) fn resize_columns(rgb: &[u8], width: usize, axis: &Axis) -> Vec<u8> {
    let stride = width * 3;
    if rgb.len() == stride * axis.windows.len() {
        return rgb.to_vec();
    }
    let mut out = vec![0; stride * axis.windows.len()];
    pulp::Arch::new().dispatch(Columns {
        rgb,
        stride,
        axis,
        out: &mut out,
    });
    out
}

/// The work of a pass, compiled for the best vector instructions of the machine: inlined into a function that has them,
/// which a closure of this length would not be. `[old, stride]` to `[new, stride]`.
struct Columns<'a> {
    rgb: &'a [u8],
    stride: usize,
    axis: &'a Axis,
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self {
            rgb,
            stride,
            axis,
            out,
        } = self;
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
    }
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
    for (row, &weight) in rows.chunks_exact(stride).zip(weights) {
        if let Some(bytes) = row[left..].first_chunk::<N>() {
            for (sum, &byte) in sums.iter_mut().zip(bytes) {
                *sum += i32::from(byte) * weight;
            }
        }
    }
    sums.map(|sum| axis.to_byte(sum))
}
