//! Layers that all families share, as typed views of the weights. Everything works on packed rows, `[rows, width]`.

use std::sync::Arc;

use burn::tensor::{Tensor, activation};
use serde::Deserialize;

use crate::config::ModelConfig;
use crate::low_rank::LowRank;
use crate::ops::attention::HeadLayout;
use crate::ops::layer_norm::layer_norm;
use crate::ops::linear::linear;
use crate::ops::rms_norm::rms_norm;
use crate::ops::rotary::{RotaryTable, rotary};
use crate::ops::swiglu::swiglu;
use crate::weights::Weights;

/// Names and shapes of parameters, in the order of the network.
#[derive(Debug, Default)]
pub(crate) struct ParameterList(pub(crate) Vec<(String, Vec<usize>)>);

impl ParameterList {
    pub(crate) fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    /// A matrix `[outputs, inputs]` and, if it has one, its bias.
    pub(crate) fn linear(&mut self, name: &str, outputs: usize, inputs: usize, bias: bool) {
        self.add(format!("{name}.weight"), &[outputs, inputs]);
        if bias {
            self.add(format!("{name}.bias"), &[outputs]);
        }
    }

    /// Gain and bias of a layer norm.
    pub(crate) fn layer_norm(&mut self, name: &str, width: usize) {
        self.add(format!("{name}.weight"), &[width]);
        self.add(format!("{name}.bias"), &[width]);
    }
}

/// A linear layer's module, named as in the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinearShape {
    pub(crate) name: String,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

/// Modules with a matrix that is looked up and not multiplied by.
const TABLES: [&str; 4] = [
    "embed_tokens",
    "pos_embed",
    "position_embedding",
    "embed_positions",
];

/// The linear layers of a model, in the order of the network.
pub(crate) fn linear_modules(config: &ModelConfig) -> Vec<LinearShape> {
    let parameters = config.parameters().into_iter();
    parameters
        .filter_map(|(name, shape)| {
            let module = name.strip_suffix(".weight")?;
            let &[outputs, inputs] = shape.as_slice() else {
                return None;
            };
            let is_table = TABLES.iter().any(|table| module.ends_with(table));
            (!is_table).then(|| LinearShape {
                name: module.to_owned(),
                outputs,
                inputs,
            })
        })
        .collect()
}

/// Typed views of the weights below a prefix, taken once when a network is built.
pub(crate) struct Views<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) prefix: String,
}

impl<'a> Views<'a> {
    pub(crate) fn new(weights: &'a Weights, prefix: &str) -> Self {
        Self {
            weights,
            prefix: prefix.to_owned(),
        }
    }

    /// Views of what lies below `name`.
    pub(crate) fn below(&self, name: &str) -> Self {
        Self::new(self.weights, &format!("{}{name}.", self.prefix))
    }

    pub(crate) fn flat(&self, name: &str) -> Tensor<1> {
        self.weights
            .get(&format!("{}{name}", self.prefix))
            .expect("weights are checked against the configuration when they are loaded")
            .value
            .clone()
    }

    pub(crate) fn matrix(&self, name: &str, columns: usize) -> Tensor<2> {
        let flat = self.flat(name);
        let rows = flat.dims()[0] / columns;
        flat.reshape([rows, columns])
    }

    pub(crate) fn linear(&self, name: &str, inputs: usize, bias: bool) -> Linear {
        let weight = self.matrix(&format!("{name}.weight"), inputs);
        let outputs = 0..weight.dims()[0];
        Linear {
            low_rank: self.low_rank(name, &weight, outputs),
            weight,
            bias: bias.then(|| self.flat(&format!("{name}.bias"))),
        }
    }

    /// What an adapter adds to these outputs of a module, whose rows `weight` holds.
    fn low_rank(
        &self,
        name: &str,
        weight: &Tensor<2>,
        outputs: std::ops::Range<usize>,
    ) -> Option<Box<LowRank>> {
        let module = format!("{}{name}", self.prefix);
        self.weights
            .low_rank(&module, weight, outputs)
            .map(Box::new)
    }

    /// The `part`-th of three layers stored in one tensor.
    pub(crate) fn third(&self, name: &str, inputs: usize, part: usize) -> Linear {
        let weight = self.flat(&format!("{name}.weight"));
        let bias = self.flat(&format!("{name}.bias"));
        let outputs = bias.dims()[0] / 3;
        let size = outputs * inputs;
        let weight = weight
            .slice(part * size..(part + 1) * size)
            .reshape([outputs, inputs]);
        let rows = part * outputs..(part + 1) * outputs;
        Linear {
            low_rank: self.low_rank(name, &weight, rows.clone()),
            weight,
            bias: Some(bias.slice(rows)),
        }
    }

    pub(crate) fn rms_norm(&self, name: &str, epsilon: f32) -> Norm {
        Norm::RootMeanSquare {
            gain: self.flat(&format!("{name}.weight")),
            epsilon,
        }
    }

    pub(crate) fn layer_norm(&self, name: &str, epsilon: f32) -> Norm {
        Norm::Layer {
            gain: self.flat(&format!("{name}.weight")),
            bias: self.flat(&format!("{name}.bias")),
            epsilon,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Tensor<2>,
    pub(crate) bias: Option<Tensor<1>>,
    /// What an adapter adds.
    pub(crate) low_rank: Option<Box<LowRank>>,
}

impl Linear {
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.low_rank {
            Some(low_rank) => low_rank.forward(x, &self.weight, self.bias.as_ref()),
            None => linear(x, self.weight.clone(), self.bias.clone()),
        }
    }
}

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a network has a hundred of them, and they are not moved about"
)]
pub(crate) enum Norm {
    RootMeanSquare {
        gain: Tensor<1>,
        epsilon: f32,
    },
    Layer {
        gain: Tensor<1>,
        bias: Tensor<1>,
        epsilon: f32,
    },
}

impl Norm {
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::RootMeanSquare { gain, epsilon } => rms_norm(x, gain.clone(), *epsilon),
            Self::Layer {
                gain,
                bias,
                epsilon,
            } => layer_norm(x, gain.clone(), bias.clone(), *epsilon),
        }
    }

    /// Normalises every run of as many numbers as there are gains: whole rows, or each head of them.
    pub(crate) fn forward_parts(&self, x: Tensor<2>) -> Tensor<2> {
        let (Self::RootMeanSquare { gain, .. } | Self::Layer { gain, .. }) = self;
        let ([rows, width], part) = (x.dims(), gain.dims()[0]);
        let x = x.reshape([rows * width / part, part]);
        self.forward(x).reshape([rows, width])
    }
}

/// What stands between the two matrices of a feed-forward layer, named as in `hidden_act`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Activation {
    Silu,
    /// With the error function.
    Gelu,
    /// The approximation with tanh.
    GeluPytorchTanh,
    /// `x σ(1.702 x)`.
    QuickGelu,
}

impl Activation {
    pub(crate) fn forward(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Silu => activation::silu(x),
            Self::Gelu => activation::gelu(x),
            Self::GeluPytorchTanh => {
                let inner = (x.clone() + x.clone().powi_scalar(3).mul_scalar(0.044_715))
                    .mul_scalar((2.0 / std::f64::consts::PI).sqrt());
                (x.mul_scalar(0.5)) * (inner.tanh().add_scalar(1.0))
            }
            Self::QuickGelu => x.clone() * activation::sigmoid(x.mul_scalar(1.702)),
        }
    }
}

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a network has a hundred of them, and they are not moved about"
)]
pub(crate) enum Mlp {
    /// `down(silu(gate x) ∘ up x)`.
    Gated {
        gate: Linear,
        up: Linear,
        down: Linear,
    },
    /// `second(activation(first x))`.
    Plain {
        first: Linear,
        activation: Activation,
        second: Linear,
    },
}

impl Mlp {
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Gated { gate, up, down } => {
                let gate = gate.forward(x.clone());
                down.forward(swiglu(gate, up.forward(x)))
            }
            Self::Plain {
                first,
                activation,
                second,
            } => second.forward(activation.forward(first.forward(x))),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) output: Linear,
    /// Norms of queries and keys, over heads or over whole rows.
    pub(crate) norms: Option<[Norm; 2]>,
    pub(crate) layout: HeadLayout,
}

/// A pre-norm transformer block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) norm1: Norm,
    pub(crate) attention: Attention,
    pub(crate) norm2: Norm,
    pub(crate) mlp: Mlp,
    /// Gains of what attention and feed-forward layer add (Touvron et al. 2021).
    pub(crate) scales: Option<[Tensor<1>; 2]>,
}

impl Block {
    /// `x [rows, hidden]`; `attend` maps queries and keys, normed and rotated, and values, to `[rows, heads · head_dim]`.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        rotation: Option<&Arc<RotaryTable>>,
        attend: impl FnOnce(HeadLayout, Tensor<2>, Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let h = self.norm1.forward(x.clone());
        let attention = &self.attention;
        let mut query = attention.query.forward(h.clone());
        let mut key = attention.key.forward(h.clone());
        let value = attention.value.forward(h);
        if let Some([query_norm, key_norm]) = &attention.norms {
            (query, key) = (query_norm.forward_parts(query), key_norm.forward_parts(key));
        }
        if let Some(rotation) = rotation {
            (query, key) = (rotary(query, rotation), rotary(key, rotation));
        }
        let mixed = attend(attention.layout, query, key, value);
        let x = x + self.scaled(0, attention.output.forward(mixed));
        let h = self.norm2.forward(x.clone());
        x + self.scaled(1, self.mlp.forward(h))
    }

    fn scaled(&self, part: usize, x: Tensor<2>) -> Tensor<2> {
        match &self.scales {
            Some(scales) => x * scales[part].clone().unsqueeze(),
            None => x,
        }
    }
}

/// Inverse frequencies `theta^(-2i/width)`, `width / 2` of them, in f32 as the reference computes them.
pub(crate) fn frequencies(theta: f64, width: usize) -> Vec<f32> {
    (0..width / 2)
        .map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / width as f32))
        .collect()
}
