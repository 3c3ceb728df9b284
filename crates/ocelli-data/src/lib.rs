//! Data sets, pictures and generators of tasks for Ocelli.
//!
//! This crate owns the way from outside bytes to [`ocelli_core::Task`]s: decoding and resizing pictures, reading data
//! sets, generating tasks, and making the demonstrations of supervised stages. It refuses models and tensors.
//!
//! Start at [`load`]: a [`DataConfig`] (the `data = { … }` table of a recipe) becomes a [`Dataset`]. [`Pool`] says in which order a stage
//! draws its rows.

pub mod augment;
pub mod box_text;
pub mod cache;
mod cell;
pub mod config;
mod conversation;
pub mod conversion;
mod data_file;
pub mod dataset;
pub mod decode;
pub mod difficulty;
mod embedded;
pub mod error;
mod files;
mod format_prompt;
pub mod frames;
mod json_rows;
pub mod label_noise;
mod layout;
mod media_column;
pub mod mixture;
pub mod order;
mod parquet_rows;
mod picture_column;
pub mod pointing;
pub mod pool;
pub mod resample;
pub mod resize;
pub mod shapes;
mod shift;
pub mod sound;
pub mod source;
pub mod sources;
pub mod suggest;
mod table;
pub mod template;
pub mod vlm_r1;

pub use augment::Augment;
pub use cache::PictureCache;
pub use config::{Answers, DataConfig, Format, Generator, Split};
pub use conversion::Conversion;
pub use dataset::Dataset;
pub use decode::{
    decode_picture, decode_picture_as, decode_picture_bytes, encode_png, picture_size,
    picture_size_bytes,
};
pub use difficulty::Difficulty;
pub use error::DataError;
pub use frames::{
    ClipSize, clip_from_animation, clip_from_folder, clip_from_video, measure_clip, open_clip,
};
pub use label_noise::LabelNoise;
pub use order::epoch_order;
pub use pointing::PointingConfig;
pub use pool::{Arrangement, Pool};
pub use resample::{resample, resampled_length};
pub use resize::{Filter, PassOrder, resize, resize_bicubic, resize_torchvision};
pub use sound::{measure_wav, read_wav};
pub use source::{load, load_with};
pub use sources::{DataSources, load_sources};
pub use suggest::suggest;
