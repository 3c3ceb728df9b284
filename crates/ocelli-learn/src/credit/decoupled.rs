//! Several rewards, each normalised by itself before they are added: none drowns the others because its numbers are larger.

use serde::{Deserialize, Serialize};

use super::normalize::normalize_batch;
use super::{EPSILON, GroupScale, ScaleRewards, group_relative};

/// In which order several rewards are added and normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MultiObjectiveAggregation {
    /// The weighted sum is normalised.
    #[default]
    SumThenNormalize,
    /// Each reward is normalised in its group, then their weighted sum over the batch (GDPO): [`gdpo`].
    NormalizeThenSum,
}

/// Weighted sum of each reward's own group z-score. `scores[k]` are the groups of reward `k`; an episode that reward `k` does not
/// judge gets nothing from it. With one reward of weight 1 this is [`group_relative()`]. With weights `1/K` it is the variant of
/// Jigsaw-R1 (arXiv 2505.23590).
pub fn sum_of_z_scores(
    scores: &[Vec<Vec<Option<f64>>>],
    weights: &[f64],
    scale: GroupScale,
) -> Vec<Vec<f64>> {
    let mut total: Vec<Vec<f64>> = scores.first().map_or(Vec::new(), |groups| {
        groups.iter().map(|g| vec![0.0; g.len()]).collect()
    });
    for (groups, weight) in scores.iter().zip(weights) {
        let z = group_relative(groups, scale);
        for (sum, z) in total.iter_mut().flatten().zip(z.iter().flatten()) {
            *sum += weight * z;
        }
    }
    total
}

/// GDPO (TRL's `multi_objective_aggregation = "normalize_then_sum"`): [`sum_of_z_scores`], then a z-score over the whole batch. Both
/// divide by the unbiased standard deviation + 1e-4. Episodes that no reward judges get 0.
pub fn gdpo(scores: &[Vec<Vec<Option<f64>>>], weights: &[f64]) -> Vec<Vec<f64>> {
    let sum = sum_of_z_scores(scores, weights, ScaleRewards::Group.into());
    let judged = |i: usize, j: usize| scores.iter().any(|groups| groups[i][j].is_some());
    normalize_batch(&sum, judged, EPSILON)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, known_groups};
    use super::*;

    #[test]
    fn one_reward_is_the_plain_z_score() {
        let groups = vec![
            vec![Some(0.1), Some(0.9), None],
            vec![Some(1.0), Some(0.0), Some(0.0)],
        ];
        let plain = group_relative(&groups, ScaleRewards::Group.into());
        assert_eq!(
            sum_of_z_scores(
                std::slice::from_ref(&groups),
                &[1.0],
                ScaleRewards::Group.into()
            ),
            plain
        );
        let judged = |i: usize, j: usize| groups[i][j].is_some();
        assert_eq!(
            gdpo(std::slice::from_ref(&groups), &[1.0]),
            normalize_batch(&plain, judged, EPSILON)
        );
    }

    #[test]
    fn the_size_of_a_reward_does_not_matter() {
        let small = known_groups(&[&[1.0, 0.0, 0.0], &[0.0, 1.0, 1.0]]);
        let large: Vec<Vec<Option<f64>>> = small
            .iter()
            .map(|g| g.iter().map(|r| r.map(|r| 1e3 * (1.0 - r))).collect())
            .collect();
        let a = gdpo(&[small, large], &[1.0, 1.0]);
        // 1e-4 in the divisor leaves a trace of the sizes, which the batch's z-score blows up; the sums themselves nearly cancel.
        assert!(a.iter().flatten().all(|a| a.is_finite()));
        let sums = sum_of_z_scores(
            &[known_groups(&[&[1.0, 0.0]]), known_groups(&[&[0.0, 1e3]])],
            &[1.0, 1.0],
            ScaleRewards::Group.into(),
        );
        assert_near(&sums[0], &[0.0, 0.0], 1e-3);
    }
}
