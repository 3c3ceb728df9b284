//! What the server scores with: the one place that knows the reward graph.

use ocelli_core::Episode;

use crate::suggest::closest;
use crate::{NodeConfig, RewardError, RewardGraph};

/// Scores recorded episodes for a server.
pub trait Grader: Send + Sync {
    /// The nodes' names in the order of the recipe.
    fn node_names(&self) -> Vec<String>;

    /// A grader of the named nodes only. Their names may repeat; their order does not count.
    ///
    /// # Errors
    /// When a name is unknown: the message names it and the nearest known one.
    fn select(&self, names: &[String]) -> Result<Box<dyn Grader>, String>;

    /// Whether the node compares boxes, so that a gold answer that came as a text must be read as one.
    fn judges_boxes(&self, node: &str) -> bool;

    /// Writes `outcome.verdicts` and `outcome.reward` of each of `episodes`, which form one group.
    fn grade(&self, episodes: &mut [Episode]);
}

/// A [`Grader`] that is a reward graph.
pub struct GraphGrader {
    configs: Vec<NodeConfig>,
    graph: RewardGraph,
    /// Whether a node has a weight. A choice of watched nodes has verdicts and no reward.
    rewarded: bool,
}

impl GraphGrader {
    /// Checks and builds the graph.
    ///
    /// # Errors
    /// As [`RewardGraph::new`].
    pub fn new(configs: &[NodeConfig]) -> Result<Self, RewardError> {
        Ok(Self {
            graph: RewardGraph::new(configs)?,
            configs: configs.to_vec(),
            rewarded: true,
        })
    }
}

impl Grader for GraphGrader {
    fn node_names(&self) -> Vec<String> {
        self.graph.node_names().map(str::to_owned).collect()
    }

    fn select(&self, names: &[String]) -> Result<Box<dyn Grader>, String> {
        let known = self.node_names();
        if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
            let known = known.iter().map(String::as_str);
            let hint = closest(unknown, known.clone()).map_or_else(
                || format!("there are: {}", Vec::from_iter(known).join(", ")),
                |name| format!("did you mean `{name}`?"),
            );
            return Err(format!("there is no reward node `{unknown}`; {hint}"));
        }
        let mut configs = self.configs.clone();
        configs.retain(|config| names.iter().any(|name| name == config.name()));
        let rewarded = configs.iter().any(|config| config.weight != 0.0);
        if !rewarded {
            // The graph takes no list without a weight; `grade` takes the reward away again.
            configs.iter_mut().for_each(|config| config.weight = 1.0);
        }
        Ok(Box::new(Self {
            graph: RewardGraph::new(&configs).map_err(|error| error.to_string())?,
            configs,
            rewarded,
        }))
    }

    fn judges_boxes(&self, node: &str) -> bool {
        let mut configs = self.configs.iter();
        configs.any(|config| config.name() == node && config.verifier == "box_iou")
    }

    fn grade(&self, episodes: &mut [Episode]) {
        self.graph.score_all(episodes);
        if !self.rewarded {
            for episode in episodes {
                episode.outcome.reward = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{episode, text_target};

    fn grader() -> GraphGrader {
        GraphGrader::new(&[
            NodeConfig::new("exact"),
            NodeConfig {
                weight: 0.5,
                ..NodeConfig::new("tags")
            },
            NodeConfig {
                weight: 0.0,
                ..NodeConfig::new("number")
            },
        ])
        .unwrap()
    }

    fn reward_with(names: &[&str]) -> (Option<f64>, usize) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut one = episode(Some(text_target("7")), "<think>a</think><answer>7</answer>");
        let selected = grader().select(&names).unwrap();
        selected.grade(std::slice::from_mut(&mut one));
        (one.outcome.reward, one.outcome.verdicts.len())
    }

    #[test]
    fn the_reward_is_the_sum_over_the_chosen_nodes() {
        assert_eq!(reward_with(&["exact", "tags", "number"]), (Some(1.5), 3));
        assert_eq!(reward_with(&["tags", "tags"]), (Some(0.5), 1));
        assert_eq!(reward_with(&["number"]), (None, 1));
    }

    #[test]
    fn an_unknown_node_is_named() {
        let error = |name: &str| grader().select(&[name.to_owned()]).err().unwrap();
        assert_eq!(
            error("exat"),
            "there is no reward node `exat`; did you mean `exact`?"
        );
        assert!(error("llm").ends_with("there are: exact, tags, number"));
        assert!(grader().select(&[]).is_err());
    }
}
