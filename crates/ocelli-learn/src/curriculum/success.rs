//! How far an answer was right: a number from 0 to 1.

use ocelli_core::{Outcome, Progress};
use ocelli_reward::RewardGraph;

/// What counts as success. Without a node, the reward as a share of the largest one, the sum of the positive weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SuccessRule {
    /// The reward node whose score counts instead of the reward.
    pub node: Option<String>,
    /// From which value on an answer is right, and wrong below it; without it, values between 0 and 1 count as they are.
    pub threshold: Option<f64>,
}

impl SuccessRule {
    /// The success of an answer; `None` where nothing could judge it. `largest` is the largest reward.
    pub fn of(&self, outcome: &Outcome, largest: f64) -> Option<f64> {
        let value = match &self.node {
            Some(node) => outcome.verdicts.get(node)?.value()?,
            None => outcome.reward? / if largest > 0.0 { largest } else { 1.0 },
        };
        Some(match self.threshold {
            Some(threshold) => f64::from(value >= threshold),
            None => value.clamp(0.0, 1.0),
        })
    }
}

/// The sum of a graph's positive weights.
pub fn largest_reward(graph: &RewardGraph, progress: Progress) -> f64 {
    graph
        .weights(progress)
        .into_iter()
        .map(|weight| weight.max(0.0))
        .sum()
}

#[cfg(test)]
mod tests {
    use ocelli_core::Verdict;

    use super::*;

    #[test]
    fn a_share_of_the_reward_a_score_or_a_threshold() {
        let outcome = Outcome {
            verdicts: [
                ("box_iou".to_owned(), Verdict::score(0.75)),
                ("tags".to_owned(), Verdict::Skip),
            ]
            .into(),
            reward: Some(1.0),
            ..Outcome::default()
        };
        let rule = |node: Option<&str>, threshold| SuccessRule {
            node: node.map(str::to_owned),
            threshold,
        };
        let of = |node, threshold| rule(node, threshold).of(&outcome, 2.0);
        assert_eq!(of(None, None), Some(0.5));
        assert_eq!(of(Some("box_iou"), None), Some(0.75));
        assert_eq!(of(Some("box_iou"), Some(0.5)), Some(1.0));
        assert_eq!(of(None, Some(0.6)), Some(0.0));
        assert_eq!(of(Some("tags"), None), None);
        assert_eq!(rule(None, None).of(&Outcome::default(), 2.0), None);
        // Penalties may push a reward below 0, and a graph may have none but penalties.
        let bad = Outcome {
            reward: Some(-0.5),
            ..Outcome::default()
        };
        assert_eq!(rule(None, None).of(&bad, 0.0), Some(0.0));
    }
}
