//! Answer parsers, verifiers and the reward graph of Ocelli.
//!
//! This crate owns the way from a recorded episode to one number: tags find the answer in the text, a payload parser
//! reads it, a verifier compares it with the task's target, and the graph weighs the verdicts. It refuses tensors and
//! anything an episode does not record, so a saved episode can be scored again at any time. A [`Plugin`], a reward that
//! the user has written in Python, does as it likes in a process of its own. Files and the network are left to three
//! modules behind features: [`server`] (feature `server`) puts a graph behind HTTP, [`client`] asks such servers, and
//! [`scorer`] asks models (both feature `judge`). Nodes of a graph that need any of these run from
//! [`RewardGraph::start`] on.
//!
//! ```
//! use ocelli_reward::{parse_box, sections};
//!
//! let turn = "<think>top left</think><answer>[0, 0, 10, 20]</answer>";
//! let found = sections(turn);
//! assert!(found.well_formed);
//! assert_eq!(parse_box(found.answer.unwrap()).unwrap().y2, 20.0);
//! ```

mod builder;
#[cfg(feature = "judge")]
pub mod client;
mod combine;
mod condition;
mod config;
mod error;
#[cfg(test)]
mod fixtures;
mod grammar;
mod graph;
#[cfg(feature = "judge")]
mod http;
pub mod math;
pub mod measure;
mod node;
mod payload;
mod plugin;
#[cfg(any(feature = "server", feature = "judge"))]
pub mod protocol;
mod reward_list;
#[cfg(feature = "judge")]
pub mod scorer;
#[cfg(feature = "server")]
pub mod server;
mod service;
mod shape;
mod statistics;
mod suggest;
mod tags;
mod verifier;

pub use config::{
    Accepted, Combine, Conditions, NodeConfig, OnError, Role, Scope, Shape, Transform,
};
pub use error::RewardError;
pub use grammar::{
    Fault, Gap, Grammar, GrammarError, GrammarFailure, Holds, Marks, Once, Pick, Preset, Reading,
    Section,
};
pub use graph::RewardGraph;
pub use payload::{
    BoxList, Code, FrameBoxes, LabelledBox, LabelledPoint, ParseFailure, Payload, PayloadKind,
    PlacedObject, PointDepth, Segmentation, parse_box, parse_boxes, parse_centre_box, parse_code,
    parse_formula, parse_frame_boxes, parse_integers, parse_interval, parse_intervals, parse_label,
    parse_label_list, parse_label_set, parse_labelled_points, parse_layout, parse_letter,
    parse_meta_action, parse_number, parse_percent, parse_point_depths, parse_points,
    parse_polygon, parse_route, parse_segmentation, parse_text, parse_trajectory, parse_yes_no,
};
pub use plugin::{Completions, Plugin, PluginConfig, PluginError, PluginVerdict, Style};
pub use reward_list::RewardConfig;
pub use service::{EpisodeScorer, ModelScore, OpenModel, RewardModelConfig};
pub use statistics::{error_rate, parse_failures, record_rewards};
pub use tags::{Sections, sections, tag_credit};
pub use verifier::{AnswerIn, Verifier};
