//! What verifiers say.

use serde::{Deserialize, Serialize};

/// Why a verifier could not judge. Never counted as a wrong answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifierError {
    /// [`FailureKind::Unspecified`] in records from before kinds were kept.
    #[serde(default)]
    pub kind: FailureKind,
    pub message: String,
    /// Whether trying again may help (an outage, a time-out).
    pub retryable: bool,
}

/// What kept a verifier from judging, to be counted and to be acted on.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The record or the service does not say.
    #[default]
    Unspecified,
    /// The row has no target.
    TargetMissing,
    /// The row's target is of another kind, or says nothing that could be compared.
    TargetUnreadable,
    /// The episode does not keep the sizes of its pictures, so a coordinate frame is not known.
    FrameUnknown,
    /// The row lacks something else that the verifier wants, such as a picture for a judge.
    InputMissing,
    /// No verdict within the time allowed.
    Timeout,
    /// A process or a function of the verifier has ended or raised.
    Crash,
    /// A reply of another form than agreed on.
    Protocol,
    /// A server cannot be reached, or its network fails.
    Network,
    /// A server has as much to do as it takes.
    RateLimited,
    /// A server does not take the request.
    Refused,
    /// The comparison is too large, or a fault of this program.
    Internal,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_without_a_kind_can_be_read() {
        let old = r#"{"error":{"message":"no target","retryable":false}}"#;
        let error = VerifierError {
            kind: FailureKind::Unspecified,
            message: "no target".to_owned(),
            retryable: false,
        };
        assert_eq!(
            serde_json::from_str::<Verdict>(old).unwrap(),
            Verdict::Error(error.clone())
        );
        let new = Verdict::Error(VerifierError {
            kind: FailureKind::TargetMissing,
            ..error
        });
        let text = serde_json::to_string(&new).unwrap();
        assert!(text.contains(r#""kind":"target_missing""#), "{text}");
        assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), new);
    }
}
