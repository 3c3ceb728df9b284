//! V-Triune's reward protocol, `POST /judge`, so that its trainer can use this server unchanged.
//!
//! Fields and formulas: `reward_server/reward_serving_fastapi.py` and `verify.py` of MiniMax-AI/One-RL-to-See-Them-All.
//! Where we differ, on purpose:
//! - a failure answers with a 4xx or 5xx status and a typed body. Theirs answers 200 with zeros, which nobody can tell
//!   from a wrong answer;
//! - a gold answer that cannot be read is such a failure, not a 0;
//! - `reward_verifier` names a node of the server's own recipe, so the recipe says what `mathverify` or `detection` is.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use ocelli_core::{Episode, Outcome, Target, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::payload::parse_box;
use crate::protocol::{ErrorKind, ScoreItem, ServiceError};
use crate::tags::{sections, tag_credit};

/// Weight of the format when a request names none.
const FORMAT_RATIO: f64 = 0.1;
/// Weight of the accuracy when a request names none.
const ACCURACY_RATIO: f64 = 1.0;

/// The body of a request. Keys beyond these are allowed and not read, as in the original.
#[derive(Debug, Deserialize)]
pub(super) struct JudgeRequest {
    response: String,
    prompt: String,
    /// The right answer, bare.
    answer: String,
    /// The right answer as a model turn would give it, for instance inside `<answer>…</answer>`.
    solution: String,
    data_source: String,
    pub(super) reward_verifier: String,
    /// A JSON object as a text: the row's own parameters and `is_training`, `step`, `total_steps`, ….
    reward_verifier_parm: String,
    format_ratio: Option<f64>,
    accuracy_ratio: Option<f64>,
}

/// The body of an answer.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct JudgeReply {
    rewards: BTreeMap<String, f64>,
}

impl JudgeRequest {
    /// The nodes to ask, out of `known`: the verifier's own, and `<verifier>.<name>` for each further score that the
    /// recipe wants to see in the reply as `<name>_reward`.
    pub(super) fn nodes(&self, known: &[String]) -> Vec<String> {
        let ours = |name: &&String| {
            **name == self.reward_verifier || sub_score(name, &self.reward_verifier).is_some()
        };
        known.iter().filter(ours).cloned().collect()
    }

    /// The episode to be judged. Where the verifier judges boxes the target is `answer`; else the text in the solution's
    /// `<answer>` section, or the whole solution. The parameters become tags, their values as JSON.
    pub(super) fn episode(&self, judges_boxes: bool) -> Result<Episode, ServiceError> {
        let parameters: Map<String, Value> = serde_json::from_str(&self.reward_verifier_parm)
            .map_err(|error| {
                refused(format!(
                    "`reward_verifier_parm` is not a JSON object written as a text: {error}"
                ))
            })?;
        let mut tags: BTreeMap<String, String> = parameters
            .into_iter()
            .map(|(key, value)| match value {
                Value::String(text) => (key, text),
                other => (key, other.to_string()),
            })
            .collect();
        tags.insert("source".to_owned(), self.data_source.clone());
        let gold = sections(&self.solution).answer.unwrap_or(&self.solution);
        let target = match parse_box(&self.answer) {
            Ok(found) if judges_boxes => Target::Box(found),
            // No box of the solution stands in for it: the original reads the answer alone.
            Err(_) if judges_boxes => Target::Text(self.answer.clone()),
            _ => Target::Text(gold.trim().to_owned()),
        };
        let item = ScoreItem {
            id: Some(self.data_source.clone()),
            response: Some(self.response.clone()),
            prompt: Some(self.prompt.clone()),
            target: Some(target),
            tags,
            ..ScoreItem::default()
        };
        item.into_episode(0).map_err(refused)
    }

    /// `final = (α · accuracy + β · format) / (α + β)`, with α `accuracy_ratio` and β `format_ratio`, in the original's
    /// order of operations.
    pub(super) fn reply(
        &self,
        outcome: &Outcome,
    ) -> Result<JudgeReply, (StatusCode, ServiceError)> {
        let unprocessable = |error| (StatusCode::UNPROCESSABLE_ENTITY, error);
        let (alpha, beta) = self.ratios().map_err(unprocessable)?;
        let mut rewards = BTreeMap::new();
        for (name, verdict) in &outcome.verdicts {
            let key = match sub_score(name, &self.reward_verifier) {
                Some(sub) => format!("{sub}_reward"),
                None => "accuracy_reward".to_owned(),
            };
            rewards.insert(key, value_of(name, verdict)?);
        }
        let accuracy = rewards.get("accuracy_reward").copied().ok_or_else(|| {
            unprocessable(refused(format!(
                "the reward node `{}` gave no verdict",
                self.reward_verifier
            )))
        })?;
        let format = format_score(&self.reward_verifier, &self.response);
        let sum = alpha + beta;
        rewards.insert("format_reward".to_owned(), format);
        rewards.insert("reflection_reward".to_owned(), 0.0);
        rewards.insert(
            "final_reward".to_owned(),
            accuracy * (alpha / sum) + format * (beta / sum),
        );
        Ok(JudgeReply { rewards })
    }

    fn ratios(&self) -> Result<(f64, f64), ServiceError> {
        let alpha = self.accuracy_ratio.unwrap_or(ACCURACY_RATIO);
        let beta = self.format_ratio.unwrap_or(FORMAT_RATIO);
        if alpha >= 0.0 && beta >= 0.0 && alpha + beta > 0.0 && (alpha + beta).is_finite() {
            Ok((alpha, beta))
        } else {
            Err(refused(format!(
                "`accuracy_ratio` {alpha} and `format_ratio` {beta} must be 0 or more, and not both 0"
            )))
        }
    }
}

/// `map` of the node `detection.map`.
fn sub_score<'a>(node: &'a str, verifier: &str) -> Option<&'a str> {
    node.strip_prefix(verifier)?.strip_prefix('.')
}

fn value_of(node: &str, verdict: &Verdict) -> Result<f64, (StatusCode, ServiceError)> {
    match verdict {
        Verdict::Score { value, .. } if value.is_finite() => Ok(*value),
        Verdict::Score { value, .. } => Err((
            StatusCode::INTERNAL_SERVER_ERROR,
            ServiceError::new(
                ErrorKind::NotFinite,
                format!("the score of `{node}` is {value}"),
            ),
        )),
        Verdict::Skip => Err((
            StatusCode::UNPROCESSABLE_ENTITY,
            refused(format!(
                "the reward node `{node}` does not apply to this row; look at its `when`"
            )),
        )),
        Verdict::Error(error) => Err((
            if error.retryable {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::UNPROCESSABLE_ENTITY
            },
            ServiceError {
                kind: ErrorKind::Verifier,
                cause: Some(error.kind),
                message: error.message.clone(),
                retryable: error.retryable,
            },
        )),
    }
}

fn refused(message: String) -> ServiceError {
    ServiceError::new(ErrorKind::BadRequest, message)
}

/// The format score that goes with a verifier.
///
/// - `mathverify`: a quarter for each of `<think>⏎`, `⏎</think>⏎`, `⏎<answer>⏎` and `⏎</answer>` that occurs exactly
///   once, ⏎ being a line break;
/// - `detection`: 1 when `⏎<answer>⏎` occurs, `⏎</answer>` occurs exactly once and a box can be read from the answer,
///   else 0;
/// - all others, which the original does not have: [`tag_credit`].
fn format_score(verifier: &str, response: &str) -> f64 {
    let count = |tag: &str| response.matches(tag).count();
    match verifier {
        "mathverify" => {
            let tags = ["<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"];
            tags.iter().filter(|tag| count(tag) == 1).count() as f64 * 0.25
        }
        "detection" => {
            let tagged = count("\n<answer>\n") > 0 && count("\n</answer>") == 1;
            let answer = sections(response).answer.unwrap_or_default();
            f64::from(u8::from(tagged && parse_box(answer).is_ok()))
        }
        _ => tag_credit(response),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(verifier: &str, more: &str) -> JudgeRequest {
        let text = format!(
            r#"{{"response": "<think>\na\n</think>\n<answer>\n[0, 0, 10, 5]\n</answer>", "prompt": "where?",
                "answer": "[0, 0, 10, 10]", "solution": "<answer> [0, 0, 10, 10] </answer>", "data_source": "coco",
                "reward_verifier": "{verifier}", "reward_verifier_parm": "{{\"step\": 3, \"style\": \"rule\"}}",
                "image_path": ["a.png"] {more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn outcome(verdicts: &[(&str, Verdict)]) -> Outcome {
        Outcome {
            verdicts: verdicts
                .iter()
                .map(|(name, verdict)| ((*name).to_owned(), verdict.clone()))
                .collect(),
            ..Outcome::default()
        }
    }

    #[test]
    fn the_final_reward_is_the_weighted_mean_of_accuracy_and_format() {
        for (more, expected) in [
            ("", 0.5 * (1.0 / 1.1) + 1.0 * (0.1 / 1.1)),
            (r#", "format_ratio": 1.0"#, 0.75),
            (r#", "format_ratio": 0.0, "accuracy_ratio": 0.3"#, 0.5),
            (
                r#", "format_ratio": null, "accuracy_ratio": 0.9"#,
                0.5 * 0.9 + 0.1,
            ),
        ] {
            let judged = outcome(&[
                ("detection", Verdict::score(0.5)),
                ("detection.map50", Verdict::score(0.25)),
            ]);
            let rewards = request("detection", more).reply(&judged).unwrap().rewards;
            let found = rewards["final_reward"];
            assert!((found - expected).abs() < 1e-15, "{more}: {found}");
            assert_eq!(rewards["accuracy_reward"], 0.5);
            assert_eq!(rewards["format_reward"], 1.0);
            assert_eq!(rewards["reflection_reward"], 0.0);
            assert_eq!(rewards["map50_reward"], 0.25);
            assert_eq!(rewards.len(), 5);
        }
    }

    #[test]
    fn a_failure_is_not_a_zero() {
        let failed = |verdict| {
            let judged = outcome(&[("exact", verdict)]);
            request("exact", "").reply(&judged).unwrap_err()
        };
        let error = |retryable| {
            Verdict::Error(ocelli_core::VerifierError {
                kind: ocelli_core::FailureKind::TargetMissing,
                message: "no target".to_owned(),
                retryable,
            })
        };
        for (verdict, status, kind) in [
            (error(false), 422, ErrorKind::Verifier),
            (error(true), 503, ErrorKind::Verifier),
            (Verdict::Skip, 422, ErrorKind::BadRequest),
            (Verdict::score(f64::NAN), 500, ErrorKind::NotFinite),
        ] {
            let (found, error) = failed(verdict);
            assert_eq!((found.as_u16(), error.kind), (status, kind));
            assert_eq!(error.retryable, status == 503);
        }
        let judged = outcome(&[("exact", Verdict::score(1.0))]);
        for more in [
            r#", "format_ratio": 0, "accuracy_ratio": 0"#,
            r#", "format_ratio": -0.1"#,
            r#", "format_ratio": 1e308, "accuracy_ratio": 1e308"#,
        ] {
            let (status, _) = request("exact", more).reply(&judged).unwrap_err();
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{more}");
        }
    }

    #[test]
    fn the_row_becomes_an_episode() {
        let text = request("exact", "").episode(false).unwrap();
        assert_eq!(
            text.task.target,
            Some(Target::Text("[0, 0, 10, 10]".to_owned()))
        );
        assert_eq!(text.task.tags["step"], "3");
        assert_eq!(text.task.tags["style"], "rule");
        assert_eq!(text.task.tags["source"], "coco");
        let boxed = request("box_iou", "").episode(true).unwrap();
        assert!(matches!(boxed.task.target, Some(Target::Box(_))));
        let mut bad = request("exact", "");
        bad.reward_verifier_parm = "[1]".to_owned();
        assert!(bad.episode(false).is_err());
    }

    #[test]
    fn asks_the_named_node_and_its_sub_scores() {
        let known = ["tags", "detection", "detection.map", "detections", "map"];
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        let request = request("detection", "");
        assert_eq!(request.nodes(&known), ["detection", "detection.map"]);
    }

    #[test]
    fn formats_of_worked_examples() {
        for (verifier, response, score) in [
            (
                "mathverify",
                "<think>\na\n</think>\n<answer>\n7\n</answer>",
                1.0,
            ),
            (
                "mathverify",
                "<think>a</think>\n<answer>\n7\n</answer>",
                0.5,
            ),
            ("mathverify", "<think>\na\n</think>\n<think>\n", 0.25),
            ("mathverify", "", 0.0),
            ("detection", "\n<answer>\n[1, 2, 3, 4]\n</answer>", 1.0),
            ("detection", "\n<answer>\nnone\n</answer>", 0.0),
            ("detection", "<answer>[1, 2, 3, 4]</answer>", 0.0),
            ("exact", "<answer>7</answer>", 0.5),
        ] {
            assert_eq!(format_score(verifier, response), score, "{response}");
        }
    }
}
