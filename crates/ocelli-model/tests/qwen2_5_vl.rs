//! The network against transformers: `tests/golden/make_qwen2_5_vl.py` made the checkpoint and the expected numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use ocelli_model::checkpoint::Checkpoint;
use ocelli_model::network::{Features, Network, PackedAttention};
use ocelli_model::ops::attention::Forest;
use ocelli_model::ops::gather::{RowSource, gather_rows};
use ocelli_model::ops::logprob::Choice;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/qwen2_5_vl")
}

/// Tensors of one case.
struct Case<'a> {
    tensors: &'a SafeTensors<'a>,
    name: &'a str,
}

impl Case<'_> {
    fn has(&self, tensor: &str) -> bool {
        self.tensors
            .tensor(&format!("{}.{tensor}", self.name))
            .is_ok()
    }

    fn floats(&self, tensor: &str) -> (Vec<usize>, Vec<f32>) {
        let view = self
            .tensors
            .tensor(&format!("{}.{tensor}", self.name))
            .unwrap();
        let values = match view.dtype() {
            Dtype::F32 => view
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::F16 => {
                let halves = view.data().as_chunks::<2>().0;
                halves
                    .iter()
                    .map(|b| burn::tensor::f16::from_le_bytes(*b).to_f32())
                    .collect()
            }
            other => panic!("{tensor} has type {other:?}"),
        };
        (view.shape().to_vec(), values)
    }

    fn integers(&self, tensor: &str) -> Vec<i64> {
        let view = self
            .tensors
            .tensor(&format!("{}.{tensor}", self.name))
            .unwrap();
        assert_eq!(view.dtype(), Dtype::I64);
        view.data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b))
            .collect()
    }

    fn tokens(&self) -> Vec<u32> {
        self.integers("input_ids")
            .into_iter()
            .map(|id| id as u32)
            .collect()
    }

    fn positions(&self) -> Vec<[i32; 3]> {
        let flat = self.integers("position_ids");
        let length = flat.len() / 3;
        (0..length)
            .map(|i| [0, 1, 2].map(|axis| flat[axis * length + i] as i32))
            .collect()
    }

    fn features(&self, network: &Network, device: &Device) -> Option<Features> {
        if !self.has("pixel_values") {
            return None;
        }
        let (shape, pixels) = self.floats("pixel_values");
        let grids: Vec<[usize; 3]> = self
            .integers("grid_thw")
            .chunks_exact(3)
            .map(|g| [g[0] as usize, g[1] as usize, g[2] as usize])
            .collect();
        let patches = Tensor::from_data(TensorData::new(pixels, [shape[0], shape[1]]), device);
        Some(network.vision(patches, &grids))
    }

    /// Last hidden states of the whole sequence.
    fn hidden(&self, network: &Network, device: &Device) -> Tensor<2> {
        let mut feature = 0;
        let image = network.config().image_token_id.unwrap();
        let rows: Vec<RowSource> = self
            .tokens()
            .into_iter()
            .map(|id| {
                if id == image {
                    feature += 1;
                    RowSource::Second(feature - 1)
                } else {
                    RowSource::First(id)
                }
            })
            .collect();
        let forest = Arc::new(Forest::sequences([rows.len()], true));
        let mut attend = PackedAttention { forest: &forest };
        network.hidden(
            rows,
            self.features(network, device),
            &self.positions(),
            &mut attend,
        )
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn largest_difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    got.iter()
        .zip(want)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn with_golden(test: impl Fn(&Checkpoint, &SafeTensors)) {
    let bytes = std::fs::read(golden().join("cases.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let checkpoint = Checkpoint::load(&golden(), &Device::flex()).unwrap();
    test(&checkpoint, &tensors);
}

const CASES: [&str; 4] = ["text", "one_image", "two_images", "partial_windows"];

#[test]
fn image_features_and_logits_agree() {
    with_golden(|checkpoint, tensors| {
        let device = Device::flex();
        let network = Network::new(&checkpoint.config, &checkpoint.weights);
        for name in CASES {
            let case = Case { tensors, name };
            if let Some(features) = case.features(&network, &device) {
                let difference =
                    largest_difference(&values(features.rows), &case.floats("image_features").1);
                assert!(difference < 1e-4, "{name}: features differ by {difference}");
            }
            let logits = values(network.logits(case.hidden(&network, &device)));
            let difference = largest_difference(&logits, &case.floats("logits").1);
            assert!(difference < 1e-4, "{name}: logits differ by {difference}");
        }
    });
}

#[test]
fn loss_and_gradients_agree() {
    with_golden(|checkpoint, tensors| {
        let device = Device::flex().autodiff();
        let case = Case {
            tensors,
            name: "two_images",
        };
        let tracked = checkpoint.weights.tracked(|_| true);
        let network = Network::new(&checkpoint.config, &tracked);
        let hidden = case.hidden(&network, &device);
        let tokens = case.tokens();
        let count = tokens.len() - 1;
        let rows = Arc::new((0..count as u32).collect());
        let choice = Arc::new(Choice {
            targets: tokens[1..].to_vec(),
            temperature: 1.0,
            banned: Vec::new(),
        });
        let scores = network.choice_logprob(gather_rows(hidden, rows), &choice);
        let loss = -scores.slice([0..count, 0..1]).mean();
        let mut gradients = tracked.gradients(&mut loss.backward());
        let difference = largest_difference(&values(loss), &case.floats("loss").1);
        assert!(difference < 1e-5, "loss differs by {difference}");
        for name in [
            "visual.patch_embed.proj.weight",
            "visual.merger.mlp.0.weight",
            "model.layers.0.self_attn.k_proj.weight",
            "model.embed_tokens.weight",
        ] {
            let got = values(gradients.remove(name).unwrap());
            let (_, want) = case.floats(&format!("gradient.{name}"));
            let norm = want.iter().map(|g| g * g).sum::<f32>().sqrt();
            let distance = got
                .iter()
                .zip(&want)
                .map(|(a, b)| (a - b).powi(2))
                .sum::<f32>()
                .sqrt();
            assert!(
                distance / norm < 1e-3,
                "{name}: relative distance {}",
                distance / norm
            );
        }
        // Every parameter has a gradient of the reference's length.
        let json = std::fs::read(golden().join("cases.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let norms = find_object(&json, "model.norm.weight").expect("gradient norms by name");
        for (name, gradient) in gradients {
            let norm = values(gradient)
                .iter()
                .map(|g| f64::from(*g).powi(2))
                .sum::<f64>()
                .sqrt();
            let want = norms[&name].as_f64().unwrap();
            assert!(
                (norm - want).abs() < 1e-3 * want + 1e-7,
                "{name}: norm {norm}, wanted {want}"
            );
        }
    });
}

/// The first object anywhere in `json` that has `key`.
fn find_object<'a>(
    json: &'a serde_json::Value,
    key: &str,
) -> Option<&'a serde_json::Map<String, serde_json::Value>> {
    match json {
        serde_json::Value::Object(map) if map.contains_key(key) => Some(map),
        serde_json::Value::Object(map) => map.values().find_map(|v| find_object(v, key)),
        serde_json::Value::Array(list) => list.iter().find_map(|v| find_object(v, key)),
        _ => None,
    }
}

#[test]
fn unreadable_checkpoints_say_what_is_wrong() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        std::fs::copy(golden().join(name), folder.path().join(name)).unwrap();
    };
    let message = |folder: &Path| Checkpoint::load(folder, &device).unwrap_err().to_string();

    assert!(message(folder.path()).contains("config.json"));
    copy("config.json");
    assert!(message(folder.path()).contains("model.safetensors"));

    let whole = std::fs::read(golden().join("model.safetensors")).unwrap();
    let weights = folder.path().join("model.safetensors");
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    assert!(message(folder.path()).contains("model.safetensors"));

    std::fs::write(&weights, &whole).unwrap();
    let config = std::fs::read_to_string(golden().join("config.json")).unwrap();
    std::fs::write(
        folder.path().join("config.json"),
        config.replace("\"depth\": 3", "\"depth\": 4"),
    )
    .unwrap();
    let text = message(folder.path());
    assert!(text.contains("visual.blocks.3"), "{text}");
    std::fs::write(
        folder.path().join("config.json"),
        config.replace("qwen2_5_vl\"", "llava\""),
    )
    .unwrap();
    let text = message(folder.path());
    assert!(
        text.contains("llava") && text.contains("supported"),
        "{text}"
    );
}
