//! REINFORCE++ (Hu 2025, arXiv 2501.03262): returns of single tokens, whitened over the batch instead of within a group.

use super::normalize::whiten;
use super::{known, mean_spread};

/// Added to the variance in [`reinforce_plus_plus`], as in verl and EasyR1.
pub const WHITEN_EPSILON: f64 = 1e-8;

/// `R_t = r_t + γ R_{t+1}` for the token rewards of one episode.
pub fn discounted_returns(rewards: &[f64], gamma: f64) -> Vec<f64> {
    let mut returns = vec![0.0; rewards.len()];
    let mut next = 0.0;
    for (r, out) in rewards.iter().zip(&mut returns).rev() {
        next = r + gamma * next;
        *out = next;
    }
    returns
}

/// Token advantages: the discounted returns, whitened over all tokens of the batch. `rewards[i]` holds the rewards of the
/// trained tokens of episode `i`, the episode's own on the last one.
pub fn reinforce_plus_plus(rewards: &[Vec<f64>], gamma: f64) -> Vec<Vec<f64>> {
    let returns: Vec<Vec<f64>> = rewards
        .iter()
        .map(|episode| discounted_returns(episode, gamma))
        .collect();
    whiten(&returns, 1, WHITEN_EPSILON)
}

/// Token advantages of the baseline form: `r − mean(r)` of the group on every token, whitened over all tokens of the batch, so
/// that long episodes count for more in mean and variance. `lengths` are trained tokens; episodes without a reward get zeros.
pub fn reinforce_plus_plus_baseline(
    groups: &[Vec<Option<f64>>],
    lengths: &[Vec<usize>],
) -> Vec<Vec<f64>> {
    let centred: Vec<Option<f64>> = groups
        .iter()
        .flat_map(|group| {
            let (mean, _) = mean_spread(&known(group), 1);
            group.iter().map(move |r| r.map(|r| r - mean))
        })
        .collect();
    let lengths: Vec<usize> = lengths.iter().flatten().copied().collect();
    let judged: Vec<Vec<f64>> = centred
        .iter()
        .zip(&lengths)
        .map(|(a, &length)| a.map_or(Vec::new(), |a| vec![a; length]))
        .collect();
    let white = whiten(&judged, 1, WHITEN_EPSILON);
    white
        .into_iter()
        .zip(lengths)
        .map(|(mut episode, length)| {
            episode.resize(length, 0.0);
            episode
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_near;
    use super::*;

    #[test]
    fn returns_add_up_backwards() {
        assert_near(
            &discounted_returns(&[1.0, 0.0, 2.0], 0.5),
            &[1.5, 1.0, 2.0],
            1e-12,
        );
        assert!(discounted_returns(&[], 0.9).is_empty());
    }

    #[test]
    fn longer_episodes_weigh_more_in_the_mean() {
        // centred ±0.5, on 3 tokens and on 1: mean 0.25, unbiased variance 0.25
        let groups = [vec![Some(1.0), Some(0.0), None]];
        let a = reinforce_plus_plus_baseline(&groups, &[vec![3, 1, 2]]);
        assert_near(&a[0], &[0.5; 3], 1e-6);
        assert_near(&a[1], &[-1.5], 1e-6);
        assert_eq!(a[2], [0.0, 0.0]);
    }
}
