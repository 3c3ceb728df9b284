//! Errors in a reward's configuration.

use crate::PluginError;

/// What is wrong with a list of reward nodes. Nodes are counted from 0, as they stand in the recipe.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RewardError {
    /// The list has no node.
    #[error(
        "the reward has no verifier; add one, for instance reward = [ {{ verifier = \"exact\" }} ]"
    )]
    NoNodes,
    /// Every node has weight 0.
    #[error(
        "every reward node has weight 0, so no episode would get a reward; give one a weight other than 0"
    )]
    NothingWeighted,
    /// No verifier has this name.
    #[error("reward node {node}: there is no verifier `{name}`; {hint}")]
    UnknownVerifier {
        node: usize,
        name: String,
        /// The nearest name, or all names.
        hint: String,
    },
    /// A node that is not exactly one of verifier, combination and transform.
    #[error(
        "reward node {node}: give exactly one of `verifier`, `combine` and `transform`, as in {{ verifier = \"exact\" }}"
    )]
    NotOneSource { node: usize },
    /// No node of the graph has this name.
    #[error("there is no reward node `{name}`; {hint}")]
    UnknownNode {
        name: String,
        /// The nearest name, or all names.
        hint: String,
    },
    /// A key that the node does not read.
    #[error("reward node {node}: `{key}` has no effect on {owner}; remove it")]
    KeyWithoutEffect {
        node: usize,
        owner: String,
        key: String,
    },
    /// A part of the node whose values cannot be used.
    #[error("reward node {node}: {owner}: {problem}")]
    Setting {
        node: usize,
        owner: String,
        problem: String,
    },
    /// A plug-in that cannot be used.
    #[error("reward node {node}: {error}")]
    Plugin { node: usize, error: PluginError },
    /// A plug-in, a judge or a remote graph that could not be started.
    #[error("the reward node `{name}` cannot start: {problem}")]
    NotStarted { name: String, problem: String },
    /// A value outside of what its key allows.
    #[error("reward node {node}: `{key} = {value}` is not allowed; it takes {wanted}")]
    BadValue {
        node: usize,
        key: String,
        value: String,
        wanted: &'static str,
    },
    /// Two nodes of one name.
    #[error(
        "reward nodes {first} and {second} are both named `{name}`; give one of them another `name`"
    )]
    DuplicateName {
        first: usize,
        second: usize,
        name: String,
    },
}
