//! Pictures to the rows of numbers that a Qwen-VL vision tower reads.
//!
//! Owns the size rule, the rescaling and the order of the patches. Follows `Qwen2VLImageProcessorPil` of transformers
//! 5.23 (the NumPy path) to the last bit; the torchvision path of the same library folds rescaling into the mean and
//! differs in the last digits. Resampling itself is the caller's: it is passed in as a function.

pub(crate) mod config;
pub mod levels;
pub mod splits;
pub mod tiles;

use ocelli_core::Picture;

pub use self::config::ImageProcessorConfig;
use crate::processing_error::ProcessingError;

/// Numbers of one picture, ready for the vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePatches {
    /// Patches along time, height and width; see [`PictureGrid`].
    pub grid_thw: [usize; 3],
    /// Rows and columns of the tiles; see [`PictureGrid`].
    pub split: [usize; 2],
    /// `[t * h * w, 3 * temporal_patch * patch * patch]`, row-major. In Qwen's families rows go through the picture by merge
    /// blocks: block row, block column, row in the block, column in the block. In the others they go through each tile in
    /// reading order, and there is no temporal patch.
    pub pixels: Vec<f32>,
}

impl ImagePatches {
    /// How the picture is cut.
    pub fn grid(&self) -> PictureGrid {
        PictureGrid {
            thw: self.grid_thw,
            split: self.split,
        }
    }
}

/// How a picture is cut, without its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PictureGrid {
    /// Patches along time, height and width. Time is 1 for a picture, or the number of its tiles.
    pub thw: [usize; 3],
    /// Rows and columns of the tiles that a picture is split into, the whole picture not counted; zeros where it is not split.
    pub split: [usize; 2],
}

impl ImageProcessorConfig {
    /// Side in pixels of the square that becomes one token: both sides of a resized picture are multiples of it.
    pub fn factor(&self) -> usize {
        self.patch_size * self.merge_size
    }

    /// Patches (time, height, width) that a picture of this size in pixels gets, without touching a pixel.
    ///
    /// # Errors
    /// As [`Self::process`].
    pub fn grid(&self, width: usize, height: usize) -> Result<[usize; 3], ProcessingError> {
        let (height, width) = self.target_size(height, width)?;
        Ok([1, height / self.patch_size, width / self.patch_size])
    }

    /// Resizes with `resize(picture, width, height)` where needed, rescales, normalises and cuts into patches.
    ///
    /// # Errors
    /// If the picture is too long and thin, the pixel limits leave it no size, or `resize` gives another size than it
    /// was asked for.
    pub fn process(
        &self,
        picture: &Picture,
        resize: impl Fn(&Picture, usize, usize) -> Picture,
    ) -> Result<ImagePatches, ProcessingError> {
        let (height, width) = self.target_size(picture.height(), picture.width())?;
        Ok(self.patchify(&resized(picture, width, height, &resize)?))
    }

    /// Height and width that a picture of this height and width is brought to.
    fn target_size(&self, height: usize, width: usize) -> Result<(usize, usize), ProcessingError> {
        let factor = self.factor();
        if self.do_resize {
            return smart_resize(height, width, factor, self.min_pixels, self.max_pixels);
        }
        let allowed = |side: usize| side.div_ceil(factor) * factor;
        if (allowed(height), allowed(width)) != (height, width) {
            return Err(ProcessingError::PictureSize {
                width: allowed(width),
                height: allowed(height),
                found_width: width,
                found_height: height,
            });
        }
        Ok((height, width))
    }

    /// Cuts a picture, whose sides are multiples of [`Self::factor`], into rows of numbers.
    fn patchify(&self, picture: &Picture) -> ImagePatches {
        let (patch, time) = (self.patch_size, self.temporal_patch_size);
        let (height, width) = (picture.height() / patch, picture.width() / patch);
        let mut pixels = vec![0.0; height * width * 3 * time * patch * patch];
        let table = self.levels.table();
        let frames = std::slice::from_ref(picture);
        write_patches(&mut pixels, frames, time, patch, self.merge_size, &table);
        ImagePatches {
            grid_thw: [1, height, width],
            split: [0, 0],
            pixels,
        }
    }
}

/// Writes the rows of one temporal patch of `time` frames, of which the last of `frames` stands for those that are
/// missing: `out` is `[height / patch * width / patch, 3, time, patch, patch]`. All frames have the same size, a multiple
/// of `patch * merge`.
pub(crate) fn write_patches(
    out: &mut [f32],
    frames: &[Picture],
    time: usize,
    patch: usize,
    merge: usize,
    table: &[[f32; 256]; 3],
) {
    let Some(first) = frames.first() else {
        return;
    };
    let (width, height) = first.size();
    let area = patch * patch;
    let blocks = steps(height / patch / merge, width / patch / merge);
    let places = blocks.flat_map(|(block_row, block_column)| {
        steps(merge, merge).map(move |(row, column)| {
            let (row, column) = (block_row * merge + row, block_column * merge + column);
            (row * patch, column * patch)
        })
    });
    for (out, (top, left)) in out.chunks_exact_mut(3 * time * area).zip(places) {
        for (frame, place) in frames.iter().zip((0..).step_by(area)) {
            let [red, green, blue] = [0, 1, 2].map(|c| c * time * area + place);
            write_patch(out, [red, green, blue], frame, [left, top], patch, table);
        }
        let given = frames.len() * area;
        for channel in out.chunks_exact_mut(time * area) {
            for missing in (given..time * area).step_by(area) {
                channel.copy_within(given - area..given, missing);
            }
        }
    }
}

/// Writes the square of `patch` pixels with its upper left corner at `left`, `top`: red, green and blue go to three places
/// of `out`, in rising order.
fn write_patch(
    out: &mut [f32],
    [red, green, blue]: [usize; 3],
    frame: &Picture,
    [left, top]: [usize; 2],
    patch: usize,
    table: &[[f32; 256]; 3],
) {
    let (first, blues) = out.split_at_mut(blue);
    let (reds, greens) = first.split_at_mut(green);
    let reds = reds[red..].chunks_exact_mut(patch);
    let lines = reds
        .zip(greens.chunks_exact_mut(patch))
        .zip(blues.chunks_exact_mut(patch));
    let rows = frame.rgb().chunks_exact(frame.width() * 3);
    for (bytes, ((reds, greens), blues)) in rows.skip(top).take(patch).zip(lines) {
        let (pixels, _) = bytes[left * 3..(left + patch) * 3].as_chunks::<3>();
        let values = reds.iter_mut().zip(greens).zip(blues);
        for (&[r, g, b], ((red, green), blue)) in pixels.iter().zip(values) {
            *red = table[0][usize::from(r)];
            *green = table[1][usize::from(g)];
            *blue = table[2][usize::from(b)];
        }
    }
}

/// The picture itself if it has this size, else what `resize` makes of it.
pub(crate) fn resized(
    picture: &Picture,
    width: usize,
    height: usize,
    resize: &impl Fn(&Picture, usize, usize) -> Picture,
) -> Result<Picture, ProcessingError> {
    if picture.size() == (width, height) {
        return Ok(picture.clone());
    }
    let picture = resize(picture, width, height);
    if picture.size() == (width, height) {
        return Ok(picture);
    }
    Err(ProcessingError::PictureSize {
        width,
        height,
        found_width: picture.width(),
        found_height: picture.height(),
    })
}

/// All pairs below `rows` and `columns`, columns fastest.
fn steps(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
}

/// The size (height, width) nearest to the given one whose sides are multiples of `factor`, with between `min_pixels`
/// and `max_pixels` pixels and about the same shape. Qwen2-VL's rule, in transformers' arithmetic: sides are rounded half
/// to even, and shrunk or grown ones rounded inwards or outwards.
///
/// # Errors
/// If a side is zero or the longer more than 200 times the shorter, or if no such size exists.
pub fn smart_resize(
    height: usize,
    width: usize,
    factor: usize,
    min_pixels: usize,
    max_pixels: usize,
) -> Result<(usize, usize), ProcessingError> {
    let (long, short) = (height.max(width), height.min(width));
    if short == 0 || long as f64 / short as f64 > 200.0 {
        return Err(ProcessingError::PictureShape { width, height });
    }
    if min_pixels == 0
        || min_pixels > max_pixels
        || factor == 0
        || factor.saturating_mul(factor) > max_pixels
    {
        return Err(ProcessingError::PixelLimits {
            width,
            height,
            factor,
            min_pixels,
            max_pixels,
        });
    }
    let (sides, unit) = ([height as f64, width as f64], factor as f64);
    let pixels = |[height, width]: [f64; 2]| height * width;
    let rounded = sides.map(|side| (side / unit).round_ties_even() * unit);
    let [height, width] = if pixels(rounded) > max_pixels as f64 {
        let shrink = (pixels(sides) / max_pixels as f64).sqrt();
        sides.map(|side| unit.max((side / shrink / unit).floor() * unit))
    } else if pixels(rounded) < min_pixels as f64 {
        let grow = (min_pixels as f64 / pixels(sides)).sqrt();
        sides.map(|side| (side * grow / unit).ceil() * unit)
    } else {
        rounded
    };
    Ok((height as usize, width as usize))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::levels::Levels;
    use super::*;

    fn never(_: &Picture, width: usize, height: usize) -> Picture {
        panic!("asked for {width}x{height}")
    }

    #[test]
    fn sizes_by_hand() {
        let size = |height, width| smart_resize(height, width, 28, 3136, 12_845_056).unwrap();
        assert_eq!(size(112, 112), (112, 112));
        // 70 / 28 = 2.5 and 98 / 28 = 3.5 are rounded to even.
        assert_eq!(size(70, 98), (56, 112));
        assert_eq!(size(10, 10), (56, 56));
        assert_eq!(size(1, 200), (28, 812));
        assert_eq!(
            smart_resize(1000, 2000, 28, 3136, 100_352).unwrap(),
            (224, 448)
        );
        // Too long after rounding, yet the short side keeps one unit.
        assert_eq!(smart_resize(28, 2800, 28, 784, 7840).unwrap(), (28, 868));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(smart_resize(1, 201, 28, 3136, 12_845_056).is_err());
        assert!(smart_resize(0, 5, 28, 3136, 12_845_056).is_err());
        let message = smart_resize(56, 56, 28, 3136, 400).unwrap_err().to_string();
        assert!(
            message.starts_with("min_pixels 3136 and max_pixels 400 leave a 56x56 picture"),
            "{message}"
        );
        assert!(smart_resize(56, 56, 28, 0, 3136).is_err());
    }

    #[test]
    fn rows_go_by_merge_blocks_and_repeat_over_time() {
        let config = ImageProcessorConfig {
            levels: Levels {
                do_rescale: false,
                do_normalize: false,
                ..Levels::CLIP
            },
            min_pixels: 1,
            patch_size: 1,
            ..ImageProcessorConfig::default()
        };
        // 4x2 pixels, red counts the pixels row by row, green and blue are 100 and 200 more.
        let rgb: Vec<u8> = (0..8).flat_map(|n| [n, n + 100, n + 200]).collect();
        let patches = config.process(&Picture::new(4, 2, rgb), never).unwrap();
        assert_eq!(patches.grid_thw, [1, 2, 4]);
        let red: Vec<f32> = patches.pixels.chunks(6).map(|row| row[0]).collect();
        assert_eq!(red, [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
        assert_eq!(patches.pixels[..6], [0.0, 0.0, 100.0, 100.0, 200.0, 200.0]);
    }

    #[test]
    fn a_picture_of_the_wrong_size_is_refused() {
        let picture = Picture::new(30, 28, vec![0; 30 * 28 * 3]);
        let wrong =
            ImageProcessorConfig::default().process(&picture, |picture, _, _| picture.clone());
        let message = wrong.unwrap_err().to_string();
        assert!(
            message.starts_with("a picture of 30x28 pixels came where 84x56 was needed"),
            "{message}"
        );
        let config = ImageProcessorConfig {
            do_resize: false,
            ..ImageProcessorConfig::default()
        };
        let message = config.process(&picture, never).unwrap_err().to_string();
        assert!(
            message.starts_with("a picture of 30x28 pixels came where 56x28 was needed"),
            "{message}"
        );
    }

    proptest! {
        #[test]
        fn sizes_are_multiples_within_bounds(height in 1usize..3000, width in 1usize..3000) {
            prop_assume!(height.max(width) <= 200 * height.min(width));
            let (tall, wide) = smart_resize(height, width, 28, 3136, 1_003_520).unwrap();
            prop_assert!(tall > 0 && wide > 0 && tall.is_multiple_of(28) && wide.is_multiple_of(28));
            prop_assert!(tall * wide >= 3136);
            prop_assert!(tall * wide <= 1_003_520 || tall.min(wide) == 28);
        }
    }
}
