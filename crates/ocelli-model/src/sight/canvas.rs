//! Numbers back to a picture.

use ocelli_core::Picture;

/// A picture in the making.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            rgb: vec![0; width * height * 3],
        }
    }

    /// Draws a patch of `[3, planes, patch, patch]` numbers, of each of which `table` says what byte it was.
    pub(super) fn draw(
        &mut self,
        numbers: &[f32],
        planes: usize,
        patch: usize,
        [left, top]: [usize; 2],
        table: &[[f32; 256]; 3],
    ) {
        let area = patch * patch;
        for (channel, levels) in table.iter().enumerate() {
            for (i, &number) in numbers[channel * planes * area..][..area]
                .iter()
                .enumerate()
            {
                // The table rises from byte to byte.
                let above = levels.partition_point(|level| *level < number).min(255);
                let below = above.saturating_sub(1);
                let nearer = (levels[above] - number).abs() <= (number - levels[below]).abs();
                let byte = if nearer { above } else { below };
                let (x, y) = (left + i % patch, top + i / patch);
                self.rgb[(y * self.width + x) * 3 + channel] = byte as u8;
            }
        }
    }

    pub(super) fn picture(self) -> Picture {
        Picture::new(self.width, self.height, self.rgb)
    }
}
