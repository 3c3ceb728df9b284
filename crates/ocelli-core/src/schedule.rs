//! Numbers that change while a stage runs.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// How far a stage is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Optimizer steps taken.
    pub step: u64,
    /// Optimizer steps the stage takes in all.
    pub max_steps: u64,
}

impl Progress {
    /// Share of the stage that is done, in `[0, 1]`; 0 when the stage has no steps.
    pub fn share(self) -> f64 {
        if self.max_steps == 0 {
            return 0.0;
        }
        (self.step as f64 / self.max_steps as f64).min(1.0)
    }
}

/// A number, or a rule that gives one for every step of a stage. Recipes write `0.5`,
/// `{ steps = [[0, 0.85], [0.1, 0.95], [0.25, 0.99]] }`, `{ linear = [0.0, 1.0], over = [0, 0.5] }` or
/// `{ cosine = [1.0, 0.1] }`; positions are shares of the stage, or steps with `by = "step"`.
///
/// ```
/// use ocelli_core::{Progress, Schedule};
///
/// let rule: Schedule = serde_json::from_str(r#"{ "linear": [1.0, 0.0], "over": [0.0, 0.5] }"#).unwrap();
/// let at = |step| rule.at(Progress { step, max_steps: 100 });
/// assert_eq!((at(0), at(25), at(50), at(100)), (1.0, 0.5, 0.0, 0.0));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Schedule {
    /// The same at every step.
    Constant(f64),
    /// Changes with progress.
    Varying(Varying),
}

/// A rule for a number; exactly one of `steps`, `linear` and `cosine` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Varying {
    /// Pairs of position and value, positions rising from 0: each value holds from its position on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<[f64; 2]>>,
    /// First and last value, joined by a straight line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear: Option<[f64; 2]>,
    /// First and last value, joined by half a cosine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine: Option<[f64; 2]>,
    /// `linear`, `cosine`: positions where the change begins and ends; the whole stage by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<[f64; 2]>,
    /// What positions count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by: Position,
}

/// What the positions of a schedule count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Shares of the stage, 0 to 1.
    #[default]
    Progress,
    /// Optimizer steps.
    Step,
}

fn is_default(position: &Position) -> bool {
    *position == Position::default()
}

/// By hand, because serde's untagged enums forget which key was wrong.
impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrRule;

        impl<'de> Visitor<'de> for NumberOrRule {
            type Value = Schedule;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, or a rule such as { linear = [1.0, 0.0] }")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Schedule, E> {
                Ok(Schedule::Constant(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Schedule, E> {
                Ok(Schedule::Constant(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Schedule, E> {
                Ok(Schedule::Constant(value as f64))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Schedule, A::Error> {
                Varying::deserialize(MapAccessDeserializer::new(map)).map(Schedule::Varying)
            }
        }

        deserializer.deserialize_any(NumberOrRule)
    }
}

impl From<f64> for Schedule {
    fn from(value: f64) -> Self {
        Self::Constant(value)
    }
}

impl Schedule {
    /// The number at `progress`. Call [`Schedule::check`] first: a malformed rule gives NaN.
    pub fn at(&self, progress: Progress) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Varying(rule) => rule.at(progress),
        }
    }

    /// Whether it is 0 at every step.
    pub fn is_zero(&self) -> bool {
        self.values().iter().all(|value| *value == 0.0)
    }

    /// The values it takes, or moves between.
    pub fn values(&self) -> Vec<f64> {
        match self {
            Self::Constant(value) => vec![*value],
            Self::Varying(rule) => {
                let ends = rule.linear.into_iter().chain(rule.cosine).flatten();
                let steps = rule.steps.iter().flatten().map(|[_, value]| *value);
                steps.chain(ends).collect()
            }
        }
    }

    /// What is wrong with it, in words that say how to mend it.
    ///
    /// # Errors
    /// When a value is not finite, when not exactly one rule is given, or when its positions do not rise.
    pub fn check(&self) -> Result<(), String> {
        if let Some(value) = self.values().iter().find(|value| !value.is_finite()) {
            return Err(format!("{value} is not a finite number"));
        }
        match self {
            Self::Constant(_) => Ok(()),
            Self::Varying(rule) => rule.check(),
        }
    }
}

impl Varying {
    fn at(&self, progress: Progress) -> f64 {
        let here = match self.by {
            Position::Progress => progress.share(),
            Position::Step => progress.step as f64,
        };
        if let Some(steps) = &self.steps {
            let passed = steps.iter().take_while(|[from, _]| *from <= here).last();
            return passed.map_or(f64::NAN, |[_, value]| *value);
        }
        let [from, to] = self.over.unwrap_or(match self.by {
            Position::Progress => [0.0, 1.0],
            Position::Step => [0.0, progress.max_steps.max(1) as f64],
        });
        let share = ((here - from) / (to - from)).clamp(0.0, 1.0);
        match (self.linear, self.cosine) {
            (Some([first, last]), _) => first + (last - first) * share,
            (_, Some([first, last])) => {
                last + (first - last) * (1.0 + (std::f64::consts::PI * share).cos()) / 2.0
            }
            (None, None) => f64::NAN,
        }
    }

    fn check(&self) -> Result<(), String> {
        let given = [
            self.steps.is_some(),
            self.linear.is_some(),
            self.cosine.is_some(),
        ];
        if given.into_iter().filter(|g| *g).count() != 1 {
            return Err("give exactly one of `steps`, `linear` and `cosine`".into());
        }
        let most = match self.by {
            Position::Progress => 1.0,
            Position::Step => f64::INFINITY,
        };
        if let Some(steps) = &self.steps {
            if self.over.is_some() {
                return Err("`over` has no effect on `steps`; remove it".into());
            }
            if steps.first().is_none_or(|[from, _]| *from != 0.0) {
                return Err("the first pair of `steps` must stand at 0".into());
            }
            if !steps.windows(2).all(|pair| pair[0][0] < pair[1][0]) {
                return Err("the positions of `steps` must rise".into());
            }
            if steps.iter().any(|[from, _]| *from > most) {
                return Err(
                    "a position is above 1, the whole stage; give `by = \"step\"` if steps are meant"
                        .into(),
                );
            }
        }
        if let Some([from, to]) = self.over
            && !(from >= 0.0 && from < to && to <= most)
        {
            return Err(format!(
                "`over = [{from}, {to}]` must rise inside the stage, as in [0, 0.5]"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Schedule {
        serde_json::from_str(text).unwrap()
    }

    fn along(text: &str, steps: &[u64]) -> Vec<f64> {
        let rule = read(text);
        rule.check().unwrap();
        let at = |step: &u64| {
            rule.at(Progress {
                step: *step,
                max_steps: 100,
            })
        };
        steps.iter().map(at).collect()
    }

    #[test]
    fn worked_values() {
        assert_eq!(along("0.5", &[0, 100]), [0.5, 0.5]);
        assert_eq!(
            along(
                r#"{"steps": [[0, 0.85], [0.1, 0.95], [0.25, 0.99]]}"#,
                &[0, 9, 10, 24, 25, 100]
            ),
            [0.85, 0.85, 0.95, 0.95, 0.99, 0.99]
        );
        assert_eq!(
            along(r#"{"steps": [[0, 1], [30, 2]], "by": "step"}"#, &[29, 30]),
            [1.0, 2.0]
        );
        assert_eq!(
            along(
                r#"{"linear": [0, 1], "over": [20, 40], "by": "step"}"#,
                &[0, 25, 99]
            ),
            [0.0, 0.25, 1.0]
        );
        let cosine = along(r#"{"cosine": [1.0, 0.0]}"#, &[0, 50, 100]);
        for (value, wanted) in cosine.into_iter().zip([1.0, 0.5, 0.0]) {
            assert!((value - wanted).abs() < 1e-12);
        }
    }

    #[test]
    fn malformed_rules_are_refused_with_the_mend() {
        for (text, wanted) in [
            ("{}", "exactly one"),
            (r#"{"linear": [0, 1], "cosine": [0, 1]}"#, "exactly one"),
            (r#"{"steps": []}"#, "at 0"),
            (r#"{"steps": [[0.5, 1]]}"#, "at 0"),
            (r#"{"steps": [[0, 1], [0, 2]]}"#, "must rise"),
            (r#"{"steps": [[0, 1], [30, 2]]}"#, "by = \"step\""),
            (r#"{"steps": [[0, 1]], "over": [0, 1]}"#, "no effect"),
            (r#"{"linear": [0, 1], "over": [0.5, 0.5]}"#, "must rise"),
        ] {
            let error = read(text).check().unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        assert!(Schedule::Constant(f64::NAN).check().is_err());
        let error = serde_json::from_str::<Schedule>(r#"{"lineal": [0, 1]}"#).unwrap_err();
        assert!(error.to_string().contains("lineal"), "{error}");
    }

    #[test]
    fn a_stage_without_steps_is_at_its_start() {
        assert_eq!(Progress::default().share(), 0.0);
        let beyond = Progress {
            step: 7,
            max_steps: 5,
        };
        assert_eq!(beyond.share(), 1.0);
    }
}
