//! Spans and moments of time.

use serde::Deserialize;

use super::row::{Refusal, Row, one_if};
use super::{Rule, range};
use crate::measure::intervals::{Interval, boundary_error, onset_hit};
use crate::measure::shape::{exponential, ramp};
use crate::payload::{ParseFailure, clock_time, parse_interval, parse_number};

/// How near a span of time is to the target's, in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IntervalMatch {
    #[serde(default)]
    metric: IntervalMetric,
    /// `boundary_error`: error up to which the score is 1, in seconds; 0 when nothing is said.
    #[serde(default)]
    best: Option<f64>,
    /// `boundary_error`: error from which on it is 0.
    #[serde(default)]
    worst: Option<f64>,
    /// `onset`: seconds that the starts may be apart.
    #[serde(default)]
    tolerance: Option<f64>,
    /// `exponential`: seconds after which the score has fallen to 1/e; OneThinker's 2 when nothing is said.
    #[serde(default)]
    decay: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum IntervalMetric {
    /// [`Interval::iou`].
    #[default]
    Tiou,
    /// [`ramp`] of the [`boundary_error`].
    BoundaryError,
    /// [`onset_hit`].
    Onset,
    /// [`exponential`] of the distance of the starts.
    Exponential,
}

pub(super) const DECAY: f64 = 2.0;

impl Rule for IntervalMatch {
    fn check(&self) -> Result<(), String> {
        use IntervalMetric::{BoundaryError, Exponential, Onset};
        let other = |metric| self.metric != metric;
        for (key, given, metric, name) in [
            ("best", self.best.is_some(), BoundaryError, "boundary_error"),
            (
                "worst",
                self.worst.is_some(),
                BoundaryError,
                "boundary_error",
            ),
            ("tolerance", self.tolerance.is_some(), Onset, "onset"),
            ("decay", self.decay.is_some(), Exponential, "exponential"),
        ] {
            let with = format!("another metric than `{name}`");
            range::unused(key, given && other(metric), &with)?;
        }
        match self.metric {
            IntervalMetric::Tiou => Ok(()),
            BoundaryError => {
                let worst = range::needed("worst", self.worst, "`boundary_error`")?;
                range::ramp(self.best.unwrap_or_default(), worst)
            }
            Onset => {
                let tolerance = range::needed("tolerance", self.tolerance, "`onset`")?;
                range::at_least_zero("tolerance", tolerance)
            }
            Exponential => range::positive("decay", self.decay.unwrap_or(DECAY)),
        }
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        use IntervalMetric::{BoundaryError, Exponential, Onset, Tiou};
        let read = match self.metric {
            Tiou | BoundaryError => parse_interval,
            Onset | Exponential => moment,
        };
        let gold = row.target(read)?;
        if !gold.is_valid() {
            return Err(row.unreadable_target(row.target_text()?, "it ends before it starts"));
        }
        let found = row.read(read)?;
        Ok(match self.metric {
            Tiou => found.iou(&gold),
            // An interval that is none counts as none at all.
            BoundaryError if !found.is_valid() => 0.0,
            BoundaryError => ramp(
                boundary_error(Some(&found), &gold),
                self.best.unwrap_or_default(),
                self.worst.unwrap_or_default(),
            ),
            Onset => one_if(onset_hit(&found, &gold, self.tolerance.unwrap_or_default())),
            Exponential => exponential(found.start - gold.start, self.decay.unwrap_or(DECAY)),
        })
    }
}

/// An interval, or one time as an interval that ends where it starts.
fn moment(text: &str) -> Result<Interval, ParseFailure> {
    match parse_interval(text) {
        Err(ParseFailure::NoInterval) => {
            let time = match clock_time(text) {
                Some(time) => time?,
                None => parse_number(text)?,
            };
            if time < 0.0 {
                return Err(ParseFailure::NegativeTime);
            }
            Ok([time, time].into())
        }
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread};

    #[test]
    fn spans_of_time() {
        let tiou = json!({"verifier": "interval"});
        // 5 of 15 seconds are shared.
        scores(
            tiou.clone(),
            "0-10",
            &[
                ("0:00 to 0:10", 1.0),
                ("5 to 15", 1.0 / 3.0),
                ("20-30", 0.0),
                ("10-0", 0.0),
            ],
        );
        unread(tiou.clone(), "0-10", "at the end", "no");
        bad_target(tiou.clone(), "soon", "cannot be read");
        bad_target(tiou, "10-0", "ends before it starts");
    }

    #[test]
    fn errors_of_the_ends() {
        let rule = json!({"verifier": "interval", "metric": "boundary_error", "worst": 10});
        // |1| + |−4| = 5.
        scores(
            rule.clone(),
            "0-10",
            &[("0-10", 1.0), ("1-6", 0.5), ("30-40", 0.0), ("10-0", 0.0)],
        );
        unread(rule, "0-10", "at the end", "no");
    }

    #[test]
    fn moments() {
        let onset = json!({"verifier": "interval", "metric": "onset", "tolerance": 1});
        scores(
            onset.clone(),
            "5-9",
            &[("6-20", 1.0), ("6.5-9", 0.0), ("4.5", 1.0)],
        );
        unread(onset.clone(), "5", "soon", "number");
        // A time alone may be a clock's.
        scores(
            onset.clone(),
            "70",
            &[("1:10", 1.0), ("at 0:01:09.5 s", 1.0), ("1:20", 0.0)],
        );
        scores(onset.clone(), "0:10", &[("10", 1.0)]);
        bad_target(onset, "soon", "cannot be read");
        let near = json!({"verifier": "interval", "metric": "exponential"});
        // Two seconds: 1/e.
        scores(
            near.clone(),
            "5",
            &[("5", 1.0), ("7 s", (-1.0f64).exp()), ("5-8", 1.0)],
        );
        unread(near, "5", "-1", "negative");
        for (keys, message) in [
            (json!({"worst": 3}), "`worst` has no effect"),
            (json!({"metric": "onset"}), "`tolerance` is missing"),
            (json!({"metric": "boundary_error"}), "`worst` is missing"),
            (
                json!({"metric": "onset", "tolerance": 1, "decay": 2}),
                "`decay` has no effect",
            ),
            (json!({"metric": "exponential", "decay": 0}), "above 0"),
        ] {
            let mut rule = keys;
            rule["verifier"] = "interval".into();
            let error = refused(rule);
            assert!(error.contains(message), "{error}");
        }
    }
}
