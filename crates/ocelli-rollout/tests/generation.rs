//! Generation with the key-value cache: against transformers, and against itself in other batches.
//! `ocelli-model/tests/golden/make_qwen2_5_vl.py` made the checkpoint and the expected numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use ocelli_core::{Finish, Purpose, SeedKey};
use ocelli_model::checkpoint::Checkpoint;
use ocelli_model::image_processor::PictureGrid;
use ocelli_model::network::Network;
use ocelli_model::percept::{Extent, Percept};
use ocelli_model::processor::Context;
use ocelli_rollout::SamplingParams;
use ocelli_rollout::generate::{Completion, Request, TokenRules, generate};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

/// Tokens of the golden model that no prompt or completion should be confused with: markers and image placeholders.
const VOCABULARY: u32 = 96;
const CASES: [&str; 4] = ["text", "one_image", "two_images", "partial_windows"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ocelli-model/tests/golden/qwen2_5_vl")
}

/// The golden network and the tensors made with it.
struct Golden {
    network: Network,
    bytes: Vec<u8>,
    device: Device,
}

impl Golden {
    fn load() -> Self {
        let device = Device::flex();
        let checkpoint = Checkpoint::load(&golden(), &device).unwrap();
        Self {
            network: Network::new(&checkpoint.config, &checkpoint.weights),
            bytes: std::fs::read(golden().join("cases.safetensors")).unwrap(),
            device,
        }
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = tensors.tensor(name).unwrap();
        assert_eq!(view.dtype(), Dtype::I64);
        let words = view.data().as_chunks::<8>().0;
        words.iter().map(|b| i64::from_le_bytes(*b)).collect()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = tensors.tensor(name).unwrap();
        match view.dtype() {
            Dtype::F32 => {
                let words = view.data().as_chunks::<4>().0;
                words.iter().map(|b| f32::from_le_bytes(*b)).collect()
            }
            Dtype::F16 => {
                let halves = view.data().as_chunks::<2>().0;
                halves
                    .iter()
                    .map(|b| burn::tensor::f16::from_le_bytes(*b).to_f32())
                    .collect()
            }
            other => panic!("{name} has type {other:?}"),
        }
    }

    /// The prompt of a case, made by hand from what transformers was given.
    fn context(&self, case: &str) -> Arc<Context> {
        let ids: Vec<u32> = self
            .integers(&format!("{case}.input_ids"))
            .into_iter()
            .map(|id| id as u32)
            .collect();
        let flat = self.integers(&format!("{case}.position_ids"));
        let positions: Vec<[i32; 3]> = (0..ids.len())
            .map(|i| [0, 1, 2].map(|axis| flat[axis * ids.len() + i] as i32))
            .collect();
        let mut images = Vec::new();
        if case != "text" {
            let pixels = self.floats(&format!("{case}.pixel_values"));
            let grids = self.integers(&format!("{case}.grid_thw"));
            let patches: i64 = grids
                .chunks_exact(3)
                .map(|g| g.iter().product::<i64>())
                .sum();
            let width = pixels.len() / patches as usize;
            let mut rest = pixels.as_slice();
            for grid in grids.chunks_exact(3) {
                let thw = [grid[0] as usize, grid[1] as usize, grid[2] as usize];
                let (own, after) = rest.split_at(thw.iter().product::<usize>() * width);
                rest = after;
                images.push(Arc::new(Percept {
                    extent: Extent::Picture(PictureGrid { thw, split: [0, 0] }),
                    rows: own.to_vec(),
                }));
            }
        }
        Arc::new(Context {
            ids,
            percepts: images,
            next_position: positions.iter().flatten().max().unwrap() + 1,
            positions,
        })
    }

    fn generate(
        &self,
        requests: &[Request],
        params: &SamplingParams,
        rules: &TokenRules,
    ) -> Vec<Vec<Completion>> {
        generate(&self.network, requests, params, rules, &self.device)
    }

    /// One completion of one prompt.
    fn one(&self, request: Request, params: &SamplingParams, rules: &TokenRules) -> Completion {
        let mut groups = self.generate(&[request], params, rules);
        assert_eq!((groups.len(), groups[0].len()), (1, 1));
        groups.remove(0).remove(0)
    }
}

fn no_rules() -> TokenRules {
    TokenRules {
        stop: Vec::new(),
        banned: Vec::new(),
    }
}

fn sampled(max_completion_length: usize) -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        ..SamplingParams::greedy(max_completion_length)
    }
}

fn key(task: &str, sample: u64) -> SeedKey {
    SeedKey::new(5, Purpose::Sampling).task(task).sample(sample)
}

fn request(context: &Arc<Context>, samples: impl IntoIterator<Item = SeedKey>) -> Request {
    Request {
        context: context.clone(),
        samples: samples.into_iter().collect(),
    }
}

/// The same tokens and reasons to end; log-probabilities may differ by rounding, since matrices of other heights are
/// cut into other tiles.
fn assert_same(got: &Completion, want: &Completion, which: &str) {
    assert_eq!(got.token_ids, want.token_ids, "{which}");
    assert_eq!(got.finish, want.finish, "{which}");
    assert_eq!(got.logprobs.len(), got.token_ids.len(), "{which}");
    for (a, b) in got.logprobs.iter().zip(&want.logprobs) {
        assert!((a - b).abs() < 1e-5, "{which}: {a} and {b}");
    }
}

#[test]
fn greedy_generation_agrees_with_transformers() {
    let golden = Golden::load();
    let want: Vec<u32> = golden
        .integers("one_image.generated")
        .into_iter()
        .map(|id| id as u32)
        .collect();
    let want_logprobs = golden.floats("one_image.generated_logprobs");
    assert_eq!((want.len(), want_logprobs.len()), (64, 64));

    let context = golden.context("one_image");
    let params = SamplingParams::greedy(64);
    let got = golden.one(request(&context, [key("", 0)]), &params, &no_rules());
    assert_eq!(got.token_ids, want);
    assert_eq!(got.finish, Finish::Length);
    for (i, (a, b)) in got.logprobs.iter().zip(&want_logprobs).enumerate() {
        assert!((a - b).abs() < 1e-4, "log-probability {i}: {a}, wanted {b}");
    }
}

/// Prompts of different lengths, with none, one and two pictures.
fn mixed_batch(golden: &Golden) -> Vec<Request> {
    let mut requests: Vec<Request> = CASES
        .iter()
        .zip([3, 1, 2, 4])
        .map(|(case, samples)| request(&golden.context(case), (0..samples).map(|i| key(case, i))))
        .collect();
    // The same prompt again as a request of its own, under other keys.
    requests.push(request(
        &golden.context("one_image"),
        (0..2).map(|i| key("again", i)),
    ));
    requests
}

/// Some tokens that the golden model samples now and then, so that sequences end at different times.
fn some_stops() -> TokenRules {
    TokenRules {
        stop: (0..VOCABULARY).step_by(17).collect(),
        banned: (88..VOCABULARY).collect(),
    }
}

#[test]
fn samples_do_not_depend_on_the_rest_of_the_batch() {
    let golden = Golden::load();
    let (params, rules) = (sampled(24), some_stops());
    let requests = mixed_batch(&golden);
    let together = golden.generate(&requests, &params, &rules);

    let lengths: Vec<usize> = together
        .iter()
        .flatten()
        .map(|c| c.token_ids.len())
        .collect();
    assert!(lengths.iter().min() < lengths.iter().max(), "{lengths:?}");
    let finishes: Vec<Finish> = together.iter().flatten().map(|c| c.finish).collect();
    assert!(finishes.contains(&Finish::Stop) && finishes.contains(&Finish::Length));

    for (i, request) in requests.iter().enumerate() {
        assert_eq!(together[i].len(), request.samples.len());
        // alone, all samples
        let alone = golden.generate(std::slice::from_ref(request), &params, &rules);
        for (sample, (a, b)) in alone[0].iter().zip(&together[i]).enumerate() {
            assert_same(a, b, &format!("request {i}, sample {sample}"));
        }
        // the last sample alone
        let last = Request {
            context: request.context.clone(),
            samples: request.samples.last().cloned().into_iter().collect(),
        };
        let last = golden.one(last, &params, &rules);
        assert_same(
            &last,
            together[i].last().unwrap(),
            &format!("last of request {i}"),
        );
    }

    // in another order
    let reversed: Vec<Request> = requests.iter().rev().cloned().collect();
    let backwards = golden.generate(&reversed, &params, &rules);
    for (i, (a, b)) in backwards.iter().rev().zip(&together).enumerate() {
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(b) {
            assert_same(a, b, &format!("request {i} in another order"));
        }
    }

    // with more samples
    let more: Vec<Request> = CASES
        .iter()
        .map(|case| request(&golden.context(case), (0..9).map(|i| key(case, i))))
        .collect();
    let more = golden.generate(&more, &params, &rules);
    for (i, (a, b)) in more.iter().zip(&together).enumerate() {
        assert_eq!(a.len(), 9);
        for (a, b) in a.iter().zip(b) {
            assert_same(a, b, &format!("request {i} with more samples"));
        }
    }
}

#[test]
fn other_keys_give_other_samples() {
    let golden = Golden::load();
    let context = golden.context("one_image");
    let requests = [
        request(&context, [key("a", 0), key("a", 1), key("b", 0)]),
        request(
            &context,
            [key("a", 0), key("a", 0).step(1), key("a", 0).turn(1)],
        ),
    ];
    let groups = golden.generate(&requests, &sampled(12), &no_rules());
    assert_eq!(groups[0][0], groups[1][0]);
    let distinct: std::collections::BTreeSet<&[u32]> = groups
        .iter()
        .flatten()
        .map(|c| c.token_ids.as_slice())
        .collect();
    assert_eq!(distinct.len(), 5);
}

#[test]
fn large_batches_are_cut_into_waves_and_passes_without_a_trace() {
    let golden = Golden::load();
    let context = golden.context("two_images");
    let (params, rules) = (sampled(3), some_stops());
    // 220 prompts of 43 tokens are more than one pass takes; with two samples each, more than one wave.
    let requests: Vec<Request> = (0..220)
        .map(|i| request(&context, (0..2).map(|s| key(&format!("row-{i}"), s))))
        .collect();
    let groups = golden.generate(&requests, &params, &rules);
    assert_eq!(groups.len(), requests.len());
    let singles: Vec<Request> = requests
        .iter()
        .map(|r| request(&context, [r.samples[1].clone()]))
        .collect();
    let singles = golden.generate(&singles, &params, &rules);
    for i in 0..requests.len() {
        assert_eq!(groups[i].len(), 2);
        assert_same(&singles[i][0], &groups[i][1], &format!("request {i}"));
    }
    for i in [0, 126, 127, 128, 129, 189, 190, 191, 219] {
        let alone = golden.generate(std::slice::from_ref(&requests[i]), &params, &rules);
        for (a, b) in alone[0].iter().zip(&groups[i]) {
            assert_same(a, b, &format!("request {i} alone"));
        }
    }
}

#[test]
fn samples_end_at_stop_tokens_and_at_the_length_limit() {
    let golden = Golden::load();
    let context = golden.context("one_image");
    let run = |length: usize, stop: Vec<u32>| {
        let rules = TokenRules {
            stop,
            banned: Vec::new(),
        };
        let params = SamplingParams::greedy(length);
        golden.one(request(&context, [key("", 0)]), &params, &rules)
    };
    let whole = run(64, Vec::new());

    for length in [1, 2, 7] {
        let cut = run(length, Vec::new());
        assert_eq!(cut.token_ids, whole.token_ids[..length]);
        assert_eq!(cut.logprobs.len(), length);
        assert_eq!(cut.finish, Finish::Length);
    }

    // Each token that appears for the first time, as the stop token.
    let firsts: Vec<usize> = (0..20)
        .filter(|&i| !whole.token_ids[..i].contains(&whole.token_ids[i]))
        .collect();
    assert!(firsts.len() > 4 && firsts[0] == 0);
    for i in firsts {
        let stop = vec![95, whole.token_ids[i]];
        // With room left, and as the last token that fits.
        for length in [64, i + 1] {
            let stopped = run(length, stop.clone());
            assert_eq!(stopped.token_ids, whole.token_ids[..=i], "stop at {i}");
            assert_eq!(stopped.logprobs.len(), i + 1);
            assert_eq!(stopped.finish, Finish::Stop);
        }
    }
}

#[test]
fn banned_tokens_never_appear_and_have_no_probability() {
    let golden = Golden::load();
    let allowed = [3u32, 41, 60, 87];
    let rules = TokenRules {
        stop: Vec::new(),
        banned: (0..VOCABULARY).filter(|id| !allowed.contains(id)).collect(),
    };
    let mut banned_favourites = 0;
    let mut seen = std::collections::BTreeSet::new();
    for case in CASES {
        let context = golden.context(case);
        let logits = golden.floats(&format!("{case}.logits"));
        let last = &logits[logits.len() - VOCABULARY as usize..];
        let total: f64 = allowed
            .iter()
            .map(|&id| f64::from(last[id as usize]).exp())
            .sum();

        let samples = request(&context, (0..12).map(|i| key(case, i)));
        let completions = golden.generate(&[samples], &sampled(10), &rules).remove(0);
        for completion in &completions {
            assert_eq!(completion.token_ids.len(), 10);
            assert!(completion.token_ids.iter().all(|id| allowed.contains(id)));
            // The first log-probability follows from the golden logits.
            let first = f64::from(last[completion.token_ids[0] as usize]) - total.ln();
            assert!(
                (f64::from(completion.logprobs[0]) - first).abs() < 1e-4,
                "{case}: {}, wanted {first}",
                completion.logprobs[0]
            );
        }
        seen.extend(completions.iter().flat_map(|c| c.token_ids.iter().copied()));

        // Where the most likely token is banned, greedy takes the best of the others.
        let greedy = golden.one(
            request(&context, [key("", 0)]),
            &SamplingParams::greedy(1),
            &rules,
        );
        let best = allowed
            .into_iter()
            .max_by(|&a, &b| last[a as usize].total_cmp(&last[b as usize]))
            .unwrap();
        assert_eq!(greedy.token_ids, [best], "{case}");
        let favourite =
            (0..VOCABULARY).max_by(|&a, &b| last[a as usize].total_cmp(&last[b as usize]));
        banned_favourites += usize::from(favourite != Some(best));
    }
    assert_eq!(seen.len(), allowed.len(), "{seen:?}");
    assert!(banned_favourites > 0);
}
