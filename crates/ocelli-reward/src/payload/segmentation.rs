//! A segmentation by prompts for a mask model: a box and points inside and outside (OneThinker).

use ocelli_core::BoundingBox;
use serde::{Deserialize, Serialize};

use super::ParseFailure;
use super::boxes::{BOX_KEYS, box_of};
use super::cursor::coordinate;
use super::json::{Value, documents};

/// What a mask model is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segmentation {
    /// Second of the frame; none for a picture.
    pub time: Option<f64>,
    /// Around the object.
    pub bounding_box: BoundingBox,
    /// On the object. OneThinker asks for three; the count is for the verifier.
    pub positive_points: Vec<[f64; 2]>,
    /// Beside the object.
    pub negative_points: Vec<[f64; 2]>,
}

/// The first object of `text` with `boxes` (or another name of a box), `positive_points` and `negative_points`.
///
/// # Errors
/// [`ParseFailure::NoSegmentation`] without an object that has any of the point keys, [`ParseFailure::MissingKey`],
/// [`ParseFailure::BadBox`], [`ParseFailure::BadPoint`], [`ParseFailure::NegativeTime`], and those of numbers and
/// brackets.
pub fn parse_segmentation(text: &str) -> Result<Segmentation, ParseFailure> {
    for document in documents(text) {
        let document = document?.value;
        let value = document
            .list()
            .and_then(<[Value]>::first)
            .unwrap_or(&document);
        if value
            .get_any(&["positive_points", "negative_points"])
            .is_none()
        {
            continue;
        }
        let boxed = value
            .get_any(&BOX_KEYS)
            .ok_or(ParseFailure::MissingKey("boxes"))?;
        let points = |key| -> Result<Vec<[f64; 2]>, ParseFailure> {
            let list = value.get(key).ok_or(ParseFailure::MissingKey(key))?;
            list.list()
                .ok_or(ParseFailure::BadPoint)?
                .iter()
                .map(point)
                .collect()
        };
        let time = match value.get("time") {
            None | Some(Value::Null) => None,
            Some(Value::Number(time)) if *time >= 0.0 => Some(*time),
            Some(Value::Number(_)) => return Err(ParseFailure::NegativeTime),
            Some(_) => return Err(ParseFailure::MissingKey("time")),
        };
        return Ok(Segmentation {
            time,
            bounding_box: box_of(boxed).ok_or(ParseFailure::BadBox)??,
            positive_points: points("positive_points")?,
            negative_points: points("negative_points")?,
        });
    }
    Err(ParseFailure::NoSegmentation)
}

fn point(value: &Value) -> Result<[f64; 2], ParseFailure> {
    let [x, y] = value.numbers().ok_or(ParseFailure::BadPoint)?;
    Ok([coordinate(x)?, coordinate(y)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pictures_and_videos() {
        let picture = r#"{"boxes": [1, 2, 3, 4], "positive_points": [[1, 2], [2, 3]], "negative_points": [[9, 9]]}"#;
        let wanted = Segmentation {
            time: None,
            bounding_box: [1.0, 2.0, 3.0, 4.0].into(),
            positive_points: vec![[1.0, 2.0], [2.0, 3.0]],
            negative_points: vec![[9.0, 9.0]],
        };
        assert_eq!(parse_segmentation(picture), Ok(wanted.clone()));
        let video = picture.replacen('{', r#"{"time": 2.5, "#, 1);
        let time = Some(2.5);
        assert_eq!(
            parse_segmentation(&video),
            Ok(Segmentation { time, ..wanted })
        );
    }

    #[test]
    fn refuses_what_is_incomplete() {
        for (text, failure) in [
            ("", ParseFailure::NoSegmentation),
            (r#"{"boxes": [1, 2, 3, 4]}"#, ParseFailure::NoSegmentation),
            (
                r#"{"positive_points": [], "negative_points": []}"#,
                ParseFailure::MissingKey("boxes"),
            ),
            (
                r#"{"boxes": [1, 2, 3, 4], "positive_points": []}"#,
                ParseFailure::MissingKey("negative_points"),
            ),
            (
                r#"{"boxes": [1, 2, 3], "positive_points": [], "negative_points": []}"#,
                ParseFailure::BadBox,
            ),
            (
                r#"{"boxes": [1, 2, 3, 4], "positive_points": [[1]], "negative_points": []}"#,
                ParseFailure::BadPoint,
            ),
            (
                r#"{"time": -1, "boxes": [1, 2, 3, 4], "positive_points": [], "negative_points": []}"#,
                ParseFailure::NegativeTime,
            ),
        ] {
            assert_eq!(parse_segmentation(text), Err(failure), "{text}");
        }
    }
}
