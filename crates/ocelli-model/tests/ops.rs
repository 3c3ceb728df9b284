//! The fused operations against the same formulas composed from burn's operations in f64: values and gradients.
#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use ocelli_model::ops::adamw::{AdamWStep, adamw};
use ocelli_model::ops::attention::{Forest, HeadLayout, Segment, attention};
use ocelli_model::ops::cache_attention::{CacheRows, cache_attention};
use ocelli_model::ops::gather::{RowSource, gather_rows, merge_rows};
use ocelli_model::ops::layer_norm::layer_norm;
use ocelli_model::ops::linear::linear;
use ocelli_model::ops::logprob::{Choice, choice_logprob};
use ocelli_model::ops::rms_norm::rms_norm;
use ocelli_model::ops::rotary::{RotaryTable, rotary};
use ocelli_model::ops::swiglu::swiglu;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A row-major matrix; vectors have one row.
#[derive(Clone)]
struct Matrix {
    values: Vec<f32>,
    shape: [usize; 2],
}

impl Matrix {
    fn tensor(&self, device: &Device, dtype: DType) -> Tensor<2> {
        let data = TensorData::new(self.values.clone(), self.shape);
        Tensor::from_data(data, (device, dtype))
    }
}

/// Uniform in `-scale..scale`.
fn random(seed: u64, shape: [usize; 2], scale: f32) -> Matrix {
    let mut rng = StdRng::seed_from_u64(seed);
    Matrix {
        values: (0..shape[0] * shape[1])
            .map(|_| rng.random_range(-scale..scale))
            .collect(),
        shape,
    }
}

fn vector(matrix: Tensor<2>) -> Tensor<1> {
    matrix.flatten(0, 1)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_into_vec().unwrap()
}

/// Output of an operation and the gradient of a random combination of it for every input.
#[derive(Clone, Debug, PartialEq)]
struct Results<const N: usize> {
    output: Vec<f64>,
    gradients: [Vec<f64>; N],
}

/// Follows gradients of the inputs that `tracked` names.
fn evaluate_some<const N: usize>(
    inputs: &[Matrix; N],
    tracked: impl Fn(usize) -> bool,
    dtype: DType,
    op: impl Fn([Tensor<2>; N]) -> Tensor<2>,
) -> Results<N> {
    let device = Device::flex().autodiff();
    let inputs: [Tensor<2>; N] = std::array::from_fn(|i| {
        let input = inputs[i].tensor(&device, dtype);
        if tracked(i) {
            input.require_grad()
        } else {
            input
        }
    });
    let output = op(inputs.clone());
    let combination = random(99, output.dims(), 1.0).tensor(&device, dtype);
    let gradients = (output.clone() * combination).sum().backward();
    Results {
        output: values(output),
        gradients: inputs.map(|input| input.grad(&gradients).map(values).unwrap_or_default()),
    }
}

fn evaluate<const N: usize>(
    inputs: &[Matrix; N],
    dtype: DType,
    op: impl Fn([Tensor<2>; N]) -> Tensor<2>,
) -> Results<N> {
    evaluate_some(inputs, |_| true, dtype, op)
}

/// Largest `|got - want|`, relative to the wanted element plus the root mean square of all of them.
fn difference(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "numbers of elements");
    let rms = (want.iter().map(|w| w * w).sum::<f64>() / want.len() as f64).sqrt();
    got.iter()
        .zip(want)
        .filter(|(g, w)| g != w)
        .map(|(g, w)| {
            assert!(g.is_finite() && w.is_finite(), "got {g}, wanted {w}");
            (g - w).abs() / (w.abs() + rms)
        })
        .fold(0.0, f64::max)
}

fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    let difference = difference(got, want);
    println!("{what}: {difference:.1e}");
    assert!(difference < tolerance, "{what} differs by {difference:e}");
}

fn assert_same<const N: usize>(name: &str, got: &Results<N>, want: &Results<N>, tolerance: f64) {
    assert_close(
        &format!("{name}: output"),
        &got.output,
        &want.output,
        tolerance,
    );
    for i in 0..N {
        let what = format!("{name}: gradient of input {i}");
        assert_close(&what, &got.gradients[i], &want.gradients[i], tolerance);
    }
}

/// `fused` in f32 against `composed` in f64; and that `fused` gives the very same numbers when it follows one input only,
/// or none.
fn check<const N: usize>(
    name: &str,
    tolerance: f64,
    inputs: &[Matrix; N],
    fused: impl Fn([Tensor<2>; N]) -> Tensor<2>,
    composed: impl Fn([Tensor<2>; N]) -> Tensor<2>,
) -> Results<N> {
    let got = evaluate(inputs, DType::F32, &fused);
    let want = evaluate(inputs, DType::F64, &composed);
    assert_same(name, &got, &want, tolerance);
    for only in 0..N {
        let part = evaluate_some(inputs, |i| i == only, DType::F32, &fused);
        assert_eq!(
            part.output, got.output,
            "{name}: output, input {only} tracked"
        );
        assert!(
            part.gradients[only] == got.gradients[only],
            "{name}: gradient of input {only} depends on what else is tracked"
        );
    }
    let device = Device::flex();
    let plain = fused(std::array::from_fn(|i| {
        inputs[i].tensor(&device, DType::F32)
    }));
    assert!(
        values(plain) == got.output,
        "{name}: output without autodiff"
    );
    got
}

/// A frozen weight in half precision gives what its values give in f32, to rounding; so do gradients of what it meets.
#[test]
fn half_precision_weights_count_as_their_values() {
    // More rows than are widened at once, and a width that cuts the last piece short.
    let shape = [300, 900];
    let targets: Vec<u32> = (0..7).map(|i| i * 40).collect();
    let choice = Arc::new(Choice {
        targets: targets.clone(),
        temperature: 0.7,
        banned: vec![3],
    });
    for half in [DType::BF16, DType::F16] {
        let weight = random(50, shape, 1.0);
        // Values that half precision holds exactly.
        let device = Device::flex();
        let rounded = weight.tensor(&device, DType::F32).cast(half);
        let wide = rounded.clone().cast(DType::F32);
        let weight = |stored: bool| {
            let value = if stored { &rounded } else { &wide };
            Tensor::from_inner(value.clone())
        };
        let vectors = [random(51, [7, 900], 1.0), random(52, [1, 300], 1.0)];
        let layer = |stored: bool| {
            evaluate(&vectors, DType::F32, |[x, b]| {
                linear(x, weight(stored), Some(vector(b)))
            })
        };
        assert_same("half linear", &layer(true), &layer(false), 1e-5);
        let scored = |stored: bool| {
            let hidden = std::array::from_ref(&vectors[0]);
            evaluate(hidden, DType::F32, |[h]| {
                choice_logprob(h, weight(stored), &choice)
            })
        };
        assert_same("half log-probability", &scored(true), &scored(false), 1e-5);

        let rows = Arc::new(vec![299, 0, 5]);
        assert_eq!(
            values(gather_rows(rounded.clone(), rows.clone())),
            values(gather_rows(wide.clone(), rows))
        );
        let second = vectors[0].tensor(&device, DType::F32);
        let sources = Arc::new(vec![RowSource::First(9), RowSource::Second(6)]);
        assert_eq!(
            values(merge_rows(rounded.clone(), second.clone(), sources.clone())),
            values(merge_rows(wide.clone(), second, sources))
        );
    }
}

// Attention.

const LAYOUT: HeadLayout = HeadLayout {
    heads: 4,
    kv_heads: 2,
    head_dim: 20,
    window: None,
};

fn segment(rows: Range<usize>, ancestors: &[Range<usize>]) -> Segment {
    Segment {
        rows,
        ancestors: ancestors.to_vec(),
    }
}

/// Prompts with completions that each see their prompt and themselves.
fn prompts_with_completions(causal: bool, groups: &[(usize, Vec<usize>)]) -> Forest {
    let mut rows = 0;
    let mut take = |length: usize| {
        rows += length;
        rows - length..rows
    };
    let trees = groups
        .iter()
        .map(|(prompt, completions)| {
            let prompt = take(*prompt);
            let mut tree = vec![segment(prompt.clone(), &[])];
            for &length in completions {
                tree.push(segment(take(length), std::slice::from_ref(&prompt)));
            }
            tree
        })
        .collect();
    Forest {
        rows,
        causal,
        trees,
    }
}

/// Zero where the row sees the column, hugely negative elsewhere. Of what it sees in order, a row keeps the last `window`.
fn mask(forest: &Forest, window: Option<usize>) -> Matrix {
    let mut values = vec![-1e30; forest.rows * forest.rows];
    for segment in forest.trees.iter().flatten() {
        for row in segment.rows.clone() {
            let own = segment.rows.clone();
            let own = own.filter(|&column| !forest.causal || column <= row);
            let seen: Vec<usize> = segment
                .ancestors
                .iter()
                .cloned()
                .flatten()
                .chain(own)
                .collect();
            for column in seen.iter().rev().take(window.unwrap_or(usize::MAX)) {
                values[row * forest.rows + column] = 0.0;
            }
        }
    }
    Matrix {
        values,
        shape: [forest.rows; 2],
    }
}

/// A masked softmax over all pairs of rows.
fn dense_attention(
    [query, key, value]: [Tensor<2>; 3],
    layout: HeadLayout,
    forest: &Forest,
) -> Tensor<2> {
    let mask = mask(forest, layout.window).tensor(&query.device(), query.dtype());
    let width = layout.head_dim;
    let heads = (0..layout.heads).map(|head| {
        let of = |tensor: &Tensor<2>, head: usize| {
            tensor
                .clone()
                .slice([0..forest.rows, head * width..(head + 1) * width])
        };
        let kv_head = head / (layout.heads / layout.kv_heads);
        let scores = of(&query, head).matmul(of(&key, kv_head).transpose());
        let scores = scores / (width as f64).sqrt() + mask.clone();
        log_softmax(scores, 1).exp().matmul(of(&value, kv_head))
    });
    Tensor::cat(heads.collect(), 1)
}

fn qkv(seed: u64, rows: usize, layout: HeadLayout, scale: f32) -> [Matrix; 3] {
    let (queries, keys) = (
        layout.heads * layout.head_dim,
        layout.kv_heads * layout.head_dim,
    );
    [
        random(seed, [rows, queries], scale),
        random(seed + 1, [rows, keys], scale),
        random(seed + 2, [rows, keys], 1.0),
    ]
}

fn check_attention(name: &str, tolerance: f64, scale: f32, layout: HeadLayout, forest: Forest) {
    let forest = Arc::new(forest);
    check(
        name,
        tolerance,
        &qkv(1, forest.rows, layout, scale),
        |[q, k, v]| attention(q, k, v, layout, &forest),
        |inputs| dense_attention(inputs, layout, &forest),
    );
}

#[test]
fn attention_with_a_sliding_window() {
    for window in [2, 5, 130, 1000] {
        let layout = HeadLayout {
            window: Some(window),
            ..LAYOUT
        };
        let packed = Forest::sequences([7, 1, 0, 40, 200], true);
        check_attention("sliding over sequences", 1e-5, 1.5, layout, packed);
        let groups = [(150, vec![3, 140, 1]), (4, vec![9])];
        let forest = prompts_with_completions(true, &groups);
        check_attention("sliding into a shared prompt", 1e-5, 1.5, layout, forest);
    }
}

#[test]
fn attention_of_packed_causal_sequences() {
    let forest = Forest::sequences([7, 1, 0, 40, 128, 129], true);
    check_attention("packed causal", 1e-5, 1.5, LAYOUT, forest);
}

#[test]
fn attention_in_windows() {
    let layout = HeadLayout {
        heads: 3,
        kv_heads: 3,
        head_dim: 16,
        window: None,
    };
    let forest = Forest::sequences([64, 16, 1, 140, 260], false);
    check_attention("windows", 1e-5, 1.5, layout, forest);
}

#[test]
fn attention_of_a_prompt_with_completions() {
    let groups = [(9, vec![1, 5, 12]), (1, vec![1]), (30, vec![])];
    for causal in [true, false] {
        let forest = prompts_with_completions(causal, &groups);
        check_attention("prompt with completions", 1e-5, 1.5, LAYOUT, forest);
    }
}

#[test]
fn attention_of_segments_longer_than_a_block() {
    let forest = prompts_with_completions(true, &[(300, vec![150, 1, 130])]);
    check_attention("long segments", 1e-5, 1.5, LAYOUT, forest);
}

#[test]
fn attention_of_a_tree_of_turns() {
    let forest = Forest {
        rows: 62,
        causal: true,
        trees: vec![
            vec![
                segment(10..22, &[]),
                segment(22..30, &[10..22]),
                segment(30..31, &[10..22, 22..30]),
                segment(31..40, &[10..22, 22..30]),
                // A sibling of the second turn, behind its children, and an empty ancestor.
                segment(50..62, &[10..22, 40..40]),
            ],
            // Trees need not be in the order of their rows.
            vec![segment(40..50, &[0..10]), segment(0..10, &[])],
        ],
    };
    check_attention("turns", 1e-5, 1.5, LAYOUT, forest);
}

#[test]
fn attention_with_one_key_head_and_sharp_scores() {
    let layout = HeadLayout {
        heads: 6,
        kv_heads: 1,
        head_dim: 8,
        window: None,
    };
    let forest = prompts_with_completions(true, &[(20, vec![30, 140])]);
    // Scores of about a hundred have roundings of about 1e-5.
    check_attention("sharp", 1e-4, 10.0, layout, forest);
}

#[test]
fn attention_of_views_into_one_projection() {
    let forest = Arc::new(prompts_with_completions(true, &[(20, vec![3, 11])]));
    let (queries, keys) = (4 * LAYOUT.head_dim, 2 * LAYOUT.head_dim);
    let split = |qkv: Tensor<2>| {
        let ends = [queries, queries + keys, queries + 2 * keys];
        let starts = [0, ends[0], ends[1]];
        std::array::from_fn(|i| qkv.clone().slice([0..forest.rows, starts[i]..ends[i]]))
    };
    check(
        "views",
        1e-5,
        &[random(4, [forest.rows, queries + 2 * keys], 1.0)],
        |[qkv]| {
            let [q, k, v] = split(qkv);
            attention(q, k, v, LAYOUT, &forest)
        },
        |[qkv]| dense_attention(split(qkv), LAYOUT, &forest),
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn attention_of_any_forest(
        mut groups in prop::collection::vec((1usize..40, prop::collection::vec(1usize..30, 0..4)), 1..4),
        causal: bool,
    ) {
        // Rows with one key in sight have no gradients; this group gives the others something to be relative to.
        groups.push((12, vec![5]));
        let layout = HeadLayout { heads: 2, kv_heads: 1, head_dim: 4, window: None };
        check_attention("any forest", 1e-5, 1.5, layout, prompts_with_completions(causal, &groups));
    }
}

#[test]
fn a_shared_prompt_is_the_same_as_its_copies() {
    let (prompt, lengths) = (150, [1, 40, 140]);
    let shared = Arc::new(prompts_with_completions(
        true,
        &[(prompt, lengths.to_vec())],
    ));
    let apart = Arc::new(Forest::sequences(lengths.map(|l| prompt + l), true));
    let own: Vec<Range<usize>> = shared.trees[0][1..]
        .iter()
        .map(|s| s.rows.clone())
        .collect();
    let rows: Vec<u32> = own
        .iter()
        .flat_map(|own| (0..prompt).chain(own.clone()))
        .map(|row| row as u32)
        .collect();
    let rows = Arc::new(rows);
    let starts: Vec<usize> = own
        .iter()
        .enumerate()
        .map(|(i, own)| own.start + i * prompt - prompt)
        .collect();
    let copies = |inputs: [Tensor<2>; 3]| {
        let [q, k, v] = inputs.map(|x| gather_rows(x, rows.clone()));
        attention(q, k, v, LAYOUT, &apart)
    };
    let width = LAYOUT.heads * LAYOUT.head_dim;
    let inputs = qkv(5, shared.rows, LAYOUT, 1.5);
    let tree = evaluate(&inputs, DType::F32, |[q, k, v]| {
        attention(q, k, v, LAYOUT, &shared)
    });
    // Every copy gets a third of the gradient of the prompt's output.
    let separate = evaluate(&inputs, DType::F32, |inputs| {
        let y = copies(inputs);
        let part = |rows: Range<usize>| y.clone().slice([rows, 0..width]);
        let prompts = starts.iter().map(|&s| part(s..s + prompt));
        let prompts = prompts.reduce(|a, b| a + b).unwrap() / 3.0;
        let ends = starts.iter().zip(lengths);
        let ends = ends.map(|(&s, l)| part(s + prompt..s + prompt + l));
        Tensor::cat(std::iter::once(prompts).chain(ends).collect(), 0)
    });
    assert_same("shared prompt", &tree, &separate, 1e-5);
    let device = Device::flex();
    let y = values(copies(
        inputs.each_ref().map(|m| m.tensor(&device, DType::F32)),
    ));
    for (row, y) in rows.iter().zip(y.chunks_exact(width)) {
        let want = &tree.output[*row as usize * width..][..width];
        assert!(difference(y, want) < 1e-5, "a copy of row {row}");
    }
}

#[test]
fn cache_attention_is_attention_of_the_last_row() {
    for window in [None, Some(1), Some(7), Some(500)] {
        check_cache_attention(HeadLayout { window, ..LAYOUT });
    }
}

fn check_cache_attention(layout: HeadLayout) {
    let log = 220;
    let sequences = vec![
        // Two samples of one prompt, interleaved in the log and not in its order.
        CacheRows {
            prompt: 5..17,
            own: vec![20, 3, 31, 30, 22],
        },
        CacheRows {
            prompt: 5..17,
            own: vec![21],
        },
        CacheRows {
            prompt: 40..190,
            own: vec![219, 0, 200, 1],
        },
        CacheRows {
            prompt: 32..33,
            own: vec![],
        },
        CacheRows {
            prompt: 0..0,
            own: vec![4, 2],
        },
    ];
    let inputs = qkv(6, log, layout, 1.5);
    let width = layout.heads * layout.head_dim;
    let queries = random(7, [sequences.len(), width], 1.5);
    let device = Device::flex();
    let of = |matrix: &Matrix| matrix.tensor(&device, DType::F32);
    let shared = Arc::new(sequences);
    let got = values(cache_attention(
        of(&queries),
        of(&inputs[1]),
        of(&inputs[2]),
        layout,
        &shared,
    ));
    for (i, sequence) in shared.iter().enumerate() {
        let own = sequence.own.iter().copied();
        let rows: Vec<u32> = sequence
            .prompt
            .clone()
            .map(|r| r as u32)
            .chain(own)
            .collect();
        let count = rows.len();
        let rows = Arc::new(rows);
        let forest = Arc::new(Forest::sequences([count], true));
        let query = of(&queries)
            .slice([i..i + 1, 0..width])
            .repeat_dim(0, count);
        let [key, value] = [1, 2].map(|i| gather_rows(of(&inputs[i]), rows.clone()));
        let last = |y: Tensor<2>| values(y.slice([count - 1..count, 0..width]));
        let got = &got[i * width..][..width];
        let packed = attention(query.clone(), key.clone(), value.clone(), layout, &forest);
        assert_close("cache, attention", got, &last(packed), 1e-5);
        let inputs = [query, key, value].map(|x| x.cast(DType::F64));
        let dense = dense_attention(inputs, layout, &forest);
        assert_close("cache, dense", got, &last(dense), 1e-5);
    }
}

// The output layer.

/// Log-probability, entropy and a column of zeros.
fn composed_choice(hidden: Tensor<2>, weight: Tensor<2>, choice: &Choice) -> Tensor<2> {
    let ([rows, _], [vocabulary, _]) = (hidden.dims(), weight.dims());
    let (device, dtype) = (hidden.device(), hidden.dtype());
    let mut banned = Matrix {
        values: vec![0.0; vocabulary],
        shape: [1, vocabulary],
    };
    for &token in &choice.banned {
        banned.values[token as usize] = -1e30;
    }
    let mut chosen = Matrix {
        values: vec![0.0; rows * vocabulary],
        shape: [rows, vocabulary],
    };
    for (row, &target) in choice.targets.iter().enumerate() {
        chosen.values[row * vocabulary + target as usize] = 1.0;
    }
    let logits = hidden.matmul(weight.transpose()) / f64::from(choice.temperature);
    let log_p = log_softmax(logits + banned.tensor(&device, dtype), 1);
    let logprob = (log_p.clone() * chosen.tensor(&device, dtype)).sum_dim(1);
    let entropy = -(log_p.clone().exp() * log_p).sum_dim(1);
    let zeros = logprob.zeros_like();
    Tensor::cat(vec![logprob, entropy, zeros], 1)
}

/// Targets that are never banned.
fn random_targets(seed: u64, rows: usize, vocabulary: u32, banned: &[u32]) -> Vec<u32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let allowed: Vec<u32> = (0..vocabulary).filter(|t| !banned.contains(t)).collect();
    (0..rows)
        .map(|_| allowed[rng.random_range(0..allowed.len())])
        .collect()
}

#[test]
fn choices_agree() {
    let (rows, width, vocabulary) = (5000, 8, 20);
    let banned = vec![3, 17];
    let choice = Arc::new(Choice {
        targets: random_targets(8, rows, vocabulary as u32, &banned),
        temperature: 0.7,
        banned,
    });
    let inputs = [
        random(9, [rows, width], 1.0),
        random(10, [vocabulary, width], 1.0),
    ];
    // All but the flag, which has no gradient.
    let scores = |y: Tensor<2>| y.slice([0..rows, 0..2]);
    check(
        "choice",
        1e-5,
        &inputs,
        |[h, w]| scores(choice_logprob(h, w, &choice)),
        |[h, w]| scores(composed_choice(h, w, &choice)),
    );
    // Without a gradient for the entropy.
    let logprob = |y: Tensor<2>| y.slice([0..rows, 0..1]);
    check(
        "choice, log-probability",
        1e-5,
        &inputs,
        |[h, w]| logprob(choice_logprob(h, w, &choice)),
        |[h, w]| logprob(composed_choice(h, w, &choice)),
    );
    // A gradient that arrives at the flag changes nothing.
    let with_flag = evaluate(&inputs, DType::F32, |[h, w]| choice_logprob(h, w, &choice));
    let without = evaluate(&inputs, DType::F64, |[h, w]| composed_choice(h, w, &choice));
    for i in 0..2 {
        let what = format!("choice with flag: gradient of input {i}");
        assert_close(&what, &with_flag.gradients[i], &without.gradients[i], 1e-5);
    }
    let mut peaks = 0;
    for row in 0..rows {
        let logit = |token: u32| -> f64 {
            let hidden = &inputs[0].values[row * width..][..width];
            let weight = &inputs[1].values[token as usize * width..][..width];
            let products = hidden.iter().zip(weight);
            products.map(|(h, w)| f64::from(*h) * f64::from(*w)).sum()
        };
        let target = choice.targets[row];
        let is_peak = (0..vocabulary as u32)
            .filter(|token| !choice.banned.contains(token))
            .all(|token| logit(token) <= logit(target));
        peaks += usize::from(is_peak);
        let flag = with_flag.output[row * 3 + 2];
        assert_eq!(flag, f64::from(u8::from(is_peak)), "flag of row {row}");
    }
    assert!(
        peaks > 100 && peaks < rows - 100,
        "{peaks} targets are peaks"
    );
}

#[test]
fn sharp_choices_agree() {
    // Logits some hundreds apart: most probabilities are below the smallest float.
    let (rows, width, vocabulary) = (300, 24, 37);
    let choice = Arc::new(Choice {
        targets: random_targets(11, rows, vocabulary as u32, &[]),
        temperature: 0.7,
        banned: Vec::new(),
    });
    let scores = |y: Tensor<2>| y.slice([0..rows, 0..2]);
    check(
        "sharp choice",
        2e-4,
        &[
            random(12, [rows, width], 8.0),
            random(13, [vocabulary, width], 8.0),
        ],
        |[h, w]| scores(choice_logprob(h, w, &choice)),
        |[h, w]| scores(composed_choice(h, w, &choice)),
    );
}

// Layers.

#[test]
fn linear_layers_agree() {
    for [rows, inputs, outputs] in [[1, 7, 5], [37, 33, 19], [150, 96, 90], [1, 1100, 1000]] {
        let [x, w, b] = [
            random(20, [rows, inputs], 1.0),
            random(21, [outputs, inputs], 1.0),
            random(22, [1, outputs], 1.0),
        ];
        check(
            &format!("linear {rows} x {inputs} x {outputs}"),
            1e-5,
            &[x.clone(), w.clone()],
            |[x, w]| linear(x, w, None),
            |[x, w]| x.matmul(w.transpose()),
        );
        check(
            &format!("linear with bias {rows} x {inputs} x {outputs}"),
            1e-5,
            &[x, w, b],
            |[x, w, b]| linear(x, w, Some(vector(b))),
            |[x, w, b]| x.matmul(w.transpose()) + b,
        );
    }
}

#[test]
fn linear_layers_take_transposed_views() {
    check(
        "linear, transposed",
        1e-5,
        &[random(23, [33, 21], 1.0), random(24, [33, 18], 1.0)],
        |[x, w]| linear(x.transpose(), w.transpose(), None).transpose(),
        |[x, w]| w.transpose().matmul(x),
    );
}

#[test]
fn operations_take_no_rows() {
    let none = random(0, [0, 6], 1.0);
    let weight = random(25, [4, 6], 1.0);
    let bias = random(26, [1, 4], 1.0);
    let zeros = |n: usize| vec![0.0; n];
    let got = evaluate(
        &[none.clone(), weight.clone(), bias],
        DType::F32,
        |[x, w, b]| linear(x, w, Some(vector(b))),
    );
    assert_eq!(got.output, zeros(0));
    assert_eq!(got.gradients, [zeros(0), zeros(24), zeros(4)]);
    let got = evaluate(&[none.clone(), weight.clone()], DType::F32, |[x, w]| {
        linear(x, w, None)
    });
    assert_eq!(got.gradients, [zeros(0), zeros(24)]);
    let gain = random(27, [1, 6], 1.0);
    let got = evaluate(&[none.clone(), gain], DType::F32, |[x, g]| {
        rms_norm(x, vector(g), 1e-6)
    });
    assert_eq!(got.gradients, [zeros(0), zeros(6)]);
    let got = evaluate(&[none.clone(), none.clone()], DType::F32, |[g, u]| {
        swiglu(g, u)
    });
    assert_eq!(got.gradients, [zeros(0), zeros(0)]);
    let table = RotaryTable::from_angles(3, &[]);
    let got = evaluate(
        std::slice::from_ref(&none).try_into().unwrap(),
        DType::F32,
        |[x]: [_; 1]| rotary(x, &table),
    );
    assert_eq!(got.gradients, [zeros(0)]);
    let choice = Arc::new(Choice {
        targets: Vec::new(),
        temperature: 1.0,
        banned: Vec::new(),
    });
    let got = evaluate(&[none, weight.clone()], DType::F32, |[h, w]| {
        choice_logprob(h, w, &choice)
    });
    assert_eq!(got.gradients, [zeros(0), zeros(24)]);
    let got = evaluate(&[weight], DType::F32, |[table]| {
        gather_rows(table, Arc::new(Vec::new()))
    });
    assert_eq!(got.gradients, [zeros(24)]);
}

#[test]
fn norms_agree() {
    for shape in [[1, 5], [600, 37], [257, 64]] {
        check(
            &format!("norm {shape:?}"),
            1e-5,
            &[random(30, shape, 2.0), random(31, [1, shape[1]], 2.0)],
            |[x, gain]| rms_norm(x, vector(gain), 1e-3),
            |[x, gain]| {
                let square = x.clone().powi_scalar(2).mean_dim(1);
                x / (square + f64::from(1e-3f32)).sqrt() * gain
            },
        );
    }
}

#[test]
fn layer_norms_agree() {
    for shape in [[1, 5], [600, 37], [257, 64]] {
        let vectors = [36, 37].map(|seed| random(seed, [1, shape[1]], 2.0));
        let [gain, bias] = vectors;
        check(
            &format!("layer norm {shape:?}"),
            1e-5,
            &[random(35, shape, 2.0), gain, bias],
            |[x, gain, bias]| layer_norm(x, vector(gain), vector(bias), 1e-3),
            |[x, gain, bias]| {
                let centred = x.clone() - x.mean_dim(1);
                let variance = centred.clone().powi_scalar(2).mean_dim(1);
                centred / (variance + f64::from(1e-3f32)).sqrt() * gain + bias
            },
        );
    }
}

#[test]
fn gates_agree() {
    // More elements than a task handles, a few beyond the range of the exponential.
    let mut gate = random(32, [310, 107], 12.0);
    gate.values[..4].copy_from_slice(&[-120.0, 120.0, 0.0, -60.0]);
    check(
        "gate",
        1e-5,
        &[gate, random(33, [310, 107], 2.0)],
        |[gate, up]| swiglu(gate, up),
        |[gate, up]| gate.clone() / ((-gate).exp() + 1.0) * up,
    );
}

/// `position / 100^(i / half)` in every row.
fn angles(half: usize, positions: impl Iterator<Item = usize>) -> Vec<f32> {
    positions
        .flat_map(|position| {
            (0..half).map(move |i| position as f32 / 100f32.powf(i as f32 / half as f32))
        })
        .collect()
}

#[test]
fn rotations_agree() {
    let (rows, heads, half) = (300, 3, 10);
    let angles = angles(half, (0..rows).map(|row| row * 7 % 50));
    let table = RotaryTable::from_angles(half, &angles);
    let angle = |f: fn(f64) -> f64| {
        let values = angles.iter().map(|a| f(f64::from(*a))).collect();
        TensorData::new::<f64, _>(values, [rows, half])
    };
    let x = random(34, [rows, heads * 2 * half], 1.0);
    let got = check(
        "rotation",
        1e-5,
        std::array::from_ref(&x),
        |[x]| rotary(x, &table),
        |[x]| {
            let options = (&x.device(), x.dtype());
            let (cos, sin) = (
                Tensor::<2>::from_data(angle(f64::cos), options),
                Tensor::<2>::from_data(angle(f64::sin), options),
            );
            let part = |i: usize| x.clone().slice([0..rows, i * half..(i + 1) * half]);
            let parts = (0..heads).flat_map(|head| {
                let (a, b) = (part(2 * head), part(2 * head + 1));
                [
                    a.clone() * cos.clone() - b.clone() * sin.clone(),
                    b * cos.clone() + a * sin.clone(),
                ]
            });
            Tensor::cat(parts.collect(), 1)
        },
    );
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let x64: Vec<f64> = x.values.iter().copied().map(f64::from).collect();
    for (got, x) in got.output.chunks(2 * half).zip(x64.chunks(2 * half)) {
        assert!(
            (norm(got) - norm(x)).abs() < 1e-6 * norm(x),
            "norm of a head"
        );
    }
    let back = RotaryTable::from_angles(half, &angles.iter().map(|a| -a).collect::<Vec<_>>());
    let rotated = rotary(x.tensor(&Device::flex(), DType::F32), &table);
    assert_close(
        "rotation and back",
        &values(rotary(rotated, &back)),
        &x64,
        1e-6,
    );
}

#[test]
fn rotated_products_depend_on_the_distance_alone() {
    let half = 8;
    // The same query and key in every row, five positions apart.
    let rows = 40;
    let rotated = |seed: u64, offset: usize| {
        let row = random(seed, [1, 2 * half], 1.0).tensor(&Device::flex(), DType::F32);
        let table = RotaryTable::from_angles(half, &angles(half, offset..offset + rows));
        values(rotary(row.repeat_dim(0, rows), &table))
    };
    let (queries, keys) = (rotated(35, 5), rotated(36, 0));
    let products: Vec<f64> = queries
        .chunks(2 * half)
        .zip(keys.chunks(2 * half))
        .map(|(q, k)| q.iter().zip(k).map(|(q, k)| q * k).sum())
        .collect();
    for product in &products {
        assert!((product - products[0]).abs() < 1e-5, "{products:?}");
    }
    let nearer = rotated(35, 4);
    let nearer: f64 = nearer
        .iter()
        .zip(&keys)
        .take(2 * half)
        .map(|(q, k)| q * k)
        .sum();
    assert!((nearer - products[0]).abs() > 1e-2, "distance matters");
}

fn select(table: Tensor<2>, rows: &[i64]) -> Tensor<2> {
    let indices = Tensor::<1, Int>::from_data(
        TensorData::new(rows.to_vec(), [rows.len()]),
        &table.device(),
    );
    table.select(0, indices)
}

#[test]
fn gathered_rows_agree() {
    let rows: Vec<u32> = vec![4, 0, 4, 4, 8, 1, 0, 4];
    let indices: Vec<i64> = rows.iter().map(|&row| row.into()).collect();
    let rows = Arc::new(rows);
    check(
        "gather",
        1e-6,
        &[random(40, [9, 21], 1.0)],
        |[table]| gather_rows(table, rows.clone()),
        |[table]| select(table, &indices),
    );
}

#[test]
fn merged_rows_agree() {
    use RowSource::{First, Second};
    let rows = vec![
        First(2),
        Second(0),
        Second(3),
        First(2),
        First(6),
        Second(0),
    ];
    let indices: Vec<i64> = rows
        .iter()
        .map(|&source| match source {
            First(row) => row.into(),
            Second(row) => i64::from(row) + 7,
        })
        .collect();
    let rows = Arc::new(rows);
    check(
        "merge",
        1e-6,
        &[random(41, [7, 21], 1.0), random(42, [4, 21], 1.0)],
        |[first, second]| merge_rows(first, second, rows.clone()),
        |[first, second]| select(Tensor::cat(vec![first, second], 0), &indices),
    );
}

#[test]
fn optimizer_steps_agree() {
    // More parameters than a task handles.
    let count = 40_000;
    let device = Device::flex();
    let start = vector(random(50, [1, count], 0.05).tensor(&device, DType::F32));
    let mut state = (start.clone(), start.zeros_like(), start.zeros_like());
    let mut parameter = values(start.clone());
    let (mut first, mut second) = (vec![0.0; count], vec![0.0; count]);
    let wide = |x: f32| f64::from(x);
    for step in 1..=5u64 {
        let gradient = random(50 + step, [1, count], 0.1);
        let options = AdamWStep {
            learning_rate: 1e-2 / step as f32,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            step,
            gradient_scale: 0.3,
        };
        let gradients = vector(gradient.tensor(&device, DType::F32));
        state = adamw(state.0, gradients, state.1, state.2, options);
        let rate = wide(options.learning_rate);
        let (beta1, beta2) = (wide(options.beta1), wide(options.beta2));
        for (i, g) in gradient.values.iter().enumerate() {
            let g = wide(*g) * wide(options.gradient_scale);
            first[i] = beta1 * first[i] + (1.0 - beta1) * g;
            second[i] = beta2 * second[i] + (1.0 - beta2) * g * g;
            let first = first[i] / (1.0 - beta1.powi(step as i32));
            let second = second[i] / (1.0 - beta2.powi(step as i32));
            parameter[i] -= rate * wide(options.weight_decay) * parameter[i];
            parameter[i] -= rate * first / (second.sqrt() + wide(options.epsilon));
        }
    }
    assert_close("step: parameter", &values(state.0), &parameter, 1e-6);
    assert_close("step: first moment", &values(state.1), &first, 1e-6);
    assert_close("step: second moment", &values(state.2), &second, 1e-6);
    let kept = random(50, [1, count], 0.05).values;
    let kept: Vec<f64> = kept.into_iter().map(f64::from).collect();
    assert!(
        values(start) == kept,
        "a tensor that is still shared changed"
    );
}

// Threads.

fn same_on_any_pool<const N: usize>(
    name: &str,
    inputs: &[Matrix; N],
    op: impl Fn([Tensor<2>; N]) -> Tensor<2> + Sync,
) {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().unwrap();
        pool.install(|| evaluate(inputs, DType::F32, &op))
    };
    let want = on(1);
    for threads in [2, 3] {
        let got = on(threads);
        assert!(
            got.output == want.output,
            "{name}: output on {threads} threads"
        );
        for i in 0..N {
            assert!(
                got.gradients[i] == want.gradients[i],
                "{name}: gradient of input {i} on {threads} threads"
            );
        }
    }
}

#[test]
fn attention_does_not_depend_on_threads() {
    let groups = [(200, vec![150, 1, 30]), (64, vec![3, 90]), (10, vec![7])];
    let forest = Arc::new(prompts_with_completions(true, &groups));
    let inputs = qkv(60, forest.rows, LAYOUT, 1.5);
    same_on_any_pool("attention", &inputs, |[q, k, v]| {
        attention(q, k, v, LAYOUT, &forest)
    });
}

#[test]
fn layers_do_not_depend_on_threads() {
    for [rows, inputs, outputs] in [
        [700, 352, 128],
        [1, 1100, 1000],
        [3, 900, 1300],
        [650, 37, 90],
    ] {
        let parameters = [
            random(61, [rows, inputs], 1.0),
            random(62, [outputs, inputs], 1.0),
            random(63, [1, outputs], 1.0),
        ];
        let name = format!("linear {rows} x {inputs} x {outputs}");
        same_on_any_pool(&name, &parameters, |[x, w, b]| {
            linear(x, w, Some(vector(b)))
        });
        let [x, w, _] = parameters;
        same_on_any_pool(&name, &[x, w], |[x, w]| linear(x, w, None));
    }
    let wide = random(64, [900, 100], 1.0);
    let gain = random(65, [1, 100], 1.0);
    same_on_any_pool("norm", &[wide.clone(), gain], |[x, gain]| {
        rms_norm(x, vector(gain), 1e-6)
    });
    same_on_any_pool("gate", &[wide.clone(), wide], |[gate, up]| swiglu(gate, up));
}

#[test]
fn choices_do_not_depend_on_threads() {
    // Two pieces in the backward pass, and a product for the weight that is split between threads.
    for [rows, width, vocabulary] in [[2500, 64, 300], [5000, 8, 20], [1, 700, 1600]] {
        let choice = Arc::new(Choice {
            targets: random_targets(66, rows, vocabulary as u32, &[2]),
            temperature: 0.7,
            banned: vec![2],
        });
        let inputs = [
            random(67, [rows, width], 0.5),
            random(68, [vocabulary, width], 0.5),
        ];
        same_on_any_pool("choice", &inputs, |[h, w]| choice_logprob(h, w, &choice));
    }
}
