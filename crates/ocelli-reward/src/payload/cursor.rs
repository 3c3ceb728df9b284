//! The text still to be read, and numbers as they are written in it.

use super::ParseFailure;

/// Longest number in characters, sign left out. No measurement needs more, and a run of digits is a common way for a
/// policy to fail.
pub(super) const MAX_NUMBER_CHARACTERS: usize = 64;

/// Largest coordinate by magnitude: far beyond any picture, far from where areas lose their meaning.
const MAX_COORDINATE: f64 = 1e9;

/// `value`, when it can be a coordinate.
pub(super) fn coordinate(value: f64) -> Result<f64, ParseFailure> {
    if value.abs() <= MAX_COORDINATE {
        Ok(value)
    } else {
        Err(ParseFailure::NumberTooLarge)
    }
}

/// A number as it is written: `unsigned` holds ASCII digits with an optional fraction and exponent.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    negative: bool,
    unsigned: &'a str,
}

impl Written<'_> {
    pub(super) fn value(self) -> Result<f64, ParseFailure> {
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
pub(super) struct Cursor<'a>(pub(super) &'a str);

impl<'a> Cursor<'a> {
    /// `x1, y1, x2, y2]`, after the opening bracket; a failed attempt leaves the cursor anywhere before the second
    /// bracket that follows.
    pub(super) fn list_of_four(&mut self) -> Option<[Written<'a>; 4]> {
        let [x1, y1] = self.two_numbers()?;
        self.separator(',')?;
        let [x2, y2] = self.two_numbers()?;
        self.separator(']')?;
        Some([x1, y1, x2, y2])
    }

    /// `x1, y1), (x2, y2)`
    pub(super) fn pair_of_points(&mut self) -> Option<[Written<'a>; 4]> {
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
    pub(super) fn number(&mut self) -> Option<Written<'a>> {
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

    pub(super) fn sign(&mut self) -> bool {
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

    pub(super) fn digits(&mut self) -> &'a str {
        let rest = self.0.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        digits
    }

    pub(super) fn separator(&mut self, wanted: char) -> Option<()> {
        self.skip_space();
        self.take(wanted).then_some(())
    }

    pub(super) fn skip_space(&mut self) {
        self.0 = self.0.trim_start();
    }

    pub(super) fn take(&mut self, wanted: char) -> bool {
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }
}
