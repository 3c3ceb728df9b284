//! Decoded videos.

use crate::Picture;

/// Frames in order of time, all of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub frames: Vec<Picture>,
    /// Frames a second, if anybody said so.
    pub fps: Option<f64>,
}
