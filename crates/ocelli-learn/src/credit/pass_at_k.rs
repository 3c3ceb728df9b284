//! Advantages for pass@k: only the best sample of a group counts.

use super::group_relative::GroupScale;
use super::{ScaleRewards, known, mean_spread};

/// The best sample of each group gets `(r_max − r_second) / (std(r) + ε)`, all others 0 (`grpo_passk` of verl and EasyR1, after
/// arXiv 2503.19595). With a tie for the best nobody gets anything. `ScaleRewards::None` leaves out the division.
pub fn pass_at_k(groups: &[Vec<Option<f64>>], scale: GroupScale) -> Vec<Vec<f64>> {
    let all: Vec<f64> = groups.iter().flatten().copied().flatten().collect();
    let (_, batch_std) = mean_spread(&all, scale.ddof);
    groups
        .iter()
        .map(|group| {
            let mut advantages = vec![0.0; group.len()];
            let mut ranked: Vec<(usize, f64)> = group
                .iter()
                .enumerate()
                .filter_map(|(i, r)| Some((i, (*r)?)))
                .collect();
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
            if let [(best, first), (_, second), ..] = ranked[..] {
                let divisor = match scale.by {
                    ScaleRewards::Group => mean_spread(&known(group), scale.ddof).1 + scale.epsilon,
                    ScaleRewards::Batch => batch_std + scale.epsilon,
                    ScaleRewards::None => 1.0,
                };
                advantages[best] = (first - second) / divisor;
            }
            advantages
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::known_groups;
    use super::*;

    #[test]
    fn the_lead_of_the_best_is_all_there_is() {
        let groups = known_groups(&[&[0.2, 1.0, 0.5], &[1.0, 1.0], &[0.3]]);
        let a = pass_at_k(&groups, ScaleRewards::None.into());
        assert_eq!(a, [vec![0.0, 0.5, 0.0], vec![0.0, 0.0], vec![0.0]]);
    }
}
