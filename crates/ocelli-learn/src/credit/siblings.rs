//! Rewards averaged over sibling problems (We-Math 2.0, arXiv 2508.10433): variants of one problem teach as one.

/// Sorts the rewards of each sibling and replaces the reward of every rank by its mean over the siblings. `siblings` are the
/// groups of one problem's variants, all of one size; the result keeps each sample's place.
///
/// `None` when the groups differ in size.
pub fn rank_averaged(siblings: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let size = siblings.first().map_or(0, Vec::len);
    if siblings.iter().any(|group| group.len() != size) {
        return None;
    }
    let orders: Vec<Vec<usize>> = siblings
        .iter()
        .map(|group| {
            let mut order: Vec<usize> = (0..size).collect();
            order.sort_by(|a, b| group[*b].total_cmp(&group[*a]));
            order
        })
        .collect();
    let mut averaged = vec![vec![0.0; size]; siblings.len()];
    for rank in 0..size {
        let total: f64 = siblings
            .iter()
            .zip(&orders)
            .map(|(group, order)| group[order[rank]])
            .sum();
        for (out, order) in averaged.iter_mut().zip(&orders) {
            out[order[rank]] = total / siblings.len() as f64;
        }
    }
    Some(averaged)
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_near;
    use super::*;

    #[test]
    fn ranks_share_their_mean() {
        let averaged =
            rank_averaged(&[vec![0.9, 0.9, 0.1, 0.0], vec![0.1, 0.0, 0.9, 0.1]]).unwrap();
        assert_near(&averaged[0], &[0.9, 0.5, 0.1, 0.0], 1e-12);
        assert_near(&averaged[1], &[0.5, 0.0, 0.9, 0.1], 1e-12);
        assert_eq!(rank_averaged(&[vec![1.0], vec![]]), None);
    }
}
