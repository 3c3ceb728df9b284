//! From a conversation with pictures to what the network reads, and back to text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli_core::{FrameSizes, Message, Part, Picture, Role};
use serde_json::{Map, Value};

use crate::chat_template::ChatTemplate;
use crate::config::{Family, ModelConfig};
use crate::image_processor::{ImagePatches, PictureGrid};
use crate::processing_error::ProcessingError;
use crate::sight::{Resizers, Sight};
use crate::tokenizer::Tokenizer;

/// Tokens with their pictures: a prompt, or a prompt with turns after it.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Token ids, image placeholders expanded.
    pub ids: Vec<u32>,
    /// Patches of the pictures, in order of appearance.
    pub images: Vec<Arc<ImagePatches>>,
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
        let (Some(vision), Sight::Qwen { images, special }) = (config.patching(), &self.sight)
        else {
            return Ok(());
        };
        let id = |id: Option<u32>| id.map_or(usize::MAX, |id| id as usize);
        for (file, key, value, name, wanted) in [
            (
                TOKENIZER,
                "the id of <|image_pad|>",
                special.image_pad as usize,
                "image_token_id",
                id(config.image_token_id),
            ),
            (
                TOKENIZER,
                "the id of <|video_pad|>",
                special.video_pad as usize,
                "video_token_id",
                id(config.video_token_id),
            ),
            (
                IMAGES,
                "patch_size",
                images.patch_size,
                "vision_config.patch_size",
                vision.patch_size,
            ),
            (
                IMAGES,
                "temporal_patch_size",
                images.temporal_patch_size,
                "vision_config.temporal_patch_size",
                vision.temporal_patch_size,
            ),
            (
                IMAGES,
                "merge_size",
                images.merge_size,
                "vision_config.spatial_merge_size",
                vision.merge_size,
            ),
            (
                IMAGES,
                "the number of colours",
                CHANNELS,
                "vision_config.in_channels",
                vision.channels,
            ),
        ] {
            if value != wanted {
                return Err(ProcessingError::Disagree {
                    file,
                    key,
                    value,
                    other: format!("{name} {wanted}"),
                });
            }
        }
        Ok(())
    }

    /// Patches of a picture.
    ///
    /// # Errors
    /// When its shape is beyond what the processor accepts.
    pub fn image(&self, picture: &Picture) -> Result<Arc<ImagePatches>, ProcessingError> {
        self.sight.image(picture, &self.resizers).map(Arc::new)
    }

    /// What the network sees, as a picture; `None` for a model that sees none.
    pub fn seen(&self, patches: &ImagePatches) -> Option<Picture> {
        self.sight.picture(patches)
    }

    /// A conversation up to the model's turn, as the chat template writes it.
    ///
    /// # Errors
    /// When the template refuses the conversation.
    pub fn render(&self, messages: &[Message]) -> Result<String, ProcessingError> {
        self.template.render(messages, true, &Map::new())
    }

    /// The sizes of a picture and of what the network sees of it, given its patches.
    ///
    /// # Errors
    /// When the picture has an empty side.
    pub fn frame_sizes(
        &self,
        picture: &Picture,
        patches: &ImagePatches,
    ) -> Result<FrameSizes, ProcessingError> {
        let size = |[width, height]: [usize; 2]| [width as u32, height as u32];
        FrameSizes::new(
            size([picture.width(), picture.height()]),
            size(self.sight.seen(patches.grid())),
        )
        .map_err(|_| ProcessingError::PictureShape {
            width: picture.width(),
            height: picture.height(),
        })
    }

    /// Tokens of a conversation up to the model's turn; `images` are the patches of its pictures by index, `row` names the
    /// task in errors.
    ///
    /// # Errors
    /// When the template refuses the conversation or pictures and placeholders don't match.
    pub fn prompt(
        &self,
        row: &str,
        messages: &[Message],
        images: &[Arc<ImagePatches>],
    ) -> Result<Context, ProcessingError> {
        let text = self.render(messages)?;
        let images = in_order(messages, images);
        let grids: Vec<PictureGrid> = images.iter().map(|i| i.grid()).collect();
        let ids = self.sight.tokens(row, &text, &grids, &self.tokenizer)?;
        self.expanded(&ids, &images)
    }

    /// How a picture of this size in pixels is cut, without its pixels.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn grid(&self, width: usize, height: usize) -> Result<PictureGrid, ProcessingError> {
        self.sight.grid(width, height)
    }

    /// Number of tokens of what [`Self::prompt`] would give, from the pictures' grids by index alone.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn prompt_length(
        &self,
        row: &str,
        messages: &[Message],
        grids: &[PictureGrid],
    ) -> Result<usize, ProcessingError> {
        let text = self.render(messages)?;
        let grids = in_order(messages, grids);
        let ids = self.sight.tokens(row, &text, &grids, &self.tokenizer)?;
        self.sight.positions(&ids, &grids)?;
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

    /// A context of ids whose image placeholders are expanded already: a recorded prompt.
    ///
    /// # Errors
    /// When pictures and placeholders don't match.
    pub fn expanded(
        &self,
        ids: &[u32],
        images: &[Arc<ImagePatches>],
    ) -> Result<Context, ProcessingError> {
        let grids: Vec<PictureGrid> = images.iter().map(|i| i.grid()).collect();
        let (positions, delta) = self.sight.positions(ids, &grids)?;
        Ok(Context {
            next_position: ids.len() as i32 + delta,
            ids: ids.to_vec(),
            images: images.to_vec(),
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

/// What belongs to the pictures, in the order in which the messages show them.
fn in_order<T: Clone>(messages: &[Message], pictures: &[T]) -> Vec<T> {
    messages
        .iter()
        .flat_map(|m| &m.content)
        .filter_map(|part| match part {
            Part::Image { index } => pictures.get(*index).cloned(),
            Part::Text { .. } => None,
        })
        .collect()
}
