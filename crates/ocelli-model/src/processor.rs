//! From a conversation with pictures, videos and sounds to what the network reads, and back to text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli_core::{Clip, FrameSizes, Message, Picture, Role, Shown, Sound, chat};
use serde_json::{Map, Value};

use crate::chat_template::ChatTemplate;
use crate::config::{Family, ModelConfig};
use crate::image_processor::PictureGrid;
use crate::percept::{Extent, Media, Percept};
use crate::processing_error::ProcessingError;
use crate::sight::{QwenSight, Resizers, Sight};
use crate::tokenizer::Tokenizer;

/// Tokens with what is seen and heard: a prompt, or a prompt with turns after it.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Token ids, placeholders expanded.
    pub ids: Vec<u32>,
    /// Pictures, videos and sounds in order of appearance.
    pub percepts: Vec<Arc<Percept>>,
    /// Time, height and width of every token.
    pub positions: Vec<[i32; 3]>,
    /// Position of the token that follows, the same on all axes.
    pub next_position: i32,
}

/// Tokenizer, template and image processor of one checkpoint.
#[derive(Clone, Debug)]
pub struct Processor {
    pub tokenizer: Tokenizer,
    /// Closes a turn of the model; sampling stops at it.
    pub end_of_turn: u32,
    stop: Vec<u32>,
    template: ChatTemplate,
    sight: Sight,
    resizers: Resizers,
}

/// A text that no template and no conversation has.
const TURN: &str = "\u{2063}turn\u{2063}";

/// What a template writes after a model's turn when `next` follows it. It does not depend on the turn's words.
fn after_turn(
    template: &ChatTemplate,
    next: &[Message],
    opens: bool,
) -> Result<String, ProcessingError> {
    let mut conversation = vec![
        Message::text(Role::User, "question"),
        Message::text(Role::Assistant, TURN),
    ];
    conversation.extend_from_slice(next);
    let text = template.render(&conversation, opens, &Map::new())?;
    Ok(text
        .split_once(TURN)
        .map_or("", |(_, rest)| rest)
        .to_owned())
}

/// Ids that a checkpoint's own settings stop at: `eos_token_id` of `generation_config.json`, one or several.
fn configured_stops(files: &BTreeMap<String, Vec<u8>>) -> Vec<u32> {
    let read = |name: &str| {
        files
            .get(name)
            .and_then(|b| serde_json::from_slice::<Value>(b).ok())
    };
    let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
    let stops = read("generation_config.json").map(|json| json["eos_token_id"].clone());
    match stops {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(single) => id(&single).into_iter().collect(),
        None => Vec::new(),
    }
}

impl Processor {
    /// From the side files of a checkpoint.
    ///
    /// # Errors
    /// Names the file that is missing or not what it should be.
    pub fn from_files(
        files: &BTreeMap<String, Vec<u8>>,
        config: &ModelConfig,
        resizers: Resizers,
    ) -> Result<Self, ProcessingError> {
        let read = |name: &str| Ok(files.get(name).map(|bytes| Cow::from(bytes.as_slice())));
        let bytes = files
            .get("tokenizer.json")
            .ok_or(ProcessingError::Missing {
                wanted: "tokenizer.json",
            })?;
        let tokenizer = Tokenizer::from_bytes(bytes.as_slice(), "tokenizer.json")?;
        let mut template = ChatTemplate::from_files(read)?;
        if config.family == Family::Text {
            template = template.of_plain_texts();
        }
        let closing = tokenizer.encode(&after_turn(&template, &[], false)?)?;
        let end_of_turn = *closing.first().ok_or(ProcessingError::NoEndOfTurn)?;
        let mut stop = vec![end_of_turn];
        let document_end = tokenizer.id("<|endoftext|>");
        for id in configured_stops(files).into_iter().chain(document_end) {
            if !stop.contains(&id) {
                stop.push(id);
            }
        }
        Ok(Self {
            sight: Sight::from_files(files, config, &tokenizer)?,
            tokenizer,
            end_of_turn,
            stop,
            template,
            resizers,
        })
    }

    /// Checks that tokenizer and image processor fit the network they stand beside.
    ///
    /// # Errors
    /// Names the first file and key that say something else than `config.json`.
    pub fn check(&self, config: &ModelConfig) -> Result<(), ProcessingError> {
        const TOKENIZER: &str = "tokenizer.json";
        const IMAGES: &str = "preprocessor_config.json or processor_config.json";
        const VIDEOS: &str = "video_preprocessor_config.json or processor_config.json";
        const CHANNELS: usize = 3;
        let largest = self.tokenizer.largest_id() as usize;
        if largest >= config.text.vocab_size {
            return Err(ProcessingError::Disagree {
                file: TOKENIZER,
                key: "the largest id",
                value: largest,
                other: format!("vocab_size {}", config.text.vocab_size),
            });
        }
        let (Some(vision), Sight::Qwen(sight)) = (config.patching(), &self.sight) else {
            return Ok(());
        };
        let QwenSight {
            images,
            videos,
            special,
            ..
        } = sight;
        let id = |id: Option<u32>| id.map_or(usize::MAX, |id| id as usize);
        for (key, value, name, wanted) in [
            (
                "the id of <|image_pad|>",
                special.image_pad as usize,
                "image_token_id",
                id(config.image_token_id),
            ),
            (
                "the id of <|video_pad|>",
                special.video_pad as usize,
                "video_token_id",
                id(config.video_token_id),
            ),
        ] {
            agree(TOKENIZER, key, value, name, wanted)?;
        }
        let of_videos = videos
            .as_ref()
            .map(|v| (VIDEOS, [v.patch_size, v.temporal_patch_size, v.merge_size]));
        let of_images = [
            images.patch_size,
            images.temporal_patch_size,
            images.merge_size,
        ];
        for (file, [patch, time, merge]) in [(IMAGES, of_images)].into_iter().chain(of_videos) {
            agree(
                file,
                "patch_size",
                patch,
                "vision_config.patch_size",
                vision.patch_size,
            )?;
            agree(
                file,
                "temporal_patch_size",
                time,
                "vision_config.temporal_patch_size",
                vision.temporal_patch_size,
            )?;
            agree(
                file,
                "merge_size",
                merge,
                "vision_config.spatial_merge_size",
                vision.merge_size,
            )?;
        }
        let (key, name) = ("the number of colours", "vision_config.in_channels");
        agree(IMAGES, key, CHANNELS, name, vision.channels)
    }

    /// Rows of a picture.
    ///
    /// # Errors
    /// When its shape is beyond what the processor accepts, or the model sees nothing.
    pub fn image(&self, picture: &Picture) -> Result<Arc<Percept>, ProcessingError> {
        self.sight.image(picture, &self.resizers).map(Arc::new)
    }

    /// Rows of a video, of the frames that the processor's rules choose.
    ///
    /// # Errors
    /// When it is too short, its shape is beyond what the processor accepts, or the model reads no videos.
    pub fn video(&self, clip: &Clip) -> Result<Arc<Percept>, ProcessingError> {
        self.sight.video(clip, &self.resizers).map(Arc::new)
    }

    /// How a video of `total` frames of this width and height is cut, without its frames.
    ///
    /// # Errors
    /// As [`Self::video`].
    pub fn video_extent(
        &self,
        total: usize,
        fps: Option<f64>,
        size: [usize; 2],
    ) -> Result<Extent, ProcessingError> {
        self.sight.video_extent(total, fps, size)
    }

    /// Samples a second that sounds must have.
    ///
    /// # Errors
    /// When the model hears nothing.
    pub fn sampling_rate(&self) -> Result<usize, ProcessingError> {
        self.sight.sampling_rate()
    }

    /// Rows of a sound at the network's sampling rate.
    ///
    /// # Errors
    /// When it is too short, has another rate, or the model hears nothing.
    pub fn sound(&self, sound: &Sound) -> Result<Arc<Percept>, ProcessingError> {
        self.sight.sound(sound).map(Arc::new)
    }

    /// How a sound of so many samples is cut.
    ///
    /// # Errors
    /// As [`Self::sound`].
    pub fn sound_extent(&self, samples: usize) -> Result<Extent, ProcessingError> {
        self.sight.sound_extent(samples)
    }

    /// What the network sees, as a picture; `None` for what is no picture.
    pub fn seen(&self, percept: &Percept) -> Option<Picture> {
        self.sight.picture(percept)
    }

    /// A conversation up to the model's turn, as the chat template writes it.
    ///
    /// # Errors
    /// When the template refuses the conversation.
    pub fn render(&self, messages: &[Message]) -> Result<String, ProcessingError> {
        self.template.render(messages, true, &Map::new())
    }

    /// The sizes of a picture and of what the network sees of it.
    ///
    /// # Errors
    /// When the picture's shape is beyond what the processor accepts.
    pub fn frame_sizes(&self, picture: &Picture) -> Result<FrameSizes, ProcessingError> {
        let size = |[width, height]: [usize; 2]| [width as u32, height as u32];
        let grid = self.grid(picture.width(), picture.height())?;
        FrameSizes::new(
            size([picture.width(), picture.height()]),
            size(self.sight.seen(grid)),
        )
        .map_err(|_| ProcessingError::PictureShape {
            width: picture.width(),
            height: picture.height(),
        })
    }

    /// Tokens of a conversation up to the model's turn; `media` is what its parts name by index, `row` names the task in
    /// errors.
    ///
    /// # Errors
    /// When the template refuses the conversation, or what is shown and its placeholders don't match.
    pub fn prompt(
        &self,
        row: &str,
        messages: &[Message],
        media: &Media<Arc<Percept>>,
    ) -> Result<Context, ProcessingError> {
        let text = self.render(messages)?;
        let percepts = in_order(messages, media)?;
        let extents: Vec<Extent> = percepts.iter().map(|p| p.extent.clone()).collect();
        let ids = self.sight.tokens(row, &text, &extents, &self.tokenizer)?;
        self.expanded(&ids, &percepts)
    }

    /// How a picture of this size in pixels is cut, without its pixels.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn grid(&self, width: usize, height: usize) -> Result<PictureGrid, ProcessingError> {
        self.sight.grid(width, height)
    }

    /// Number of tokens of what [`Self::prompt`] would give, from extents alone.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn prompt_length(
        &self,
        row: &str,
        messages: &[Message],
        media: &Media<Extent>,
    ) -> Result<usize, ProcessingError> {
        let text = self.render(messages)?;
        let extents = in_order(messages, media)?;
        let ids = self.sight.tokens(row, &text, &extents, &self.tokenizer)?;
        self.sight.positions(&ids, &extents)?;
        Ok(ids.len())
    }

    /// The tokens that carry a conversation on after a sampled turn, up to the model's next turn. A turn that ended itself
    /// already holds its end-of-turn token; one that was cut off gets it here.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn continuation(
        &self,
        messages: &[Message],
        ended: bool,
    ) -> Result<Vec<u32>, ProcessingError> {
        let mut ids = self
            .tokenizer
            .encode(&after_turn(&self.template, messages, true)?)?;
        if ended && ids.first() == Some(&self.end_of_turn) {
            ids.remove(0);
        }
        Ok(ids)
    }

    /// A context of ids whose placeholders are expanded already, with what they stand for in order: a recorded prompt.
    ///
    /// # Errors
    /// When what is shown and its placeholders don't match.
    pub fn expanded(
        &self,
        ids: &[u32],
        percepts: &[Arc<Percept>],
    ) -> Result<Context, ProcessingError> {
        let extents: Vec<Extent> = percepts.iter().map(|p| p.extent.clone()).collect();
        let (positions, delta) = self.sight.positions(ids, &extents)?;
        Ok(Context {
            next_position: ids.len() as i32 + delta,
            ids: ids.to_vec(),
            percepts: percepts.to_vec(),
            positions,
        })
    }

    /// Text of sampled tokens, special tokens left out.
    ///
    /// # Errors
    /// When an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ProcessingError> {
        self.tokenizer.decode(ids, true)
    }

    /// Tokens that end a turn.
    pub fn stop_tokens(&self) -> &[u32] {
        &self.stop
    }
}

/// Refuses a `value` of a file that is not what `config.json` has under `name`.
fn agree(
    file: &'static str,
    key: &'static str,
    value: usize,
    name: &str,
    wanted: usize,
) -> Result<(), ProcessingError> {
    if value == wanted {
        return Ok(());
    }
    Err(ProcessingError::Disagree {
        file,
        key,
        value,
        other: format!("{name} {wanted}"),
    })
}

/// What the messages show, in order of appearance.
fn in_order<T: Clone>(messages: &[Message], media: &Media<T>) -> Result<Vec<T>, ProcessingError> {
    let found = |shown: Shown| media.get(shown).cloned().ok_or(missing(shown));
    chat::shown(messages).map(found).collect()
}

fn missing(shown: Shown) -> ProcessingError {
    let (kind, index) = match shown {
        Shown::Image(index) => ("picture", index),
        Shown::Video { video } => ("video", video),
        Shown::Audio { audio } => ("sound", audio),
    };
    ProcessingError::NoSuchMedium { kind, index }
}
