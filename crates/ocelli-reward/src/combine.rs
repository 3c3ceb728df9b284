//! Several verdicts into one, and the verdicts of a group into new ones.

use ocelli_core::Verdict;
use ocelli_core::metrics::mean_std;

use crate::config::{Combine, Transform};

/// Added to a standard deviation before it divides, as TRL does.
const STD_EPSILON: f64 = 1e-4;

/// One verdict from those of several nodes on the same episode. Skips are left out, and nothing but skips is a skip; an
/// error anywhere is the result, since the score could have been any.
pub(crate) fn combine<'a>(how: Combine, verdicts: impl Iterator<Item = &'a Verdict>) -> Verdict {
    let mut values = Vec::new();
    for verdict in verdicts {
        match verdict {
            Verdict::Score { value, .. } => values.push(*value),
            Verdict::Skip => {}
            Verdict::Error(error) => return Verdict::Error(error.clone()),
        }
    }
    if values.is_empty() {
        return Verdict::Skip;
    }
    let n = values.len() as f64;
    Verdict::score(match how {
        Combine::Sum | Combine::Ladder => values.iter().sum(),
        Combine::Mean => values.iter().sum::<f64>() / n,
        Combine::Product => values.iter().product(),
        Combine::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Combine::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Combine::HarmonicMean if values.iter().all(|value| *value > 0.0) => {
            n / values.iter().map(|value| value.recip()).sum::<f64>()
        }
        Combine::HarmonicMean => 0.0,
    })
}

/// New verdicts from those of one node over a group or a batch. Skips and errors stay what they are, and the others are
/// computed without them.
pub(crate) fn transform(how: Transform, verdicts: &[Verdict]) -> Vec<Verdict> {
    let values: Vec<f64> = verdicts.iter().filter_map(Verdict::value).collect();
    let mut changed = transformed(how, &values).into_iter();
    let change = |verdict: &Verdict| match verdict {
        Verdict::Score { parse_failure, .. } => Verdict::Score {
            value: changed.next().unwrap_or(f64::NAN),
            parse_failure: parse_failure.clone(),
        },
        other => other.clone(),
    };
    verdicts.iter().map(change).collect()
}

/// As many numbers as `values`.
fn transformed(how: Transform, values: &[f64]) -> Vec<f64> {
    let (mean, std) = mean_std(values);
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let others = values.len().saturating_sub(1) as f64;
    let change = |value: f64| match how {
        Transform::Center => value - mean,
        Transform::ZScore => (value - mean) / (std + STD_EPSILON),
        Transform::Stretch if highest > lowest => (value - lowest) / (highest - lowest),
        Transform::Stretch => value,
        Transform::Rank if others == 0.0 => 0.5,
        Transform::Rank => {
            let lower = values.iter().filter(|other| **other < value).count() as f64;
            let ties = values.iter().filter(|other| **other == value).count() as f64 - 1.0;
            (lower + ties / 2.0) / others
        }
        Transform::GroupMean => mean,
        Transform::GroupBest => highest,
    };
    values.iter().map(|value| change(*value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli_core::VerifierError;

    fn combined(how: Combine, values: &[f64]) -> f64 {
        let verdicts: Vec<Verdict> = values.iter().map(|v| Verdict::score(*v)).collect();
        combine(how, verdicts.iter()).value().unwrap()
    }

    #[test]
    fn combinations_of_worked_examples() {
        for (how, value) in [
            (Combine::Sum, 1.5),
            (Combine::Mean, 0.75),
            (Combine::Product, 0.5),
            (Combine::Max, 1.0),
            (Combine::Min, 0.5),
            (Combine::HarmonicMean, 2.0 / 3.0),
        ] {
            assert!(
                (combined(how, &[0.5, 1.0]) - value).abs() < 1e-12,
                "{how:?}"
            );
        }
        assert_eq!(combined(Combine::HarmonicMean, &[0.0, 1.0]), 0.0);
        // AlphaDrive: right action, weight 1, plan share .5 or .1 of the group: × (1 − min(.2, f)).
        assert_eq!(combined(Combine::Product, &[1.0, 1.0, 1.0 - 0.2]), 0.8);
        assert_eq!(combined(Combine::Product, &[1.0, 1.0, 1.0 - 0.1]), 0.9);
    }

    #[test]
    fn skips_are_left_out_and_errors_win() {
        let error = Verdict::Error(VerifierError {
            kind: ocelli_core::FailureKind::Network,
            message: "judge is down".into(),
            retryable: true,
        });
        let half = Verdict::score(0.5);
        assert_eq!(
            combine(Combine::Product, [&half, &Verdict::Skip].into_iter()),
            half
        );
        assert_eq!(
            combine(Combine::Sum, [&Verdict::Skip].into_iter()),
            Verdict::Skip
        );
        assert_eq!(combine(Combine::Max, [&half, &error].into_iter()), error);
    }

    #[test]
    fn transforms_of_worked_examples() {
        let close = |found: Vec<f64>, wanted: &[f64]| {
            let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
            assert!(found.iter().zip(wanted).all(near), "{found:?} {wanted:?}");
        };
        // ARMed: a range of .08 is stretched to 1, order kept; equal values do not blow up.
        let stretched = transformed(Transform::Stretch, &[0.86, 0.88, 0.90, 0.94]);
        close(stretched, &[0.0, 0.25, 0.5, 1.0]);
        close(transformed(Transform::Stretch, &[0.9; 4]), &[0.9; 4]);
        close(transformed(Transform::Center, &[1.0, 0.0]), &[0.5, -0.5]);
        let score = 0.5 / (0.5f64.sqrt() + 1e-4);
        close(
            transformed(Transform::ZScore, &[1.0, 0.0]),
            &[score, -score],
        );
        close(
            transformed(Transform::Rank, &[3.0, 1.0, 2.0, 2.0]),
            &[1.0, 0.0, 0.5, 0.5],
        );
        close(transformed(Transform::Rank, &[3.0]), &[0.5]);
        close(transformed(Transform::GroupMean, &[1.0, 0.0]), &[0.5, 0.5]);
        close(transformed(Transform::GroupBest, &[1.0, 0.0]), &[1.0, 1.0]);
    }

    #[test]
    fn a_transform_looks_at_scores_only() {
        let verdicts = [
            Verdict::score(1.0),
            Verdict::Skip,
            Verdict::unparsed("no answer"),
        ];
        assert_eq!(
            transform(Transform::Center, &verdicts),
            [
                Verdict::score(0.5),
                Verdict::Skip,
                Verdict::Score {
                    value: -0.5,
                    parse_failure: Some("no answer".into())
                }
            ]
        );
        assert!(transform(Transform::Rank, &[]).is_empty());
    }
}
