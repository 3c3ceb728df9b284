//! A list of boxes against a list of boxes.

use ocelli_core::{FailureKind, Schedule};
use serde::Deserialize;

use super::row::{NamedBox, Refusal, Row};
use super::{Reads, Rule, range};
use crate::measure::MeasureError;
use crate::measure::average_precision::scene_ap;
use crate::measure::detection::{
    BoxMatch, LabeledBox, count_penalty, length_penalty, match_by_overlaps, mean_best_overlap,
    overlaps, salience_weighted,
};
use crate::measure::matching::{Matcher, PairScores};
use crate::measure::overlap::Overlap;

/// A summary of two lists of boxes, times a penalty on the length of the answer's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Detection {
    #[serde(default)]
    summary: Summary,
    #[serde(default)]
    overlap: Option<Overlap>,
    #[serde(default)]
    matcher: Option<Matcher>,
    /// Overlap from which on a pair counts; .5 by default.
    #[serde(default)]
    threshold: Option<Schedule>,
    /// Whether boxes with different labels can be no pair.
    #[serde(default = "yes")]
    labels: bool,
    #[serde(default)]
    penalty: Option<Penalty>,
    /// `penalty = "count"`: what each box too many or too few multiplies the score by.
    #[serde(default)]
    penalty_base: Option<f64>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Summary {
    /// [`BoxMatch::mean_over_gold`].
    #[default]
    MeanIou,
    /// [`BoxMatch::precision`].
    Precision,
    /// [`BoxMatch::recall`].
    Recall,
    /// [`BoxMatch::f_score`] with β 1.
    F1,
    /// [`BoxMatch::completeness`].
    Completeness,
    /// [`salience_weighted`], with the key `weight` of the target's objects.
    Salience,
    /// [`mean_best_overlap`].
    MeanBestOverlap,
    /// [`scene_ap`]: over ten thresholds, and at .5 and .75.
    Map,
    Ap50,
    Ap75,
}

impl Summary {
    /// Whether boxes are matched one to one at a threshold.
    fn matches(self) -> bool {
        !matches!(
            self,
            Self::MeanBestOverlap | Self::Map | Self::Ap50 | Self::Ap75
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Penalty {
    /// [`length_penalty`].
    Length,
    /// [`count_penalty`].
    Count,
}

/// V-Triune's.
const COUNT_BASE: f64 = 0.6;

pub(super) fn borrowed(boxes: &[NamedBox]) -> Vec<LabeledBox<'_>> {
    boxes
        .iter()
        .map(|found| LabeledBox {
            bounds: found.bounds,
            label: &found.label,
        })
        .collect()
}

/// Matches two lists; boxes with different labels are no pair.
fn matched(
    predicted: &[LabeledBox],
    gold: &[LabeledBox],
    overlap: Overlap,
    matcher: Matcher,
    at_least: f64,
) -> Result<BoxMatch, MeasureError> {
    /// Below every overlap.
    const APART: f64 = -2.0;
    let plain = overlaps(predicted, gold, overlap)?;
    let scores = PairScores::new(predicted.len(), gold.len(), |p, g| {
        if predicted[p].label == gold[g].label {
            plain.score(p, g)
        } else {
            APART
        }
    })?;
    match_by_overlaps(&scores, predicted, gold, matcher, at_least)
}

impl Rule for Detection {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn counts_pixels(&self) -> bool {
        self.overlap == Some(Overlap::PixelIou)
    }

    fn check(&self) -> Result<(), String> {
        if !self.summary.matches() {
            let with = "a `summary` that matches no pairs";
            range::unused("matcher", self.matcher.is_some(), with)?;
            range::unused("threshold", self.threshold.is_some(), with)?;
        }
        if self.summary.matches() || self.summary == Summary::MeanBestOverlap {
            if self.summary == Summary::MeanBestOverlap && self.labels {
                return Err(
                    "`summary = \"mean_best_overlap\"` does not look at labels; set `labels = false`"
                        .to_owned(),
                );
            }
        } else {
            let with = "average precision, which takes intersection over union";
            range::unused("overlap", self.overlap.is_some(), with)?;
        }
        if let Some(threshold) = &self.threshold {
            range::share_schedule("threshold", threshold)?;
        }
        match (self.penalty, self.penalty_base) {
            (Some(Penalty::Count), Some(base)) => range::unit("penalty_base", base),
            (_, base) => range::unused(
                "penalty_base",
                base.is_some(),
                "anything but `penalty = \"count\"`",
            ),
        }
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target_boxes(self.labels)?;
        let weights = match self.summary {
            Summary::Salience => weights(row, target.len())?,
            _ => Vec::new(),
        };
        let places = row.places()?;
        let found = row.read_boxes(self.labels, &places)?;
        let (predicted, gold) = (borrowed(&found), borrowed(&target));
        let overlap = self.overlap.unwrap_or_default();
        let score = if self.summary.matches() {
            let threshold = self.threshold.as_ref().map(|rule| rule.at(row.progress));
            let pairs = row.measured(matched(
                &predicted,
                &gold,
                overlap,
                self.matcher.unwrap_or_default(),
                threshold.unwrap_or(0.5),
            ))?;
            match self.summary {
                Summary::Precision => pairs.precision(),
                Summary::Recall => pairs.recall(),
                Summary::F1 => pairs.f_score(1.0),
                Summary::Completeness => pairs.completeness(),
                Summary::Salience => salience_weighted(&pairs, &weights),
                _ => pairs.mean_over_gold(),
            }
        } else if self.summary == Summary::MeanBestOverlap {
            let bounds = |boxes: &[NamedBox]| boxes.iter().map(|b| b.bounds).collect::<Vec<_>>();
            // Its cost is that of the table of pairs.
            row.measured(PairScores::new(found.len(), target.len(), |_, _| 0.0))?;
            mean_best_overlap(&bounds(&found), &bounds(&target), overlap)
        } else {
            let ap = row.measured(scene_ap(&predicted, &gold))?;
            match self.summary {
                Summary::Ap50 => ap.ap50,
                Summary::Ap75 => ap.ap75,
                _ => ap.ap,
            }
        };
        let (predicted, gold) = (found.len(), target.len());
        Ok(score
            * match self.penalty {
                None => 1.0,
                Some(Penalty::Length) => length_penalty(predicted, gold),
                Some(Penalty::Count) => {
                    count_penalty(predicted, gold, self.penalty_base.unwrap_or(COUNT_BASE))
                }
            })
    }
}

/// The key `weight` of each object of the target.
fn weights(row: &Row, boxes: usize) -> Result<Vec<f64>, Refusal> {
    #[derive(Deserialize)]
    struct Object {
        weight: f64,
    }
    let objects: Vec<Object> = row.target_json()?;
    let weights: Vec<f64> = objects.into_iter().map(|object| object.weight).collect();
    if weights.len() == boxes && weights.iter().all(|weight| *weight >= 0.0) {
        return Ok(weights);
    }
    Err(row.unjudgeable(
        FailureKind::TargetUnreadable,
        "the row's boxes do not all have a `weight` from 0 on",
        "mend the row",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread};

    const GOLD: &str = r#"[{"bbox_2d": [0, 0, 10, 10], "label": "cat"}, {"bbox_2d": [20, 0, 30, 10], "label": "dog"}]"#;
    /// The cat, the dog as a hen, and half of the cat again.
    const ANSWER: &str = r#"[{"bbox_2d": [0, 0, 10, 10], "label": "Cat"}, {"bbox_2d": [20, 0, 30, 10], "label": "hen"},
        {"bbox_2d": [0, 0, 10, 5], "label": "cat"}]"#;

    #[test]
    fn summaries_of_matched_boxes() {
        for (summary, with_labels, without) in [
            // One pair of two gold boxes, three predictions; without labels two pairs.
            ("mean_iou", 0.5, 1.0),
            ("precision", 1.0 / 3.0, 2.0 / 3.0),
            ("recall", 0.5, 1.0),
            ("f1", 0.4, 0.8),
            (
                "completeness",
                1.0 - (0.5 + 2.0 / 3.0) / 2.0,
                1.0 - (1.0 / 3.0) / 2.0,
            ),
        ] {
            // Missing everything costs completeness a half; nothing was answered that could be false.
            let nothing = if summary == "completeness" { 0.5 } else { 0.0 };
            for (labels, part) in [(true, with_labels), (false, without)] {
                let rule = json!({"verifier": "detection", "summary": summary, "labels": labels});
                scores(rule, GOLD, &[(GOLD, 1.0), (ANSWER, part), ("[]", nothing)]);
            }
        }
    }

    #[test]
    fn matchers_and_thresholds() {
        let rule = |more: serde_json::Value| {
            let mut rule = json!({"verifier": "detection", "summary": "recall"});
            rule.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            rule
        };
        let half = r#"[{"bbox_2d": [0, 0, 10, 5], "label": "cat"}]"#;
        for matcher in [
            "single",
            "greedy",
            "greedy_label_first",
            "label_first",
            "hungarian",
        ] {
            scores(rule(json!({"matcher": matcher})), GOLD, &[(half, 0.5)]);
            let strict = rule(json!({"matcher": matcher, "threshold": 0.6}));
            scores(strict, GOLD, &[(half, 0.0)]);
        }
        scores(
            rule(json!({"overlap": "unit_giou", "threshold": 0.74})),
            GOLD,
            &[(half, 0.5)],
        );
    }

    #[test]
    fn average_precision_and_penalties() {
        let one = r#"[{"bbox_2d": [0, 0, 10, 10], "label": "cat"}]"#;
        let junk = r#"[{"bbox_2d": [0, 0, 10, 10], "label": "cat"}, {"bbox_2d": [90, 90, 99, 99], "label": "cat"}]"#;
        for summary in ["map", "ap50", "ap75"] {
            let plain = json!({"verifier": "detection", "summary": summary});
            // A false box after the true one costs average precision nothing (VLM-R1's reward hack) …
            scores(plain, one, &[(one, 1.0), (junk, 1.0), ("None", 0.0)]);
            // … until the length counts.
            let od_length =
                json!({"verifier": "detection", "summary": summary, "penalty": "length"});
            scores(od_length, one, &[(one, 1.0), (junk, 0.5)]);
            let count = json!({"verifier": "detection", "summary": summary, "penalty": "count"});
            scores(count, one, &[(one, 1.0), (junk, 0.6)]);
            let base = json!({"verifier": "detection", "summary": summary, "penalty": "count", "penalty_base": 0.5});
            scores(base, one, &[(junk, 0.5)]);
        }
    }

    #[test]
    fn other_summaries() {
        let best =
            json!({"verifier": "detection", "summary": "mean_best_overlap", "labels": false});
        scores(
            best,
            "[0, 0, 10, 10]",
            &[("[[0, 0, 10, 10], [0, 0, 10, 5]]", 0.75)],
        );
        let salience = json!({"verifier": "detection", "summary": "salience", "labels": false});
        let gold =
            r#"[{"bbox": [0, 0, 10, 10], "weight": 3}, {"bbox": [20, 0, 30, 10], "weight": 1}]"#;
        scores(
            salience.clone(),
            gold,
            &[("[0, 0, 10, 10]", 0.75), ("[20, 0, 30, 10]", 0.25)],
        );
        bad_target(salience, r#"[{"bbox": [0, 0, 10, 10]}]"#, "weight");
    }

    #[test]
    fn what_cannot_be_judged_or_set() {
        let rule = json!({"verifier": "detection"});
        unread(rule.clone(), GOLD, "a cat and a dog", "no box");
        bad_target(rule.clone(), "a cat", "no box");
        bad_target(rule.clone(), "[[0, 0, 10, 10]]", "set `labels = false`");
        bad_target(
            rule,
            r#"[{"bbox_2d": [0, 0, 0, 10], "label": "cat"}]"#,
            "has no area",
        );
        for (keys, message) in [
            (
                json!({"summary": "map", "threshold": 0.5}),
                "`threshold` has no effect",
            ),
            (
                json!({"summary": "map", "matcher": "greedy"}),
                "`matcher` has no effect",
            ),
            (
                json!({"summary": "map", "overlap": "giou"}),
                "`overlap` has no effect",
            ),
            (json!({"threshold": 1.5}), "`threshold = 1.5`"),
            (json!({"penalty_base": 0.5}), "`penalty_base` has no effect"),
            (
                json!({"penalty": "count", "penalty_base": 2}),
                "`penalty_base = 2`",
            ),
            (
                json!({"summary": "mean_best_overlap"}),
                "set `labels = false`",
            ),
            (json!({"summary": "ap"}), "`ap`"),
        ] {
            let mut rule = keys;
            rule["verifier"] = "detection".into();
            let error = refused(rule);
            assert!(error.contains(message), "{error}");
        }
    }
}
