//! The language model under all families: Qwen2, Qwen3 and Llama differ in biases, norms of queries and keys, windows and
//! rotary frequencies only.

use std::sync::Arc;

use burn::tensor::Tensor;

use crate::layers::{Attention, Block, Linear, Mlp, Norm, ParameterList, Views, frequencies};
use crate::ops::attention::{Forest, HeadLayout, attention};
use crate::ops::gather::{RowSource, gather_rows, merge_rows};
use crate::ops::recompute::{Recomputed, recompute};
use crate::ops::rotary::RotaryTable;
use crate::text_config::{TextConfig, TextKind};
use crate::weights::Weights;

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
