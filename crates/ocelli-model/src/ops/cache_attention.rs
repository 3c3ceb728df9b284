//! Attention of newly sampled tokens over a key-value cache that is a log of rows.
//!
//! Every generated token appends one row to the log. A sequence is a list of rows: the prompt's, which all samples of a
//! group share, and its own. Nothing is padded, copied or moved when samples finish at different times.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::attention::HeadLayout;
use super::lanes::{axpy, dot, softmax, vectorized};
use super::{dim, elements, tensor};

/// The rows of the log that one sequence sees, in order.
#[derive(Clone, Debug)]
pub struct CacheRows {
    /// Rows of the shared prompt.
    pub prompt: Range<usize>,
    /// Rows of the sequence's own tokens, the newest last.
    pub own: Vec<u32>,
}

/// Backends that run attention over the cache.
#[backend_extension(Flex, Autodiff)]
pub trait CacheAttentionOps: Backend {
    /// See [`cache_attention`].
    fn cache_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        layout: HeadLayout,
        sequences: Arc<Vec<CacheRows>>,
    ) -> FloatTensor<Self>;
}

/// One query row a sequence: `query [sequences, heads · head_dim]`, `key` and `value` `[log rows, kv_heads · head_dim]` →
/// `[sequences, heads · head_dim]`. No gradient flows through it.
pub fn cache_attention(
    query: Tensor<2>,
    key: Tensor<2>,
    value: Tensor<2>,
    layout: HeadLayout,
    sequences: &Arc<Vec<CacheRows>>,
) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as CacheAttentionOps>::cache_attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        layout,
        sequences.clone(),
    ))
}

fn forward(
    query: &FlexTensor,
    key: &FlexTensor,
    value: &FlexTensor,
    layout: HeadLayout,
    sequences: &[CacheRows],
) -> FlexTensor {
    let HeadLayout {
        heads,
        kv_heads,
        head_dim,
        ..
    } = layout;
    assert_eq!(dim(query, 0), sequences.len(), "one query a sequence");
    let (query, key, value) = (elements(query), elements(key), elements(value));
    let scale = 1.0 / (head_dim as f32).sqrt();
    let stride = kv_heads * head_dim;
    let mut output = vec![0.0; query.len()];
    output
        .par_chunks_mut(heads * head_dim)
        .zip(query.par_chunks(heads * head_dim))
        .zip(sequences)
        .for_each_init(
            Vec::new,
            |scores: &mut Vec<f32>, ((output, query), rows)| {
                vectorized(
                    #[inline(always)]
                    || {
                        let all = rows.prompt.len() + rows.own.len();
                        let first = layout.first_key(all);
                        let row_at = |i: usize| {
                            let i = first + i;
                            match rows.own.get(i.wrapping_sub(rows.prompt.len())) {
                                Some(&row) => row as usize,
                                None => rows.prompt.start + i,
                            }
                        };
                        let count = all - first;
                        let group = heads / kv_heads;
                        scores.resize(group * count, 0.0);
                        for kv_head in 0..kv_heads {
                            let queries = &query[kv_head * group * head_dim..][..group * head_dim];
                            for i in 0..count {
                                let key =
                                    &key[row_at(i) * stride + kv_head * head_dim..][..head_dim];
                                for (j, query) in queries.chunks_exact(head_dim).enumerate() {
                                    scores[j * count + i] = scale * dot(query, key);
                                }
                            }
                            for row in scores.chunks_exact_mut(count) {
                                softmax(row);
                            }
                            let outputs =
                                &mut output[kv_head * group * head_dim..][..group * head_dim];
                            for i in 0..count {
                                let value =
                                    &value[row_at(i) * stride + kv_head * head_dim..][..head_dim];
                                for (j, output) in outputs.chunks_exact_mut(head_dim).enumerate() {
                                    axpy(scores[j * count + i], value, output);
                                }
                            }
                        }
                    },
                );
            },
        );
    tensor(output, [sequences.len(), heads * head_dim])
}

impl CacheAttentionOps for Flex {
    fn cache_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        layout: HeadLayout,
        sequences: Arc<Vec<CacheRows>>,
    ) -> FloatTensor<Self> {
        forward(
            &query.to_contiguous(),
            &key.to_contiguous(),
            &value.to_contiguous(),
            layout,
            &sequences,
        )
    }
}

impl<C: CheckpointStrategy> CacheAttentionOps for Autodiff<Flex, C> {
    fn cache_attention(
        _query: FloatTensor<Self>,
        _key: FloatTensor<Self>,
        _value: FloatTensor<Self>,
        _layout: HeadLayout,
        _sequences: Arc<Vec<CacheRows>>,
    ) -> FloatTensor<Self> {
        unreachable!("the sampler runs on a device without autodiff")
    }
}
