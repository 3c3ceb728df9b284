//! Sampling with the key-value cache for every family: greedy continuations equal transformers', and what is stored as
//! log-probability equals what scoring the whole sequence gives. `ocelli-model/tests/golden/make_families.py` made the
//! checkpoints and the expected tokens.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use ocelli_core::{Purpose, SeedKey};
use ocelli_model::checkpoint::Checkpoint;
use ocelli_model::image_processor::PictureGrid;
use ocelli_model::network::{Network, PackedAttention};
use ocelli_model::ops::attention::Forest;
use ocelli_model::ops::gather::{RowSource, gather_rows};
use ocelli_model::ops::logprob::Choice;
use ocelli_model::ops::values;
use ocelli_model::percept::{Extent, Percept};
use ocelli_model::processor::Context;
use ocelli_rollout::SamplingParams;
use ocelli_rollout::generate::{PackedContexts, Request, TokenRules, generate};
use safetensors::SafeTensors;

const FAMILIES: [&str; 11] = [
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "internvl",
    "internvl_large",
    "smolvlm",
    "idefics3",
    "qwen2_audio",
    "qwen2",
    "qwen3",
    "llama",
];
/// Ordinary tokens of the golden models; markers and placeholders follow them.
const ORDINARY: u32 = 88;
const VOCABULARY: u32 = 96;

fn integers(tensors: &SafeTensors, name: &str) -> Vec<i64> {
    let view = tensors.tensor(name).unwrap();
    let words = view.data().as_chunks::<8>().0;
    words.iter().map(|b| i64::from_le_bytes(*b)).collect()
}

/// The prompt of the case `greedy`, made by hand from what transformers was given.
fn context(tensors: &SafeTensors) -> Context {
    let ids: Vec<u32> = integers(tensors, "greedy.input_ids")
        .into_iter()
        .map(|id| id as u32)
        .collect();
    let flat = integers(tensors, "greedy.position_ids");
    let positions: Vec<[i32; 3]> = (0..ids.len())
        .map(|i| [0, 1, 2].map(|axis| flat[axis * ids.len() + i] as i32))
        .collect();
    let images = match tensors.tensor("greedy.rows") {
        Err(_) => Vec::new(),
        Ok(rows) => {
            let grid = integers(tensors, "greedy.grids");
            let halves = rows.data().as_chunks::<2>().0.iter();
            vec![Arc::new(Percept {
                extent: Extent::Picture(PictureGrid {
                    thw: [0, 1, 2].map(|i| grid[i] as usize),
                    split: [0, 0],
                }),
                rows: halves
                    .map(|b| burn::tensor::f16::from_le_bytes(*b).to_f32())
                    .collect(),
            })]
        }
    };
    Context {
        next_position: positions.iter().flatten().max().unwrap() + 1,
        ids,
        percepts: images,
        positions,
    }
}

/// Log-probabilities of `tokens` after the context, all in one pass.
fn scores(network: &Network, context: &Context, tokens: &[u32], banned: &[u32]) -> Vec<f32> {
    let device = Device::flex();
    let packed = PackedContexts::new(network, &[context], &device);
    let (mut rows, mut positions) = (packed.rows, packed.positions);
    let first = rows.len() as u32 - 1;
    for (i, &token) in tokens[..tokens.len() - 1].iter().enumerate() {
        rows.push(RowSource::First(token));
        positions.push([context.next_position + i as i32; 3]);
    }
    let forest = Arc::new(Forest::sequences([rows.len()], true));
    let mut attend = PackedAttention { forest: &forest };
    let hidden = network.hidden(rows, packed.features, &positions, &mut attend);
    let sources = Arc::new((first..first + tokens.len() as u32).collect());
    let choice = Arc::new(Choice {
        targets: tokens.to_vec(),
        temperature: 1.0,
        banned: banned.to_vec(),
    });
    let scores = network.choice_logprob(gather_rows(hidden, sources), &choice);
    values(scores).chunks_exact(3).map(|row| row[0]).collect()
}

#[test]
fn greedy_continuations_are_transformers_and_their_scores_hold() {
    for family in FAMILIES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../ocelli-model/tests/golden/families")
            .join(family);
        let device = Device::flex();
        let checkpoint = Checkpoint::load(&folder, &device).unwrap();
        let network = Network::new(&checkpoint.config, &checkpoint.weights);
        let bytes = std::fs::read(folder.join("cases.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let context = Arc::new(context(&tensors));
        let wanted: Vec<u32> = integers(&tensors, "greedy.generated")
            .into_iter()
            .map(|id| id as u32)
            .collect();
        let rules = TokenRules {
            stop: Vec::new(),
            banned: (ORDINARY..VOCABULARY).collect(),
        };
        let mut params = SamplingParams::greedy(wanted.len());
        let sample = |params: &SamplingParams| {
            let request = Request {
                context: context.clone(),
                samples: vec![SeedKey::new(7, Purpose::Sampling)],
            };
            generate(&network, &[request], params, &rules, &device)[0][0].clone()
        };
        assert_eq!(sample(&params).token_ids, wanted, "{family}");

        params.temperature = 1.0;
        let completion = sample(&params);
        let again = scores(&network, &context, &completion.token_ids, &rules.banned);
        for (stored, scored) in completion.logprobs.iter().zip(&again) {
            assert!(
                (stored - scored).abs() < 1e-4,
                "{family}: {stored} while sampling, {scored} when scored"
            );
        }
    }
}
