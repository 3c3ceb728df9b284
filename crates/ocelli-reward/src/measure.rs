//! Scores of typed predictions against typed gold values: pure functions, without any reading of text.
//!
//! One file holds one kind of comparison. Predictions may be anything: what a number that is not finite, an empty list
//! or a box without area scores is written at each function, and is never NaN. Weights, limits and scales come from a
//! recipe and must be finite. A function that must refuse its input, because the answer would take too long or the gold
//! value makes no sense, returns a [`MeasureError`].
//!
//! ```
//! use ocelli_reward::measure::box_rewards::vlm_r1_od_length;
//! use ocelli_reward::measure::detection::LabeledBox;
//!
//! let cat = |corners: [f64; 4]| LabeledBox { bounds: corners.into(), label: "cat" };
//! let gold = [cat([0.0, 0.0, 10.0, 10.0])];
//! let too_many = [gold[0], cat([50.0, 50.0, 60.0, 60.0])];
//! assert_eq!(vlm_r1_od_length(&too_many, &gold), Ok(0.5));
//! ```

pub mod average_precision;
pub mod box_rewards;
pub mod consistency;
pub mod curves;
pub mod detection;
pub mod driving;
mod error;
pub mod intervals;
pub mod layouts;
pub mod matching;
pub mod overlap;
pub mod points;
pub mod polygons;
pub mod relative_accuracy;
pub mod rouge;
pub mod routes;
pub mod sequences;
pub mod shape;
pub mod similarity;
pub mod stemmer;
pub mod symbolic_skeleton;
pub mod taxonomy;
pub mod tracks;

pub use error::MeasureError;
