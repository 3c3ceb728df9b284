//! InternVL3 (Zhu et al. 2025), in the format of transformers' `InternVLForConditionalGeneration`: InternViT over square
//! tiles, pixel shuffle, and a two-layer projector. The language model is Qwen2, Qwen3 or Llama.

use std::sync::Arc;

use burn::tensor::{Tensor, activation};
use serde::Deserialize;

use super::tiles::{pixel_shuffle, tile_lengths};
use crate::layers::{Activation, Attention, Block, Linear, Mlp, Norm, ParameterList, Views};
use crate::network::Grid;
use crate::ops::attention::{Forest, HeadLayout, attention};
use crate::ops::gather::gather_rows;
use crate::size_checks::{COUNTS, WIDTHS, check_ranges, require};
use crate::weights::Weights;

const TOWER: &str = "vision_tower.";
const PROJECTOR: &str = "multi_modal_projector.";
/// Epsilon of the projector's norm and of the norms of queries and keys: PyTorch's and the reference's defaults.
const PROJECTOR_EPSILON: f32 = 1e-5;
const QUERY_KEY_EPSILON: f32 = 1e-6;

/// A size that is written as one number or as height and width.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Size {
    Side(usize),
    Sides([usize; 2]),
}

impl Size {
    /// The side of a square.
    fn side(self) -> Option<usize> {
        match self {
            Self::Side(side) => Some(side),
            Self::Sides([height, width]) => (height == width).then_some(height),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NormType {
    LayerNorm,
    RmsNorm,
}

/// `vision_config` of `config.json`, with what the top level says about the projector.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VisionConfig {
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    image_size: Size,
    patch_size: Size,
    #[serde(default = "default_channels")]
    pub num_channels: usize,
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f32,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    use_qk_norm: bool,
    #[serde(default = "default_norm")]
    norm_type: NormType,
    #[serde(default = "default_activation")]
    hidden_act: Activation,
    #[serde(default = "default_true")]
    use_absolute_position_embeddings: bool,
    #[serde(default = "default_true")]
    use_mean_pooling: bool,
    /// Patches along a side that become one feature; from `downsample_ratio`.
    #[serde(skip)]
    pub factor: usize,
    #[serde(skip)]
    text_width: usize,
}

fn default_channels() -> usize {
    3
}

fn default_epsilon() -> f32 {
    1e-6
}

fn default_norm() -> NormType {
    NormType::LayerNorm
}

fn default_activation() -> Activation {
    Activation::Gelu
}

fn default_true() -> bool {
    true
}

impl VisionConfig {
    /// Takes over what the top level of `config.json` says.
    pub(crate) fn complete(
        mut self,
        json: &serde_json::Value,
        text_width: usize,
    ) -> Result<Self, String> {
        let ratio = json["downsample_ratio"].as_f64().unwrap_or(0.5);
        let factor = (1.0 / ratio).round();
        require((1.0..=64.0).contains(&factor), || {
            format!("downsample_ratio is {ratio}; it lies between 1/64 and 1")
        })?;
        (self.factor, self.text_width) = (factor as usize, text_width);
        for (name, wanted) in [
            ("vision_feature_layer", serde_json::json!(-1)),
            ("vision_feature_select_strategy", "default".into()),
            ("projector_hidden_act", "gelu".into()),
        ] {
            let found = &json[name];
            require(found.is_null() || *found == wanted, || {
                format!("{name} is {found}; only {wanted} is supported")
            })?;
        }
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), String> {
        check_ranges(
            "vision_config.",
            &[
                ("hidden_size", self.hidden_size, WIDTHS),
                ("num_hidden_layers", self.num_hidden_layers, COUNTS),
                ("num_attention_heads", self.num_attention_heads, WIDTHS),
                ("intermediate_size", self.intermediate_size, WIDTHS),
                ("num_channels", self.num_channels, COUNTS),
            ],
        )?;
        for (name, size) in [
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
        ] {
            let side = size.side().ok_or_else(|| {
                format!("vision_config.{name} {size:?} is no square, which alone is supported")
            })?;
            require(WIDTHS.contains(&side), || {
                format!("vision_config.{name} is {side}")
            })?;
        }
        require(
            self.hidden_size.is_multiple_of(self.num_attention_heads),
            || {
                format!(
                    "vision hidden_size {} is not a multiple of num_attention_heads {}",
                    self.hidden_size, self.num_attention_heads
                )
            },
        )?;
        let side = self.image_side();
        require(
            side.is_multiple_of(self.patch_side())
                && (side / self.patch_side()).is_multiple_of(self.factor),
            || {
                format!(
                    "image_size {side} is no multiple of patch_size {} times {}",
                    self.patch_side(),
                    self.factor
                )
            },
        )?;
        require(self.use_absolute_position_embeddings, || {
            "use_absolute_position_embeddings is off, which is not supported".into()
        })
    }

    /// Side of a tile in pixels.
    pub fn image_side(&self) -> usize {
        self.image_size.side().unwrap_or(0)
    }

    /// Side of a patch in pixels.
    pub fn patch_side(&self) -> usize {
        self.patch_size.side().unwrap_or(1).max(1)
    }

    /// Numbers in one flattened patch.
    pub fn patch_width(&self) -> usize {
        self.num_channels * self.patch_side() * self.patch_side()
    }

    fn patches(&self) -> usize {
        let along = self.image_side() / self.patch_side();
        along * along
    }

    fn shuffled_width(&self) -> usize {
        self.hidden_size * self.factor * self.factor
    }

    pub(crate) fn parameters(&self, list: &mut ParameterList) {
        let width = self.hidden_size;
        let embeddings = format!("{TOWER}embeddings");
        list.add(format!("{embeddings}.cls_token"), &[1, 1, width]);
        list.add(
            format!("{embeddings}.position_embeddings"),
            &[1, self.patches() + 1, width],
        );
        let projection = format!("{embeddings}.patch_embeddings.projection");
        list.add(
            format!("{projection}.weight"),
            &[
                width,
                self.num_channels,
                self.patch_side(),
                self.patch_side(),
            ],
        );
        list.add(format!("{projection}.bias"), &[width]);
        for i in 0..self.num_hidden_layers {
            let layer = format!("{TOWER}encoder.layer.{i}");
            list.add(format!("{layer}.lambda_1"), &[width]);
            list.add(format!("{layer}.lambda_2"), &[width]);
            let attention = format!("{layer}.attention");
            for name in ["q_proj", "k_proj", "v_proj"] {
                list.linear(
                    &format!("{attention}.{name}"),
                    width,
                    width,
                    self.attention_bias,
                );
            }
            list.linear(&format!("{attention}.projection_layer"), width, width, true);
            if self.use_qk_norm {
                list.add(format!("{attention}.q_norm.weight"), &[width]);
                list.add(format!("{attention}.k_norm.weight"), &[width]);
            }
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
            for norm in ["layernorm_before", "layernorm_after"] {
                match self.norm_type {
                    NormType::LayerNorm => list.layer_norm(&format!("{layer}.{norm}"), width),
                    NormType::RmsNorm => list.add(format!("{layer}.{norm}.weight"), &[width]),
                }
            }
        }
        if !self.use_mean_pooling {
            list.layer_norm(&format!("{TOWER}layernorm"), width);
        }
        let shuffled = self.shuffled_width();
        list.layer_norm(&format!("{PROJECTOR}layer_norm"), shuffled);
        list.linear(
            &format!("{PROJECTOR}linear_1"),
            self.text_width,
            shuffled,
            true,
        );
        list.linear(
            &format!("{PROJECTOR}linear_2"),
            self.text_width,
            self.text_width,
            true,
        );
    }
}

/// The vision tower with its projector, built from weights.
#[derive(Clone, Debug)]
pub struct Tower {
    config: VisionConfig,
    class_token: Tensor<2>,
    positions: Tensor<2>,
    patch_embed: Linear,
    blocks: Vec<Block>,
    last_norm: Option<Norm>,
    projector_norm: Norm,
    projector: [Linear; 2],
}

impl Tower {
    pub(crate) fn new(config: &VisionConfig, weights: &Weights) -> Self {
        let views = Views::new(weights, TOWER);
        let projector = Views::new(weights, PROJECTOR);
        let width = config.hidden_size;
        let embeddings = views.below("embeddings");
        Self {
            class_token: embeddings.matrix("cls_token", width),
            positions: embeddings.matrix("position_embeddings", width),
            patch_embed: embeddings.linear(
                "patch_embeddings.projection",
                config.patch_width(),
                true,
            ),
            blocks: (0..config.num_hidden_layers)
                .map(|i| block(config, &views.below(&format!("encoder.layer.{i}"))))
                .collect(),
            last_norm: (!config.use_mean_pooling)
                .then(|| views.layer_norm("layernorm", config.layer_norm_eps)),
            projector_norm: projector.layer_norm("layer_norm", PROJECTOR_EPSILON),
            projector: [
                projector.linear("linear_1", config.shuffled_width(), true),
                projector.linear("linear_2", config.text_width, true),
            ],
            config: config.clone(),
        }
    }

    /// `patches [Σ tiles · patches, patch width]`, tiles one after the other in reading order →
    /// `[Σ tiles · patches / factor², text width]`.
    ///
    /// # Panics
    /// When a tile has another size than the learned positions.
    pub(crate) fn forward(&self, patches: Tensor<2>, grids: &[Grid]) -> Tensor<2> {
        let per_tile = self.config.patches();
        let tiles = tile_lengths(grids)
            .inspect(|&length| assert_eq!(length, per_tile, "tiles have the tower's size"))
            .count();
        // Every tile gets the class token before its patches.
        let with_class: Vec<u32> = (0..tiles)
            .flat_map(|tile| {
                let first = 1 + tile * per_tile;
                std::iter::once(0).chain((first..first + per_tile).map(|row| row as u32))
            })
            .collect();
        let rows_of_positions: Vec<u32> = (0..tiles).flat_map(|_| 0..=per_tile as u32).collect();
        let x = Tensor::cat(
            vec![self.class_token.clone(), self.patch_embed.forward(patches)],
            0,
        );
        let mut x = gather_rows(x, Arc::new(with_class))
            + gather_rows(self.positions.clone(), Arc::new(rows_of_positions));
        let forest = Arc::new(Forest::sequences(
            std::iter::repeat_n(per_tile + 1, tiles),
            false,
        ));
        for block in &self.blocks {
            x = block.forward(x, None, |layout, q, k, v| {
                attention(q, k, v, layout, &forest)
            });
        }
        if let Some(norm) = &self.last_norm {
            x = norm.forward(x);
        }
        let without_class: Vec<u32> = (0..tiles)
            .flat_map(|tile| {
                let first = tile * (per_tile + 1) + 1;
                (first..first + per_tile).map(|row| row as u32)
            })
            .collect();
        let x = gather_rows(x, Arc::new(without_class));
        let x = pixel_shuffle(x, grids, self.config.factor);
        let x = self.projector[0].forward(self.projector_norm.forward(x));
        self.projector[1].forward(activation::gelu(x))
    }
}

fn block(config: &VisionConfig, layer: &Views<'_>) -> Block {
    let width = config.hidden_size;
    let attention = layer.below("attention");
    let norm = |name: &str| match config.norm_type {
        NormType::LayerNorm => layer.layer_norm(name, config.layer_norm_eps),
        NormType::RmsNorm => layer.rms_norm(name, config.layer_norm_eps),
    };
    let input = |name: &str| attention.linear(name, width, config.attention_bias);
    Block {
        norm1: norm("layernorm_before"),
        attention: Attention {
            query: input("q_proj"),
            key: input("k_proj"),
            value: input("v_proj"),
            output: attention.linear("projection_layer", width, true),
            norms: config
                .use_qk_norm
                .then(|| ["q_norm", "k_norm"].map(|n| attention.rms_norm(n, QUERY_KEY_EPSILON))),
            layout: HeadLayout {
                heads: config.num_attention_heads,
                kv_heads: config.num_attention_heads,
                head_dim: width / config.num_attention_heads,
                window: None,
            },
        },
        norm2: norm("layernorm_after"),
        mlp: Mlp::Plain {
            first: layer.linear("mlp.fc1", width, true),
            activation: config.hidden_act,
            second: layer.linear("mlp.fc2", config.intermediate_size, true),
        },
        scales: Some(["lambda_1", "lambda_2"].map(|name| layer.flat(name))),
    }
}
