//! Areas of polygons and the overlap of convex ones.

use super::error::{MeasureError, check_size};
use super::points::{Point, convex_hull};

/// Most pairs of edges.
const MAX_EDGE_PAIRS: usize = 1 << 22;

/// Area of a polygon that does not cross itself, in square units; 0 for fewer than three corners. The corners may go
/// around either way.
pub fn polygon_area(corners: &[Point]) -> f64 {
    signed_area(corners).abs()
}

/// Intersection over union of the convex hulls of two sets of points, in `[0, 1]`; 0 when one of them has no area.
/// SpaceTools' pose reward takes it of the eight corners of a box in space, projected into the picture.
///
/// # Errors
/// More than 2²² pairs of edges.
pub fn hull_iou(predicted: &[Point], gold: &[Point]) -> Result<f64, MeasureError> {
    let (a, b) = (convex_hull(predicted), convex_hull(gold));
    check_size("pairs of edges", a.len(), b.len(), MAX_EDGE_PAIRS)?;
    let shared = polygon_area(&clipped(a.clone(), &b));
    let union = polygon_area(&a) + polygon_area(&b) - shared;
    Ok(if union > 0.0 && union.is_finite() {
        (shared / union).min(1.0)
    } else {
        0.0
    })
}

/// The part of the convex `polygon` that lies inside of `window`, both counter-clockwise (Sutherland and Hodgman, 1974).
fn clipped(mut polygon: Vec<Point>, window: &[Point]) -> Vec<Point> {
    if window.len() < 3 || polygon.len() < 3 {
        return Vec::new();
    }
    for (place, &from) in window.iter().enumerate() {
        let to = window[(place + 1) % window.len()];
        // Above 0 to the left of the edge, which is inside.
        let side =
            |[x, y]: Point| (to[0] - from[0]) * (y - from[1]) - (to[1] - from[1]) * (x - from[0]);
        let mut kept = Vec::with_capacity(polygon.len() + 1);
        for (corner, &here) in polygon.iter().enumerate() {
            let next = polygon[(corner + 1) % polygon.len()];
            let (start, end) = (side(here), side(next));
            if start >= 0.0 {
                kept.push(here);
            }
            if (start > 0.0 && end < 0.0) || (start < 0.0 && end > 0.0) {
                let share = start / (start - end);
                kept.push([
                    here[0] + share * (next[0] - here[0]),
                    here[1] + share * (next[1] - here[1]),
                ]);
            }
        }
        polygon = kept;
    }
    polygon
}

fn signed_area(corners: &[Point]) -> f64 {
    let Some((&origin, rest)) = corners.split_first() else {
        return 0.0;
    };
    // Relative to the first corner, so that far places lose no digits.
    let doubled: f64 = rest
        .windows(2)
        .map(|pair| {
            let [[x1, y1], [x2, y2]] =
                [pair[0], pair[1]].map(|[x, y]| [x - origin[0], y - origin[1]]);
            x1 * y2 - y1 * x2
        })
        .sum();
    doubled / 2.0
}

#[cfg(test)]
mod tests {
    use ocelli_core::BoundingBox;
    use proptest::prelude::*;

    use super::*;

    fn corners([x1, y1, x2, y2]: [f64; 4]) -> Vec<Point> {
        vec![[x1, y1], [x2, y2], [x1, y2], [x2, y1]]
    }

    #[test]
    fn areas() {
        let triangle = [[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]];
        assert_eq!(polygon_area(&triangle), 6.0);
        let moved = triangle.map(|[x, y]| [x + 1e9, y - 1e9]);
        assert_eq!(polygon_area(&moved), 6.0);
        assert_eq!(polygon_area(&triangle[..2]), 0.0);
        assert_eq!(polygon_area(&[]), 0.0);
    }

    #[test]
    fn space_tools_pose() {
        // A square of side 2 and the same turned by 45°: their common octagon has the area 8 (√2 − 1).
        let square = [[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]];
        let root = std::f64::consts::SQRT_2;
        let turned = [[root, 0.0], [0.0, root], [-root, 0.0], [0.0, -root]];
        let octagon = 8.0 * (root - 1.0);
        let found = hull_iou(&square, &turned).unwrap();
        assert!((found - octagon / (8.0 - octagon)).abs() < 1e-12, "{found}");
        assert_eq!(hull_iou(&square, &square), Ok(1.0));
    }

    #[test]
    fn without_area_there_is_no_overlap() {
        let square = corners([0.0, 0.0, 1.0, 1.0]);
        let line = [[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]];
        for other in [&line[..], &[], &[[f64::NAN; 2]; 4]] {
            assert_eq!(hull_iou(&square, other), Ok(0.0));
            assert_eq!(hull_iou(other, other), Ok(0.0));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn equals_the_overlap_of_boxes(
            [a, b] in proptest::array::uniform2([0.0..50.0f64, 0.0..50.0, 1.0..50.0, 1.0..50.0]),
        ) {
            let [a, b] = [a, b].map(|[x, y, w, h]| [x, y, x + w, y + h]);
            let found = hull_iou(&corners(a), &corners(b)).unwrap();
            prop_assert!((found - BoundingBox::from(a).iou(&b.into())).abs() < 1e-9);
        }

        #[test]
        fn symmetric_and_bounded(
            a in proptest::collection::vec([0.0..9.0f64, 0.0..9.0], 0..9),
            b in proptest::collection::vec([0.0..9.0f64, 0.0..9.0], 0..9),
        ) {
            let found = hull_iou(&a, &b).unwrap();
            prop_assert!((0.0..=1.0).contains(&found));
            prop_assert!((found - hull_iou(&b, &a).unwrap()).abs() < 1e-9);
        }
    }
}
