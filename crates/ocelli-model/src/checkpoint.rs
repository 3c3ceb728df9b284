//! Checkpoints in Hugging Face's layout: `config.json`, safetensors in one file or in shards, tokenizer, template and
//! processor settings. What Ocelli writes, transformers loads as it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

use crate::config::QwenVlConfig;
use crate::error::ModelError;
use crate::preset::Preset;
use crate::qwen2_5_vl;
use crate::weights::Weights;

/// Files beside the weights that are kept as they are and written again with every checkpoint.
const SIDE_FILES: &[&str] = &[
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

/// A model in memory: its files, configuration and weights.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where it came from, for messages.
    pub origin: String,
    /// Contents of the side files by name.
    pub files: BTreeMap<String, Vec<u8>>,
    pub config: Arc<QwenVlConfig>,
    pub weights: Weights,
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> ModelError {
    let path = path.to_owned();
    move |source| ModelError::File { path, source }
}

fn malformed(path: &Path, message: impl ToString) -> ModelError {
    ModelError::Malformed {
        path: path.to_owned(),
        message: message.to_string(),
    }
}

impl Checkpoint {
    /// Opens a checkpoint folder, or makes a preset with random weights from `seed`.
    ///
    /// # Errors
    /// When the reference is neither, or the checkpoint is unreadable, of another family, or incomplete.
    pub fn open(
        reference: &str,
        overrides: &ConfigOverrides,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let folder = Path::new(reference);
        if folder.is_dir() {
            if !overrides.is_empty() {
                return Err(malformed(
                    &folder.join("config.json"),
                    "sizes can be changed for presets only: a checkpoint's weights have the sizes they have",
                ));
            }
            return Self::load(folder, device);
        }
        match Preset::find(reference) {
            Some(preset) => Self::from_preset(&preset, overrides, seed, device),
            None => Err(ModelError::NoSuchModel {
                reference: reference.to_owned(),
                presets: Preset::names().map(str::to_owned).collect(),
            }),
        }
    }

    /// A preset's files with random weights.
    ///
    /// # Errors
    /// When the overridden sizes contradict each other.
    pub fn from_preset(
        preset: &Preset,
        overrides: &ConfigOverrides,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut files: BTreeMap<String, Vec<u8>> = preset
            .files()
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
            .collect();
        let path = PathBuf::from(preset.name()).join("config.json");
        let mut json = parse_json(&path, &files["config.json"])?;
        overrides.apply(&mut json);
        let config = QwenVlConfig::parse(&json).map_err(|e| malformed(&path, e))?;
        files.insert("config.json".into(), pretty(&json));
        let std = json["initializer_range"]
            .as_f64()
            .or_else(|| json["text_config"]["initializer_range"].as_f64())
            .unwrap_or(0.02);
        let weights = Weights::random(&qwen2_5_vl::parameters(&config), std as f32, seed, device);
        Ok(Self {
            origin: preset.name().to_owned(),
            files,
            config: Arc::new(config),
            weights,
        })
    }

    /// Reads a checkpoint folder.
    ///
    /// # Errors
    /// Names the file, and for tensors their names and shapes.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, ModelError> {
        let mut files = BTreeMap::new();
        for &name in SIDE_FILES {
            let path = folder.join(name);
            if path.is_file() {
                files.insert(name.to_owned(), fs::read(&path).map_err(file_error(&path))?);
            }
        }
        let path = folder.join("config.json");
        let Some(bytes) = files.get("config.json") else {
            return Err(file_error(&path)(std::io::ErrorKind::NotFound.into()));
        };
        let json = parse_json(&path, bytes)?;
        let found = json["model_type"].as_str().unwrap_or("(none)");
        if !crate::config::SUPPORTED.contains(&found) {
            return Err(ModelError::Unsupported {
                found: found.to_owned(),
                path,
            });
        }
        let config = QwenVlConfig::parse(&json).map_err(|e| malformed(&path, e))?;
        let mut weights = Weights::default();
        for path in weight_files(folder)? {
            read_tensors(&path, &config, &mut weights, device)?;
        }
        weights.check(&qwen2_5_vl::parameters(&config))?;
        Ok(Self {
            origin: folder.display().to_string(),
            files,
            config: Arc::new(config),
            weights,
        })
    }

    /// Writes the checkpoint beside `folder` first and renames it into place, so that a folder of that name is always
    /// whole. `extra` adds files such as the trainer's state, by relative path.
    ///
    /// # Errors
    /// When a file can't be written; nothing is left under the final name then.
    pub fn save(&self, folder: &Path, extra: &BTreeMap<String, Vec<u8>>) -> Result<(), ModelError> {
        let parent = folder.parent().unwrap_or(Path::new("."));
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let partial = parent.join(format!(".{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(file_error(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(file_error(&partial))?;
        for (name, bytes) in self.files.iter().chain(extra) {
            write_file(&partial.join(name), bytes)?;
        }
        let tensors = tensor_bytes(
            self.weights
                .iter()
                .map(|(name, p)| (name, p.shape.as_slice(), &p.value)),
        )
        .map_err(|e| malformed(&partial.join("model.safetensors"), e))?;
        write_file(&partial.join("model.safetensors"), &tensors)?;
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(file_error(folder))?;
        }
        fs::rename(&partial, folder).map_err(file_error(folder))?;
        if let Ok(parent) = File::open(parent) {
            // A rename is only safe on disk once the folder itself is.
            parent.sync_all().map_err(file_error(folder))?;
        }
        Ok(())
    }
}

/// Sizes of a preset that a recipe changes, by their name in `config.json`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigOverrides {
    /// Width of the vision tower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision_hidden_size: Option<usize>,
    /// Blocks of the vision tower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision_depth: Option<usize>,
    /// Width of the vision tower's feed-forward layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision_intermediate_size: Option<usize>,
    /// Layers of the language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_hidden_layers: Option<usize>,
}

impl ConfigOverrides {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn apply(&self, json: &mut Value) {
        let mut set = |section: &str, name: &str, value: Option<usize>| {
            if let Some(value) = value {
                json[section][name] = value.into();
            }
        };
        set("vision_config", "hidden_size", self.vision_hidden_size);
        set("vision_config", "depth", self.vision_depth);
        set(
            "vision_config",
            "intermediate_size",
            self.vision_intermediate_size,
        );
        set("text_config", "num_hidden_layers", self.num_hidden_layers);
        if let Some(depth) = self.vision_depth {
            // As in the published models, the last block of the tower sees the whole image.
            json["vision_config"]["fullatt_block_indexes"] = vec![depth.saturating_sub(1)].into();
        }
        if self.num_hidden_layers.is_some()
            && let Some(text) = json["text_config"].as_object_mut()
        {
            // Listed a layer; transformers fills it in again.
            text.remove("layer_types");
        }
    }
}

fn parse_json(path: &Path, bytes: &[u8]) -> Result<Value, ModelError> {
    serde_json::from_slice(bytes).map_err(|e| malformed(path, e))
}

fn pretty(json: &Value) -> Vec<u8> {
    let mut text = format!("{json:#}");
    text.push('\n');
    text.into_bytes()
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(file_error(parent))?;
    }
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(file_error(path))
}

/// The safetensors files of a folder: those its index names, or the single one.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let index = folder.join("model.safetensors.index.json");
    if !index.is_file() {
        return Ok(vec![folder.join("model.safetensors")]);
    }
    let json = parse_json(&index, &fs::read(&index).map_err(file_error(&index))?)?;
    let map = json["weight_map"]
        .as_object()
        .ok_or_else(|| malformed(&index, "`weight_map` is missing"))?;
    let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The name a tensor has in published checkpoints; transformers saves some under the names of its own modules.
fn published_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("model.visual.") {
        return format!("visual.{rest}");
    }
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        return format!("model.{rest}");
    }
    name.to_owned()
}

fn read_tensors(
    path: &Path,
    config: &QwenVlConfig,
    weights: &mut Weights,
    device: &Device,
) -> Result<(), ModelError> {
    let file = File::open(path).map_err(file_error(path))?;
    #[allow(
        unsafe_code,
        reason = "memory maps are unsafe when others write to the file"
    )]
    // SAFETY: checkpoints are written beside and renamed into place, never changed in place.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(file_error(path))?;
    let tensors = SafeTensors::deserialize(&map).map_err(|e| malformed(path, e))?;
    for (name, view) in tensors.tensors() {
        let name = published_name(&name);
        if name == "lm_head.weight" && config.tie_word_embeddings {
            continue;
        }
        let values = to_f32(&view).map_err(|e| malformed(path, format!("tensor `{name}`: {e}")))?;
        weights.insert(name, view.shape(), values, device);
    }
    Ok(())
}

fn to_f32(view: &TensorView) -> Result<Vec<f32>, String> {
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => Ok(bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()),
        Dtype::BF16 => Ok(bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| burn::tensor::bf16::from_le_bytes(*b).to_f32())
            .collect()),
        Dtype::F16 => Ok(bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| burn::tensor::f16::from_le_bytes(*b).to_f32())
            .collect()),
        other => Err(format!(
            "type {other:?} is not supported; use F32, BF16 or F16"
        )),
    }
}

/// Flat f32 tensors as the bytes of a safetensors file.
///
/// # Errors
/// When the format refuses them.
pub fn tensor_bytes<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a Tensor<1>)>,
) -> Result<Vec<u8>, String> {
    let data: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .map(|(name, shape, value)| {
            let values = value
                .to_data()
                .try_to_vec::<f32>()
                .map_err(|e| format!("tensor `{name}`: {e:?}"))?;
            Ok((
                name,
                shape,
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ))
        })
        .collect::<Result<_, String>>()?;
    let views = data
        .iter()
        .map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.to_vec(), bytes)
                .map(|view| (*name, view))
                .map_err(|e| e.to_string())
        })
        .collect::<Result<Vec<_>, String>>()?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize(views, Some(metadata)).map_err(|e| e.to_string())
}

/// Reads what [`tensor_bytes`] wrote: names and values.
///
/// # Errors
/// When the bytes are not f32 safetensors.
pub fn read_tensor_bytes(bytes: &[u8]) -> Result<Vec<(String, Vec<f32>)>, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| Ok((name, to_f32(&view)?)))
        .collect()
}
