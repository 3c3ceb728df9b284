//! Spans of time.

use serde::{Deserialize, Serialize};

/// From `start` to `end`, in seconds or frames; `start <= end` when valid. Written as `[start, end]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Interval {
    pub start: f64,
    pub end: f64,
}

impl From<[f64; 2]> for Interval {
    fn from([start, end]: [f64; 2]) -> Self {
        Self { start, end }
    }
}

impl From<Interval> for [f64; 2] {
    fn from(interval: Interval) -> Self {
        [interval.start, interval.end]
    }
}

impl Interval {
    /// Whether both ends are finite and in order.
    pub fn is_valid(&self) -> bool {
        self.start.is_finite() && self.end.is_finite() && self.start <= self.end
    }

    /// Temporal intersection over union, in `[0, 1]`; 0 for invalid intervals and when the union is empty.
    pub fn iou(&self, other: &Self) -> f64 {
        if !self.is_valid() || !other.is_valid() {
            return 0.0;
        }
        let shared = (self.end.min(other.end) - self.start.max(other.start)).max(0.0);
        let union = (self.end - self.start) + (other.end - other.start) - shared;
        if union > 0.0 && union.is_finite() {
            shared / union
        } else {
            0.0
        }
    }
}

/// UAL-Bench's TD: the sum of both ends' absolute errors. No prediction, or one that is not valid, counts as the end of
/// the gold interval, which must be valid.
pub fn boundary_error(predicted: Option<&Interval>, gold: &Interval) -> f64 {
    match predicted.filter(|interval| interval.is_valid()) {
        Some(found) => (found.start - gold.start).abs() + (found.end - gold.end).abs(),
        None => gold.end,
    }
}

/// Whether the starts are at most `tolerance` apart.
pub fn onset_hit(predicted: &Interval, gold: &Interval, tolerance: f64) -> bool {
    predicted.is_valid() && (predicted.start - gold.start).abs() <= tolerance
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ual_bench_worked_example() {
        let (predicted, gold) = (Interval::from([3.0, 5.0]), Interval::from([2.0, 6.0]));
        assert_eq!(predicted.iou(&gold), 0.5);
        assert_eq!(boundary_error(Some(&predicted), &gold), 2.0);
        assert_eq!(boundary_error(None, &gold), 6.0);
        assert_eq!(boundary_error(Some(&[5.0, 3.0].into()), &gold), 6.0);
        assert!(onset_hit(&predicted, &gold, 1.0) && !onset_hit(&predicted, &gold, 0.25));
    }

    #[test]
    fn unusable_intervals_overlap_with_nothing() {
        let gold = Interval::from([2.0, 6.0]);
        for bad in [
            [f64::NAN, 3.0],
            [0.0, f64::INFINITY],
            [5.0, 3.0],
            [7.0, 9.0],
            [3.0, 3.0],
        ] {
            assert_eq!(gold.iou(&bad.into()), 0.0);
        }
        assert_eq!(Interval::from([3.0, 3.0]).iou(&[3.0, 3.0].into()), 0.0);
        assert_eq!(
            Interval::from([-1e308, 1e308]).iou(&[-1e308, 1e308].into()),
            0.0
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn iou_is_symmetric_and_bounded(a: [f64; 2], b: [f64; 2], x in 0.0..9.0f64, y in 0.0..9.0f64) {
            let near = (Interval::from([x, x + y]), Interval::from([y, y + x]));
            for (a, b) in [(a.into(), b.into()), near] {
                let iou = Interval::iou(&a, &b);
                prop_assert!((0.0..=1.0).contains(&iou));
                prop_assert_eq!(iou, b.iou(&a));
            }
        }
    }
}
