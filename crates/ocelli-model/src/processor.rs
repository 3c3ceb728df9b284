//! From a conversation with pictures to what the network reads, and back to text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli_core::{FrameSizes, Message, Part, Picture, Role};
use serde_json::Map;

use crate::chat_template::ChatTemplate;
use crate::config::ModelConfig;
use crate::expander::{expand_image_tokens, rope_index};
use crate::image_processor::{ImagePatches, ImageProcessorConfig};
use crate::processing_error::ProcessingError;
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// Resizes a picture to a width and height; the processor itself has no opinion on the kernel.
pub type Resize = fn(&Picture, usize, usize) -> Picture;

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
    pub special: SpecialTokens,
    template: ChatTemplate,
    images: ImageProcessorConfig,
    resize: Resize,
}

impl Processor {
    /// From the side files of a checkpoint.
    ///
    /// # Errors
    /// Names the file that is missing or not what it should be.
    pub fn from_files(
        files: &BTreeMap<String, Vec<u8>>,
        resize: Resize,
    ) -> Result<Self, ProcessingError> {
        let read = |name: &str| Ok(files.get(name).map(|bytes| Cow::from(bytes.as_slice())));
        let bytes = files
            .get("tokenizer.json")
            .ok_or(ProcessingError::Missing {
                wanted: "tokenizer.json",
            })?;
        let tokenizer = Tokenizer::from_bytes(bytes.as_slice(), "tokenizer.json")?;
        let special = tokenizer.special_tokens()?;
        Ok(Self {
            special,
            template: ChatTemplate::from_files(read)?,
            images: ImageProcessorConfig::from_files(read)?,
            tokenizer,
            resize,
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
        let Some(vision) = config.patching() else {
            return Ok(());
        };
        let images = &self.images;
        let id = |id: Option<u32>| id.map_or(usize::MAX, |id| id as usize);
        for (file, key, value, name, wanted) in [
            (
                TOKENIZER,
                "the id of <|image_pad|>",
                self.special.image_pad as usize,
                "image_token_id",
                id(config.image_token_id),
            ),
            (
                TOKENIZER,
                "the id of <|video_pad|>",
                self.special.video_pad as usize,
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
        self.images.process(picture, self.resize).map(Arc::new)
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
        let [_, rows, columns] = patches.grid_thw;
        let size = |width: usize, height: usize| [width as u32, height as u32];
        let patch = self.images.patch_size;
        FrameSizes::new(
            size(picture.width(), picture.height()),
            size(columns * patch, rows * patch),
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
        let text = self.template.render(messages, true, &Map::new())?;
        let images = in_order(messages, images);
        self.context(row, &self.tokenizer.encode(&text)?, images)
    }

    /// Patches (time, height, width) that a picture of this size in pixels gets, without its pixels.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn grid(&self, width: usize, height: usize) -> Result<[usize; 3], ProcessingError> {
        self.images.grid(width, height)
    }

    /// Number of tokens of what [`Self::prompt`] would give, from the pictures' grids by index alone.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn prompt_length(
        &self,
        row: &str,
        messages: &[Message],
        grids: &[[usize; 3]],
    ) -> Result<usize, ProcessingError> {
        let text = self.template.render(messages, true, &Map::new())?;
        let ids = self.tokenizer.encode(&text)?;
        let grids = in_order(messages, grids);
        let merge = self.images.merge_size;
        let ids = expand_image_tokens(row, &ids, &grids, self.special.image_pad, merge)?;
        rope_index(&ids, &grids, &self.special, merge)?;
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
        // What a template writes after a turn does not depend on the turn's words.
        const TURN: &str = "\u{2063}turn\u{2063}";
        let mut conversation = vec![
            Message::text(Role::User, "question"),
            Message::text(Role::Assistant, TURN),
        ];
        conversation.extend_from_slice(messages);
        let text = self.template.render(&conversation, true, &Map::new())?;
        let rest = text.split_once(TURN).map_or("", |(_, rest)| rest);
        let mut ids = self.tokenizer.encode(rest)?;
        if ended && ids.first() == Some(&self.special.im_end) {
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
        let grids: Vec<[usize; 3]> = images.iter().map(|i| i.grid_thw).collect();
        let (positions, delta) = rope_index(ids, &grids, &self.special, self.images.merge_size)?;
        Ok(Context {
            next_position: ids.len() as i32 + delta,
            ids: ids.to_vec(),
            images: images.to_vec(),
            positions,
        })
    }

    /// Expands placeholders and computes positions.
    fn context(
        &self,
        row: &str,
        ids: &[u32],
        images: Vec<Arc<ImagePatches>>,
    ) -> Result<Context, ProcessingError> {
        let merge = self.images.merge_size;
        let grids: Vec<[usize; 3]> = images.iter().map(|i| i.grid_thw).collect();
        let ids = expand_image_tokens(row, ids, &grids, self.special.image_pad, merge)?;
        self.expanded(&ids, &images)
    }

    /// Text of sampled tokens, special tokens left out.
    ///
    /// # Errors
    /// When an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ProcessingError> {
        self.tokenizer.decode(ids, true)
    }

    /// Tokens that end a turn.
    pub fn stop_tokens(&self) -> [u32; 2] {
        [self.special.im_end, self.special.endoftext]
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
