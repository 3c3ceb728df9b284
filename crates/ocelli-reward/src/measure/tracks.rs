//! Boxes over the frames of a video.

use std::collections::BTreeMap;

use ocelli_core::BoundingBox;

use super::intervals::Interval;

/// The box of each frame that has one.
pub type Track = BTreeMap<i64, BoundingBox>;

/// Mean IoU over the frames of `gold`, in `[0, 1]`; a frame without a prediction counts 0 and further predictions do not
/// count (OneThinker's tracking). 0 when `gold` has no frames.
pub fn mean_iou_over_gold(predicted: &Track, gold: &Track) -> f64 {
    shared_iou(predicted, gold) / gold.len().max(1) as f64
}

/// Mean IoU over the frames that both have, in `[0, 1]`; 0 without such frames.
pub fn mean_iou_in_common(predicted: &Track, gold: &Track) -> f64 {
    let common = gold
        .keys()
        .filter(|&frame| predicted.contains_key(frame))
        .count();
    shared_iou(predicted, gold) / common.max(1) as f64
}

fn shared_iou(predicted: &Track, gold: &Track) -> f64 {
    gold.iter()
        .filter_map(|(frame, object)| Some(predicted.get(frame)?.iou(object)))
        .sum()
}

/// `.5 · tIoU + .5 ·` [`mean_iou_in_common`], in `[0, 1]`: OneThinker's spatio-temporal grounding.
pub fn spatio_temporal_score(
    (predicted_time, predicted): (&Interval, &Track),
    (gold_time, gold): (&Interval, &Track),
) -> f64 {
    0.5 * predicted_time.iou(gold_time) + 0.5 * mean_iou_in_common(predicted, gold)
}

/// `.25 + .25 ·` share of the gold frames that are predicted, in `[.25, .5]`: OneThinker's structure bonus of a valid
/// dictionary of frames.
pub fn frame_structure_bonus(predicted: &Track, gold: &Track) -> f64 {
    let common = gold
        .keys()
        .filter(|&frame| predicted.contains_key(frame))
        .count();
    0.25 + 0.25 * common as f64 / gold.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(frames: &[(i64, f64)]) -> Track {
        frames
            .iter()
            .map(|&(frame, width)| (frame, [0.0, 0.0, width, 10.0].into()))
            .collect()
    }

    #[test]
    fn one_thinker_tracking_and_grounding() {
        let gold = track(&[(1, 10.0), (2, 10.0), (3, 10.0), (4, 10.0)]);
        let predicted = track(&[(2, 10.0), (3, 5.0), (9, 10.0)]);
        assert_eq!(mean_iou_over_gold(&predicted, &gold), 1.5 / 4.0);
        assert_eq!(mean_iou_in_common(&predicted, &gold), 0.75);
        assert_eq!(frame_structure_bonus(&predicted, &gold), 0.375);
        let times = (Interval::from([2.0, 4.0]), Interval::from([0.0, 4.0]));
        assert_eq!(
            spatio_temporal_score((&times.0, &predicted), (&times.1, &gold)),
            0.625
        );
    }

    #[test]
    fn without_frames() {
        let gold = track(&[(1, 10.0)]);
        for (predicted, gold) in [(&Track::new(), &gold), (&gold, &Track::new())] {
            assert_eq!(mean_iou_over_gold(predicted, gold), 0.0);
            assert_eq!(mean_iou_in_common(predicted, gold), 0.0);
            assert_eq!(frame_structure_bonus(predicted, gold), 0.25);
        }
    }
}
