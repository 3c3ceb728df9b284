//! Qwen2.5-VL (Bai et al. 2025): a vision tower with window attention and a 2×2 merger. Tensor names are those of the
//! published checkpoints; the language model is Qwen2 with three-part rotary positions.

use std::sync::Arc;

use burn::tensor::{Tensor, activation};
use serde::Deserialize;

use super::qwen_grid::{frames, places, rotation};
use crate::decoder::{COUNTS, WIDTHS, check_ranges, require};
use crate::layers::{Activation, Attention, Block, Linear, Mlp, Norm, ParameterList, Views};
use crate::network::Grid;
use crate::ops::attention::{Forest, HeadLayout, attention};
use crate::ops::gather::gather_rows;
use crate::ops::linear::linear;
use crate::weights::Weights;

/// Epsilon of the tower's norms, fixed in the reference.
const EPSILON: f32 = 1e-6;
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
    #[serde(default = "default_channels", alias = "in_chans")]
    pub in_channels: usize,
    #[serde(default = "default_rate")]
    pub tokens_per_second: f64,
    #[serde(default = "default_activation")]
    hidden_act: Activation,
}

fn default_channels() -> usize {
    3
}

fn default_rate() -> f64 {
    4.0
}

fn default_activation() -> Activation {
    Activation::Silu
}

impl VisionConfig {
    /// Numbers in one flattened patch.
    pub fn patch_width(&self) -> usize {
        self.in_channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    fn merged_width(&self) -> usize {
        self.hidden_size * self.spatial_merge_size * self.spatial_merge_size
    }

    /// Refuses what no tower of the family has.
    pub(crate) fn check(&self, text_width: usize) -> Result<(), String> {
        check_ranges(&[
            ("vision_config.depth", self.depth, COUNTS),
            ("vision_config.hidden_size", self.hidden_size, WIDTHS),
            ("vision_config.num_heads", self.num_heads, WIDTHS),
            (
                "vision_config.intermediate_size",
                self.intermediate_size,
                WIDTHS,
            ),
            (
                "vision_config.out_hidden_size",
                self.out_hidden_size,
                WIDTHS,
            ),
            ("vision_config.patch_size", self.patch_size, COUNTS),
            (
                "vision_config.spatial_merge_size",
                self.spatial_merge_size,
                COUNTS,
            ),
            (
                "vision_config.temporal_patch_size",
                self.temporal_patch_size,
                COUNTS,
            ),
            ("vision_config.window_size", self.window_size, WIDTHS),
            ("vision_config.in_channels", self.in_channels, COUNTS),
        ])?;
        require(self.hidden_act == Activation::Silu, || {
            "vision_config.hidden_act is not `silu`, which alone is supported".into()
        })?;
        require(
            self.hidden_size.is_multiple_of(self.num_heads)
                && (self.hidden_size / self.num_heads).is_multiple_of(4),
            || {
                format!(
                    "vision hidden_size {} must give {} heads of a width divisible by 4",
                    self.hidden_size, self.num_heads
                )
            },
        )?;
        require(self.out_hidden_size == text_width, || {
            format!(
                "vision out_hidden_size {} differs from the language model's hidden_size {text_width}",
                self.out_hidden_size
            )
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
        let name = |rest: &str| format!("{PREFIX}{rest}");
        list.add(
            name("patch_embed.proj.weight"),
            &[
                self.hidden_size,
                self.in_channels,
                self.temporal_patch_size,
                self.patch_size,
                self.patch_size,
            ],
        );
        let (width, wide) = (self.hidden_size, self.intermediate_size);
        for i in 0..self.depth {
            let block = name(&format!("blocks.{i}"));
            list.add(format!("{block}.norm1.weight"), &[width]);
            list.add(format!("{block}.norm2.weight"), &[width]);
            list.linear(&format!("{block}.attn.qkv"), 3 * width, width, true);
            list.linear(&format!("{block}.attn.proj"), width, width, true);
            list.linear(&format!("{block}.mlp.gate_proj"), wide, width, true);
            list.linear(&format!("{block}.mlp.up_proj"), wide, width, true);
            list.linear(&format!("{block}.mlp.down_proj"), width, wide, true);
        }
        let merged = self.merged_width();
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
    merger_norm: Norm,
    merger: [Linear; 2],
}

impl Tower {
    pub(crate) fn new(config: &VisionConfig, weights: &Weights) -> Self {
        let views = Views::new(weights, PREFIX);
        let (width, merged) = (config.hidden_size, config.merged_width());
        let blocks = (0..config.depth)
            .map(|i| {
                let block = views.below(&format!("blocks.{i}"));
                let mlp = block.below("mlp");
                Block {
                    norm1: block.rms_norm("norm1", EPSILON),
                    attention: Attention {
                        query: block.third("attn.qkv", width, 0),
                        key: block.third("attn.qkv", width, 1),
                        value: block.third("attn.qkv", width, 2),
                        output: block.linear("attn.proj", width, true),
                        norms: None,
                        layout: HeadLayout {
                            heads: config.num_heads,
                            kv_heads: config.num_heads,
                            head_dim: width / config.num_heads,
                            window: None,
                        },
                    },
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
            patch_embed: views.matrix("patch_embed.proj.weight", config.patch_width()),
            blocks,
            merger_norm: views.rms_norm("merger.ln_q", EPSILON),
            merger: ["merger.mlp.0", "merger.mlp.2"].map(|name| views.linear(name, merged, true)),
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
            v.hidden_size / v.num_heads,
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
        let x = self.merger_norm.forward(x);
        let unit = v.spatial_merge_size * v.spatial_merge_size;
        let [rows, hidden] = x.dims();
        let x = self.merger[0].forward(x.reshape([rows / unit, hidden * unit]));
        let x = self.merger[1].forward(activation::gelu(x));
        gather_rows(x, Arc::new(order.features))
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
