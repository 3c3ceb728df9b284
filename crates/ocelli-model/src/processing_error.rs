//! What can go wrong between a task's words and pictures and the numbers a network reads.
//!
//! Each error names the file, row, picture or value it is about and how to mend it. It knows nothing of networks and
//! checkpoints.

use thiserror::Error;

/// A tokenizer, chat template, picture or prompt that cannot be used as it is.
#[derive(Debug, Error)]
pub enum ProcessingError {
    /// A checkpoint without a file that is needed.
    #[error("no {wanted} in the checkpoint; copy it from the model this checkpoint was made from")]
    Missing { wanted: &'static str },

    /// A file that is not text in UTF-8.
    #[error("{file}: not UTF-8 text from byte {valid_up_to} on; save it as UTF-8")]
    NotText { file: String, valid_up_to: usize },

    /// A configuration file that is not the JSON expected of it.
    #[error("{file}: {source}; compare it with the file of the original checkpoint")]
    Json {
        file: String,
        source: serde_json::Error,
    },

    /// A `tokenizer.json` that the tokenizers library refuses.
    #[error(
        "{file}: not a usable tokenizer.json ({reason}); copy the original, or save it again with a fast tokenizer"
    )]
    Tokenizer { file: String, reason: String },

    /// A picture for a model that reads text alone.
    #[error(
        "this model reads no pictures; leave them out of the rows, or take a vision-language model"
    )]
    NoSight,

    /// A video for a model or a folder without a way to read it.
    #[error(
        "this model reads no videos; leave them out of the rows, give frames as pictures, or take a vision-language model \
         with its video_preprocessor_config.json"
    )]
    NoVideos,

    /// A sound for a model that does not hear.
    #[error(
        "this model hears no sounds; leave them out of the rows, or take an audio-language model such as Qwen2-Audio"
    )]
    NoHearing,

    /// Tokens that stand for features, and features, in different numbers.
    #[error(
        "the tokens hold {found} places for features of pictures, videos and sounds, but these give {wanted}"
    )]
    FeatureCount { found: usize, wanted: usize },

    /// A template that writes nothing after a turn, so that nobody could say when one ends.
    #[error(
        "the chat template writes no token after the assistant's turn; a model needs one to end its answers with: mend the template"
    )]
    NoEndOfTurn,

    /// A special token that the vocabulary lacks.
    #[error(
        "{file}: the token {token} is missing; this network needs the tokenizer of a Qwen2-VL model or a later one"
    )]
    SpecialToken { file: String, token: &'static str },

    /// Text or ids that the tokenizer could not turn into the other.
    #[error("{file}: the text could not be {action} ({reason})")]
    Coding {
        file: String,
        action: &'static str,
        reason: String,
    },

    /// A template that does not parse.
    #[error("{file}, line {line}: the chat template does not parse: {reason}")]
    TemplateSyntax {
        file: String,
        line: usize,
        reason: String,
    },

    /// A template that fails on a conversation, for instance by its own `raise_exception`.
    #[error("{file}, line {line}: the chat template refuses this conversation: {reason}")]
    TemplateRender {
        file: String,
        line: usize,
        reason: String,
    },

    /// A list of named templates without the default one.
    #[error(
        "{file}: chat_template lists {found:?}, but none is named \"default\"; name one of them so"
    )]
    TemplateNames { file: String, found: Vec<String> },

    /// A value in a preprocessor's configuration that cannot be meant or is not supported.
    #[error("{file}: {key} = {value} cannot be used; {mend}")]
    ConfigValue {
        file: String,
        key: &'static str,
        value: String,
        mend: &'static str,
    },

    /// Two files of a checkpoint that contradict each other.
    #[error(
        "{file}: {key} is {value}, but config.json has {other}; these files belong to different models"
    )]
    Disagree {
        file: &'static str,
        key: &'static str,
        value: usize,
        /// The key of `config.json` with its value.
        other: String,
    },

    /// A picture too long and thin, or empty.
    #[error(
        "a picture of {width}x{height} pixels has no size the network can read: sides must be positive and the longer \
         at most 200 times the shorter; crop it or leave the row out"
    )]
    PictureShape { width: usize, height: usize },

    /// Limits on the number of pixels between which no allowed size lies.
    #[error(
        "min_pixels {min_pixels} and max_pixels {max_pixels} leave a {width}x{height} picture no size that is a \
         multiple of {factor}; use 0 < min_pixels <= max_pixels with max_pixels at least {factor} squared"
    )]
    PixelLimits {
        width: usize,
        height: usize,
        factor: usize,
        min_pixels: usize,
        max_pixels: usize,
    },

    /// A picture that has not the size it was to be resized to.
    #[error(
        "a picture of {found_width}x{found_height} pixels came where {width}x{height} was needed; resize it first"
    )]
    PictureSize {
        width: usize,
        height: usize,
        found_width: usize,
        found_height: usize,
    },

    /// A prompt with more or fewer placeholders than the row has pictures, videos or sounds for.
    #[error(
        "row {row}: the prompt has {placeholders} {token} but the row has {given} pictures, videos or sounds for them; \
         give one part each, and no {token} in the text"
    )]
    PlaceholderCount {
        row: String,
        token: &'static str,
        placeholders: usize,
        given: usize,
    },

    /// Placeholders in another order than what they stand for.
    #[error(
        "row {row}: the chat template shows pictures and videos in another order than the conversation does; mend the \
         template, or give them in its order"
    )]
    PlaceholderOrder { row: String },

    /// A part of a message that shows what is not there.
    #[error(
        "a message shows {kind} number {index} (counted from 0), which the row does not have; add it to the row"
    )]
    NoSuchMedium { kind: &'static str, index: usize },

    /// A grid that the merger of the vision tower cannot divide.
    #[error(
        "number {picture} of what is shown has a grid of {grid:?} patches (time, height, width), whose height and width must be \
         positive multiples of the merge size {merge}; make it with the processor of the same checkpoint"
    )]
    Grid {
        picture: usize,
        grid: [usize; 3],
        merge: usize,
    },

    /// Placeholders that do not agree with the grids of what is shown.
    #[error(
        "at token {position}: {found} placeholders in a row where {wanted} belong, of number {picture} of what is shown \
         (counted from 0); expand the prompt with the same grids"
    )]
    ImageRun {
        picture: usize,
        position: usize,
        wanted: usize,
        found: usize,
    },

    /// Pictures left over when all placeholders are used up.
    #[error(
        "{pictures} pictures, videos or frames are given, but the tokens hold places for only {found}; expand the prompt \
         with the same grids"
    )]
    UnusedGrids { pictures: usize, found: usize },

    /// A video with nothing to see.
    #[error("a video without frames; leave the row out")]
    NoFrames,

    /// A video too short for the frames that are wanted of it.
    #[error(
        "a video of {frames} frames is too short, at least {least} are needed; lower fps or num_frames, or leave the row \
         out"
    )]
    FewFrames { frames: usize, least: usize },

    /// A video of unknown speed, of which so many frames a second are wanted.
    #[error(
        "nobody said how many frames a second the video has, so fps cannot be followed; write fps beside the \
         video's path, or set num_frames in the processor's file"
    )]
    UnknownFps,

    /// A frame that differs from the first.
    #[error(
        "frame {frame} of a video has {found_width}x{found_height} pixels and its first frame {width}x{height}; bring all \
         to one size"
    )]
    FrameSize {
        frame: usize,
        width: usize,
        height: usize,
        found_width: usize,
        found_height: usize,
    },

    /// Sound at a rate that the network was not trained on.
    #[error(
        "sound of {rate} samples a second came where {wanted} are needed; resample it first, for instance with \
         ffmpeg -i IN -ar {wanted} OUT.wav"
    )]
    SamplingRate { rate: usize, wanted: usize },

    /// A sound with nothing to hear.
    #[error("a sound without samples; leave the row out")]
    NoSamples,

    /// A sound too short to become a token.
    #[error(
        "a sound of {samples} samples is too short for the network to hear; it needs {least}, so leave the row out"
    )]
    ShortSound { samples: usize, least: usize },
}
