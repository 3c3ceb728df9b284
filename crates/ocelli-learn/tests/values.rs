//! PPO's advantages, value loss and whole steps. Golden vectors from TRL; see `golden/make_values.py`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use burn::tensor::{Device, Tensor};
use ocelli_learn::credit::gae::gae;
use ocelli_learn::credit::normalize::{scale_to_unit_variance, whiten};
use ocelli_learn::objective::kl::kl_value;
use ocelli_learn::objective::value::{is_clipped, value_loss};
use ocelli_learn::objective::{ClipBounds, KlEstimator, clipped_surrogate};
use serde::Deserialize;
use serde_json::Value;

mod support;

use support::{MODEL, finished, number, steps};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Settings {
    kl_estimator: KlEstimator,
    kl_coef: f64,
    whiten_rewards: bool,
    gamma: f64,
    lam: f64,
    cliprange: f64,
    cliprange_value: f64,
    vf_coef: f64,
}

/// One list an answer. Of an answer that did not fill TRL's width, values, rewards and returns are one longer than tokens.
#[derive(Deserialize)]
struct Case {
    settings: Settings,
    logprob: Vec<Vec<f32>>,
    old_logprob: Vec<Vec<f32>>,
    reference: Vec<Vec<f32>>,
    scores: Vec<f64>,
    old_value: Vec<Vec<f64>>,
    value: Vec<Vec<f32>>,
    rewards: Vec<Vec<f64>>,
    advantages: Vec<Vec<f64>>,
    returns: Vec<Vec<f64>>,
    value_loss: f64,
    value_clipped: f64,
    policy_loss: f64,
    loss: f64,
    logprob_gradient: Vec<Vec<f64>>,
    value_gradient: Vec<Vec<f64>>,
}

fn values(t: Tensor<1>) -> Vec<f32> {
    t.into_data().try_to_vec().unwrap()
}

fn near(found: f64, wanted: f64, what: &str) {
    assert!(
        (found - wanted).abs() <= 1e-5 * wanted.abs().max(1.0),
        "{what}: {found}, TRL {wanted}"
    );
}

fn all_near(found: &[f64], wanted: &[f64], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (found, wanted) in found.iter().zip(wanted) {
        near(*found, *wanted, what);
    }
}

fn narrow(values: &[Vec<f64>]) -> Vec<f32> {
    values.iter().flatten().map(|v| *v as f32).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

#[test]
fn advantages_and_returns_are_those_of_trl() {
    let golden: Golden = serde_json::from_str(include_str!("golden/values.json")).unwrap();
    assert_eq!(golden.cases.len(), 6);
    for (number, case) in golden.cases.iter().enumerate() {
        let settings = &case.settings;
        let mut rewards: Vec<Vec<f64>> = Vec::new();
        for (i, old) in case.old_logprob.iter().enumerate() {
            let divergence = old.iter().zip(&case.reference[i]).map(|(old, reference)| {
                kl_value(
                    settings.kl_estimator,
                    f64::from(*old),
                    f64::from(*reference),
                )
            });
            let mut tokens: Vec<f64> = divergence.map(|kl| -settings.kl_coef * kl).collect();
            tokens.resize(case.old_value[i].len(), 0.0);
            *tokens.last_mut().unwrap() += case.scores[i];
            rewards.push(tokens);
        }
        if settings.whiten_rewards {
            rewards = scale_to_unit_variance(&rewards, 1e-8);
        }
        let mut advantages = Vec::new();
        for (i, rewards) in rewards.iter().enumerate() {
            let what = format!("case {number}, answer {i}");
            all_near(rewards, &case.rewards[i], &what);
            let found = gae(
                rewards,
                &case.old_value[i],
                0.0,
                settings.gamma,
                settings.lam,
            );
            all_near(&found.returns, &case.returns[i], &what);
            // The state after the last token has a value and no advantage.
            advantages.push(found.advantages[..case.logprob[i].len()].to_vec());
        }
        let white = whiten(&advantages, 1, 1e-8);
        for (found, wanted) in white.iter().zip(&case.advantages) {
            all_near(found, wanted, &format!("case {number}, whitened"));
        }
    }
}

#[test]
fn losses_and_gradients_are_those_of_trl() {
    let golden: Golden = serde_json::from_str(include_str!("golden/values.json")).unwrap();
    let device = Device::flex().autodiff();
    let tensor = |numbers: &[f32]| Tensor::<1>::from_floats(numbers, &device);
    for (number, case) in golden.cases.iter().enumerate() {
        let what = format!("case {number}");
        let settings = &case.settings;
        let logprob = tensor(&case.logprob.concat()).require_grad();
        let value = tensor(&case.value.concat()).require_grad();
        let policy = clipped_surrogate(
            logprob.clone() - tensor(&case.old_logprob.concat()),
            tensor(&narrow(&case.advantages)),
            ClipBounds::new(settings.cliprange, settings.cliprange),
        )
        .mean();
        let critic = value_loss(
            value.clone(),
            tensor(&narrow(&case.old_value)),
            tensor(&narrow(&case.returns)),
            Some(settings.cliprange_value),
        )
        .mean();
        let loss = policy.clone() + critic.clone() * settings.vf_coef as f32;
        let number_of = |t: Tensor<1>| f64::from(values(t)[0]);
        near(number_of(policy), case.policy_loss, &what);
        near(number_of(critic), case.value_loss, &what);
        near(number_of(loss.clone()), case.loss, &what);
        let gradients = loss.backward();
        let of = |t: &Tensor<1>| wide(&values(t.grad(&gradients).unwrap()));
        all_near(&of(&logprob), &case.logprob_gradient.concat(), &what);
        all_near(&of(&value), &case.value_gradient.concat(), &what);

        let numbers = case.value.concat();
        let (old, targets) = (case.old_value.concat(), case.returns.concat());
        let clipped = (0..numbers.len())
            .filter(|&i| {
                let width = settings.cliprange_value;
                is_clipped(f64::from(numbers[i]), old[i], targets[i], width)
            })
            .count();
        near(
            clipped as f64 / numbers.len() as f64,
            case.value_clipped,
            &what,
        );
    }
}

// ---- stages ----

/// Learns that an answer is in tags and holds numbers, so that answers differ in their rewards.
const SFT: &str = r#"
[[stage]]
kind = "sft"
data = { generator = "pointing", rows = 6, demonstration = "<answer>{answer}</answer>" }
batch = { size = 4 }
optim = { learning_rate = 5e-3 }
exit = { max_steps = 25 }
"#;

const PPO: &str = r#"
[[stage]]
kind = "grpo"
data = { generator = "pointing", rows = 8 }
batch = { size = 8 }
rollout = { num_generations = 4, max_completion_length = 16, temperature = 1.2 }
reward = [ { verifier = "tags", partial = true }, { verifier = "box_iou" } ]
algorithm = { preset = "ppo" }
optim = { learning_rate = 1e-3, part_learning_rates = { heads = 1e-2 } }
exit = { max_steps = 2 }
"#;

fn assert_same(one: &[Value], other: &[Value], names: &[&str], tolerance: f64) {
    assert_eq!(one.len(), other.len());
    for (a, b) in one.iter().zip(other) {
        for name in names {
            let (a, b) = (number(a, name), number(b, name));
            assert!(
                (a - b).abs() <= tolerance * b.abs().max(1.0),
                "{name}: {a} {b}"
            );
        }
    }
}

/// A stage with a value head begins, is saved and leaves its head beside the weights; micro-batches leave no trace.
#[test]
fn micro_batches_leave_no_trace_and_the_head_is_kept() {
    let here = tempfile::tempdir().unwrap();
    // A reward that an untrained model's answers differ in: advantages that are whitened rounding would differ too.
    let recipe = format!("{MODEL}{SFT}{PPO}").replace(
        r#"{ verifier = "tags", partial = true }"#,
        r#"{ verifier = "soft_overlong", max_completion_length = 16, cache = 16 }"#,
    );
    // Adam's first steps are as large for a gradient that is nothing but rounding as for any other, unless its epsilon is large: then they
    // go with the gradient, and several epochs can be compared.
    let quick = [
        "stage.0.exit.max_steps=6",
        "stage.1.algorithm.num_iterations=4",
        "stage.1.optim.adam_epsilon=1.0",
        "stage.1.optim.learning_rate=0.1",
        "stage.1.optim.part_learning_rates.heads=0.1",
        "stage.1.batch.max_tokens=1",
    ];
    let whole = finished(here.path(), &recipe, &quick[..5]).unwrap();
    let cut = finished(here.path(), &recipe, &quick).unwrap();
    let names = [
        "loss",
        "grad_norm",
        "loss/policy_avg",
        "loss/value_avg",
        "objective/kl",
        "objective/scores",
        "critic/values/mean",
        "critic/returns/mean",
    ];
    assert_same(&steps(&whole, "grpo"), &steps(&cut, "grpo"), &names, 1e-4);
    let first = &steps(&whole, "grpo")[0];
    // A new head says zero, and the first step's divergence is that of a model from itself.
    assert_eq!(number(first, "critic/values/mean"), 0.0);
    assert!(number(first, "objective/kl").abs() < 1e-5);
    assert!(number(first, "loss/value_avg") > 0.0);
    let second = &steps(&whole, "grpo")[1];
    assert!(number(second, "critic/values/mean").abs() > 1e-6);
    let checkpoint = whole.checkpoint.unwrap();
    assert!(checkpoint.join("value_head.safetensors").is_file());
}

/// With values of zero, λ = γ = 1 and no clip before the first step, an advantage is the whitened reward: REINFORCE over the batch.
#[test]
fn without_values_it_is_reinforce() {
    let here = tempfile::tempdir().unwrap();
    let keys = "stage.1.exit.max_steps=1";
    let recipe = format!("{MODEL}{SFT}{PPO}");
    let ppo = [
        "stage.0.exit.max_steps=6",
        keys,
        "stage.1.algorithm.lam=1.0",
        "stage.1.algorithm.vf_coef=0.0",
        "stage.1.algorithm.beta=0.0",
        "stage.1.algorithm.num_iterations=1",
    ];
    let one = finished(here.path(), &recipe, &ppo).unwrap();
    let plain = recipe.replace("preset = \"ppo\"", "preset = \"reinforce++\"");
    let plain = plain.replace(", part_learning_rates = { heads = 1e-2 }", "");
    let other = finished(here.path(), &plain, &["stage.0.exit.max_steps=6", keys]).unwrap();
    assert_same(
        &steps(&one, "grpo"),
        &steps(&other, "grpo"),
        &["loss", "grad_norm", "reward"],
        1e-5,
    );
}

#[test]
fn mini_batches_take_a_step_each_and_warm_up_moves_the_head_alone() {
    let here = tempfile::tempdir().unwrap();
    let recipe = format!("{MODEL}{SFT}{PPO}");
    let changes = [
        "stage.0.exit.max_steps=6",
        "stage.1.algorithm.num_mini_batches=4",
        "stage.1.algorithm.num_ppo_epochs=2",
        "stage.1.algorithm.critic_warmup=1",
        "stage.1.algorithm.gae_level=step",
    ];
    let run = finished(here.path(), &recipe, &changes).unwrap();
    let rows = steps(&run, "grpo");
    // The policy has not moved in the first step, and has in the second.
    assert!(number(&rows[0], "policy/approxkl_avg") < 1e-9);
    assert!(number(&rows[1], "policy/approxkl_avg") > 1e-9);
    assert!(number(&rows[1], "val/ratio_var") > 0.0);
    let path = run.checkpoint.unwrap().join("trainer/state.json");
    let state: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(state["optimizer_steps"], 2 * 4 * 2);
}

/// A short run raises the reward, and the values come to explain what is left of it.
#[test]
fn it_learns_to_point() {
    let here = tempfile::tempdir().unwrap();
    let recipe = format!("{MODEL}{SFT}{PPO}");
    let changes = [
        "stage.1.exit.max_steps=25",
        "stage.1.algorithm.num_mini_batches=2",
        "stage.1.algorithm.num_iterations=2",
        "stage.1.algorithm.beta=0.0",
    ];
    let rows = steps(&finished(here.path(), &recipe, &changes).unwrap(), "grpo");
    let mean = |rows: &[Value], name| {
        rows.iter().map(|row| number(row, name)).sum::<f64>() / rows.len() as f64
    };
    let (first, last) = (mean(&rows[..5], "reward"), mean(&rows[20..], "reward"));
    assert!(last > first + 0.04, "{first} to {last}");
    let loss = |rows: &[Value]| mean(rows, "loss/value_avg");
    assert!(loss(&rows[20..]) < loss(&rows[..5]), "{rows:?}");
}

#[test]
fn contradictions_are_refused_with_the_mend() {
    let here = tempfile::tempdir().unwrap();
    for (changes, words) in [
        (
            "stage.1.trainable={ heads = false }",
            "keeps the head that this stage needs",
        ),
        (
            "stage.1.algorithm.num_mini_batches=9",
            "more than the 8 prompts",
        ),
        (
            "stage.1.algorithm.importance_sampling_level=sequence",
            "one to every token",
        ),
        (
            "stage.0.optim.part_learning_rates={ heads = 1.0 }",
            "no such part",
        ),
    ] {
        let recipe = format!("{MODEL}{SFT}{PPO}").replace(
            "optim = { learning_rate = 1e-3, part_learning_rates = { heads = 1e-2 } }",
            "optim = { learning_rate = 1e-3 }",
        );
        let error = finished(here.path(), &recipe, &[changes])
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{changes}: {error}");
    }
}
