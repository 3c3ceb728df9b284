//! SmolVLM (Marafioti et al. 2025) and Idefics3 (Laurençon et al. 2024), which differ in names of classes only: SigLIP over
//! square tiles, pixel shuffle, and one matrix. The language model is Llama.

use std::sync::Arc;

use burn::tensor::Tensor;
use serde::Deserialize;

use super::tiles::{pixel_shuffle, tile_lengths};
use crate::layers::{Activation, Attention, Block, Linear, Mlp, Norm, ParameterList, Views};
use crate::network::Grid;
use crate::ops::attention::{Forest, HeadLayout, attention};
use crate::ops::gather::gather_rows;
use crate::size_checks::{COUNTS, WIDTHS, check_ranges, require};
use crate::weights::Weights;

const TOWER: &str = "model.vision_model.";
const CONNECTOR: &str = "model.connector.modality_projection.proj";

/// `vision_config` of `config.json`, with what the top level says about the connector.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VisionConfig {
    pub hidden_size: usize,
    #[serde(default = "default_layers")]
    pub num_hidden_layers: usize,
    #[serde(default = "default_heads")]
    pub num_attention_heads: usize,
    #[serde(default = "default_intermediate")]
    pub intermediate_size: usize,
    pub image_size: usize,
    pub patch_size: usize,
    #[serde(default = "default_channels")]
    pub num_channels: usize,
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f32,
    #[serde(default = "default_activation")]
    hidden_act: Activation,
    /// Patches along a side that become one feature.
    #[serde(skip)]
    pub factor: usize,
    #[serde(skip)]
    text_width: usize,
}

// Published files leave out what equals the reference's defaults.
fn default_layers() -> usize {
    12
}

fn default_heads() -> usize {
    16
}

fn default_intermediate() -> usize {
    3072
}

fn default_channels() -> usize {
    3
}

fn default_epsilon() -> f32 {
    1e-6
}

fn default_activation() -> Activation {
    Activation::GeluPytorchTanh
}

impl VisionConfig {
    /// Takes over what the top level of `config.json` says.
    pub(crate) fn complete(
        mut self,
        json: &serde_json::Value,
        text_width: usize,
    ) -> Result<Self, String> {
        self.factor = json["scale_factor"].as_u64().unwrap_or(2) as usize;
        self.text_width = text_width;
        check_ranges("", &[("scale_factor", self.factor, 1..=64)])?;
        check_ranges(
            "vision_config.",
            &[
                ("hidden_size", self.hidden_size, WIDTHS),
                ("num_hidden_layers", self.num_hidden_layers, COUNTS),
                ("num_attention_heads", self.num_attention_heads, WIDTHS),
                ("intermediate_size", self.intermediate_size, WIDTHS),
                ("image_size", self.image_size, WIDTHS),
                ("patch_size", self.patch_size, COUNTS),
                ("num_channels", self.num_channels, COUNTS),
            ],
        )?;
        require(
            self.hidden_size.is_multiple_of(self.num_attention_heads),
            || {
                format!(
                    "vision hidden_size {} is not a multiple of num_attention_heads {}",
                    self.hidden_size, self.num_attention_heads
                )
            },
        )?;
        require(
            self.side() > 0 && self.side().is_multiple_of(self.factor),
            || {
                format!(
                    "image_size {} holds {} patches of {} a side, which scale_factor {} does not divide",
                    self.image_size,
                    self.side(),
                    self.patch_size,
                    self.factor
                )
            },
        )?;
        Ok(self)
    }

    /// Patches along a side of a tile.
    pub fn side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Numbers in one flattened patch.
    pub fn patch_width(&self) -> usize {
        self.num_channels * self.patch_size * self.patch_size
    }

    fn shuffled_width(&self) -> usize {
        self.hidden_size * self.factor * self.factor
    }

    pub(crate) fn parameters(&self, list: &mut ParameterList) {
        let width = self.hidden_size;
        let embedding = format!("{TOWER}embeddings.patch_embedding");
        list.add(
            format!("{embedding}.weight"),
            &[width, self.num_channels, self.patch_size, self.patch_size],
        );
        list.add(format!("{embedding}.bias"), &[width]);
        list.add(
            format!("{TOWER}embeddings.position_embedding.weight"),
            &[self.side() * self.side(), width],
        );
        for i in 0..self.num_hidden_layers {
            let layer = format!("{TOWER}encoder.layers.{i}");
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                list.linear(&format!("{layer}.self_attn.{name}"), width, width, true);
            }
            list.layer_norm(&format!("{layer}.layer_norm1"), width);
            list.layer_norm(&format!("{layer}.layer_norm2"), width);
            list.linear(
                &format!("{layer}.mlp.fc1"),
                self.intermediate_size,
                width,
                true,
            );
            list.linear(
                &format!("{layer}.mlp.fc2"),
                width,
                self.intermediate_size,
                true,
            );
        }
        list.layer_norm(&format!("{TOWER}post_layernorm"), width);
        list.linear(CONNECTOR, self.text_width, self.shuffled_width(), false);
    }

    /// The learned position of each patch of a whole tile. The reference sorts fractions `i / side` into buckets that begin
    /// at `k / side`, both rounded to f32 on different ways, so a patch can fall into the bucket before its own.
    fn position_ids(&self) -> Vec<u32> {
        let side = self.side();
        let step = 1.0 / side as f32;
        // As `torch.arange` does: steps are multiplied in f64, then rounded.
        let boundaries: Vec<f32> = (0..)
            .map(|k| 1.0 / side as f64 + f64::from(k) / side as f64)
            .take_while(|boundary| *boundary < 1.0)
            .map(|boundary| boundary as f32)
            .collect();
        let bucket = |i: usize| {
            let place = (i as f32 * step).min(1.0 - 1e-6);
            boundaries.partition_point(|boundary| *boundary <= place)
        };
        (0..side)
            .flat_map(|row| (0..side).map(move |column| (row, column)))
            .map(|(row, column)| (bucket(row) * side + bucket(column)) as u32)
            .collect()
    }
}

/// The vision tower with its connector, built from weights.
#[derive(Clone, Debug)]
pub struct Tower {
    config: VisionConfig,
    patch_embed: Linear,
    positions: Tensor<2>,
    blocks: Vec<Block>,
    last_norm: Norm,
    connector: Linear,
}

impl Tower {
    pub(crate) fn new(config: &VisionConfig, weights: &Weights) -> Self {
        let views = Views::new(weights, TOWER);
        let embeddings = views.below("embeddings");
        Self {
            patch_embed: embeddings.linear("patch_embedding", config.patch_width(), true),
            positions: embeddings.matrix("position_embedding.weight", config.hidden_size),
            blocks: (0..config.num_hidden_layers)
                .map(|i| block(config, &views.below(&format!("encoder.layers.{i}"))))
                .collect(),
            last_norm: views.layer_norm("post_layernorm", config.layer_norm_eps),
            connector: Views::new(weights, "").linear(CONNECTOR, config.shuffled_width(), false),
            config: config.clone(),
        }
    }

    /// `patches [Σ tiles · patches, patch width]`, tiles one after the other in reading order →
    /// `[Σ tiles · patches / factor², text width]`.
    ///
    /// # Panics
    /// When a tile has another size than the learned positions.
    pub(crate) fn forward(&self, patches: Tensor<2>, grids: &[Grid]) -> Tensor<2> {
        let ids = self.config.position_ids();
        let tiles = tile_lengths(grids)
            .inspect(|&length| assert_eq!(length, ids.len(), "tiles have the tower's size"))
            .count();
        let forest = Arc::new(Forest::sequences(
            std::iter::repeat_n(ids.len(), tiles),
            false,
        ));
        let positions = gather_rows(self.positions.clone(), Arc::new(ids.repeat(tiles)));
        let mut x = self.patch_embed.forward(patches) + positions;
        for block in &self.blocks {
            x = block.forward(x, None, |layout, q, k, v| {
                attention(q, k, v, layout, &forest)
            });
        }
        let x = pixel_shuffle(self.last_norm.forward(x), grids, self.config.factor);
        self.connector.forward(x)
    }
}

fn block(config: &VisionConfig, layer: &Views<'_>) -> Block {
    let width = config.hidden_size;
    let attention = layer.below("self_attn");
    Block {
        norm1: layer.layer_norm("layer_norm1", config.layer_norm_eps),
        attention: Attention {
            query: attention.linear("q_proj", width, true),
            key: attention.linear("k_proj", width, true),
            value: attention.linear("v_proj", width, true),
            output: attention.linear("out_proj", width, true),
            norms: None,
            layout: HeadLayout {
                heads: config.num_attention_heads,
                kv_heads: config.num_attention_heads,
                head_dim: width / config.num_attention_heads,
                window: None,
            },
        },
        norm2: layer.layer_norm("layer_norm2", config.layer_norm_eps),
        mlp: Mlp::Plain {
            first: layer.linear("mlp.fc1", width, true),
            activation: config.hidden_act,
            second: layer.linear("mlp.fc2", config.intermediate_size, true),
        },
        scales: None,
    }
}
