//! InternVL's pictures: a grid of square tiles that fits the picture's shape, and the whole picture once more.
//!
//! Follows `GotOcr2ImageProcessorPil` and `InternVLProcessor` of transformers 5.23 to the last bit.

use ocelli_core::Picture;
use serde::Deserialize;

use super::config::{check_value, parse_nested};
use super::levels::{Levels, LevelsFile, append_planes};
use super::resized;
use crate::processing_error::ProcessingError;

/// How pictures are cut into tiles: `preprocessor_config.json` of an InternVL checkpoint, with the defaults of
/// `GotOcr2ImageProcessor`, save `crop_to_patches`.
#[derive(Clone, Debug, PartialEq)]
pub struct TileConfig {
    /// Width and height of a tile in pixels.
    pub tile: [usize; 2],
    /// Whether pictures are cut at all. `InternVLProcessor` asks for it whatever the file says, so the file's key is not
    /// read.
    pub crop_to_patches: bool,
    /// Fewest tiles of a grid.
    pub min_patches: usize,
    /// Most tiles of a grid; the whole picture comes on top of it.
    pub max_patches: usize,
    /// What becomes of the bytes.
    pub levels: Levels,
}

impl Default for TileConfig {
    fn default() -> Self {
        Self {
            tile: [384; 2],
            crop_to_patches: true,
            min_patches: 1,
            max_patches: 12,
            levels: Levels::CLIP,
        }
    }
}

/// Numbers of one picture, tile by tile.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageTiles {
    /// Columns and rows of the grid.
    pub grid: [usize; 2],
    /// Number of tiles: those of the grid row by row, and the whole picture last where there are more than one.
    pub count: usize,
    /// `[count, 3, height, width]`, row-major.
    pub pixels: Vec<f32>,
}

#[derive(Deserialize)]
struct TileFile {
    image_processor_type: Option<String>,
    resample: Option<i64>,
    do_resize: Option<bool>,
    #[serde(flatten)]
    levels: LevelsFile,
    size: Option<TileSize>,
    min_patches: Option<usize>,
    max_patches: Option<usize>,
}

#[derive(Deserialize)]
struct TileSize {
    height: usize,
    width: usize,
}

/// Most tiles that a configuration may ask for; the number of grids grows with it.
const MOST_TILES: usize = 1024;

impl TileConfig {
    /// Reads one file: either the keys themselves or an object that has them under `image_processor`.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong type or is impossible, or it belongs to another kind of processor.
    pub fn from_json(bytes: &[u8], file: &str) -> Result<Self, ProcessingError> {
        let read: TileFile = parse_nested(bytes, "image_processor", file)?;
        let default = Self::default();
        let levels = read.levels.read(&default.levels, file)?;
        let config = Self {
            tile: read.size.map_or(default.tile, |s| [s.width, s.height]),
            min_patches: read.min_patches.unwrap_or(default.min_patches),
            max_patches: read.max_patches.unwrap_or(default.max_patches),
            levels,
            ..default
        };
        let kind = read.image_processor_type.unwrap_or_default();
        let [width, height] = config.tile;
        check_value(
            file,
            "image_processor_type",
            &kind,
            kind.is_empty() || kind.starts_with("GotOcr2ImageProcessor"),
            "InternVL needs a GotOcr2ImageProcessor",
        )?;
        check_value(
            file,
            "resample",
            read.resample.unwrap_or_default(),
            read.resample.is_none_or(|kernel| kernel == 3),
            "only 3 (bicubic) is supported",
        )?;
        check_value(
            file,
            "do_resize",
            false,
            read.do_resize != Some(false),
            "tiles need resizing; leave it true",
        )?;
        check_value(
            file,
            "size",
            format!("{:?}", config.tile),
            (1..=4096).contains(&width) && (1..=4096).contains(&height),
            "the sides of a tile lie between 1 and 4096",
        )?;
        check_value(
            file,
            "max_patches",
            config.max_patches,
            config.max_patches <= MOST_TILES,
            "it is at most 1024",
        )?;
        Ok(config)
    }

    /// Columns and rows of the grid whose shape is nearest to that of a picture of this size. Of grids with the same
    /// distance the later, larger one wins while the picture has more than half its pixels.
    pub fn grid(&self, width: usize, height: usize) -> [usize; 2] {
        if !self.crop_to_patches || self.max_patches <= 1 {
            return [1, 1];
        }
        let (shape, area) = (width as f64 / height as f64, (width * height) as f64);
        let [tile_width, tile_height] = self.tile;
        let mut grids: Vec<[usize; 2]> = (1..=self.max_patches)
            .flat_map(|columns| (1..=self.max_patches).map(move |rows| [columns, rows]))
            .filter(|[columns, rows]| {
                (self.min_patches..=self.max_patches).contains(&(columns * rows))
            })
            .collect();
        // Stable: grids of as many tiles stay in the order of their columns.
        grids.sort_by_key(|[columns, rows]| columns * rows);
        let (mut best, mut nearest) = ([1, 1], f64::INFINITY);
        for grid in grids {
            let [columns, rows] = grid;
            let distance = (shape - columns as f64 / rows as f64).abs();
            let half = 0.5 * (tile_height * tile_width * columns * rows) as f64;
            if distance < nearest || (distance == nearest && area > half) {
                (best, nearest) = (grid, distance);
            }
        }
        best
    }

    /// Number of tiles that a picture of this size gets, the whole picture included, without touching a pixel.
    pub fn count(&self, width: usize, height: usize) -> usize {
        let [columns, rows] = self.grid(width, height);
        with_whole(columns * rows)
    }

    /// Resizes with `resize(picture, width, height)`, cuts into tiles, rescales and normalises.
    ///
    /// # Errors
    /// If `resize` gives another size than it was asked for.
    pub fn process(
        &self,
        picture: &Picture,
        resize: impl Fn(&Picture, usize, usize) -> Picture,
    ) -> Result<ImageTiles, ProcessingError> {
        let grid = self.grid(picture.width(), picture.height());
        let ([columns, rows], [width, height]) = (grid, self.tile);
        let count = with_whole(columns * rows);
        let table = self.levels.table();
        let mut pixels = Vec::with_capacity(count * 3 * width * height);
        let large = resized(picture, columns * width, rows * height, &resize)?;
        for row in 0..rows {
            for column in 0..columns {
                let corner = [column * width, row * height];
                append_planes(&mut pixels, &large, corner, self.tile, &table);
            }
        }
        if count > 1 {
            let whole = resized(picture, width, height, &resize)?;
            append_planes(&mut pixels, &whole, [0, 0], self.tile, &table);
        }
        Ok(ImageTiles {
            grid,
            count,
            pixels,
        })
    }
}

/// The whole picture comes on top unless it is the only tile.
fn with_whole(tiles: usize) -> usize {
    if tiles == 1 { 1 } else { tiles + 1 }
}

/// What stands in the prompt for a picture of `tiles` tiles of `length` tokens each, in place of its `<IMG_CONTEXT>`.
pub fn tile_text(tiles: usize, length: usize) -> String {
    format!("<img>{}</img>", "<IMG_CONTEXT>".repeat(tiles * length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_by_hand() {
        let config = TileConfig {
            tile: [448; 2],
            ..TileConfig::default()
        };
        // A square picture below half of four tiles stays one tile, a larger one becomes 2x2 and then 3x3.
        assert_eq!(config.grid(448, 448), [1, 1]);
        assert_eq!(config.grid(700, 700), [2, 2]);
        assert_eq!(config.grid(1300, 1300), [3, 3]);
        assert_eq!(config.grid(800, 600), [4, 3]);
        assert_eq!(config.grid(50, 5000), [1, 12]);
        assert_eq!(config.count(700, 700), 5);
        assert_eq!(config.count(448, 448), 1);
        let whole = TileConfig {
            crop_to_patches: false,
            ..config
        };
        assert_eq!(whole.count(1300, 1300), 1);
    }

    #[test]
    fn bad_configurations_name_file_and_key() {
        for (bytes, part) in [
            (&br#"{"resample": 2}"#[..], "a.json: resample = 2"),
            (
                br#"{"size": {"height": 0, "width": 4}}"#,
                "a.json: size = [4, 0]",
            ),
            (br#"{"max_patches": 5000}"#, "a.json: max_patches = 5000"),
            (
                br#"{"image_processor_type": "X"}"#,
                "a.json: image_processor_type = X",
            ),
        ] {
            let message = TileConfig::from_json(bytes, "a.json")
                .unwrap_err()
                .to_string();
            assert!(message.starts_with(part), "{message}");
        }
    }

    #[test]
    fn the_text_of_a_picture() {
        assert_eq!(tile_text(1, 2), "<img><IMG_CONTEXT><IMG_CONTEXT></img>");
    }
}
