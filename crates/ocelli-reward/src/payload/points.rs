//! Points: plain, labelled, with depths, as a polygon, as a trajectory.

use serde::{Deserialize, Serialize};

use super::cursor::{Cursor, coordinate};
use super::json::{Value, documents};
use super::{MAX_ITEMS, ParseFailure};

const POINT_KEYS: [&str; 6] = [
    "point_2d",
    "point",
    "coordinate",
    "coordinates",
    "position",
    "points",
];
const LABEL_KEYS: [&str; 4] = ["label", "name", "class", "object"];

/// A point `[x, y]` and what it is said to show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledPoint {
    /// In the units it is written in.
    pub point: [f64; 2],
    /// As written, not folded.
    pub label: Option<String>,
}

/// A point `[x, y]` with its depth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointDepth {
    /// In the units it is written in.
    pub point: [f64; 2],
    /// In the units it is written in: millimetres in Embodied-R1.
    pub depth: f64,
}

/// The points of `text`, as [`parse_labelled_points`] reads them.
///
/// # Errors
/// As [`parse_labelled_points`].
pub fn parse_points(text: &str) -> Result<Vec<[f64; 2]>, ParseFailure> {
    let points = parse_labelled_points(text)?;
    Ok(points.into_iter().map(|labelled| labelled.point).collect())
}

/// The points of `text` with their labels.
///
/// Forms: `<point>[[x, y], …]</point>` (Embodied-R1); `<point x="…" y="…" alt="…">` and `<points x1="…" y1="…" …>`
/// (Molmo); JSON, mended as for boxes: a list of points, a list of objects with `point_2d` (or `point`, `coordinate`,
/// …, or `x` and `y`) and `label`, one object, a label for each key; and points in prose, `(x, y)` or `[x, y]`, one
/// after the other. `[]` is an answer without points.
///
/// # Errors
/// [`ParseFailure::NoPoint`] when there is nothing of the kind, [`ParseFailure::BadPoint`] when an item is no point,
/// [`ParseFailure::TooMany`] beyond 10,000, and those of numbers and brackets.
pub fn parse_labelled_points(text: &str) -> Result<Vec<LabelledPoint>, ParseFailure> {
    if text.contains("<point x") || text.contains("<points x") {
        return molmo_points(text);
    }
    let mut points = Vec::new();
    for document in documents(between(text, "<point>", "</point>").unwrap_or(text)) {
        let document = document?;
        if let Some(point) = document.value.numbers::<2>() {
            // Points written one after the other.
            add(&mut points, point, None)?;
            continue;
        }
        if !points.is_empty() {
            break;
        }
        let good = add_points(&document.value, None, document.cut, 0, &mut points)?;
        if good && !(document.cut && points.is_empty()) {
            return Ok(points);
        }
    }
    if points.is_empty() {
        return Err(ParseFailure::NoPoint);
    }
    Ok(points)
}

/// The points of `text`, at least three.
///
/// # Errors
/// As [`parse_points`], and [`ParseFailure::TooFewPoints`]. Whether edges cross is not checked.
pub fn parse_polygon(text: &str) -> Result<Vec<[f64; 2]>, ParseFailure> {
    at_least(3, parse_points(text)?)
}

/// The points of `text` in the order of the way, at least two.
///
/// # Errors
/// As [`parse_points`], and [`ParseFailure::TooFewPoints`].
pub fn parse_trajectory(text: &str) -> Result<Vec<[f64; 2]>, ParseFailure> {
    at_least(2, parse_points(text)?)
}

/// The points of `text` with their depths: `<point>[[x, y], …]</point><depth>[d, …]</depth>` (Embodied-R1), objects with
/// `depth` beside the point, or lists `[x, y, depth]`.
///
/// # Errors
/// As [`parse_points`], [`ParseFailure::NoDepth`] without depths, [`ParseFailure::DepthCount`] when they are not as many
/// as the points.
pub fn parse_point_depths(text: &str) -> Result<Vec<PointDepth>, ParseFailure> {
    if let Some(inside) = between(text, "<depth>", "</depth>") {
        let points = parse_points(text)?;
        let depths = depths(inside)?;
        if depths.len() != points.len() {
            return Err(ParseFailure::DepthCount);
        }
        let pairs = points.into_iter().zip(depths);
        return Ok(pairs
            .map(|(point, depth)| PointDepth { point, depth })
            .collect());
    }
    for document in documents(text) {
        let value = document?.value;
        let items = match &value {
            Value::List(items) if value.numbers::<3>().is_none() => items.as_slice(),
            _ => std::slice::from_ref(&value),
        };
        if items.is_empty() || point_depth(&items[0]).is_none() {
            continue;
        }
        if items.len() > MAX_ITEMS {
            return Err(ParseFailure::TooMany);
        }
        let read = |item: &Value| point_depth(item).ok_or(ParseFailure::BadPoint)?;
        return items.iter().map(read).collect();
    }
    // Say what is missing: the points or only their depths.
    parse_points(text).and(Err(ParseFailure::NoDepth))
}

fn depths(text: &str) -> Result<Vec<f64>, ParseFailure> {
    if let Some(document) = documents(text).next() {
        let value = document?.value;
        let numbers = value
            .list()
            .map(|items| items.iter().map(Value::number).collect());
        let numbers: Option<Option<Vec<f64>>> = numbers;
        return numbers.flatten().ok_or(ParseFailure::NoDepth);
    }
    let number = Cursor(text.trim()).number().ok_or(ParseFailure::NoDepth)?;
    Ok(vec![number.value()?])
}

fn point_depth(value: &Value) -> Option<Result<PointDepth, ParseFailure>> {
    let (point, depth) = match value.numbers::<3>() {
        Some([x, y, depth]) => ([x, y], depth),
        None => (point_of(value)?, value.get("depth")?.number()?),
    };
    let checked = point
        .iter()
        .chain([&depth])
        .try_for_each(|n| coordinate(*n).map(drop));
    Some(checked.map(|()| PointDepth { point, depth }))
}

fn at_least(count: usize, points: Vec<[f64; 2]>) -> Result<Vec<[f64; 2]>, ParseFailure> {
    if points.len() < count {
        return Err(ParseFailure::TooFewPoints);
    }
    Ok(points)
}

/// The point that `value` is: two numbers or an object of `x` and `y`, or an object that holds such a point.
fn point_of(value: &Value) -> Option<[f64; 2]> {
    let value = value.get_any(&POINT_KEYS).unwrap_or(value);
    value.numbers().or_else(|| {
        let number = |key| value.get(key).and_then(Value::number);
        Some([number("x")?, number("y")?])
    })
}

fn add(
    points: &mut Vec<LabelledPoint>,
    point: [f64; 2],
    label: Option<&str>,
) -> Result<(), ParseFailure> {
    if points.len() == MAX_ITEMS {
        return Err(ParseFailure::TooMany);
    }
    points.push(LabelledPoint {
        point: [coordinate(point[0])?, coordinate(point[1])?],
        label: label.map(str::to_owned),
    });
    Ok(())
}

/// Adds the points in `value`; false when it is not of a form that holds points. When `cut`, a last item that is no
/// point is left out. `depth` counts lists and wrapping objects, of which an answer has few.
fn add_points(
    value: &Value,
    label: Option<&str>,
    cut: bool,
    depth: usize,
    points: &mut Vec<LabelledPoint>,
) -> Result<bool, ParseFailure> {
    const MAX_WRAPS: usize = 2;
    let own = value.get_any(&LABEL_KEYS).and_then(Value::text).or(label);
    if let Some(point) = point_of(value) {
        add(points, point, own)?;
        return Ok(true);
    }
    if depth > MAX_WRAPS {
        return Ok(false);
    }
    match value {
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                if add_points(item, label, cut, depth + 1, points)? {
                    continue;
                }
                if cut && at + 1 == items.len() {
                    return Ok(true);
                }
                let listed = at > 0 || item.get_any(&POINT_KEYS).is_some();
                return if listed {
                    Err(ParseFailure::BadPoint)
                } else {
                    Ok(false)
                };
            }
            Ok(true)
        }
        Value::Object(entries) => {
            if let Some(inside) = value.get_any(&POINT_KEYS) {
                return add_points(inside, own, cut, depth + 1, points);
            }
            let mut any = false;
            for (key, inside) in entries {
                if matches!(inside, Value::List(_)) {
                    any |= add_points(inside, Some(key), cut, depth + 1, points)?;
                }
            }
            Ok(any)
        }
        _ => Ok(false),
    }
}

/// The points in the attributes of `<point …>` and `<points …>`: each `x…="…"` with the `y…="…"` that follows.
fn molmo_points(text: &str) -> Result<Vec<LabelledPoint>, ParseFailure> {
    let mut points = Vec::new();
    for tag in text.split("<point").skip(1) {
        let attributes = tag.split_once('>').map_or(tag, |(inside, _)| inside);
        let label = attribute(attributes, "alt=");
        let mut x = None;
        for word in attributes.split_whitespace() {
            let Some((name, value)) = word.split_once('=') else {
                continue;
            };
            let number = || {
                let mut cursor = Cursor(value.trim_matches(['"', '\'']));
                cursor.number().ok_or(ParseFailure::BadPoint)?.value()
            };
            let index = |axis| {
                let digits: Option<&str> = name.strip_prefix(axis);
                digits.is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()))
            };
            if index('x') {
                x = Some(number()?);
            } else if index('y') {
                let x = x.take().ok_or(ParseFailure::BadPoint)?;
                add(&mut points, [x, number()?], label)?;
            }
        }
        if x.is_some() {
            return Err(ParseFailure::BadPoint);
        }
    }
    if points.is_empty() {
        return Err(ParseFailure::NoPoint);
    }
    Ok(points)
}

/// The quoted value after `name` in `attributes`.
fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = attributes.split_once(name)?;
    let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c))?;
    rest[1..].split_once(quote).map(|(inside, _)| inside)
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_form_of_points() {
        for text in [
            "<point>[[1, 2], [3, 4]]</point>",
            "[9, 9] <point>[[1, 2], [3, 4]]</point> [5, 6]",
            "[[1, 2], [3, 4]]",
            "[(1, 2), (3, 4)]",
            "(1, 2), (3, 4)",
            "from [1, 2] to [3, 4].",
            r#"[{"point_2d": [1, 2], "label": "a"}, {"point_2d": [3, 4]}]"#,
            r#"[{"x": 1, "y": 2}, {"x": 3, "y": 4}]"#,
            r#"{"points": [[1, 2], [3, 4]]}"#,
            r#"<points x1="1" y1="2" x2="3" y2="4" alt="cats">cats</points>"#,
            r#"<point x="1" y="2" alt="a">a</point> <point x='3' y='4'>b</point>"#,
            "[[1, 2], [3, 4], [5, ",
        ] {
            assert_eq!(
                parse_points(text),
                Ok(vec![[1.0, 2.0], [3.0, 4.0]]),
                "{text}"
            );
        }
        assert_eq!(parse_points("[]"), Ok(vec![]));
        assert_eq!(
            parse_points("click(start_box='(12, 34)')"),
            Ok(vec![[12.0, 34.0]])
        );
    }

    #[test]
    fn labels_stay_with_their_points() {
        for text in [
            r#"[{"point_2d": [1, 2], "label": "a cat"}]"#,
            r#"{"a cat": [[1, 2]]}"#,
            r#"{"a cat": [1, 2]}"#,
            r#"<point x="1" y="2" alt="a cat">x</point>"#,
        ] {
            let wanted = LabelledPoint {
                point: [1.0, 2.0],
                label: Some("a cat".to_owned()),
            };
            assert_eq!(parse_labelled_points(text), Ok(vec![wanted]), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_point() {
        for (text, failure) in [
            ("", ParseFailure::NoPoint),
            ("1, 2", ParseFailure::NoPoint),
            ("[1, 2, 3]", ParseFailure::NoPoint),
            ("[[1, 2], [3]]", ParseFailure::BadPoint),
            ("[[1, 2], \"a\"]", ParseFailure::BadPoint),
            ("[[1, 1e10]]", ParseFailure::NumberTooLarge),
            ("[", ParseFailure::NoPoint),
            (r#"<point x="1">"#, ParseFailure::BadPoint),
            (r#"<point x="a" y="1">"#, ParseFailure::BadPoint),
        ] {
            assert_eq!(parse_points(text), Err(failure), "{text}");
        }
        assert_eq!(
            parse_points(&"(1,2) ".repeat(10_001)),
            Err(ParseFailure::TooMany)
        );
        assert_eq!(
            parse_polygon("(1,2),(3,4)"),
            Err(ParseFailure::TooFewPoints)
        );
        assert_eq!(parse_polygon("(1,2),(3,4),(5,6)").map(|p| p.len()), Ok(3));
        assert_eq!(
            parse_trajectory("[[1, 2]]"),
            Err(ParseFailure::TooFewPoints)
        );
        assert_eq!(parse_trajectory("[[1, 2], [3, 4]]").map(|p| p.len()), Ok(2));
    }

    #[test]
    fn depths_go_with_points() {
        let wanted = |depths: &[f64]| {
            let points = [[1.0, 2.0], [3.0, 4.0]];
            let pairs = points.into_iter().zip(depths);
            Ok(pairs
                .map(|(point, &depth)| PointDepth { point, depth })
                .collect())
        };
        for text in [
            "<point>[[1, 2], [3, 4]]</point> <depth>[500, 600]</depth>",
            r#"[{"point_2d": [1, 2], "depth": 500}, {"point_2d": [3, 4], "depth": 600}]"#,
            "[[1, 2, 500], [3, 4, 600]]",
        ] {
            assert_eq!(parse_point_depths(text), wanted(&[500.0, 600.0]), "{text}");
        }
        for text in ["<point>[1, 2]</point><depth>500</depth>", "[1, 2, 500]"] {
            assert_eq!(parse_point_depths(text), wanted(&[500.0]), "{text}");
        }
        for (text, failure) in [
            ("", ParseFailure::NoPoint),
            ("[[1, 2]]", ParseFailure::NoDepth),
            (
                "<point>[[1, 2]]</point><depth></depth>",
                ParseFailure::NoDepth,
            ),
            (
                "<point>[[1, 2]]</point><depth>[1, 2]</depth>",
                ParseFailure::DepthCount,
            ),
            ("[[1, 2, 3], [4, 5]]", ParseFailure::BadPoint),
        ] {
            assert_eq!(parse_point_depths(text), Err(failure), "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_points_are_read_back(points in prop::collection::vec(prop::array::uniform2(-1e9f64..1e9), 1..9)) {
            prop_assert_eq!(parse_points(&format!("{points:?}")), Ok(points));
        }
    }
}
