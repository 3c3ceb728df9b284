//! The words of Ocelli as plain types.
//!
//! This crate owns what every other crate talks about: tasks, chat messages, pictures, clips, sounds, episodes, scores, seeded
//! random streams and metrics. It refuses tensors, files and the network.

pub mod calendar;
pub mod chat;
pub mod clip;
pub mod episode;
pub mod frame;
pub mod geometry;
pub mod metrics;
pub mod picture;
pub mod schedule;
pub mod score;
pub mod seed;
pub mod sound;
pub mod task;

pub use chat::{Message, Part, Role, Shown};
pub use clip::Clip;
pub use episode::{Call, Episode, Finish, Observation, Outcome, Segment, SegmentKind};
pub use frame::{Frame, FrameFailure, FrameSizes};
pub use geometry::BoundingBox;
pub use metrics::Metrics;
pub use picture::Picture;
pub use schedule::{Position, Progress, Schedule, Varying};
pub use score::{FailureKind, Verdict, VerifierError};
pub use seed::{Purpose, SeedKey};
pub use sound::Sound;
pub use task::{ImageSource, Target, Task, VideoSource};
