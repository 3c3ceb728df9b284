//! Environments and calls of Ocelli.
//!
//! This crate owns the [`Env`] trait, the built-in envs and the codecs between a turn's text and a call. An env sees
//! tasks and calls and shows messages; it refuses tensors and tokens, and keeps no record: that is the collector's.
//!
//! ```
//! use std::sync::Arc;
//! use ocelli_core::{Message, Purpose, Role, SeedKey, Task};
//! use ocelli_env::{CallCodec, Env, Question};
//!
//! let task = Arc::new(Task {
//!     id: "row-1".into(),
//!     messages: vec![Message::text(Role::User, "Where is the car?")],
//!     ..Task::default()
//! });
//! let mut env = Question::default();
//! let shown = env.reset(&task, &SeedKey::new(0, Purpose::Sampling)).unwrap();
//! assert_eq!(shown.messages, task.messages);
//! let step = env.step(&CallCodec::WholeText.decode("On the left.")).unwrap();
//! assert!(step.done && step.observation.is_none());
//! ```

mod codec;
mod env;
mod error;
mod question;
mod snapshot;

pub use codec::CallCodec;
pub use env::{Env, Step};
pub use error::EnvError;
pub use question::Question;
pub use snapshot::Snapshot;
