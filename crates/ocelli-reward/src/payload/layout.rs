//! A layout of objects in a room (MetaSpatial).

use serde::{Deserialize, Serialize};

use super::cursor::coordinate;
use super::json::{Value, documents};
use super::{MAX_ITEMS, ParseFailure};

/// Where one object stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlacedObject {
    /// The object's name in the task.
    pub id: String,
    /// `[x, y, z]` of its centre, in the units of the room (metres in MetaSpatial).
    pub position: [f64; 3],
}

/// The first list of `text` of objects with a name (`new_object_id`, `id` or `name`) and a position: `x`, `y` and `z`, or
/// `position` with these or as a list of three.
///
/// # Errors
/// [`ParseFailure::NoLayout`], [`ParseFailure::BadLayoutItem`], [`ParseFailure::TooMany`] beyond 10,000, and those of
/// numbers and brackets.
pub fn parse_layout(text: &str) -> Result<Vec<PlacedObject>, ParseFailure> {
    for document in documents(text) {
        let document = document?;
        let Some(items) = document.value.list() else {
            continue;
        };
        if !matches!(items.first(), Some(Value::Object(_))) {
            continue;
        }
        if items.len() > MAX_ITEMS {
            return Err(ParseFailure::TooMany);
        }
        let mut objects = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match placed(item) {
                Some(object) => objects.push(object?),
                None if document.cut && at + 1 == items.len() => {}
                None => return Err(ParseFailure::BadLayoutItem),
            }
        }
        if !objects.is_empty() {
            return Ok(objects);
        }
    }
    Err(ParseFailure::NoLayout)
}

fn placed(item: &Value) -> Option<Result<PlacedObject, ParseFailure>> {
    let id = item.get_any(&["new_object_id", "id", "name"])?.text()?;
    let place = item.get("position").unwrap_or(item);
    let number = |key| place.get(key).and_then(Value::number);
    let position = match place.numbers::<3>() {
        Some(position) => position,
        None => [number("x")?, number("y")?, number("z")?],
    };
    let checked = position.iter().try_for_each(|n| coordinate(*n).map(drop));
    Some(checked.map(|()| PlacedObject {
        id: id.to_owned(),
        position,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_a_position() {
        for text in [
            r#"[{"new_object_id": "bed_1", "x": 1, "y": 2.5, "z": 0}]"#,
            r#"[{"name": "bed_1", "position": {"x": 1, "y": 2.5, "z": 0}}]"#,
            r#"[{"id": "bed_1", "position": [1, 2.5, 0]}]"#,
            r#"[{"id": "bed_1", "position": [1, 2.5, 0]}, {"id": "lamp", "x": 1"#,
        ] {
            let wanted = PlacedObject {
                id: "bed_1".to_owned(),
                position: [1.0, 2.5, 0.0],
            };
            assert_eq!(parse_layout(text), Ok(vec![wanted]), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_layout() {
        for (text, failure) in [
            ("", ParseFailure::NoLayout),
            ("[]", ParseFailure::NoLayout),
            ("[[1, 2, 3]]", ParseFailure::NoLayout),
            (
                r#"[{"id": "a", "x": 1, "y": 2}]"#,
                ParseFailure::BadLayoutItem,
            ),
            (r#"[{"x": 1, "y": 2, "z": 3}]"#, ParseFailure::BadLayoutItem),
            (
                r#"[{"id": "a", "x": 1, "y": 2, "z": -1e10}]"#,
                ParseFailure::NumberTooLarge,
            ),
        ] {
            assert_eq!(parse_layout(text), Err(failure), "{text}");
        }
    }
}
