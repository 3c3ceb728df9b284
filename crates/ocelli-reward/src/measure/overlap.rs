//! How much two boxes overlap.
//!
//! Plain intersection over union is [`BoundingBox::iou`]. A box that is not valid (not finite, corners out of order)
//! overlaps with nothing: it scores the lowest value of each measure.

use ocelli_core::BoundingBox;
use serde::{Deserialize, Serialize};

/// The overlap measures by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// [`BoundingBox::iou`], in `[0, 1]`.
    #[default]
    Iou,
    /// [`pixel_iou`], in `[0, 1]`.
    #[serde(alias = "iou_plus_one")]
    PixelIou,
    /// [`giou`], in `[-1, 1]`.
    Giou,
    /// [`giou`] moved to `[0, 1]`: `(GIoU + 1) / 2`, VLA-R1's reward of a box.
    UnitGiou,
    /// [`diou`], in `[-1, 1]`.
    Diou,
}

impl Overlap {
    /// The overlap of `a` and `b`; every measure is symmetric.
    pub fn of(self, a: &BoundingBox, b: &BoundingBox) -> f64 {
        match self {
            Self::Iou => a.iou(b),
            Self::PixelIou => pixel_iou(a, b),
            Self::Giou => giou(a, b),
            Self::UnitGiou => (giou(a, b) + 1.0) / 2.0,
            Self::Diou => diou(a, b),
        }
    }
}

/// Intersection over union with the pixel convention of VLM-R1, Jigsaw-R1, UniVG-R1 and GUI-G1, in `[0, 1]`.
///
/// Their code takes one pixel off the far corner of the intersection, asks for `x1 < x2` and `y1 < y2`, and adds the
/// pixel again to both sides; areas have no added pixel. So it equals the plain measure, but is 0 where the overlap is
/// at most one pixel wide or high.
pub fn pixel_iou(a: &BoundingBox, b: &BoundingBox) -> f64 {
    let (width, height) = intersection(a, b);
    if width > 1.0 && height > 1.0 {
        a.iou(b)
    } else {
        0.0
    }
}

/// Generalised intersection over union, in `[-1, 1]`: `IoU − (hull − union) / hull`, with the area of the smallest box
/// around both as `hull` (Rezatofighi and others, 2019). −1 for invalid boxes and for a hull without area.
pub fn giou(a: &BoundingBox, b: &BoundingBox) -> f64 {
    if !a.is_valid() || !b.is_valid() {
        return -1.0;
    }
    let hull = hull(a, b).area();
    if !(hull > 0.0 && hull.is_finite()) {
        return -1.0;
    }
    let (width, height) = intersection(a, b);
    // Where one box holds the other, rounding can put the union above the hull.
    let empty = (hull - (a.area() + b.area() - width * height)).max(0.0);
    (a.iou(b) - empty / hull).max(-1.0)
}

/// Distance intersection over union, in `[-1, 1]`: IoU less the squared distance of the centres over the squared
/// diagonal of the smallest box around both (Zheng and others, 2020). −1 for invalid boxes and for a hull that is a
/// point.
pub fn diou(a: &BoundingBox, b: &BoundingBox) -> f64 {
    if !a.is_valid() || !b.is_valid() {
        return -1.0;
    }
    let square = |x: f64, y: f64| x * x + y * y;
    // Twice the distance of the centres on each axis.
    let apart = square((a.x1 + a.x2) - (b.x1 + b.x2), (a.y1 + a.y2) - (b.y1 + b.y2)) / 4.0;
    let hull = hull(a, b);
    let diagonal = square(hull.x2 - hull.x1, hull.y2 - hull.y1);
    finite_or(a.iou(b) - apart / diagonal, -1.0).max(-1.0)
}

/// Share of `predicted` that lies in `region`, in `[0, 1]`: the overlap of COCO for crowd regions. 0 for invalid boxes
/// and when `predicted` has no area.
pub fn share_inside(predicted: &BoundingBox, region: &BoundingBox) -> f64 {
    if !predicted.is_valid() || !region.is_valid() {
        return 0.0;
    }
    let (width, height) = intersection(predicted, region);
    finite_or(width * height / predicted.area(), 0.0)
}

/// Width and height of the intersection, at least 0.
fn intersection(a: &BoundingBox, b: &BoundingBox) -> (f64, f64) {
    (
        (a.x2.min(b.x2) - a.x1.max(b.x1)).max(0.0),
        (a.y2.min(b.y2) - a.y1.max(b.y1)).max(0.0),
    )
}

fn hull(a: &BoundingBox, b: &BoundingBox) -> BoundingBox {
    BoundingBox {
        x1: a.x1.min(b.x1),
        y1: a.y1.min(b.y1),
        x2: a.x2.max(b.x2),
        y2: a.y2.max(b.y2),
    }
}

/// Areas of finite boxes can still overflow, and 0 / 0 is NaN.
fn finite_or(value: f64, otherwise: f64) -> f64 {
    if value.is_finite() { value } else { otherwise }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Overlap; 5] = [
        Overlap::Iou,
        Overlap::PixelIou,
        Overlap::Giou,
        Overlap::UnitGiou,
        Overlap::Diou,
    ];

    fn overlaps(a: [f64; 4], b: [f64; 4]) -> [f64; 5] {
        ALL.map(|overlap| overlap.of(&a.into(), &b.into()))
    }

    #[track_caller]
    fn assert_near(found: [f64; 5], expected: [f64; 5]) {
        for ((overlap, found), expected) in ALL.into_iter().zip(found).zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{overlap:?}: {found}");
        }
    }

    #[test]
    fn vlm_r1_worked_example() {
        // Inside: 5 by 10 of 10 by 10 each; the hull is 15 by 10, and so is the union. Centres are 5 apart.
        let third = 1.0 / 3.0;
        let diou = third - 25.0 / 325.0;
        assert_near(
            overlaps([0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0]),
            [third, third, third, (third + 1.0) / 2.0, diou],
        );
    }

    #[test]
    fn apart_boxes_differ_by_their_gap_only_in_giou_and_diou() {
        // Two unit boxes with a gap of 2: hull 4 by 1, union 2; centres 3 apart, diagonal² 17.
        assert_near(
            overlaps([0.0, 0.0, 1.0, 1.0], [3.0, 0.0, 4.0, 1.0]),
            [0.0, 0.0, -0.5, 0.25, -9.0 / 17.0],
        );
    }

    #[test]
    fn the_pixel_convention_drops_overlaps_of_one_pixel() {
        let a = [0.0, 0.0, 10.0, 10.0].into();
        assert_eq!(pixel_iou(&a, &[9.0, 0.0, 19.0, 10.0].into()), 0.0);
        assert!((a.iou(&[9.0, 0.0, 19.0, 10.0].into()) - 10.0 / 190.0).abs() < 1e-15);
        assert!((pixel_iou(&a, &[8.0, 0.0, 18.0, 10.0].into()) - 20.0 / 180.0).abs() < 1e-15);
    }

    #[test]
    fn identical_boxes_score_one() {
        assert_near(
            overlaps([2.0, 3.0, 7.0, 9.0], [2.0, 3.0, 7.0, 9.0]),
            [1.0; 5],
        );
    }

    #[test]
    fn unusable_boxes_score_the_lowest_value() {
        let lowest = [0.0, 0.0, -1.0, 0.0, -1.0];
        let good = [0.0, 0.0, 10.0, 10.0];
        for bad in [
            [f64::NAN, 0.0, 1.0, 1.0],
            [0.0, 0.0, f64::INFINITY, 1.0],
            [5.0, 0.0, 1.0, 1.0],
        ] {
            assert_near(overlaps(good, bad), lowest);
        }
        assert_near(overlaps([3.0; 4], [3.0; 4]), lowest);
        // Areas that overflow: no overlap can be told.
        let huge = [-1e300, -1e300, 1e300, 1e300];
        assert_near(overlaps(huge, huge), [0.0, 0.0, -1.0, 0.0, 0.0]);
        assert_eq!(share_inside(&[3.0; 4].into(), &good.into()), 0.0);
    }

    #[test]
    fn share_inside_looks_at_the_prediction_only() {
        let region = [0.0, 0.0, 100.0, 100.0].into();
        assert_eq!(share_inside(&[90.0, 0.0, 110.0, 10.0].into(), &region), 0.5);
        assert_eq!(share_inside(&[1.0, 1.0, 2.0, 2.0].into(), &region), 1.0);
    }

    fn any_box() -> impl Strategy<Value = BoundingBox> {
        prop_oneof![
            9 => [-50.0..50.0f64, -50.0..50.0, 0.0..50.0, 0.0..50.0]
                .prop_map(|[x, y, w, h]| BoundingBox::from([x, y, x + w, y + h])),
            1 => proptest::array::uniform4(any::<f64>()).prop_map(BoundingBox::from),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn symmetric_bounded_and_ordered(a in any_box(), b in any_box()) {
            for overlap in ALL {
                let score = overlap.of(&a, &b);
                prop_assert_eq!(score, overlap.of(&b, &a));
                let least = if matches!(overlap, Overlap::Giou | Overlap::Diou) { -1.0 } else { 0.0 };
                prop_assert!((least..=1.0).contains(&score), "{:?} {}", overlap, score);
            }
            prop_assert!(giou(&a, &b) <= a.iou(&b));
            prop_assert!(diou(&a, &b) <= a.iou(&b));
            prop_assert!(pixel_iou(&a, &b) <= a.iou(&b));
        }
    }
}
