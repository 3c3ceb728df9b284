//! Text to token ids and back, by the checkpoint's own `tokenizer.json`.
//!
//! The only module that names the `tokenizers` library. It adds no token of its own, neither at the start nor at the
//! end: what is to be in the prompt is written by the chat template.

use std::sync::Arc;

use crate::processing_error::ProcessingError;

/// A tokenizer, cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    file: Arc<str>,
}

/// The ids of the tokens that give a Qwen-VL prompt its structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<|im_start|>`, opens a turn.
    pub im_start: u32,
    /// `<|im_end|>`, closes a turn; sampling stops at it.
    pub im_end: u32,
    /// `<|endoftext|>`, ends a document; also the padding.
    pub endoftext: u32,
    /// `<|vision_start|>`, before the tokens of a picture or video.
    pub vision_start: u32,
    /// `<|vision_end|>`, after them.
    pub vision_end: u32,
    /// `<|image_pad|>`, replaced by one visual feature each.
    pub image_pad: u32,
    /// `<|video_pad|>`, the same for videos.
    pub video_pad: u32,
    /// `<|vision_pad|>`, reserved by the model family.
    pub vision_pad: u32,
}

impl Tokenizer {
    /// Reads the bytes of a `tokenizer.json`; `file` names them in errors.
    ///
    /// # Errors
    /// If the bytes are not a tokenizer.
    pub fn from_bytes(bytes: impl AsRef<[u8]>, file: &str) -> Result<Self, ProcessingError> {
        let refused = |reason: tokenizers::Error| ProcessingError::Tokenizer {
            file: file.to_owned(),
            reason: reason.to_string(),
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(refused)?;
        // Some published files still hold the truncation or padding of the run that saved them.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(refused)?;
        Ok(Self {
            inner: Arc::new(inner),
            file: file.into(),
        })
    }

    /// The ids of `text`. Special tokens written in it are recognised; none is added.
    ///
    /// # Errors
    /// If the tokenizer's own rules fail on the text, which no published Qwen tokenizer does.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ProcessingError> {
        match self.inner.encode_fast(text, false) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(reason) => Err(self.coding("encoded", &reason)),
        }
    }

    /// The text of `ids`, where `skip_special` leaves out special tokens. Ids outside the vocabulary give nothing, and
    /// bytes that are no UTF-8 (half a character) give U+FFFD.
    ///
    /// # Errors
    /// If the tokenizer's own rules fail on the ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, ProcessingError> {
        self.inner
            .decode(ids, skip_special)
            .map_err(|reason| self.coding("decoded", &reason))
    }

    /// The id of exactly this token, special or not.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id as the vocabulary spells it (byte-level letters such as `Ġ` for a blank).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Number of entries with the added tokens. The embedding of a checkpoint may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The largest id in the vocabulary; 0 when it is empty.
    pub fn largest_id(&self) -> u32 {
        self.inner.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// The special ids of a Qwen-VL vocabulary.
    ///
    /// # Errors
    /// Names the first token that is missing.
    pub fn special_tokens(&self) -> Result<SpecialTokens, ProcessingError> {
        let find = |token| {
            self.id(token).ok_or_else(|| ProcessingError::SpecialToken {
                file: self.file.to_string(),
                token,
            })
        };
        Ok(SpecialTokens {
            im_start: find("<|im_start|>")?,
            im_end: find("<|im_end|>")?,
            endoftext: find("<|endoftext|>")?,
            vision_start: find("<|vision_start|>")?,
            vision_end: find("<|vision_end|>")?,
            image_pad: find("<|image_pad|>")?,
            video_pad: find("<|video_pad|>")?,
            vision_pad: find("<|vision_pad|>")?,
        })
    }

    fn coding(&self, action: &'static str, reason: &tokenizers::Error) -> ProcessingError {
        ProcessingError::Coding {
            file: self.file.to_string(),
            action,
            reason: reason.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::preset::Preset;

    fn tiny() -> Tokenizer {
        static TINY: LazyLock<Tokenizer> = LazyLock::new(|| {
            let preset = Preset::find("tiny-qwen2_5_vl").unwrap();
            Tokenizer::from_bytes(preset.file("tokenizer.json").unwrap(), "tokenizer.json").unwrap()
        });
        TINY.clone()
    }

    #[test]
    fn a_box_costs_one_token_a_digit_and_one_a_gap() {
        let tokenizer = tiny();
        let ids = tokenizer.encode("[12, 30]").unwrap();
        let tokens: Vec<_> = ids.iter().map(|&id| tokenizer.token(id).unwrap()).collect();
        assert_eq!(tokens, ["[", "1", "2", ", ", "3", "0", "]"]);
    }

    #[test]
    fn tags_cost_few_tokens() {
        let tokenizer = tiny();
        for (text, most) in [
            ("<think>", 2),
            ("</think>", 3),
            ("<answer>", 2),
            ("</answer>", 3),
        ] {
            assert!(tokenizer.encode(text).unwrap().len() <= most, "{text}");
        }
    }

    #[test]
    fn special_tokens_are_recognised_and_skipped_on_request() {
        let tokenizer = tiny();
        let special = tokenizer.special_tokens().unwrap();
        let ids = tokenizer.encode("<|im_start|>yes<|im_end|>").unwrap();
        assert_eq!(ids.first(), Some(&special.im_start));
        assert_eq!(ids.last(), Some(&special.im_end));
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), "yes");
        assert_eq!(
            tokenizer.decode(&ids, false).unwrap(),
            "<|im_start|>yes<|im_end|>"
        );
        assert_eq!(tokenizer.vocab_size(), 768);
        assert_eq!(tokenizer.largest_id(), 767);
    }

    #[test]
    fn unknown_ids_and_half_characters_do_not_fail() {
        let tokenizer = tiny();
        assert_eq!(tokenizer.decode(&[70_000], false).unwrap(), "");
        let ids = tokenizer.encode("é").unwrap();
        assert_eq!(tokenizer.decode(&ids[..1], false).unwrap(), "\u{fffd}");
    }

    #[test]
    fn a_tokenizer_without_the_special_tokens_names_the_first() {
        let json = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
            "pre_tokenizer":null,"post_processor":null,"decoder":null,
            "model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#;
        let tokenizer = Tokenizer::from_bytes(json.as_bytes(), "x/tokenizer.json").unwrap();
        let message = tokenizer.special_tokens().unwrap_err().to_string();
        assert!(
            message.starts_with("x/tokenizer.json: the token <|im_start|> is missing"),
            "{message}"
        );
    }

    #[test]
    fn saved_truncation_and_padding_are_dropped() {
        let json = r#"{"version":"1.0",
            "truncation":{"direction":"Right","max_length":1,"strategy":"LongestFirst","stride":0},
            "padding":{"strategy":{"Fixed":9},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,
                       "pad_type_id":0,"pad_token":"a"},
            "added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,
            "model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#;
        let tokenizer = Tokenizer::from_bytes(json.as_bytes(), "tokenizer.json").unwrap();
        assert_eq!(tokenizer.encode("aaa").unwrap(), [0, 0, 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_tokenizer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Tokenizer::from_bytes(bytes, "tokenizer.json");
        }

        #[test]
        fn ascii_text_comes_back(text in "[ -~\n]{0,60}") {
            let tokenizer = tiny();
            let ids = tokenizer.encode(&text).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
    }
}
