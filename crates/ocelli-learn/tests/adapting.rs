//! Runs that train an adapter or a part of the model.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use ocelli_core::Metrics;
use ocelli_learn::observer::Silent;
use ocelli_learn::run::Run;
use ocelli_learn::train::{Finished, plan, resume, train};
use ocelli_learn::{LearnError, Observer, Recipe};
use ocelli_model::checkpoint::{Checkpoint, read_tensor_bytes};
use ocelli_model::part::{Part, part_of};
use serde_json::Value;

const MODEL: &str = r#"
[model]
path = "tiny-qwen2_5_vl"
overrides = { vision_hidden_size = 32, vision_depth = 1, vision_intermediate_size = 32, num_hidden_layers = 2 }
"#;

const ADAPTER: &str = r#"adapter = { kind = "lora", r = 4, lora_alpha = 8, lora_dropout = 0.1, modules_to_save = ["merger"] }
"#;

const STAGES: &str = r#"
[[stage]]
kind = "sft"
data = { generator = "pointing", rows = 6, demonstration = "<answer>{answer}</answer>" }
batch = { size = 2 }
optim = { learning_rate = 5e-3 }
exit = { max_steps = 4 }

[[stage]]
kind = "grpo"
data = { generator = "pointing", rows = 6 }
batch = { size = 2 }
rollout = { num_generations = 4, max_completion_length = 8 }
reward = [ { verifier = "tags", partial = true }, { verifier = "box_iou" } ]
algorithm = { preset = "grpo", beta = 0.1 }
optim = { learning_rate = 1e-3 }
exit = { max_steps = 3 }
"#;

fn recipe(folder: &Path, text: &str, changes: &[&str]) -> Recipe {
    let path = folder.join("recipe.toml");
    fs::write(&path, text).unwrap();
    let mut changes: Vec<String> = changes.iter().map(|s| (*s).to_owned()).collect();
    changes.push(format!("run.output_dir={:?}", folder.join("runs")));
    Recipe::read(&path, &changes).unwrap()
}

fn run(recipe: &Recipe, name: &str) -> Result<Finished, LearnError> {
    let stop = AtomicBool::new(false);
    train(recipe, name, Path::new(""), &mut Silent, &stop)
}

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(path).unwrap();
    read_tensor_bytes(&bytes).unwrap().into_iter().collect()
}

/// Sets the flag after some steps.
struct StopAfter<'a> {
    steps: u64,
    stop: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn message(&mut self, _: &str) {}
    fn begin_stage(&mut self, _: &str, _: u64) {}
    fn step(&mut self, _: u64, _: &Metrics) {
        self.steps -= 1;
        if self.steps == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn end_stage(&mut self) {}
}

#[test]
fn an_adapter_run_keeps_adapters_and_resumes_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{MODEL}{ADAPTER}{STAGES}");
    let recipe = recipe(folder.path(), &text, &[]);
    assert!(plan(&recipe, Path::new("")).unwrap()[1].starts_with("adapter: "));
    let whole = run(&recipe, "whole").unwrap();
    let last = whole.checkpoint.clone().unwrap();
    for file in [
        "adapter_config.json",
        "tokenizer.json",
        "trainer/state.json",
    ] {
        assert!(last.join(file).is_file(), "{file}");
    }
    assert!(!last.join("model.safetensors").exists() && !last.join("config.json").exists());
    let names: Vec<String> = tensors(&last.join("adapter_model.safetensors"))
        .into_keys()
        .collect();
    assert!(names.contains(
        &"base_model.model.model.language_model.layers.1.mlp.up_proj.lora_A.weight".to_owned()
    ));
    assert!(names.contains(&"base_model.model.model.visual.merger.ln_q.weight".to_owned()));
    // State for what is trained, and for nothing else.
    let moments = tensors(&last.join("trainer/optimizer.safetensors"));
    assert_eq!(moments.len(), 2 * names.len());

    // Nothing is pulled before the first step of the second stage, which starts from the first stage's adapter.
    let rows = metrics(&whole.folder);
    let kl: Vec<f64> = rows[4..]
        .iter()
        .map(|row| row["kl"].as_f64().unwrap())
        .collect();
    assert!(kl[2] > 0.0 && kl[0] < kl[2], "{kl:?}");

    for steps in [2, 5] {
        let name = format!("stopped-{steps}");
        let stop = AtomicBool::new(false);
        let mut observer = StopAfter { steps, stop: &stop };
        let stopped = train(&recipe, &name, Path::new(""), &mut observer, &stop).unwrap();
        let stop = AtomicBool::new(false);
        let resumed = resume(&stopped.folder, &recipe, Path::new(""), &mut Silent, &stop).unwrap();
        let again = resumed.checkpoint.unwrap();
        assert_eq!(again.file_name(), last.file_name());
        for file in [
            "adapter_model.safetensors",
            "trainer/optimizer.safetensors",
            "trainer/state.json",
        ] {
            let same = fs::read(again.join(file)).unwrap() == fs::read(last.join(file)).unwrap();
            assert!(same, "{file} after {steps} steps");
        }
    }
}

#[test]
fn an_adapter_is_a_model_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    // What falls out in the pass that learns is there in the reference's.
    let adapter = ADAPTER.replace("lora_dropout = 0.1", "lora_dropout = 0.0");
    let text = format!("{MODEL}{adapter}{STAGES}");
    let first = run(
        &recipe(folder.path(), &text, &["stage.1.exit.max_steps=1"]),
        "first",
    )
    .unwrap();
    let adapter = first.checkpoint.unwrap();
    // Trained on with its own settings, the reference is what it was.
    let text = format!("[model]\npath = {adapter:?}\n{STAGES}");
    let changes = [
        "stage.0.exit.max_steps=1",
        "stage.0.optim.learning_rate=0.0",
    ];
    let second = run(&recipe(folder.path(), &text, &changes), "second").unwrap();
    let begun = metrics(&second.folder)[1]["kl"].as_f64().unwrap();
    assert!(begun < 1e-6, "{begun}");
    let text = format!("[model]\npath = {adapter:?}\n{ADAPTER}{STAGES}");
    let error = run(&recipe(folder.path(), &text, &[]), "third").unwrap_err();
    assert!(
        error.is_misuse() && error.to_string().contains("an adapter already"),
        "{error}"
    );

    let device = Device::flex();
    let read = Checkpoint::load(&adapter, &device).unwrap();
    let merged = folder.path().join("merged");
    read.merged().save(&merged, |_| Ok(())).unwrap();
    let merged = Checkpoint::load(&merged, &device).unwrap();
    assert!(merged.files.contains_key("config.json") && merged.weights.adapter().is_none());
    let base = Checkpoint::load(&first.folder.join("base"), &device).unwrap();
    assert_eq!(merged.weights.scalars(), base.weights.scalars());
}

#[test]
fn only_the_parts_of_a_stage_move() {
    let folder = tempfile::tempdir().unwrap();
    let (_, stages) = STAGES.split_once("[[stage]]").unwrap();
    let (stage, _) = stages.split_once("[[stage]]").unwrap();
    let text = format!("{MODEL}[[stage]]{stage}[[stage]]{stage}");
    let changes = [
        "stage.0.trainable={vision=false, language=false}",
        "stage.1.trainable={vision=false}",
        "stage.1.optim.part_learning_rates={connector=0.0}",
    ];
    let recipe = recipe(folder.path(), &text, &changes);
    let finished = run(&recipe, "parts").unwrap();
    let device = Device::flex();
    let model = &recipe.model;
    let mut before =
        Checkpoint::open(&model.path, &model.overrides, recipe.run.seed, &device).unwrap();
    let mut checkpoints = Run::checkpoints(&finished.folder).unwrap();
    checkpoints.sort();
    for ((_, path), moving) in checkpoints.iter().zip([Part::Connector, Part::Language]) {
        let after = Checkpoint::load(path, &device).unwrap();
        let mut moved = 0;
        for ((name, a), (_, b)) in before.weights.iter().zip(after.weights.iter()) {
            let values = |p: &ocelli_model::weights::Parameter| {
                p.value.to_data().try_to_vec::<f32>().unwrap()
            };
            if values(a) != values(b) {
                assert_eq!(part_of(name), moving, "{name}");
                moved += 1;
            }
        }
        assert!(moved > 3);
        before = after;
    }
}

#[test]
fn gradient_checkpointing_changes_no_run() {
    let folder = tempfile::tempdir().unwrap();
    for (name, adapter) in [("whole", ""), ("adapter", ADAPTER)] {
        let text = format!("{MODEL}{adapter}{STAGES}");
        let weights = |recomputing: bool| {
            let change = format!("model.gradient_checkpointing={recomputing}");
            let recipe = recipe(folder.path(), &text, &[&change]);
            let path = run(&recipe, name).unwrap().checkpoint.unwrap();
            let file = ["model.safetensors", "adapter_model.safetensors"].map(|f| path.join(f));
            fs::read(file.iter().find(|f| f.is_file()).unwrap()).unwrap()
        };
        assert!(weights(true) == weights(false), "{name}");
    }
}
