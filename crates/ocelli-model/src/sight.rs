//! How the pictures of each family become patches and tokens: the one place where rollout, training and checks ask.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ocelli_core::Picture;

use crate::config::{Family, ModelConfig, TowerConfig};
use crate::expander::{expand_image_tokens, rope_index};
use crate::image_processor::splits::{SplitConfig, split_text};
use crate::image_processor::tiles::{TileConfig, tile_text};
use crate::image_processor::{ImagePatches, ImageProcessorConfig, PictureGrid};
use crate::placeholder::replace_placeholders;
use crate::processing_error::ProcessingError;
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// Resizes a picture to a width and height.
pub type Resize = fn(&Picture, usize, usize) -> Picture;

/// The kernels that processors resize with.
#[derive(Clone, Copy, Debug)]
pub struct Resizers {
    pub bicubic: Resize,
    pub lanczos: Resize,
}

/// Squares of one size, each a run of patches in reading order that becomes `length` features.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Squares {
    patch: usize,
    /// Patches along a side.
    side: usize,
    length: usize,
    /// Stands for one feature.
    token: u32,
}

/// What a family does with pictures.
#[derive(Clone, Debug)]
pub(crate) enum Sight {
    /// It reads text alone.
    None,
    Qwen {
        images: ImageProcessorConfig,
        special: SpecialTokens,
    },
    Tiles {
        images: TileConfig,
        squares: Squares,
    },
    Splits {
        images: SplitConfig,
        squares: Squares,
    },
}

/// Files that settings of image processors are read from, in this order.
const SETTINGS: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

impl Sight {
    pub(crate) fn from_files(
        files: &BTreeMap<String, Vec<u8>>,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Self, ProcessingError> {
        let settings = || {
            let found = SETTINGS
                .iter()
                .find_map(|name| Some((name, files.get(*name)?)));
            found.ok_or(ProcessingError::Missing {
                wanted: "preprocessor_config.json",
            })
        };
        match config.family {
            Family::Text | Family::Qwen2Audio => Ok(Self::None),
            Family::Qwen2Vl | Family::Qwen2_5Vl | Family::Qwen3Vl => {
                let read = |name: &str| Ok(files.get(name).map(|b| Cow::from(b.as_slice())));
                Ok(Self::Qwen {
                    images: ImageProcessorConfig::from_files(read)?,
                    special: tokenizer.special_tokens()?,
                })
            }
            Family::InternVl => {
                let (file, bytes) = settings()?;
                let images = TileConfig::from_json(bytes, file)?;
                let squares = Squares::of(config, images.tile, file)?;
                Ok(Self::Tiles { images, squares })
            }
            Family::SmolVlm => {
                let (file, bytes) = settings()?;
                let images = SplitConfig::from_json(bytes, file)?;
                let squares = Squares::of(config, [images.square; 2], file)?;
                Ok(Self::Splits { images, squares })
            }
        }
    }

    /// Patches of a picture.
    pub(crate) fn image(
        &self,
        picture: &Picture,
        resizers: &Resizers,
    ) -> Result<ImagePatches, ProcessingError> {
        let grid = self.grid(picture.width(), picture.height())?;
        let (squares, planes) = match self {
            Self::None => return Err(ProcessingError::NoSight),
            Self::Qwen { images, .. } => return images.process(picture, resizers.bicubic),
            Self::Tiles { images, squares } => {
                (squares, images.process(picture, resizers.bicubic)?.pixels)
            }
            Self::Splits { images, squares } => {
                (squares, images.process(picture, resizers.lanczos)?.pixels)
            }
        };
        Ok(ImagePatches {
            grid_thw: grid.thw,
            split: grid.split,
            pixels: squares.patches(&planes),
        })
    }

    /// How a picture of this size in pixels is cut, without its pixels.
    pub(crate) fn grid(&self, width: usize, height: usize) -> Result<PictureGrid, ProcessingError> {
        let (squares, count, split) = match self {
            Self::None => return Err(ProcessingError::NoSight),
            Self::Qwen { images, .. } => {
                return Ok(PictureGrid {
                    thw: images.grid(width, height)?,
                    split: [0, 0],
                });
            }
            Self::Tiles { images, squares } => {
                let [columns, rows] = images.grid(width, height);
                (squares, images.count(width, height), [rows, columns])
            }
            Self::Splits { images, squares } => (
                squares,
                images.count(width, height),
                images.grid(width, height),
            ),
        };
        Ok(PictureGrid {
            thw: [count, squares.side, squares.side],
            split,
        })
    }

    /// Width and height in pixels of what the network sees of a picture.
    pub(crate) fn seen(&self, grid: PictureGrid) -> [usize; 2] {
        match self {
            Self::None => [0, 0],
            Self::Qwen { images, .. } => {
                let [_, rows, columns] = grid.thw;
                [columns * images.patch_size, rows * images.patch_size]
            }
            Self::Tiles { squares, .. } | Self::Splits { squares, .. } => {
                let [rows, columns] = grid.split.map(|n| n.max(1));
                let side = squares.side * squares.patch;
                [columns * side, rows * side]
            }
        }
    }

    /// The picture that the numbers show: bytes as they were before normalisation. Tiles lie where they were cut, the whole picture
    /// below them. `None` for a model that sees none.
    pub(crate) fn picture(&self, patches: &ImagePatches) -> Option<Picture> {
        let (levels, patch, planes) = match self {
            Self::None => return None,
            Self::Qwen { images, .. } => {
                (images.levels, images.patch_size, images.temporal_patch_size)
            }
            Self::Tiles { images, squares } => (images.levels, squares.patch, 1),
            Self::Splits { images, squares } => (images.levels, squares.patch, 1),
        };
        let [count, height, width] = patches.grid_thw;
        let [rows, columns] = match patches.split {
            [0, 0] => [1, 1],
            split => split,
        };
        let tiles = rows * columns;
        let canvas_rows = if count > tiles { rows + 1 } else { rows };
        let mut canvas = Canvas::new(columns * width * patch, canvas_rows * height * patch);
        let table = levels.table();
        let places: Vec<[usize; 2]> = match self {
            Self::Qwen { images, .. } => {
                crate::families::qwen_places(&[[1, height, width]], images.merge_size)
            }
            _ => (0..height)
                .flat_map(|row| (0..width).map(move |column| [row, column]))
                .collect(),
        };
        let size = 3 * planes * patch * patch;
        for tile in 0..count {
            let (tile_row, tile_column) = (tile / columns, tile % columns);
            let rows = patches.pixels[tile * places.len() * size..].chunks_exact(size);
            for (&[row, column], numbers) in places.iter().zip(rows) {
                let top = (tile_row * height + row) * patch;
                let left = (tile_column * width + column) * patch;
                canvas.draw(numbers, planes, patch, [left, top], &table);
            }
        }
        Some(canvas.picture())
    }

    /// The tokens of a rendered prompt, each picture's placeholder replaced by what stands for it. `row` names the task.
    pub(crate) fn tokens(
        &self,
        row: &str,
        text: &str,
        grids: &[PictureGrid],
        tokenizer: &Tokenizer,
    ) -> Result<Vec<u32>, ProcessingError> {
        let replaced = match self {
            Self::None if grids.is_empty() => Cow::from(text),
            Self::None => return Err(ProcessingError::NoSight),
            Self::Qwen { images, special } => {
                let ids = tokenizer.encode(text)?;
                let grids: Vec<_> = grids.iter().map(|grid| grid.thw).collect();
                return expand_image_tokens(
                    row,
                    &ids,
                    &grids,
                    special.image_pad,
                    images.merge_size,
                );
            }
            Self::Tiles { squares, .. } => {
                let texts = grids
                    .iter()
                    .map(|grid| tile_text(grid.thw[0], squares.length));
                replace_placeholders(row, text, "<IMG_CONTEXT>", &texts.collect::<Vec<_>>())?.into()
            }
            Self::Splits { squares, .. } => {
                let texts = grids
                    .iter()
                    .map(|grid| split_text(grid.split, squares.length));
                replace_placeholders(row, text, "<image>", &texts.collect::<Vec<_>>())?.into()
            }
        };
        tokenizer.encode(&replaced)
    }

    /// Time, height and width of every token, and what to add to the index of a later one; see [`rope_index`]. Families with
    /// one position a token have it three times.
    ///
    /// # Errors
    /// When pictures and the tokens that stand for them don't match.
    pub(crate) fn positions(
        &self,
        ids: &[u32],
        grids: &[PictureGrid],
    ) -> Result<(Vec<[i32; 3]>, i32), ProcessingError> {
        match self {
            Self::Qwen { images, special } => {
                let grids: Vec<_> = grids.iter().map(|grid| grid.thw).collect();
                rope_index(ids, &grids, special, images.merge_size)
            }
            Self::None => Ok((plain_positions(ids.len()), 0)),
            Self::Tiles { squares, .. } | Self::Splits { squares, .. } => {
                let found = ids.iter().filter(|id| **id == squares.token).count();
                let wanted = grids
                    .iter()
                    .map(|g| g.thw[0] * squares.length)
                    .sum::<usize>();
                if found != wanted {
                    return Err(ProcessingError::FeatureCount { found, wanted });
                }
                Ok((plain_positions(ids.len()), 0))
            }
        }
    }
}

/// A picture in the making.
struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            rgb: vec![0; width * height * 3],
        }
    }

    /// Draws a patch of `[3, planes, patch, patch]` numbers, of each of which `table` says what byte it was.
    fn draw(
        &mut self,
        numbers: &[f32],
        planes: usize,
        patch: usize,
        [left, top]: [usize; 2],
        table: &[[f32; 256]; 3],
    ) {
        let area = patch * patch;
        for (channel, levels) in table.iter().enumerate() {
            for (i, &number) in numbers[channel * planes * area..][..area]
                .iter()
                .enumerate()
            {
                // The table rises from byte to byte.
                let above = levels.partition_point(|level| *level < number).min(255);
                let below = above.saturating_sub(1);
                let nearer = (levels[above] - number).abs() <= (number - levels[below]).abs();
                let byte = if nearer { above } else { below };
                let (x, y) = (left + i % patch, top + i / patch);
                self.rgb[(y * self.width + x) * 3 + channel] = byte as u8;
            }
        }
    }

    fn picture(self) -> Picture {
        Picture::new(self.width, self.height, self.rgb)
    }
}

fn plain_positions(length: usize) -> Vec<[i32; 3]> {
    (0..length as i32).map(|i| [i; 3]).collect()
}

impl Squares {
    /// Checks that the squares a processor cuts are those the tower was built for.
    fn of(
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
    fn patches(&self, planes: &[f32]) -> Vec<f32> {
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
