//! Reinforcement learning for models that see: the program and the facade.
//!
//! The library behind the `ocelli` program. Its parts are crates of their own, re-exported here; the program's own files are
//! one a sub-command ([`commands`]), the terminal's view of a run ([`progress`]), and the report page ([`report`]).

pub use ocelli_core as core;
pub use ocelli_data as data;
pub use ocelli_env as env;
pub use ocelli_learn as learn;
pub use ocelli_model as model;
pub use ocelli_reward as reward;
pub use ocelli_rollout as rollout;

pub mod commands;
pub mod evaluation_table;
mod gold_table;
pub mod progress;
pub mod report;
mod score_table;
mod text_table;
