//! Paths in the picture: lists of points in the order they are passed.
//!
//! A path with a point that is not finite is infinitely far from every path. So is an empty path from one that is not;
//! two empty paths are at distance 0.

use super::error::{MeasureError, check_size};
use super::points::{Point, distance};
use super::shape::ramp;

/// Most comparisons of two points.
const MAX_CELLS: usize = 1 << 22;
/// A step shorter than this has no direction.
const NO_LENGTH: f64 = 1e-12;

/// Discrete Fréchet distance: the shortest leash with which two walkers can pass all points of their paths in order
/// (Eiter and Mannila, 1994).
///
/// # Errors
/// More than 2²² pairs of points.
pub fn discrete_frechet(a: &[Point], b: &[Point]) -> Result<f64, MeasureError> {
    leash(a, b, |i, j| distance(a[i], b[j]))
}

/// How much directions and step lengths count beside places in [`oriented_frechet`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Orientation {
    /// Cost of a radian between the directions.
    pub angle: f64,
    /// Cost of `|ln|` of the ratio of the step lengths.
    pub length_ratio: f64,
}

/// VLA-R1's weights.
pub const VLA_R1_ORIENTATION: Orientation = Orientation {
    angle: 0.25,
    length_ratio: 0.10,
};

/// Discrete Fréchet distance with the local cost `|p − q| + angle · ∠(directions) + length_ratio · |ln(lengths)|`
/// (VLA-R1). The direction at an inner point is the mean of the unit steps before and after it, and the step length is
/// that of the next step, for the last point of the step before. A point without direction has no angle to any other.
///
/// # Errors
/// Those of [`discrete_frechet`].
pub fn oriented_frechet(
    a: &[Point],
    b: &[Point],
    orientation: &Orientation,
) -> Result<f64, MeasureError> {
    let (a_steps, b_steps) = (steps(a), steps(b));
    leash(a, b, |i, j| {
        let ((direction, length), (other, other_length)) = (a_steps[i], b_steps[j]);
        let ratio = if length > NO_LENGTH && other_length > NO_LENGTH {
            length / other_length
        } else {
            (length + NO_LENGTH) / (other_length + NO_LENGTH)
        };
        distance(a[i], b[j])
            + orientation.angle * angle(direction, other)
            + orientation.length_ratio * ratio.ln().abs()
    })
}

/// VLA-R1's reward of a path in shares of the picture, in `[0, 1]`: `1 − min(1, oriented Fréchet / D)` with
/// `D = √2 + .25 π + .10 ln 10`. An empty path scores 0.
///
/// # Errors
/// Those of [`discrete_frechet`].
pub fn vla_r1_path_score(predicted: &[Point], gold: &[Point]) -> Result<f64, MeasureError> {
    if predicted.is_empty() || gold.is_empty() {
        return Ok(0.0);
    }
    let Orientation {
        angle,
        length_ratio,
    } = VLA_R1_ORIENTATION;
    let most = std::f64::consts::SQRT_2
        + angle * std::f64::consts::PI
        + length_ratio * std::f64::consts::LN_10;
    let found = oriented_frechet(gold, predicted, &VLA_R1_ORIENTATION)?;
    Ok(1.0 - (found / most).min(1.0))
}

/// `count` points at equal shares of the path's steps (not of its length), linear between points: numpy's `interp`
/// over `linspace(0, 1, n)`. A path of one point repeats it; an empty path stays empty.
pub fn resampled(path: &[Point], count: usize) -> Vec<Point> {
    let Some(last) = path.len().checked_sub(1) else {
        return Vec::new();
    };
    (0..count)
        .map(|place| {
            let at = (place * last) as f64 / count.saturating_sub(1).max(1) as f64;
            let before = (at as usize).min(last);
            let share = at - before as f64;
            let ([x1, y1], [x2, y2]) = (path[before], path[(before + 1).min(last)]);
            [x1 + share * (x2 - x1), y1 + share * (y2 - y1)]
        })
        .collect()
}

/// Root of the mean squared distance of points after the shorter path is [`resampled`] to the length of the longer one
/// (Embodied-R1).
pub fn resampled_rmse(a: &[Point], b: &[Point]) -> f64 {
    let count = a.len().max(b.len());
    if a.is_empty() || b.is_empty() {
        return if count == 0 { 0.0 } else { f64::INFINITY };
    }
    let (a, b) = (resampled(a, count), resampled(b, count));
    let squares = a.iter().zip(&b).map(|(&p, &q)| distance(p, q).powi(2));
    (squares.sum::<f64>() / count as f64).sqrt()
}

/// Mean distance of the points at the same places (ADE); infinite when the paths differ in length.
pub fn average_displacement(a: &[Point], b: &[Point]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let sum: f64 = a.iter().zip(b).map(|(&p, &q)| distance(p, q)).sum();
    sum / a.len().max(1) as f64
}

/// Distance of the last points (FDE); infinite when the paths differ in length.
pub fn final_displacement(a: &[Point], b: &[Point]) -> f64 {
    match (a.last(), b.last()) {
        _ if a.len() != b.len() => f64::INFINITY,
        (Some(&p), Some(&q)) => distance(p, q),
        _ => 0.0,
    }
}

/// Embodied-R1's reward of a visual trace in pixels, in `[0, .8]`: .1 for exactly eight points, .3 · ramp of the
/// Fréchet distance from 10 to 100, .4 · ramp of the resampled RMSE from 5 to 50; nothing without the eight points.
///
/// # Errors
/// Those of [`discrete_frechet`].
pub fn embodied_r1_trace_score(predicted: &[Point], gold: &[Point]) -> Result<f64, MeasureError> {
    if predicted.len() != 8 || gold.is_empty() {
        return Ok(0.0);
    }
    let frechet = discrete_frechet(predicted, gold)?;
    let rmse = resampled_rmse(predicted, gold);
    Ok(0.1 + 0.3 * ramp(frechet, 10.0, 100.0) + 0.4 * ramp(rmse, 5.0, 50.0))
}

/// The least over all walks of the largest cost on the walk.
fn leash(
    a: &[Point],
    b: &[Point],
    cost: impl Fn(usize, usize) -> f64,
) -> Result<f64, MeasureError> {
    check_size("points of two paths", a.len(), b.len(), MAX_CELLS)?;
    if a.is_empty() || b.is_empty() {
        return Ok(if a.len() == b.len() {
            0.0
        } else {
            f64::INFINITY
        });
    }
    let mut row = vec![f64::INFINITY; b.len()];
    for i in 0..a.len() {
        let mut diagonal = f64::INFINITY;
        for j in 0..b.len() {
            let above = row[j];
            let beside = if j > 0 { row[j - 1] } else { f64::INFINITY };
            let reached = if i == 0 && j == 0 {
                0.0
            } else {
                above.min(beside).min(diagonal)
            };
            let here = cost(i, j);
            row[j] = if here.is_nan() {
                f64::INFINITY
            } else {
                reached.max(here)
            };
            diagonal = above;
        }
    }
    Ok(row[b.len() - 1])
}

/// Direction, of length 1 or 0, and step length at each point.
fn steps(path: &[Point]) -> Vec<(Point, f64)> {
    let step = |from: usize| {
        [
            path[from + 1][0] - path[from][0],
            path[from + 1][1] - path[from][1],
        ]
    };
    let length = |[x, y]: Point| x.hypot(y);
    let unit = |[x, y]: Point| match length([x, y]) {
        size if size < NO_LENGTH => [0.0, 0.0],
        size => [x / size, y / size],
    };
    let last = path.len().saturating_sub(1);
    (0..path.len())
        .map(|place| match place {
            _ if last == 0 => ([0.0, 0.0], 0.0),
            0 => (unit(step(0)), length(step(0))),
            _ if place == last => (unit(step(last - 1)), length(step(last - 1))),
            _ => {
                let (before, after) = (unit(step(place - 1)), unit(step(place)));
                let sum = [before[0] + after[0], before[1] + after[1]];
                // Going straight back has no mean direction: the one before stands.
                let direction = if length(sum) < NO_LENGTH {
                    before
                } else {
                    unit(sum)
                };
                (direction, length(step(place)))
            }
        })
        .collect()
}

/// Angle of two directions in `[0, π]`; 0 when one is none.
fn angle([x1, y1]: Point, [x2, y2]: Point) -> f64 {
    if x1.hypot(y1) < NO_LENGTH || x2.hypot(y2) < NO_LENGTH {
        return 0.0;
    }
    // Unlike the arc cosine of the product, this is exactly 0 for equal directions.
    (x1 * y2 - y1 * x2).abs().atan2(x1 * x2 + y1 * y2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STRAIGHT: [Point; 3] = [[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]];

    #[test]
    fn frechet_sees_the_order_of_points() {
        let mut back = STRAIGHT;
        back.reverse();
        assert_eq!(discrete_frechet(&STRAIGHT, &STRAIGHT), Ok(0.0));
        assert_eq!(discrete_frechet(&STRAIGHT, &back), Ok(1.0));
        let detour = [[0.0, 0.0], [0.5, 3.0], [1.0, 0.0]];
        assert_eq!(discrete_frechet(&STRAIGHT, &detour), Ok(3.0));
        assert_eq!(
            discrete_frechet(&STRAIGHT, &[[0.5, 2.0]]),
            Ok(0.25f64.hypot(2.0).max(0.5f64.hypot(2.0)))
        );
    }

    #[test]
    fn vla_r1_punishes_the_reversed_path() {
        let mut back = STRAIGHT;
        back.reverse();
        assert_eq!(vla_r1_path_score(&STRAIGHT, &STRAIGHT), Ok(1.0));
        let score = vla_r1_path_score(&back, &STRAIGHT).unwrap();
        // Ends 1 apart and directions π: 1 − (1 + .25 π) / 2.42987.
        assert!((score - 0.2652).abs() < 5e-5, "{score}");
        let crooked = [[0.1, 0.2], [0.3, 0.7], [0.9, 0.4]];
        assert_eq!(vla_r1_path_score(&crooked, &crooked), Ok(1.0));
        assert_eq!(vla_r1_path_score(&[], &STRAIGHT), Ok(0.0));
        assert_eq!(vla_r1_path_score(&[[f64::NAN; 2]], &STRAIGHT), Ok(0.0));
    }

    #[test]
    fn embodied_r1_trace() {
        let gold: Vec<Point> = (0..8).map(|i| [f64::from(i) * 20.0, 50.0]).collect();
        let moved: Vec<Point> = gold.iter().map(|[x, y]| [*x, y + 7.5]).collect();
        let score = embodied_r1_trace_score(&moved, &gold).unwrap();
        assert!((0.1 + 0.1 + score - 0.9778).abs() < 5e-5, "{score}");
        assert_eq!(embodied_r1_trace_score(&moved[..7], &gold), Ok(0.0));
        assert_eq!(embodied_r1_trace_score(&moved, &[]), Ok(0.0));
    }

    #[test]
    fn resampling_is_linear_between_points() {
        assert_eq!(
            resampled(&STRAIGHT, 5),
            [[0.0, 0.0], [0.25, 0.0], [0.5, 0.0], [0.75, 0.0], [1.0, 0.0]]
        );
        assert_eq!(resampled(&STRAIGHT[..1], 2), [[0.0, 0.0]; 2]);
        assert_eq!(resampled(&STRAIGHT, 1), [[0.0, 0.0]]);
        assert!(resampled(&[], 3).is_empty());
        assert_eq!(resampled_rmse(&STRAIGHT, &[[0.0, 3.0], [1.0, 3.0]]), 3.0);
    }

    #[test]
    fn displacements() {
        let other = [[0.0, 3.0], [0.5, 0.0], [4.0, 4.0]];
        assert_eq!(average_displacement(&STRAIGHT, &other), 8.0 / 3.0);
        assert_eq!(final_displacement(&STRAIGHT, &other), 5.0);
        assert_eq!(average_displacement(&STRAIGHT, &other[..2]), f64::INFINITY);
        assert_eq!(final_displacement(&STRAIGHT, &other[..2]), f64::INFINITY);
    }

    #[test]
    fn empty_and_lost_paths() {
        assert_eq!(discrete_frechet(&[], &[]), Ok(0.0));
        assert_eq!(discrete_frechet(&[], &STRAIGHT), Ok(f64::INFINITY));
        assert_eq!(
            discrete_frechet(&[[f64::NAN, 0.0]], &STRAIGHT),
            Ok(f64::INFINITY)
        );
        assert_eq!(resampled_rmse(&[], &[]), 0.0);
        assert_eq!(resampled_rmse(&[], &STRAIGHT), f64::INFINITY);
        assert_eq!(average_displacement(&[], &[]), 0.0);
        assert_eq!(final_displacement(&[], &[]), 0.0);
        assert!(discrete_frechet(&vec![[0.0; 2]; 5000], &vec![[0.0; 2]; 5000]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn frechet_is_symmetric_and_between_its_bounds(
            a in proptest::collection::vec([0.0..1.0f64, 0.0..1.0], 1..8),
            b in proptest::collection::vec([0.0..1.0f64, 0.0..1.0], 1..8),
        ) {
            let found = discrete_frechet(&a, &b).unwrap();
            prop_assert_eq!(found, discrete_frechet(&b, &a).unwrap());
            let ends = distance(a[0], b[0]).max(distance(a[a.len() - 1], b[b.len() - 1]));
            let all = a.iter().flat_map(|&p| b.iter().map(move |&q| distance(p, q)));
            prop_assert!(ends <= found && found <= all.fold(0.0, f64::max));
            let oriented = oriented_frechet(&a, &b, &VLA_R1_ORIENTATION).unwrap();
            prop_assert!(oriented >= found);
            prop_assert!((oriented - oriented_frechet(&b, &a, &VLA_R1_ORIENTATION).unwrap()).abs() < 1e-9);
            prop_assert!((0.0..=1.0).contains(&vla_r1_path_score(&a, &b).unwrap()));
        }
    }
}
