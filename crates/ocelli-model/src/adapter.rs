//! Adapters: a few trained numbers beside a frozen model. Keys, patterns and first values are those of PEFT 0.21; the
//! arithmetic is in `low_rank.rs`, the files are in `adapter_file.rs`.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Device;
use fancy_regex::Regex;
use ocelli_core::{Purpose, SeedKey};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::layers::{LinearShape, linear_modules};
use crate::low_rank::row_norms;
use crate::ops::values;
use crate::weights::{Parameter, Weights};

/// Ends of the names of an adapter's tensors.
pub(crate) const DOWN: &str = ".lora_A.weight";
pub(crate) const UP: &str = ".lora_B.weight";
pub(crate) const MAGNITUDE: &str = ".lora_magnitude_vector";

/// Which linear layers get an adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// `"all-linear"`, or a regular expression that a module's whole name matches.
    Pattern(String),
    /// Ends of names: `q_proj`, `visual.merger.mlp.0`.
    Names(Vec<String>),
}

/// Takes every linear layer but the output matrix.
pub(crate) const ALL_LINEAR: &str = "all-linear";

impl Default for Targets {
    fn default() -> Self {
        Self::Pattern(ALL_LINEAR.into())
    }
}

/// Kind of adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterKind {
    /// Low-rank matrices beside frozen ones.
    Lora,
}

/// An adapter's settings, named as in PEFT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// `lora`.
    pub kind: AdapterKind,
    /// Rank of the two matrices.
    #[serde(default = "default_rank")]
    pub r: usize,
    /// Their product is multiplied by `lora_alpha / r`.
    #[serde(default = "default_alpha")]
    pub lora_alpha: f64,
    /// Share of an adapter's inputs that is zeroed in training.
    #[serde(default)]
    pub lora_dropout: f64,
    /// Which linear layers get one: ends of module names, a regular expression, or `all-linear`.
    #[serde(default)]
    pub target_modules: Targets,
    /// Which of them don't, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<Targets>,
    /// Modules that are trained whole beside the adapter, and kept with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
    /// Multiplies by `lora_alpha / √r` instead.
    #[serde(default)]
    pub use_rslora: bool,
    /// Trains the length of every row of a matrix by itself.
    #[serde(default)]
    pub use_dora: bool,
}

fn default_rank() -> usize {
    16
}

fn default_alpha() -> f64 {
    32.0
}

/// An adapter in memory. Its tensors lie with the model's under `MODULE.lora_A.weight` and so on.
#[derive(Clone, Debug)]
pub struct Adapter {
    pub config: AdapterConfig,
    /// Folder or name of the model under it.
    pub base: String,
    /// The model's own tensors that are trained with it, as they are without it.
    pub saved: BTreeMap<String, Parameter>,
}

/// Whether a tensor belongs to an adapter, by its name.
pub fn is_adapter_tensor(name: &str) -> bool {
    [DOWN, UP, MAGNITUDE].iter().any(|end| name.ends_with(end))
}

impl Adapter {
    /// Whether a tensor is trained: those of the adapter, and what is saved with it.
    pub fn trains(&self, name: &str) -> bool {
        is_adapter_tensor(name) || self.saved.contains_key(name)
    }
}

/// A list or a pattern, ready to be matched.
enum Matcher<'a> {
    Pattern(Regex),
    Names(&'a [String]),
}

impl<'a> Matcher<'a> {
    fn new(key: &str, targets: &'a Targets) -> Result<Self, String> {
        match targets {
            Targets::Names(names) => Ok(Self::Names(names)),
            Targets::Pattern(pattern) => Regex::new(&format!(r"\A(?:{pattern})\z"))
                .map(Self::Pattern)
                .map_err(|e| format!("`{key}` is no regular expression: {e}")),
        }
    }

    fn matches(&self, module: &str) -> bool {
        match self {
            // A pattern that runs out of steps matches nothing.
            Self::Pattern(pattern) => pattern.is_match(module).unwrap_or(false),
            Self::Names(names) => names.iter().any(|name| ends_with_name(module, name)),
        }
    }
}

/// Whether a dotted path is `name` or ends in it.
fn ends_with_name(path: &str, name: &str) -> bool {
    path.strip_suffix(name)
        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether `name` is a run of whole parts of a dotted path.
fn contains_name(path: &str, name: &str) -> bool {
    format!(".{path}.").contains(&format!(".{name}."))
}

/// Every module of a model that holds tensors, by its name in transformers: the tensors' names and all that they begin with.
fn module_names(config: &ModelConfig) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (name, _) in config.parameters() {
        let mut path = config.module_name(&name);
        while let Some((parent, _)) = path.rsplit_once('.') {
            path = parent.to_owned();
            modules.insert(path.clone());
        }
    }
    modules
}

impl AdapterConfig {
    /// Checks the numbers.
    ///
    /// # Errors
    /// Names the key.
    pub fn check(&self) -> Result<(), String> {
        for (key, holds, wanted) in [
            ("r", self.r > 0, "at least 1"),
            (
                "lora_alpha",
                self.scale().is_finite() && self.scale() > 0.0,
                "a number above 0 that can be divided by the rank",
            ),
            (
                "lora_dropout",
                (0.0..1.0).contains(&self.lora_dropout),
                "from 0 to below 1",
            ),
        ] {
            if !holds {
                return Err(format!("`{key}` must be {wanted}"));
            }
        }
        if let Targets::Names(names) = &self.target_modules
            && names.is_empty()
        {
            return Err("`target_modules` is empty; name modules such as \"q_proj\", or write \"all-linear\"".into());
        }
        for (key, targets) in [
            ("target_modules", Some(&self.target_modules)),
            ("exclude_modules", self.exclude_modules.as_ref()),
        ] {
            if let Some(targets) = targets {
                Matcher::new(key, targets)?;
            }
        }
        Ok(())
    }

    /// What the product of the two matrices is multiplied by: `alpha / r`, or `alpha / √r`.
    pub fn scale(&self) -> f32 {
        let rank = self.r as f64;
        let divisor = if self.use_rslora { rank.sqrt() } else { rank };
        (self.lora_alpha / divisor) as f32
    }

    /// The linear layers that get an adapter, named as in the checkpoint.
    ///
    /// # Errors
    /// When a pattern matches nothing, or something else than a linear layer.
    pub(crate) fn targets(&self, config: &ModelConfig) -> Result<Vec<LinearShape>, String> {
        let excluded = match &self.exclude_modules {
            Some(targets) => Some(Matcher::new("exclude_modules", targets)?),
            None => None,
        };
        let kept = |module: &str| {
            let saved = |name: &String| contains_name(module, name);
            !excluded.as_ref().is_some_and(|e| e.matches(module))
                && !self.modules_to_save.iter().any(saved)
        };
        let linear = linear_modules(config);
        let head = config.text_names().head.trim_end_matches(".weight");
        let wanted = if self.takes_all() {
            linear
                .into_iter()
                .filter(|layer| layer.name != head && kept(&config.module_name(&layer.name)))
                .collect()
        } else {
            let matcher = Matcher::new("target_modules", &self.target_modules)?;
            let takes = |module: &str| matcher.matches(module) && kept(module);
            let known: BTreeSet<String> =
                linear.iter().map(|l| config.module_name(&l.name)).collect();
            let modules = module_names(config);
            if let Some(other) = modules.iter().find(|m| takes(m) && !known.contains(*m)) {
                return Err(format!(
                    "`target_modules` matches `{other}`, which is no linear layer; name more of the path, or add it to \
                     `exclude_modules`"
                ));
            }
            let takes = |layer: &LinearShape| takes(&config.module_name(&layer.name));
            linear.into_iter().filter(takes).collect::<Vec<_>>()
        };
        if wanted.is_empty() {
            return Err(format!(
                "`target_modules` matches no linear layer; modules are called such as `{}`",
                linear_modules(config)
                    .last()
                    .map(|l| config.module_name(&l.name))
                    .unwrap_or_default()
            ));
        }
        Ok(wanted)
    }

    fn takes_all(&self) -> bool {
        matches!(&self.target_modules, Targets::Pattern(p) if p.eq_ignore_ascii_case(ALL_LINEAR))
    }

    /// `target_modules` as PEFT finds the same layers by: of `all-linear` the shortest ends of names that match no other module.
    pub(crate) fn written_targets(&self, config: &ModelConfig) -> Result<Targets, String> {
        if !self.takes_all() {
            return Ok(self.target_modules.clone());
        }
        let targets: BTreeSet<String> = self
            .targets(config)?
            .iter()
            .map(|layer| config.module_name(&layer.name))
            .collect();
        let others: Vec<String> = module_names(config)
            .into_iter()
            .filter(|module| !targets.contains(module))
            .collect();
        let names: BTreeSet<String> = targets
            .into_iter()
            .map(|target| {
                let last = target.rsplit('.').next().unwrap_or_default();
                if others.iter().any(|other| ends_with_name(other, last)) {
                    target
                } else {
                    last.to_owned()
                }
            })
            .collect();
        Ok(Targets::Names(names.into_iter().collect()))
    }

    /// The model's own tensors that are trained with the adapter.
    ///
    /// # Errors
    /// When a name of `modules_to_save` is no module's.
    pub(crate) fn saved(&self, config: &ModelConfig) -> Result<BTreeSet<String>, String> {
        let mut saved = BTreeSet::new();
        for module in &self.modules_to_save {
            let before = saved.len();
            for (name, _) in config.parameters() {
                let path = config.module_name(&name);
                let Some((parent, _)) = path.rsplit_once('.') else {
                    continue;
                };
                if contains_name(parent, module) {
                    saved.insert(name);
                }
            }
            if saved.len() == before {
                return Err(format!(
                    "`modules_to_save`: no module is called `{module}`; such names are `merger`, `multi_modal_projector` or `lm_head`"
                ));
            }
        }
        if config.tie_word_embeddings && saved.iter().any(|n| n.ends_with("embed_tokens.weight")) {
            return Err(
                "`modules_to_save` names the embeddings, which are the output matrix too; leave them out".into(),
            );
        }
        Ok(saved)
    }

    /// Lays a new adapter over a model: `A` uniform within `±1/√inputs` (Kaiming's with a = √5), `B` zero, magnitudes the lengths
    /// of the matrices' rows, so that at first nothing changes.
    ///
    /// # Errors
    /// As [`Self::check`], and when a pattern fits nothing of this model.
    pub fn attach(
        &self,
        config: &ModelConfig,
        weights: &Weights,
        base: &str,
        seed: u64,
        device: &Device,
    ) -> Result<Weights, String> {
        self.check()?;
        let saved = self.saved(config)?.into_iter();
        let saved = saved.filter_map(|name| {
            let own = weights.get(&name)?.clone();
            Some((name, own))
        });
        let saved = saved.collect();
        let mut adapted = weights.clone();
        for layer in self.targets(config)? {
            let LinearShape {
                name,
                outputs,
                inputs,
            } = layer;
            let down = format!("{name}{DOWN}");
            let mut rng = SeedKey::new(seed, Purpose::Weights)
                .task(down.as_str())
                .rng();
            let bound = 1.0 / (inputs as f32).sqrt();
            let first = (0..self.r * inputs).map(|_| rng.random_range(-bound..bound));
            adapted.insert(down, &[self.r, inputs], first.collect(), device);
            let zeros = vec![0.0; outputs * self.r];
            adapted.insert(format!("{name}{UP}"), &[outputs, self.r], zeros, device);
            if self.use_dora {
                let weight = weights.get(&format!("{name}.weight")).ok_or_else(|| {
                    format!("the model lacks `{name}.weight`, which the adapter is for")
                })?;
                let norms = values(row_norms(weight.value.clone().reshape([outputs, inputs])));
                adapted.insert(format!("{name}{MAGNITUDE}"), &[outputs], norms, device);
            }
        }
        let adapter = Adapter {
            config: self.clone(),
            base: base.to_owned(),
            saved,
        };
        Ok(adapted.with_adapter(adapter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Preset;

    fn preset() -> ModelConfig {
        let preset = Preset::find("tiny-qwen2_5_vl").unwrap();
        let json = serde_json::from_slice(preset.file("config.json").unwrap()).unwrap();
        ModelConfig::parse(&json).unwrap()
    }

    fn lora(targets: Targets) -> AdapterConfig {
        AdapterConfig {
            kind: AdapterKind::Lora,
            r: 4,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            target_modules: targets,
            exclude_modules: None,
            modules_to_save: Vec::new(),
            use_rslora: false,
            use_dora: false,
        }
    }

    fn names(words: &[&str]) -> Targets {
        Targets::Names(words.iter().map(|w| (*w).to_owned()).collect())
    }

    fn targets(config: &AdapterConfig) -> Vec<String> {
        let targets = config.targets(&preset()).unwrap();
        targets.into_iter().map(|layer| layer.name).collect()
    }

    #[test]
    fn scales_are_those_of_both_rules() {
        let mut config = lora(Targets::default());
        assert_eq!(config.scale(), 2.0);
        config.use_rslora = true;
        assert_eq!(config.scale(), 4.0);
    }

    #[test]
    fn lists_patterns_and_all_linear_choose_modules() {
        let by_list = targets(&lora(names(&["q_proj", "attn.qkv"])));
        assert!(by_list.contains(&"visual.blocks.0.attn.qkv".to_owned()));
        assert!(by_list.contains(&"model.layers.0.self_attn.q_proj".to_owned()));
        let layers = by_list.len();
        let pattern = r"model\.language_model\..*\.(q|v)_proj";
        let by_pattern = targets(&lora(Targets::Pattern(pattern.into())));
        assert!(by_pattern.iter().all(|n| n.starts_with("model.layers.")));
        let all = targets(&lora(Targets::default()));
        assert!(all.len() > layers && all.contains(&"visual.merger.mlp.0".to_owned()));
        assert!(
            !all.iter()
                .any(|n| n.contains("patch_embed") || n.contains("lm_head"))
        );
        let mut config = lora(Targets::default());
        config.exclude_modules = Some(Targets::Pattern(r"model\.visual\..*".into()));
        assert!(
            targets(&config)
                .iter()
                .all(|n| n.starts_with("model.layers."))
        );
        config.exclude_modules = None;
        config.modules_to_save = vec!["merger".into()];
        assert!(!targets(&config).iter().any(|n| n.contains("merger")));
        let saved = config.saved(&preset()).unwrap();
        assert!(
            saved.contains("visual.merger.ln_q.weight")
                && saved.contains("visual.merger.mlp.2.bias")
        );
    }

    #[test]
    fn all_linear_is_written_as_names_that_match_the_same() {
        let config = lora(Targets::default());
        let written = config.written_targets(&preset()).unwrap();
        let Targets::Names(list) = &written else {
            panic!("{written:?}");
        };
        assert!(list.contains(&"q_proj".to_owned()));
        // `0` is also a layer, and `proj` also the patch embedding.
        assert!(list.contains(&"model.visual.merger.mlp.0".to_owned()));
        assert!(list.contains(&"model.visual.blocks.0.attn.proj".to_owned()));
        assert_eq!(targets(&lora(written.clone())), targets(&config));
    }

    #[test]
    fn what_fits_nothing_is_refused_with_the_mend() {
        let refused = |config: AdapterConfig| {
            let model = preset();
            let checked = config
                .check()
                .and_then(|()| config.saved(&model).map(|_| ()));
            checked
                .and_then(|()| config.targets(&model).map(|_| ()))
                .unwrap_err()
        };
        for (targets, wanted) in [
            (names(&["q_porj"]), "matches no linear layer"),
            (names(&[]), "`target_modules` is empty"),
            (
                names(&["proj"]),
                "patch_embed.proj`, which is no linear layer",
            ),
            (names(&["embed_tokens"]), "no linear layer"),
            (Targets::Pattern("(".into()), "no regular expression"),
        ] {
            let error = refused(lora(targets));
            assert!(error.contains(wanted), "{error}");
        }
        let mut config = lora(Targets::default());
        config.modules_to_save = vec!["mergr".into()];
        assert!(refused(config).contains("`mergr`"));
        let mut config = lora(Targets::default());
        config.lora_dropout = 1.0;
        assert!(refused(config).contains("lora_dropout"));
        let mut config = lora(Targets::default());
        config.r = 0;
        assert!(refused(config).contains("`r`"));
    }
}
