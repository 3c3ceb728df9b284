//! A group that the demonstration joins (ViSurf): imitation and reinforcement in one loss.

use super::mean_spread;

/// Advantages of the samples and of the demonstration.
#[derive(Clone, Debug, PartialEq)]
pub struct AugmentedGroup {
    pub samples: Vec<f64>,
    pub demonstration: f64,
}

/// `A = (r − mean) / (σ + ε)` over samples and demonstration together, population σ. Where a sample is as good as the
/// demonstration, the demonstration's reward becomes the samples' mean: there is nothing left to imitate.
pub fn with_demonstration(samples: &[f64], demonstration: f64, epsilon: f64) -> AugmentedGroup {
    let (sample_mean, _) = mean_spread(samples, 0);
    let matched = samples.iter().any(|r| *r >= demonstration);
    let demonstration = if matched { sample_mean } else { demonstration };
    let all: Vec<f64> = samples.iter().copied().chain([demonstration]).collect();
    let (mean, std) = mean_spread(&all, 0);
    let scaled = |r: f64| (r - mean) / (std + epsilon);
    AugmentedGroup {
        samples: samples.iter().map(|r| scaled(*r)).collect(),
        demonstration: scaled(demonstration),
    }
}

/// [`with_demonstration`] of the groups whose last reward is a demonstration's; the same formula without one for the others. Episodes
/// without a reward take no part and get 0.
pub fn demonstrated_groups(
    groups: &[Vec<Option<f64>>],
    joined: &[bool],
    epsilon: f64,
) -> Vec<Vec<f64>> {
    let advantages = |(group, joined): (&Vec<Option<f64>>, &bool)| -> Vec<f64> {
        let known: Vec<f64> = group.iter().copied().flatten().collect();
        let demonstration = group.last().copied().flatten().filter(|_| *joined);
        let advantages = match demonstration {
            Some(own) => {
                let found = with_demonstration(&known[..known.len() - 1], own, epsilon);
                [found.samples, vec![found.demonstration]].concat()
            }
            None => {
                let (mean, std) = mean_spread(&known, 0);
                known.iter().map(|r| (r - mean) / (std + epsilon)).collect()
            }
        };
        let mut advantages = advantages.into_iter();
        group
            .iter()
            .map(|reward| reward.and_then(|_| advantages.next()).unwrap_or(0.0))
            .collect()
    };
    groups.iter().zip(joined).map(advantages).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_near;
    use super::*;

    #[test]
    fn all_wrong_learns_from_the_demonstration() {
        let group = with_demonstration(&[0.0; 4], 1.0, 0.0);
        assert!((group.demonstration - 2.0).abs() < 1e-12);
        assert_near(&group.samples, &[-0.5; 4], 1e-12);
    }

    #[test]
    fn a_matched_demonstration_has_nothing_to_say() {
        let group = with_demonstration(&[1.0, 0.0, 0.0, 0.0], 1.0, 1e-4);
        assert!(group.demonstration.abs() < 1e-12);
        assert!(group.samples[0] > 0.0 && group.samples[1] < 0.0);
    }

    #[test]
    fn groups_with_and_without_a_demonstration() {
        let groups = [
            vec![Some(0.0), None, Some(0.0), Some(0.0), Some(0.0), Some(1.0)],
            vec![Some(1.0), Some(0.0)],
            vec![Some(0.0), Some(0.0), None],
        ];
        let advantages = demonstrated_groups(&groups[..2], &[true, false], 0.0);
        assert_near(&advantages[0], &[-0.5, 0.0, -0.5, -0.5, -0.5, 2.0], 1e-12);
        assert_near(&advantages[1], &[1.0, -1.0], 1e-12);
        // Nothing is known of the demonstration, and nothing differs.
        assert_eq!(demonstrated_groups(&groups[2..], &[true], 1e-4), [[0.0; 3]]);
    }
}
