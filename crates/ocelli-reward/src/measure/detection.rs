//! Summaries of matched boxes: how complete, how exact, and how much too long a list is.
//!
//! Labels are compared as they stand; fold their letter case before. The rewards that published systems compose of
//! these are in [`super::box_rewards`].

use ocelli_core::BoundingBox;

use super::error::MeasureError;
use super::matching::{Matcher, Pair, PairScores};
use super::overlap::Overlap;

/// A box and the name of what it shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabeledBox<'a> {
    pub bounds: BoundingBox,
    pub label: &'a str,
}

/// Which predictions were matched with which gold boxes, and how many there were of each.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxMatch {
    pub pairs: Vec<Pair>,
    pub predicted: usize,
    pub gold: usize,
}

/// The overlap of each prediction with each gold box.
///
/// # Errors
/// Too many boxes: see [`PairScores::new`].
pub fn overlaps(
    predicted: &[LabeledBox],
    gold: &[LabeledBox],
    overlap: Overlap,
) -> Result<PairScores, MeasureError> {
    PairScores::new(predicted.len(), gold.len(), |p, g| {
        overlap.of(&predicted[p].bounds, &gold[g].bounds)
    })
}

/// Matches two lists of boxes; pairs below `at_least` are not matched.
///
/// # Errors
/// Too many boxes: see [`PairScores::new`] and [`super::matching::optimal`].
pub fn match_boxes(
    predicted: &[LabeledBox],
    gold: &[LabeledBox],
    overlap: Overlap,
    matcher: Matcher,
    at_least: f64,
) -> Result<BoxMatch, MeasureError> {
    let scores = overlaps(predicted, gold, overlap)?;
    match_by_overlaps(&scores, predicted, gold, matcher, at_least)
}

/// [`match_boxes`] with the [`overlaps`] of these lists at hand, for several thresholds or matchers.
///
/// # Errors
/// Those of [`super::matching::optimal`].
pub fn match_by_overlaps(
    scores: &PairScores,
    predicted: &[LabeledBox],
    gold: &[LabeledBox],
    matcher: Matcher,
    at_least: f64,
) -> Result<BoxMatch, MeasureError> {
    let same_label = |p: usize, g: usize| predicted[p].label == gold[g].label;
    Ok(BoxMatch {
        pairs: matcher.pairs(scores, same_label, at_least)?,
        predicted: predicted.len(),
        gold: gold.len(),
    })
}

impl BoxMatch {
    /// Sets the score of pairs with different labels to 0; they stay matched. VLM-R1 and V-Triune do so. Both lists must
    /// be those that were matched.
    pub fn without_wrong_labels(mut self, predicted: &[LabeledBox], gold: &[LabeledBox]) -> Self {
        for pair in &mut self.pairs {
            if predicted[pair.predicted].label != gold[pair.gold].label {
                pair.score = 0.0;
            }
        }
        self
    }

    /// `matched / predicted`; nothing predicted is 1 when nothing is there, else 0.
    pub fn precision(&self) -> f64 {
        self.per(self.pairs.len() as f64, self.predicted, self.gold)
    }

    /// `matched / gold`; nothing there is 1 when nothing is predicted, else 0.
    pub fn recall(&self) -> f64 {
        self.per(self.pairs.len() as f64, self.gold, self.predicted)
    }

    /// `(1 + β²) P R / (β² P + R)`; 0 when both are 0.
    pub fn f_score(&self, beta: f64) -> f64 {
        f_score(self.precision(), self.recall(), beta)
    }

    /// Sum of the pairs' scores over the number of gold boxes: what is missed counts 0. Nothing there is 1 when
    /// nothing is predicted, else 0.
    pub fn mean_over_gold(&self) -> f64 {
        let sum = self.pairs.iter().map(|pair| pair.score).sum();
        self.per(sum, self.gold, self.predicted)
    }

    /// `1 − (missed / gold + false / predicted) / 2`, in `[0, 1]`; a share of none is 0 (VLM-R1, V-Triune).
    pub fn completeness(&self) -> f64 {
        let share = |all: usize| (all - self.pairs.len()) as f64 / all.max(1) as f64;
        1.0 - (share(self.gold) + share(self.predicted)) / 2.0
    }

    fn per(&self, sum: f64, count: usize, other: usize) -> f64 {
        match (count, other) {
            (0, 0) => 1.0,
            (0, _) => 0.0,
            _ => sum / count as f64,
        }
    }
}

/// `(1 + β²) P R / (β² P + R)`, the weighted harmonic mean of precision and recall; 0 when both are 0.
pub fn f_score(precision: f64, recall: f64, beta: f64) -> f64 {
    let weight = beta * beta;
    let below = weight * precision + recall;
    if below > 0.0 {
        (1.0 + weight) * precision * recall / below
    } else {
        0.0
    }
}

/// Mean over the predictions of the best overlap with any gold box (SpaceTools); 1 when both lists are empty, 0 when
/// one is.
pub fn mean_best_overlap(predicted: &[BoundingBox], gold: &[BoundingBox], overlap: Overlap) -> f64 {
    if predicted.is_empty() || gold.is_empty() {
        return f64::from(u8::from(predicted.len() == gold.len()));
    }
    let best = |found: &BoundingBox| {
        let scores = gold.iter().map(|object| overlap.of(found, object));
        scores.fold(f64::NEG_INFINITY, f64::max)
    };
    predicted.iter().map(best).sum::<f64>() / predicted.len() as f64
}

/// `Σ wₖ scoreₖ / Σ wₖ` over the gold boxes; a box that is not matched counts 0 (GRiP's salience-weighted IoU, the
/// published abstract's reading). `weights` has one weight for each gold box; 0 when they sum to nothing.
pub fn salience_weighted(matched: &BoxMatch, weights: &[f64]) -> f64 {
    let total: f64 = weights.iter().sum();
    let weight = |pair: &Pair| weights.get(pair.gold).copied().unwrap_or(0.0);
    let sum: f64 = matched.pairs.iter().map(|p| p.score * weight(p)).sum();
    if total > 0.0 && sum.is_finite() {
        sum / total
    } else {
        0.0
    }
}

/// `min(1, gold / predicted)`: VLM-R1's odLength multiplies average precision by it, and UI and crowd rewards use the
/// same. 1 when nothing is predicted.
pub fn length_penalty(predicted: usize, gold: usize) -> f64 {
    if predicted <= gold {
        1.0
    } else {
        gold as f64 / predicted as f64
    }
}

/// `base^|predicted − gold|`; V-Triune's base is .6.
pub fn count_penalty(predicted: usize, gold: usize, base: f64) -> f64 {
    base.powf(predicted.abs_diff(gold) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    fn one_found_one_missed_two_false() {
        let gold = boxes(&[
            ([0.0, 0.0, 10.0, 10.0], "cat"),
            ([50.0, 50.0, 60.0, 60.0], "cat"),
        ]);
        let predicted = boxes(&[
            ([0.0, 0.0, 10.0, 8.0], "dog"),
            ([80.0, 0.0, 90.0, 10.0], "cat"),
            ([80.0, 20.0, 90.0, 30.0], "cat"),
        ]);
        let matched = match_boxes(&predicted, &gold, Overlap::Iou, Matcher::Greedy, 0.5).unwrap();
        assert_near(matched.precision(), 1.0 / 3.0);
        assert_near(matched.recall(), 0.5);
        assert_near(matched.f_score(1.0), 0.4);
        // β = 2 looks more at recall: 5 · (1/3) · (1/2) / (4/3 + 1/2).
        assert_near(matched.f_score(2.0), 5.0 / 11.0);
        assert_near(matched.mean_over_gold(), 0.4);
        assert_near(matched.completeness(), 1.0 - (0.5 + 2.0 / 3.0) / 2.0);
        let matched = matched.without_wrong_labels(&predicted, &gold);
        assert_near(matched.mean_over_gold(), 0.0);
        assert_near(matched.recall(), 0.5);
    }

    #[test]
    fn grip_weighs_boxes_by_their_salience() {
        let gold = boxes(&[
            ([0.0, 0.0, 10.0, 10.0], "a"),
            ([20.0, 0.0, 30.0, 10.0], "b"),
        ]);
        let weights = [0.9, 0.1];
        for (found, expected) in [(0, 0.9), (1, 0.1)] {
            let matched = match_boxes(
                &gold[found..=found],
                &gold,
                Overlap::Iou,
                Matcher::Greedy,
                0.5,
            )
            .unwrap();
            assert_near(salience_weighted(&matched, &weights), expected);
            assert_near(matched.mean_over_gold(), 0.5);
            assert_near(salience_weighted(&matched, &[]), 0.0);
            assert_near(salience_weighted(&matched, &[f64::NAN; 2]), 0.0);
        }
    }

    #[test]
    fn space_tools_takes_the_mean_of_the_best_overlaps() {
        let gold = [
            [0.0, 0.0, 10.0, 10.0].into(),
            [20.0, 0.0, 30.0, 10.0].into(),
        ];
        let predicted = [[0.0, 0.0, 10.0, 5.0].into(), [20.0, 0.0, 30.0, 10.0].into()];
        assert_near(mean_best_overlap(&predicted, &gold, Overlap::Iou), 0.75);
        assert_near(mean_best_overlap(&[], &gold, Overlap::Iou), 0.0);
        assert_near(mean_best_overlap(&[], &[], Overlap::Iou), 1.0);
    }

    #[test]
    fn penalties_of_the_count() {
        for (predicted, gold, length, count) in [
            (0, 0, 1.0, 1.0),
            (0, 2, 1.0, 0.36),
            (1, 2, 1.0, 0.6),
            (2, 1, 0.5, 0.6),
            (4, 1, 0.25, 0.216),
            (1, 0, 0.0, 0.6),
        ] {
            assert_near(length_penalty(predicted, gold), length);
            assert_near(count_penalty(predicted, gold, 0.6), count);
        }
    }

    #[test]
    fn empty_sides() {
        for (predicted, gold, share, completeness) in
            [(0, 0, 1.0, 1.0), (0, 3, 0.0, 0.5), (3, 0, 0.0, 0.5)]
        {
            let matched = BoxMatch {
                pairs: Vec::new(),
                predicted,
                gold,
            };
            for value in [
                matched.precision(),
                matched.recall(),
                matched.f_score(1.0),
                matched.mean_over_gold(),
            ] {
                assert_near(value, share);
            }
            assert_near(matched.completeness(), completeness);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bounded_and_the_same_in_any_order(
            corners in proptest::collection::vec((0.0..50.0f64, 0.0..50.0f64, 1.0..30.0f64, 1.0..30.0f64), 0..12),
            split in 0..12usize,
            turn in 0..12usize,
        ) {
            let mut all: Vec<_> = corners
                .iter()
                .map(|&(x, y, w, h)| LabeledBox { bounds: [x, y, x + w, y + h].into(), label: "a" })
                .collect();
            let (predicted, gold) = all.split_at_mut(split.min(corners.len()));
            let summaries = |predicted: &[LabeledBox], gold: &[LabeledBox]| {
                let matched = match_boxes(predicted, gold, Overlap::Iou, Matcher::Hungarian, 0.1).unwrap();
                [
                    matched.precision(),
                    matched.recall(),
                    matched.f_score(1.0),
                    matched.mean_over_gold(),
                    matched.completeness(),
                ]
            };
            let before = summaries(predicted, gold);
            prop_assert!(before.iter().all(|value| (0.0..=1.0).contains(value)));
            if !predicted.is_empty() {
                let places = predicted.len();
                predicted.rotate_left(turn % places);
            }
            gold.reverse();
            for (before, after) in before.iter().zip(summaries(predicted, gold)) {
                prop_assert!((before - after).abs() < 1e-9);
            }
        }
    }
}
