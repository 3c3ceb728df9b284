//! Whole optimizer steps against TRL's `GRPOTrainer`: `tests/golden/make_step.py` ran it on the same weights, prompts, pictures, answers and
//! rewards, with every setting that an arm names.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use ocelli_core::{
    Call, Episode, Finish, ImageSource, Message, Outcome, Part, Picture, Purpose, Role, SeedKey,
    Segment, SegmentKind, Shown, Task, Verdict,
};
use ocelli_learn::algorithm::AlgorithmState;
use ocelli_learn::grpo::{Batch, LearnPlan, Learned, learn};
use ocelli_learn::optimizer::Optimizer;
use ocelli_learn::recipe::StageConfig;
use ocelli_learn::{LearnError, Recipe};
use ocelli_model::checkpoint::{Checkpoint, ConfigOverrides, read_tensor_bytes};
use ocelli_model::network::Network;
use ocelli_model::ops::values;
use ocelli_model::preset::Preset;
use ocelli_model::weights::Weights;
use ocelli_reward::RewardGraph;
use ocelli_rollout::{Group, Policy, prepare};
use serde::Deserialize;
use serde_json::{Value, json};

const ADVANTAGE: f64 = 1e-5;
const LOSS: f64 = 1e-5;
const PARAMETER: f64 = 1e-6;
/// As a share of it.
const NORM: f64 = 1e-4;

// ---- what the script wrote ----

#[derive(Deserialize)]
struct Golden {
    overrides: ConfigOverrides,
    kept: usize,
    reference_scale: f32,
    max_completion_length: usize,
    parameters: Vec<String>,
    questions: Vec<String>,
    /// Width and height of each prompt's pictures.
    pictures: Vec<Vec<[usize; 2]>>,
    prompt_ids: Vec<Vec<u32>>,
    completions: Vec<Vec<Vec<u32>>>,
    arms: BTreeMap<String, Arm>,
}

#[derive(Deserialize)]
struct Arm {
    algorithm: Value,
    rollout: Value,
    batch: Value,
    optim: Value,
    /// A table of answers by group for each reward function.
    rewards: Vec<Vec<Vec<Option<f64>>>>,
    weights: Vec<f64>,
    advantages: Vec<f64>,
    /// One list an answer.
    old_logprobs: Vec<Vec<f32>>,
    losses: Vec<f64>,
    gradient_norms: Vec<f64>,
    metrics: BTreeMap<String, f64>,
}

/// What one arm did to the parameters.
struct Change {
    /// The kept values of all parameters.
    kept: Vec<f32>,
    /// Norm of each parameter's whole change.
    norms: Vec<f32>,
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

fn golden() -> Golden {
    serde_json::from_slice(&fs::read(folder().join("step.json")).unwrap()).unwrap()
}

fn golden_changes() -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(folder().join("step.safetensors")).unwrap();
    read_tensor_bytes(&bytes).unwrap().into_iter().collect()
}

// ---- the same model and inputs ----

/// The script's linear congruential generator.
struct Numbers(u32);

impl Numbers {
    /// 24 bits.
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }
}

fn policy(golden: &Golden) -> Policy {
    let device = Device::flex();
    let preset = Preset::find("tiny-qwen2_5_vl").unwrap();
    let mut checkpoint = Checkpoint::from_preset(&preset, &golden.overrides, 0, &device).unwrap();
    let mut numbers = Numbers(1);
    let mut weights = Weights::default();
    for (name, parameter) in checkpoint.weights.iter() {
        let width = if name.contains("patch_embed") {
            0.125
        } else {
            0.25
        };
        let gain = parameter.shape.len() == 1 && name.ends_with("weight");
        let drawn = (0..parameter.shape.iter().product()).map(|_| {
            let unit = f64::from(numbers.next()) / f64::from(1 << 24);
            (f64::from(u8::from(gain)) + (unit - 0.5) * width) as f32
        });
        let drawn: Vec<f32> = drawn.collect();
        weights.insert(name, &parameter.shape, drawn, &device);
    }
    checkpoint.weights = weights;
    let mut policy = Policy::new(checkpoint, &device).unwrap();
    // TRL takes the placeholders of pictures into the distribution.
    policy.rules.banned.clear();
    policy
}

fn reference(policy: &Policy, scale: f32) -> Network {
    let mut weights = policy.checkpoint.weights.clone();
    weights.update(|_, value| value * scale);
    Network::new(&policy.checkpoint.config, &weights)
}

fn tasks(golden: &Golden) -> Vec<Arc<Task>> {
    let mut seeds = 1000..;
    let prompts = golden.questions.iter().zip(&golden.pictures);
    prompts
        .enumerate()
        .map(|(row, (question, sizes))| {
            let pictures = sizes
                .iter()
                .zip(&mut seeds)
                .map(|(&[width, height], seed)| {
                    let mut numbers = Numbers(seed);
                    let rgb: Vec<u8> = (0..3 * width * height)
                        .map(|_| (numbers.next() >> 16) as u8)
                        .collect();
                    ImageSource::Pixels(Picture::new(width, height, rgb))
                });
            let images: Vec<ImageSource> = pictures.collect();
            let shown = (0..images.len()).map(|index| Part::Image { index });
            let text = Part::Text {
                text: question.clone(),
            };
            Arc::new(Task {
                id: row.to_string(),
                messages: vec![Message {
                    role: Role::User,
                    content: shown.chain([text]).collect(),
                }],
                images,
                ..Task::default()
            })
        })
        .collect()
}

/// The answers as if the policy had just given them.
fn groups(golden: &Golden, arm: &Arm, policy: &Policy, graph: &RewardGraph) -> Vec<Group> {
    let picture = |task: &Task, index: usize| match &task.images[index] {
        ImageSource::Pixels(picture) => Ok(picture.clone()),
        _ => unreachable!("all pictures are pixels"),
    };
    let prepared = prepare(policy, &tasks(golden), picture).unwrap();
    let names: Vec<&str> = graph.node_names().collect();
    let mut old = arm.old_logprobs.iter();
    prepared
        .into_iter()
        .enumerate()
        .map(|(row, prepared)| {
            let (task, media) = (prepared.task, prepared.media);
            let prompt = policy
                .processor
                .prompt(&task.id, &task.messages, &media)
                .unwrap();
            assert_eq!(prompt.ids, golden.prompt_ids[row]);
            let shown = Segment {
                parent: None,
                kind: SegmentKind::Observation {
                    shown: (0..media.images.len()).map(Shown::Image).collect(),
                },
                train_mask: vec![false; prompt.ids.len()],
                token_ids: prompt.ids,
                text: String::new(),
            };
            let answers = golden.completions[row].iter().enumerate();
            let episodes = answers
                .map(|(sample, tokens)| {
                    let scores: Vec<Option<f64>> =
                        arm.rewards.iter().map(|t| t[row][sample]).collect();
                    let judged = scores.iter().zip(&arm.weights);
                    let judged: Vec<f64> = judged.filter_map(|(s, w)| s.map(|s| s * w)).collect();
                    let verdict = |s: &Option<f64>| s.map_or(Verdict::Skip, Verdict::score);
                    let names = names.iter().map(|name| (*name).to_owned());
                    let finish = if tokens.len() < golden.max_completion_length {
                        Finish::Stop
                    } else {
                        Finish::Length
                    };
                    let answered = Segment {
                        parent: Some(0),
                        kind: SegmentKind::Decision {
                            behavior_logprobs: old.next().unwrap().clone(),
                            policy_version: 0,
                            finish,
                            call: Call::Answer {
                                text: String::new(),
                            },
                        },
                        token_ids: tokens.clone(),
                        train_mask: vec![true; tokens.len()],
                        text: String::new(),
                    };
                    Episode {
                        task: task.clone(),
                        sample,
                        pictures: Vec::new(),
                        segments: vec![shown.clone(), answered],
                        outcome: Outcome {
                            verdicts: names.zip(scores.iter().map(verdict)).collect(),
                            reward: (!judged.is_empty()).then(|| judged.iter().sum()),
                            ..Outcome::default()
                        },
                    }
                })
                .collect();
            Group {
                task,
                episodes,
                media,
            }
        })
        .collect()
}

/// The arm's settings as a stage of a recipe that passes all checks.
fn stage(golden: &Golden, arm: &Arm) -> StageConfig {
    let merged = |table: &Value, more: Value| {
        let mut table = table.as_object().unwrap().clone();
        table.extend(more.as_object().unwrap().clone());
        table
    };
    let group = golden.completions[0].len();
    let rollout =
        json!({"num_generations": group, "max_completion_length": golden.max_completion_length});
    let reward: Vec<Value> = arm
        .weights
        .iter()
        .enumerate()
        .map(|(i, weight)| json!({"name": format!("reward_{i}"), "verifier": "tags", "weight": weight}))
        .collect();
    let recipe = json!({
        "model": {"path": "tiny-qwen2_5_vl"},
        "stage": [{
            "kind": "grpo",
            "data": {"generator": "pointing", "rows": 3},
            "batch": merged(&arm.batch, json!({"size": 3})),
            "rollout": merged(&arm.rollout, rollout),
            "reward": reward,
            "algorithm": arm.algorithm,
            "optim": merged(&arm.optim, json!({"lr_scheduler_type": "constant"})),
            "exit": {"max_steps": 1},
        }],
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    fs::write(&path, toml::to_string(&recipe).unwrap()).unwrap();
    Recipe::read(&path, &[]).unwrap().stage.remove(0)
}

/// Our step with the settings of `arm`.
fn step(golden: &Golden, arm: &Arm) -> (Learned, Change) {
    step_of(policy(golden), golden, arm)
}

fn step_of(mut policy: Policy, golden: &Golden, arm: &Arm) -> (Learned, Change) {
    let stage = stage(golden, arm);
    let graph = RewardGraph::new(&stage.reward).unwrap();
    let reference = reference(&policy, golden.reference_scale);
    let groups = groups(golden, arm, &policy, &graph);
    let before: Vec<Tensor<1>> = parameters(&policy);
    let mut optimizer = Optimizer::new(&stage.optim);
    let learned = learn(
        &mut policy,
        &mut optimizer,
        &mut AlgorithmState::default(),
        &Batch {
            groups: &groups,
            greedy: &[],
            damaged: &[],
        },
        &LearnPlan {
            stage: &stage,
            graph: &graph,
            reference: Some(&reference),
            progress: (0, 1),
            key: SeedKey::new(0, Purpose::Control),
        },
    )
    .unwrap();
    assert_eq!(policy.version, arm.losses.len() as u64);
    let mut change = Change {
        kept: Vec::new(),
        norms: Vec::new(),
    };
    for (before, after) in before.into_iter().zip(parameters(&policy)) {
        let pairs = values(before).into_iter().zip(values(after));
        let whole: Vec<f64> = pairs.map(|(b, a)| f64::from(a) - f64::from(b)).collect();
        let count = whole.len().min(golden.kept);
        let kept = (0..count).map(|k| whole[k * whole.len() / count] as f32);
        change.kept.extend(kept);
        let squares: f64 = whole.iter().map(|c| c * c).sum();
        change.norms.push(squares.sqrt() as f32);
    }
    (learned, change)
}

fn parameters(policy: &Policy) -> Vec<Tensor<1>> {
    let weights = policy.checkpoint.weights.iter();
    weights.map(|(_, p)| p.value.clone()).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, f64::max)
}

// ---- tests ----

#[test]
fn whole_steps_equal_those_of_trl() {
    let (golden, changes) = (golden(), golden_changes());
    let names: Vec<String> = policy(&golden)
        .checkpoint
        .weights
        .iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(names, golden.parameters);
    let mut wrong = Vec::new();
    for (name, arm) in &golden.arms {
        let (learned, change) = step(&golden, arm);
        let mut look = |what: &str, difference: f64, limit: f64| {
            println!("{name:20} {what:30} {difference:.2e} of {limit:.0e}");
            if difference.is_nan() || difference > limit {
                wrong.push(format!("{name}: {what} is off by {difference:e}"));
            }
        };
        let lengths = golden.completions.iter().flatten().map(Vec::len);
        let mut advantage = 0f64;
        for ((ours, theirs), length) in learned.advantages.iter().zip(&arm.advantages).zip(lengths)
        {
            assert_eq!(ours.len(), length);
            for ours in ours {
                advantage = advantage.max((ours - theirs).abs());
            }
        }
        look("advantage", advantage, ADVANTAGE);
        let last = |list: &[f64]| *list.last().unwrap();
        let metric = |name: &str| learned.metrics.get(name).unwrap();
        look("loss", (metric("loss") - last(&arm.losses)).abs(), LOSS);
        let norm = last(&arm.gradient_norms);
        let limit = 1e-5 * norm.max(1.0);
        look("gradient norm", (metric("grad_norm") - norm).abs(), limit);
        for (name, value) in &arm.metrics {
            look(name, (metric(name) - value).abs(), 1e-5);
        }
        let kept = largest_difference(&change.kept, &changes[&format!("{name}.change")]);
        look("parameter", kept, PARAMETER);
        let norms = change.norms.iter().zip(&changes[&format!("{name}.norm")]);
        let off = norms.map(|(ours, theirs)| f64::from((ours - theirs).abs() / theirs));
        look(
            "norm of a parameter's change",
            off.fold(0.0, f64::max),
            NORM,
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The limits are narrow enough that a setting that is only a little different does not pass.
#[test]
fn a_setting_that_differs_shows() {
    let (mut golden, changes) = (golden(), golden_changes());
    for (name, table, more) in [
        ("grpo", "algorithm", json!({"epsilon": 0.25})),
        (
            "grpo",
            "algorithm",
            json!({"preset": "dapo", "epsilon_high": 0.2}),
        ),
        ("grpo", "optim", json!({"adam_epsilon": 2e-5})),
        ("grpo", "optim", json!({"max_grad_norm": 1.1})),
        ("dapo", "algorithm", json!({"epsilon_high": 0.2})),
        ("cispo_capped", "algorithm", json!({"epsilon_high": 1.4})),
        ("gspo", "algorithm", json!({"preset": "luspo"})),
        ("kl", "algorithm", json!({"beta": 0.06})),
        (
            "weight_decay",
            "optim",
            json!({"weight_decay_rule": "matrices"}),
        ),
        ("temperature", "rollout", json!({"temperature": 0.71})),
    ] {
        let arm = golden.arms.get_mut(name).unwrap();
        let settings = match table {
            "algorithm" => &mut arm.algorithm,
            "optim" => &mut arm.optim,
            _ => &mut arm.rollout,
        };
        let before = settings.clone();
        let fields = more.as_object().unwrap().clone();
        settings.as_object_mut().unwrap().extend(fields);
        let change = step(&golden, &golden.arms[name]).1;
        let off = largest_difference(&change.kept, &changes[&format!("{name}.change")]);
        println!("{name:20} {more} {off:.2e}");
        assert!(off > 2.0 * PARAMETER, "{name} with {more}: {off:e}");
        let arm = golden.arms.get_mut(name).unwrap();
        match table {
            "algorithm" => arm.algorithm = before,
            "optim" => arm.optim = before,
            _ => arm.rollout = before,
        }
    }
}

/// What `Policy::new` bans is the one thing that the comparison has to turn off.
#[test]
fn placeholders_in_the_distribution_show() {
    let (golden, changes) = (golden(), golden_changes());
    let arm = &golden.arms["grpo"];
    let mut policy = policy(&golden);
    policy.rules.banned = policy.checkpoint.config.placeholder_tokens();
    let change = step_of(policy, &golden, arm).1;
    let off = largest_difference(&change.kept, &changes["grpo.change"]);
    assert!(off > 2.0 * PARAMETER, "{off:e}");
}

#[test]
fn what_an_algorithm_lacks_is_named() {
    let mut golden = golden();
    for (algorithm, wanted) in [
        (
            json!({"preset": "remax"}),
            "greedy answer of each of 3 groups, 0 were given",
        ),
        (
            json!({"preset": "vppo"}),
            "damaged pictures, 54 tokens; those given have 0",
        ),
        (json!({"preset": "vlm-r1"}), "no reference is given"),
    ] {
        golden.arms.get_mut("grpo").unwrap().algorithm = algorithm;
        let arm = &golden.arms["grpo"];
        let mut policy = policy(&golden);
        let stage = stage(&golden, arm);
        let graph = RewardGraph::new(&stage.reward).unwrap();
        let groups = groups(&golden, arm, &policy, &graph);
        let error = learn(
            &mut policy,
            &mut Optimizer::new(&stage.optim),
            &mut AlgorithmState::default(),
            &Batch {
                groups: &groups,
                greedy: &[],
                damaged: &[],
            },
            &LearnPlan {
                stage: &stage,
                graph: &graph,
                reference: None,
                progress: (0, 1),
                key: SeedKey::new(0, Purpose::Control),
            },
        )
        .unwrap_err();
        assert!(matches!(error, LearnError::Config { .. }));
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(policy.version, 0);
    }
}
