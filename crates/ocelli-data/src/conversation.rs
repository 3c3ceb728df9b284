//! Conversations as data files write them: texts with a marker where a picture goes.

use ocelli_core::{Message, Part, Role};

use crate::template::Template;

/// Where a picture goes in a text of VLM-R1, EasyR1 and verl.
pub(crate) const MARKER: &str = "<image>";

/// The question put by the template; the pictures it begins with stay in front of everything.
pub(crate) fn apply_prompt(template: &Template, question: &str, marker: &str) -> String {
    let mut rest = question.trim();
    let mut markers = String::new();
    while let Some(after) = rest.strip_prefix(marker) {
        markers.push_str(marker);
        rest = after.trim_start();
    }
    markers + &template.fill(&[("question", rest)])
}

/// Turns to messages: in human turns each marker becomes the next picture, other turns are text as they stand.
pub(crate) fn messages(turns: Vec<(Role, String)>, marker: &str) -> Vec<Message> {
    let mut next_image = 0;
    turns
        .into_iter()
        .map(|(role, text)| match role {
            Role::User => Message {
                role,
                content: parts(&text, marker, &mut next_image),
            },
            _ => Message::text(role, text),
        })
        .collect()
}

/// Markers in the human turns.
pub(crate) fn markers(turns: &[(Role, String)], marker: &str) -> usize {
    turns
        .iter()
        .filter(|(role, _)| *role == Role::User)
        .map(|(_, text)| text.matches(marker).count())
        .sum()
}

/// The text cut at its markers.
fn parts(text: &str, marker: &str, next_image: &mut usize) -> Vec<Part> {
    let mut parts = Vec::new();
    for (i, piece) in text.split(marker).enumerate() {
        if i > 0 {
            parts.push(Part::Image { index: *next_image });
            *next_image += 1;
        }
        if !piece.is_empty() {
            parts.push(Part::Text {
                text: piece.to_owned(),
            });
        }
    }
    parts
}
