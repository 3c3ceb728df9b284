//! How well a path is driven: errors, jerk, collisions, and the rewards made of them.

use super::points::{Point, distance};
use super::shape::clip;

/// Mean squared jerk of a path with a point every `step_seconds`, in m²/s⁶: third differences over the time cubed. 0
/// with fewer than four points; infinite when a point is not finite.
pub fn mean_squared_jerk(path: &[Point], step_seconds: f64) -> f64 {
    if path.len() < 4 {
        return 0.0;
    }
    let jerk = |p: &[Point], axis: usize| {
        (p[3][axis] - 3.0 * p[2][axis] + 3.0 * p[1][axis] - p[0][axis]) / step_seconds.powi(3)
    };
    let squares = path
        .windows(4)
        .map(|p| jerk(p, 0).powi(2) + jerk(p, 1).powi(2));
    let mean = squares.sum::<f64>() / (path.len() - 3) as f64;
    if mean.is_nan() { f64::INFINITY } else { mean }
}

/// Whether the path comes nearer than `radius` to the obstacle at the same moment; an obstacle of one point stands
/// still, and after its last point an obstacle is gone. A point that is not finite is near nothing.
pub fn collides(path: &[Point], obstacle: &[Point], radius: f64) -> bool {
    let near = |&p: &Point, &q: &Point| distance(p, q) < radius;
    match obstacle {
        [still] => path.iter().any(|p| near(p, still)),
        moving => path.iter().zip(moving).any(|(p, q)| near(p, q)),
    }
}

/// What Alpamayo-R1's released recipe adds for the grade of the reasoning, as a share of its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningTerm {
    /// `s / −.4`, as in the code: inside of the gate a worse grade pays more.
    Released,
    /// `1 − s / −.4`: a better grade pays more.
    Mended,
}

/// Reward of Alpamayo-R1's released recipe: −1 unless the reasoning could be graded with `s = grade − 1 > −.4` and the
/// average displacement is below 3 m; else `−.2 · ade / 3 + .3 · term`. A grade is at most 1. Comfort has weight 0
/// there.
pub fn alpamayo_r1_reward(grade: Option<f64>, ade: f64, term: ReasoningTerm) -> f64 {
    let graded = grade.filter(|grade| grade.is_finite());
    let shortfall = graded.map(|grade| grade.min(1.0) - 1.0);
    match shortfall {
        Some(shortfall) if shortfall > -0.4 && ade < 3.0 => {
            let share = shortfall / -0.4;
            let term = match term {
                ReasoningTerm::Released => share,
                ReasoningTerm::Mended => 1.0 - share,
            };
            -0.2 * ade.max(0.0) / 3.0 + 0.3 * term
        }
        _ => -1.0,
    }
}

/// VLM-RL's reward of a moment, in `[0, 1]`: `(1 − |v − v*| / 25) (1 − d / 3) (1 − |angle| / 90°) (1 − σ_d / .4)`, each
/// factor at least 0, with speeds in km/h, the distance `d` from the lane's centre and its spread `σ_d` in metres.
pub fn vlm_rl_reward(speed: f64, wanted: f64, offset: f64, degrees: f64, spread: f64) -> f64 {
    let factor = |error: f64, most: f64| clip(1.0 - error.abs() / most, 0.0, 1.0);
    factor(speed - wanted, 25.0) * factor(offset, 3.0) * factor(degrees, 90.0) * factor(spread, 0.4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_acceleration_has_no_jerk() {
        let path: Vec<Point> = (0..6).map(|i| [f64::from(i * i), 0.0]).collect();
        assert_eq!(mean_squared_jerk(&path, 1.0), 0.0);
        let cubic: Vec<Point> = (0..6).map(|i| [f64::from(i * i * i), 0.0]).collect();
        // The third derivative of t³ is 6; half the step divides by 1/8.
        assert_eq!(mean_squared_jerk(&cubic, 1.0), 36.0);
        assert_eq!(mean_squared_jerk(&cubic, 0.5), 36.0 * 64.0);
        assert_eq!(mean_squared_jerk(&cubic[..3], 1.0), 0.0);
        assert_eq!(mean_squared_jerk(&[[f64::NAN; 2]; 4], 1.0), f64::INFINITY);
    }

    #[test]
    fn collisions_are_of_one_moment() {
        let path = [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]];
        assert!(collides(&path, &[[2.0, 0.5]], 1.0));
        assert!(!collides(&path, &[[2.0, 0.0], [3.0, 0.0], [0.0, 0.0]], 1.0));
        assert!(!collides(&path, &[], 1.0));
        assert!(!collides(&path, &[[f64::NAN; 2]], 1.0));
    }

    #[test]
    fn alpamayo_r1_gate_and_quirk() {
        for (grade, ade) in [
            (None, 0.0),
            (Some(f64::NAN), 0.0),
            (Some(0.6), 0.0),
            (Some(1.0), 3.0),
            (Some(1.0), f64::NAN),
        ] {
            assert_eq!(alpamayo_r1_reward(grade, ade, ReasoningTerm::Mended), -1.0);
        }
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        near(
            alpamayo_r1_reward(Some(1.0), 1.5, ReasoningTerm::Mended),
            -0.1 + 0.3,
        );
        near(
            alpamayo_r1_reward(Some(1.0), 1.5, ReasoningTerm::Released),
            -0.1,
        );
        near(
            alpamayo_r1_reward(Some(0.8), 0.0, ReasoningTerm::Released),
            0.15,
        );
    }

    #[test]
    fn vlm_rl_multiplies_its_factors() {
        assert_eq!(vlm_rl_reward(20.0, 20.0, 0.0, 0.0, 0.0), 1.0);
        assert_eq!(vlm_rl_reward(7.5, 20.0, 1.5, -45.0, 0.2), 0.0625);
        assert_eq!(vlm_rl_reward(20.0, 20.0, 3.5, 0.0, 0.0), 0.0);
        assert_eq!(vlm_rl_reward(f64::NAN, 20.0, 0.0, 0.0, 0.0), 0.0);
    }
}
