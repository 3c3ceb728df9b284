//! Videos of InternVL and SmolVLM: every frame one square, as a picture that is not split.
//!
//! Follows `InternVLVideoProcessor` and `SmolVLMVideoProcessor` of transformers 5.23 with torchvision. Pass
//! `resize_torchvision` of `ocelli-data` with the family's filter as `resize`.

use std::borrow::Cow;

use ocelli_core::Picture;
use serde::Deserialize;

use super::config::settings;
use crate::image_processor::config::{check_value, parse_nested};
use crate::image_processor::levels::{Levels, append_planes};
use crate::image_processor::resized;
use crate::processing_error::ProcessingError;

/// Whose rules choose frames and resize them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SquareRules {
    /// Frames at even distances, the first one `shift` frames from the start; half a distance if none is given.
    InternVl { shift: Option<f64> },
    /// So many frames a second, no more than `num_frames`, long videos without their first and last second. Frames are brought to
    /// `longest_edge` before they become squares.
    SmolVlm { longest_edge: usize },
}

/// How videos are prepared.
#[derive(Clone, Debug, PartialEq)]
pub struct SquareVideoConfig {
    pub rules: SquareRules,
    /// Width and height of a frame in pixels.
    pub size: [usize; 2],
    pub fps: Option<f64>,
    pub num_frames: Option<usize>,
    pub levels: Levels,
}

#[derive(Deserialize)]
struct SquareFile {
    do_resize: Option<bool>,
    resample: Option<i64>,
    size: Option<SizeFile>,
    max_image_size: Option<SizeFile>,
    fps: Option<f64>,
    num_frames: Option<usize>,
    initial_shift: Option<serde_json::Value>,
    video_sampling: Option<SamplingFile>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct SizeFile {
    height: Option<usize>,
    width: Option<usize>,
    longest_edge: Option<usize>,
}

#[derive(Deserialize)]
struct SamplingFile {
    fps: f64,
    max_frames: usize,
    video_size: SizeFile,
}

impl SquareVideoConfig {
    /// Finds the settings as [`VideoProcessorConfig::from_files`](super::VideoProcessorConfig::from_files) does. `rules` holds the
    /// defaults of the class.
    ///
    /// # Errors
    /// If a file is not JSON, or a value has the wrong type or is impossible.
    pub fn from_files<'a>(
        read: impl FnMut(&str) -> Result<Option<Cow<'a, [u8]>>, ProcessingError>,
        rules: SquareRules,
    ) -> Result<Option<Self>, ProcessingError> {
        settings(read)?
            .map(|(bytes, file)| Self::from_json(&bytes, file, rules))
            .transpose()
    }

    /// Reads `video_preprocessor_config.json`, or an object that has its keys under `video_processor`.
    ///
    /// # Errors
    /// As [`Self::from_files`].
    pub fn from_json(
        bytes: &[u8],
        file: &str,
        rules: SquareRules,
    ) -> Result<Self, ProcessingError> {
        let read: SquareFile = parse_nested(bytes, "video_processor", file)?;
        let given = read.size.unwrap_or_default();
        let (kernel, mean, std) = match rules {
            SquareRules::InternVl { .. } => (
                3,
                [0.48145466, 0.4578275, 0.40821073],
                [0.26862954, 0.26130258, 0.27577711],
            ),
            SquareRules::SmolVlm { .. } => (1, [0.5; 3], [0.5; 3]),
        };
        let mut config = Self {
            rules,
            size: [given.width.unwrap_or(384), given.height.unwrap_or(384)],
            fps: read.fps,
            num_frames: read.num_frames,
            levels: Levels {
                do_rescale: read.do_rescale.unwrap_or(true),
                rescale_factor: read.rescale_factor.unwrap_or(1.0 / 255.0),
                do_normalize: read.do_normalize.unwrap_or(true),
                mean: read.image_mean.unwrap_or(mean),
                std: read.image_std.unwrap_or(std),
            },
        };
        match &mut config.rules {
            SquareRules::InternVl { shift } => {
                *shift = match &read.initial_shift {
                    None | Some(serde_json::Value::Bool(true) | serde_json::Value::Null) => None,
                    Some(value) => Some(value.as_f64().unwrap_or(0.0)),
                };
            }
            SquareRules::SmolVlm { longest_edge } => {
                let side = read.max_image_size.and_then(|size| size.longest_edge);
                config.size = [side.unwrap_or(364); 2];
                *longest_edge = given.longest_edge.unwrap_or(*longest_edge);
                if let Some(sampling) = read.video_sampling {
                    config.fps = Some(sampling.fps);
                    config.num_frames = Some(sampling.max_frames);
                    *longest_edge = sampling.video_size.longest_edge.unwrap_or(*longest_edge);
                }
            }
        }
        let kernel_mend = match kernel {
            1 => "only 1 (Lanczos) is supported",
            _ => "only 3 (bicubic) is supported",
        };
        let found = read.resample.unwrap_or(kernel);
        check_value(file, "resample", found, found == kernel, kernel_mend)?;
        let resizes = read.do_resize.unwrap_or(true);
        let mend = "frames need resizing; leave it true";
        check_value(file, "do_resize", resizes, resizes, mend)?;
        config.check(file)?;
        Ok(config)
    }

    fn check(&self, file: &str) -> Result<(), ProcessingError> {
        let fits = |side: &usize| (1..=4096).contains(side);
        let mend = "the sides of a frame lie between 1 and 4096";
        let shown = format!("{:?}", self.size);
        check_value(file, "size", shown, self.size.iter().all(fits), mend)?;
        if let SquareRules::SmolVlm { longest_edge } = self.rules {
            check_value(file, "size", longest_edge, fits(&longest_edge), mend)?;
        }
        let count = self.num_frames.unwrap_or(1);
        let mend = "it lies between 1 and 1048576";
        check_value(
            file,
            "num_frames",
            count,
            (1..=1 << 20).contains(&count),
            mend,
        )?;
        let fps = self.fps.unwrap_or(1.0);
        let mend = "it is a positive number";
        check_value(file, "fps", fps, fps > 0.0 && fps.is_finite(), mend)?;
        check_value(
            file,
            "image_std",
            format!("{:?}", self.levels.std),
            !self.levels.std.contains(&0.0),
            "no deviation may be zero",
        )
    }

    /// Indices of the frames to look at, of a video of `total` frames; all of them where the file says neither `num_frames` nor `fps`.
    ///
    /// # Errors
    /// If the video has fewer frames than are needed, or `fps` cannot be followed for lack of the video's own.
    pub fn sample(
        &self,
        total: usize,
        video_fps: Option<f64>,
    ) -> Result<Vec<usize>, ProcessingError> {
        if total == 0 {
            return Err(ProcessingError::NoFrames);
        }
        match (self.rules, self.num_frames, self.fps) {
            (_, None, None) => Ok((0..total).collect()),
            (SquareRules::InternVl { shift }, count, fps) => {
                let count = match (count, fps) {
                    (Some(count), _) => count,
                    (None, fps) => {
                        let video_fps = video_fps.ok_or(ProcessingError::UnknownFps)?;
                        (total as f64 / video_fps * fps.unwrap_or(1.0)) as usize
                    }
                };
                stretches(total, count, shift)
            }
            (SquareRules::SmolVlm { .. }, count, fps) => {
                let video_fps = video_fps.ok_or(ProcessingError::UnknownFps)?;
                let most = count.unwrap_or(usize::MAX);
                Ok(inner(total, video_fps, most, fps.unwrap_or(video_fps)))
            }
        }
    }

    /// Resizes the frames that were sampled with `resize(picture, width, height)`, rescales and normalises: `[frames, 3, height,
    /// width]`, row-major.
    ///
    /// # Errors
    /// If `resize` gives another size than it was asked for.
    pub fn process(
        &self,
        frames: &[Picture],
        resize: impl Fn(&Picture, usize, usize) -> Picture,
    ) -> Result<Vec<f32>, ProcessingError> {
        let [width, height] = self.size;
        let table = self.levels.fused_table();
        let mut planes = Vec::with_capacity(frames.len() * 3 * width * height);
        for frame in frames {
            let between = match self.rules {
                SquareRules::InternVl { .. } => frame.clone(),
                SquareRules::SmolVlm { longest_edge } => {
                    let [wide, tall] = enlarged(frame.size().into(), longest_edge);
                    resized(frame, wide, tall, &resize)?
                }
            };
            let square = resized(&between, width, height, &resize)?;
            append_planes(&mut planes, &square, [0, 0], [width, height], &table);
        }
        Ok(planes)
    }
}

/// InternVL's frames: every `total / count` frames from `shift` on, half of that if there is none.
fn stretches(
    total: usize,
    count: usize,
    shift: Option<f64>,
) -> Result<Vec<usize>, ProcessingError> {
    if count == 0 || count > total {
        return Err(ProcessingError::FewFrames {
            frames: total,
            least: count.max(1),
        });
    }
    // As torch.arange in f32, whose length is that of the exact quotient.
    let step = total as f64 / count as f64;
    let start = shift.unwrap_or(step / 2.0);
    let length = ((total as f64 - start) / step).ceil().max(0.0) as usize;
    Ok((0..length)
        .map(|n| ((start + n as f64 * step) as f32) as usize)
        .map(|index| index.min(total - 1))
        .collect())
}

/// SmolVLM's frames: `fps` a second, at most `most`, between the ends.
fn inner(total: usize, video_fps: f64, most: usize, fps: f64) -> Vec<usize> {
    const SKIPPED: f64 = 1.0;
    let duration = total as f64 / video_fps;
    let count = ((fps * duration).round_ties_even() as usize)
        .min(most)
        .max(1);
    let last = total - 1;
    let (mut start, mut end) = (0, last);
    if duration - 2.0 * SKIPPED > most as f64 * fps {
        start = (SKIPPED * video_fps) as usize;
        end = ((total as f64 - SKIPPED * video_fps) as usize).min(last);
    }
    if start >= end {
        (start, end) = (0, last);
    }
    let step = (end - start) as f64 / (count.max(2) - 1) as f64;
    let mut indices: Vec<usize> = (0..count)
        .map(|n| (n as f64 * step + start as f64) as usize)
        .collect();
    if let (Some(index), true) = (indices.last_mut(), count > 1) {
        *index = end;
    }
    indices.dedup();
    indices
}

/// Width and height with the longer side at `longest`, the shorter one cut to whole pixels and made even.
fn enlarged([width, height]: [usize; 2], longest: usize) -> [usize; 2] {
    let shape = width as f64 / height as f64;
    let even = |side: usize| (side + side % 2).max(1);
    if width >= height {
        [longest, even((longest as f64 / shape) as usize)]
    } else {
        [even((longest as f64 * shape) as usize), longest]
    }
}

/// What stands in an InternVL prompt for a video: a line for each frame.
pub fn frame_text(frames: usize, length: usize) -> String {
    let pads = "<IMG_CONTEXT>".repeat(length);
    let line = |n: usize| format!("Frame{n}: <img>{pads}</img>");
    (1..=frames).map(line).collect::<Vec<_>>().join("\n")
}

/// What stands in a SmolVLM prompt for a video of so many seconds, whose frames are shown at `timestamps`.
pub fn film_text(timestamps: &[f64], duration: f64, length: usize) -> String {
    let seconds = duration as u64;
    let days = match seconds / 86_400 {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        days => format!("{days} days, "),
    };
    let [hours, minutes, rest] = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
    let mut text = format!(
        "You are provided the following series of {} frames from a {days}{hours}:{minutes:02}:{rest:02} [H:MM:SS] video.\n",
        number_words(timestamps.len())
    );
    let pads = "<image>".repeat(length);
    for time in timestamps {
        let (minutes, seconds) = ((time / 60.0) as u64, (time % 60.0) as u64);
        text += &format!(
            "\nFrame from {minutes:02}:{seconds:02}:<fake_token_around_image><global-img>{pads}<fake_token_around_image>"
        );
    }
    text + "\n\n"
}

/// A number below a million in English, as the Python package num2words writes it; larger ones in digits.
fn number_words(number: usize) -> String {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 10] = [
        "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    ];
    match (number, number % 10, number % 100, number % 1000) {
        (0..20, ..) => SMALL[number].to_owned(),
        (20..100, 0, ..) => TENS[number / 10].to_owned(),
        (20..100, ones, ..) => format!("{}-{}", TENS[number / 10], SMALL[ones]),
        (100..1000, _, 0, _) => format!("{} hundred", SMALL[number / 100]),
        (100..1000, _, rest, _) => {
            format!("{} hundred and {}", SMALL[number / 100], number_words(rest))
        }
        (1000..1_000_000, .., rest) => {
            let thousands = format!("{} thousand", number_words(number / 1000));
            match rest {
                0 => thousands,
                1..100 => format!("{thousands} and {}", number_words(rest)),
                _ => format!("{thousands}, {}", number_words(rest)),
            }
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str, rules: SquareRules) -> SquareVideoConfig {
        SquareVideoConfig::from_json(json.as_bytes(), "a.json", rules).unwrap()
    }

    #[test]
    fn frames_by_hand() {
        let rules = SquareRules::InternVl { shift: None };
        let middle = config(r#"{"num_frames": 4}"#, rules);
        // Stretches of 2.5 frames, each looked at in its middle.
        assert_eq!(middle.sample(10, None).unwrap(), [1, 3, 6, 8]);
        assert!(middle.sample(3, None).is_err());
        let start = config(r#"{"fps": 1, "initial_shift": false}"#, rules);
        assert_eq!(start.sample(6, Some(2.0)).unwrap(), [0, 2, 4]);
        assert!(start.sample(6, None).is_err());
        let rules = SquareRules::SmolVlm { longest_edge: 1456 };
        let text = r#"{"video_sampling": {"fps": 1, "max_frames": 4, "video_size": {"longest_edge": 48}}}"#;
        let smol = config(text, rules);
        assert_eq!(smol.rules, SquareRules::SmolVlm { longest_edge: 48 });
        assert_eq!(smol.sample(6, Some(2.0)).unwrap(), [0, 2, 5]);
        // 10 seconds are more than 4 + 2, so that the first and the last second are left out.
        assert_eq!(smol.sample(20, Some(2.0)).unwrap(), [2, 7, 12, 18]);
        assert_eq!(config("{}", rules).sample(2, None).unwrap(), [0, 1]);
    }

    #[test]
    fn texts_by_hand() {
        assert_eq!(
            frame_text(2, 1),
            "Frame1: <img><IMG_CONTEXT></img>\nFrame2: <img><IMG_CONTEXT></img>"
        );
        assert_eq!(
            film_text(&[0.0, 61.5], 3723.9, 1),
            "You are provided the following series of two frames from a 1:02:03 [H:MM:SS] video.\n\
             \nFrame from 00:00:<fake_token_around_image><global-img><image><fake_token_around_image>\
             \nFrame from 01:01:<fake_token_around_image><global-img><image><fake_token_around_image>\n\n"
        );
        for (number, words) in [
            (13, "thirteen"),
            (20, "twenty"),
            (64, "sixty-four"),
            (100, "one hundred"),
            (115, "one hundred and fifteen"),
            (342, "three hundred and forty-two"),
            (1000, "one thousand"),
            (1001, "one thousand and one"),
            (2345, "two thousand, three hundred and forty-five"),
        ] {
            assert_eq!(number_words(number), words);
        }
    }

    #[test]
    fn bad_configurations_name_file_and_key() {
        let rules = SquareRules::InternVl { shift: None };
        for (text, part) in [
            (r#"{"resample": 1}"#, "a.json: resample = 1"),
            (r#"{"do_resize": false}"#, "a.json: do_resize = false"),
            (r#"{"size": {"height": 0, "width": 4}}"#, "a.json: size"),
            (r#"{"num_frames": 0}"#, "a.json: num_frames = 0"),
        ] {
            let read = SquareVideoConfig::from_json(text.as_bytes(), "a.json", rules);
            let message = read.unwrap_err().to_string();
            assert!(message.starts_with(part), "{message}");
        }
    }
}
