//! The `reward` of a stage: how a list of nodes is written, and what is said when it is not one.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::NodeConfig;

/// The `reward` of a stage: a list of nodes, or the name of one verifier alone, which is most often a plug-in's.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Stage {
///     reward: ocelli_reward::RewardConfig,
/// }
///
/// let stage: Stage = toml::from_str(r#"reward = "my_rewards.py:compute_score""#).unwrap();
/// assert_eq!(stage.reward[0].name(), "compute_score");
/// let stage: Stage = toml::from_str(r#"reward = ["tags", { verifier = "box_iou", weight = 2 }]"#).unwrap();
/// assert_eq!(stage.reward.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct RewardConfig(pub Vec<NodeConfig>);

impl RewardConfig {
    /// [`NodeConfig::settle`] of each node.
    pub fn settle(&mut self, root: &Path) {
        self.0.iter_mut().for_each(|node| node.settle(root));
    }
}

impl Deref for RewardConfig {
    type Target = Vec<NodeConfig>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for RewardConfig {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl From<Vec<NodeConfig>> for RewardConfig {
    fn from(nodes: Vec<NodeConfig>) -> Self {
        Self(nodes)
    }
}

impl<'a> IntoIterator for &'a RewardConfig {
    type Item = &'a NodeConfig;
    type IntoIter = std::slice::Iter<'a, NodeConfig>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for RewardConfig {
    type Item = NodeConfig;
    type IntoIter = std::vec::IntoIter<NodeConfig>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de> Deserialize<'de> for RewardConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor)
    }
}

// By hand and not with an untagged enum, whose errors do not say what is wrong with the table.
impl<'de> Deserialize<'de> for NodeConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// A table always.
impl Serialize for NodeConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The derived function, which the type has beside this trait's.
        Self::serialize(self, serializer)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = RewardConfig;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of reward nodes, or the name of one verifier such as \"my_rewards.py:compute_score\"")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(RewardConfig(vec![NodeConfig::new(name)]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(RewardConfig(nodes))
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = NodeConfig;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(
            "a reward node: a table such as { verifier = \"exact\" }, or the name of a verifier",
        )
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(NodeConfig::new(name))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        // The derived function, which the type has beside the trait's.
        NodeConfig::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Stage {
        reward: RewardConfig,
    }

    fn read(text: &str) -> Result<RewardConfig, String> {
        let stage: Result<Stage, _> = toml::from_str(text);
        stage
            .map(|stage| stage.reward)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_stand_for_nodes() {
        let plugin = || NodeConfig::new("a.py:f");
        assert_eq!(read(r#"reward = "a.py:f""#).unwrap().0, [plugin()]);
        assert_eq!(
            read(r#"reward = ["a.py:f", { verifier = "box_iou", threshold = 0.5 }]"#)
                .unwrap()
                .0,
            [plugin(), NodeConfig::new("box_iou").with("threshold", 0.5)]
        );
        assert!(read("reward = []").unwrap().is_empty());
    }

    #[test]
    fn they_are_written_as_tables() {
        let stage: Stage = toml::from_str(r#"reward = ["a.py:f", "tags"]"#).unwrap();
        let written = toml::to_string(&stage).unwrap();
        assert!(
            written.contains("[[reward]]\nverifier = \"a.py:f\"\n"),
            "{written}"
        );
        assert_eq!(toml::from_str::<Stage>(&written).unwrap(), stage);
        let json = serde_json::to_value(&stage).unwrap();
        assert_eq!(serde_json::from_value::<Stage>(json).unwrap(), stage);
    }

    #[test]
    fn errors_say_what_was_expected() {
        for (text, message) in [
            (
                "reward = 3",
                "expected a list of reward nodes, or the name of one verifier",
            ),
            ("reward = [3]", "expected a reward node: a table such as"),
            (
                r#"reward = [{ verifier = "tags", on_error = "stop" }]"#,
                "unknown variant `stop`, expected one of `drop`, `zero`, `skip`",
            ),
            (
                r#"reward = [{ verifier = "tags", of = "a" }]"#,
                "expected a sequence",
            ),
            (
                r#"reward = [{ verifier = 3 }]"#,
                "invalid type: integer `3`, expected a string",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
