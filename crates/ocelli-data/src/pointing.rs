//! The generator `pointing`: coloured shapes on a light ground, and the question where one of them is.
//!
//! Every row has its own random stream, keyed by its name, so row 17 is the same whether 18 or a million rows are made
//! and on however many threads. Boxes are continuous: `[x1, y1, x2, y2]` with `x2 − x1` the width in pixels.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ocelli_core::{
    BoundingBox, ImageSource, Message, Part, Picture, Purpose, Role, SeedKey, Target, Task,
};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::config::Split;
use crate::error::DataError;
use crate::shapes::{Canvas, Color, Shape};

/// Free pixels kept between two shapes.
const GAP: usize = 2;
/// Random placements tried before shapes are laid out on a grid.
const PLACEMENT_TRIES: usize = 200;
/// Grey levels of the plain ground.
const GROUND: RangeInclusive<u8> = 228..=250;
/// Smallest shape, in pixels: below it, shapes cannot be told apart.
const SMALLEST: usize = 4;

/// Largest side of a picture, in pixels.
const LARGEST_PICTURE: usize = 4096;

/// How hard the scenes of `pointing` are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PointingConfig {
    /// Fewest and most shapes in a scene.
    pub objects: [usize; 2],
    /// Smallest and largest side of a shape, in pixels.
    pub size: [usize; 2],
    /// Side of the square picture, in pixels.
    pub picture: usize,
    /// Colours to choose from.
    pub colors: Vec<Color>,
    /// Shapes to choose from.
    pub shapes: Vec<Shape>,
    /// Largest change of each value of each pixel by noise, in levels of 256; 0 leaves the picture clean.
    pub noise: u8,
    /// Whether the edges of shapes are smoothed.
    pub smooth: bool,
    /// How unevenly the scene is lit: the share of red light lost from right to left, of green from the bottom up, and of
    /// blue from left to right. With 0 the ground looks the same everywhere, and a network that knows relative positions only
    /// takes far longer to learn where things are.
    pub lighting: f64,
}

impl Default for PointingConfig {
    fn default() -> Self {
        use Color::{Blue, Green, Orange, Purple, Red, Yellow};
        Self {
            objects: [1, 2],
            size: [24, 44],
            picture: 112,
            colors: vec![Red, Green, Blue, Yellow, Purple, Orange],
            shapes: vec![Shape::Circle, Shape::Square, Shape::Triangle],
            noise: 0,
            smooth: true,
            lighting: 0.4,
        }
    }
}

impl PointingConfig {
    /// Checks that scenes can be made.
    ///
    /// # Errors
    /// If a range is empty or out of order, words repeat, there are fewer colour-shape pairs than shapes in a scene,
    /// or the largest shapes do not fit side by side.
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |problem: String| Err(DataError::config("pointing", problem));
        let [fewest, most] = self.objects;
        let [smallest, largest] = self.size;
        if fewest == 0 || fewest > most {
            return refuse(format!(
                "`objects = [{fewest}, {most}]` must be the fewest, at least 1, and the most"
            ));
        }
        if smallest < SMALLEST || smallest > largest {
            return refuse(format!(
                "`size = [{smallest}, {largest}]` must be the smallest, at least {SMALLEST}, and the largest, in pixels"
            ));
        }
        if self.picture > LARGEST_PICTURE {
            return refuse(format!(
                "`picture = {}` must be at most {LARGEST_PICTURE} pixels",
                self.picture
            ));
        }
        if !(0.0..=1.0).contains(&self.lighting) {
            return refuse(format!(
                "`lighting = {}` must be a share from 0 to 1",
                self.lighting
            ));
        }
        if repeats(&self.colors) || repeats(&self.shapes) {
            return refuse("`colors` and `shapes` must name each word once".to_owned());
        }
        let pairs = self.colors.len() * self.shapes.len();
        if pairs < most {
            return refuse(format!(
                "{} colours × {} shapes make {pairs} kinds, but a scene may hold {most} objects, all different",
                self.colors.len(),
                self.shapes.len()
            ));
        }
        let room = (self.picture / (largest + GAP)).pow(2);
        if room < most {
            return refuse(format!(
                "a picture of {0}×{0} pixels has room for {room} shapes of {largest} pixels, but a scene may hold \
                 {most}: enlarge `picture`, or lower `objects` or `size`",
                self.picture
            ));
        }
        Ok(())
    }
}

/// Whether two entries are equal. The lists are a few words long.
fn repeats<T: PartialEq>(list: &[T]) -> bool {
    (1..list.len()).any(|i| list[..i].contains(&list[i]))
}

/// One shape of a scene.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub color: Color,
    pub shape: Shape,
    /// Tight box around the painted pixels, in whole pixels.
    pub bounding_box: BoundingBox,
}

impl Object {
    /// Such as `red circle`: unique in its scene.
    pub fn name(&self) -> String {
        format!("{} {}", self.color.name(), self.shape.name())
    }
}

/// What a generated picture shows and what is asked about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Side of the picture, in pixels.
    pub side: usize,
    pub objects: Vec<Object>,
    /// Index of the object that the question is about.
    pub asked: usize,
}

impl Scene {
    /// The object that the question is about.
    pub fn subject(&self) -> &Object {
        &self.objects[self.asked]
    }

    /// Such as `Where is the red circle?`.
    pub fn question(&self) -> String {
        format!("Where is the {}?", self.subject().name())
    }
}

/// One generated row: the task, without demonstration, and the scene to make a demonstration from.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub task: Task,
    pub scene: Scene,
}

/// Makes the pictures of rows again from their names, so that not all have to be kept.
#[derive(Clone, Debug)]
pub struct Maker {
    config: PointingConfig,
    seed: u64,
    split: Split,
}

impl Maker {
    /// For the rows that [`generate`] makes of the same settings.
    pub fn new(config: PointingConfig, seed: u64, split: Split) -> Self {
        Self {
            config,
            seed,
            split,
        }
    }

    /// Row `index`.
    pub fn row(&self, index: usize) -> Row {
        generate(&self.config, self.seed, self.split, index)
    }

    /// Name of the picture of row `id` in a cache, which no file and no row of other settings has.
    pub fn name(&self, id: &str) -> PathBuf {
        format!("generated {:?} {} {id}", self.config, self.seed).into()
    }

    /// Side in pixels of all pictures.
    pub fn side(&self) -> usize {
        self.config.picture
    }

    /// The picture of row `id`.
    ///
    /// # Errors
    /// If no row is called so.
    pub fn picture(&self, id: &str) -> Result<Picture, DataError> {
        let index = id
            .strip_prefix(&row_name(self.split, ""))
            .and_then(|number| number.parse().ok());
        let index = index.ok_or_else(|| {
            DataError::picture(
                id,
                "no generated row is called so: keep the ids of generated rows",
            )
        })?;
        let mut row = self.row(index);
        match row.task.images.pop() {
            Some(ImageSource::Pixels(picture)) => Ok(picture),
            _ => Err(DataError::picture(id, "the row has no picture")),
        }
    }
}

/// Such as `pointing-train-000017`.
fn row_name(split: Split, number: &str) -> String {
    format!("pointing-{}-{number}", split.name())
}

/// Row `index` of `split`.
///
/// # Panics
/// If `config` would not pass [`PointingConfig::check`].
pub fn generate(config: &PointingConfig, seed: u64, split: Split, index: usize) -> Row {
    let id = row_name(split, &format!("{index:06}"));
    let mut rng = SeedKey::new(seed, Purpose::Generator)
        .task(id.as_str())
        .rng();
    let (scene, picture) = draw_scene(config, &mut rng);
    let question = Part::Text {
        text: scene.question(),
    };
    let tags = [
        ("task", "pointing".to_owned()),
        ("source", "pointing".to_owned()),
        ("objects", scene.objects.len().to_string()),
    ];
    let task = Task {
        id,
        messages: vec![Message {
            role: Role::User,
            content: vec![Part::Image { index: 0 }, question],
        }],
        images: vec![ImageSource::Pixels(picture)],
        target: Some(Target::Box(scene.subject().bounding_box)),
        tags: tags
            .map(|(key, value)| (key.to_owned(), value))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        ..Task::default()
    };
    Row { task, scene }
}

/// A whole model turn for `scene`: one sentence of reasoning that the picture bears out, then `written`, the box as
/// the annotator wrote it, which may be sloppy.
pub fn demonstration(scene: &Scene, written: &str) -> String {
    let subject = scene.subject();
    format!(
        "<think>The {} is at the {}.</think>\n<answer>{written}</answer>",
        subject.name(),
        place(&subject.bounding_box, scene.side),
    )
}

/// Which ninth of the picture holds the middle of the box, in words.
fn place(bounding_box: &BoundingBox, side: usize) -> &'static str {
    let third =
        |low: f64, high: f64| ((low + high) / 2.0 * 3.0 / side as f64).clamp(0.0, 2.0) as usize;
    let row = third(bounding_box.y1, bounding_box.y2);
    let column = third(bounding_box.x1, bounding_box.x2);
    const PLACES: [[&str; 3]; 3] = [
        ["top left", "top", "top right"],
        ["left", "center", "right"],
        ["bottom left", "bottom", "bottom right"],
    ];
    PLACES[row][column]
}

/// Draws what a scene holds and paints it.
fn draw_scene(config: &PointingConfig, rng: &mut impl Rng) -> (Scene, Picture) {
    let side = config.picture;
    let ground = rng.random_range(GROUND);
    let count = rng.random_range(config.objects[0]..=config.objects[1]);
    let mut kinds: Vec<(Color, Shape)> = config
        .colors
        .iter()
        .flat_map(|&color| config.shapes.iter().map(move |&shape| (color, shape)))
        .collect();
    let (kinds, _) = kinds.partial_shuffle(rng, count);
    let sizes: Vec<usize> = (0..count)
        .map(|_| rng.random_range(config.size[0]..=config.size[1]))
        .collect();
    let corners = place_squares(&sizes, config.size[1], side, rng);

    let mut canvas = Canvas::new(side, [ground; 3]);
    let objects: Vec<Object> = kinds
        .iter()
        .zip(corners.iter().zip(&sizes))
        .map(|(&(color, shape), (&corner, &size))| Object {
            color,
            shape,
            bounding_box: canvas.paint(shape, color, corner, size, config.smooth),
        })
        .collect();
    let asked = rng.random_range(0..count);

    let mut rgb = canvas.into_rgb();
    // Last, so that the same seed gives the same scenes with and without noise.
    add_noise(&mut rgb, config.noise, rng);
    light(&mut rgb, side, config.lighting);
    let scene = Scene {
        side,
        objects,
        asked,
    };
    (scene, Picture::new(side, side, rgb))
}

/// Upper left corners for squares of `sizes` that keep [`GAP`] between each other, at random. When chance does not
/// find room, they go to random cells of a grid in which even squares of `largest` fit.
fn place_squares(
    sizes: &[usize],
    largest: usize,
    side: usize,
    rng: &mut impl Rng,
) -> Vec<[usize; 2]> {
    for _ in 0..PLACEMENT_TRIES {
        let corners: Vec<[usize; 2]> = sizes
            .iter()
            .map(|size| [0; 2].map(|_: usize| rng.random_range(0..=side - size)))
            .collect();
        let apart = (1..sizes.len())
            .all(|i| (0..i).all(|j| are_apart(corners[i], sizes[i], corners[j], sizes[j])));
        if apart {
            return corners;
        }
    }
    let columns = side / (largest + GAP);
    let mut cells: Vec<usize> = (0..columns * columns).collect();
    cells.shuffle(rng);
    cells
        .iter()
        .zip(sizes)
        .map(|(cell, _)| [cell % columns, cell / columns].map(|index| index * (largest + GAP)))
        .collect()
}

/// Whether two squares keep their distance along one axis at least.
fn are_apart(a: [usize; 2], a_size: usize, b: [usize; 2], b_size: usize) -> bool {
    (0..2).any(|axis| a[axis] + a_size + GAP <= b[axis] || b[axis] + b_size + GAP <= a[axis])
}

/// Dims each channel along its own direction; see [`PointingConfig::lighting`].
fn light(rgb: &mut [u8], side: usize, lost: f64) {
    let falloff: Vec<f64> = (0..side).map(|i| lost * i as f64 / side as f64).collect();
    for (y, row) in rgb.chunks_exact_mut(3 * side).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let kept = [
                1.0 - lost + falloff[x],
                1.0 - lost + falloff[y],
                1.0 - falloff[x],
            ];
            for (value, kept) in pixel.iter_mut().zip(kept) {
                *value = (f64::from(*value) * kept) as u8;
            }
        }
    }
}

/// Adds to each value an integer drawn uniformly from `-amplitude..=amplitude`.
fn add_noise(rgb: &mut [u8], amplitude: u8, rng: &mut impl Rng) {
    if amplitude == 0 {
        return;
    }
    let span = 2 * u32::from(amplitude) + 1;
    let mut draws = vec![0_u8; rgb.len()];
    rng.fill_bytes(&mut draws);
    for (value, draw) in rgb.iter_mut().zip(draws) {
        // Scaling a byte to the span is uniform enough for noise, and fast.
        let shift = (u32::from(draw) * span / 256) as i16 - i16::from(amplitude);
        *value = (i16::from(*value) + shift).clamp(0, 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn default_row(seed: u64, split: Split, index: usize) -> Row {
        generate(&PointingConfig::default(), seed, split, index)
    }

    fn pixels(row: &Row) -> &Picture {
        match &row.task.images[0] {
            ImageSource::Pixels(picture) => picture,
            other => panic!("generated pictures are pixels, not {other:?}"),
        }
    }

    #[test]
    fn a_row_is_made_by_its_seed_split_and_number() {
        let row = default_row(7, Split::Train, 123);
        assert_eq!(row, default_row(7, Split::Train, 123));
        assert_eq!(row.task.id, "pointing-train-000123");
        assert_eq!(row.task.kind(), "pointing");
        for other in [
            default_row(8, Split::Train, 123),
            default_row(7, Split::Val, 123),
            default_row(7, Split::Train, 124),
        ] {
            assert_ne!(pixels(&row), pixels(&other));
        }
    }

    #[test]
    fn train_and_val_share_no_picture() {
        let pictures = |split| -> Vec<Vec<u8>> {
            (0..200)
                .map(|i| pixels(&default_row(0, split, i)).rgb().to_vec())
                .collect()
        };
        let train = pictures(Split::Train);
        assert!(pictures(Split::Val).iter().all(|p| !train.contains(p)));
    }

    #[test]
    fn the_box_holds_the_colour_asked_for_and_is_tight() {
        // Even light and hard edges leave the colours as they are named; no other shape of the scene has the subject's.
        let config = PointingConfig {
            lighting: 0.0,
            smooth: false,
            ..PointingConfig::default()
        };
        let mut measured = 0;
        for index in 0..300 {
            let row = generate(&config, 1, Split::Train, index);
            let (scene, picture) = (&row.scene, pixels(&row));
            let subject = scene.subject();
            assert_eq!(row.task.target, Some(Target::Box(subject.bounding_box)));
            let twins = scene.objects.iter().filter(|o| o.color == subject.color);
            if twins.count() > 1 {
                continue;
            }
            measured += 1;
            let mut found = [usize::MAX, usize::MAX, 0, 0];
            for (i, pixel) in picture.rgb().chunks_exact(3).enumerate() {
                if pixel == subject.color.rgb() {
                    let (x, y) = (i % picture.width(), i / picture.width());
                    found = [
                        found[0].min(x),
                        found[1].min(y),
                        found[2].max(x + 1),
                        found[3].max(y + 1),
                    ];
                }
            }
            assert!(found[2] > 0, "row {index}: its colour is in the picture");
            let found: [f64; 4] = found.map(|v| v as f64);
            assert_eq!(subject.bounding_box, found.into(), "row {index}");
            let sides = [found[2] - found[0], found[3] - found[1]];
            assert!(
                sides.iter().all(|s| (23.0..=44.0).contains(s)),
                "row {index}: {sides:?}"
            );
        }
        assert!(measured > 200, "{measured} scenes");
    }

    #[test]
    fn pictures_are_made_again_as_they_were() {
        let maker = Maker::new(PointingConfig::default(), 3, Split::Val);
        let row = maker.row(21);
        assert_eq!(maker.picture(&row.task.id).unwrap(), *pixels(&row));
        for id in ["pointing-train-000021", "pointing-val-x", "row", ""] {
            assert!(maker.picture(id).is_err(), "{id}");
        }
        let other = Maker::new(PointingConfig::default(), 4, Split::Val);
        assert_ne!(maker.name("a"), other.name("a"));
    }

    #[test]
    fn demonstrations_say_where_and_carry_the_written_box() {
        let scene = Scene {
            side: 112,
            objects: vec![Object {
                color: Color::Red,
                shape: Shape::Circle,
                bounding_box: [12.0, 30.0, 55.0, 40.0].into(),
            }],
            asked: 0,
        };
        assert_eq!(scene.question(), "Where is the red circle?");
        assert_eq!(
            demonstration(&scene, "[8, 22, 60, 41]"),
            "<think>The red circle is at the top left.</think>\n<answer>[8, 22, 60, 41]</answer>"
        );
        assert_eq!(place(&[100.0, 40.0, 112.0, 60.0].into(), 112), "right");
        assert_eq!(place(&[40.0, 40.0, 60.0, 60.0].into(), 112), "center");
        assert_eq!(
            place(&[112.0, 112.0, 112.0, 112.0].into(), 112),
            "bottom right"
        );
    }

    #[test]
    fn noise_changes_pixels_but_not_the_scene() {
        let noisy = PointingConfig {
            noise: 6,
            ..PointingConfig::default()
        };
        let (clean, noisy) = (
            default_row(3, Split::Train, 5),
            generate(&noisy, 3, Split::Train, 5),
        );
        assert_eq!(clean.scene, noisy.scene);
        let shifts: Vec<u8> = pixels(&clean)
            .rgb()
            .iter()
            .zip(pixels(&noisy).rgb())
            .map(|(a, b)| a.abs_diff(*b))
            .collect();
        assert_eq!(shifts.iter().max(), Some(&6));
    }

    #[test]
    fn crowded_scenes_fall_back_to_the_grid() {
        let config = PointingConfig {
            objects: [16, 16],
            size: [26, 26],
            ..PointingConfig::default()
        };
        config.check().unwrap();
        let row = generate(&config, 0, Split::Train, 0);
        assert_eq!(row.scene.objects.len(), 16);
    }

    #[test]
    fn impossible_settings_are_refused() {
        let refused = |change: fn(&mut PointingConfig)| {
            let mut config = PointingConfig::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(refused(|c| c.objects = [0, 1]).contains("objects"));
        assert!(refused(|c| c.objects = [3, 2]).contains("objects"));
        assert!(refused(|c| c.objects = [1, 5]).contains("room for 4"));
        assert!(refused(|c| c.size = [3, 10]).contains("size"));
        assert!(refused(|c| c.size = [44, 24]).contains("size"));
        assert!(refused(|c| c.picture = 40).contains("room for 0"));
        assert!(refused(|c| c.colors = vec![]).contains("kinds"));
        assert!(refused(|c| c.colors = vec![Color::Red, Color::Red]).contains("once"));
    }

    proptest! {
        #[test]
        fn scenes_hold_different_shapes_apart_and_inside(
            most in 1usize..7,
            size in prop::array::uniform2(4usize..40),
            picture in 30usize..150,
            smooth: bool,
            index in 0usize..1000,
        ) {
            let size = [size[0].min(size[1]), size[0].max(size[1])];
            let config = PointingConfig { objects: [1, most], size, picture, smooth, ..PointingConfig::default() };
            prop_assume!(config.check().is_ok());
            let scene = generate(&config, 0, Split::Val, index).scene;
            for (i, object) in scene.objects.iter().enumerate() {
                let b = object.bounding_box;
                prop_assert!(b.x1 >= 0.0 && b.y1 >= 0.0 && b.x1 < b.x2 && b.y1 < b.y2);
                prop_assert!(b.x2 <= picture as f64 && b.y2 <= picture as f64);
                for other in &scene.objects[..i] {
                    prop_assert_eq!(b.iou(&other.bounding_box), 0.0);
                    prop_assert_ne!(object.name(), other.name());
                }
            }
        }
    }
}
