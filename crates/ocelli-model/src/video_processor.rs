//! Videos to the rows of numbers that a Qwen-VL vision tower reads: which frames, at which size, in which order.
//!
//! Follows `Qwen2VLVideoProcessor` (Qwen2-VL and Qwen2.5-VL) and `Qwen3VLVideoProcessor` of transformers 5.23. There are
//! only torchvision versions of these, so frames are resized and normalised otherwise than pictures: pass
//! `resize_torchvision` of `ocelli-data` as `resize`, and the numbers are theirs to the last bit.

mod config;
mod sampling;
pub mod squares;

use ocelli_core::Picture;

pub use self::config::{VideoFamily, VideoProcessorConfig};
pub(crate) use self::sampling::UNKNOWN_FPS;
use crate::image_processor::{resized, smart_resize, write_patches};
use crate::processing_error::ProcessingError;

/// Numbers of one video, ready for the vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoPatches {
    /// Patches along time, height and width.
    pub grid_thw: [usize; 3],
    /// `[t * h * w, 3 * temporal_patch * patch * patch]`, row-major, ordered as those of a picture, time outermost.
    pub pixels: Vec<f32>,
}

impl VideoProcessorConfig {
    /// Side in pixels of the square that becomes one token.
    pub fn factor(&self) -> usize {
        self.patch_size * self.merge_size
    }

    /// Patches (time, height, width) of a video of so many frames of this size, without touching a pixel.
    ///
    /// # Errors
    /// As [`Self::process`].
    pub fn grid(
        &self,
        frames: usize,
        width: usize,
        height: usize,
    ) -> Result<[usize; 3], ProcessingError> {
        let [width, height] = self.target_size(frames, width, height)?;
        let time = frames.div_ceil(self.temporal_patch_size);
        Ok([time, height / self.patch_size, width / self.patch_size])
    }

    /// Resizes the frames that were sampled with `resize(picture, width, height)`, rescales, normalises and cuts them into
    /// patches over space and time. The last frame is repeated until the temporal patch is full.
    ///
    /// # Errors
    /// If there is no frame, frames differ in size or are too long and thin, or the pixel limits leave them no size.
    pub fn process(
        &self,
        frames: &[Picture],
        resize: impl Fn(&Picture, usize, usize) -> Picture,
    ) -> Result<VideoPatches, ProcessingError> {
        let first = frames.first().ok_or(ProcessingError::NoFrames)?;
        if let Some(frame) = frames.iter().position(|f| f.size() != first.size()) {
            let ((width, height), (found_width, found_height)) =
                (first.size(), frames[frame].size());
            return Err(ProcessingError::FrameSize {
                frame,
                width,
                height,
                found_width,
                found_height,
            });
        }
        let grid_thw = self.grid(frames.len(), first.width(), first.height())?;
        let [_, rows, columns] = grid_thw;
        let (width, height) = (columns * self.patch_size, rows * self.patch_size);
        let table = self.levels.fused_table();
        let (patch, merge, time) = (self.patch_size, self.merge_size, self.temporal_patch_size);
        let size = rows * columns * 3 * time * patch * patch;
        let mut pixels = vec![0.0; grid_thw[0] * size];
        for (group, out) in frames.chunks(time).zip(pixels.chunks_exact_mut(size)) {
            let group = group
                .iter()
                .map(|frame| resized(frame, width, height, &resize))
                .collect::<Result<Vec<Picture>, _>>()?;
            write_patches(out, &group, time, patch, merge, &table);
        }
        Ok(VideoPatches { grid_thw, pixels })
    }

    /// Width and height that frames of this width and height are brought to.
    fn target_size(
        &self,
        frames: usize,
        width: usize,
        height: usize,
    ) -> Result<[usize; 2], ProcessingError> {
        let factor = self.factor();
        if frames == 0 {
            return Err(ProcessingError::NoFrames);
        }
        if !self.do_resize {
            let allowed = |side: usize| side.div_ceil(factor) * factor;
            if [allowed(width), allowed(height)] == [width, height] {
                return Ok([width, height]);
            }
            return Err(ProcessingError::PictureSize {
                width: allowed(width),
                height: allowed(height),
                found_width: width,
                found_height: height,
            });
        }
        let (height, width) = match self.family {
            VideoFamily::Qwen2Vl => {
                let most = self.most_pixels_a_frame(frames);
                smart_resize(height, width, factor, self.min_pixels, most)?
            }
            VideoFamily::Qwen3Vl => self.volume_resize(frames, height, width)?,
        };
        Ok([width, height])
    }

    /// Qwen2-VL's limit on the pixels of a frame. With `cap_pixels_per_frame`, nine tenths of `max_video_tokens` tokens'
    /// pixels are shared out among the temporal patches, but no frame gets less than 1.05 times the fewest pixels.
    fn most_pixels_a_frame(&self, frames: usize) -> usize {
        if !self.cap_pixels_per_frame {
            return self.max_pixels;
        }
        let factor = self.factor();
        let total = ((self.max_video_tokens * factor * factor) as f64 * 0.9) as usize;
        let share = total * self.temporal_patch_size / frames;
        self.max_pixels.min(share).max(raised(self.min_pixels))
    }

    /// Qwen3-VL's size rule, whose limits hold for all frames of the video together. Height and width.
    fn volume_resize(
        &self,
        frames: usize,
        height: usize,
        width: usize,
    ) -> Result<(usize, usize), ProcessingError> {
        let (factor, time) = (self.factor(), self.temporal_patch_size);
        if frames < time {
            return Err(ProcessingError::FewFrames {
                frames,
                least: time,
            });
        }
        let max_pixels = if self.cap_pixels_per_frame {
            let cap = self.max_video_tokens * factor * factor;
            cap.min(self.max_pixels / frames)
                .max(raised(self.min_pixels))
                * frames
        } else {
            self.max_pixels
        };
        let shape_error = ProcessingError::PictureShape { width, height };
        if width == 0 || height == 0 {
            return Err(shape_error);
        }
        // Small frames are enlarged at first, the product cut to whole pixels.
        let (mut tall, mut wide) = (height as f64, width as f64);
        let unit = factor as f64;
        if height < factor || width < factor {
            let scale = (unit / tall).max(unit / wide);
            (tall, wide) = ((tall * scale).trunc(), (wide * scale).trunc());
        }
        if tall.max(wide) / tall.min(wide) > 200.0 {
            return Err(shape_error);
        }
        let pixels = frames as f64 * tall * wide;
        let rounded = [tall, wide].map(|side| (side / unit).round_ties_even() * unit);
        let whole = (frames as f64 / time as f64).round_ties_even() * time as f64;
        let volume = whole * rounded[0] * rounded[1];
        let sides = if volume > max_pixels as f64 {
            let shrink = (pixels / max_pixels as f64).sqrt();
            [tall, wide].map(|side| unit.max((side / shrink / unit).floor() * unit))
        } else if volume < self.min_pixels as f64 {
            let grow = (self.min_pixels as f64 / pixels).sqrt();
            [tall, wide].map(|side| (side * grow / unit).ceil() * unit)
        } else {
            rounded
        };
        let [tall, wide] = sides.map(|side| side as usize);
        if tall == 0 || wide == 0 {
            return Err(shape_error);
        }
        Ok((tall, wide))
    }
}

/// The least that a cap may leave a frame, for its fewest pixels.
fn raised(min_pixels: usize) -> usize {
    (min_pixels as f64 * 1.05) as usize
}

/// What stands in a Qwen3-VL prompt for a video, in place of its `<|video_pad|>`: for each temporal patch its time in
/// seconds and `tokens` placeholders.
pub fn timestamp_text(timestamps: &[f64], tokens: usize) -> String {
    let pads = "<|video_pad|>".repeat(tokens);
    let patch = |time: &f64| format!("<{time:.1} seconds><|vision_start|>{pads}<|vision_end|>");
    timestamps.iter().map(patch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_of_a_qwen2_vl_frame_by_hand() {
        let config = VideoProcessorConfig {
            cap_pixels_per_frame: true,
            ..VideoProcessorConfig::new(VideoFamily::Qwen2Vl)
        };
        // 128000 · 784 · 0.9 = 90316800 pixels for half as many patches as frames.
        assert_eq!(config.most_pixels_a_frame(400), 451_584);
        assert_eq!(config.most_pixels_a_frame(4), config.max_pixels);
        assert_eq!(config.most_pixels_a_frame(768), 235_200);
        assert_eq!(config.most_pixels_a_frame(7680), 105_369);
    }

    #[test]
    fn frames_that_do_not_fit_are_refused() {
        let config = VideoProcessorConfig::new(VideoFamily::Qwen3Vl);
        let picture = |width, height| Picture::new(width, height, vec![0; width * height * 3]);
        let error = |frames: &[Picture]| {
            let never = |_: &Picture, _, _| panic!("no resizing");
            config.process(frames, never).unwrap_err().to_string()
        };
        assert!(
            error(&[]).starts_with("a video without frames"),
            "{}",
            error(&[])
        );
        let text = error(&[picture(32, 32), picture(32, 30)]);
        assert!(
            text.starts_with("frame 1 of a video has 32x30 pixels"),
            "{text}"
        );
        let text = error(&[picture(32, 32)]);
        assert!(text.starts_with("a video of 1 frames"), "{text}");
        let text = error(&[picture(8000, 32), picture(8000, 32)]);
        assert!(text.starts_with("a picture of 8000x32 pixels"), "{text}");
    }

    #[test]
    fn the_text_of_a_video() {
        assert_eq!(
            timestamp_text(&[0.25, 1.5], 1),
            "<0.2 seconds><|vision_start|><|video_pad|><|vision_end|>\
             <1.5 seconds><|vision_start|><|video_pad|><|vision_end|>"
        );
    }
}
