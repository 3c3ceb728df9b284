//! Answers that are tried out in a small world: routes through a network, furniture in a room.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::row::{Refusal, Row, one_if};
use super::{Rule, range};
use crate::measure::layouts::{Solid, collision_ratio};
use crate::measure::routes::{
    MapDifficulty, Network, Segment, SuperfluousFrom, is_valid_route, reward_map_reward,
    route_detail,
};
use crate::payload::{parse_layout, parse_route, parse_text};

/// A planned route through the target's network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    #[serde(default)]
    metric: RouteMetric,
    /// `detail`, `reward_map`: which rides are too many; RewardMap's released code when nothing is said.
    #[serde(default)]
    superfluous: Option<SuperfluousFrom>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RouteMetric {
    /// [`is_valid_route`].
    #[default]
    Valid,
    /// [`route_detail`].
    Detail,
    /// [`reward_map_reward`].
    RewardMap,
}

/// The target of [`Route`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteTarget {
    from: String,
    to: String,
    network: BTreeMap<String, Vec<String>>,
    /// Changes of the gold route.
    #[serde(default)]
    changes: usize,
    #[serde(default = "easy")]
    difficulty: MapDifficulty,
}

fn easy() -> MapDifficulty {
    MapDifficulty::Easy
}

/// A name as it is compared; one of white space alone is no stop of any line.
fn folded(name: &str) -> String {
    parse_text(name).unwrap_or_default()
}

impl Rule for Route {
    fn check(&self) -> Result<(), String> {
        let given = self.superfluous.is_some() && self.metric == RouteMetric::Valid;
        range::unused("superfluous", given, "`metric = \"valid\"`")
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target: RouteTarget = row.target_json()?;
        let line = |(name, stops): (&String, &Vec<String>)| {
            (
                folded(name),
                stops.iter().map(|stop| folded(stop)).collect(),
            )
        };
        let network: Network = target.network.iter().map(line).collect();
        let (from, to) = (folded(&target.from), folded(&target.to));
        let served = |stop: &String| network.values().any(|stops| stops.contains(stop));
        if !served(&from) || !served(&to) {
            let reason = "no line of its network serves `from` or `to`";
            return Err(row.unreadable_target(row.target_text()?, reason));
        }
        let route: Vec<Segment> = row
            .read(parse_route)?
            .iter()
            .map(|ride| Segment {
                line: folded(&ride.line),
                from: folded(&ride.from),
                to: folded(&ride.to),
            })
            .collect();
        let valid = is_valid_route(&route, &network, &from, &to);
        let detail = || {
            let superfluous = self.superfluous.unwrap_or(SuperfluousFrom::Released);
            route_detail(&route, &network, (&from, &to), target.changes, superfluous)
        };
        Ok(match self.metric {
            RouteMetric::Valid => one_if(valid),
            RouteMetric::Detail => detail(),
            RouteMetric::RewardMap => {
                reward_map_reward(valid, detail(), target.difficulty, target.changes)
            }
        })
    }
}

/// `1 −` [`collision_ratio`] of the placed objects, in `[0, 1]`; 0 unless exactly the target's objects are placed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layout {
    /// Objects lower than this do not collide (carpets).
    #[serde(default)]
    thin: f64,
}

/// The target of [`Layout`]: width, depth and height of each object by its name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LayoutTarget {
    objects: BTreeMap<String, [f64; 3]>,
}

impl Rule for Layout {
    fn check(&self) -> Result<(), String> {
        range::at_least_zero("thin", self.thin)
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target: LayoutTarget = row.target_json()?;
        let sides = target.objects.values().flatten();
        if target.objects.is_empty() || sides.into_iter().any(|side| *side <= 0.0) {
            let reason = "it has no objects, or one with a side that is not above 0";
            return Err(row.unreadable_target(row.target_text()?, reason));
        }
        let placed = row.read(parse_layout)?;
        let mut left = target.objects;
        let mut solids = Vec::with_capacity(placed.len());
        for object in &placed {
            let Some(size) = left.remove(&object.id) else {
                return Ok(0.0);
            };
            let corner = |sign: f64| {
                std::array::from_fn(|axis| object.position[axis] + sign * size[axis] / 2.0)
            };
            solids.push(Solid {
                low: corner(-1.0),
                high: corner(1.0),
            });
        }
        if !left.is_empty() {
            return Ok(0.0);
        }
        Ok(1.0 - row.measured(collision_ratio(&solids, self.thin))?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread};

    const NETWORK: &str = r#"{"from": "Park", "to": "Zoo", "changes": 1, "difficulty": "hard",
        "network": {"Line 1": ["Park", "Mill"], "Line 2": ["Mill", "Zoo"]}}"#;

    fn ride(line: &str, from: &str, to: &str) -> String {
        format!("Route Name: {line}\nDeparture Stop: {from}\nArrival Stop: {to}\n")
    }

    #[test]
    fn routes_are_ridden() {
        let right = format!(
            "{}--\n{}",
            ride("line 1", "Park", "Mill"),
            ride("Line 2", "MILL", "Zoo")
        );
        let wrong_line = format!(
            "{}--\n{}",
            ride("Line 1", "Park", "Mill"),
            ride("Line 1", "Mill", "Zoo")
        );
        let short = ride("Line 1", "Park", "Mill");
        let valid = json!({"verifier": "route"});
        scores(
            valid.clone(),
            NETWORK,
            &[(&right, 1.0), (&wrong_line, 0.0), (&short, 0.0)],
        );
        unread(valid.clone(), NETWORK, "by bus", "no");
        bad_target(valid, "by bus", "cannot be read");
        // 2 for the ends, 3 for each ride, 1 for the change; the released code takes 5 off the second ride.
        let detail = |s: &str| json!({"verifier": "route", "metric": "detail", "superfluous": s});
        scores(detail("mended"), NETWORK, &[(&right, 9.0), (&short, 0.0)]);
        scores(detail("released"), NETWORK, &[(&right, 4.0)]);
        // RewardMap's example: 2 · (10 + .5 · 4) = 24, and 29 without its slip.
        let whole = json!({"verifier": "route", "metric": "reward_map"});
        scores(whole, NETWORK, &[(&right, 24.0), (&short, 0.0)]);
        let mended = json!({"verifier": "route", "metric": "reward_map", "superfluous": "mended"});
        scores(mended, NETWORK, &[(&right, 29.0)]);
        let lost = r#"{"from": "Park", "to": "Moon", "network": {"Line 1": ["Park", "Mill"]}}"#;
        bad_target(json!({"verifier": "route"}), lost, "no line of its network");
        let error = refused(json!({"verifier": "route", "superfluous": "mended"}));
        assert!(error.contains("`superfluous` has no effect"), "{error}");
    }

    #[test]
    fn furniture_collides() {
        let rule = json!({"verifier": "layout", "thin": 0.1});
        let target =
            r#"{"objects": {"chair": [1, 1, 1], "table": [1, 1, 1], "rug": [9, 9, 0.01]}}"#;
        let placed = |x: f64| {
            json!([{"id": "chair", "x": 0, "y": 0, "z": 0.5}, {"id": "table", "x": x, "y": 0, "z": 0.5},
                {"id": "rug", "x": 0, "y": 0, "z": 0.1}])
            .to_string()
        };
        // Unit boxes half a metre apart collide, one and a half apart do not; the rug is too thin to.
        scores(
            rule.clone(),
            target,
            &[(&placed(0.5), 0.0), (&placed(1.5), 1.0)],
        );
        let missing = r#"[{"id": "chair", "x": 0, "y": 0, "z": 0}]"#;
        scores(rule.clone(), target, &[(missing, 0.0)]);
        let all = json!({"verifier": "layout"});
        // The rug counts: of three pairs only the rug's two collide.
        scores(all, target, &[(&placed(1.5), 1.0 / 3.0)]);
        unread(rule.clone(), target, "by the window", "no");
        bad_target(rule.clone(), "a room", "cannot be read");
        bad_target(rule, r#"{"objects": {"chair": [1, 0, 1]}}"#, "not above 0");
        assert!(refused(json!({"verifier": "layout", "thin": -1})).contains("from 0 on"));
    }
}
