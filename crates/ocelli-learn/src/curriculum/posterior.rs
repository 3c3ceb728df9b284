//! MoPPS: which prompts are neither too easy nor too hard, guessed from what came of them before ("Can Prompt Difficulty be Online
//! Predicted for Accelerating RL Finetuning of Reasoning Models?", arXiv 2507.04632; released code thu-rllab/MoPPS).
//!
//! The success rate of each prompt has a Beta distribution. At every step a rate is drawn from each candidate's (Thompson sampling), and
//! the candidates whose drawn rates are nearest to the target are taken. What differs from the released code: a group of one sample is
//! counted like any other; there an operator's precedence sets α to 8.

use std::collections::BTreeMap;

use ocelli_core::seed::normal;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::exact::Exact;

/// A Beta distribution of a success rate: its mean is α / (α + β).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[Exact; 2]", into = "[Exact; 2]")]
pub struct Posterior {
    pub alpha: f64,
    pub beta: f64,
}

impl From<[Exact; 2]> for Posterior {
    fn from([alpha, beta]: [Exact; 2]) -> Self {
        Self {
            alpha: alpha.0,
            beta: beta.0,
        }
    }
}

impl From<Posterior> for [Exact; 2] {
    fn from(posterior: Posterior) -> Self {
        [Exact(posterior.alpha), Exact(posterior.beta)]
    }
}

/// The posteriors of the rows that were answered; every other row has the prior.
pub type Posteriors = BTreeMap<usize, Posterior>;

impl Posterior {
    /// Expected success rate.
    pub fn mean(self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    /// After `samples` answers of which a share `rate` was right: `α ← λα + (1 − λ)α₀ + n s` and `β ← λβ + (1 − λ)β₀ + n (1 − s)`, with
    /// `prior` = (α₀, β₀). `decay` λ = 1 forgets nothing, which suits a policy that does not move.
    #[must_use]
    pub fn update(self, prior: Self, decay: f64, samples: usize, rate: f64) -> Self {
        let n = samples as f64;
        Self {
            alpha: decay * self.alpha + (1.0 - decay) * prior.alpha + n * rate,
            beta: decay * self.beta + (1.0 - decay) * prior.beta + n * (1.0 - rate),
        }
    }

    /// A rate drawn from it: `x / (x + y)` of two gamma draws.
    pub fn draw(self, rng: &mut impl Rng) -> f64 {
        let (x, y) = (gamma(self.alpha, rng), gamma(self.beta, rng));
        x / (x + y)
    }
}

/// A draw from the gamma distribution of scale 1 (Marsaglia and Tsang 2000, "A simple method for generating gamma variables").
fn gamma(shape: f64, rng: &mut impl Rng) -> f64 {
    if shape < 1.0 {
        // A draw of shape + 1 times u^(1 / shape); never 0, so that two of them have a ratio.
        let u = 1.0 - rng.random::<f64>();
        return (gamma(shape + 1.0, rng) * u.powf(1.0 / shape)).max(f64::MIN_POSITIVE);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - rng.random::<f64>();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// The `count` candidates whose `rates` are nearest to `target`, as positions, nearest first; of equal ones the first. Where there are
/// fewer candidates, they come again.
pub fn nearest(rates: &[f64], target: f64, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rates.len()).collect();
    let distance = |i: &usize| (rates[*i] - target).powi(2);
    order.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    order.iter().copied().cycle().take(count).collect()
}

#[cfg(test)]
mod tests {
    use ocelli_core::{Purpose, SeedKey};

    use super::*;

    const PRIOR: Posterior = Posterior {
        alpha: 1.0,
        beta: 1.0,
    };

    #[test]
    fn eight_answers_of_which_six_are_right() {
        // 0.5 + 0.5 + 6 and 0.5 + 0.5 + 2.
        let after = PRIOR.update(PRIOR, 0.5, 8, 0.75);
        assert_eq!((after.alpha, after.beta), (7.0, 3.0));
        assert_eq!(after.mean(), 0.7);
        // 3.5 + 0.5 + 0 and 1.5 + 0.5 + 8.
        let again = after.update(PRIOR, 0.5, 8, 0.0);
        assert_eq!((again.alpha, again.beta), (4.0, 10.0));
        let kept = after.update(PRIOR, 1.0, 4, 0.5);
        assert_eq!((kept.alpha, kept.beta), (9.0, 5.0));
    }

    #[test]
    fn draws_have_the_mean_and_spread_of_the_distribution() {
        let mut rng = SeedKey::new(1, Purpose::Curriculum).rng();
        for (alpha, beta) in [(1.0, 1.0), (7.0, 3.0), (0.5, 0.5), (0.3, 4.0)] {
            let posterior = Posterior { alpha, beta };
            let draws: Vec<f64> = (0..20_000).map(|_| posterior.draw(&mut rng)).collect();
            let (mean, std) = ocelli_core::metrics::mean_std(&draws);
            let sum: f64 = alpha + beta;
            let variance = alpha * beta / (sum.powi(2) * (sum + 1.0));
            assert!(
                (mean - posterior.mean()).abs() < 0.01,
                "{alpha} {beta}: {mean}"
            );
            assert!(
                (std - variance.sqrt()).abs() < 0.01,
                "{alpha} {beta}: {std}"
            );
            assert!(draws.iter().all(|d| (0.0..=1.0).contains(d)));
        }
    }

    #[test]
    fn the_nearest_are_taken() {
        assert_eq!(nearest(&[0.9, 0.4, 0.55, 0.1], 0.5, 2), [2, 1]);
        assert_eq!(nearest(&[0.4, 0.6], 0.5, 3), [0, 1, 0]);
        assert_eq!(nearest(&[0.9, 0.4], 1.0, 1), [0]);
    }

    /// Mean |p − 0.5| of the picked prompts over that of all: 200 prompts with rates drawn evenly, 16 of 128 candidates a round, 30
    /// rounds of 8 answers, of which the last 10 count: before, most prompts are new. `drift` is added to every rate after a round.
    fn ratio(seed: u64, decay: f64, drift: f64) -> f64 {
        let mut rng = SeedKey::new(seed, Purpose::Curriculum).rng();
        let mut rates: Vec<f64> = (0..200).map(|_| rng.random()).collect();
        let mut posteriors = vec![PRIOR; 200];
        let (mut picked, mut all) = (0.0, 0.0);
        for round in 0..30 {
            let order = ocelli_data::epoch_order(200, seed, round);
            let candidates = &order[..128];
            let drawn: Vec<f64> = candidates
                .iter()
                .map(|i| posteriors[*i].draw(&mut rng))
                .collect();
            for i in nearest(&drawn, 0.5, 16)
                .into_iter()
                .map(|at| candidates[at])
            {
                if round >= 20 {
                    picked += (rates[i] - 0.5).abs() / 16.0;
                }
                let right = (0..8).filter(|_| rng.random::<f64>() < rates[i]).count();
                posteriors[i] = posteriors[i].update(PRIOR, decay, 8, right as f64 / 8.0);
            }
            if round >= 20 {
                all += rates.iter().map(|p| (p - 0.5).abs()).sum::<f64>() / 200.0;
            }
            rates
                .iter_mut()
                .for_each(|p| *p = (*p + drift).clamp(0.0, 1.0));
        }
        picked / all
    }

    #[test]
    fn picked_prompts_are_nearer_to_the_target_than_others() {
        let mean = |decay, drift| (0..40).map(|seed| ratio(seed, decay, drift)).sum::<f64>() / 40.0;
        let (forgetting, keeping) = (mean(0.5, 0.0), mean(1.0, 0.0));
        assert!(forgetting < 0.7 && keeping < 0.7, "{forgetting} {keeping}");
        // Where rates move, old answers mislead.
        let (forgetting, keeping) = (mean(0.5, 0.02), mean(1.0, 0.02));
        assert!(forgetting <= keeping + 0.01, "{forgetting} {keeping}");
    }
}
