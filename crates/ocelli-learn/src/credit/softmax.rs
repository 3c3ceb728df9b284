//! Softmax weights of a group (Alpamayo-R1, arXiv 2511.00088): all positive, the better the heavier.

/// `w_i = e^{β A_i} / Σ e^{β A_j}` with `A = r − mean(r)`, over the group's known rewards; the mean drops out. Unknown rewards get 0.
/// Meant for likelihood objectives (`loss_type = "reinforce"`).
pub fn softmax(groups: &[Vec<Option<f64>>], beta: f64) -> Vec<Vec<f64>> {
    groups
        .iter()
        .map(|group| {
            let largest = group
                .iter()
                .flatten()
                .map(|r| beta * r)
                .fold(f64::NEG_INFINITY, f64::max);
            let weight = |r: &Option<f64>| r.map_or(0.0, |r| (beta * r - largest).exp());
            let total: f64 = group.iter().map(weight).sum();
            group
                .iter()
                .map(|r| if total > 0.0 { weight(r) / total } else { 0.0 })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, known_groups};
    use super::*;

    #[test]
    fn a_worked_group() {
        let w = softmax(&known_groups(&[&[2.0, 1.0, 0.0]]), 1.0);
        assert_near(&w[0], &[0.665_241, 0.244_728, 0.090_031], 1e-6);
    }

    #[test]
    fn it_neither_overflows_nor_counts_the_unknown() {
        let w = softmax(&[vec![Some(1e6), Some(0.0), None], vec![None, None]], 10.0);
        assert_eq!(w, [vec![1.0, 0.0, 0.0], vec![0.0, 0.0]]);
    }
}
