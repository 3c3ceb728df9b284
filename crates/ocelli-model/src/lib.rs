//! Vision-language networks, checkpoints and processors of Ocelli.

pub mod chat_template;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod expander;
pub mod image_processor;
pub mod mel;
pub mod ops;
pub mod placeholder;
pub mod preset;
pub mod processing_error;
pub mod processor;
pub mod qwen2_5_vl;
pub mod tokenizer;
pub mod video_processor;
pub mod weights;
