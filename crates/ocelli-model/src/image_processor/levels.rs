//! From bytes to the numbers a network reads, and where they lie.

use ocelli_core::Picture;
use serde::Deserialize;

use super::config::check_value;
use crate::processing_error::ProcessingError;

/// What becomes of the values of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// Whether bytes are multiplied by `rescale_factor`.
    pub do_rescale: bool,
    /// What bytes are multiplied by, 1/255.
    pub rescale_factor: f64,
    /// Whether `mean` is subtracted and `std` divided by.
    pub do_normalize: bool,
    /// Mean of red, green and blue after rescaling.
    pub mean: [f64; 3],
    /// Standard deviation of red, green and blue after rescaling.
    pub std: [f64; 3],
}

/// The keys of levels as Hugging Face writes them, beside those of a processor.
#[derive(Deserialize)]
pub(crate) struct LevelsFile {
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
}

impl LevelsFile {
    /// What the file says, and the defaults where it is silent.
    pub(crate) fn read(&self, default: &Levels, file: &str) -> Result<Levels, ProcessingError> {
        let levels = Levels {
            do_rescale: self.do_rescale.unwrap_or(default.do_rescale),
            rescale_factor: self.rescale_factor.unwrap_or(default.rescale_factor),
            do_normalize: self.do_normalize.unwrap_or(default.do_normalize),
            mean: self.image_mean.unwrap_or(default.mean),
            std: self.image_std.unwrap_or(default.std),
        };
        check_value(
            file,
            "image_std",
            format!("{:?}", levels.std),
            !levels.std.contains(&0.0),
            "no deviation may be zero",
        )?;
        Ok(levels)
    }
}

impl Levels {
    /// Around the means of the pictures that CLIP was trained on (Radford et al. 2021).
    pub const CLIP: Self = Self::around(
        [0.48145466, 0.4578275, 0.40821073],
        [0.26862954, 0.26130258, 0.27577711],
    );

    /// From -1 to 1.
    pub const HALVES: Self = Self::around([0.5; 3], [0.5; 3]);

    const fn around(mean: [f64; 3], std: [f64; 3]) -> Self {
        Self {
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            mean,
            std,
        }
    }

    /// What each byte of each channel becomes. The product is taken in f64 and rounded to f32, the rest is in f32, as
    /// the NumPy path of transformers does it.
    pub fn table(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            let (mean, std) = (self.mean[channel] as f32, self.std[channel] as f32);
            std::array::from_fn(|byte| {
                let scale = if self.do_rescale {
                    self.rescale_factor
                } else {
                    1.0
                };
                let value = (byte as f64 * scale) as f32;
                if self.do_normalize {
                    (value - mean) / std
                } else {
                    value
                }
            })
        })
    }

    /// As [`Self::table`], in the arithmetic of the torchvision path: rescaling is folded into mean and deviation, all in
    /// f32.
    pub fn fused_table(&self) -> [[f32; 256]; 3] {
        let scale = if self.do_rescale && self.do_normalize {
            (1.0 / self.rescale_factor) as f32
        } else {
            1.0
        };
        std::array::from_fn(|channel| {
            let mean = self.mean[channel] as f32 * scale;
            let std = self.std[channel] as f32 * scale;
            std::array::from_fn(|byte| match (self.do_normalize, self.do_rescale) {
                (true, _) => (byte as f32 - mean) / std,
                (false, true) => byte as f32 * self.rescale_factor as f32,
                (false, false) => byte as f32,
            })
        })
    }
}

/// Appends the part of a picture with its upper left corner at `left`, `top` as `[3, height, width]`. What lies outside
/// of the picture is cut off.
pub(crate) fn append_planes(
    pixels: &mut Vec<f32>,
    picture: &Picture,
    [left, top]: [usize; 2],
    [width, height]: [usize; 2],
    table: &[[f32; 256]; 3],
) {
    let stride = picture.width() * 3;
    let right = (left + width).min(picture.width());
    let rows = picture.rgb().chunks_exact(stride).skip(top).take(height);
    for (channel, table) in table.iter().enumerate() {
        for row in rows.clone() {
            let (places, _) = row[left * 3..right * 3].as_chunks::<3>();
            pixels.extend(
                places
                    .iter()
                    .map(|place| table[usize::from(place[channel])]),
            );
        }
    }
}
