//! Sound at another sampling rate.
//!
//! Band-limited interpolation (J. O. Smith, "Digital Audio Resampling"): each new sample is a sum of the old ones around it,
//! weighted by a low-pass sinc under a Kaiser window. transformers leaves this to librosa, whose filter is another one; the two
//! agree where the filter is flat, that is up to nine tenths of the lower rate's band.

use std::borrow::Cow;
use std::f64::consts::PI;

use ocelli_core::Sound;

/// Zero crossings of the sinc on each side.
const CROSSINGS: f64 = 128.0;
/// Cut-off as a share of the lower rate's band.
const ROLL_OFF: f64 = 0.95;
/// Shape of the Kaiser window: about 120 dB of attenuation.
const BETA: f64 = 12.0;

/// The sound at `rate` samples a second; as many samples as fill its time, cut up to a whole one.
pub fn resample(sound: &Sound, rate: usize) -> Cow<'_, Sound> {
    if sound.rate == rate || sound.rate == 0 || rate == 0 {
        return Cow::Borrowed(sound);
    }
    let samples = resampled(&sound.samples, sound.rate, rate);
    Cow::Owned(Sound { rate, samples })
}

/// Number of samples that `resample` makes of so many.
pub fn resampled_length(samples: usize, from: usize, to: usize) -> usize {
    let length = (samples as u128 * to as u128).div_ceil((from as u128).max(1));
    usize::try_from(length).unwrap_or(usize::MAX)
}

fn resampled(samples: &[f32], from: usize, to: usize) -> Vec<f32> {
    // In lowest terms: new sample n lies at n · step / phases of the old ones.
    let common = divisor(from, to);
    let (step, phases) = (from / common, to / common);
    let cutoff = (to as f64 / from as f64).min(1.0) * ROLL_OFF;
    let reach = (CROSSINGS / cutoff).ceil() as i64;
    let mut kernels: Vec<Option<Vec<f64>>> = vec![None; phases];
    (0..resampled_length(samples.len(), from, to))
        .map(|n| {
            let place = n as u128 * step as u128;
            let (base, phase) = (
                (place / phases as u128) as i64,
                (place % phases as u128) as usize,
            );
            let kernel = kernels[phase]
                .get_or_insert_with(|| kernel(phase as f64 / phases as f64, cutoff, reach));
            let first = base - reach + 1;
            let sum: f64 = kernel
                .iter()
                .zip(first..)
                .filter_map(|(weight, at)| {
                    let sample = samples.get(usize::try_from(at).ok()?)?;
                    Some(weight * f64::from(*sample))
                })
                .sum();
            sum as f32
        })
        .collect()
}

/// Weights of the `2 · reach` old samples around a new one that lies `offset` behind the last before it. They sum to 1, so that a
/// constant stays one.
fn kernel(offset: f64, cutoff: f64, reach: i64) -> Vec<f64> {
    let weights: Vec<f64> = (1 - reach..=reach)
        .map(|at| {
            let distance = at as f64 - offset;
            let inside = 1.0 - (distance / reach as f64).powi(2);
            sinc(cutoff * distance) * bessel(BETA * inside.max(0.0).sqrt())
        })
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

/// The modified Bessel function of order 0, by its power series.
fn bessel(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..60 {
        term *= quarter / f64::from(k * k);
        sum += term;
    }
    sum
}

fn divisor(mut a: usize, mut b: usize) -> usize {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64, rate: usize, samples: usize) -> Sound {
        let sample = |n: usize| (2.0 * PI * hertz * n as f64 / rate as f64).sin() as f32;
        Sound {
            rate,
            samples: (0..samples).map(sample).collect(),
        }
    }

    /// The largest difference, the ends left out, where the sound begins and ends abruptly.
    fn difference(found: &Sound, wanted: &Sound) -> f32 {
        assert_eq!(found.rate, wanted.rate);
        assert_eq!(found.samples.len(), wanted.samples.len());
        let inner = 200..found.samples.len() - 200;
        inner
            .map(|n| (found.samples[n] - wanted.samples[n]).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn tones_stay_what_they_are() {
        for (hertz, from, to) in [
            (440.0, 44_100, 16_000),
            (7000.0, 44_100, 16_000),
            (3000.0, 8000, 16_000),
            (1000.0, 22_050, 16_000),
            (5000.0, 16_000, 11_025),
        ] {
            let sound = tone(hertz, from, from / 5);
            let found = resample(&sound, to);
            let off = difference(&found, &tone(hertz, to, found.samples.len()));
            assert!(off < 1e-4, "{hertz} Hz, {from} to {to}: {off}");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        let sound = tone(9000.0, 44_100, 8820);
        let found = resample(&sound, 16_000);
        assert!(found.samples[200..3000].iter().all(|s| s.abs() < 1e-4));
    }

    #[test]
    fn lengths_and_constants_by_hand() {
        let sound = Sound {
            rate: 3,
            samples: vec![0.5; 1000],
        };
        let found = resample(&sound, 2);
        // 1000 samples at 3 a second end after 333.3 seconds, which 666.7 samples at 2 a second fill.
        assert_eq!(found.samples.len(), 667);
        assert!((found.samples[300] - 0.5).abs() < 1e-6);
        assert!(matches!(resample(&sound, 3), Cow::Borrowed(_)));
        let empty = Sound {
            rate: 3,
            samples: Vec::new(),
        };
        assert!(resample(&empty, 2).samples.is_empty());
    }
}
