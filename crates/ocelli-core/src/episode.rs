//! The record of what happened: everything a reward, a trainer or a reader may look at afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{FrameSizes, Message, Shown, Task, Verdict};

/// Something a policy does to its env. Answers and tool uses are the same thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Call {
    /// Ends a single-turn task with the whole text of the turn.
    Answer { text: String },
}

/// Why sampling of a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// An end-of-turn token was sampled.
    Stop,
    /// The length limit was reached first.
    Length,
}

/// Who made a segment's tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentKind {
    /// Shown to the policy: which of the env's pictures, videos and sounds, in order of appearance.
    Observation {
        #[serde(rename = "images")]
        shown: Vec<Shown>,
    },
    /// Sampled by the policy.
    Decision {
        /// Log-probability of each token under the policy that sampled it; as long as `token_ids`.
        behavior_logprobs: Vec<f32>,
        /// Which weights sampled it (optimizer steps taken).
        policy_version: u64,
        finish: Finish,
        /// What the env executed.
        call: Call,
    },
}

/// A run of tokens with one origin. Segments form a tree: `parent` is the segment whose tokens come right before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    pub parent: Option<usize>,
    pub kind: SegmentKind,
    /// As the model saw or sampled them; never re-tokenised.
    pub token_ids: Vec<u32>,
    /// Which tokens carry gradient; as long as `token_ids`.
    pub train_mask: Vec<bool>,
    /// The tokens as text, special tokens left out.
    pub text: String,
}

/// What came of an episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the env reports about the end, by name.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// One entry a node of the reward graph, filled by scoring.
    #[serde(default)]
    pub verdicts: BTreeMap<String, Verdict>,
    /// The weighted sum; `None` until scored, or when no verifier could judge.
    #[serde(default)]
    pub reward: Option<f64>,
    /// Factor of the episode's share in the loss; 1 unless a node of the reward graph says otherwise.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub sample_weight: f64,
    /// Whether the episode was cut before its env ended it: by the limit of turns, or because the conversation had grown
    /// longer than a prompt may be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

fn one() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_one(weight: &f64) -> bool {
    *weight == 1.0
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            facts: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            reward: None,
            sample_weight: one(),
            cut: false,
        }
    }
}

/// One attempt at one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    pub task: Arc<Task>,
    /// Index among the samples of the same task.
    pub sample: usize,
    /// Sizes of the task's pictures by index: what coordinate frames are measured in. Empty in records that did not keep them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<FrameSizes>,
    pub segments: Vec<Segment>,
    pub outcome: Outcome,
}

impl Episode {
    /// An episode of one turn that is an answer, as a sampler would have ended it. Its log-probabilities are not known and stand as 0, so
    /// it can be judged and not learnt from; `token_ids` may be empty where they are not known either.
    pub fn of_answer(task: Arc<Task>, text: impl Into<String>, token_ids: Vec<u32>) -> Self {
        let text = text.into();
        Self {
            task,
            sample: 0,
            pictures: Vec::new(),
            segments: vec![Segment {
                parent: None,
                kind: SegmentKind::Decision {
                    behavior_logprobs: vec![0.0; token_ids.len()],
                    policy_version: 0,
                    finish: Finish::Stop,
                    call: Call::Answer { text: text.clone() },
                },
                train_mask: vec![true; token_ids.len()],
                token_ids,
                text,
            }],
            outcome: Outcome::default(),
        }
    }

    /// The text of the policy's last turn, or `""`.
    pub fn answer_text(&self) -> &str {
        self.decisions().last().map_or("", |s| s.text.as_str())
    }

    /// Segments the policy sampled, in order.
    pub fn decisions(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.segments
            .iter()
            .filter(|s| matches!(s.kind, SegmentKind::Decision { .. }))
    }

    /// Number of sampled tokens.
    pub fn sampled_tokens(&self) -> usize {
        self.decisions().map(|s| s.token_ids.len()).sum()
    }

    /// Whether the last decision ran into the length limit, or the episode was cut before its end.
    pub fn truncated(&self) -> bool {
        let at_limit = self.decisions().last().is_some_and(|s| {
            matches!(
                s.kind,
                SegmentKind::Decision {
                    finish: Finish::Length,
                    ..
                }
            )
        });
        at_limit || self.outcome.cut
    }
}

/// What an env shows the policy: messages that continue the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    pub messages: Vec<Message>,
}
