//! Where in a turn the answer stands, and in which frame its places are.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use ocelli_core::Frame;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::row::Refusal;
use crate::grammar::{Grammar, Preset};
use crate::payload::ParseFailure;
use crate::tags::sections;

/// Where in a turn the answer stands: recipes write `"answer"`, `"text"`, the name of a grammar, or a grammar's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AnswerIn {
    /// In the first `<answer>…</answer>`.
    #[default]
    Answer,
    /// Anywhere in the turn.
    Text,
    /// In a section of this grammar.
    Grammar(Grammar),
}

impl<'de> Deserialize<'de> for AnswerIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

/// Told apart by hand, because `untagged` would answer every mistake with "did not match any variant".
struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = AnswerIn;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`answer`, `text`, the name of a grammar or a table with `sections`")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<AnswerIn, E> {
        match name {
            "answer" => Ok(AnswerIn::Answer),
            "text" => Ok(AnswerIn::Text),
            name => Grammar::deserialize(serde::de::value::StrDeserializer::new(name))
                .map(AnswerIn::Grammar)
                .map_err(|error: E| {
                    E::custom(format!("`answer_in`: {error}; or write `answer` or `text`"))
                }),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AnswerIn, A::Error> {
        Grammar::deserialize(MapAccessDeserializer::new(map)).map(AnswerIn::Grammar)
    }
}

/// Where the answer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) answer_in: AnswerIn,
    pub(crate) section: String,
}

/// The frames of the answer's and the target's coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frames {
    pub(crate) answer: Frame,
    pub(crate) target: Frame,
}

/// What a verifier reads, and so which of the common keys have an effect on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The whole turn.
    Turn,
    /// The answer, for something other than places in the picture.
    Answer,
    /// Places in the picture.
    Places,
}

static THINK_ANSWER: LazyLock<Grammar> = LazyLock::new(|| Grammar::preset(Preset::ThinkAnswer));

impl Place {
    /// The section that is read when none is named.
    pub(crate) const SECTION: &'static str = "answer";

    /// The grammar whose sections can be read.
    pub(crate) fn grammar(&self) -> &Grammar {
        match &self.answer_in {
            AnswerIn::Grammar(grammar) => grammar,
            AnswerIn::Answer | AnswerIn::Text => &THINK_ANSWER,
        }
    }

    /// The text of `turn` in which the answer stands.
    pub(crate) fn answer<'t>(&self, turn: &'t str) -> Result<Cow<'t, str>, Refusal> {
        match &self.answer_in {
            AnswerIn::Text => Ok(Cow::Borrowed(turn)),
            AnswerIn::Answer if self.section == Self::SECTION => {
                let answer = sections(turn).answer.ok_or(ParseFailure::NoAnswer)?;
                Ok(Cow::Borrowed(answer))
            }
            _ => self.section(turn, &self.section),
        }
    }

    /// The text of the section `name` of `turn`.
    pub(crate) fn section<'t>(&self, turn: &'t str, name: &str) -> Result<Cow<'t, str>, Refusal> {
        let reading = self.grammar().read(turn);
        Ok(Cow::Owned(reading.section(name)?.to_owned()))
    }

    /// What is wrong with reading the section `name`.
    pub(crate) fn check_section(&self, key: &str, name: &str) -> Result<(), String> {
        let known: Vec<&str> = self.grammar().section_names().collect();
        if known.contains(&name) {
            return Ok(());
        }
        let known = known.join("`, `");
        Err(format!(
            "the grammar of `answer_in` has no section `{name}`; set `{key}` to one of `{known}`"
        ))
    }
}

/// The keys that verifiers share, as given.
#[derive(Default, Deserialize)]
pub(crate) struct Common {
    answer_in: Option<AnswerIn>,
    section: Option<String>,
    frame: Option<Frame>,
    target_frame: Option<Frame>,
}

impl Common {
    pub(crate) const KEYS: [&'static str; 4] = ["answer_in", "section", "frame", "target_frame"];

    /// Takes the shared keys out of `settings`.
    pub(crate) fn take(settings: &mut Map<String, Value>) -> Result<Self, String> {
        let mut own = Map::new();
        for key in Self::KEYS {
            if let Some(value) = settings.remove(key) {
                own.insert(key.to_owned(), value);
            }
        }
        serde_json::from_value(Value::Object(own)).map_err(|error| error.to_string())
    }

    /// What they mean for a verifier that reads this.
    pub(crate) fn for_reader(self, reads: Reads) -> Result<(Place, Frames), String> {
        let without_effect =
            |key: &str, why: &str| Err(format!("`{key}` has no effect, {why}; remove the key"));
        for (key, given) in [
            ("answer_in", self.answer_in.is_some()),
            ("section", self.section.is_some()),
        ] {
            if given && reads == Reads::Turn {
                return without_effect(key, "the whole turn is read");
            }
        }
        for (key, given) in [
            ("frame", self.frame.is_some()),
            ("target_frame", self.target_frame.is_some()),
        ] {
            if given && reads != Reads::Places {
                return without_effect(key, "no places in the picture are read");
            }
        }
        if self.section.is_some() && self.answer_in == Some(AnswerIn::Text) {
            return without_effect(
                "section",
                "with `answer_in = \"text\"` the whole turn is read",
            );
        }
        let place = Place {
            answer_in: self.answer_in.unwrap_or_default(),
            section: self.section.unwrap_or_else(|| Place::SECTION.to_owned()),
        };
        if place.answer_in != AnswerIn::Text {
            place.check_section("section", &place.section)?;
        }
        let frames = Frames {
            answer: self.frame.unwrap_or(Frame::SourcePixels),
            target: self.target_frame.unwrap_or(Frame::SourcePixels),
        };
        Ok((place, frames))
    }
}
