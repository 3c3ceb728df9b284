//! Sound to the log-mel spectrogram that Whisper's encoder reads, as Qwen2-Audio uses it.
//!
//! Follows the NumPy path of `WhisperFeatureExtractor` of transformers 5.23 to 1e-5: 64-bit sums, where its torch path
//! computes in 32 bits and is off by more in the quietest bands. The Fourier transform is written out here, for frames of
//! 400 samples are all that is wanted and a library for it would be the larger part.

use std::f64::consts::PI;

use serde::Deserialize;

use crate::image_processor::config::{check_value, parse_nested};
use crate::processing_error::ProcessingError;

/// How sound is prepared: `preprocessor_config.json` of an audio checkpoint. The defaults are Qwen2-Audio's.
#[derive(Clone, Debug, PartialEq)]
pub struct MelConfig {
    /// Bands of the spectrogram.
    pub feature_size: usize,
    /// Samples a second that the network was trained on.
    pub sampling_rate: usize,
    /// Samples from one frame to the next.
    pub hop_length: usize,
    /// Seconds that every sound is cut or filled up to.
    pub chunk_length: usize,
    /// Samples of a frame.
    pub n_fft: usize,
}

impl Default for MelConfig {
    fn default() -> Self {
        Self {
            feature_size: 128,
            sampling_rate: 16_000,
            hop_length: 160,
            chunk_length: 30,
            n_fft: 400,
        }
    }
}

/// Numbers of one sound, ready for the audio tower.
#[derive(Clone, Debug, PartialEq)]
pub struct MelFeatures {
    /// Frames, silence behind the sound included.
    pub frames: usize,
    /// Frames that hold sound: the ones of the attention mask, which come first.
    pub sounding: usize,
    /// `[feature_size, frames]`, row-major.
    pub values: Vec<f32>,
}

impl MelFeatures {
    /// `feature_attention_mask`: 1 for a frame that holds sound.
    pub fn mask(&self) -> Vec<u8> {
        (0..self.frames)
            .map(|frame| u8::from(frame < self.sounding))
            .collect()
    }

    /// Number of tokens that Qwen2-Audio's tower makes of the sound: a convolution and a pooling halve the frames.
    pub fn tokens(&self) -> usize {
        let halved = (self.sounding as i64 - 1).div_euclid(2) + 1;
        ((halved - 2).div_euclid(2) + 1).max(0) as usize
    }
}

#[derive(Deserialize)]
struct MelFile {
    feature_extractor_type: Option<String>,
    feature_size: Option<usize>,
    sampling_rate: Option<usize>,
    hop_length: Option<usize>,
    chunk_length: Option<usize>,
    n_fft: Option<usize>,
    padding_value: Option<f64>,
    dither: Option<f64>,
}

impl MelConfig {
    /// Reads one file: either the keys themselves or an object that has them under `feature_extractor`. A missing
    /// `feature_size` is 80, as in Whisper.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong type or is impossible, or it belongs to another kind of extractor.
    pub fn from_json(bytes: &[u8], file: &str) -> Result<Self, ProcessingError> {
        let read: MelFile = parse_nested(bytes, "feature_extractor", file)?;
        let default = Self::default();
        let config = Self {
            feature_size: read.feature_size.unwrap_or(80),
            sampling_rate: read.sampling_rate.unwrap_or(default.sampling_rate),
            hop_length: read.hop_length.unwrap_or(default.hop_length),
            chunk_length: read.chunk_length.unwrap_or(default.chunk_length),
            n_fft: read.n_fft.unwrap_or(default.n_fft),
        };
        let kind = read.feature_extractor_type.unwrap_or_default();
        check_value(
            file,
            "feature_extractor_type",
            &kind,
            kind.is_empty() || kind == "WhisperFeatureExtractor",
            "this network needs a WhisperFeatureExtractor",
        )?;
        for (key, value, most) in [
            ("feature_size", config.feature_size, 1024),
            ("sampling_rate", config.sampling_rate, 192_000),
            ("hop_length", config.hop_length, 192_000),
            ("chunk_length", config.chunk_length, 3600),
            ("n_fft", config.n_fft, 16_384),
        ] {
            let mend = "it is positive and not that large";
            check_value(file, key, value, (1..=most).contains(&value), mend)?;
        }
        for (key, value) in [
            ("padding_value", read.padding_value),
            ("dither", read.dither),
        ] {
            let value = value.unwrap_or(0.0);
            check_value(file, key, value, value == 0.0, "only 0 is supported")?;
        }
        Ok(config)
    }

    /// Frames that hold sound, of so many samples.
    pub fn sounding(&self, samples: usize) -> usize {
        let length = self.chunk_length * self.sampling_rate;
        let frames = length / self.hop_length;
        samples.min(length).div_ceil(self.hop_length).min(frames)
    }

    /// The spectrogram of `samples` between −1 and 1 at `rate` a second: log10 of the power in each band, no more than 8
    /// below the loudest, brought to about −1 to 1.
    ///
    /// # Errors
    /// If the rate is not the network's, or there are no samples.
    pub fn process(&self, samples: &[f32], rate: usize) -> Result<MelFeatures, ProcessingError> {
        if rate != self.sampling_rate {
            return Err(ProcessingError::SamplingRate {
                rate,
                wanted: self.sampling_rate,
            });
        }
        if samples.is_empty() {
            return Err(ProcessingError::NoSamples);
        }
        let length = self.chunk_length * self.sampling_rate;
        let samples = &samples[..samples.len().min(length)];
        let frames = length / self.hop_length;
        let fourier = Fourier::new(self.n_fft);
        let window = hann(self.n_fft);
        let filters = self.filters();
        let mut values = vec![FLOOR.log10() as f32; self.feature_size * frames];
        let mut frame = vec![0.0; self.n_fft];
        for t in 0..frames {
            for (n, (value, weight)) in frame.iter_mut().zip(&window).enumerate() {
                let place = (t * self.hop_length + n) as i64 - (self.n_fft / 2) as i64;
                let sample = samples.get(reflected(place, length)).copied();
                *value = f64::from(sample.unwrap_or(0.0)) * weight;
            }
            if frame.iter().all(|&value| value == 0.0) {
                continue;
            }
            let power = fourier.power(&frame);
            for (band, filter) in filters.iter().enumerate() {
                let bins = power[filter.start..].iter().zip(&filter.weights);
                let sum: f64 = bins.map(|(power, weight)| power * weight).sum();
                values[band * frames + t] = sum.max(FLOOR).log10() as f32;
            }
        }
        let least = values.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b)) - 8.0;
        for value in &mut values {
            *value = (value.max(least) + 4.0) / 4.0;
        }
        Ok(MelFeatures {
            frames,
            sounding: self.sounding(samples.len()),
            values,
        })
    }

    /// Slaney's triangles: as wide as the distance of the neighbouring centres, which lie evenly on his mel scale from 0
    /// to 8000 Hz, and of equal area.
    fn filters(&self) -> Vec<Filter> {
        const HIGHEST: f64 = 8000.0;
        let bins = self.n_fft / 2 + 1;
        let top = hertz_to_mel(HIGHEST);
        let spread = (self.feature_size + 1) as f64;
        let centre = |n: usize| mel_to_hertz(n as f64 * top / spread);
        let hertz = |bin: usize| bin as f64 * (self.sampling_rate / 2) as f64 / (bins - 1) as f64;
        (0..self.feature_size)
            .map(|band| {
                let [left, middle, right] = [centre(band), centre(band + 1), centre(band + 2)];
                let height = |bin: usize| {
                    let rise = (hertz(bin) - left) / (middle - left);
                    let fall = (right - hertz(bin)) / (right - middle);
                    rise.min(fall).max(0.0) * 2.0 / (right - left)
                };
                let start = (0..bins).find(|&bin| height(bin) > 0.0).unwrap_or(0);
                let weights = (start..bins).map(height);
                Filter {
                    start,
                    weights: weights.take_while(|&weight| weight > 0.0).collect(),
                }
            })
            .collect()
    }
}

/// Least power of a band.
const FLOOR: f64 = 1e-10;

/// Weights of a band's frequencies, those that are not zero.
struct Filter {
    start: usize,
    weights: Vec<f64>,
}

/// Index of a sample beyond the ends of `length` samples: mirrored at the first and the last one.
fn reflected(place: i64, length: usize) -> usize {
    let last = length as i64 - 1;
    let place = place.abs();
    (last - (last - place).abs()).max(0) as usize
}

/// Hann's window for overlapping frames, whose period is `length`.
fn hann(length: usize) -> Vec<f64> {
    let angle = |n| 2.0 * PI * n as f64 / length as f64;
    (0..length).map(|n| 0.5 - 0.5 * angle(n).cos()).collect()
}

/// Slaney's mel scale: 200/3 Hz a mel up to 1000 Hz, then 27 mels for each factor of 6.4.
fn hertz_to_mel(hertz: f64) -> f64 {
    if hertz < 1000.0 {
        hertz * 3.0 / 200.0
    } else {
        15.0 + (hertz / 1000.0).ln() * 27.0 / 6.4f64.ln()
    }
}

fn mel_to_hertz(mel: f64) -> f64 {
    if mel < 15.0 {
        mel * 200.0 / 3.0
    } else {
        1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp()
    }
}

/// The discrete Fourier transform of real numbers, in two stages (Cooley and Tukey 1965): with N = A · B,
/// X[k] = Σ_b e^(−2πi b k / N) Σ_a x[B a + b] e^(−2πi a k / A), where the inner sum depends on k mod A only.
struct Fourier {
    inner: usize,
    /// cos and −sin of 2π n / N.
    circle: Vec<[f64; 2]>,
}

impl Fourier {
    fn new(length: usize) -> Self {
        let root = length.isqrt().max(1);
        let inner = (1..=root)
            .rev()
            .find(|&d| length.is_multiple_of(d))
            .unwrap_or(1);
        let turn = |n| {
            let angle = 2.0 * PI * n as f64 / length as f64;
            [angle.cos(), -angle.sin()]
        };
        Self {
            inner,
            circle: (0..length).map(turn).collect(),
        }
    }

    /// |X[k]|² for k from 0 to half of the length.
    fn power(&self, frame: &[f64]) -> Vec<f64> {
        let (length, inner) = (self.circle.len(), self.inner);
        let outer = length / inner;
        let mut sums = vec![[0.0; 2]; length];
        for b in 0..outer {
            for k in 0..inner {
                let mut sum = [0.0; 2];
                for a in 0..inner {
                    let [cos, sin] = self.circle[a * k % inner * outer];
                    let value = frame[outer * a + b];
                    sum = [sum[0] + value * cos, sum[1] + value * sin];
                }
                sums[k * outer + b] = sum;
            }
        }
        (0..=length / 2)
            .map(|k| {
                let terms = &sums[k % inner * outer..][..outer];
                let [mut real, mut imaginary] = [0.0; 2];
                let mut place = 0;
                for [re, im] in terms {
                    let [cos, sin] = self.circle[place];
                    real += re * cos - im * sin;
                    imaginary += re * sin + im * cos;
                    place += k;
                    if place >= length {
                        place -= length;
                    }
                }
                real * real + imaginary * imaginary
            })
            .collect()
    }
}

/// What stands in a Qwen2-Audio prompt for a sound of so many tokens, in place of its `<|AUDIO|>`.
pub fn audio_text(tokens: usize) -> String {
    "<|AUDIO|>".repeat(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_is_the_sum_it_stands_for() {
        for length in [1, 2, 7, 12, 400] {
            let frame: Vec<f64> = (0..length)
                .map(|n| ((n * n * 7) % 23) as f64 - 9.0)
                .collect();
            let power = Fourier::new(length).power(&frame);
            for (k, found) in power.iter().enumerate() {
                let angle = |n| 2.0 * PI * (n * k) as f64 / length as f64;
                let sum = |part: fn(f64) -> f64| -> f64 {
                    frame
                        .iter()
                        .enumerate()
                        .map(|(n, v)| v * part(angle(n)))
                        .sum()
                };
                let wanted = sum(f64::cos).powi(2) + sum(f64::sin).powi(2);
                assert!(
                    (found - wanted).abs() < 1e-6 * (1.0 + wanted),
                    "{length}, {k}"
                );
            }
        }
    }

    #[test]
    fn mels_by_hand() {
        assert_eq!(hertz_to_mel(200.0), 3.0);
        assert_eq!(hertz_to_mel(1000.0), 15.0);
        assert!((hertz_to_mel(6400.0) - 42.0).abs() < 1e-12);
        assert!((mel_to_hertz(42.0) - 6400.0).abs() < 1e-9);
    }

    #[test]
    fn ends_are_mirrored() {
        let places = [-2, -1, 0, 3, 4, 5].map(|place| reflected(place, 4));
        assert_eq!(places, [2, 1, 0, 3, 2, 1]);
    }

    #[test]
    fn a_second_and_a_half_of_sound() {
        let features = MelConfig::default()
            .process(&[0.5; 24_001], 16_000)
            .unwrap();
        assert_eq!((features.frames, features.sounding), (3000, 151));
        // 151 frames, 76 after the convolution, 38 after the pooling.
        assert_eq!(features.tokens(), 38);
        assert_eq!(
            features
                .mask()
                .iter()
                .map(|&m| usize::from(m))
                .sum::<usize>(),
            151
        );
    }

    #[test]
    fn another_rate_is_refused() {
        let config = MelConfig::default();
        let text = config.process(&[0.0], 44_100).unwrap_err().to_string();
        assert!(
            text.starts_with("sound of 44100 samples a second"),
            "{text}"
        );
        assert!(config.process(&[], 16_000).is_err());
        let text = MelConfig::from_json(br#"{"n_fft": 0}"#, "a.json")
            .unwrap_err()
            .to_string();
        assert!(text.starts_with("a.json: n_fft = 0"), "{text}");
    }
}
