//! Sloppy boxes: annotations as they come from hasty work, for the demonstrations of supervised stages.
//!
//! A sloppy annotator draws too large a box rather than too small a one. That bias is what supervised learning copies
//! and what a reward checked against the true box can take away again; noise without bias would leave nothing to gain.

use ocelli_core::seed::normal;
use ocelli_core::{BoundingBox, Purpose, SeedKey};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// How far the boxes of demonstrations stray from the true ones. The target that rewards check stays true.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelNoise {
    /// Each side moves outward by a distance drawn uniformly from zero up to this many pixels.
    #[serde(default)]
    pub outward: f64,
    /// Standard deviation, in pixels, of a further normally distributed shift of each side, in either direction.
    #[serde(default)]
    pub jitter: f64,
}

impl LabelNoise {
    /// Checks the settings; `key` is what a recipe calls them.
    ///
    /// # Errors
    /// If a setting is negative or not finite, or both are zero and the key has no effect.
    pub fn check(&self, key: &'static str) -> Result<(), DataError> {
        for (name, value) in [("outward", self.outward), ("jitter", self.jitter)] {
            if !value.is_finite() || value < 0.0 {
                return Err(DataError::config(
                    key,
                    format!("`{name} = {value}` must be a number of pixels, zero or more"),
                ));
            }
        }
        if self.outward == 0.0 && self.jitter == 0.0 {
            return Err(DataError::config(
                key,
                "both `outward` and `jitter` are zero, which changes nothing: remove the key or set one",
            ));
        }
        Ok(())
    }

    /// The sloppy version of `truth`, the box of the task `task_id` in a picture of `width` × `height` pixels: whole
    /// numbers, inside the picture, at least one pixel wide and high. It depends on `seed` and `task_id` only.
    pub fn apply(
        &self,
        truth: &BoundingBox,
        width: usize,
        height: usize,
        seed: u64,
        task_id: &str,
    ) -> BoundingBox {
        let mut rng = SeedKey::new(seed, Purpose::Labels).task(task_id).rng();
        let mut shift = || self.outward * rng.random::<f64>() + self.jitter * normal(&mut rng);
        let (left, top) = (truth.x1 - shift(), truth.y1 - shift());
        let (right, bottom) = (truth.x2 + shift(), truth.y2 + shift());
        let (x1, x2) = settle(left, right, width);
        let (y1, y2) = settle(top, bottom, height);
        BoundingBox { x1, y1, x2, y2 }
    }
}

/// The two ends of a side, put in order, rounded, kept inside `[0, length]` and at least one pixel apart.
fn settle(a: f64, b: f64, length: usize) -> (f64, f64) {
    let length = length as f64;
    // Adding zero turns −0 into 0, so that equal boxes are written alike.
    let low = a.min(b).round().clamp(0.0, length - 1.0) + 0.0;
    let high = a.max(b).round().clamp(low + 1.0, length);
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRUTH: [f64; 4] = [40.0, 40.0, 70.0, 80.0];

    fn draws(noise: LabelNoise, count: usize) -> Vec<BoundingBox> {
        (0..count)
            .map(|i| noise.apply(&TRUTH.into(), 112, 112, 3, &format!("row-{i}")))
            .collect()
    }

    #[test]
    fn outward_noise_only_grows_the_box_and_by_half_its_bound_on_average() {
        let noise = LabelNoise {
            outward: 20.0,
            jitter: 0.0,
        };
        let boxes = draws(noise, 2000);
        for b in &boxes {
            assert!(b.x1 <= 40.0 && b.y1 <= 40.0 && b.x2 >= 70.0 && b.y2 >= 80.0);
            assert!(b.x1 >= 20.0 && b.x2 <= 90.0);
        }
        let mean = boxes.iter().map(|b| 40.0 - b.x1).sum::<f64>() / 2000.0;
        assert!((mean - 10.0).abs() < 0.5, "{mean}");
    }

    #[test]
    fn jitter_has_the_mean_and_deviation_it_says() {
        let noise = LabelNoise {
            outward: 0.0,
            jitter: 4.0,
        };
        let shifts: Vec<f64> = draws(noise, 4000).iter().map(|b| b.x1 - 40.0).collect();
        let (mean, std) = ocelli_core::metrics::mean_std(&shifts);
        assert!(mean.abs() < 0.2, "{mean}");
        assert!((std - 4.0).abs() < 0.2, "{std}");
    }

    #[test]
    fn the_same_task_and_seed_give_the_same_box() {
        let noise = LabelNoise {
            outward: 20.0,
            jitter: 4.0,
        };
        let at = |seed, id| noise.apply(&TRUTH.into(), 112, 112, seed, id);
        assert_eq!(at(1, "a"), at(1, "a"));
        assert_ne!(at(1, "a"), at(2, "a"));
        assert_ne!(at(1, "a"), at(1, "b"));
    }

    #[test]
    fn settings_without_sense_or_effect_are_refused() {
        for (outward, jitter) in [
            (-1.0, 0.0),
            (0.0, f64::NAN),
            (f64::INFINITY, 0.0),
            (0.0, 0.0),
        ] {
            assert!(LabelNoise { outward, jitter }.check("label_noise").is_err());
        }
    }

    proptest! {
        #[test]
        fn boxes_stay_whole_ordered_and_inside(
            corners in prop::array::uniform4(-50.0f64..200.0),
            sides in prop::array::uniform2(1usize..150),
            outward in 0.0f64..100.0,
            jitter in 0.0f64..100.0,
            seed: u64,
        ) {
            let noise = LabelNoise { outward, jitter };
            let [width, height] = sides;
            let b = noise.apply(&corners.into(), width, height, seed, "row");
            prop_assert!(b.x1 >= 0.0 && b.x1 < b.x2 && b.x2 <= width as f64, "{b:?}");
            prop_assert!(b.y1 >= 0.0 && b.y1 < b.y2 && b.y2 <= height as f64, "{b:?}");
            prop_assert!(<[f64; 4]>::from(b).iter().all(|v| v.fract() == 0.0 && v.is_sign_positive()));
        }
    }
}
