//! Adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`, whose tensors are called
//! `base_model.model.<module>.lora_A.weight`. PEFT 0.21 loads what is written here as it stands.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Value, json};

use crate::adapter::{
    Adapter, AdapterConfig, AdapterKind, DOWN, MAGNITUDE, Targets, UP, is_adapter_tensor,
};
use crate::checkpoint::{
    Checkpoint, ConfigOverrides, ShapedTensor, read_shaped_tensors, write_file, write_tensors,
};
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::heads;
use crate::layers::linear_modules;
use crate::low_rank::{gain, product, wide};
use crate::ops::values as tensor_values;
use crate::weights::{Parameter, Weights};

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";
/// What PEFT puts before the names of its model's modules.
const PREFIX: &str = "base_model.model.";

/// Whether a folder holds an adapter.
pub(crate) fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

/// Writes the two files into a folder.
///
/// # Errors
/// When they can't be written.
pub(crate) fn write(
    folder: &Path,
    config: &ModelConfig,
    weights: &Weights,
    adapter: &Adapter,
) -> Result<(), ModelError> {
    let path = folder.join(CONFIG);
    let settings = &adapter.config;
    let targets = settings
        .written_targets(config)
        .map_err(|message| malformed(&path, message))?;
    let json = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": adapter.base,
        "inference_mode": true,
        "r": settings.r,
        "lora_alpha": whole_if_whole(settings.lora_alpha),
        "lora_dropout": settings.lora_dropout,
        "target_modules": targets,
        "exclude_modules": settings.exclude_modules,
        "modules_to_save": (!settings.modules_to_save.is_empty()).then_some(&settings.modules_to_save),
        "use_rslora": settings.use_rslora,
        "use_dora": settings.use_dora,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
    });
    write_file(&path, format!("{json:#}\n").as_bytes())?;
    let tensors = weights.iter().filter(|(name, _)| adapter.trains(name));
    write_tensors(
        &folder.join(TENSORS),
        tensors.map(|(name, p)| {
            let name = format!("{PREFIX}{}", config.module_name(name));
            (name, p.shape.as_slice(), &p.value)
        }),
    )
}

/// PEFT keeps `lora_alpha` as an integer.
fn whole_if_whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}

/// Reads an adapter and the model under it.
///
/// # Errors
/// When the model is not where `adapter_config.json` says, the adapter is of a kind that is not computed here, or its tensors don't
/// fit the model.
pub(crate) fn load(
    folder: &Path,
    files: impl Iterator<Item = (String, Vec<u8>)>,
    device: &Device,
) -> Result<Checkpoint, ModelError> {
    let path = folder.join(CONFIG);
    let (config, json) = settings(&path)?;
    let base = base(folder, &json).map_err(|message| malformed(&path, message))?;
    let opened = Checkpoint::open(&base, &ConfigOverrides::default(), 0, device);
    let mut checkpoint = opened.map_err(|error| match error {
        ModelError::NoSuchModel { .. } => malformed(
            &path,
            format!("no model at {base}; write under `base_model_name_or_path` where the model lies that the adapter is for"),
        ),
        other => other,
    })?;
    if checkpoint.weights.adapter().is_some() {
        return Err(malformed(
            &path,
            format!(
                "`base_model_name_or_path` {base} is an adapter itself; `ocelli merge` makes a plain checkpoint of that"
            ),
        ));
    }
    checkpoint.origin = folder.display().to_string();
    checkpoint.files.extend(files);
    let tensors = folder.join(TENSORS);
    let (weights, saved) = lay_over(&tensors, &checkpoint, &config, device)?;
    checkpoint.weights = weights.with_adapter(Adapter {
        config,
        base,
        saved,
    });
    Ok(checkpoint)
}

fn settings(path: &Path) -> Result<(AdapterConfig, Value), ModelError> {
    let json: Value = serde_json::from_slice(&read(path)?).map_err(|e| malformed(path, e))?;
    let config = parse(&json).map_err(|message| malformed(path, message))?;
    Ok((config, json))
}

/// The model of `checkpoint`, its tensors shared, under the adapter of another folder.
///
/// # Errors
/// When the folder holds no adapter that fits.
pub(crate) fn load_over(
    folder: &Path,
    checkpoint: &Checkpoint,
    device: &Device,
) -> Result<Weights, ModelError> {
    let (config, _) = settings(&folder.join(CONFIG))?;
    let own = Checkpoint {
        weights: checkpoint.weights.without_adapter(),
        ..checkpoint.clone()
    };
    let (weights, saved) = lay_over(&folder.join(TENSORS), &own, &config, device)?;
    let base = own.origin;
    Ok(weights.with_adapter(Adapter {
        config,
        base,
        saved,
    }))
}

/// The model's weights with an adapter's tensors among them, and the names of the model's own that these replaced.
fn lay_over(
    path: &Path,
    checkpoint: &Checkpoint,
    adapter: &AdapterConfig,
    device: &Device,
) -> Result<(Weights, BTreeMap<String, Parameter>), ModelError> {
    let config = &checkpoint.config;
    let mut weights = checkpoint.weights.clone();
    let mut saved = BTreeMap::new();
    let bytes = read(path)?;
    let tensors = read_shaped_tensors(&bytes).map_err(|e| malformed(path, e))?;
    for tensor in tensors {
        let ShapedTensor {
            name: written,
            shape,
            values,
        } = tensor;
        let name = written.strip_prefix(PREFIX).unwrap_or(&written);
        let name = config.published_name(name);
        if let Some(own) = own_matrix(&name) {
            let same = weights.get(&own).is_some_and(|p| p.shape == shape);
            if !same
                || weights
                    .get(&own)
                    .map(|p| tensor_values(wide(p.value.clone())))
                    != Some(values)
            {
                return Err(malformed(
                    path,
                    format!(
                        "`{own}` in here differs from the model's own; let PEFT merge the adapter, and take the merged model"
                    ),
                ));
            }
            continue;
        }
        let name = match name.strip_suffix(".weight") {
            Some(magnitude) if magnitude.ends_with(MAGNITUDE) => magnitude.to_owned(),
            _ => name,
        };
        if !is_adapter_tensor(&name) {
            let Some(own) = checkpoint.weights.get(&name) else {
                return Err(malformed(
                    path,
                    format!(
                        "tensor `{written}` is neither an adapter of a linear layer nor one of the model's"
                    ),
                ));
            };
            saved.insert(name.clone(), own.clone());
        }
        weights.insert(name, &shape, values, device);
    }
    let mut expected = config.parameters();
    expected.extend(heads::among(&weights, config.text.hidden_size));
    let mut adapted = 0;
    for layer in linear_modules(config) {
        let name = &layer.name;
        let parts = [
            (format!("{name}{DOWN}"), vec![adapter.r, layer.inputs]),
            (format!("{name}{UP}"), vec![layer.outputs, adapter.r]),
            (format!("{name}{MAGNITUDE}"), vec![layer.outputs]),
        ];
        if weights.get(&parts[0].0).is_some() || weights.get(&parts[1].0).is_some() {
            adapted += 1;
            let count = if adapter.use_dora { 3 } else { 2 };
            expected.extend(parts.into_iter().take(count));
        }
    }
    if adapted == 0 {
        return Err(malformed(path, "no linear layer has an adapter in here"));
    }
    weights.check(&expected)?;
    if let Some(folder) = path.parent() {
        heads::read(folder, &mut weights, config.text.hidden_size, device)?;
    }
    Ok((weights, saved))
}

/// The name of a model's own matrix that PEFT keeps with the adapter on it, as it does for the output matrix.
fn own_matrix(name: &str) -> Option<String> {
    let (module, tensor) = name.split_once(".base_layer.")?;
    Some(format!("{module}.{tensor}"))
}

fn base(folder: &Path, json: &Value) -> Result<String, String> {
    let base = json["base_model_name_or_path"]
        .as_str()
        .filter(|base| !base.is_empty())
        .ok_or("`base_model_name_or_path` is missing; write there the folder of the model that the adapter was trained on")?;
    let beside: PathBuf = folder.join(base);
    Ok(if !Path::new(base).is_dir() && beside.is_dir() {
        beside.display().to_string()
    } else {
        base.to_owned()
    })
}

/// Reads the settings, and refuses those that change what is computed in a way that is not known here.
fn parse(json: &Value) -> Result<AdapterConfig, String> {
    let kind = json["peft_type"].as_str().unwrap_or("(none)");
    if kind != "LORA" {
        return Err(format!(
            "the adapter is of the type `{kind}`; LORA is supported"
        ));
    }
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text == "none",
        _ => false,
    };
    for key in [
        "bias",
        "fan_in_fan_out",
        "lora_bias",
        "rank_pattern",
        "alpha_pattern",
        "target_parameters",
        "trainable_token_indices",
        "use_qalora",
        "alora_invocation_tokens",
        "layer_replication",
    ] {
        if !is_empty(&json[key]) {
            return Err(format!(
                "`{key}` is {}, which is not supported; let PEFT merge the adapter, and take the merged model",
                json[key]
            ));
        }
    }
    let from = |key: &str, default: Value| match &json[key] {
        Value::Null => default,
        given => given.clone(),
    };
    fn read<T: serde::de::DeserializeOwned>(key: &str, value: Value) -> Result<T, String> {
        serde_json::from_value(value).map_err(|e| format!("`{key}`: {e}"))
    }
    let excluded: Option<Targets> = read("exclude_modules", json["exclude_modules"].clone())?;
    let config = AdapterConfig {
        kind: AdapterKind::Lora,
        r: read("r", from("r", json!(8)))?,
        lora_alpha: read("lora_alpha", from("lora_alpha", json!(8)))?,
        lora_dropout: read("lora_dropout", from("lora_dropout", json!(0.0)))?,
        target_modules: read(
            "target_modules",
            from("target_modules", json!("all-linear")),
        )?,
        exclude_modules: excluded.filter(|e| *e != Targets::Names(Vec::new())),
        modules_to_save: read("modules_to_save", from("modules_to_save", json!([])))?,
        use_rslora: read("use_rslora", from("use_rslora", json!(false)))?,
        use_dora: read("use_dora", from("use_dora", json!(false)))?,
    };
    config.check()?;
    Ok(config)
}

/// The model with its adapter added into its own matrices: `W + s B A`, with magnitudes `c ∘ (W + s B A)`.
pub(crate) fn merged(config: &ModelConfig, weights: &Weights) -> Weights {
    let Some(adapter) = weights.adapter() else {
        return weights.clone();
    };
    let scale = adapter.config.scale();
    let mut merged = weights.own();
    for layer in linear_modules(config) {
        let matrix = |end: &str, rows: usize, columns: usize| {
            let tensor = weights.get(&format!("{}{end}", layer.name))?;
            Some(tensor.value.clone().reshape([rows, columns]))
        };
        let rank = adapter.config.r;
        let (Some(weight), Some(down), Some(up)) = (
            matrix(".weight", layer.outputs, layer.inputs),
            matrix(DOWN, rank, layer.inputs),
            matrix(UP, layer.outputs, rank),
        ) else {
            continue;
        };
        let mut sum = wide(weight.clone()) + product(&up, &down, scale);
        if let Some(magnitude) = weights.get(&format!("{}{MAGNITUDE}", layer.name)) {
            let gain = gain(&weight, (&down, &up, scale), magnitude.value.clone());
            sum = sum * gain.reshape([-1, 1]);
        }
        let name = format!("{}.weight", layer.name);
        merged.replace(&name, sum.reshape([layer.outputs * layer.inputs]));
    }
    merged
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|source| ModelError::File {
        path: path.to_owned(),
        source,
    })
}

fn malformed(path: &Path, message: impl ToString) -> ModelError {
    ModelError::Malformed {
        path: path.to_owned(),
        message: message.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written() -> Value {
        json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "bias": "none", "target_modules": ["q_proj"],
            "exclude_modules": null, "modules_to_save": null, "use_rslora": false, "use_dora": true, "rank_pattern": {},
            "base_model_name_or_path": "base", "fan_in_fan_out": false, "lora_bias": false,
        })
    }

    #[test]
    fn settings_are_read_as_peft_writes_them() {
        let config = parse(&written()).unwrap();
        assert_eq!(
            (config.r, config.lora_alpha, config.use_dora),
            (4, 8.0, true)
        );
        assert_eq!(config.target_modules, Targets::Names(vec!["q_proj".into()]));
        assert_eq!(config.exclude_modules, None);
        assert_eq!(whole_if_whole(8.0).to_string(), "8");
        assert_eq!(whole_if_whole(8.5).to_string(), "8.5");
    }

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            Just(json!([])),
            Just(json!({})),
            Just(json!(["("])),
            Just(json!("(")),
            any::<bool>().prop_map(|b| json!(b)),
            any::<i64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            "[a-z_.*(]{0,8}".prop_map(|text| json!(text)),
        ]
    }

    proptest! {
        #[test]
        fn changed_settings_are_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), values()), 1..4),
        ) {
            let mut json = written();
            for (place, value) in changes {
                let keys: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
                json[place.get(&keys)] = value;
            }
            if let Ok(config) = parse(&json) {
                prop_assert!(config.r > 0 && config.scale() > 0.0);
            }
        }
    }
}
