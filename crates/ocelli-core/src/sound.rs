//! Decoded sound.

/// Sound in one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples a second.
    pub rate: usize,
    /// Samples between −1 and 1.
    pub samples: Vec<f32>,
}
