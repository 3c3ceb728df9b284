//! Decoded pixels.

use std::sync::Arc;

/// An RGB picture, 8 bits a channel, rows from the top, shared cheaply between threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    rgb: Arc<[u8]>,
}

impl Picture {
    /// Wraps `rgb`, which holds `height` rows of `width` pixels of three bytes.
    ///
    /// # Panics
    /// If the buffer's length is not `width * height * 3`, or a side is zero.
    pub fn new(width: usize, height: usize, rgb: impl Into<Arc<[u8]>>) -> Self {
        let rgb = rgb.into();
        assert!(width > 0 && height > 0, "a picture has no empty side");
        assert_eq!(
            rgb.len(),
            width * height * 3,
            "RGB buffer of a {width}x{height} picture"
        );
        Self { width, height, rgb }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The bytes, `[height, width, 3]` row-major.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}
