//! Qwen2.5-VL (Bai et al. 2025): a vision tower with window attention, a 2×2 merger, and a Qwen2 language model with
//! three-part rotary positions. Tensor names are those of the published checkpoints.
//!
//! The network works on packed rows: a batch is one run of tokens, and a [`Forest`] says who sees whom. Where attention
//! gets its keys from is the caller's choice ([`Attend`]), so training, prompt processing and sampling share this code.

use std::sync::Arc;

use burn::tensor::{Tensor, activation};

use crate::config::QwenVlConfig;
use crate::ops::attention::{Forest, HeadLayout, attention};
use crate::ops::gather::{RowSource, gather_rows, merge_rows};
use crate::ops::linear::linear;
use crate::ops::logprob::{Choice, choice_logprob};
use crate::ops::rms_norm::rms_norm;
use crate::ops::rotary::{RotaryTable, rotary};
use crate::ops::swiglu::swiglu;
use crate::weights::Weights;

/// Grid of an image in patches: frames, height, width.
pub type Grid = [usize; 3];

/// Epsilon of the vision tower's norms, fixed in the reference.
const VISION_EPSILON: f32 = 1e-6;
/// Base of the vision tower's rotary frequencies, fixed in the reference.
const VISION_THETA: f64 = 10_000.0;

/// Names and shapes of all parameters, in the order of the network.
pub fn parameters(config: &QwenVlConfig) -> Vec<(String, Vec<usize>)> {
    let mut list = Vec::new();
    let mut add = |name: String, shape: &[usize]| list.push((name, shape.to_vec()));
    let v = &config.vision;
    add(
        "visual.patch_embed.proj.weight".into(),
        &[
            v.hidden_size,
            v.in_channels,
            v.temporal_patch_size,
            v.patch_size,
            v.patch_size,
        ],
    );
    for i in 0..v.depth {
        let block = format!("visual.blocks.{i}");
        add(format!("{block}.norm1.weight"), &[v.hidden_size]);
        add(format!("{block}.norm2.weight"), &[v.hidden_size]);
        for (name, outputs, inputs) in [
            ("attn.qkv", 3 * v.hidden_size, v.hidden_size),
            ("attn.proj", v.hidden_size, v.hidden_size),
            ("mlp.gate_proj", v.intermediate_size, v.hidden_size),
            ("mlp.up_proj", v.intermediate_size, v.hidden_size),
            ("mlp.down_proj", v.hidden_size, v.intermediate_size),
        ] {
            add(format!("{block}.{name}.weight"), &[outputs, inputs]);
            add(format!("{block}.{name}.bias"), &[outputs]);
        }
    }
    let merged = v.hidden_size * v.spatial_merge_size * v.spatial_merge_size;
    add("visual.merger.ln_q.weight".into(), &[v.hidden_size]);
    add("visual.merger.mlp.0.weight".into(), &[merged, merged]);
    add("visual.merger.mlp.0.bias".into(), &[merged]);
    add(
        "visual.merger.mlp.2.weight".into(),
        &[v.out_hidden_size, merged],
    );
    add("visual.merger.mlp.2.bias".into(), &[v.out_hidden_size]);

    let t = &config.text;
    let (queries, keys) = (
        t.num_attention_heads * t.head_dim(),
        t.num_key_value_heads * t.head_dim(),
    );
    add(
        "model.embed_tokens.weight".into(),
        &[t.vocab_size, t.hidden_size],
    );
    for i in 0..t.num_hidden_layers {
        let layer = format!("model.layers.{i}");
        for (name, outputs) in [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)] {
            add(
                format!("{layer}.self_attn.{name}.weight"),
                &[outputs, t.hidden_size],
            );
            add(format!("{layer}.self_attn.{name}.bias"), &[outputs]);
        }
        add(
            format!("{layer}.self_attn.o_proj.weight"),
            &[t.hidden_size, queries],
        );
        add(
            format!("{layer}.mlp.gate_proj.weight"),
            &[t.intermediate_size, t.hidden_size],
        );
        add(
            format!("{layer}.mlp.up_proj.weight"),
            &[t.intermediate_size, t.hidden_size],
        );
        add(
            format!("{layer}.mlp.down_proj.weight"),
            &[t.hidden_size, t.intermediate_size],
        );
        add(format!("{layer}.input_layernorm.weight"), &[t.hidden_size]);
        add(
            format!("{layer}.post_attention_layernorm.weight"),
            &[t.hidden_size],
        );
    }
    add("model.norm.weight".into(), &[t.hidden_size]);
    if !config.tie_word_embeddings {
        add("lm_head.weight".into(), &[t.vocab_size, t.hidden_size]);
    }
    list
}

/// Typed views of the weights, taken once when the network is built.
struct Views<'a>(&'a Weights);

impl Views<'_> {
    fn flat(&self, name: &str) -> Tensor<1> {
        self.0
            .get(name)
            .expect("weights are checked against the configuration when they are loaded")
            .value
            .clone()
    }

    fn matrix(&self, name: &str, columns: usize) -> Tensor<2> {
        let flat = self.flat(name);
        let rows = flat.dims()[0] / columns;
        flat.reshape([rows, columns])
    }

    fn linear(&self, name: &str, inputs: usize, bias: bool) -> Linear {
        Linear {
            weight: self.matrix(&format!("{name}.weight"), inputs),
            bias: bias.then(|| self.flat(&format!("{name}.bias"))),
        }
    }

    /// The `part`-th of three layers stored in one tensor.
    fn third(&self, name: &str, inputs: usize, part: usize) -> Linear {
        let weight = self.flat(&format!("{name}.weight"));
        let bias = self.flat(&format!("{name}.bias"));
        let outputs = bias.dims()[0] / 3;
        let size = outputs * inputs;
        Linear {
            weight: weight
                .slice(part * size..(part + 1) * size)
                .reshape([outputs, inputs]),
            bias: Some(bias.slice(part * outputs..(part + 1) * outputs)),
        }
    }
}

#[derive(Clone, Debug)]
struct Linear {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl Linear {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.clone(), self.bias.clone())
    }
}

#[derive(Clone, Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
}

#[derive(Clone, Debug)]
struct Mlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Mlp {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let gate = self.gate.forward(x.clone());
        let up = self.up.forward(x);
        self.down.forward(swiglu(gate, up))
    }
}

/// A pre-norm transformer block; vision and language differ in sizes and biases only.
#[derive(Clone, Debug)]
struct Block {
    norm1: Tensor<1>,
    attention: Attention,
    norm2: Tensor<1>,
    mlp: Mlp,
    epsilon: f32,
}

impl Block {
    /// `x [rows, hidden]`; `attend` maps rotated queries and keys, and values, to `[rows, heads · head_dim]`.
    fn forward(
        &self,
        x: Tensor<2>,
        rotation: &Arc<RotaryTable>,
        attend: impl FnOnce(Tensor<2>, Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let h = rms_norm(x.clone(), self.norm1.clone(), self.epsilon);
        let query = rotary(self.attention.query.forward(h.clone()), rotation);
        let key = rotary(self.attention.key.forward(h.clone()), rotation);
        let value = self.attention.value.forward(h);
        let x = x + self.attention.output.forward(attend(query, key, value));
        let h = rms_norm(x.clone(), self.norm2.clone(), self.epsilon);
        x + self.mlp.forward(h)
    }
}

/// Where the attention of a language layer finds its keys and values.
pub trait Attend {
    /// Attention of layer `layer` for the new rows; shapes as in [`attention`].
    fn attend(
        &mut self,
        layer: usize,
        query: Tensor<2>,
        key: Tensor<2>,
        value: Tensor<2>,
    ) -> Tensor<2>;
}

/// Attention inside the packed rows themselves.
pub struct PackedAttention<'a> {
    pub layout: HeadLayout,
    pub forest: &'a Arc<Forest>,
}

impl Attend for PackedAttention<'_> {
    fn attend(
        &mut self,
        _: usize,
        query: Tensor<2>,
        key: Tensor<2>,
        value: Tensor<2>,
    ) -> Tensor<2> {
        attention(query, key, value, self.layout, self.forest)
    }
}

/// The network, built from weights; tracked weights make a differentiable network.
#[derive(Clone, Debug)]
pub struct QwenVl {
    config: Arc<QwenVlConfig>,
    patch_embed: Tensor<2>,
    vision_blocks: Vec<Block>,
    merger_norm: Tensor<1>,
    merger: [Linear; 2],
    embed_tokens: Tensor<2>,
    layers: Vec<Block>,
    norm: Tensor<1>,
    lm_head: Tensor<2>,
}

impl QwenVl {
    /// Takes views of `weights`, which must have passed [`Weights::check`] for this configuration.
    pub fn new(config: &Arc<QwenVlConfig>, weights: &Weights) -> Self {
        let views = Views(weights);
        let (v, t) = (&config.vision, &config.text);
        let vision_blocks = (0..v.depth)
            .map(|i| {
                let name = |part: &str| format!("visual.blocks.{i}.{part}");
                let qkv = |part| views.third(&name("attn.qkv"), v.hidden_size, part);
                Block {
                    norm1: views.flat(&name("norm1.weight")),
                    attention: Attention {
                        query: qkv(0),
                        key: qkv(1),
                        value: qkv(2),
                        output: views.linear(&name("attn.proj"), v.hidden_size, true),
                    },
                    norm2: views.flat(&name("norm2.weight")),
                    mlp: Mlp {
                        gate: views.linear(&name("mlp.gate_proj"), v.hidden_size, true),
                        up: views.linear(&name("mlp.up_proj"), v.hidden_size, true),
                        down: views.linear(&name("mlp.down_proj"), v.intermediate_size, true),
                    },
                    epsilon: VISION_EPSILON,
                }
            })
            .collect();
        let layers = (0..t.num_hidden_layers)
            .map(|i| {
                let name = |part: &str| format!("model.layers.{i}.{part}");
                let width = t.num_attention_heads * t.head_dim();
                Block {
                    norm1: views.flat(&name("input_layernorm.weight")),
                    attention: Attention {
                        query: views.linear(&name("self_attn.q_proj"), t.hidden_size, true),
                        key: views.linear(&name("self_attn.k_proj"), t.hidden_size, true),
                        value: views.linear(&name("self_attn.v_proj"), t.hidden_size, true),
                        output: views.linear(&name("self_attn.o_proj"), width, false),
                    },
                    norm2: views.flat(&name("post_attention_layernorm.weight")),
                    mlp: Mlp {
                        gate: views.linear(&name("mlp.gate_proj"), t.hidden_size, false),
                        up: views.linear(&name("mlp.up_proj"), t.hidden_size, false),
                        down: views.linear(&name("mlp.down_proj"), t.intermediate_size, false),
                    },
                    epsilon: t.rms_norm_eps,
                }
            })
            .collect();
        let merged = v.hidden_size * v.spatial_merge_size * v.spatial_merge_size;
        let embed_tokens = views.matrix("model.embed_tokens.weight", t.hidden_size);
        let lm_head = if config.tie_word_embeddings {
            embed_tokens.clone()
        } else {
            views.matrix("lm_head.weight", t.hidden_size)
        };
        Self {
            patch_embed: views.matrix("visual.patch_embed.proj.weight", config.patch_width()),
            vision_blocks,
            merger_norm: views.flat("visual.merger.ln_q.weight"),
            merger: [
                views.linear("visual.merger.mlp.0", merged, true),
                views.linear("visual.merger.mlp.2", merged, true),
            ],
            embed_tokens,
            layers,
            norm: views.flat("model.norm.weight"),
            lm_head,
            config: config.clone(),
        }
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &Arc<QwenVlConfig> {
        &self.config
    }

    /// Number of language layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Heads of the language layers.
    pub fn head_layout(&self) -> HeadLayout {
        let t = &self.config.text;
        HeadLayout {
            heads: t.num_attention_heads,
            kv_heads: t.num_key_value_heads,
            head_dim: t.head_dim(),
        }
    }

    /// Image features: `patches [Σ t·h·w, patch_width]` in the processor's order → `[Σ t·h·w / merge², hidden]`, images
    /// one after the other, each row by row.
    pub fn vision(&self, patches: Tensor<2>, grids: &[Grid]) -> Tensor<2> {
        let v = &self.config.vision;
        let layout = HeadLayout {
            heads: v.num_heads,
            kv_heads: v.num_heads,
            head_dim: v.hidden_size / v.num_heads,
        };
        let order = WindowOrder::new(&self.config, grids);
        let full = Arc::new(Forest::sequences(
            grids
                .iter()
                .flat_map(|&[t, h, w]| std::iter::repeat_n(h * w, t)),
            false,
        ));
        let windows = Arc::new(Forest::sequences(
            order.window_patches.iter().copied(),
            false,
        ));
        let rotation = vision_rotation(&self.config, grids, &order);

        let mut x = linear(
            gather_rows(patches, Arc::new(order.patches)),
            self.patch_embed.clone(),
            None,
        );
        for (i, block) in self.vision_blocks.iter().enumerate() {
            let forest = if v.fullatt_block_indexes.contains(&i) {
                &full
            } else {
                &windows
            };
            x = block.forward(x, &rotation, |q, k, v| attention(q, k, v, layout, forest));
        }
        let x = rms_norm(x, self.merger_norm.clone(), VISION_EPSILON);
        let unit = v.spatial_merge_size * v.spatial_merge_size;
        let [rows, hidden] = x.dims();
        let x = self.merger[0].forward(x.reshape([rows / unit, hidden * unit]));
        let x = self.merger[1].forward(activation::gelu(x));
        gather_rows(x, Arc::new(order.features))
    }

    /// Last hidden states, normed: `rows [n]` names each row's token or image feature, `positions [n]` its time, height
    /// and width → `[n, hidden]`.
    pub fn hidden(
        &self,
        rows: Vec<RowSource>,
        features: Option<Tensor<2>>,
        positions: &[[i32; 3]],
        attend: &mut impl Attend,
    ) -> Tensor<2> {
        let table = self.embed_tokens.clone();
        let mut x = match features {
            Some(features) => merge_rows(table, features, Arc::new(rows)),
            None => {
                let tokens = rows
                    .iter()
                    .map(|row| match row {
                        RowSource::First(token) => *token,
                        RowSource::Second(_) => unreachable!("rows of images come with features"),
                    })
                    .collect();
                gather_rows(table, Arc::new(tokens))
            }
        };
        let rotation = text_rotation(&self.config, positions);
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, &rotation, |q, k, v| attend.attend(i, q, k, v));
        }
        rms_norm(x, self.norm.clone(), self.config.text.rms_norm_eps)
    }

    /// `hidden [n, hidden]` → logits `[n, vocabulary]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        linear(hidden, self.lm_head.clone(), None)
    }

    /// Log-probability and more of each row's chosen token, `[n, 3]`; see [`choice_logprob`].
    pub fn choice_logprob(&self, hidden: Tensor<2>, choice: &Arc<Choice>) -> Tensor<2> {
        choice_logprob(hidden, self.lm_head.clone(), choice)
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
    fn new(config: &QwenVlConfig, grids: &[Grid]) -> Self {
        let v = &config.vision;
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

/// Inverse frequencies `theta^(-2i/width)`, `width / 2` of them, in f32 as the reference computes them.
fn frequencies(theta: f64, width: usize) -> Vec<f32> {
    (0..width / 2)
        .map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / width as f32))
        .collect()
}

/// Angles of patches: half of a head's frequencies turn with the row, half with the column.
fn vision_rotation(config: &QwenVlConfig, grids: &[Grid], order: &WindowOrder) -> Arc<RotaryTable> {
    let v = &config.vision;
    let merge = v.spatial_merge_size;
    let half = v.hidden_size / v.num_heads / 2;
    let frequencies = frequencies(VISION_THETA, half);
    // Place of every patch in the processor's order: merged units row by row, patches row by row inside.
    let mut places = Vec::new();
    for &[frames, height, width] in grids {
        for _ in 0..frames {
            for top in (0..height).step_by(merge) {
                for left in (0..width).step_by(merge) {
                    for row in top..top + merge {
                        for column in left..left + merge {
                            places.push([row, column]);
                        }
                    }
                }
            }
        }
    }
    let mut angles = Vec::with_capacity(places.len() * half);
    for &patch in &order.patches {
        for place in places[patch as usize] {
            angles.extend(frequencies.iter().map(|f| place as f32 * f));
        }
    }
    RotaryTable::from_angles(half, &angles)
}

/// Angles of tokens: the first `mrope_section[0]` frequencies turn with time, then height, then width.
fn text_rotation(config: &QwenVlConfig, positions: &[[i32; 3]]) -> Arc<RotaryTable> {
    let t = &config.text;
    let frequencies = frequencies(t.rope_theta(), t.head_dim());
    let section = t
        .mrope_section()
        .expect("checked when the configuration was read");
    let axes: Vec<usize> = section
        .iter()
        .enumerate()
        .flat_map(|(axis, &count)| std::iter::repeat_n(axis, count))
        .collect();
    let angles: Vec<f32> = positions
        .iter()
        .flat_map(|position| {
            frequencies
                .iter()
                .zip(&axes)
                .map(move |(f, &axis)| position[axis] as f32 * f)
        })
        .collect();
    RotaryTable::from_angles(t.head_dim() / 2, &angles)
}
