//! Points in the picture and in space.

use serde::Deserialize;

use super::row::{Places, Refusal, Row, one_if};
use super::{Reads, Rule, range};
use crate::measure::points::{
    Camera, Point, Relation, assigned_kernel, in_box, mean_nearest_distance, share_in_box,
    share_in_polygon,
};
use crate::measure::shape::ramp;
use crate::payload::{PointDepth, parse_box, parse_point_depths, parse_points, parse_polygon};

fn read_points(row: &Row, places: &Places) -> Result<Vec<Point>, Refusal> {
    places.points(row.read(parse_points)?)
}

/// Share of the answered points in the target box ([`share_in_box`]), in `[0, 1]`: 1 for a click that hits. With
/// `box_centre` the answer is a box, and its centre is the point.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PointInBox {
    #[serde(default)]
    box_centre: bool,
}

impl Rule for PointInBox {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target_box()?;
        let places = row.places()?;
        if self.box_centre {
            let found = places.bounds(row.read(parse_box)?)?;
            let centre = [(found.x1 + found.x2) / 2.0, (found.y1 + found.y2) / 2.0];
            return Ok(one_if(found.is_valid() && in_box(centre, &target)));
        }
        Ok(share_in_box(&read_points(row, &places)?, &target))
    }
}

/// Share of the answered points in the target polygon ([`share_in_polygon`]), in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PointsInPolygon {}

impl Rule for PointsInPolygon {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target(parse_polygon)?;
        let found = read_points(row, &row.places()?)?;
        row.measured(share_in_polygon(&found, &target))
    }
}

/// [`ramp`] of the [`mean_nearest_distance`] from the answered points to the target points, in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PointDistance {
    /// Distance up to which the score is 1; Embodied-R1's, in pixels.
    #[serde(default = "ten")]
    best: f64,
    /// Distance from which on it is 0.
    #[serde(default = "fifty")]
    worst: f64,
}

fn ten() -> f64 {
    10.0
}

fn fifty() -> f64 {
    50.0
}

impl Rule for PointDistance {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn check(&self) -> Result<(), String> {
        range::ramp(self.best, self.worst)
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = target_points(row)?;
        let found = read_points(row, &row.places()?)?;
        let distance = row.measured(mean_nearest_distance(&found, &target))?;
        Ok(ramp(distance, self.best, self.worst))
    }
}

/// The target's points, at least one.
fn target_points(row: &Row) -> Result<Vec<Point>, Refusal> {
    let points = row.target(parse_points)?;
    if points.is_empty() {
        return Err(row.unreadable_target("[]", "it holds no point"));
    }
    Ok(points)
}

/// [`assigned_kernel`] of the answered points and the target points, in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PointsAssignment {
    /// OneThinker's, in pixels.
    #[serde(default = "fifty")]
    sigma: f64,
}

impl Rule for PointsAssignment {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn check(&self) -> Result<(), String> {
        range::positive("sigma", self.sigma)
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = target_points(row)?;
        let found = read_points(row, &row.places()?)?;
        row.measured(assigned_kernel(&found, &target, self.sigma))
    }
}

/// Share of the answered points with depths that stand in the target's relation to its references, in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Relation3d {}

/// The target of [`Relation3d`]: places by pixel and depth.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RelationTarget {
    relation: Relation,
    references: Vec<[f64; 3]>,
    camera: Camera,
}

impl Rule for Relation3d {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target: RelationTarget = row.target_json()?;
        let needed = if target.relation == Relation::Between {
            2
        } else {
            1
        };
        let camera = &target.camera;
        let focal = [camera.focal_x, camera.focal_y];
        if target.references.len() < needed || focal.iter().any(|f| !f.is_finite() || *f == 0.0) {
            let text = row.target_text()?;
            let reason = "it has too few references, or a focal length of 0";
            return Err(row.unreadable_target(text, reason));
        }
        let place = |point: Point, depth: f64| standing(camera.unproject(point, depth));
        let references = target
            .references
            .iter()
            .map(|[u, v, depth]| place([*u, *v], *depth));
        let references: Vec<[f64; 3]> = references.collect();
        let places = row.places()?;
        let found = row.read(parse_point_depths)?;
        let mut holding = 0usize;
        for PointDepth { point, depth } in &found {
            let place = place(places.point(*point)?, *depth);
            holding += usize::from(target.relation.holds(place, &references));
        }
        Ok(holding as f64 / found.len().max(1) as f64)
    }
}

/// A place of the camera's frame (right, down, away) in the frame of [`Relation::holds`] (nearer, right, up), for a
/// camera that looks straight ahead.
fn standing([right, down, away]: [f64; 3]) -> [f64; 3] {
    [-away, right, -down]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread};

    #[test]
    fn clicks_that_hit() {
        let rule = json!({"verifier": "point_in_box"});
        let target = "[10, 10, 20, 20]";
        scores(
            rule.clone(),
            target,
            &[
                ("(15, 15)", 1.0),
                ("[[15, 15], [5, 5]]", 0.5),
                ("(5, 5)", 0.0),
                ("[]", 0.0),
            ],
        );
        unread(rule.clone(), target, "the button", "no point");
        bad_target(rule, "the button", "no box");
        let centre = json!({"verifier": "point_in_box", "box_centre": true});
        scores(
            centre.clone(),
            target,
            &[("[0, 0, 30, 30]", 1.0), ("[0, 0, 10, 10]", 0.0)],
        );
        unread(centre, target, "(15, 15)", "no box");
    }

    #[test]
    fn points_in_a_polygon() {
        let rule = json!({"verifier": "points_in_polygon"});
        let target = "[[0, 0], [10, 0], [0, 10]]";
        scores(
            rule.clone(),
            target,
            &[
                ("<point>[[1, 1], [2, 2], [1, 3], [9, 9]]</point>", 0.75),
                ("(1, 1)", 1.0),
                ("(9, 9)", 0.0),
            ],
        );
        unread(rule.clone(), target, "inside", "no point");
        bad_target(rule, "(0, 0), (1, 1)", "cannot be read");
    }

    #[test]
    fn distances_fall_along_a_ramp() {
        let rule = json!({"verifier": "point_distance"});
        // 30 is half way from 10 to 50.
        scores(
            rule.clone(),
            "(0, 0)",
            &[
                ("(0, 8)", 1.0),
                ("(30, 0)", 0.5),
                ("(0, 60)", 0.0),
                ("[]", 0.0),
            ],
        );
        unread(rule.clone(), "(0, 0)", "near", "no point");
        bad_target(rule.clone(), "near", "no point");
        bad_target(rule, "[]", "no point");
        let error = refused(json!({"verifier": "point_distance", "best": 50, "worst": 10}));
        assert!(error.contains("the smaller one"), "{error}");
    }

    #[test]
    fn points_are_assigned() {
        let rule = json!({"verifier": "points_assignment", "sigma": 10});
        // In another order; then one of two at a distance of σ: (1 + e^(−1/2)) / 2.
        let part = (1.0 + (-0.5f64).exp()) / 2.0;
        scores(
            rule.clone(),
            "[[0, 0], [100, 0]]",
            &[
                ("[[100, 0], [0, 0]]", 1.0),
                ("[[100, 10], [0, 0]]", part),
                ("[[0, 0]]", 0.0),
            ],
        );
        unread(rule.clone(), "(0, 0)", "near", "no point");
        bad_target(rule, "near", "no point");
        assert!(refused(json!({"verifier": "points_assignment", "sigma": 0})).contains("above 0"));
    }

    #[test]
    fn relations_in_space() {
        let rule = json!({"verifier": "relation_3d"});
        let target = |relation: &str| {
            json!({"relation": relation, "references": [[50, 50, 1000]],
                "camera": {"focal_x": 100, "focal_y": 100, "centre_x": 50, "centre_y": 50}})
            .to_string()
        };
        let answer = "<point>[[20, 50], [80, 50]]</point><depth>[1000, 800]</depth>";
        // One of the two points lies to the left, one nearer than the reference.
        for (relation, value) in [
            ("left", 0.5),
            ("right", 0.5),
            ("front", 0.5),
            ("behind", 0.0),
        ] {
            scores(rule.clone(), &target(relation), &[(answer, value)]);
        }
        // As high as the reference is not below it.
        scores(rule.clone(), &target("top"), &[(answer, 1.0)]);
        unread(rule.clone(), &target("left"), "(20, 50)", "depth");
        bad_target(rule.clone(), &target("between"), "too few references");
        bad_target(rule, "left of the cup", "cannot be read");
    }
}
