//! Answer parsers, verifiers and the reward graph of Ocelli.
//!
//! This crate owns the way from a recorded episode to one number: tags find the answer in the text, a payload parser
//! reads it, a verifier compares it with the task's target, and the graph weighs the verdicts. It refuses tensors,
//! files, the network and anything an episode does not record, so a saved episode can be scored again at any time.
//!
//! ```
//! use ocelli_reward::{parse_box, sections};
//!
//! let turn = "<think>top left</think><answer>[0, 0, 10, 20]</answer>";
//! let found = sections(turn);
//! assert!(found.well_formed);
//! assert_eq!(parse_box(found.answer.unwrap()).unwrap().y2, 20.0);
//! ```

mod config;
mod error;
#[cfg(test)]
mod fixtures;
mod graph;
pub mod math;
mod payload;
mod statistics;
mod suggest;
mod tags;
mod verifier;

pub use config::{Accepted, AnswerIn, NodeConfig, OnError, RewardConfig};
pub use error::RewardError;
pub use graph::RewardGraph;
pub use payload::{ParseFailure, parse_box, parse_number, parse_text};
pub use statistics::{error_rate, parse_failures, record_rewards};
pub use tags::{Sections, sections, tag_credit};
pub use verifier::Verifier;
