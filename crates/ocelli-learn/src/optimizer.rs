//! AdamW with a learning-rate schedule and clipping by global norm.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use ocelli_model::checkpoint::{read_tensor_bytes, write_tensors};
use ocelli_model::error::ModelError;
use ocelli_model::ops::adamw::{AdamWStep, adamw};
use ocelli_model::part::{Parts, part_of};
use ocelli_model::weights::Weights;
use serde::{Deserialize, Serialize};

use crate::trainable::Training;

/// How the learning rate goes down after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduler {
    Constant,
    /// Half a cosine from the peak to zero.
    #[default]
    Cosine,
    /// A straight line from the peak to zero.
    Linear,
}

/// Which parameters weight decay shrinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecayRule {
    /// Everything with more than one dimension: no gain, no bias.
    #[default]
    Matrices,
    /// What `Trainer` of transformers 5.23 decays, and so TRL: all but names that hold `bias`, `layernorm` or `rmsnorm` or have a part
    /// that is `norm` or ends in `_norm`. In Qwen2.5-VL this misses the vision tower's gains (`norm1`, `norm2`, `ln_q`), which shrink.
    Transformers,
}

impl DecayRule {
    /// Whether a parameter of this name and shape is shrunk.
    pub fn decays(self, name: &str, shape: &[usize]) -> bool {
        let spared = |part: &str| part == "norm" || part.ends_with("_norm");
        match self {
            Self::Matrices => shape.len() > 1,
            Self::Transformers => {
                let holds = |word| name.contains(word);
                !["bias", "layernorm", "rmsnorm"].into_iter().any(holds)
                    && !name.split('.').any(spared)
            }
        }
    }
}

/// Optimizer of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Peak learning rates of parts that have one of their own.
    #[serde(skip_serializing_if = "Parts::is_empty")]
    pub part_learning_rates: Parts<f64>,
    /// What the learning rate does after warm-up: `constant`, `cosine` or `linear`.
    pub lr_scheduler_type: Scheduler,
    /// Share of the steps in which the learning rate rises from zero.
    pub warmup_ratio: f64,
    /// Decay of AdamW.
    pub weight_decay: f64,
    /// What it is applied to: `matrices`, or `transformers` for all that the trainers of transformers and TRL decay.
    pub weight_decay_rule: DecayRule,
    pub adam_beta1: f64,
    pub adam_beta2: f64,
    pub adam_epsilon: f64,
    /// Gradients are scaled down to this global norm; 0 turns clipping off.
    pub max_grad_norm: f64,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-6,
            part_learning_rates: Parts::default(),
            lr_scheduler_type: Scheduler::default(),
            warmup_ratio: 0.0,
            weight_decay: 0.0,
            weight_decay_rule: DecayRule::default(),
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
        }
    }
}

impl OptimConfig {
    /// Checks the settings; `place` names them in the error.
    ///
    /// # Errors
    /// Names the first key whose value makes no step, or that has no effect.
    pub fn check(&self, place: &str) -> Result<(), String> {
        let from_zero = |value: f64| value.is_finite() && value >= 0.0;
        let below_one = |value: f64| (0.0..1.0).contains(&value);
        for (key, holds, wanted) in [
            (
                "learning_rate",
                from_zero(self.learning_rate),
                "a number from 0 on",
            ),
            (
                "warmup_ratio",
                (0.0..=1.0).contains(&self.warmup_ratio),
                "between 0 and 1",
            ),
            (
                "weight_decay",
                from_zero(self.weight_decay),
                "a number from 0 on",
            ),
            (
                "adam_beta1",
                below_one(self.adam_beta1),
                "from 0 to below 1",
            ),
            (
                "adam_beta2",
                below_one(self.adam_beta2),
                "from 0 to below 1",
            ),
            (
                "adam_epsilon",
                self.adam_epsilon.is_finite() && self.adam_epsilon > 0.0,
                "a number above 0",
            ),
            (
                "max_grad_norm",
                from_zero(self.max_grad_norm),
                "a number above 0, or 0 for no clipping",
            ),
        ] {
            if !holds {
                return Err(format!("{place}: `optim.{key}` must be {wanted}"));
            }
        }
        if self.weight_decay_rule != DecayRule::default() && self.weight_decay == 0.0 {
            return Err(format!(
                "{place}: `optim.weight_decay_rule` does nothing while `optim.weight_decay` is 0; set that, or leave the rule out"
            ));
        }
        Ok(())
    }

    /// Learning rate of step `step` (from 0) out of `total`.
    pub fn rate(&self, step: u64, total: u64) -> f64 {
        self.rate_from(self.learning_rate, step, total)
    }

    /// The same of the part that a parameter belongs to.
    pub fn rate_of(&self, name: &str, step: u64, total: u64) -> f64 {
        let own = self.part_learning_rates.get(part_of(name));
        self.rate_from(own.unwrap_or(self.learning_rate), step, total)
    }

    fn rate_from(&self, peak: f64, step: u64, total: u64) -> f64 {
        let warmup = (self.warmup_ratio * total as f64).ceil();
        let step = step as f64;
        if step < warmup {
            return peak * (step + 1.0) / warmup;
        }
        let progress = ((step - warmup) / (total as f64 - warmup).max(1.0)).clamp(0.0, 1.0);
        peak * match self.lr_scheduler_type {
            Scheduler::Constant => 1.0,
            Scheduler::Linear => 1.0 - progress,
            Scheduler::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
    }
}

/// Gradients by parameter name.
pub type NamedGradients = BTreeMap<String, Tensor<1>>;

/// Adds `more` to `sum`.
pub fn accumulate(sum: &mut NamedGradients, more: NamedGradients) {
    for (name, gradient) in more {
        match sum.remove(&name) {
            Some(before) => sum.insert(name, before + gradient),
            None => sum.insert(name, gradient),
        };
    }
}

/// AdamW's state of one stage.
#[derive(Clone, Debug)]
pub struct Optimizer {
    config: OptimConfig,
    /// What it trains; everything, unless it is told otherwise.
    pub training: Training,
    steps: u64,
    /// First and second moment by name.
    moments: BTreeMap<String, [Tensor<1>; 2]>,
}

/// What a step did.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    pub learning_rate: f64,
    /// False when the gradient was not finite and the step was left out.
    pub applied: bool,
}

impl Optimizer {
    /// No steps taken.
    pub fn new(config: &OptimConfig) -> Self {
        Self {
            config: config.clone(),
            training: Training::default(),
            steps: 0,
            moments: BTreeMap::new(),
        }
    }

    /// One step on the parameters that have gradients; `step` of `total` places it in the schedule. A gradient that is not
    /// finite leaves everything as it was.
    pub fn step(
        &mut self,
        weights: &mut Weights,
        mut gradients: NamedGradients,
        step: u64,
        total: u64,
    ) -> StepReport {
        let squares: f64 = gradients
            .values()
            .map(|g| f64::from(g.clone().square().sum().into_scalar::<f32>()))
            .sum();
        let grad_norm = squares.sqrt();
        let learning_rate = self.config.rate(step, total);
        if !grad_norm.is_finite() {
            return StepReport {
                grad_norm,
                learning_rate,
                applied: false,
            };
        }
        let limit = self.config.max_grad_norm;
        let gradient_scale = if limit > 0.0 && grad_norm > limit {
            (limit / (grad_norm + 1e-6)) as f32
        } else {
            1.0
        };
        self.steps += 1;
        let scalars = AdamWStep {
            learning_rate: learning_rate as f32,
            beta1: self.config.adam_beta1 as f32,
            beta2: self.config.adam_beta2 as f32,
            epsilon: self.config.adam_epsilon as f32,
            weight_decay: 0.0,
            step: self.steps,
            gradient_scale,
        };
        let decay = self.config.weight_decay as f32;
        let config = &self.config;
        let moments = &mut self.moments;
        let rule = self.config.weight_decay_rule;
        let decayed: Vec<String> = weights
            .iter()
            .filter(|(name, p)| rule.decays(name, &p.shape))
            .map(|(name, _)| name.to_owned())
            .collect();
        weights.update(|name, value| {
            let Some(gradient) = gradients.remove(name) else {
                return value;
            };
            let [first, second] = moments
                .remove(name)
                .unwrap_or_else(|| [value.zeros_like(), value.zeros_like()]);
            let scalars = AdamWStep {
                learning_rate: config.rate_of(name, step, total) as f32,
                weight_decay: if decayed.binary_search_by(|m| m.as_str().cmp(name)).is_ok() {
                    decay
                } else {
                    0.0
                },
                ..scalars
            };
            let (value, first, second) = adamw(value, gradient, first, second, scalars);
            moments.insert(name.to_owned(), [first, second]);
            value
        });
        StepReport {
            grad_norm,
            learning_rate,
            applied: true,
        }
    }

    /// Writes the state as a safetensors file.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let shapes: BTreeMap<&str, [usize; 1]> = self
            .moments
            .iter()
            .map(|(name, [first, _])| (name.as_str(), first.dims()))
            .collect();
        let tensors = self.moments.iter().flat_map(|(name, [first, second])| {
            let shape = &shapes[name.as_str()][..];
            [
                (format!("first.{name}"), shape, first),
                (format!("second.{name}"), shape, second),
            ]
        });
        write_tensors(path, tensors)
    }

    /// The state that [`Self::save`] wrote, after `steps` applied steps.
    ///
    /// # Errors
    /// When the bytes hold something else.
    pub fn from_bytes(
        config: &OptimConfig,
        steps: u64,
        bytes: &[u8],
        device: &Device,
    ) -> Result<Self, String> {
        let mut halves: BTreeMap<String, Tensor<1>> = read_tensor_bytes(bytes)?
            .into_iter()
            .map(|(name, values)| {
                let length = values.len();
                (
                    name,
                    Tensor::from_data(TensorData::new(values, [length]), device),
                )
            })
            .collect();
        let names: Vec<String> = halves
            .keys()
            .filter_map(|n| n.strip_prefix("first.").map(str::to_owned))
            .collect();
        let mut moments = BTreeMap::new();
        for name in names {
            let pair = (
                halves.remove(&format!("first.{name}")),
                halves.remove(&format!("second.{name}")),
            );
            let (Some(first), Some(second)) = pair else {
                return Err(format!("the second moment of `{name}` is missing"));
            };
            moments.insert(name, [first, second]);
        }
        Ok(Self {
            config: config.clone(),
            training: Training::default(),
            steps,
            moments,
        })
    }

    /// Steps applied so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_at_their_corners() {
        let config = OptimConfig {
            learning_rate: 1.0,
            warmup_ratio: 0.1,
            lr_scheduler_type: Scheduler::Cosine,
            ..OptimConfig::default()
        };
        assert!((config.rate(0, 100) - 0.1).abs() < 1e-12);
        assert!((config.rate(9, 100) - 1.0).abs() < 1e-12);
        assert!((config.rate(10, 100) - 1.0).abs() < 1e-12);
        assert!((config.rate(55, 100) - 0.5).abs() < 1e-12);
        let linear = OptimConfig {
            lr_scheduler_type: Scheduler::Linear,
            warmup_ratio: 0.0,
            ..config
        };
        assert!((linear.rate(25, 100) - 0.75).abs() < 1e-12);
    }

    #[test]
    fn parts_have_rates_of_their_own() {
        let config = OptimConfig {
            learning_rate: 1.0,
            lr_scheduler_type: Scheduler::Linear,
            part_learning_rates: Parts {
                vision: Some(0.1),
                ..Parts::default()
            },
            ..OptimConfig::default()
        };
        assert_eq!(config.rate_of("visual.blocks.0.norm1.weight", 5, 10), 0.05);
        assert_eq!(config.rate_of("visual.merger.mlp.0.weight", 5, 10), 0.5);
        let device = Device::flex();
        let mut weights = Weights::default();
        let (seen, said) = ("visual.w", "model.w");
        let mut gradients = NamedGradients::new();
        for name in [seen, said] {
            weights.insert(name, &[1], vec![1.0], &device);
            gradients.insert(name.into(), Tensor::from_floats([1.0], &device));
        }
        Optimizer::new(&config).step(&mut weights, gradients, 0, 1);
        let moved = |name: &str| {
            let value = weights.get(name).unwrap().value.to_data();
            1.0 - value.try_to_vec::<f32>().unwrap()[0]
        };
        assert!((moved(said) - 1.0).abs() < 1e-5 && (moved(seen) - 0.1).abs() < 1e-5);
    }

    #[test]
    fn settings_that_make_no_step_are_refused_by_key() {
        let refused = |change: fn(&mut OptimConfig)| {
            let mut config = OptimConfig::default();
            change(&mut config);
            config.check("stage 1").unwrap_err()
        };
        assert!(OptimConfig::default().check("stage 1").is_ok());
        assert!(refused(|c| c.learning_rate = f64::NAN).contains("optim.learning_rate"));
        assert!(refused(|c| c.warmup_ratio = 1.5).contains("optim.warmup_ratio"));
        assert!(refused(|c| c.weight_decay = -0.1).contains("optim.weight_decay"));
        assert!(refused(|c| c.adam_beta1 = 1.0).contains("optim.adam_beta1"));
        assert!(refused(|c| c.adam_beta2 = -0.5).contains("optim.adam_beta2"));
        assert!(refused(|c| c.adam_epsilon = 0.0).contains("optim.adam_epsilon"));
        assert!(refused(|c| c.max_grad_norm = f64::INFINITY).contains("optim.max_grad_norm"));
        let rule = refused(|c| c.weight_decay_rule = DecayRule::Transformers);
        assert!(rule.contains("optim.weight_decay_rule"));
    }

    #[test]
    fn decay_spares_gains_as_each_rule_says() {
        let decays = |rule: DecayRule, name, dimensions| rule.decays(name, &vec![2; dimensions]);
        for (name, dimensions, matrices, transformers) in [
            ("model.layers.0.mlp.up_proj.weight", 2, true, true),
            ("visual.patch_embed.proj.weight", 5, true, true),
            ("model.layers.0.self_attn.q_proj.bias", 1, false, false),
            ("model.layers.0.input_layernorm.weight", 1, false, false),
            ("model.norm.weight", 1, false, false),
            ("model.layers.0.self_attn.q_norm.weight", 1, false, false),
            ("visual.blocks.0.norm1.weight", 1, false, true),
            ("visual.merger.ln_q.weight", 1, false, true),
        ] {
            assert_eq!(
                decays(DecayRule::Matrices, name, dimensions),
                matrices,
                "{name}"
            );
            assert_eq!(
                decays(DecayRule::Transformers, name, dimensions),
                transformers,
                "{name}"
            );
        }
    }

    #[test]
    fn two_steps_of_a_worked_example() {
        let device = Device::flex();
        let mut weights = Weights::default();
        weights.insert("w", &[1, 2], vec![1.0, -2.0], &device);
        let config = OptimConfig {
            learning_rate: 0.1,
            lr_scheduler_type: Scheduler::Constant,
            weight_decay: 0.5,
            max_grad_norm: 0.0,
            ..OptimConfig::default()
        };
        let mut optimizer = Optimizer::new(&config);
        let (mut p, mut m, mut v) = ([1.0f64, -2.0], [0.0f64; 2], [0.0f64; 2]);
        for (t, g) in [[0.3f32, -0.1], [0.2, 0.4]].into_iter().enumerate() {
            let gradient = Tensor::from_floats(g, &device);
            optimizer.step(
                &mut weights,
                [("w".to_owned(), gradient)].into(),
                t as u64,
                2,
            );
            for i in 0..2 {
                let g = f64::from(g[i]);
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let n = t as i32 + 1;
                let (mh, vh) = (
                    m[i] / (1.0 - 0.9f64.powi(n)),
                    v[i] / (1.0 - 0.999f64.powi(n)),
                );
                p[i] = p[i] * (1.0 - 0.1 * 0.5) - 0.1 * mh / (vh.sqrt() + 1e-8);
            }
        }
        let got: Vec<f32> = weights
            .get("w")
            .unwrap()
            .value
            .to_data()
            .try_to_vec()
            .unwrap();
        for (got, want) in got.iter().zip(p) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
        }
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() {
        let device = Device::flex();
        let mut weights = Weights::default();
        weights.insert("w", &[1], vec![1.0], &device);
        let mut optimizer = Optimizer::new(&OptimConfig::default());
        let gradient = Tensor::from_floats([f32::NAN], &device);
        let report = optimizer.step(&mut weights, [("w".to_owned(), gradient)].into(), 0, 1);
        assert!(!report.applied && optimizer.steps() == 0);
        assert_eq!(
            weights
                .get("w")
                .unwrap()
                .value
                .to_data()
                .try_to_vec::<f32>()
                .unwrap(),
            [1.0]
        );
    }
}
