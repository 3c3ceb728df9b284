//! From the files of videos and sounds to what the network is given, and how long they are without reading them whole.

use std::path::Path;
use std::sync::Arc;

use ocelli_core::VideoSource;
use ocelli_data::{
    DataError, measure_clip, measure_wav, open_clip, read_wav, resample, resampled_length,
};
use ocelli_model::percept::{Extent, Percept};

use crate::collector::CollectError;
use crate::policy::Policy;

/// Rows of a video; `row` names the task in errors.
///
/// # Errors
/// If it cannot be read, or the processor refuses it.
pub fn video(
    policy: &Policy,
    row: &str,
    source: &VideoSource,
) -> Result<Arc<Percept>, CollectError> {
    let clip = open_clip(source).map_err(unreadable(row))?;
    let percept = policy.processor.video(&clip);
    percept.map_err(CollectError::file(row, &source.path))
}

/// Rows of a sound, resampled where its rate is not the network's; `row` names the task in errors.
///
/// # Errors
/// If it cannot be read, or the processor refuses it.
pub fn sound(policy: &Policy, row: &str, path: &Path) -> Result<Arc<Percept>, CollectError> {
    let refused = || CollectError::file(row, path);
    let rate = policy.processor.sampling_rate().map_err(refused())?;
    let sound = read_wav(path).map_err(unreadable(row))?;
    let percept = policy.processor.sound(&resample(&sound, rate));
    percept.map_err(refused())
}

/// How a video will be cut; `None` where only decoding could tell.
///
/// # Errors
/// As [`video`].
pub fn video_extent(
    policy: &Policy,
    row: &str,
    source: &VideoSource,
) -> Result<Option<Extent>, CollectError> {
    let Some(size) = measure_clip(source).map_err(unreadable(row))? else {
        return Ok(None);
    };
    let extent = policy
        .processor
        .video_extent(size.frames, size.fps, size.size);
    extent
        .map(Some)
        .map_err(CollectError::file(row, &source.path))
}

/// How a sound will be cut, by its header.
///
/// # Errors
/// As [`sound`].
pub fn sound_extent(policy: &Policy, row: &str, path: &Path) -> Result<Extent, CollectError> {
    let refused = || CollectError::file(row, path);
    let to = policy.processor.sampling_rate().map_err(refused())?;
    let (from, samples) = measure_wav(path).map_err(unreadable(row))?;
    let extent = policy
        .processor
        .sound_extent(resampled_length(samples, from, to));
    extent.map_err(refused())
}

fn unreadable(row: &str) -> impl FnOnce(DataError) -> CollectError {
    let row = row.to_owned();
    move |source| CollectError::Media { row, source }
}
