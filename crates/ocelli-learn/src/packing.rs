//! Packing: many sequences as one run of rows, shared prompts once.
//!
//! A tree is a prompt with its continuations. All its sequences see the prompt, none sees another, and the prompt's rows
//! (in a vision-language model most of all rows) are computed once.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use ocelli_model::heads::Head;
use ocelli_model::network::{Network, PackedAttention};
use ocelli_model::ops::attention::{Forest, Segment};
use ocelli_model::ops::gather::{RowSource, gather_rows};
use ocelli_model::ops::logprob::Choice;
pub use ocelli_model::ops::values;
use ocelli_model::processor::Context;
use ocelli_rollout::generate::PackedContexts;

/// What follows a prompt.
#[derive(Clone, Debug)]
pub struct Branch {
    pub tokens: Vec<u32>,
    /// Which tokens are scored; as long as `tokens`.
    pub mask: Vec<bool>,
}

impl Branch {
    /// Number of scored tokens.
    pub fn scored(&self) -> usize {
        self.mask.iter().filter(|m| **m).count()
    }
}

/// A prompt and its continuations.
#[derive(Clone, Debug)]
pub struct Tree {
    pub context: Arc<Context>,
    pub branches: Vec<Branch>,
}

impl Tree {
    /// Rows it takes in a packed batch.
    pub fn rows(&self) -> usize {
        let branches: usize = self
            .branches
            .iter()
            .map(|b| b.tokens.len().saturating_sub(1))
            .sum();
        self.context.ids.len() + branches
    }

    /// Scored tokens.
    pub fn scored(&self) -> usize {
        self.branches.iter().map(Branch::scored).sum()
    }
}

/// Cuts trees into micro-batches of at most `max_rows` rows, in order; a larger tree stands alone.
pub fn micro_batches(trees: &[Tree], max_rows: usize) -> Vec<std::ops::Range<usize>> {
    let lengths: Vec<usize> = trees.iter().map(Tree::rows).collect();
    cut(&lengths, max_rows)
}

/// The same of trees with these numbers of rows.
pub(crate) fn cut(lengths: &[usize], max_rows: usize) -> Vec<std::ops::Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut rows) = (0, 0);
    for (i, length) in lengths.iter().enumerate() {
        if i > start && rows + length > max_rows {
            batches.push(start..i);
            (start, rows) = (i, 0);
        }
        rows += length;
    }
    if start < lengths.len() {
        batches.push(start..lengths.len());
    }
    batches
}

/// Scores of the masked tokens of all branches, in order of trees, branches and tokens.
pub struct TokenScores {
    /// Log-probabilities `[tokens]`.
    pub logprob: Tensor<1>,
    /// Entropies in nats `[tokens]`.
    pub entropy: Tensor<1>,
    /// 1 where the token is the most likely one, `[tokens]`.
    pub is_peak: Tensor<1>,
}

/// One pass of the network over the packed trees. The last token of a branch predicts nothing and takes no row.
pub fn score(
    network: &Network,
    trees: &[Tree],
    temperature: f32,
    banned: &[u32],
    device: &Device,
) -> TokenScores {
    let (hidden, targets) = hidden(network, trees, device);
    token_scores(network, hidden, targets, (temperature, banned))
}

/// As [`score`], with what the value head says before each of the tokens, `[tokens]`. `detach` keeps the head's gradient from the network
/// under it.
///
/// # Panics
/// When the network has no value head.
pub fn score_with_values(
    network: &Network,
    trees: &[Tree],
    choice: (f32, &[u32]),
    device: &Device,
    detach: bool,
) -> (TokenScores, Tensor<1>) {
    let (hidden, targets) = hidden(network, trees, device);
    let seen = if detach {
        hidden.clone().detach()
    } else {
        hidden.clone()
    };
    let values = network
        .head(Head::Value, seen)
        .expect("callers look for the head first");
    (token_scores(network, hidden, targets, choice), values)
}

fn token_scores(
    network: &Network,
    hidden: Tensor<2>,
    targets: Vec<u32>,
    (temperature, banned): (f32, &[u32]),
) -> TokenScores {
    let count = targets.len();
    let choice = Arc::new(Choice {
        targets,
        temperature,
        banned: banned.to_vec(),
    });
    let scores = network.choice_logprob(hidden, &choice);
    let column = |i: usize| scores.clone().slice([0..count, i..i + 1]).reshape([count]);
    TokenScores {
        logprob: column(0),
        entropy: column(1),
        is_peak: column(2),
    }
}

/// The last hidden states before the masked tokens of all branches, `[tokens, hidden]`, and those tokens.
pub fn hidden(network: &Network, trees: &[Tree], device: &Device) -> (Tensor<2>, Vec<u32>) {
    let contexts: Vec<&Context> = trees.iter().map(|t| t.context.as_ref()).collect();
    let packed = PackedContexts::new(network, &contexts, device);
    let (mut prompt_rows, mut prompt_positions) =
        (packed.rows.as_slice(), packed.positions.as_slice());

    let (mut rows, mut positions) = (Vec::new(), Vec::new());
    let mut forest = Forest {
        rows: 0,
        causal: true,
        trees: Vec::with_capacity(trees.len()),
    };
    let (mut sources, mut targets) = (Vec::new(), Vec::new());
    for tree in trees {
        let length = tree.context.ids.len();
        let prompt = rows.len()..rows.len() + length;
        rows.extend_from_slice(&prompt_rows[..length]);
        positions.extend_from_slice(&prompt_positions[..length]);
        (prompt_rows, prompt_positions) = (&prompt_rows[length..], &prompt_positions[length..]);
        let mut segments = vec![Segment {
            rows: prompt.clone(),
            ancestors: Vec::new(),
        }];
        for branch in &tree.branches {
            let start = rows.len();
            for (i, (&token, &scored)) in branch.tokens.iter().zip(&branch.mask).enumerate() {
                if scored {
                    sources.push(if i == 0 {
                        prompt.end - 1
                    } else {
                        start + i - 1
                    } as u32);
                    targets.push(token);
                }
                if i + 1 < branch.tokens.len() {
                    rows.push(RowSource::First(token));
                    positions.push([tree.context.next_position + i as i32; 3]);
                }
            }
            if rows.len() > start {
                segments.push(Segment {
                    rows: start..rows.len(),
                    ancestors: vec![prompt.clone()],
                });
            }
        }
        forest.trees.push(segments);
    }
    forest.rows = rows.len();

    let forest = Arc::new(forest);
    let mut attend = PackedAttention { forest: &forest };
    let hidden = network.hidden(rows, packed.features, &positions, &mut attend);
    (gather_rows(hidden, Arc::new(sources)), targets)
}

/// Numbers as a tensor without gradient.
pub(crate) fn constant(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}
