//! What a network is given of a picture, video or sound: rows of numbers, and how they lie.

use crate::families::qwen2_audio::{FRAMES_BEHIND, features};
use crate::image_processor::{ImagePatches, PictureGrid};
use crate::mel::MelFeatures;

/// How something seen or heard is cut, without its numbers. Prompts and positions depend on nothing else.
#[derive(Clone, Debug, PartialEq)]
pub enum Extent {
    Picture(PictureGrid),
    Video(VideoExtent),
    /// A sound with this many frames of mel bands.
    Sound {
        frames: usize,
    },
}

/// How a video is cut.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoExtent {
    /// Patches along time, height and width.
    pub thw: [usize; 3],
    /// Seconds that a temporal patch stands for.
    pub second_per_grid: f64,
    /// Seconds from the start, one for each temporal patch.
    pub timestamps: Vec<f64>,
    /// Seconds that the whole video lasts.
    pub duration: f64,
}

impl Extent {
    /// The tower's grid: frames or tiles, height and width in patches; `[1, 1, rows]` for a sound.
    pub fn grid(&self) -> [usize; 3] {
        match self {
            Self::Picture(picture) => picture.thw,
            Self::Video(video) => video.thw,
            Self::Sound { frames } => [1, 1, frames + FRAMES_BEHIND],
        }
    }
}

/// Numbers of one picture, video or sound, ready for the tower.
#[derive(Clone, Debug, PartialEq)]
pub struct Percept {
    pub extent: Extent,
    /// `[rows, width]`, row-major: as many rows as [`Extent::grid`] has places. See [`ImagePatches::pixels`] for their order; those
    /// of a sound are its frames.
    pub rows: Vec<f32>,
}

impl From<ImagePatches> for Percept {
    fn from(patches: ImagePatches) -> Self {
        Self {
            extent: Extent::Picture(patches.grid()),
            rows: patches.pixels,
        }
    }
}

impl From<&MelFeatures> for Percept {
    /// Bands become columns. Silence behind the sound is left out, but for what the convolutions look at.
    fn from(mel: &MelFeatures) -> Self {
        let bands = mel.values.len() / mel.frames.max(1);
        let stored = mel.sounding + FRAMES_BEHIND;
        let mut rows = Vec::with_capacity(stored * bands);
        for frame in 0..stored {
            rows.extend((0..bands).map(|band| match frame < mel.frames {
                true => mel.values[band * mel.frames + frame],
                false => 0.0,
            }));
        }
        Self {
            extent: Extent::Sound {
                frames: mel.sounding,
            },
            rows,
        }
    }
}

/// Number of tokens that stand for a sound of so many frames.
pub(crate) fn sound_tokens(frames: usize) -> usize {
    features(frames)
}

/// What a row shows, a list for each kind, in the order that its messages' indices mean: percepts, or extents alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Media<T> {
    pub images: Vec<T>,
    pub videos: Vec<T>,
    pub audios: Vec<T>,
}

impl<T> Default for Media<T> {
    fn default() -> Self {
        Self {
            images: Vec::new(),
            videos: Vec::new(),
            audios: Vec::new(),
        }
    }
}

impl<T> Media<T> {
    /// Pictures alone.
    pub fn of_images(images: Vec<T>) -> Self {
        Self {
            images,
            ..Self::default()
        }
    }

    /// Number of pictures, videos and sounds.
    pub fn len(&self) -> usize {
        self.images.len() + self.videos.len() + self.audios.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them: pictures, videos, sounds.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.images.iter().chain(&self.videos).chain(&self.audios)
    }

    /// The one that is meant.
    pub fn get(&self, shown: ocelli_core::Shown) -> Option<&T> {
        use ocelli_core::Shown;
        match shown {
            Shown::Image(index) => self.images.get(index),
            Shown::Video { video } => self.videos.get(video),
            Shown::Audio { audio } => self.audios.get(audio),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_sound_become_rows() {
        let mel = MelFeatures {
            frames: 4,
            sounding: 3,
            values: vec![0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0],
        };
        let percept = Percept::from(&mel);
        assert_eq!(percept.extent.grid(), [1, 1, 5]);
        let wanted = [0.0, 10.0, 1.0, 11.0, 2.0, 12.0, 3.0, 13.0, 0.0, 0.0];
        assert_eq!(percept.rows, wanted);
    }
}
