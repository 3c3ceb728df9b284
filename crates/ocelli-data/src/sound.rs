//! From WAV files to samples.

use std::io::Cursor;
use std::path::Path;

use ocelli_core::Sound;

use crate::error::DataError;

/// Samples a second of recordings; another number is damage, and would make gigabytes of a small file when it is resampled.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// The sound in the WAV file `path`, its channels averaged. Whole numbers of b bits are divided by 2^(b−1).
///
/// # Errors
/// If the file cannot be read, or is empty, no WAV file, damaged or cut off.
pub fn read_wav(path: &Path) -> Result<Sound, DataError> {
    let bytes = std::fs::read(path).map_err(|source| DataError::read(path, source))?;
    wav_from_bytes(&bytes).map_err(|problem| DataError::file(path, problem))
}

/// Samples a second and number of samples in one channel of the WAV file `path`, by its header.
///
/// # Errors
/// As [`read_wav`], as far as the header tells.
pub fn measure_wav(path: &Path) -> Result<(usize, usize), DataError> {
    let file = std::fs::File::open(path).map_err(|source| DataError::read(path, source))?;
    let reader = hound::WavReader::new(std::io::BufReader::new(file))
        .map_err(|error| DataError::file(path, no_wav(&error)))?;
    let rate = checked_rate(reader.spec()).map_err(|problem| DataError::file(path, problem))?;
    Ok((rate, reader.duration() as usize))
}

fn checked_rate(form: hound::WavSpec) -> Result<usize, String> {
    let (channels, rate) = (form.channels, form.sample_rate);
    if channels == 0 || !RATES.contains(&rate) {
        return Err(format!(
            "the WAV file has {channels} channels and {rate} samples a second: its header is damaged, or it is no recording; convert it \
             again"
        ));
    }
    Ok(rate as usize)
}

fn no_wav(error: &hound::Error) -> String {
    format!(
        "not a WAV file that can be read ({error}): convert it, for instance with ffmpeg -i IN OUT.wav"
    )
}

fn wav_from_bytes(bytes: &[u8]) -> Result<Sound, String> {
    if bytes.is_empty() {
        return Err("the file is empty (0 bytes): copy or download it again".to_owned());
    }
    let problem = |error: hound::Error| no_wav(&error);
    let mut reader = hound::WavReader::new(Cursor::new(bytes)).map_err(problem)?;
    let form = reader.spec();
    let rate = checked_rate(form)?;
    let samples: Result<Vec<f32>, hound::Error> = match form.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().collect(),
        hound::SampleFormat::Int => {
            let one = f64::from(1u32 << (form.bits_per_sample.clamp(1, 32) - 1));
            let samples = reader.samples::<i32>();
            samples
                .map(|sample| Ok((f64::from(sample?) / one) as f32))
                .collect()
        }
    };
    let samples = samples.map_err(problem)?;
    if let Some(at) = samples.iter().position(|sample| !sample.is_finite()) {
        return Err(format!(
            "sample {at} of the WAV file is {}: write it anew with whole or finite numbers",
            samples[at]
        ));
    }
    let channels = usize::from(form.channels);
    let mean = |frame: &[f32]| frame.iter().sum::<f32>() / channels as f32;
    Ok(Sound {
        rate,
        samples: samples.chunks_exact(channels).map(mean).collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wav(channels: u16, samples: &[i16]) -> Vec<u8> {
        let form = hound::WavSpec {
            channels,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, form).unwrap();
        for &sample in samples {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    #[test]
    fn channels_are_averaged() {
        let sound = wav_from_bytes(&wav(1, &[-32_768, 16_384])).unwrap();
        assert_eq!(sound.samples, [-1.0, 0.5]);
        let sound = wav_from_bytes(&wav(2, &[0, 16_384, -16_384, 0])).unwrap();
        assert_eq!((sound.rate, sound.samples), (16_000, vec![0.25, -0.25]));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), wav(2, &[0; 10])).unwrap();
        assert_eq!(measure_wav(file.path()).unwrap(), (16_000, 5));
    }

    #[test]
    fn what_is_no_wav_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let whole = wav(1, &[1; 40]);
        for bytes in [&b""[..], b"ID3 an mp3 file", &whole[..60]] {
            std::fs::write(&path, bytes).unwrap();
            let text = read_wav(&path).unwrap_err().to_string();
            assert!(text.contains("a.wav: "), "{text}");
        }
        assert!(read_wav(Path::new("nowhere.wav")).is_err());
    }

    #[test]
    fn rates_and_samples_of_no_recording_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        for rate in [0u32, 1, 999, 768_001] {
            let mut bytes = wav(1, &[1; 40]);
            bytes[24..28].copy_from_slice(&rate.to_le_bytes());
            bytes[28..32].copy_from_slice(&(2 * rate).to_le_bytes());
            std::fs::write(&path, bytes).unwrap();
            for error in [read_wav(&path).map(drop), measure_wav(&path).map(drop)] {
                let text = error.unwrap_err().to_string();
                assert!(
                    text.contains("a.wav: ") && text.contains(&rate.to_string()),
                    "{text}"
                );
            }
        }
        let form = hound::WavSpec {
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        for odd in [f32::NAN, f32::INFINITY] {
            let mut bytes = Cursor::new(Vec::new());
            let mut writer = hound::WavWriter::new(&mut bytes, form).unwrap();
            for sample in [0.5, odd] {
                writer.write_sample(sample).unwrap();
            }
            writer.finalize().unwrap();
            let problem = wav_from_bytes(&bytes.into_inner()).unwrap_err();
            assert!(problem.contains("sample 1"), "{problem}");
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(at in 0usize..60, value: u8, length in 0usize..130) {
            let mut bytes = wav(2, &[7; 40]);
            bytes[at] = value;
            bytes.truncate(length);
            let _ = wav_from_bytes(&bytes);
        }
    }
}
