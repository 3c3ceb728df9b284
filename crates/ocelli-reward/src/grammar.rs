//! Tag grammars: which named sections a turn has, where they stand, and whether the turn keeps to the form.
//!
//! Two questions are answered apart, as the systems that we follow do:
//! - *extraction*: what is the text of section `answer`? Each section is looked for by itself, so a turn that breaks the
//!   form can still be read;
//! - *form*: does the whole turn consist of the sections, in order, with only the allowed text between them?
//!
//! A form with sections `a` and `b` is the pattern `gap a_open .*? a_close gap b_open .*? b_close after`, `.` taking
//! line breaks, matched against the whole text. A search is a first gap and an `after` that allow anything. White space
//! is that of Python's `\s`. Time is linear in the text's length.
//!
//! ```
//! use ocelli_reward::{Grammar, Preset};
//!
//! let grammar = Grammar::preset(Preset::InfoThinkAnswer);
//! let reading = grammar.read("<info>a cat</info> <think>so</think><answer>cat</answer>");
//! assert_eq!(reading.section("answer").unwrap(), "cat");
//! assert!(reading.form().is_ok());
//! ```

mod config;
mod extract;
mod form;
mod preset;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use preset::Preset;

/// Most sections of one grammar.
const MAX_SECTIONS: usize = 16;

/// The ordered sections of a turn.
///
/// In a recipe: the name of a [`Preset`], or a table of `sections`, `after` and `squeeze`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grammar {
    sections: Vec<Section>,
    after: Gap,
    squeeze: bool,
}

/// One named section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Unique in its grammar.
    pub name: String,
    /// How the section is marked; `<name>…</name>` by default.
    #[serde(default)]
    pub marks: Marks,
    /// Whether the form needs it; true by default.
    #[serde(default = "yes")]
    pub required: bool,
    /// Which one is read when several are there; the first by default.
    #[serde(default)]
    pub pick: Pick,
    /// What the form allows between the section before (or the start of the text) and this one; white space by default.
    #[serde(default)]
    pub gap: Gap,
    /// Which of the marks the form wants exactly once in the whole text; none by default.
    #[serde(default)]
    pub once: Once,
    /// What the form wants inside; anything by default.
    #[serde(default)]
    pub holds: Holds,
    /// Whether a section that is read must stand on one line, its marks included; false by default.
    #[serde(default)]
    pub single_line: bool,
    /// The section is looked for in so many last characters of the text only; in all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<usize>,
    /// Whether the whole text is read when the section is not there; false by default.
    #[serde(default)]
    pub or_whole: bool,
}

impl Section {
    /// The section `<name>…</name>`, with every field at its default.
    pub fn tag(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            marks: Marks::Tag,
            required: true,
            pick: Pick::First,
            gap: Gap::Space,
            once: Once::No,
            holds: Holds::Anything,
            single_line: false,
            tail: None,
            or_whole: false,
        }
    }
}

fn yes() -> bool {
    true
}

/// How a section is marked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Marks {
    /// `<name>…</name>` with the section's name; letter case counts.
    #[default]
    Tag,
    /// From the first text to the next occurrence of the second.
    Between(String, String),
    /// A line that starts with this text, `{n}` standing for digits; to the next header of the grammar or the end.
    Header(String),
    /// `\boxed{…}`, with nested braces; an escaped brace (`\{`) is not counted.
    Boxed,
    /// From this text to the end.
    After(String),
    /// The rest of the line after this text and a colon, letter case ignored: `Answer: 7`.
    Line(String),
    /// The whole text.
    Whole,
}

/// Which match of a section is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
    /// The so-many-th, from 1.
    Nth(usize),
    /// The only one: several are a failure.
    Only,
}

/// What may stand outside the sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// Nothing.
    Nothing,
    /// Exactly one character of white space.
    OneSpace,
    /// White space or nothing.
    #[default]
    Space,
    /// Any text.
    Anything,
}

/// Which marks of a section must occur exactly once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Once {
    /// None.
    #[default]
    No,
    /// The opening one.
    Opening,
    /// Both.
    Both,
}

/// What the form wants to find inside a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// Anything or nothing.
    #[default]
    Anything,
    /// Somewhere `[1, 2, 3, 4]`: four whole numbers of ASCII digits, white space only after the commas.
    WholeBox,
    /// The same, somewhere after a `{` and before a `}`.
    WholeBoxInBraces,
}

/// Why a section could not be read or the form is broken. It holds nothing of the text, so it can be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("section `{section}` {fault}")]
pub struct GrammarFailure {
    /// The section's name.
    pub section: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The grammar has no section of this name.
    #[error("is not a section of the grammar")]
    Unknown,
    /// Its opening mark is nowhere, or not where the section is looked for.
    #[error("is missing")]
    Missing,
    /// It is opened and not closed.
    #[error("is not closed")]
    NotClosed,
    /// It, or one of its marks, occurs more often than once.
    #[error("occurs more than once")]
    Repeated,
    /// There are fewer than the wanted one.
    #[error("occurs less often than wanted")]
    TooFew,
    /// It stands before a section that should come first.
    #[error("is out of order")]
    OutOfOrder,
    /// Text that the form does not allow stands before it.
    #[error("has text before it that belongs to no section")]
    TextBefore,
    /// Text that the form does not allow stands after it.
    #[error("has text after it that belongs to no section")]
    TextAfter,
    /// It does not hold what the form wants inside.
    #[error("does not hold a box of whole numbers")]
    NoBox,
}

/// A grammar that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// There is nothing to look for, or too much.
    #[error("a grammar has 1 to {MAX_SECTIONS} sections, not {0}")]
    SectionCount(usize),
    /// Two sections share a name, or one has none.
    #[error("section name `{0}` is empty or used twice")]
    Name(String),
    /// A mark is empty or white space only, so it would be found anywhere.
    #[error("a mark of section `{0}` is empty")]
    EmptyMark(String),
    /// `nth` counts from 1.
    #[error("section `{0}`: `nth` counts from 1")]
    NthZero(String),
}

impl Grammar {
    /// A grammar of `sections` in order, with `after` for what may follow the last. With `squeeze`, white space beside
    /// `<`, `>` and `/` is taken out of the text before anything is looked for (EasyR1's `math` reward).
    ///
    /// # Errors
    /// [`GrammarError`] names the section that cannot be looked for.
    pub fn new(sections: Vec<Section>, after: Gap, squeeze: bool) -> Result<Self, GrammarError> {
        if sections.is_empty() || sections.len() > MAX_SECTIONS {
            return Err(GrammarError::SectionCount(sections.len()));
        }
        for (at, section) in sections.iter().enumerate() {
            let name = || section.name.clone();
            let used = sections[..at]
                .iter()
                .any(|other| other.name == section.name);
            if used || section.name.trim().is_empty() {
                return Err(GrammarError::Name(name()));
            }
            let empty = match &section.marks {
                Marks::Between(open, close) => open.trim().is_empty() || close.trim().is_empty(),
                Marks::Header(text) | Marks::After(text) | Marks::Line(text) => {
                    text.trim().is_empty()
                }
                Marks::Tag | Marks::Boxed | Marks::Whole => false,
            };
            if empty {
                return Err(GrammarError::EmptyMark(name()));
            }
            if section.pick == Pick::Nth(0) {
                return Err(GrammarError::NthZero(name()));
            }
        }
        Ok(Self {
            sections,
            after,
            squeeze,
        })
    }

    /// The sections in order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Looks for every section of `text`.
    pub fn read<'t>(&self, text: &'t str) -> Reading<'_, 't> {
        let text = if self.squeeze {
            squeeze(text)
        } else {
            Cow::Borrowed(text)
        };
        let spans = extract::find_all(&self.sections, &text);
        Reading {
            grammar: self,
            text,
            spans,
        }
    }

    /// The names of its sections in order.
    pub fn section_names(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|section| section.name.as_str())
    }

    /// The share of the marks of this grammar that occur exactly once in `text`, in `[0, 1]`; 0 when it has none.
    ///
    /// V-Triune's format score is a quarter for each of `<think>\n`, `\n</think>\n`, `\n<answer>\n` and `\n</answer>`:
    /// that of [`Preset::VTriune`]. The order of the marks does not count.
    pub fn mark_credit(&self, text: &str) -> f64 {
        let marks: Vec<Cow<'_, str>> = self
            .sections
            .iter()
            .filter_map(|section| section.literals())
            .flat_map(|(open, close)| [open, close])
            .collect();
        if marks.is_empty() {
            return 0.0;
        }
        let once = marks.iter().filter(|mark| occurs_once(text, mark)).count();
        once as f64 / marks.len() as f64
    }
}

/// What a grammar found in one text.
#[derive(Clone, Debug)]
pub struct Reading<'g, 't> {
    grammar: &'g Grammar,
    text: Cow<'t, str>,
    spans: Vec<Result<Range<usize>, Fault>>,
}

impl Reading<'_, '_> {
    /// The text that spans point into: the text read, squeezed when the grammar says so.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where section `name` stands, without its marks, in bytes of [`Reading::text`].
    ///
    /// # Errors
    /// [`GrammarFailure`] when it is not there to be read; a missing optional section is one too.
    pub fn span(&self, name: &str) -> Result<Range<usize>, GrammarFailure> {
        let failure = |fault| GrammarFailure {
            section: name.to_owned(),
            fault,
        };
        let at = self.grammar.sections.iter().position(|s| s.name == name);
        let at = at.ok_or_else(|| failure(Fault::Unknown))?;
        self.spans[at].clone().map_err(failure)
    }

    /// The text of section `name`, as written, not trimmed.
    ///
    /// # Errors
    /// As [`Reading::span`].
    pub fn section(&self, name: &str) -> Result<&str, GrammarFailure> {
        self.span(name).map(|span| &self.text[span])
    }

    /// Whether the whole text keeps to the form.
    ///
    /// # Errors
    /// The first section at which it does not, and why.
    pub fn form(&self) -> Result<(), GrammarFailure> {
        let sections = &self.grammar.sections;
        form::check(sections, self.grammar.after, &self.text, &self.spans).map_err(|(at, fault)| {
            GrammarFailure {
                section: sections[at].name.clone(),
                fault,
            }
        })
    }
}

impl Section {
    /// The opening and the closing mark as literal texts; `None` for sections that are not marked so.
    fn literals(&self) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
        match &self.marks {
            Marks::Tag => Some((
                format!("<{}>", self.name).into(),
                format!("</{}>", self.name).into(),
            )),
            Marks::Between(open, close) => Some((open.as_str().into(), close.as_str().into())),
            Marks::Boxed => Some((r"\boxed{".into(), "}".into())),
            Marks::Header(_) | Marks::After(_) | Marks::Line(_) | Marks::Whole => None,
        }
    }
}

/// White space of Python's `\s`: Unicode's and the four separators U+001C to U+001F.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn occurs_once(text: &str, mark: &str) -> bool {
    let mut found = text.matches(mark);
    found.next().is_some() && found.next().is_none()
}

/// `text` without the white space beside `<`, `>` and `/`.
fn squeeze(text: &str) -> Cow<'_, str> {
    const SIGNS: [char; 3] = ['<', '>', '/'];
    if !text.contains(SIGNS) {
        return Cow::Borrowed(text);
    }
    let mut squeezed = String::with_capacity(text.len());
    let mut after_sign = false;
    for c in text.chars() {
        if SIGNS.contains(&c) {
            squeezed.truncate(squeezed.trim_end_matches(is_space).len());
            after_sign = true;
        } else if after_sign && is_space(c) {
            continue;
        } else {
            after_sign = false;
        }
        squeezed.push(c);
    }
    Cow::Owned(squeezed)
}
