//! Generalised advantage estimation (Schulman et al. 2015, arXiv 1506.02438), over tokens or over steps of an env.

use serde::{Deserialize, Serialize};

/// Advantages and the returns that a value head is trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct Gae {
    pub advantages: Vec<f64>,
    /// `A + V`.
    pub returns: Vec<f64>,
}

/// `δ_t = r_t + γ V_{t+1} − V_t`, `A_t = δ_t + γ λ A_{t+1}` for one episode.
///
/// A decision is a trained token (tokens shown by the env are left out, which is what verl's mask does) or an env step (VL-DAC).
/// `last_value` is the value after the last one: 0 when the episode ended, the critic's when it was cut.
pub fn gae(rewards: &[f64], values: &[f64], last_value: f64, gamma: f64, lambda: f64) -> Gae {
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut next) = (last_value, 0.0);
    for t in (0..rewards.len()).rev() {
        let delta = rewards[t] + gamma * next_value - values[t];
        next = delta + gamma * lambda * next;
        advantages[t] = next;
        next_value = values[t];
    }
    let returns = advantages.iter().zip(values).map(|(a, v)| a + v).collect();
    Gae {
        advantages,
        returns,
    }
}

/// Over what values are estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GaeLevel {
    /// Every trained token is a decision.
    #[default]
    Token,
    /// Every turn is one: its value is that before its first token, and all its tokens share its advantage (VL-DAC).
    Step,
}

/// Settings of [`episode`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaeRule {
    pub gamma: f64,
    pub lambda: f64,
    pub level: GaeLevel,
}

/// What one episode says to each of its trained tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenGae {
    pub advantages: Vec<f64>,
    /// What the values should have been.
    pub returns: Vec<f64>,
    /// Tokens before which a value was estimated; the others' returns mean nothing.
    pub valued: Vec<bool>,
}

/// [`gae`] of an episode that ended. `rewards` and `values` are of its trained tokens, `steps` are the numbers of those in its turns.
pub fn episode(rewards: &[f64], values: &[f64], steps: &[usize], rule: GaeRule) -> TokenGae {
    let of = |rewards: &[f64], values: &[f64]| gae(rewards, values, 0.0, rule.gamma, rule.lambda);
    if rule.level == GaeLevel::Token {
        let found = of(rewards, values);
        return TokenGae {
            valued: vec![true; found.advantages.len()],
            advantages: found.advantages,
            returns: found.returns,
        };
    }
    let steps: Vec<usize> = steps.iter().copied().filter(|tokens| *tokens > 0).collect();
    let starts: Vec<usize> = steps
        .iter()
        .scan(0, |end, tokens| {
            *end += tokens;
            Some(*end - tokens)
        })
        .collect();
    let spans = starts.iter().zip(&steps);
    let step_rewards: Vec<f64> = spans
        .map(|(&start, tokens)| rewards[start..start + tokens].iter().sum())
        .collect();
    let step_values: Vec<f64> = starts.iter().map(|start| values[*start]).collect();
    let found = of(&step_rewards, &step_values);
    let mut valued = vec![false; rewards.len()];
    starts.iter().for_each(|start| valued[*start] = true);
    TokenGae {
        advantages: step_to_tokens(&found.advantages, &steps),
        returns: step_to_tokens(&found.returns, &steps),
        valued,
    }
}

/// Copies each step's advantage to the tokens generated in it.
pub fn step_to_tokens(advantages: &[f64], tokens: &[usize]) -> Vec<f64> {
    advantages
        .iter()
        .zip(tokens)
        .flat_map(|(a, n)| std::iter::repeat_n(*a, *n))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::reinforce::discounted_returns;
    use super::super::testing::assert_near;
    use super::*;

    #[test]
    fn a_worked_episode() {
        // δ = (0 + .5·.4 − .2, 1 − .4) = (0, .6); A = (.5·.5·.6, .6)
        let got = gae(&[0.0, 1.0], &[0.2, 0.4], 0.0, 0.5, 0.5);
        assert_near(&got.advantages, &[0.15, 0.6], 1e-12);
        assert_near(&got.returns, &[0.35, 1.0], 1e-12);
        assert_near(
            &step_to_tokens(&got.advantages, &[1, 2]),
            &[0.15, 0.6, 0.6],
            1e-12,
        );
    }

    #[test]
    fn without_values_and_with_lambda_one_it_is_the_return() {
        let rewards = [0.5, -1.0, 2.0];
        let got = gae(&rewards, &[0.0; 3], 0.0, 0.9, 1.0);
        assert_near(&got.advantages, &discounted_returns(&rewards, 0.9), 1e-12);
    }

    #[test]
    fn a_turn_is_one_decision_at_the_level_of_steps() {
        let rule = |level| GaeRule {
            gamma: 0.5,
            lambda: 0.5,
            level,
        };
        // Two turns of 2 tokens and 1: the worked episode above.
        let (rewards, values) = ([0.0, 0.0, 1.0], [0.2, 9.0, 0.4]);
        let got = episode(&rewards, &values, &[2, 0, 1], rule(GaeLevel::Step));
        assert_near(&got.advantages, &[0.15, 0.15, 0.6], 1e-12);
        assert_near(&got.returns, &[0.35, 0.35, 1.0], 1e-12);
        assert_eq!(got.valued, [true, false, true]);
        // Turns of one token are tokens.
        let turns = episode(&rewards, &values, &[1, 1, 1], rule(GaeLevel::Step));
        let tokens = episode(&rewards, &values, &[3], rule(GaeLevel::Token));
        assert_eq!(turns, tokens);
    }

    #[test]
    fn with_lambda_and_gamma_one_it_is_the_return_minus_the_value() {
        let (rewards, values) = ([0.5, -1.0, 2.0], [0.3, 0.1, -0.4]);
        let got = gae(&rewards, &values, 0.0, 1.0, 1.0);
        let returns = discounted_returns(&rewards, 1.0);
        let expected: Vec<f64> = returns.iter().zip(values).map(|(r, v)| r - v).collect();
        assert_near(&got.advantages, &expected, 1e-12);
        assert_near(&got.returns, &returns, 1e-12);
    }

    #[test]
    fn a_cut_episode_goes_on_in_the_critics_eyes() {
        let got = gae(&[0.0], &[1.0], 2.0, 1.0, 0.95);
        assert_near(&got.advantages, &[1.0], 1e-12);
    }
}
