//! How a checkpoint wants its pictures prepared: reading of `preprocessor_config.json` and `processor_config.json`.

use std::borrow::Cow;
use std::fmt::Display;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::levels::{Levels, LevelsFile};
use crate::processing_error::ProcessingError;

/// How pictures are prepared: `preprocessor_config.json`, with the defaults of `Qwen2VLImageProcessor`.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessorConfig {
    /// Whether pictures are brought to an allowed size; without it they must have one already.
    pub do_resize: bool,
    /// What becomes of the bytes.
    pub levels: Levels,
    /// Fewest pixels of a resized picture.
    pub min_pixels: usize,
    /// Most pixels of a resized picture.
    pub max_pixels: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Frames of a patch; a picture is repeated that often.
    pub temporal_patch_size: usize,
    /// Side in patches of the square that becomes one token.
    pub merge_size: usize,
}

impl Default for ImageProcessorConfig {
    fn default() -> Self {
        Self {
            do_resize: true,
            levels: Levels::CLIP,
            min_pixels: 56 * 56,
            max_pixels: 28 * 28 * 1280,
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: 2,
        }
    }
}

/// The keys as Hugging Face writes them. Unknown ones are left alone, for these files grow.
#[derive(Deserialize)]
struct ConfigFile {
    image_processor_type: Option<String>,
    do_resize: Option<bool>,
    #[serde(flatten)]
    levels: LevelsFile,
    resample: Option<i64>,
    size: Option<SizeFile>,
    min_pixels: Option<usize>,
    max_pixels: Option<usize>,
    patch_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    merge_size: Option<usize>,
}

/// `size` in its newer form, with the meaning of pixels and not of edges, and in its older one.
#[derive(Default, Deserialize)]
struct SizeFile {
    shortest_edge: Option<usize>,
    longest_edge: Option<usize>,
    min_pixels: Option<usize>,
    max_pixels: Option<usize>,
}

/// Class names whose arithmetic is the one of this file.
const KNOWN_TYPES: [&str; 5] = [
    "Qwen2VLImageProcessor",
    "Qwen2VLImageProcessorFast",
    "Qwen2VLImageProcessorPil",
    "Qwen2_5_VLImageProcessor",
    "Qwen2_5_VLImageProcessorFast",
];

impl ImageProcessorConfig {
    /// Reads the configuration of a checkpoint: the `image_processor` part of `processor_config.json` if there is one,
    /// else `preprocessor_config.json`. `read` gives the bytes of a file by name, or `None` if there is no such file.
    ///
    /// # Errors
    /// Those of `read` and of [`Self::from_json`], or if neither file is there.
    pub fn from_files<'a>(
        mut read: impl FnMut(&str) -> Result<Option<Cow<'a, [u8]>>, ProcessingError>,
    ) -> Result<Self, ProcessingError> {
        if let Some(bytes) = read("processor_config.json")? {
            let file = parse(&bytes, "processor_config.json")?;
            if file.get("image_processor").is_some() {
                return Self::from_value(file, "processor_config.json");
            }
        }
        match read("preprocessor_config.json")? {
            Some(bytes) => Self::from_json(&bytes, "preprocessor_config.json"),
            None => Err(ProcessingError::Missing {
                wanted: "preprocessor_config.json",
            }),
        }
    }

    /// Reads one file: either the keys themselves or an object that has them under `image_processor`.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong type or is impossible, or it belongs to another kind of processor.
    /// `file` names it.
    pub fn from_json(bytes: &[u8], file: &str) -> Result<Self, ProcessingError> {
        Self::from_value(parse(bytes, file)?, file)
    }

    fn from_value(mut value: Value, file: &str) -> Result<Self, ProcessingError> {
        if let Some(nested) = value.get_mut("image_processor") {
            value = nested.take();
        }
        let read: ConfigFile =
            serde_json::from_value(value).map_err(|source| ProcessingError::Json {
                file: file.to_owned(),
                source,
            })?;
        let default = Self::default();
        let size = read.size.unwrap_or_default();
        let config = Self {
            do_resize: read.do_resize.unwrap_or(default.do_resize),
            levels: read.levels.read(&default.levels, file)?,
            // The flat keys win over `size`, as in transformers.
            min_pixels: read
                .min_pixels
                .or(size.shortest_edge)
                .or(size.min_pixels)
                .unwrap_or(default.min_pixels),
            max_pixels: read
                .max_pixels
                .or(size.longest_edge)
                .or(size.max_pixels)
                .unwrap_or(default.max_pixels),
            patch_size: read.patch_size.unwrap_or(default.patch_size),
            temporal_patch_size: read
                .temporal_patch_size
                .unwrap_or(default.temporal_patch_size),
            merge_size: read.merge_size.unwrap_or(default.merge_size),
        };
        let kind = read.image_processor_type.unwrap_or_default();
        check_value(
            file,
            "image_processor_type",
            &kind,
            kind.is_empty() || KNOWN_TYPES.contains(&kind.as_str()),
            "this network needs a Qwen2VLImageProcessor",
        )?;
        check_value(
            file,
            "resample",
            read.resample.unwrap_or_default(),
            read.resample.is_none_or(|kernel| kernel == 3),
            "only 3 (bicubic) is supported",
        )?;
        for (key, side) in [
            ("patch_size", config.patch_size),
            ("temporal_patch_size", config.temporal_patch_size),
            ("merge_size", config.merge_size),
        ] {
            let good = (1..=1024).contains(&side);
            check_value(file, key, side, good, "it lies between 1 and 1024")?;
        }
        Ok(config)
    }
}

/// Reads a file that has the keys of `T` either at its top or under `part`.
pub(crate) fn parse_nested<T: DeserializeOwned>(
    bytes: &[u8],
    part: &str,
    file: &str,
) -> Result<T, ProcessingError> {
    let mut value = parse(bytes, file)?;
    if let Some(nested) = value.get_mut(part) {
        value = nested.take();
    }
    serde_json::from_value(value).map_err(|source| ProcessingError::Json {
        file: file.to_owned(),
        source,
    })
}

/// Refuses the value of a key unless it is good.
pub(crate) fn check_value(
    file: &str,
    key: &'static str,
    value: impl Display,
    good: bool,
    mend: &'static str,
) -> Result<(), ProcessingError> {
    if good {
        return Ok(());
    }
    Err(ProcessingError::ConfigValue {
        file: file.to_owned(),
        key,
        value: value.to_string(),
        mend,
    })
}

fn parse(bytes: &[u8], file: &str) -> Result<Value, ProcessingError> {
    serde_json::from_slice(bytes).map_err(|source| ProcessingError::Json {
        file: file.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_the_limits_is_read() {
        let flat = br#"{"min_pixels": 784, "max_pixels": 7840, "image_processor_type": "Qwen2VLImageProcessor"}"#;
        let sized = br#"{"size": {"shortest_edge": 784, "longest_edge": 7840}, "resample": 3, "new_key": 1}"#;
        let old = br#"{"size": {"min_pixels": 784, "max_pixels": 7840}}"#;
        let every = br#"{"size": {"shortest_edge": 784, "longest_edge": 7840, "min_pixels": null, "max_pixels": 5}}"#;
        let nested = br#"{"processor_class": "X", "image_processor": {"min_pixels": 784, "max_pixels": 7840}}"#;
        for bytes in [&flat[..], sized, old, every, nested] {
            let config = ImageProcessorConfig::from_json(bytes, "a.json").unwrap();
            assert_eq!(
                (config.min_pixels, config.max_pixels, config.factor()),
                (784, 7840, 28)
            );
        }
        let both = br#"{"min_pixels": 784, "size": {"shortest_edge": 1, "longest_edge": 7840}}"#;
        assert_eq!(
            ImageProcessorConfig::from_json(both, "a.json")
                .unwrap()
                .min_pixels,
            784
        );
        assert_eq!(
            ImageProcessorConfig::from_json(b"{}", "a.json").unwrap(),
            ImageProcessorConfig::default()
        );
    }

    #[test]
    fn bad_configurations_name_file_and_key() {
        for (bytes, part) in [
            (
                &br#"{"image_processor_type": "ViTImageProcessor"}"#[..],
                "a.json: image_processor_type = ViTImageProcessor",
            ),
            (br#"{"resample": 2}"#, "a.json: resample = 2"),
            (br#"{"patch_size": 0}"#, "a.json: patch_size = 0"),
            (
                br#"{"image_std": [1, 0, 1]}"#,
                "a.json: image_std = [1.0, 0.0, 1.0]",
            ),
            (br#"{"image_mean": 0.5}"#, "a.json: invalid type"),
            (b"[", "a.json: EOF"),
        ] {
            let message = ImageProcessorConfig::from_json(bytes, "a.json")
                .unwrap_err()
                .to_string();
            assert!(message.starts_with(part), "{message}");
        }
    }

    #[test]
    fn nested_file_wins_over_the_flat_one() {
        let read = |nested: bool, flat: bool| {
            ImageProcessorConfig::from_files(move |name| {
                Ok(match name {
                    "processor_config.json" if nested => Some(Cow::Borrowed(
                        &br#"{"image_processor": {"min_pixels": 1}}"#[..],
                    )),
                    "processor_config.json" => {
                        Some(Cow::Borrowed(&br#"{"processor_class": "X"}"#[..]))
                    }
                    _ => flat.then_some(Cow::Borrowed(&br#"{"min_pixels": 2}"#[..])),
                })
            })
        };
        assert_eq!(read(true, true).unwrap().min_pixels, 1);
        assert_eq!(read(false, true).unwrap().min_pixels, 2);
        assert!(matches!(
            read(false, false),
            Err(ProcessingError::Missing { .. })
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_configuration_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = ImageProcessorConfig::from_json(&bytes, "a.json");
        }
    }
}
