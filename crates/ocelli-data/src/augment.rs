//! Changes of light, colour and place, drawn anew each time a picture is shown.
//!
//! Light and colour change no answer; a shift moves the boxes with the picture (`shift.rs`). A network that has seen a row before meets other pixels the next time, so it
//! cannot tell rows by their exact colours and learn the answers by heart.

use ocelli_core::{Picture, SeedKey};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// How far pictures of a training stage are changed. All are 0 by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Largest shift of all values, up or down, as a share of the whole range from black to white.
    pub brightness: f64,
    /// Values move away from the picture's mean, or towards it, by a factor drawn from 1 ± this.
    pub contrast: f64,
    /// Each colour channel is shifted on its own by up to this share of the range.
    pub color: f64,
    /// Standard deviation of noise added to each value, as a share of the range.
    pub noise: f64,
    /// Pixels by which a picture moves at most, to each side and up and down; what comes in repeats the edge.
    pub shift: u32,
}

impl Augment {
    /// Checks the settings.
    ///
    /// # Errors
    /// If a share is outside `[0, 1)`, or all are zero and the key has no effect.
    pub fn check(&self) -> Result<(), DataError> {
        let settings = [
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("color", self.color),
            ("noise", self.noise),
        ];
        for (name, value) in settings {
            if !(0.0..1.0).contains(&value) {
                return Err(DataError::config(
                    "augment",
                    format!(
                        "`{name} = {value}` must be a share from 0 up to, but not including, 1"
                    ),
                ));
            }
        }
        if !self.changes_light() && self.shift == 0 {
            return Err(DataError::config(
                "augment",
                "everything is zero, which changes nothing: remove the key or set one of `brightness`, `contrast`, \
                 `color`, `noise` and `shift`",
            ));
        }
        Ok(())
    }

    /// Whether [`Augment::apply`] has any effect.
    pub fn changes_light(&self) -> bool {
        [self.brightness, self.contrast, self.color, self.noise] != [0.0; 4]
    }

    /// The picture in other light. It depends on the settings, the picture and `key` only.
    pub fn apply(&self, picture: &Picture, key: &SeedKey) -> Picture {
        let mut rng = key.rng();
        let mut within = |bound: f64| bound * (2.0 * rng.random::<f64>() - 1.0);
        let gain = 1.0 + within(self.contrast);
        let shift = within(self.brightness);
        let shifts: [f64; 3] = std::array::from_fn(|_| 255.0 * (shift + within(self.color)));

        let pixels = picture.rgb();
        let sum: u64 = pixels.iter().map(|value| u64::from(*value)).sum();
        let mean = sum as f64 / pixels.len() as f64;
        let tables: [[f32; 256]; 3] = shifts.map(|shift| {
            std::array::from_fn(|value| (mean + gain * (value as f64 - mean) + shift) as f32)
        });
        let mut noise = Noise::new(self.noise, &mut rng);
        let changed: Vec<u8> = pixels
            .iter()
            .enumerate()
            // A cast of f32 to u8 keeps to 0..=255.
            .map(|(i, value)| (tables[i % 3][usize::from(*value)] + noise.draw()).round() as u8)
            .collect();
        Picture::new(picture.width(), picture.height(), changed)
    }
}

/// Nearly normal noise, quick to draw: the sum of the four bytes of a random word, centred.
struct Noise<'a, R> {
    /// Turns the centred sum into the wanted deviation; 0 draws nothing.
    scale: f32,
    rng: &'a mut R,
}

impl<'a, R: Rng> Noise<'a, R> {
    /// Mean of four uniform bytes' sum, and its standard deviation √(4·(256² − 1)/12).
    const MEAN: i32 = 510;
    const DEVIATION: f32 = 147.8;

    fn new(share: f64, rng: &'a mut R) -> Self {
        let scale = 255.0 * share as f32 / Self::DEVIATION;
        Self { scale, rng }
    }

    fn draw(&mut self) -> f32 {
        if self.scale == 0.0 {
            return 0.0;
        }
        let bytes = self.rng.random::<u32>().to_le_bytes();
        let sum: i32 = bytes.into_iter().map(i32::from).sum();
        (sum - Self::MEAN) as f32 * self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli_core::Purpose;

    fn grey(side: usize) -> Picture {
        Picture::new(side, side, vec![100u8; side * side * 3])
    }

    fn key(step: u64) -> SeedKey {
        SeedKey::new(1, Purpose::Augment).step(step).task("row")
    }

    #[test]
    fn draws_differ_by_step_and_repeat_by_key() {
        let augment = Augment {
            brightness: 0.2,
            ..Augment::default()
        };
        let shown = |step| augment.apply(&grey(4), &key(step)).rgb().to_vec();
        assert_eq!(shown(3), shown(3));
        assert_ne!(shown(3), shown(4));
        let values: Vec<u8> = (0..200).map(|step| shown(step)[0]).collect();
        assert!(values.iter().all(|v| (49..=151).contains(v)));
        assert!(values.iter().any(|v| *v < 70) && values.iter().any(|v| *v > 130));
        // All three channels move together.
        assert!((0..50).all(|step| shown(step).windows(2).all(|pair| pair[0] == pair[1])));
    }

    #[test]
    fn contrast_keeps_the_mean_and_color_moves_the_channels_apart() {
        let picture = Picture::new(2, 1, vec![50, 50, 50, 150, 150, 150]);
        let contrast = Augment {
            contrast: 0.5,
            ..Augment::default()
        };
        for step in 0..20 {
            let shown = contrast.apply(&picture, &key(step));
            let (low, high) = (i32::from(shown.rgb()[0]), i32::from(shown.rgb()[3]));
            assert!((low + high - 200).abs() <= 1);
            assert!((50..=150).contains(&(high - low)));
        }
        let color = Augment {
            color: 0.3,
            ..Augment::default()
        };
        let shown = color.apply(&picture, &key(0));
        assert!(shown.rgb()[0] != shown.rgb()[1] || shown.rgb()[1] != shown.rgb()[2]);
    }

    #[test]
    fn noise_has_the_wanted_deviation() {
        let augment = Augment {
            noise: 0.05,
            ..Augment::default()
        };
        let shown = augment.apply(&grey(100), &key(0));
        let values: Vec<f64> = shown.rgb().iter().map(|v| f64::from(*v)).collect();
        let (mean, std) = ocelli_core::metrics::mean_std(&values);
        assert!((mean - 100.0).abs() < 0.5, "{mean}");
        assert!((std - 12.75).abs() < 0.3, "{std}");
    }

    #[test]
    fn extreme_light_saturates() {
        let augment = Augment {
            brightness: 0.99,
            contrast: 0.99,
            ..Augment::default()
        };
        for step in 0..50 {
            let shown = augment.apply(&grey(2), &key(step));
            assert_eq!(shown.rgb().len(), 12);
        }
    }

    #[test]
    fn settings_without_effect_or_out_of_range_are_refused() {
        for (augment, wanted) in [
            (Augment::default(), "changes nothing"),
            (
                Augment {
                    noise: 1.0,
                    ..Augment::default()
                },
                "noise",
            ),
            (
                Augment {
                    color: f64::NAN,
                    ..Augment::default()
                },
                "color",
            ),
        ] {
            let error = augment.check().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
