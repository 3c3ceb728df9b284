//! The configuration of the language model under all families, field names as in `config.json`.

use serde::Deserialize;

use crate::size_checks::{COUNTS, WIDTHS, check_ranges, require};

/// Which language model it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// Biases for queries, keys and values.
    Qwen2,
    /// Norms of queries and keys; biases only if `attention_bias`.
    Qwen3,
    /// Biases only if `attention_bias` or `mlp_bias`.
    Llama,
}

/// The configuration of a language model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TextConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    #[serde(default)]
    num_key_value_heads: Option<usize>,
    #[serde(default = "default_epsilon")]
    pub rms_norm_eps: f32,
    #[serde(default)]
    head_dim: Option<usize>,
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_scaling: Option<RopeConfig>,
    #[serde(default)]
    rope_parameters: Option<RopeConfig>,
    #[serde(default)]
    use_sliding_window: bool,
    #[serde(default)]
    sliding_window: Option<usize>,
    #[serde(default)]
    max_window_layers: Option<usize>,
    #[serde(default)]
    layer_types: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) attention_bias: bool,
    #[serde(default)]
    pub(crate) mlp_bias: bool,
    #[serde(default)]
    hidden_act: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct RopeConfig {
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    mrope_section: Option<Vec<usize>>,
    #[serde(default)]
    pub(crate) mrope_interleaved: bool,
    /// What the rotary frequencies are scaled by; newer files call it `rope_type`, many hold both.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    rope_type: Option<String>,
    #[serde(default)]
    factor: Option<f64>,
    #[serde(default)]
    low_freq_factor: Option<f64>,
    #[serde(default)]
    high_freq_factor: Option<f64>,
    #[serde(default)]
    original_max_position_embeddings: Option<f64>,
}

fn default_epsilon() -> f32 {
    1e-6
}

impl TextConfig {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    /// Heads of keys and values.
    pub fn num_key_value_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    pub(crate) fn ropes(&self) -> impl Iterator<Item = &RopeConfig> {
        [&self.rope_parameters, &self.rope_scaling]
            .into_iter()
            .flatten()
    }

    /// Base of the rotary frequencies; newer files keep it with the other rotary settings.
    pub(crate) fn rope_theta(&self, default: f64) -> f64 {
        let nested = self.ropes().find_map(|rope| rope.rope_theta);
        nested.or(self.rope_theta).unwrap_or(default)
    }

    /// Frequencies that follow time, height and width; they add up to half a head. `None` where tokens have one position.
    pub fn mrope_section(&self) -> Option<&[usize]> {
        self.ropes().find_map(|rope| rope.mrope_section.as_deref())
    }

    /// Keys that a row of this layer sees at most.
    pub(crate) fn window(&self, layer: usize) -> Option<usize> {
        let slides = match &self.layer_types {
            Some(types) => types.get(layer).is_some_and(|t| t == "sliding_attention"),
            None => layer >= self.max_window_layers.unwrap_or(usize::MAX),
        };
        self.sliding_window
            .filter(|_| self.use_sliding_window && slides)
    }

    /// Refuses sizes that no network has, and variants that are not computed.
    pub(crate) fn check(&self, default_theta: f64) -> Result<(), String> {
        check_ranges(
            "",
            &[
                ("vocab_size", self.vocab_size, WIDTHS),
                ("hidden_size", self.hidden_size, WIDTHS),
                ("intermediate_size", self.intermediate_size, WIDTHS),
                ("num_hidden_layers", self.num_hidden_layers, COUNTS),
                ("num_attention_heads", self.num_attention_heads, WIDTHS),
                ("num_key_value_heads", self.num_key_value_heads(), WIDTHS),
                ("head_dim", self.head_dim.unwrap_or(1), WIDTHS),
                ("sliding_window", self.sliding_window.unwrap_or(1), WIDTHS),
            ],
        )?;
        require(self.head_dim() > 0, || {
            format!(
                "hidden_size {} gives num_attention_heads {} no width",
                self.hidden_size, self.num_attention_heads
            )
        })?;
        require(self.head_dim().is_multiple_of(2), || {
            format!(
                "head_dim {} is odd; rotary positions turn pairs",
                self.head_dim()
            )
        })?;
        let (epsilon, theta) = (self.rms_norm_eps, self.rope_theta(default_theta));
        require(epsilon.is_finite() && epsilon >= 0.0, || {
            format!("rms_norm_eps is {epsilon}; it is a number from 0 on")
        })?;
        require(theta.is_finite() && theta > 0.0, || {
            format!("rope_theta is {theta}; it is a number above 0")
        })?;
        require(
            self.num_attention_heads
                .is_multiple_of(self.num_key_value_heads()),
            || {
                format!(
                    "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                    self.num_attention_heads,
                    self.num_key_value_heads()
                )
            },
        )?;
        if let Some(kind) = &self.hidden_act {
            require(kind == "silu", || {
                format!("hidden_act is `{kind}`; only `silu` is supported")
            })?;
        }
        self.check_ropes()
    }

    fn check_ropes(&self) -> Result<(), String> {
        for (name, rope) in [
            ("rope_scaling", &self.rope_scaling),
            ("rope_parameters", &self.rope_parameters),
        ] {
            let Some(rope) = rope else { continue };
            for kind in [&rope.kind, &rope.rope_type].into_iter().flatten() {
                require(
                    ["default", "mrope", "llama3"].contains(&kind.as_str()),
                    || {
                        format!(
                            "{name} is of the type `{kind}`; only `default`, `mrope` and `llama3` are supported"
                        )
                    },
                )?;
            }
            if rope.is_llama3() {
                let all = [
                    rope.factor,
                    rope.low_freq_factor,
                    rope.high_freq_factor,
                    rope.original_max_position_embeddings,
                ];
                let sound = all
                    .iter()
                    .all(|n| n.is_some_and(|n| n.is_finite() && n > 0.0));
                require(
                    sound && rope.low_freq_factor < rope.high_freq_factor,
                    || {
                        format!(
                            "{name} of the type `llama3` needs factor, low_freq_factor, a higher high_freq_factor and \
                         original_max_position_embeddings, all above 0"
                        )
                    },
                )?;
            }
        }
        if let Some(section) = self.mrope_section() {
            require(
                section.len() == 3
                    && section.iter().all(|part| *part <= self.head_dim())
                    && section.iter().sum::<usize>() * 2 == self.head_dim(),
                || {
                    format!(
                        "mrope_section {section:?} must be three numbers that add up to half of head_dim {}",
                        self.head_dim()
                    )
                },
            )?;
        }
        Ok(())
    }
}

impl RopeConfig {
    pub(crate) fn is_llama3(&self) -> bool {
        let kind = self.rope_type.as_deref().or(self.kind.as_deref());
        kind == Some("llama3")
    }

    /// Llama 3's frequencies: long waves are `factor` times longer, short ones stay, between them it goes smoothly.
    pub(crate) fn llama3(&self, frequencies: &mut [f32]) {
        let get =
            |value: Option<f64>| value.expect("checked when the configuration was read") as f32;
        let (factor, low, high, length) = (
            get(self.factor),
            get(self.low_freq_factor),
            get(self.high_freq_factor),
            get(self.original_max_position_embeddings),
        );
        for frequency in frequencies {
            let wave = 2.0 * std::f32::consts::PI / *frequency;
            if wave > length / low {
                *frequency /= factor;
            } else if wave >= length / high {
                let smooth = (length / wave - low) / (high - low);
                *frequency = (1.0 - smooth) * *frequency / factor + smooth * *frequency;
            }
        }
    }
}
