//! Data sets, pictures and generators of tasks for Ocelli.
//!
//! This crate owns the way from outside bytes to [`ocelli_core::Task`]s: decoding and resizing pictures, reading data
//! sets, generating tasks, and making the demonstrations of supervised stages. It refuses models and tensors.
//!
//! Start at [`load`]: a [`DataConfig`] (the `data = { … }` table of a recipe) becomes a [`Dataset`].

pub mod augment;
pub mod box_text;
pub mod cache;
pub mod config;
pub mod dataset;
pub mod decode;
pub mod error;
pub mod label_noise;
pub mod order;
pub mod pointing;
pub mod resize;
pub mod shapes;
pub mod source;
pub mod suggest;
pub mod template;
pub mod vlm_r1;

pub use augment::Augment;
pub use cache::PictureCache;
pub use config::{DataConfig, Format, Generator, Split};
pub use dataset::Dataset;
pub use decode::{decode_picture, decode_picture_bytes, encode_png, picture_size};
pub use error::DataError;
pub use label_noise::LabelNoise;
pub use order::epoch_order;
pub use pointing::PointingConfig;
pub use resize::{PassOrder, resize_bicubic};
pub use source::load;
pub use suggest::suggest;
