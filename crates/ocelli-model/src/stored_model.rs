//! What can be said of a checkpoint without reading its weights.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use burn::tensor::Device;

use crate::checkpoint::{
    Checkpoint, ConfigOverrides, Source, malformed, mapped, parse_json, tensors_of, weight_files,
};
use crate::config::{ModelConfig, TowerConfig};
use crate::error::ModelError;
use crate::families::qwen_tower::Sizes;
use crate::heads::is_head;
use crate::text_config::TextKind;

/// A tensor as a checkpoint's files hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    pub name: String,
    pub shape: Vec<usize>,
    /// `F32`, `BF16`, …
    pub dtype: String,
    pub bytes: usize,
}

impl StoredTensor {
    /// Numbers in it.
    pub fn parameters(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What can be said of a checkpoint without reading its weights.
#[derive(Clone, Debug)]
pub struct StoredModel {
    pub origin: String,
    pub model_type: String,
    /// The configuration's sizes, a line for the tower and one for the language model.
    pub summary: String,
    pub tensors: Vec<StoredTensor>,
    /// Tensors that `config.json` asks for and the files lack.
    pub missing: Vec<String>,
    /// Tensors of the files that `config.json` has no place for.
    pub unexpected: Vec<String>,
}

impl Checkpoint {
    /// Describes a checkpoint folder, a preset, or a model in the Hugging Face cache, without reading weights.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn stored(reference: &str) -> Result<StoredModel, ModelError> {
        let source = Source::find(reference)?;
        let origin = match &source {
            Source::Folder(folder) => folder.display().to_string(),
            Source::Preset(_) => reference.to_owned(),
        };
        let (config, tensors) = match source {
            Source::Folder(folder) => stored_folder(&folder)?,
            Source::Preset(preset) => {
                let none = ConfigOverrides::default();
                stored_preset(&Self::from_preset(&preset, &none, 0, &Device::flex())?)
            }
        };
        let wanted: BTreeSet<String> = config.parameters().into_iter().map(|(n, _)| n).collect();
        let found: BTreeSet<String> = tensors.iter().map(|t| t.name.clone()).collect();
        Ok(StoredModel {
            origin,
            model_type: config.model_type.clone(),
            summary: summary(&config),
            missing: wanted.difference(&found).cloned().collect(),
            unexpected: found
                .difference(&wanted)
                .filter(|name| !is_head(name))
                .cloned()
                .collect(),
            tensors,
        })
    }
}

fn stored_folder(folder: &Path) -> Result<(ModelConfig, Vec<StoredTensor>), ModelError> {
    let path = folder.join("config.json");
    let bytes = fs::read(&path).map_err(|_| ModelError::NoCheckpoint {
        path: folder.to_owned(),
    })?;
    let json = parse_json(&path, &bytes)?;
    let config = ModelConfig::parse(&json).map_err(|e| malformed(&path, e))?;
    let mut tensors = Vec::new();
    for file in weight_files(folder)? {
        tensors.extend(headers(&file, &config)?);
    }
    Ok((config, tensors))
}

fn stored_preset(checkpoint: &Checkpoint) -> (ModelConfig, Vec<StoredTensor>) {
    let tensors = checkpoint.weights.iter().map(|(name, p)| StoredTensor {
        name: name.to_owned(),
        shape: p.shape.clone(),
        dtype: "F32".into(),
        bytes: p.shape.iter().product::<usize>() * size_of::<f32>(),
    });
    (checkpoint.config.as_ref().clone(), tensors.collect())
}

/// What a safetensors file says of its tensors.
fn headers(path: &Path, config: &ModelConfig) -> Result<Vec<StoredTensor>, ModelError> {
    let map = mapped(path)?;
    let tensors = tensors_of(path, &map)?;
    let list = tensors.tensors().into_iter();
    Ok(list
        .map(|(name, view)| (config.published_name(&name), view))
        .filter(|(name, _)| !(config.tie_word_embeddings && name == config.text_names().head))
        .map(|(name, view)| StoredTensor {
            name,
            shape: view.shape().to_vec(),
            dtype: format!("{:?}", view.dtype()),
            bytes: view.data().len(),
        })
        .collect())
}

/// The sizes in words: a line for the tower, if there is one, and one for the language model.
fn summary(config: &ModelConfig) -> String {
    let mut text = config
        .tower
        .as_ref()
        .map_or_else(String::new, tower_summary);
    let t = &config.text;
    let kind = match config.text_kind {
        TextKind::Qwen2 => "Qwen2",
        TextKind::Qwen3 => "Qwen3",
        TextKind::Llama => "Llama",
    };
    text += &format!(
        "language: {kind}, {} layers, width {}, {} heads ({} of keys and values), vocabulary {}",
        t.num_hidden_layers,
        t.hidden_size,
        t.num_attention_heads,
        t.num_key_value_heads(),
        t.vocab_size,
    );
    if config.tie_word_embeddings {
        text += ", tied embeddings";
    }
    text
}

fn tower_summary(tower: &TowerConfig) -> String {
    let seen = |depth: usize, width: usize, heads: usize, patch: usize| {
        format!("vision: {depth} layers, width {width}, {heads} heads, patches of {patch} pixels\n")
    };
    let qwen = |s: Sizes| seen(s.depth, s.width.1, s.heads, s.patching.patch_size);
    match tower {
        TowerConfig::Qwen2Vl(v) => qwen(v.sizes()),
        TowerConfig::Qwen2_5Vl(v) => qwen(v.sizes()),
        TowerConfig::Qwen3Vl(v) => qwen(v.sizes()),
        TowerConfig::InternVl(v) => seen(
            v.num_hidden_layers,
            v.hidden_size,
            v.num_attention_heads,
            v.patch_side(),
        ),
        TowerConfig::SmolVlm(v) => seen(
            v.num_hidden_layers,
            v.hidden_size,
            v.num_attention_heads,
            v.patch_size,
        ),
        TowerConfig::Qwen2Audio(a) => format!(
            "audio: {} layers, width {}, {} heads\n",
            a.encoder_layers, a.d_model, a.encoder_attention_heads
        ),
    }
}
