//! Boxes in pictures.

use serde::{Deserialize, Serialize};

/// An axis-parallel box by its corners, `x1 <= x2` and `y1 <= y2` when valid; units are the pixels of the task's
/// source picture unless the holder says otherwise. Written as `[x1, y1, x2, y2]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 4]", into = "[f64; 4]")]
pub struct BoundingBox {
    pub x1: f64,
    pub y1: f64,
    pub x2: f64,
    pub y2: f64,
}

impl From<[f64; 4]> for BoundingBox {
    fn from([x1, y1, x2, y2]: [f64; 4]) -> Self {
        Self { x1, y1, x2, y2 }
    }
}

impl From<BoundingBox> for [f64; 4] {
    fn from(b: BoundingBox) -> Self {
        [b.x1, b.y1, b.x2, b.y2]
    }
}

impl BoundingBox {
    /// Area in square units; zero when the corners are out of order.
    pub fn area(&self) -> f64 {
        (self.x2 - self.x1).max(0.0) * (self.y2 - self.y1).max(0.0)
    }

    /// Whether all corners are finite and in order.
    pub fn is_valid(&self) -> bool {
        [self.x1, self.y1, self.x2, self.y2]
            .iter()
            .all(|v| v.is_finite())
            && self.x1 <= self.x2
            && self.y1 <= self.y2
    }

    /// Intersection over union in `[0, 1]`, continuous convention (no added pixel); zero for invalid boxes and when
    /// the union is empty.
    pub fn iou(&self, other: &Self) -> f64 {
        if !self.is_valid() || !other.is_valid() {
            return 0.0;
        }
        let width = (self.x2.min(other.x2) - self.x1.max(other.x1)).max(0.0);
        let height = (self.y2.min(other.y2) - self.y1.max(other.y1)).max(0.0);
        let intersection = width * height;
        let union = self.area() + other.area() - intersection;
        if union > 0.0 {
            intersection / union
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_a_worked_example() {
        let a = BoundingBox::from([0.0, 0.0, 10.0, 10.0]);
        let b = BoundingBox::from([5.0, 0.0, 15.0, 10.0]);
        assert!((a.iou(&b) - 50.0 / 150.0).abs() < 1e-12);
        assert_eq!(a.iou(&a), 1.0);
    }

    #[test]
    fn invalid_or_empty_boxes_score_zero() {
        let good = BoundingBox::from([0.0, 0.0, 10.0, 10.0]);
        for bad in [[10.0, 0.0, 0.0, 10.0], [f64::NAN, 0.0, 1.0, 1.0], [0.0; 4]] {
            assert_eq!(good.iou(&bad.into()), 0.0);
            assert_eq!(BoundingBox::from(bad).iou(&bad.into()), 0.0);
        }
    }
}
