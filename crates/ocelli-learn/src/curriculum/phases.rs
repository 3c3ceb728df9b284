//! Phases of a stage: which values of a tag may be drawn, from when on.

use serde::{Deserialize, Serialize};

use super::config::TagValue;
use super::trigger::{Side, Trigger, TriggerState};

/// One phase. The first one begins with the stage; each later one has exactly one of `from_step`, `from_fraction` and `metric`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Phase {
    /// Values of the tag that rows may have.
    pub values: Vec<TagValue>,
    /// Begins when so many steps of the stage are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_step: Option<u64>,
    /// Begins when this share of the stage's `max_steps` is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_fraction: Option<f64>,
    /// Begins when this metric passes `enter_above` or `enter_below`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Begins when the metric is at least this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enter_above: Option<f64>,
    /// Begins when the metric is at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enter_below: Option<f64>,
    /// With `enter_below`: the phase before comes back when the metric is at least this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leave_above: Option<f64>,
    /// With `enter_above`: the phase before comes back when the metric is at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leave_below: Option<f64>,
    /// Steps in a row that the metric must be there, in either direction; 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Share of the old mean in the metric's moving mean; 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<f64>,
    /// Steps that the phase before, and this one, last at least; 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_steps: Option<u64>,
}

/// Where a stage stands in its phases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhaseState {
    /// The phase, from 0.
    pub index: usize,
    /// Steps that were done when it began.
    pub since: u64,
    /// How often phases have changed.
    pub changes: u64,
    /// Of the phase that comes next.
    pub enter: TriggerState,
    /// Of going back.
    pub leave: TriggerState,
}

impl Phase {
    /// The metric that begins the phase, and how.
    fn enter(&self) -> Option<(&str, Trigger)> {
        let (side, level) = match (self.enter_above, self.enter_below) {
            (Some(level), _) => (Side::Above, level),
            (None, level) => (Side::Below, level?),
        };
        Some((self.metric.as_deref()?, self.trigger(side, level)))
    }

    /// The metric that ends it in favour of the phase before, and how.
    fn leave(&self) -> Option<(&str, Trigger)> {
        let (side, level) = match (self.leave_below, self.leave_above) {
            (Some(level), _) => (Side::Below, level),
            (None, level) => (Side::Above, level?),
        };
        Some((self.metric.as_deref()?, self.trigger(side, level)))
    }

    fn trigger(&self, side: Side, level: f64) -> Trigger {
        Trigger {
            side,
            level,
            hold: level,
            patience: self.patience.unwrap_or(1),
            smoothing: self.smoothing.unwrap_or(0.0),
        }
    }

    /// # Errors
    /// Says which key is wrong and how to mend it.
    fn check(&self, is_first: bool) -> Result<(), String> {
        if self.values.is_empty() {
            return Err("`values` is empty; give the tag's values that may be drawn".into());
        }
        let begins = [
            ("from_step", self.from_step.is_some()),
            ("from_fraction", self.from_fraction.is_some()),
            ("metric", self.metric.is_some()),
        ];
        let given: Vec<&str> = begins.iter().filter(|(_, g)| *g).map(|(k, _)| *k).collect();
        match (is_first, given.as_slice()) {
            (true, []) | (false, [_]) => {}
            (true, [key, ..]) => {
                return Err(format!(
                    "`{key}` has no effect, the first phase begins with the stage; remove it"
                ));
            }
            (false, []) => {
                return Err(
                    "nothing says when it begins; give `from_step`, `from_fraction` or `metric`"
                        .into(),
                );
            }
            (false, [a, b, ..]) => {
                return Err(format!(
                    "`{a}` and `{b}` both say when it begins; remove one"
                ));
            }
        }
        if self.metric.is_none() {
            for (key, given) in [
                ("enter_above", self.enter_above.is_some()),
                ("enter_below", self.enter_below.is_some()),
                ("leave_above", self.leave_above.is_some()),
                ("leave_below", self.leave_below.is_some()),
                ("patience", self.patience.is_some()),
                ("smoothing", self.smoothing.is_some()),
                ("min_steps", self.min_steps.is_some()),
            ] {
                if given {
                    return Err(format!("`{key}` has no effect without `metric`; remove it"));
                }
            }
        } else {
            self.check_thresholds()?;
        }
        if self.from_fraction.is_some_and(|f| !(f > 0.0 && f < 1.0)) {
            return Err("`from_fraction` must be between 0 and 1".into());
        }
        Ok(())
    }

    fn check_thresholds(&self) -> Result<(), String> {
        let apart = match (self.enter_above, self.enter_below) {
            (Some(enter), None) => {
                if self.leave_above.is_some() {
                    return Err("`leave_above` goes with `enter_below`; write `leave_below`".into());
                }
                self.leave_below.is_none_or(|leave| leave < enter) && enter.is_finite()
            }
            (None, Some(enter)) => {
                if self.leave_below.is_some() {
                    return Err("`leave_below` goes with `enter_above`; write `leave_above`".into());
                }
                self.leave_above.is_none_or(|leave| leave > enter) && enter.is_finite()
            }
            _ => return Err("`metric` needs `enter_above` or `enter_below`, one of them".into()),
        };
        if !apart {
            return Err("the threshold to leave must be on the other side of the one to enter, or phases would change at every step".into());
        }
        check_counting(self.patience, self.smoothing)
    }
}

/// # Errors
/// Says which of the two is wrong.
pub(super) fn check_counting(patience: Option<u64>, smoothing: Option<f64>) -> Result<(), String> {
    if patience == Some(0) {
        return Err("`patience` must be at least 1".into());
    }
    if smoothing.is_some_and(|s| !(0.0..1.0).contains(&s)) {
        return Err("`smoothing` must be at least 0 and below 1".into());
    }
    Ok(())
}

/// # Errors
/// Says which phase is wrong and how to mend it. `max_steps` are those of the stage.
pub(super) fn check(phases: &[Phase], max_steps: u64) -> Result<(), String> {
    if phases.len() < 2 {
        return Err(
            "`sampler.phases` needs two phases or more; for one, choose the rows with `data.tasks`"
                .into(),
        );
    }
    let mut last = 0;
    for (index, phase) in phases.iter().enumerate() {
        let place = |e: String| format!("`sampler.phases`, phase {}: {e}", index + 1);
        phase.check(index == 0).map_err(place)?;
        let Some(step) = begin(phase, max_steps) else {
            continue;
        };
        if step <= last || step >= max_steps {
            return Err(place(format!(
                "it begins after step {step}, and must begin after the phase before (step {last}) and before the end (step {max_steps})"
            )));
        }
        last = step;
    }
    Ok(())
}

/// The step after which a phase begins, where no metric decides.
fn begin(phase: &Phase, max_steps: u64) -> Option<u64> {
    let share = |fraction: f64| (fraction * max_steps as f64).round() as u64;
    phase.from_step.or(phase.from_fraction.map(share))
}

/// Moves by at most one phase after step `done` of `max_steps`, and says whether it did. `value` is a metric of that step.
pub fn advance(
    phases: &[Phase],
    state: &mut PhaseState,
    (done, max_steps): (u64, u64),
    value: impl Fn(&str) -> Option<f64>,
) -> bool {
    let lasted = done - state.since;
    let long_enough = |phase: &Phase| lasted >= phase.min_steps.unwrap_or(0);
    let next = phases.get(state.index + 1);
    let forward = next.is_some_and(|phase| match phase.enter() {
        Some((name, trigger)) => state.enter.observe(&trigger, value(name)) && long_enough(phase),
        None => begin(phase, max_steps).is_some_and(|step| done >= step),
    });
    let back = phases.get(state.index).is_some_and(|phase| {
        let leave = phase.leave();
        leave.is_some_and(|(name, trigger)| {
            state.leave.observe(&trigger, value(name)) && long_enough(phase)
        })
    });
    let index = match (forward, back) {
        (true, _) => state.index + 1,
        (false, true) => state.index - 1,
        (false, false) => return false,
    };
    *state = PhaseState {
        index,
        since: done,
        changes: state.changes + 1,
        ..PhaseState::default()
    };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(text: &str) -> Vec<Phase> {
        #[derive(Deserialize)]
        struct Table {
            phases: Vec<Phase>,
        }
        toml::from_str::<Table>(&format!("phases = [{text}]"))
            .unwrap()
            .phases
    }

    /// The phase of each step, given the metric that each step has.
    fn visited(phases: &[Phase], metric: &[f64]) -> Vec<usize> {
        let mut state = PhaseState::default();
        metric
            .iter()
            .enumerate()
            .map(|(step, value)| {
                let now = state.index;
                let progress = (step as u64 + 1, metric.len() as u64);
                advance(phases, &mut state, progress, |_| Some(*value));
                now
            })
            .collect()
    }

    #[test]
    fn steps_and_fractions_are_boundaries() {
        let phases = phases(
            "{ values = [1] }, { values = [2], from_step = 2 }, { values = [3], from_fraction = 0.5 }",
        );
        check(&phases, 8).unwrap();
        assert_eq!(visited(&phases, &[0.0; 8]), [0, 0, 1, 1, 2, 2, 2, 2]);
    }

    #[test]
    fn a_metric_moves_on_and_back_with_hysteresis() {
        let phases = phases(
            "{ values = ['easy'] }, { values = ['hard'], metric = 'reward', enter_above = 0.8, leave_below = 0.3, patience = 2 }",
        );
        check(&phases, 10).unwrap();
        let metric = [0.9, 0.7, 0.8, 0.9, 0.5, 0.4, 0.2, 0.3, 0.9, 0.9];
        // Two steps at 0.8 or more; nothing at 0.4; two steps at 0.3 or less.
        assert_eq!(visited(&phases, &metric), [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]);
    }

    /// The script of Vision-Zero's phase switch: once each, never within the shortest stay.
    #[test]
    fn phases_last_their_shortest_time() {
        let phases = phases(
            "{ values = ['decision'] }, { values = ['clue'], metric = 'accuracy', enter_above = 0.9, leave_below = 0.6, min_steps = 3 }",
        );
        let metric = [0.95, 0.95, 0.95, 0.5, 0.5, 0.5, 0.5, 0.5];
        assert_eq!(visited(&phases, &metric), [0, 0, 0, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn phases_without_sense_are_refused() {
        for (text, words) in [
            ("{ values = [1] }", "two phases or more"),
            (
                "{ values = [1] }, { values = [], from_step = 1 }",
                "phase 2: `values` is empty",
            ),
            (
                "{ values = [1], from_step = 1 }, { values = [2], from_step = 2 }",
                "phase 1: `from_step` has no effect",
            ),
            ("{ values = [1] }, { values = [2] }", "nothing says when"),
            (
                "{ values = [1] }, { values = [2], from_step = 1, metric = 'x' }",
                "both say",
            ),
            (
                "{ values = [1] }, { values = [2], from_step = 9 }",
                "before the end",
            ),
            (
                "{ values = [1] }, { values = [2], from_step = 5 }, { values = [3], from_step = 5 }",
                "after the phase before",
            ),
            (
                "{ values = [1] }, { values = [2], from_step = 5, patience = 2 }",
                "`patience` has no effect",
            ),
            (
                "{ values = [1] }, { values = [2], metric = 'x' }",
                "`enter_above` or `enter_below`",
            ),
            (
                "{ values = [1] }, { values = [2], metric = 'x', enter_above = 0.5, leave_above = 0.7 }",
                "write `leave_below`",
            ),
            (
                "{ values = [1] }, { values = [2], metric = 'x', enter_above = 0.5, leave_below = 0.5 }",
                "other side",
            ),
            (
                "{ values = [1] }, { values = [2], metric = 'x', enter_above = 0.5, patience = 0 }",
                "at least 1",
            ),
            (
                "{ values = [1] }, { values = [2], metric = 'x', enter_above = 0.5, smoothing = 1.0 }",
                "below 1",
            ),
            (
                "{ values = [1] }, { values = [2], from_fraction = 1.0 }",
                "between 0 and 1",
            ),
        ] {
            let error = check(&phases(text), 9).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
