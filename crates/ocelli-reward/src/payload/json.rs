//! JSON as policies write it: repaired where the meaning is plain, and every repair counted.
//!
//! Repairs: single or typographic quotes, keys without quotes, Python's `True`, `False` and `None`, a comma too many or
//! (beside a text or a bracket) too few, a bracket that is not closed. Round brackets are lists. The reader has its own
//! stack, so depth costs no recursion, and bounds on depth and on the count of values, so memory is bounded too.

use super::ParseFailure;
use super::cursor::Cursor;

/// Deepest nesting. Answers of the systems we follow need four.
const MAX_DEPTH: usize = 32;

/// Most values of one document.
const MAX_VALUES: usize = 100_000;

/// A JSON value. Keys stay in order; of equal keys the last counts, as in Python.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let Self::Object(entries) = self else {
            return None;
        };
        let found = entries.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }

    /// The value of the first of `keys` that is there.
    pub(super) fn get_any(&self, keys: &[&str]) -> Option<&Value> {
        keys.iter().find_map(|key| self.get(key))
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The numbers of a list of exactly `N`.
    pub(super) fn numbers<const N: usize>(&self) -> Option<[f64; N]> {
        let items = self.list()?;
        if items.len() != N {
            return None;
        }
        let mut numbers = [0.0; N];
        for (number, item) in numbers.iter_mut().zip(items) {
            *number = item.number()?;
        }
        Some(numbers)
    }
}

/// One list or object found in a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    pub(super) value: Value,
    /// How many things were mended.
    pub(super) repairs: u32,
    /// Whether the text ended inside it, so that its last item may be incomplete.
    pub(super) cut: bool,
}

/// The lists and objects of `text` in order: of its last ```` ```json ```` block when it has one.
///
/// What opens with a bracket and is no JSON is passed over; a document with a number that cannot be, or beyond the
/// bounds, is a failure and the last item.
pub(super) fn documents(text: &str) -> Documents<'_> {
    const FENCE: &str = "```json";
    let text = match text.rfind(FENCE) {
        None => text,
        Some(at) => {
            let block = &text[at + FENCE.len()..];
            block.split_once("```").map_or(block, |(inside, _)| inside)
        }
    };
    Documents { text }
}

pub(super) struct Documents<'a> {
    text: &'a str,
}

impl Iterator for Documents<'_> {
    type Item = Result<Document, ParseFailure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.text.find(['[', '{', '('])?;
            let mut reader = Reader::new(&self.text[start..]);
            let found = reader.document();
            // A document starts with a bracket, so something was read, and none of it is read again.
            self.text = reader.rest;
            match found {
                Ok(document) => return Some(Ok(document)),
                Err(Stop::NoJson) => {}
                Err(Stop::Refused(failure)) => {
                    self.text = "";
                    return Some(Err(failure));
                }
            }
        }
    }
}

enum Stop {
    NoJson,
    Refused(ParseFailure),
}

/// A container that is not closed yet.
enum Open {
    List(Vec<Value>, char),
    Object(Vec<(String, Value)>, Option<String>),
}

struct Reader<'a> {
    rest: &'a str,
    stack: Vec<Open>,
    repairs: u32,
    values: usize,
    /// Whether a comma stands between the last item and here.
    comma: bool,
    /// Whether the last item was a number, after which a comma is not guessed: `[1 2]` could be 12.
    after_number: bool,
}

impl<'a> Reader<'a> {
    fn new(rest: &'a str) -> Self {
        Self {
            rest,
            stack: Vec::new(),
            repairs: 0,
            values: 0,
            comma: false,
            after_number: false,
        }
    }

    fn document(&mut self) -> Result<Document, Stop> {
        loop {
            self.skip_space();
            let Some(next) = self.rest.chars().next() else {
                return self.cut_off();
            };
            let finished = match (self.stack.last_mut(), next) {
                (Some(_), ',') => {
                    self.repairs += u32::from(self.comma || self.is_empty());
                    self.comma = true;
                    self.skip(next);
                    None
                }
                (Some(_), ']' | '}' | ')') => self.close(next)?,
                (Some(Open::Object(_, None)), _) => match self.key(next)? {
                    Some(()) => None,
                    None => return self.cut_off(),
                },
                (_, '[' | '{' | '(') => {
                    self.separate(false)?;
                    self.open(next)?;
                    None
                }
                _ => match self.scalar(next)? {
                    Some(value) => self.put(value)?,
                    None => return self.cut_off(),
                },
            };
            if let Some(value) = finished {
                return Ok(Document {
                    value,
                    repairs: self.repairs,
                    cut: false,
                });
            }
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn skip(&mut self, c: char) {
        self.rest = &self.rest[c.len_utf8()..];
    }

    fn is_empty(&self) -> bool {
        match self.stack.last() {
            Some(Open::List(items, _)) => items.is_empty(),
            Some(Open::Object(items, _)) => items.is_empty(),
            None => true,
        }
    }

    fn open(&mut self, bracket: char) -> Result<(), Stop> {
        if self.stack.len() == MAX_DEPTH {
            return Err(Stop::Refused(ParseFailure::TooDeep));
        }
        self.skip(bracket);
        self.stack.push(match bracket {
            '{' => Open::Object(Vec::new(), None),
            '(' => Open::List(Vec::new(), ')'),
            _ => Open::List(Vec::new(), ']'),
        });
        self.comma = false;
        Ok(())
    }

    /// Takes account of the comma before an item.
    fn separate(&mut self, number: bool) -> Result<(), Stop> {
        let in_list = matches!(self.stack.last(), Some(Open::List(..)));
        if in_list && !self.comma && !self.is_empty() {
            if number && self.after_number {
                return Err(Stop::NoJson);
            }
            self.repairs += 1;
        }
        self.comma = false;
        Ok(())
    }

    /// Closes the innermost container that `bracket` closes, and those inside it that were left open.
    fn close(&mut self, bracket: char) -> Result<Option<Value>, Stop> {
        let closes = |open: &Open| match open {
            Open::List(_, closer) => *closer == bracket,
            Open::Object(..) => bracket == '}',
        };
        let at = self.stack.iter().rposition(closes).ok_or(Stop::NoJson)?;
        self.skip(bracket);
        self.repairs += u32::from(self.comma);
        self.comma = false;
        self.after_number = false;
        self.repairs += (self.stack.len() - 1 - at) as u32;
        self.fold(at)
    }

    /// Puts all containers above and at `at` into the ones that hold them.
    fn fold(&mut self, at: usize) -> Result<Option<Value>, Stop> {
        let mut value = None;
        while self.stack.len() > at {
            if let Some(value) = value.take() {
                self.put(value)?;
            }
            value = self.stack.pop().map(|open| match open {
                Open::List(items, _) => Value::List(items),
                Open::Object(entries, _) => Value::Object(entries),
            });
        }
        match value {
            Some(value) => self.put(value),
            None => Ok(None),
        }
    }

    /// Puts a finished value into its container; gives it back when there is none.
    fn put(&mut self, value: Value) -> Result<Option<Value>, Stop> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Stop::Refused(ParseFailure::TooMany));
        }
        match self.stack.last_mut() {
            None => return Ok(Some(value)),
            Some(Open::List(items, _)) => items.push(value),
            Some(Open::Object(entries, key)) => {
                if let Some(key) = key.take() {
                    entries.push((key, value));
                }
            }
        }
        Ok(None)
    }

    /// The text is over: everything still open is closed.
    fn cut_off(&mut self) -> Result<Document, Stop> {
        self.rest = "";
        self.repairs += self.stack.len() as u32;
        let value = self.fold(0)?.ok_or(Stop::NoJson)?;
        Ok(Document {
            value,
            repairs: self.repairs,
            cut: true,
        })
    }

    /// A key and its colon; `None` when the text ends before the colon.
    fn key(&mut self, next: char) -> Result<Option<()>, Stop> {
        if !self.comma && !self.is_empty() {
            self.repairs += 1;
        }
        let key = if closing_quote(next).is_some() {
            let Some(key) = self.string(next) else {
                return Ok(None);
            };
            key
        } else {
            let word = self.word();
            if word.is_empty() {
                return Err(Stop::NoJson);
            }
            self.repairs += 1;
            word.to_owned()
        };
        self.skip_space();
        match self.rest.chars().next() {
            Some(':') => self.skip(':'),
            Some(_) => return Err(Stop::NoJson),
            None => return Ok(None),
        }
        self.comma = false;
        if let Some(Open::Object(_, pending)) = self.stack.last_mut() {
            *pending = Some(key);
        }
        Ok(Some(()))
    }

    /// A text, a number or a word; `None` when the text ends inside it.
    fn scalar(&mut self, next: char) -> Result<Option<Value>, Stop> {
        if closing_quote(next).is_some() {
            self.separate(false)?;
            self.after_number = false;
            return Ok(self.string(next).map(Value::Text));
        }
        let mut cursor = Cursor(self.rest);
        if let Some(number) = cursor.number() {
            self.separate(true)?;
            self.after_number = true;
            self.rest = cursor.0;
            let value = number.value().map_err(Stop::Refused)?;
            return match self.rest.chars().next() {
                // It may go on where the text was cut.
                None => Ok(None),
                Some(c) if c.is_alphanumeric() || c == '.' => Err(Stop::NoJson),
                Some(_) => Ok(Some(Value::Number(value))),
            };
        }
        cursor.sign();
        self.rest = cursor.0;
        let word = self.word();
        self.separate(false)?;
        self.after_number = false;
        let value = match word {
            "" => return Err(Stop::NoJson),
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            "True" | "False" | "None" => {
                self.repairs += 1;
                match word {
                    "None" => Value::Null,
                    _ => Value::Bool(word == "True"),
                }
            }
            "NaN" | "nan" | "Infinity" | "inf" | "Inf" => {
                return Err(Stop::Refused(ParseFailure::NotFinite));
            }
            _ if self.rest.is_empty() => return Ok(None),
            _ => return Err(Stop::NoJson),
        };
        Ok(Some(value))
    }

    fn word(&mut self) -> &'a str {
        let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let rest = self.rest.trim_start_matches(inside);
        let word = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        word
    }

    /// A quoted text; `None` when it is not closed.
    fn string(&mut self, quote: char) -> Option<String> {
        self.repairs += u32::from(quote != '"');
        let closing = closing_quote(quote)?;
        self.skip(quote);
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, c)) = characters.next() {
            if c == closing {
                let after = &self.rest[at + c.len_utf8()..];
                // An apostrophe is no end: `'the dog's tail'`.
                let next = after.trim_start().chars().next();
                if closing == '\'' && next.is_some_and(|c| !",:]})".contains(c)) {
                    text.push(c);
                    continue;
                }
                self.rest = after;
                return Some(text);
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let (_, escaped) = characters.next()?;
            match escaped {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'b' => text.push('\u{8}'),
                'f' => text.push('\u{c}'),
                'u' => {
                    let digits = &self.rest[at + 2..];
                    let code = digits
                        .get(..4)
                        .and_then(|d| u32::from_str_radix(d, 16).ok());
                    // Halves of surrogate pairs become the replacement character.
                    text.push(code.and_then(char::from_u32).unwrap_or('\u{fffd}'));
                    if code.is_some() {
                        characters.nth(3);
                    }
                }
                other => text.push(other),
            }
        }
        None
    }
}

/// The quote that closes a text opened by `quote`; `None` when it opens none.
fn closing_quote(quote: char) -> Option<char> {
    match quote {
        '"' | '\'' => Some(quote),
        '\u{201c}' => Some('\u{201d}'),
        '\u{2018}' => Some('\u{2019}'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn first(text: &str) -> Option<Result<Document, ParseFailure>> {
        documents(text).next()
    }

    fn as_serde(value: &Value) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Number(n) => (*n).into(),
            Value::Text(t) => t.as_str().into(),
            Value::List(items) => items.iter().map(as_serde).collect(),
            Value::Object(entries) => entries
                .iter()
                .map(|(k, v)| (k.clone(), as_serde(v)))
                .collect(),
        }
    }

    #[test]
    fn mends_what_policies_break_and_counts_it() {
        for (text, meant, repairs) in [
            (
                r#"[{"a": [1, 2.5], "b": "x"}]"#,
                r#"[{"a": [1.0, 2.5], "b": "x"}]"#,
                0,
            ),
            ("{'a': 'x'}", r#"{"a": "x"}"#, 2),
            ("['the dog's tail']", r#"["the dog's tail"]"#, 1),
            ("[1, 2,]", "[1.0, 2.0]", 1),
            ("[,1,,2]", "[1.0, 2.0]", 2),
            ("{a: 1}", r#"{"a": 1.0}"#, 1),
            ("{0: [1], 1: [2]}", r#"{"0": [1.0], "1": [2.0]}"#, 2),
            ("[True, None, false]", "[true, null, false]", 2),
            (r#"["a" "b"]"#, r#"["a", "b"]"#, 1),
            ("[[1, 2] [3, 4]]", "[[1.0, 2.0], [3.0, 4.0]]", 1),
            (r#"{"a": 1 "b": 2}"#, r#"{"a": 1.0, "b": 2.0}"#, 1),
            (r#"[{"a": [1, 2]]"#, r#"[{"a": [1.0, 2.0]}]"#, 1),
            ("[(1, 2), (3, 4)]", "[[1.0, 2.0], [3.0, 4.0]]", 0),
            ("\u{201c}[\u{201c}a\u{201d}]", r#"["a"]"#, 1),
            (r#"["\u00e9\n\"\/"]"#, r#"["é\n\"/"]"#, 0),
            ("so [see below]: [1]", "[1.0]", 0),
            ("[0]\n```json\n[1]\n```\n```json\n[2]\n``` [3]", "[2.0]", 0),
        ] {
            let found = first(text).unwrap().unwrap();
            let meant: serde_json::Value = serde_json::from_str(meant).unwrap();
            assert_eq!(as_serde(&found.value), meant, "{text}");
            assert_eq!((found.repairs, found.cut), (repairs, false), "{text}");
        }
    }

    #[test]
    fn a_cut_document_keeps_what_is_whole() {
        for (text, meant, repairs) in [
            (
                r#"[{"a": [1, 2]}, {"a": [3, 4"#,
                r#"[{"a": [1.0, 2.0]}, {"a": [3.0]}]"#,
                3,
            ),
            (r#"[{"a": "x"}, {"a": "y"#, r#"[{"a": "x"}, {}]"#, 2),
            (r#"[{"a": 1, "b"#, r#"[{"a": 1.0}]"#, 2),
            (r#"[{"a": 1, "b":"#, r#"[{"a": 1.0}]"#, 2),
            ("```json\n[1, ", "[1.0]", 1),
            ("[", "[]", 1),
        ] {
            let found = first(text).unwrap().unwrap();
            let meant: serde_json::Value = serde_json::from_str(meant).unwrap();
            assert_eq!(as_serde(&found.value), meant, "{text}");
            assert_eq!((found.repairs, found.cut), (repairs, true), "{text}");
        }
    }

    #[test]
    fn refuses_what_has_no_plain_meaning() {
        for text in [
            "",
            "x",
            "]",
            "[1 2]",
            "[1.2.3]",
            "[12px]",
            "[a]",
            "{1}",
            "[--1]",
            "{\"a\" 1}",
        ] {
            assert_eq!(first(text), None, "{text}");
        }
        for (text, failure) in [
            ("[1e999]", ParseFailure::NumberTooLarge),
            ("[NaN] [1]", ParseFailure::NotFinite),
            ("[-inf]", ParseFailure::NotFinite),
        ] {
            assert_eq!(first(text), Some(Err(failure)), "{text}");
        }
        for open in ["[", "{\"a\":", "("] {
            assert_eq!(
                first(&open.repeat(100_000)),
                Some(Err(ParseFailure::TooDeep))
            );
        }
        let long = format!("[{}]", "1,".repeat(200_000));
        assert_eq!(first(&long), Some(Err(ParseFailure::TooMany)));
    }

    proptest! {
        /// What serde_json writes is read back without repairs.
        #[test]
        fn good_json_needs_no_repair(
            rows in prop::collection::vec((any::<String>(), prop::collection::vec(-1e6f64..1e6, 0..5)), 0..5)
        ) {
            let written: serde_json::Value = rows
                .iter()
                .map(|(text, numbers)| serde_json::json!({ "label": text, "numbers": numbers }))
                .collect();
            let found = first(&written.to_string().replace("```", "")).unwrap().unwrap();
            prop_assert_eq!((found.repairs, found.cut), (0, false));
            if !written.to_string().contains("```") {
                prop_assert_eq!(as_serde(&found.value), written);
            }
        }

        #[test]
        fn any_text_ends(text in r#"[\[\]{}(),:'"\\a-c0-9. +\-eENn\u{e9}`]{0,80}"#) {
            // Each document takes its bracket from the text, so there are no more than characters.
            prop_assert!(documents(&text).count() <= text.len());
        }
    }
}
