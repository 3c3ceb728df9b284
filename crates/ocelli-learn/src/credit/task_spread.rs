//! EMA-GRPO (OneThinker): distances from the group's mean, in units of a moving standard deviation of the task.
//!
//! Tasks whose rewards vary little in every group and tasks whose rewards are all or nothing then pull with comparable force, and
//! groups of one task keep their own weights.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{GroupScale, ScaleRewards, group_relative, known, mean_spread};

/// Moving first and second moments of each task's rewards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskSpread {
    moments: BTreeMap<String, [f64; 2]>,
}

/// Settings of [`TaskSpread::advantages`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskSpreadRule {
    /// Share of the old moments that is kept; 0.99.
    pub decay: f64,
    /// Smallest standard deviation; 1e-3.
    pub floor: f64,
    /// A group with a larger |A| falls back to its own standard deviation; 5.
    pub limit: f64,
}

impl Default for TaskSpreadRule {
    fn default() -> Self {
        Self {
            decay: 0.99,
            floor: 1e-3,
            limit: 5.0,
        }
    }
}

impl TaskSpread {
    /// `A = (r − mean of the group) / σ of the task`. The moments take in the batch first, as the released code does (its comment
    /// says the opposite); a task's first batch sets them. `tasks` names each group's task.
    pub fn advantages(
        &mut self,
        groups: &[Vec<Option<f64>>],
        tasks: &[&str],
        rule: TaskSpreadRule,
    ) -> Vec<Vec<f64>> {
        let mut rewards: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (group, task) in groups.iter().zip(tasks) {
            rewards.entry(task).or_default().extend(known(group));
        }
        for (task, rewards) in rewards {
            self.update(task, &rewards, rule.decay);
        }
        groups
            .iter()
            .zip(tasks)
            .map(|(group, task)| {
                let (mean, _) = mean_spread(&known(group), 1);
                let sigma = self.sigma(task, rule.floor);
                let scaled: Vec<f64> = group
                    .iter()
                    .map(|r| r.map_or(0.0, |r| (r - mean) / sigma))
                    .collect();
                if scaled.iter().any(|a| a.abs() > rule.limit) {
                    let own = GroupScale::from(ScaleRewards::Group);
                    return group_relative(std::slice::from_ref(group), own).remove(0);
                }
                scaled
            })
            .collect()
    }

    fn update(&mut self, task: &str, rewards: &[f64], decay: f64) {
        if rewards.is_empty() {
            return;
        }
        let n = rewards.len() as f64;
        let batch = [1, 2].map(|power| rewards.iter().map(|r| r.powi(power)).sum::<f64>() / n);
        self.moments
            .entry(task.to_owned())
            .and_modify(|moments| {
                for (old, new) in moments.iter_mut().zip(batch) {
                    *old = decay * *old + (1.0 - decay) * new;
                }
            })
            .or_insert(batch);
    }

    /// The task's moving standard deviation, at least `floor`; 1 for a task without rewards so far.
    pub fn sigma(&self, task: &str, floor: f64) -> f64 {
        self.moments.get(task).map_or(1.0, |[first, second]| {
            (second - first * first).max(0.0).sqrt().max(floor)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, known_groups};
    use super::*;

    #[test]
    fn two_batches_of_one_task() {
        let mut spread = TaskSpread::default();
        let rule = TaskSpreadRule::default();
        let first = spread.advantages(&known_groups(&[&[0.0, 1.0, 0.0, 1.0]]), &["qa"], rule);
        assert_near(&first[0], &[-1.0, 1.0, -1.0, 1.0], 1e-12);
        // moments .5 and .99·.5 + .01·.26, σ = .49759
        let second = spread.advantages(&known_groups(&[&[0.4, 0.6, 0.4, 0.6]]), &["qa"], rule);
        assert!((spread.sigma("qa", 0.0) - 0.2476f64.sqrt()).abs() < 1e-12);
        assert_near(
            &second[0],
            &[-0.200_966, 0.200_966, -0.200_966, 0.200_966],
            1e-5,
        );
    }

    #[test]
    fn a_group_too_far_out_uses_its_own_spread() {
        let mut spread = TaskSpread::default();
        let rule = TaskSpreadRule::default();
        spread.advantages(&known_groups(&[&[0.5, 0.5, 0.5, 0.7]]), &["box"], rule);
        let group = known_groups(&[&[0.0, 1.0]]);
        let a = spread.advantages(&group, &["box"], rule);
        assert_eq!(a, group_relative(&group, ScaleRewards::Group.into()));
    }

    #[test]
    fn tasks_do_not_mix() {
        let mut spread = TaskSpread::default();
        let groups = known_groups(&[&[0.0, 1.0], &[0.4, 0.6]]);
        let a = spread.advantages(&groups, &["qa", "box"], TaskSpreadRule::default());
        assert_near(&a.concat(), &[-1.0, 1.0, -1.0, 1.0], 1e-9);
    }
}
