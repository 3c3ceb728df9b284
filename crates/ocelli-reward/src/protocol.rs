//! What the verifier server and its client say to each other, as JSON.
//!
//! `POST /v1/score` takes a [`ScoreBatch`] and answers with a [`ScoreReply`], one outcome an item and in the same order.
//! What goes wrong for the whole request answers with a 4xx or 5xx status and an [`ErrorReply`]; what goes wrong for one
//! item stands in its outcome, so that no failure can be taken for a wrong answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli_core::{
    Episode, FailureKind, FrameSizes, Message, Outcome, Role, SegmentKind, Target, Task, Verdict,
    VerifierError,
};
use serde::{Deserialize, Serialize};

/// A batch to be scored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreBatch {
    /// Names of the server's reward nodes to ask; all of them by default. The reward is then the sum over these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<String>>,
    /// What is judged.
    pub items: Vec<ScoreItem>,
}

/// One response: either its text with what is needed to judge it, or a whole recorded episode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreItem {
    /// Names the row in messages; the item's position by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Items that share it are judged together, in one call of the reward graph. Each item alone by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The text of the model's turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// The question, for verifiers that read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The right answer as a text: short for `target = {"text": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The right answer with its type, such as `{"box": [x1, y1, x2, y2]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The row's labels, for the `when` of reward nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// `{"source": [width, height], "model": [width, height]}` of each picture, for verifiers with a `frame`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<FrameSizes>,
    /// A recorded episode; `id` and `group` alone may stand beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episode: Option<Box<Episode>>,
}

impl ScoreItem {
    /// The item as an episode to be scored; `position` is its place in the batch.
    ///
    /// # Errors
    /// When it has no response, or says one thing twice. The message names the item and the keys.
    pub fn into_episode(self, position: usize) -> Result<Episode, String> {
        let id = self.id.unwrap_or_else(|| position.to_string());
        if let Some(episode) = self.episode {
            let beside = [
                ("response", self.response.is_some()),
                ("prompt", self.prompt.is_some()),
                ("answer", self.answer.is_some()),
                ("target", self.target.is_some()),
                ("tags", !self.tags.is_empty()),
                ("pictures", !self.pictures.is_empty()),
            ];
            return match beside.into_iter().find(|(_, given)| *given) {
                Some((key, _)) => Err(format!(
                    "item {position}: `{key}` stands beside `episode`, which has one already; remove it"
                )),
                None => Ok(*episode),
            };
        }
        let response = self
            .response
            .ok_or_else(|| format!("item {position}: give a `response` or an `episode`"))?;
        let target = match (self.answer, self.target) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "item {position}: `answer` and `target` both say what is right; remove one"
                ));
            }
            (Some(answer), None) => Some(Target::Text(answer)),
            (None, target) => target,
        };
        let task = Task {
            id,
            messages: Vec::from_iter(self.prompt.map(|text| Message::text(Role::User, text))),
            target,
            tags: self.tags,
            ..Task::default()
        };
        Ok(Episode {
            pictures: self.pictures,
            ..Episode::of_answer(Arc::new(task), response, Vec::new())
        })
    }

    /// The item that asks for `episode` to be judged. What no reward may read is left out, for it is most of the bytes:
    /// the tokens of observations, log-probabilities, masks and the demonstration.
    pub fn of_episode(episode: &Episode) -> Self {
        let mut episode = episode.clone();
        let task = Arc::make_mut(&mut episode.task);
        task.demonstration = None;
        task.rejected = None;
        episode.outcome.verdicts.clear();
        episode.outcome.reward = None;
        for segment in &mut episode.segments {
            segment.train_mask.clear();
            match &mut segment.kind {
                SegmentKind::Decision {
                    behavior_logprobs, ..
                } => behavior_logprobs.clear(),
                SegmentKind::Observation { .. } => segment.token_ids.clear(),
            }
        }
        Self {
            group: Some(episode.task.id.clone()),
            episode: Some(Box::new(episode)),
            ..Self::default()
        }
    }
}

/// The outcomes of a batch, in its order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreReply {
    pub outcomes: Vec<ScoreOutcome>,
}

/// What came of one item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreOutcome {
    /// What each node said, by name; empty when `error` is there.
    #[serde(default)]
    pub verdicts: BTreeMap<String, NodeVerdict>,
    /// The weighted sum; `null` when no weighted node applied, or one could not judge.
    pub reward: Option<f64>,
    /// Why the item could not be judged at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ServiceError>,
}

/// What one node said of one item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeVerdict {
    /// A value, with the reason when the answer could not be parsed.
    Score {
        value: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parse_failure: Option<String>,
    },
    /// The node does not apply to the item.
    Skip,
    Error(ServiceError),
}

impl From<Verdict> for NodeVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            // JSON has no NaN, and a reader would take a missing number for anything.
            Verdict::Score { value, .. } if !value.is_finite() => Self::Error(ServiceError::new(
                ErrorKind::NotFinite,
                format!("the verifier's score is {value}"),
            )),
            Verdict::Score {
                value,
                parse_failure,
            } => Self::Score {
                value,
                parse_failure,
            },
            Verdict::Skip => Self::Skip,
            Verdict::Error(error) => Self::Error(ServiceError {
                kind: ErrorKind::Verifier,
                cause: Some(error.kind),
                message: error.message,
                retryable: error.retryable,
            }),
        }
    }
}

impl From<NodeVerdict> for Verdict {
    fn from(verdict: NodeVerdict) -> Self {
        match verdict {
            NodeVerdict::Score {
                value,
                parse_failure,
            } => Self::Score {
                value,
                parse_failure,
            },
            NodeVerdict::Skip => Self::Skip,
            NodeVerdict::Error(error) => Self::Error(error.into()),
        }
    }
}

impl From<Outcome> for ScoreOutcome {
    fn from(outcome: Outcome) -> Self {
        let verdicts = outcome.verdicts.into_iter();
        Self {
            verdicts: verdicts.map(|(name, v)| (name, v.into())).collect(),
            reward: outcome.reward.filter(|reward| reward.is_finite()),
            error: None,
        }
    }
}

impl From<Result<Outcome, ServiceError>> for ScoreOutcome {
    fn from(result: Result<Outcome, ServiceError>) -> Self {
        result.map_or_else(
            |error| Self {
                error: Some(error),
                ..Self::default()
            },
            Self::from,
        )
    }
}

/// The body of every reply with a 4xx or 5xx status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    pub error: ServiceError,
}

/// A failure, never to be counted as a wrong answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ServiceError {
    pub kind: ErrorKind,
    /// With the kind `verifier`: what kept it from judging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<FailureKind>,
    pub message: String,
    /// Whether trying again may help (an outage, a time-out).
    pub retryable: bool,
}

impl ServiceError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            cause: None,
            message: message.into(),
            retryable: matches!(kind, ErrorKind::Busy | ErrorKind::Timeout),
        }
    }
}

impl From<ServiceError> for VerifierError {
    fn from(error: ServiceError) -> Self {
        let of_service = || match error.kind {
            ErrorKind::Timeout => FailureKind::Timeout,
            ErrorKind::Busy => FailureKind::RateLimited,
            ErrorKind::Panic => FailureKind::Crash,
            ErrorKind::NotFinite => FailureKind::Internal,
            ErrorKind::Verifier | ErrorKind::Other => FailureKind::Unspecified,
            _ => FailureKind::Refused,
        };
        Self {
            kind: error.cause.unwrap_or_else(of_service),
            message: error.message,
            retryable: error.retryable,
        }
    }
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request's body is not what the route takes.
    BadRequest,
    /// The bearer token is missing or wrong.
    Unauthorized,
    /// There is no such route, or no such reward node.
    NotFound,
    /// The route takes another method.
    MethodNotAllowed,
    /// The body is above the server's limit.
    TooLarge,
    /// The server has as much to do as it takes at once.
    Busy,
    /// The request's time is up.
    Timeout,
    /// A verifier has panicked: a fault in its code.
    Panic,
    /// A verifier says that it cannot judge the row.
    Verifier,
    /// The score is infinite or not a number.
    NotFinite,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

impl ErrorKind {
    /// Every kind that a server counts.
    #[cfg(feature = "server")]
    pub(crate) const COUNTED: [Self; 10] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::Busy,
        Self::Timeout,
        Self::Panic,
        Self::Verifier,
        Self::NotFinite,
    ];

    /// Its name in JSON and in metrics.
    #[cfg(feature = "server")]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Verifier => "verifier",
            Self::NotFinite => "not_finite",
            Self::Other => "other",
        }
    }
}

/// The body of `GET /health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Always `ok`: a server that cannot judge does not answer.
    pub status: String,
    /// Names of the reward nodes.
    pub nodes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{episode, text_target};

    fn item(text: &str) -> ScoreItem {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_item_becomes_an_episode() {
        let found = item(r#"{"response": "<answer>7</answer>", "answer": "7", "prompt": "3 + 4?", "tags": {"task": "sum"}}"#)
            .into_episode(3)
            .unwrap();
        assert_eq!(found.answer_text(), "<answer>7</answer>");
        assert_eq!(found.task.id, "3");
        assert_eq!(found.task.target, Some(text_target("7")));
        assert_eq!(found.task.messages[0].plain_text(), "3 + 4?");
        assert_eq!(found.task.kind(), "sum");
        let boxed = item(r#"{"id": "a", "response": "", "target": {"box": [1, 2, 3, 4]}}"#);
        let boxed = boxed.into_episode(0).unwrap();
        assert_eq!(boxed.task.id, "a");
        assert_eq!(
            boxed.task.target,
            Some(Target::Box([1.0, 2.0, 3.0, 4.0].into()))
        );
    }

    #[test]
    fn an_items_pictures_have_the_sizes_that_frames_are_told_by() {
        let sizes = r#"{"source": [100, 50], "model": [112, 56]}"#;
        let sized = |sizes: &str| {
            let text = format!(r#"{{"response": "a", "pictures": [{sizes}]}}"#);
            serde_json::from_str::<ScoreItem>(&text)
        };
        let episode = sized(sizes).unwrap().into_episode(0).unwrap();
        let wanted = FrameSizes::new([100, 50], [112, 56]).unwrap();
        assert_eq!(episode.pictures, [wanted]);
        let error = sized(r#"{"source": [0, 50], "model": [112, 56]}"#).unwrap_err();
        assert!(error.to_string().contains("empty side"), "{error}");
    }

    #[test]
    fn contradictory_items_are_refused() {
        for (text, message) in [
            ("{}", "item 1: give a `response` or an `episode`"),
            (
                r#"{"response": "a", "answer": "b", "target": {"text": "c"}}"#,
                "item 1: `answer` and `target` both",
            ),
        ] {
            let error = item(text).into_episode(1).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        let twice = ScoreItem {
            response: Some("a".to_owned()),
            ..ScoreItem::of_episode(&episode(None, "a"))
        };
        let error = twice.into_episode(1).unwrap_err();
        assert!(
            error.contains("`response` stands beside `episode`"),
            "{error}"
        );
        assert!(serde_json::from_str::<ScoreItem>(r#"{"respones": "a"}"#).is_err());
    }

    #[test]
    fn an_episode_travels_without_what_no_reward_reads() {
        let before = episode(Some(text_target("7")), "<answer>7</answer>");
        let sent = serde_json::to_string(&ScoreItem::of_episode(&before)).unwrap();
        assert!(!sent.contains("-0.5"), "{sent}");
        let found = item(&sent);
        assert_eq!(found.group.as_deref(), Some("row-1"));
        let after = found.into_episode(0).unwrap();
        assert_eq!(after.task, before.task);
        assert_eq!(after.segments[0].token_ids, [1]);
        assert_eq!(after.answer_text(), before.answer_text());
    }

    #[test]
    fn verdicts_keep_their_meaning_on_the_way() {
        for verdict in [
            Verdict::score(0.5),
            Verdict::unparsed("no box"),
            Verdict::Skip,
            Verdict::Error(VerifierError {
                kind: ocelli_core::FailureKind::TargetMissing,
                message: "no target".to_owned(),
                retryable: true,
            }),
        ] {
            let sent = serde_json::to_string(&NodeVerdict::from(verdict.clone())).unwrap();
            let back: NodeVerdict = serde_json::from_str(&sent).unwrap();
            assert_eq!(Verdict::from(back), verdict, "{sent}");
        }
        for value in [f64::NAN, f64::INFINITY] {
            let sent = NodeVerdict::from(Verdict::score(value));
            assert!(
                matches!(&sent, NodeVerdict::Error(e) if e.kind == ErrorKind::NotFinite),
                "{sent:?}"
            );
        }
    }

    #[test]
    fn kinds_are_named_as_they_are_written() {
        #[cfg(feature = "server")]
        for kind in ErrorKind::COUNTED {
            assert_eq!(
                serde_json::to_string(&kind).unwrap(),
                format!("\"{}\"", kind.name())
            );
        }
        let newer: ErrorKind = serde_json::from_str("\"invented_later\"").unwrap();
        assert_eq!(newer, ErrorKind::Other);
    }
}
