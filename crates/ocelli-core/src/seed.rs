//! Random streams keyed by what they are for, so that results do not depend on thread or worker count.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What a stream is used for. The name is part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Weights,
    Dropout,
    Generator,
    Labels,
    Augment,
    Shift,
    Shuffle,
    Sampling,
    /// Of the worlds that episodes are played in, apart from what the policy samples there.
    Env,
    Evaluation,
    Control,
    /// Of rows that a curriculum chooses by chance.
    Curriculum,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Dropout => "dropout",
            Self::Generator => "generator",
            Self::Labels => "labels",
            Self::Augment => "augment",
            Self::Shift => "shift",
            Self::Shuffle => "shuffle",
            Self::Sampling => "sampling",
            Self::Env => "env",
            Self::Evaluation => "evaluation",
            Self::Control => "control",
            Self::Curriculum => "curriculum",
        }
    }
}

/// Key of one stream: run seed, purpose, step, attempt, task, occurrence of the task, sample, turn.
///
/// ```
/// use ocelli_core::{Purpose, SeedKey};
/// use rand::RngExt;
/// let key = SeedKey::new(7, Purpose::Sampling).step(3).task("row-12").sample(1);
/// let (a, b): (f32, f32) = (key.rng().random(), key.rng().random());
/// assert_eq!(a, b);
/// ```
#[derive(Clone, Debug)]
pub struct SeedKey {
    seed: u64,
    purpose: Purpose,
    step: u64,
    attempt: u64,
    task: String,
    occurrence: u64,
    sample: u64,
    turn: u64,
}

impl SeedKey {
    /// A key with step, attempt, occurrence, sample and turn 0 and no task.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self {
            seed,
            purpose,
            step: 0,
            attempt: 0,
            task: String::new(),
            occurrence: 0,
            sample: 0,
            turn: 0,
        }
    }

    /// The same place in another family of streams.
    #[must_use]
    pub fn purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    #[must_use]
    pub fn step(mut self, step: u64) -> Self {
        self.step = step;
        self
    }

    /// How many batches the step sampled before this one.
    #[must_use]
    pub fn attempt(mut self, attempt: u64) -> Self {
        self.attempt = attempt;
        self
    }

    #[must_use]
    pub fn task(mut self, task: impl Into<String>) -> Self {
        self.task = task.into();
        self
    }

    /// How often the same task stands before this one in its batch.
    #[must_use]
    pub fn occurrence(mut self, occurrence: u64) -> Self {
        self.occurrence = occurrence;
        self
    }

    #[must_use]
    pub fn sample(mut self, sample: u64) -> Self {
        self.sample = sample;
        self
    }

    #[must_use]
    pub fn turn(mut self, turn: u64) -> Self {
        self.turn = turn;
        self
    }

    /// The stream.
    pub fn rng(&self) -> ChaCha8Rng {
        let mut hasher = blake3::Hasher::new();
        for number in [self.seed, self.step, self.sample, self.turn] {
            hasher.update(&number.to_le_bytes());
        }
        for text in [self.purpose.name(), &self.task] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        // The first occurrence has the stream of a task that stands alone.
        if self.occurrence > 0 {
            hasher.update(&self.occurrence.to_le_bytes());
        }
        // As does the first attempt.
        if self.attempt > 0 {
            hasher.update(b"attempt");
            hasher.update(&self.attempt.to_le_bytes());
        }
        ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
    }
}

/// A draw from the normal distribution with mean 0 and standard deviation 1 (Box and Muller 1958).
pub fn normal(rng: &mut impl Rng) -> f64 {
    // 1 − u lies in (0, 1], where the logarithm is finite.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_key_has_streams_of_its_own() {
        let key = SeedKey::new(7, Purpose::Sampling).task("row-1");
        let first = |key: &SeedKey| key.rng().random::<u64>();
        let keys = [
            key.clone(),
            key.clone().purpose(Purpose::Env),
            key.clone().step(1),
            key.clone().occurrence(1),
            key.clone().occurrence(2),
            key.clone().sample(1),
            key.clone().turn(1),
            SeedKey::new(8, Purpose::Sampling).task("row-1"),
        ];
        let draws: std::collections::BTreeSet<u64> = keys.iter().map(first).collect();
        assert_eq!(draws.len(), keys.len());
        assert_eq!(first(&key), first(&key.clone().occurrence(0)));
    }

    #[test]
    fn normal_draws_have_mean_0_and_deviation_1() {
        let mut rng = SeedKey::new(1, Purpose::Labels).rng();
        let draws: Vec<f64> = (0..4000).map(|_| normal(&mut rng)).collect();
        let (mean, std) = crate::metrics::mean_std(&draws);
        assert!(
            mean.abs() < 0.05 && (std - 1.0).abs() < 0.05,
            "{mean} {std}"
        );
    }
}
