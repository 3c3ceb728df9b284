//! What can be said of a checkpoint without reading its weights.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;

use crate::checkpoint::{
    Checkpoint, ConfigOverrides, malformed, mapped, parse_json, tensors_of, weight_files,
};
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::hub_cache;
use crate::preset::Preset;

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
        let cached = match Preset::find(reference) {
            None if !Path::new(reference).is_dir() => hub_cache::snapshot(reference)?,
            _ => None,
        };
        let folder = cached.unwrap_or_else(|| PathBuf::from(reference));
        let (config, tensors) = if folder.is_dir() {
            let path = folder.join("config.json");
            let bytes = fs::read(&path).map_err(|_| ModelError::NoCheckpoint {
                path: folder.clone(),
            })?;
            let json = parse_json(&path, &bytes)?;
            let config = ModelConfig::parse(&json).map_err(|e| malformed(&path, e))?;
            let mut tensors = Vec::new();
            for file in weight_files(&folder)? {
                tensors.extend(headers(&file, &config)?);
            }
            (config, tensors)
        } else {
            let checkpoint =
                Self::open(reference, &ConfigOverrides::default(), 0, &Device::flex())?;
            let tensors = checkpoint.weights.iter().map(|(name, p)| StoredTensor {
                name: name.to_owned(),
                shape: p.shape.clone(),
                dtype: "F32".into(),
                bytes: p.shape.iter().product::<usize>() * size_of::<f32>(),
            });
            (checkpoint.config.as_ref().clone(), tensors.collect())
        };
        let wanted: BTreeSet<String> = config.parameters().into_iter().map(|(n, _)| n).collect();
        let found: BTreeSet<String> = tensors.iter().map(|t| t.name.clone()).collect();
        Ok(StoredModel {
            origin: folder.display().to_string(),
            model_type: config.model_type.clone(),
            summary: config.summary(),
            missing: wanted.difference(&found).cloned().collect(),
            unexpected: found.difference(&wanted).cloned().collect(),
            tensors,
        })
    }
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
