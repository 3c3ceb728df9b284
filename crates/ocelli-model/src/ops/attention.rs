//! Attention over a forest of segments, without ever storing a whole score matrix.
//!
//! A *segment* is a run of rows that belong together: a prompt, one sampled completion, a window of an image. Its rows
//! see all rows of its ancestors and, causally or fully, each other. Packed sequences, shared prompts with many
//! completions, multi-turn trees, window attention and plain causal attention are all such forests.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use gemm::Parallelism;
use rayon::prelude::*;

use super::blas::{MatrixRef, product};
use super::lanes::{dot, exp, softmax, vectorized};
use super::{SharedPointer, dim, elements, tensor};

/// Rows that belong together, and what they see.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The segment's own rows.
    pub rows: Range<usize>,
    /// Rows of its ancestors, all of which it sees.
    pub ancestors: Vec<Range<usize>>,
}

/// Who sees whom in a packed batch. Segments of different trees share no rows.
#[derive(Clone, Debug, Default)]
pub struct Forest {
    /// Rows of the whole packed batch.
    pub rows: usize,
    /// Whether a row sees only itself and earlier rows of its own segment.
    pub causal: bool,
    /// One list of segments a tree.
    pub trees: Vec<Vec<Segment>>,
}

impl Forest {
    /// The tasks of different trees write through raw pointers, so what they own must be theirs alone.
    fn assert_sound(&self) {
        let mut owner = vec![usize::MAX; self.rows];
        for (tree, segments) in self.trees.iter().enumerate() {
            for range in segments
                .iter()
                .flat_map(|s| s.ancestors.iter().chain([&s.rows]))
            {
                for owner in &mut owner[range.clone()] {
                    assert!(
                        *owner == usize::MAX || *owner == tree,
                        "trees share no rows"
                    );
                    *owner = tree;
                }
            }
        }
    }

    /// Separate sequences of the given lengths, one after the other: packed prompts, or windows of images.
    pub fn sequences(lengths: impl IntoIterator<Item = usize>, causal: bool) -> Self {
        let mut rows = 0;
        let trees = lengths
            .into_iter()
            .map(|length| {
                rows += length;
                vec![Segment {
                    rows: rows - length..rows,
                    ancestors: Vec::new(),
                }]
            })
            .collect();
        Self {
            rows,
            causal,
            trees,
        }
    }
}

/// Heads and their width.
#[derive(Clone, Copy, Debug)]
pub struct HeadLayout {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Keys a row sees at most, the newest ones and its own among them; `None` sees all. For causal attention only.
    pub window: Option<usize>,
}

impl HeadLayout {
    /// The first key in sight of a row that sees `keys` keys in order.
    pub(super) fn first_key(self, keys: usize) -> usize {
        self.window.map_or(0, |window| keys.saturating_sub(window))
    }
}

/// Backends that run the fused attention.
#[backend_extension(Flex, Autodiff)]
pub trait AttentionOps: Backend {
    /// See [`attention`].
    fn attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        layout: HeadLayout,
        forest: Arc<Forest>,
    ) -> FloatTensor<Self>;
}

/// `softmax(q kᵀ / √head_dim) v` inside every segment and its ancestors.
///
/// `query [rows, heads · head_dim]`, `key` and `value` `[rows, kv_heads · head_dim]` → `[rows, heads · head_dim]`.
pub fn attention(
    query: Tensor<2>,
    key: Tensor<2>,
    value: Tensor<2>,
    layout: HeadLayout,
    forest: &Arc<Forest>,
) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as AttentionOps>::attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        layout,
        forest.clone(),
    ))
}

/// Query rows handled at once: bounds the scores in memory to `BLOCK` times the keys in sight.
const BLOCK: usize = 128;

/// Queries of one block and the keys they see.
struct Block {
    queries: Range<usize>,
    /// Key rows in sight, ancestors first, own rows last (up to the last query when causal).
    spans: Vec<Range<usize>>,
    /// Keys in sight of the block.
    keys: usize,
    /// Keys in sight of its first query; each further query sees one more when causal.
    first_limit: usize,
    causal: bool,
}

impl Block {
    fn limit(&self, query: usize) -> usize {
        if self.causal {
            self.first_limit + query
        } else {
            self.keys
        }
    }

    /// Spans with the column where their keys start.
    fn columns(&self) -> impl Iterator<Item = (usize, &Range<usize>)> {
        self.spans.iter().scan(0, |column, span| {
            let start = *column;
            *column += span.len();
            Some((start, span))
        })
    }
}

fn blocks(segment: &Segment, causal: bool) -> impl Iterator<Item = Block> {
    let inherited: usize = segment.ancestors.iter().map(Range::len).sum();
    segment.rows.clone().step_by(BLOCK).map(move |start| {
        let end = (start + BLOCK).min(segment.rows.end);
        let own = segment.rows.start..if causal { end } else { segment.rows.end };
        let mut spans = segment.ancestors.clone();
        spans.push(own.clone());
        Block {
            queries: start..end,
            spans,
            keys: inherited + own.len(),
            first_limit: inherited + start - segment.rows.start + 1,
            causal,
        }
    })
}

/// The strided views of one call.
struct Heads<'a> {
    layout: HeadLayout,
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
}

impl Heads<'_> {
    fn query_stride(&self) -> usize {
        self.layout.heads * self.layout.head_dim
    }

    fn key_stride(&self) -> usize {
        self.layout.kv_heads * self.layout.head_dim
    }

    fn query_offset(&self, row: usize, head: usize) -> usize {
        row * self.query_stride() + head * self.layout.head_dim
    }

    fn key_offset(&self, row: usize, kv_head: usize) -> usize {
        row * self.key_stride() + kv_head * self.layout.head_dim
    }

    /// Rows `rows` of one head of a tensor shaped like the queries.
    fn query_matrix(&self, values: &[f32], row: usize, head: usize) -> MatrixRef {
        MatrixRef::strided(
            values[self.query_offset(row, head)..].as_ptr(),
            self.query_stride(),
        )
    }

    fn key_matrix(&self, values: &[f32], row: usize, kv_head: usize) -> MatrixRef {
        MatrixRef::strided(
            values[self.key_offset(row, kv_head)..].as_ptr(),
            self.key_stride(),
        )
    }

    /// `left[queries, :] · keysᵀ · alpha` into `[queries, keys]`, where `left` is a block of query-shaped rows.
    fn score_keys(
        &self,
        block: &Block,
        kv_head: usize,
        left: MatrixRef,
        keys: &[f32],
        alpha: f32,
        out: &mut [f32],
    ) {
        for (column, span) in block.columns() {
            // SAFETY: `left` holds the block's queries, `keys` the span's rows, and `out` `queries x keys` elements.
            unsafe {
                product(
                    (block.queries.len(), span.len(), self.layout.head_dim),
                    out.as_mut_ptr().wrapping_add(column),
                    block.keys,
                    false,
                    alpha,
                    left,
                    self.key_matrix(keys, span.start, kv_head).transposed(),
                    Parallelism::None,
                );
            }
        }
    }

    /// `weights[queries, keys] · keys · alpha` into the query-shaped rows at `out`.
    ///
    /// # Safety
    /// `out` addresses the block's query rows of one head, which nobody else touches.
    unsafe fn weigh_keys(
        &self,
        block: &Block,
        kv_head: usize,
        weights: &[f32],
        keys: &[f32],
        alpha: f32,
        out: *mut f32,
    ) {
        for (column, span) in block.columns() {
            // SAFETY: as above; `weights` holds `queries x keys` elements.
            unsafe {
                product(
                    (block.queries.len(), self.layout.head_dim, span.len()),
                    out,
                    self.query_stride(),
                    column > 0,
                    alpha,
                    MatrixRef::strided(weights[column..].as_ptr(), block.keys),
                    self.key_matrix(keys, span.start, kv_head),
                    Parallelism::None,
                );
            }
        }
    }

    /// Adds `weightsᵀ · right · alpha` to the key-shaped rows of every span.
    ///
    /// # Safety
    /// The tree's key rows of `kv_head` behind `out` belong to the calling task.
    unsafe fn add_to_keys(
        &self,
        block: &Block,
        kv_head: usize,
        weights: &[f32],
        right: MatrixRef,
        alpha: f32,
        out: SharedPointer,
    ) {
        for (column, span) in block.columns() {
            // SAFETY: as above.
            unsafe {
                product(
                    (span.len(), self.layout.head_dim, block.queries.len()),
                    out.at(self.key_offset(span.start, kv_head)),
                    self.key_stride(),
                    true,
                    alpha,
                    MatrixRef::strided(weights[column..].as_ptr(), block.keys).transposed(),
                    right,
                    Parallelism::None,
                );
            }
        }
    }
}

fn scale(layout: HeadLayout) -> f32 {
    1.0 / (layout.head_dim as f32).sqrt()
}

/// One task a tree and key head, in a fixed order.
fn tasks(forest: &Forest, layout: HeadLayout) -> Vec<(&[Segment], usize)> {
    forest
        .trees
        .iter()
        .flat_map(|tree| (0..layout.kv_heads).map(move |kv_head| (tree.as_slice(), kv_head)))
        .collect()
}

fn grow(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

/// Output and the log-sum-exp of every row and head, `[rows, heads]`.
fn forward(
    query: &FlexTensor,
    key: &FlexTensor,
    value: &FlexTensor,
    layout: HeadLayout,
    forest: &Forest,
) -> (FlexTensor, Vec<f32>) {
    let rows = forest.rows;
    for (tensor, heads) in [
        (query, layout.heads),
        (key, layout.kv_heads),
        (value, layout.kv_heads),
    ] {
        let shape = [dim(tensor, 0), dim(tensor, 1)];
        assert_eq!(
            shape,
            [rows, heads * layout.head_dim],
            "rows of the forest, whole heads"
        );
    }
    forest.assert_sound();
    let heads = Heads {
        layout,
        query: elements(query),
        key: elements(key),
        value: elements(value),
    };
    let mut output = vec![0.0; heads.query.len()];
    let mut log_totals = vec![0.0; rows * layout.heads];
    let (output_pointer, log_pointer) = (
        SharedPointer(output.as_mut_ptr()),
        SharedPointer(log_totals.as_mut_ptr()),
    );
    let group = layout.heads / layout.kv_heads;
    tasks(forest, layout)
        .into_par_iter()
        .for_each_init(Vec::new, |scores, (tree, kv_head)| {
            for block in tree
                .iter()
                .flat_map(|segment| blocks(segment, forest.causal))
            {
                for head in kv_head * group..(kv_head + 1) * group {
                    let scores = grow(scores, block.queries.len() * block.keys);
                    let queries = heads.query_matrix(heads.query, block.queries.start, head);
                    heads.score_keys(&block, kv_head, queries, heads.key, scale(layout), scores);
                    vectorized(
                        #[inline(always)]
                        || {
                            for (i, row) in scores.chunks_exact_mut(block.keys).enumerate() {
                                let limit = block.limit(i);
                                let (past, future) = row.split_at_mut(limit);
                                let (out_of_window, seen) =
                                    past.split_at_mut(layout.first_key(limit));
                                let log_total = softmax(seen);
                                out_of_window.fill(0.0);
                                future.fill(0.0);
                                let at = (block.queries.start + i) * layout.heads + head;
                                // SAFETY: this task alone owns this tree's rows of this head.
                                unsafe { *log_pointer.at(at) = log_total };
                            }
                        },
                    );
                    let out = output_pointer.at(heads.query_offset(block.queries.start, head));
                    // SAFETY: this task alone owns this tree's rows of this head.
                    unsafe { heads.weigh_keys(&block, kv_head, scores, heads.value, 1.0, out) };
                }
            }
        });
    (tensor(output, [rows, heads.query_stride()]), log_totals)
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved {
    query: FlexTensor,
    key: FlexTensor,
    value: FlexTensor,
    output: FlexTensor,
    log_totals: Arc<Vec<f32>>,
    layout: HeadLayout,
    forest: Arc<Forest>,
}

/// Gradients of query, key and value. Weights are computed again from the saved log-sum-exp:
/// `P = exp(S − L)`, `dV = Pᵀ dO`, `dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O))`, `dQ = dS K / √d`, `dK = dSᵀ Q / √d`.
fn backward(saved: &Saved, output_gradient: &FlexTensor) -> [FlexTensor; 3] {
    let (layout, forest) = (saved.layout, &saved.forest);
    let heads = Heads {
        layout,
        query: elements(&saved.query),
        key: elements(&saved.key),
        value: elements(&saved.value),
    };
    let (output, d_output) = (elements(&saved.output), elements(output_gradient));
    let mut d_query = vec![0.0; heads.query.len()];
    let mut d_key = vec![0.0; heads.key.len()];
    let mut d_value = vec![0.0; heads.value.len()];
    let (d_query_pointer, d_key_pointer, d_value_pointer) = (
        SharedPointer(d_query.as_mut_ptr()),
        SharedPointer(d_key.as_mut_ptr()),
        SharedPointer(d_value.as_mut_ptr()),
    );
    let group = layout.heads / layout.kv_heads;
    tasks(forest, layout).into_par_iter().for_each_init(
        || (Vec::new(), Vec::new()),
        |(weights, d_scores), (tree, kv_head)| {
            for block in tree
                .iter()
                .flat_map(|segment| blocks(segment, forest.causal))
            {
                for head in kv_head * group..(kv_head + 1) * group {
                    let size = block.queries.len() * block.keys;
                    let (weights, d_scores) = (grow(weights, size), grow(d_scores, size));
                    let first = block.queries.start;
                    let queries = heads.query_matrix(heads.query, first, head);
                    let d_outputs = heads.query_matrix(d_output, first, head);
                    heads.score_keys(&block, kv_head, queries, heads.key, scale(layout), weights);
                    heads.score_keys(&block, kv_head, d_outputs, heads.value, 1.0, d_scores);
                    vectorized(
                        #[inline(always)]
                        || {
                            let rows = weights
                                .chunks_exact_mut(block.keys)
                                .zip(d_scores.chunks_exact_mut(block.keys));
                            for (i, (weights, d_scores)) in rows.enumerate() {
                                let row = first + i;
                                let limit = block.limit(i);
                                let seen = layout.first_key(limit)..limit;
                                let log_total = saved.log_totals[row * layout.heads + head];
                                let at = heads.query_offset(row, head);
                                let shared = dot(
                                    &output[at..at + layout.head_dim],
                                    &d_output[at..at + layout.head_dim],
                                );
                                let (w, d) =
                                    (&mut weights[seen.clone()], &mut d_scores[seen.clone()]);
                                for (w, d) in w.iter_mut().zip(d) {
                                    *w = exp(*w - log_total);
                                    *d = *w * (*d - shared);
                                }
                                for unseen in [0..seen.start, limit..block.keys] {
                                    weights[unseen.clone()].fill(0.0);
                                    d_scores[unseen].fill(0.0);
                                }
                            }
                        },
                    );
                    let d_query_rows = d_query_pointer.at(heads.query_offset(first, head));
                    // SAFETY: a tree's query rows of one head and its key rows of one key head belong to this task
                    // alone: trees share no rows, and all query heads of a key head are in the same task.
                    unsafe {
                        heads.add_to_keys(
                            &block,
                            kv_head,
                            weights,
                            d_outputs,
                            1.0,
                            d_value_pointer,
                        );
                        heads.add_to_keys(
                            &block,
                            kv_head,
                            d_scores,
                            queries,
                            scale(layout),
                            d_key_pointer,
                        );
                        heads.weigh_keys(
                            &block,
                            kv_head,
                            d_scores,
                            heads.key,
                            scale(layout),
                            d_query_rows,
                        );
                    }
                }
            }
        },
    );
    let (rows, query_stride, key_stride) = (forest.rows, heads.query_stride(), heads.key_stride());
    [
        tensor(d_query, [rows, query_stride]),
        tensor(d_key, [rows, key_stride]),
        tensor(d_value, [rows, key_stride]),
    ]
}

impl AttentionOps for Flex {
    fn attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        layout: HeadLayout,
        forest: Arc<Forest>,
    ) -> FloatTensor<Self> {
        forward(
            &query.to_contiguous(),
            &key.to_contiguous(),
            &value.to_contiguous(),
            layout,
            &forest,
        )
        .0
    }
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 3> for AttentionBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = grads.consume::<Flex>(&ops.node).to_contiguous();
        let gradients = backward(&ops.state, &d_output);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl<C: CheckpointStrategy> AttentionOps for Autodiff<Flex, C> {
    fn attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        layout: HeadLayout,
        forest: Arc<Forest>,
    ) -> FloatTensor<Self> {
        let ((query, query_node), (key, key_node), (value, value_node)) =
            (query.into_parts(), key.into_parts(), value.into_parts());
        let (query, key, value) = (
            query.to_contiguous(),
            key.to_contiguous(),
            value.to_contiguous(),
        );
        let (output, log_totals) = forward(&query, &key, &value, layout, &forest);
        match AttentionBackward
            .prepare::<C>([query_node, key_node, value_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(
                Saved {
                    query,
                    key,
                    value,
                    output: output.clone(),
                    log_totals: Arc::new(log_totals),
                    layout,
                    forest,
                },
                output,
            ),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }
}
