//! What a plug-in is told of an episode, as the runner reads it.

use std::collections::BTreeMap;
use std::path::Path;

use ocelli_core::{BoundingBox, Episode, ImageSource, Message, Part, Role, Target, Task};
use serde::Serialize;
use serde_json::Value;

use super::Style;

/// One episode. Everything is borrowed: a batch is written once, straight into the request.
#[derive(Serialize)]
pub(crate) struct Row<'a> {
    id: &'a str,
    response: &'a str,
    /// Tokens of the last turn, which `response` is the text of.
    response_length: usize,
    target: Option<Truth<'a>>,
    columns: BTreeMap<&'a str, Column<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<ChatMessage<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<&'a [u32]>,
}

/// A column of the data file as it is, or a tag.
#[derive(Serialize)]
#[serde(untagged)]
enum Column<'a> {
    Text(&'a str),
    Other(&'a Value),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Truth<'a> {
    Text(&'a str),
    Box(&'a BoundingBox),
}

/// A message as TRL's data sets write it.
#[derive(Serialize)]
struct ChatMessage<'a> {
    role: Role,
    content: Content<'a>,
}

/// Text alone is a string, anything else a list.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(String),
    Parts(Vec<ContentPart<'a>>),
}

/// A picture, video or sound is the path of its file, or null when it has none.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ContentPart<'a> {
    Text { text: &'a str },
    Image { image: Option<String> },
    Video { video: Option<String> },
    Audio { audio: Option<String> },
}

impl<'a> Row<'a> {
    /// The row of `episode`; only TRL's convention has prompts and token ids.
    pub(crate) fn new(episode: &'a Episode, style: Style) -> Self {
        let task = &episode.task;
        let token_ids = episode
            .decisions()
            .last()
            .map_or(&[][..], |decision| &decision.token_ids);
        let is_trl = style == Style::Trl;
        Self {
            id: &task.id,
            response: episode.answer_text(),
            response_length: token_ids.len(),
            target: task.target.as_ref().map(|target| match target {
                Target::Text(text) => Truth::Text(text),
                Target::Box(corners) => Truth::Box(corners),
            }),
            columns: {
                let texts = task.tags.iter().map(|(n, v)| (n.as_str(), Column::Text(v)));
                let others = task
                    .columns
                    .iter()
                    .map(|(n, v)| (n.as_str(), Column::Other(v)));
                texts.chain(others).collect()
            },
            messages: is_trl.then(|| {
                let message = |message| ChatMessage::new(message, task);
                task.messages.iter().map(message).collect()
            }),
            token_ids: is_trl.then_some(token_ids),
        }
    }
}

impl<'a> ChatMessage<'a> {
    fn new(message: &'a Message, task: &Task) -> Self {
        let only_text = message
            .content
            .iter()
            .all(|part| matches!(part, Part::Text { .. }));
        Self {
            role: message.role,
            content: if only_text {
                Content::Text(message.plain_text())
            } else {
                Content::Parts(
                    message
                        .content
                        .iter()
                        .map(|part| ContentPart::new(part, task))
                        .collect(),
                )
            },
        }
    }
}

impl<'a> ContentPart<'a> {
    fn new(part: &'a Part, task: &Task) -> Self {
        let name = |path: &Path| path.to_string_lossy().into_owned();
        match part {
            Part::Text { text } => Self::Text { text },
            Part::Image { index } => Self::Image {
                image: match task.images.get(*index) {
                    Some(ImageSource::Path(path)) => Some(name(path)),
                    // Not a name that looks like a path: a function would try to open it.
                    Some(
                        ImageSource::Embedded(_)
                        | ImageSource::Pixels(_)
                        | ImageSource::Generated
                        | ImageSource::Moved { .. },
                    )
                    | None => None,
                },
            },
            Part::Video { index } => Self::Video {
                video: task.videos.get(*index).map(|video| name(&video.path)),
            },
            Part::Audio { index } => Self::Audio {
                audio: task.audios.get(*index).map(|path| name(path)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{box_target, episode, text_target};

    fn written(episode: &Episode, style: Style) -> Value {
        let text = serde_json::to_string(&Row::new(episode, style)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn rows_hold_what_their_style_asks_for() {
        let row = written(&episode(Some(text_target("4")), "five"), Style::Verl);
        let wanted = json!({
            "id": "row-1", "response": "five", "response_length": 1, "target": "4", "columns": { "task": "ref" },
        });
        assert_eq!(row, wanted);
        let mut typed = episode(Some(text_target("4")), "five");
        let task = Arc::make_mut(&mut typed.task);
        task.tags.insert("level".into(), "2".into());
        task.columns.insert("level".into(), json!(2));
        let row = written(&typed, Style::Trl);
        assert_eq!(row["columns"], json!({"task": "ref", "level": 2}));
        let mut silent = episode(Some(box_target([1.0, 2.0, 3.5, 4.0])), "");
        silent.segments.clear();
        let row = written(&silent, Style::Trl);
        assert_eq!(row["target"], json!([1.0, 2.0, 3.5, 4.0]));
        assert_eq!(row["token_ids"], json!([]));
        assert_eq!(
            (&row["response"], &row["messages"]),
            (&json!(""), &json!([]))
        );
    }

    #[test]
    fn messages_are_text_or_parts() {
        let mut shown = episode(None, "");
        let task = Arc::make_mut(&mut shown.task);
        task.images = vec![ImageSource::Path("a.png".into()), ImageSource::Generated];
        let image = |index| Part::Image { index };
        let text = |text: &str| Part::Text {
            text: text.to_owned(),
        };
        task.messages = vec![
            Message::text(Role::System, "Be brief."),
            Message {
                role: Role::User,
                content: vec![image(0), text("Count."), image(1), image(2)],
            },
        ];
        let row = written(&shown, Style::Trl);
        assert_eq!(
            row["messages"],
            json!([
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": [
                    { "type": "image", "image": "a.png" },
                    { "type": "text", "text": "Count." },
                    { "type": "image", "image": null },
                    { "type": "image", "image": null },
                ] },
            ])
        );
    }
}
