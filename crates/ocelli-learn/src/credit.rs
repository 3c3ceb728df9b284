//! Credit: from rewards to advantages. Pure functions of numbers.

use ocelli_core::metrics::mean_std;

/// Added to the standard deviation, as in TRL and VLM-R1.
pub const EPSILON: f64 = 1e-4;

/// What a group's centred rewards are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleRewards {
    /// The group's own standard deviation (GRPO; Shao et al. 2024, equation 3 and what follows it).
    #[default]
    Group,
    /// The standard deviation over the whole batch.
    Batch,
    /// Nothing (Dr. GRPO; Liu et al. 2025).
    None,
}

/// Group-relative advantages `A = (r − mean(r)) / (std(r) + 1e-4)`, standard deviations unbiased (n − 1).
///
/// `groups` holds each group's rewards; `None` marks an episode no verifier could judge: it is left out of mean and standard
/// deviation and gets advantage 0.
///
/// ```
/// use ocelli_learn::credit::{group_relative, ScaleRewards};
/// let a = group_relative(&[vec![Some(1.0), Some(0.0), None]], ScaleRewards::None);
/// assert_eq!(a, [[0.5, -0.5, 0.0]]);
/// ```
pub fn group_relative(groups: &[Vec<Option<f64>>], scale: ScaleRewards) -> Vec<Vec<f64>> {
    let all: Vec<f64> = groups.iter().flatten().copied().flatten().collect();
    let (_, batch_std) = mean_std(&all);
    groups
        .iter()
        .map(|group| {
            let known: Vec<f64> = group.iter().copied().flatten().collect();
            let (mean, std) = mean_std(&known);
            let divisor = match scale {
                ScaleRewards::Group => std + EPSILON,
                ScaleRewards::Batch => batch_std + EPSILON,
                ScaleRewards::None => 1.0,
            };
            group
                .iter()
                .map(|reward| reward.map_or(0.0, |r| (r - mean) / divisor))
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_group() {
        // mean 0.5, unbiased std of (0, 0, 1, 1) = sqrt(1/3)
        let a = group_relative(
            &[vec![Some(0.0), Some(0.0), Some(1.0), Some(1.0)]],
            ScaleRewards::Group,
        );
        let want = 0.5 / ((1.0f64 / 3.0).sqrt() + 1e-4);
        for (got, want) in a[0].iter().zip([-want, -want, want, want]) {
            assert!((got - want).abs() < 1e-12);
        }
    }

    #[test]
    fn a_dead_group_gets_no_advantage() {
        let a = group_relative(
            &[vec![Some(0.7); 4], vec![Some(0.3)], vec![None, None]],
            ScaleRewards::Group,
        );
        assert!(a.iter().flatten().all(|&a| a == 0.0));
    }

    #[test]
    fn batch_scale_divides_by_the_spread_of_all() {
        let groups = [vec![Some(0.0), Some(1.0)], vec![Some(2.0), Some(3.0)]];
        let a = group_relative(&groups, ScaleRewards::Batch);
        let std = (5.0f64 / 3.0).sqrt() + 1e-4;
        assert!((a[1][1] - 0.5 / std).abs() < 1e-12);
    }
}
