//! Normalisation of finished advantages over the whole batch.

use super::mean_spread;

/// `(A − mean(A)) / (std(A) + ε)` over all judged episodes of the batch, standard deviation unbiased (TRL's RLOO trainer with
/// `normalize_advantages`; BN-GSPO of SenseNova-MARS after a group z-score). `judged` tells which episodes had a reward; the
/// others keep 0.
pub fn normalize_batch(
    advantages: &[Vec<f64>],
    judged: impl Fn(usize, usize) -> bool,
    epsilon: f64,
) -> Vec<Vec<f64>> {
    let values: Vec<f64> = indexed(advantages)
        .filter(|&((i, j), _)| judged(i, j))
        .map(|(_, a)| a)
        .collect();
    let (mean, std) = mean_spread(&values, 1);
    let scaled = |a: f64| (a - mean) / (std + epsilon);
    let mut out: Vec<Vec<f64>> = advantages.to_vec();
    for (i, group) in out.iter_mut().enumerate() {
        for (j, a) in group.iter_mut().enumerate() {
            *a = if judged(i, j) { scaled(*a) } else { 0.0 };
        }
    }
    out
}

fn indexed(advantages: &[Vec<f64>]) -> impl Iterator<Item = ((usize, usize), f64)> {
    advantages
        .iter()
        .enumerate()
        .flat_map(|(i, group)| group.iter().enumerate().map(move |(j, &a)| ((i, j), a)))
}

/// `(x − mean) / sqrt(var + ε)` over all tokens of the batch, variance with `n − ddof` (1 in verl and EasyR1, 0 in RLinf).
pub fn whiten(tokens: &[Vec<f64>], ddof: usize, epsilon: f64) -> Vec<Vec<f64>> {
    let all: Vec<f64> = tokens.iter().flatten().copied().collect();
    let (mean, std) = mean_spread(&all, ddof);
    let divisor = (std * std + epsilon).sqrt();
    tokens
        .iter()
        .map(|episode| episode.iter().map(|x| (x - mean) / divisor).collect())
        .collect()
}

/// `x / sqrt(var + ε)` around the mean of all tokens of the batch, which stays (TRL's `masked_whiten` without its shift).
pub fn scale_to_unit_variance(tokens: &[Vec<f64>], epsilon: f64) -> Vec<Vec<f64>> {
    let all: Vec<f64> = tokens.iter().flatten().copied().collect();
    let (mean, _) = mean_spread(&all, 1);
    let mut white = whiten(tokens, 1, epsilon);
    white.iter_mut().flatten().for_each(|x| *x += mean);
    white
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, known_groups};
    use super::super::{ScaleRewards, group_relative};
    use super::*;

    #[test]
    fn after_a_group_z_score_it_divides_by_the_root_of_the_live_share() {
        // Of four groups one is dead: what is left has variance 3/4.
        let groups = known_groups(&[
            &[0.0, 1.0, 1.0, 0.0],
            &[0.5, 0.5, 0.5, 0.5],
            &[0.1, 0.9, 0.4, 0.2],
            &[3.0, 1.0, 2.0, 2.0],
        ]);
        let population = super::super::GroupScale {
            by: ScaleRewards::Group,
            ddof: 0,
            epsilon: 0.0,
        };
        let z = group_relative(&groups[..1], population);
        assert_eq!(z[0], [-1.0, 1.0, 1.0, -1.0]);
        let z: Vec<Vec<f64>> = groups
            .iter()
            .map(|g| {
                let spread = mean_spread(&super::super::known(g), 0).1;
                let scale = super::super::GroupScale {
                    epsilon: if spread == 0.0 { 1.0 } else { 0.0 },
                    ..population
                };
                group_relative(std::slice::from_ref(g), scale).remove(0)
            })
            .collect();
        // unbiased over 16 episodes: sqrt(12/15) where the population's is sqrt(12/16)
        let normal = normalize_batch(&z, |_, _| true, 0.0);
        for (got, z) in normal.iter().zip(&z) {
            let want: Vec<f64> = z.iter().map(|a| a / (12.0f64 / 15.0).sqrt()).collect();
            assert_near(got, &want, 1e-12);
        }
    }

    #[test]
    fn episodes_without_a_reward_stay_out() {
        let a = normalize_batch(&[vec![1.0, 0.0, -1.0]], |_, j| j != 1, 0.0);
        let std = 2f64.sqrt();
        assert_near(&a[0], &[1.0 / std, 0.0, -1.0 / std], 1e-12);
    }

    #[test]
    fn whitened_tokens_have_mean_zero_and_variance_one() {
        let white = whiten(&[vec![1.0, 2.0], vec![3.0]], 1, 0.0);
        assert_near(&white.concat(), &[-1.0, 0.0, 1.0], 1e-12);
        let scaled = scale_to_unit_variance(&[vec![2.0, 4.0], vec![6.0]], 0.0);
        assert_near(&scaled.concat(), &[3.0, 4.0, 5.0], 1e-12);
    }
}
