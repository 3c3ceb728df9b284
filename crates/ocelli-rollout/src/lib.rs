//! Generation with a key-value cache and the episode collector of Ocelli.

pub mod cache;
pub mod collector;
pub mod generate;
pub mod perceive;
pub mod policy;
pub mod sampling;

pub use collector::{CollectError, CollectPlan, Group, Prepared, collect, prepare};
pub use policy::Policy;
pub use sampling::SamplingParams;
