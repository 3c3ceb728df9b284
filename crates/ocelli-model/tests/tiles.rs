//! InternVL's tiles and text against transformers to the last bit.
//!
//! The wanted values are in `golden/tiles.json`, made by `golden/make_tiles.py` with `GotOcr2ImageProcessorPil` and
//! `InternVLProcessor` of transformers 5.23 and Pillow 13.

// The helpers beside the tests may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod support;

use ocelli_model::image_processor::tiles::{TileConfig, tile_text};
use serde_json::{Value, json};

use support::{assert_same, bicubic, golden, number, source};

fn config(golden: &Value, case: &Value) -> TileConfig {
    let family = case["family"].as_str().unwrap();
    TileConfig::from_json(golden["families"][family].to_string().as_bytes(), family).unwrap()
}

#[test]
fn tiles_and_texts_are_those_of_transformers() {
    let golden = golden("tiles.json");
    assert!(golden["transformers"].as_str().unwrap().starts_with("5.23"));
    for case in golden["cases"].as_array().unwrap() {
        let config = config(&golden, case);
        let (width, height) = (number(&case["width"]), number(&case["height"]));
        let name = format!("{}, {width}x{height}", case["family"]);
        let tiles = config.process(&source(width, height, 0), bicubic).unwrap();
        let [tile_width, tile_height] = config.tile;
        let shape = json!([tiles.count, 3, tile_height, tile_width]);
        assert_eq!(shape, case["shape"], "{name}");
        assert_eq!(config.count(width, height), tiles.count, "{name}");
        assert_same(&tiles.pixels, case, &name);
        // The script sets a length of three tokens a tile.
        assert_eq!(tile_text(tiles.count, 3), case["text"], "{name}");
    }
}

#[test]
fn counts_are_those_of_transformers() {
    let golden = golden("tiles.json");
    for case in golden["grids"].as_array().unwrap() {
        let found = config(&golden, case).count(number(&case["width"]), number(&case["height"]));
        assert_eq!(found, number(&case["count"]), "{case}");
    }
}
