//! Rooms filled with boxes in space, as MetaSpatial scores them.

use super::error::{MeasureError, check_size};
use super::shape::clip;

/// Most pairs of objects.
const MAX_PAIRS: usize = 1 << 22;

/// The space that an object takes, by the lowest and highest corner of its box; the third axis points up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Solid {
    pub low: [f64; 3],
    pub high: [f64; 3],
}

impl Solid {
    /// Whether the insides of both boxes overlap; touching is no overlap, and a box that is not finite has no inside.
    pub fn overlaps(&self, other: &Self) -> bool {
        let finite = |object: &Self| object.low.iter().chain(&object.high).all(|v| v.is_finite());
        finite(self)
            && finite(other)
            && (0..3).all(|axis| {
                self.low[axis].max(other.low[axis]) < self.high[axis].min(other.high[axis])
            })
    }

    fn height(&self) -> f64 {
        self.high[2] - self.low[2]
    }
}

/// Share of the pairs of objects that overlap, in `[0, 1]`; objects lower than `thin` (carpets) are left out. 0 for
/// fewer than two objects.
///
/// # Errors
/// More than 2²² pairs.
pub fn collision_ratio(objects: &[Solid], thin: f64) -> Result<f64, MeasureError> {
    check_size("pairs of objects", objects.len(), objects.len(), MAX_PAIRS)?;
    let solid: Vec<&Solid> = objects.iter().filter(|o| o.height() >= thin).collect();
    let pairs = solid.len() * solid.len().saturating_sub(1) / 2;
    let colliding: usize = solid
        .iter()
        .enumerate()
        .map(|(place, a)| solid[place + 1..].iter().filter(|b| a.overlaps(b)).count())
        .sum();
    Ok(colliding as f64 / pairs.max(1) as f64)
}

/// How far a layout could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutFormat {
    NoTags,
    BadJson,
    WrongObjects,
    Complete,
}

/// MetaSpatial's reward: half of 0, .1 or .5 for a layout that is not complete; else `.5 + Σ grades / 50 − .2 ·
/// collisions − .2 · violations`, with five grades of 1 to 10 (0 when an object's name is missing) and both ratios in
/// `[0, 1]`; what is outside is clipped, and NaN is 0.
pub fn meta_spatial_reward(
    format: LayoutFormat,
    grades: [f64; 5],
    collisions: f64,
    violations: f64,
) -> f64 {
    match format {
        LayoutFormat::NoTags => 0.0,
        LayoutFormat::BadJson => 0.05,
        LayoutFormat::WrongObjects => 0.25,
        LayoutFormat::Complete => {
            let grades: f64 = grades.iter().map(|&grade| clip(grade, 0.0, 10.0)).sum();
            let ratios = clip(collisions, 0.0, 1.0) + clip(violations, 0.0, 1.0);
            0.5 + grades / 50.0 - 0.2 * ratios
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit_at(x: f64) -> Solid {
        Solid {
            low: [x, 0.0, 0.0],
            high: [x + 1.0, 1.0, 1.0],
        }
    }

    #[test]
    fn meta_spatial_worked_examples() {
        let reward = |format| meta_spatial_reward(format, [8.0; 5], 0.1, 0.5);
        assert!((reward(LayoutFormat::Complete) - 1.18).abs() < 1e-12);
        assert_eq!(reward(LayoutFormat::WrongObjects), 0.25);
        assert_eq!(collision_ratio(&[unit_at(0.0), unit_at(0.5)], 0.0), Ok(1.0));
        assert_eq!(collision_ratio(&[unit_at(0.0), unit_at(1.5)], 0.0), Ok(0.0));
    }

    #[test]
    fn touching_carpets_and_lost_objects_do_not_collide() {
        let carpet = Solid {
            low: [0.0; 3],
            high: [9.0, 9.0, 0.01],
        };
        let lost = Solid {
            high: [f64::NAN; 3],
            ..unit_at(0.0)
        };
        assert_eq!(
            collision_ratio(&[unit_at(0.0), unit_at(1.0), carpet], 0.05),
            Ok(0.0)
        );
        assert!(!lost.overlaps(&unit_at(0.0)));
        let three = [unit_at(0.0), unit_at(0.5), unit_at(5.0)];
        assert_eq!(collision_ratio(&three, 0.0), Ok(1.0 / 3.0));
        assert_eq!(collision_ratio(&[], 0.0), Ok(0.0));
        assert!(collision_ratio(&[unit_at(0.0); 3000], 0.0).is_err());
    }
}
