//! Qwen3-VL (Bai et al. 2025): a vision tower with learned positions that are stretched over the picture, and features of
//! several depths that are added to the first language layers (DeepStack). The language model is Qwen3 with three-part
//! rotary positions whose parts interleave.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use serde::Deserialize;

use super::qwen_grid::{frames, places, rotation};
use super::qwen_tower::{self, EPSILON, Merger, Sizes};
use crate::config::Patching;
use crate::layers::{Activation, Block, Linear, Mlp, ParameterList, Views};
use crate::network::{Features, Grid};
use crate::ops::attention::attention;
use crate::ops::gather::gather_rows;
use crate::size_checks::{WIDTHS, check_ranges, require};
use crate::weights::Weights;

const PREFIX: &str = "model.visual.";

/// `vision_config` of `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VisionConfig {
    pub depth: usize,
    pub hidden_size: usize,
    pub num_heads: usize,
    pub intermediate_size: usize,
    pub out_hidden_size: usize,
    pub patch_size: usize,
    pub spatial_merge_size: usize,
    pub temporal_patch_size: usize,
    /// Entries of the square grid of learned positions.
    pub num_position_embeddings: usize,
    pub deepstack_visual_indexes: Vec<usize>,
    #[serde(default = "qwen_tower::default_channels")]
    pub in_channels: usize,
    #[serde(default = "default_activation")]
    hidden_act: Activation,
}

fn default_activation() -> Activation {
    Activation::GeluPytorchTanh
}

impl VisionConfig {
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            depth: self.depth,
            heads: self.num_heads,
            width: ("hidden_size", self.hidden_size),
            out: ("out_hidden_size", self.out_hidden_size),
            patching: Patching {
                patch_size: self.patch_size,
                temporal_patch_size: self.temporal_patch_size,
                merge_size: self.spatial_merge_size,
                channels: self.in_channels,
            },
        }
    }

    /// Refuses what no tower of the family has.
    pub(crate) fn check(&self, text_width: usize) -> Result<(), String> {
        self.sizes().check(text_width)?;
        check_ranges(
            "vision_config.",
            &[
                ("intermediate_size", self.intermediate_size, WIDTHS),
                (
                    "num_position_embeddings",
                    self.num_position_embeddings,
                    WIDTHS,
                ),
            ],
        )?;
        require(
            self.side() * self.side() == self.num_position_embeddings,
            || {
                format!(
                    "vision num_position_embeddings {} is not a square",
                    self.num_position_embeddings
                )
            },
        )?;
        let deepest = self.deepstack_visual_indexes.iter().max();
        require(deepest.is_none_or(|&i| i < self.depth), || {
            format!(
                "deepstack_visual_indexes {:?} name blocks beyond depth {}",
                self.deepstack_visual_indexes, self.depth
            )
        })
    }

    /// Learned positions along one side.
    fn side(&self) -> usize {
        self.num_position_embeddings.isqrt()
    }

    pub(crate) fn parameters(&self, list: &mut ParameterList) {
        let (sizes, name) = (self.sizes(), |rest: &str| format!("{PREFIX}{rest}"));
        let (width, wide, merged) = (
            self.hidden_size,
            self.intermediate_size,
            sizes.merged_width(),
        );
        list.add(name("patch_embed.proj.weight"), &sizes.kernel());
        list.add(name("patch_embed.proj.bias"), &[width]);
        list.add(
            name("pos_embed.weight"),
            &[self.num_position_embeddings, width],
        );
        for i in 0..self.depth {
            let block = name(&format!("blocks.{i}"));
            list.layer_norm(&format!("{block}.norm1"), width);
            list.layer_norm(&format!("{block}.norm2"), width);
            sizes.attention_parameters(list, &block);
            list.linear(&format!("{block}.mlp.linear_fc1"), wide, width, true);
            list.linear(&format!("{block}.mlp.linear_fc2"), width, wide, true);
        }
        let mut merger = |merger: String, norm: usize| {
            list.layer_norm(&format!("{merger}.norm"), norm);
            list.linear(&format!("{merger}.linear_fc1"), merged, merged, true);
            list.linear(
                &format!("{merger}.linear_fc2"),
                self.out_hidden_size,
                merged,
                true,
            );
        };
        merger(name("merger"), width);
        for i in 0..self.deepstack_visual_indexes.len() {
            merger(name(&format!("deepstack_merger_list.{i}")), merged);
        }
    }
}

/// The vision tower, built from weights.
#[derive(Clone, Debug)]
pub struct Tower {
    config: VisionConfig,
    patch_embed: Linear,
    positions: Tensor<2>,
    blocks: Vec<Block>,
    merger: Merger,
    deep_mergers: Vec<Merger>,
}

impl Tower {
    pub(crate) fn new(config: &VisionConfig, weights: &Weights) -> Self {
        let views = Views::new(weights, PREFIX);
        let (sizes, width) = (config.sizes(), config.hidden_size);
        let merger = |name: &str| {
            let views = views.below(name);
            let norm = views.layer_norm("norm", EPSILON);
            Merger::new(&views, norm, ["linear_fc1", "linear_fc2"], &sizes)
        };
        let blocks = (0..config.depth)
            .map(|i| {
                let block = views.below(&format!("blocks.{i}"));
                Block {
                    norm1: block.layer_norm("norm1", EPSILON),
                    attention: sizes.attention(&block),
                    norm2: block.layer_norm("norm2", EPSILON),
                    mlp: Mlp::Plain {
                        first: block.linear("mlp.linear_fc1", width, true),
                        activation: config.hidden_act,
                        second: block.linear("mlp.linear_fc2", config.intermediate_size, true),
                    },
                    scales: None,
                }
            })
            .collect();
        Self {
            patch_embed: views.linear("patch_embed.proj", sizes.patching.width(), true),
            positions: views.matrix("pos_embed.weight", width),
            blocks,
            merger: merger("merger"),
            deep_mergers: (0..config.deepstack_visual_indexes.len())
                .map(|i| merger(&format!("deepstack_merger_list.{i}")))
                .collect(),
            config: config.clone(),
        }
    }

    /// `patches [Σ t·h·w, patch width]` in the processor's order → features `[Σ t·h·w / merge², out_hidden]` of the last
    /// block and of those in `deepstack_visual_indexes`.
    pub(crate) fn forward(&self, patches: Tensor<2>, grids: &[Grid]) -> Features {
        let v = &self.config;
        let places = places(grids, v.spatial_merge_size);
        let frames = frames(grids);
        let mut x = self.patch_embed.forward(patches) + self.position_embeddings(grids, &places);
        let rotation = rotation(places, v.sizes().head_dim());
        let mut deep = Vec::with_capacity(self.deep_mergers.len());
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, Some(&rotation), |layout, q, k, v| {
                attention(q, k, v, layout, &frames)
            });
            if let Some(at) = v.deepstack_visual_indexes.iter().position(|&d| d == i) {
                deep.push(self.deep_mergers[at].forward(x.clone()));
            }
        }
        Features {
            rows: self.merger.forward(x),
            deep,
        }
    }

    /// The grid of learned positions stretched over each picture so that corners meet corners, read bilinearly.
    fn position_embeddings(&self, grids: &[Grid], places: &[[usize; 2]]) -> Tensor<2> {
        let side = self.config.side();
        let mut corners: [(Vec<u32>, Vec<f32>); 4] = Default::default();
        let mut places = places.iter();
        for &[frames, height, width] in grids {
            for &[row, column] in places.by_ref().take(frames * height * width) {
                let along = |at: usize, length: usize| {
                    let step = (side - 1) as f32 / (length.max(2) - 1) as f32;
                    let place = at as f32 * step;
                    let low = (place as usize).min(side - 1);
                    let high = (low + 1).min(side - 1);
                    (low, high, place - low as f32)
                };
                let (top, bottom, down) = along(row, height);
                let (left, right, across) = along(column, width);
                for ((rows, weights), (row, column, weight)) in corners.iter_mut().zip([
                    (top, left, (1.0 - down) * (1.0 - across)),
                    (top, right, (1.0 - down) * across),
                    (bottom, left, down * (1.0 - across)),
                    (bottom, right, down * across),
                ]) {
                    rows.push((row * side + column) as u32);
                    weights.push(weight);
                }
            }
        }
        let device = self.positions.device();
        corners
            .into_iter()
            .map(|(rows, weights)| {
                let count = rows.len();
                let weights = Tensor::<2>::from_data(TensorData::new(weights, [count, 1]), &device);
                gather_rows(self.positions.clone(), Arc::new(rows)) * weights
            })
            .reduce(|sum, corner| sum + corner)
            .expect("there are four corners")
    }
}
