//! What the towers of InternVL and SmolVLM share: square tiles whose patches come in reading order, and the pixel shuffle
//! that joins neighbouring patches to one feature.

use std::sync::Arc;

use burn::tensor::Tensor;

use crate::network::Grid;
use crate::ops::gather::gather_rows;

/// `x [Σ tiles · height · width, features]`, reading order → `[… / factor², factor² · features]`: the rows and columns of each
/// block of `factor × factor` patches side by side.
pub(super) fn pixel_shuffle(x: Tensor<2>, grids: &[Grid], factor: usize) -> Tensor<2> {
    let mut order = Vec::new();
    let mut base = 0;
    for &[tiles, height, width] in grids {
        for _ in 0..tiles {
            for top in (0..height).step_by(factor) {
                for left in (0..width).step_by(factor) {
                    for row in top..top + factor {
                        for column in left..left + factor {
                            order.push((base + row * width + column) as u32);
                        }
                    }
                }
            }
            base += height * width;
        }
    }
    let [rows, width] = x.dims();
    let joined = factor * factor;
    gather_rows(x, Arc::new(order)).reshape([rows / joined, width * joined])
}

/// Patches of every tile.
pub(super) fn tile_lengths(grids: &[Grid]) -> impl Iterator<Item = usize> {
    grids
        .iter()
        .flat_map(|&[tiles, height, width]| std::iter::repeat_n(height * width, tiles))
}
