//! Stages that learn from answers recorded before: episodes of an earlier run, and rows with an answer and its reward.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

use ocelli_learn::Observer;
use serde_json::Value;

mod support;

use support::{MODEL, finished, number, steps, watched};

/// Keeps the episodes of every step.
const EPISODES: &str = "[run]\nlog_episodes_steps = 1\n";

const SFT: &str = r#"
[[stage]]
kind = "sft"
data = { generator = "pointing", rows = 6, demonstration = "<answer>{answer}</answer>" }
batch = { size = 4 }
optim = { learning_rate = 5e-3 }
exit = { max_steps = 8 }
"#;

const GRPO: &str = r#"
[[stage]]
kind = "grpo"
data = { generator = "pointing", rows = 4 }
batch = { size = 4 }
rollout = { num_generations = 4, max_completion_length = 12, temperature = 1.2 }
reward = [ { verifier = "tags", partial = true }, { verifier = "box_iou" } ]
optim = { learning_rate = 2e-3 }
exit = { max_steps = 2 }
"#;

/// Learns from the answers above; `EPISODES` and `MODEL` are filled in.
const OFF_POLICY: &str = r#"
[model]
path = MODEL

[[stage]]
kind = "off_policy"
data = { generator = "pointing", rows = 6 }
episodes = EPISODES
batch = { size = 4 }
rollout = { temperature = 1.2 }
algorithm = { preset = "awr" }
optim = { learning_rate = 1e-3 }
exit = { max_steps = 6 }
"#;

#[test]
fn recorded_episodes_are_learnt_from() {
    let here = tempfile::tempdir().unwrap();
    let made = finished(here.path(), &format!("{MODEL}{EPISODES}{SFT}{GRPO}"), &[]).unwrap();
    let sampler = made.folder.join("checkpoints/1-sft-step-000008");
    let sampler = format!("{:?}", sampler.display().to_string());
    let folder = made.folder.join("episodes");
    let recipe = |episodes: &Path| {
        let episodes = format!("[{:?}]", episodes.display().to_string());
        OFF_POLICY
            .replace("MODEL", &sampler)
            .replace("EPISODES", &episodes)
    };
    let run = |text: &str, changes: &[&str]| {
        let run = finished(here.path(), text, changes).unwrap();
        steps(&run, "off_policy")
    };

    // All answers of both steps, four rows with eight answers each: the two rows that were never asked are left out.
    let rows = run(&recipe(&folder), &[]);
    let recorded = steps(&made, "grpo");
    let mean = recorded.iter().map(|r| number(r, "reward")).sum::<f64>() / 2.0;
    assert!((number(&rows[0], "reward") - mean).abs() < 1e-9, "{rows:?}");
    assert!(number(&rows[5], "loss") < number(&rows[0], "loss"));

    // The first step's answers, learnt from by the model that gave them: nothing is stale yet.
    let first = recipe(&folder.join("2-grpo-000001.jsonl"));
    let correction = "stage.0.algorithm.staleness_correction=token_truncate";
    let short = "stage.0.exit.max_steps=3";
    let plain = run(&first, &[short]);
    let corrected = run(&first, &[short, correction]);
    let weight = |row: &Value, name: &str| {
        number(row, &format!("sampling/importance_sampling_ratio/{name}"))
    };
    for name in ["min", "mean", "max"] {
        assert!((weight(&corrected[0], name) - 1.0).abs() < 1e-3);
    }
    assert!(number(&plain[0], "sampling/sampling_logp_difference/max") < 1e-3);
    for name in ["loss", "grad_norm"] {
        let (a, b) = (number(&plain[0], name), number(&corrected[0], name));
        assert!((a - b).abs() < 1e-3 * b.abs().max(1.0), "{name}: {a} {b}");
    }
    // Then they are older than the policy, and ratios begin anew while weights do not.
    assert!(weight(&corrected[2], "max") > 1.0 + 1e-4);
    assert!(number(&corrected[2], "sampling/sampling_logp_difference/max") < 1e-3);
    assert!(number(&plain[2], "sampling/sampling_logp_difference/max") > 1e-3);
    assert_eq!(number(&corrected[2], "staleness/left_out"), 0.0);

    // A reward of its own judges them anew.
    let judged = first.replace(
        "algorithm =",
        "reward = [ { verifier = \"tags\", partial = true, weight = 2.0 } ]\nalgorithm =",
    );
    let judged = run(&judged, &["stage.0.exit.max_steps=1"]);
    let tags = number(&recorded[0], "rewards/tags/mean");
    assert!((number(&judged[0], "reward") - 2.0 * tags).abs() < 1e-9);
}

const ROWS: &str = r#"
[[stage]]
kind = "off_policy"
data = { path = "rows.jsonl" }
batch = { size = 4 }
algorithm = { preset = "reward_likelihood" }
optim = { learning_rate = 3e-3 }
exit = { max_steps = 6 }
"#;

#[test]
fn rows_with_answers_and_rewards_are_learnt_from() {
    let here = tempfile::tempdir().unwrap();
    let write = |rows: &str| fs::write(here.path().join("rows.jsonl"), rows).unwrap();
    let row = |question: &str, answer: &str, reward: &str| {
        format!("{{\"prompt\": \"{question}\", \"answer\": \"{answer}\"{reward}}}\n")
    };
    let good = row("2 + 2?", "4", ", \"reward\": 1.0") + &row("1 + 1?", "2", ", \"reward\": 1.0");
    let bad = row("1 + 2?", "9", ", \"reward\": 0.0") + &row("3 + 1?", "7", ", \"reward\": 0.0");
    write(&(good + &bad));
    let recipe = format!("{MODEL}{ROWS}");
    let run = finished(here.path(), &recipe, &[]).unwrap();
    let rows = steps(&run, "off_policy");
    assert_eq!(number(&rows[0], "reward"), 0.5);
    assert!(number(&rows[5], "loss") < number(&rows[0], "loss"));
    // Their log-probabilities are the policy's own: nothing is stale.
    assert!(number(&rows[5], "sampling/sampling_logp_difference/max") < 1e-4);

    let refused = |changes: &[&str]| {
        let run = finished(here.path(), &recipe, changes);
        run.map(drop).unwrap_err().to_string()
    };
    for (changes, words) in [
        (
            "stage.0.algorithm.staleness_correction=token_mask",
            "nobody knows how likely",
        ),
        (
            "stage.0.rollout.filter_groups={}",
            "a stage that samples nothing",
        ),
        (
            "stage.0.algorithm={ preset = \"remax\" }",
            "needs a greedy answer",
        ),
        ("stage.0.algorithm={ preset = \"visurf\" }", "remove them"),
        ("stage.0.episodes=[\"nowhere\"]", "nowhere"),
        (
            "stage.0.alarms={ window = 3 }",
            "`alarms` has no effect here",
        ),
    ] {
        let error = refused(&[changes]);
        assert!(error.contains(words), "{changes}: {error}");
    }
    write(&row("2 + 2?", "4", ""));
    let error = refused(&[]);
    assert!(error.contains("no number in a column `reward`"), "{error}");
    fs::write(here.path().join("rows.jsonl"), row("a", "b", "")).unwrap();
    fs::create_dir(here.path().join("kept")).unwrap();
    fs::write(here.path().join("kept/a.jsonl"), "{}\n").unwrap();
    let error = refused(&["stage.0.episodes=[\"kept\"]"]);
    assert!(error.contains("line 1: this is no episode"), "{error}");
    for (keys, words) in [
        ("{ temperature = 0.0 }", "rollout.temperature"),
        (
            "{ max_completion_length = 0 }",
            "rollout.max_completion_length",
        ),
        ("{ top_p = 0.5 }", "`top_p` and `top_k` have no effect"),
    ] {
        let error = refused(&[&format!("stage.0.rollout={keys}")]);
        assert!(error.contains(words), "{keys}: {error}");
    }
}

#[test]
fn episodes_that_contradict_themselves_are_refused_by_line() {
    let here = tempfile::tempdir().unwrap();
    let recipe = format!("{MODEL}{EPISODES}{SFT}{GRPO}");
    let made = finished(here.path(), &recipe, &[]).unwrap();
    let kept = fs::read_dir(made.folder.join("episodes")).unwrap();
    let kept = kept.map(|entry| entry.unwrap().path()).min().unwrap();
    let whole = fs::read_to_string(kept).unwrap();
    let whole: serde_json::Value = serde_json::from_str(whole.lines().next().unwrap()).unwrap();
    let sampler = made.folder.join("checkpoints/1-sft-step-000008");
    let file = here.path().join("changed.jsonl");
    let recipe = OFF_POLICY
        .replace("MODEL", &format!("{:?}", sampler.display().to_string()))
        .replace("EPISODES", "[\"changed.jsonl\"]");
    let answer = whole["segments"][1].clone();
    for (place, value, words) in [
        (
            "/segments/1/train_mask",
            serde_json::json!([true]),
            "`train_mask`",
        ),
        (
            "/segments/1/token_ids",
            serde_json::json!([1]),
            "as long as its `token_ids`",
        ),
        ("/segments/0", answer, "first segment"),
    ] {
        let mut changed = whole.clone();
        *changed.pointer_mut(place).unwrap() = value;
        fs::write(&file, format!("{changed}\n")).unwrap();
        let error = finished(here.path(), &recipe, &[]).map(drop).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("line 1: ") && error.contains(words),
            "{place}: {error}"
        );
    }
    // A token that the model lacks, in an answer that is else in order.
    let mut changed = whole.clone();
    changed["segments"][1]["token_ids"][0] = 1_000_000.into();
    fs::write(&file, format!("{changed}\n")).unwrap();
    let error = finished(here.path(), &recipe, &[]).map(drop).unwrap_err();
    assert!(
        error.to_string().contains("tokens that this model lacks"),
        "{error}"
    );
}

/// Remembers what it is told.
#[derive(Default)]
struct Listener(Vec<String>);

impl Observer for Listener {
    fn begin_stage(&mut self, _: &str, _: u64) {}
    fn step(&mut self, _: u64, _: &ocelli_core::Metrics) {}
    fn end_stage(&mut self) {}
    fn message(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}

#[test]
fn alarms_are_told_and_measured() {
    let here = tempfile::tempdir().unwrap();
    let recipe = format!("{MODEL}{EPISODES}{SFT}{GRPO}");
    // So low a bar that whatever an untrained model says is above it.
    let changes = [
        "stage.1.exit.max_steps=3",
        "stage.1.alarms={ window = 1, repetition = 0.001, length_growth = 0.0 }",
    ];
    let mut listener = Listener::default();
    let run = watched(here.path(), &recipe, &changes, &mut listener).unwrap();
    let rows = steps(&run, "grpo");
    assert!(!rows[0].as_object().unwrap().contains_key("alarms/raised"));
    for name in [
        "alarms/length_growth",
        "alarms/format_gain",
        "alarms/accuracy_gain",
        "alarms/raised",
    ] {
        number(&rows[2], name);
    }
    let repeated = rows[1..]
        .iter()
        .any(|r| number(r, "completions/repetition") > 0.001);
    let told = listener.0.iter().any(|t| t.contains("alarm `repetition`"));
    assert_eq!(repeated, told, "{:?}", listener.0);
    let error = finished(
        here.path(),
        &recipe,
        &["stage.1.alarms={ format = [\"tag\"] }"],
    );
    let error = error.map(drop).unwrap_err().to_string();
    assert!(error.contains("`alarms.format` names `tag`"), "{error}");
}
