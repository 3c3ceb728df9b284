//! Losses of preference pairs against TRL; see `golden/make_preference.py`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use ocelli_learn::LearnError;
use ocelli_learn::objective::Sequences;
use ocelli_learn::objective::preference::{PairScores, PreferenceConfig, preference_loss};
use serde::Deserialize;
use serde_json::Value;

mod support;

use support::{MODEL, finished, number};

#[derive(Deserialize)]
struct Golden {
    batches: BTreeMap<String, Batch>,
    losses: Vec<Loss>,
}

#[derive(Deserialize)]
struct Batch {
    /// Of the chosen and the rejected answer in turn.
    lengths: Vec<usize>,
    logprob: Vec<f32>,
    reference: Vec<f32>,
}

#[derive(Deserialize)]
struct Loss {
    batch: String,
    keys: PreferenceConfig,
    value: f64,
    gradient: Vec<f64>,
    #[serde(rename = "rewards/chosen")]
    chosen: f64,
    #[serde(rename = "rewards/rejected")]
    rejected: f64,
    #[serde(rename = "rewards/accuracies")]
    accuracy: f64,
}

fn values(t: Tensor<1>) -> Vec<f32> {
    t.into_data().try_to_vec().unwrap()
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64
}

fn near(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() <= 1e-5 * wanted.abs().max(1.0)
}

#[test]
fn losses_and_gradients_are_those_of_trl() {
    let golden: Golden = serde_json::from_str(include_str!("golden/preference.json")).unwrap();
    assert_eq!(golden.losses.len(), 45);
    let device = Device::flex().autodiff();
    for loss in &golden.losses {
        let what = format!("{:?} on {}", loss.keys, loss.batch);
        loss.keys.check().unwrap();
        let batch = &golden.batches[&loss.batch];
        let sequences = Sequences::new(batch.lengths.clone());
        let logprob: Tensor<1> =
            Tensor::from_floats(batch.logprob.as_slice(), &device).require_grad();
        let reference = loss
            .keys
            .has_reference()
            .then(|| Tensor::from_floats(batch.reference.as_slice(), &device));
        let found = preference_loss(
            &loss.keys,
            PairScores {
                logprob: logprob.clone(),
                reference,
                sequences: &sequences,
            },
        );
        let chosen_tokens: usize = batch.lengths.iter().step_by(2).sum();
        let nll = -found.chosen_logprob.sum() / chosen_tokens as f32;
        let whole = found.loss.mean() + nll * loss.keys.sft_weight as f32;
        let gradients = whole.clone().backward();
        let gradient = values(logprob.grad(&gradients).unwrap());
        let value = f64::from(values(whole)[0]);
        assert!(
            near(value, loss.value),
            "{what}: {value}, TRL {}",
            loss.value
        );
        for (a, b) in gradient.iter().zip(&loss.gradient) {
            assert!(
                near(f64::from(*a), *b),
                "{what}: {gradient:?}, TRL {:?}",
                loss.gradient
            );
        }
        let (chosen, rejected) = (values(found.chosen_reward), values(found.rejected_reward));
        assert!(near(mean(&chosen), loss.chosen), "{what}: {chosen:?}");
        assert!(near(mean(&rejected), loss.rejected), "{what}: {rejected:?}");
        let right = chosen.iter().zip(&rejected).filter(|(c, r)| c > r).count();
        let accuracy = right as f64 / chosen.len() as f64;
        assert!(near(accuracy, loss.accuracy), "{what}: {accuracy}");
    }
}

// ---- stages ----

/// True boxes are preferred to sloppy ones.
const DPO: &str = r#"
[[stage]]
kind = "dpo"
data = { generator = "pointing", rows = 8, demonstration = "<answer>{answer}</answer>", rejected_noise = { outward = 20.0, jitter = 4.0 } }
batch = { size = 8 }
optim = { learning_rate = 3e-3 }
exit = { max_steps = 40 }
"#;

/// The metrics of each step, or why there are none.
fn steps(folder: &Path, text: &str, changes: &[&str]) -> Result<Vec<Value>, LearnError> {
    finished(folder, text, changes).map(|run| support::steps(&run, "dpo"))
}

#[test]
fn pairs_are_told_apart_by_learning() {
    let here = tempfile::tempdir().unwrap();
    let recipe = format!("{MODEL}{DPO}");
    let rows = steps(here.path(), &recipe, &[]).unwrap();
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    // The policy is the reference yet: both rewards are zero, and the loss is that of a coin.
    assert!((number(first, "loss") - 2f64.ln()).abs() < 1e-6, "{first}");
    assert!(number(first, "rewards/margins").abs() < 1e-6, "{first}");
    assert!(number(last, "loss") < 0.3, "{last}");
    assert_eq!(number(last, "rewards/accuracies"), 1.0, "{last}");
    assert!(number(last, "rewards/margins") > 1.0, "{last}");

    // The same run again, and with each pair computed by itself.
    let short = ["stage.0.exit.max_steps=3"];
    let one = steps(here.path(), &recipe, &short).unwrap();
    let other = steps(
        here.path(),
        &recipe,
        &[short[0], "stage.0.batch.max_tokens=1"],
    )
    .unwrap();
    for (a, b) in one.iter().zip(&other) {
        for name in [
            "loss",
            "grad_norm",
            "logps/chosen",
            "logps/rejected",
            "nll_loss",
        ] {
            let (a, b) = (number(a, name), number(b, name));
            assert!((a - b).abs() <= 2e-4 * b.abs().max(1.0), "{name}: {a} {b}");
        }
    }
}

#[test]
fn a_loss_without_reference_and_one_with_imitation_take_sound_steps() {
    let here = tempfile::tempdir().unwrap();
    for keys in [
        r#"preference = { loss_type = "simpo", beta = 2.0, margin = 0.5 }"#,
        r#"preference = { loss_type = "ipo", sft_weight = 1.0 }"#,
    ] {
        let recipe = format!("{MODEL}{DPO}{keys}");
        let rows = steps(here.path(), &recipe, &["stage.0.exit.max_steps=8"]).unwrap();
        let (first, last) = (number(&rows[0], "loss"), number(&rows[7], "loss"));
        assert!(last < first, "{keys}: {first} to {last}");
    }
}

/// Rows as TRL's preference data sets have them.
#[test]
fn rows_of_trl_are_pairs() {
    let here = tempfile::tempdir().unwrap();
    let recipe = format!(
        "{MODEL}[[stage]]\nkind = \"dpo\"\ndata = {{ path = \"pairs.jsonl\" }}\nbatch = {{ size = 2 }}\n\
         exit = {{ max_steps = 2 }}\n"
    );
    let write = |rows: &str| fs::write(here.path().join("pairs.jsonl"), rows).unwrap();
    write(concat!(
        r#"{"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"}"#,
        "\n",
        r#"{"prompt": [{"role": "user", "content": "Say yes."}], "chosen": [{"role": "assistant", "content": "Yes."}], "rejected": [{"role": "assistant", "content": "No."}]}"#,
        "\n",
    ));
    let rows = steps(here.path(), &recipe, &[]).unwrap();
    assert!((number(&rows[0], "loss") - 2f64.ln()).abs() < 1e-6);
    for (row, words) in [
        (
            r#"{"prompt": "a", "chosen": "b"}"#,
            "a pair without `rejected`",
        ),
        (
            r#"{"prompt": "a", "chosen": "b", "rejected": "b"}"#,
            "are the same",
        ),
        (r#"{"prompt": "a", "answer": "b"}"#, "no rejected answer"),
        (
            r#"{"prompt": "a", "chosen": "b", "rejected": [{"role": "user", "content": "c"}]}"#,
            "not one message of the assistant",
        ),
        (
            r#"{"prompt": "a", "chosen": "b", "rejected": "c<|im_end|>"}"#,
            "the rejected answer holds <|im_end|>",
        ),
    ] {
        write(row);
        let error = steps(here.path(), &recipe, &[]).unwrap_err().to_string();
        assert!(error.contains(words), "{row}: {error}");
        assert!(error.contains("pairs.jsonl"), "{row}: {error}");
    }
}

#[test]
fn keys_of_other_stages_are_refused() {
    let here = tempfile::tempdir().unwrap();
    for (text, words) in [
        (
            format!("{MODEL}{DPO}reward = [\"box_iou\"]"),
            "`reward` has no effect",
        ),
        (
            format!("{MODEL}{DPO}preference = {{ margin = 1.0 }}"),
            "loss_type = \"simpo\"",
        ),
        (
            format!("{MODEL}{}", DPO.replace("\"dpo\"", "\"sft\"")),
            "`data.rejected_noise` has no effect",
        ),
    ] {
        let error = steps(here.path(), &text, &[]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
