//! Qwen2-VL (Wang et al. 2024): a vision tower that sees whole frames, and a 2×2 merger. The language model is Qwen2 with
//! three-part rotary positions.

use burn::tensor::Tensor;
use serde::Deserialize;

use super::qwen_grid::{frames, places, rotation};
use super::qwen_tower::{self, EPSILON, Merger, Sizes};
use crate::config::Patching;
use crate::layers::{Activation, Block, Mlp, ParameterList, Views};
use crate::network::Grid;
use crate::ops::attention::attention;
use crate::ops::linear::linear;
use crate::size_checks::{WIDTHS, require};
use crate::weights::Weights;

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
    #[serde(default = "qwen_tower::default_channels", alias = "in_chans")]
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

fn default_activation() -> Activation {
    Activation::QuickGelu
}

impl VisionConfig {
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            depth: self.depth,
            heads: self.num_heads,
            width: ("embed_dim", self.embed_dim),
            out: ("hidden_size", self.hidden_size),
            patching: Patching {
                patch_size: self.patch_size,
                temporal_patch_size: self.temporal_patch_size,
                merge_size: self.spatial_merge_size,
                channels: self.in_channels,
            },
        }
    }

    fn mlp_width(&self) -> usize {
        (self.embed_dim as f64 * self.mlp_ratio) as usize
    }

    /// Refuses what no tower of the family has.
    pub(crate) fn check(&self, text_width: usize) -> Result<(), String> {
        self.sizes().check(text_width)?;
        require(WIDTHS.contains(&self.mlp_width()), || {
            format!("vision_config.mlp_ratio is {}", self.mlp_ratio)
        })
    }

    pub(crate) fn parameters(&self, list: &mut ParameterList) {
        let (sizes, name) = (self.sizes(), |rest: &str| format!("{PREFIX}{rest}"));
        list.add(name("patch_embed.proj.weight"), &sizes.kernel());
        let (width, wide) = (self.embed_dim, self.mlp_width());
        for i in 0..self.depth {
            let block = name(&format!("blocks.{i}"));
            list.layer_norm(&format!("{block}.norm1"), width);
            list.layer_norm(&format!("{block}.norm2"), width);
            sizes.attention_parameters(list, &block);
            list.linear(&format!("{block}.mlp.fc1"), wide, width, true);
            list.linear(&format!("{block}.mlp.fc2"), width, wide, true);
        }
        let merged = sizes.merged_width();
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
    merger: Merger,
}

impl Tower {
    pub(crate) fn new(config: &VisionConfig, weights: &Weights) -> Self {
        let views = Views::new(weights, PREFIX);
        let (sizes, width) = (config.sizes(), config.embed_dim);
        let blocks = (0..config.depth)
            .map(|i| {
                let block = views.below(&format!("blocks.{i}"));
                Block {
                    norm1: block.layer_norm("norm1", EPSILON),
                    attention: sizes.attention(&block),
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
            patch_embed: views.matrix("patch_embed.proj.weight", sizes.patching.width()),
            blocks,
            merger: Merger::new(
                &views,
                views.layer_norm("merger.ln_q", EPSILON),
                ["merger.mlp.0", "merger.mlp.2"],
                &sizes,
            ),
            config: config.clone(),
        }
    }

    /// `patches [Σ t·h·w, patch width]` in the processor's order → `[Σ t·h·w / merge², hidden]`.
    pub(crate) fn forward(&self, patches: Tensor<2>, grids: &[Grid]) -> Tensor<2> {
        let v = &self.config;
        let frames = frames(grids);
        let rotation = rotation(places(grids, v.spatial_merge_size), v.sizes().head_dim());
        let mut x = linear(patches, self.patch_embed.clone(), None);
        for block in &self.blocks {
            x = block.forward(x, Some(&rotation), |layout, q, k, v| {
                attention(q, k, v, layout, &frames)
            });
        }
        self.merger.forward(x)
    }
}
