//! One box against one box.

use ocelli_core::Schedule;
use serde::Deserialize;

use super::row::{Refusal, Row, one_if};
use super::{Reads, Rule, range};
use crate::measure::box_rewards::gui_g1_reward;
use crate::measure::overlap::Overlap;
use crate::payload::parse_box;

/// The overlap of the answered box and the target box; with a threshold, 1 from it on and 0 below. By default
/// intersection over union, in `[0, 1]`. Areas are continuous; VLM-R1's function takes one pixel off and adds it again,
/// which comes to the same, but gives 0 when the overlap is at most one pixel wide or high: `pixel_iou`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BoxIou {
    #[serde(default)]
    threshold: Option<Schedule>,
    #[serde(default)]
    overlap: Overlap,
}

impl Rule for BoxIou {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn counts_pixels(&self) -> bool {
        self.overlap == Overlap::PixelIou
    }

    fn check(&self) -> Result<(), String> {
        match &self.threshold {
            Some(threshold) => range::share_schedule("threshold", threshold),
            None => Ok(()),
        }
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target_box()?;
        let places = row.places()?;
        let found = places.bounds(row.read(parse_box)?)?;
        let overlap = self.overlap.of(&found, &target);
        let threshold = self.threshold.as_ref().map(|rule| rule.at(row.progress));
        Ok(threshold.map_or(overlap, |least| one_if(overlap >= least)))
    }
}

/// [`gui_g1_reward`], in `[0, 1.375]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuiG1 {}

impl Rule for GuiG1 {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn counts_pixels(&self) -> bool {
        true
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target_box()?;
        let [width, height] = row.extent()?;
        let places = row.places()?;
        let found = places.bounds(row.read(parse_box)?)?;
        Ok(gui_g1_reward(&found, &target, width, height))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread};

    #[test]
    fn overlaps_by_name() {
        // Half of the target: IoU .5 and the hull is the target, so GIoU .5 and DIoU .5 − (2.5² / 200).
        let target = "[0, 0, 10, 10]";
        let half = "[0, 0, 10, 5]";
        for (overlap, value) in [
            ("iou", 0.5),
            ("pixel_iou", 0.5),
            ("iou_plus_one", 0.5),
            ("giou", 0.5),
            ("unit_giou", 0.75),
            ("diou", 0.5 - 6.25 / 200.0),
        ] {
            let rule = json!({"verifier": "box_iou", "overlap": overlap});
            scores(rule, target, &[(half, value), (target, 1.0)]);
        }
        // Apart, the hull of 20 × 20 holds two boxes of 100: −(400 − 200) / 400.
        let giou = json!({"verifier": "box_iou", "overlap": "giou"});
        scores(giou, target, &[("[10, 10, 20, 20]", -0.5)]);
    }

    #[test]
    fn a_box_may_be_a_text() {
        let rule = json!({"verifier": "box_iou"});
        scores(
            rule.clone(),
            r#"{"bbox_2d": [0, 0, 2, 2]}"#,
            &[("(0,0),(2,2)", 1.0)],
        );
        unread(rule.clone(), "[0, 0, 2, 2]", "top left", "no box");
        bad_target(rule.clone(), "a box", "no box");
        bad_target(rule, "[0, 0, 0, 2]", "has no area");
        let error = refused(json!({"verifier": "box_iou", "threshold": 2}));
        assert!(error.contains("`threshold = 2` is not allowed"), "{error}");
    }

    #[test]
    fn gui_g1_adds_three_parts() {
        let rule =
            json!({"verifier": "gui_g1", "frame": "per_thousand", "target_frame": "per_thousand"});
        let target = "[100, 100, 200, 200]";
        // A hit with IoU 1 and all corners right; a miss far away; a box of no form.
        scores(
            rule.clone(),
            target,
            &[(target, 1.375), ("[900, 900, 100, 900]", 0.0)],
        );
        // Twice as wide: the centre is on the edge, IoU .5, closeness 1, 1, .9, 1.
        let harmonic = 4.0 / (3.0 + 1.0 / 0.9);
        scores(
            rule.clone(),
            target,
            &[("[100, 100, 300, 200]", 1.0 + 0.25 * 0.5 + 0.125 * harmonic)],
        );
        unread(rule.clone(), target, "there", "no box");
        bad_target(rule, "there", "no box");
    }
}
