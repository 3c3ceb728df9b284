//! Qwen2-Audio (Chu et al. 2024): Whisper's encoder over log-mel frames, pairs averaged, and one matrix. The language model
//! is Qwen2.

use std::sync::Arc;

use burn::tensor::{Tensor, activation};
use serde::Deserialize;

use crate::layers::{Activation, Attention, Block, Linear, Mlp, Norm, ParameterList, Views};
use crate::network::Grid;
use crate::ops::attention::{Forest, HeadLayout, attention};
use crate::ops::gather::gather_rows;
use crate::size_checks::{COUNTS, WIDTHS, check_ranges, require};
use crate::weights::Weights;

const TOWER: &str = "audio_tower.";
const PROJECTOR: &str = "multi_modal_projector.linear";
/// PyTorch's default, which the reference keeps.
const EPSILON: f32 = 1e-5;
/// Width of both convolutions.
const KERNEL: usize = 3;
/// Frames that follow the valid ones of a sound in the rows the tower is given: the convolutions look that far.
pub const FRAMES_BEHIND: usize = 2;

/// `audio_config` of `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AudioConfig {
    pub d_model: usize,
    pub num_mel_bins: usize,
    pub encoder_layers: usize,
    pub encoder_attention_heads: usize,
    pub encoder_ffn_dim: usize,
    /// Positions after the convolutions; a sound has twice as many frames at most.
    pub max_source_positions: usize,
    #[serde(default = "default_activation")]
    activation_function: Activation,
    #[serde(skip)]
    text_width: usize,
}

fn default_activation() -> Activation {
    Activation::Gelu
}

/// Features of a sound with this many valid frames.
pub fn features(frames: usize) -> usize {
    let positions = frames.saturating_sub(1) / 2 + 1;
    positions / 2
}

impl AudioConfig {
    /// Takes over the language model's width.
    pub(crate) fn complete(mut self, text_width: usize) -> Result<Self, String> {
        self.text_width = text_width;
        check_ranges(
            "audio_config.",
            &[
                ("d_model", self.d_model, WIDTHS),
                ("num_mel_bins", self.num_mel_bins, COUNTS),
                ("encoder_layers", self.encoder_layers, COUNTS),
                (
                    "encoder_attention_heads",
                    self.encoder_attention_heads,
                    WIDTHS,
                ),
                ("encoder_ffn_dim", self.encoder_ffn_dim, WIDTHS),
                ("max_source_positions", self.max_source_positions, WIDTHS),
            ],
        )?;
        require(
            self.d_model.is_multiple_of(self.encoder_attention_heads),
            || {
                format!(
                    "audio d_model {} is not a multiple of encoder_attention_heads {}",
                    self.d_model, self.encoder_attention_heads
                )
            },
        )?;
        Ok(self)
    }

    /// Frames a sound has at most.
    pub fn max_frames(&self) -> usize {
        2 * self.max_source_positions
    }

    pub(crate) fn parameters(&self, list: &mut ParameterList) {
        let width = self.d_model;
        for (name, inputs) in [("conv1", self.num_mel_bins), ("conv2", width)] {
            list.add(format!("{TOWER}{name}.weight"), &[width, inputs, KERNEL]);
            list.add(format!("{TOWER}{name}.bias"), &[width]);
        }
        list.add(
            format!("{TOWER}embed_positions.weight"),
            &[self.max_source_positions, width],
        );
        for i in 0..self.encoder_layers {
            let layer = format!("{TOWER}layers.{i}");
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                let attention = format!("{layer}.self_attn.{name}");
                list.linear(&attention, width, width, name != "k_proj");
            }
            list.layer_norm(&format!("{layer}.self_attn_layer_norm"), width);
            list.layer_norm(&format!("{layer}.final_layer_norm"), width);
            list.linear(&format!("{layer}.fc1"), self.encoder_ffn_dim, width, true);
            list.linear(&format!("{layer}.fc2"), width, self.encoder_ffn_dim, true);
        }
        list.layer_norm(&format!("{TOWER}layer_norm"), width);
        list.linear(PROJECTOR, self.text_width, width, true);
    }
}

/// The audio tower with its projector, built from weights.
#[derive(Clone, Debug)]
pub struct Tower {
    config: AudioConfig,
    convolutions: [Linear; 2],
    positions: Tensor<2>,
    blocks: Vec<Block>,
    last_norm: Norm,
    projector: Linear,
}

impl Tower {
    pub(crate) fn new(config: &AudioConfig, weights: &Weights) -> Self {
        let views = Views::new(weights, TOWER);
        let width = config.d_model;
        // Stored `[outputs, inputs, kernel]`; used on rows that hold one frame after the other.
        let convolution = |name: &str, inputs: usize| Linear {
            weight: views
                .flat(&format!("{name}.weight"))
                .reshape([width, inputs, KERNEL])
                .swap_dims(1, 2)
                .reshape([width, KERNEL * inputs]),
            bias: Some(views.flat(&format!("{name}.bias"))),
            low_rank: None,
        };
        Self {
            convolutions: [
                convolution("conv1", config.num_mel_bins),
                convolution("conv2", width),
            ],
            positions: views.matrix("embed_positions.weight", width),
            blocks: (0..config.encoder_layers)
                .map(|i| block(config, &views.below(&format!("layers.{i}"))))
                .collect(),
            last_norm: views.layer_norm("layer_norm", EPSILON),
            projector: Views::new(weights, "").linear(PROJECTOR, width, true),
            config: config.clone(),
        }
    }

    /// `frames [Σ (valid + 2), mel bins]`, sounds one after the other, each with [`FRAMES_BEHIND`] frames behind its valid
    /// ones → `[Σ features, text width]`. Frames beyond [`AudioConfig::max_frames`] count as the convolutions' padding.
    pub(crate) fn forward(&self, frames: Tensor<2>, grids: &[Grid]) -> Tensor<2> {
        let limit = self.config.max_frames();
        // Row 0 of each table is zero: the padding of a convolution.
        let (mut first, mut second, mut positions, mut pairs) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut given, mut lengths) = (0, Vec::new());
        for &[_, _, stored] in grids {
            let valid = stored.saturating_sub(FRAMES_BEHIND);
            let after_second = valid.saturating_sub(1) / 2 + 1;
            // The second convolution looks one frame of the first further than the valid ones.
            let after_first = (2 * after_second).min(limit);
            let base = first.len() / KERNEL;
            for frame in 0..after_first {
                for source in (frame..frame + KERNEL).map(|f| f.checked_sub(1)) {
                    let inside = source.filter(|&f| f < stored && f < limit);
                    first.push(inside.map_or(0, |f| (given + f + 1) as u32));
                }
            }
            let position = positions.len();
            for at in 0..after_second {
                for source in (2 * at..2 * at + KERNEL).map(|f| f.checked_sub(1)) {
                    let inside = source.filter(|&f| f < after_first);
                    second.push(inside.map_or(0, |f| (base + f + 1) as u32));
                }
                positions.push(at as u32);
            }
            pairs.extend((0..features(valid)).map(|i| (position + 2 * i) as u32));
            lengths.push(after_second);
            given += stored;
        }
        let [first_layer, second_layer] = &self.convolutions;
        let convolve = |x: Tensor<2>, sources: Vec<u32>, layer: &Linear| {
            let ([_, width], count) = (x.dims(), sources.len() / KERNEL);
            let padded = Tensor::cat(vec![Tensor::zeros([1, width], &x.device()), x], 0);
            let rows = gather_rows(padded, Arc::new(sources)).reshape([count, KERNEL * width]);
            activation::gelu(layer.forward(rows))
        };
        let x = convolve(convolve(frames, first, first_layer), second, second_layer);
        let mut x = x + gather_rows(self.positions.clone(), Arc::new(positions));
        let forest = Arc::new(Forest::sequences(lengths, false));
        for block in &self.blocks {
            x = block.forward(x, None, |layout, q, k, v| {
                attention(q, k, v, layout, &forest)
            });
        }
        let next = pairs.iter().map(|row| row + 1).collect();
        let x = (gather_rows(x.clone(), Arc::new(pairs)) + gather_rows(x, Arc::new(next)))
            .mul_scalar(0.5);
        self.projector.forward(self.last_norm.forward(x))
    }
}

fn block(config: &AudioConfig, layer: &Views<'_>) -> Block {
    let width = config.d_model;
    let attention = layer.below("self_attn");
    Block {
        norm1: layer.layer_norm("self_attn_layer_norm", EPSILON),
        attention: Attention {
            query: attention.linear("q_proj", width, true),
            key: attention.linear("k_proj", width, false),
            value: attention.linear("v_proj", width, true),
            output: attention.linear("out_proj", width, true),
            norms: None,
            layout: HeadLayout {
                heads: config.encoder_attention_heads,
                kv_heads: config.encoder_attention_heads,
                head_dim: width / config.encoder_attention_heads,
                window: None,
            },
        },
        norm2: layer.layer_norm("final_layer_norm", EPSILON),
        mlp: Mlp::Plain {
            first: layer.linear("fc1", width, true),
            activation: config.activation_function,
            second: layer.linear("fc2", config.encoder_ffn_dim, true),
        },
        scales: None,
    }
}
