//! Checkpoints in Hugging Face's layout: `config.json`, safetensors in one file or in shards, tokenizer, template and
//! processor settings. What Ocelli writes, transformers loads as it stands.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes, DType, Device, Tensor, TensorData, bf16, f16};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

use crate::adapter_file;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::heads;
use crate::hub_cache;
use crate::preset::Preset;
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
    pub config: Arc<ModelConfig>,
    pub weights: Weights,
}

pub(crate) fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> ModelError {
    let path = path.to_owned();
    move |source| ModelError::File { path, source }
}

pub(crate) fn malformed(path: &Path, message: impl ToString) -> ModelError {
    ModelError::Malformed {
        path: path.to_owned(),
        message: message.to_string(),
    }
}

/// What the name of a model stands for.
pub(crate) enum Source {
    /// A folder, the user's own or one of the Hugging Face cache.
    Folder(PathBuf),
    Preset(Preset),
}

impl Source {
    /// A folder goes before a preset, a preset before the cache.
    pub(crate) fn find(reference: &str) -> Result<Self, ModelError> {
        if Path::new(reference).is_dir() {
            return Ok(Self::Folder(PathBuf::from(reference)));
        }
        if let Some(preset) = Preset::find(reference) {
            return Ok(Self::Preset(preset));
        }
        let cached = hub_cache::snapshot(reference)?.filter(|folder| folder.is_dir());
        cached
            .map(Self::Folder)
            .ok_or_else(|| ModelError::NoSuchModel {
                reference: reference.to_owned(),
                presets: Preset::names().map(str::to_owned).collect(),
            })
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
        match Source::find(reference)? {
            Source::Folder(folder) if overrides.is_empty() => Self::load(&folder, device),
            Source::Folder(path) => Err(ModelError::Overrides { path }),
            Source::Preset(preset) => Self::from_preset(&preset, overrides, seed, device),
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
        let config = ModelConfig::parse(&json).map_err(|e| malformed(&path, e))?;
        check_size(&config.parameters()).map_err(|e| malformed(&path, e))?;
        files.insert("config.json".into(), pretty(&json));
        let std = json["initializer_range"]
            .as_f64()
            .or_else(|| json["text_config"]["initializer_range"].as_f64())
            .unwrap_or(0.02);
        let weights = Weights::random(&config.parameters(), std as f32, seed, device);
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
        if adapter_file::is_adapter(folder) {
            let own = files.into_iter().filter(|(name, _)| name != "config.json");
            return adapter_file::load(folder, own, device);
        }
        let path = folder.join("config.json");
        let Some(bytes) = files.get("config.json") else {
            return Err(ModelError::NoCheckpoint {
                path: folder.to_owned(),
            });
        };
        let json = parse_json(&path, bytes)?;
        let found = json["model_type"].as_str().unwrap_or("(none)");
        if !crate::config::SUPPORTED.contains(&found) {
            return Err(ModelError::Unsupported {
                found: found.to_owned(),
                path,
            });
        }
        let config = ModelConfig::parse(&json).map_err(|e| malformed(&path, e))?;
        let mut weights = Weights::default();
        for path in weight_files(folder)? {
            read_tensors(&path, &config, &mut weights, device)?;
        }
        let mut expected = config.parameters();
        expected.extend(heads::among(&weights, config.text.hidden_size));
        weights.check(&expected)?;
        heads::read(folder, &mut weights, config.text.hidden_size, device)?;
        Ok(Self {
            origin: folder.display().to_string(),
            files,
            config: Arc::new(config),
            weights,
        })
    }

    /// The same model, its tensors shared, under the adapter of a folder.
    ///
    /// # Errors
    /// When the folder holds no adapter that fits.
    pub fn under_adapter(&self, folder: &Path, device: &Device) -> Result<Weights, ModelError> {
        adapter_file::load_over(folder, self, device)
    }

    /// The same model with its adapter, if it has one, added into its weights.
    #[must_use]
    pub fn merged(&self) -> Self {
        Self {
            weights: adapter_file::merged(&self.config, &self.weights),
            ..self.clone()
        }
    }

    /// Writes the checkpoint, of a model with an adapter that alone, beside `folder` first and renames it into place, so that a folder of that name is always
    /// whole. `extra` writes what belongs to it besides, such as the trainer's state, into the folder it is given.
    ///
    /// # Errors
    /// When a file can't be written; nothing is left under the final name then.
    pub fn save(
        &self,
        folder: &Path,
        extra: impl FnOnce(&Path) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let parent = folder.parent().unwrap_or(Path::new("."));
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let partial = parent.join(format!(".{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(file_error(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(file_error(&partial))?;
        for (name, bytes) in &self.files {
            let path = partial.join(name);
            if name == "config.json" {
                if self.weights.adapter().is_some() {
                    continue;
                }
                write_file(&path, &with_f32(&path, bytes)?)?;
            } else {
                write_file(&path, bytes)?;
            }
        }
        extra(&partial)?;
        heads::write(&partial, &self.weights)?;
        if let Some(adapter) = self.weights.adapter() {
            adapter_file::write(&partial, &self.config, &self.weights, adapter)?;
        } else {
            let own = |(name, _): &(&str, &_)| !heads::stands_apart(&self.weights, name);
            let tensors = self.weights.iter().filter(own);
            write_tensors(
                &partial.join("model.safetensors"),
                tensors.map(|(name, p)| (name, p.shape.as_slice(), &p.value)),
            )?;
        }
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

/// Parameters of the largest model that is made with random weights: 8 GiB.
const LARGEST: usize = 1 << 31;

/// Refuses random weights that no memory holds.
fn check_size(parameters: &[(String, Vec<usize>)]) -> Result<(), String> {
    let mut sizes = parameters
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>());
    let all = sizes
        .try_fold(0usize, usize::checked_add)
        .unwrap_or(usize::MAX);
    if all > LARGEST {
        return Err(format!(
            "model.overrides ask for {all} parameters; a preset is made with at most {LARGEST}, so give smaller sizes"
        ));
    }
    Ok(())
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

pub(crate) fn parse_json(path: &Path, bytes: &[u8]) -> Result<Value, ModelError> {
    serde_json::from_slice(bytes).map_err(|e| malformed(path, e))
}

pub(crate) fn pretty(json: &Value) -> Vec<u8> {
    let mut text = format!("{json:#}");
    text.push('\n');
    text.into_bytes()
}

/// A `config.json` that names the type the weights are written in, wherever it names one. The bytes stay as they are when
/// it says so already.
fn with_f32(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, ModelError> {
    let json = parse_json(path, bytes)?;
    let mut changed = json.clone();
    let set = |fields: &mut Value| {
        for key in ["dtype", "torch_dtype"] {
            if let Some(kind) = fields.get_mut(key).filter(|kind| !kind.is_null()) {
                *kind = "float32".into();
            }
        }
    };
    set(&mut changed);
    for section in ["text_config", "vision_config"] {
        if let Some(fields) = changed.get_mut(section) {
            set(fields);
        }
    }
    Ok(if changed == json {
        bytes.to_vec()
    } else {
        pretty(&changed)
    })
}

/// Writes a file through to the disk, and the folders it lies in.
///
/// # Errors
/// Names the file.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
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
pub(crate) fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let index = folder.join("model.safetensors.index.json");
    if !index.is_file() {
        return Ok(vec![folder.join("model.safetensors")]);
    }
    let json = parse_json(&index, &fs::read(&index).map_err(file_error(&index))?)?;
    let map = json["weight_map"]
        .as_object()
        .ok_or_else(|| malformed(&index, "`weight_map` is missing"))?;
    let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    if names.is_empty() {
        return Err(malformed(&index, "`weight_map` names no file"));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

pub(crate) fn mapped(path: &Path) -> Result<memmap2::Mmap, ModelError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => malformed(
            path,
            "this file with weights is missing; copy or download the whole checkpoint again",
        ),
        _ => file_error(path)(error),
    })?;
    #[allow(
        unsafe_code,
        reason = "memory maps are unsafe when others write to the file"
    )]
    // SAFETY: checkpoints are written beside and renamed into place, never changed in place.
    unsafe { memmap2::Mmap::map(&file) }.map_err(file_error(path))
}

/// The tensors of a safetensors file, whose bytes are checked to be there.
pub(crate) fn tensors_of<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>, ModelError> {
    SafeTensors::deserialize(bytes).map_err(|error| {
        malformed(
            path,
            format!("{error}: the file is damaged or cut off; copy or download it again"),
        )
    })
}

fn read_tensors(
    path: &Path,
    config: &ModelConfig,
    weights: &mut Weights,
    device: &Device,
) -> Result<(), ModelError> {
    let map = bytes::Bytes::from_owner(mapped(path)?);
    let tensors = tensors_of(path, &map)?;
    let wanted: Vec<(String, TensorView)> = tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| (config.published_name(&name), view))
        .filter(|(name, _)| !(config.tie_word_embeddings && name == config.text_names().head))
        .collect();
    let read: Vec<Result<TensorData, String>> = wanted
        .par_iter()
        .map(|(name, view)| {
            if keeps_half(name, view) {
                Ok(as_stored(view, &map))
            } else {
                let values = to_f32(view).map_err(|e| format!("tensor `{name}`: {e}"))?;
                let count = values.len();
                Ok(TensorData::new(values, [count]))
            }
        })
        .collect();
    for ((name, view), data) in wanted.into_iter().zip(read) {
        let data = data.map_err(|e| malformed(path, e))?;
        weights.insert_data(name, view.shape(), data, device);
    }
    Ok(())
}

/// Below this many elements half precision saves nothing worth a second path through the network.
const WORTH_HALF: usize = 1 << 16;

/// Whether a tensor stays in half precision until it is trained: large matrices do, which layers widen as they go.
fn keeps_half(name: &str, view: &TensorView) -> bool {
    matches!(view.dtype(), Dtype::BF16 | Dtype::F16)
        && name.ends_with(".weight")
        && view.shape().len() >= 2
        && view.shape().iter().product::<usize>() >= WORTH_HALF
}

/// A half-precision tensor as the file has it, flat, without a copy: the map lives as long as the tensor.
fn as_stored(view: &TensorView, map: &bytes::Bytes) -> TensorData {
    let dtype = match view.dtype() {
        Dtype::BF16 => DType::BF16,
        _ => DType::F16,
    };
    let count: usize = view.shape().iter().product();
    let data = view.data();
    // A file is free to lay tensors at odd places.
    let aligned = data.as_ptr().addr().is_multiple_of(align_of::<bf16>());
    if aligned {
        let shared = Bytes::from_shared(map.slice_ref(data), AllocationProperty::File);
        TensorData::from_bytes(shared, [count], dtype)
    } else {
        TensorData::from_bytes_vec(data.to_vec(), [count], dtype)
    }
}

fn to_f32(view: &TensorView) -> Result<Vec<f32>, String> {
    let bytes = view.data();
    let halves = || bytes.as_chunks::<2>().0.iter();
    match view.dtype() {
        Dtype::F32 => Ok(bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()),
        Dtype::BF16 => Ok(halves().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
        Dtype::F16 => Ok(halves().map(|b| f16::from_le_bytes(*b).to_f32()).collect()),
        other => Err(format!(
            "type {other:?} is not supported; use F32, BF16 or F16"
        )),
    }
}

/// A flat tensor that becomes bytes when it is written, not before.
struct Flat<'a> {
    shape: &'a [usize],
    value: &'a Tensor<1>,
}

impl safetensors::View for Flat<'_> {
    fn dtype(&self) -> Dtype {
        match self.value.dtype() {
            DType::BF16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // safetensors is little-endian, and so is every machine this runs on.
        Cow::Owned(self.value.to_data().bytes().to_vec())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.value.dtype().size()
    }
}

/// Writes flat tensors as a safetensors file, each in its type, one at a time: no more than one of them is held twice.
///
/// # Errors
/// When the file can't be written.
pub fn write_tensors<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (impl AsRef<str> + Ord + Display, &'a [usize], &'a Tensor<1>)>,
) -> Result<(), ModelError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(file_error(parent))?;
    }
    let views = tensors.map(|(name, shape, value)| (name, Flat { shape, value }));
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|e| match e {
        safetensors::SafeTensorError::IoError(source) => file_error(path)(source),
        other => malformed(path, other),
    })?;
    let file = File::open(path).map_err(file_error(path))?;
    file.sync_all().map_err(file_error(path))
}

/// Reads what [`write_tensors`] wrote: names and values.
///
/// # Errors
/// When the bytes are not f32 safetensors.
pub fn read_tensor_bytes(bytes: &[u8]) -> Result<Vec<(String, Vec<f32>)>, String> {
    let tensors = read_shaped_tensors(bytes)?.into_iter();
    Ok(tensors.map(|tensor| (tensor.name, tensor.values)).collect())
}

/// A tensor of a file.
pub(crate) struct ShapedTensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// All tensors of a safetensors file.
pub(crate) fn read_shaped_tensors(bytes: &[u8]) -> Result<Vec<ShapedTensor>, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let read = |(name, view): (String, TensorView)| {
        let values = to_f32(&view).map_err(|e| format!("tensor `{name}`: {e}"))?;
        let shape = view.shape().to_vec();
        Ok(ShapedTensor {
            name,
            shape,
            values,
        })
    };
    tensors.tensors().into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset() -> Checkpoint {
        let preset = Preset::find("tiny-qwen2_5_vl").unwrap();
        let small = ConfigOverrides {
            vision_depth: Some(1),
            num_hidden_layers: Some(1),
            ..ConfigOverrides::default()
        };
        Checkpoint::from_preset(&preset, &small, 3, &Device::flex()).unwrap()
    }

    #[test]
    fn a_saved_checkpoint_says_that_it_is_f32_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoint = preset();
        let mut json = parse_json(Path::new("a"), &checkpoint.files["config.json"]).unwrap();
        json["torch_dtype"] = "bfloat16".into();
        json["text_config"]["dtype"] = "bfloat16".into();
        checkpoint.files.insert("config.json".into(), pretty(&json));
        let path = folder.path().join("saved");
        checkpoint
            .save(&path, |partial| {
                write_file(&partial.join("trainer/note"), b"kept")
            })
            .unwrap();
        assert_eq!(fs::read(path.join("trainer/note")).unwrap(), b"kept");
        let text = fs::read_to_string(path.join("config.json")).unwrap();
        assert!(!text.contains("bfloat16") && text.contains("\"torch_dtype\": \"float32\""));

        let read = Checkpoint::load(&path, &Device::flex()).unwrap();
        assert_eq!(read.weights.scalars(), checkpoint.weights.scalars());
        for ((name, a), (other, b)) in checkpoint.weights.iter().zip(read.weights.iter()) {
            assert_eq!((name, &a.shape), (other, &b.shape));
            let values = |t: &Tensor<1>| t.to_data().try_to_vec::<f32>().unwrap();
            assert_eq!(values(&a.value), values(&b.value));
        }
    }

    #[test]
    fn what_is_no_checkpoint_is_told_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let open = |overrides: &ConfigOverrides| {
            let path = folder.path().display().to_string();
            Checkpoint::open(&path, overrides, 0, &Device::flex()).unwrap_err()
        };
        let error = open(&ConfigOverrides::default());
        assert!(error.is_misuse());
        assert!(error.to_string().contains("config.json, model.safetensors"));
        let error = open(&ConfigOverrides {
            vision_depth: Some(2),
            ..ConfigOverrides::default()
        });
        assert!(error.is_misuse());
        assert!(error.to_string().starts_with("model.overrides:"));
    }
}
