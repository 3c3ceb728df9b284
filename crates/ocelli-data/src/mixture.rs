//! Which of several sources each place of an endless list belongs to.

/// Deals places out to sources in proportion to their weights, one place after another.
///
/// Tijdeman's algorithm (R. Tijdeman 1980, "The chairman assignment problem", Discrete Mathematics 32). With shares `s_i = w_i / Σ w` and
/// `n_i` places given to source `i` so far, place number `k` (from 1) goes, among the sources with `s_i k − n_i ≥ c`, to the one with the
/// smallest `(1 − c − (s_i k − n_i)) / s_i`, where `c = 1 / (2m − 2)` for `m` sources. After any number of places every `n_i` is less than
/// one away from `s_i k`, so that in any window of `k` places a source has its share to within two.
///
/// Nothing is random here: chance decides which of its rows a source gives, not whose turn it is.
#[derive(Clone, Debug)]
pub struct Mixture {
    shares: Vec<f64>,
    taken: Vec<u64>,
    place: u64,
}

impl Mixture {
    /// For positive `weights`, of which there is at least one.
    pub fn new(weights: &[f64]) -> Self {
        let sum: f64 = weights.iter().sum();
        Self {
            shares: weights.iter().map(|weight| weight / sum).collect(),
            taken: vec![0; weights.len()],
            place: 0,
        }
    }

    /// The source of place `place` (from 0), and how many places before it are the same source's.
    pub fn at(&mut self, place: u64) -> (usize, u64) {
        if self.shares.len() == 1 {
            return (0, place);
        }
        if place < self.place {
            self.taken.fill(0);
            self.place = 0;
        }
        while self.place < place {
            let source = self.next();
            self.taken[source] += 1;
            self.place += 1;
        }
        let source = self.next();
        (source, self.taken[source])
    }

    /// The source of the place that comes now.
    fn next(&self) -> usize {
        let c = 1.0 / (2 * self.shares.len() - 2) as f64;
        let k = (self.place + 1) as f64;
        let owed = |i: usize| self.shares[i] * k - self.taken[i] as f64;
        // How long a source can still wait.
        let patience = |i: usize| (1.0 - c - owed(i)) / self.shares[i];
        let all = 0..self.shares.len();
        let due = all.clone().filter(|i| owed(*i) >= c - 1e-9);
        due.min_by(|a, b| patience(*a).total_cmp(&patience(*b)))
            // Some source is always due; rounding does not get a say.
            .or_else(|| all.max_by(|a, b| owed(*a).total_cmp(&owed(*b))))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sources(weights: &[f64], places: u64) -> Vec<usize> {
        let mut mixture = Mixture::new(weights);
        (0..places).map(|place| mixture.at(place).0).collect()
    }

    #[test]
    fn two_to_one_is_dealt_evenly() {
        // Owed at the first place 2/3 and 1/3, at the second 1/3 and 2/3, at the third 1 and 0.
        assert_eq!(sources(&[2.0, 1.0], 6), [0, 1, 0, 0, 1, 0]);
        assert_eq!(sources(&[1.0, 1.0, 1.0], 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(sources(&[5.0], 3), [0, 0, 0]);
    }

    #[test]
    fn a_place_can_be_asked_for_alone() {
        let weights = [3.0, 1.5, 0.5];
        let all = sources(&weights, 50);
        let mut mixture = Mixture::new(&weights);
        for place in [40, 7, 49, 0, 8] {
            let (source, number) = mixture.at(place);
            assert_eq!(source, all[place as usize]);
            let before = all[..place as usize].iter().filter(|s| **s == source);
            assert_eq!(number, before.count() as u64);
        }
    }

    proptest! {
        #[test]
        fn no_source_is_ever_a_whole_place_away_from_its_share(
            weights in prop::collection::vec(0.01f64..10.0, 2..7),
        ) {
            let sum: f64 = weights.iter().sum();
            let mut counts = vec![0.0; weights.len()];
            for (k, source) in sources(&weights, 400).into_iter().enumerate() {
                counts[source] += 1.0;
                for (count, weight) in counts.iter().zip(&weights) {
                    let off: f64 = count - weight / sum * (k + 1) as f64;
                    prop_assert!(off.abs() < 1.0, "{weights:?}, place {k}: {off}");
                }
            }
        }
    }
}
