//! Pictures and videos of the Qwen-VL families.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ocelli_core::{Clip, Picture};

use super::{Resizers, duration};
use crate::config::{Family, ModelConfig, TowerConfig};
use crate::expander::{Span, VIDEO_PAD, expand, rope_index};
use crate::image_processor::ImageProcessorConfig;
use crate::percept::{Extent, Percept, VideoExtent};
use crate::placeholder::replace_placeholders;
use crate::processing_error::ProcessingError;
use crate::tokenizer::{SpecialTokens, Tokenizer};
use crate::video_processor::{VideoFamily, VideoProcessorConfig, timestamp_text};

/// How the language model learns when something happens in a video.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Clock {
    /// Not at all: each temporal patch is one position after the last (Qwen2-VL).
    Steps,
    /// By positions, so many a second (Qwen2.5-VL).
    Positions { a_second: f32 },
    /// By words before each temporal patch, which stands alone in time (Qwen3-VL).
    Words,
}

#[derive(Clone, Debug)]
pub(crate) struct QwenSight {
    pub(crate) images: ImageProcessorConfig,
    /// None where no file says how videos are prepared.
    pub(crate) videos: Option<VideoProcessorConfig>,
    pub(crate) special: SpecialTokens,
    clock: Clock,
}

impl QwenSight {
    pub(super) fn from_files(
        files: &BTreeMap<String, Vec<u8>>,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Self, ProcessingError> {
        let read = |name: &str| Ok(files.get(name).map(|b| Cow::from(b.as_slice())));
        let rules = match config.family {
            Family::Qwen3Vl => VideoFamily::Qwen3Vl,
            _ => VideoFamily::Qwen2Vl,
        };
        Ok(Self {
            images: ImageProcessorConfig::from_files(read)?,
            videos: VideoProcessorConfig::from_files(read, rules)?,
            special: tokenizer.special_tokens()?,
            clock: match &config.tower {
                Some(TowerConfig::Qwen2_5Vl(vision)) => Clock::Positions {
                    a_second: vision.tokens_per_second as f32,
                },
                Some(TowerConfig::Qwen3Vl(_)) => Clock::Words,
                _ => Clock::Steps,
            },
        })
    }

    fn videos(&self) -> Result<&VideoProcessorConfig, ProcessingError> {
        self.videos.as_ref().ok_or(ProcessingError::NoVideos)
    }

    /// Which frames of `total` are looked at, and what the network is told of them.
    fn sampled(
        &self,
        total: usize,
        fps: Option<f64>,
        [width, height]: [usize; 2],
    ) -> Result<(Vec<usize>, VideoExtent), ProcessingError> {
        let videos = self.videos()?;
        let indices = videos.sample(total, fps)?;
        let extent = VideoExtent {
            thw: videos.grid(indices.len(), width, height)?,
            second_per_grid: videos.second_per_grid(indices.len(), total, fps),
            timestamps: videos.timestamps(&indices, fps),
            duration: duration(total, fps),
        };
        Ok((indices, extent))
    }

    pub(super) fn video_extent(
        &self,
        total: usize,
        fps: Option<f64>,
        size: [usize; 2],
    ) -> Result<Extent, ProcessingError> {
        Ok(Extent::Video(self.sampled(total, fps, size)?.1))
    }

    pub(super) fn video(
        &self,
        clip: &Clip,
        resizers: &Resizers,
    ) -> Result<Percept, ProcessingError> {
        let first = clip.frames.first().ok_or(ProcessingError::NoFrames)?;
        let size = [first.width(), first.height()];
        let (indices, extent) = self.sampled(clip.frames.len(), clip.fps, size)?;
        let frames: Vec<Picture> = indices.iter().map(|&i| clip.frames[i].clone()).collect();
        let patches = self.videos()?.process(&frames, resizers.torchvision)?;
        Ok(Percept {
            extent: Extent::Video(extent),
            rows: patches.pixels,
        })
    }

    /// The runs of placeholders. Where time is told in words, a video is one run for each temporal patch.
    fn spans(&self, extents: &[Extent]) -> Result<Vec<Span>, ProcessingError> {
        let mut spans = Vec::with_capacity(extents.len());
        for (index, extent) in extents.iter().enumerate() {
            match extent {
                Extent::Picture(picture) => spans.push(Span::merged(
                    index,
                    self.special.image_pad,
                    picture.thw,
                    self.images.merge_size,
                )?),
                Extent::Video(video) => {
                    let [time, height, width] = video.thw;
                    let (times, runs, interval) = match self.clock {
                        Clock::Steps => (time, 1, 1.0),
                        Clock::Positions { a_second } => {
                            (time, 1, a_second * video.second_per_grid as f32)
                        }
                        Clock::Words => (1, time, 1.0),
                    };
                    let merge = self.videos()?.merge_size;
                    let grid = [times, height, width];
                    let span = Span::merged(index, self.special.video_pad, grid, merge)?;
                    spans.extend(std::iter::repeat_n(Span { interval, ..span }, runs));
                }
                Extent::Sound { .. } => return Err(ProcessingError::NoHearing),
            }
        }
        Ok(spans)
    }

    pub(super) fn tokens(
        &self,
        row: &str,
        text: &str,
        extents: &[Extent],
        tokenizer: &Tokenizer,
    ) -> Result<Vec<u32>, ProcessingError> {
        let text = match self.clock {
            Clock::Words => {
                let times = extents.iter().filter_map(|extent| match extent {
                    Extent::Video(video) => Some(timestamp_text(&video.timestamps, 1)),
                    _ => None,
                });
                replace_placeholders(row, text, VIDEO_PAD, &times.collect::<Vec<_>>())?.into()
            }
            Clock::Steps | Clock::Positions { .. } => Cow::from(text),
        };
        let ids = tokenizer.encode(&text)?;
        expand(
            row,
            &ids,
            &self.spans(extents)?,
            &self.special.placeholders(),
        )
    }

    pub(super) fn positions(
        &self,
        ids: &[u32],
        extents: &[Extent],
    ) -> Result<(Vec<[i32; 3]>, i32), ProcessingError> {
        rope_index(ids, &self.spans(extents)?, &self.special.placeholders())
    }
}
