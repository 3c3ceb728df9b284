//! Still pictures of the Qwen-VL family, from the file to the patches, against transformers to the last bit.
//!
//! The wanted values are in `golden/stills.json`, made by `golden/make_stills.py` with `Qwen2VLImageProcessorPil` of
//! transformers 5.23 and Pillow 13, which Qwen2-VL, Qwen2.5-VL and Qwen3-VL share.

// The helpers beside the tests may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine;
use ocelli_core::Picture;
use ocelli_data::conversion::Conversion;
use ocelli_data::{decode_picture_as, encode_png};
use ocelli_model::image_processor::ImageProcessorConfig;
use serde_json::{Value, json};

use support::{assert_same, bicubic, golden, number, source};

fn check(config: &ImageProcessorConfig, picture: &Picture, wanted: &Value, name: &str) {
    let patches = config.process(picture, bicubic).unwrap();
    assert_eq!(json!(patches.grid_thw), wanted["grid"], "{name}");
    assert_same(&patches.pixels, wanted, name);
}

#[test]
fn patches_are_those_of_transformers_from_the_file_on() {
    let golden = golden("stills.json");
    assert!(golden["transformers"].as_str().unwrap().starts_with("5.23"));
    assert!(golden["pillow"].as_str().unwrap().starts_with("13."));
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 100);
    for case in cases {
        let family = case["family"].as_str().unwrap();
        let bytes = golden["families"][family].to_string();
        let config = ImageProcessorConfig::from_json(bytes.as_bytes(), family).unwrap();
        let (file, name) = match case["file"].as_str() {
            Some(file) => (
                base64::engine::general_purpose::STANDARD
                    .decode(file)
                    .unwrap(),
                case["kind"].to_string(),
            ),
            None => {
                let (width, height) = (number(&case["width"]), number(&case["height"]));
                let name = format!("{family}, {width}x{height}");
                (encode_png(&source(width, height, 0)), name)
            }
        };
        let decoded = |conversion| decode_picture_as(&file, &name, conversion).unwrap();
        check(
            &config,
            &decoded(Conversion::FromPath),
            &case["path"],
            &format!("{name}, path"),
        );
        if !case["picture"].is_null() {
            check(
                &config,
                &decoded(Conversion::FromPicture),
                &case["picture"],
                &format!("{name}, picture"),
            );
        }
    }
}
