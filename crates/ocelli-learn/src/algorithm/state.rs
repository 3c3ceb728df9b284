//! What an algorithm remembers, and what its moving weights are now.

use serde::{Deserialize, Serialize};

use super::{Algorithm, EntropyBonus, KlIn, KlTerm};
use crate::alarms::AlarmState;
use crate::credit::task_spread::TaskSpread;
use crate::objective::entropy::AdaptiveEntropy;
use crate::objective::kl::AdaptiveKl;

/// What an algorithm remembers from step to step; kept in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlgorithmState {
    pub task_spread: TaskSpread,
    pub entropy: Option<AdaptiveEntropy>,
    pub kl: Option<AdaptiveKl>,
    /// What the alarms of the stage compare with; checkpoints keep it in a file of its own.
    #[serde(skip)]
    pub alarms: AlarmState,
}

impl Algorithm {
    /// Weight of the KL penalty now.
    pub fn beta(&self, state: &AlgorithmState) -> f64 {
        let first = self.kl.map_or(0.0, |kl| kl.beta);
        state.kl.map_or(first, |adaptive| adaptive.coefficient)
    }

    /// Weight of the entropy bonus now.
    pub fn entropy_coefficient(&self, state: &AlgorithmState) -> f64 {
        match self.entropy {
            None => 0.0,
            Some(EntropyBonus {
                coefficient,
                adaptive: None,
            }) => coefficient,
            Some(EntropyBonus {
                adaptive: Some(rule),
                ..
            }) => state.entropy.map_or(0.0, |adaptive| adaptive.active(rule)),
        }
    }

    /// Whether tokens are chosen by what the model says of the whole batch, which takes a pass of its own.
    pub fn looks_ahead(&self) -> bool {
        self.top_entropy_quantile < 1.0
            || self.covariance.is_some()
            || self.off_policy_mask_threshold.is_some()
    }

    /// The KL penalty, when it stands in the loss.
    pub fn kl_in_loss(&self) -> Option<KlTerm> {
        self.kl.filter(|kl| kl.place == KlIn::Loss)
    }

    /// The KL penalty, when it is taken from the reward.
    pub fn kl_in_reward(&self) -> Option<KlTerm> {
        self.kl.filter(|kl| kl.place == KlIn::Reward)
    }
}
