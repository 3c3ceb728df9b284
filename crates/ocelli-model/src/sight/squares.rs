//! Pictures cut into squares, as InternVL and SmolVLM see them.

use crate::config::{ModelConfig, TowerConfig};
use crate::processing_error::ProcessingError;

/// Squares of one size, each a run of patches in reading order that becomes `length` features.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Squares {
    pub(super) patch: usize,
    /// Patches along a side.
    pub(super) side: usize,
    pub(super) length: usize,
    /// Stands for one feature.
    pub(super) token: u32,
}

impl Squares {
    /// Checks that the squares a processor cuts are those the tower was built for.
    pub(super) fn of(
        config: &ModelConfig,
        [width, height]: [usize; 2],
        file: &'static str,
    ) -> Result<Self, ProcessingError> {
        let (image, patch, factor) = match &config.tower {
            Some(TowerConfig::InternVl(v)) => (v.image_side(), v.patch_side(), v.factor),
            Some(TowerConfig::SmolVlm(v)) => (v.image_size, v.patch_size, v.factor),
            _ => unreachable!("only these families cut squares"),
        };
        for side in [width, height] {
            if side != image {
                return Err(ProcessingError::Disagree {
                    file,
                    key: "the side of a tile",
                    value: side,
                    other: format!("vision_config.image_size {image}"),
                });
            }
        }
        let side = image / patch;
        Ok(Self {
            patch,
            side,
            length: (side / factor) * (side / factor),
            token: config.image_token_id.unwrap_or(u32::MAX),
        })
    }

    /// `[squares, 3, height, width]` → `[squares · patches, 3 · patch · patch]`, patches in reading order.
    pub(super) fn patches(&self, planes: &[f32]) -> Vec<f32> {
        let (patch, side) = (self.patch, self.side);
        let width = side * patch;
        let mut rows = Vec::with_capacity(planes.len());
        for square in planes.chunks_exact(3 * width * width) {
            for row in 0..side {
                for column in 0..side {
                    for plane in square.chunks_exact(width * width) {
                        for y in row * patch..(row + 1) * patch {
                            let start = y * width + column * patch;
                            rows.extend_from_slice(&plane[start..start + patch]);
                        }
                    }
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_of_squares_are_read_row_by_row_channel_by_channel() {
        let squares = Squares {
            patch: 2,
            side: 2,
            length: 1,
            token: 0,
        };
        // One square of 4x4 pixels, channels counting up from 0, 100 and 200.
        let planes: Vec<f32> = [0.0, 100.0, 200.0]
            .iter()
            .flat_map(|base| (0..16).map(move |i| base + i as f32))
            .collect();
        let rows = squares.patches(&planes);
        let second = &rows[12..24];
        let wanted = [
            2.0, 3.0, 6.0, 7.0, 102.0, 103.0, 106.0, 107.0, 202.0, 203.0, 206.0, 207.0,
        ];
        assert_eq!(second, wanted);
        assert_eq!(rows.len(), 48);
    }
}
