//! Small checkpoints without weights that travel inside the program.
//!
//! A preset is the set of files that a Hugging Face folder has beside its weights. The network made from it starts
//! from random numbers, so that a recipe needs no download.

/// A named set of checkpoint files.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    name: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

const PRESETS: &[Preset] = &[Preset {
    name: "tiny-qwen2_5_vl",
    files: &[
        (
            "chat_template.jinja",
            include_bytes!("../assets/tiny-qwen2_5_vl/chat_template.jinja"),
        ),
        (
            "config.json",
            include_bytes!("../assets/tiny-qwen2_5_vl/config.json"),
        ),
        (
            "generation_config.json",
            include_bytes!("../assets/tiny-qwen2_5_vl/generation_config.json"),
        ),
        (
            "preprocessor_config.json",
            include_bytes!("../assets/tiny-qwen2_5_vl/preprocessor_config.json"),
        ),
        (
            "tokenizer.json",
            include_bytes!("../assets/tiny-qwen2_5_vl/tokenizer.json"),
        ),
        (
            "tokenizer_config.json",
            include_bytes!("../assets/tiny-qwen2_5_vl/tokenizer_config.json"),
        ),
    ],
}];

impl Preset {
    /// The preset of this name.
    pub fn find(name: &str) -> Option<Self> {
        PRESETS.iter().find(|preset| preset.name == name).copied()
    }

    /// All names, for help texts and suggestions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|preset| preset.name)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Name and bytes of each file, in alphabetical order.
    pub fn files(&self) -> &'static [(&'static str, &'static [u8])] {
        self.files
    }

    /// The bytes of one file.
    pub fn file(&self, name: &str) -> Option<&'static [u8]> {
        self.files
            .iter()
            .find(|(file, _)| *file == name)
            .map(|(_, bytes)| *bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_by_exact_name() {
        assert_eq!(
            Preset::find("tiny-qwen2_5_vl").unwrap().name(),
            "tiny-qwen2_5_vl"
        );
        assert!(Preset::find("tiny").is_none());
        assert_eq!(Preset::names().count(), PRESETS.len());
    }

    #[test]
    fn every_json_file_parses_and_the_ids_agree_with_the_tokenizer() {
        for preset in PRESETS {
            assert!(preset.files().is_sorted_by_key(|(name, _)| *name));
            for (name, bytes) in preset
                .files()
                .iter()
                .filter(|(name, _)| name.ends_with(".json"))
            {
                serde_json::from_slice::<serde_json::Value>(bytes).expect(name);
            }
            let bytes = preset.file("tokenizer.json").unwrap();
            let tokenizer =
                crate::tokenizer::Tokenizer::from_bytes(bytes, "tokenizer.json").unwrap();
            let special = tokenizer.special_tokens().unwrap();
            let config: serde_json::Value =
                serde_json::from_slice(preset.file("config.json").unwrap()).unwrap();
            assert_eq!(config["text_config"]["vocab_size"], tokenizer.vocab_size());
            assert_eq!(config["image_token_id"], special.image_pad);
            assert_eq!(config["video_token_id"], special.video_pad);
            assert_eq!(config["vision_start_token_id"], special.vision_start);
            assert_eq!(config["vision_end_token_id"], special.vision_end);
            assert_eq!(config["eos_token_id"], special.im_end);
            assert_eq!(config["pad_token_id"], special.endoftext);
        }
    }
}
