//! SmolVLM's and Idefics3's pictures: enlarged, split into squares row by row, and the whole picture last.
//!
//! Follows `SmolVLMImageProcessorPil`, `Idefics3ImageProcessorPil` and `SmolVLMProcessor` of transformers 5.23 to the last
//! bit. Resizing is Lanczos', three times over for a picture that is split: to the longest edge, to multiples of the
//! square, and to the whole picture's square.

use ocelli_core::Picture;
use serde::Deserialize;

use super::config::{check_value, parse_nested};
use super::levels::{Levels, LevelsFile, append_planes};
use super::resized;
use crate::processing_error::ProcessingError;

/// How pictures are split: `preprocessor_config.json` of a SmolVLM or Idefics3 checkpoint, with the classes' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitConfig {
    /// Whether pictures are brought to `longest_edge` at first.
    pub do_resize: bool,
    /// The longer side in pixels, before splitting.
    pub longest_edge: usize,
    /// Whether pictures are split; without it each becomes one square.
    pub do_image_splitting: bool,
    /// Side of a square in pixels.
    pub square: usize,
    /// What becomes of the bytes.
    pub levels: Levels,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self {
            do_resize: true,
            longest_edge: 4 * 364,
            do_image_splitting: true,
            square: 364,
            levels: Levels::HALVES,
        }
    }
}

/// Numbers of one picture, square by square.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSplits {
    /// Rows and columns of the grid; both are 0 for a picture that was not split.
    pub grid: [usize; 2],
    /// Number of squares: those of the grid row by row, and the whole picture last.
    pub count: usize,
    /// `[count, 3, square, square]`, row-major.
    pub pixels: Vec<f32>,
}

#[derive(Deserialize)]
struct SplitFile {
    image_processor_type: Option<String>,
    resample: Option<i64>,
    do_resize: Option<bool>,
    size: Option<Edge>,
    do_image_splitting: Option<bool>,
    max_image_size: Option<Edge>,
    #[serde(flatten)]
    levels: LevelsFile,
}

#[derive(Deserialize)]
struct Edge {
    longest_edge: usize,
}

/// No side is longer before splitting.
const LONGEST_SIDE: usize = 4096;

impl SplitConfig {
    /// Reads one file: either the keys themselves or an object that has them under `image_processor`.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong type or is impossible, or it belongs to another kind of processor.
    pub fn from_json(bytes: &[u8], file: &str) -> Result<Self, ProcessingError> {
        let read: SplitFile = parse_nested(bytes, "image_processor", file)?;
        let default = Self::default();
        let levels = read.levels.read(&default.levels, file)?;
        let config = Self {
            do_resize: read.do_resize.unwrap_or(default.do_resize),
            longest_edge: read.size.map_or(default.longest_edge, |e| e.longest_edge),
            do_image_splitting: read
                .do_image_splitting
                .unwrap_or(default.do_image_splitting),
            square: read
                .max_image_size
                .map_or(default.square, |e| e.longest_edge),
            levels,
        };
        let kind = read.image_processor_type.unwrap_or_default();
        let known = ["SmolVLMImageProcessor", "Idefics3ImageProcessor"];
        check_value(
            file,
            "image_processor_type",
            &kind,
            kind.is_empty() || known.iter().any(|name| kind.starts_with(name)),
            "this network needs a SmolVLMImageProcessor or an Idefics3ImageProcessor",
        )?;
        check_value(
            file,
            "resample",
            read.resample.unwrap_or_default(),
            read.resample.is_none_or(|kernel| kernel == 1),
            "only 1 (Lanczos) is supported",
        )?;
        check_value(
            file,
            "size",
            config.longest_edge,
            (1..=1 << 16).contains(&config.longest_edge),
            "the longest edge lies between 1 and 65536",
        )?;
        check_value(
            file,
            "max_image_size",
            config.square,
            (1..=LONGEST_SIDE).contains(&config.square),
            "the longest edge lies between 1 and 4096",
        )?;
        Ok(config)
    }

    /// Rows and columns of the grid that a picture of this size is split into, both 0 if it is not.
    pub fn grid(&self, width: usize, height: usize) -> [usize; 2] {
        if !self.do_image_splitting {
            return [0, 0];
        }
        let [width, height] = self.whole_squares(self.enlarged([width, height]));
        let grid = [height / self.square, width / self.square];
        if grid == [1, 1] { [0, 0] } else { grid }
    }

    /// Number of squares that a picture of this size gets, the whole picture included, without touching a pixel.
    pub fn count(&self, width: usize, height: usize) -> usize {
        let [rows, columns] = self.grid(width, height);
        rows * columns + 1
    }

    /// Width and height with the longer side at `longest_edge`, the shorter one made even, none above 4096.
    fn enlarged(&self, [width, height]: [usize; 2]) -> [usize; 2] {
        if !self.do_resize {
            return [width, height];
        }
        let even = |side: usize| (side + side % 2).max(1);
        let shape = width as f64 / height as f64;
        let long = self.longest_edge;
        let [width, height] = if width >= height {
            [long, even((long as f64 / shape) as usize)]
        } else {
            [even((long as f64 * shape) as usize), long]
        };
        let (shape, most) = (width as f64 / height as f64, LONGEST_SIDE as f64);
        if width >= height && width > LONGEST_SIDE {
            [LONGEST_SIDE, ((most / shape) as usize).max(1)]
        } else if height > width && height > LONGEST_SIDE {
            [((most * shape) as usize).max(1), LONGEST_SIDE]
        } else {
            [width, height]
        }
    }

    /// Width and height rounded up to whole squares, the shorter side after it has followed the longer one.
    fn whole_squares(&self, [width, height]: [usize; 2]) -> [usize; 2] {
        let up = |side: usize| side.div_ceil(self.square) * self.square;
        let shape = width as f64 / height as f64;
        if width >= height {
            let width = up(width);
            [width, up((width as f64 / shape) as usize)]
        } else {
            let height = up(height);
            [up((height as f64 * shape) as usize), height]
        }
    }

    /// Resizes with `resize(picture, width, height)`, which is Lanczos', splits, rescales and normalises.
    ///
    /// # Errors
    /// If `resize` gives another size than it was asked for.
    pub fn process(
        &self,
        picture: &Picture,
        resize: impl Fn(&Picture, usize, usize) -> Picture,
    ) -> Result<ImageSplits, ProcessingError> {
        let grid = self.grid(picture.width(), picture.height());
        let [rows, columns] = grid;
        let (count, square) = (rows * columns + 1, self.square);
        let table = self.levels.table();
        let mut pixels = Vec::with_capacity(count * 3 * square * square);
        let [width, height] = self.enlarged([picture.width(), picture.height()]);
        let mut picture = resized(picture, width, height, &resize)?;
        if self.do_image_splitting {
            let [width, height] = self.whole_squares([width, height]);
            picture = resized(&picture, width, height, &resize)?;
        }
        for row in 0..rows {
            for column in 0..columns {
                let corner = [column * square, row * square];
                append_planes(&mut pixels, &picture, corner, [square; 2], &table);
            }
        }
        let whole = resized(&picture, square, square, &resize)?;
        append_planes(&mut pixels, &whole, [0, 0], [square; 2], &table);
        Ok(ImageSplits {
            grid,
            count,
            pixels,
        })
    }
}

/// What stands in the prompt for a picture, in place of its `<image>`: `length` image tokens for each square of the grid
/// (rows, columns) and for the whole picture.
pub fn split_text([rows, columns]: [usize; 2], length: usize) -> String {
    const AROUND: &str = "<fake_token_around_image>";
    let tokens = "<image>".repeat(length);
    let mut text = String::new();
    for row in 1..=rows {
        for column in 1..=columns {
            text += &format!("{AROUND}<row_{row}_col_{column}>{tokens}");
        }
        text.push('\n');
    }
    if rows > 0 {
        text.push('\n');
    }
    text + &format!("{AROUND}<global-img>{tokens}{AROUND}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_by_hand() {
        let config = SplitConfig {
            longest_edge: 2048,
            square: 512,
            ..SplitConfig::default()
        };
        // 2048 x 1536 after the first resizing.
        assert_eq!(config.grid(640, 480), [3, 4]);
        assert_eq!(config.count(640, 480), 13);
        assert_eq!(config.grid(1, 5000), [4, 1]);
        let small = SplitConfig {
            longest_edge: 512,
            ..config.clone()
        };
        assert_eq!(small.grid(640, 480), [0, 0]);
        let whole = SplitConfig {
            do_image_splitting: false,
            ..config
        };
        assert_eq!(whole.count(640, 480), 1);
    }

    #[test]
    fn bad_configurations_name_file_and_key() {
        for (bytes, part) in [
            (&br#"{"resample": 3}"#[..], "a.json: resample = 3"),
            (br#"{"size": {"longest_edge": 0}}"#, "a.json: size = 0"),
            (
                br#"{"max_image_size": {"longest_edge": 9999}}"#,
                "a.json: max_image_size = 9999",
            ),
        ] {
            let message = SplitConfig::from_json(bytes, "a.json")
                .unwrap_err()
                .to_string();
            assert!(message.starts_with(part), "{message}");
        }
    }
}
