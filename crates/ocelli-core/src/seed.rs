//! Random streams keyed by what they are for, so that results do not depend on thread or worker count.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What a stream is used for. The name is part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Weights,
    Generator,
    Labels,
    Augment,
    Shuffle,
    Sampling,
    Evaluation,
    Control,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Generator => "generator",
            Self::Labels => "labels",
            Self::Augment => "augment",
            Self::Shuffle => "shuffle",
            Self::Sampling => "sampling",
            Self::Evaluation => "evaluation",
            Self::Control => "control",
        }
    }
}

/// Key of one stream: run seed, purpose, step, task, sample, turn.
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
    task: String,
    sample: u64,
    turn: u64,
}

impl SeedKey {
    /// A key with step, sample and turn 0 and no task.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self {
            seed,
            purpose,
            step: 0,
            task: String::new(),
            sample: 0,
            turn: 0,
        }
    }

    #[must_use]
    pub fn step(mut self, step: u64) -> Self {
        self.step = step;
        self
    }

    #[must_use]
    pub fn task(mut self, task: impl Into<String>) -> Self {
        self.task = task.into();
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
        ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
    }
}
