//! Whether a driven path does what the reasoning before it says: one action for the speed, one for the turn.

use serde::{Deserialize, Serialize};

use super::points::Point;

/// What to do with the speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SpeedAction {
    Keep,
    Accelerate,
    Decelerate,
    Stop,
}

/// Which way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PathAction {
    Straight,
    LeftTurn,
    RightTurn,
    LeftChange,
    RightChange,
}

impl PathAction {
    /// What it leaves of the direction: after a change of lanes a car goes on straight.
    fn direction(self) -> Self {
        match self {
            Self::LeftChange | Self::RightChange => Self::Straight,
            other => other,
        }
    }
}

/// A driving plan: one action of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetaAction {
    pub speed: SpeedAction,
    pub path: PathAction,
}

/// From where on a change counts. The published limits are not known to us; these are a reading.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetaActionLimits {
    /// Change of speed between the first and the last step, in metres a second.
    pub speed_change: f64,
    /// Below this speed, in metres a second, the car stands.
    pub standstill: f64,
    /// Sum of all turns, in radians.
    pub turn: f64,
}

impl Default for MetaActionLimits {
    fn default() -> Self {
        Self {
            speed_change: 1.0,
            standstill: 0.3,
            turn: 0.26,
        }
    }
}

/// What a path does (the speed, and straight on or a turn) that has a point every `step_seconds`, in metres with x ahead and y to the left. `None` for fewer
/// than three points, a point that is not finite and a step that is not above 0.
pub fn meta_action(
    path: &[Point],
    step_seconds: f64,
    limits: &MetaActionLimits,
) -> Option<MetaAction> {
    let usable = step_seconds > 0.0 && path.as_flattened().iter().all(|v| v.is_finite());
    if !usable || path.len() < 3 {
        return None;
    }
    let steps: Vec<Point> = path
        .windows(2)
        .map(|p| [p[1][0] - p[0][0], p[1][1] - p[0][1]])
        .collect();
    let speed = |step: &Point| step[0].hypot(step[1]) / step_seconds;
    let (first, last) = (speed(steps.first()?), speed(steps.last()?));
    let change = last - first;
    let speed_action = if last < limits.standstill {
        SpeedAction::Stop
    } else if change > limits.speed_change {
        SpeedAction::Accelerate
    } else if change < -limits.speed_change {
        SpeedAction::Decelerate
    } else {
        SpeedAction::Keep
    };
    // A standing car has no direction.
    let moving: Vec<&Point> = steps
        .iter()
        .filter(|step| speed(step) >= limits.standstill)
        .collect();
    let turned: f64 = moving
        .windows(2)
        .map(|pair| {
            let ([x1, y1], [x2, y2]) = (pair[0], pair[1]);
            (x1 * y2 - y1 * x2).atan2(x1 * x2 + y1 * y2)
        })
        .sum();
    let path_action = if turned > limits.turn {
        PathAction::LeftTurn
    } else if turned < -limits.turn {
        PathAction::RightTurn
    } else {
        PathAction::Straight
    };
    Some(MetaAction {
        speed: speed_action,
        path: path_action,
    })
}

/// Alpamayo-R1's consistency: 1 when the intended action and that of the path are both known and equal, else 0. A change
/// of lanes is equal to driving straight on, since a path is judged by its direction.
pub fn consistency(intended: Option<MetaAction>, driven: Option<MetaAction>) -> f64 {
    let same = |a: MetaAction, b: MetaAction| {
        a.speed == b.speed && a.path.direction() == b.path.direction()
    };
    let both = intended.zip(driven);
    f64::from(u8::from(both.is_some_and(|(a, b)| same(a, b))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(path: &[Point]) -> Option<MetaAction> {
        meta_action(path, 1.0, &MetaActionLimits::default())
    }

    fn meta(speed: SpeedAction, path: PathAction) -> Option<MetaAction> {
        Some(MetaAction { speed, path })
    }

    const SLOWING: [Point; 4] = [[0.0, 0.0], [8.0, 0.0], [14.0, 0.0], [18.0, 0.0]];

    #[test]
    fn alpamayo_r1_left_turn_that_goes_straight() {
        let intended = meta(SpeedAction::Decelerate, PathAction::LeftTurn);
        assert_eq!(consistency(intended, action(&SLOWING)), 0.0);
        let straight = meta(SpeedAction::Decelerate, PathAction::Straight);
        assert_eq!(consistency(straight, action(&SLOWING)), 1.0);
        let change = meta(SpeedAction::Decelerate, PathAction::LeftChange);
        assert_eq!(consistency(change, action(&SLOWING)), 1.0);
        assert_eq!(consistency(None, action(&SLOWING)), 0.0);
        assert_eq!(consistency(None, None), 0.0);
    }

    #[test]
    fn paths_are_named_by_both_axes() {
        let circle = |side: f64| -> Vec<Point> {
            let angles = (0..8).map(|i| f64::from(i) * 0.5);
            angles
                .map(|a: f64| [10.0 * a.sin(), side * 10.0 * (1.0 - a.cos())])
                .collect()
        };
        assert_eq!(
            action(&circle(1.0)),
            meta(SpeedAction::Keep, PathAction::LeftTurn)
        );
        assert_eq!(
            action(&circle(-1.0)),
            meta(SpeedAction::Keep, PathAction::RightTurn)
        );
        let mut away = SLOWING;
        away.reverse();
        assert_eq!(
            action(&away),
            meta(SpeedAction::Accelerate, PathAction::Straight)
        );
        assert_eq!(
            action(&[[0.0, 0.0], [5.0, 0.0], [5.1, 0.1]]),
            meta(SpeedAction::Stop, PathAction::Straight)
        );
    }

    #[test]
    fn paths_that_say_nothing() {
        assert_eq!(action(&SLOWING[..2]), None);
        assert_eq!(action(&[[0.0, 0.0], [f64::NAN, 0.0], [1.0, 0.0]]), None);
        assert_eq!(
            meta_action(&SLOWING, 0.0, &MetaActionLimits::default()),
            None
        );
    }
}
