//! Reward models: their loss against TRL (see `golden/make_reward_model.py`), the stage that trains them, and the verifier that asks them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use ocelli_core::{Episode, Message, Role, Task};
use ocelli_learn::objective::bradley_terry::{PairNumbers, pair_loss};
use ocelli_learn::reward_model::{Pictures, loose_picture, provide};
use ocelli_reward::{NodeConfig, RewardGraph};
use serde::Deserialize;

mod support;

use support::{MODEL, finished, number, steps};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    chosen: Vec<f32>,
    rejected: Vec<f32>,
    margin: Vec<f32>,
    tie: Vec<f32>,
    tie_margin: Option<f64>,
    center: Option<f64>,
    loss: f64,
    chosen_gradient: Vec<f64>,
    rejected_gradient: Vec<f64>,
    metrics: BTreeMap<String, f64>,
}

fn values(t: Tensor<1>) -> Vec<f32> {
    t.into_data().try_to_vec().unwrap()
}

fn near(found: f64, wanted: f64, what: &str) {
    assert!(
        (found - wanted).abs() <= 1e-5 * wanted.abs().max(1.0),
        "{what}: {found}, expected {wanted}"
    );
}

#[test]
fn losses_and_gradients_are_those_of_trl() {
    let golden: Golden = serde_json::from_str(include_str!("golden/reward_model.json")).unwrap();
    assert_eq!(golden.cases.len(), 8);
    let device = Device::flex().autodiff();
    let tensor = |numbers: &[f32]| Tensor::<1>::from_floats(numbers, &device);
    for (number, case) in golden.cases.iter().enumerate() {
        let what = format!("case {number}");
        let chosen = tensor(&case.chosen).require_grad();
        let rejected = tensor(&case.rejected).require_grad();
        let pairs = PairNumbers {
            chosen: chosen.clone(),
            rejected: rejected.clone(),
            margin: tensor(&case.margin),
            tie: tensor(&case.tie),
        };
        let loss = pair_loss(pairs, case.tie_margin, case.center).mean();
        near(f64::from(values(loss.clone())[0]), case.loss, &what);
        let gradients = loss.backward();
        for (leaf, wanted) in [
            (&chosen, &case.chosen_gradient),
            (&rejected, &case.rejected_gradient),
        ] {
            let found = values(leaf.grad(&gradients).unwrap());
            for (found, wanted) in found.iter().zip(wanted) {
                near(f64::from(*found), *wanted, &what);
            }
        }
        if let Some(accuracy) = case.metrics.get("accuracy") {
            let right = case.chosen.iter().zip(&case.rejected);
            let right = right.filter(|(c, r)| c > r).count();
            near(right as f64 / case.chosen.len() as f64, *accuracy, &what);
        }
    }
}

// ---- stages ----

/// True boxes are preferred to sloppy ones.
const REWARD: &str = r#"
[[stage]]
kind = "reward"
data = { generator = "pointing", rows = 8, demonstration = "<answer>{answer}</answer>", rejected_noise = { outward = 20.0, jitter = 4.0 } }
batch = { size = 8 }
optim = { learning_rate = 3e-3 }
exit = { max_steps = 30 }
"#;

#[test]
fn a_score_head_tells_pairs_apart_and_micro_batches_leave_no_trace() {
    let here = tempfile::tempdir().unwrap();
    let recipe = format!("{MODEL}{REWARD}");
    let rows = steps(&finished(here.path(), &recipe, &[]).unwrap(), "reward");
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    near(number(first, "loss"), 2f64.ln(), "a new head is a coin");
    assert_eq!(number(first, "mean_reward"), 0.0);
    assert!(number(last, "loss") < 0.3, "{last}");
    assert_eq!(number(last, "accuracy"), 1.0, "{last}");
    assert!(number(last, "margin") > 0.5, "{last}");
    assert!(number(last, "min_reward") < number(last, "max_reward"));

    let short = "stage.0.exit.max_steps=3";
    let cut = [short, "stage.0.batch.max_tokens=1"];
    let one = steps(&finished(here.path(), &recipe, &[short]).unwrap(), "reward");
    let other = steps(&finished(here.path(), &recipe, &cut).unwrap(), "reward");
    for (a, b) in one.iter().zip(&other) {
        for name in ["loss", "grad_norm", "margin", "mean_reward"] {
            let (a, b) = (number(a, name), number(b, name));
            assert!((a - b).abs() <= 2e-4 * b.abs().max(1.0), "{name}: {a} {b}");
        }
    }
}

#[test]
fn a_question_tells_them_apart_too() {
    let here = tempfile::tempdir().unwrap();
    let recipe = format!("{MODEL}{REWARD}reward_model = {{ by = \"yes_probability\" }}");
    let run = finished(here.path(), &recipe, &["stage.0.exit.max_steps=40"]).unwrap();
    let rows = steps(&run, "reward");
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    assert!(number(last, "loss") < number(first, "loss") - 0.1, "{last}");
    assert!((0.0..=1.0).contains(&number(first, "min_reward")));
}

/// Rows of text, with a margin and a tie.
fn rows(folder: &Path, extra: &str) -> PathBuf {
    let path = folder.join("pairs.jsonl");
    let row = |sum: u32| {
        format!(
            "{{\"prompt\": \"What is {sum} + 1?\", \"chosen\": \"{}\", \"rejected\": \"no idea\", \"margin\": 0.5}}\n",
            sum + 1
        )
    };
    let text: String = (1..7).map(row).collect();
    fs::write(&path, text + extra).unwrap();
    path
}

const TEXT: &str = r#"
[[stage]]
kind = "reward"
data = { path = "pairs.jsonl" }
batch = { size = 6 }
optim = { learning_rate = 5e-3 }
exit = { max_steps = 25 }
"#;

#[test]
fn a_checkpoint_judges_the_answers_of_later_runs() {
    let here = tempfile::tempdir().unwrap();
    rows(here.path(), "");
    let run = finished(here.path(), &format!("{MODEL}{TEXT}"), &[]).unwrap();
    let last = steps(&run, "reward").pop().unwrap();
    assert_eq!(number(&last, "accuracy"), 1.0, "{last}");
    let checkpoint = run.checkpoint.unwrap();

    let node = NodeConfig::new("reward_model").with("path", checkpoint.display().to_string());
    let graph = RewardGraph::new(&[node]).unwrap();
    let pictures: Arc<Pictures> = Arc::new(loose_picture);
    provide(&graph, &pictures).unwrap();
    graph.start(|_| {}).unwrap();
    let task = Arc::new(Task {
        id: "a".into(),
        messages: vec![Message::text(Role::User, "What is 3 + 1?")],
        ..Task::default()
    });
    let answer = |text: &str| Episode::of_answer(Arc::clone(&task), text, Vec::new());
    let mut group = [answer("4"), answer("no idea")];
    graph.score_group(&mut group);
    let score = |episode: &Episode| episode.outcome.reward.unwrap();
    assert!(score(&group[0]) > score(&group[1]), "{group:?}");
    // What the stage said last of a pair is what the verifier says of it.
    let (min, max) = (number(&last, "min_reward"), number(&last, "max_reward"));
    assert!(score(&group[0]) > min && score(&group[1]) < max);

    // As the reward of another run.
    let later = format!(
        "{MODEL}[[stage]]\nkind = \"grpo\"\ndata = {{ generator = \"pointing\", rows = 2 }}\nbatch = {{ size = 2 }}\n\
         rollout = {{ num_generations = 2, max_completion_length = 4 }}\n\
         reward = [ {{ verifier = \"reward_model\", path = {checkpoint:?} }} ]\nexit = {{ max_steps = 1 }}\n"
    );
    let metrics = steps(&finished(here.path(), &later, &[]).unwrap(), "grpo");
    assert!(number(&metrics[0], "rewards/reward_model/mean").is_finite());
    assert_eq!(number(&metrics[0], "verifier_error_rate"), 0.0);
}

#[test]
fn ties_and_margins_are_read_or_refused_with_the_mend() {
    let here = tempfile::tempdir().unwrap();
    let tie =
        "{\"prompt\": \"Say something.\", \"chosen\": \"a\", \"rejected\": \"b\", \"tie\": true}\n";
    rows(here.path(), tie);
    let recipe = format!("{MODEL}{TEXT}");
    let short = "stage.0.exit.max_steps=2";
    let with = [
        short,
        "stage.0.reward_model.tie_margin=0.5",
        "stage.0.batch.size=7",
    ];
    let metrics = steps(&finished(here.path(), &recipe, &with).unwrap(), "reward");
    assert!(number(&metrics[1], "loss") < number(&metrics[0], "loss"));
    for (changes, words) in [
        (vec![short], "`reward_model.tie_margin`"),
        (
            vec![short, "stage.0.reward_model.by=yes_probability"],
            "has no effect on chances of a yes",
        ),
        (
            vec![short, "stage.0.reward_model.question=\"Right?\""],
            "by = \"yes_probability\"",
        ),
        (vec![short, "stage.0.preference.beta=0.5"], "kind = \"dpo\""),
        (
            vec![short, with[1], "stage.0.trainable.heads=false"],
            "keeps the head",
        ),
    ] {
        let error = finished(here.path(), &recipe, &changes).map(drop);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(words), "{changes:?}: {error}");
    }
    let missing = NodeConfig::new("reward_model").with("path", "nowhere");
    let graph = RewardGraph::new(&[missing]).unwrap();
    let pictures: Arc<Pictures> = Arc::new(loose_picture);
    let error = provide(&graph, &pictures).unwrap_err().to_string();
    assert!(error.contains("no folder nowhere"), "{error}");
}
