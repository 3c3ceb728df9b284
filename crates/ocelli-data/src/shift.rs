//! Rows moved by a few pixels: the pictures, and the boxes that the answers give.
//!
//! A vision tower cuts pictures into patches, so an object looks different at every offset inside a patch. A row that is
//! shown at another place each time teaches as many offsets, and its answer cannot be learnt by heart. Learning from pixels
//! knows it as random shift (Kostrikov, Yarats and Fergus 2021).

use std::borrow::Cow;
use std::sync::Arc;

use ocelli_core::{BoundingBox, ImageSource, Part, Picture, SeedKey, Target, Task};
use rand::RngExt;

use crate::box_text::{parse_box, write_box};

/// The picture moved `by` pixels to the right and downwards; what comes in shows the nearest pixel of the edge.
pub(crate) fn moved_picture(picture: &Picture, by: [i32; 2]) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let source = |at: usize, by: i32, length: usize| {
        (at as i64 - i64::from(by)).clamp(0, length as i64 - 1) as usize
    };
    let columns: Vec<usize> = (0..width).map(|x| 3 * source(x, by[0], width)).collect();
    let mut rgb = Vec::with_capacity(picture.rgb().len());
    for y in 0..height {
        let start = 3 * width * source(y, by[1], height);
        let row = &picture.rgb()[start..start + 3 * width];
        for &column in &columns {
            rgb.extend_from_slice(&row[column..column + 3]);
        }
    }
    Picture::new(width, height, rgb)
}

/// The row with each picture moved by up to `shift` pixels in both directions. A target box moves with the first picture,
/// which keeps it inside, and so does every box `[x1, y1, x2, y2]` of the demonstration and of the rejected answer.
pub(crate) fn moved_row(
    task: &Arc<Task>,
    shift: u32,
    sizes: &[(usize, usize)],
    key: &SeedKey,
) -> Arc<Task> {
    let mut row = Task::clone(task);
    for (index, image) in row.images.iter_mut().enumerate() {
        let mut rng = key.clone().sample(index as u64).rng();
        let (width, height) = sizes[index];
        // Room on both sides of what has to stay inside.
        let room = match (&task.target, index) {
            (Some(Target::Box(b)), 0) => {
                let (width, height) = (width as f64, height as f64);
                [[b.x1, width - b.x2], [b.y1, height - b.y2]]
            }
            _ => [[f64::INFINITY; 2]; 2],
        };
        let by = room.map(|room| {
            let [before, after] = room.map(|room| room.floor().clamp(0.0, f64::from(shift)) as i32);
            rng.random_range(-before..=after)
        });
        if let (Some(Target::Box(target)), 0) = (&mut row.target, index) {
            *target = moved_box(target, by);
            for text in [&mut row.demonstration, &mut row.rejected] {
                *text = text
                    .take()
                    .map(|text| moved_boxes(&text, by, (width, height)));
            }
        }
        let of = Box::new(image.clone());
        *image = ImageSource::Moved { of, by };
    }
    Arc::new(row)
}

fn moved_box(b: &BoundingBox, by: [i32; 2]) -> BoundingBox {
    let [dx, dy] = by.map(f64::from);
    BoundingBox::from([b.x1 + dx, b.y1 + dy, b.x2 + dx, b.y2 + dy])
}

/// `text` with all its boxes moved, and cut to a picture of `width` × `height` pixels.
fn moved_boxes(text: &str, by: [i32; 2], (width, height): (usize, usize)) -> String {
    let mut written = String::new();
    let mut rest = text;
    while let Some((before, list, after)) = next_list(rest) {
        written.push_str(before);
        written.push_str(&match parse_box(list) {
            Some(b) => {
                let moved = moved_box(&b, by);
                let (x1, x2) = inside(moved.x1, moved.x2, width);
                let (y1, y2) = inside(moved.y1, moved.y2, height);
                Cow::Owned(write_box(&BoundingBox { x1, y1, x2, y2 }))
            }
            None => Cow::Borrowed(list),
        });
        rest = after;
    }
    written + rest
}

/// Both ends of a side moved into `0..=length`; one that is outside altogether keeps a pixel.
fn inside(low: f64, high: f64, length: usize) -> (f64, f64) {
    let length = length as f64;
    let low = low.clamp(0.0, length - 1.0);
    (low, high.clamp(low + 1.0, length))
}

/// The first list in square brackets with no other bracket inside, and the text on both sides of it.
fn next_list(text: &str) -> Option<(&str, &str, &str)> {
    let close = text.find(']')?;
    let open = text[..close].rfind('[');
    let Some(open) = open else {
        // A closing bracket alone is text.
        let (_, list, after) = next_list(&text[close + 1..])?;
        let start = text.len() - after.len() - list.len();
        return Some((&text[..start], list, after));
    };
    Some((&text[..open], &text[open..=close], &text[close + 1..]))
}

/// A part of the row that would no longer be true after a shift, and that nothing here can move: coordinates in a
/// question, or in an answer that is text.
pub(crate) fn coordinates(task: &Task) -> Option<&str> {
    let answer = match &task.target {
        Some(Target::Text(text)) => Some(text.as_str()),
        Some(Target::Box(_)) => None,
        None => task.demonstration.as_deref(),
    };
    let questions = task.messages.iter().flat_map(|message| &message.content);
    let questions = questions.filter_map(Part::as_text);
    answer.into_iter().chain(questions).find_map(numbers)
}

/// The first list of two or more numbers in square brackets.
fn numbers(mut text: &str) -> Option<&str> {
    while let Some((_, list, after)) = next_list(text) {
        let items = list[1..list.len() - 1].split(',');
        let count = items.clone().count();
        if count > 1 && items.clone().all(|item| item.trim().parse::<f64>().is_ok()) {
            return Some(list);
        }
        text = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli_core::{Message, Purpose, Role};
    use proptest::prelude::*;

    fn row(target: Option<Target>, demonstration: &str, question: &str) -> Arc<Task> {
        Arc::new(Task {
            id: "row".into(),
            messages: vec![Message::text(Role::User, question)],
            images: vec![ImageSource::Path("a.png".into()); 2],
            target,
            demonstration: Some(demonstration.into()),
            ..Task::default()
        })
    }

    fn key(step: u64) -> SeedKey {
        SeedKey::new(1, Purpose::Augment).step(step).task("row")
    }

    /// How far a picture was moved.
    fn by(task: &Task, index: usize) -> [i32; 2] {
        match &task.images[index] {
            ImageSource::Moved { by, .. } => *by,
            other => panic!("{other:?} is not moved"),
        }
    }

    #[test]
    fn pixels_move_and_edges_repeat() {
        let rgb: Vec<u8> = (0..12u8).flat_map(|value| [value; 3]).collect();
        let picture = Picture::new(4, 3, rgb);
        let shown = |by| {
            let moved = moved_picture(&picture, by);
            moved.rgb().iter().step_by(3).copied().collect::<Vec<u8>>()
        };
        assert_eq!(shown([0, 0]), (0..12).collect::<Vec<u8>>());
        assert_eq!(shown([1, 0]), [0, 0, 1, 2, 4, 4, 5, 6, 8, 8, 9, 10]);
        assert_eq!(shown([-2, 1]), [2, 3, 3, 3, 2, 3, 3, 3, 6, 7, 7, 7]);
        assert_eq!(shown([0, -9]), [8, 9, 10, 11].repeat(3));
    }

    #[test]
    fn a_target_moves_with_its_picture_and_stays_inside() {
        let target = Some(Target::Box([2.0, 10.0, 30.0, 38.5].into()));
        let task = row(target, "It is [a], at [0, 8, 33, 40].", "Where?");
        let mut drawn = [Vec::new(), Vec::new()];
        for step in 0..300 {
            let moved = moved_row(&task, 4, &[(40, 40), (40, 40)], &key(step));
            let [dx, dy] = by(&moved, 0);
            let (x, y) = (f64::from(dx), f64::from(dy));
            let wanted = [2.0 + x, 10.0 + y, 30.0 + x, 38.5 + y];
            assert_eq!(moved.target, Some(Target::Box(wanted.into())));
            let (left, bottom) = ((x).max(0.0), (40.0 + y).min(40.0));
            let text = format!("It is [a], at [{left}, {}, {}, {bottom}].", 8 + dy, 33 + dx);
            assert_eq!(moved.demonstration.as_deref(), Some(text.as_str()));
            drawn[0].push(dx);
            drawn[1].push(dy);
            // The second picture is free.
            assert!(by(&moved, 1).iter().all(|by| by.abs() <= 4));
            assert_eq!(moved.id, task.id);
        }
        let range = |drawn: &[i32]| (drawn.iter().min().copied(), drawn.iter().max().copied());
        assert_eq!(range(&drawn[0]), (Some(-2), Some(4)));
        assert_eq!(range(&drawn[1]), (Some(-4), Some(1)));
    }

    #[test]
    fn a_row_without_a_box_moves_freely_and_keeps_its_answer() {
        let task = row(Some(Target::Text("7".into())), "<answer>7</answer>", "Sum?");
        let mut seen = Vec::new();
        for step in 0..200 {
            let moved = moved_row(&task, 3, &[(9, 9), (9, 9)], &key(step));
            assert_eq!(moved.target, task.target);
            assert_eq!(moved.demonstration, task.demonstration);
            seen.extend(by(&moved, 0));
            let again = moved_row(&task, 3, &[(9, 9), (9, 9)], &key(step));
            assert_eq!(moved, again);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [-3, -2, -1, 0, 1, 2, 3]);
    }

    #[test]
    fn coordinates_that_nothing_can_move_are_found() {
        let text = |text: &str| Some(Target::Text(text.into()));
        let found = |task: &Arc<Task>| coordinates(task).map(str::to_owned);
        assert_eq!(found(&row(text("7"), "", "What is it? [x] a[0]")), None);
        assert_eq!(
            found(&row(text("at ] [3, 4.5]"), "", "")).as_deref(),
            Some("[3, 4.5]")
        );
        let question = "What is in [1, 2, 3, 4]?";
        let target = Some(Target::Box([0.0, 0.0, 1.0, 1.0].into()));
        assert_eq!(
            found(&row(target.clone(), "", question)).as_deref(),
            Some("[1, 2, 3, 4]")
        );
        assert_eq!(found(&row(target, "[1, 2, 3, 4]", "Where?")), None);
        assert_eq!(found(&row(None, "[1, 2]", "")).as_deref(), Some("[1, 2]"));
    }

    proptest! {
        #[test]
        fn any_text_is_moved(text in r"[\[\], 0-9a]{0,40}", dx in -9i32..9) {
            let still = moved_boxes(&text, [0, 0], (10_000, 10_000));
            let _ = moved_boxes(&text, [dx, -dx], (5, 5));
            let _ = numbers(&text);
            if !text.contains('[') {
                prop_assert_eq!(still, text);
            }
        }
    }
}
