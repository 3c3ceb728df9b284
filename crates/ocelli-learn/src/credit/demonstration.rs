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
}
