//! Coloured shapes and how they are painted.

use ocelli_core::BoundingBox;
use serde::{Deserialize, Serialize};

/// Colours that a reader would call by one name, far apart in RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    Red,
    Green,
    Blue,
    Yellow,
    Purple,
    Orange,
    Cyan,
    Brown,
    Black,
}

impl Color {
    /// The word used in questions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::Purple => "purple",
            Self::Orange => "orange",
            Self::Cyan => "cyan",
            Self::Brown => "brown",
            Self::Black => "black",
        }
    }

    /// Red, green and blue, 8 bits each.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [214, 40, 40],
            Self::Green => [42, 157, 62],
            Self::Blue => [38, 84, 210],
            Self::Yellow => [242, 205, 30],
            Self::Purple => [132, 50, 168],
            Self::Orange => [245, 130, 25],
            Self::Cyan => [30, 190, 205],
            Self::Brown => [120, 72, 32],
            Self::Black => [20, 20, 20],
        }
    }
}

/// Shapes that fill a square; the name says which part of it is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
}

impl Shape {
    /// The word used in questions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Diamond => "diamond",
            Self::Cross => "cross",
        }
    }

    /// Whether all points between two points of the shape belong to it.
    fn is_convex(self) -> bool {
        self != Self::Cross
    }

    /// Whether the point (x, y) of the unit square, y downward, belongs to the shape.
    fn covers(self, x: f64, y: f64) -> bool {
        let (dx, dy) = ((x - 0.5).abs(), (y - 0.5).abs());
        match self {
            Self::Circle => dx * dx + dy * dy <= 0.25,
            Self::Square => true,
            Self::Triangle => dx <= y / 2.0,
            Self::Diamond => dx + dy <= 0.5,
            Self::Cross => dx <= 1.0 / 6.0 || dy <= 1.0 / 6.0,
        }
    }
}

/// A square buffer of RGB pixels that shapes are painted on.
pub(crate) struct Canvas {
    side: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    /// `side` × `side` pixels of one colour.
    pub(crate) fn new(side: usize, background: [u8; 3]) -> Self {
        Self {
            side,
            rgb: background.repeat(side * side),
        }
    }

    /// The bytes, `[side, side, 3]`.
    pub(crate) fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }

    /// Paints `shape` into the square of `size` pixels at (`left`, `top`), which lies on the canvas, and returns the
    /// tight box around the pixels that were changed: `x2` and `y2` are the first column and row beyond them.
    ///
    /// With `smooth` edges, 4×4 points a pixel decide how much of the colour it takes; otherwise its centre decides
    /// between all and nothing.
    pub(crate) fn paint(
        &mut self,
        shape: Shape,
        color: Color,
        [left, top]: [usize; 2],
        size: usize,
        smooth: bool,
    ) -> BoundingBox {
        let grid: usize = if smooth { 4 } else { 1 };
        let all = (grid * grid) as u32;
        // The points of a row or column of the unit square; those of one pixel stand together.
        let step = 1.0 / grid as f64;
        let points: Vec<f64> = (0..size * grid)
            .map(|i| ((i / grid) as f64 + ((i % grid) as f64 + 0.5) * step) / size as f64)
            .collect();
        let paint = color.rgb();
        let (mut x1, mut y1, mut x2, mut y2) = (size, size, 0, 0);
        for y in 0..size {
            for x in 0..size {
                let of_pixel = |at: usize| &points[at * grid..][..grid];
                let covered = coverage(shape, of_pixel(x), of_pixel(y));
                if covered == 0 {
                    continue;
                }
                (x1, y1) = (x1.min(x), y1.min(y));
                (x2, y2) = (x2.max(x + 1), y2.max(y + 1));
                let at = ((top + y) * self.side + left + x) * 3;
                for (value, paint) in self.rgb[at..at + 3].iter_mut().zip(paint) {
                    let (old, new) = (u32::from(*value), u32::from(paint));
                    *value = ((old * (all - covered) + new * covered + all / 2) / all) as u8;
                }
            }
        }
        let corner = |origin: usize, offset: usize| (origin + offset) as f64;
        BoundingBox {
            x1: corner(left, x1),
            y1: corner(top, y1),
            x2: corner(left, x2),
            y2: corner(top, y2),
        }
    }
}

/// How many of the points with these coordinates lie in `shape`.
fn coverage(shape: Shape, xs: &[f64], ys: &[f64]) -> u32 {
    let (Some((left, right)), Some((top, bottom))) = (ends(xs), ends(ys)) else {
        return 0;
    };
    let corners = [(left, top), (right, top), (left, bottom), (right, bottom)];
    // Most pixels lie wholly inside.
    if shape.is_convex() && corners.iter().all(|&(x, y)| shape.covers(x, y)) {
        return (xs.len() * ys.len()) as u32;
    }
    let inside = ys
        .iter()
        .map(|&y| xs.iter().filter(|&&x| shape.covers(x, y)).count());
    inside.sum::<usize>() as u32
}

/// The first and the last of some coordinates.
fn ends(values: &[f64]) -> Option<(f64, f64)> {
    Some((*values.first()?, *values.last()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [Shape; 5] = [
        Shape::Circle,
        Shape::Square,
        Shape::Triangle,
        Shape::Diamond,
        Shape::Cross,
    ];

    /// The box around everything that is not background, found without the painter's help.
    fn changed(rgb: &[u8], side: usize, background: [u8; 3]) -> BoundingBox {
        let mut found = [side, side, 0, 0];
        for (i, pixel) in rgb.chunks_exact(3).enumerate() {
            if pixel != background {
                let (x, y) = (i % side, i / side);
                found = [
                    found[0].min(x),
                    found[1].min(y),
                    found[2].max(x + 1),
                    found[3].max(y + 1),
                ];
            }
        }
        found.map(|v| v as f64).into()
    }

    #[test]
    fn boxes_are_tight_around_the_changed_pixels() {
        for shape in SHAPES {
            for size in 4..45 {
                for smooth in [false, true] {
                    let mut canvas = Canvas::new(64, [240; 3]);
                    let found = canvas.paint(shape, Color::Blue, [7, 11], size, smooth);
                    let expected = changed(&canvas.into_rgb(), 64, [240; 3]);
                    assert_eq!(found, expected, "{shape:?} {size} {smooth}");
                }
            }
        }
    }

    #[test]
    fn pixels_that_lie_wholly_inside_are_told_by_their_corners() {
        for shape in SHAPES {
            for size in 4..45 {
                let points: Vec<f64> = (0..4 * size)
                    .map(|i| (i as f64 + 0.5) / (4 * size) as f64)
                    .collect();
                for ys in points.chunks(4) {
                    for xs in points.chunks(4) {
                        let each = ys.iter().flat_map(|&y| xs.iter().map(move |&x| (x, y)));
                        let inside = each.filter(|&(x, y)| shape.covers(x, y)).count();
                        assert_eq!(coverage(shape, xs, ys), inside as u32, "{shape:?} {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_smooth_circle_fills_its_square_from_side_to_side() {
        let mut canvas = Canvas::new(64, [240; 3]);
        let found = canvas.paint(Shape::Circle, Color::Red, [10, 20], 30, true);
        assert_eq!(found, [10.0, 20.0, 40.0, 50.0].into());
        let rgb = canvas.into_rgb();
        let pixel = |x: usize, y: usize| &rgb[(y * 64 + x) * 3..][..3];
        assert_eq!(pixel(25, 35), Color::Red.rgb());
        assert_eq!(pixel(10, 20), [240; 3]);
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for shape in SHAPES {
            let json = serde_json::to_value(shape).unwrap();
            assert_eq!(json, shape.name());
        }
        for color in [Color::Red, Color::Purple, Color::Black] {
            assert_eq!(serde_json::to_value(color).unwrap(), color.name());
        }
    }
}
