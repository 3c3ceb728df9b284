//! Qwen2.5-VL (Bai et al. 2025): a vision tower with window attention and a 2×2 merger. Tensor names are those of the
//! published checkpoints; the language model is Qwen2 with three-part rotary positions.

use std::sync::Arc;

use burn::tensor::Tensor;
use serde::Deserialize;

use super::qwen_grid::{frames, places, rotation};
use super::qwen_tower::{self, EPSILON, Merger, Sizes};
use crate::config::Patching;
use crate::layers::{Activation, Block, Mlp, ParameterList, Views};
use crate::network::Grid;
use crate::ops::attention::{Forest, attention};
use crate::ops::gather::gather_rows;
use crate::ops::linear::linear;
use crate::size_checks::{WIDTHS, check_ranges, require};
use crate::weights::Weights;

const PREFIX: &str = "visual.";

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
    pub window_size: usize,
    pub fullatt_block_indexes: Vec<usize>,
    #[serde(default = "qwen_tower::default_channels", alias = "in_chans")]
    pub in_channels: usize,
    #[serde(default = "default_rate")]
    pub tokens_per_second: f64,
    #[serde(default = "default_activation")]
    hidden_act: Activation,
}

fn default_rate() -> f64 {
    4.0
}

fn default_activation() -> Activation {
    Activation::Silu
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
                ("window_size", self.window_size, WIDTHS),
            ],
        )?;
        require(self.hidden_act == Activation::Silu, || {
            "vision_config.hidden_act is not `silu`, which alone is supported".into()
        })?;
        let unit = self.patch_size * self.spatial_merge_size;
        require(self.window_size >= unit, || {
            format!(
                "window_size {} is smaller than one merged patch of {unit} pixels",
                self.window_size
            )
        })
    }

    pub(crate) fn parameters(&self, list: &mut ParameterList) {
        let (sizes, name) = (self.sizes(), |rest: &str| format!("{PREFIX}{rest}"));
        list.add(name("patch_embed.proj.weight"), &sizes.kernel());
        let (width, wide) = (self.hidden_size, self.intermediate_size);
        for i in 0..self.depth {
            let block = name(&format!("blocks.{i}"));
            list.add(format!("{block}.norm1.weight"), &[width]);
            list.add(format!("{block}.norm2.weight"), &[width]);
            sizes.attention_parameters(list, &block);
            list.linear(&format!("{block}.mlp.gate_proj"), wide, width, true);
            list.linear(&format!("{block}.mlp.up_proj"), wide, width, true);
            list.linear(&format!("{block}.mlp.down_proj"), width, wide, true);
        }
        let merged = sizes.merged_width();
        list.add(name("merger.ln_q.weight"), &[width]);
        list.linear(&name("merger.mlp.0"), merged, merged, true);
        list.linear(&name("merger.mlp.2"), self.out_hidden_size, merged, true);
    }
}

/// The vision tower, built from weights.
#[derive(Clone, Debug)]
pub struct Tower {
    config: VisionConfig,
    patch_embed: Tensor<2>,
    blocks: Vec<Block>,
    merger: Merger,
}

impl Tower {
    pub(crate) fn new(config: &VisionConfig, weights: &Weights) -> Self {
        let views = Views::new(weights, PREFIX);
        let (sizes, width) = (config.sizes(), config.hidden_size);
        let blocks = (0..config.depth)
            .map(|i| {
                let block = views.below(&format!("blocks.{i}"));
                let mlp = block.below("mlp");
                Block {
                    norm1: block.rms_norm("norm1", EPSILON),
                    attention: sizes.attention(&block),
                    norm2: block.rms_norm("norm2", EPSILON),
                    mlp: Mlp::Gated {
                        gate: mlp.linear("gate_proj", width, true),
                        up: mlp.linear("up_proj", width, true),
                        down: mlp.linear("down_proj", config.intermediate_size, true),
                    },
                    scales: None,
                }
            })
            .collect();
        Self {
            patch_embed: views.matrix("patch_embed.proj.weight", sizes.patching.width()),
            blocks,
            merger: Merger::new(
                &views,
                views.rms_norm("merger.ln_q", EPSILON),
                ["merger.mlp.0", "merger.mlp.2"],
                &sizes,
            ),
            config: config.clone(),
        }
    }

    /// `patches [Σ t·h·w, patch width]` in the processor's order → `[Σ t·h·w / merge², out_hidden]`, pictures one after the
    /// other, each row by row.
    pub(crate) fn forward(&self, patches: Tensor<2>, grids: &[Grid]) -> Tensor<2> {
        let v = &self.config;
        let order = WindowOrder::new(v, grids);
        let full = frames(grids);
        let windows = Arc::new(Forest::sequences(
            order.window_patches.iter().copied(),
            false,
        ));
        let places = places(grids, v.spatial_merge_size);
        let rotation = rotation(
            order.patches.iter().map(|&patch| places[patch as usize]),
            v.sizes().head_dim(),
        );

        let mut x = linear(
            gather_rows(patches, Arc::new(order.patches)),
            self.patch_embed.clone(),
            None,
        );
        for (i, block) in self.blocks.iter().enumerate() {
            let forest = if v.fullatt_block_indexes.contains(&i) {
                &full
            } else {
                &windows
            };
            x = block.forward(x, Some(&rotation), |layout, q, k, v| {
                attention(q, k, v, layout, forest)
            });
        }
        gather_rows(self.merger.forward(x), Arc::new(order.features))
    }
}

/// The order in which the vision tower sees patches: window by window, merged units kept together.
struct WindowOrder {
    /// For each row of the tower, the processor's patch.
    patches: Vec<u32>,
    /// Patches in each window, in order.
    window_patches: Vec<usize>,
    /// For each feature in reading order, the tower's merged row.
    features: Vec<u32>,
}

impl WindowOrder {
    fn new(v: &VisionConfig, grids: &[Grid]) -> Self {
        let merge = v.spatial_merge_size;
        let unit = merge * merge;
        let window = v.window_size / merge / v.patch_size;
        let mut units: Vec<usize> = Vec::new();
        let mut window_patches = Vec::new();
        let mut base = 0;
        for &[frames, height, width] in grids {
            let (rows, columns) = (height / merge, width / merge);
            for frame in 0..frames {
                for top in (0..rows).step_by(window) {
                    for left in (0..columns).step_by(window) {
                        let before = units.len();
                        for row in top..(top + window).min(rows) {
                            for column in left..(left + window).min(columns) {
                                units.push(base + (frame * rows + row) * columns + column);
                            }
                        }
                        window_patches.push((units.len() - before) * unit);
                    }
                }
            }
            base += frames * rows * columns;
        }
        let patches = units
            .iter()
            .flat_map(|&u| u * unit..(u + 1) * unit)
            .map(|patch| patch as u32)
            .collect();
        let mut features = vec![0; units.len()];
        for (row, &u) in units.iter().enumerate() {
            features[u] = row as u32;
        }
        Self {
            patches,
            window_patches,
            features,
        }
    }
}
