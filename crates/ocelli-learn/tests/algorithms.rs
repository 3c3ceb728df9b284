//! Credit and objectives against TRL, and against formulas of verl and EasyR1 that were written twice; see
//! `golden/make_algorithms.py`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::tensor::{Device, Tensor, TensorData};
use ocelli_learn::algorithm::{Algorithm, AlgorithmConfig, CovarianceRule};
use ocelli_learn::credit::baseline::{gpg, length_weighted};
use ocelli_learn::credit::decoupled::gdpo;
use ocelli_learn::credit::gae::gae;
use ocelli_learn::credit::leave_one_out::leave_one_out;
use ocelli_learn::credit::normalize::normalize_batch;
use ocelli_learn::credit::pass_at_k::pass_at_k;
use ocelli_learn::credit::reinforce::{reinforce_plus_plus, reinforce_plus_plus_baseline};
use ocelli_learn::credit::{EPSILON, GroupScale, ScaleRewards, group_relative};
use ocelli_learn::objective::covariance::{covariances, kl_cov_tokens};
use ocelli_learn::objective::entropy::top_entropy;
use ocelli_learn::objective::staleness::keeps_sequence;
use ocelli_learn::objective::{BatchSize, Sequences, SurrogateInput, kl, log_ratio, token_weight};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Golden {
    batches: std::collections::BTreeMap<String, Batch>,
    losses: Vec<Loss>,
    advantages: Vec<Advantages>,
    verl: Verl,
}

/// Trained tokens of all sequences, one after another.
#[derive(Deserialize)]
struct Batch {
    lengths: Vec<usize>,
    /// One a sequence.
    advantage: Vec<f32>,
    logprob: Vec<f32>,
    old: Vec<f32>,
    reference: Vec<f32>,
    entropy: Vec<f32>,
}

#[derive(Deserialize)]
struct Loss {
    batch: String,
    source: String,
    loss_type: String,
    keys: Map<String, Value>,
    value: f64,
    gradient: Vec<f64>,
}

#[derive(Deserialize)]
struct Advantages {
    /// `[episodes, rewards]`.
    scores: Vec<Vec<Option<f64>>>,
    weights: Vec<f64>,
    /// Of the groups.
    size: usize,
    /// The weighted sums.
    rewards: Vec<Option<f64>>,
    #[serde(flatten)]
    wanted: Map<String, Value>,
}

#[derive(Deserialize)]
struct Verl {
    lengths: Vec<usize>,
    group: usize,
    scores: Vec<f64>,
    gamma: f64,
    lam: f64,
    rewards: Vec<Vec<f64>>,
    values: Vec<f64>,
    reinforce_plus_plus: Vec<f64>,
    reinforce_plus_plus_baseline: Vec<f64>,
    gae: Vec<f64>,
    opo: Vec<f64>,
    gpg: Vec<f64>,
    pass_at_k: Vec<f64>,
}

fn golden() -> Golden {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/algorithms.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn assert_near(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1.0f64, |m, w| m.max(w.abs()));
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * scale,
            "{what}, place {i}: {a}, expected {b}"
        );
    }
}

/// The recipe keys of a case. TRL's are the recipe's own.
fn keys_of(case: &Loss) -> AlgorithmConfig {
    let mut keys = Map::new();
    if case.source == "trl" {
        keys.clone_from(&case.keys);
        keys.insert("loss_type".into(), json!(case.loss_type));
    } else {
        let number = |name: &str| case.keys.get(name).cloned();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                keys.insert(name.into(), value);
            }
        };
        set("loss_aggregation", number("aggregation"));
        let (loss_type, level) = match case.loss_type.as_str() {
            "dual_clip" => ("dapo", None),
            "gspo_token" => ("grpo", Some("sequence_token")),
            "rloo" => ("grpo", Some("sequence_product")),
            "cispo_verl" => ("cispo", None),
            other => (other, None),
        };
        set("loss_type", Some(json!(loss_type)));
        set("importance_sampling_level", level.map(|l| json!(l)));
        set("epsilon", number("low"));
        set("epsilon_high", number("high"));
        set("delta", number("c"));
        set("cov_ratio", number("ratio"));
        set("ppo_kl_coef", number("coef"));
        if loss_type == "cispo" {
            set("cispo_bounds", Some(json!("verl")));
        }
    }
    serde_json::from_value(Value::Object(keys)).unwrap()
}

/// The batch's loss and its gradient by log-probability (and by entropy), put together from the public functions.
fn loss_and_gradient(batch: &Batch, algorithm: &Algorithm) -> (f64, Vec<f64>) {
    let device = Device::flex().autodiff();
    let tensor = |values: &[f32]| -> Tensor<1> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &device)
    };
    let count = batch.logprob.len();
    let sequences = Sequences::new(batch.lengths.clone());
    let per_token = |values: &[f32]| -> Vec<f32> {
        values
            .iter()
            .zip(&batch.lengths)
            .flat_map(|(v, n)| std::iter::repeat_n(*v, *n))
            .collect()
    };
    let advantage = per_token(&batch.advantage);
    let size = BatchSize {
        sequences: batch.lengths.len(),
        tokens: count,
        max_completion_length: 7,
    };
    let weights: Vec<f32> = batch
        .lengths
        .iter()
        .map(|n| token_weight(algorithm.aggregation, *n, size) as f32)
        .collect();

    let mut factor = vec![1.0f32; count];
    let learning = top_entropy(&batch.entropy, algorithm.top_entropy_quantile);
    for (f, kept) in factor.iter_mut().zip(&learning) {
        *f *= f32::from(*kept);
    }
    if let Some(threshold) = algorithm.off_policy_mask_threshold {
        let mut start = 0;
        for (&length, &a) in batch.lengths.iter().zip(&batch.advantage) {
            let span = start..start + length;
            let (old, new) = (&batch.old[span.clone()], &batch.logprob[span.clone()]);
            if !keeps_sequence(f64::from(a), old, new, threshold) {
                factor[span].fill(0.0);
            }
            start += length;
        }
    }
    let chosen = algorithm.covariance.map(|rule| {
        let CovarianceRule::Kl { ratio } = rule else {
            panic!("clip_cov chooses by chance");
        };
        kl_cov_tokens(&covariances(&advantage, &batch.logprob), ratio)
            .into_iter()
            .map(f32::from)
            .collect::<Vec<f32>>()
    });

    let logprob = tensor(&batch.logprob).require_grad();
    let old = tensor(&batch.old);
    let mut loss = algorithm.surrogate.token_loss(SurrogateInput {
        logprob: logprob.clone(),
        old_logprob: old.clone(),
        advantage: tensor(&advantage),
        sequences: &sequences,
        level: algorithm.level,
        chosen: chosen.as_deref().map(tensor),
    }) * tensor(&factor);
    if let Some(term) = algorithm.kl_in_loss() {
        let mut kl = kl(term.estimator, logprob.clone(), tensor(&batch.reference));
        if term.bias_correction {
            kl = kl * log_ratio(logprob.clone(), old, algorithm.level, &sequences).exp();
        }
        loss = loss + kl * term.beta as f32;
    }
    let mut loss = (loss * tensor(&per_token(&weights))).sum();
    if let Some(bonus) = algorithm.entropy {
        let mean = batch.entropy.iter().sum::<f32>() / count as f32;
        loss = loss - mean * bonus.coefficient as f32;
    }
    let gradients = loss.clone().backward();
    let numbers = |t: Tensor<1>| -> Vec<f64> {
        let values: Vec<f32> = t.into_data().try_to_vec().unwrap();
        values.into_iter().map(f64::from).collect()
    };
    let gradient = logprob.grad(&gradients).map_or(vec![0.0; count], numbers);
    (numbers(loss)[0], gradient)
}

#[test]
fn losses_and_their_gradients_are_those_of_the_references() {
    let golden = golden();
    let mut seen = std::collections::BTreeSet::new();
    for case in &golden.losses {
        let what = format!(
            "{} {} {:?} on `{}`",
            case.source, case.loss_type, case.keys, case.batch
        );
        let algorithm = keys_of(case).resolve();
        let (value, gradient) = loss_and_gradient(&golden.batches[&case.batch], &algorithm);
        assert_near(&[value], &[case.value], 1e-5, &what);
        assert_near(&gradient, &case.gradient, 1e-5, &what);
        seen.insert(case.loss_type.clone());
    }
    assert!(seen.len() >= 15 && golden.losses.len() > 100, "{seen:?}");
}

#[test]
fn advantages_are_those_of_trl() {
    for case in golden().advantages {
        let split = |values: &[Option<f64>]| -> Vec<Vec<Option<f64>>> {
            values.chunks(case.size).map(<[_]>::to_vec).collect()
        };
        let rewards = split(&case.rewards);
        let want =
            |name: &str| -> Vec<f64> { serde_json::from_value(case.wanted[name].clone()).unwrap() };
        for (name, scale) in [
            ("group", ScaleRewards::Group),
            ("batch", ScaleRewards::Batch),
            ("none", ScaleRewards::None),
        ] {
            let got = group_relative(&rewards, scale.into()).concat();
            assert_near(&got, &want(name), 1e-9, name);
        }
        let parts: Vec<Vec<Vec<Option<f64>>>> = (0..case.weights.len())
            .map(|k| split(&case.scores.iter().map(|row| row[k]).collect::<Vec<_>>()))
            .collect();
        assert_near(
            &gdpo(&parts, &case.weights).concat(),
            &want("gdpo"),
            1e-9,
            "gdpo",
        );
        let rloo = leave_one_out(&rewards);
        assert_near(&rloo.concat(), &want("rloo"), 1e-9, "rloo");
        let normal = normalize_batch(&rloo, |i, j| rewards[i][j].is_some(), EPSILON);
        assert_near(
            &normal.concat(),
            &want("rloo_normalized"),
            1e-9,
            "rloo, normalised",
        );
    }
}

#[test]
fn advantages_are_those_of_verl() {
    let verl = golden().verl;
    let groups: Vec<Vec<Option<f64>>> = verl
        .scores
        .chunks(verl.group)
        .map(|group| group.iter().copied().map(Some).collect())
        .collect();
    let lengths: Vec<Vec<usize>> = verl.lengths.chunks(verl.group).map(<[_]>::to_vec).collect();
    let near = |got: Vec<f64>, want: &[f64], what: &str| assert_near(&got, want, 1e-9, what);
    near(
        reinforce_plus_plus(&verl.rewards, verl.gamma).concat(),
        &verl.reinforce_plus_plus,
        "reinforce++",
    );
    near(
        reinforce_plus_plus_baseline(&groups, &lengths).concat(),
        &verl.reinforce_plus_plus_baseline,
        "reinforce++ baseline",
    );
    let mut values = verl.values.as_slice();
    let of_episodes: Vec<f64> = verl
        .rewards
        .iter()
        .flat_map(|rewards| {
            let (own, rest) = values.split_at(rewards.len());
            values = rest;
            gae(rewards, own, 0.0, verl.gamma, verl.lam).advantages
        })
        .collect();
    near(of_episodes, &verl.gae, "gae");
    near(
        length_weighted(&groups, &lengths).concat(),
        &verl.opo,
        "opo",
    );
    near(gpg(&groups).concat(), &verl.gpg, "gpg");
    let scale = GroupScale {
        epsilon: 1e-6,
        ..ScaleRewards::Group.into()
    };
    near(
        pass_at_k(&groups, scale).concat(),
        &verl.pass_at_k,
        "pass@k",
    );
}
