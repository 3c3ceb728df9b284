//! From the text of a policy's turn to the call it makes.

use ocelli_core::Call;

/// How a turn's text is read as a call. Reading cannot fail: text that is no good call of a codec is a call too, one
/// that the env then answers, because the policy is to learn from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallCodec {
    /// The whole text, unchanged, is the answer.
    #[default]
    WholeText,
}

impl CallCodec {
    /// The call that `text`, a whole turn without special tokens, makes.
    pub fn decode(self, text: &str) -> Call {
        match self {
            Self::WholeText => Call::Answer {
                text: text.to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_whole_text_is_the_answer(text in any::<String>()) {
            prop_assert_eq!(CallCodec::WholeText.decode(&text), Call::Answer { text });
        }
    }
}
