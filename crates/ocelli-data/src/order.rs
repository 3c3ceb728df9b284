//! The order in which an epoch visits its rows.

use ocelli_core::{Purpose, SeedKey};
use rand::seq::SliceRandom;

/// A shuffle of `0..n` that depends on `seed` and `epoch` only, so that a resumed run visits the rows it would have.
pub fn epoch_order(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut rng = SeedKey::new(seed, Purpose::Shuffle).step(epoch).rng();
    order.shuffle(&mut rng);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_every_row_once_in_its_own_order() {
        let first = epoch_order(100, 7, 0);
        assert_eq!(first, epoch_order(100, 7, 0));
        assert_ne!(first, epoch_order(100, 7, 1));
        assert_ne!(first, epoch_order(100, 8, 0));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert!(epoch_order(0, 7, 0).is_empty());
    }

    /// Pins the stream itself: a change here changes every run.
    #[test]
    fn the_order_is_the_same_on_every_machine_and_version() {
        assert_eq!(epoch_order(8, 0, 0), [5, 2, 3, 4, 0, 1, 6, 7]);
    }
}
