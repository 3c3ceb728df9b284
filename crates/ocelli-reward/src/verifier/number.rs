//! Numbers and mathematics.

use ocelli_core::FailureKind;
use serde::Deserialize;

use super::place::AnswerIn;
use super::row::{Refusal, Row, one_if};
use super::{Rule, Verifier, range};
use crate::math::{self, MathFailure, Options};
use crate::measure::relative_accuracy::mean_relative_accuracy;
use crate::payload::{parse_number, parse_percent};

/// 1 when `|answer − target| ≤ tolerance · |target|`, both read by [`parse_number`], else 0. A target of 0 asks for
/// exactly 0. With `decimals` both are rounded to so many decimal places instead, half away from zero.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Number {
    #[serde(default)]
    tolerance: Option<f64>,
    #[serde(default)]
    decimals: Option<u32>,
}

impl Rule for Number {
    fn check(&self) -> Result<(), String> {
        if let Some(decimals) = self.decimals {
            if decimals > 15 {
                return Err(format!(
                    "`decimals = {decimals}` is not allowed; it takes a whole number from 0 to 15"
                ));
            }
            return range::unused("tolerance", self.tolerance.is_some(), "`decimals`");
        }
        range::at_least_zero("tolerance", self.tolerance.unwrap_or_default())
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target(parse_number)?;
        let found = row.read(parse_number)?;
        Ok(one_if(match self.decimals {
            // Written out, since powers of ten push large numbers beyond their digits.
            Some(decimals) => rounded(found, decimals) == rounded(target, decimals),
            None => {
                let tolerance = self.tolerance.unwrap_or(Verifier::DEFAULT_TOLERANCE);
                (found - target).abs() <= tolerance * target.abs()
            }
        }))
    }
}

/// `value` rounded to so many decimal places.
fn rounded(value: f64, decimals: u32) -> f64 {
    let factor = 10f64.powi(decimals as i32);
    let scaled = value * factor;
    // Beyond 2⁵³ there are no decimals left.
    if scaled.abs() < 9e15 {
        scaled.round() / factor
    } else {
        value
    }
}

/// 1 when both percentages ([`parse_percent`]) are at most `tolerance` percentage points apart, else 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Percent {
    #[serde(default = "rounding")]
    tolerance: f64,
}

fn rounding() -> f64 {
    1e-9
}

impl Rule for Percent {
    fn check(&self) -> Result<(), String> {
        range::at_least_zero("tolerance", self.tolerance)
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target(parse_percent)?;
        let found = row.read(parse_percent)?;
        Ok(one_if((found - target).abs() <= self.tolerance))
    }
}

/// [`mean_relative_accuracy`], in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeanRelativeAccuracy {}

impl Rule for MeanRelativeAccuracy {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target(parse_number)?;
        Ok(mean_relative_accuracy(row.read(parse_number)?, target))
    }
}

/// 1 when the final answer is the target as mathematics, else 0: [`math::score_section`] of a section, [`math::score`] of
/// a whole turn, with their default options.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Math {}

impl Rule for Math {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target_text()?;
        let answer = row.answer();
        let score = match row.place.answer_in {
            AnswerIn::Text => math::score,
            _ => math::score_section,
        };
        // A turn without an answer must not hide the row's fault.
        let text = answer.as_deref().unwrap_or_default();
        let found = score(text, target, &Options::default());
        if found != Err(MathFailure::NoGold) {
            answer?;
        }
        match found {
            Ok(right) => Ok(one_if(right)),
            Err(failure @ MathFailure::NoGold) => Err(row.unjudgeable(
                FailureKind::TargetUnreadable,
                &failure.to_string(),
                "mend the row",
            )),
            Err(failure) => Err(Refusal::Unparsed(failure.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread};

    #[test]
    fn numbers_rounded_to_places() {
        let rule = json!({"verifier": "number", "decimals": 2});
        scores(
            rule.clone(),
            "3.14159",
            &[
                ("3.14", 1.0),
                ("3.1351", 1.0),
                ("3.15", 0.0),
                ("-3.14", 0.0),
            ],
        );
        unread(rule.clone(), "3", "pi", "does not open with a number");
        bad_target(rule, "three", "cannot be read");
        for (rule, message) in [
            (
                json!({"verifier": "number", "decimals": 2, "tolerance": 0.1}),
                "`tolerance` has no effect",
            ),
            (
                json!({"verifier": "number", "decimals": 99}),
                "from 0 to 15",
            ),
            (json!({"verifier": "number", "tolerance": -1}), "from 0 on"),
        ] {
            let error = refused(rule);
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn percentages() {
        let rule = json!({"verifier": "percent", "tolerance": 0.5});
        scores(
            rule.clone(),
            "12.5%",
            &[("12.5", 1.0), ("13 %", 1.0), ("13.1%", 0.0), ("0.125", 0.0)],
        );
        unread(rule.clone(), "12.5%", "12.5 km", "percent");
        bad_target(rule, "half", "cannot be read");
        assert!(refused(json!({"verifier": "percent", "tolerance": -1})).contains("tolerance"));
    }

    #[test]
    fn numbers_that_are_a_little_wrong() {
        // 10 % off is below 1 − θ for θ of .5 to .85, and at .9 no more: eight of ten thresholds.
        let rule = json!({"verifier": "mean_relative_accuracy"});
        scores(
            rule.clone(),
            "100",
            &[("100", 1.0), ("110", 0.8), ("200", 0.0)],
        );
        unread(rule.clone(), "100", "many", "number");
        bad_target(rule, "many", "cannot be read");
    }

    #[test]
    fn a_section_is_mathematics_without_delimiters() {
        let rule = json!({"verifier": "math"});
        scores(
            rule.clone(),
            r"\frac{1}{2}",
            &[
                (r"\frac12", 1.0),
                ("0.5", 1.0),
                ("1/2", 1.0),
                (r"$\frac{2}{4}$", 1.0),
                ("12", 0.0),
            ],
        );
        scores(
            rule.clone(),
            "12",
            &[(r"\frac12", 0.0), ("12", 1.0), ("It is 12.", 1.0)],
        );
        scores(rule.clone(), "x^2+1", &[("1+x^2", 1.0), ("x^2", 0.0)]);
        scores(rule.clone(), "5", &[("x = 5", 1.0), ("5 cm", 1.0)]);
        unread(rule.clone(), "5", "no idea", "holds no answer");
        bad_target(rule, "", "the gold answer");
    }
}
