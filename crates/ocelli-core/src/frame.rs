//! Coordinate frames: in which units a model writes the places it means, and the one way between them.
//!
//! A frame has an extent `(width, height)`; a coordinate goes from one frame to another as `x · to / from`, each axis by
//! itself. Nothing is rounded and nothing is clipped: systems that round say so at the place where they do (V-Triune
//! takes `int(x / width · 1000)`), and a place outside its frame is reported, because a model that answers in the wrong
//! frame must be seen and not be helped.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::BoundingBox;

/// The units of a coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// Pixels of the picture as the task holds it.
    SourcePixels,
    /// Pixels of the picture as the network sees it, after the processor's resize (Qwen2.5-VL; VLM-R1 scales these by
    /// `source / (14 · grid)`).
    ModelPixels,
    /// 0 to 1000 on both axes, whatever the picture's shape (Qwen2-VL, Qwen3-VL, InternVL).
    PerThousand,
    /// 0 to 1 on both axes.
    Unit,
}

/// The sizes that the pixel frames of one picture are measured in; neither has an empty side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredSizes")]
pub struct FrameSizes {
    source: [u32; 2],
    model: [u32; 2],
}

/// Sizes as a record has them, before they are checked.
#[derive(Deserialize)]
struct StoredSizes {
    source: [u32; 2],
    model: [u32; 2],
}

impl TryFrom<StoredSizes> for FrameSizes {
    type Error = FrameFailure;

    fn try_from(stored: StoredSizes) -> Result<Self, FrameFailure> {
        Self::new(stored.source, stored.model)
    }
}

/// Why a place could not be taken from one frame to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFailure {
    /// A picture with an empty side has no frame.
    EmptyPicture,
    /// A coordinate is NaN or infinite.
    NotFinite,
    /// A coordinate is below 0 or beyond the frame's extent.
    Outside(Frame),
}

impl fmt::Display for FrameFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyPicture => f.write_str("a picture with an empty side has no coordinates"),
            Self::NotFinite => f.write_str("a coordinate is not finite"),
            Self::Outside(frame) => {
                let named = match frame {
                    Frame::SourcePixels => "the source picture",
                    Frame::ModelPixels => "the picture as the model sees it",
                    Frame::PerThousand => "0 to 1000",
                    Frame::Unit => "0 to 1",
                };
                write!(f, "a coordinate is outside {named}")
            }
        }
    }
}

impl std::error::Error for FrameFailure {}

impl FrameSizes {
    /// From the `[width, height]` of the source picture and of the picture as the model sees it, in pixels.
    ///
    /// # Errors
    /// [`FrameFailure::EmptyPicture`] when a side is 0.
    pub fn new(source: [u32; 2], model: [u32; 2]) -> Result<Self, FrameFailure> {
        if source.contains(&0) || model.contains(&0) {
            return Err(FrameFailure::EmptyPicture);
        }
        Ok(Self { source, model })
    }

    /// The `[width, height]` of `frame` in its own units.
    pub fn extent(&self, frame: Frame) -> [f64; 2] {
        match frame {
            Frame::SourcePixels => self.source.map(f64::from),
            Frame::ModelPixels => self.model.map(f64::from),
            Frame::PerThousand => [1000.0; 2],
            Frame::Unit => [1.0; 2],
        }
    }

    /// Whether `point` lies in `frame`, its edges included.
    ///
    /// # Errors
    /// [`FrameFailure::NotFinite`] or [`FrameFailure::Outside`].
    pub fn check(&self, point: [f64; 2], frame: Frame) -> Result<(), FrameFailure> {
        if !point.iter().all(|coordinate| coordinate.is_finite()) {
            return Err(FrameFailure::NotFinite);
        }
        let inside = point
            .iter()
            .zip(self.extent(frame))
            .all(|(&coordinate, extent)| (0.0..=extent).contains(&coordinate));
        if inside {
            Ok(())
        } else {
            Err(FrameFailure::Outside(frame))
        }
    }

    /// `point` of `from` in the units of `to`, wherever it lies.
    pub fn rescale(&self, point: [f64; 2], from: Frame, to: Frame) -> [f64; 2] {
        if from == to {
            return point;
        }
        let [width, height] = self.extent(from);
        let [to_width, to_height] = self.extent(to);
        [point[0] * to_width / width, point[1] * to_height / height]
    }

    /// `point` of `from` in the units of `to`.
    ///
    /// # Errors
    /// As [`FrameSizes::check`] in `from`: a point is never clipped.
    pub fn convert(
        &self,
        point: [f64; 2],
        from: Frame,
        to: Frame,
    ) -> Result<[f64; 2], FrameFailure> {
        self.check(point, from)?;
        Ok(self.rescale(point, from, to))
    }

    /// `bounding_box` of `from` in the units of `to`, its corners each by [`FrameSizes::convert`].
    ///
    /// # Errors
    /// As [`FrameSizes::check`] for either corner. The order of the corners is not checked.
    pub fn convert_box(
        &self,
        bounding_box: BoundingBox,
        from: Frame,
        to: Frame,
    ) -> Result<BoundingBox, FrameFailure> {
        let BoundingBox { x1, y1, x2, y2 } = bounding_box;
        let [x1, y1] = self.convert([x1, y1], from, to)?;
        let [x2, y2] = self.convert([x2, y2], from, to)?;
        Ok(BoundingBox { x1, y1, x2, y2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: [Frame; 4] = [
        Frame::SourcePixels,
        Frame::ModelPixels,
        Frame::PerThousand,
        Frame::Unit,
    ];

    fn sizes() -> FrameSizes {
        FrameSizes::new([640, 480], [336, 252]).unwrap()
    }

    #[test]
    fn one_place_in_every_frame() {
        let written = [[160.0, 120.0], [84.0, 63.0], [250.0, 250.0], [0.25, 0.25]];
        for (from, point) in FRAMES.into_iter().zip(written) {
            for (to, wanted) in FRAMES.into_iter().zip(written) {
                assert_eq!(
                    sizes().convert(point, from, to),
                    Ok(wanted),
                    "{from:?} {to:?}"
                );
            }
        }
    }

    /// VLM-R1 multiplies by `source / (14 · grid)`: a grid of 24 × 18 patches is a picture of 336 × 252.
    #[test]
    fn model_pixels_are_those_of_vlm_r1() {
        let found = sizes().convert_box(
            BoundingBox::from([14.0, 28.0, 336.0, 252.0]),
            Frame::ModelPixels,
            Frame::SourcePixels,
        );
        let wanted = [14.0 * 640.0 / 336.0, 28.0 * 480.0 / 252.0, 640.0, 480.0];
        assert_eq!(found, Ok(wanted.into()));
    }

    #[test]
    fn the_edges_are_inside_and_nothing_is_clipped() {
        for frame in FRAMES {
            let [width, height] = sizes().extent(frame);
            let whole = BoundingBox::from([0.0, 0.0, width, height]);
            let to = Frame::PerThousand;
            assert_eq!(
                sizes().convert_box(whole, frame, to),
                Ok([0.0, 0.0, 1000.0, 1000.0].into())
            );
            for outside in [
                [-0.001, 0.0, width, height],
                [0.0, 0.0, width * 1.001, height],
                [0.0, 0.0, width, height * 1.001],
            ] {
                assert_eq!(
                    sizes().convert_box(outside.into(), frame, to),
                    Err(FrameFailure::Outside(frame))
                );
            }
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                assert_eq!(
                    sizes().convert([0.0, bad], frame, to),
                    Err(FrameFailure::NotFinite)
                );
            }
        }
    }

    #[test]
    fn a_box_in_the_wrong_frame_is_seen() {
        let pixels = BoundingBox::from([100.0, 100.0, 300.0, 200.0]);
        assert_eq!(
            sizes().convert_box(pixels, Frame::Unit, Frame::SourcePixels),
            Err(FrameFailure::Outside(Frame::Unit))
        );
    }

    #[test]
    fn a_picture_has_no_empty_side() {
        for (source, model) in [([0, 1], [1, 1]), ([1, 1], [1, 0])] {
            assert_eq!(
                FrameSizes::new(source, model),
                Err(FrameFailure::EmptyPicture)
            );
        }
    }

    #[test]
    fn recipes_name_frames_in_snake_case() {
        let names: Vec<String> = FRAMES
            .iter()
            .map(|f| serde_json::to_string(f).unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "\"source_pixels\"",
                "\"model_pixels\"",
                "\"per_thousand\"",
                "\"unit\""
            ]
        );
    }
}
