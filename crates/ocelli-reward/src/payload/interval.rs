//! Time intervals, in seconds.

use super::cursor::Cursor;
use super::json::{Value, documents};
use super::{MAX_ITEMS, ParseFailure};
use crate::measure::intervals::Interval;

/// The first interval of `text`, in seconds. The order of its ends is not checked: one that ends before it starts is an
/// answer and overlaps nothing.
///
/// Times are seconds (`12.3`, `12.3s`, `12.3 seconds`) or clock times (`mm:ss`, `hh:mm:ss`, with a fraction); between
/// the two stands a dash, a tilde, a comma, `to`, `and`, `until`, also `and ends at`. In JSON: `{"start": 1, "end": 2}`
/// and `{"time": [1, 2]}` (OneThinker), `start_time` and `end_time`, `[1, 2]`.
///
/// # Errors
/// [`ParseFailure::NoInterval`], [`ParseFailure::NegativeTime`], and those of numbers.
pub fn parse_interval(text: &str) -> Result<Interval, ParseFailure> {
    let mut found = intervals(text)?;
    found.next().ok_or(ParseFailure::NoInterval)?
}

/// All intervals of `text` in order, each as by [`parse_interval`].
///
/// # Errors
/// As [`parse_interval`], and [`ParseFailure::TooMany`] beyond 10,000.
pub fn parse_intervals(text: &str) -> Result<Vec<Interval>, ParseFailure> {
    let found: Vec<Interval> = intervals(text)?
        .take(MAX_ITEMS + 1)
        .collect::<Result<_, _>>()?;
    match found.len() {
        0 => Err(ParseFailure::NoInterval),
        count if count > MAX_ITEMS => Err(ParseFailure::TooMany),
        _ => Ok(found),
    }
}

/// The one clock time of `text`, `mm:ss` or `hh:mm:ss` with a fraction, in seconds; `None` where it holds none or more numbers.
pub(crate) fn clock_time(text: &str) -> Option<Result<f64, ParseFailure>> {
    let at = text.find(|c: char| c.is_ascii_digit())?;
    let mut cursor = Cursor(&text[at..]);
    let time = time(&mut cursor)?;
    let written = &text[at..text.len() - cursor.0.len()];
    if !written.contains(':') || cursor.0.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let negative = text[..at].ends_with(['-', '\u{2212}']);
    Some(if negative {
        Err(ParseFailure::NegativeTime)
    } else {
        time
    })
}

type Found<'a> = Box<dyn Iterator<Item = Result<Interval, ParseFailure>> + 'a>;

/// Objects with named times first, because prose would find other numbers between theirs; all else as prose.
fn intervals(text: &str) -> Result<Found<'_>, ParseFailure> {
    if text.contains('{') {
        for document in documents(text) {
            let value = document?.value;
            let items = value.list().unwrap_or(std::slice::from_ref(&value));
            if items.iter().any(|item| named(item).is_some()) {
                let all: Vec<_> = items
                    .iter()
                    .map(|item| named(item).ok_or(ParseFailure::NoInterval)?)
                    .collect();
                return Ok(Box::new(all.into_iter()));
            }
        }
    }
    Ok(Box::new(Prose {
        rest: text,
        before: ' ',
    }))
}

/// The interval of an object.
pub(super) fn named(value: &Value) -> Option<Result<Interval, ParseFailure>> {
    if let Some(inside) = value.get_any(&["time", "interval", "timestamp"]) {
        return inside.numbers().map(checked);
    }
    let time = |keys| value.get_any(keys).and_then(seconds);
    let start = time(&["start", "start_time", "begin", "from"])?;
    let end = time(&["end", "end_time", "to"])?;
    Some(start.and_then(|start| checked([start, end?])))
}

/// A number, or a text that is one time.
fn seconds(value: &Value) -> Option<Result<f64, ParseFailure>> {
    match value {
        Value::Number(number) => Some(Ok(*number)),
        Value::Text(text) => time(&mut Cursor(text.trim())),
        _ => None,
    }
}

fn checked([start, end]: [f64; 2]) -> Result<Interval, ParseFailure> {
    if start < 0.0 || end < 0.0 {
        return Err(ParseFailure::NegativeTime);
    }
    Ok(Interval { start, end })
}

/// The pairs of times in a text.
struct Prose<'a> {
    rest: &'a str,
    /// The character before `rest`.
    before: char,
}

impl Iterator for Prose<'_> {
    type Item = Result<Interval, ParseFailure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.rest.find(|c: char| c.is_ascii_digit())?;
            let negative = self.is_negative(&self.rest[..at]);
            let mut cursor = Cursor(&self.rest[at..]);
            let start = time(&mut cursor);
            self.rest = cursor.0;
            self.before = '0';
            skip_unit(&mut cursor);
            let joined = skip_joint(&mut cursor);
            let end = if joined { time(&mut cursor) } else { None };
            let (Some(start), Some(end)) = (start, end) else {
                // The number alone; what follows it may open an interval.
                continue;
            };
            self.rest = cursor.0;
            if negative {
                return Some(Err(ParseFailure::NegativeTime));
            }
            return Some(start.and_then(|start| checked([start, end?])));
        }
    }
}

impl Prose<'_> {
    /// Whether a minus ends `skipped`, and no hyphen as in `clip-4` or `1-2-3`.
    fn is_negative(&self, skipped: &str) -> bool {
        let mut back = skipped.chars().rev();
        let minus = matches!(back.next(), Some('-' | '\u{2212}'));
        minus && !back.next().unwrap_or(self.before).is_alphanumeric()
    }
}

/// A time at the cursor in seconds: `12.3`, `1:02.5`, `1:00:02`.
fn time(cursor: &mut Cursor<'_>) -> Option<Result<f64, ParseFailure>> {
    let first = cursor.number()?;
    let mut total = match first.value() {
        Ok(value) => value,
        Err(failure) => return Some(Err(failure)),
    };
    for _ in 0..2 {
        let mut next = *cursor;
        if !(next.take(':') && next.0.starts_with(|c: char| c.is_ascii_digit())) {
            break;
        }
        let value = match next.number()?.value() {
            Ok(value) if value < 60.0 => value,
            Ok(_) => return Some(Err(ParseFailure::NoInterval)),
            Err(failure) => return Some(Err(failure)),
        };
        total = total * 60.0 + value;
        *cursor = next;
    }
    Some(Ok(total))
}

fn skip_unit(cursor: &mut Cursor<'_>) {
    cursor.skip_space();
    for unit in ["seconds", "second", "secs", "sec", "s"] {
        let Some(word) = cursor.0.get(..unit.len()) else {
            continue;
        };
        let after = &cursor.0[unit.len()..];
        if word.eq_ignore_ascii_case(unit) && !after.starts_with(char::is_alphanumeric) {
            cursor.0 = after;
            return;
        }
    }
}

/// Skips what may stand between two times; false when nothing did.
fn skip_joint(cursor: &mut Cursor<'_>) -> bool {
    const SIGNS: [char; 9] = [
        '-', '\u{2010}', '\u{2013}', '\u{2014}', '\u{2212}', '~', ',', '\u{2192}', '\u{2026}',
    ];
    const WORDS: [&str; 9] = [
        "to", "and", "until", "till", "through", "ends", "ending", "end", "at",
    ];
    // More than these are no joint, and looking on would read the text again and again.
    const MOST: usize = 4;
    let mut joined = false;
    for _ in 0..MOST {
        cursor.skip_space();
        let sign = SIGNS.iter().any(|sign| cursor.take(*sign));
        let word = || {
            WORDS.iter().find_map(|word| {
                let start = cursor.0.get(..word.len())?;
                let after = &cursor.0[word.len()..];
                let ends = !after.starts_with(char::is_alphanumeric);
                (start.eq_ignore_ascii_case(word) && ends).then_some(after)
            })
        };
        if sign {
            joined = true;
        } else if let Some(after) = word() {
            cursor.0 = after;
            joined = true;
        } else {
            break;
        }
    }
    cursor.skip_space();
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_form_of_an_interval() {
        for (text, start, end) in [
            ("12.3 - 15", 12.3, 15.0),
            ("12.3-15", 12.3, 15.0),
            ("12.3s \u{2013} 15 s", 12.3, 15.0),
            ("from 12.3 seconds to 15 seconds.", 12.3, 15.0),
            ("between 12.3 and 15", 12.3, 15.0),
            ("It starts at 3s and ends at 7s", 3.0, 7.0),
            ("00:12 to 00:15", 12.0, 15.0),
            ("1:00:02.5 - 1:01:00", 3602.5, 3660.0),
            ("[12.3, 15]", 12.3, 15.0),
            (r#"{"time": [12.3, 15]}"#, 12.3, 15.0),
            (r#"{"start": 3, "end": 7}"#, 3.0, 7.0),
            (r#"{"start_time": "00:03", "end_time": "00:07"}"#, 3.0, 7.0),
            ("in clip 4: 3 to 7", 3.0, 7.0),
            ("clip-3 to 7", 3.0, 7.0),
            ("7 - 3", 7.0, 3.0),
        ] {
            assert_eq!(parse_interval(text), Ok(Interval { start, end }), "{text}");
        }
    }

    #[test]
    fn reads_several_intervals() {
        let wanted = Ok(vec![
            Interval {
                start: 1.0,
                end: 2.0,
            },
            Interval {
                start: 3.0,
                end: 4.0,
            },
        ]);
        for text in [
            "1-2, 3-4",
            "[[1, 2], [3, 4]]",
            "1 to 2 and 3 to 4",
            r#"[{"start": 1, "end": 2}, {"start": 3, "end": 4}]"#,
        ] {
            assert_eq!(parse_intervals(text), wanted, "{text}");
        }
        assert_eq!(
            parse_intervals(&"1-2 ".repeat(10_001)),
            Err(ParseFailure::TooMany)
        );
    }

    #[test]
    fn refuses_what_is_no_interval() {
        for (text, failure) in [
            ("", ParseFailure::NoInterval),
            ("12.3", ParseFailure::NoInterval),
            ("12.3 15", ParseFailure::NoInterval),
            ("soon - later", ParseFailure::NoInterval),
            ("00:75 to 00:80", ParseFailure::NoInterval),
            ("[-5, 3]", ParseFailure::NegativeTime),
            (r#"{"time": [-5, 3]}"#, ParseFailure::NegativeTime),
            (r#"{"time": [5]}"#, ParseFailure::NoInterval),
            ("1e999 - 3", ParseFailure::NumberTooLarge),
        ] {
            assert_eq!(parse_interval(text), Err(failure), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_interval_is_read_back(start in 0.0f64..1e6, end in 0.0f64..1e6) {
            let wanted = Ok(Interval { start, end });
            prop_assert_eq!(parse_interval(&format!("{start} - {end}")), wanted);
            prop_assert_eq!(parse_interval(&format!("[{start}, {end}]")), wanted);
            prop_assert_eq!(parse_interval(&format!("from {start}s to {end}s")), wanted);
        }
    }
}
