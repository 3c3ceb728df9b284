//! Weights of answers that nobody has to have sampled just now: advantage-weighted regression (Peng et al. 2019, arXiv 1910.00177).

use super::known;
use crate::objective::likelihood::advantage_weights;

/// `w = min(e^{(r − b) / temperature}, cap)` (equation 9), for `−w log π`. The baseline `b` is the mean of the group, or, where a prompt has one judged answer alone, of
/// all rewards; the paper's is a value function. All weights are positive, so every answer is imitated, good ones more; answers without a
/// reward get 0.
pub fn advantage_weighted(
    groups: &[Vec<Option<f64>>],
    temperature: f64,
    cap: f64,
) -> Vec<Vec<f64>> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let all: Vec<f64> = groups.iter().flatten().copied().flatten().collect();
    groups
        .iter()
        .map(|group| {
            let own = known(group);
            let baseline = if own.len() > 1 {
                mean(&own)
            } else {
                mean(&all)
            };
            let weight = |reward: &Option<f64>| {
                reward.map_or(0.0, |r| {
                    advantage_weights(&[r - baseline], temperature, cap)[0]
                })
            };
            group.iter().map(weight).collect()
        })
        .collect()
}

/// The reward itself as the weight; 0 where there is none. With rewards of 0 and 1 it is imitation of the right answers.
pub fn reward_weighted(groups: &[Vec<Option<f64>>]) -> Vec<Vec<f64>> {
    let weight = |reward: &Option<f64>| reward.unwrap_or(0.0);
    groups
        .iter()
        .map(|group| group.iter().map(weight).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, known_groups};
    use super::*;

    #[test]
    fn a_worked_batch() {
        let mut groups = known_groups(&[&[1.0, 0.0], &[0.5]]);
        groups[1].push(None);
        let found = advantage_weighted(&groups, 0.5, 20.0);
        // Group means 0.5 and, for the single answer, the batch's 0.5.
        assert_near(&found[0], &[1f64.exp(), (-1f64).exp()], 1e-12);
        assert_near(&found[1], &[1.0, 0.0], 1e-12);
        assert_eq!(advantage_weighted(&groups, 0.01, 20.0)[0][0], 20.0);
    }

    #[test]
    fn a_high_temperature_is_imitation() {
        let groups = known_groups(&[&[1.0, 0.0, -3.0]]);
        assert_near(&advantage_weighted(&groups, 1e12, 20.0)[0], &[1.0; 3], 1e-9);
    }

    #[test]
    fn rewards_of_zero_and_one_filter() {
        let mut groups = known_groups(&[&[1.0, 0.0]]);
        groups[0].push(None);
        assert_eq!(reward_weighted(&groups), [[1.0, 0.0, 0.0]]);
    }
}
