//! Whole runs of the tiny preset: invariants of packing, batching, seeding and resuming, and errors.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};
use ocelli_core::{
    Call, Episode, ImageSource, Message, Metrics, Observation, Outcome, Part, Purpose, Role,
    SeedKey, SegmentKind, Task,
};
use ocelli_data::{DataConfig, Dataset, Generator};
use ocelli_env::{CallCodec, Env, EnvError, Question, Snapshot, Step};
use ocelli_learn::observer::Silent;
use ocelli_learn::optimizer::Optimizer;
use ocelli_learn::packing::{Tree, micro_batches, score, values};
use ocelli_learn::recipe::StageKind;
use ocelli_learn::run::Run;
use ocelli_learn::stage::{Session, StageEnd, StagePlan, update};
use ocelli_learn::train::{Finished, plan, resume, train};
use ocelli_learn::{LearnError, Observer, Recipe, sft};
use ocelli_model::checkpoint::{Checkpoint, ConfigOverrides, read_tensor_bytes};
use ocelli_model::preset::Preset;
use ocelli_reward::RewardGraph;
use ocelli_rollout::{CollectPlan, Group, Policy, SamplingParams, collect, prepare};
use serde_json::Value;

// ---- recipes ----

/// A small network: every test trains one.
const MODEL: &str = r#"
[model]
path = "tiny-qwen2_5_vl"
overrides = { vision_hidden_size = 32, vision_depth = 1, vision_intermediate_size = 32, num_hidden_layers = 1 }
"#;

const EVAL: &str = r#"
[eval]
data = { generator = "pointing", split = "val", rows = 3 }
metrics = [ { verifier = "box_iou" }, { verifier = "tags" } ]
max_completion_length = 6
gallery = 2
"#;

/// Learns within a few steps that an answer begins with a tag and holds numbers.
const SFT: &str = r#"
[[stage]]
kind = "sft"
data = { generator = "pointing", rows = 6, demonstration = "<answer>{answer}</answer>" }
batch = { size = 2 }
optim = { learning_rate = 5e-3 }
exit = { max_steps = 4 }
"#;

/// Rewards each tag that occurs exactly once: an untrained model's answers differ in that.
const GRPO: &str = r#"
[[stage]]
kind = "grpo"
data = { generator = "pointing", rows = 6 }
batch = { size = 2 }
rollout = { num_generations = 8, max_completion_length = 16, temperature = 1.3 }
reward = [ { verifier = "tags", partial = true }, { verifier = "box_iou" } ]
algorithm = { preset = "grpo" }
optim = { learning_rate = 1e-3 }
exit = { max_steps = 4 }
"#;

fn read_recipe(folder: &Path, text: &str, changes: &[&str]) -> Recipe {
    let path = folder.join("recipe.toml");
    fs::write(&path, text).unwrap();
    let mut changes: Vec<String> = changes.iter().map(|s| (*s).to_owned()).collect();
    changes.push(format!("run.output_dir={:?}", folder.join("runs")));
    Recipe::read(&path, &changes).unwrap()
}

fn run(recipe: &Recipe, name: &str) -> Finished {
    let finished = train(
        recipe,
        name,
        Path::new(""),
        &mut Silent,
        &AtomicBool::new(false),
    )
    .unwrap();
    assert_eq!(finished.end, StageEnd::Done);
    finished
}

/// The error that a recipe's run ends with.
fn failure(recipe: &Recipe, root: &Path) -> String {
    let stop = AtomicBool::new(false);
    train(recipe, "failing", root, &mut Silent, &stop)
        .unwrap_err()
        .to_string()
}

/// A folder with a checkpoint after some supervised steps, whose answers get different rewards. Trained once.
fn warm_checkpoint(folder: &Path) -> String {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let recipe = read_recipe(
            folder.path(),
            &format!("{MODEL}{SFT}"),
            &["stage.sft.exit.max_steps=30", "stage.sft.batch.size=4"],
        );
        let path = run(&recipe, "warm").checkpoint.unwrap();
        fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(path).unwrap())
            })
            .collect()
    });
    let path = folder.join("warm");
    fs::create_dir(&path).unwrap();
    for (name, bytes) in files {
        fs::write(path.join(name), bytes).unwrap();
    }
    path.display().to_string()
}

/// A GRPO stage from the warm checkpoint.
fn grpo_recipe(folder: &Path, changes: &[&str]) -> Recipe {
    let warm = warm_checkpoint(folder);
    let text = format!("[model]\npath = {warm:?}\n{GRPO}");
    read_recipe(folder, &text, changes)
}

// ---- what a run left ----

fn metrics(run: &Path) -> Vec<Value> {
    lines(&run.join("metrics.jsonl"))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Lines of the metrics without what depends on the clock.
fn timeless_metrics(run: &Path) -> Vec<String> {
    metrics(run)
        .into_iter()
        .map(|mut row| {
            let fields = row.as_object_mut().unwrap();
            for field in ["time", "step_time", "tokens_per_second"] {
                assert!(fields.shift_remove(field).is_some());
            }
            let sampled = fields["stage"] == "grpo";
            assert_eq!(fields.shift_remove("sampling_time").is_some(), sampled);
            row.to_string()
        })
        .collect()
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn number(row: &Value, name: &str) -> f64 {
    row[name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} in {row}"))
}

fn weights_of(checkpoint: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(checkpoint.join("model.safetensors")).unwrap();
    read_tensor_bytes(&bytes).unwrap().into_iter().collect()
}

fn largest_difference(a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .flat_map(|(name, values)| {
            let others = &b[name];
            assert_eq!(values.len(), others.len());
            values.iter().zip(others).map(|(a, b)| (a - b).abs())
        })
        .fold(0.0, f32::max)
}

/// Everything of a finished run that must not depend on how it came about.
fn assert_same_runs(got: &Finished, want: &Finished) {
    for (got, want) in timeless_metrics(&got.folder)
        .iter()
        .zip(&timeless_metrics(&want.folder))
    {
        assert_eq!(got, want);
    }
    for name in ["metrics.jsonl", "evals.jsonl", "gallery.jsonl"] {
        let (got, want) = (
            lines(&got.folder.join(name)),
            lines(&want.folder.join(name)),
        );
        assert_eq!(got.len(), want.len(), "{name}");
        if name != "metrics.jsonl" {
            assert_eq!(got, want, "{name}");
        }
    }
    let (got, want) = (
        got.checkpoint.as_deref().unwrap(),
        want.checkpoint.as_deref().unwrap(),
    );
    assert_eq!(got.file_name(), want.file_name());
    for name in [
        "model.safetensors",
        "trainer/optimizer.safetensors",
        "trainer/state.json",
    ] {
        assert!(
            fs::read(got.join(name)).unwrap() == fs::read(want.join(name)).unwrap(),
            "{name} differs"
        );
    }
}

// ---- packing ----

fn pointing(rows: usize) -> Dataset {
    let config = DataConfig {
        generator: Some(Generator::Pointing),
        rows: Some(rows),
        ..DataConfig::default()
    };
    ocelli_data::load(&config, Path::new(""), 4).unwrap()
}

/// A random network whose distributions are far from even.
fn sharp_policy() -> Policy {
    let device = Device::flex();
    let preset = Preset::find("tiny-qwen2_5_vl").unwrap();
    let mut checkpoint =
        Checkpoint::from_preset(&preset, &ConfigOverrides::default(), 3, &device).unwrap();
    checkpoint.weights.update(|name, value| {
        if name.contains("embed_tokens") {
            value * 4.0
        } else {
            value
        }
    });
    Policy::new(checkpoint, &device).unwrap()
}

/// Asks a second time, whatever was answered.
#[derive(Clone, Default)]
struct AskTwice {
    calls: usize,
}

impl Env for AskTwice {
    fn reset(&mut self, task: &Arc<Task>, _: &SeedKey) -> Result<Observation, EnvError> {
        self.calls = 0;
        Ok(Observation {
            messages: task.messages.clone(),
        })
    }

    fn step(&mut self, _: &Call) -> Result<Step, EnvError> {
        self.calls += 1;
        let done = self.calls == 2;
        Ok(Step {
            observation: (!done).then(|| Observation {
                messages: vec![Message::text(Role::User, "Look again.")],
            }),
            done,
            ..Step::default()
        })
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::new("ask-twice", self.clone())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), EnvError> {
        *self = snapshot.state::<Self>("ask-twice")?.clone();
        Ok(())
    }
}

/// Episodes of three tasks, of one turn or two, at temperature 0.7.
fn sampled_groups(policy: &Policy, turns: usize) -> Vec<Group> {
    let data = pointing(3);
    let prepared = prepare(policy, &data.tasks, |task, index| data.picture(task, index)).unwrap();
    let plan = CollectPlan {
        samples: 3,
        sampling: SamplingParams {
            temperature: 0.7,
            ..SamplingParams::greedy(9)
        },
        max_prompt_length: 512,
        max_turns: turns,
        seed: SeedKey::new(1, Purpose::Sampling),
        codec: CallCodec::WholeText,
        env: match turns {
            1 => &|| Box::new(Question::default()),
            _ => &|| Box::new(AskTwice::default()),
        },
    };
    collect(policy, &prepared, &plan).unwrap()
}

/// One tree a group, the prompt shared by its episodes.
fn shared_trees(policy: &Policy, groups: &[Group]) -> Vec<Tree> {
    groups
        .iter()
        .map(|group| {
            let mut trees = ocelli_learn::grpo::trees(policy, group, &group.media).unwrap();
            assert_eq!(trees.len(), 1);
            trees.remove(0)
        })
        .collect()
}

/// One tree a branch.
fn separate_trees(trees: &[Tree]) -> Vec<Tree> {
    trees
        .iter()
        .flat_map(|tree| {
            tree.branches.iter().map(|branch| Tree {
                context: tree.context.clone(),
                branches: vec![branch.clone()],
            })
        })
        .collect()
}

fn behavior_logprobs(groups: &[Group]) -> Vec<f32> {
    groups
        .iter()
        .flat_map(|g| &g.episodes)
        .flat_map(Episode::decisions)
        .flat_map(|segment| match &segment.kind {
            SegmentKind::Decision {
                behavior_logprobs, ..
            } => behavior_logprobs.clone(),
            SegmentKind::Observation { .. } => unreachable!("not a decision"),
        })
        .collect()
}

#[test]
fn recomputed_log_probabilities_are_those_of_sampling() {
    let policy = sharp_policy();
    for turns in [1, 2] {
        let groups = sampled_groups(&policy, turns);
        let trees = shared_trees(&policy, &groups);
        let old = behavior_logprobs(&groups);
        let expected: usize = trees.iter().map(Tree::scored).sum();
        assert_eq!(old.len(), expected);
        let spread = old.iter().copied().fold(0.0, f32::min);
        assert!(spread < -3.0, "the distributions are not even: {spread}");
        for device in [policy.device.clone(), policy.device.clone().autodiff()] {
            let tracked = policy.checkpoint.weights.tracked(|_| true);
            let network = if device == policy.device {
                policy.network()
            } else {
                policy.network_of(&tracked)
            };
            let scores = score(&network, &trees, 0.7, &policy.rules.banned, &device);
            let new = values(scores.logprob);
            assert_eq!(new.len(), old.len());
            for (i, (new, old)) in new.iter().zip(&old).enumerate() {
                assert!(
                    (new - old).abs() < 1e-4,
                    "turns {turns}, token {i}: {new}, {old}"
                );
            }
        }
    }
}

/// Log-probabilities of all trees, and the gradients of a weighted sum of them.
fn values_and_gradients(
    policy: &Policy,
    trees: &[Tree],
    max_rows: usize,
) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let device = policy.device.clone().autodiff();
    let tracked = policy.checkpoint.weights.tracked(|_| true);
    let mut all = Vec::new();
    let mut sums: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for range in micro_batches(trees, max_rows) {
        let network = policy.network_of(&tracked);
        let scores = score(&network, &trees[range], 0.7, &policy.rules.banned, &device);
        let found = values(scores.logprob.clone().inner());
        let coefficients: Vec<f32> = (all.len()..all.len() + found.len())
            .map(|i| (i as f32).sin())
            .collect();
        let count = coefficients.len();
        all.extend(found);
        let loss =
            scores.logprob * Tensor::from_data(TensorData::new(coefficients, [count]), &device);
        for (name, gradient) in tracked.gradients(&mut loss.sum().backward()) {
            let gradient = values(gradient);
            let sum = sums
                .entry(name)
                .or_insert_with(|| vec![0.0; gradient.len()]);
            sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += g);
        }
    }
    (all, sums)
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn a_shared_prefix_changes_neither_values_nor_gradients() {
    let policy = sharp_policy();
    for turns in [1, 2] {
        let shared = shared_trees(&policy, &sampled_groups(&policy, turns));
        let separate = separate_trees(&shared);
        assert_eq!((shared.len(), separate.len()), (3, 9));
        let rows = |trees: &[Tree]| trees.iter().map(Tree::rows).sum::<usize>();
        assert!(rows(&shared) < rows(&separate));
        let (want, want_gradients) = values_and_gradients(&policy, &separate, 1);
        for max_rows in [1, usize::MAX] {
            let (got, gradients) = values_and_gradients(&policy, &shared, max_rows);
            assert_eq!(got.len(), want.len());
            for (a, b) in got.iter().zip(&want) {
                assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a} and {b}");
            }
            assert_eq!(
                gradients.keys().collect::<Vec<_>>(),
                want_gradients.keys().collect::<Vec<_>>()
            );
            let whole = norm(want_gradients.values().flatten().copied());
            for (name, want) in &want_gradients {
                let got = &gradients[name];
                let distance = norm(got.iter().zip(want).map(|(a, b)| a - b));
                let own = norm(want.iter().copied());
                assert!(own > 0.0, "{name} has a gradient");
                assert!(
                    distance <= 1e-5 * own + 1e-7 * whole,
                    "{name}: {distance} away, of {own} (all: {whole})"
                );
            }
        }
    }
}

#[test]
fn micro_batches_hold_every_tree_once() {
    let policy = sharp_policy();
    let trees = separate_trees(&shared_trees(&policy, &sampled_groups(&policy, 1)));
    let largest = trees.iter().map(Tree::rows).max().unwrap();
    for max_rows in [1, largest, 2 * largest, usize::MAX] {
        let batches = micro_batches(&trees, max_rows);
        let flat: Vec<usize> = batches.iter().cloned().flatten().collect();
        assert_eq!(flat, (0..trees.len()).collect::<Vec<_>>());
        for batch in &batches {
            let rows: usize = trees[batch.clone()].iter().map(Tree::rows).sum();
            assert!(batch.len() == 1 || rows <= max_rows);
        }
    }
    assert_eq!(micro_batches(&trees, 1).len(), trees.len());
    assert_eq!(micro_batches(&trees, usize::MAX).len(), 1);
}

// ---- steps ----

/// The change of a step is nearly in proportion to the gradient with so large an epsilon, so that rounding stays small.
const SMOOTH_STEP: [&str; 2] = [
    "stage.0.optim.adam_epsilon=1e-3",
    "stage.0.optim.learning_rate=1e-2",
];

#[test]
fn micro_batches_add_up_to_the_whole_batch() {
    let mut kinds: Vec<(&str, Vec<&str>)> = vec![("sft", vec![])];
    for loss in ["grpo", "dapo", "dr_grpo"] {
        let change = match loss {
            "grpo" => "stage.0.algorithm.loss_type=grpo",
            "dapo" => "stage.0.algorithm.loss_type=dapo",
            _ => "stage.0.algorithm.loss_type=dr_grpo",
        };
        kinds.push(("grpo", vec![change, "stage.0.algorithm.beta=0.1"]));
    }
    // Ratios of sequences, tokens chosen from the whole batch, a second look at damaged pictures.
    for change in [
        "stage.0.algorithm.preset=gspo",
        "stage.0.algorithm.preset=gmpo",
        "stage.0.algorithm.preset=kl_cov",
        "stage.0.algorithm.preset=vppo",
        "stage.0.algorithm.preset=reinforce++",
        "stage.0.algorithm.top_entropy_quantile=0.4",
    ] {
        kinds.push(("grpo", vec![change]));
    }
    for (kind, extra) in kinds {
        let folder = tempfile::tempdir().unwrap();
        let warm = warm_checkpoint(folder.path());
        let stage = if kind == "sft" { SFT } else { GRPO };
        let text = format!("[model]\npath = {warm:?}\n{stage}");
        let mut after = Vec::new();
        let mut losses = Vec::new();
        for max_tokens in [
            "stage.0.batch.max_tokens=1",
            "stage.0.batch.max_tokens=100000",
        ] {
            let mut changes = vec![
                max_tokens,
                "stage.0.exit.max_steps=1",
                "stage.0.batch.size=4",
            ];
            changes.extend(SMOOTH_STEP);
            changes.extend(&extra);
            let finished = run(&read_recipe(folder.path(), &text, &changes), kind);
            let step = metrics(&finished.folder).remove(0);
            assert!(number(&step, "grad_norm") > 1e-3, "{extra:?}: {step}");
            losses.push(step);
            after.push(weights_of(&finished.checkpoint.unwrap()));
        }
        for name in ["loss", "grad_norm", "entropy", "num_tokens"] {
            let (a, b) = (number(&losses[0], name), number(&losses[1], name));
            assert!(
                (a - b).abs() <= 1e-5 * b.abs().max(1.0),
                "{extra:?} {name}: {a} {b}"
            );
        }
        let difference = largest_difference(&after[0], &after[1]);
        assert!(difference < 1e-5, "{kind} {extra:?}: {difference}");
        let change = largest_difference(&after[0], &weights_of(Path::new(&warm)));
        assert!(change > 1e-4, "{kind} {extra:?}: a step of {change}");
    }
}

#[test]
fn groups_that_teach_nothing_are_replaced() {
    let filtered = |keys: &str, name: &str, more: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let filter = format!("stage.0.rollout.filter_groups={keys}");
        let changes = [&[filter.as_str()], more].concat();
        metrics(&run(&grpo_recipe(folder.path(), &changes), name).folder)
    };
    for row in filtered("{ max_num_gen_batches = 20 }", "spread", &[]) {
        assert_eq!(number(&row, "frac_reward_zero_std"), 0.0, "{row}");
        let (batches, kept) = (
            number(&row, "filter_groups/batches"),
            number(&row, "filter_groups/kept"),
        );
        // The last batch may hold more than were wanted.
        assert!(kept * batches >= 1.0 - 1e-9 && kept > 0.0, "{row}");
        assert!((1.0..20.0).contains(&batches), "{row}");
    }
    // Bounds that nothing meets: the last batch stands, and all were tried.
    for row in filtered(
        "{ max_num_gen_batches = 3, filter_low = 99.0 }",
        "none",
        &["stage.0.exit.max_steps=1"],
    ) {
        assert_eq!(number(&row, "filter_groups/batches"), 3.0);
        assert_eq!(number(&row, "filter_groups/kept"), 0.0);
        assert!(number(&row, "reward").is_finite());
    }
    // Greedy answers stay beside their groups.
    let remax = ["stage.0.algorithm.preset=remax", "stage.0.exit.max_steps=2"];
    for row in filtered("{}", "remax", &remax) {
        assert!(number(&row, "loss").is_finite(), "{row}");
    }
    // A filter that keeps everything changes nothing but the metrics that tell of it.
    let all = filtered("{ filter_low = -1.0, max_num_gen_batches = 1 }", "all", &[]);
    let folder = tempfile::tempdir().unwrap();
    let plain = metrics(&run(&grpo_recipe(folder.path(), &[]), "plain").folder);
    for (a, b) in all.iter().zip(&plain) {
        assert_eq!(number(a, "loss"), number(b, "loss"));
        assert_eq!(number(a, "filter_groups/reward"), number(b, "reward"));
    }
}

#[test]
fn a_group_of_equal_rewards_teaches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // No box of four tokens: every reward is 0.
    let recipe = grpo_recipe(
        folder.path(),
        &[
            "stage.0.reward=[{ verifier = \"box_iou\" }]",
            "stage.0.rollout.max_completion_length=4",
            "stage.0.exit.max_steps=2",
        ],
    );
    let finished = run(&recipe, "dead");
    for row in metrics(&finished.folder) {
        assert_eq!(number(&row, "reward"), 0.0);
        assert_eq!(number(&row, "frac_reward_zero_std"), 1.0);
        assert_eq!(number(&row, "grad_norm"), 0.0);
        assert_eq!(number(&row, "loss"), 0.0);
    }
    let after = weights_of(&finished.checkpoint.unwrap());
    let before = weights_of(&folder.path().join("warm"));
    assert_eq!(largest_difference(&after, &before), 0.0);
}

#[test]
fn every_loss_type_learns_from_finite_numbers() {
    let mut norms = BTreeSet::new();
    for loss in ["grpo", "dapo", "dr_grpo"] {
        let folder = tempfile::tempdir().unwrap();
        let change = format!("stage.0.algorithm.loss_type={loss}");
        let recipe = grpo_recipe(folder.path(), &[&change, "stage.0.exit.max_steps=2"]);
        let rows = metrics(&run(&recipe, loss).folder);
        assert_eq!(rows.len(), 2);
        for row in &rows {
            assert!(number(row, "loss").is_finite());
            assert!(number(row, "grad_norm").is_finite());
            assert!(number(row, "sampling/sampling_logp_difference/max") < 1e-4);
            assert!(row.get("kl").is_none() && row.get("skipped").is_none());
        }
        assert!(number(&rows[0], "reward_std") > 0.0, "{}", rows[0]);
        norms.insert(format!("{:.6}", number(&rows[0], "grad_norm")));
    }
    assert_eq!(norms.len(), 3, "the loss types differ: {norms:?}");
}

#[test]
fn every_preset_takes_sound_steps() {
    for preset in [
        "lite_ppo",
        "gspo_token",
        "bn-gspo",
        "cispo",
        "sapo",
        "luspo",
        "vespo",
        "gdpo",
        "rloo",
        "reinforce++-baseline",
        "remax",
        "opo",
        "gpg",
        "pass_at_k",
        "clip_cov",
        "easy-r1",
        "ema-grpo",
        "univg-r1",
        "softmax_likelihood",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let change = format!("stage.0.algorithm.preset={preset}");
        let twice = "stage.0.algorithm.num_iterations=2";
        let recipe = grpo_recipe(folder.path(), &[&change, twice, "stage.0.exit.max_steps=1"]);
        let row = metrics(&run(&recipe, preset).folder).remove(0);
        assert!(number(&row, "loss").is_finite(), "{preset}: {row}");
        assert!(number(&row, "grad_norm") > 0.0, "{preset}: {row}");
        assert!(row.get("skipped").is_none(), "{preset}: {row}");
        let share = number(&row, "effective_sample_size");
        assert!(share > 0.5 && share <= 1.0 + 1e-9, "{preset}: {row}");
    }
}

#[test]
fn a_reward_can_pay_for_distance_from_the_reference() {
    let rows = |place: &str| {
        let folder = tempfile::tempdir().unwrap();
        let place = format!("stage.0.algorithm.kl_in={place}");
        let changes = [
            place.as_str(),
            "stage.0.algorithm.beta=0.5",
            "stage.0.algorithm.kl_estimator=k3",
            "stage.0.exit.max_steps=3",
        ];
        metrics(&run(&grpo_recipe(folder.path(), &changes), "kl").folder)
    };
    let (loss, reward) = (rows("loss"), rows("reward"));
    // Both measure the same policies at first, before and after a step that no penalty bends.
    assert!(number(&reward[0], "kl").abs() < 1e-9);
    let (a, b) = (number(&loss[1], "kl"), number(&reward[1], "kl"));
    assert!(a > 0.0 && (a - b).abs() < 1e-3 * a, "{a} {b}");
    assert_ne!(
        number(&loss[2], "grad_norm"),
        number(&reward[2], "grad_norm")
    );
}

#[test]
fn what_an_algorithm_remembers_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = grpo_recipe(
        folder.path(),
        &[
            "stage.0.algorithm.preset=ema-grpo",
            "stage.0.exit.max_steps=1",
        ],
    );
    let checkpoint = run(&recipe, "ema").checkpoint.unwrap();
    let state = Run::algorithm_state(&checkpoint).unwrap();
    // The rows of the generator are of one task, whose rewards differ.
    assert_ne!(state, ocelli_learn::algorithm::AlgorithmState::default());
    let folder = tempfile::tempdir().unwrap();
    let plain = grpo_recipe(folder.path(), &["stage.0.exit.max_steps=1"]);
    let checkpoint = run(&plain, "plain").checkpoint.unwrap();
    assert!(!checkpoint.join("trainer/algorithm.json").exists());
}

#[test]
fn the_kl_penalty_starts_at_zero() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = grpo_recipe(
        folder.path(),
        &["stage.0.algorithm.beta=0.1", "stage.0.exit.max_steps=3"],
    );
    let rows = metrics(&run(&recipe, "kl").folder);
    assert!(number(&rows[0], "kl").abs() < 1e-9, "{}", rows[0]);
    assert!(number(&rows[1], "kl") > 1e-7, "{}", rows[1]);
    assert!(number(&rows[2], "kl") > number(&rows[1], "kl"));
}

#[test]
fn completions_can_be_used_twice() {
    let steps = |iterations: &str| {
        let folder = tempfile::tempdir().unwrap();
        let recipe = grpo_recipe(folder.path(), &[iterations, "stage.0.exit.max_steps=2"]);
        let finished = run(&recipe, "iterations");
        let rows = metrics(&finished.folder);
        assert_eq!(rows.len(), 2);
        let (progress, _) = Run::latest_checkpoint(&finished.folder).unwrap().unwrap();
        assert_eq!(progress.step, 2);
        assert_eq!(progress.version, progress.optimizer_steps);
        (progress.optimizer_steps, rows)
    };
    let (once, rows) = steps("stage.0.algorithm.num_iterations=1");
    assert_eq!(once, 2);
    assert!(number(&rows[0], "sampling/sampling_logp_difference/max") < 1e-4);
    let (twice, rows) = steps("stage.0.algorithm.num_iterations=2");
    assert_eq!(twice, 4);
    // The second pass sees other weights than those that sampled.
    assert!(number(&rows[0], "sampling/sampling_logp_difference/max") > 1e-4);
}

#[test]
fn shuffled_rewards_are_the_same_rewards() {
    let first_row = |shuffled: bool| {
        let folder = tempfile::tempdir().unwrap();
        let change = format!("stage.0.algorithm.shuffle_rewards={shuffled}");
        let recipe = grpo_recipe(folder.path(), &[&change, "stage.0.exit.max_steps=1"]);
        metrics(&run(&recipe, "control").folder).remove(0)
    };
    let (plain, shuffled) = (first_row(false), first_row(true));
    for name in [
        "reward",
        "reward_std",
        "rewards/tags/mean",
        "completions/mean_length",
    ] {
        let (a, b) = (number(&plain, name), number(&shuffled, name));
        assert!((a - b).abs() < 1e-12, "{name}: {a} and {b}");
    }
    assert_ne!(number(&plain, "grad_norm"), number(&shuffled, "grad_norm"));
}

#[test]
fn saved_episodes_can_be_read_and_scored_again() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = grpo_recipe(
        folder.path(),
        &["stage.0.exit.max_steps=2", "run.log_episodes_steps=1"],
    );
    let finished = run(&recipe, "episodes");
    let graph = RewardGraph::new(&recipe.stage[0].reward).unwrap();
    let rows = metrics(&finished.folder);
    let mut distinct = BTreeSet::new();
    for (step, row) in rows.iter().enumerate() {
        let path = format!("episodes/1-grpo-{:06}.jsonl", step + 1);
        let lines = lines(&finished.folder.join(path));
        assert_eq!(lines.len(), 2 * 8);
        let mut rewards = Vec::new();
        for line in &lines {
            let live: Episode = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&live).unwrap(), *line);
            let mut again = live.clone();
            again.outcome = Outcome {
                facts: live.outcome.facts.clone(),
                ..Outcome::default()
            };
            graph.score(&mut again);
            assert_eq!(again.outcome, live.outcome);
            assert!(live.outcome.reward.is_some());
            for segment in live.decisions() {
                let SegmentKind::Decision { policy_version, .. } = &segment.kind else {
                    unreachable!("not a decision");
                };
                assert_eq!(*policy_version, step as u64);
            }
            rewards.extend(live.outcome.reward);
        }
        let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
        assert!((mean - number(row, "reward")).abs() < 1e-9);
        distinct.extend(rewards.iter().map(|r| r.to_bits()));
    }
    assert!(distinct.len() > 1, "the rewards differ");
}

#[test]
fn episodes_survive_json() {
    let policy = sharp_policy();
    for group in sampled_groups(&policy, 2) {
        for episode in group.episodes {
            let text = serde_json::to_string(&episode).unwrap();
            let read: Episode = serde_json::from_str(&text).unwrap();
            assert_eq!(episode.task.images, [ImageSource::Generated]);
            assert_eq!(read, episode);
            assert_eq!(episode.segments.len(), 4);
        }
    }
}

// ---- whole runs ----

#[test]
fn the_same_seed_gives_the_same_run_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{MODEL}{EVAL}{SFT}{GRPO}");
    let changes = ["stage.sft.exit.max_steps=40", "stage.grpo.exit.max_steps=2"];
    let recipe = read_recipe(folder.path(), &text, &changes);
    let on_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| run(&recipe, &format!("threads-{threads}")))
    };
    let one = on_threads(1);
    let rows = metrics(&one.folder);
    assert_eq!(rows.len(), 42);
    assert!(
        rows[40..].iter().any(|row| number(row, "grad_norm") > 0.0),
        "something is learned in the second stage"
    );
    assert_same_runs(&on_threads(1), &one);
    assert_same_runs(&on_threads(2), &one);

    let mut other = recipe.clone();
    other.run.seed = 1;
    let other = run(&other, "other");
    assert_ne!(
        timeless_metrics(&other.folder),
        timeless_metrics(&one.folder)
    );
}

/// Sets the stop flag after a step of a stage.
struct StopAfter<'a> {
    stage: &'static str,
    step: u64,
    stop: &'a AtomicBool,
    now: String,
}

impl Observer for StopAfter<'_> {
    fn begin_stage(&mut self, name: &str, _: u64) {
        self.now = name.to_owned();
    }
    fn step(&mut self, step: u64, _: &Metrics) {
        if self.now == self.stage && step == self.step {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn end_stage(&mut self) {}
    fn message(&mut self, _: &str) {}
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Both stages with everything that has a state of its own: warm-up, a reference, two passes a batch.
fn resumable(folder: &Path, save_steps: u64) -> Recipe {
    let save = format!("run.save_steps={save_steps}");
    let changes = [
        save.as_str(),
        "stage.grpo.algorithm.beta=0.05",
        "stage.grpo.algorithm.num_iterations=2",
        "stage.sft.optim.warmup_ratio=0.5",
        "stage.sft.optim.weight_decay=0.1",
    ];
    let warm = warm_checkpoint(folder);
    let text = format!("[model]\npath = {warm:?}\n{EVAL}{SFT}{GRPO}");
    read_recipe(folder, &text, &changes)
}

/// Four steps of each stage, the last ones with gradients too: otherwise nothing could go wrong.
fn assert_learning(run: &Finished) {
    let rows = metrics(&run.folder);
    assert_eq!(rows.len(), 8);
    for row in &rows[..4] {
        assert!(number(row, "grad_norm") > 0.0, "{row}");
    }
    let moved = rows[4..]
        .iter()
        .filter(|row| number(row, "grad_norm") > 0.0);
    assert!(moved.count() >= 3, "{rows:?}");
    assert!(number(&rows[7], "kl") > 0.0);
}

fn go_on(folder: &Path, recipe: &Recipe) -> Finished {
    let stop = AtomicBool::new(false);
    resume(folder, recipe, Path::new(""), &mut Silent, &stop).unwrap()
}

#[test]
fn a_stopped_and_resumed_run_is_the_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = resumable(folder.path(), 0);
    let whole = run(&recipe, "whole");
    assert_learning(&whole);
    // Two ways to draw answers, before the first stage and after each.
    assert_eq!(whole.evaluations.len(), 6);

    let root = Path::new("");
    let stop = AtomicBool::new(false);
    let mut watch = StopAfter {
        stage: "sft",
        step: 2,
        stop: &stop,
        now: String::new(),
    };
    let stopped = train(&recipe, "stopped", root, &mut watch, &stop).unwrap();
    assert_eq!(stopped.end, StageEnd::Stopped);
    assert_eq!(metrics(&stopped.folder).len(), 2);
    assert_eq!(stopped.evaluations.len(), 2);

    stop.store(false, Ordering::Relaxed);
    watch = StopAfter {
        stage: "grpo",
        step: 3,
        ..watch
    };
    let stopped = resume(&stopped.folder, &recipe, root, &mut watch, &stop).unwrap();
    assert_eq!(stopped.end, StageEnd::Stopped);
    assert_eq!(metrics(&stopped.folder).len(), 7);

    let finished = go_on(&stopped.folder, &recipe);
    assert_eq!(finished.end, StageEnd::Done);
    assert_same_runs(&finished, &whole);
    // Resuming what is finished changes nothing.
    assert_same_runs(&go_on(&stopped.folder, &recipe), &whole);
}

#[test]
fn a_run_whose_latest_files_are_lost_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = resumable(folder.path(), 1);
    let whole = run(&recipe, "whole");
    assert_learning(&whole);
    let mut names: Vec<String> = fs::read_dir(whole.folder.join("checkpoints"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let wanted: Vec<String> = ["1-sft", "2-grpo"]
        .iter()
        .flat_map(|stage| (1..=4).map(move |step| format!("{stage}-step-{step:06}")))
        .collect();
    assert_eq!(names, wanted);

    // How many checkpoints are left: none, some of the first stage, all of it, and some of the second.
    for left in [0, 3, 4, 6] {
        let copy = folder.path().join(format!("left-{left}"));
        copy_folder(&whole.folder, &copy);
        for name in &names[left..] {
            fs::remove_dir_all(copy.join("checkpoints").join(name)).unwrap();
        }
        // What a crash leaves: half a line, and half a checkpoint.
        let path = copy.join("metrics.jsonl");
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"stage\":\"grpo\",\"st");
        fs::write(&path, text).unwrap();
        fs::create_dir_all(copy.join("checkpoints/.2-grpo-step-000003.partial/trainer")).unwrap();
        assert_same_runs(&go_on(&copy, &recipe), &whole);
    }
}

#[test]
fn a_checkpoint_loads_as_it_was_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = read_recipe(folder.path(), &format!("{MODEL}{SFT}"), &[]);
    let device = Device::flex();
    let made = Checkpoint::open(&recipe.model.path, &recipe.model.overrides, 0, &device).unwrap();
    let stop = AtomicBool::new(false);
    let mut session = Session {
        policy: Policy::new(made, &device).unwrap(),
        run: Run::create(&recipe, "by-hand").unwrap(),
        observer: &mut Silent,
        seed: 0,
        save_steps: 0,
        log_episodes_steps: 0,
        stop: &stop,
        tokens: 0,
        state: ocelli_learn::algorithm::AlgorithmState::default(),
        curriculum: ocelli_learn::curriculum::CurriculumState::default(),
    };
    let mut plan = StagePlan {
        index: 0,
        config: &recipe.stage[0],
        start: 0,
        optimizer: Optimizer::new(&recipe.stage[0].optim),
    };
    let data = ocelli_data::load(&recipe.stage[0].data.tables()[0], Path::new(""), 0).unwrap();
    sft::run(&mut session, &mut plan, &data).unwrap();
    let (_, path) = Run::latest_checkpoint(session.run.folder())
        .unwrap()
        .unwrap();
    let loaded = Policy::new(Checkpoint::load(&path, &device).unwrap(), &device).unwrap();

    let trees = |policy: &Policy| shared_trees(policy, &sampled_groups(policy, 1));
    let (live, read) = (trees(&session.policy), trees(&loaded));
    let scores = |policy: &Policy, trees: &[Tree]| {
        let scores = score(&policy.network(), trees, 1.0, &policy.rules.banned, &device);
        (values(scores.logprob), values(scores.entropy))
    };
    assert_eq!(live[0].branches[0].tokens, read[0].branches[0].tokens);
    assert_eq!(scores(&session.policy, &live), scores(&loaded, &live));
    let untrained = Checkpoint::open(&recipe.model.path, &recipe.model.overrides, 0, &device);
    let untrained = Policy::new(untrained.unwrap(), &device).unwrap();
    assert_ne!(scores(&untrained, &live), scores(&loaded, &live));
}

#[test]
fn an_unsound_gradient_leaves_the_weights_alone() {
    let mut policy = sharp_policy();
    let before = policy.checkpoint.weights.clone();
    let trees = shared_trees(&policy, &sampled_groups(&policy, 1));
    let device = policy.device.clone().autodiff();
    let mut optimizer = Optimizer::new(&Default::default());
    let report = update(
        &mut policy,
        &mut optimizer,
        &trees,
        1,
        (0, 1),
        |network, range| {
            score(network, &trees[range], 1.0, &[], &device)
                .logprob
                .sum()
                * f32::NAN
        },
    );
    assert!(!report.applied);
    assert_eq!((policy.version, optimizer.steps()), (0, 0));
    for ((_, a), (_, b)) in before.iter().zip(policy.checkpoint.weights.iter()) {
        assert_eq!(values(a.value.clone()), values(b.value.clone()));
    }
}

// ---- errors ----

#[test]
fn a_row_without_an_answer_is_named_by_a_supervised_stage() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = read_recipe(folder.path(), &format!("{MODEL}{SFT}"), &[]);
    assert_eq!(recipe.stage[0].kind, StageKind::Sft);
    let device = Device::flex();
    let made = Checkpoint::open(&recipe.model.path, &recipe.model.overrides, 0, &device).unwrap();
    let stop = AtomicBool::new(false);
    let mut session = Session {
        policy: Policy::new(made, &device).unwrap(),
        run: Run::create(&recipe, "by-hand").unwrap(),
        observer: &mut Silent,
        seed: 0,
        save_steps: 0,
        log_episodes_steps: 0,
        stop: &stop,
        tokens: 0,
        state: ocelli_learn::algorithm::AlgorithmState::default(),
        curriculum: ocelli_learn::curriculum::CurriculumState::default(),
    };
    let mut plan = StagePlan {
        index: 0,
        config: &recipe.stage[0],
        start: 0,
        optimizer: Optimizer::new(&recipe.stage[0].optim),
    };
    let generated = pointing(1);
    let mut task = generated.tasks[0].as_ref().clone();
    task.images = vec![ImageSource::Pixels(
        generated.picture(&generated.tasks[0], 0).unwrap(),
    )];
    task.demonstration = None;
    task.id = "row-without".into();
    let data = Dataset::new("by-hand.jsonl", vec![task]);
    let error = sft::run(&mut session, &mut plan, &data).unwrap_err();
    assert!(matches!(error, LearnError::Row { .. }));
    let text = error.to_string();
    for part in ["by-hand.jsonl", "row-without", "no answer"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn data_that_cannot_be_used_is_named_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let row = |image: &str, turns: &str| {
        format!(r#"{{"id": "r1", "image": "{image}", "conversations": [{turns}]}}"#)
    };
    let question = r#"{"from": "human", "value": "<image>How many?"}"#;
    let answer = r#"{"from": "gpt", "value": "3"}"#;
    let png = ocelli_data::encode_png(&ocelli_core::Picture::new(28, 28, vec![90u8; 28 * 28 * 3]));
    fs::write(folder.path().join("a.png"), png).unwrap();
    fs::write(folder.path().join("torn.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let both = format!("{question}, {answer}");
    for (name, text, wanted) in [
        ("empty.jsonl", String::new(), "no rows"),
        ("missing.jsonl", row("absent.png", &both), "absent.png"),
        ("unanswered.jsonl", row("a.png", question), "line 1"),
        ("torn.jsonl", row("torn.png", &both), "torn.png"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
        let recipe = format!(
            "{MODEL}[[stage]]\nkind = \"sft\"\ndata = {{ path = {name:?} }}\nexit = {{ max_steps = 1 }}\n"
        );
        let text = failure(&read_recipe(folder.path(), &recipe, &[]), folder.path());
        assert!(text.contains(wanted), "{name}: {text}");
        if name != "torn.jsonl" {
            assert!(text.contains(name), "{name}: {text}");
            assert!(
                !folder.path().join("runs").exists(),
                "{name}: no run was begun"
            );
        }
    }
    // A file that is not there, and a part that leaves nothing.
    for (data, wanted) in [
        (r#"{ path = "nowhere.jsonl" }"#, "nowhere.jsonl"),
        (
            r#"{ generator = "pointing", rows = 3, part = [0.0, 0.1] }"#,
            "no rows",
        ),
    ] {
        let recipe = format!(
            "{MODEL}[[stage]]\nkind = \"sft\"\ndata = {data}\nexit = {{ max_steps = 1 }}\n"
        );
        let text = failure(&read_recipe(folder.path(), &recipe, &[]), folder.path());
        assert!(text.contains(wanted), "{data}: {text}");
    }
}

#[test]
fn a_run_that_cannot_be_resumed_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{MODEL}{SFT}");
    let recipe = read_recipe(folder.path(), &text, &["stage.sft.exit.max_steps=1"]);
    let finished = run(&recipe, "short");
    let again = |recipe: &Recipe| {
        let stop = AtomicBool::new(false);
        resume(&finished.folder, recipe, Path::new(""), &mut Silent, &stop)
            .unwrap_err()
            .to_string()
    };
    let checkpoint: PathBuf = finished.checkpoint.clone().unwrap();
    let state = checkpoint.join("trainer/state.json");
    let good = fs::read_to_string(&state).unwrap();
    fs::write(&state, good.replace("\"stage\": 0", "\"stage\": 4")).unwrap();
    let text = again(&recipe);
    assert!(
        text.contains("stage 5,") && text.contains("lacks"),
        "{text}"
    );
    fs::write(&state, b"{").unwrap();
    let text = again(&recipe);
    assert!(text.contains("state.json"), "{text}");
    fs::write(&state, good).unwrap();

    fs::write(checkpoint.join("model.safetensors"), b"short").unwrap();
    let text = again(&recipe);
    assert!(text.contains("model.safetensors"), "{text}");
}

#[test]
fn a_reference_that_is_gone_is_an_error_and_not_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = resumable(folder.path(), 1);
    let whole = run(&recipe, "whole");
    // The second stage goes on, and pulls to the end of the first, of which only an earlier checkpoint is left.
    let checkpoints = whole.folder.join("checkpoints");
    fs::remove_dir_all(checkpoints.join("1-sft-step-000004")).unwrap();
    fs::remove_dir_all(checkpoints.join("2-grpo-step-000004")).unwrap();
    let stop = AtomicBool::new(false);
    let error = resume(&whole.folder, &recipe, Path::new(""), &mut Silent, &stop).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("end of stage 1 (step 4) is gone"), "{text}");
}

#[test]
fn pictures_in_another_order_are_trained_on_as_they_were_shown() {
    let policy = sharp_policy();
    let data = pointing(2);
    let mut task = data.tasks[0].as_ref().clone();
    let pixels = |row: usize| ImageSource::Pixels(data.picture(&data.tasks[row], 0).unwrap());
    task.images = vec![pixels(0), pixels(1)];
    task.messages = vec![Message {
        role: Role::User,
        content: vec![Part::Image { index: 1 }, Part::Image { index: 0 }],
    }];
    let data = Dataset::new("by hand", vec![task]);
    let prepared = prepare(&policy, &data.tasks, |task, index| {
        data.picture(task, index)
    })
    .unwrap();
    let plan = CollectPlan {
        samples: 2,
        sampling: SamplingParams {
            temperature: 0.7,
            ..SamplingParams::greedy(9)
        },
        max_prompt_length: 512,
        max_turns: 1,
        seed: SeedKey::new(1, Purpose::Sampling),
        codec: CallCodec::WholeText,
        env: &|| Box::new(Question::default()),
    };
    let groups = collect(&policy, &prepared, &plan).unwrap();
    let trees = shared_trees(&policy, &groups);
    let device = &policy.device;
    let scores = score(&policy.network(), &trees, 0.7, &policy.rules.banned, device);
    for (new, old) in values(scores.logprob)
        .iter()
        .zip(behavior_logprobs(&groups))
    {
        assert!((new - old).abs() < 1e-4, "{new}, {old}");
    }
}

#[test]
fn what_no_stage_can_use_is_found_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let picture = |name: &str, width: usize, height: usize| {
        let pixels = vec![90u8; width * height * 3];
        let png = ocelli_data::encode_png(&ocelli_core::Picture::new(width, height, pixels));
        fs::write(root.join(name), png).unwrap();
    };
    picture("a.png", 28, 28);
    picture("line.png", 1000, 1);
    let row = |id: &str, image: &str, question: &str, answer: &str| {
        format!(
            r#"{{"id": "{id}", "image": "{image}", "conversations": [{{"from": "human", "value": "<image>{question}"}}, {{"from": "gpt", "value": "{answer}"}}]}}"#
        ) + "\n"
    };
    let good = row("good", "a.png", "How many?", "3");
    let long = "many ".repeat(600);
    for (name, bad, sft, wanted) in [
        (
            "long",
            row("bad", "a.png", &long, "3"),
            false,
            "max_prompt_length 300",
        ),
        (
            "shape",
            row("bad", "line.png", "How many?", "3"),
            false,
            "line.png",
        ),
        (
            "marker",
            row("bad", "a.png", "How <|image_pad|> many?", "3"),
            false,
            "the prompt has 2 <|image_pad|>",
        ),
        (
            "ended",
            row("bad", "a.png", "How many?", "3<|im_end|>4"),
            true,
            "<|im_end|>",
        ),
        (
            "shown",
            row("bad", "a.png", "How many?", "<|image_pad|>"),
            true,
            "<|image_pad|>",
        ),
        (
            "long-too",
            row("bad", "a.png", &long, "3"),
            true,
            "max_prompt_length 300",
        ),
    ] {
        let file = format!("{name}.jsonl");
        fs::write(root.join(&file), good.clone() + &bad).unwrap();
        let stage = if sft {
            format!(
                "[[stage]]\nkind = \"sft\"\ndata = {{ path = {file:?} }}\nmax_prompt_length = 300\nexit = {{ max_steps = 1 }}\n"
            )
        } else {
            format!(
                "[[stage]]\nkind = \"grpo\"\ndata = {{ path = {file:?} }}\nrollout = {{ max_prompt_length = 300 }}\n\
                 reward = [ {{ verifier = \"tags\" }} ]\nexit = {{ max_steps = 1 }}\n"
            )
        };
        let recipe = read_recipe(root, &format!("{MODEL}{SFT}{stage}"), &[]);
        let text = failure(&recipe, root);
        assert!(
            text.contains("bad") && text.contains(wanted),
            "{name}: {text}"
        );
        let planned = plan(&recipe, root).unwrap_err().to_string();
        assert_eq!(planned, text, "a dry run says the same");
        assert!(!root.join("runs").exists(), "{name}: no run was begun");
    }
}

#[test]
fn rewards_that_fit_no_row_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (when, wanted) in [
        (
            r#"{ task = "count" }"#,
            "no row has such a `task`; there are pointing",
        ),
        (r#"{ colour = "red" }"#, "no row has a tag `colour`"),
        (
            r#"{ task = ["pointing", "x"], source = "other" }"#,
            "no row has such a `source`",
        ),
    ] {
        let change = format!("stage.grpo.reward=[{{ verifier = \"tags\", when = {when} }}]");
        let recipe = read_recipe(folder.path(), &format!("{MODEL}{GRPO}"), &[&change]);
        let text = failure(&recipe, Path::new(""));
        assert!(
            text.contains(wanted) && text.contains("stage 1 (grpo)"),
            "{text}"
        );
    }
    let change =
        r#"stage.grpo.reward=[{ verifier = "tags", when = { task = ["pointing", "x"] } }]"#;
    let recipe = read_recipe(folder.path(), &format!("{MODEL}{GRPO}"), &[change]);
    assert!(plan(&recipe, Path::new("")).is_ok());
}

#[test]
fn a_stage_that_nothing_can_judge_ends_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    // Boxes are no numbers.
    let change = "stage.grpo.reward=[{ verifier = \"number\" }]";
    let text = format!("{MODEL}{GRPO}");
    let recipe = read_recipe(
        folder.path(),
        &text,
        &[change, "stage.grpo.exit.max_steps=2"],
    );
    let text = failure(&recipe, Path::new(""));
    assert!(
        text.contains("`number`") && text.contains("row `pointing-train-"),
        "{text}"
    );
    let rows = metrics(&folder.path().join("runs/failing"));
    assert_eq!(rows.len(), 1);
    assert!(rows[0]["reward"].is_null(), "{}", rows[0]);
}
