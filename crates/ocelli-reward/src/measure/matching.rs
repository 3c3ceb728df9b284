//! Which prediction belongs to which gold item.

use serde::{Deserialize, Serialize};

use super::error::{MeasureError, check_size};

/// A prediction and the gold item it was matched with, by their places in their lists.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    pub predicted: usize,
    pub gold: usize,
    /// How well they agree; higher is better.
    pub score: f64,
}

/// How well each prediction agrees with each gold item; higher is better, all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct PairScores {
    predicted: usize,
    gold: usize,
    /// Row by row, a row for each prediction.
    values: Vec<f64>,
}

impl PairScores {
    /// Most cells of a table: 1,024 by 1,024, 8 MiB.
    pub const MAX_CELLS: usize = 1 << 20;

    /// Fills the table with `score(prediction, gold item)`.
    ///
    /// # Errors
    /// More than [`Self::MAX_CELLS`] cells, or a score that is not finite.
    pub fn new(
        predicted: usize,
        gold: usize,
        score: impl Fn(usize, usize) -> f64,
    ) -> Result<Self, MeasureError> {
        check_size("the table of pairs", predicted, gold, Self::MAX_CELLS)?;
        let mut values = Vec::with_capacity(predicted * gold);
        for row in 0..predicted {
            for column in 0..gold {
                let value = score(row, column);
                if !value.is_finite() {
                    return Err(MeasureError::NotFinite {
                        what: "the score of pair",
                        index: values.len(),
                        value,
                    });
                }
                values.push(value);
            }
        }
        Ok(Self {
            predicted,
            gold,
            values,
        })
    }

    /// Number of predictions.
    pub fn predicted(&self) -> usize {
        self.predicted
    }

    /// Number of gold items.
    pub fn gold(&self) -> usize {
        self.gold
    }

    /// The score of a pair; both places must be in range.
    pub fn score(&self, predicted: usize, gold: usize) -> f64 {
        self.values[predicted * self.gold + gold]
    }

    fn pair(&self, predicted: usize, gold: usize) -> Pair {
        Pair {
            predicted,
            gold,
            score: self.score(predicted, gold),
        }
    }
}

/// The matchers by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matcher {
    /// The first prediction with the first gold item, and no other: referring expressions.
    Single,
    /// [`greedy`]: VLM-R1, V-Triune's "max IoU first".
    #[default]
    Greedy,
    /// [`greedy_label_first`]: V-Triune's "max label first".
    #[serde(alias = "label_first")]
    GreedyLabelFirst,
    /// [`optimal`]: Vision-R1 and other assignments by the Hungarian method.
    Hungarian,
}

impl Matcher {
    /// Matches by `scores`; pairs below `at_least` are not matched. Only [`Matcher::GreedyLabelFirst`] looks at
    /// `same_label(prediction, gold item)`. Pairs come in the order of their predictions.
    ///
    /// # Errors
    /// Those of [`optimal`].
    pub fn pairs(
        self,
        scores: &PairScores,
        same_label: impl Fn(usize, usize) -> bool,
        at_least: f64,
    ) -> Result<Vec<Pair>, MeasureError> {
        let mut pairs = match self {
            Self::Single if scores.values.is_empty() => Vec::new(),
            Self::Single => vec![scores.pair(0, 0)],
            Self::Greedy => greedy(scores, at_least),
            Self::GreedyLabelFirst => greedy_label_first(scores, same_label, at_least),
            Self::Hungarian => optimal(scores)?,
        };
        pairs.retain(|pair| pair.score >= at_least);
        pairs.sort_unstable_by_key(|pair| pair.predicted);
        Ok(pairs)
    }
}

/// Takes the best pair of all, then the best of what is left, down to `at_least`; of equal pairs the one whose
/// prediction, then whose gold item, comes first. Pairs come best first.
///
/// V-Triune's and VLM-R1's rule. V-Triune's released code keeps the places of the last pair it looked at in place of
/// the best pair's; we do what its description says.
pub fn greedy(scores: &PairScores, at_least: f64) -> Vec<Pair> {
    let mut candidates: Vec<Pair> = (0..scores.predicted)
        .flat_map(|predicted| (0..scores.gold).map(move |gold| scores.pair(predicted, gold)))
        .filter(|pair| pair.score >= at_least)
        .collect();
    // A stable sort keeps equal pairs in the order above.
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut free_predicted = vec![true; scores.predicted];
    let mut free_gold = vec![true; scores.gold];
    candidates.retain(|pair| {
        let free = free_predicted[pair.predicted] && free_gold[pair.gold];
        if free {
            free_predicted[pair.predicted] = false;
            free_gold[pair.gold] = false;
        }
        free
    });
    candidates
}

/// Lets each gold item in its order take the best free prediction of its own label, if that scores `at_least`; of
/// equal predictions the first. Pairs come in the order of the gold items.
pub fn greedy_label_first(
    scores: &PairScores,
    same_label: impl Fn(usize, usize) -> bool,
    at_least: f64,
) -> Vec<Pair> {
    let mut free = vec![true; scores.predicted];
    let mut pairs = Vec::new();
    for gold in 0..scores.gold {
        let mut best: Option<Pair> = None;
        for predicted in (0..scores.predicted).filter(|&p| free[p] && same_label(p, gold)) {
            let pair = scores.pair(predicted, gold);
            if best.is_none_or(|best| pair.score > best.score) {
                best = Some(pair);
            }
        }
        if let Some(pair) = best.filter(|pair| pair.score >= at_least) {
            free[pair.predicted] = false;
            pairs.push(pair);
        }
    }
    pairs
}

/// Most steps of [`optimal`]: an assignment of 512 to 512, or of 64 to 16,384.
const MAX_ASSIGNMENT_STEPS: usize = 1 << 27;

/// The pairs with the largest sum of scores: the smaller side is matched fully (the Hungarian method by shortest
/// augmenting paths, `O(min² · max)`). Pairs come in the order of the smaller side.
///
/// # Errors
/// More than 2²⁷ steps, `min² · max` of the sides.
pub fn optimal(scores: &PairScores) -> Result<Vec<Pair>, MeasureError> {
    let turned = scores.predicted > scores.gold;
    let (rows, columns) = if turned {
        (scores.gold, scores.predicted)
    } else {
        (scores.predicted, scores.gold)
    };
    check_size("the assignment", rows * rows, columns, MAX_ASSIGNMENT_STEPS)?;
    let pair = |row: usize, column: usize| {
        if turned {
            scores.pair(column, row)
        } else {
            scores.pair(row, column)
        }
    };
    let column_of = cheapest_columns(rows, columns, |row, column| -pair(row, column).score);
    Ok((0..rows).map(|row| pair(row, column_of[row])).collect())
}

/// The column of each row in the assignment with the least total cost; `rows <= columns`, costs finite.
///
/// Each row in turn is added by the shortest path, in reduced costs, that ends in a free column. The potentials keep
/// reduced costs at 0 on assigned cells and at least 0 elsewhere, so the search is Dijkstra's.
fn cheapest_columns(rows: usize, columns: usize, cost: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    const FREE: usize = usize::MAX;
    let mut row_potential = vec![0.0; rows];
    let mut column_potential = vec![0.0; columns];
    let mut row_of = vec![FREE; columns];
    let mut column_of = vec![FREE; rows];
    let mut distance = vec![f64::INFINITY; columns];
    let mut came_from = vec![FREE; columns];
    // The columns that are reached are in the front, the others behind.
    let mut order: Vec<usize> = (0..columns).collect();
    for start in 0..rows {
        distance.fill(f64::INFINITY);
        let mut reached = 0;
        let mut row = start;
        let mut travelled = 0.0;
        let end = loop {
            let mut nearest = reached;
            for place in reached..columns {
                let column = order[place];
                let through =
                    travelled + cost(row, column) - row_potential[row] - column_potential[column];
                if through < distance[column] {
                    distance[column] = through;
                    came_from[column] = row;
                }
                let (here, best) = (distance[column], distance[order[nearest]]);
                // A free column ends the search, so it wins among equals.
                if here < best || (here == best && row_of[column] == FREE) {
                    nearest = place;
                }
            }
            let column = order[nearest];
            travelled = distance[column];
            order.swap(reached, nearest);
            reached += 1;
            if row_of[column] == FREE {
                break column;
            }
            row = row_of[column];
        };
        row_potential[start] += travelled;
        // The last column reached is the free one, at the full distance: its potential stays.
        for &column in &order[..reached - 1] {
            let shift = travelled - distance[column];
            row_potential[row_of[column]] += shift;
            column_potential[column] -= shift;
        }
        let mut column = end;
        loop {
            let row = came_from[column];
            row_of[column] = row;
            std::mem::swap(&mut column_of[row], &mut column);
            if row == start {
                break;
            }
        }
    }
    column_of
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(rows: &[&[f64]]) -> PairScores {
        PairScores::new(rows.len(), rows[0].len(), |row, column| rows[row][column]).unwrap()
    }

    fn places(pairs: &[Pair]) -> Vec<(usize, usize)> {
        pairs.iter().map(|p| (p.predicted, p.gold)).collect()
    }

    #[test]
    fn greedy_takes_the_best_pair_and_hungarian_the_best_sum() {
        let scores = table(&[&[0.9, 0.8], &[0.8, 0.1]]);
        assert_eq!(places(&greedy(&scores, 0.0)), [(0, 0), (1, 1)]);
        assert_eq!(places(&optimal(&scores).unwrap()), [(0, 1), (1, 0)]);
        assert_eq!(places(&greedy(&scores, 0.5)), [(0, 0)]);
    }

    #[test]
    fn v_triune_label_first_goes_by_gold_order() {
        // Both gold boxes want prediction 0; the first one gets it although the second overlaps more.
        let scores = table(&[&[0.6, 0.9], &[0.5, 0.2]]);
        let pairs = greedy_label_first(&scores, |_, _| true, 0.0);
        assert_eq!(places(&pairs), [(0, 0), (1, 1)]);
        let pairs = greedy_label_first(&scores, |predicted, gold| predicted != gold, 0.5);
        assert_eq!(places(&pairs), [(1, 0), (0, 1)]);
        // An item takes its best prediction or none: the threshold does not send it to the next best.
        assert!(greedy_label_first(&scores, |_, _| true, 0.95).is_empty());
    }

    #[test]
    fn single_and_thresholds() {
        let scores = table(&[&[0.4, 1.0], &[1.0, 1.0]]);
        let pairs = |at_least| {
            Matcher::Single
                .pairs(&scores, |_, _| true, at_least)
                .unwrap()
        };
        assert_eq!(places(&pairs(0.0)), [(0, 0)]);
        assert!(pairs(0.5).is_empty());
    }

    #[test]
    fn empty_sides_have_no_pairs() {
        for (predicted, gold) in [(0, 0), (0, 3), (3, 0)] {
            let scores = PairScores::new(predicted, gold, |_, _| 0.0).unwrap();
            for matcher in [
                Matcher::Single,
                Matcher::Greedy,
                Matcher::GreedyLabelFirst,
                Matcher::Hungarian,
            ] {
                assert!(matcher.pairs(&scores, |_, _| true, 0.0).unwrap().is_empty());
            }
        }
    }

    #[test]
    fn refuses_what_it_cannot_judge_in_bounded_time() {
        assert!(matches!(
            PairScores::new(1, 2, |_, column| if column == 1 { f64::NAN } else { 0.0 }),
            Err(MeasureError::NotFinite { index: 1, .. })
        ));
        assert!(matches!(
            PairScores::new(usize::MAX, 2, |_, _| 0.0),
            Err(MeasureError::TooLarge { .. })
        ));
        let large = PairScores::new(1024, 1024, |_, _| 0.0).unwrap();
        assert!(matches!(
            optimal(&large),
            Err(MeasureError::TooLarge { .. })
        ));
    }

    /// Tries every assignment of the smaller side.
    fn best_sum(scores: &PairScores, from: usize, used: &mut Vec<bool>) -> f64 {
        let turned = scores.predicted > scores.gold;
        if from == scores.predicted.min(scores.gold) {
            return 0.0;
        }
        let mut best = f64::NEG_INFINITY;
        for other in 0..used.len() {
            if !std::mem::replace(&mut used[other], true) {
                let score = if turned {
                    scores.score(other, from)
                } else {
                    scores.score(from, other)
                };
                best = best.max(score + best_sum(scores, from + 1, used));
                used[other] = false;
            }
        }
        best
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn hungarian_finds_the_best_sum(
            (predicted, gold) in (1..6usize, 1..6usize),
            cells in proptest::collection::vec(prop_oneof![-3.0..3.0f64, Just(0.0), Just(1.0)], 36),
        ) {
            let scores = PairScores::new(predicted, gold, |p, g| cells[p * 6 + g]).unwrap();
            let pairs = optimal(&scores).unwrap();
            prop_assert_eq!(pairs.len(), predicted.min(gold));
            let sum: f64 = pairs.iter().map(|pair| pair.score).sum();
            let best = best_sum(&scores, 0, &mut vec![false; predicted.max(gold)]);
            prop_assert!((sum - best).abs() < 1e-9, "{} is not {}", sum, best);
            let greedy_sum: f64 = greedy(&scores, f64::NEG_INFINITY).iter().map(|pair| pair.score).sum();
            prop_assert!(greedy_sum <= sum + 1e-9);
        }

        #[test]
        fn no_item_is_matched_twice(
            cells in proptest::collection::vec(0.0..1.0f64, 42),
            at_least in 0.0..1.0f64,
        ) {
            let scores = PairScores::new(6, 7, |p, g| cells[p * 7 + g]).unwrap();
            for matcher in [Matcher::Greedy, Matcher::GreedyLabelFirst, Matcher::Hungarian] {
                let pairs = matcher.pairs(&scores, |p, g| (p + g) % 2 == 0, at_least).unwrap();
                let (mut predicted, mut gold) = (vec![0; 6], vec![0; 7]);
                for pair in pairs {
                    prop_assert!(pair.score >= at_least);
                    predicted[pair.predicted] += 1;
                    gold[pair.gold] += 1;
                }
                prop_assert!(predicted.iter().chain(&gold).all(|&times| times <= 1));
            }
        }
    }
}
