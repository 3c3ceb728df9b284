//! Readers of what stands inside an answer: a box, a number, a piece of text.
//!
//! Each takes time linear in the text's length, whatever a policy has written. A reader takes the first thing that has
//! the form it looks for and never goes on to a later one because the first has a bad value.

use ocelli_core::BoundingBox;

/// Longest number in characters, sign left out. No measurement needs more, and a run of digits is a common way for a
/// policy to fail.
const MAX_NUMBER_CHARACTERS: usize = 64;

/// Largest coordinate by magnitude: far beyond any picture, far from where areas lose their meaning.
const MAX_COORDINATE: f64 = 1e9;

/// Why an answer could not be read. The texts hold nothing of the answer itself, so they can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseFailure {
    /// The turn has no closed answer section.
    #[error("no <answer>…</answer> section")]
    NoAnswer,
    /// Nothing but white space.
    #[error("the answer is empty")]
    Empty,
    /// Nothing of the form `[x1, y1, x2, y2]` or `(x1, y1), (x2, y2)`.
    #[error("no box of the form [x1, y1, x2, y2] or (x1, y1), (x2, y2)")]
    NoBox,
    /// The text does not open with a number.
    #[error("the answer does not open with a number")]
    NoNumber,
    /// Digits follow the first number: a list, a range, a fraction, or separators in the wrong places.
    #[error("digits follow the first number, so it is not clear which is meant")]
    SeveralNumbers,
    /// More characters than any measurement needs.
    #[error("a number has more than {MAX_NUMBER_CHARACTERS} characters")]
    NumberTooLong,
    /// Infinite, or too large for a coordinate.
    #[error("a number is too large")]
    NumberTooLarge,
}

/// The first box in `text`, with its corners in the order and the units they are written in.
///
/// Forms: `[x1, y1, x2, y2]`, also inside JSON such as `{"bbox_2d": [x1, y1, x2, y2]}`, and `(x1, y1), (x2, y2)`.
/// Numbers may have a sign, a fraction and an exponent; white space is free. Whether the corners are in order is not
/// checked: such a box is an answer, and overlaps nothing.
///
/// # Errors
/// [`ParseFailure::NoBox`] when nothing has the form; [`ParseFailure::NumberTooLong`] or
/// [`ParseFailure::NumberTooLarge`] when a coordinate of the first box has over 64 characters or is beyond ±1e9.
pub fn parse_box(text: &str) -> Result<BoundingBox, ParseFailure> {
    // An attempt ends at the latest at the second bracket after its start, so no character is read more than twice.
    let written = text
        .match_indices(['[', '('])
        .find_map(|(at, open)| {
            let cursor = Cursor(&text[at + open.len()..]);
            match open {
                "[" => cursor.list_of_four(),
                _ => cursor.pair_of_points(),
            }
        })
        .ok_or(ParseFailure::NoBox)?;
    let mut corners = [0.0; 4];
    for (corner, number) in corners.iter_mut().zip(written) {
        *corner = number.value()?;
        if corner.abs() > MAX_COORDINATE {
            return Err(ParseFailure::NumberTooLarge);
        }
    }
    Ok(corners.into())
}

/// The number that `text` opens with.
///
/// It may have a sign, a fraction, an exponent, and thousands separators (`12,345.6`: groups of three after a first
/// group that does not start with 0). What follows, such as a unit, a percent sign or a full stop, is ignored and
/// changes nothing (`50%` is 50), but it must hold no ASCII digit: `3 or 4`, `1/2`, `12:30` and `1,23` are refused.
///
/// # Errors
/// [`ParseFailure::Empty`], [`ParseFailure::NoNumber`] (also for `nan` and `inf`), [`ParseFailure::SeveralNumbers`],
/// [`ParseFailure::NumberTooLong`] over 64 characters, [`ParseFailure::NumberTooLarge`] when not finite.
pub fn parse_number(text: &str) -> Result<f64, ParseFailure> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ParseFailure::Empty);
    }
    let plain;
    let mut cursor = Cursor(text);
    if let Some(groups) = grouped_digits(text) {
        if groups > MAX_NUMBER_CHARACTERS {
            return Err(ParseFailure::NumberTooLong);
        }
        let (grouped, rest) = text.split_at(groups);
        plain = grouped.replace(',', "") + rest;
        cursor = Cursor(&plain);
    }
    let number = cursor.number().ok_or(ParseFailure::NoNumber)?;
    if cursor.0.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(ParseFailure::SeveralNumbers);
    }
    number.value()
}

/// `text` trimmed, with runs of white space as one blank, and letter case folded.
///
/// Folding goes to lower, upper and lower case again, letter by letter: so `ß`, `ẞ` and `SS` are equal, and so are the
/// two small sigmas.
///
/// # Errors
/// [`ParseFailure::Empty`] when nothing is left.
pub fn parse_text(text: &str) -> Result<String, ParseFailure> {
    let mut folded = String::new();
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        let upper = word
            .chars()
            .flat_map(char::to_lowercase)
            .flat_map(char::to_uppercase);
        folded.extend(upper.flat_map(char::to_lowercase));
    }
    if folded.is_empty() {
        return Err(ParseFailure::Empty);
    }
    Ok(folded)
}

/// Length in bytes of an opening integer written with thousands separators, its sign included; `None` without any.
fn grouped_digits(text: &str) -> Option<usize> {
    let mut cursor = Cursor(text);
    cursor.sign();
    let first = cursor.digits();
    if !(1..=3).contains(&first.len()) || first.starts_with('0') {
        return None;
    }
    let mut groups = 0;
    loop {
        let mut next = cursor;
        if !(next.take(',') && next.digits().len() == 3) {
            break;
        }
        cursor = next;
        groups += 1;
    }
    (groups > 0).then(|| text.len() - cursor.0.len())
}

/// A number as it is written: `unsigned` holds ASCII digits with an optional fraction and exponent.
#[derive(Clone, Copy)]
struct Written<'a> {
    negative: bool,
    unsigned: &'a str,
}

impl Written<'_> {
    fn value(self) -> Result<f64, ParseFailure> {
        if self.unsigned.len() > MAX_NUMBER_CHARACTERS {
            return Err(ParseFailure::NumberTooLong);
        }
        let value: f64 = self.unsigned.parse().map_err(|_| ParseFailure::NoNumber)?;
        if !value.is_finite() {
            return Err(ParseFailure::NumberTooLarge);
        }
        Ok(if self.negative { -value } else { value })
    }
}

/// The text still to be read.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    /// `x1, y1, x2, y2]`
    fn list_of_four(mut self) -> Option<[Written<'a>; 4]> {
        let [x1, y1] = self.two_numbers()?;
        self.separator(',')?;
        let [x2, y2] = self.two_numbers()?;
        self.separator(']')?;
        Some([x1, y1, x2, y2])
    }

    /// `x1, y1), (x2, y2)`
    fn pair_of_points(mut self) -> Option<[Written<'a>; 4]> {
        let [x1, y1] = self.two_numbers()?;
        self.separator(')')?;
        self.separator(',')?;
        self.separator('(')?;
        let [x2, y2] = self.two_numbers()?;
        self.separator(')')?;
        Some([x1, y1, x2, y2])
    }

    /// `a, b`
    fn two_numbers(&mut self) -> Option<[Written<'a>; 2]> {
        self.skip_space();
        let a = self.number()?;
        self.separator(',')?;
        self.skip_space();
        let b = self.number()?;
        Some([a, b])
    }

    /// `[+-]? (digits (. digits?)? | . digits) ([eE] [+-]? digits)?`; the sign may be the typographic minus.
    fn number(&mut self) -> Option<Written<'a>> {
        let negative = self.sign();
        let start = *self;
        let whole = self.digits();
        let fraction = if self.take('.') { self.digits() } else { "" };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut exponent = *self;
        if exponent.take('e') || exponent.take('E') {
            exponent.sign_in_ascii();
            if !exponent.digits().is_empty() {
                *self = exponent;
            }
        }
        Some(Written {
            negative,
            unsigned: &start.0[..start.0.len() - self.0.len()],
        })
    }

    fn sign(&mut self) -> bool {
        self.take('-') || self.take('\u{2212}') || {
            self.take('+');
            false
        }
    }

    fn sign_in_ascii(&mut self) {
        if !self.take('-') {
            self.take('+');
        }
    }

    fn digits(&mut self) -> &'a str {
        let rest = self.0.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        digits
    }

    fn separator(&mut self, wanted: char) -> Option<()> {
        self.skip_space();
        self.take(wanted).then_some(())
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_form_of_a_box() {
        for (text, corners) in [
            ("[1, 2, 3, 4]", [1.0, 2.0, 3.0, 4.0]),
            ("[1,2,3,4]", [1.0, 2.0, 3.0, 4.0]),
            ("the box is\n[ 1 ,\t2.5,3. , .4 ].", [1.0, 2.5, 3.0, 0.4]),
            ("[-1, +2, \u{2212}3, 4e1]", [-1.0, 2.0, -3.0, 40.0]),
            (r#"{"bbox_2d": [1, 2, 3, 4]}"#, [1.0, 2.0, 3.0, 4.0]),
            ("[[1, 2, 3, 4], [5, 6, 7, 8]]", [1.0, 2.0, 3.0, 4.0]),
            ("(1,2),(3,4)", [1.0, 2.0, 3.0, 4.0]),
            (
                "<|box_start|>( 1, 2 ) , ( 3, 4 )<|box_end|>",
                [1.0, 2.0, 3.0, 4.0],
            ),
            ("[(1,2),(3,4)]", [1.0, 2.0, 3.0, 4.0]),
            ("(9,9),(1,2),(3,4)", [9.0, 9.0, 1.0, 2.0]),
            (
                "[1, 2] then [1, 2, 3, 4, 5] then [5, 6, 7, 8]",
                [5.0, 6.0, 7.0, 8.0],
            ),
            ("[4, 3, 2, 1]", [4.0, 3.0, 2.0, 1.0]),
        ] {
            assert_eq!(parse_box(text), Ok(corners.into()), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_box() {
        for text in [
            "",
            "1, 2, 3, 4",
            "[1, 2, 3]",
            "[1, 2, 3, 4, 5]",
            "[1 2 3 4]",
            "[1, 2, 3, 4",
            "[1, 2, 3, four]",
            "[nan, 0, 1, 1]",
            "[inf, 0, 1, 1]",
            "[1, 2, 3, 1e]",
            "[--1, 2, 3, 4]",
            "(1, 2, 3, 4)",
            "(1, 2) (3, 4)",
            "[., 2, 3, 4]",
        ] {
            assert_eq!(parse_box(text), Err(ParseFailure::NoBox), "{text}");
        }
    }

    #[test]
    fn the_first_box_decides_even_when_its_numbers_are_bad() {
        let long = format!("[{}, 0, 1, 1] [1, 2, 3, 4]", "9".repeat(65));
        assert_eq!(parse_box(&long), Err(ParseFailure::NumberTooLong));
        for text in ["[1e999, 0, 1, 1]", "[0, 0, 1e10, 1] [1, 2, 3, 4]"] {
            assert_eq!(parse_box(text), Err(ParseFailure::NumberTooLarge), "{text}");
        }
    }

    #[test]
    fn reads_numbers_with_separators_signs_and_units() {
        for (text, value) in [
            ("42", 42.0),
            (" -3.5 ", -3.5),
            ("\u{2212}3.5", -3.5),
            ("+.5", 0.5),
            ("7.", 7.0),
            ("1,234", 1234.0),
            ("-12,345,678.9 km", -12_345_678.9),
            ("1,234.", 1234.0),
            ("50%", 50.0),
            ("12 apples.", 12.0),
            ("2e3", 2000.0),
            ("5e", 5.0),
            ("3, that is all", 3.0),
        ] {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn refuses_numbers_that_are_not_clear() {
        let long = "1".repeat(65);
        let grouped = format!("1{}", ",000".repeat(20));
        for (text, failure) in [
            ("", ParseFailure::Empty),
            (" \n", ParseFailure::Empty),
            ("five", ParseFailure::NoNumber),
            ("x = 5", ParseFailure::NoNumber),
            ("nan", ParseFailure::NoNumber),
            ("-inf", ParseFailure::NoNumber),
            ("- 5", ParseFailure::NoNumber),
            ("3 or 4", ParseFailure::SeveralNumbers),
            ("1/2", ParseFailure::SeveralNumbers),
            ("12:30", ParseFailure::SeveralNumbers),
            ("1,23", ParseFailure::SeveralNumbers),
            ("1234,567", ParseFailure::SeveralNumbers),
            ("0,123", ParseFailure::SeveralNumbers),
            ("1,234,56", ParseFailure::SeveralNumbers),
            ("1.2.3", ParseFailure::SeveralNumbers),
            ("1e999", ParseFailure::NumberTooLarge),
            (long.as_str(), ParseFailure::NumberTooLong),
            (grouped.as_str(), ParseFailure::NumberTooLong),
        ] {
            assert_eq!(parse_number(text), Err(failure), "{text}");
        }
    }

    #[test]
    fn folds_text() {
        for (text, folded) in [
            ("  A  red\n Car ", "a red car"),
            ("STRASSE", "strasse"),
            ("Straße", "strasse"),
            ("STRAẞE", "strasse"),
            ("ΟΔΟΣ οδος", "οδοσ οδοσ"),
            ("a\u{a0}b", "a b"),
        ] {
            assert_eq!(parse_text(text).as_deref(), Ok(folded), "{text}");
        }
        assert_eq!(parse_text("\t \n"), Err(ParseFailure::Empty));
    }

    proptest! {
        #[test]
        fn no_reader_panics(text in any::<String>()) {
            let _ = (parse_box(&text), parse_number(&text), parse_text(&text));
        }

        #[test]
        fn no_reader_panics_on_what_looks_right(text in r"[\[\]() ,.+\-−eE0-9é]{0,60}") {
            if let Ok(found) = parse_box(&text) {
                prop_assert!(<[f64; 4]>::from(found).iter().all(|v| v.is_finite()));
            }
            if let Ok(found) = parse_number(&text) {
                prop_assert!(found.is_finite());
            }
        }

        #[test]
        fn a_written_box_is_read_back(corners in prop::array::uniform4(-1e9f64..1e9)) {
            let [a, b, c, d] = corners;
            prop_assert_eq!(parse_box(&format!("[{a}, {b}, {c}, {d}]")), Ok(corners.into()));
            prop_assert_eq!(parse_box(&format!("({a},{b}),({c},{d})")), Ok(corners.into()));
        }

        #[test]
        fn a_written_number_is_read_back(value in -1e12f64..1e12) {
            prop_assert_eq!(parse_number(&format!("{value} m.")), Ok(value));
        }

        #[test]
        fn folding_twice_changes_nothing(text in any::<String>()) {
            if let Ok(once) = parse_text(&text) {
                prop_assert_eq!(parse_text(&once), Ok(once.clone()));
            }
        }
    }
}
