//! Driven paths and the plans behind them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::place::{AnswerIn, Place};
use super::row::{Refusal, Row, one_if};
use super::{Rule, range};
use crate::measure::consistency::{
    MetaActionLimits, PathAction, SpeedAction, consistency, meta_action,
};
use crate::measure::curves::{average_displacement, final_displacement};
use crate::measure::driving::{collides, mean_squared_jerk};
use crate::measure::points::Point;
use crate::measure::shape::ramp;
use crate::payload::{parse_meta_action, parse_trajectory};

/// How well a path is driven, in `[0, 1]`. Paths are in metres, with x ahead and y to the left.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Driving {
    metric: DrivingMetric,
    /// Error or jerk up to which the score is 1; 0 when nothing is said.
    #[serde(default)]
    best: Option<f64>,
    /// Error or jerk from which on it is 0.
    #[serde(default)]
    worst: Option<f64>,
    /// `jerk`: seconds from point to point.
    #[serde(default)]
    step_seconds: Option<f64>,
    /// `collision`: distance below which an obstacle is hit.
    #[serde(default)]
    radius: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DrivingMetric {
    /// [`ramp`] of the [`average_displacement`] from the target's path.
    Ade,
    /// The same of [`final_displacement`].
    Fde,
    /// [`ramp`] of the [`mean_squared_jerk`]. Needs no target.
    Jerk,
    /// 1 unless an obstacle of the target is hit ([`collides`]).
    Collision,
}

/// The target of [`Driving`], as far as the metric wants it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrivingTarget {
    #[serde(default)]
    path: Vec<Point>,
    /// Each a list of points, one a moment; one point alone stands still.
    #[serde(default)]
    obstacles: Option<Vec<Vec<Point>>>,
}

impl Rule for Driving {
    fn check(&self) -> Result<(), String> {
        use DrivingMetric::{Collision, Jerk};
        let other = |metric| self.metric != metric;
        let (step, radius) = (self.step_seconds, self.radius);
        let with = "another metric than `jerk`";
        range::unused("step_seconds", step.is_some() && other(Jerk), with)?;
        let with = "another metric than `collision`";
        range::unused("radius", radius.is_some() && other(Collision), with)?;
        if self.metric == Collision {
            let with = "`metric = \"collision\"`";
            range::unused("best", self.best.is_some(), with)?;
            range::unused("worst", self.worst.is_some(), with)?;
            return range::positive("radius", range::needed("radius", radius, with)?);
        }
        if self.metric == Jerk {
            let step = range::needed("step_seconds", step, "`metric = \"jerk\"`")?;
            range::positive("step_seconds", step)?;
        }
        let worst = range::needed("worst", self.worst, "a metric that is an error")?;
        range::ramp(self.best.unwrap_or_default(), worst)
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        use DrivingMetric::{Ade, Collision, Fde, Jerk};
        let shaped = |error: f64| {
            let worst = self.worst.unwrap_or_default();
            ramp(error, self.best.unwrap_or_default(), worst)
        };
        if self.metric == Jerk {
            let found = row.read(parse_trajectory)?;
            if found.len() < 4 {
                return Err(Refusal::Unparsed(
                    "jerk is a third difference: a path of four points or more is needed"
                        .to_owned(),
                ));
            }
            let step = self.step_seconds.unwrap_or(1.0);
            return Ok(shaped(mean_squared_jerk(&found, step)));
        }
        let target: DrivingTarget = row.target_json()?;
        let lacking = |reason| Err(row.unreadable_target(row.target_text()?, reason));
        let obstacles = match (self.metric, target.obstacles) {
            (Collision, None) => return lacking("it has no `obstacles`"),
            (Ade | Fde, _) if target.path.is_empty() => return lacking("it has no `path`"),
            (_, obstacles) => obstacles.unwrap_or_default(),
        };
        let found = row.read(parse_trajectory)?;
        // A path that stops early has not passed what comes later.
        let moments = obstacles
            .iter()
            .map(Vec::len)
            .chain([target.path.len()])
            .max();
        if self.metric == Collision && found.len() < moments.unwrap_or(0) {
            return Err(Refusal::Unparsed(format!(
                "the path has {} points, and there are obstacles for more moments",
                found.len()
            )));
        }
        let radius = self.radius.unwrap_or_default();
        Ok(match self.metric {
            Ade => shaped(average_displacement(&found, &target.path)),
            Fde => shaped(final_displacement(&found, &target.path)),
            _ => one_if(!obstacles.iter().any(|one| collides(&found, one, radius))),
        })
    }
}

/// Whether a plan of two actions is the target's ([`parse_meta_action`]): the share of the asked axes that are right,
/// each times the weight of the target's action.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetaActionMatch {
    #[serde(default)]
    axis: Axis,
    /// Weight of a target's action, 1 where none is given.
    #[serde(default)]
    action_weights: BTreeMap<Action, f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Axis {
    #[default]
    Both,
    Speed,
    Path,
}

/// An action of either axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Action {
    Keep,
    Accelerate,
    Decelerate,
    Stop,
    Straight,
    LeftTurn,
    RightTurn,
    LeftChange,
    RightChange,
}

impl From<SpeedAction> for Action {
    fn from(action: SpeedAction) -> Self {
        match action {
            SpeedAction::Keep => Self::Keep,
            SpeedAction::Accelerate => Self::Accelerate,
            SpeedAction::Decelerate => Self::Decelerate,
            SpeedAction::Stop => Self::Stop,
        }
    }
}

impl From<PathAction> for Action {
    fn from(action: PathAction) -> Self {
        match action {
            PathAction::Straight => Self::Straight,
            PathAction::LeftTurn => Self::LeftTurn,
            PathAction::RightTurn => Self::RightTurn,
            PathAction::LeftChange => Self::LeftChange,
            PathAction::RightChange => Self::RightChange,
        }
    }
}

impl Rule for MetaActionMatch {
    fn check(&self) -> Result<(), String> {
        let mut weights = self.action_weights.values();
        weights.try_for_each(|weight| range::at_least_zero("action_weights", *weight))
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target(parse_meta_action)?;
        let found = row.read(parse_meta_action)?;
        let score = |found: Action, gold: Action| {
            let weight = self.action_weights.get(&gold).copied().unwrap_or(1.0);
            one_if(found == gold) * weight
        };
        let speed = score(found.speed.into(), gold.speed.into());
        let path = score(found.path.into(), gold.path.into());
        Ok(match self.axis {
            Axis::Both => (speed + path) / 2.0,
            Axis::Speed => speed,
            Axis::Path => path,
        })
    }
}

/// Whether the path in the answer does what the plan in another section says ([`consistency`]), 0 or 1.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanConsistency {
    #[serde(default = "think")]
    plan_section: String,
    /// Seconds from point to point of the path.
    step_seconds: f64,
    #[serde(default)]
    limits: MetaActionLimits,
}

fn think() -> String {
    "think".to_owned()
}

impl Rule for PlanConsistency {
    fn can_fail(&self) -> bool {
        false
    }

    fn check(&self) -> Result<(), String> {
        range::positive("step_seconds", self.step_seconds)?;
        range::positive("limits.speed_change", self.limits.speed_change)?;
        range::positive("limits.standstill", self.limits.standstill)?;
        range::positive("limits.turn", self.limits.turn)
    }

    fn check_place(&self, place: &Place) -> Result<(), String> {
        if place.answer_in == AnswerIn::Text {
            return Err(
                "`answer_in = \"text\"` keeps plan and path together; name a grammar with a section for each"
                    .to_owned(),
            );
        }
        place.check_section("plan_section", &self.plan_section)?;
        if self.plan_section == place.section {
            return Err(format!(
                "`plan_section` and `section` are both `{}`; the plan and the path stand in two sections",
                place.section
            ));
        }
        Ok(())
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let plan = row.section(&self.plan_section)?;
        let plan = parse_meta_action(&plan)?;
        let path = row.read(parse_trajectory)?;
        Ok(consistency(
            Some(plan),
            meta_action(&path, self.step_seconds, &self.limits),
        ))
    }
}

#[cfg(test)]
mod tests {
    use ocelli_core::{Progress, Verdict};
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread, verifier};
    use crate::fixtures::episode;

    #[test]
    fn driven_paths() {
        let target = r#"{"path": [[0, 0], [5, 0], [10, 0]], "obstacles": [[[5, 3]]]}"#;
        let straight = "[[0, 0], [5, 0], [10, 0]]";
        let left = "[[0, 0], [5, 2], [10, 4]]";
        let ade = json!({"verifier": "driving", "metric": "ade", "worst": 4});
        scores(ade.clone(), target, &[(straight, 1.0), (left, 0.5)]);
        let fde = json!({"verifier": "driving", "metric": "fde", "worst": 8});
        scores(fde, target, &[(straight, 1.0), (left, 0.5)]);
        let hit = json!({"verifier": "driving", "metric": "collision", "radius": 2});
        scores(hit.clone(), target, &[(straight, 1.0), (left, 0.0)]);
        bad_target(hit, r#"{"path": [[0, 0]]}"#, "no `obstacles`");
        bad_target(ade.clone(), r#"{"obstacles": []}"#, "no `path`");
        bad_target(ade.clone(), "straight on", "cannot be read");
        unread(ade, target, "straight on", "no point");
        // x = t³ has a jerk of 6.
        let jerk = json!({"verifier": "driving", "metric": "jerk", "worst": 72, "step_seconds": 1});
        scores(
            jerk,
            "",
            &[
                ("[[0, 0], [1, 0], [8, 0], [27, 0]]", 0.5),
                ("[[0, 0], [5, 0], [10, 0], [15, 0]]", 1.0),
            ],
        );
        let jerk = json!({"verifier": "driving", "metric": "jerk", "worst": 72, "step_seconds": 1});
        unread(jerk, "", "[[0, 0], [1, 0], [2, 0]]", "four points");
        // Stopping early is no way around an obstacle.
        let hit = json!({"verifier": "driving", "metric": "collision", "radius": 2});
        unread(hit, target, "[[0, 0], [1, 0]]", "more moments");
        for (keys, message) in [
            (json!({"metric": "ade"}), "`worst` is missing"),
            (
                json!({"metric": "ade", "worst": 1, "radius": 1}),
                "`radius` has no effect",
            ),
            (
                json!({"metric": "jerk", "worst": 1}),
                "`step_seconds` is missing",
            ),
            (json!({"metric": "collision"}), "`radius` is missing"),
            (
                json!({"metric": "collision", "radius": 1, "worst": 1}),
                "`worst` has no effect",
            ),
        ] {
            let mut rule = keys;
            rule["verifier"] = "driving".into();
            let error = refused(rule);
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn plans_of_two_actions() {
        let rule = json!({"verifier": "meta_action"});
        let target = "DECELERATE, LEFT_TURN";
        scores(
            rule.clone(),
            target,
            &[
                ("decelerate; left turn", 1.0),
                ("decelerate, straight", 0.5),
                ("KEEP STRAIGHT", 0.0),
            ],
        );
        unread(rule.clone(), target, "slowly left", "no speed action");
        bad_target(rule, "KEEP", "cannot be read");
        let weighted =
            json!({"verifier": "meta_action", "axis": "speed", "action_weights": {"KEEP": 0.5}});
        scores(
            weighted.clone(),
            "KEEP STRAIGHT",
            &[("KEEP, LEFT_TURN", 0.5)],
        );
        scores(weighted, target, &[("DECELERATE STRAIGHT", 1.0)]);
        let path = json!({"verifier": "meta_action", "axis": "path"});
        scores(path, target, &[("KEEP, LEFT_TURN", 1.0)]);
        let error = refused(json!({"verifier": "meta_action", "action_weights": {"KEEP": -1}}));
        assert!(error.contains("from 0 on"), "{error}");
    }

    #[test]
    fn the_path_does_what_the_plan_says() {
        let rule = json!({"verifier": "plan_consistency", "step_seconds": 1});
        let judged = |rule: &serde_json::Value, plan: &str, path: &str| {
            let text = format!("<think>{plan}</think><answer>{path}</answer>");
            verifier(rule.clone()).verify(&episode(None, &text), Progress::default())
        };
        // Alpamayo-R1's example: a left turn is meant, and the path slows down straight on.
        let slowing = "[[0, 0], [8, 0], [14, 0], [18, 0]]";
        for (plan, value) in [
            ("decelerate, left turn", 0.0),
            ("decelerate, straight", 1.0),
        ] {
            assert_eq!(
                judged(&rule, plan, slowing),
                Verdict::score(value),
                "{plan}"
            );
        }
        assert_eq!(
            judged(&rule, "decelerate, straight", "[[0, 0], [8, 0]]"),
            Verdict::score(0.0)
        );
        for (plan, path) in [("slowly", slowing), ("keep straight", "on")] {
            let verdict = judged(&rule, plan, path);
            assert!(
                matches!(
                    verdict,
                    Verdict::Score {
                        parse_failure: Some(_),
                        ..
                    }
                ),
                "{verdict:?}"
            );
        }
        for (keys, message) in [
            (
                json!({"step_seconds": 1, "answer_in": "text"}),
                "a section for each",
            ),
            (
                json!({"step_seconds": 1, "plan_section": "plan"}),
                "no section `plan`",
            ),
            (
                json!({"step_seconds": 1, "section": "think"}),
                "in two sections",
            ),
            (json!({"step_seconds": 0}), "above 0"),
            (json!({}), "step_seconds"),
        ] {
            let mut rule = keys;
            rule["verifier"] = "plan_consistency".into();
            let error = refused(rule);
            assert!(error.contains(message), "{error}");
        }
    }
}
