//! Which frames of a video are looked at, and when they were.

use super::config::{VideoFamily, VideoProcessorConfig};
use crate::processing_error::ProcessingError;

/// Frames a second that transformers assumes when nobody knows.
pub(crate) const UNKNOWN_FPS: f64 = 24.0;

impl VideoProcessorConfig {
    /// Indices of the frames to look at, of a video of `total` frames and `video_fps` frames a second: `num_frames` of
    /// them if that is set, else `fps` a second, between `min_frames` and `max_frames`, at even distances. Qwen2-VL takes a
    /// multiple of the temporal patch and begins every stretch with its frame; Qwen3-VL takes the first and the last frame
    /// and rounds between them.
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
        match self.family {
            VideoFamily::Qwen2Vl => self.sample_stretches(total, video_fps),
            VideoFamily::Qwen3Vl => Ok(self.sample_ends(total, video_fps)),
        }
    }

    fn sample_stretches(
        &self,
        total: usize,
        video_fps: Option<f64>,
    ) -> Result<Vec<usize>, ProcessingError> {
        let time = self.temporal_patch_size as f64;
        let count = if let Some(count) = self.num_frames {
            (count as f64 / time).round_ties_even() * time
        } else if let Some(fps) = self.fps {
            let video_fps = video_fps.ok_or(ProcessingError::UnknownFps)?;
            let most = (self.max_frames.min(total) as f64 / time).floor() * time;
            let count = total as f64 / video_fps * fps;
            let count = count.max(self.min_frames as f64).min(most);
            (count / time).floor() * time
        } else {
            return Ok((0..total).collect());
        };
        if !(count >= 1.0 && count <= total as f64) {
            return Err(ProcessingError::FewFrames {
                frames: total,
                least: (count as usize).max(self.temporal_patch_size),
            });
        }
        // As torch.arange in f32, whose length is that of the exact quotient.
        let step = total as f64 / count;
        let length = (total as f64 / step).ceil() as usize;
        Ok((0..length)
            .map(|n| ((n as f64 * step) as f32) as usize)
            .collect())
    }

    fn sample_ends(&self, total: usize, video_fps: Option<f64>) -> Vec<usize> {
        let (least, most) = (self.min_frames, self.max_frames);
        let count = match (self.num_frames, self.fps) {
            (Some(count), _) => count,
            (None, Some(fps)) => {
                let count = (total as f64 / video_fps.unwrap_or(UNKNOWN_FPS) * fps) as usize;
                count.max(least).min(most).min(total)
            }
            (None, None) => total.max(least).min(most),
        };
        let last = (total - 1) as f64;
        let step = last / (count.max(2) - 1) as f64;
        let mut indices: Vec<usize> = (0..count)
            .map(|n| (n as f64 * step).round_ties_even() as usize)
            .collect();
        if let (Some(end), true) = (indices.last_mut(), count > 1) {
            *end = total - 1;
        }
        indices
    }

    /// Seconds that a temporal patch stands for, `second_per_grid_ts` of Qwen2.5-VL, when `sampled` of `total` frames are
    /// looked at.
    pub fn second_per_grid(&self, sampled: usize, total: usize, video_fps: Option<f64>) -> f64 {
        let fps = match video_fps {
            Some(fps) => sampled as f64 / total as f64 * fps,
            None => UNKNOWN_FPS,
        };
        self.temporal_patch_size as f64 / fps
    }

    /// Seconds from the start for each temporal patch: the mean of its first and last frame's, the last frame repeated
    /// until the patch is full.
    pub fn timestamps(&self, indices: &[usize], video_fps: Option<f64>) -> Vec<f64> {
        let fps = video_fps.unwrap_or(UNKNOWN_FPS);
        let seconds = |index: usize| index as f64 / fps;
        indices
            .chunks(self.temporal_patch_size)
            .filter_map(|patch| Some((seconds(*patch.first()?) + seconds(*patch.last()?)) / 2.0))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_by_hand() {
        let stretches = VideoProcessorConfig {
            fps: Some(2.0),
            ..VideoProcessorConfig::new(VideoFamily::Qwen2Vl)
        };
        // 30 frames at 10 a second are 3 seconds, hence 6 frames, 5 apart.
        assert_eq!(
            stretches.sample(30, Some(10.0)).unwrap(),
            [0, 5, 10, 15, 20, 25]
        );
        // Never fewer than four, never an odd number.
        assert_eq!(stretches.sample(5, Some(30.0)).unwrap(), [0, 1, 2, 3]);
        let ends = VideoProcessorConfig::new(VideoFamily::Qwen3Vl);
        assert_eq!(ends.sample(30, Some(10.0)).unwrap(), [0, 6, 12, 17, 23, 29]);
        assert_eq!(ends.sample(3, Some(10.0)).unwrap(), [0, 1, 2]);
        assert_eq!(ends.timestamps(&[0, 1, 2], Some(10.0)), [0.05, 0.2]);
        assert_eq!(stretches.second_per_grid(6, 30, Some(10.0)), 1.0);
    }

    #[test]
    fn too_short_videos_are_refused() {
        let config = VideoProcessorConfig {
            fps: Some(2.0),
            ..VideoProcessorConfig::new(VideoFamily::Qwen2Vl)
        };
        let text = |total, fps| config.sample(total, fps).unwrap_err().to_string();
        assert!(text(0, Some(10.0)).starts_with("a video without frames"));
        assert!(
            text(1, Some(10.0)).starts_with("a video of 1 frames"),
            "{}",
            text(1, Some(1.0))
        );
        assert!(
            text(9, None).contains("frames a second"),
            "{}",
            text(9, None)
        );
    }
}
