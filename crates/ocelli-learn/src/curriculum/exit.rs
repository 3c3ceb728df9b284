//! The `exit` table of a stage: when it ends.

use serde::{Deserialize, Serialize};

use super::phases::check_counting;
use super::trigger::{Side, Trigger};

/// When a stage ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitConfig {
    /// Steps: batches of rows trained on. A step of a `grpo` stage makes `num_iterations` optimizer steps.
    pub max_steps: u64,
    /// A metric of the steps that ends the stage before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Ends it when the metric is at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// Ends it when the metric is at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// Where counting is broken off once it has begun; by default at `above` or `below` themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<f64>,
    /// Steps in a row that the metric must be there; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Share of the old mean in the metric's moving mean; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<f64>,
    /// Steps that the stage takes at least; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_steps: Option<u64>,
}

impl ExitConfig {
    /// The metric that ends the stage, and how.
    pub fn trigger(&self) -> Option<(&str, Trigger)> {
        let (side, level) = match (self.above, self.below) {
            (Some(level), _) => (Side::Above, level),
            (None, level) => (Side::Below, level?),
        };
        let trigger = Trigger {
            side,
            level,
            hold: self.hold.unwrap_or(level),
            patience: self.patience.unwrap_or(1),
            smoothing: self.smoothing.unwrap_or(0.0),
        };
        Some((self.metric.as_deref()?, trigger))
    }

    /// # Errors
    /// Says which key is wrong and how to mend it.
    pub fn check(&self) -> Result<(), String> {
        if self.max_steps == 0 {
            return Err("`exit.max_steps` must be at least 1".into());
        }
        if self.metric.is_none() {
            for (key, given) in [
                ("above", self.above.is_some()),
                ("below", self.below.is_some()),
                ("hold", self.hold.is_some()),
                ("patience", self.patience.is_some()),
                ("smoothing", self.smoothing.is_some()),
                ("min_steps", self.min_steps.is_some()),
            ] {
                if given {
                    return Err(format!(
                        "`exit.{key}` has no effect without `exit.metric`; remove it"
                    ));
                }
            }
            return Ok(());
        }
        let held = match (self.above, self.below) {
            (Some(level), None) => level.is_finite() && self.hold.is_none_or(|hold| hold <= level),
            (None, Some(level)) => level.is_finite() && self.hold.is_none_or(|hold| hold >= level),
            _ => return Err("`exit.metric` needs `above` or `below`, one of them".into()),
        };
        if !held {
            return Err("`exit.hold` must be at most `above`, or at least `below`".into());
        }
        if self.hold.is_some() && self.patience.unwrap_or(1) < 2 {
            return Err(
                "`exit.hold` has no effect without a `patience` of 2 or more; remove it".into(),
            );
        }
        if self.min_steps.is_some_and(|steps| steps >= self.max_steps) {
            return Err("`exit.min_steps` must be below `max_steps`".into());
        }
        check_counting(self.patience, self.smoothing).map_err(|e| format!("`exit`: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_may_end_a_stage() {
        let exit: ExitConfig = toml::from_str(
            "max_steps = 9\nmetric = 'reward'\nabove = 0.9\nhold = 0.8\npatience = 5",
        )
        .unwrap();
        exit.check().unwrap();
        let (name, trigger) = exit.trigger().unwrap();
        assert_eq!(
            (name, trigger.side, trigger.hold),
            ("reward", Side::Above, 0.8)
        );
        let again: ExitConfig = toml::from_str(&toml::to_string(&exit).unwrap()).unwrap();
        assert_eq!(again, exit);
        assert!(
            toml::from_str::<ExitConfig>("max_steps = 9")
                .unwrap()
                .trigger()
                .is_none()
        );
    }

    #[test]
    fn exits_without_sense_are_refused() {
        for (text, words) in [
            ("max_steps = 0", "at least 1"),
            ("max_steps = 9\nabove = 0.5", "without `exit.metric`"),
            ("max_steps = 9\nmetric = 'reward'", "`above` or `below`"),
            (
                "max_steps = 9\nmetric = 'reward'\nabove = 0.5\nbelow = 0.5",
                "one of them",
            ),
            (
                "max_steps = 9\nmetric = 'reward'\nabove = 0.5\nhold = 0.6\npatience = 2",
                "`exit.hold`",
            ),
            (
                "max_steps = 9\nmetric = 'loss'\nbelow = 0.5\nhold = 0.6",
                "`patience` of 2",
            ),
            (
                "max_steps = 9\nmetric = 'loss'\nbelow = 0.5\npatience = 0",
                "at least 1",
            ),
            (
                "max_steps = 9\nmetric = 'loss'\nbelow = 0.5\nmin_steps = 9",
                "below `max_steps`",
            ),
        ] {
            let exit: ExitConfig = toml::from_str(text).unwrap();
            let error = exit.check().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
