//! Orders of things: puzzles, plans, rankings.

use std::collections::BTreeSet;

use super::error::{MeasureError, check_size};
use super::shape::clip;

/// Most cells of an edit table.
const MAX_CELLS: usize = 1 << 24;

/// Share of places that hold the right item, in `[0, 1]`, over the longer list; 1 for two empty lists (Jigsaw-R1,
/// SSL4RL).
pub fn position_share<T: PartialEq>(predicted: &[T], gold: &[T]) -> f64 {
    let right = predicted.iter().zip(gold).filter(|(a, b)| a == b).count();
    match predicted.len().max(gold.len()) {
        0 => 1.0,
        longer => right as f64 / longer as f64,
    }
}

/// Share of the gold grid's neighbours, side by side or one above the other, that are neighbours in the same direction
/// in the predicted grid, in `[0, 1]` (Jigsaw-R1: of `2mn − m − n`). Grids are row by row. 0 for a prediction of
/// another length or with an item twice, and for a length that `columns` does not divide; a grid without neighbours
/// must be equal.
pub fn adjacency_share<T: Ord>(predicted: &[T], gold: &[T], columns: usize) -> f64 {
    let distinct: BTreeSet<_> = predicted.iter().collect();
    if predicted.len() != gold.len()
        || distinct.len() != predicted.len()
        || columns == 0
        || !gold.len().is_multiple_of(columns)
    {
        return 0.0;
    }
    let expected: BTreeSet<_> = neighbours(gold, columns).collect();
    if expected.is_empty() {
        return f64::from(u8::from(predicted == gold));
    }
    let right = neighbours(predicted, columns)
        .filter(|pair| expected.contains(pair))
        .count();
    right as f64 / expected.len() as f64
}

/// Each item with the next one to the right (`true`) or below.
fn neighbours<T>(grid: &[T], columns: usize) -> impl Iterator<Item = (bool, &T, &T)> {
    let right = (1..grid.len())
        .filter(move |place| place % columns != 0)
        .map(|place| (true, &grid[place - 1], &grid[place]));
    let below =
        (columns..grid.len()).map(move |place| (false, &grid[place - columns], &grid[place]));
    right.chain(below)
}

/// `1 − weighted edit distance / length of the longer list`, in `[0, 1]`: DriveAgent-R1's likeness of two plans.
/// Insertions and removals cost `gap` (there .6), another item costs 1, and an equal item `1 − weight` with the
/// `weights` of the gold places (there [`rarity_weights`]; 1 where missing). 1 for two empty lists.
///
/// # Errors
/// More than 2²⁴ pairs of places.
pub fn weighted_edit_similarity<T: PartialEq>(
    predicted: &[T],
    gold: &[T],
    gap: f64,
    weights: &[f64],
) -> Result<f64, MeasureError> {
    check_size("the edit table", predicted.len(), gold.len(), MAX_CELLS)?;
    let longer = predicted.len().max(gold.len());
    if longer == 0 {
        return Ok(1.0);
    }
    let mut row: Vec<f64> = (0..=gold.len()).map(|place| place as f64 * gap).collect();
    for item in predicted {
        let mut diagonal = row[0];
        row[0] += gap;
        for (place, other) in gold.iter().enumerate() {
            let replaced = if item == other {
                1.0 - weights.get(place).copied().unwrap_or(1.0)
            } else {
                1.0
            };
            let best = (diagonal + replaced)
                .min(row[place + 1] + gap)
                .min(row[place] + gap);
            diagonal = std::mem::replace(&mut row[place + 1], best);
        }
    }
    Ok(clip(1.0 - row[gold.len()] / longer as f64, 0.0, 1.0))
}

/// Weights that favour rare classes, with mean 1: `(mean frequency / frequency)^gamma` within `[.7, 1.3]`, divided by
/// their mean (DriveAgent-R1). A frequency that is not above 0 counts as infinitely rare.
pub fn rarity_weights(frequencies: &[f64], gamma: f64) -> Vec<f64> {
    let count = frequencies.len().max(1) as f64;
    let mean = frequencies.iter().sum::<f64>() / count;
    let raw: Vec<f64> = frequencies
        .iter()
        .map(|&frequency| {
            if frequency > 0.0 {
                clip((mean / frequency).powf(gamma), 0.7, 1.3)
            } else {
                1.3
            }
        })
        .collect();
    let mean = raw.iter().sum::<f64>() / count;
    raw.iter().map(|weight| weight / mean).collect()
}

/// Discounted gain of a ranking over that of the best ranking of the same `relevances`, in `[0, 1]`, with
/// `(2^relevance − 1) / log₂(rank + 1)` (VRAG-RL). `relevances` are in the order of the ranking, then those of what was
/// not retrieved; only the first `retrieved` gain. 1 when nothing is relevant; a relevance not above 0 gains nothing.
pub fn ndcg(relevances: &[f64], retrieved: usize) -> f64 {
    let gain = |relevances: &[f64], most: usize| -> f64 {
        let gains = relevances.iter().take(most).enumerate();
        gains
            .map(|(place, relevance)| {
                (relevance.max(0.0).exp2() - 1.0) / (place as f64 + 2.0).log2()
            })
            .sum()
    };
    let mut best = relevances.to_vec();
    best.sort_by(|a, b| b.total_cmp(a));
    let (found, most) = (gain(relevances, retrieved), gain(&best, best.len()));
    if most > 0.0 {
        clip(found / most, 0.0, 1.0)
    } else {
        1.0
    }
}

/// One over the rank of `gold` in `ranked`, in `[0, 1]`; 0 when it is not there (SkinFlow, a reading of its abstract).
pub fn reciprocal_rank<T: PartialEq>(ranked: &[T], gold: &T) -> f64 {
    let place = ranked.iter().position(|item| item == gold);
    place.map_or(0.0, |place| 1.0 / (place + 1) as f64)
}

/// Whether `gold` is among the first `most` of `ranked`.
pub fn hit_at<T: PartialEq>(ranked: &[T], gold: &T, most: usize) -> bool {
    ranked.iter().take(most).any(|item| item == gold)
}

/// `unique / all − 1` of the runs of `n` items, in `(−1, 0]`: VLM-R1's repetition penalty (6 words, or 1 box with its
/// label). 0 without such a run.
pub fn repetition_penalty<T: Ord>(items: &[T], n: usize) -> f64 {
    if n == 0 || items.len() < n {
        return 0.0;
    }
    let unique: BTreeSet<&[T]> = items.windows(n).collect();
    unique.len() as f64 / (items.len() + 1 - n) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn jigsaw_r1_two_by_two() {
        let (predicted, gold) = ([2, 1, 3, 4], [1, 2, 3, 4]);
        assert_eq!(position_share(&predicted, &gold), 0.5);
        assert_eq!(adjacency_share(&predicted, &gold, 2), 0.25);
        assert_eq!(adjacency_share(&gold, &gold, 2), 1.0);
    }

    #[test]
    fn ssl4rl_jigsaw() {
        assert_eq!(position_share(&[2, 3, 4, 1], &[2, 3, 1, 4]), 0.5);
    }

    #[test]
    fn grids_that_are_none() {
        assert_eq!(adjacency_share(&[1, 1, 3, 4], &[1, 2, 3, 4], 2), 0.0);
        assert_eq!(adjacency_share(&[1, 2, 3], &[1, 2, 3, 4], 2), 0.0);
        assert_eq!(adjacency_share(&[1, 2, 3], &[1, 2, 3], 2), 0.0);
        assert_eq!(adjacency_share(&[1], &[1], 0), 0.0);
        assert_eq!(adjacency_share(&[1], &[1], 1), 1.0);
        assert_eq!(position_share::<u8>(&[], &[]), 1.0);
        assert_eq!(position_share(&[1, 2, 3, 4], &[1]), 0.25);
    }

    #[test]
    fn drive_agent_r1_plans() {
        let gold = ["keep", "keep", "stop", "stop"];
        assert_eq!(weighted_edit_similarity(&gold, &gold, 0.6, &[]), Ok(1.0));
        // One other action of four.
        let other = ["keep", "keep", "keep", "stop"];
        assert_eq!(weighted_edit_similarity(&other, &gold, 0.6, &[]), Ok(0.75));
        // One is missing: .6 of four.
        assert_eq!(
            weighted_edit_similarity(&gold[1..], &gold, 0.6, &[]),
            Ok(0.85)
        );
        // A match that weighs .7 costs .3.
        let found = weighted_edit_similarity(&["a"], &["a"], 0.6, &[0.7]).unwrap();
        assert!((found - 0.7).abs() < 1e-12);
        let speed = weighted_edit_similarity(&other, &gold, 0.6, &[]).unwrap();
        assert!((0.7 * speed + 0.3 - 0.825).abs() < 1e-12);
    }

    #[test]
    fn rare_classes_weigh_more() {
        let weights = rarity_weights(&[0.5, 0.25, 0.25], 1.0);
        // Mean 1/3: 2/3 is raised to .7 and 4/3 lowered to 1.3, of mean 1.1.
        for (found, expected) in weights.iter().zip([0.7 / 1.1, 1.3 / 1.1, 1.3 / 1.1]) {
            assert!((found - expected).abs() < 1e-12);
        }
        assert_eq!(rarity_weights(&[0.0], 1.0), [1.0]);
        assert!(rarity_weights(&[], 1.0).is_empty());
    }

    #[test]
    fn vrag_rl_ndcg() {
        // The only relevant page comes second.
        assert!((ndcg(&[0.0, 1.0], 2) - 1.0 / 3f64.log2()).abs() < 1e-12);
        assert_eq!(ndcg(&[1.0, 0.0], 2), 1.0);
        assert_eq!(ndcg(&[0.0, 1.0], 1), 0.0);
        assert_eq!(ndcg(&[0.0], 1), 1.0);
        assert_eq!(ndcg(&[], 0), 1.0);
    }

    #[test]
    fn skin_flow_ranks() {
        let ranked = ["acne", "eczema", "psoriasis", "lupus", "rosacea", "warts"];
        assert!(!hit_at(&ranked, &"eczema", 1) && hit_at(&ranked, &"eczema", 6));
        assert_eq!(reciprocal_rank(&ranked, &"eczema"), 0.5);
        assert_eq!(reciprocal_rank(&ranked, &"scabies"), 0.0);
    }

    #[test]
    fn vlm_r1_repetition() {
        assert_eq!(
            repetition_penalty(&["box a", "box a", "box b", "box a"], 1),
            -0.5
        );
        assert_eq!(repetition_penalty(&["a", "b", "a", "b", "a"], 2), -0.5);
        assert_eq!(repetition_penalty(&["a"], 6), 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn shares_are_bounded_and_one_for_the_gold_order(
            order in Just((0..12).collect::<Vec<_>>()).prop_shuffle(),
            columns in proptest::sample::select(vec![1usize, 2, 3, 4, 6, 12]),
        ) {
            let gold: Vec<i32> = (0..12).collect();
            for share in [position_share(&order, &gold), adjacency_share(&order, &gold, columns)] {
                prop_assert!((0.0..=1.0).contains(&share));
            }
            prop_assert_eq!(adjacency_share(&order, &order, columns), 1.0);
            let forth = adjacency_share(&order, &gold, columns);
            prop_assert_eq!(forth, adjacency_share(&gold, &order, columns));
        }

        #[test]
        fn any_ranking_is_bounded(relevances in proptest::collection::vec(any::<f64>(), 0..6), first in 0..8usize) {
            prop_assert!((0.0..=1.0).contains(&ndcg(&relevances, first)));
        }
    }
}
