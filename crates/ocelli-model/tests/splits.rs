//! SmolVLM's and Idefics3's squares and text against transformers to the last bit.
//!
//! The wanted values are in `golden/splits.json`, made by `golden/make_splits.py` with `SmolVLMImageProcessorPil` and
//! `SmolVLMProcessor` of transformers 5.23 and Pillow 13.

// The helpers beside the tests may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod support;

use ocelli_model::image_processor::splits::{ImageSplits, SplitConfig, split_text};
use serde_json::{Value, json};

use support::{assert_same, golden, lanczos, number, source};

fn config(golden: &Value, family: &str) -> SplitConfig {
    let bytes = golden["families"][family].to_string();
    SplitConfig::from_json(bytes.as_bytes(), family).unwrap()
}

#[test]
fn squares_and_texts_are_those_of_transformers() {
    let golden = golden("splits.json");
    assert!(golden["transformers"].as_str().unwrap().starts_with("5.23"));
    for case in golden["cases"].as_array().unwrap() {
        let family = case["family"].as_str().unwrap();
        let config = config(&golden, family);
        let (width, height) = (number(&case["width"]), number(&case["height"]));
        let name = format!("{family}, {width}x{height}");
        let splits = config.process(&source(width, height, 0), lanczos).unwrap();
        assert_eq!(json!(splits.grid), case["grid"], "{name}");
        let shape = json!([1, splits.count, 3, config.square, config.square]);
        assert_eq!(shape, case["shape"], "{name}");
        assert_eq!(config.count(width, height), splits.count, "{name}");
        assert_same(&splits.pixels, case, &name);
        // The script sets a length of two tokens a square.
        assert_eq!(split_text(splits.grid, 2), case["text"], "{name}");
    }
}

#[test]
fn grids_are_those_of_transformers() {
    let golden = golden("splits.json");
    for case in golden["grids"].as_array().unwrap() {
        let config = config(&golden, case["family"].as_str().unwrap());
        let found = config.grid(number(&case["width"]), number(&case["height"]));
        assert_eq!(json!(found), case["grid"], "{case}");
    }
}

/// Squares of several rows of pictures as one block, as networks that want a batch read them.
struct SplitBatch {
    /// Rows, and squares of the row that has most.
    shape: [usize; 2],
    /// `[rows, squares, 3, square, square]`: the squares of a row's pictures one after the other, then zeros.
    pixels: Vec<f32>,
    /// `pixel_attention_mask`, `[rows, squares, square, square]`: 1 where there is a picture.
    mask: Vec<u8>,
}

impl SplitBatch {
    /// Pads rows of pictures, all made with squares of `square` pixels, to the longest of them.
    fn new(rows: &[Vec<ImageSplits>], square: usize) -> Self {
        let counts = rows.iter().map(|row| row.iter().map(|i| i.count).sum());
        let most = counts.max().unwrap_or(0);
        let area = square * square;
        let mut pixels = Vec::with_capacity(rows.len() * most * 3 * area);
        let mut mask = Vec::with_capacity(rows.len() * most * area);
        for (index, row) in rows.iter().enumerate() {
            for picture in row {
                pixels.extend_from_slice(&picture.pixels);
                mask.resize(mask.len() + picture.count * area, 1);
            }
            pixels.resize((index + 1) * most * 3 * area, 0.0);
            mask.resize((index + 1) * most * area, 0);
        }
        Self {
            shape: [rows.len(), most],
            pixels,
            mask,
        }
    }
}

#[test]
fn batches_are_padded_as_transformers_pads_them() {
    let golden = golden("splits.json");
    let wanted = &golden["batch"];
    let config = config(&golden, "small");
    let sizes: Vec<Vec<[usize; 2]>> = serde_json::from_value(wanted["sizes"].clone()).unwrap();
    let rows: Vec<Vec<_>> = sizes
        .iter()
        .map(|row| {
            let squares = |&[width, height]: &[usize; 2]| {
                config.process(&source(width, height, 0), lanczos).unwrap()
            };
            row.iter().map(squares).collect()
        })
        .collect();
    let batch = SplitBatch::new(&rows, config.square);
    let [count, most] = batch.shape;
    assert_eq!(
        json!([count, most, 3, config.square, config.square]),
        wanted["shape"]
    );
    assert_same(&batch.pixels, wanted, "batch");
    let squares: Vec<&[u8]> = batch.mask.chunks(config.square * config.square).collect();
    assert!(
        squares
            .iter()
            .all(|square| square.iter().all(|&v| v == square[0]))
    );
    let masked: Vec<Vec<u8>> = squares
        .chunks(most)
        .map(|row| row.iter().map(|s| s[0]).collect())
        .collect();
    assert_eq!(json!(masked), wanted["masked"]);
}
