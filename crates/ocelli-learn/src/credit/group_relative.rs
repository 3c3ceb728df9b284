//! Group-relative advantages (GRPO; Shao et al. 2024, arXiv 2402.03300).

use serde::{Deserialize, Serialize};

use super::{EPSILON, known, mean_spread};

/// What a group's centred rewards are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// How centred rewards are divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupScale {
    pub by: ScaleRewards,
    /// Subtracted from the count in the variance: 1 in TRL, verl and EasyR1, 0 for the population's.
    pub ddof: usize,
    /// Added to the standard deviation: 1e-4 in TRL, 1e-6 in verl and EasyR1.
    pub epsilon: f64,
}

impl From<ScaleRewards> for GroupScale {
    fn from(by: ScaleRewards) -> Self {
        Self {
            by,
            ddof: 1,
            epsilon: EPSILON,
        }
    }
}

/// `A = (r − mean(r)) / (std(r) + ε)`, the mean over the group, the standard deviation as `scale` says.
///
/// A group of one gets 0; verl gives it its reward.
///
/// ```
/// use ocelli_learn::credit::{group_relative, ScaleRewards};
/// let a = group_relative(&[vec![Some(1.0), Some(0.0), None]], ScaleRewards::None.into());
/// assert_eq!(a, [[0.5, -0.5, 0.0]]);
/// ```
pub fn group_relative(groups: &[Vec<Option<f64>>], scale: GroupScale) -> Vec<Vec<f64>> {
    let all: Vec<f64> = groups.iter().flatten().copied().flatten().collect();
    let (_, batch_std) = mean_spread(&all, scale.ddof);
    groups
        .iter()
        .map(|group| {
            let (mean, std) = mean_spread(&known(group), scale.ddof);
            let divisor = match scale.by {
                ScaleRewards::Group => std + scale.epsilon,
                ScaleRewards::Batch => batch_std + scale.epsilon,
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
    use super::super::testing::known_groups;
    use super::*;

    #[test]
    fn a_worked_group() {
        // mean 0.5, unbiased std of (0, 0, 1, 1) = sqrt(1/3)
        let groups = known_groups(&[&[0.0, 0.0, 1.0, 1.0]]);
        let a = group_relative(&groups, ScaleRewards::Group.into());
        let want = 0.5 / ((1.0f64 / 3.0).sqrt() + 1e-4);
        for (got, want) in a[0].iter().zip([-want, -want, want, want]) {
            assert!((got - want).abs() < 1e-12);
        }
        let population = GroupScale {
            ddof: 0,
            epsilon: 0.0,
            by: ScaleRewards::Group,
        };
        assert_eq!(
            group_relative(&groups, population)[0],
            [-1.0, -1.0, 1.0, 1.0]
        );
    }

    #[test]
    fn a_dead_group_gets_no_advantage() {
        let a = group_relative(
            &[vec![Some(0.7); 4], vec![Some(0.3)], vec![None, None]],
            ScaleRewards::Group.into(),
        );
        assert!(a.iter().flatten().all(|&a| a == 0.0));
    }

    #[test]
    fn batch_scale_divides_by_the_spread_of_all() {
        let groups = known_groups(&[&[0.0, 1.0], &[2.0, 3.0]]);
        let a = group_relative(&groups, ScaleRewards::Batch.into());
        let std = (5.0f64 / 3.0).sqrt() + 1e-4;
        assert!((a[1][1] - 0.5 / std).abs() < 1e-12);
    }
}
