//! The key-value cache: for every layer, one growing log of rows.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use ocelli_model::network::Attend;
use ocelli_model::ops::attention::{Forest, HeadLayout, attention};
use ocelli_model::ops::cache_attention::{CacheRows, cache_attention};

/// Keys and values of all tokens seen so far, in the order they were seen.
pub struct KeyValueLog {
    layers: Vec<[Tensor<2>; 2]>,
    used: usize,
    capacity: usize,
}

impl KeyValueLog {
    /// An empty log with room for `capacity` rows.
    pub fn new(layers: usize, layout: HeadLayout, capacity: usize, device: &Device) -> Self {
        let empty = || Tensor::zeros([capacity, layout.kv_heads * layout.head_dim], device);
        Self {
            layers: (0..layers).map(|_| [empty(), empty()]).collect(),
            used: 0,
            capacity,
        }
    }

    /// Rows in use.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Writes the new rows of one layer behind the rows in use.
    fn write(&mut self, layer: usize, key: Tensor<2>, value: Tensor<2>) {
        let [rows, width] = key.dims();
        let span = self.used..self.used + rows;
        assert!(
            span.end <= self.capacity,
            "the log was sized for all rows to come"
        );
        for (log, new) in self.layers[layer].iter_mut().zip([key, value]) {
            // Taken out, so that the only handle is written in place.
            let whole = std::mem::replace(log, Tensor::empty([0, 0], &new.device()));
            *log = whole.slice_assign([span.clone(), 0..width], new);
        }
    }

    /// Counts rows that all layers have written.
    fn advance(&mut self, rows: usize) {
        self.used += rows;
    }
}

/// Attention of packed prompts that also fills the log.
pub struct PrefillAttention<'a> {
    log: &'a mut KeyValueLog,
    forest: Arc<Forest>,
}

impl<'a> PrefillAttention<'a> {
    /// For prompts packed as `forest` says.
    pub fn new(log: &'a mut KeyValueLog, forest: Arc<Forest>) -> Self {
        Self { log, forest }
    }

    /// Ends the pass: the prompts' rows now count.
    pub fn finish(self) {
        self.log.advance(self.forest.rows);
    }
}

impl Attend for PrefillAttention<'_> {
    fn attend(
        &mut self,
        layer: usize,
        layout: HeadLayout,
        query: Tensor<2>,
        key: Tensor<2>,
        value: Tensor<2>,
    ) -> Tensor<2> {
        self.log.write(layer, key.clone(), value.clone());
        attention(query, key, value, layout, &self.forest)
    }
}

/// Attention of one new token a sequence over everything it sees.
pub struct DecodeAttention<'a> {
    log: &'a mut KeyValueLog,
    sequences: Arc<Vec<CacheRows>>,
}

impl<'a> DecodeAttention<'a> {
    /// `sequences` already name the rows the new tokens will get: the next ones, in order.
    pub fn new(log: &'a mut KeyValueLog, sequences: Arc<Vec<CacheRows>>) -> Self {
        Self { log, sequences }
    }

    /// Ends the pass: the new rows now count.
    pub fn finish(self) -> Arc<Vec<CacheRows>> {
        self.log.advance(self.sequences.len());
        self.sequences
    }
}

impl Attend for DecodeAttention<'_> {
    fn attend(
        &mut self,
        layer: usize,
        layout: HeadLayout,
        query: Tensor<2>,
        key: Tensor<2>,
        value: Tensor<2>,
    ) -> Tensor<2> {
        self.log.write(layer, key, value);
        let [key, value] = self.log.layers[layer].clone();
        cache_attention(query, key, value, layout, &self.sequences)
    }
}
