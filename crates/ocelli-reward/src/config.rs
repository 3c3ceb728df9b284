//! A reward as a recipe writes it: a list of nodes.

use std::collections::BTreeMap;
use std::path::Path;

use ocelli_core::Schedule;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::service::is_plugin;

/// The keys that all nodes have.
pub(crate) const NODE_KEYS: [&str; 14] = [
    "verifier",
    "combine",
    "transform",
    "of",
    "name",
    "weight",
    "when",
    "gate",
    "otherwise",
    "shape",
    "values",
    "scope",
    "role",
    "on_error",
];

/// One node of the reward graph: a verifier, a combination of earlier nodes, or a transform of an earlier node's values.
/// In a recipe it is a table, or the name of its verifier alone.
///
/// ```
/// let node: ocelli_reward::NodeConfig = toml::from_str(
///     r#"
///     verifier = "box_iou"
///     weight = 2
///     when = { task = ["ref", "detection"] }
///     "#,
/// ).unwrap();
/// assert_eq!(node.name(), "box_iou");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct NodeConfig {
    /// What judges the episode: one of the verifiers in `docs/verifiers.md`, a plug-in `file.py:function`, or `judge`,
    /// `stub_judge` or `remote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifier: Option<String>,
    /// How the scores of the nodes in `of` become one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combine: Option<Combine>,
    /// What happens to the values that the node in `of` has over a group or a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<Transform>,
    /// `combine`, `transform`: names of earlier nodes. A `ladder` takes conditions here, such as `"iou >= 0.5"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
    /// Name in metrics (`rewards/<name>/mean`) and in episode records; the verifier's, combination's or transform's name by
    /// default. Letters, digits, `_`, `-` and `.`; two nodes cannot share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Factor of the node's score in the reward; may be negative, and may follow a schedule. A node of weight 0 is only
    /// watched: its verdict is recorded and the reward does not see it. 1 by default; 0 for a node that another one
    /// reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Schedule>,
    /// Tags a row must have, each with the accepted values: the node skips all other rows. Every row by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<BTreeMap<String, Accepted>>,
    /// Conditions on earlier nodes, such as `"tags"` (its score is above 0) or `"iou >= 0.5"`: where one does not hold,
    /// the node's score is `otherwise`. A condition on a node that skipped holds.
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    pub gate: Conditions,
    /// Score where `gate` does not hold, or where no rung of a `ladder` does; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<f64>,
    /// What the score becomes before gate and weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// `ladder`: the score of each condition in `of`, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<f64>,
    /// `transform`: whose values belong together, `group` (the samples of one prompt, the default) or `batch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// What the score is: part of the `reward` (the default), or a `sample_weight`, which multiplies the episode's share
    /// in the loss instead.
    #[serde(default, skip_serializing_if = "Role::is_default")]
    pub role: Role,
    /// What the reward becomes when the verifier cannot judge: `drop` (no reward: the episode is left out of its group;
    /// the default), `zero` (the node counts as 0) or `skip` (the node is left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// The verifier's own keys.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// How scores become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// Their product.
    Product,
    /// The largest: a rule or a judge.
    Max,
    /// The smallest: a rule and a judge.
    Min,
    /// n / Σ 1/x; 0 when one of them is not above 0.
    HarmonicMean,
    /// The value of the first condition that holds.
    Ladder,
}

/// What happens to the values of a group or a batch. Episodes that skipped or had an error are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Each value less the mean.
    Center,
    /// Each value less the mean, divided by the standard deviation (n − 1) + 1e-4.
    ZScore,
    /// (value − smallest) / (largest − smallest); values that are all equal stay as they are (ARMed: rewards that have
    /// collapsed to a narrow band keep their order and fill the range again).
    Stretch,
    /// Share of the others that are lower, ties counting half; 0.5 for a value alone.
    Rank,
    /// The mean, given to all: how hard the prompt is.
    GroupMean,
    /// The largest, given to all: whether one of the samples was right.
    GroupBest,
}

/// Whose values belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The samples of one prompt.
    #[default]
    Group,
    /// All episodes of the step.
    Batch,
}

/// What a node's score is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Added to the reward, times the node's weight.
    #[default]
    Reward,
    /// Multiplies the episode's share in the loss.
    SampleWeight,
}

impl Role {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A function of one score x.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `[low, high]`: 0 up to low, 1 from high on, a straight line between.
    Ramp([f64; 2]),
    /// 1 from this value on, 0 below it.
    Step(f64),
    /// `[low, high]`: 0 below low, 1 from high on, x itself between (Vision-R1).
    DeadZone([f64; 2]),
    /// x to this power; 0 for x below 0.
    Power(f64),
    /// `[low, high]`: x, kept between them.
    Clip([f64; 2]),
    /// `[a, b]`: a + b·x.
    Affine([f64; 2]),
    /// `[a, b]`: a·exp(b·x) (UniVG-R1 weighs a prompt by exp(1 − mean IoU)).
    Exponential([f64; 2]),
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

    pub(crate) fn values(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Any(values) => values,
        }
    }
}

/// Conditions that must all hold: a string or a list of strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Conditions {
    One(String),
    All(Vec<String>),
}

impl Default for Conditions {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl Conditions {
    fn is_empty(&self) -> bool {
        self.texts().is_empty()
    }

    pub(crate) fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::All(texts) => texts,
        }
    }
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
    /// The node counts as not applying.
    Skip,
}

impl NodeConfig {
    /// A node with nothing set but its verifier.
    pub fn new(verifier: impl Into<String>) -> Self {
        Self {
            verifier: Some(verifier.into()),
            ..Self::default()
        }
    }

    /// The same node with one of its verifier's own keys set.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.settings.insert(key.to_owned(), value.into());
        self
    }

    /// The same node under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Makes paths absolute or relative to the working directory that are relative to `root`: the file and the interpreter
    /// of a plug-in, the cache of a judge, and the folder of a reward model. An interpreter that is a bare name is looked for in `PATH` and stays.
    pub fn settle(&mut self, root: &Path) {
        let Some(verifier) = &mut self.verifier else {
            return;
        };
        let key = if is_plugin(verifier) {
            *verifier = joined(root, verifier);
            "python"
        } else if verifier == "judge" || verifier == "stub_judge" {
            "cache"
        } else if verifier == "reward_model" {
            "path"
        } else {
            return;
        };
        if let Some(Value::String(path)) = self.settings.get_mut(key)
            && (key != "python" || Path::new(path.as_str()).components().count() > 1)
        {
            *path = joined(root, path);
        }
    }

    /// The node's name, given or by default, which for a plug-in is that of its function; empty for a node that computes nothing.
    pub fn name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let own = |value: Value| value.as_str().unwrap_or_default().to_owned();
        match (&self.verifier, self.combine, self.transform) {
            (Some(verifier), ..) => match verifier.rsplit_once(':') {
                Some((_, function)) if is_plugin(verifier) => function.to_owned(),
                _ => verifier.clone(),
            },
            (_, Some(combine), _) => own(serde_json::json!(combine)),
            (_, _, Some(transform)) => own(serde_json::json!(transform)),
            (None, None, None) => String::new(),
        }
    }
}

fn joined(root: &Path, path: &str) -> String {
    root.join(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_and_written_back() {
        let text = r#"
            verifier = "box_iou"
            name = "iou_at_half"
            weight = { linear = [2, 1.0] }
            when = { task = ["ref", "detection"], source = "digits" }
            gate = ["tags", "exact >= 0.5"]
            otherwise = -1
            shape = { ramp = [0.2, 0.8] }
            role = "sample_weight"
            on_error = "zero"
            threshold = 0.5
            answer_in = "text"
        "#;
        let node: NodeConfig = toml::from_str(text).unwrap();
        assert_eq!(node.name(), "iou_at_half");
        assert_eq!(node.gate.texts().len(), 2);
        assert_eq!(node.otherwise, Some(-1.0));
        assert_eq!(node.settings.len(), 2);
        let written = toml::to_string(&node).unwrap();
        assert_eq!(toml::from_str::<NodeConfig>(&written).unwrap(), node);
    }

    #[test]
    fn names_by_default() {
        for (text, name) in [
            ("verifier = \"tags\"", "tags"),
            ("verifier = \"a/b.py:compute_score\"", "compute_score"),
            ("combine = \"harmonic_mean\"", "harmonic_mean"),
            ("transform = \"z_score\"", "z_score"),
            ("", ""),
        ] {
            assert_eq!(toml::from_str::<NodeConfig>(text).unwrap().name(), name);
        }
    }

    #[test]
    fn paths_start_at_the_root() {
        for (node, settled) in [
            (
                NodeConfig::new("a.py:f").with("python", "python3"),
                NodeConfig::new("/r/a.py:f").with("python", "python3"),
            ),
            (
                NodeConfig::new("/a.py:f").with("python", "venv/bin/python"),
                NodeConfig::new("/a.py:f").with("python", "/r/venv/bin/python"),
            ),
            (
                NodeConfig::new("judge").with("cache", "kept"),
                NodeConfig::new("judge").with("cache", "/r/kept"),
            ),
            (
                NodeConfig::new("reward_model").with("path", "kept"),
                NodeConfig::new("reward_model").with("path", "/r/kept"),
            ),
            (
                NodeConfig::new("exact").with("cache", "kept"),
                NodeConfig::new("exact").with("cache", "kept"),
            ),
        ] {
            let mut settling = node.clone();
            settling.settle(Path::new("/r"));
            assert_eq!(settling, settled);
            let mut here = node.clone();
            here.settle(Path::new(""));
            assert_eq!(here, node);
        }
    }
}
