//! Choosing the next token from logits.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How tokens are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingParams {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Keeps the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Keeps this many most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Tokens after which a sample is cut.
    pub max_completion_length: usize,
}

impl SamplingParams {
    /// The most likely token at every step.
    pub fn greedy(max_completion_length: usize) -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            max_completion_length,
        }
    }

    /// What the logits are divided by for the recorded log-probability.
    pub fn logit_temperature(&self) -> f32 {
        if self.temperature > 0.0 {
            self.temperature
        } else {
            1.0
        }
    }
}

/// Draws a token from `logits [vocabulary]` and gives its log-probability under the whole distribution at this temperature:
/// the number the trainer recomputes. `top_p` and `top_k` restrict the draw only, as in TRL. `banned` tokens have no
/// probability. `logits` is used as scratch space.
pub fn draw(
    logits: &mut [f32],
    params: &SamplingParams,
    banned: &[u32],
    rng: &mut impl Rng,
) -> (u32, f32) {
    for &token in banned {
        logits[token as usize] = f32::NEG_INFINITY;
    }
    let temperature = params.logit_temperature();
    let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for logit in logits.iter_mut() {
        *logit = (*logit - peak) / temperature;
    }
    // f64 sums: a draw must not depend on the order of additions.
    let weights: Vec<f64> = logits.iter().map(|&logit| f64::from(logit).exp()).collect();
    let total: f64 = weights.iter().sum();
    let log_total = total.ln() as f32;
    let token = if params.temperature > 0.0 {
        pick(&weights, total, params, rng)
    } else {
        argmax(logits)
    };
    (token as u32, logits[token] - log_total)
}

/// First index of the largest value.
fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, &value) in values.iter().enumerate() {
        if value > values[best] {
            best = i;
        }
    }
    best
}

/// The index of one of `weights`, drawn in proportion to them; `total` is their sum.
fn pick(weights: &[f64], total: f64, params: &SamplingParams, rng: &mut impl Rng) -> usize {
    let weight = |i: usize| weights[i];
    let uniform: f64 = rng.random();
    if params.top_k == 0 && params.top_p >= 1.0 {
        return walk(0..weights.len(), weight, uniform * total);
    }
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    if params.top_k > 0 {
        order.truncate(params.top_k);
    }
    // The nucleus is measured on what top-k left, as transformers does.
    let kept: f64 = order.iter().map(|&i| weight(i)).sum();
    let mut mass = 0.0;
    let mut length = 0;
    for &i in &order {
        length += 1;
        mass += weight(i);
        if mass >= f64::from(params.top_p) * kept {
            break;
        }
    }
    order.truncate(length);
    walk(order.iter().copied(), weight, uniform * mass)
}

/// The first index at which the running sum passes `threshold`; the last one with any weight when rounding leaves none.
fn walk(
    indices: impl Iterator<Item = usize>,
    weight: impl Fn(usize) -> f64,
    threshold: f64,
) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for i in indices {
        let w = weight(i);
        if w > 0.0 {
            last = i;
        }
        sum += w;
        if sum > threshold {
            return i;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli_core::{Purpose, SeedKey};

    fn params(temperature: f32, top_p: f32, top_k: usize) -> SamplingParams {
        SamplingParams {
            temperature,
            top_p,
            top_k,
            max_completion_length: 1,
        }
    }

    fn counts(logits: &[f32], params: &SamplingParams, banned: &[u32]) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        let mut rng = SeedKey::new(1, Purpose::Sampling).rng();
        for _ in 0..4000 {
            let (token, _) = draw(&mut logits.to_vec(), params, banned, &mut rng);
            counts[token as usize] += 1;
        }
        counts
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let logits = [1f32.ln(), 2f32.ln(), 5f32.ln()];
        let counts = counts(&logits, &params(1.0, 1.0, 0), &[]);
        for (count, want) in counts.iter().zip([0.125, 0.25, 0.625]) {
            assert!((*count as f64 / 4000.0 - want).abs() < 0.03, "{counts:?}");
        }
    }

    #[test]
    fn banned_top_k_and_top_p_tokens_are_never_drawn() {
        let logits = [1f32.ln(), 2f32.ln(), 5f32.ln(), 8f32.ln()];
        assert_eq!(counts(&logits, &params(1.0, 1.0, 0), &[3])[3], 0);
        assert_eq!(counts(&logits, &params(1.0, 1.0, 2), &[])[..2], [0, 0]);
        assert_eq!(counts(&logits, &params(1.0, 0.8, 0), &[])[..2], [0, 0]);
        assert_eq!(counts(&logits, &params(1.0, 0.4, 0), &[])[..3], [0, 0, 0]);
    }

    #[test]
    fn log_probability_is_that_of_the_whole_distribution() {
        let logits = [1f32.ln(), 3f32.ln()];
        let mut rng = SeedKey::new(1, Purpose::Sampling).rng();
        let (token, logprob) = draw(&mut logits.to_vec(), &params(1.0, 1.0, 1), &[], &mut rng);
        assert_eq!(token, 1);
        assert!((logprob - 0.75f32.ln()).abs() < 1e-6);
        let (token, logprob) = draw(&mut logits.to_vec(), &params(0.0, 1.0, 0), &[], &mut rng);
        assert_eq!(token, 1);
        assert!((logprob - 0.75f32.ln()).abs() < 1e-6);
        let (_, logprob) = draw(&mut logits.to_vec(), &params(0.5, 1.0, 1), &[], &mut rng);
        assert!((logprob - 0.9f32.ln()).abs() < 1e-6);
    }
}
