//! The reward graph: every node judges the episode, and the weighted sum of their scores is the reward.

use std::collections::BTreeMap;

use ocelli_core::{Episode, Task, Verdict};

use crate::config::{Accepted, NodeConfig, OnError};
use crate::{RewardError, Verifier};

/// Checked nodes, ready to score.
///
/// ```
/// use ocelli_reward::{NodeConfig, RewardGraph};
///
/// let graph = RewardGraph::new(&[NodeConfig::new("box_iou"), NodeConfig::new("tags")]).unwrap();
/// assert_eq!(graph.node_names().collect::<Vec<_>>(), ["box_iou", "tags"]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RewardGraph {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
struct Node {
    name: String,
    weight: f64,
    when: Option<BTreeMap<String, Accepted>>,
    on_error: OnError,
    verifier: Verifier,
}

impl RewardGraph {
    /// Checks and builds a graph.
    ///
    /// # Errors
    /// When there is no node or none with a weight, or a node names an unknown verifier, sets a key that its verifier
    /// does not read, has a value out of range, or has the name of another.
    pub fn new(configs: &[NodeConfig]) -> Result<Self, RewardError> {
        let mut nodes: Vec<Node> = Vec::with_capacity(configs.len());
        for (second, config) in configs.iter().enumerate() {
            let node = Node::new(config, second)?;
            if let Some(first) = nodes.iter().position(|other| other.name == node.name) {
                return Err(RewardError::DuplicateName {
                    first,
                    second,
                    name: node.name,
                });
            }
            nodes.push(node);
        }
        if nodes.is_empty() {
            return Err(RewardError::NoNodes);
        }
        if nodes.iter().all(|node| node.weight == 0.0) {
            return Err(RewardError::NothingWeighted);
        }
        Ok(Self { nodes })
    }

    /// The nodes' names in the order of the recipe.
    pub fn node_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.nodes.iter().map(|node| node.name.as_str())
    }

    /// Judges `episode` and writes `outcome.verdicts`, one a node, and `outcome.reward`, over whatever stood there.
    ///
    /// The reward is Σ weight · score over the nodes that have scored, weight 0 left out. It is `None` when no such
    /// node applies to the row, and when one had an error and does not say `on_error = "zero"`.
    pub fn score(&self, episode: &mut Episode) {
        let verdicts: Vec<Verdict> = self.nodes.iter().map(|node| node.judge(episode)).collect();
        episode.outcome.reward = self.reward(&verdicts);
        episode.outcome.verdicts = self.node_names().map(str::to_owned).zip(verdicts).collect();
    }

    /// Scores each of `episodes`.
    pub fn score_all(&self, episodes: &mut [Episode]) {
        for episode in episodes {
            self.score(episode);
        }
    }

    fn reward(&self, verdicts: &[Verdict]) -> Option<f64> {
        let mut reward = None;
        for (node, verdict) in self.nodes.iter().zip(verdicts) {
            if node.weight == 0.0 {
                continue;
            }
            let score = match (verdict, node.on_error) {
                (Verdict::Score { value, .. }, _) => *value,
                (Verdict::Skip, _) => continue,
                (Verdict::Error(_), OnError::Zero) => 0.0,
                (Verdict::Error(_), OnError::Drop) => return None,
            };
            reward = Some(reward.unwrap_or(0.0) + node.weight * score);
        }
        reward
    }
}

impl Node {
    fn new(config: &NodeConfig, position: usize) -> Result<Self, RewardError> {
        Ok(Self {
            verifier: config.build(position)?,
            name: config.name().to_owned(),
            weight: config.weight,
            when: config.when.clone(),
            on_error: config.on_error.unwrap_or_default(),
        })
    }

    fn judge(&self, episode: &Episode) -> Verdict {
        if self.applies(&episode.task) {
            self.verifier.verify(episode)
        } else {
            Verdict::Skip
        }
    }

    /// Whether the row has every wanted tag with an accepted value.
    fn applies(&self, task: &Task) -> bool {
        self.when.iter().flatten().all(|(tag, accepted)| {
            task.tags
                .get(tag)
                .is_some_and(|value| accepted.holds(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{box_target, episode};

    const TURN: &str = "<think>a</think><answer>[0, 0, 10, 5]</answer>";

    fn graph(nodes: &str) -> RewardGraph {
        #[derive(serde::Deserialize)]
        struct Stage {
            reward: crate::RewardConfig,
        }
        let stage: Stage = toml::from_str(&format!("reward = [ {nodes} ]")).unwrap();
        RewardGraph::new(&stage.reward).unwrap()
    }

    fn scored(nodes: &str) -> Episode {
        let mut episode = episode(Some(box_target([0.0, 0.0, 10.0, 10.0])), TURN);
        graph(nodes).score(&mut episode);
        episode
    }

    #[test]
    fn sums_weighted_scores() {
        let episode = scored(
            r#"{ verifier = "box_iou", weight = 1.0 }, { verifier = "tags", weight = 0.5 },
               { verifier = "box_iou", name = "strict", threshold = 0.9, weight = -3.0 }"#,
        );
        assert_eq!(episode.outcome.reward, Some(0.5 + 0.5));
        assert_eq!(
            episode.outcome.verdicts,
            BTreeMap::from([
                ("box_iou".to_owned(), Verdict::score(0.5)),
                ("strict".to_owned(), Verdict::score(0.0)),
                ("tags".to_owned(), Verdict::score(1.0)),
            ])
        );
    }

    #[test]
    fn a_gate_skips_rows_without_the_tag() {
        for (when, reward) in [
            (r#"{ task = "ref" }"#, Some(1.5)),
            (r#"{ task = ["count", "ref"] }"#, Some(1.5)),
            (r#"{ task = ["count"] }"#, Some(1.0)),
            (r#"{ source = "digits" }"#, Some(1.0)),
            (r#"{ task = "ref", source = "digits" }"#, Some(1.0)),
        ] {
            let gated =
                format!(r#"{{ verifier = "tags" }}, {{ verifier = "box_iou", when = {when} }}"#);
            assert_eq!(scored(&gated).outcome.reward, reward, "{when}");
        }
    }

    #[test]
    fn no_node_no_reward() {
        let episode = scored(r#"{ verifier = "tags", when = { task = "count" } }"#);
        assert_eq!(episode.outcome.reward, None);
        assert_eq!(episode.outcome.verdicts["tags"], Verdict::Skip);
    }

    #[test]
    fn an_error_drops_the_episode_or_counts_as_zero() {
        for (setting, reward) in [
            ("", None),
            (r#", on_error = "drop""#, None),
            (r#", on_error = "zero""#, Some(1.0)),
            (", weight = 0.0", Some(1.0)),
        ] {
            let nodes = format!(r#"{{ verifier = "tags" }}, {{ verifier = "exact" {setting} }}"#);
            let episode = scored(&nodes);
            assert_eq!(episode.outcome.reward, reward, "{setting}");
            assert!(matches!(
                episode.outcome.verdicts["exact"],
                Verdict::Error(_)
            ));
        }
    }

    #[test]
    fn scoring_again_forgets_the_old_verdicts() {
        let mut episode = scored(r#"{ verifier = "box_iou" }"#);
        let graph = graph(r#"{ verifier = "tags" }"#);
        graph.score(&mut episode);
        let once = episode.clone();
        graph.score_all(std::slice::from_mut(&mut episode));
        assert_eq!(episode, once);
        assert_eq!(episode.outcome.verdicts.len(), 1);
        assert_eq!(episode.outcome.reward, Some(1.0));
    }

    #[test]
    fn a_saved_episode_scores_as_the_live_one() {
        let graph = graph(r#"{ verifier = "box_iou" }, { verifier = "tags", partial = true }"#);
        let mut live = episode(Some(box_target([0.0, 0.0, 10.0, 10.0])), TURN);
        let saved = serde_json::to_string(&live).unwrap();
        let mut read: Episode = serde_json::from_str(&saved).unwrap();
        graph.score(&mut live);
        graph.score(&mut read);
        assert_eq!(read, live);
    }

    #[test]
    fn bad_graphs_are_refused() {
        let named = |name: &str| NodeConfig {
            name: Some(name.to_owned()),
            ..NodeConfig::new("exact")
        };
        let watched = NodeConfig {
            weight: 0.0,
            ..NodeConfig::new("tags")
        };
        for (nodes, message) in [
            (vec![], "the reward has no verifier"),
            (vec![watched], "every reward node has weight 0"),
            (
                vec![NodeConfig::new("tags"), NodeConfig::new("tags")],
                "reward nodes 0 and 1 are both named `tags`; give one of them another `name`",
            ),
            (
                vec![NodeConfig::new("tags"), named("a"), named("tags")],
                "reward nodes 0 and 2 are both named `tags`",
            ),
            (
                vec![NodeConfig::new("tags"), NodeConfig::new("numbers")],
                "reward node 1: there is no verifier `numbers`; did you mean `number`?",
            ),
        ] {
            let error = RewardGraph::new(&nodes).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
