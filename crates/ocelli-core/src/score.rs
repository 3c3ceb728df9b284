//! What verifiers say.

use serde::{Deserialize, Serialize};

/// Why a verifier could not judge. Never counted as a wrong answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifierError {
    pub message: String,
    /// Whether trying again may help (an outage, a time-out).
    pub retryable: bool,
}

/// Result of one verifier on one episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A value, with the reason when the answer could not be parsed.
    Score {
        value: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parse_failure: Option<String>,
    },
    /// The verifier does not apply to this task.
    Skip,
    Error(VerifierError),
}

impl Verdict {
    /// A plain score.
    pub fn score(value: f64) -> Self {
        Self::Score {
            value,
            parse_failure: None,
        }
    }

    /// A zero because the answer did not parse.
    pub fn unparsed(reason: impl Into<String>) -> Self {
        Self::Score {
            value: 0.0,
            parse_failure: Some(reason.into()),
        }
    }

    /// The score, if there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Score { value, .. } => Some(*value),
            Self::Skip | Self::Error(_) => None,
        }
    }
}
