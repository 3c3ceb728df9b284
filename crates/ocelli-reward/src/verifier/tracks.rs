//! Boxes over the frames of a video, and prompts for a mask model.

use serde::Deserialize;

use super::intervals::DECAY;
use super::row::{Places, Refusal, Row};
use super::{Reads, Rule, range};
use crate::measure::points::assigned_kernel;
use crate::measure::shape::exponential;
use crate::measure::tracks::{
    Track, mean_iou_in_common, mean_iou_over_gold, spatio_temporal_score,
};
use crate::payload::{FrameBoxes, parse_frame_boxes, parse_segmentation};

/// How near a track of boxes is to the target's, in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrackMatch {
    #[serde(default)]
    metric: TrackMetric,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TrackMetric {
    /// [`mean_iou_over_gold`].
    #[default]
    OverGold,
    /// [`mean_iou_in_common`].
    InCommon,
    /// [`spatio_temporal_score`].
    SpatioTemporal,
}

/// The boxes of a list by thousandths of its keys, which may be seconds.
fn track(boxes: &FrameBoxes, places: Option<&Places>) -> Result<Track, Refusal> {
    let mut track = Track::new();
    for (key, bounds) in &boxes.boxes {
        let bounds = match places {
            Some(places) => places.bounds(*bounds)?,
            None => *bounds,
        };
        track.insert((key * 1000.0).round() as i64, bounds);
    }
    Ok(track)
}

impl Rule for TrackMatch {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target(parse_frame_boxes)?;
        let gold = track(&target, None)?;
        let time = target.time.filter(|time| time.is_valid());
        let timed = self.metric == TrackMetric::SpatioTemporal;
        if gold.is_empty() || (timed && time.is_none()) {
            let reason = "it has no frames, or no time from start to end";
            return Err(row.unreadable_target(row.target_text()?, reason));
        }
        let places = row.places()?;
        let answer = row.read(parse_frame_boxes)?;
        let found = track(&answer, Some(&places))?;
        Ok(match (self.metric, time) {
            (TrackMetric::OverGold, _) => mean_iou_over_gold(&found, &gold),
            (TrackMetric::SpatioTemporal, Some(time)) => match &answer.time {
                Some(answered) => spatio_temporal_score((answered, &found), (&time, &gold)),
                // Without a time, its half is lost.
                None => 0.5 * mean_iou_in_common(&found, &gold),
            },
            _ => mean_iou_in_common(&found, &gold),
        })
    }
}

/// OneThinker's score of the prompts for a mask model, in `[0, 1]`: of a picture `.5 IoU + .25 positive + .25 negative`,
/// of a frame in time `.3 IoU + .3 exp(−|Δt| / decay) + .2 positive + .2 negative`, the points by [`assigned_kernel`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SegmentationMatch {
    #[serde(default = "fifty")]
    sigma: f64,
    #[serde(default = "two")]
    decay: f64,
}

fn fifty() -> f64 {
    50.0
}

fn two() -> f64 {
    DECAY
}

impl Rule for SegmentationMatch {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn check(&self) -> Result<(), String> {
        range::positive("sigma", self.sigma)?;
        range::positive("decay", self.decay)
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target(parse_segmentation)?;
        if !gold.bounding_box.is_valid() {
            let reason = "the corners of its box are out of order";
            return Err(row.unreadable_target(row.target_text()?, reason));
        }
        let places = row.places()?;
        let found = row.read(parse_segmentation)?;
        let iou = places.bounds(found.bounding_box)?.iou(&gold.bounding_box);
        let points = |found: Vec<[f64; 2]>, gold: &[[f64; 2]]| {
            row.measured(assigned_kernel(&places.points(found)?, gold, self.sigma))
        };
        let positive = points(found.positive_points, &gold.positive_points)?;
        let negative = points(found.negative_points, &gold.negative_points)?;
        Ok(match gold.time {
            None => 0.5 * iou + 0.25 * positive + 0.25 * negative,
            Some(time) => {
                let near = |answered: f64| exponential(answered - time, self.decay);
                let near = found.time.map_or(0.0, near);
                0.3 * iou + 0.3 * near + 0.2 * positive + 0.2 * negative
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread};

    #[test]
    fn boxes_by_frame() {
        let target = r#"{"time": [0, 10], "boxes": {"1": [0, 0, 10, 10], "2": [0, 0, 10, 10]}}"#;
        // The first frame is right, the second missing; a third does not count.
        let half = r#"{"time": [5, 15], "boxes": {"1": [0, 0, 10, 10], "3": [0, 0, 1, 1]}}"#;
        for (metric, value) in [
            ("over_gold", 0.5),
            ("in_common", 1.0),
            ("spatio_temporal", 0.5 / 3.0 + 0.5),
        ] {
            let rule = json!({"verifier": "track", "metric": metric});
            scores(rule.clone(), target, &[(target, 1.0), (half, value)]);
            unread(rule.clone(), target, "it moves", "no");
            bad_target(rule, "it moves", "cannot be read");
        }
        let timed = json!({"verifier": "track", "metric": "spatio_temporal"});
        scores(
            timed.clone(),
            target,
            &[(r#"{"boxes": {"1": [0, 0, 10, 10]}}"#, 0.5)],
        );
        bad_target(timed, r#"{"boxes": {"1": [0, 0, 10, 10]}}"#, "no time");
    }

    #[test]
    fn prompts_for_a_mask_model() {
        let rule = json!({"verifier": "segmentation"});
        let of = |more: &str, points: &str| {
            format!(
                r#"{{{more}"boxes": [0, 0, 10, 10], "positive_points": [{points}], "negative_points": [[90, 90]]}}"#
            )
        };
        let target = of("", "[5, 5]");
        // Without the positive point a quarter is lost.
        scores(
            rule.clone(),
            &target,
            &[(&target, 1.0), (&of("", ""), 0.75)],
        );
        unread(rule.clone(), &target, "[0, 0, 10, 10]", "no");
        bad_target(rule.clone(), "a mask", "cannot be read");
        let timed = of("\"time\": 4, ", "[5, 5]");
        // Two seconds late: .7 + .3 / e.
        let late = of("\"time\": 6, ", "[5, 5]");
        scores(
            rule,
            &timed,
            &[
                (&timed, 1.0),
                (&late, 0.7 + 0.3 * (-1.0f64).exp()),
                (&target, 0.7),
            ],
        );
        assert!(refused(json!({"verifier": "segmentation", "sigma": -1})).contains("above 0"));
    }
}
