//! Credit, objectives, optimizers, stages and the training loop of Ocelli.
//!
//! Read [`grpo`] first: it is the loop. [`credit`] and [`objective`] are the mathematics it calls, [`algorithm`] the keys that
//! choose among them. [`curriculum`] says which rows a step draws and when a stage ends.

pub mod alarms;
pub mod algorithm;
pub mod credit;
pub mod curriculum;
pub mod difficulty;
pub mod dpo;
pub mod error;
pub mod evaluation;
pub mod forecast;
pub mod given_turns;
pub mod grpo;
pub mod memory;
pub mod objective;
pub mod observer;
pub mod optimizer;
pub mod packing;
pub mod preflight;
pub mod recipe;
mod recipe_data;
mod recipe_file;
pub mod reward;
mod reward_log;
pub mod reward_model;
pub mod run;
pub mod sft;
pub mod stage;
pub mod train;
pub mod trainable;

pub use error::LearnError;
pub use evaluation::EvalRow;
pub use observer::Observer;
pub use recipe::Recipe;
