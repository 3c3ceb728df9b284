//! Credit: from rewards to advantages. Pure functions of numbers, one concept a file.
//!
//! Rewards come in groups: `groups[i][j]` is the reward of sample `j` of prompt `i`. `None` marks an episode that no verifier
//! could judge: it takes no part in any statistic and gets advantage 0.

pub mod advantage_weighted;
pub mod baseline;
pub mod decoupled;
pub mod demonstration;
pub mod gae;
pub mod group_relative;
pub mod leave_one_out;
pub mod normalize;
pub mod pass_at_k;
pub mod reinforce;
pub mod siblings;
pub mod softmax;
pub mod task_spread;

pub use group_relative::{GroupScale, ScaleRewards, group_relative};

use serde::{Deserialize, Serialize};

/// Added to the standard deviation, as in TRL and VLM-R1. verl and EasyR1 add 1e-6.
pub const EPSILON: f64 = 1e-4;

/// How rewards become advantages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdvantageEstimator {
    /// Distance from the group's mean, divided as `scale_rewards` says (GRPO): [`group_relative()`].
    #[default]
    #[serde(alias = "grpo")]
    GroupRelative,
    /// Distance from the mean of the other samples: [`leave_one_out`].
    #[serde(alias = "rloo")]
    LeaveOneOut,
    /// The return itself, whitened over all tokens of the batch: [`reinforce::reinforce_plus_plus`].
    ReinforcePlusPlus,
    /// Distance from the group's mean, whitened over all tokens: [`reinforce::reinforce_plus_plus_baseline`].
    ReinforcePlusPlusBaseline,
    /// Distance from the reward of the greedy answer, which is sampled besides: [`baseline::remax`].
    Remax,
    /// Distance from the length-weighted mean of the group: [`baseline::length_weighted`].
    Opo,
    /// Distance from the group's mean, scaled up where rewards are rare: [`baseline::gpg`].
    Gpg,
    /// Only the best sample of a group learns, by its lead: [`pass_at_k`].
    #[serde(alias = "grpo_passk")]
    PassAtK,
    /// Distance from the group's mean in moving standard deviations of the task: [`task_spread::TaskSpread`].
    TaskSpread,
    /// Weights that sum to 1 in each group, for likelihood objectives: [`softmax`].
    Softmax,
    /// Generalised advantages over a value head (PPO): [`gae`].
    Gae,
    /// Positive weights that grow with the reward, for likelihood objectives: [`advantage_weighted`].
    Awr,
    /// The reward itself, without a baseline: [`advantage_weighted::reward_weighted`].
    Reward,
}

impl AdvantageEstimator {
    /// Whether a sample is only ever compared with others of its group, so that a group of one teaches nothing.
    pub fn needs_group(self) -> bool {
        !matches!(
            self,
            Self::ReinforcePlusPlus | Self::Remax | Self::Gae | Self::Awr | Self::Reward
        )
    }
}

/// The rewards that are known.
fn known(group: &[Option<f64>]) -> Vec<f64> {
    group.iter().copied().flatten().collect()
}

/// Mean and standard deviation with `n − ddof` in the divisor; zeros for what is not defined.
fn mean_spread(values: &[f64], ddof: usize) -> (f64, f64) {
    let n = values.len();
    if n == 0 {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    if n <= ddof {
        return (mean, 0.0);
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - ddof) as f64;
    (mean, variance.sqrt())
}

#[cfg(test)]
pub(crate) mod testing {
    /// Groups in which every reward is known.
    pub(crate) fn known_groups(groups: &[&[f64]]) -> Vec<Vec<Option<f64>>> {
        groups
            .iter()
            .map(|group| group.iter().copied().map(Some).collect())
            .collect()
    }

    /// Fails where two lists are more than `tolerance` apart.
    pub(crate) fn assert_near(got: &[f64], want: &[f64], tolerance: f64) {
        assert_eq!(got.len(), want.len());
        for (a, b) in got.iter().zip(want) {
            assert!((a - b).abs() <= tolerance, "{got:?}, expected {want:?}");
        }
    }
}
