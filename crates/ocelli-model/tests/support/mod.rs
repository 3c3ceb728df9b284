//! What the golden tests of the processors share.

// Each test binary uses its part.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::PathBuf;

use ocelli_core::Picture;
use ocelli_data::{Filter, PassOrder, resize};
use serde_json::Value;

/// A file of the folder `golden`.
pub(crate) fn golden_file(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::fs::read(folder.join(name)).unwrap()
}

pub(crate) fn golden(name: &str) -> Value {
    serde_json::from_slice(&golden_file(name)).unwrap()
}

pub(crate) fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// The picture that `source` in `golden/formula_picture.py` makes.
pub(crate) fn source(width: usize, height: usize, seed: usize) -> Picture {
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in seed * 5..seed * 5 + height {
        for x in seed * 13..seed * 13 + width {
            for c in 0..3 {
                let mut value = (x * x * (3 + c) + y * y * (5 - c) + 7 * x * y) % 256;
                if (x / 3 + y / 5).is_multiple_of(4) {
                    value = if (x + c).is_multiple_of(2) { 255 } else { 0 };
                }
                if (x * 31 + y * 17 + c * 7).is_multiple_of(11) {
                    value = (x * 2_654_435_761 + y * 40_503 + c * 97) % 251;
                }
                rgb.push(value as u8);
            }
        }
    }
    Picture::new(width, height, rgb)
}

/// FNV-1a over the bits of the numbers, as `fnv1a_words` in `golden/formula_picture.py`.
pub(crate) fn hash(values: &[f32]) -> String {
    let hash = values
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, value| {
            (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
}

/// Compares numbers with the `first` values and the `hash` of a golden case: to the bit.
pub(crate) fn assert_same(found: &[f32], case: &Value, name: &str) {
    for (index, wanted) in case["first"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            found[index],
            wanted.as_f64().unwrap() as f32,
            "{name}: value {index}"
        );
    }
    assert_eq!(hash(found), case["hash"], "{name}");
}

/// Resizing as the Pillow that made the golden files does it.
pub(crate) fn bicubic(picture: &Picture, width: usize, height: usize) -> Picture {
    resize(picture, width, height, Filter::Bicubic, PassOrder::Pillow13)
}

/// As [`bicubic`], with Lanczos' kernel.
pub(crate) fn lanczos(picture: &Picture, width: usize, height: usize) -> Picture {
    resize(picture, width, height, Filter::Lanczos, PassOrder::Pillow13)
}
