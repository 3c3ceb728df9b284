//! What the server scores with: the one place that knows the reward graph.

use ocelli_core::Episode;

use crate::RewardGraph;

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

impl Grader for RewardGraph {
    fn node_names(&self) -> Vec<String> {
        self.node_names().map(str::to_owned).collect()
    }

    fn select(&self, names: &[String]) -> Result<Box<dyn Grader>, String> {
        let selected = self.select(names).map_err(|error| error.to_string())?;
        Ok(Box::new(selected))
    }

    fn judges_boxes(&self, node: &str) -> bool {
        self.judges_boxes(node)
    }

    fn grade(&self, episodes: &mut [Episode]) {
        self.score_group(episodes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeConfig;
    use crate::fixtures::{episode, text_target};

    fn grader() -> RewardGraph {
        RewardGraph::new(&[
            NodeConfig::new("exact"),
            NodeConfig {
                weight: Some(0.5.into()),
                ..NodeConfig::new("tags")
            },
            NodeConfig {
                weight: Some(0.0.into()),
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
        let error = |name: &str| Grader::select(&grader(), &[name.to_owned()]).err().unwrap();
        assert_eq!(
            error("exat"),
            "there is no reward node `exat`; did you mean `exact`?"
        );
        assert!(error("llm").ends_with("there are: exact, tags, number"));
        assert!(grader().select(&[]).is_err());
    }
}
