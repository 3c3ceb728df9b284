//! `config.json` of the supported families, field names as in the file.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::Value;

/// Model types that can be loaded.
pub const SUPPORTED: &[&str] = &["qwen2_5_vl"];

/// The parts of a Qwen2.5-VL configuration that shape the network.
#[derive(Clone, Debug, PartialEq)]
pub struct QwenVlConfig {
    pub text: TextConfig,
    pub vision: VisionConfig,
    pub image_token_id: u32,
    pub video_token_id: u32,
    pub vision_start_token_id: u32,
    pub tie_word_embeddings: bool,
}

/// The language model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TextConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    #[serde(default = "default_epsilon")]
    pub rms_norm_eps: f32,
    #[serde(default)]
    pub head_dim: Option<usize>,
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_scaling: Option<RopeConfig>,
    #[serde(default)]
    rope_parameters: Option<RopeConfig>,
    #[serde(default)]
    pub use_sliding_window: bool,
    #[serde(default)]
    hidden_act: Option<String>,
}

/// The vision tower.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VisionConfig {
    pub depth: usize,
    pub hidden_size: usize,
    pub num_heads: usize,
    pub intermediate_size: usize,
    pub out_hidden_size: usize,
    pub patch_size: usize,
    pub spatial_merge_size: usize,
    pub temporal_patch_size: usize,
    pub window_size: usize,
    pub fullatt_block_indexes: Vec<usize>,
    #[serde(default = "default_channels", alias = "in_chans")]
    pub in_channels: usize,
    #[serde(default)]
    hidden_act: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct RopeConfig {
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    mrope_section: Option<Vec<usize>>,
    /// What the rotary frequencies are scaled by; newer files call it `rope_type`, many hold both.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    rope_type: Option<String>,
}

/// What widths and the vocabulary's size may be: above, products of sizes could leave the range of numbers.
const WIDTHS: RangeInclusive<usize> = 1..=1 << 24;
/// What numbers of layers and sides of patches may be, as in the image processor.
const COUNTS: RangeInclusive<usize> = 1..=1024;

fn default_epsilon() -> f32 {
    1e-6
}

fn default_channels() -> usize {
    3
}

impl TextConfig {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    /// Base of the rotary frequencies; newer files keep it with the other rotary settings.
    pub fn rope_theta(&self) -> f64 {
        let nested = |rope: &Option<RopeConfig>| rope.as_ref().and_then(|r| r.rope_theta);
        nested(&self.rope_parameters)
            .or(nested(&self.rope_scaling))
            .or(self.rope_theta)
            .unwrap_or(1_000_000.0)
    }

    /// Frequencies that follow time, height and width; they add up to half a head.
    pub fn mrope_section(&self) -> Option<&[usize]> {
        [&self.rope_parameters, &self.rope_scaling]
            .into_iter()
            .find_map(|rope| rope.as_ref()?.mrope_section.as_deref())
    }
}

impl QwenVlConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// Says which field is missing or contradicts another.
    pub fn parse(json: &Value) -> Result<Self, String> {
        let kind = json["model_type"].as_str().unwrap_or("");
        if !SUPPORTED.contains(&kind) {
            return Err(format!(
                "model type `{kind}` is not supported; supported: {}",
                SUPPORTED.join(", ")
            ));
        }
        // Files written before transformers 4.52 keep the language model's fields at the top.
        let text = match &json["text_config"] {
            Value::Object(_) => &json["text_config"],
            _ => json,
        };
        let text: TextConfig =
            serde_json::from_value(text.clone()).map_err(|e| format!("language model: {e}"))?;
        let vision: VisionConfig = serde_json::from_value(json["vision_config"].clone())
            .map_err(|e| format!("vision_config: {e}"))?;
        let id = |name: &str| {
            json[name]
                .as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| format!("`{name}` is missing"))
        };
        let tied = json["tie_word_embeddings"]
            .as_bool()
            .or_else(|| json["text_config"]["tie_word_embeddings"].as_bool())
            .unwrap_or(false);
        let config = Self {
            image_token_id: id("image_token_id")?,
            video_token_id: id("video_token_id")?,
            vision_start_token_id: id("vision_start_token_id")?,
            tie_word_embeddings: tied,
            text,
            vision,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        self.check_sizes()?;
        self.check_kinds()?;
        let (text, vision) = (&self.text, &self.vision);
        let require = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
        require(
            text.num_attention_heads
                .is_multiple_of(text.num_key_value_heads),
            format!(
                "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                text.num_attention_heads, text.num_key_value_heads
            ),
        )?;
        for (name, id) in [
            ("image_token_id", self.image_token_id),
            ("video_token_id", self.video_token_id),
            ("vision_start_token_id", self.vision_start_token_id),
        ] {
            require(
                (id as usize) < text.vocab_size,
                format!(
                    "{name} {id} lies beyond the vocabulary: vocab_size is {}",
                    text.vocab_size
                ),
            )?;
        }
        let section = text
            .mrope_section()
            .ok_or("`mrope_section` is missing from rope_scaling or rope_parameters")?;
        require(
            section.len() == 3
                && section.iter().all(|part| *part <= text.head_dim())
                && section.iter().sum::<usize>() * 2 == text.head_dim(),
            format!(
                "mrope_section {section:?} must be three numbers that add up to half of head_dim {}",
                text.head_dim()
            ),
        )?;
        require(
            vision.hidden_size.is_multiple_of(vision.num_heads)
                && (vision.hidden_size / vision.num_heads).is_multiple_of(4),
            format!(
                "vision hidden_size {} must give {} heads of a width divisible by 4",
                vision.hidden_size, vision.num_heads
            ),
        )?;
        require(
            vision.out_hidden_size == text.hidden_size,
            format!(
                "vision out_hidden_size {} differs from the language model's hidden_size {}",
                vision.out_hidden_size, text.hidden_size
            ),
        )?;
        let unit = vision.patch_size * vision.spatial_merge_size;
        require(
            vision.window_size >= unit,
            format!(
                "window_size {} is smaller than one merged patch of {unit} pixels",
                vision.window_size
            ),
        )?;
        require(
            !text.use_sliding_window,
            "`use_sliding_window` is on; sliding windows are not supported yet".into(),
        )
    }

    /// Refuses sizes that no network has.
    fn check_sizes(&self) -> Result<(), String> {
        let (text, vision) = (&self.text, &self.vision);
        for (name, size, range) in [
            ("vocab_size", text.vocab_size, WIDTHS),
            ("hidden_size", text.hidden_size, WIDTHS),
            ("intermediate_size", text.intermediate_size, WIDTHS),
            ("num_hidden_layers", text.num_hidden_layers, COUNTS),
            ("num_attention_heads", text.num_attention_heads, WIDTHS),
            ("num_key_value_heads", text.num_key_value_heads, WIDTHS),
            ("head_dim", text.head_dim.unwrap_or(1), WIDTHS),
            ("vision_config.depth", vision.depth, COUNTS),
            ("vision_config.hidden_size", vision.hidden_size, WIDTHS),
            ("vision_config.num_heads", vision.num_heads, WIDTHS),
            (
                "vision_config.intermediate_size",
                vision.intermediate_size,
                WIDTHS,
            ),
            (
                "vision_config.out_hidden_size",
                vision.out_hidden_size,
                WIDTHS,
            ),
            ("vision_config.patch_size", vision.patch_size, COUNTS),
            (
                "vision_config.spatial_merge_size",
                vision.spatial_merge_size,
                COUNTS,
            ),
            (
                "vision_config.temporal_patch_size",
                vision.temporal_patch_size,
                COUNTS,
            ),
            ("vision_config.window_size", vision.window_size, WIDTHS),
            ("vision_config.in_channels", vision.in_channels, COUNTS),
        ] {
            if !range.contains(&size) {
                return Err(format!(
                    "{name} is {size}; it lies between {} and {}",
                    range.start(),
                    range.end()
                ));
            }
        }
        if text.head_dim() == 0 {
            return Err(format!(
                "hidden_size {} gives num_attention_heads {} no width",
                text.hidden_size, text.num_attention_heads
            ));
        }
        let (epsilon, theta) = (text.rms_norm_eps, text.rope_theta());
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            return Err(format!(
                "rms_norm_eps is {epsilon}; it is a number from 0 on"
            ));
        }
        if !(theta.is_finite() && theta > 0.0) {
            return Err(format!("rope_theta is {theta}; it is a number above 0"));
        }
        Ok(())
    }

    /// Refuses variants of the family that the network does not compute.
    fn check_kinds(&self) -> Result<(), String> {
        for (name, kind) in [
            ("hidden_act", &self.text.hidden_act),
            ("vision_config.hidden_act", &self.vision.hidden_act),
        ] {
            if let Some(kind) = kind
                && kind != "silu"
            {
                return Err(format!("{name} is `{kind}`; only `silu` is supported"));
            }
        }
        for (name, rope) in [
            ("rope_scaling", &self.text.rope_scaling),
            ("rope_parameters", &self.text.rope_parameters),
        ] {
            let kinds = rope.iter().flat_map(|rope| [&rope.kind, &rope.rope_type]);
            for kind in kinds.flatten() {
                if !["default", "mrope"].contains(&kind.as_str()) {
                    return Err(format!(
                        "{name} is of the type `{kind}`; only `default` and `mrope` are supported"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Numbers in one flattened patch.
    pub fn patch_width(&self) -> usize {
        let v = &self.vision;
        v.in_channels * v.temporal_patch_size * v.patch_size * v.patch_size
    }

    /// Tokens that stand for vision input and are never sampled.
    pub fn placeholder_tokens(&self) -> Vec<u32> {
        vec![self.image_token_id, self.video_token_id]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::preset::Preset;
    use crate::qwen2_5_vl::parameters;

    fn preset() -> Value {
        let preset = Preset::find("tiny-qwen2_5_vl").unwrap();
        serde_json::from_slice(preset.file("config.json").unwrap()).unwrap()
    }

    /// The preset's configuration with one value changed, by its JSON pointer.
    fn changed(pointer: &str, value: Value) -> Result<QwenVlConfig, String> {
        let mut json = preset();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        json.pointer_mut(parent).unwrap()[key] = value;
        QwenVlConfig::parse(&json)
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
        assert!(QwenVlConfig::parse(&json).is_ok());
        json["text_config"]["rope_scaling"]["type"] = "yarn".into();
        let error = QwenVlConfig::parse(&json).unwrap_err();
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
            if let Ok(config) = QwenVlConfig::parse(&json) {
                // What a network is made from can be told without a fault.
                prop_assert!(config.patch_width() > 0);
                for (name, shape) in parameters(&config) {
                    prop_assert!(shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n)).is_some(), "{name}");
                }
            }
        }
    }
}
