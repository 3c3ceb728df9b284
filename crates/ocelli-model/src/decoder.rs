//! The language model under all families: Qwen2, Qwen3 and Llama differ in biases, norms of queries and keys, windows and
//! rotary frequencies only. Field names as in `config.json`.

use std::ops::RangeInclusive;
use std::sync::Arc;

use burn::tensor::Tensor;
use serde::Deserialize;

use crate::layers::{Attention, Block, Linear, Mlp, Norm, ParameterList, Views, frequencies};
use crate::ops::attention::{Forest, HeadLayout, attention};
use crate::ops::gather::{RowSource, gather_rows, merge_rows};
use crate::ops::recompute::{Recomputed, recompute};
use crate::ops::rotary::RotaryTable;
use crate::weights::Weights;

/// What widths and the vocabulary's size may be: above, products of sizes could leave the range of numbers.
pub(crate) const WIDTHS: RangeInclusive<usize> = 1..=1 << 24;
/// What numbers of layers and sides of patches may be, as in the image processor.
pub(crate) const COUNTS: RangeInclusive<usize> = 1..=1024;

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
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    hidden_act: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct RopeConfig {
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    mrope_section: Option<Vec<usize>>,
    #[serde(default)]
    mrope_interleaved: bool,
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

/// Gives `Err(what)` unless the condition holds.
pub(crate) fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Refuses sizes that no network has.
pub(crate) fn check_ranges(sizes: &[(&str, usize, RangeInclusive<usize>)]) -> Result<(), String> {
    for (name, size, range) in sizes {
        require(range.contains(size), || {
            format!(
                "{name} is {size}; it lies between {} and {}",
                range.start(),
                range.end()
            )
        })?;
    }
    Ok(())
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

    fn ropes(&self) -> impl Iterator<Item = &RopeConfig> {
        [&self.rope_parameters, &self.rope_scaling]
            .into_iter()
            .flatten()
    }

    /// Base of the rotary frequencies; newer files keep it with the other rotary settings.
    fn rope_theta(&self, default: f64) -> f64 {
        let nested = self.ropes().find_map(|rope| rope.rope_theta);
        nested.or(self.rope_theta).unwrap_or(default)
    }

    /// Frequencies that follow time, height and width; they add up to half a head. `None` where tokens have one position.
    pub fn mrope_section(&self) -> Option<&[usize]> {
        self.ropes().find_map(|rope| rope.mrope_section.as_deref())
    }

    /// Keys that a row of this layer sees at most.
    fn window(&self, layer: usize) -> Option<usize> {
        let slides = match &self.layer_types {
            Some(types) => types.get(layer).is_some_and(|t| t == "sliding_attention"),
            None => layer >= self.max_window_layers.unwrap_or(usize::MAX),
        };
        self.sliding_window
            .filter(|_| self.use_sliding_window && slides)
    }

    /// Refuses sizes that no network has, and variants that are not computed.
    pub(crate) fn check(&self, default_theta: f64) -> Result<(), String> {
        check_ranges(&[
            ("vocab_size", self.vocab_size, WIDTHS),
            ("hidden_size", self.hidden_size, WIDTHS),
            ("intermediate_size", self.intermediate_size, WIDTHS),
            ("num_hidden_layers", self.num_hidden_layers, COUNTS),
            ("num_attention_heads", self.num_attention_heads, WIDTHS),
            ("num_key_value_heads", self.num_key_value_heads(), WIDTHS),
            ("head_dim", self.head_dim.unwrap_or(1), WIDTHS),
            ("sliding_window", self.sliding_window.unwrap_or(1), WIDTHS),
        ])?;
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
    fn is_llama3(&self) -> bool {
        let kind = self.rope_type.as_deref().or(self.kind.as_deref());
        kind == Some("llama3")
    }

    /// Llama 3's frequencies: long waves are `factor` times longer, short ones stay, between them it goes smoothly.
    fn llama3(&self, frequencies: &mut [f32]) {
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

/// Where the parts of a language model lie in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextNames {
    /// Before `embed_tokens`, `layers` and `norm`.
    pub body: &'static str,
    /// Of the output matrix, absent when it is tied to the embeddings.
    pub head: &'static str,
}

/// Names and shapes of a language model's parameters.
pub(crate) fn parameters(
    list: &mut ParameterList,
    config: &TextConfig,
    kind: TextKind,
    names: TextNames,
    tied: bool,
) {
    let (queries, keys) = (
        config.num_attention_heads * config.head_dim(),
        config.num_key_value_heads() * config.head_dim(),
    );
    let hidden = config.hidden_size;
    let biases = biases(config, kind);
    list.add(
        format!("{}embed_tokens.weight", names.body),
        &[config.vocab_size, hidden],
    );
    for i in 0..config.num_hidden_layers {
        let layer = format!("{}layers.{i}", names.body);
        let attention = format!("{layer}.self_attn");
        list.linear(&format!("{attention}.q_proj"), queries, hidden, biases.qkv);
        list.linear(&format!("{attention}.k_proj"), keys, hidden, biases.qkv);
        list.linear(&format!("{attention}.v_proj"), keys, hidden, biases.qkv);
        list.linear(
            &format!("{attention}.o_proj"),
            hidden,
            queries,
            biases.output,
        );
        if kind == TextKind::Qwen3 {
            list.add(format!("{attention}.q_norm.weight"), &[config.head_dim()]);
            list.add(format!("{attention}.k_norm.weight"), &[config.head_dim()]);
        }
        let wide = config.intermediate_size;
        list.linear(&format!("{layer}.mlp.gate_proj"), wide, hidden, biases.mlp);
        list.linear(&format!("{layer}.mlp.up_proj"), wide, hidden, biases.mlp);
        list.linear(&format!("{layer}.mlp.down_proj"), hidden, wide, biases.mlp);
        list.add(format!("{layer}.input_layernorm.weight"), &[hidden]);
        list.add(
            format!("{layer}.post_attention_layernorm.weight"),
            &[hidden],
        );
    }
    list.add(format!("{}norm.weight", names.body), &[hidden]);
    if !tied {
        list.add(names.head, &[config.vocab_size, hidden]);
    }
}

struct Biases {
    qkv: bool,
    output: bool,
    mlp: bool,
}

fn biases(config: &TextConfig, kind: TextKind) -> Biases {
    let attention = config.attention_bias && kind != TextKind::Qwen2;
    Biases {
        qkv: kind == TextKind::Qwen2 || attention,
        output: attention,
        mlp: config.mlp_bias && kind == TextKind::Llama,
    }
}

/// A language model built from weights.
#[derive(Clone, Debug)]
pub struct Decoder {
    embed_tokens: Tensor<2>,
    layers: Vec<Block>,
    norm: Norm,
    lm_head: Linear,
    rotation: Rotation,
    /// Makes the layers once more for the backward pass, if their activations are not kept.
    recomputed: Option<Arc<LayerMaker>>,
}

/// How a token's three positions turn its queries and keys.
#[derive(Clone, Debug)]
struct Rotation {
    frequencies: Vec<f32>,
    /// Which of time, height and width turns each frequency.
    axes: Vec<usize>,
}

impl Rotation {
    fn new(config: &TextConfig, default_theta: f64) -> Self {
        let width = config.head_dim();
        let mut frequencies = frequencies(config.rope_theta(default_theta), width);
        if let Some(rope) = config.ropes().find(|rope| rope.is_llama3()) {
            rope.llama3(&mut frequencies);
        }
        let mut axes = vec![0; width / 2];
        if let Some(section) = config.mrope_section() {
            if config.ropes().any(|rope| rope.mrope_interleaved) {
                // Time takes what height and width leave: every third from the second and from the third on.
                for axis in [1, 2] {
                    let end = (3 * section[axis]).min(axes.len());
                    axes[axis.min(end)..end]
                        .iter_mut()
                        .step_by(3)
                        .for_each(|a| *a = axis);
                }
            } else {
                axes = section
                    .iter()
                    .enumerate()
                    .flat_map(|(axis, &count)| std::iter::repeat_n(axis, count))
                    .collect();
            }
        }
        Self { frequencies, axes }
    }

    fn table(&self, positions: &[[i32; 3]]) -> Arc<RotaryTable> {
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|position| {
                let pairs = self.frequencies.iter().zip(&self.axes);
                pairs.map(move |(f, &axis)| position[axis] as f32 * f)
            })
            .collect();
        RotaryTable::from_angles(self.frequencies.len(), &angles)
    }
}

/// Features of pictures, videos or sounds, `[features, hidden]`.
#[derive(Clone, Debug)]
pub struct Features {
    /// What takes the places of the placeholders.
    pub rows: Tensor<2>,
    /// What is added to the same rows after the first layers, one tensor a layer (DeepStack, Meng et al. 2024).
    pub deep: Vec<Tensor<2>>,
}

/// Where the attention of a language layer finds its keys and values.
pub trait Attend {
    /// Attention of layer `layer` for the new rows; shapes as in [`crate::ops::attention::attention`].
    fn attend(
        &mut self,
        layer: usize,
        layout: HeadLayout,
        query: Tensor<2>,
        key: Tensor<2>,
        value: Tensor<2>,
    ) -> Tensor<2>;

    /// Who sees whom, where keys and values are the rows' own, so that a layer can be computed once more.
    fn forest(&self) -> Option<&Arc<Forest>> {
        None
    }
}

/// All that a layer is made from.
#[derive(Debug)]
struct LayerMaker {
    config: TextConfig,
    kind: TextKind,
    body: &'static str,
    weights: Weights,
}

/// A layer that is computed twice.
#[derive(Debug)]
struct Layer {
    maker: Arc<LayerMaker>,
    index: usize,
    rotation: Arc<RotaryTable>,
    forest: Arc<Forest>,
}

impl Layer {
    /// The layer at `x`, and the weights that it was made from.
    fn run(&self, x: Tensor<2>, tracked: bool) -> (Tensor<2>, Weights) {
        let LayerMaker {
            config,
            kind,
            body,
            weights,
        } = self.maker.as_ref();
        let weights = weights.fresh(&format!("{body}layers.{}.", self.index), tracked);
        let block = block(config, *kind, self.index, &Views::new(&weights, body));
        let y = block.forward(x, Some(&self.rotation), |layout, q, k, v| {
            attention(q, k, v, layout, &self.forest)
        });
        (y, weights)
    }
}

impl Recomputed for Layer {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.run(x, false).0
    }

    fn backward(&self, x: Tensor<2>, dy: Tensor<2>) -> Tensor<2> {
        let x = Tensor::from_inner(x).require_grad();
        let (y, weights) = self.run(x.clone(), true);
        // The gradient of Σ y·dy by y is dy.
        let mut gradients = (y * Tensor::from_inner(dy)).sum().backward();
        self.maker.weights.leave(weights.gradients(&mut gradients));
        x.grad_remove(&mut gradients)
            .expect("a layer's output depends on its input")
    }
}

/// Layer `i` of the language model.
fn block(config: &TextConfig, kind: TextKind, i: usize, body: &Views<'_>) -> Block {
    let hidden = config.hidden_size;
    let width = config.num_attention_heads * config.head_dim();
    let biases = biases(config, kind);
    let layer = body.below(&format!("layers.{i}"));
    let attention = layer.below("self_attn");
    let mlp = layer.below("mlp");
    let rms_norm = |name: &str| layer.rms_norm(name, config.rms_norm_eps);
    let norms = (kind == TextKind::Qwen3)
        .then(|| ["q_norm", "k_norm"].map(|name| attention.rms_norm(name, config.rms_norm_eps)));
    Block {
        norm1: rms_norm("input_layernorm"),
        attention: Attention {
            query: attention.linear("q_proj", hidden, biases.qkv),
            key: attention.linear("k_proj", hidden, biases.qkv),
            value: attention.linear("v_proj", hidden, biases.qkv),
            output: attention.linear("o_proj", width, biases.output),
            norms,
            layout: layout(config, i),
        },
        norm2: rms_norm("post_attention_layernorm"),
        mlp: Mlp::Gated {
            gate: mlp.linear("gate_proj", hidden, biases.mlp),
            up: mlp.linear("up_proj", hidden, biases.mlp),
            down: mlp.linear("down_proj", config.intermediate_size, biases.mlp),
        },
        scales: None,
    }
}

impl Decoder {
    pub(crate) fn new(
        config: &TextConfig,
        kind: TextKind,
        names: TextNames,
        tied: bool,
        default_theta: f64,
        weights: &Weights,
    ) -> Self {
        let body = Views::new(weights, names.body);
        let hidden = config.hidden_size;
        let layers = (0..config.num_hidden_layers)
            .map(|i| block(config, kind, i, &body))
            .collect();
        let recomputed = weights.recomputes().then(|| {
            Arc::new(LayerMaker {
                config: config.clone(),
                kind,
                body: names.body,
                weights: weights.clone(),
            })
        });
        let embed_tokens = body.matrix("embed_tokens.weight", hidden);
        let lm_head = if tied {
            Linear {
                weight: embed_tokens.clone(),
                bias: None,
                low_rank: None,
            }
        } else {
            let module = names.head.trim_end_matches(".weight");
            Views::new(weights, "").linear(module, hidden, false)
        };
        Self {
            embed_tokens,
            layers,
            norm: body.rms_norm("norm", config.rms_norm_eps),
            lm_head,
            rotation: Rotation::new(config, default_theta),
            recomputed,
        }
    }

    /// Number of layers.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The output matrix `[vocabulary, hidden]`.
    pub(crate) fn head(&self) -> &Linear {
        &self.lm_head
    }

    /// Last hidden states, normed; see [`crate::network::Network::hidden`].
    pub(crate) fn hidden(
        &self,
        rows: Vec<RowSource>,
        features: Option<Features>,
        positions: &[[i32; 3]],
        attend: &mut impl Attend,
    ) -> Tensor<2> {
        let table = self.embed_tokens.clone();
        let (mut x, deep) = match features {
            Some(Features { rows: visual, deep }) => {
                // What is added deeper goes to the rows of features; the others get a row of zeros.
                let places: Arc<Vec<RowSource>> = Arc::new(if deep.is_empty() {
                    Vec::new()
                } else {
                    let place = |row: &RowSource| match row {
                        RowSource::First(_) => RowSource::First(0),
                        RowSource::Second(i) => RowSource::Second(*i),
                    };
                    rows.iter().map(place).collect()
                });
                (
                    merge_rows(table, visual, Arc::new(rows)),
                    Some((deep, places)),
                )
            }
            None => {
                let tokens = rows
                    .iter()
                    .map(|row| match row {
                        RowSource::First(token) => *token,
                        RowSource::Second(_) => unreachable!("rows of images come with features"),
                    })
                    .collect();
                (gather_rows(table, Arc::new(tokens)), None)
            }
        };
        let rotation = self.rotation.table(positions);
        for (i, layer) in self.layers.iter().enumerate() {
            x = match (&self.recomputed, attend.forest()) {
                (Some(maker), Some(forest)) => {
                    let (maker, forest) = (maker.clone(), forest.clone());
                    let rotation = rotation.clone();
                    let layer = Layer {
                        maker,
                        index: i,
                        rotation,
                        forest,
                    };
                    recompute(x, Arc::new(layer))
                }
                _ => layer.forward(x, Some(&rotation), |layout, q, k, v| {
                    attend.attend(i, layout, q, k, v)
                }),
            };
            if let Some((deep, places)) = &deep
                && let Some(deep) = deep.get(i)
            {
                let [_, width] = deep.dims();
                let zeros = Tensor::zeros([1, width], &deep.device());
                x = x + merge_rows(zeros, deep.clone(), places.clone());
            }
        }
        self.norm.forward(x)
    }
}

/// Heads of a layer.
pub(crate) fn layout(config: &TextConfig, layer: usize) -> HeadLayout {
    HeadLayout {
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads(),
        head_dim: config.head_dim(),
        window: config.window(layer),
    }
}
