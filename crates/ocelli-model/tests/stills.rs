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
use ocelli_model::expander::{Placeholder, Span, expand};
use ocelli_model::image_processor::ImageProcessorConfig;
use ocelli_model::image_processor::tiles::tile_text;
use ocelli_model::placeholder::replace_placeholders;
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

#[test]
fn pictures_that_cannot_be_used_are_told_with_a_mend() {
    let conversion = Conversion::FromPath;
    let decoding = |bytes: &[u8]| {
        decode_picture_as(bytes, "scans/7.png", conversion)
            .unwrap_err()
            .to_string()
    };
    let whole = encode_png(&source(30, 20, 0));
    let text = decoding(b"");
    assert!(text.starts_with("scans/7.png: the file is empty"), "{text}");
    let text = decoding(&whole[..whole.len() / 2]);
    assert!(
        text.starts_with("scans/7.png: damaged or cut off"),
        "{text}"
    );
    let thin = ImageProcessorConfig::default().process(&source(1, 5000, 0), bicubic);
    let text = thin.unwrap_err().to_string();
    assert!(
        text.contains("1x5000") && text.contains("200 times") && text.contains("crop it"),
        "{text}"
    );
    // As in transformers, the first frame of an animation counts.
    let golden = golden("stills.json");
    let kinds = golden["cases"].as_array().unwrap();
    assert!(kinds.iter().any(|case| case["kind"] == "gif, animated"));
}

#[test]
fn placeholders_without_pictures_name_the_row() {
    let spans = [Span::merged(0, 5, [1, 4, 4], 2).unwrap()];
    let placeholder = Placeholder {
        id: 5,
        name: "<|image_pad|>",
    };
    let text = expand("val-7", &[9, 5, 5], &spans, &[placeholder])
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("row val-7: the prompt has 2 <|image_pad|> but the row has 1 pictures"),
        "{text}"
    );
    let prompt = "<IMG_CONTEXT>\n<IMG_CONTEXT>\nWhat is it?";
    let text = replace_placeholders("val-7", prompt, "<IMG_CONTEXT>", &[tile_text(3, 256)])
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("row val-7: the prompt has 2 <IMG_CONTEXT> but the row has 1"),
        "{text}"
    );
}
