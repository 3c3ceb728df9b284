//! A reward as a recipe writes it: a list of nodes, and the check that turns a node into a verifier.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::suggest::closest;
use crate::verifier::Kind;
use crate::{RewardError, Verifier};

/// The `reward` list of a stage.
pub type RewardConfig = Vec<NodeConfig>;

/// One node of the reward graph.
///
/// ```
/// let node: ocelli_reward::NodeConfig = toml::from_str(
///     r#"
///     verifier = "box_iou"
///     weight = 2
///     when = { task = ["ref", "detection"] }
///     "#,
/// ).unwrap();
/// assert_eq!(node.weight, 2.0);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// What judges the episode: `box_iou`, `tags`, `exact` or `number`.
    pub verifier: String,
    /// Name in metrics (`rewards/<name>/mean`) and in episode records; the verifier's name by default. Letters, digits,
    /// `_`, `-` and `.`; two nodes cannot share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Factor of the node's score in the reward; may be negative. A node of weight 0 is only watched: its verdict is
    /// recorded and the reward does not see it.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// Tags a row must have, each with the accepted values: the node skips all other rows. Every row by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<BTreeMap<String, Accepted>>,
    /// `box_iou`: score 1 from this intersection over union on and 0 below it, in (0, 1]. The raw value by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// `number`: largest difference that still counts as equal, as a share of the target's magnitude; 1e-9 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// `tags`: a quarter for each tag that occurs exactly once, instead of all or nothing; false by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<bool>,
    /// `box_iou`, `exact`, `number`: where the answer stands, `answer` (inside `<answer>…</answer>`, the default) or
    /// `text` (the whole turn).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_in: Option<AnswerIn>,
    /// `box_iou`, `exact`, `number`: what the reward becomes when the verifier cannot judge, `drop` (no reward: the
    /// episode is left out of its group; the default) or `zero` (the node counts as 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
}

fn default_weight() -> f64 {
    1.0
}

/// Accepted values of one tag: a string or a list of strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Accepted {
    One(String),
    Any(Vec<String>),
}

impl Accepted {
    /// Whether `value` is among them.
    pub fn holds(&self, value: &str) -> bool {
        self.values().iter().any(|accepted| accepted == value)
    }

    fn values(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Any(values) => values,
        }
    }
}

/// Where in a turn the answer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerIn {
    /// Inside the first `<answer>…</answer>`.
    #[default]
    Answer,
    /// Anywhere in the turn.
    Text,
}

/// What a verifier's error does to the reward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The episode gets no reward and is left out of its group.
    #[default]
    Drop,
    /// The node counts as a score of 0.
    Zero,
}

impl NodeConfig {
    /// A node with nothing set but its verifier.
    pub fn new(verifier: impl Into<String>) -> Self {
        Self {
            verifier: verifier.into(),
            name: None,
            weight: default_weight(),
            when: None,
            threshold: None,
            tolerance: None,
            partial: None,
            answer_in: None,
            on_error: None,
        }
    }

    /// The node's name, given or by default.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.verifier)
    }

    /// Checks the node, which is number `node` of its list, and makes its verifier.
    pub(crate) fn build(&self, node: usize) -> Result<Verifier, RewardError> {
        let kind = Kind::from_name(&self.verifier).ok_or_else(|| self.unknown_verifier(node))?;
        self.refuse_keys_without_effect(node, kind)?;
        self.check_values(node)?;
        let answer_in = self.answer_in.unwrap_or_default();
        Ok(match kind {
            Kind::BoxIou => Verifier::BoxIou {
                threshold: self.threshold,
                answer_in,
            },
            Kind::Tags => Verifier::Tags {
                partial: self.partial.unwrap_or(false),
            },
            Kind::Exact => Verifier::Exact { answer_in },
            Kind::Number => Verifier::Number {
                tolerance: self.tolerance.unwrap_or(Verifier::DEFAULT_TOLERANCE),
                answer_in,
            },
        })
    }

    fn unknown_verifier(&self, node: usize) -> RewardError {
        let names = Kind::ALL.map(Kind::name);
        RewardError::UnknownVerifier {
            node,
            name: self.verifier.clone(),
            hint: closest(&self.verifier, names).map_or_else(
                || format!("there are: {}", names.join(", ")),
                |name| format!("did you mean `{name}`?"),
            ),
        }
    }

    fn refuse_keys_without_effect(&self, node: usize, kind: Kind) -> Result<(), RewardError> {
        let given = [
            ("threshold", self.threshold.is_some()),
            ("tolerance", self.tolerance.is_some()),
            ("partial", self.partial.is_some()),
            ("answer_in", self.answer_in.is_some()),
            ("on_error", self.on_error.is_some()),
        ];
        for (key, is_given) in given {
            if is_given && !kind.keys().contains(&key) {
                return Err(RewardError::KeyWithoutEffect {
                    node,
                    verifier: kind.name(),
                    key,
                    takes: kind.keys().join(", "),
                });
            }
        }
        Ok(())
    }

    fn check_values(&self, node: usize) -> Result<(), RewardError> {
        let bad = |key: &str, value: String, wanted| {
            Err(RewardError::BadValue {
                node,
                key: key.to_owned(),
                value,
                wanted,
            })
        };
        if !self.weight.is_finite() {
            return bad("weight", self.weight.to_string(), "a finite number");
        }
        if let Some(threshold) = self.threshold
            && !(threshold > 0.0 && threshold <= 1.0)
        {
            return bad("threshold", threshold.to_string(), "a number in (0, 1]");
        }
        if let Some(tolerance) = self.tolerance
            && !(tolerance >= 0.0 && tolerance.is_finite())
        {
            return bad(
                "tolerance",
                tolerance.to_string(),
                "a finite number from 0 on",
            );
        }
        let allowed = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        if self.name().is_empty() || !self.name().chars().all(allowed) {
            return bad(
                "name",
                format!("{:?}", self.name()),
                "letters, digits, `_`, `-` and `.`",
            );
        }
        let Some(when) = &self.when else {
            return Ok(());
        };
        if when.is_empty() {
            let wanted = "at least one tag; leave it out to judge every row";
            return bad("when", "{}".to_owned(), wanted);
        }
        for (tag, accepted) in when {
            if accepted.values().is_empty() {
                let wanted = "at least one value, or the node never applies";
                return bad(&format!("when.{tag}"), "[]".to_owned(), wanted);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> NodeConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn reads_every_key_and_writes_it_back() {
        let text = r#"
            verifier = "box_iou"
            name = "iou_at_half"
            weight = 2
            when = { task = ["ref", "detection"], source = "digits" }
            threshold = 0.5
            answer_in = "text"
            on_error = "zero"
        "#;
        let node = read(text);
        assert_eq!(node.name(), "iou_at_half");
        assert_eq!(node.weight, 2.0);
        assert_eq!(
            node.build(0),
            Ok(Verifier::BoxIou {
                threshold: Some(0.5),
                answer_in: AnswerIn::Text
            })
        );
        assert_eq!(read(&toml::to_string(&node).unwrap()), node);
    }

    #[test]
    fn defaults_are_what_the_documentation_says() {
        for (verifier, built) in [
            (
                "box_iou",
                Verifier::BoxIou {
                    threshold: None,
                    answer_in: AnswerIn::Answer,
                },
            ),
            ("tags", Verifier::Tags { partial: false }),
            (
                "exact",
                Verifier::Exact {
                    answer_in: AnswerIn::Answer,
                },
            ),
            (
                "number",
                Verifier::Number {
                    tolerance: 1e-9,
                    answer_in: AnswerIn::Answer,
                },
            ),
        ] {
            let node = read(&format!("verifier = \"{verifier}\""));
            assert_eq!(node, NodeConfig::new(verifier));
            assert_eq!((node.name(), node.weight), (verifier, 1.0));
            assert_eq!(node.build(0), Ok(built));
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = toml::from_str::<NodeConfig>("verifier = \"tags\"\nwieght = 1").unwrap_err();
        assert!(error.to_string().contains("wieght"), "{error}");
    }

    #[test]
    fn bad_nodes_are_refused_with_a_mend() {
        for (text, message) in [
            ("verifier = \"boxiou\"", "did you mean `box_iou`?"),
            (
                "verifier = \"llm\"",
                "there are: box_iou, tags, exact, number",
            ),
            (
                "verifier = \"tags\"\nthreshold = 0.5",
                "`threshold` has no effect on the verifier `tags`; remove it (keys of its own: partial)",
            ),
            (
                "verifier = \"tags\"\non_error = \"zero\"",
                "`on_error` has no effect",
            ),
            (
                "verifier = \"tags\"\nanswer_in = \"text\"",
                "`answer_in` has no effect",
            ),
            (
                "verifier = \"exact\"\npartial = false",
                "`partial` has no effect",
            ),
            (
                "verifier = \"box_iou\"\ntolerance = 0.1",
                "`tolerance` has no effect",
            ),
            (
                "verifier = \"box_iou\"\nthreshold = 0",
                "`threshold = 0` is not allowed",
            ),
            (
                "verifier = \"box_iou\"\nthreshold = 1.5",
                "`threshold = 1.5` is not allowed",
            ),
            (
                "verifier = \"box_iou\"\nthreshold = nan",
                "`threshold = NaN` is not allowed",
            ),
            (
                "verifier = \"number\"\ntolerance = -1",
                "`tolerance = -1` is not allowed",
            ),
            (
                "verifier = \"tags\"\nweight = inf",
                "`weight = inf` is not allowed",
            ),
            (
                "verifier = \"tags\"\nname = \"a/b\"",
                "`name = \"a/b\"` is not allowed",
            ),
            (
                "verifier = \"tags\"\nname = \"\"",
                "`name = \"\"` is not allowed",
            ),
            (
                "verifier = \"tags\"\nwhen = {}",
                "leave it out to judge every row",
            ),
            (
                "verifier = \"tags\"\nwhen = { task = [] }",
                "`when.task = []` is not allowed",
            ),
        ] {
            let error = read(text).build(3).unwrap_err().to_string();
            assert!(error.starts_with("reward node 3: "), "{error}");
            assert!(error.contains(message), "{error}");
        }
    }
}
