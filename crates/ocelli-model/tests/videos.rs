//! Videos of the Qwen-VL family against transformers to the last bit.
//!
//! The wanted values are in `golden/videos.json`, made by `golden/make_videos.py` with `Qwen2VLVideoProcessor`,
//! `Qwen3VLVideoProcessor` and `Qwen3VLProcessor` of transformers 5.23 and torchvision.

// The helpers beside the tests may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod support;

use ocelli_core::Picture;
use ocelli_data::{Filter, resize_torchvision};
use ocelli_model::video_processor::{VideoFamily, VideoProcessorConfig, timestamp_text};
use serde_json::{Value, json};

use support::{assert_same, golden, hash, number, source};

fn config(golden: &Value, case: &Value) -> VideoProcessorConfig {
    let family = case["family"].as_str().unwrap();
    let bytes = golden["families"][family].to_string();
    VideoProcessorConfig::from_json(bytes.as_bytes(), family).unwrap()
}

/// The hash of `indices_hash` in the script.
fn hash_words(words: impl Iterator<Item = usize>) -> String {
    let bits: Vec<f32> = words.map(|word| f32::from_bits(word as u32)).collect();
    hash(&bits)
}

#[test]
fn frames_patches_and_texts_are_those_of_transformers() {
    let golden = golden("videos.json");
    assert!(golden["transformers"].as_str().unwrap().starts_with("5.23"));
    for case in golden["cases"].as_array().unwrap() {
        let config = config(&golden, case);
        let (width, height) = (number(&case["width"]), number(&case["height"]));
        let (total, fps) = (number(&case["frames"]), case["fps"].as_f64());
        let name = format!("{}, {total} frames of {width}x{height}", case["family"]);
        let indices = config.sample(total, fps).unwrap();
        assert_eq!(json!(indices), case["indices"], "{name}");
        let frames: Vec<Picture> = indices.iter().map(|&n| source(width, height, n)).collect();
        let resize = |picture: &Picture, width, height| {
            resize_torchvision(picture, width, height, Filter::Bicubic)
        };
        let patches = config.process(&frames, resize).unwrap();
        assert_eq!(json!(patches.grid_thw), case["grid"], "{name}");
        assert_same(&patches.pixels, case, &name);
        let seconds = config.second_per_grid(indices.len(), total, fps);
        assert_eq!(Some(seconds), case["second_per_grid"].as_f64(), "{name}");
        if config.family == VideoFamily::Qwen3Vl {
            let [_, rows, columns] = patches.grid_thw;
            let tokens = rows * columns / config.merge_size.pow(2);
            let text = timestamp_text(&config.timestamps(&indices, fps), tokens);
            let end = text.rfind("<|vision_start|>").unwrap() - 14;
            assert!(
                text[end..].starts_with(case["text_end"].as_str().unwrap()),
                "{name}: {}",
                &text[end..]
            );
            assert_eq!(
                hash_words(text.chars().map(|c| c as usize)),
                case["text_hash"],
                "{name}"
            );
        }
    }
}

#[test]
fn samples_are_those_of_transformers() {
    let golden = golden("videos.json");
    for case in golden["samples"].as_array().unwrap() {
        let found = config(&golden, case).sample(number(&case["total"]), case["fps"].as_f64());
        if !case["error"].is_null() {
            assert!(found.is_err(), "{case}");
            continue;
        }
        let found = found.unwrap();
        assert_eq!(found.len(), number(&case["count"]), "{case}");
        assert_eq!(found.last(), Some(&number(&case["last"])), "{case}");
        assert_eq!(hash_words(found.into_iter()), case["hash"], "{case}");
    }
}

#[test]
fn sizes_are_those_of_transformers() {
    let golden = golden("videos.json");
    for case in golden["grids"].as_array().unwrap() {
        let config = config(&golden, case);
        let frames = number(&case["frames"]);
        let [_, rows, columns] = config
            .grid(frames, number(&case["width"]), number(&case["height"]))
            .unwrap();
        let size = [columns * config.patch_size, rows * config.patch_size];
        assert_eq!(json!(size), case["size"], "{case}");
    }
}
