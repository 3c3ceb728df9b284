//! `config.json` of the supported families, field names as in the file.

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
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct RopeConfig {
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    mrope_section: Option<Vec<usize>>,
}

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
        let (text, vision) = (&self.text, &self.vision);
        let require = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
        require(
            text.num_key_value_heads > 0
                && text
                    .num_attention_heads
                    .is_multiple_of(text.num_key_value_heads),
            format!(
                "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                text.num_attention_heads, text.num_key_value_heads
            ),
        )?;
        let section = text
            .mrope_section()
            .ok_or("`mrope_section` is missing from rope_scaling or rope_parameters")?;
        require(
            section.len() == 3 && section.iter().sum::<usize>() * 2 == text.head_dim(),
            format!(
                "mrope_section {section:?} must be three numbers that add up to half of head_dim {}",
                text.head_dim()
            ),
        )?;
        require(
            vision.num_heads > 0
                && vision.hidden_size.is_multiple_of(vision.num_heads)
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
            unit > 0 && vision.window_size >= unit,
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
