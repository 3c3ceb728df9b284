//! Every family against transformers: `tests/golden/make_families.py` made the checkpoints and the expected numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use ocelli_model::checkpoint::Checkpoint;
use ocelli_model::network::{Features, Network, PackedAttention};
use ocelli_model::ops::attention::Forest;
use ocelli_model::ops::gather::{RowSource, gather_rows};
use ocelli_model::ops::logprob::Choice;
use ocelli_model::ops::values;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

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

fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/families")
        .join(family)
}

struct Golden<'a>(SafeTensors<'a>);

impl Golden<'_> {
    fn floats(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let view = self.0.tensor(name).ok()?;
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::F32 => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::F16 => {
                let halves = bytes.as_chunks::<2>().0.iter();
                halves
                    .map(|b| burn::tensor::f16::from_le_bytes(*b).to_f32())
                    .collect()
            }
            other => panic!("{name} has type {other:?}"),
        };
        Some((view.shape().to_vec(), values))
    }

    fn integers(&self, name: &str) -> Option<Vec<i64>> {
        let view = self.0.tensor(name).ok()?;
        assert_eq!(view.dtype(), Dtype::I64);
        let chunks = view.data().as_chunks::<8>().0;
        Some(chunks.iter().map(|b| i64::from_le_bytes(*b)).collect())
    }

    fn names(&self) -> Vec<String> {
        let ending = ".input_ids";
        let names = self.0.names().into_iter();
        let mut names: Vec<String> = names
            .filter_map(|n| n.strip_suffix(ending).map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    fn tokens(&self, case: &str) -> Vec<u32> {
        let ids = self.integers(&format!("{case}.input_ids")).unwrap();
        ids.into_iter().map(|id| id as u32).collect()
    }

    fn features(&self, case: &str, network: &Network, device: &Device) -> Option<Features> {
        let (shape, rows) = self.floats(&format!("{case}.rows"))?;
        let grids = self.integers(&format!("{case}.grids")).unwrap();
        let grids: Vec<[usize; 3]> = grids
            .chunks_exact(3)
            .map(|g| [0, 1, 2].map(|i| g[i] as usize))
            .collect();
        let rows = Tensor::from_data(TensorData::new(rows, [shape[0], shape[1]]), device);
        Some(network.vision(rows, &grids))
    }

    /// Last hidden states of the cases, packed one after the other.
    fn hidden(&self, cases: &[&str], network: &Network, device: &Device) -> Tensor<2> {
        let placeholders = network.config().placeholder_tokens();
        let (mut rows, mut positions, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        let mut parts: Vec<Features> = Vec::new();
        let mut feature = 0;
        for case in cases {
            let tokens = self.tokens(case);
            let flat = self.integers(&format!("{case}.position_ids")).unwrap();
            let length = tokens.len();
            lengths.push(length);
            positions.extend((0..length).map(|i| [0, 1, 2].map(|a| flat[a * length + i] as i32)));
            rows.extend(tokens.into_iter().map(|id| {
                if placeholders.contains(&id) {
                    feature += 1;
                    RowSource::Second(feature - 1)
                } else {
                    RowSource::First(id)
                }
            }));
            parts.extend(self.features(case, network, device));
        }
        let features = (!parts.is_empty()).then(|| {
            let cat = |tensors: Vec<Tensor<2>>| Tensor::cat(tensors, 0);
            let depth = parts[0].deep.len();
            Features {
                deep: (0..depth)
                    .map(|i| cat(parts.iter().map(|p| p.deep[i].clone()).collect()))
                    .collect(),
                rows: cat(parts.iter().map(|p| p.rows.clone()).collect()),
            }
        });
        if let Some(features) = &features {
            assert_eq!(
                features.rows.dims()[0],
                feature as usize,
                "one feature a placeholder"
            );
        }
        let forest = Arc::new(Forest::sequences(lengths, true));
        let mut attend = PackedAttention { forest: &forest };
        network.hidden(rows, features, &positions, &mut attend)
    }
}

fn with_golden(family: &str, test: impl FnOnce(&Checkpoint, &Golden)) {
    let bytes = std::fs::read(golden(family).join("cases.safetensors")).unwrap();
    let golden_tensors = Golden(SafeTensors::deserialize(&bytes).unwrap());
    let checkpoint = Checkpoint::load(&golden(family), &Device::flex())
        .unwrap_or_else(|e| panic!("{family}: {e}"));
    test(&checkpoint, &golden_tensors);
}

fn largest_difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    got.iter()
        .zip(want)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn logits_agree() {
    for family in FAMILIES {
        with_golden(family, |checkpoint, golden| {
            let device = Device::flex();
            let network = Network::new(&checkpoint.config, &checkpoint.weights);
            for case in golden.names() {
                let logits = values(network.logits(golden.hidden(&[&case], &network, &device)));
                let want = golden.floats(&format!("{case}.logits")).unwrap().1;
                let difference = largest_difference(&logits, &want);
                assert!(
                    difference < 1e-4,
                    "{family}, {case}: logits differ by {difference}"
                );
            }
        });
    }
}

/// The reference pads on the left; here nothing is padded, and both sequences lie in one run of rows.
#[test]
fn packed_sequences_equal_a_padded_batch() {
    for family in FAMILIES {
        with_golden(family, |checkpoint, golden| {
            let device = Device::flex();
            let network = Network::new(&checkpoint.config, &checkpoint.weights);
            let cases = ["padded.0", "padded.1"];
            let logits = values(network.logits(golden.hidden(&cases, &network, &device)));
            let want: Vec<f32> = cases
                .iter()
                .flat_map(|case| golden.floats(&format!("{case}.logits")).unwrap().1)
                .collect();
            let difference = largest_difference(&logits, &want);
            assert!(difference < 1e-4, "{family}: logits differ by {difference}");
        });
    }
}

#[test]
fn loss_and_gradients_agree() {
    for family in FAMILIES {
        with_golden(family, |checkpoint, golden| {
            let device = Device::flex().autodiff();
            let tracked = checkpoint.weights.tracked(|_| true);
            let network = Network::new(&checkpoint.config, &tracked);
            let hidden = golden.hidden(&["gradients"], &network, &device);
            let tokens = golden.tokens("gradients");
            let count = tokens.len() - 1;
            let choice = Arc::new(Choice {
                targets: tokens[1..].to_vec(),
                temperature: 1.0,
                banned: Vec::new(),
            });
            let rows = Arc::new((0..count as u32).collect());
            let scores = network.choice_logprob(gather_rows(hidden, rows), &choice);
            let loss = scores.slice([0..count, 0..1]).mean().neg();
            let value = values(loss.clone())[0];
            let want = golden.floats("gradients.loss").unwrap().1[0];
            assert!(
                (value - want).abs() < 1e-5,
                "{family}: loss {value}, wanted {want}"
            );

            let gradients = tracked.gradients(&mut loss.backward());
            let json = std::fs::read(self::golden(family).join("cases.json")).unwrap();
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            let norms = json["gradient_norms"].as_object().unwrap();
            for (name, want) in norms {
                let gradient = values(gradients[name].clone());
                let norm = gradient
                    .iter()
                    .map(|g| f64::from(*g).powi(2))
                    .sum::<f64>()
                    .sqrt();
                let want = want.as_f64().unwrap();
                assert!(
                    (norm - want).abs() < 1e-3 * want + 1e-6,
                    "{family}, {name}: norm {norm}, wanted {want}"
                );
                if let Some((_, stored)) = golden.floats(&format!("gradients.gradient.{name}")) {
                    let distance: f64 = gradient
                        .iter()
                        .zip(&stored)
                        .map(|(a, b)| f64::from(a - b).powi(2))
                        .sum::<f64>()
                        .sqrt();
                    assert!(
                        distance < 1e-3 * norm,
                        "{family}, {name}: distance {distance}"
                    );
                }
            }
        });
    }
}
