//! Every family against transformers: `tests/golden/make_families.py` made the checkpoints and the expected numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cases;

use std::collections::BTreeMap;

use burn::tensor::Device;
use cases::{Golden, golden, largest_difference};
use ocelli_model::checkpoint::Checkpoint;
use ocelli_model::network::Network;
use ocelli_model::ops::values;
use ocelli_model::weights::Weights;
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

fn with_golden(family: &str, test: impl FnOnce(&Checkpoint, &Golden)) {
    let bytes = std::fs::read(golden(family).join("cases.safetensors")).unwrap();
    let golden_tensors = Golden(SafeTensors::deserialize(&bytes).unwrap());
    let checkpoint = Checkpoint::load(&golden(family), &Device::flex())
        .unwrap_or_else(|e| panic!("{family}: {e}"));
    test(&checkpoint, &golden_tensors);
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
            let loss = golden.loss(&network, &device);
            let value = values(loss.clone())[0];
            let want = golden.floats("gradients.loss").unwrap().1[0];
            assert!(
                (value - want).abs() < 1e-5,
                "{family}: loss {value}, wanted {want}"
            );

            let gradients = tracked.gradients(&mut loss.backward());
            let json = std::fs::read(cases::golden(family).join("cases.json")).unwrap();
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

/// Layers that are computed anew in the backward pass give the same gradients, bit for bit.
#[test]
fn recomputed_layers_have_the_same_gradients() {
    for family in FAMILIES {
        with_golden(family, |checkpoint, golden| {
            let device = Device::flex().autodiff();
            let gradients = |tracked: Weights| {
                let network = Network::new(&checkpoint.config, &tracked);
                let loss = golden.loss(&network, &device);
                let value = values(loss.clone());
                let gradients = tracked.gradients(&mut loss.backward()).into_iter();
                let gradients: BTreeMap<String, Vec<f32>> =
                    gradients.map(|(name, g)| (name, values(g))).collect();
                (value, gradients)
            };
            let all = checkpoint.weights.tracked(|_| true);
            let kept = gradients(all.clone());
            let (loss, recomputed) = gradients(all.recomputing());
            assert_eq!(kept.0, loss, "{family}");
            assert_eq!(kept.1, recomputed, "{family}");
            // Nothing before the second layer is trained.
            let some = checkpoint
                .weights
                .tracked(|name| name.contains("layers.1.mlp"));
            let kept = gradients(some.clone());
            assert!(!kept.1.is_empty());
            assert_eq!(kept.1, gradients(some.recomputing()).1, "{family}");
        });
    }
}
