//! Sampling completions: prompts once a group, then all sequences a token at a time until each has ended.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use ocelli_core::{Finish, SeedKey};
use ocelli_model::network::{Features, Network};
use ocelli_model::ops::attention::Forest;
use ocelli_model::ops::cache_attention::CacheRows;
use ocelli_model::ops::gather::{RowSource, gather_rows};
use ocelli_model::ops::values;
use ocelli_model::processor::Context;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::cache::{DecodeAttention, KeyValueLog, PrefillAttention};
use crate::sampling::{SamplingParams, draw};

/// One prompt and the random streams of its samples.
#[derive(Clone, Debug)]
pub struct Request {
    pub context: Arc<Context>,
    /// One key a sample.
    pub samples: Vec<SeedKey>,
}

/// What was sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Sampled ids, the end-of-turn token included.
    pub token_ids: Vec<u32>,
    /// Log-probability of each.
    pub logprobs: Vec<f32>,
    pub finish: Finish,
}

/// Which tokens end a turn and which cannot be sampled.
#[derive(Clone, Debug)]
pub struct TokenRules {
    pub stop: Vec<u32>,
    pub banned: Vec<u32>,
}

/// Sequences decoded together. More would not be faster on a CPU, and the cache stays small.
const SEQUENCES: usize = 256;
/// Prompt rows processed in one pass.
const PREFILL_ROWS: usize = 8192;

/// Samples completions for every request, in order: one inner list a request.
pub fn generate(
    network: &Network,
    requests: &[Request],
    params: &SamplingParams,
    rules: &TokenRules,
    device: &Device,
) -> Vec<Vec<Completion>> {
    let mut results = Vec::with_capacity(requests.len());
    let mut start = 0;
    while start < requests.len() {
        let mut end = start + 1;
        let mut sequences = requests[start].samples.len();
        while end < requests.len() && sequences + requests[end].samples.len() <= SEQUENCES {
            sequences += requests[end].samples.len();
            end += 1;
        }
        results.extend(wave(network, &requests[start..end], params, rules, device));
        start = end;
    }
    results
}

/// A sequence being sampled.
struct Sequence {
    request: usize,
    sample: usize,
    rng: ChaCha8Rng,
    rows: CacheRows,
    next_position: i32,
    completion: Completion,
}

impl Sequence {
    /// Takes the next token; returns whether the sequence goes on.
    fn push(&mut self, logits: &mut [f32], params: &SamplingParams, rules: &TokenRules) -> bool {
        let (token, logprob) = draw(logits, params, &rules.banned, &mut self.rng);
        self.completion.token_ids.push(token);
        self.completion.logprobs.push(logprob);
        if rules.stop.contains(&token) {
            self.completion.finish = Finish::Stop;
            return false;
        }
        self.completion.token_ids.len() < params.max_completion_length
    }
}

fn wave(
    network: &Network,
    requests: &[Request],
    params: &SamplingParams,
    rules: &TokenRules,
    device: &Device,
) -> Vec<Vec<Completion>> {
    let prompt_rows: usize = requests.iter().map(|r| r.context.ids.len()).sum();
    let sequences: usize = requests.iter().map(|r| r.samples.len()).sum();
    let capacity = prompt_rows + sequences * params.max_completion_length.saturating_sub(1);
    let mut log = KeyValueLog::new(network.layers(), network.head_layout(), capacity, device);

    let (mut active, mut finished) = (Vec::with_capacity(sequences), Vec::with_capacity(sequences));
    let mut first = 0;
    while first < requests.len() {
        let mut rows = requests[first].context.ids.len();
        let mut end = first + 1;
        while end < requests.len() && rows + requests[end].context.ids.len() <= PREFILL_ROWS {
            rows += requests[end].context.ids.len();
            end += 1;
        }
        let mut row = log.used();
        let logits = prefill(network, &requests[first..end], &mut log, device);
        let vocabulary = logits.len() / (end - first);
        for (request, logits) in (first..end).zip(logits.chunks_exact(vocabulary)) {
            let context = &requests[request].context;
            for (sample, key) in requests[request].samples.iter().enumerate() {
                let mut sequence = Sequence {
                    request,
                    sample,
                    rng: key.rng(),
                    rows: CacheRows {
                        prompt: row..row + context.ids.len(),
                        own: Vec::new(),
                    },
                    next_position: context.next_position,
                    completion: Completion {
                        token_ids: Vec::new(),
                        logprobs: Vec::new(),
                        finish: Finish::Length,
                    },
                };
                if sequence.push(&mut logits.to_vec(), params, rules) {
                    active.push(sequence);
                } else {
                    finished.push(sequence);
                }
            }
            row += context.ids.len();
        }
        first = end;
    }

    while !active.is_empty() {
        let mut logits = decode(network, &mut active, &mut log);
        let vocabulary = logits.len() / active.len();
        let goes_on: Vec<bool> = active
            .par_iter_mut()
            .zip(logits.par_chunks_exact_mut(vocabulary))
            .map(|(sequence, logits)| sequence.push(logits, params, rules))
            .collect();
        let mut goes_on = goes_on.into_iter();
        finished.extend(active.extract_if(.., |_| goes_on.next() == Some(false)));
    }
    collect(requests, finished)
}

/// Completions by request, samples in the order of their keys: sequences end at different times.
fn collect(requests: &[Request], mut finished: Vec<Sequence>) -> Vec<Vec<Completion>> {
    finished.sort_by_key(|sequence| (sequence.request, sequence.sample));
    let mut results: Vec<Vec<Completion>> = requests.iter().map(|_| Vec::new()).collect();
    for sequence in finished {
        results[sequence.request].push(sequence.completion);
    }
    results
}

/// Runs the prompts and returns the logits of what follows each, `[requests, vocabulary]`.
fn prefill(
    network: &Network,
    requests: &[Request],
    log: &mut KeyValueLog,
    device: &Device,
) -> Vec<f32> {
    let contexts: Vec<&Context> = requests.iter().map(|r| r.context.as_ref()).collect();
    let batch = PackedContexts::new(network, &contexts, device);
    let last: Vec<u32> = contexts
        .iter()
        .scan(0u32, |row, context| {
            *row += context.ids.len() as u32;
            Some(*row - 1)
        })
        .collect();
    let forest = Arc::new(Forest::sequences(
        contexts.iter().map(|c| c.ids.len()),
        true,
    ));
    let mut attend = PrefillAttention::new(log, forest);
    let hidden = network.hidden(batch.rows, batch.features, &batch.positions, &mut attend);
    attend.finish();
    values(network.logits(gather_rows(hidden, Arc::new(last))))
}

/// Runs the newest token of every sequence and returns `[sequences, vocabulary]` logits.
fn decode(network: &Network, active: &mut [Sequence], log: &mut KeyValueLog) -> Vec<f32> {
    let mut rows = Vec::with_capacity(active.len());
    let mut positions = Vec::with_capacity(active.len());
    let mut sequences = Vec::with_capacity(active.len());
    for (i, sequence) in active.iter_mut().enumerate() {
        let token = *sequence
            .completion
            .token_ids
            .last()
            .expect("the first token came with the prompt");
        rows.push(RowSource::First(token));
        positions.push([sequence.next_position; 3]);
        sequence.next_position += 1;
        sequence.rows.own.push((log.used() + i) as u32);
        sequences.push(CacheRows {
            prompt: sequence.rows.prompt.clone(),
            own: std::mem::take(&mut sequence.rows.own),
        });
    }
    let mut attend = DecodeAttention::new(log, Arc::new(sequences));
    let hidden = network.hidden(rows, None, &positions, &mut attend);
    let sequences = attend.finish();
    let sequences = Arc::try_unwrap(sequences).unwrap_or_else(|shared| shared.as_ref().clone());
    for (sequence, rows) in active.iter_mut().zip(sequences) {
        sequence.rows = rows;
    }
    values(network.logits(hidden))
}

/// Contexts one after the other, as rows of the network.
pub struct PackedContexts {
    /// Token or feature of every row.
    pub rows: Vec<RowSource>,
    pub positions: Vec<[i32; 3]>,
    /// Features of all that is seen, in order.
    pub features: Option<Features>,
}

impl PackedContexts {
    /// Packs the contexts and runs the tower once on all that they show.
    pub fn new(network: &Network, contexts: &[&Context], device: &Device) -> Self {
        let placeholders = network.config().placeholder_tokens();
        let mut feature = 0;
        let rows = contexts
            .iter()
            .flat_map(|context| &context.ids)
            .map(|&id| {
                if placeholders.contains(&id) {
                    feature += 1;
                    RowSource::Second(feature - 1)
                } else {
                    RowSource::First(id)
                }
            })
            .collect();
        let percepts: Vec<_> = contexts.iter().flat_map(|c| &c.percepts).collect();
        let features = (!percepts.is_empty()).then(|| {
            let grids: Vec<_> = percepts.iter().map(|p| p.extent.grid()).collect();
            let count: usize = grids.iter().map(|g| g.iter().product::<usize>()).sum();
            // Sized at once: grown bit by bit, it would take three times its memory on the way.
            let mut numbers: Vec<f32> =
                Vec::with_capacity(percepts.iter().map(|p| p.rows.len()).sum());
            for percept in &percepts {
                numbers.extend_from_slice(&percept.rows);
            }
            let width = numbers.len() / count;
            network.vision(
                Tensor::from_data(TensorData::new(numbers, [count, width]), device),
                &grids,
            )
        });
        Self {
            rows,
            positions: contexts
                .iter()
                .flat_map(|c| c.positions.iter().copied())
                .collect(),
            features,
        }
    }
}
