//! Polygons, and paths in the picture.

use serde::Deserialize;

use super::row::{Refusal, Row};
use super::{Reads, Rule, range};
use crate::measure::curves::{
    Orientation, VLA_R1_ORIENTATION, average_displacement, discrete_frechet,
    embodied_r1_trace_score, final_displacement, oriented_frechet, resampled_rmse,
    vla_r1_path_score,
};
use crate::measure::polygons::hull_iou;
use crate::measure::shape::ramp;
use crate::payload::{parse_polygon, parse_trajectory};

/// Intersection over union of the convex hulls of both polygons ([`hull_iou`]), in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolygonIou {}

impl Rule for PolygonIou {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target(parse_polygon)?;
        let found = row.places()?.points(row.read(parse_polygon)?)?;
        row.measured(hull_iou(&found, &target))
    }
}

/// How near a path is to the target's: [`ramp`] of a distance, in `[0, 1]`, or a published composite.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trajectory {
    metric: PathMetric,
    /// Distance up to which the score is 1; 0 when nothing is said.
    #[serde(default)]
    best: Option<f64>,
    /// Distance from which on it is 0.
    #[serde(default)]
    worst: Option<f64>,
    /// A path of another number of points scores 0.
    #[serde(default)]
    points: Option<usize>,
    /// `oriented_frechet`: cost of a radian; VLA-R1's when nothing is said.
    #[serde(default)]
    angle: Option<f64>,
    /// `oriented_frechet`: cost of the logarithm of the ratio of step lengths.
    #[serde(default)]
    length_ratio: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PathMetric {
    /// [`discrete_frechet`].
    Frechet,
    /// [`oriented_frechet`].
    OrientedFrechet,
    /// [`resampled_rmse`].
    Rmse,
    /// [`average_displacement`].
    Ade,
    /// [`final_displacement`].
    Fde,
    /// [`vla_r1_path_score`].
    VlaR1,
    /// [`embodied_r1_trace_score`].
    EmbodiedR1,
}

impl Rule for Trajectory {
    fn reads(&self) -> Reads {
        Reads::Places
    }

    fn check(&self) -> Result<(), String> {
        if self.metric != PathMetric::OrientedFrechet {
            let with = "another metric than `oriented_frechet`";
            range::unused("angle", self.angle.is_some(), with)?;
            range::unused("length_ratio", self.length_ratio.is_some(), with)?;
        }
        range::at_least_zero("angle", self.angle.unwrap_or_default())?;
        range::at_least_zero("length_ratio", self.length_ratio.unwrap_or_default())?;
        if let Some(points) = self.points {
            let eight = self.metric == PathMetric::EmbodiedR1;
            range::unused(
                "points",
                eight,
                "`metric = \"embodied_r1\"`, which asks for 8",
            )?;
            range::count("points", points)?;
        }
        if matches!(self.metric, PathMetric::VlaR1 | PathMetric::EmbodiedR1) {
            let with = "a published metric, which has its own scale";
            range::unused("best", self.best.is_some(), with)?;
            return range::unused("worst", self.worst.is_some(), with);
        }
        let worst = range::needed("worst", self.worst, "a metric that is a distance")?;
        range::ramp(self.best.unwrap_or_default(), worst)
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target(parse_trajectory)?;
        let found = row.places()?.points(row.read(parse_trajectory)?)?;
        if self.points.is_some_and(|points| points != found.len()) {
            return Ok(0.0);
        }
        let distance = match self.metric {
            PathMetric::VlaR1 => return row.measured(vla_r1_path_score(&found, &gold)),
            PathMetric::EmbodiedR1 => {
                return row.measured(embodied_r1_trace_score(&found, &gold));
            }
            PathMetric::Frechet => row.measured(discrete_frechet(&found, &gold))?,
            PathMetric::OrientedFrechet => {
                let orientation = Orientation {
                    angle: self.angle.unwrap_or(VLA_R1_ORIENTATION.angle),
                    length_ratio: self.length_ratio.unwrap_or(VLA_R1_ORIENTATION.length_ratio),
                };
                row.measured(oriented_frechet(&found, &gold, &orientation))?
            }
            PathMetric::Rmse => resampled_rmse(&found, &gold),
            PathMetric::Ade => average_displacement(&found, &gold),
            PathMetric::Fde => final_displacement(&found, &gold),
        };
        let worst = self.worst.unwrap_or_default();
        Ok(ramp(distance, self.best.unwrap_or_default(), worst))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread, verdict};

    #[test]
    fn polygons_overlap() {
        let rule = json!({"verifier": "polygon_iou"});
        let target = "[[0, 0], [10, 0], [10, 10], [0, 10]]";
        scores(
            rule.clone(),
            target,
            &[
                (target, 1.0),
                ("[[0, 0], [10, 0], [10, 5], [0, 5]]", 0.5),
                ("[[20, 0], [30, 0], [30, 10]]", 0.0),
            ],
        );
        unread(rule.clone(), target, "(0, 0), (1, 1)", "too few points");
        bad_target(rule, "a square", "no point");
    }

    #[test]
    fn paths_by_their_distance() {
        // Shifted by 5 everywhere: each distance is 5, half of the ramp from 0 to 10.
        let target = "[[0, 0], [10, 0], [20, 0]]";
        let shifted = "[[0, 5], [10, 5], [20, 5]]";
        for metric in ["frechet", "oriented_frechet", "rmse", "ade", "fde"] {
            let rule = json!({"verifier": "trajectory", "metric": metric, "worst": 10});
            scores(rule.clone(), target, &[(target, 1.0), (shifted, 0.5)]);
            unread(rule.clone(), target, "(0, 0)", "too few points");
            bad_target(rule, "straight on", "no point");
            let counted =
                json!({"verifier": "trajectory", "metric": metric, "worst": 10, "points": 2});
            scores(counted, target, &[(target, 0.0)]);
        }
        let ade = json!({"verifier": "trajectory", "metric": "ade", "worst": 10});
        scores(ade, target, &[("[[0, 0], [20, 0]]", 0.0)]);
    }

    #[test]
    fn published_paths() {
        let vla = json!({"verifier": "trajectory", "metric": "vla_r1"});
        let target = "[[0, 0], [0.5, 0], [1, 0]]";
        let reversed = "[[1, 0], [0.5, 0], [0, 0]]";
        // VLA-R1's example: .2652.
        scores(vla.clone(), target, &[(target, 1.0)]);
        let found = verdict(&vla, target, reversed).value().unwrap();
        assert!((found - 0.2652).abs() < 5e-5, "{found}");
        let trace = json!({"verifier": "trajectory", "metric": "embodied_r1"});
        let line = |y: f64| {
            let points: Vec<[f64; 2]> = (0..8).map(|i| [10.0 * f64::from(i), y]).collect();
            json!(points).to_string()
        };
        // A shift of 7.5: .1 + .3 + .4 · (50 − 7.5) / 45.
        scores(
            trace.clone(),
            &line(0.0),
            &[
                (&line(0.0), 0.8),
                (&line(7.5), 0.4 + 0.4 * 42.5 / 45.0),
                ("[[0, 0], [10, 0]]", 0.0),
            ],
        );
        for (keys, message) in [
            (json!({"metric": "ade"}), "`worst` is missing"),
            (
                json!({"metric": "ade", "best": 9, "worst": 3}),
                "the smaller one",
            ),
            (
                json!({"metric": "vla_r1", "worst": 3}),
                "`worst` has no effect",
            ),
            (
                json!({"metric": "ade", "worst": 3, "angle": 1}),
                "`angle` has no effect",
            ),
            (
                json!({"metric": "embodied_r1", "points": 8}),
                "`points` has no effect",
            ),
            (
                json!({"metric": "rmse", "worst": 3, "points": 0}),
                "from 1 on",
            ),
            (json!({}), "metric"),
        ] {
            let mut rule = keys;
            rule["verifier"] = "trajectory".into();
            let error = refused(rule);
            assert!(error.contains(message), "{error}");
        }
    }
}
