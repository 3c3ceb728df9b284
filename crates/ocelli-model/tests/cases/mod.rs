//! The reference cases of a family, read from `tests/golden/families`.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use ocelli_model::network::{Features, Network, PackedAttention};
use ocelli_model::ops::attention::Forest;
use ocelli_model::ops::gather::{RowSource, gather_rows};
use ocelli_model::ops::logprob::Choice;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

pub(crate) fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../ocelli-model/tests/golden/families")
        .join(family)
}

pub(crate) struct Golden<'a>(pub(crate) SafeTensors<'a>);

impl Golden<'_> {
    pub(crate) fn floats(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let view = self.0.tensor(name).ok()?;
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::F32 => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::F16 => {
                let halves = bytes.as_chunks::<2>().0.iter();
                halves
                    .map(|b| burn::tensor::f16::from_le_bytes(*b).to_f32())
                    .collect()
            }
            other => panic!("{name} has type {other:?}"),
        };
        Some((view.shape().to_vec(), values))
    }

    pub(crate) fn integers(&self, name: &str) -> Option<Vec<i64>> {
        let view = self.0.tensor(name).ok()?;
        assert_eq!(view.dtype(), Dtype::I64);
        let chunks = view.data().as_chunks::<8>().0;
        Some(chunks.iter().map(|b| i64::from_le_bytes(*b)).collect())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let ending = ".input_ids";
        let names = self.0.names().into_iter();
        let mut names: Vec<String> = names
            .filter_map(|n| n.strip_suffix(ending).map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    pub(crate) fn tokens(&self, case: &str) -> Vec<u32> {
        let ids = self.integers(&format!("{case}.input_ids")).unwrap();
        ids.into_iter().map(|id| id as u32).collect()
    }

    pub(crate) fn features(
        &self,
        case: &str,
        network: &Network,
        device: &Device,
    ) -> Option<Features> {
        let (shape, rows) = self.floats(&format!("{case}.rows"))?;
        let grids = self.integers(&format!("{case}.grids")).unwrap();
        let grids: Vec<[usize; 3]> = grids
            .chunks_exact(3)
            .map(|g| [0, 1, 2].map(|i| g[i] as usize))
            .collect();
        let rows = Tensor::from_data(TensorData::new(rows, [shape[0], shape[1]]), device);
        Some(network.vision(rows, &grids))
    }

    /// Last hidden states of the cases, packed one after the other.
    pub(crate) fn hidden(&self, cases: &[&str], network: &Network, device: &Device) -> Tensor<2> {
        let placeholders = network.config().placeholder_tokens();
        let (mut rows, mut positions, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        let mut parts: Vec<Features> = Vec::new();
        let mut feature = 0;
        for case in cases {
            let tokens = self.tokens(case);
            let flat = self.integers(&format!("{case}.position_ids")).unwrap();
            let length = tokens.len();
            lengths.push(length);
            positions.extend((0..length).map(|i| [0, 1, 2].map(|a| flat[a * length + i] as i32)));
            rows.extend(tokens.into_iter().map(|id| {
                if placeholders.contains(&id) {
                    feature += 1;
                    RowSource::Second(feature - 1)
                } else {
                    RowSource::First(id)
                }
            }));
            parts.extend(self.features(case, network, device));
        }
        let features = (!parts.is_empty()).then(|| {
            let cat = |tensors: Vec<Tensor<2>>| Tensor::cat(tensors, 0);
            let depth = parts[0].deep.len();
            Features {
                deep: (0..depth)
                    .map(|i| cat(parts.iter().map(|p| p.deep[i].clone()).collect()))
                    .collect(),
                rows: cat(parts.iter().map(|p| p.rows.clone()).collect()),
            }
        });
        if let Some(features) = &features {
            assert_eq!(
                features.rows.dims()[0],
                feature as usize,
                "one feature a placeholder"
            );
        }
        let forest = Arc::new(Forest::sequences(lengths, true));
        let mut attend = PackedAttention { forest: &forest };
        network.hidden(rows, features, &positions, &mut attend)
    }

    /// Mean negative log-probability of the next token in the case `gradients`.
    pub(crate) fn loss(&self, network: &Network, device: &Device) -> Tensor<1> {
        let hidden = self.hidden(&["gradients"], network, device);
        let tokens = self.tokens("gradients");
        let count = tokens.len() - 1;
        let choice = Arc::new(Choice {
            targets: tokens[1..].to_vec(),
            temperature: 1.0,
            banned: Vec::new(),
        });
        let rows = Arc::new((0..count as u32).collect());
        let scores = network.choice_logprob(gather_rows(hidden, rows), &choice);
        scores.slice([0..count, 0..1]).mean().neg()
    }
}

pub(crate) fn largest_difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    got.iter()
        .zip(want)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}
