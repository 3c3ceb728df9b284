//! Rows that failed come back after some steps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// When a failed row comes back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Steps after which it comes back.
    pub after: u64,
    /// How often it comes back at most until it succeeds.
    pub limit: u64,
    /// A row has failed when its mean success is below this.
    pub below: f64,
    /// Share of a batch that such rows take at most; the rest wait.
    pub share: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            after: 10,
            limit: 3,
            below: 0.5,
            share: 0.5,
        }
    }
}

/// Rows that wait.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryState {
    /// The step (from 0) from which on each may come back, and the row; in the order of their failures.
    pub waiting: Vec<(u64, usize)>,
    /// How often a row has come back or will, since it last succeeded.
    pub returns: BTreeMap<usize, u64>,
    /// Places of batches that went to such rows so far. The rows that would have had them come later.
    pub displaced: u64,
}

impl Retry {
    /// # Errors
    /// Says which key is wrong and how to mend it.
    pub fn check(&self) -> Result<(), String> {
        for (key, holds, mend) in [
            ("after", self.after > 0, "at least 1"),
            (
                "limit",
                self.limit > 0,
                "at least 1; leave `retry` out for none",
            ),
            (
                "below",
                self.below > 0.0 && self.below <= 1.0,
                "above 0 and at most 1",
            ),
            (
                "share",
                self.share > 0.0 && self.share <= 1.0,
                "above 0 and at most 1",
            ),
        ] {
            if !holds {
                return Err(format!("`sampler.retry.{key}` must be {mend}"));
            }
        }
        Ok(())
    }

    /// The rows that come back at step `step` in a batch of `size`: those that have waited longest, at least one where one is due.
    pub fn due(&self, state: &RetryState, step: u64, size: usize) -> Vec<usize> {
        let most = ((self.share * size as f64) as usize).max(1);
        let due = state.waiting.iter().filter(|(from, _)| *from <= step);
        due.map(|(_, row)| *row).take(most).collect()
    }

    /// Notes the rows that came back at step `step`, and what came of all rows: their success rates, where known.
    pub fn observe(
        &self,
        state: &mut RetryState,
        step: u64,
        returned: &[usize],
        seen: impl Iterator<Item = (usize, f64)>,
    ) {
        state.displaced += returned.len() as u64;
        state.waiting.retain(|(_, row)| !returned.contains(row));
        for (row, rate) in seen {
            if rate >= self.below {
                state.returns.remove(&row);
                state.waiting.retain(|(_, other)| *other != row);
                continue;
            }
            let waits = state.waiting.iter().any(|(_, other)| *other == row);
            let returns = state.returns.entry(row).or_default();
            if !waits && *returns < self.limit {
                *returns += 1;
                state.waiting.push((step + self.after, row));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_row_comes_back_so_often_and_no_more() {
        let retry = Retry {
            after: 2,
            limit: 2,
            below: 0.5,
            share: 0.5,
        };
        let mut state = RetryState::default();
        let step = |state: &mut RetryState, step: u64, rate: f64| {
            let due = retry.due(state, step, 4);
            let seen: Vec<(usize, f64)> = due.iter().map(|row| (*row, rate)).collect();
            retry.observe(state, step, &due, seen.into_iter());
            due
        };
        retry.observe(
            &mut state,
            0,
            &[],
            [(7, 0.25), (8, 0.5), (9, 0.0)].into_iter(),
        );
        assert_eq!(state.waiting, [(2, 7), (2, 9)]);
        assert!(step(&mut state, 1, 0.0).is_empty());
        // Both fail again, and a third time; then they are given up.
        assert_eq!(step(&mut state, 2, 0.0), [7, 9]);
        assert_eq!(step(&mut state, 4, 0.0), [7, 9]);
        assert!(state.waiting.is_empty());
        assert_eq!(state.displaced, 4);
        retry.observe(&mut state, 5, &[], [(7, 0.0)].into_iter());
        assert!(state.waiting.is_empty());
        // A success begins the count anew.
        retry.observe(&mut state, 6, &[], [(7, 1.0)].into_iter());
        retry.observe(&mut state, 7, &[], [(7, 0.0), (7, 0.0)].into_iter());
        assert_eq!(state.waiting, [(9, 7)]);
        // A success in between, and nothing has to come back.
        retry.observe(&mut state, 8, &[], [(7, 0.5)].into_iter());
        assert!(state.waiting.is_empty());
    }

    #[test]
    fn only_a_share_of_the_batch_comes_back() {
        let retry = Retry {
            share: 0.25,
            ..Retry::default()
        };
        let state = RetryState {
            waiting: (0..9).map(|row| (3, row)).collect(),
            ..RetryState::default()
        };
        assert_eq!(retry.due(&state, 3, 8), [0, 1]);
        assert_eq!(retry.due(&state, 3, 2), [0]);
        assert!(retry.due(&state, 2, 8).is_empty());
    }

    #[test]
    fn settings_without_sense_are_refused() {
        for (text, key) in [
            ("after = 0", "after"),
            ("limit = 0", "limit"),
            ("below = 0.0", "below"),
            ("share = 1.5", "share"),
        ] {
            let retry: Retry = toml::from_str(text).unwrap();
            assert!(retry.check().unwrap_err().contains(key), "{text}");
        }
    }
}
