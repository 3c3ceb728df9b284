//! Other baselines: the greedy answer, the length-weighted mean, rare rewards scaled up, a moving average by role.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{known, mean_spread};

/// ReMax (Li et al. 2023, arXiv 2310.10505, algorithm 1): `A = r − r_greedy`, the reward of the greedy answer to the same
/// prompt. A prompt whose greedy answer could not be judged gets 0.
pub fn remax(groups: &[Vec<Option<f64>>], greedy: &[Option<f64>]) -> Vec<Vec<f64>> {
    groups
        .iter()
        .zip(greedy)
        .map(|(group, greedy)| {
            let advantage = |r: &Option<f64>| r.zip(*greedy).map_or(0.0, |(r, b)| r - b);
            group.iter().map(advantage).collect()
        })
        .collect()
}

/// OPO (Hao et al. 2025, arXiv 2505.23585): `A = r − Σ l r / Σ l` with the lengths `l` in tokens, the baseline of least
/// variance when gradients grow with length.
pub fn length_weighted(groups: &[Vec<Option<f64>>], lengths: &[Vec<usize>]) -> Vec<Vec<f64>> {
    groups
        .iter()
        .zip(lengths)
        .map(|(group, lengths)| {
            let judged = || {
                group
                    .iter()
                    .zip(lengths)
                    .filter_map(|(r, l)| Some((r.as_ref()?, *l as f64)))
            };
            let total: f64 = judged().map(|(_, l)| l).sum();
            let baseline = match total {
                0.0 => mean_spread(&known(group), 1).0,
                _ => judged().map(|(r, l)| r * l).sum::<f64>() / total,
            };
            group
                .iter()
                .map(|r| r.map_or(0.0, |r| r - baseline))
                .collect()
        })
        .collect()
}

/// GPG (Chu et al. 2025, arXiv 2504.02546), as in verl: `A = α (r − mean(r))` with α = judged episodes of the batch / those with
/// a reward other than 0.
pub fn gpg(groups: &[Vec<Option<f64>>]) -> Vec<Vec<f64>> {
    let all: Vec<f64> = groups.iter().flatten().copied().flatten().collect();
    let rewarded = all.iter().filter(|r| **r != 0.0).count().max(1);
    let alpha = all.len() as f64 / rewarded as f64;
    groups
        .iter()
        .map(|group| {
            let (mean, _) = mean_spread(&known(group), 1);
            group
                .iter()
                .map(|r| r.map_or(0.0, |r| alpha * (r - mean)))
                .collect()
        })
        .collect()
}

/// Role advantage estimation (Vision-Zero, arXiv 2509.25541): a moving average of each role's rewards is its baseline,
/// `b ← α b + (1 − α) r`, then `A = r − b`. Needs no group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleBaseline {
    /// α; 0.95 in the paper, 0.9 in its code.
    pub decay: f64,
    baselines: BTreeMap<String, f64>,
}

impl RoleBaseline {
    /// Baselines of 0.
    pub fn new(decay: f64) -> Self {
        Self {
            decay,
            baselines: BTreeMap::new(),
        }
    }

    /// Takes in the rewards of one role and returns their advantages; the baseline moves once, by their mean.
    pub fn advantages(&mut self, role: &str, rewards: &[f64]) -> Vec<f64> {
        let baseline = self.baselines.entry(role.to_owned()).or_default();
        if !rewards.is_empty() {
            *baseline = self.decay * *baseline + (1.0 - self.decay) * mean_spread(rewards, 1).0;
        }
        rewards.iter().map(|r| r - *baseline).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, known_groups};
    use super::super::{ScaleRewards, group_relative};
    use super::*;

    #[test]
    fn remax_compares_with_the_greedy_answer() {
        let groups = known_groups(&[&[1.0, 0.0], &[1.0]]);
        assert_eq!(
            remax(&groups, &[Some(0.25), None]),
            [vec![0.75, -0.25], vec![0.0]]
        );
    }

    #[test]
    fn equal_lengths_make_the_weighted_baseline_the_mean() {
        let groups = known_groups(&[&[1.0, 0.0, 0.5]]);
        let centred = group_relative(&groups, ScaleRewards::None.into());
        assert_near(
            &length_weighted(&groups, &[vec![7; 3]])[0],
            &centred[0],
            1e-12,
        );
        // (3·1 + 1·0) / 4
        assert_near(
            &length_weighted(&known_groups(&[&[1.0, 0.0]]), &[vec![3, 1]])[0],
            &[0.25, -0.75],
            1e-12,
        );
    }

    #[test]
    fn gpg_scales_by_the_share_of_rewarded_episodes() {
        let a = gpg(&known_groups(&[&[1.0, 0.0], &[0.0, 0.0]]));
        assert_near(&a.concat(), &[2.0, -2.0, 0.0, 0.0], 1e-12);
        let all = known_groups(&[&[1.0, 2.0]]);
        assert_eq!(gpg(&all), group_relative(&all, ScaleRewards::None.into()));
    }

    #[test]
    fn a_role_keeps_its_own_baseline() {
        let mut roles = RoleBaseline::new(0.9);
        assert_near(&roles.advantages("spy", &[1.0]), &[0.9], 1e-12);
        assert_near(&roles.advantages("spy", &[1.0]), &[0.81], 1e-12);
        assert_near(&roles.advantages("civilian", &[-1.0]), &[-0.9], 1e-12);
    }
}
