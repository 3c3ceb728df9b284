//! Rows taken from one or two tables: token embeddings with image features in place, and the hidden states that predict
//! sampled tokens.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::half::Stored;
use super::lanes::axpy;
use super::{dim, elements, tensor};

/// Where a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowSource {
    /// Row of the first table.
    First(u32),
    /// Row of the second table.
    Second(u32),
}

/// Backends that run the fused gather.
#[backend_extension(Flex, Autodiff)]
pub trait GatherOps: Backend {
    /// See [`gather_rows`].
    fn gather_rows(table: FloatTensor<Self>, rows: Arc<Vec<u32>>) -> FloatTensor<Self>;
    /// See [`merge_rows`].
    fn merge_rows(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rows: Arc<Vec<RowSource>>,
    ) -> FloatTensor<Self>;
}

/// `table [n, width]`, `rows [m]` → `[m, width]`; a row may be taken any number of times.
pub fn gather_rows(table: Tensor<2>, rows: Arc<Vec<u32>>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as GatherOps>::gather_rows(
        table.into_dispatch(),
        rows,
    ))
}

/// `first [a, width]`, `second [b, width]`, `rows [m]` → `[m, width]`.
pub fn merge_rows(first: Tensor<2>, second: Tensor<2>, rows: Arc<Vec<RowSource>>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as GatherOps>::merge_rows(
        first.into_dispatch(),
        second.into_dispatch(),
        rows,
    ))
}

fn gather(table: &FlexTensor, rows: &[u32]) -> FlexTensor {
    let width = dim(table, 1);
    let stored = Stored::of(table);
    let mut y = vec![0.0; rows.len() * width];
    for (y, &index) in y.chunks_exact_mut(width.max(1)).zip(rows) {
        stored.widen(index as usize * width, y);
    }
    tensor(y, [rows.len(), width])
}

fn merge(first: &FlexTensor, second: &FlexTensor, rows: &[RowSource]) -> FlexTensor {
    let width = dim(first, 1);
    assert_eq!(width, dim(second, 1), "merged tables have one width");
    let (first, second) = (Stored::of(first), Stored::of(second));
    let mut y = vec![0.0; rows.len() * width];
    for (y, &source) in y.chunks_exact_mut(width.max(1)).zip(rows) {
        match source {
            RowSource::First(index) => first.widen(index as usize * width, y),
            RowSource::Second(index) => second.widen(index as usize * width, y),
        }
    }
    tensor(y, [rows.len(), width])
}

/// Adds each row of `dy` whose source is in the wanted table to that table's gradient.
fn scatter(
    dy: &FlexTensor,
    table_rows: usize,
    source: impl Iterator<Item = Option<u32>>,
) -> FlexTensor {
    let width = dim(dy, 1);
    let mut gradient = vec![0.0; table_rows * width];
    for (dy, index) in elements(dy).chunks_exact(width).zip(source) {
        if let Some(index) = index {
            axpy(1.0, dy, &mut gradient[index as usize * width..][..width]);
        }
    }
    tensor(gradient, [table_rows, width])
}

impl GatherOps for Flex {
    fn gather_rows(table: FloatTensor<Self>, rows: Arc<Vec<u32>>) -> FloatTensor<Self> {
        gather(&table.to_contiguous(), &rows)
    }

    fn merge_rows(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rows: Arc<Vec<RowSource>>,
    ) -> FloatTensor<Self> {
        merge(&first.to_contiguous(), &second.to_contiguous(), &rows)
    }
}

#[derive(Debug)]
struct GatherBackward;

impl Backward<Flex, 1> for GatherBackward {
    type State = (usize, Arc<Vec<u32>>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (table_rows, rows) = ops.state;
        let [table] = ops.parents;
        if let Some(node) = table {
            let gradient = scatter(&dy, table_rows, rows.iter().map(|&i| Some(i)));
            grads.register::<Flex>(node.id, gradient);
        }
    }
}

#[derive(Debug)]
struct MergeBackward;

impl Backward<Flex, 2> for MergeBackward {
    type State = ([usize; 2], Arc<Vec<RowSource>>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let ([first_rows, second_rows], rows) = ops.state;
        let [first, second] = ops.parents;
        if let Some(node) = first {
            let source = rows.iter().map(|r| match r {
                RowSource::First(i) => Some(*i),
                RowSource::Second(_) => None,
            });
            grads.register::<Flex>(node.id, scatter(&dy, first_rows, source));
        }
        if let Some(node) = second {
            let source = rows.iter().map(|r| match r {
                RowSource::First(_) => None,
                RowSource::Second(i) => Some(*i),
            });
            grads.register::<Flex>(node.id, scatter(&dy, second_rows, source));
        }
    }
}

impl<C: CheckpointStrategy> GatherOps for Autodiff<Flex, C> {
    fn gather_rows(table: FloatTensor<Self>, rows: Arc<Vec<u32>>) -> FloatTensor<Self> {
        let (table, node) = table.into_parts();
        let table = table.to_contiguous();
        let y = gather(&table, &rows);
        match GatherBackward
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((dim(&table, 0), rows), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn merge_rows(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rows: Arc<Vec<RowSource>>,
    ) -> FloatTensor<Self> {
        let ((first, first_node), (second, second_node)) =
            (first.into_parts(), second.into_parts());
        let (first, second) = (first.to_contiguous(), second.to_contiguous());
        let y = merge(&first, &second, &rows);
        match MergeBackward
            .prepare::<C>([first_node, second_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(([dim(&first, 0), dim(&second, 0)], rows), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
