//! Tokenizer, chat template, image processor and expander against transformers.
//!
//! The wanted values are in `golden/processing.json`, made by `golden/make_processing.py`; the versions of the Python
//! packages stand at its head.

// The helpers beside the tests may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::LazyLock;

use ocelli_core::Picture;
use ocelli_model::chat_template::ChatTemplate;
use ocelli_model::expander::{Span, expand, rope_index};
use ocelli_model::image_processor::{ImageProcessorConfig, smart_resize};
use ocelli_model::preset::Preset;
use ocelli_model::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

static GOLDEN: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_slice(&golden_file("processing.json")).unwrap());

fn golden_file(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::fs::read(folder.join(name)).unwrap()
}

fn cases(key: &str) -> &'static [Value] {
    GOLDEN[key].as_array().unwrap()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn grids(value: &Value) -> Vec<[usize; 3]> {
    serde_json::from_value(value.clone()).unwrap()
}

fn preset() -> Preset {
    Preset::find("tiny-qwen2_5_vl").unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_bytes(preset().file("tokenizer.json").unwrap(), "tokenizer.json").unwrap()
}

/// The picture that `noise` in the script makes.
fn noise(width: usize, height: usize) -> Picture {
    let mut state = (width * 1000 + height) as u32;
    let rgb: Vec<u8> = (0..width * height * 3)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    Picture::new(width, height, rgb)
}

fn fnv(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[test]
fn token_ids_and_texts_are_those_of_transformers() {
    let tokenizer = tokenizer();
    assert!(cases("tokens").len() >= 50);
    for case in cases("tokens") {
        let text = case["text"].as_str().unwrap();
        let found = tokenizer.encode(text).unwrap();
        assert_eq!(found, ids(&case["ids"]), "{text:?}");
        assert_eq!(
            tokenizer.decode(&found, false).unwrap(),
            case["decoded"],
            "{text:?}"
        );
        assert_eq!(
            tokenizer.decode(&found, true).unwrap(),
            case["plain"],
            "{text:?}"
        );
    }
}

#[test]
fn prompts_are_those_of_the_published_template() {
    let preset = preset();
    let template =
        ChatTemplate::from_files(|name| Ok(preset.file(name).map(Cow::Borrowed))).unwrap();
    for case in cases("chats") {
        let messages = case["messages"].as_array().unwrap().clone();
        let generate = case["add_generation_prompt"].as_bool().unwrap();
        let extra = Map::from_iter([("add_vision_id".to_owned(), case["add_vision_id"].clone())]);
        let found = template.render_values(messages, generate, &extra).unwrap();
        assert_eq!(found, case["text"], "{}", case["messages"]);
    }
}

#[test]
fn the_json_filter_writes_what_python_writes() {
    for case in cases("json") {
        let options: Vec<String> = case["options"]
            .as_object()
            .unwrap()
            .keys()
            .map(|name| format!("{name}=options.{name}"))
            .collect();
        let source = format!("{{{{ value|tojson({}) }}}}", options.join(", "));
        let extra = case.as_object().unwrap();
        let template = ChatTemplate::new(&source, "chat_template.jinja").unwrap();
        let found = template.render(&[], false, extra).unwrap();
        assert_eq!(found, case["text"], "{}", case["options"]);
    }
}

#[test]
fn picture_sizes_are_those_of_transformers() {
    for case in cases("sizes") {
        let [height, width, factor, low, high, tall, wide]: [usize; 7] =
            serde_json::from_value(case.clone()).unwrap();
        let found = smart_resize(height, width, factor, low, high).unwrap();
        assert_eq!(found, (tall, wide), "{case}");
    }
}

#[test]
fn patches_are_those_of_transformers_to_the_last_bit() {
    let bytes = preset().file("preprocessor_config.json").unwrap();
    let preset = ImageProcessorConfig::from_json(bytes, "preprocessor_config.json").unwrap();
    for case in cases("pictures") {
        let config = ImageProcessorConfig {
            min_pixels: number(&case["min_pixels"]),
            max_pixels: number(&case["max_pixels"]),
            ..preset.clone()
        };
        let (width, height) = (number(&case["width"]), number(&case["height"]));
        let resize = |_: &Picture, width, height| {
            Picture::new(
                width,
                height,
                golden_file(case["resized"].as_str().unwrap()),
            )
        };
        let patches = config.process(&noise(width, height), resize).unwrap();
        assert_eq!(json!(patches.grid_thw), case["grid"]);
        assert_eq!(config.grid(width, height).unwrap(), patches.grid_thw);
        assert_eq!(
            patches.pixels.len(),
            number(&case["rows"][0]) * number(&case["rows"][1])
        );
        let close = |found: &[f32], wanted: &Value| {
            for (index, value) in found.iter().enumerate() {
                assert_eq!(
                    *value,
                    wanted[index].as_f64().unwrap() as f32,
                    "{width}x{height}"
                );
            }
        };
        close(&patches.pixels[..3], &case["first"]);
        close(&patches.pixels[patches.pixels.len() - 3..], &case["last"]);
        let sum: f64 = patches.pixels.iter().map(|&value| f64::from(value)).sum();
        assert!(
            (sum - case["sum"].as_f64().unwrap()).abs() < 1e-6,
            "{width}x{height}"
        );
        let bytes: Vec<u8> = patches
            .pixels
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        assert_eq!(fnv(&bytes), case["hash"], "{width}x{height}");
        if let Some(file) = case["full"].as_str() {
            assert_eq!(bytes, golden_file(file));
        }
    }
}

#[test]
fn expanded_ids_and_positions_are_those_of_transformers() {
    let tokenizer = tokenizer();
    let special = tokenizer.special_tokens().unwrap();
    for case in cases("positions") {
        let prompt = tokenizer.encode(case["prompt"].as_str().unwrap()).unwrap();
        let grids = grids(&case["grids"]);
        let spans: Vec<Span> = grids
            .into_iter()
            .map(|grid| Span::merged(0, special.image_pad, grid, 2).unwrap())
            .collect();
        let found = expand("row", &prompt, &spans, &special.placeholders()).unwrap();
        assert_eq!(found, ids(&case["ids"]), "{}", case["prompt"]);
        let (positions, delta) = rope_index(&found, &spans, &special.placeholders()).unwrap();
        assert_eq!(json!(positions), case["positions"], "{}", case["prompt"]);
        assert_eq!(json!(delta), case["delta"], "{}", case["prompt"]);
    }
}

#[test]
fn files_of_different_models_are_refused_by_name() {
    let preset = Preset::find("tiny-qwen2_5_vl").unwrap();
    let files = |name: &str, from: &str, to: &str| -> std::collections::BTreeMap<String, Vec<u8>> {
        preset
            .files()
            .iter()
            .map(|(file, bytes)| {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                let changed = if *file == name {
                    text.replacen(from, to, 1)
                } else {
                    text.clone()
                };
                assert!(
                    *file != name || changed != text || from.is_empty(),
                    "{file}"
                );
                ((*file).to_owned(), changed.into_bytes())
            })
            .collect()
    };
    let check = |name: &str, from: &str, to: &str| {
        let files = files(name, from, to);
        let json = serde_json::from_slice(&files["config.json"]).unwrap();
        let config = ocelli_model::config::ModelConfig::parse(&json).unwrap();
        let same: ocelli_model::sight::Resize = |picture, _, _| picture.clone();
        let resizers = ocelli_model::sight::Resizers {
            bicubic: same,
            lanczos: same,
            torchvision: same,
            torchvision_lanczos: same,
        };
        let processor = ocelli_model::processor::Processor::from_files(&files, &config, resizers);
        processor.unwrap().check(&config)
    };
    check("config.json", "", "").unwrap();
    for (name, from, to, wanted) in [
        (
            "config.json",
            "\"vocab_size\": 768",
            "\"vocab_size\": 760",
            "largest id is 767",
        ),
        (
            "config.json",
            "\"image_token_id\": 757",
            "\"image_token_id\": 756",
            "<|image_pad|> is 757",
        ),
        (
            "config.json",
            "\"video_token_id\": 758",
            "\"video_token_id\": 757",
            "<|video_pad|> is 758",
        ),
        (
            "config.json",
            "\"patch_size\": 14",
            "\"patch_size\": 16",
            "patch_size is 14",
        ),
        (
            "config.json",
            "\"spatial_merge_size\": 2",
            "\"spatial_merge_size\": 1",
            "merge_size is 2",
        ),
        (
            "config.json",
            "\"in_channels\": 3",
            "\"in_channels\": 1",
            "colours is 3",
        ),
        (
            "preprocessor_config.json",
            "\"patch_size\": 14",
            "\"patch_size\": 7",
            "patch_size is 7",
        ),
    ] {
        let text = check(name, from, to).unwrap_err().to_string();
        assert!(
            text.contains(wanted) && text.contains("config.json has"),
            "{text}"
        );
    }
}
