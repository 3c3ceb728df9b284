//! Points in the picture and in space.
//!
//! A point is `[x, y]` or `[x, y, z]`. One that is not finite lies nowhere: it is in no region and infinitely far.

use ocelli_core::BoundingBox;
use serde::{Deserialize, Serialize};

use super::error::{MeasureError, check_size};
use super::matching::{PairScores, optimal};
use super::shape::gaussian;

/// A point in the picture, `[x, y]`, in the units of the task.
pub type Point = [f64; 2];

/// Most comparisons of a predicted point with a gold point or an edge.
const MAX_COMPARISONS: usize = 1 << 24;

/// Whether `point` lies in `region`, edges inside: the click reward of GTA1, Mobile-R1 and GUI-G1.
pub fn in_box([x, y]: Point, region: &BoundingBox) -> bool {
    region.is_valid()
        && (region.x1..=region.x2).contains(&x)
        && (region.y1..=region.y2).contains(&y)
}

/// Whether `point` lies in the polygon with these `corners`, by counting the edges to its right (even–odd rule); the
/// last corner joins the first. Points on an edge towards smaller x or y are inside, on one towards larger x or y
/// outside. With fewer than three corners there is no inside.
pub fn in_polygon([x, y]: Point, corners: &[Point]) -> bool {
    let Some(&last) = corners.last().filter(|_| corners.len() > 2) else {
        return false;
    };
    if !(x.is_finite() && y.is_finite()) {
        return false;
    }
    let mut inside = false;
    let [mut x1, mut y1] = last;
    for &[x2, y2] in corners {
        if (y1 > y) != (y2 > y) && x < x1 + (x2 - x1) * (y - y1) / (y2 - y1) {
            inside = !inside;
        }
        [x1, y1] = [x2, y2];
    }
    inside
}

/// Share of `points` in `region`, in `[0, 1]`; 0 without points.
pub fn share_in_box(points: &[Point], region: &BoundingBox) -> f64 {
    share(points, |point| in_box(point, region))
}

/// Share of `points` in the polygon, in `[0, 1]`; 0 without points (Embodied-R1's `point_rec`).
///
/// # Errors
/// More than 2²⁴ comparisons of a point with an edge.
pub fn share_in_polygon(points: &[Point], corners: &[Point]) -> Result<f64, MeasureError> {
    check_size(
        "points and edges",
        points.len(),
        corners.len(),
        MAX_COMPARISONS,
    )?;
    Ok(share(points, |point| in_polygon(point, corners)))
}

fn share(points: &[Point], inside: impl Fn(Point) -> bool) -> f64 {
    let count = points.iter().filter(|&&point| inside(point)).count();
    count as f64 / points.len().max(1) as f64
}

/// Distance of two points; infinite when one is not finite.
pub fn distance(a: Point, b: Point) -> f64 {
    let distance = (a[0] - b[0]).hypot(a[1] - b[1]);
    if distance.is_nan() {
        f64::INFINITY
    } else {
        distance
    }
}

/// Mean over the predictions of the distance to the nearest gold point; infinite when one list is empty. Embodied-R1
/// rewards it with [`super::shape::ramp`] from 10 to 50 pixels.
///
/// # Errors
/// More than 2²⁴ comparisons.
pub fn mean_nearest_distance(predicted: &[Point], gold: &[Point]) -> Result<f64, MeasureError> {
    check_size("points", predicted.len(), gold.len(), MAX_COMPARISONS)?;
    if predicted.is_empty() || gold.is_empty() {
        return Ok(f64::INFINITY);
    }
    let nearest = |&point: &Point| {
        let distances = gold.iter().map(|&other| distance(point, other));
        distances.fold(f64::INFINITY, f64::min)
    };
    Ok(predicted.iter().map(nearest).sum::<f64>() / predicted.len() as f64)
}

/// Mean over the pairs of `exp(−d² / 2σ²)` under the assignment that makes it largest, in `[0, 1]` (OneThinker: three
/// points to three points, σ 50). 0 unless both lists are of one length; 1 when both are empty.
///
/// OneThinker assigns by the distance; here the assignment is the best one for the score itself.
///
/// # Errors
/// Too many points: see [`PairScores::new`] and [`optimal`].
pub fn assigned_kernel(
    predicted: &[Point],
    gold: &[Point],
    sigma: f64,
) -> Result<f64, MeasureError> {
    if predicted.len() != gold.len() {
        return Ok(0.0);
    }
    if gold.is_empty() {
        return Ok(1.0);
    }
    let scores = PairScores::new(predicted.len(), gold.len(), |p, g| {
        gaussian(distance(predicted[p], gold[g]), sigma)
    })?;
    let sum: f64 = optimal(&scores)?.iter().map(|pair| pair.score).sum();
    Ok(sum / gold.len() as f64)
}

/// Number of `points` that are at least `apart` from every point counted before them; points that are not finite do
/// not count. ViGoRL pays for distinct crops at least 10 pixels apart.
///
/// # Errors
/// More than 2²⁴ comparisons.
pub fn distinct_points(points: &[Point], apart: f64) -> Result<usize, MeasureError> {
    check_size("points", points.len(), points.len(), MAX_COMPARISONS)?;
    let mut kept: Vec<Point> = Vec::new();
    for &point in points
        .iter()
        .filter(|point| point.iter().all(|v| v.is_finite()))
    {
        if kept.iter().all(|&other| distance(point, other) >= apart) {
            kept.push(point);
        }
    }
    Ok(kept.len())
}

/// `(e^(−5d) − e^(−5√2)) / (1 − e^(−5√2))` of a distance in shares of the picture, in `[0, 1]`: SpaceTools'
/// normalised negative distance; 0 from √2 on.
pub fn normalised_nearness(distance: f64) -> f64 {
    let floor = (-5.0 * std::f64::consts::SQRT_2).exp();
    let value = ((-5.0 * distance).exp() - floor) / (1.0 - floor);
    super::shape::clip(value, 0.0, 1.0)
}

/// The corners of the smallest convex polygon around `points`, counter-clockwise in a frame whose y axis points up;
/// points that are not finite are left out. Fewer than three corners when all lie on a line.
pub fn convex_hull(points: &[Point]) -> Vec<Point> {
    let mut sorted: Vec<Point> = points
        .iter()
        .copied()
        .filter(|[x, y]| x.is_finite() && y.is_finite())
        .collect();
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    sorted.dedup();
    if sorted.len() < 3 {
        return sorted;
    }
    // Andrew's monotone chain: the lower side from left to right, then the upper one back.
    let mut hull: Vec<Point> = Vec::new();
    let mut chain = |points: &mut dyn Iterator<Item = &Point>| {
        let start = hull.len();
        for &[x, y] in points {
            while hull.len() >= start + 2 {
                let [[x1, y1], [x2, y2]] = [hull[hull.len() - 2], hull[hull.len() - 1]];
                if (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) > 0.0 {
                    break;
                }
                hull.pop();
            }
            hull.push([x, y]);
        }
        hull.pop();
    };
    chain(&mut sorted.iter());
    chain(&mut sorted.iter().rev());
    hull
}

/// A pinhole camera: `u = focal_x · x / z + centre_x` and so on, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    pub focal_x: f64,
    pub focal_y: f64,
    pub centre_x: f64,
    pub centre_y: f64,
}

impl Camera {
    /// The place in the camera's frame (x to the right, y down, z away, in the unit of `depth`) of a pixel at a depth.
    pub fn unproject(&self, [u, v]: Point, depth: f64) -> [f64; 3] {
        [
            (u - self.centre_x) / self.focal_x * depth,
            (v - self.centre_y) / self.focal_y * depth,
            depth,
        ]
    }
}

/// Where a place should be, relative to reference places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    Left,
    Right,
    Front,
    Behind,
    /// Not below the reference.
    Top,
    /// Between the first two references on the axis of left and right, or on that of front and behind.
    Between,
    /// Inside of the references' range on both axes.
    Center,
}

impl Relation {
    /// Whether `place` stands in this relation to the `references` (the first one, two, or all). Frame of Embodied-R1:
    /// x grows from behind to front, y from left to right, z up. No when a reference is missing or a number is not
    /// finite.
    ///
    /// Embodied-R1's code compares x with the range of y in its second case of "between"; here y is compared.
    pub fn holds(self, place: [f64; 3], references: &[[f64; 3]]) -> bool {
        let [x, y, z] = place;
        let within = |value: f64, axis: usize, references: &[[f64; 3]]| {
            let along = references.iter().map(|reference| reference[axis]);
            let (low, high) = along.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| {
                (low.min(at), high.max(at))
            });
            low < value && value < high
        };
        let needed = if self == Self::Between { 2 } else { 1 };
        if references.len() < needed
            || !references
                .iter()
                .chain([&place])
                .flatten()
                .all(|v| v.is_finite())
        {
            return false;
        }
        let [first_x, first_y, first_z] = references[0];
        match self {
            Self::Left => y < first_y,
            Self::Right => y > first_y,
            Self::Front => x > first_x,
            Self::Behind => x < first_x,
            Self::Top => z >= first_z,
            Self::Between => within(x, 0, &references[..2]) || within(y, 1, &references[..2]),
            Self::Center => within(x, 0, references) && within(y, 1, references),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measure::shape::ramp;

    const SQUARE: [Point; 4] = [[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]];

    #[test]
    fn gta1_click_counts_inside_and_on_the_edge() {
        let region = [10.0, 10.0, 20.0, 20.0].into();
        assert!(in_box([10.0, 20.0], &region));
        for out in [[9.9, 15.0], [15.0, 20.1], [f64::NAN, 15.0]] {
            assert!(!in_box(out, &region));
        }
        assert!(!in_box([0.0, 0.0], &[0.0, 0.0, f64::NAN, 1.0].into()));
    }

    #[test]
    fn embodied_r1_rewards_of_points() {
        // Three of four points inside: .1 + .1 + .8 · .75.
        let points = [[1.0, 1.0], [5.0, 5.0], [9.0, 1.0], [11.0, 5.0]];
        let share = share_in_polygon(&points, &SQUARE).unwrap();
        assert!((0.2 + 0.8 * share - 0.8).abs() < 1e-12);
        // 30 pixels from the only gold point.
        let far = mean_nearest_distance(&[[30.0, 40.0]], &[[30.0, 10.0]]).unwrap();
        assert_eq!(ramp(far, 10.0, 50.0), 0.5);
    }

    #[test]
    fn a_dent_is_outside() {
        let arrow = [
            [0.0, 0.0],
            [10.0, 0.0],
            [10.0, 10.0],
            [5.0, 2.0],
            [0.0, 10.0],
        ];
        assert!(!in_polygon([5.0, 8.0], &arrow));
        assert!(in_polygon([5.0, 1.0], &arrow));
        assert!(in_polygon([0.0, 0.0], &SQUARE) && !in_polygon([10.0, 10.0], &SQUARE));
        assert!(!in_polygon([5.0, 5.0], &SQUARE[..2]));
        assert!(!in_polygon([f64::NAN, 5.0], &SQUARE));
    }

    #[test]
    fn one_thinker_assigns_points_before_it_scores_them() {
        let gold = [[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]];
        let shuffled = [gold[2], gold[0], gold[1]];
        assert_eq!(assigned_kernel(&shuffled, &gold, 50.0), Ok(1.0));
        let moved = gold.map(|[x, y]| [x + 50.0, y]);
        let found = assigned_kernel(&moved, &gold, 50.0).unwrap();
        assert!((found - (-0.5f64).exp()).abs() < 1e-9);
        assert_eq!(assigned_kernel(&gold[..2], &gold, 50.0), Ok(0.0));
        assert_eq!(assigned_kernel(&[[f64::NAN; 2]], &gold[..1], 50.0), Ok(0.0));
    }

    #[test]
    fn embodied_r1_free_point() {
        // Half of the points in the box, and 20 pixels from the gold points on average.
        let points = [[5.0, 5.0], [45.0, 5.0]];
        let inside = share_in_box(&points, &[0.0, 0.0, 10.0, 10.0].into());
        let far = mean_nearest_distance(&points, &[[5.0, 5.0]]).unwrap();
        let reward = 0.1 + 0.1 + 0.6 * inside + 0.2 * ramp(far, 10.0, 50.0);
        assert!((reward - (0.2 + 0.3 + 0.15)).abs() < 1e-12);
    }

    #[test]
    fn vigorl_counts_distinct_crops() {
        let crops = [
            [0.0, 0.0],
            [6.0, 0.0],
            [12.0, 0.0],
            [f64::NAN, 0.0],
            [12.0, 0.0],
        ];
        let distinct = distinct_points(&crops, 10.0).unwrap();
        assert_eq!(distinct, 2);
        // Right answer in the multi-turn form: .6 + .4 · (1 + .2 · (distinct − 1)).
        let hit = f64::from(u8::from(in_box(
            [12.0, 0.0],
            &[10.0, 0.0, 20.0, 5.0].into(),
        )));
        let reward = 0.6 * hit + 0.4 * (1.0 + 0.2 * (distinct as f64 - 1.0));
        assert!((reward - 1.08).abs() < 1e-12);
        assert_eq!(distinct_points(&[], 10.0), Ok(0));
    }

    #[test]
    fn one_thinker_segmentation_of_a_picture() {
        // Exact box; positive points right, negative ones 50 pixels off: .5 + .25 + .25 · e^(−1/2).
        let gold = [[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]];
        let off = gold.map(|[x, y]| [x, y - 50.0]);
        let kernel = |points: &[Point]| assigned_kernel(points, &gold, 50.0).unwrap();
        let reward = 0.5 * 1.0 + 0.25 * kernel(&gold) + 0.25 * kernel(&off);
        assert!((reward - 0.901_632_665).abs() < 1e-9, "{reward}");
    }

    #[test]
    fn space_tools_nearness_and_hull() {
        assert_eq!(normalised_nearness(0.0), 1.0);
        assert_eq!(normalised_nearness(2.0), 0.0);
        assert_eq!(normalised_nearness(f64::NAN), 0.0);
        let mut points = SQUARE.to_vec();
        points.extend([[5.0, 5.0], [5.0, 0.0], [f64::NAN, 3.0]]);
        let hull = convex_hull(&points);
        assert_eq!(hull, [[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]]);
        assert!(in_polygon([5.0, 5.0], &hull));
        assert!(convex_hull(&[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]).len() < 3);
    }

    #[test]
    fn empty_lists() {
        assert_eq!(share_in_box(&[], &[0.0, 0.0, 1.0, 1.0].into()), 0.0);
        assert_eq!(mean_nearest_distance(&[], &SQUARE), Ok(f64::INFINITY));
        assert_eq!(mean_nearest_distance(&SQUARE, &[]), Ok(f64::INFINITY));
        assert_eq!(assigned_kernel(&[], &[], 1.0), Ok(1.0));
        assert!(share_in_polygon(&vec![[0.0; 2]; 1 << 13], &vec![[0.0; 2]; 1 << 13]).is_err());
    }

    #[test]
    fn embodied_r1_relations_in_space() {
        let camera = Camera {
            focal_x: 600.0,
            focal_y: 600.0,
            centre_x: 360.0,
            centre_y: 240.0,
        };
        assert_eq!(camera.unproject([960.0, 240.0], 2.0), [2.0, 0.0, 2.0]);
        let cup = [1.0, 1.0, 0.0];
        for (relation, place, holds) in [
            (Relation::Left, [1.0, 0.5, 0.0], true),
            (Relation::Right, [1.0, 0.5, 0.0], false),
            (Relation::Front, [1.5, 1.0, 0.0], true),
            (Relation::Behind, [1.0, 1.0, 0.0], false),
            (Relation::Top, [1.0, 1.0, 0.0], true),
            (Relation::Between, [1.0, 1.0, 0.0], false),
            (Relation::Left, [1.0, f64::NAN, 0.0], false),
        ] {
            assert_eq!(relation.holds(place, &[cup]), holds, "{relation:?}");
        }
        let corners = [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [1.0, 2.0, 0.0]];
        assert!(Relation::Center.holds([1.0, 1.0, 0.0], &corners));
        assert!(!Relation::Center.holds([3.0, 1.0, 0.0], &corners));
        assert!(Relation::Between.holds([1.0, 9.0, 0.0], &corners));
        assert!(!Relation::Between.holds([9.0, 1.0, 0.0], &corners));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_hull_holds_its_points(
            points in proptest::collection::vec([-9i32..9, -9i32..9], 0..20),
            shift in 0..20usize,
        ) {
            let mut points: Vec<Point> = points.iter().map(|p| p.map(f64::from)).collect();
            let hull = convex_hull(&points);
            for corner in 0..hull.len() * usize::from(hull.len() > 2) {
                let ([x1, y1], [x2, y2]) = (hull[corner], hull[(corner + 1) % hull.len()]);
                for [x, y] in &points {
                    prop_assert!((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) >= 0.0);
                }
            }
            let places = points.len().max(1);
            points.rotate_left(shift % places);
            prop_assert_eq!(convex_hull(&points), hull);
        }

        #[test]
        fn a_kernel_does_not_see_the_order(
            points in proptest::collection::vec([-99.0..99.0f64, -99.0..99.0], 4),
            gold in proptest::collection::vec([-99.0..99.0f64, -99.0..99.0], 4),
        ) {
            let score = assigned_kernel(&points, &gold, 50.0).unwrap();
            let turned: Vec<_> = points.iter().rev().copied().collect();
            prop_assert!((0.0..=1.0).contains(&score));
            prop_assert!((score - assigned_kernel(&turned, &gold, 50.0).unwrap()).abs() < 1e-9);
            prop_assert!((score - assigned_kernel(&gold, &points, 50.0).unwrap()).abs() < 1e-9);
        }
    }
}
