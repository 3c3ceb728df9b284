//! Scores that a model gives: one interface for judges, whatever stands behind it.
//!
//! A [`Scorer`] reads a question, an answer and what belongs to them, and gives a number in `[0, 1]` or a typed error,
//! never "0 because the judge was down". [`JudgeScorer`] asks a language model on an OpenAI-compatible server;
//! [`StubScorer`] computes something simple and always the same, for tests and dry runs.

mod cache;
mod judge;
mod scale;
mod stub;
mod template;

use std::collections::BTreeMap;

use ocelli_core::{Episode, FailureKind, Role, Target, Verdict, VerifierError};

pub use judge::{JudgeConfig, JudgeScorer};
pub use scale::{Reading, Scale};
pub use stub::StubScorer;

/// Something that scores answers, one by one but in batches, so that it may work on many at once.
pub trait Scorer: Send + Sync {
    /// One result a request, in the same order.
    fn score(&self, requests: &[ScoreRequest]) -> Vec<Result<Score, ScorerError>>;
}

/// What is scored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScoreRequest {
    /// What was asked.
    pub question: String,
    /// What the model has answered.
    pub answer: String,
    /// The right answer, if there is one.
    pub gold: Option<String>,
    /// The pictures that the question is about, or that show the answer.
    pub images: Vec<ScoreImage>,
}

impl ScoreRequest {
    /// `answer` to the question of `episode`: the user's messages as text, and the target as text. Pictures are for the
    /// caller to add.
    pub fn of_episode(episode: &Episode, answer: &str) -> Self {
        let task = &episode.task;
        let user = task.messages.iter().filter(|m| m.role == Role::User);
        Self {
            question: user.map(|m| m.plain_text()).collect::<Vec<_>>().join("\n"),
            answer: answer.to_owned(),
            gold: task.target.as_ref().map(|target| match target {
                Target::Text(text) => text.clone(),
                Target::Box(found) => format!("{:?}", <[f64; 4]>::from(*found)),
            }),
            images: Vec::new(),
        }
    }
}

/// An encoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreImage {
    /// Such as `image/png`.
    media_type: &'static str,
    bytes: Vec<u8>,
}

impl ScoreImage {
    /// Takes the bytes of a PNG, JPEG, WebP or GIF file; `None` when they do not begin as one.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let media_type = match bytes.as_slice() {
            [0x89, b'P', b'N', b'G', ..] => "image/png",
            [0xff, 0xd8, 0xff, ..] => "image/jpeg",
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => "image/webp",
            [b'G', b'I', b'F', b'8', ..] => "image/gif",
            _ => return None,
        };
        Some(Self { media_type, bytes })
    }
}

/// A score with what it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// In `[0, 1]`.
    pub value: f64,
    /// The grades by aspect as they were given; empty on a scale without aspects.
    pub grades: BTreeMap<String, f64>,
    /// What the judge has written.
    pub reply: String,
    /// Whether the reply was on disk already, or was asked for by another request of the batch.
    pub cached: bool,
}

/// Why there is no score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScorerError {
    /// The prompt wants something that the request has not.
    #[error("the judge's prompt has `{{{placeholder}}}`, and the row has no {what}")]
    Missing {
        placeholder: &'static str,
        what: &'static str,
    },
    /// The judge has answered something else than a score.
    #[error("the judge's reply {reply:?} cannot be read: {reason}")]
    Unreadable { reply: String, reason: String },
    /// The server does not take the request.
    #[error("the judge refuses the request: {message}")]
    Refused { message: String },
    /// No usable reply after all tries.
    #[error("no reply of the judge after {attempts} attempts: {message}")]
    Outage { attempts: u32, message: String },
}

impl ScorerError {
    /// Whether trying again later may help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Outage { .. })
    }
}

impl From<ScorerError> for VerifierError {
    fn from(error: ScorerError) -> Self {
        Self {
            kind: match &error {
                ScorerError::Missing { .. } => FailureKind::InputMissing,
                ScorerError::Unreadable { .. } => FailureKind::Protocol,
                ScorerError::Refused { .. } => FailureKind::Refused,
                ScorerError::Outage { .. } => FailureKind::Network,
            },
            message: error.to_string(),
            retryable: error.is_retryable(),
        }
    }
}

/// A score as a node of the reward graph says it.
pub fn verdict_of(result: Result<Score, ScorerError>) -> Verdict {
    match result {
        Ok(score) => Verdict::score(score.value),
        Err(error) => Verdict::Error(error.into()),
    }
}
