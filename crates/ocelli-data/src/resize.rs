//! Bicubic and Lanczos resizing, bit for bit as Pillow does it.
//!
//! Checkpoints were trained on pictures that Pillow resized, and none of the Rust resizers gives the same bytes. The
//! filter, Keys' cubic with a = −0.5 or Lanczos' with three lobes, is applied along one axis and then the other, widened when shrinking so that
//! every source pixel counts. Weights are 22-bit fixed-point numbers and the picture between the two passes is rounded
//! to 8 bits, which is why the order of the passes shows in the result.
//!
//! "Fast" processors of Hugging Face (torchvision on tensors) round in other places; they are a different reference, for
//! which there is [`resize_torchvision`].

mod passes;

use ocelli_core::Picture;

use self::passes::{resize_columns, resize_rows};

/// Which axis is resized first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PassOrder {
    /// Horizontal first, always: Pillow up to version 12.
    #[default]
    PillowBefore13,
    /// Vertical first when the height shrinks by more than twice the pixels that the width does: Pillow 13.
    Pillow13,
}

/// Bits after the point of Pillow's fixed-point weights.
const PILLOW_BITS: u32 = 22;

/// How much a source pixel counts, by its distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Keys' cubic convolution with a = −0.5: Qwen-VL, InternVL.
    Bicubic,
    /// The sinc function under its own first three lobes: SmolVLM, Idefics.
    Lanczos,
}

impl Filter {
    /// Half the width of the kernel at scale 1, in source pixels.
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bicubic => cubic(x),
            Self::Lanczos => lanczos(x),
        }
    }
}

/// [`resize`] with [`Filter::Bicubic`].
///
/// # Panics
/// As [`resize`].
pub fn resize_bicubic(picture: &Picture, width: usize, height: usize, order: PassOrder) -> Picture {
    resize(picture, width, height, Filter::Bicubic, order)
}

/// `picture` resized to `width` × `height` pixels.
///
/// # Panics
/// If `width` or `height` is zero; a picture has no empty side.
pub fn resize(
    picture: &Picture,
    width: usize,
    height: usize,
    filter: Filter,
    order: PassOrder,
) -> Picture {
    assert!(width > 0 && height > 0, "resizing to {width}x{height}");
    let (old_width, old_height) = (picture.width(), picture.height());
    if (old_width, old_height) == (width, height) {
        return picture.clone();
    }
    let vertical_first = match order {
        PassOrder::PillowBefore13 => false,
        PassOrder::Pillow13 => {
            let width_loss = old_width as i64 - width as i64;
            let height_loss = old_height as i64 - height as i64;
            height_loss > 0 && height_loss > 2 * width_loss
        }
    };
    let across = Axis::pillow(&windows(filter, old_width, width));
    let down = Axis::pillow(&windows(filter, old_height, height));
    let rgb = if vertical_first {
        let between = resize_columns(picture.rgb(), old_width, &down);
        resize_rows(&between, old_width, &across)
    } else {
        let between = resize_rows(picture.rgb(), old_width, &across);
        resize_columns(&between, width, &down)
    };
    Picture::new(width, height, rgb)
}

/// `picture` resized to `width` × `height` pixels, bit for bit as torchvision does it on bytes with `antialias`, on x86
/// processors with AVX2: horizontal first, weights of 16 bits. Videos are made so.
///
/// # Panics
/// As [`resize`].
pub fn resize_torchvision(
    picture: &Picture,
    width: usize,
    height: usize,
    filter: Filter,
) -> Picture {
    assert!(width > 0 && height > 0, "resizing to {width}x{height}");
    let (old_width, old_height) = picture.size();
    let axis = |old, new| Axis::torchvision(&windows(filter, old, new));
    let between = resize_rows(picture.rgb(), old_width, &axis(old_width, width));
    let rgb = resize_columns(&between, width, &axis(old_height, height));
    Picture::new(width, height, rgb)
}

/// The source pixels that make one output pixel, and their weights, whose sum is 1.
struct Window<T> {
    start: usize,
    weights: Vec<T>,
}

/// One window for each of `new` output pixels along an axis of `old` source pixels.
fn windows(filter: Filter, old: usize, new: usize) -> Vec<Window<f64>> {
    let scale = old as f64 / new as f64;
    let widening = scale.max(1.0);
    let support = filter.support() * widening;
    (0..new)
        .map(|x| {
            let centre = (x as f64 + 0.5) * scale;
            // Casts from float stop at zero, as the clipping to the picture's first pixel asks.
            let start = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(old);
            let mut weights: Vec<f64> = (start..end)
                .map(|source| filter.weight((source as f64 - centre + 0.5) * widening.recip()))
                .collect();
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            Window { start, weights }
        })
        .collect()
}

/// Windows in fixed point.
struct Axis {
    bits: u32,
    windows: Vec<Window<i32>>,
}

impl Axis {
    fn pillow(windows: &[Window<f64>]) -> Self {
        Self::new(PILLOW_BITS, windows)
    }

    /// As many bits as the largest weight leaves in an `i16`.
    fn torchvision(windows: &[Window<f64>]) -> Self {
        let largest = windows
            .iter()
            .flat_map(|w| &w.weights)
            .fold(0.0, |a: f64, &b| a.max(b));
        let fits = |bits: &u32| largest * f64::from(1u32 << (bits + 1)) + 0.5 < f64::from(1 << 15);
        let bits = (0..PILLOW_BITS)
            .find(|bits| !fits(bits))
            .unwrap_or(PILLOW_BITS);
        Self::new(bits, windows)
    }

    fn new(bits: u32, windows: &[Window<f64>]) -> Self {
        let fixed = |window: &Window<f64>| {
            let one = f64::from(1u32 << bits);
            // Half is rounded away from zero.
            let weights = window
                .weights
                .iter()
                .map(|weight| (weight * one).round() as i32);
            Window {
                start: window.start,
                weights: weights.collect(),
            }
        };
        Self {
            bits,
            windows: windows.iter().map(fixed).collect(),
        }
    }

    /// One half in fixed point: added to sums, so that the shift down rounds.
    fn half(&self) -> i32 {
        1 << (self.bits - 1)
    }

    /// An accumulated sum, one half included, as a byte.
    #[inline(always)]
    fn to_byte(&self, sum: i32) -> u8 {
        (sum >> self.bits).clamp(0, 255) as u8
    }
}

/// Keys' cubic convolution kernel (1981, equation 4) with a = −0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Lanczos' kernel: sinc(x) · sinc(x / 3) for |x| < 3.
fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| {
        if x == 0.0 {
            return 1.0;
        }
        let angle = x * std::f64::consts::PI;
        angle.sin() / angle
    };
    if (-3.0..3.0).contains(&x) {
        sinc(x) * sinc(x / 3.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn constant(width: usize, height: usize, value: u8) -> Picture {
        Picture::new(width, height, vec![value; width * height * 3])
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let picture = Picture::new(2, 1, vec![1, 2, 3, 250, 251, 252]);
        assert_eq!(resize_bicubic(&picture, 2, 1, PassOrder::Pillow13), picture);
    }

    /// Doubling [0, 255]: the cubic at distances 1.25, 0.25, 0.75 and 1.75 of two pixels, normalised.
    #[test]
    fn doubling_two_pixels_by_hand() {
        let picture = Picture::new(2, 1, vec![0, 0, 0, 255, 255, 255]);
        let out = resize_bicubic(&picture, 4, 1, PassOrder::default());
        let red: Vec<u8> = out.rgb().iter().step_by(3).copied().collect();
        let (near, far) = (cubic(0.25), cubic(0.75));
        let inner = (255.0 * far / (near + far)).round() as u8;
        assert_eq!(red, [0, inner, 255 - inner, 255]);
    }

    #[test]
    #[should_panic(expected = "resizing to 0x4")]
    fn an_empty_side_is_a_programming_error() {
        resize_bicubic(&constant(2, 2, 0), 0, 4, PassOrder::default());
    }

    proptest! {
        #[test]
        fn a_plain_picture_stays_plain(
            old in prop::array::uniform2(1usize..40),
            new in prop::array::uniform2(1usize..40),
            value: u8,
        ) {
            for order in [PassOrder::PillowBefore13, PassOrder::Pillow13] {
                let out = resize_bicubic(&constant(old[0], old[1], value), new[0], new[1], order);
                prop_assert_eq!(out, constant(new[0], new[1], value));
            }
        }
    }
}
