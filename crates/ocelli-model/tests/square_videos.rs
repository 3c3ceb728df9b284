//! Videos of InternVL and SmolVLM against transformers to the last bit.
//!
//! The wanted values are in `golden/square_videos.json`, made by `golden/make_square_videos.py` with `InternVLVideoProcessor` and
//! `SmolVLMVideoProcessor` of transformers 5.23 and torchvision.

// The helpers beside the tests may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod support;

use ocelli_core::Picture;
use ocelli_data::{Filter, resize_torchvision};
use ocelli_model::video_processor::squares::{SquareRules, SquareVideoConfig};
use serde_json::{Value, json};

use support::{assert_same, golden, hash, number, source};

fn config(golden: &Value, case: &Value) -> SquareVideoConfig {
    let name = case["processor"].as_str().unwrap();
    let made = &golden["processors"][name];
    let rules = match made[0].as_str().unwrap() {
        "InternVLVideoProcessor" => SquareRules::InternVl { shift: None },
        _ => SquareRules::SmolVlm { longest_edge: 1456 },
    };
    SquareVideoConfig::from_json(made[1].to_string().as_bytes(), name, rules).unwrap()
}

#[test]
fn frames_and_numbers_are_those_of_transformers() {
    let golden = golden("square_videos.json");
    assert!(golden["transformers"].as_str().unwrap().starts_with("5.23"));
    for case in golden["cases"].as_array().unwrap() {
        let config = config(&golden, case);
        let (width, height) = (number(&case["width"]), number(&case["height"]));
        let (total, fps) = (number(&case["frames"]), case["fps"].as_f64());
        let name = format!("{}, {total} frames of {width}x{height}", case["processor"]);
        let indices = config.sample(total, fps).unwrap();
        assert_eq!(json!(indices), case["indices"], "{name}");
        let frames: Vec<Picture> = indices.iter().map(|&n| source(width, height, n)).collect();
        let filter = match config.rules {
            SquareRules::InternVl { .. } => Filter::Bicubic,
            SquareRules::SmolVlm { .. } => Filter::Lanczos,
        };
        let resize =
            |picture: &Picture, width, height| resize_torchvision(picture, width, height, filter);
        let planes = config.process(&frames, resize).unwrap();
        let [width, height] = config.size;
        let shape = json!([frames.len(), 3, height, width]);
        assert_eq!(shape, case["shape"], "{name}");
        assert_same(&planes, case, &name);
    }
}

#[test]
fn samples_are_those_of_transformers() {
    let golden = golden("square_videos.json");
    for case in golden["samples"].as_array().unwrap() {
        let found = config(&golden, case).sample(number(&case["total"]), case["fps"].as_f64());
        if !case["error"].is_null() {
            assert!(found.is_err(), "{case}");
        } else if case["indices"].is_null() {
            let found = found.unwrap();
            assert_eq!(found.len(), number(&case["count"]), "{case}");
            let words = found.iter().map(|&word| f32::from_bits(word as u32));
            assert_eq!(hash(&words.collect::<Vec<_>>()), case["hash"], "{case}");
        } else {
            assert_eq!(json!(found.unwrap()), case["indices"], "{case}");
        }
    }
}
