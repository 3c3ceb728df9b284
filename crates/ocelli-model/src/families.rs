//! The towers of the supported families, one file each: their configuration, the names of their tensors, and how they
//! turn patches into features. The language model under them is [`crate::decoder`].

pub mod internvl;
pub mod qwen2_5_vl;
pub mod qwen2_audio;
pub mod qwen2_vl;
pub mod qwen3_vl;
pub mod smolvlm;

pub(crate) mod qwen_tower;

mod qwen_grid;
mod tiles;

pub(crate) use qwen_grid::places as qwen_places;
