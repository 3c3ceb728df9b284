//! Rewards of lists of boxes as published systems define them.

use ocelli_core::Schedule;
use serde::Deserialize;

use super::detection::borrowed;
use super::row::{Refusal, Row};
use super::{Reads, Rule, range};
use crate::measure::box_rewards::{
    PrecisionOver, V_TRIUNE_THRESHOLDS, VTriuneRatios, VisionR1Phase, v_triune_accuracy,
    v_triune_threshold, vision_r1_pairs, vision_r1_scores, vlm_r1_weighted_sum,
};

/// [`vlm_r1_weighted_sum`], in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VlmR1WeightedSum {
    #[serde(default = "yes")]
    labels: bool,
}

fn yes() -> bool {
    true
}

impl Rule for VlmR1WeightedSum {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn counts_pixels(&self) -> bool {
        true
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target_boxes(self.labels)?;
        let found = row.read_boxes(self.labels, &row.places()?)?;
        row.measured(vlm_r1_weighted_sum(&borrowed(&found), &borrowed(&gold)))
    }
}

/// [`v_triune_accuracy`], in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VTriuneDetection {
    #[serde(default = "yes")]
    labels: bool,
    /// [`v_triune_threshold`] by the stage's progress when none is given.
    #[serde(default)]
    threshold: Option<Schedule>,
    /// The mean over [`V_TRIUNE_THRESHOLDS`] instead.
    #[serde(default)]
    average: bool,
    #[serde(default = "best_iou_first")]
    ratios: VTriuneRatios,
}

/// The IoU scores by the best IoU first, .3 of it completeness: a choice of ours, since the ratios belong to a row's
/// source there.
fn best_iou_first() -> VTriuneRatios {
    VTriuneRatios {
        iou_max_label_first: 0.0,
        iou_max_iou_first: 1.0,
        iou_completeness: 0.3,
        map: 0.0,
        map50: 0.0,
        map75: 0.0,
    }
}

impl Rule for VTriuneDetection {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn check(&self) -> Result<(), String> {
        if let Some(threshold) = &self.threshold {
            range::unused("threshold", self.average, "`average = true`")?;
            range::share_schedule("threshold", threshold)?;
        }
        let ratios = &self.ratios;
        range::unit("ratios.iou_completeness", ratios.iou_completeness)?;
        let parts = [
            ("ratios.iou_max_label_first", ratios.iou_max_label_first),
            ("ratios.iou_max_iou_first", ratios.iou_max_iou_first),
            ("ratios.map", ratios.map),
            ("ratios.map50", ratios.map50),
            ("ratios.map75", ratios.map75),
        ];
        for (key, value) in parts {
            range::at_least_zero(key, value)?;
        }
        if parts.iter().all(|(_, value)| *value == 0.0) {
            return Err("`ratios` are all 0, so every answer scores 0; raise one".to_owned());
        }
        Ok(())
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target_boxes(self.labels)?;
        let found = row.read_boxes(self.labels, &row.places()?)?;
        let threshold = match &self.threshold {
            Some(rule) => rule.at(row.progress),
            None => v_triune_threshold(row.progress.share()),
        };
        let thresholds = match self.average {
            true => V_TRIUNE_THRESHOLDS.as_slice(),
            false => &[threshold],
        };
        row.measured(v_triune_accuracy(
            &borrowed(&found),
            &borrowed(&gold),
            thresholds,
            &self.ratios,
        ))
    }
}

/// One part of Vision-R1's two-phase criterion ([`vision_r1_scores`]), in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VisionR1Detection {
    #[serde(default = "yes")]
    labels: bool,
    metric: VisionR1Metric,
    /// Step from which on the strict criterion holds.
    #[serde(default = "released_step")]
    late_from: u64,
    /// What precision is a mean over; the predictions when nothing is said.
    #[serde(default)]
    precision_over: Option<PrecisionOver>,
}

fn released_step() -> u64 {
    1500
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum VisionR1Metric {
    Recall,
    Precision,
}

impl Rule for VisionR1Detection {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn check(&self) -> Result<(), String> {
        let given = self.precision_over.is_some() && self.metric == VisionR1Metric::Recall;
        range::unused("precision_over", given, "`metric = \"recall\"`")
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target_boxes(self.labels)?;
        let [width, height] = row.extent()?;
        let found = row.read_boxes(self.labels, &row.places()?)?;
        let pairs = vision_r1_pairs(&borrowed(&found), &borrowed(&gold), width, height);
        let phase = if row.progress.step >= self.late_from {
            VisionR1Phase::Late
        } else {
            VisionR1Phase::Early
        };
        let over = self.precision_over.unwrap_or(PrecisionOver::Predictions);
        let scores = vision_r1_scores(&row.measured(pairs)?, phase, over);
        Ok(match self.metric {
            VisionR1Metric::Recall => scores.recall,
            VisionR1Metric::Precision => scores.precision,
        })
    }
}

#[cfg(test)]
mod tests {
    use ocelli_core::Progress;
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread, verifier};
    use crate::fixtures::{episode, text_target};

    const ONE: &str = r#"[{"bbox_2d": [0, 0, 10, 10], "label": "cat"}]"#;
    const JUNK: &str = r#"[{"bbox_2d": [0, 0, 10, 10], "label": "cat"}, {"bbox_2d": [90, 90, 99, 99], "label": "cat"}]"#;

    fn at(rule: &serde_json::Value, target: &str, answer: &str, step: u64) -> f64 {
        let text = format!("<answer>{answer}</answer>");
        let episode = episode(Some(text_target(target)), &text);
        let progress = Progress {
            step,
            max_steps: 100,
        };
        verifier(rule.clone())
            .verify(&episode, progress)
            .value()
            .unwrap()
    }

    #[test]
    fn vlm_r1_weighs_overlap_and_completeness() {
        let rule = json!({"verifier": "vlm_r1_weighted_sum"});
        // .7 · 1 + .3 · (1 − (0 + 1/2) / 2)
        scores(
            rule.clone(),
            ONE,
            &[(ONE, 1.0), (JUNK, 0.7 + 0.3 * 0.75), ("None", 0.0)],
        );
        unread(rule.clone(), ONE, "a cat", "no box");
        bad_target(rule, "a cat", "no box");
    }

    #[test]
    fn v_triune_grows_stricter() {
        let ninety = r#"[{"bbox_2d": [0, 0, 10, 9], "label": "cat"}]"#;
        let ratios = json!({"iou_max_label_first": 0, "iou_max_iou_first": 1, "iou_completeness": 0,
            "map": 0, "map50": 0, "map75": 0});
        let rule = json!({"verifier": "v_triune_detection", "ratios": ratios});
        for (step, value) in [(5, 0.9), (10, 0.9), (20, 0.0), (99, 0.0)] {
            assert!(
                (at(&rule, ONE, ninety, step) - value).abs() < 1e-12,
                "{step}"
            );
        }
        // Two for one: the whole is × .6.
        assert!((at(&rule, ONE, JUNK, 0) - 0.6).abs() < 1e-12);
        let fixed = json!({"verifier": "v_triune_detection", "ratios": ratios, "threshold": 0.5});
        assert!((at(&fixed, ONE, ninety, 99) - 0.9).abs() < 1e-12);
        // .5, .55, … .95 and .99: nine of eleven thresholds are at most .9.
        let average = json!({"verifier": "v_triune_detection", "ratios": ratios, "average": true});
        assert!((at(&average, ONE, ninety, 99) - 0.9 * 9.0 / 11.0).abs() < 1e-12);
        let rule = json!({"verifier": "v_triune_detection"});
        scores(rule.clone(), ONE, &[(ONE, 1.0), ("[]", 0.0)]);
        unread(rule.clone(), ONE, "a cat", "no box");
        bad_target(rule, "[[1, 2, 3, 4]]", "labels = false");
        for (keys, message) in [
            (
                json!({"average": true, "threshold": 0.5}),
                "`threshold` has no effect",
            ),
            (json!({"threshold": 0}), "`threshold = 0`"),
            (
                json!({"ratios": {"iou_max_label_first": 0, "iou_max_iou_first": 0,
                    "iou_completeness": 0, "map": 0, "map50": 0, "map75": 0}}),
                "all 0",
            ),
        ] {
            let mut rule = keys;
            rule["verifier"] = "v_triune_detection".into();
            let error = refused(rule);
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn vision_r1_has_two_phases() {
        let gold = r#"[{"bbox_2d": [0, 0, 10, 10], "label": "cat"}, {"bbox_2d": [50, 50, 60, 60], "label": "cat"}]"#;
        // GIoU .6 and .8: each inside of its gold box, which is the hull.
        let found = r#"[{"bbox_2d": [0, 0, 10, 6], "label": "cat"}, {"bbox_2d": [50, 50, 60, 58], "label": "cat"}]"#;
        let rule = |metric: &str| {
            json!({"verifier": "vision_r1_detection", "metric": metric, "late_from": 50,
                "frame": "per_thousand", "target_frame": "per_thousand"})
        };
        for (metric, early, late) in [("recall", 1.0, 0.5), ("precision", 0.8, 0.4)] {
            let rule = rule(metric);
            assert!(
                (at(&rule, gold, found, 0) - early).abs() < 1e-12,
                "{metric}"
            );
            assert!(
                (at(&rule, gold, found, 50) - late).abs() < 1e-12,
                "{metric}"
            );
            assert_eq!(at(&rule, gold, "None", 0), 0.0);
            unread(rule.clone(), gold, "cats", "no box");
            bad_target(rule, "cats", "no box");
        }
        let no_frame = json!({"verifier": "vision_r1_detection", "metric": "recall"});
        assert!(matches!(
            super::super::tests::verdict(&no_frame, gold, found),
            ocelli_core::Verdict::Error(error) if error.kind == ocelli_core::FailureKind::FrameUnknown
        ));
        let rule = json!({"verifier": "vision_r1_detection", "metric": "recall", "precision_over": "pairs"});
        assert!(refused(rule).contains("`precision_over` has no effect"));
        assert!(refused(json!({"verifier": "vision_r1_detection"})).contains("metric"));
    }
}
