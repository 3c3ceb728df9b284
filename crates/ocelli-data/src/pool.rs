//! The rows that a stage draws from, and their order: place by place, without end.

use crate::mixture::Mixture;
use crate::order::epoch_order;

/// In which order an epoch visits the rows of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Arrangement {
    /// In a new order each epoch.
    #[default]
    Shuffled,
    /// By rank, small ranks first. `ranks[row]` is that of row `row` of the data set.
    Ranked {
        ranks: Vec<f64>,
        /// Whether rows of one rank come in a new order each epoch, or else as the data have them.
        shuffle: bool,
    },
}

/// Rows of one or more sources. Each source goes through its own rows, epoch after epoch; [`Mixture`] says whose turn it is. What stands at
/// a place depends on seed and place only, so that a resumed run draws the rows it would have.
#[derive(Clone, Debug)]
pub struct Pool {
    sources: Vec<Source>,
    mixture: Mixture,
    arrangement: Arrangement,
    seed: u64,
}

/// The rows of a source in the order of one epoch.
#[derive(Clone, Debug)]
struct Source {
    rows: Vec<usize>,
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl Pool {
    /// `sources` are weights and rows. Those without rows are left out, and the others share their places. `None` when no row is left.
    pub fn new(
        sources: Vec<(f64, Vec<usize>)>,
        arrangement: Arrangement,
        seed: u64,
    ) -> Option<Self> {
        let (weights, sources): (Vec<f64>, Vec<Source>) = sources
            .into_iter()
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(weight, rows)| {
                let source = Source {
                    rows,
                    epoch: None,
                    order: Vec::new(),
                };
                (weight, source)
            })
            .unzip();
        (!sources.is_empty()).then(|| Self {
            mixture: Mixture::new(&weights),
            sources,
            arrangement,
            seed,
        })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.sources.iter().map(|source| source.rows.len()).sum()
    }

    /// The row at a place.
    pub fn at(&mut self, place: u64) -> usize {
        let (index, number) = self.mixture.at(place);
        let source = &mut self.sources[index];
        let count = source.rows.len() as u64;
        let epoch = number / count;
        if source.epoch != Some(epoch) {
            // Each source has orders of its own; the first one those of a stage that has no other.
            let seed = self.seed ^ ((index as u64) << 32);
            source.epoch = Some(epoch);
            source.order = arrange(&source.rows, &self.arrangement, seed, epoch);
        }
        source.order[(number % count) as usize]
    }
}

fn arrange(rows: &[usize], arrangement: &Arrangement, seed: u64, epoch: u64) -> Vec<usize> {
    let shuffled = || -> Vec<usize> {
        let order = epoch_order(rows.len(), seed, epoch);
        order.into_iter().map(|i| rows[i]).collect()
    };
    match arrangement {
        Arrangement::Shuffled => shuffled(),
        Arrangement::Ranked { ranks, shuffle } => {
            let mut order = if *shuffle { shuffled() } else { rows.to_vec() };
            // A stable sort: rows of one rank stay as they are.
            order.sort_by(|a, b| ranks[*a].total_cmp(&ranks[*b]));
            order
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_is_shuffled_epoch_by_epoch() {
        let mut pool = Pool::new(vec![(1.0, (0..8).collect())], Arrangement::Shuffled, 3).unwrap();
        let drawn: Vec<usize> = (0..16).map(|place| pool.at(place)).collect();
        assert_eq!(drawn[..8], epoch_order(8, 3, 0));
        assert_eq!(drawn[8..], epoch_order(8, 3, 1));
        assert_eq!(pool.at(2), drawn[2]);
    }

    #[test]
    fn every_source_cycles_on_its_own() {
        // Rows 0 to 2 twice as often as rows 3 to 6.
        let sources = vec![(2.0, vec![0, 1, 2]), (1.0, vec![3, 4, 5, 6]), (9.0, vec![])];
        let mut pool = Pool::new(sources, Arrangement::Shuffled, 1).unwrap();
        assert_eq!(pool.rows(), 7);
        let drawn: Vec<usize> = (0..12).map(|place| pool.at(place)).collect();
        let of = |keep: fn(&usize) -> bool| -> Vec<usize> {
            drawn.iter().copied().filter(keep).collect()
        };
        let (first, second) = (of(|row| *row < 3), of(|row| *row >= 3));
        assert_eq!((first.len(), second.len()), (8, 4));
        let sorted = |rows: &[usize]| {
            let mut rows = rows.to_vec();
            rows.sort_unstable();
            rows
        };
        assert_eq!(sorted(&first[..3]), [0, 1, 2]);
        assert_eq!(sorted(&first[3..6]), [0, 1, 2]);
        assert_eq!(sorted(&second), [3, 4, 5, 6]);
        assert!(Pool::new(vec![(1.0, vec![])], Arrangement::Shuffled, 0).is_none());
    }

    #[test]
    fn ranks_come_before_chance() {
        let ranks = vec![2.0, 1.0, 2.0, 0.0, 1.0];
        let drawn = |shuffle| -> Vec<usize> {
            let arrangement = Arrangement::Ranked {
                ranks: ranks.clone(),
                shuffle,
            };
            let mut pool = Pool::new(vec![(1.0, (0..5).collect())], arrangement, 0).unwrap();
            (0..10).map(|place| pool.at(place)).collect()
        };
        assert_eq!(drawn(false), [3, 1, 4, 0, 2, 3, 1, 4, 0, 2]);
        let by_rank: Vec<f64> = drawn(true).iter().map(|row| ranks[*row]).collect();
        assert_eq!(by_rank, [0.0, 1.0, 1.0, 2.0, 2.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    }
}
