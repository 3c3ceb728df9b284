//! Whole checkpoints as a user has them: the same conversation gives the same ids and the same greedy answer as
//! transformers' processor and model. `tests/golden/make_prompts.py` made the folders.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use ocelli_core::{Message, Part, Picture, Purpose, Role, SeedKey};
use ocelli_model::checkpoint::Checkpoint;
use ocelli_rollout::generate::{Request, TokenRules, generate};
use ocelli_rollout::{Policy, SamplingParams};
use serde_json::Value;

const FAMILIES: [&str; 7] = [
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "internvl",
    "smolvlm",
    "qwen3",
    "llama",
];

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(family)
}

fn expected(family: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(family).join("expected.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<u32> {
    let list = value.as_array().unwrap().iter();
    list.map(|n| n.as_u64().unwrap() as u32).collect()
}

/// The picture that `source` in `ocelli-model/tests/golden/formula_picture.py` makes.
fn source(width: usize, height: usize, seed: usize) -> Picture {
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

fn policy(family: &str) -> Policy {
    let device = Device::flex();
    let checkpoint =
        Checkpoint::load(&folder(family), &device).unwrap_or_else(|e| panic!("{family}: {e}"));
    Policy::new(checkpoint, &device).unwrap_or_else(|e| panic!("{family}: {e}"))
}

#[test]
fn conversations_give_the_ids_and_answers_of_transformers() {
    for family in FAMILIES {
        let (policy, expected) = (policy(family), expected(family));
        let pictures = expected["pictures"].as_array().unwrap();
        let images: Vec<_> = pictures
            .iter()
            .enumerate()
            .map(|(i, size)| {
                let [width, height] = [0, 1].map(|side| size[side].as_u64().unwrap() as usize);
                let picture = source(width, height, i);
                let patches = policy.processor.image(&picture).unwrap();
                let grid = policy.processor.grid(width, height).unwrap();
                assert_eq!(patches.grid(), grid, "{family}: picture {i}");
                patches
            })
            .collect();
        let question = Part::Text {
            text: expected["question"].as_str().unwrap().to_owned(),
        };
        let shown = (0..images.len()).map(|index| Part::Image { index });
        let messages = [Message {
            role: Role::User,
            content: shown.chain([question]).collect(),
        }];
        let context = policy.processor.prompt("row", &messages, &images).unwrap();
        assert_eq!(context.ids, numbers(&expected["input_ids"]), "{family}");
        let grids: Vec<_> = images.iter().map(|image| image.grid()).collect();
        let length = policy.processor.prompt_length("row", &messages, &grids);
        assert_eq!(length.unwrap(), context.ids.len(), "{family}");

        let answer = numbers(&expected["answer"]);
        let rules = TokenRules {
            stop: Vec::new(),
            banned: numbers(&expected["banned"]),
        };
        let request = Request {
            context: Arc::new(context),
            samples: vec![SeedKey::new(0, Purpose::Sampling)],
        };
        let params = SamplingParams::greedy(answer.len());
        let device = Device::flex();
        let found = generate(&policy.network(), &[request], &params, &rules, &device);
        assert_eq!(found[0][0].token_ids, answer, "{family}");
    }
}

#[test]
fn turns_end_where_the_template_ends_them() {
    for (family, end) in [
        ("qwen2_5_vl", "<|im_end|>"),
        ("internvl", "<|im_end|>"),
        ("smolvlm", "<end_of_utterance>"),
        ("llama", "<|im_end|>"),
    ] {
        let policy = policy(family);
        let id = policy.processor.tokenizer.id(end).unwrap();
        assert_eq!(policy.processor.end_of_turn, id, "{family}");
        assert!(policy.rules.stop.contains(&id), "{family}");
        // What follows a turn does not begin with its end twice.
        let next = [Message::text(Role::User, "And now?")];
        let [ended, cut] = [true, false].map(|ended| {
            let ids = policy.processor.continuation(&next, ended);
            ids.unwrap_or_else(|e| panic!("{family}: {e}"))
        });
        assert_eq!(cut[0], id, "{family}");
        assert_eq!(cut[1..], ended, "{family}");
    }
}

#[test]
fn a_language_model_is_shown_no_pictures() {
    let policy = policy("llama");
    let error = policy.processor.image(&source(9, 9, 0)).unwrap_err();
    assert!(error.to_string().contains("reads no pictures"), "{error}");
}
