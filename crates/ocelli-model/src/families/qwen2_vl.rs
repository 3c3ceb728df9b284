//! Qwen2-VL (Wang et al. 2024): a vision tower that sees whole frames, and a 2×2 merger. The language model is Qwen2 with
//! three-part rotary positions.

use burn::tensor::{Tensor, activation};
use serde::Deserialize;

use super::qwen_grid::{frames, places, rotation};
use crate::decoder::{COUNTS, WIDTHS, check_ranges, require};
use crate::layers::{Activation, Attention, Block, Linear, Mlp, Norm, ParameterList, Views};
use crate::network::Grid;
use crate::ops::attention::{HeadLayout, attention};
use crate::ops::linear::linear;
use crate::weights::Weights;

/// Epsilon of the tower's norms, fixed in the reference.
const EPSILON: f32 = 1e-6;
const PREFIX: &str = "visual.";

/// `vision_config` of `config.json`. Here `hidden_size` is the language model's width.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VisionConfig {
    pub depth: usize,
    pub embed_dim: usize,
    pub hidden_size: usize,
    pub num_heads: usize,
    #[serde(default = "default_ratio")]
    pub mlp_ratio: f64,
    pub patch_size: usize,
    #[serde(default = "default_two")]
    pub spatial_merge_size: usize,
    #[serde(default = "default_two")]
    pub temporal_patch_size: usize,
    #[serde(default = "default_channels", alias = "in_chans")]
    pub in_channels: usize,
    #[serde(default = "default_activation")]
    hidden_act: Activation,
}

fn default_ratio() -> f64 {
    4.0
}

fn default_two() -> usize {
    2
}

fn default_channels() -> usize {
    3
}

fn default_activation() -> Activation {
    Activation::QuickGelu
}

impl VisionConfig {
    /// Numbers in one flattened patch.
    pub fn patch_width(&self) -> usize {
        self.in_channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    fn merged_width(&self) -> usize {
        self.embed_dim * self.spatial_merge_size * self.spatial_merge_size
    }

    fn mlp_width(&self) -> usize {
        (self.embed_dim as f64 * self.mlp_ratio) as usize
    }

    /// Refuses what no tower of the family has.
    pub(crate) fn check(&self, text_width: usize) -> Result<(), String> {
        check_ranges(&[
            ("vision_config.depth", self.depth, COUNTS),
            ("vision_config.embed_dim", self.embed_dim, WIDTHS),
            ("vision_config.hidden_size", self.hidden_size, WIDTHS),
            ("vision_config.num_heads", self.num_heads, WIDTHS),
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
            ("vision_config.in_channels", self.in_channels, COUNTS),
        ])?;
        require(WIDTHS.contains(&self.mlp_width()), || {
            format!("vision_config.mlp_ratio is {}", self.mlp_ratio)
        })?;
        require(
            self.embed_dim.is_multiple_of(self.num_heads)
                && (self.embed_dim / self.num_heads).is_multiple_of(4),
            || {
                format!(
                    "vision embed_dim {} must give {} heads of a width divisible by 4",
                    self.embed_dim, self.num_heads
                )
            },
        )?;
        require(self.hidden_size == text_width, || {
            format!(
                "vision hidden_size {} differs from the language model's hidden_size {text_width}",
                self.hidden_size
            )
        })
    }

    pub(crate) fn parameters(&self, list: &mut ParameterList) {
        let name = |rest: &str| format!("{PREFIX}{rest}");
        list.add(
            name("patch_embed.proj.weight"),
            &[
                self.embed_dim,
                self.in_channels,
                self.temporal_patch_size,
                self.patch_size,
                self.patch_size,
            ],
        );
        let (width, wide) = (self.embed_dim, self.mlp_width());
        for i in 0..self.depth {
            let block = name(&format!("blocks.{i}"));
            list.layer_norm(&format!("{block}.norm1"), width);
            list.layer_norm(&format!("{block}.norm2"), width);
            list.linear(&format!("{block}.attn.qkv"), 3 * width, width, true);
            list.linear(&format!("{block}.attn.proj"), width, width, true);
            list.linear(&format!("{block}.mlp.fc1"), wide, width, true);
            list.linear(&format!("{block}.mlp.fc2"), width, wide, true);
        }
        let merged = self.merged_width();
        list.layer_norm(&name("merger.ln_q"), width);
        list.linear(&name("merger.mlp.0"), merged, merged, true);
        list.linear(&name("merger.mlp.2"), self.hidden_size, merged, true);
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
        let (width, merged) = (config.embed_dim, config.merged_width());
        let blocks = (0..config.depth)
            .map(|i| {
                let block = views.below(&format!("blocks.{i}"));
                Block {
                    norm1: block.layer_norm("norm1", EPSILON),
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
                    norm2: block.layer_norm("norm2", EPSILON),
                    mlp: Mlp::Plain {
                        first: block.linear("mlp.fc1", width, true),
                        activation: config.hidden_act,
                        second: block.linear("mlp.fc2", config.mlp_width(), true),
                    },
                    scales: None,
                }
            })
            .collect();
        Self {
            patch_embed: views.matrix("patch_embed.proj.weight", config.patch_width()),
            blocks,
            merger_norm: views.layer_norm("merger.ln_q", EPSILON),
            merger: ["merger.mlp.0", "merger.mlp.2"].map(|name| views.linear(name, merged, true)),
            config: config.clone(),
        }
    }

    /// `patches [Σ t·h·w, patch width]` in the processor's order → `[Σ t·h·w / merge², hidden]`.
    pub(crate) fn forward(&self, patches: Tensor<2>, grids: &[Grid]) -> Tensor<2> {
        let v = &self.config;
        let frames = frames(grids);
        let rotation = rotation(
            places(grids, v.spatial_merge_size),
            v.embed_dim / v.num_heads,
        );
        let mut x = linear(patches, self.patch_embed.clone(), None);
        for block in &self.blocks {
            x = block.forward(x, Some(&rotation), |layout, q, k, v| {
                attention(q, k, v, layout, &frames)
            });
        }
        let x = self.merger_norm.forward(x);
        let unit = v.spatial_merge_size * v.spatial_merge_size;
        let [rows, width] = x.dims();
        let x = self.merger[0].forward(x.reshape([rows / unit, width * unit]));
        self.merger[1].forward(activation::gelu(x))
    }
}
