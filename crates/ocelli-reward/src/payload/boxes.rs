//! A box, and a list of boxes with labels.

use ocelli_core::BoundingBox;
use serde::{Deserialize, Serialize};

use super::cursor::{Cursor, Written, coordinate};
use super::json::{Document, Value, documents};
use super::text::unwrapped;
use super::{MAX_ITEMS, ParseFailure};

/// Names of the key that holds a box, the commonest first.
pub(super) const BOX_KEYS: [&str; 6] =
    ["bbox_2d", "bbox", "box_2d", "box", "bounding_box", "boxes"];

const LABEL_KEYS: [&str; 5] = ["label", "name", "class", "category", "object"];

/// A box and what it is said to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledBox {
    /// Corners in the order and the units they are written in.
    pub bounding_box: BoundingBox,
    /// As written, not folded.
    pub label: Option<String>,
}

/// The boxes of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BoxList {
    /// In the order of the text; duplicates are kept.
    pub boxes: Vec<LabelledBox>,
    /// How many things in the JSON were mended: quotes, commas, brackets. 0 for boxes outside JSON.
    pub repairs: u32,
}

/// The first box in `text`, with its corners in the order and the units they are written in.
///
/// Forms: `[x1, y1, x2, y2]`, also inside JSON such as `{"bbox_2d": [x1, y1, x2, y2]}`, and `(x1, y1), (x2, y2)`.
/// Numbers may have a sign, a fraction and an exponent; white space is free. Whether the corners are in order is not
/// checked: such a box is an answer, and overlaps nothing.
///
/// # Errors
/// [`ParseFailure::NoBox`] when nothing has the form; [`ParseFailure::NumberTooLong`] or
/// [`ParseFailure::NumberTooLarge`] when a coordinate of the first box has over 64 characters or is beyond ±1e9.
pub fn parse_box(text: &str) -> Result<BoundingBox, ParseFailure> {
    // An attempt ends at the latest at the second bracket after its start, so no character is read more than twice.
    let written = text
        .match_indices(['[', '('])
        .find_map(|(at, open)| {
            let mut cursor = Cursor(&text[at + open.len()..]);
            match open {
                "[" => cursor.list_of_four(),
                _ => cursor.pair_of_points(),
            }
        })
        .ok_or(ParseFailure::NoBox)?;
    corners(written)
}

/// The boxes of `text` with their labels.
///
/// Forms: JSON, mended where it is plain what is meant and where a cut answer left only the last item incomplete: a
/// list of objects with a box (`bbox_2d`, `bbox`, `box`, …) and a label (`label`, `name`, …), a list of boxes, a label
/// for each key (`{"cat": [[1, 2, 3, 4]]}`), one object or one box, also inside one more object; the tokens of Qwen-VL
/// (`<|object_ref_start|>cat<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>`) and InternVL
/// (`<ref>cat</ref><box>[[1, 2, 3, 4]]</box>`); and any boxes in prose as read by [`parse_box`]. `[]` and `None` are
/// an answer without boxes. Corners are not checked for order.
///
/// # Errors
/// [`ParseFailure::NoBox`] when there is nothing of the kind, [`ParseFailure::BadBox`] when an item is no box,
/// [`ParseFailure::TooMany`] beyond 10,000, and those of numbers and brackets.
pub fn parse_boxes(text: &str) -> Result<BoxList, ParseFailure> {
    if unwrapped(text).eq_ignore_ascii_case("none") {
        return Ok(BoxList::default());
    }
    let tokens = ["<|box_start|>", "<box>", "<ref>"];
    if !tokens.iter().any(|token| text.contains(token)) {
        for document in documents(text) {
            let document = document?;
            if document.value.numbers::<4>().is_some() {
                // Boxes written one after the other.
                break;
            }
            if let Some(boxes) = boxes_of(&document) {
                let boxes = boxes?;
                let repairs = document.repairs;
                return Ok(BoxList { boxes, repairs });
            }
        }
    }
    let boxes = boxes_in_prose(text)?;
    if boxes.is_empty() {
        return Err(ParseFailure::NoBox);
    }
    Ok(BoxList { boxes, repairs: 0 })
}

fn corners(written: [Written<'_>; 4]) -> Result<BoundingBox, ParseFailure> {
    let mut corners = [0.0; 4];
    for (corner, number) in corners.iter_mut().zip(written) {
        *corner = coordinate(number.value()?)?;
    }
    Ok(corners.into())
}

/// The box that `value` is: four numbers, two points, or an object of named corners. `None` when it is none.
pub(super) fn box_of(value: &Value) -> Option<Result<BoundingBox, ParseFailure>> {
    const NAMED: [[&str; 4]; 3] = [
        ["x1", "y1", "x2", "y2"],
        ["xmin", "ymin", "xmax", "ymax"],
        ["left", "top", "right", "bottom"],
    ];
    let numbers = value.numbers::<4>().or_else(|| {
        if let Some([from, to]) = value.list() {
            let ([x1, y1], [x2, y2]) = (from.numbers()?, to.numbers()?);
            return Some([x1, y1, x2, y2]);
        }
        let [x1, y1, x2, y2] = NAMED
            .iter()
            .find(|names| value.get(names[0]).is_some())?
            .map(|name| value.get(name).and_then(Value::number));
        Some([x1?, y1?, x2?, y2?])
    })?;
    Some(
        numbers
            .iter()
            .try_for_each(|n| coordinate(*n).map(drop))
            .map(|()| numbers.into()),
    )
}

/// The boxes of a document; `None` when it has nothing to do with boxes.
fn boxes_of(document: &Document) -> Option<Result<Vec<LabelledBox>, ParseFailure>> {
    let mut boxes = Vec::new();
    match add_boxes(&document.value, None, document.cut, 0, &mut boxes) {
        Ok(true) if document.cut && boxes.is_empty() => None,
        Ok(true) if boxes.len() > MAX_ITEMS => Some(Err(ParseFailure::TooMany)),
        Ok(true) => Some(Ok(boxes)),
        Ok(false) => None,
        Err(failure) => Some(Err(failure)),
    }
}

/// Adds the boxes in `value`; false when it is not of a form that holds boxes. When `cut`, a last item that is no box
/// is left out. `depth` counts lists and wrapping objects, of which an answer has few.
fn add_boxes(
    value: &Value,
    label: Option<&str>,
    cut: bool,
    depth: usize,
    boxes: &mut Vec<LabelledBox>,
) -> Result<bool, ParseFailure> {
    const MAX_WRAPS: usize = 3;
    let label = value.get_any(&LABEL_KEYS).and_then(Value::text).or(label);
    if let Some(found) = box_of(value) {
        boxes.push(LabelledBox {
            bounding_box: found?,
            label: label.map(str::to_owned),
        });
        return Ok(true);
    }
    if depth > MAX_WRAPS {
        return Ok(false);
    }
    match value {
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                if add_boxes(item, label, cut, depth + 1, boxes)? {
                    continue;
                }
                if cut && at + 1 == items.len() {
                    return Ok(true);
                }
                // A list of which nothing is a box is no list of boxes; one of which something is, is a bad one.
                let object = matches!(item, Value::Object(_));
                return if at > 0 || (object && item.get_any(&BOX_KEYS).is_some()) {
                    Err(ParseFailure::BadBox)
                } else {
                    Ok(false)
                };
            }
            Ok(true)
        }
        Value::Object(entries) => {
            if let Some(inside) = value.get_any(&BOX_KEYS) {
                let good = add_boxes(inside, label, cut, depth + 1, boxes)?;
                return if good || cut {
                    Ok(good)
                } else {
                    Err(ParseFailure::BadBox)
                };
            }
            let mut any = false;
            for (key, inside) in entries {
                // The key of a list of objects names the list and not what is in the boxes.
                let objects = matches!(inside.list(), Some([Value::Object(_), ..]));
                let label = if objects { None } else { Some(key.as_str()) };
                if matches!(inside, Value::List(_) | Value::Object(_)) {
                    any |= add_boxes(inside, label, cut, depth + 1, boxes)?;
                }
            }
            Ok(any)
        }
        _ => Ok(false),
    }
}

/// All boxes as read by [`parse_box`], each with the label in the last reference tokens before it.
fn boxes_in_prose(text: &str) -> Result<Vec<LabelledBox>, ParseFailure> {
    const REFERENCES: [(&str, &str); 2] = [
        ("<|object_ref_start|>", "<|object_ref_end|>"),
        ("<ref>", "</ref>"),
    ];
    let mut boxes = Vec::new();
    let mut label = None;
    let mut rest = text;
    while let Some(at) = rest.find(['[', '(', '<']) {
        rest = &rest[at..];
        let reference = REFERENCES.iter().find_map(|(open, close)| {
            let inside = rest.strip_prefix(open)?;
            // A label ends before the next tag, so the search for its end is short.
            let end = inside.find('<')?;
            let after = inside[end..].strip_prefix(close)?;
            Some((inside[..end].trim(), after))
        });
        if let Some((name, after)) = reference {
            label = Some(name);
            rest = after;
            continue;
        }
        let mut cursor = Cursor(&rest[1..]);
        let written = match rest.as_bytes()[0] {
            b'[' => cursor.list_of_four(),
            b'(' => cursor.pair_of_points(),
            _ => None,
        };
        let Some(written) = written else {
            rest = &rest[1..];
            continue;
        };
        if boxes.len() == MAX_ITEMS {
            return Err(ParseFailure::TooMany);
        }
        boxes.push(LabelledBox {
            bounding_box: corners(written)?,
            label: label.map(str::to_owned),
        });
        rest = cursor.0;
    }
    Ok(boxes)
}

/// The box of a JSON object with centre and size, `{"x": …, "y": …, "width": …, "height": …}` (VLA-R1), by its corners.
///
/// # Errors
/// [`ParseFailure::NoBox`] without such an object, and those of numbers and brackets.
pub fn parse_centre_box(text: &str) -> Result<BoundingBox, ParseFailure> {
    for document in documents(text) {
        let value = document?.value;
        let first = value.list().and_then(<[Value]>::first).unwrap_or(&value);
        let number = |key| first.get(key).and_then(Value::number);
        let all = (number("x"), number("y"), number("width"), number("height"));
        if let (Some(x), Some(y), Some(width), Some(height)) = all {
            for value in [x, y, width, height] {
                coordinate(value)?;
            }
            let (x1, y1) = (x - width / 2.0, y - height / 2.0);
            return Ok([x1, y1, x1 + width, y1 + height].into());
        }
    }
    Err(ParseFailure::NoBox)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_form_of_a_box() {
        for (text, corners) in [
            ("[1, 2, 3, 4]", [1.0, 2.0, 3.0, 4.0]),
            ("[1,2,3,4]", [1.0, 2.0, 3.0, 4.0]),
            ("the box is\n[ 1 ,\t2.5,3. , .4 ].", [1.0, 2.5, 3.0, 0.4]),
            ("[-1, +2, \u{2212}3, 4e1]", [-1.0, 2.0, -3.0, 40.0]),
            (r#"{"bbox_2d": [1, 2, 3, 4]}"#, [1.0, 2.0, 3.0, 4.0]),
            ("[[1, 2, 3, 4], [5, 6, 7, 8]]", [1.0, 2.0, 3.0, 4.0]),
            ("(1,2),(3,4)", [1.0, 2.0, 3.0, 4.0]),
            (
                "<|box_start|>( 1, 2 ) , ( 3, 4 )<|box_end|>",
                [1.0, 2.0, 3.0, 4.0],
            ),
            ("[(1,2),(3,4)]", [1.0, 2.0, 3.0, 4.0]),
            ("(9,9),(1,2),(3,4)", [9.0, 9.0, 1.0, 2.0]),
            (
                "[1, 2] then [1, 2, 3, 4, 5] then [5, 6, 7, 8]",
                [5.0, 6.0, 7.0, 8.0],
            ),
            ("[4, 3, 2, 1]", [4.0, 3.0, 2.0, 1.0]),
        ] {
            assert_eq!(parse_box(text), Ok(corners.into()), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_box() {
        for text in [
            "",
            "1, 2, 3, 4",
            "[1, 2, 3]",
            "[1, 2, 3, 4, 5]",
            "[1 2 3 4]",
            "[1, 2, 3, 4",
            "[1, 2, 3, four]",
            "[nan, 0, 1, 1]",
            "[inf, 0, 1, 1]",
            "[1, 2, 3, 1e]",
            "[--1, 2, 3, 4]",
            "(1, 2, 3, 4)",
            "(1, 2) (3, 4)",
            "[., 2, 3, 4]",
        ] {
            assert_eq!(parse_box(text), Err(ParseFailure::NoBox), "{text}");
        }
    }

    #[test]
    fn the_first_box_decides_even_when_its_numbers_are_bad() {
        let long = format!("[{}, 0, 1, 1] [1, 2, 3, 4]", "9".repeat(65));
        assert_eq!(parse_box(&long), Err(ParseFailure::NumberTooLong));
        for text in ["[1e999, 0, 1, 1]", "[0, 0, 1e10, 1] [1, 2, 3, 4]"] {
            assert_eq!(parse_box(text), Err(ParseFailure::NumberTooLarge), "{text}");
        }
    }

    type Plain = Vec<([f64; 4], Option<String>)>;

    fn plain(text: &str) -> Result<Plain, ParseFailure> {
        let list = parse_boxes(text)?;
        Ok(list
            .boxes
            .into_iter()
            .map(|b| (b.bounding_box.into(), b.label))
            .collect())
    }

    const A: [f64; 4] = [1.0, 2.0, 3.0, 4.0];
    const B: [f64; 4] = [5.0, 6.0, 7.0, 8.0];

    #[test]
    fn reads_every_form_of_a_list() {
        let cat = || Some("cat".to_owned());
        for (text, boxes) in [
            (
                r#"[{"bbox_2d": [1, 2, 3, 4], "label": "cat"}]"#,
                vec![(A, cat())],
            ),
            (
                "```json\n[{'bbox': [1,2,3,4], 'name': 'cat'},]\n```",
                vec![(A, cat())],
            ),
            (r#"{"box": [[1, 2], [3, 4]]}"#, vec![(A, None)]),
            (
                r#"{"bbox": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}}"#,
                vec![(A, None)],
            ),
            (
                r#"[{"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}]"#,
                vec![(A, None)],
            ),
            ("[[1,2,3,4],[5,6,7,8]]", vec![(A, None), (B, None)]),
            ("[1,2,3,4]", vec![(A, None)]),
            ("[1,2,3,4] and [5,6,7,8]", vec![(A, None), (B, None)]),
            ("(1,2),(3,4) (5,6),(7,8)", vec![(A, None), (B, None)]),
            (
                r#"{"cat": [[1,2,3,4],[5,6,7,8]]}"#,
                vec![(A, cat()), (B, cat())],
            ),
            (r#"{"cat": [1,2,3,4], "n": 1}"#, vec![(A, cat())]),
            (
                r#"{"objects": [{"bbox": [1,2,3,4], "label": "cat"}]}"#,
                vec![(A, cat())],
            ),
            (
                r#"{"label": "cat", "boxes": [[1,2,3,4],[5,6,7,8]]}"#,
                vec![(A, cat()), (B, cat())],
            ),
            (
                "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>",
                vec![(A, cat())],
            ),
            (
                "<ref>cat</ref><box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box>",
                vec![(A, cat()), (B, cat())],
            ),
            ("see [this]: [[1,2,3,4]]", vec![(A, None)]),
            ("[]", vec![]),
            (" None. ", vec![]),
        ] {
            assert_eq!(plain(text), Ok(boxes), "{text}");
        }
    }

    #[test]
    fn a_label_belongs_to_its_box() {
        let text = r#"{"objects": [{"bbox": [1,2,3,4]}]}"#;
        assert_eq!(plain(text), Ok(vec![(A, None)]));
        let text = r#"[{"x1": 1, "y1": 2, "x2": 3, "y2": 4, "label": "cat"}]"#;
        assert_eq!(plain(text), Ok(vec![(A, Some("cat".to_owned()))]));
    }

    #[test]
    fn a_cut_list_keeps_its_whole_boxes() {
        for text in [
            r#"[{"bbox_2d": [1, 2, 3, 4], "label": "cat"}, {"bbox_2d": [5, 6"#,
            r#"[{"bbox_2d": [1, 2, 3, 4], "label": "cat"}, {"bbox_2d": [5, 6, 7, 8"#,
            r#"[{"bbox_2d": [1, 2, 3, 4], "label": "cat"}, {"bb"#,
            r#"[{"bbox_2d": [1, 2, 3, 4], "label": "cat"}, "#,
        ] {
            assert_eq!(plain(text), Ok(vec![(A, Some("cat".to_owned()))]), "{text}");
            assert!(parse_boxes(text).unwrap().repairs > 0);
        }
        for text in ["[", "[{", r#"[{"bbox_2d": [5, 6"#] {
            assert_eq!(plain(text), Err(ParseFailure::NoBox), "{text}");
        }
    }

    #[test]
    fn a_bad_item_is_not_passed_over() {
        for (text, failure) in [
            (
                r#"[{"bbox_2d": [1, 2, 3]}, {"bbox_2d": [1, 2, 3, 4]}]"#,
                ParseFailure::BadBox,
            ),
            (
                r#"[{"bbox_2d": [1, 2, 3, 4]}, {"label": "cat"}]"#,
                ParseFailure::BadBox,
            ),
            ("[[1,2,3,4],[1,2,3]]", ParseFailure::BadBox),
            (
                r#"[{"bbox_2d": [1, 2, 3, 1e99]}]"#,
                ParseFailure::NumberTooLarge,
            ),
            (
                r#"[{"bbox_2d": [NaN, 2, 3, 4]}, {"bbox_2d": [1, 2, 3, 4]}]"#,
                ParseFailure::NotFinite,
            ),
            ("a cat", ParseFailure::NoBox),
            ("", ParseFailure::NoBox),
            ("[1, 2, 3]", ParseFailure::NoBox),
            (r#"{"answer": 7}"#, ParseFailure::NoBox),
        ] {
            assert_eq!(plain(text), Err(failure), "{text}");
        }
        let many = format!("[{}]", "[1,2,3,4],".repeat(10_001));
        assert_eq!(plain(&many), Err(ParseFailure::TooMany));
        assert_eq!(
            plain(&"(1,2),(3,4) ".repeat(10_001)),
            Err(ParseFailure::TooMany)
        );
    }

    #[test]
    fn a_centre_box_gets_corners() {
        let text = r#"{"x": 0.5, "y": 0.25, "width": 0.5, "height": 0.5}"#;
        assert_eq!(parse_centre_box(text), Ok([0.25, 0.0, 0.75, 0.5].into()));
        assert_eq!(
            parse_centre_box(r#"{"x": 1, "y": 2}"#),
            Err(ParseFailure::NoBox)
        );
    }

    proptest! {
        #[test]
        fn a_written_box_is_read_back(corners in prop::array::uniform4(-1e9f64..1e9)) {
            let [a, b, c, d] = corners;
            prop_assert_eq!(parse_box(&format!("[{a}, {b}, {c}, {d}]")), Ok(corners.into()));
            prop_assert_eq!(parse_box(&format!("({a},{b}),({c},{d})")), Ok(corners.into()));
        }

        #[test]
        fn a_written_list_is_read_back(
            all in prop::collection::vec((prop::array::uniform4(-1e9f64..1e9), "[a-zé '\"]{1,8}"), 1..6)
        ) {
            let written: serde_json::Value = all
                .iter()
                .map(|(corners, label)| serde_json::json!({ "bbox_2d": corners, "label": label }))
                .collect();
            let wanted = all.into_iter().map(|(corners, label)| (corners, Some(label))).collect();
            prop_assert_eq!(plain(&written.to_string()), Ok(wanted));
            prop_assert_eq!(parse_boxes(&written.to_string()).unwrap().repairs, 0);
        }

        #[test]
        fn boxes_are_finite(text in r"[\[\]() ,.+\-−eE0-9é]{0,60}") {
            let one = parse_box(&text).ok();
            let list = parse_boxes(&text).map(|list| list.boxes).unwrap_or_default();
            for found in one.into_iter().chain(list.into_iter().map(|b| b.bounding_box)) {
                prop_assert!(<[f64; 4]>::from(found).iter().all(|v| v.is_finite()));
            }
        }
    }
}
