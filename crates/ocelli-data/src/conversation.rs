//! Conversations as data files write them: texts with a marker where a picture, video or sound goes.

use ocelli_core::{Message, Part, Role};

use crate::template::Template;

/// What stands in a text for a picture, a video, a sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Markers {
    pub(crate) image: &'static str,
    pub(crate) video: &'static str,
    pub(crate) audio: &'static str,
    /// How errors call the three.
    names: [&'static str; 3],
}

/// Those in texts of VLM-R1, EasyR1 and verl.
pub(crate) const WRITTEN: Markers = Markers {
    image: "<image>",
    video: "<video>",
    audio: "<audio>",
    names: ["`<image>`", "`<video>`", "`<audio>`"],
};

/// Those for TRL's messages, whose texts are texts and hold no markers. U+FFFC is Unicode's own sign for an object in a text, the
/// others stand beside it.
pub(crate) const OBJECTS: Markers = Markers {
    image: "\u{fffc}",
    video: "\u{fffa}",
    audio: "\u{fff9}",
    names: [
        "parts of type `image`",
        "parts of type `video`",
        "parts of type `audio`",
    ],
};

/// Numbers of pictures, videos and sounds.
pub(crate) type Counts = [usize; 3];

impl Markers {
    fn all(&self) -> [&'static str; 3] {
        [self.image, self.video, self.audio]
    }

    /// How many of each stand in the human turns.
    pub(crate) fn counts(&self, turns: &[(Role, String)]) -> Counts {
        self.all().map(|marker| {
            turns
                .iter()
                .filter(|(role, _)| *role == Role::User)
                .map(|(_, text)| text.matches(marker).count())
                .sum()
        })
    }

    /// The text without them.
    pub(crate) fn strip(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for marker in self.all() {
            text = text.replace(marker, "");
        }
        text.trim().to_owned()
    }

    /// Puts what has no places of its own at the start of the first human turn: pictures, then videos, then sounds.
    pub(crate) fn put_first(&self, turns: &mut [(Role, String)], given: Counts) {
        let placed = self.counts(turns);
        let Some((_, first)) = turns.iter_mut().find(|(role, _)| *role == Role::User) else {
            return;
        };
        let mut start = String::new();
        for ((marker, given), placed) in self.all().into_iter().zip(given).zip(placed) {
            if placed == 0 {
                start += &marker.repeat(given);
            }
        }
        first.insert_str(0, &start);
    }

    /// Checks that there are as many markers as pictures, videos and sounds.
    ///
    /// # Errors
    /// Says which numbers differ.
    pub(crate) fn check(&self, turns: &[(Role, String)], given: Counts) -> Result<(), String> {
        let kinds = ["pictures", "videos", "sounds"].into_iter().zip(self.names);
        for ((placed, given), (kind, name)) in self.counts(turns).into_iter().zip(given).zip(kinds)
        {
            if placed != given {
                return Err(format!(
                    "{placed} {name} in the user's turns, but {given} {kind}: make them as many"
                ));
            }
        }
        Ok(())
    }

    /// The first marker in `text`: where it begins, and which of the three it is.
    fn next(&self, text: &str) -> Option<(usize, usize)> {
        let places = self.all().into_iter().enumerate();
        places
            .filter_map(|(kind, marker)| Some((text.find(marker)?, kind)))
            .min()
    }

    /// The question put by the template; the markers it begins with stay in front of everything.
    pub(crate) fn apply_prompt(&self, template: &Template, question: &str) -> String {
        let mut rest = question.trim();
        let mut start = String::new();
        while let Some((0, kind)) = self.next(rest) {
            let marker = self.all()[kind];
            start.push_str(marker);
            rest = rest[marker.len()..].trim_start();
        }
        start + &template.fill(&[("question", rest)])
    }

    /// Turns to messages: in human turns each marker becomes the next of its kind, other turns are text as they stand.
    pub(crate) fn messages(&self, turns: Vec<(Role, String)>) -> Vec<Message> {
        let mut next = [0; 3];
        turns
            .into_iter()
            .map(|(role, text)| match role {
                Role::User => Message {
                    role,
                    content: self.parts(&text, &mut next),
                },
                _ => Message::text(role, text),
            })
            .collect()
    }

    /// The text cut at its markers; `next` are the indices to give.
    fn parts(&self, text: &str, next: &mut Counts) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut rest = text;
        let piece = |text: &str| Part::Text {
            text: text.to_owned(),
        };
        while let Some((at, kind)) = self.next(rest) {
            if at > 0 {
                parts.push(piece(&rest[..at]));
            }
            let index = next[kind];
            next[kind] += 1;
            parts.push(match kind {
                0 => Part::Image { index },
                1 => Part::Video { index },
                _ => Part::Audio { index },
            });
            rest = &rest[at + self.all()[kind].len()..];
        }
        if !rest.is_empty() {
            parts.push(piece(rest));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_by_itself() {
        let turn = |text: &str| vec![(Role::User, text.to_owned())];
        let [message] = WRITTEN
            .messages(turn("<video>a<image><video>b"))
            .try_into()
            .unwrap();
        let text = |text: &str| Part::Text { text: text.into() };
        let wanted = [
            Part::Video { index: 0 },
            text("a"),
            Part::Image { index: 0 },
            Part::Video { index: 1 },
            text("b"),
        ];
        assert_eq!(message.content, wanted);
        let mut turns = turn("a<video>");
        WRITTEN.put_first(&mut turns, [1, 1, 2]);
        assert_eq!(turns[0].1, "<image><audio><audio>a<video>");
        assert!(WRITTEN.check(&turns, [1, 1, 2]).is_ok());
        let error = WRITTEN.check(&turns, [1, 0, 2]).unwrap_err();
        assert!(
            error.starts_with("1 `<video>` in the user's turns, but 0 videos"),
            "{error}"
        );
        assert_eq!(WRITTEN.strip(&turns[0].1), "a");
        let template = Template::parse("prompt", "Say: {question}", &["question"]).unwrap();
        assert_eq!(
            WRITTEN.apply_prompt(&template, "<video> <image> why <audio>"),
            "<video><image>Say: why <audio>"
        );
    }
}
