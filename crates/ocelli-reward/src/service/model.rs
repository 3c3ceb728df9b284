//! Nodes that a trained reward model scores. This crate holds no tensors, so the model is run by whoever calls
//! [`crate::RewardGraph::provide`].

use std::path::PathBuf;

use ocelli_core::{Episode, Verdict};
use serde::{Deserialize, Serialize};

/// What a reward model's number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelScore {
    /// What its `score` head says at the end of the answer; any number.
    Score,
    /// The chance of a yes to a question about the answer, of yes and no; from 0 to 1.
    YesProbability,
}

/// The keys of the verifier `reward_model`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardModelConfig {
    /// The checkpoint's folder.
    pub path: PathBuf,
    /// What its number is; by default `score` where it has such a head, else `yes_probability`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ModelScore>,
    /// What is asked about an answer (`yes_probability`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The word that says yes (`yes_probability`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yes: Option<String>,
    /// The word that says no (`yes_probability`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no: Option<String>,
    /// Tokens computed at once.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
}

fn default_max_tokens() -> usize {
    8192
}

/// All keys of [`RewardModelConfig`].
pub(super) const KEYS: [&str; 6] = ["path", "by", "question", "yes", "no", "max_tokens"];

impl RewardModelConfig {
    /// # Errors
    /// Says which key is wrong and how to mend it.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.path.as_os_str().is_empty() {
            return Err("`path` is empty; give the folder of the reward model's checkpoint".into());
        }
        if self.max_tokens == 0 {
            return Err("`max_tokens = 0` is not allowed; it takes a number from 1 on".into());
        }
        let asked = [
            ("question", self.question.is_some()),
            ("yes", self.yes.is_some()),
            ("no", self.no.is_some()),
        ];
        match asked.iter().find(|(_, given)| *given) {
            Some((key, _)) if self.by == Some(ModelScore::Score) => Err(format!(
                "`{key}` has no effect with `by = \"score\"`, where nothing is asked; remove it"
            )),
            _ => Ok(()),
        }
    }
}

/// A reward model at work.
pub trait EpisodeScorer: Send + Sync {
    /// One verdict an episode, in the same order.
    fn score(&self, episodes: &[&Episode]) -> Vec<Verdict>;
}
