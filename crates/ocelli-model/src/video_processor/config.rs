//! How a checkpoint wants its videos prepared: reading of `video_preprocessor_config.json`.

use std::borrow::Cow;

use serde::Deserialize;

use crate::image_processor::config::{check_value, parse_nested};
use crate::image_processor::levels::{Levels, LevelsFile};
use crate::processing_error::ProcessingError;

/// Whose rules choose frames and their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoFamily {
    /// `Qwen2VLVideoProcessor`: limits on the pixels of one frame.
    Qwen2Vl,
    /// `Qwen3VLVideoProcessor`: limits on the pixels of all frames together.
    Qwen3Vl,
}

/// How videos are prepared.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoProcessorConfig {
    pub family: VideoFamily,
    /// Frames to look at for each second of the video, unless `num_frames` is set.
    pub fps: Option<f64>,
    /// Frames to look at, however long the video is.
    pub num_frames: Option<usize>,
    /// Fewest frames that `fps` may lead to.
    pub min_frames: usize,
    /// Most frames that `fps` may lead to.
    pub max_frames: usize,
    /// Whether frames are brought to an allowed size; without it they must have one already.
    pub do_resize: bool,
    /// Fewest pixels, of a frame or of the video.
    pub min_pixels: usize,
    /// Most pixels, of a frame or of the video.
    pub max_pixels: usize,
    /// Whether `max_video_tokens` bounds the pixels too.
    pub cap_pixels_per_frame: bool,
    /// Tokens of a whole video (Qwen2-VL) or of a frame (Qwen3-VL) that the cap allows.
    pub max_video_tokens: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Frames of a patch.
    pub temporal_patch_size: usize,
    /// Side in patches of the square that becomes one token.
    pub merge_size: usize,
    /// What becomes of the bytes.
    pub levels: Levels,
}

impl VideoProcessorConfig {
    /// The defaults of a family's class.
    pub fn new(family: VideoFamily) -> Self {
        let qwen2 = family == VideoFamily::Qwen2Vl;
        let (patch_size, factor) = if qwen2 { (14, 28) } else { (16, 32) };
        Self {
            family,
            fps: if qwen2 { None } else { Some(2.0) },
            num_frames: None,
            min_frames: 4,
            max_frames: 768,
            do_resize: true,
            min_pixels: 128 * factor * factor,
            max_pixels: 768 * factor * factor,
            cap_pixels_per_frame: false,
            max_video_tokens: if qwen2 { 128_000 } else { 768 },
            patch_size,
            temporal_patch_size: 2,
            merge_size: 2,
            levels: if qwen2 { Levels::CLIP } else { Levels::HALVES },
        }
    }
}

#[derive(Deserialize)]
struct VideoFile {
    video_processor_type: Option<String>,
    resample: Option<i64>,
    fps: Option<f64>,
    num_frames: Option<usize>,
    min_frames: Option<usize>,
    max_frames: Option<usize>,
    do_resize: Option<bool>,
    size: Option<SizeFile>,
    min_pixels: Option<usize>,
    max_pixels: Option<usize>,
    cap_pixels_per_frame: Option<bool>,
    max_video_tokens: Option<usize>,
    patch_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    merge_size: Option<usize>,
    #[serde(flatten)]
    levels: LevelsFile,
}

#[derive(Default, Deserialize)]
struct SizeFile {
    shortest_edge: Option<usize>,
    longest_edge: Option<usize>,
}

impl VideoProcessorConfig {
    /// Finds the settings of a checkpoint where transformers does: under `video_processor` in `processor_config.json`, in
    /// `video_preprocessor_config.json`, or those of pictures in `preprocessor_config.json`. `family` is the class of a file that
    /// names none. `None` if there is no such file.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub fn from_files<'a>(
        read: impl FnMut(&str) -> Result<Option<Cow<'a, [u8]>>, ProcessingError>,
        family: VideoFamily,
    ) -> Result<Option<Self>, ProcessingError> {
        settings(read)?
            .map(|(bytes, file)| Self::of_family(&bytes, file, family))
            .transpose()
    }

    /// Reads `video_preprocessor_config.json`, or an object that has its keys under `video_processor`. A file without
    /// `video_processor_type` is one of Qwen2-VL.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong type or is impossible, or it belongs to another kind of processor.
    pub fn from_json(bytes: &[u8], file: &str) -> Result<Self, ProcessingError> {
        Self::of_family(bytes, file, VideoFamily::Qwen2Vl)
    }

    fn of_family(bytes: &[u8], file: &str, family: VideoFamily) -> Result<Self, ProcessingError> {
        let read: VideoFile = parse_nested(bytes, "video_processor", file)?;
        let kind = read.video_processor_type.as_deref();
        let family = match kind {
            None => family,
            Some("Qwen2VLVideoProcessor") => VideoFamily::Qwen2Vl,
            Some(_) => VideoFamily::Qwen3Vl,
        };
        let default = Self::new(family);
        let size = read.size.unwrap_or_default();
        let levels = read.levels.read(&default.levels, file)?;
        let config = Self {
            family,
            fps: read.fps.or(default.fps),
            num_frames: read.num_frames,
            min_frames: read.min_frames.unwrap_or(default.min_frames),
            max_frames: read.max_frames.unwrap_or(default.max_frames),
            do_resize: read.do_resize.unwrap_or(default.do_resize),
            min_pixels: read
                .min_pixels
                .or(size.shortest_edge)
                .unwrap_or(default.min_pixels),
            max_pixels: read
                .max_pixels
                .or(size.longest_edge)
                .unwrap_or(default.max_pixels),
            cap_pixels_per_frame: read.cap_pixels_per_frame.unwrap_or(false),
            max_video_tokens: read.max_video_tokens.unwrap_or(default.max_video_tokens),
            patch_size: read.patch_size.unwrap_or(default.patch_size),
            temporal_patch_size: read
                .temporal_patch_size
                .unwrap_or(default.temporal_patch_size),
            merge_size: read.merge_size.unwrap_or(default.merge_size),
            levels,
        };
        let kind = kind.unwrap_or("Qwen2VLVideoProcessor");
        let known = ["Qwen2VLVideoProcessor", "Qwen3VLVideoProcessor"];
        check_value(
            file,
            "video_processor_type",
            kind,
            known.contains(&kind),
            "only Qwen2VLVideoProcessor and Qwen3VLVideoProcessor are supported",
        )?;
        config.check(file, read.resample)?;
        Ok(config)
    }

    /// Refuses values that cannot be meant.
    fn check(&self, file: &str, resample: Option<i64>) -> Result<(), ProcessingError> {
        check_value(
            file,
            "resample",
            resample.unwrap_or_default(),
            resample.is_none_or(|kernel| kernel == 3),
            "only 3 (bicubic) is supported",
        )?;
        for (key, side) in [
            ("patch_size", self.patch_size),
            ("temporal_patch_size", self.temporal_patch_size),
            ("merge_size", self.merge_size),
        ] {
            let mend = "it lies between 1 and 1024";
            check_value(file, key, side, (1..=1024).contains(&side), mend)?;
        }
        for (key, value) in [
            ("max_pixels", self.max_pixels),
            ("min_pixels", self.min_pixels),
            ("max_video_tokens", self.max_video_tokens),
        ] {
            let mend = "it lies between 1 and 4294967296";
            check_value(file, key, value, (1..=1 << 32).contains(&value), mend)?;
        }
        for (key, value) in [
            ("max_frames", self.max_frames),
            ("num_frames", self.num_frames.unwrap_or(1)),
        ] {
            let mend = "it lies between 1 and 1048576";
            check_value(file, key, value, (1..=1 << 20).contains(&value), mend)?;
        }
        let fps = self.fps.unwrap_or(1.0);
        let mend = "it is a positive number";
        check_value(file, "fps", fps, fps > 0.0 && fps.is_finite(), mend)
    }
}

/// The contents of a file and its name.
type Settings<'a> = (Cow<'a, [u8]>, &'static str);

/// The file that says how videos are prepared: `processor_config.json` if it has a `video_processor`, else
/// `video_preprocessor_config.json`, else `preprocessor_config.json`.
pub(super) fn settings<'a>(
    mut read: impl FnMut(&str) -> Result<Option<Cow<'a, [u8]>>, ProcessingError>,
) -> Result<Option<Settings<'a>>, ProcessingError> {
    const NESTED: &str = "processor_config.json";
    if let Some(bytes) = read(NESTED)? {
        let whole: serde_json::Value = parse_nested(&bytes, "", NESTED)?;
        if whole.get("video_processor").is_some() {
            return Ok(Some((bytes, NESTED)));
        }
    }
    for file in ["video_preprocessor_config.json", "preprocessor_config.json"] {
        if let Some(bytes) = read(file)? {
            return Ok(Some((bytes, file)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bad_configurations_name_file_and_key() {
        for (bytes, part) in [
            (&br#"{"resample": 2}"#[..], "a.json: resample = 2"),
            (br#"{"fps": 0}"#, "a.json: fps = 0"),
            (br#"{"patch_size": 0}"#, "a.json: patch_size = 0"),
            (
                br#"{"video_processor_type": "X"}"#,
                "a.json: video_processor_type = X",
            ),
        ] {
            let message = VideoProcessorConfig::from_json(bytes, "a.json")
                .unwrap_err()
                .to_string();
            assert!(message.starts_with(part), "{message}");
        }
    }

    #[test]
    fn nested_keys_are_read() {
        let bytes =
            br#"{"video_processor": {"video_processor_type": "Qwen3VLVideoProcessor", "fps": 1}}"#;
        let config = VideoProcessorConfig::from_json(bytes, "a.json").unwrap();
        assert_eq!(config.fps, Some(1.0));
        assert_eq!(config.factor(), 32);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_configuration_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = VideoProcessorConfig::from_json(&bytes, "a.json");
        }
    }
}
