//! Adapters against PEFT: `tests/golden/make_adapters.py` made adapters and expected numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cases;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use cases::{Golden, golden, largest_difference};
use ocelli_model::adapter::{AdapterConfig, AdapterKind, Targets, is_adapter_tensor};
use ocelli_model::checkpoint::Checkpoint;
use ocelli_model::network::Network;
use ocelli_model::ops::values;
use safetensors::SafeTensors;

const CASES: [(&str, &str); 10] = [
    ("qwen2_5_vl", "lora"),
    ("qwen2_5_vl", "rslora"),
    ("qwen2_5_vl", "dora"),
    ("qwen3_vl", "lora"),
    ("qwen3_vl", "rslora"),
    ("qwen3_vl", "dora"),
    ("internvl", "lora"),
    ("internvl", "rslora"),
    ("internvl", "dora"),
    ("internvl", "saved"),
];

fn adapter(family: &str, variant: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/adapters/{family}-{variant}"))
}

fn all_linear() -> AdapterConfig {
    AdapterConfig {
        kind: AdapterKind::Lora,
        r: 2,
        lora_alpha: 4.0,
        lora_dropout: 0.0,
        target_modules: Targets::default(),
        exclude_modules: None,
        modules_to_save: Vec::new(),
        use_rslora: false,
        use_dora: false,
    }
}

fn with_case(family: &str, variant: &str, test: impl FnOnce(&Checkpoint, &Golden, &Golden)) {
    let bytes = std::fs::read(golden(family).join("cases.safetensors")).unwrap();
    let inputs = Golden(SafeTensors::deserialize(&bytes).unwrap());
    let folder = adapter(family, variant);
    let bytes = std::fs::read(folder.join("case.safetensors")).unwrap();
    let wanted = Golden(SafeTensors::deserialize(&bytes).unwrap());
    let checkpoint = Checkpoint::load(&folder, &Device::flex())
        .unwrap_or_else(|e| panic!("{family}, {variant}: {e}"));
    test(&checkpoint, &inputs, &wanted);
}

fn logits(checkpoint: &Checkpoint, inputs: &Golden) -> Vec<f32> {
    let network = Network::new(&checkpoint.config, &checkpoint.weights);
    values(network.logits(inputs.hidden(&["gradients"], &network, &Device::flex())))
}

#[test]
fn logits_agree_merged_or_not() {
    for (family, variant) in CASES {
        with_case(family, variant, |checkpoint, inputs, wanted| {
            let want = wanted.floats("logits").unwrap().1;
            let difference = largest_difference(&logits(checkpoint, inputs), &want);
            assert!(difference < 1e-4, "{family}, {variant}: {difference}");
            let merged = checkpoint.merged();
            assert!(merged.weights.adapter().is_none());
            let difference = largest_difference(&logits(&merged, inputs), &want);
            assert!(
                difference < 1e-4,
                "{family}, {variant}, merged: {difference}"
            );
        });
    }
}

#[test]
fn loss_and_gradients_agree() {
    for (family, variant) in CASES {
        with_case(family, variant, |checkpoint, inputs, wanted| {
            let device = Device::flex().autodiff();
            let weights = &checkpoint.weights;
            let tracked = weights.tracked(|name| weights.trains(name));
            let network = Network::new(&checkpoint.config, &tracked);
            let loss = inputs.loss(&network, &device);
            let want = wanted.floats("loss").unwrap().1[0];
            let value = values(loss.clone())[0];
            assert!(
                (value - want).abs() < 1e-5,
                "{family}, {variant}: {value}, wanted {want}"
            );
            let gradients = tracked.gradients(&mut loss.backward());
            let expected: Vec<String> = wanted
                .0
                .names()
                .into_iter()
                .filter_map(|name| name.strip_prefix("gradient.").map(str::to_owned))
                .collect();
            assert_eq!(gradients.len(), expected.len(), "{family}, {variant}");
            for name in expected {
                let stored = wanted.floats(&format!("gradient.{name}")).unwrap().1;
                let own = checkpoint
                    .config
                    .published_name(name.strip_prefix("base_model.model.").unwrap());
                let gradient = values(gradients[&own].clone());
                let square = |x: f32| f64::from(x).powi(2);
                let norm: f64 = stored.iter().map(|x| square(*x)).sum::<f64>().sqrt();
                let pairs = gradient.iter().zip(&stored);
                let distance: f64 = pairs.map(|(a, b)| square(a - b)).sum::<f64>().sqrt();
                assert!(
                    distance < 1e-3 * norm + 1e-7,
                    "{family}, {variant}, {name}: distance {distance}, norm {norm}"
                );
            }
        });
    }
}

/// Names of modules are those of the model that transformers loads, in every family; and all-linear takes what PEFT takes.
#[test]
fn modules_are_named_and_chosen_as_peft_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/adapters/modules.json");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for (family, wanted) in json["all_linear"].as_object().unwrap() {
        let device = Device::flex();
        let checkpoint = Checkpoint::load(&golden(family), &device).unwrap();
        let cases = std::fs::read(golden(family).join("cases.json")).unwrap();
        let cases: serde_json::Value = serde_json::from_slice(&cases).unwrap();
        for (loaded, saved) in cases["modules"].as_object().unwrap() {
            let saved = saved.as_str().unwrap();
            assert_eq!(checkpoint.config.module_name(saved), *loaded, "{family}");
            assert_eq!(checkpoint.config.published_name(loaded), saved, "{family}");
        }
        let weights = all_linear()
            .attach(&checkpoint.config, &checkpoint.weights, "base", 1, &device)
            .unwrap();
        let mut found: Vec<String> = weights
            .iter()
            .filter_map(|(name, _)| name.strip_suffix(".lora_A.weight"))
            .map(|module| checkpoint.config.module_name(module))
            .collect();
        found.sort();
        let wanted: Vec<&str> = wanted
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m.as_str().unwrap())
            .collect();
        assert_eq!(found, wanted, "{family}");
    }
}

/// A new adapter changes nothing, with and without magnitudes; the model under it is shared and comes back without it.
#[test]
fn a_new_adapter_changes_nothing() {
    let device = Device::flex();
    let bytes = std::fs::read(golden("qwen3_vl").join("cases.safetensors")).unwrap();
    let inputs = Golden(SafeTensors::deserialize(&bytes).unwrap());
    let plain = Checkpoint::load(&golden("qwen3_vl"), &device).unwrap();
    let want = logits(&plain, &inputs);
    for use_dora in [false, true] {
        let config = AdapterConfig {
            use_dora,
            ..all_linear()
        };
        let mut adapted = plain.clone();
        adapted.weights = config
            .attach(&plain.config, &plain.weights, "base", 1, &device)
            .unwrap();
        let difference = largest_difference(&logits(&adapted, &inputs), &want);
        assert!(difference < 1e-5, "dora {use_dora}: {difference}");
        let off = adapted.weights.without_adapter();
        assert!(off.iter().all(|(name, _)| !is_adapter_tensor(name)));
        assert_eq!(off.scalars(), plain.weights.scalars());
    }
}

#[test]
fn a_written_adapter_reads_back() {
    let device = Device::flex();
    for (family, variant) in CASES {
        with_case(family, variant, |checkpoint, inputs, _| {
            let mut checkpoint = checkpoint.clone();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("adapter");
            // As a run keeps it: all-linear, where PEFT wrote its names out.
            if variant == "rslora" {
                let mut adapter = checkpoint.weights.adapter().unwrap().as_ref().clone();
                adapter.config.target_modules = Targets::default();
                checkpoint.weights = checkpoint.weights.with_adapter(adapter);
            }
            checkpoint.save(&path, |_| Ok(())).unwrap();
            assert!(!path.join("config.json").exists() && !path.join("model.safetensors").exists());
            let read = Checkpoint::load(&path, &device).unwrap();
            assert_eq!(logits(&read, inputs), logits(&checkpoint, inputs));
            let names = |c: &Checkpoint| {
                let adapter = c.weights.adapter().unwrap();
                c.weights
                    .iter()
                    .map(|(n, _)| n.to_owned())
                    .filter(|n| adapter.trains(n))
                    .collect::<Vec<_>>()
            };
            assert_eq!(names(&read), names(&checkpoint), "{family}, {variant}");
        });
    }
}

#[test]
fn what_is_not_computed_is_refused_with_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    let source = adapter("internvl", "rslora");
    let base = golden("internvl").display().to_string();
    let message = |change: &dyn Fn(&mut serde_json::Value)| {
        let text = std::fs::read(source.join("adapter_config.json")).unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        json["base_model_name_or_path"] = base.clone().into();
        change(&mut json);
        std::fs::write(folder.path().join("adapter_config.json"), json.to_string()).unwrap();
        let tensors = "adapter_model.safetensors";
        std::fs::copy(source.join(tensors), folder.path().join(tensors)).unwrap();
        Checkpoint::load(folder.path(), &Device::flex())
            .unwrap_err()
            .to_string()
    };
    for (key, value, wanted) in [
        ("peft_type", serde_json::json!("IA3"), "type `IA3`"),
        ("bias", serde_json::json!("all"), "let PEFT merge"),
        (
            "rank_pattern",
            serde_json::json!({"q_proj": 3}),
            "`rank_pattern`",
        ),
        ("r", serde_json::json!(3), "lora_A.weight` has shape"),
        ("use_dora", serde_json::json!(true), "lora_magnitude_vector"),
        (
            "base_model_name_or_path",
            serde_json::json!(""),
            "is missing",
        ),
        (
            "base_model_name_or_path",
            serde_json::json!("/nowhere"),
            "/nowhere",
        ),
    ] {
        let text = message(&|json| json[key] = value.clone());
        assert!(text.contains(wanted), "{key}: {text}");
    }
}
