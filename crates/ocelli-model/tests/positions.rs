//! Positions of text, pictures and videos against `get_rope_index` of transformers.
//!
//! The wanted values are in `golden/positions.json`, made by `golden/make_positions.py`, which also shows that padding on either
//! side changes none of them: a row that stands alone, as ours do, is what a padded row is.

// The helpers beside the tests may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod support;

use ocelli_model::expander::{Span, expand, rope_index};
use ocelli_model::tokenizer::SpecialTokens;
use serde_json::Value;

use support::{golden, number};

const MERGE: usize = 2;
const SPECIAL: SpecialTokens = SpecialTokens {
    im_start: 1,
    im_end: 2,
    endoftext: 0,
    vision_start: 3,
    vision_end: 4,
    image_pad: 5,
    video_pad: 6,
    vision_pad: 7,
};

/// The runs of a case's placeholders, as each family has them.
fn spans(family: &str, parts: &Value, tokens_per_second: f32) -> Vec<Span> {
    let mut spans = Vec::new();
    for part in parts.as_array().unwrap() {
        let Some(part) = part.as_array() else {
            continue;
        };
        let grid = [1, 2, 3].map(|i| number(&part[i]));
        if part[0] == "image" {
            spans.push(Span::merged(0, SPECIAL.image_pad, grid, MERGE).unwrap());
            continue;
        }
        let [time, height, width] = grid;
        let whole = Span::merged(0, SPECIAL.video_pad, grid, MERGE).unwrap();
        match family {
            "qwen2_vl" => spans.push(whole),
            "qwen2_5_vl" => spans.push(Span {
                interval: tokens_per_second * part[4].as_f64().unwrap() as f32,
                ..whole
            }),
            _ => {
                let frame = [1, height, width];
                let frame = Span::merged(0, SPECIAL.video_pad, frame, MERGE).unwrap();
                spans.extend(std::iter::repeat_n(frame, time));
            }
        }
    }
    spans
}

/// The three lists of a case as one of triples.
fn positions(case: &Value) -> Vec<[i32; 3]> {
    let axes: Vec<Vec<i32>> = case["positions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|axis| {
            let words = axis.as_str().unwrap().split_whitespace();
            words.map(|word| word.parse().unwrap()).collect()
        })
        .collect();
    (0..axes[0].len())
        .map(|i| [axes[0][i], axes[1][i], axes[2][i]])
        .collect()
}

#[test]
fn positions_are_those_of_transformers() {
    let golden = golden("positions.json");
    assert!(golden["transformers"].as_str().unwrap().starts_with("5.23"));
    assert!(golden["padded_left"] == true && golden["padded_right"] == true);
    let tokens_per_second = golden["tokens_per_second"].as_f64().unwrap() as f32;
    for case in golden["cases"].as_array().unwrap() {
        let family = case["family"].as_str().unwrap();
        let name = format!("{family}, {}", case["parts"]);
        let spans = spans(family, &case["parts"], tokens_per_second);
        let wanted: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        let placeholders = SPECIAL.placeholders();
        let (found, delta) = rope_index(&wanted, &spans, &placeholders).unwrap();
        assert_eq!(found, positions(case), "{name}");
        assert_eq!(i64::from(delta), case["delta"].as_i64().unwrap(), "{name}");
        // One placeholder a run, as a template writes it, grows to the same ids.
        let is_pad = |id: &u32| placeholders.iter().any(|p| p.id == *id);
        let mut short = wanted.clone();
        short.dedup_by(|a, b| a == b && is_pad(a));
        assert_eq!(
            expand("row", &short, &spans, &placeholders).unwrap(),
            wanted,
            "{name}"
        );
    }
}
