//! Dynamic sampling (DAPO; Yu et al. 2025, arXiv 2503.14476, section 3.2): groups that teach nothing are replaced by others.

use ocelli_rollout::Group;
use serde::{Deserialize, Serialize};

/// Which groups a step learns from, and how long it looks for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterGroups {
    /// Batches of prompts that a step samples at most until it has `batch.size` groups; then it learns from those it has.
    pub max_num_gen_batches: usize,
    /// The group's mean reward must be above this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_low: Option<f64>,
    /// The group's mean reward must be below this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_high: Option<f64>,
}

impl Default for FilterGroups {
    fn default() -> Self {
        Self {
            max_num_gen_batches: 10,
            filter_low: None,
            filter_high: None,
        }
    }
}

impl FilterGroups {
    /// # Errors
    /// Says which key is wrong in groups of `num_generations`, and how to mend it.
    pub fn check(&self, num_generations: usize) -> Result<(), String> {
        let bounds = [self.filter_low, self.filter_high];
        if self.max_num_gen_batches == 0 {
            return Err("`rollout.filter_groups.max_num_gen_batches` must be at least 1".into());
        }
        if bounds.iter().flatten().any(|bound| !bound.is_finite()) {
            return Err("`rollout.filter_groups`: the bounds must be numbers".into());
        }
        if let [Some(low), Some(high)] = bounds
            && low >= high
        {
            return Err(format!(
                "`rollout.filter_groups`: `filter_low = {low}` must be below `filter_high = {high}`"
            ));
        }
        if bounds == [None; 2] && num_generations < 2 {
            return Err(
                "`rollout.filter_groups` keeps groups whose rewards differ, and a group of one has none: give `filter_low` or \
                 `filter_high`, or raise `num_generations`"
                    .into(),
            );
        }
        Ok(())
    }

    /// Whether a group teaches: its mean reward is between the bounds (EasyR1's rule); without bounds, its rewards differ (verl's).
    /// Rewards that nothing could judge are left out.
    pub fn keeps(&self, rewards: impl Iterator<Item = Option<f64>>) -> bool {
        let known: Vec<f64> = rewards.flatten().collect();
        let Some(first) = known.first() else {
            return false;
        };
        match (self.filter_low, self.filter_high) {
            (None, None) => known.iter().any(|reward| reward != first),
            (low, high) => {
                let mean = known.iter().sum::<f64>() / known.len() as f64;
                low.is_none_or(|low| mean > low) && high.is_none_or(|high| mean < high)
            }
        }
    }

    pub(super) fn keeps_group(&self, group: &Group) -> bool {
        self.keeps(group.episodes.iter().map(|episode| episode.outcome.reward))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps(filter: &FilterGroups, rewards: &[f64]) -> bool {
        filter.keeps(rewards.iter().copied().map(Some))
    }

    #[test]
    fn groups_are_kept_by_spread_or_by_mean() {
        let spread = FilterGroups::default();
        assert!(keeps(&spread, &[0.0, 0.0, 1.0]));
        assert!(!keeps(&spread, &[1.0, 1.0]));
        assert!(!spread.keeps([None, Some(1.0), Some(1.0)].into_iter()));
        assert!(!spread.keeps([None, None].into_iter()));
        let mean = FilterGroups {
            filter_low: Some(0.01),
            filter_high: Some(0.99),
            ..FilterGroups::default()
        };
        assert!(keeps(&mean, &[0.5, 0.5]));
        assert!(!keeps(&mean, &[0.0, 0.0]));
        assert!(!keeps(&mean, &[1.0, 1.0]));
        // Bounds are not part of what is kept.
        let low = FilterGroups {
            filter_low: Some(0.5),
            ..FilterGroups::default()
        };
        assert!(!keeps(&low, &[0.5]) && keeps(&low, &[0.75]));
    }

    #[test]
    fn settings_without_sense_are_refused() {
        for (keys, size, words) in [
            ("max_num_gen_batches = 0", 8, "at least 1"),
            ("filter_low = nan", 8, "must be numbers"),
            ("filter_low = 0.5\nfilter_high = 0.5", 8, "must be below"),
            ("", 1, "group of one"),
        ] {
            let filter: FilterGroups = toml::from_str(keys).unwrap();
            let error = filter.check(size).unwrap_err();
            assert!(error.contains(words), "{keys}: {error}");
        }
        let filter: FilterGroups = toml::from_str("filter_low = 0.1").unwrap();
        filter.check(1).unwrap();
    }
}
