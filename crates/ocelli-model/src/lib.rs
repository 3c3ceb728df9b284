//! Vision-language networks, checkpoints and processors of Ocelli.

pub mod adapter;
pub mod chat_template;
pub mod checkpoint;
pub mod config;
pub mod decoder;
pub mod error;
pub mod expander;
pub mod families;
pub mod heads;
pub mod hub_cache;
#[cfg(feature = "hub")]
pub mod hub_download;
pub mod image_processor;
pub mod mel;
pub mod network;
pub mod ops;
pub mod part;
pub mod percept;
pub mod placeholder;
pub mod preset;
pub mod processing_error;
pub mod processor;
pub mod sight;
pub mod stored_model;
pub mod text_config;
pub mod tokenizer;
pub mod video_processor;
pub mod weights;

mod adapter_file;
mod layers;
mod low_rank;
mod size_checks;
