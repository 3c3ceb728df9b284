//! `config.json` of the supported families, field names as in the file.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::decoder::{self, TextNames};
use crate::families::{internvl, qwen2_5_vl, qwen2_audio, qwen2_vl, qwen3_vl, smolvlm};
use crate::layers::ParameterList;
use crate::size_checks::require;
use crate::text_config::{TextConfig, TextKind};

/// Model types that can be loaded.
pub const SUPPORTED: &[&str] = &[
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "internvl",
    "smolvlm",
    "idefics3",
    "qwen2_audio",
    "qwen2",
    "qwen3",
    "llama",
];

/// A family of checkpoints: which tensors they have and how a prompt of theirs is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Qwen2Vl,
    Qwen2_5Vl,
    Qwen3Vl,
    InternVl,
    /// Also Idefics3.
    SmolVlm,
    Qwen2Audio,
    /// A language model alone.
    Text,
}

/// The configuration of a tower.
#[derive(Clone, Debug, PartialEq)]
pub enum TowerConfig {
    Qwen2Vl(qwen2_vl::VisionConfig),
    Qwen2_5Vl(qwen2_5_vl::VisionConfig),
    Qwen3Vl(qwen3_vl::VisionConfig),
    InternVl(internvl::VisionConfig),
    SmolVlm(smolvlm::VisionConfig),
    Qwen2Audio(qwen2_audio::AudioConfig),
}

/// How the towers of Qwen's families cut pictures into patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patching {
    pub patch_size: usize,
    pub temporal_patch_size: usize,
    /// Patches along a side that become one feature.
    pub merge_size: usize,
    pub channels: usize,
}

impl Patching {
    /// Numbers in one flattened patch.
    pub fn width(&self) -> usize {
        self.channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }
}

/// The parts of a configuration that shape the network.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// As the file has it.
    pub model_type: String,
    pub family: Family,
    pub text: TextConfig,
    pub text_kind: TextKind,
    /// `None` for a language model alone.
    pub tower: Option<TowerConfig>,
    /// Stands for one feature of a picture, or of a sound.
    pub image_token_id: Option<u32>,
    pub video_token_id: Option<u32>,
    pub vision_start_token_id: Option<u32>,
    pub tie_word_embeddings: bool,
}

fn section<T: DeserializeOwned>(json: &Value, name: &str) -> Result<T, String> {
    serde_json::from_value(json[name].clone()).map_err(|e| format!("{name}: {e}"))
}

fn text_kind(model_type: &str) -> Result<TextKind, String> {
    match model_type {
        "qwen2" | "qwen2_vl_text" | "qwen2_5_vl_text" => Ok(TextKind::Qwen2),
        "qwen3" | "qwen3_vl_text" => Ok(TextKind::Qwen3),
        "llama" => Ok(TextKind::Llama),
        other => Err(format!(
            "the language model is of the type `{other}`; qwen2, qwen3 and llama are supported"
        )),
    }
}

impl ModelConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// Says which field is missing or contradicts another.
    pub fn parse(json: &Value) -> Result<Self, String> {
        let kind = json["model_type"].as_str().unwrap_or("");
        let (family, default_text, ids): (_, _, [Option<&[&str]>; 3]) = match kind {
            "qwen2_vl" => (Family::Qwen2Vl, "qwen2", QWEN_IDS),
            "qwen2_5_vl" => (Family::Qwen2_5Vl, "qwen2", QWEN_IDS),
            "qwen3_vl" => (Family::Qwen3Vl, "qwen3", QWEN_IDS),
            "internvl" => (Family::InternVl, "qwen2", IMAGE_ID),
            "smolvlm" | "idefics3" => (Family::SmolVlm, "llama", IMAGE_ID),
            "qwen2_audio" => (Family::Qwen2Audio, "qwen2", AUDIO_ID),
            "qwen2" | "qwen3" | "llama" => (Family::Text, kind, [None; 3]),
            _ => {
                return Err(format!(
                    "model type `{kind}` is not supported; supported: {}",
                    SUPPORTED.join(", ")
                ));
            }
        };
        // Files written before transformers 4.52 keep the language model's fields at the top.
        let text_json = match &json["text_config"] {
            Value::Object(_) => &json["text_config"],
            _ => json,
        };
        let text: TextConfig = serde_json::from_value(text_json.clone())
            .map_err(|e| format!("language model: {e}"))?;
        let text_type = text_json["model_type"].as_str().filter(|t| *t != kind);
        let text_kind = text_kind(text_type.unwrap_or(default_text))?;
        text.check(default_theta(family))?;
        let tower = tower(family, json, text.hidden_size)?;
        let id = |names: Option<&[&str]>| {
            let Some(names) = names else { return Ok(None) };
            let found = names.iter().find_map(|name| json[*name].as_u64());
            let id = found.and_then(|id| u32::try_from(id).ok());
            id.map(Some)
                .ok_or_else(|| format!("`{}` is missing", names[0]))
        };
        let [image, video, start] = ids;
        let config = Self {
            image_token_id: id(image)?,
            video_token_id: id(video)?,
            vision_start_token_id: id(start)?,
            tie_word_embeddings: json["tie_word_embeddings"]
                .as_bool()
                .or_else(|| json["text_config"]["tie_word_embeddings"].as_bool())
                .unwrap_or(false),
            model_type: kind.to_owned(),
            family,
            text,
            text_kind,
            tower,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        for (name, id) in [
            ("image_token_id", self.image_token_id),
            ("video_token_id", self.video_token_id),
            ("vision_start_token_id", self.vision_start_token_id),
        ] {
            require(
                id.is_none_or(|id| (id as usize) < self.text.vocab_size),
                || {
                    format!(
                        "{name} {} lies beyond the vocabulary: vocab_size is {}",
                        id.unwrap_or_default(),
                        self.text.vocab_size
                    )
                },
            )?;
        }
        let three = matches!(
            self.family,
            Family::Qwen2Vl | Family::Qwen2_5Vl | Family::Qwen3Vl
        );
        require(three == self.text.mrope_section().is_some(), || {
            if three {
                "`mrope_section` is missing from rope_scaling or rope_parameters".into()
            } else {
                "`mrope_section` has no place in this family, whose tokens have one position".into()
            }
        })
    }

    /// Names and shapes of all parameters, in the order of the network.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut list = ParameterList::default();
        match &self.tower {
            None => {}
            Some(TowerConfig::Qwen2Vl(v)) => v.parameters(&mut list),
            Some(TowerConfig::Qwen2_5Vl(v)) => v.parameters(&mut list),
            Some(TowerConfig::Qwen3Vl(v)) => v.parameters(&mut list),
            Some(TowerConfig::InternVl(v)) => v.parameters(&mut list),
            Some(TowerConfig::SmolVlm(v)) => v.parameters(&mut list),
            Some(TowerConfig::Qwen2Audio(a)) => a.parameters(&mut list),
        }
        decoder::parameters(
            &mut list,
            &self.text,
            self.text_kind,
            self.text_names(),
            self.tie_word_embeddings,
        );
        list.0
    }

    /// Where the language model's tensors lie.
    pub fn text_names(&self) -> TextNames {
        let (body, head) = match self.family {
            Family::Qwen2Vl | Family::Qwen2_5Vl | Family::Text => ("model.", "lm_head.weight"),
            Family::Qwen3Vl => ("model.language_model.", "lm_head.weight"),
            Family::SmolVlm => ("model.text_model.", "lm_head.weight"),
            Family::InternVl | Family::Qwen2Audio => {
                ("language_model.model.", "language_model.lm_head.weight")
            }
        };
        TextNames { body, head }
    }

    /// The name a tensor has in published checkpoints and here; transformers saves some under the names of its own modules,
    /// which changed between its versions.
    pub fn published_name(&self, name: &str) -> String {
        let moved: &[(&str, &str)] = match self.family {
            Family::Qwen2Vl | Family::Qwen2_5Vl => &[
                ("model.visual.", "visual."),
                ("model.language_model.", "model."),
            ],
            Family::Qwen3Vl => &[
                ("visual.", "model.visual."),
                ("language_model.", "model.language_model."),
            ],
            Family::InternVl | Family::Qwen2Audio => &[
                ("model.language_model.", "language_model.model."),
                ("model.", ""),
                ("lm_head.", "language_model.lm_head."),
            ],
            Family::SmolVlm | Family::Text => &[],
        };
        for (from, to) in moved {
            if let Some(rest) = name.strip_prefix(from) {
                return format!("{to}{rest}");
            }
        }
        name.to_owned()
    }

    /// The name a tensor has in the model that transformers 5 loads, the way back from [`Self::published_name`]; PEFT names
    /// modules so.
    pub fn module_name(&self, name: &str) -> String {
        let moved: &[(&str, &str)] = match self.family {
            Family::Qwen2Vl | Family::Qwen2_5Vl => &[
                ("visual.", "model.visual."),
                ("model.", "model.language_model."),
            ],
            Family::InternVl | Family::Qwen2Audio => &[
                ("language_model.model.", "model.language_model."),
                ("language_model.lm_head.", "lm_head."),
                ("", "model."),
            ],
            Family::Qwen3Vl | Family::SmolVlm | Family::Text => &[],
        };
        for (from, to) in moved {
            if let Some(rest) = name.strip_prefix(from) {
                return format!("{to}{rest}");
            }
        }
        name.to_owned()
    }

    /// Base of the rotary frequencies where the file names none.
    pub(crate) fn default_theta(&self) -> f64 {
        default_theta(self.family)
    }

    /// How pictures are cut, in Qwen's families.
    pub fn patching(&self) -> Option<Patching> {
        Some(match self.tower.as_ref()? {
            TowerConfig::Qwen2Vl(v) => v.sizes().patching,
            TowerConfig::Qwen2_5Vl(v) => v.sizes().patching,
            TowerConfig::Qwen3Vl(v) => v.sizes().patching,
            TowerConfig::InternVl(_) | TowerConfig::SmolVlm(_) | TowerConfig::Qwen2Audio(_) => {
                return None;
            }
        })
    }

    /// Tokens that stand for what is seen or heard and are never sampled.
    pub fn placeholder_tokens(&self) -> Vec<u32> {
        self.image_token_id
            .into_iter()
            .chain(self.video_token_id)
            .collect()
    }
}

/// Keys of `config.json` for the tokens of pictures, videos and the start of either; the first name is the newest.
const QWEN_IDS: [Option<&[&str]>; 3] = [
    Some(&["image_token_id"]),
    Some(&["video_token_id"]),
    Some(&["vision_start_token_id"]),
];
const IMAGE_ID: [Option<&[&str]>; 3] = [Some(&["image_token_id", "image_token_index"]), None, None];
const AUDIO_ID: [Option<&[&str]>; 3] = [Some(&["audio_token_id", "audio_token_index"]), None, None];

fn default_theta(family: Family) -> f64 {
    match family {
        Family::Qwen2Vl | Family::Qwen2_5Vl => 1_000_000.0,
        Family::Qwen3Vl => 500_000.0,
        Family::InternVl | Family::SmolVlm | Family::Qwen2Audio | Family::Text => 10_000.0,
    }
}

fn tower(family: Family, json: &Value, width: usize) -> Result<Option<TowerConfig>, String> {
    const VISION: &str = "vision_config";
    Ok(Some(match family {
        Family::Text => return Ok(None),
        Family::Qwen2Vl => {
            let vision: qwen2_vl::VisionConfig = section(json, VISION)?;
            vision.check(width)?;
            TowerConfig::Qwen2Vl(vision)
        }
        Family::Qwen2_5Vl => {
            let vision: qwen2_5_vl::VisionConfig = section(json, VISION)?;
            vision.check(width)?;
            TowerConfig::Qwen2_5Vl(vision)
        }
        Family::Qwen3Vl => {
            let vision: qwen3_vl::VisionConfig = section(json, VISION)?;
            vision.check(width)?;
            TowerConfig::Qwen3Vl(vision)
        }
        Family::InternVl => {
            let vision: internvl::VisionConfig = section(json, VISION)?;
            TowerConfig::InternVl(vision.complete(json, width)?)
        }
        Family::SmolVlm => {
            let vision: smolvlm::VisionConfig = section(json, VISION)?;
            TowerConfig::SmolVlm(vision.complete(json, width)?)
        }
        Family::Qwen2Audio => {
            let audio: qwen2_audio::AudioConfig = section(json, "audio_config")?;
            TowerConfig::Qwen2Audio(audio.complete(width)?)
        }
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::preset::Preset;

    fn preset() -> Value {
        let preset = Preset::find("tiny-qwen2_5_vl").unwrap();
        serde_json::from_slice(preset.file("config.json").unwrap()).unwrap()
    }

    /// The preset's configuration with one value changed, by its JSON pointer.
    fn changed(pointer: &str, value: Value) -> Result<ModelConfig, String> {
        let mut json = preset();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        json.pointer_mut(parent).unwrap()[key] = value;
        ModelConfig::parse(&json)
    }

    #[test]
    fn sizes_and_ids_that_cannot_be_are_refused_by_name() {
        for (pointer, value, wanted) in [
            (
                "/text_config/num_attention_heads",
                json!(0),
                "num_attention_heads is 0",
            ),
            (
                "/text_config/num_key_value_heads",
                json!(0),
                "num_key_value_heads is 0",
            ),
            ("/text_config/hidden_size", json!(0), "hidden_size is 0"),
            ("/text_config/head_dim", json!(0), "head_dim is 0"),
            (
                "/text_config/num_hidden_layers",
                json!(1u64 << 40),
                "num_hidden_layers is",
            ),
            ("/text_config/vocab_size", json!(u64::MAX), "vocab_size is"),
            (
                "/text_config/vocab_size",
                json!(757),
                "image_token_id 757 lies beyond",
            ),
            (
                "/text_config/rms_norm_eps",
                json!(-1.0),
                "rms_norm_eps is -1",
            ),
            (
                "/text_config/rope_parameters/rope_theta",
                json!(0.0),
                "rope_theta is 0",
            ),
            (
                "/text_config/rope_parameters/mrope_section",
                json!([1u64 << 63, 1u64 << 63, 16]),
                "mrope_section",
            ),
            (
                "/image_token_id",
                json!(768),
                "image_token_id 768 lies beyond",
            ),
            (
                "/vision_config/num_heads",
                json!(0),
                "vision_config.num_heads is 0",
            ),
            (
                "/vision_config/spatial_merge_size",
                json!(0),
                "spatial_merge_size is 0",
            ),
            ("/vision_config/depth", json!(0), "depth is 0"),
        ] {
            let error = changed(pointer, value).unwrap_err();
            assert!(error.contains(wanted), "{pointer}: {error}");
        }
    }

    #[test]
    fn variants_that_are_not_computed_are_refused() {
        for (pointer, value, wanted) in [
            ("/text_config/hidden_act", "gelu", "hidden_act is `gelu`"),
            (
                "/vision_config/hidden_act",
                "quick_gelu",
                "vision_config.hidden_act is",
            ),
            (
                "/text_config/rope_parameters/rope_type",
                "yarn",
                "rope_parameters is of the type `yarn`",
            ),
            (
                "/text_config/rope_parameters/type",
                "linear",
                "of the type `linear`",
            ),
        ] {
            let error = changed(pointer, json!(value)).unwrap_err();
            assert!(error.contains(wanted), "{pointer}: {error}");
        }
        let mut json = preset();
        let rope = json["text_config"]["rope_parameters"].take();
        json["text_config"]["rope_scaling"] = rope;
        json["text_config"]["rope_scaling"]["type"] = "mrope".into();
        assert!(ModelConfig::parse(&json).is_ok());
        json["text_config"]["rope_scaling"]["type"] = "yarn".into();
        let error = ModelConfig::parse(&json).unwrap_err();
        assert!(error.contains("rope_scaling is of the type"), "{error}");
    }

    /// Pointers to every value of a JSON tree.
    fn pointers(json: &Value, at: &str, found: &mut Vec<String>) {
        if !at.is_empty() {
            found.push(at.to_owned());
        }
        match json {
            Value::Object(fields) => {
                for (key, value) in fields {
                    pointers(value, &format!("{at}/{key}"), found);
                }
            }
            Value::Array(items) => {
                for (i, value) in items.iter().enumerate() {
                    pointers(value, &format!("{at}/{i}"), found);
                }
            }
            _ => {}
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            Just(json!(0)),
            Just(json!(-1)),
            Just(json!(u64::MAX)),
            Just(json!(1e300)),
            Just(json!("silu")),
            Just(json!([])),
            Just(json!({})),
            any::<bool>().prop_map(|b| json!(b)),
            (0u64..5000).prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            prop::collection::vec(any::<u64>(), 0..4).prop_map(|n| json!(n)),
        ]
    }

    proptest! {
        #[test]
        fn a_changed_configuration_is_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), values()), 1..4),
        ) {
            let mut json = preset();
            for (place, value) in changes {
                let mut found = Vec::new();
                pointers(&json, "", &mut found);
                let pointer: &String = place.get(&found);
                *json.pointer_mut(pointer).unwrap() = value;
            }
            if let Ok(config) = ModelConfig::parse(&json) {
                // What a network is made from can be told without a fault.
                prop_assert!(config.patching().is_some());
                for (name, shape) in config.parameters() {
                    prop_assert!(shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n)).is_some(), "{name}");
                }
            }
        }
    }
}
