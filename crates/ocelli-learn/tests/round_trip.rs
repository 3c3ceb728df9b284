//! Five steps of training in every family, whole and with adapters, saved and read back. `OCELLI_ROUND_TRIP=DIR` keeps the
//! checkpoints with the logits they should give, for `tests/golden/check_round_trip.py` to try in transformers and PEFT.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../ocelli-model/tests/cases/mod.rs"]
mod cases;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use cases::{Golden, golden, largest_difference};
use ocelli_core::{Purpose, SeedKey};
use ocelli_learn::optimizer::{OptimConfig, Optimizer, Scheduler};
use ocelli_model::adapter::{AdapterConfig, AdapterKind, Targets};
use ocelli_model::checkpoint::{Checkpoint, write_tensors};
use ocelli_model::network::Network;
use ocelli_model::ops::values;
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

/// What is trained: `None` for the whole model.
fn ways(family: &str) -> [(&'static str, Option<AdapterConfig>); 3] {
    let lora = AdapterConfig {
        kind: AdapterKind::Lora,
        r: 4,
        lora_alpha: 8.0,
        lora_dropout: 0.1,
        target_modules: Targets::default(),
        exclude_modules: None,
        modules_to_save: Vec::new(),
        use_rslora: false,
        use_dora: false,
    };
    let saved = match family {
        "qwen2_vl" | "qwen2_5_vl" | "qwen3_vl" => &["merger"][..],
        "internvl" | "internvl_large" | "qwen2_audio" => &["multi_modal_projector"],
        "smolvlm" | "idefics3" => &["modality_projection"],
        _ => &[],
    };
    let dora = AdapterConfig {
        target_modules: Targets::Pattern(r".*\.(q_proj|k_proj|v_proj|down_proj|qkv)".into()),
        modules_to_save: saved.iter().map(|name| (*name).to_owned()).collect(),
        use_rslora: true,
        use_dora: true,
        ..lora.clone()
    };
    [("full", None), ("lora", Some(lora)), ("dora", Some(dora))]
}

fn logits(checkpoint: &Checkpoint, case: &Golden) -> Tensor<2> {
    let network = Network::new(&checkpoint.config, &checkpoint.weights);
    network.logits(case.hidden(&["gradients"], &network, &Device::flex()))
}

/// Trains on the next tokens of the case; returns the first and the last loss.
fn train(checkpoint: &mut Checkpoint, case: &Golden, recompute: bool) -> (f32, f32) {
    let mut optimizer = Optimizer::new(&OptimConfig {
        learning_rate: 1e-3,
        lr_scheduler_type: Scheduler::Constant,
        ..OptimConfig::default()
    });
    let device = Device::flex().autodiff();
    let mut losses = Vec::new();
    for step in 0..5 {
        let weights = &mut checkpoint.weights;
        let gradients = {
            let mut tracked = weights.tracked(|name| weights.trains(name));
            if recompute {
                tracked = tracked.recomputing();
            }
            let key = SeedKey::new(1, Purpose::Dropout).step(step);
            let network = Network::new(&checkpoint.config, &tracked.clone().with_dropout(key));
            let loss = case.loss(&network, &device);
            losses.push(values(loss.clone())[0]);
            tracked.gradients(&mut loss.backward())
        };
        assert!(optimizer.step(weights, gradients, step, 5).applied);
    }
    (losses[0], losses[4])
}

#[test]
fn trained_models_and_adapters_read_back() {
    let kept = std::env::var_os("OCELLI_ROUND_TRIP").map(PathBuf::from);
    let temporary = tempfile::tempdir().unwrap();
    let folder = kept.as_deref().unwrap_or(temporary.path());
    let device = Device::flex();
    for family in FAMILIES {
        let bytes = std::fs::read(golden(family).join("cases.safetensors")).unwrap();
        let case = Golden(SafeTensors::deserialize(&bytes).unwrap());
        for (way, adapter) in ways(family) {
            let mut checkpoint = Checkpoint::load(&golden(family), &device).unwrap();
            if let Some(adapter) = &adapter {
                let base = std::fs::canonicalize(golden(family)).unwrap();
                let base = base.display().to_string();
                checkpoint.weights = adapter
                    .attach(&checkpoint.config, &checkpoint.weights, &base, 5, &device)
                    .unwrap();
            }
            let begun = values(logits(&checkpoint, &case));
            // Dropout falls the same way in the second pass, so that steps are the same.
            let mut twin = checkpoint.clone();
            let (first, last) = train(&mut checkpoint, &case, false);
            assert_eq!(
                (first, last),
                train(&mut twin, &case, true),
                "{family}, {way}"
            );
            assert!(last < first, "{family}, {way}: loss {first}, then {last}");
            let trained = logits(&checkpoint, &case);
            let [rows, columns] = trained.dims();
            let want = values(trained.clone());
            assert_eq!(want, values(logits(&twin, &case)), "{family}, {way}");
            assert!(largest_difference(&begun, &want) > 1e-3, "{family}, {way}");

            let path = folder.join(format!("{family}-{way}"));
            checkpoint.save(&path, |_| Ok(())).unwrap();
            let read = Checkpoint::load(&path, &device).unwrap();
            assert_eq!(values(logits(&read, &case)), want, "{family}, {way}");
            if adapter.is_some() {
                let path = folder.join(format!("{family}-{way}-merged"));
                read.merged().save(&path, |_| Ok(())).unwrap();
                let merged = Checkpoint::load(&path, &device).unwrap();
                let difference = largest_difference(&values(logits(&merged, &case)), &want);
                assert!(difference < 1e-4, "{family}, {way}: {difference}");
                write_logits(&path, &trained, [rows, columns]);
                let off = Checkpoint {
                    weights: read.weights.without_adapter(),
                    ..read
                };
                let plain = values(logits(&off, &case));
                assert!(largest_difference(&plain, &begun) < 1e-5, "{family}, {way}");
            }
            write_logits(&path, &trained, [rows, columns]);
        }
    }
}

fn write_logits(folder: &Path, logits: &Tensor<2>, shape: [usize; 2]) {
    let flat = logits.clone().reshape([shape[0] * shape[1]]);
    let tensors = [("logits", &shape[..], &flat)];
    write_tensors(
        &folder.join("expected/logits.safetensors"),
        tensors.into_iter(),
    )
    .unwrap();
}
