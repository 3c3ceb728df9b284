//! Leave-one-out advantages (RLOO; Ahmadian et al. 2024, arXiv 2402.14740, equation 6).

use super::known;

/// `A_i = r_i − mean_{j≠i} r_j` over the group's known rewards; 0 where there is no other.
///
/// The same as `n/(n−1)` times the distance from the group's mean, which is how verl writes it.
pub fn leave_one_out(groups: &[Vec<Option<f64>>]) -> Vec<Vec<f64>> {
    groups
        .iter()
        .map(|group| {
            let known = known(group);
            let (total, others) = (known.iter().sum::<f64>(), known.len().saturating_sub(1));
            let advantage = |r: f64| match others {
                0 => 0.0,
                _ => r - (total - r) / others as f64,
            };
            group.iter().map(|r| r.map_or(0.0, advantage)).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, known_groups};
    use super::super::{ScaleRewards, group_relative};
    use super::*;

    #[test]
    fn it_is_the_centred_reward_times_n_over_n_minus_one() {
        let groups = known_groups(&[&[0.3, 0.9, -1.0, 0.25], &[1.0, 0.0]]);
        let centred = group_relative(&groups, ScaleRewards::None.into());
        for ((got, centred), n) in leave_one_out(&groups).iter().zip(&centred).zip([4.0, 2.0]) {
            let want: Vec<f64> = centred.iter().map(|a| a * n / (n - 1.0)).collect();
            assert_near(got, &want, 1e-12);
        }
    }

    #[test]
    fn the_unknown_and_the_lonely_get_nothing() {
        let a = leave_one_out(&[vec![Some(2.0), None], vec![Some(1.0), None, Some(0.0)]]);
        assert_eq!(a, [vec![0.0, 0.0], vec![1.0, 0.0, -1.0]]);
    }
}
