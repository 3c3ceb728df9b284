//! Boxes by frame: tracking, and grounding in space and time (OneThinker).

use ocelli_core::BoundingBox;
use serde::{Deserialize, Serialize};

use super::boxes::{BOX_KEYS, box_of};
use super::interval::named;
use super::json::{Value, documents};
use super::{MAX_ITEMS, ParseFailure};
use crate::measure::intervals::Interval;

/// The boxes of one object by frame, and when it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameBoxes {
    /// Seconds, when the answer says.
    pub time: Option<Interval>,
    /// By frame number or second as written, in rising order, each once: of equal keys the last counts.
    pub boxes: Vec<(f64, BoundingBox)>,
}

/// The boxes by frame of the first object of `text` that has some.
///
/// Forms: `{"boxes": {"1": [x1, y1, x2, y2], …}}`, with `"time": [start, end]` where the system asks for it; the inner
/// object alone; a list of objects with `frame` (or `time`) and a box.
///
/// # Errors
/// [`ParseFailure::NoFrames`], [`ParseFailure::BadFrameKey`] for a key that is no number, [`ParseFailure::BadBox`] for a
/// value that is no box, [`ParseFailure::TooMany`] beyond 10,000, and those of numbers and brackets.
pub fn parse_frame_boxes(text: &str) -> Result<FrameBoxes, ParseFailure> {
    for document in documents(text) {
        let document = document?;
        let value = &document.value;
        let entries: Vec<(Result<f64, ParseFailure>, &Value)> = match value {
            Value::List(items) if items.iter().any(|item| item.get("frame").is_some()) => items
                .iter()
                .map(|item| {
                    let frame = item.get("frame").and_then(Value::number);
                    let inside = item.get_any(&BOX_KEYS).unwrap_or(&Value::Null);
                    (frame.ok_or(ParseFailure::BadFrameKey), inside)
                })
                .collect(),
            Value::Object(own) => {
                let entries = match value.get("boxes") {
                    Some(Value::Object(inside)) => inside,
                    Some(_) => continue,
                    None if own
                        .iter()
                        .any(|(key, value)| frame_key(key).is_ok() && box_of(value).is_some()) =>
                    {
                        own
                    }
                    None => continue,
                };
                entries
                    .iter()
                    .map(|(key, inside)| (frame_key(key), inside))
                    .collect()
            }
            _ => continue,
        };
        if entries.len() > MAX_ITEMS {
            return Err(ParseFailure::TooMany);
        }
        let mut boxes: Vec<(f64, BoundingBox)> = Vec::with_capacity(entries.len());
        for (at, (frame, inside)) in entries.iter().enumerate() {
            match box_of(inside) {
                Some(found) => boxes.push(((*frame)?, found?)),
                None if document.cut && at + 1 == entries.len() => {}
                None => return Err(ParseFailure::BadBox),
            }
        }
        // The sort is stable, so the last of equal frames stays last and is kept.
        boxes.sort_by(|a, b| a.0.total_cmp(&b.0));
        boxes.reverse();
        boxes.dedup_by(|a, b| a.0 == b.0);
        boxes.reverse();
        let time = value.get("time").and_then(|_| named(value)).transpose()?;
        return Ok(FrameBoxes { time, boxes });
    }
    Err(ParseFailure::NoFrames)
}

/// `"12"`, `"12.5"` or `"12.5s"`.
fn frame_key(key: &str) -> Result<f64, ParseFailure> {
    let digits = key.trim();
    let digits = digits.strip_suffix('s').unwrap_or(digits);
    let plain = digits.len() <= 64 && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = digits.parse().ok().filter(|_| plain);
    number.ok_or(ParseFailure::BadFrameKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        let boxes = vec![
            (1.0, BoundingBox::from([1.0, 2.0, 3.0, 4.0])),
            (12.0, BoundingBox::from([5.0, 6.0, 7.0, 8.0])),
        ];
        for text in [
            r#"{"boxes": {"1": [1, 2, 3, 4], "12": [5, 6, 7, 8]}}"#,
            r#"{"12": [5, 6, 7, 8], "1": [1, 2, 3, 4]}"#,
            "{1: [1, 2, 3, 4], 12: [5, 6, 7, 8]}",
            r#"{"1": [0, 0, 0, 0], "1": [1, 2, 3, 4], "12s": [5, 6, 7, 8]}"#,
            r#"[{"frame": 1, "bbox_2d": [1, 2, 3, 4]}, {"frame": 12, "bbox": [5, 6, 7, 8]}]"#,
            r#"{"boxes": {"1": [1, 2, 3, 4], "12": [5, 6, 7, 8], "13": [9"#,
        ] {
            let wanted = FrameBoxes {
                time: None,
                boxes: boxes.clone(),
            };
            assert_eq!(parse_frame_boxes(text), Ok(wanted), "{text}");
        }
        let timed =
            parse_frame_boxes(r#"{"time": [0.5, 2], "boxes": {"1": [1, 2, 3, 4]}}"#).unwrap();
        assert_eq!(
            timed.time,
            Some(Interval {
                start: 0.5,
                end: 2.0
            })
        );
        assert_eq!(timed.boxes, boxes[..1]);
    }

    #[test]
    fn refuses_what_has_no_frames() {
        for (text, failure) in [
            ("", ParseFailure::NoFrames),
            ("[1, 2, 3, 4]", ParseFailure::NoFrames),
            (r#"{"boxes": [1, 2, 3, 4]}"#, ParseFailure::NoFrames),
            (
                r#"{"boxes": {"one": [1, 2, 3, 4]}}"#,
                ParseFailure::BadFrameKey,
            ),
            (
                r#"{"boxes": {"-1": [1, 2, 3, 4]}}"#,
                ParseFailure::BadFrameKey,
            ),
            (r#"{"boxes": {"1": [1, 2, 3]}}"#, ParseFailure::BadBox),
            (
                r#"{"boxes": {"1": [1, 2, 3, 1e10]}}"#,
                ParseFailure::NumberTooLarge,
            ),
            (
                r#"{"time": [-1, 2], "boxes": {"1": [1, 2, 3, 4]}}"#,
                ParseFailure::NegativeTime,
            ),
        ] {
            assert_eq!(parse_frame_boxes(text), Err(failure), "{text}");
        }
    }
}
