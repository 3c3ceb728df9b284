//! Named parameters of a network.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use ocelli_core::seed::normal;
use ocelli_core::{Purpose, SeedKey};
use rand::RngExt;

use crate::error::ModelError;

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
}

impl Weights {
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
        Self { parameters }
    }

    /// Gradients of the tracked parameters, by name.
    pub fn gradients(&self, gradients: &mut Gradients) -> BTreeMap<String, Tensor<1>> {
        self.parameters
            .iter()
            .filter_map(|(name, p)| Some((name.clone(), p.value.grad_remove(gradients)?)))
            .collect()
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
