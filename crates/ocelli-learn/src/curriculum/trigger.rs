//! A threshold that a metric has to hold for a while.

use serde::{Deserialize, Serialize};

use super::exact::Exact;

/// On which side of a threshold a metric should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Above,
    Below,
}

/// Fires when a smoothed metric has reached `level` and stayed beyond `hold` for `patience` steps in a row, the first one counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trigger {
    pub side: Side,
    /// Where counting begins.
    pub level: f64,
    /// Where it is broken off. Between the two nothing changes (hysteresis), so that noise does not.
    pub hold: f64,
    pub patience: u64,
    /// Share of the old mean in the moving mean `m ← s m + (1 − s) x`; 0 takes the metric as it is.
    pub smoothing: f64,
}

/// How far a trigger is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerState {
    /// The moving mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Exact>,
    /// Steps in a row.
    pub held: u64,
}

impl Trigger {
    fn beyond(&self, value: f64, threshold: f64) -> bool {
        match self.side {
            Side::Above => value >= threshold,
            Side::Below => value <= threshold,
        }
    }
}

impl TriggerState {
    /// Counts a step, and says whether the trigger fires. A step without a value changes nothing.
    pub fn observe(&mut self, trigger: &Trigger, value: Option<f64>) -> bool {
        if let Some(value) = value {
            let mean = match self.mean {
                Some(Exact(mean)) => trigger.smoothing * mean + (1.0 - trigger.smoothing) * value,
                None => value,
            };
            self.mean = Some(Exact(mean));
            let threshold = if self.held == 0 {
                trigger.level
            } else {
                trigger.hold
            };
            self.held = match trigger.beyond(mean, threshold) {
                true => self.held + 1,
                false => 0,
            };
        }
        self.held >= trigger.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(trigger: &Trigger, values: &[f64]) -> Vec<bool> {
        let mut state = TriggerState::default();
        let observe = |value: &f64| state.observe(trigger, Some(*value));
        values.iter().map(observe).collect()
    }

    const PLAIN: Trigger = Trigger {
        side: Side::Above,
        level: 0.8,
        hold: 0.8,
        patience: 2,
        smoothing: 0.0,
    };

    #[test]
    fn patience_counts_steps_in_a_row() {
        assert_eq!(
            steps(&PLAIN, &[0.8, 0.7, 0.9, 0.8, 0.9]),
            [false, false, false, true, true]
        );
        let below = Trigger {
            side: Side::Below,
            ..PLAIN
        };
        assert_eq!(steps(&below, &[0.9, 0.8, 0.1]), [false, false, true]);
    }

    #[test]
    fn a_lower_threshold_keeps_what_the_upper_one_began() {
        let trigger = Trigger {
            hold: 0.6,
            patience: 3,
            ..PLAIN
        };
        // 0.7 does not begin, but it does not break off either.
        assert_eq!(
            steps(&trigger, &[0.7, 0.8, 0.7, 0.65, 0.5, 0.7]),
            [false, false, false, true, false, false]
        );
    }

    #[test]
    fn a_moving_mean_smooths_noise() {
        let trigger = Trigger {
            smoothing: 0.5,
            patience: 1,
            ..PLAIN
        };
        // Means 0, 0.5, 0.75, 0.875.
        assert_eq!(
            steps(&trigger, &[0.0, 1.0, 1.0, 1.0]),
            [false, false, false, true]
        );
        let mut state = TriggerState::default();
        state.observe(&trigger, Some(1.0));
        let before = state;
        assert!(state.observe(&trigger, None));
        assert_eq!(state, before);
    }
}
