//! Named parameters of a network.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use ocelli_core::seed::normal;
use ocelli_core::{Purpose, SeedKey};
use rand::RngExt;

use crate::adapter::{Adapter, DOWN, MAGNITUDE, UP, is_adapter_tensor};
use crate::error::ModelError;
use crate::heads::is_head;
use crate::low_rank::{Dropout, LowRank, gain};

/// One tensor of a checkpoint, kept flat: networks take typed views of it.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub shape: Vec<usize>,
    /// `[product of shape]`; f32, or as the checkpoint stores it where nothing is to be trained.
    pub value: Tensor<1>,
}

/// All parameters by their Hugging Face names.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    parameters: BTreeMap<String, Parameter>,
    /// What the tensors beside the model's own mean.
    adapter: Option<Arc<Adapter>>,
    /// What the adapter's inputs fall out by; nothing does without it.
    dropout: Option<SeedKey>,
    /// Where layers that are computed anew in the backward pass leave their gradients.
    recomputed: Option<Arc<Mutex<BTreeMap<String, Tensor<1>>>>>,
}

/// Adds a gradient to those of the same name.
fn add(sum: &mut BTreeMap<String, Tensor<1>>, name: String, gradient: Tensor<1>) {
    let gradient = match sum.remove(&name) {
        Some(before) => before + gradient,
        None => gradient,
    };
    sum.insert(name, gradient);
}

impl Weights {
    /// The same tracked weights for a network that keeps only the inputs of its language layers, and computes the rest of them anew in
    /// the backward pass.
    #[must_use]
    pub fn recomputing(mut self) -> Self {
        self.recomputed = Some(Arc::default());
        self
    }

    /// Whether a network of these weights computes its layers anew.
    pub(crate) fn recomputes(&self) -> bool {
        self.recomputed.is_some()
    }

    /// The parameters below a prefix as leaves of a graph of their own, or, without `tracked`, as constants.
    pub(crate) fn fresh(&self, prefix: &str, tracked: bool) -> Self {
        let below = self.parameters.range(prefix.to_owned()..);
        let below = below.take_while(|(name, _)| name.starts_with(prefix));
        let parameters = below.map(|(name, p)| {
            let mut value = p.value.clone().inner();
            if tracked {
                value = Tensor::from_inner(value).set_require_grad(p.value.is_require_grad());
            }
            let shape = p.shape.clone();
            (name.clone(), Parameter { shape, value })
        });
        Self {
            parameters: parameters.collect(),
            adapter: self.adapter.clone(),
            dropout: self.dropout.clone(),
            recomputed: None,
        }
    }

    /// Leaves the gradients of a layer that was computed anew.
    pub(crate) fn leave(&self, gradients: BTreeMap<String, Tensor<1>>) {
        let Some(left) = &self.recomputed else {
            return;
        };
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, gradient) in gradients {
            add(&mut left, name, gradient);
        }
    }

    /// The adapter over the model.
    pub fn adapter(&self) -> Option<&Arc<Adapter>> {
        self.adapter.as_ref()
    }

    /// Says what the tensors of an adapter mean, which must be among these.
    #[must_use]
    pub fn with_adapter(mut self, adapter: Adapter) -> Self {
        self.adapter = Some(Arc::new(adapter));
        self
    }

    /// The same model with its adapter off. Tensors are shared, not copied.
    #[must_use]
    pub fn without_adapter(&self) -> Self {
        let mut own = self.own();
        if let Some(adapter) = &self.adapter {
            own.parameters.extend(adapter.saved.clone());
        }
        own
    }

    /// The model's own tensors, those that were trained beside an adapter among them.
    pub(crate) fn own(&self) -> Self {
        let own = self.parameters.iter();
        let own = own.filter(|(name, _)| !is_adapter_tensor(name));
        Self {
            parameters: own.map(|(name, p)| (name.clone(), p.clone())).collect(),
            ..Self::default()
        }
    }

    /// The same weights with dropout before the adapter's matrices; `key` tells the step and the micro-batch.
    #[must_use]
    pub fn with_dropout(mut self, key: SeedKey) -> Self {
        self.dropout = Some(key);
        self
    }

    /// Whether a parameter can be trained: all of a model by itself, with an adapter what belongs to that, and heads.
    pub fn trains(&self, name: &str) -> bool {
        is_head(name) || self.adapter.as_ref().is_none_or(|a| a.trains(name))
    }

    /// What the adapter adds to some outputs of a module, whose rows `weight` holds.
    pub(crate) fn low_rank(
        &self,
        module: &str,
        weight: &Tensor<2>,
        outputs: Range<usize>,
    ) -> Option<LowRank> {
        let adapter = &self.adapter.as_ref()?.config;
        let down = self.parameters.get(&format!("{module}{DOWN}"))?;
        let up = self.parameters.get(&format!("{module}{UP}"))?;
        let rank = down.shape[0];
        let down = down.value.clone().reshape([rank, down.shape[1]]);
        let rows = outputs.start * rank..outputs.end * rank;
        let up = up.value.clone().slice(rows).reshape([outputs.len(), rank]);
        let scale = adapter.scale();
        let magnitude = self.parameters.get(&format!("{module}{MAGNITUDE}"));
        let gain = magnitude.map(|p| {
            let magnitude = p.value.clone().slice(outputs);
            gain(weight, (&down, &up, scale), magnitude)
        });
        let key = self.dropout.as_ref();
        let dropout = key
            .filter(|_| adapter.lora_dropout > 0.0)
            .map(|key| Dropout {
                share: adapter.lora_dropout,
                key: key.clone().task(module),
            });
        Some(LowRank {
            down,
            up,
            gain,
            scale,
            dropout,
        })
    }

    /// Adds a parameter from row-major values.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        values: Vec<f32>,
        device: &Device,
    ) {
        self.insert_data(
            name,
            shape,
            TensorData::new(values, [shape.iter().product::<usize>()]),
            device,
        );
    }

    /// Adds a parameter in the type of its data, which is flat.
    pub fn insert_data(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        data: TensorData,
        device: &Device,
    ) {
        let dtype = data.dtype();
        let value = Tensor::from_data(data, (device, dtype));
        self.parameters.insert(
            name.into(),
            Parameter {
                shape: shape.to_vec(),
                value,
            },
        );
    }

    /// Names in order, with their parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.parameters.iter().map(|(name, p)| (name.as_str(), p))
    }

    /// The parameter of that name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.parameters.get(name)
    }

    /// Number of scalars in all parameters.
    pub fn scalars(&self) -> usize {
        self.parameters
            .values()
            .map(|p| p.shape.iter().product::<usize>())
            .sum()
    }

    /// Brings the parameters that `wanted` names to f32, as training needs them. Half precision widens exactly.
    pub fn widen(&mut self, wanted: impl Fn(&str) -> bool) {
        for (name, parameter) in &mut self.parameters {
            if wanted(name) && parameter.value.dtype() != DType::F32 {
                parameter.value = parameter.value.clone().cast(DType::F32);
            }
        }
    }

    /// Bytes that all values take in memory.
    pub fn bytes(&self) -> usize {
        let size = |p: &Parameter| p.shape.iter().product::<usize>() * p.value.dtype().size();
        self.parameters.values().map(size).sum()
    }

    /// Replaces the value of one parameter by another of the same shape.
    pub(crate) fn replace(&mut self, name: &str, value: Tensor<1>) {
        if let Some(parameter) = self.parameters.get_mut(name) {
            parameter.value = value;
        }
    }

    /// Replaces every value, with the name to tell which.
    pub fn update(&mut self, mut f: impl FnMut(&str, Tensor<1>) -> Tensor<1>) {
        for (name, parameter) in &mut self.parameters {
            // Taken out, so that an update in place finds the only handle.
            let value =
                std::mem::replace(&mut parameter.value, Tensor::empty([0], &Device::flex()));
            parameter.value = f(name, value);
        }
    }

    /// The same parameters as leaves of a gradient graph; those `trainable` refuses stay constants.
    pub fn tracked(&self, trainable: impl Fn(&str) -> bool) -> Self {
        let parameters = self
            .parameters
            .iter()
            .map(|(name, p)| {
                let value = Tensor::from_inner(p.value.clone());
                let value = if trainable(name) {
                    value.require_grad()
                } else {
                    value
                };
                (
                    name.clone(),
                    Parameter {
                        shape: p.shape.clone(),
                        value,
                    },
                )
            })
            .collect();
        Self {
            parameters,
            ..self.clone()
        }
    }

    /// Gradients of the tracked parameters, by name.
    pub fn gradients(&self, gradients: &mut Gradients) -> BTreeMap<String, Tensor<1>> {
        let mut all: BTreeMap<String, Tensor<1>> = self
            .parameters
            .iter()
            .filter_map(|(name, p)| Some((name.clone(), p.value.grad_remove(gradients)?)))
            .collect();
        if let Some(left) = &self.recomputed {
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, gradient) in std::mem::take(&mut *left) {
                add(&mut all, name, gradient);
            }
        }
        all
    }

    /// Checks names and shapes against what a network asks for.
    ///
    /// # Errors
    /// Lists missing and unexpected names, or the first wrong shape.
    pub fn check(&self, expected: &[(String, Vec<usize>)]) -> Result<(), ModelError> {
        let missing: Vec<String> = expected
            .iter()
            .filter(|(name, _)| !self.parameters.contains_key(name))
            .map(|(name, _)| name.clone())
            .collect();
        if !missing.is_empty() {
            return Err(ModelError::MissingTensors { names: missing });
        }
        let known: BTreeMap<&str, &[usize]> = expected
            .iter()
            .map(|(n, s)| (n.as_str(), s.as_slice()))
            .collect();
        let unexpected: Vec<String> = self
            .parameters
            .keys()
            .filter(|n| !known.contains_key(n.as_str()))
            .cloned()
            .collect();
        if !unexpected.is_empty() {
            return Err(ModelError::UnexpectedTensors { names: unexpected });
        }
        for (name, parameter) in &self.parameters {
            let shape = known[name.as_str()];
            if parameter.shape != shape {
                return Err(ModelError::Shape {
                    name: name.clone(),
                    found: parameter.shape.clone(),
                    expected: shape.to_vec(),
                });
            }
        }
        Ok(())
    }

    /// Random weights: embeddings N(0, `std`²), other matrices uniform within ±1/√inputs (PyTorch's default for linear layers),
    /// gains of norms one, biases zero. One standard deviation for all matrices, as transformers has it, suits wide layers;
    /// at a width of 64 it is so small that the picture is ignored for the first thousand steps.
    pub fn random(expected: &[(String, Vec<usize>)], std: f32, seed: u64, device: &Device) -> Self {
        let mut weights = Self::default();
        for (name, shape) in expected {
            let count = shape.iter().product();
            let mut rng = SeedKey::new(seed, Purpose::Weights)
                .task(name.as_str())
                .rng();
            let values = if name.ends_with("embed_tokens.weight") || name == "lm_head.weight" {
                (0..count).map(|_| std * normal(&mut rng) as f32).collect()
            } else if let [_, inputs @ ..] = shape.as_slice()
                && !inputs.is_empty()
            {
                let bound = 1.0 / (inputs.iter().product::<usize>() as f32).sqrt();
                (0..count)
                    .map(|_| rng.random_range(-bound..bound))
                    .collect()
            } else if name.ends_with(".bias") {
                vec![0.0; count]
            } else {
                vec![1.0; count]
            };
            weights.insert(name, shape, values, device);
        }
        weights
    }
}
