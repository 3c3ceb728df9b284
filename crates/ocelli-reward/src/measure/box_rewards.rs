//! Rewards of boxes as published systems define them, each composed of an overlap, a matcher and a summary.
//!
//! A list with nothing in it is treated as each system does; that is written at each function.

use ocelli_core::BoundingBox;
use serde::{Deserialize, Serialize};

use super::average_precision::scene_ap;
use super::detection::{
    BoxMatch, LabeledBox, count_penalty, length_penalty, match_boxes, match_by_overlaps, overlaps,
};
use super::error::MeasureError;
use super::matching::{Matcher, PairScores};
use super::overlap::{Overlap, giou, pixel_iou};
use super::points::in_box;
use super::shape::{dead_zone, harmonic_mean};

/// VLM-R1's `od_ap` times [`length_penalty`]: the reward that stopped over-long lists of boxes.
///
/// # Errors
/// Those of [`scene_ap`].
pub fn vlm_r1_od_length(
    predicted: &[LabeledBox],
    gold: &[LabeledBox],
) -> Result<f64, MeasureError> {
    Ok(scene_ap(predicted, gold)?.ap * length_penalty(predicted.len(), gold.len()))
}

/// VLM-R1's `weighted_sum`, in `[0, 1]`: .7 · mean IoU over the gold boxes + .3 · completeness, boxes matched greedily
/// from IoU .5 on with the pixel convention, a wrong label as IoU 0. Its third part, the share of right labels, has
/// weight 0 there. Nothing predicted and nothing there is 1; one of both is 0.
///
/// # Errors
/// Those of [`match_boxes`].
pub fn vlm_r1_weighted_sum(
    predicted: &[LabeledBox],
    gold: &[LabeledBox],
) -> Result<f64, MeasureError> {
    if predicted.is_empty() || gold.is_empty() {
        return Ok(f64::from(u8::from(predicted.len() == gold.len())));
    }
    let matched = match_boxes(predicted, gold, Overlap::PixelIou, Matcher::Greedy, 0.5)?
        .without_wrong_labels(predicted, gold);
    Ok(0.7 * matched.mean_over_gold() + 0.3 * matched.completeness())
}

/// V-Triune's threshold by `progress` in `[0, 1]`: .85 up to .10, .95 up to .25, then .99.
pub fn v_triune_threshold(progress: f64) -> f64 {
    if progress <= 0.10 {
        0.85
    } else if progress <= 0.25 {
        0.95
    } else {
        0.99
    }
}

/// V-Triune's eleven thresholds, whose mean is its threshold `average`.
pub const V_TRIUNE_THRESHOLDS: [f64; 11] =
    [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99];

/// The parts of V-Triune's detection score (`det_reward_ratio`), each at least 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VTriuneRatios {
    /// Matched by the best label first.
    pub iou_max_label_first: f64,
    /// Matched by the best IoU first.
    pub iou_max_iou_first: f64,
    /// Share of completeness in both IoU scores, in `[0, 1]`.
    pub iou_completeness: f64,
    pub map: f64,
    pub map50: f64,
    pub map75: f64,
}

/// V-Triune's accuracy of a list of boxes, in `[0, 1]`: the mean of its five scores by `ratios`, times
/// `.6^|predicted − gold|`. The IoU scores are `(1 − c) · mean IoU over gold + c · completeness`, each a mean over
/// `thresholds`: one from [`v_triune_threshold`] or all [`V_TRIUNE_THRESHOLDS`]. 0 when one list is empty or all ratios
/// are 0.
///
/// # Errors
/// Those of [`match_boxes`] and [`scene_ap`].
pub fn v_triune_accuracy(
    predicted: &[LabeledBox],
    gold: &[LabeledBox],
    thresholds: &[f64],
    ratios: &VTriuneRatios,
) -> Result<f64, MeasureError> {
    if predicted.is_empty() || gold.is_empty() {
        return Ok(0.0);
    }
    let scores = overlaps(predicted, gold, Overlap::Iou)?;
    let iou_score = |matcher| -> Result<f64, MeasureError> {
        let mut sum = 0.0;
        for &threshold in thresholds {
            let matched = match_by_overlaps(&scores, predicted, gold, matcher, threshold)?
                .without_wrong_labels(predicted, gold);
            sum += (1.0 - ratios.iou_completeness) * matched.mean_over_gold()
                + ratios.iou_completeness * matched.completeness();
        }
        Ok(sum / thresholds.len().max(1) as f64)
    };
    let precision = scene_ap(predicted, gold)?;
    let parts = [
        (ratios.iou_max_iou_first, iou_score(Matcher::Greedy)?),
        (
            ratios.iou_max_label_first,
            iou_score(Matcher::GreedyLabelFirst)?,
        ),
        (ratios.map, precision.ap),
        (ratios.map50, precision.ap50),
        (ratios.map75, precision.ap75),
    ];
    let total: f64 = parts.iter().map(|(ratio, _)| ratio).sum();
    if total <= 0.0 {
        return Ok(0.0);
    }
    let sum: f64 = parts.iter().map(|(ratio, score)| ratio * score).sum();
    Ok(sum / total * count_penalty(predicted.len(), gold.len(), 0.6))
}

/// Vision-R1's criteria; its released recipe moves on at step 1500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisionR1Phase {
    Early,
    Late,
}

/// What Vision-R1's precision is a mean over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrecisionOver {
    /// The matched pairs, as in its version for TRL.
    Pairs,
    /// All predictions, as in its version for EasyR1; the stricter one.
    Predictions,
}

/// Vision-R1's recall and precision, each in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VisionR1Scores {
    pub recall: f64,
    pub precision: f64,
}

/// Vision-R1's pairs: Hungarian on the sum of the corners' mean distance (each axis in shares of the picture's `width`
/// and `height`), 1 for another label, and −GIoU; the pair's score is GIoU. Its weights of the three are not known to
/// us, so they are equal.
///
/// # Errors
/// Those of [`PairScores::new`] and [`super::matching::optimal`]; width or height not above 0.
pub fn vision_r1_pairs(
    predicted: &[LabeledBox],
    gold: &[LabeledBox],
    width: f64,
    height: f64,
) -> Result<BoxMatch, MeasureError> {
    if !(width > 0.0 && height > 0.0) {
        return Err(MeasureError::BadGold {
            what: "picture size",
            reason: "width and height must be above 0",
        });
    }
    let agreement = PairScores::new(predicted.len(), gold.len(), |p, g| {
        let (a, b) = (predicted[p], gold[g]);
        let apart = [
            (a.bounds.x1 - b.bounds.x1) / width,
            (a.bounds.y1 - b.bounds.y1) / height,
            (a.bounds.x2 - b.bounds.x2) / width,
            (a.bounds.y2 - b.bounds.y2) / height,
        ];
        let distance = apart.iter().map(|d| d.abs()).sum::<f64>() / 4.0;
        // A box that is not finite is as far as any can be, not an error of the row.
        let distance = if distance.is_finite() { distance } else { 1e9 };
        giou(&a.bounds, &b.bounds) - distance - f64::from(u8::from(a.label != b.label))
    })?;
    let mut pairs = Matcher::Hungarian.pairs(&agreement, |_, _| true, f64::NEG_INFINITY)?;
    for pair in &mut pairs {
        pair.score = giou(&predicted[pair.predicted].bounds, &gold[pair.gold].bounds);
    }
    Ok(BoxMatch {
        pairs,
        predicted: predicted.len(),
        gold: gold.len(),
    })
}

/// Vision-R1's two-phase criterion. Recall is the share of gold boxes whose pair scores ≥ .5 (late: ≥ .75), then below
/// .5 it is 0 and above .75 it is 1. Precision is the mean of the pairs' scores, where below .5 (late: .75) counts 0
/// and above .75 (late: .9) counts 1. Nothing predicted is 1 when nothing is there, else 0, for both; something
/// predicted where nothing is there is 0.
pub fn vision_r1_scores(
    matched: &BoxMatch,
    phase: VisionR1Phase,
    over: PrecisionOver,
) -> VisionR1Scores {
    if matched.predicted == 0 || matched.gold == 0 {
        let both = f64::from(u8::from(matched.predicted == matched.gold));
        return VisionR1Scores {
            recall: both,
            precision: both,
        };
    }
    let (hit, low, high) = match phase {
        VisionR1Phase::Early => (0.5, 0.5, 0.75),
        VisionR1Phase::Late => (0.75, 0.75, 0.9),
    };
    let hits = matched.pairs.iter().filter(|p| p.score >= hit).count();
    let shaped: f64 = matched
        .pairs
        .iter()
        .map(|pair| dead_zone(pair.score, low, high))
        .sum();
    let count = match over {
        PrecisionOver::Pairs => matched.pairs.len(),
        PrecisionOver::Predictions => matched.predicted,
    };
    VisionR1Scores {
        recall: dead_zone(hits as f64 / matched.gold as f64, 0.5, 0.75),
        precision: shaped / count.max(1) as f64,
    }
}

/// GUI-G1's reward of a box in a screenshot, in `[0, 1.375]`: 1 when the centre of `predicted` lies in `gold`, plus .25
/// times their IoU with the pixel convention, plus .125 times the harmonic mean of the four corners' closeness
/// `1 − |Δ| / side` (0 where negative). The last part makes a box of the wrong size cost something even on a hit.
/// A predicted box that is not valid, and a picture without size, score 0.
pub fn gui_g1_reward(predicted: &BoundingBox, gold: &BoundingBox, width: f64, height: f64) -> f64 {
    let sized = width > 0.0 && height > 0.0;
    if !sized || !predicted.is_valid() || !gold.is_valid() {
        return 0.0;
    }
    let centre = [
        f64::midpoint(predicted.x1, predicted.x2),
        f64::midpoint(predicted.y1, predicted.y2),
    ];
    let closeness = |a: f64, b: f64, side: f64| (1.0 - (a - b).abs() / side).max(0.0);
    let corners = [
        closeness(predicted.x1, gold.x1, width),
        closeness(predicted.y1, gold.y1, height),
        closeness(predicted.x2, gold.x2, width),
        closeness(predicted.y2, gold.y2, height),
    ];
    f64::from(u8::from(in_box(centre, gold)))
        + 0.25 * pixel_iou(predicted, gold)
        + 0.125 * harmonic_mean(&corners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::matching::Pair;

    fn boxes<'a>(list: &[([f64; 4], &'a str)]) -> Vec<LabeledBox<'a>> {
        list.iter()
            .map(|&(corners, label)| LabeledBox {
                bounds: corners.into(),
                label,
            })
            .collect()
    }

    #[track_caller]
    fn assert_near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-12,
            "{found} is not {expected}"
        );
    }

    #[test]
    fn vlm_r1_od_length_halves_for_one_junk_box() {
        let gold = boxes(&[([0.0, 0.0, 10.0, 10.0], "cat")]);
        let predicted = boxes(&[
            ([0.0, 0.0, 10.0, 10.0], "cat"),
            ([50.0, 50.0, 60.0, 60.0], "cat"),
        ]);
        assert_near(vlm_r1_od_length(&predicted, &gold).unwrap(), 0.5);
        assert_near(vlm_r1_od_length(&predicted[..1], &gold).unwrap(), 1.0);
        assert_near(vlm_r1_od_length(&[], &[]).unwrap(), 1.0);
        assert_near(vlm_r1_od_length(&[], &gold).unwrap(), 0.0);
        assert_near(vlm_r1_od_length(&predicted, &[]).unwrap(), 0.0);
    }

    #[test]
    fn vlm_r1_weighted_sum_of_position_and_completeness() {
        // One of two found at IoU .8; one false. Position .4, completeness 1 − (.5 + .5) / 2.
        let gold = boxes(&[
            ([0.0, 0.0, 10.0, 10.0], "cat"),
            ([50.0, 50.0, 60.0, 60.0], "cat"),
        ]);
        let mut predicted = boxes(&[
            ([0.0, 0.0, 10.0, 8.0], "cat"),
            ([80.0, 0.0, 90.0, 10.0], "cat"),
        ]);
        assert_near(
            vlm_r1_weighted_sum(&predicted, &gold).unwrap(),
            0.7 * 0.4 + 0.3 * 0.5,
        );
        predicted[0].label = "dog";
        assert_near(vlm_r1_weighted_sum(&predicted, &gold).unwrap(), 0.3 * 0.5);
        assert_near(vlm_r1_weighted_sum(&[], &[]).unwrap(), 1.0);
        assert_near(vlm_r1_weighted_sum(&[], &gold).unwrap(), 0.0);
    }

    const ONLY_GREEDY: VTriuneRatios = VTriuneRatios {
        iou_max_label_first: 0.0,
        iou_max_iou_first: 1.0,
        iou_completeness: 0.0,
        map: 0.0,
        map50: 0.0,
        map75: 0.0,
    };

    #[test]
    fn v_triune_asks_for_more_overlap_as_training_goes_on() {
        let gold = boxes(&[([0.0, 0.0, 10.0, 10.0], "cat")]);
        let mut predicted = boxes(&[([0.0, 0.0, 10.0, 9.0], "cat")]);
        let at = |predicted: &[LabeledBox], progress| {
            v_triune_accuracy(
                predicted,
                &gold,
                &[v_triune_threshold(progress)],
                &ONLY_GREEDY,
            )
            .unwrap()
        };
        assert_near(at(&predicted, 0.05), 0.9);
        assert_near(at(&predicted, 0.20), 0.0);
        predicted.push(boxes(&[([50.0, 50.0, 60.0, 60.0], "cat")])[0]);
        assert_near(at(&predicted, 0.05), 0.9 * 0.6);
        assert_eq!(
            [0.1, 0.25, 0.26].map(v_triune_threshold),
            [0.85, 0.95, 0.99]
        );
    }

    #[test]
    fn v_triune_mixes_its_scores_by_ratio() {
        // IoU .9 passes 9 of the 11 thresholds and 9 of COCO's ten.
        let gold = boxes(&[([0.0, 0.0, 10.0, 10.0], "cat")]);
        let predicted = boxes(&[([0.0, 0.0, 10.0, 9.0], "cat")]);
        let ratios = VTriuneRatios {
            iou_max_label_first: 1.0,
            iou_completeness: 0.3,
            map: 1.0,
            map75: 2.0,
            ..ONLY_GREEDY
        };
        let average = 9.0 / 11.0 * (0.7 * 0.9 + 0.3);
        assert_near(
            v_triune_accuracy(&predicted, &gold, &V_TRIUNE_THRESHOLDS, &ratios).unwrap(),
            (2.0 * average + 0.9 + 2.0) / 5.0,
        );
        let nothing = VTriuneRatios {
            iou_max_iou_first: 0.0,
            ..ONLY_GREEDY
        };
        assert_near(
            v_triune_accuracy(&predicted, &gold, &[0.5], &nothing).unwrap(),
            0.0,
        );
        assert_near(
            v_triune_accuracy(&[], &[], &[0.5], &ONLY_GREEDY).unwrap(),
            0.0,
        );
    }

    #[test]
    fn vision_r1_asks_for_more_in_its_second_phase() {
        let pair = |place, score| Pair {
            predicted: place,
            gold: place,
            score,
        };
        let mut matched = BoxMatch {
            pairs: vec![pair(0, 0.6), pair(1, 0.8)],
            predicted: 2,
            gold: 2,
        };
        let early = vision_r1_scores(&matched, VisionR1Phase::Early, PrecisionOver::Pairs);
        assert_near(early.recall, 1.0);
        assert_near(early.precision, 0.8);
        let late = vision_r1_scores(&matched, VisionR1Phase::Late, PrecisionOver::Pairs);
        assert_near(late.recall, 0.5);
        assert_near(late.precision, 0.4);
        matched.predicted = 4;
        let strict = vision_r1_scores(&matched, VisionR1Phase::Early, PrecisionOver::Predictions);
        assert_near(strict.precision, 0.4);
        // One of three found: a recall under .5 counts nothing.
        matched.gold = 5;
        assert_near(
            vision_r1_scores(&matched, VisionR1Phase::Early, PrecisionOver::Pairs).recall,
            0.0,
        );
    }

    #[test]
    fn vision_r1_pairs_by_place_and_label() {
        let gold = boxes(&[
            ([0.0, 0.0, 10.0, 10.0], "cat"),
            ([0.0, 0.0, 10.0, 10.0], "dog"),
        ]);
        let predicted = boxes(&[
            ([0.0, 0.0, 10.0, 9.0], "dog"),
            ([0.0, 0.0, 9.0, 10.0], "cat"),
        ]);
        let matched = vision_r1_pairs(&predicted, &gold, 100.0, 100.0).unwrap();
        let places: Vec<_> = matched
            .pairs
            .iter()
            .map(|p| (p.predicted, p.gold))
            .collect();
        assert_eq!(places, [(0, 1), (1, 0)]);
        assert_near(matched.pairs[0].score, 0.9);
        assert!(vision_r1_pairs(&predicted, &gold, 0.0, 100.0).is_err());
        let lost = boxes(&[([f64::NAN; 4], "cat")]);
        let matched = vision_r1_pairs(&lost, &gold, 100.0, 100.0).unwrap();
        let scores = vision_r1_scores(&matched, VisionR1Phase::Early, PrecisionOver::Pairs);
        assert_eq!((scores.recall, scores.precision), (0.0, 0.0));
    }

    #[test]
    fn gui_g1_punishes_a_hit_of_the_wrong_size() {
        let gold = [10.0, 10.0, 30.0, 30.0].into();
        let reward = |corners: [f64; 4]| gui_g1_reward(&corners.into(), &gold, 100.0, 100.0);
        assert_near(reward([10.0, 10.0, 30.0, 30.0]), 1.375);
        assert_near(reward([0.0, 0.0, 40.0, 40.0]), 1.175);
        assert_near(reward([f64::NAN; 4]), 0.0);
        assert!(reward([60.0, 60.0, 70.0, 70.0]) < 0.125);
    }

    #[test]
    fn vla_r1_rewards_nearness_of_boxes_that_do_not_touch() {
        let gold: BoundingBox = [0.1, 0.1, 0.3, 0.3].into();
        let reward = |corners: [f64; 4]| Overlap::UnitGiou.of(&corners.into(), &gold);
        assert_near(0.9 * reward([0.1, 0.1, 0.3, 0.3]) + 0.1, 1.0);
        assert!(reward([0.4, 0.1, 0.6, 0.3]) > reward([0.7, 0.1, 0.9, 0.3]));
    }
}
