//! VPPO (arXiv 2510.09285): credit for looking at the picture.
//!
//! The dependence of a token is how much its log-probability suffers when the picture is damaged. Trajectories that depend on the picture
//! weigh more, and within a trajectory only the tokens that depend on it most keep their loss.

/// Largest dependence of a token.
pub const LIMIT: f32 = 10.0;

/// `s = min(e^d − d − 1, 10)` with `d = log π(token | damaged picture) − log π(token | picture)`: an estimate, from the sampled token alone,
/// of the divergence between the two distributions.
pub fn dependence(logprob: &[f32], damaged_logprob: &[f32]) -> Vec<f32> {
    logprob
        .iter()
        .zip(damaged_logprob)
        .map(|(seen, damaged)| {
            let d = damaged - seen;
            (d.exp() - d - 1.0).clamp(0.0, LIMIT)
        })
        .collect()
}

/// Factors of the trajectories' advantages: `f = b + (u − b) z`, `z` the trajectory's mean dependence scaled to 0…1 over the batch, and `u`
/// such that the factors have mean 1. `floor` is b, 0.9 in the paper. All 1 where no trajectory depends more than another.
pub fn trajectory_factors(mean_dependences: &[f64], floor: f64) -> Vec<f64> {
    let extreme =
        |f: fn(f64, f64) -> f64| mean_dependences.iter().copied().reduce(f).unwrap_or(0.0);
    let (least, most) = (extreme(f64::min), extreme(f64::max));
    if most <= least {
        return vec![1.0; mean_dependences.len()];
    }
    let scaled: Vec<f64> = mean_dependences
        .iter()
        .map(|s| (s - least) / (most - least))
        .collect();
    let mean = scaled.iter().sum::<f64>() / scaled.len() as f64;
    scaled
        .iter()
        .map(|z| floor + (1.0 - floor) / mean * z)
        .collect()
}

/// Marks the `⌈share · n⌉` tokens of a trajectory that depend on the picture most.
pub fn most_dependent(dependence: &[f32], share: f64) -> Vec<bool> {
    let count = (share * dependence.len() as f64).ceil() as usize;
    let mut order: Vec<usize> = (0..dependence.len()).collect();
    order.sort_by(|a, b| dependence[*b].total_cmp(&dependence[*a]));
    let mut kept = vec![false; dependence.len()];
    for &i in order.iter().take(count) {
        kept[i] = true;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_trajectories_at_the_ends() {
        let f = trajectory_factors(&[0.0, 1.0], 0.9);
        assert!((f[0] - 0.9).abs() < 1e-12 && (f[1] - 1.1).abs() < 1e-12);
        assert_eq!(trajectory_factors(&[0.3, 0.3], 0.9), [1.0, 1.0]);
        let f = trajectory_factors(&[0.1, 0.7, 0.2, 0.5], 0.9);
        assert!((f.iter().sum::<f64>() / 4.0 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_token_that_reads_the_picture_is_kept() {
        let s = dependence(
            &[-0.1, -0.2, -0.1, -1.0, -30.0],
            &[-0.1, -0.3, -4.0, -1.1, 0.0],
        );
        assert_eq!(s[0], 0.0);
        assert!((s[2] - ((-3.9f32).exp() + 3.9 - 1.0)).abs() < 1e-5);
        assert_eq!(s[4], LIMIT);
        // ⌈0.4 · 5⌉ = 2
        assert_eq!(most_dependent(&s, 0.4), [false, false, true, false, true]);
        assert_eq!(most_dependent(&s, 1.0), [true; 5]);
    }
}
