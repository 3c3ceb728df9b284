//! What the towers of Qwen2-VL, Qwen2.5-VL and Qwen3-VL share: the order of patches on a grid, by blocks that are merged
//! to one feature, and rotary positions of rows and columns.

use std::sync::Arc;

use crate::layers::frequencies;
use crate::network::Grid;
use crate::ops::attention::Forest;
use crate::ops::rotary::RotaryTable;

/// Base of the rotary frequencies, fixed in the reference.
const THETA: f64 = 10_000.0;

/// Row and column of every patch in the processor's order: merged blocks row by row, patches row by row inside.
pub(crate) fn places(grids: &[Grid], merge: usize) -> Vec<[usize; 2]> {
    let mut places = Vec::new();
    for &[frames, height, width] in grids {
        for _ in 0..frames {
            for top in (0..height).step_by(merge) {
                for left in (0..width).step_by(merge) {
                    for row in top..top + merge {
                        for column in left..left + merge {
                            places.push([row, column]);
                        }
                    }
                }
            }
        }
    }
    places
}

/// Angles of patches: half of a head's frequencies turn with the row, half with the column.
pub(super) fn rotation(
    places: impl IntoIterator<Item = [usize; 2]>,
    head_dim: usize,
) -> Arc<RotaryTable> {
    let half = head_dim / 2;
    let frequencies = frequencies(THETA, half);
    let mut angles = Vec::new();
    for place in places.into_iter().flatten() {
        angles.extend(frequencies.iter().map(|f| place as f32 * f));
    }
    RotaryTable::from_angles(half, &angles)
}

/// Every frame sees itself alone.
pub(super) fn frames(grids: &[Grid]) -> Arc<Forest> {
    let lengths = grids
        .iter()
        .flat_map(|&[t, h, w]| std::iter::repeat_n(h * w, t));
    Arc::new(Forest::sequences(lengths, false))
}
