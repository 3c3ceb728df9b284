//! Selection by disagreement: more prompts are answered than are learnt from, and those whose answers disagree most are kept.

use ocelli_core::{Episode, SeedKey, SegmentKind};
use ocelli_rollout::Group;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

/// How much the answers to a prompt disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disagreement {
    /// Variance of the rewards: `reward_variance`.
    #[default]
    RewardVariance,
    /// Chance that two answers differ: `answer_diversity`.
    Answers,
    /// How far the model's ranking of the answers is from the rewards': `ranking_divergence`.
    Ranking,
}

/// Which of the answered prompts a step learns from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelectGroups {
    /// `reward_variance`, `answers` or `ranking`.
    pub by: Disagreement,
    /// Prompts answered for each one that is learnt from.
    pub oversampling: f64,
    /// Share of the batch that is chosen by chance instead, from what is left.
    pub uniform: f64,
    /// Sharpness of the rewards' distribution in `ranking`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
}

impl Default for SelectGroups {
    fn default() -> Self {
        Self {
            by: Disagreement::default(),
            oversampling: 2.0,
            uniform: 0.0,
            beta: None,
        }
    }
}

impl SelectGroups {
    /// # Errors
    /// Says which key is wrong in groups of `num_generations` and batches of `size`, and how to mend it.
    pub fn check(&self, num_generations: usize, size: usize) -> Result<(), String> {
        if !(self.oversampling.is_finite() && self.drawn(size) > size) {
            return Err(format!(
                "`rollout.select_groups.oversampling = {}` leaves nothing to choose from in batches of {size}; raise it",
                self.oversampling
            ));
        }
        if !(0.0..1.0).contains(&self.uniform) {
            return Err("`rollout.select_groups.uniform` must be at least 0 and below 1".into());
        }
        if self.beta.is_some() && self.by != Disagreement::Ranking {
            return Err(
                "`rollout.select_groups.beta` has no effect without `by = \"ranking\"`; remove it"
                    .into(),
            );
        }
        if self
            .beta
            .is_some_and(|beta| !(beta > 0.0 && beta.is_finite()))
        {
            return Err("`rollout.select_groups.beta` must be above 0".into());
        }
        if num_generations < 2 {
            return Err("`rollout.select_groups`: a group of one has nothing to disagree about; raise `num_generations`".into());
        }
        Ok(())
    }

    /// Prompts that are answered for a batch of `size`.
    pub fn drawn(&self, size: usize) -> usize {
        (self.oversampling * size as f64).ceil() as usize
    }

    /// How much the answers of a group disagree.
    pub(super) fn disagreement(&self, group: &Group) -> f64 {
        let rewards: Vec<Option<f64>> = group.episodes.iter().map(|e| e.outcome.reward).collect();
        match self.by {
            Disagreement::RewardVariance => {
                reward_variance(&rewards.into_iter().flatten().collect::<Vec<_>>())
            }
            Disagreement::Answers => {
                let answers: Vec<&str> = group.episodes.iter().map(Episode::answer_text).collect();
                answer_diversity(&answers)
            }
            Disagreement::Ranking => {
                let known: Vec<(f64, f64)> = group
                    .episodes
                    .iter()
                    .filter_map(|e| Some((mean_logprob(e), e.outcome.reward?)))
                    .collect();
                let (logprobs, rewards): (Vec<f64>, Vec<f64>) = known.into_iter().unzip();
                ranking_divergence(&logprobs, &rewards, self.beta.unwrap_or(1.0))
            }
        }
    }

    /// The groups to learn from, by their places in order: `size` of them, as many as `uniform` says by chance, the others with the most
    /// disagreement; of equal ones the first.
    pub fn choose(&self, disagreements: &[f64], size: usize, key: &SeedKey) -> Vec<usize> {
        let mut order: Vec<usize> = (0..disagreements.len()).collect();
        order.sort_by(|a, b| disagreements[*b].total_cmp(&disagreements[*a]));
        let by_chance = (self.uniform * size as f64).round() as usize;
        let first = size.saturating_sub(by_chance).min(order.len());
        let mut rest = order.split_off(first);
        rest.shuffle(&mut key.rng());
        order.extend(rest.into_iter().take(size - first));
        order.sort_unstable();
        order
    }
}

/// Population variance of the rewards; 0 where fewer than two are known.
fn reward_variance(rewards: &[f64]) -> f64 {
    let n = rewards.len().max(1) as f64;
    let mean = rewards.iter().sum::<f64>() / n;
    rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n
}

/// `1 − Σ p²` over the distinct answers, `p` the share of each: the chance that two answers, drawn with replacement, differ.
fn answer_diversity(answers: &[&str]) -> f64 {
    let mut sorted: Vec<&str> = answers.iter().map(|answer| answer.trim()).collect();
    sorted.sort_unstable();
    let n = sorted.len().max(1) as f64;
    let equal = sorted
        .chunk_by(|a, b| a == b)
        .map(|same| (same.len() as f64 / n).powi(2));
    1.0 - equal.sum::<f64>()
}

/// `KL(p ‖ q) = Σ p log(p / q)`, `p ∝ e^{logprob}` the model's ranking of the answers (mean log-probability of a token, so that long
/// answers are not always last) and `q ∝ e^{β reward}` that of the rewards: as the rows of Alpamayo-R1's last stage are chosen (arXiv
/// 2511.00088), where the exact form of the ranking is not published.
fn ranking_divergence(logprobs: &[f64], rewards: &[f64], beta: f64) -> f64 {
    fn log_softmax(values: impl Iterator<Item = f64>) -> Vec<f64> {
        let values: Vec<f64> = values.collect();
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = values.iter().map(|v| (v - largest).exp()).sum();
        values.iter().map(|v| v - largest - sum.ln()).collect()
    }
    let model = log_softmax(logprobs.iter().copied());
    let reward = log_softmax(rewards.iter().map(|r| beta * r));
    model
        .iter()
        .zip(&reward)
        .map(|(p, q)| p.exp() * (p - q))
        .sum()
}

fn mean_logprob(episode: &Episode) -> f64 {
    let logprobs: Vec<f32> = episode
        .decisions()
        .filter_map(|segment| match &segment.kind {
            SegmentKind::Decision {
                behavior_logprobs, ..
            } => Some(behavior_logprobs),
            SegmentKind::Observation { .. } => None,
        })
        .flatten()
        .copied()
        .collect();
    logprobs.iter().map(|l| f64::from(*l)).sum::<f64>() / logprobs.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use ocelli_core::Purpose;

    use super::*;

    #[test]
    fn disagreement_is_measured() {
        assert_eq!(reward_variance(&[1.0, 0.0, 1.0, 0.0]), 0.25);
        assert_eq!(reward_variance(&[0.5, 0.5]), 0.0);
        assert_eq!(reward_variance(&[]), 0.0);
        // Three of one kind and one of another: 1 - 9/16 - 1/16.
        assert_eq!(answer_diversity(&["a", "a ", "b", "a"]), 0.375);
        assert_eq!(answer_diversity(&["a", "a"]), 0.0);
        assert_eq!(ranking_divergence(&[-1.0, -1.0], &[0.5, 0.5], 3.0), 0.0);
        // The model finds both alike, the rewards are in a ratio of 3 to 1: 0.5 ln(0.5 / 0.75) + 0.5 ln(0.5 / 0.25).
        let got = ranking_divergence(&[-2.0, -2.0], &[1.0, 0.0], 3f64.ln());
        assert!((got - 0.5 * (4f64 / 3.0).ln()).abs() < 1e-12, "{got}");
        // A model that prefers what is worse is further away.
        assert!(
            ranking_divergence(&[-3.0, -1.0], &[1.0, 0.0], 1.0)
                > ranking_divergence(&[-1.0, -3.0], &[1.0, 0.0], 1.0)
        );
    }

    #[test]
    fn the_most_disagreeing_are_chosen_and_some_by_chance() {
        let key = SeedKey::new(0, Purpose::Curriculum);
        let disagreements = [0.1, 0.25, 0.0, 0.2, 0.25, 0.0];
        let plain = SelectGroups::default();
        assert_eq!(plain.choose(&disagreements, 3, &key), [1, 3, 4]);
        assert_eq!(plain.drawn(3), 6);
        let half = SelectGroups {
            uniform: 0.5,
            ..plain
        };
        let mut others = std::collections::BTreeSet::new();
        for step in 0..40 {
            let chosen = half.choose(&disagreements, 4, &key.clone().step(step));
            assert_eq!(chosen.len(), 4);
            assert!(chosen.contains(&1) && chosen.contains(&4), "{chosen:?}");
            others.extend(chosen);
        }
        assert_eq!(others.len(), 6);
    }

    #[test]
    fn settings_without_sense_are_refused() {
        for (keys, size, words) in [
            ("oversampling = 1.0", 8, "nothing to choose from"),
            ("oversampling = inf", 8, "nothing to choose from"),
            ("uniform = 1.0", 8, "below 1"),
            ("beta = 1.0", 8, "no effect"),
            ("by = 'ranking'\nbeta = 0.0", 8, "above 0"),
            ("", 1, "group of one"),
        ] {
            let select: SelectGroups = toml::from_str(keys).unwrap();
            let error = select.check(size, 4).unwrap_err();
            assert!(error.contains(words), "{keys}: {error}");
        }
        SelectGroups::default().check(8, 1).unwrap();
    }
}
