//! Generalised advantage estimation (Schulman et al. 2015, arXiv 1506.02438), over tokens or over steps of an env.

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
    fn a_cut_episode_goes_on_in_the_critics_eyes() {
        let got = gae(&[0.0], &[1.0], 2.0, 1.0, 0.95);
        assert_near(&got.advantages, &[1.0], 1e-12);
    }
}
