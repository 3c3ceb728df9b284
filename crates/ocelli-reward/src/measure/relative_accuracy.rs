//! Numbers that may be a little wrong.

/// Mean relative accuracy, in `[0, 1]`: the share of the ten thresholds θ of .50, .55, …, .95 with
/// `|predicted − gold| / |gold| < 1 − θ` (Yang and others, 2024; OneThinker's regression). A gold value of 0 asks for
/// exactly 0. 0 when a number is not finite.
pub fn mean_relative_accuracy(predicted: f64, gold: f64) -> f64 {
    if !predicted.is_finite() || !gold.is_finite() {
        return 0.0;
    }
    if gold == 0.0 {
        return f64::from(u8::from(predicted == 0.0));
    }
    let error = ((predicted - gold) / gold).abs();
    // 1 − θ is .05, .10, …, .50: from whole numbers, since 1 − .9 is not .1.
    let passed = (1..=10)
        .filter(|&step| error < f64::from(step) / 20.0)
        .count();
    passed as f64 / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thinker_regression() {
        for (predicted, gold, expected) in [
            (100.0, 100.0, 1.0),
            (104.0, 100.0, 1.0),
            // Error .1 exactly: not below .05 nor .10.
            (110.0, 100.0, 0.8),
            (90.0, 100.0, 0.8),
            (-110.0, -100.0, 0.8),
            (149.0, 100.0, 0.1),
            (150.0, 100.0, 0.0),
            (0.0, 0.0, 1.0),
            (1e-9, 0.0, 0.0),
            (f64::NAN, 1.0, 0.0),
            (1.0, f64::INFINITY, 0.0),
        ] {
            assert_eq!(
                mean_relative_accuracy(predicted, gold),
                expected,
                "{predicted} for {gold}"
            );
        }
    }

    #[test]
    fn nearer_is_never_worse() {
        let scores: Vec<f64> = (0..200)
            .map(|i| mean_relative_accuracy(f64::from(i), 100.0))
            .collect();
        assert!(scores[..=100].is_sorted() && scores[100..].iter().rev().is_sorted());
    }
}
