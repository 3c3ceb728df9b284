//! A number, and a percentage.

use super::ParseFailure;
use super::cursor::{Cursor, MAX_NUMBER_CHARACTERS};

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

/// The percentage that `text` opens with, in percent: `12.5%`, `12.5 percent` and `12.5` are all 12.5.
///
/// Nothing but a full stop may follow, so that `50 km` is no percentage. A share is not turned into a percentage:
/// `0.5` is half a percent.
///
/// # Errors
/// As [`parse_number`], and [`ParseFailure::NotPercent`] when anything else follows the number.
pub fn parse_percent(text: &str) -> Result<f64, ParseFailure> {
    let value = parse_number(text)?;
    let unit = text
        .trim()
        .trim_start_matches(|c: char| c.is_ascii_digit() || "+-\u{2212}.,eE".contains(c))
        .trim();
    let unit = unit.strip_suffix('.').unwrap_or(unit);
    let known = ["", "%", "\\%", "percent", "per cent", "pct"];
    if known.iter().any(|name| unit.eq_ignore_ascii_case(name)) {
        Ok(value)
    } else {
        Err(ParseFailure::NotPercent)
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    fn percentages_stay_percent() {
        for (text, value) in [
            ("50%", 50.0),
            ("-12.5 %.", -12.5),
            ("1,000 percent", 1000.0),
            ("0.5", 0.5),
            (r"30\%", 30.0),
            ("1e1 per cent", 10.0),
        ] {
            assert_eq!(parse_percent(text), Ok(value), "{text}");
        }
        for (text, failure) in [
            ("50 km", ParseFailure::NotPercent),
            ("half", ParseFailure::NoNumber),
            ("10% or 20%", ParseFailure::SeveralNumbers),
        ] {
            assert_eq!(parse_percent(text), Err(failure), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_number_is_read_back(value in -1e12f64..1e12) {
            prop_assert_eq!(parse_number(&format!("{value} m.")), Ok(value));
        }

        #[test]
        fn numbers_are_finite(text in r"[ ,.+\-−eE0-9é]{0,60}") {
            if let Ok(found) = parse_number(&text) {
                prop_assert!(found.is_finite());
            }
        }
    }
}
