//! How what each family sees and hears becomes rows and tokens: the one place where rollout, training and checks ask.

mod canvas;
mod qwen;
mod squares;

use std::borrow::Cow;
use std::collections::BTreeMap;

use ocelli_core::{Clip, Picture, Sound};

use self::canvas::Canvas;
pub(crate) use self::qwen::QwenSight;
use self::squares::Squares;
use crate::config::{Family, ModelConfig, TowerConfig};
use crate::expander::{Placeholder, Span, expand};
use crate::image_processor::PictureGrid;
use crate::image_processor::splits::{SplitConfig, split_text};
use crate::image_processor::tiles::{TileConfig, tile_text};
use crate::mel::MelConfig;
use crate::percept::{Extent, Percept, VideoExtent, sound_tokens};
use crate::placeholder::replace_placeholders;
use crate::processing_error::ProcessingError;
use crate::tokenizer::Tokenizer;
use crate::video_processor::UNKNOWN_FPS;
use crate::video_processor::squares::{SquareRules, SquareVideoConfig, film_text, frame_text};

/// Resizes a picture to a width and height.
pub type Resize = fn(&Picture, usize, usize) -> Picture;

/// The kernels that processors resize with.
#[derive(Clone, Copy, Debug)]
pub struct Resizers {
    pub bicubic: Resize,
    pub lanczos: Resize,
    /// Bicubic, as torchvision resizes frames of videos.
    pub torchvision: Resize,
    /// Lanczos', as torchvision does it.
    pub torchvision_lanczos: Resize,
}

/// What a family does with what is shown and played to it.
#[derive(Clone, Debug)]
pub(crate) enum Sight {
    /// It reads text alone.
    None,
    Qwen(QwenSight),
    Tiles {
        images: TileConfig,
        squares: Squares,
        videos: Option<SquareVideoConfig>,
    },
    Splits {
        images: SplitConfig,
        squares: Squares,
        videos: Option<SquareVideoConfig>,
    },
    /// It hears.
    Sounds {
        mel: MelConfig,
        /// Stands for one feature.
        token: u32,
    },
}

/// How texts write the place of a sound.
const AUDIO: &str = "<|AUDIO|>";

/// Files that settings of image processors are read from, in this order.
const SETTINGS: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

impl Sight {
    pub(crate) fn from_files(
        files: &BTreeMap<String, Vec<u8>>,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Self, ProcessingError> {
        let settings = || {
            let found = SETTINGS
                .iter()
                .find_map(|name| Some((name, files.get(*name)?)));
            found.ok_or(ProcessingError::Missing {
                wanted: "preprocessor_config.json",
            })
        };
        let read = |name: &str| Ok(files.get(name).map(|b| Cow::from(b.as_slice())));
        match config.family {
            Family::Text => Ok(Self::None),
            Family::Qwen2Audio => {
                let (file, bytes) = settings()?;
                let mel = MelConfig::from_json(bytes, file)?;
                Self::sounds(config, mel, file)
            }
            Family::Qwen2Vl | Family::Qwen2_5Vl | Family::Qwen3Vl => {
                QwenSight::from_files(files, config, tokenizer).map(Self::Qwen)
            }
            Family::InternVl => {
                let (file, bytes) = settings()?;
                let images = TileConfig::from_json(bytes, file)?;
                let squares = Squares::of(config, images.tile, file)?;
                let rules = SquareRules::InternVl { shift: None };
                Ok(Self::Tiles {
                    images,
                    squares,
                    videos: SquareVideoConfig::from_files(read, rules)?,
                })
            }
            Family::SmolVlm => {
                let (file, bytes) = settings()?;
                let images = SplitConfig::from_json(bytes, file)?;
                let squares = Squares::of(config, [images.square; 2], file)?;
                let longest_edge = images.longest_edge;
                let rules = SquareRules::SmolVlm { longest_edge };
                // Idefics3 was made for pictures alone.
                let videos = match config.model_type.as_str() {
                    "idefics3" => None,
                    _ => SquareVideoConfig::from_files(read, rules)?,
                };
                Ok(Self::Splits {
                    images,
                    squares,
                    videos,
                })
            }
        }
    }

    /// Checks that the sounds a file prepares are those the tower was built for.
    fn sounds(
        config: &ModelConfig,
        mel: MelConfig,
        file: &'static str,
    ) -> Result<Self, ProcessingError> {
        if let Some(TowerConfig::Qwen2Audio(audio)) = &config.tower {
            let frames = mel.chunk_length * mel.sampling_rate / mel.hop_length;
            for (key, value, name, wanted) in [
                (
                    "feature_size",
                    mel.feature_size,
                    "num_mel_bins",
                    audio.num_mel_bins,
                ),
                (
                    "the number of frames of chunk_length",
                    frames,
                    "twice max_source_positions, that is",
                    audio.max_frames(),
                ),
            ] {
                if value != wanted {
                    return Err(ProcessingError::Disagree {
                        file,
                        key,
                        value,
                        other: format!("audio_config: {name} {wanted}"),
                    });
                }
            }
        }
        let token = config.image_token_id.unwrap_or(u32::MAX);
        Ok(Self::Sounds { mel, token })
    }

    /// Rows of a picture.
    pub(crate) fn image(
        &self,
        picture: &Picture,
        resizers: &Resizers,
    ) -> Result<Percept, ProcessingError> {
        let grid = self.grid(picture.width(), picture.height())?;
        let (squares, planes) = match self {
            Self::None | Self::Sounds { .. } => return Err(ProcessingError::NoSight),
            Self::Qwen(qwen) => {
                return Ok(qwen.images.process(picture, resizers.bicubic)?.into());
            }
            Self::Tiles {
                images, squares, ..
            } => (squares, images.process(picture, resizers.bicubic)?.pixels),
            Self::Splits {
                images, squares, ..
            } => (squares, images.process(picture, resizers.lanczos)?.pixels),
        };
        Ok(Percept {
            extent: Extent::Picture(grid),
            rows: squares.patches(&planes),
        })
    }

    /// Rows of a video.
    pub(crate) fn video(
        &self,
        clip: &Clip,
        resizers: &Resizers,
    ) -> Result<Percept, ProcessingError> {
        match self {
            Self::Qwen(qwen) => qwen.video(clip, resizers),
            _ => self.square_video(clip, resizers),
        }
    }

    /// How a video of `total` frames of this width and height is cut, without its frames.
    pub(crate) fn video_extent(
        &self,
        total: usize,
        fps: Option<f64>,
        size: [usize; 2],
    ) -> Result<Extent, ProcessingError> {
        match self {
            Self::Qwen(qwen) => qwen.video_extent(total, fps, size),
            _ => Ok(Extent::Video(self.frames(total, fps)?.1)),
        }
    }

    /// Squares, and how their videos are made.
    fn square_videos(&self) -> Result<(&Squares, &SquareVideoConfig), ProcessingError> {
        let (squares, videos) = match self {
            Self::Tiles {
                squares, videos, ..
            }
            | Self::Splits {
                squares, videos, ..
            } => (squares, videos),
            _ => return Err(ProcessingError::NoVideos),
        };
        let videos = videos.as_ref().ok_or(ProcessingError::NoVideos)?;
        let side = squares.side * squares.patch;
        for found in videos.size {
            if found != side {
                return Err(ProcessingError::Disagree {
                    file: "video_preprocessor_config.json or processor_config.json",
                    key: "the side of a frame",
                    value: found,
                    other: format!("vision_config.image_size {side}"),
                });
            }
        }
        Ok((squares, videos))
    }

    /// Which frames of `total` are looked at where each becomes a square, and how they lie.
    fn frames(
        &self,
        total: usize,
        fps: Option<f64>,
    ) -> Result<(Vec<usize>, VideoExtent), ProcessingError> {
        let (squares, videos) = self.square_videos()?;
        let indices = videos.sample(total, fps)?;
        let rate = fps.unwrap_or(UNKNOWN_FPS);
        let extent = VideoExtent {
            thw: [indices.len(), squares.side, squares.side],
            second_per_grid: total as f64 / rate / indices.len() as f64,
            timestamps: indices.iter().map(|&n| n as f64 / rate).collect(),
            duration: duration(total, fps),
        };
        Ok((indices, extent))
    }

    fn square_video(&self, clip: &Clip, resizers: &Resizers) -> Result<Percept, ProcessingError> {
        let (squares, videos) = self.square_videos()?;
        let (indices, extent) = self.frames(clip.frames.len(), clip.fps)?;
        let frames: Vec<Picture> = indices.iter().map(|&n| clip.frames[n].clone()).collect();
        let resize = match videos.rules {
            SquareRules::InternVl { .. } => resizers.torchvision,
            SquareRules::SmolVlm { .. } => resizers.torchvision_lanczos,
        };
        Ok(Percept {
            extent: Extent::Video(extent),
            rows: squares.patches(&videos.process(&frames, resize)?),
        })
    }

    /// Samples a second that sounds must have.
    pub(crate) fn sampling_rate(&self) -> Result<usize, ProcessingError> {
        match self {
            Self::Sounds { mel, .. } => Ok(mel.sampling_rate),
            _ => Err(ProcessingError::NoHearing),
        }
    }

    /// Rows of a sound.
    pub(crate) fn sound(&self, sound: &Sound) -> Result<Percept, ProcessingError> {
        let Self::Sounds { mel, .. } = self else {
            return Err(ProcessingError::NoHearing);
        };
        self.sound_extent(sound.samples.len())?;
        Ok(Percept::from(&mel.process(&sound.samples, sound.rate)?))
    }

    /// Frames of a sound of so many samples.
    pub(crate) fn sound_extent(&self, samples: usize) -> Result<Extent, ProcessingError> {
        let Self::Sounds { mel, .. } = self else {
            return Err(ProcessingError::NoHearing);
        };
        let frames = mel.sounding(samples);
        if samples == 0 {
            return Err(ProcessingError::NoSamples);
        }
        if sound_tokens(frames) == 0 {
            // Two frames and the first sample of a third.
            let least = 2 * mel.hop_length + 1;
            return Err(ProcessingError::ShortSound { samples, least });
        }
        Ok(Extent::Sound { frames })
    }

    /// How a picture of this size in pixels is cut, without its pixels.
    pub(crate) fn grid(&self, width: usize, height: usize) -> Result<PictureGrid, ProcessingError> {
        let (squares, count, split) = match self {
            Self::None | Self::Sounds { .. } => return Err(ProcessingError::NoSight),
            Self::Qwen(qwen) => {
                return Ok(PictureGrid {
                    thw: qwen.images.grid(width, height)?,
                    split: [0, 0],
                });
            }
            Self::Tiles {
                images, squares, ..
            } => {
                let [columns, rows] = images.grid(width, height);
                (squares, images.count(width, height), [rows, columns])
            }
            Self::Splits {
                images, squares, ..
            } => (
                squares,
                images.count(width, height),
                images.grid(width, height),
            ),
        };
        Ok(PictureGrid {
            thw: [count, squares.side, squares.side],
            split,
        })
    }

    /// Width and height in pixels of what the network sees of a picture.
    pub(crate) fn seen(&self, grid: PictureGrid) -> [usize; 2] {
        match self {
            Self::None | Self::Sounds { .. } => [0, 0],
            Self::Qwen(qwen) => {
                let [_, rows, columns] = grid.thw;
                [columns, rows].map(|side| side * qwen.images.patch_size)
            }
            Self::Tiles { squares, .. } | Self::Splits { squares, .. } => {
                let [rows, columns] = grid.split.map(|n| n.max(1));
                let side = squares.side * squares.patch;
                [columns * side, rows * side]
            }
        }
    }

    /// The picture that the numbers show: bytes as they were before normalisation. Tiles lie where they were cut, the whole picture
    /// below them. `None` for what is no picture.
    pub(crate) fn picture(&self, percept: &Percept) -> Option<Picture> {
        let Extent::Picture(grid) = percept.extent else {
            return None;
        };
        let (levels, patch, planes) = match self {
            Self::None | Self::Sounds { .. } => return None,
            Self::Qwen(QwenSight { images, .. }) => {
                (images.levels, images.patch_size, images.temporal_patch_size)
            }
            Self::Tiles {
                images, squares, ..
            } => (images.levels, squares.patch, 1),
            Self::Splits {
                images, squares, ..
            } => (images.levels, squares.patch, 1),
        };
        let [count, height, width] = grid.thw;
        let [rows, columns] = match grid.split {
            [0, 0] => [1, 1],
            split => split,
        };
        let tiles = rows * columns;
        let canvas_rows = if count > tiles { rows + 1 } else { rows };
        let mut canvas = Canvas::new(columns * width * patch, canvas_rows * height * patch);
        let table = levels.table();
        let places: Vec<[usize; 2]> = match self {
            Self::Qwen(qwen) => {
                crate::families::qwen_places(&[[1, height, width]], qwen.images.merge_size)
            }
            _ => (0..height)
                .flat_map(|row| (0..width).map(move |column| [row, column]))
                .collect(),
        };
        let size = 3 * planes * patch * patch;
        for tile in 0..count {
            let (tile_row, tile_column) = (tile / columns, tile % columns);
            let rows = percept.rows[tile * places.len() * size..].chunks_exact(size);
            for (&[row, column], numbers) in places.iter().zip(rows) {
                let top = (tile_row * height + row) * patch;
                let left = (tile_column * width + column) * patch;
                canvas.draw(numbers, planes, patch, [left, top], &table);
            }
        }
        Some(canvas.picture())
    }

    /// The tokens of a rendered prompt, each placeholder replaced by what stands for its picture, video or sound. `extents` are
    /// in order of appearance, `row` names the task.
    pub(crate) fn tokens(
        &self,
        row: &str,
        text: &str,
        extents: &[Extent],
        tokenizer: &Tokenizer,
    ) -> Result<Vec<u32>, ProcessingError> {
        let replaced = match self {
            Self::None if extents.is_empty() => Cow::from(text),
            Self::None => return Err(ProcessingError::NoSight),
            Self::Qwen(qwen) => return qwen.tokens(row, text, extents, tokenizer),
            Self::Sounds { token, .. } => {
                let ids = tokenizer.encode(text)?;
                let placeholder = Placeholder {
                    id: *token,
                    name: AUDIO,
                };
                return expand(row, &ids, &sound_spans(*token, extents)?, &[placeholder]);
            }
            Self::Tiles { squares, .. } => {
                let (pictures, videos) = by_kind(extents)?;
                let pictures = pictures.map(|grid| tile_text(grid.thw[0], squares.length));
                let videos = videos.map(|video| frame_text(video.thw[0], squares.length));
                let texts = [pictures.collect(), videos.collect()];
                pictures_and_videos(row, text, "<IMG_CONTEXT>", texts)?.into()
            }
            Self::Splits { squares, .. } => {
                let (pictures, videos) = by_kind(extents)?;
                let pictures = pictures.map(|grid| split_text(grid.split, squares.length));
                let videos = videos
                    .map(|video| film_text(&video.timestamps, video.duration, squares.length));
                let texts = [pictures.collect(), videos.collect()];
                pictures_and_videos(row, text, "<image>", texts)?.into()
            }
        };
        tokenizer.encode(&replaced)
    }

    /// Time, height and width of every token, and what to add to the index of a later one; see
    /// [`rope_index`](crate::expander::rope_index). Families with one position a token have it three times.
    ///
    /// # Errors
    /// When what is shown and the tokens that stand for it don't match.
    pub(crate) fn positions(
        &self,
        ids: &[u32],
        extents: &[Extent],
    ) -> Result<(Vec<[i32; 3]>, i32), ProcessingError> {
        let (token, wanted) = match self {
            Self::Qwen(qwen) => return qwen.positions(ids, extents),
            Self::None => return Ok((plain_positions(ids.len()), 0)),
            Self::Sounds { token, .. } => {
                let spans = sound_spans(*token, extents)?;
                (*token, spans.iter().map(Span::tokens).sum::<usize>())
            }
            Self::Tiles { squares, .. } | Self::Splits { squares, .. } => {
                let squares_shown: usize = extents.iter().map(|extent| extent.grid()[0]).sum();
                (squares.token, squares_shown * squares.length)
            }
        };
        let found = ids.iter().filter(|id| **id == token).count();
        if found != wanted {
            return Err(ProcessingError::FeatureCount { found, wanted });
        }
        Ok((plain_positions(ids.len()), 0))
    }
}

/// Pictures and videos, each in order.
fn by_kind(
    extents: &[Extent],
) -> Result<
    (
        impl Iterator<Item = &PictureGrid>,
        impl Iterator<Item = &VideoExtent>,
    ),
    ProcessingError,
> {
    if extents
        .iter()
        .any(|extent| matches!(extent, Extent::Sound { .. }))
    {
        return Err(ProcessingError::NoHearing);
    }
    let pictures = extents.iter().filter_map(|extent| match extent {
        Extent::Picture(grid) => Some(grid),
        _ => None,
    });
    let videos = extents.iter().filter_map(|extent| match extent {
        Extent::Video(video) => Some(video),
        _ => None,
    });
    Ok((pictures, videos))
}

/// The text with its pictures and videos. Those of the pictures go first, since a video's text holds their placeholder.
fn pictures_and_videos(
    row: &str,
    text: &str,
    picture: &'static str,
    [pictures, videos]: [Vec<String>; 2],
) -> Result<String, ProcessingError> {
    let text = replace_placeholders(row, text, picture, &pictures)?;
    replace_placeholders(row, &text, "<video>", &videos)
}

/// Seconds that a video lasts.
fn duration(total: usize, fps: Option<f64>) -> f64 {
    match fps {
        Some(fps) => total as f64 / fps,
        // As transformers, which then takes the last frame's time.
        None => total.saturating_sub(1) as f64 / UNKNOWN_FPS,
    }
}

fn sound_spans(token: u32, extents: &[Extent]) -> Result<Vec<Span>, ProcessingError> {
    let span = |extent: &Extent| match extent {
        Extent::Sound { frames } => Ok(Span {
            token,
            grid: [1, 1, sound_tokens(*frames)],
            interval: 1.0,
        }),
        Extent::Picture(_) | Extent::Video(_) => Err(ProcessingError::NoSight),
    };
    extents.iter().map(span).collect()
}

fn plain_positions(length: usize) -> Vec<[i32; 3]> {
    (0..length as i32).map(|i| [i; 3]).collect()
}
