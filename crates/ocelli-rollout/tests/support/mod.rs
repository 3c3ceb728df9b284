//! Whole folders under `golden`, and the formulas that their expected values were made with.
// Not every test file uses everything.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use ocelli_core::{Picture, Purpose, SeedKey, Sound};
use ocelli_model::checkpoint::Checkpoint;
use ocelli_model::processor::Context;
use ocelli_rollout::generate::{Request, TokenRules, generate};
use ocelli_rollout::{Policy, SamplingParams};
use serde_json::Value;

pub(crate) fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(family)
}

pub(crate) fn read(family: &str, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(family).join(file)).unwrap()).unwrap()
}

pub(crate) fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

pub(crate) fn numbers(value: &Value) -> Vec<u32> {
    let list = value.as_array().unwrap().iter();
    list.map(|n| n.as_u64().unwrap() as u32).collect()
}

/// The picture that `source` in `ocelli-model/tests/golden/formula_picture.py` makes.
pub(crate) fn picture(width: usize, height: usize, seed: usize) -> Picture {
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

/// The sound that `sound` in `ocelli-model/tests/golden/make_mel.py` makes.
pub(crate) fn sound(kind: &str, count: usize) -> Sound {
    let value = |n: i64| match kind {
        "noise" => ((n * 7919 + n * n * 31) % 4093 - 2046) as f64 / 4096.0,
        _ => {
            let phase = if kind == "chirp" { n * n / 90 } else { n * 11 } % 512;
            (((phase - 256).abs() - 128) * 12) as f64 / 4096.0
        }
    };
    Sound {
        rate: 16_000,
        samples: (0..count as i64).map(|n| value(n) as f32).collect(),
    }
}

pub(crate) fn policy(family: &str) -> Policy {
    let device = Device::flex();
    let checkpoint =
        Checkpoint::load(&folder(family), &device).unwrap_or_else(|e| panic!("{family}: {e}"));
    Policy::new(checkpoint, &device).unwrap_or_else(|e| panic!("{family}: {e}"))
}

/// The most likely answer of so many tokens.
pub(crate) fn greedy(
    policy: &Policy,
    context: Context,
    length: usize,
    banned: Vec<u32>,
) -> Vec<u32> {
    let rules = TokenRules {
        stop: Vec::new(),
        banned,
    };
    let request = Request {
        context: Arc::new(context),
        samples: vec![SeedKey::new(0, Purpose::Sampling)],
    };
    let params = SamplingParams::greedy(length);
    let device = Device::flex();
    let mut found = generate(&policy.network(), &[request], &params, &rules, &device);
    found.remove(0).remove(0).token_ids
}
