//! Chat messages with typed parts, as the Hugging Face chat templates expect them.

use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

/// One piece of a message. Pictures, videos and sounds are referred to by their index into the lists that travel beside the
/// messages, one list for each kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    Text { text: String },
    Image { index: usize },
    Video { index: usize },
    Audio { index: usize },
}

impl Part {
    /// The text, or `None` for what is seen or heard.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text { text } => Some(text),
            _ => None,
        }
    }

    /// What is seen or heard, or `None` for text.
    pub fn shown(&self) -> Option<Shown> {
        match *self {
            Self::Text { .. } => None,
            Self::Image { index } => Some(Shown::Image(index)),
            Self::Video { index: video } => Some(Shown::Video { video }),
            Self::Audio { index: audio } => Some(Shown::Audio { audio }),
        }
    }
}

/// One of a task's pictures, videos or sounds, by its index among its kind. A record writes a picture as the bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Shown {
    Image(usize),
    Video { video: usize },
    Audio { audio: usize },
}

/// What messages show besides text, in order of appearance.
pub fn shown(messages: &[Message]) -> impl Iterator<Item = Shown> {
    let parts = messages.iter().flat_map(|message| &message.content);
    parts.filter_map(Part::shown)
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: Vec<Part>,
}

impl Message {
    /// A message that holds text only.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            content: vec![Part::Text { text: text.into() }],
        }
    }

    /// The text parts joined, all else left out.
    pub fn plain_text(&self) -> String {
        self.content.iter().filter_map(Part::as_text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_write_pictures_as_bare_numbers() {
        let content = vec![
            Part::Video { index: 1 },
            Part::Text { text: "a".into() },
            Part::Image { index: 0 },
            Part::Audio { index: 2 },
        ];
        let message = Message {
            role: Role::User,
            content,
        };
        let found: Vec<Shown> = shown(&[message]).collect();
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(text, r#"[{"video":1},0,{"audio":2}]"#);
        assert_eq!(serde_json::from_str::<Vec<Shown>>(&text).unwrap(), found);
    }
}
