//! JSON as Python's `json.dumps` writes it, for the `tojson` filter of chat templates.
//!
//! Blanks after separators, letters outside ASCII kept, no HTML escapes, floats as Python's `repr`.

use std::fmt::Write as _;

use serde_json::Value;

/// The arguments of `json.dumps` that chat templates use.
#[derive(Clone, Debug, Default)]
pub(super) struct Style {
    /// Written once a level at the start of each line; `None` puts everything on one line.
    pub indent: Option<String>,
    /// Between items, and between key and value; by default `", "` (`","` with an indent) and `": "`.
    pub separators: Option<(String, String)>,
    /// Whether keys are sorted instead of kept in their order.
    pub sort_keys: bool,
    /// Whether letters outside ASCII are written as `\uXXXX`.
    pub ensure_ascii: bool,
}

/// The text of `value`.
pub(super) fn dumps(value: &Value, style: &Style) -> String {
    let mut out = String::new();
    write_value(value, style, 0, &mut out);
    out
}

fn write_value(value: &Value, style: &Style, depth: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => out.push_str(&float_repr(float)),
            _ => out.push_str(&number.to_string()),
        },
        Value::String(text) => write_string(text, style.ensure_ascii, out),
        Value::Array(items) => {
            write_items('[', ']', items.iter(), style, depth, out, |item, out| {
                write_value(item, style, depth + 1, out);
            })
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            if style.sort_keys {
                entries.sort_by_key(|(key, _)| key.as_str());
            }
            write_items(
                '{',
                '}',
                entries.into_iter(),
                style,
                depth,
                out,
                |(key, item), out| {
                    write_string(key, style.ensure_ascii, out);
                    out.push_str(style.separators.as_ref().map_or(": ", |(_, colon)| colon));
                    write_value(item, style, depth + 1, out);
                },
            );
        }
    }
}

fn write_items<T>(
    open: char,
    close: char,
    items: impl ExactSizeIterator<Item = T>,
    style: &Style,
    depth: usize,
    out: &mut String,
    mut write: impl FnMut(T, &mut String),
) {
    let empty = items.len() == 0;
    let comma = match (&style.separators, &style.indent) {
        (Some((comma, _)), _) => comma,
        (None, Some(_)) => ",",
        (None, None) => ", ",
    };
    let line = |depth: usize, out: &mut String| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    };
    out.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push_str(comma);
        }
        line(depth + 1, out);
        write(item, out);
    }
    if !empty {
        line(depth, out);
    }
    out.push(close);
}

fn write_string(text: &str, ensure_ascii: bool, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            _ if letter < ' ' || (ensure_ascii && letter > '~') => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    // Writing into a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(letter),
        }
    }
    out.push('"');
}

/// Python's `repr` of a float: the shortest digits that give it back, with an exponent below 1e-4 and from 1e16 on.
fn float_repr(float: f64) -> String {
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(power) if !(-4..16).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", power.abs())
        }
        _ => format!("{float:?}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // The wanted texts are what `json.dumps` of Python 3.11 printed.

    #[test]
    fn one_line_keeps_order_letters_and_brackets() {
        let value = json!({"b": [1, 2.5, true, null], "a": "<é>\n\"\u{1}", "c": {}, "d": []});
        let plain = r#"{"b": [1, 2.5, true, null], "a": "<é>\n\"\u0001", "c": {}, "d": []}"#;
        assert_eq!(dumps(&value, &Style::default()), plain);
        let style = Style {
            ensure_ascii: true,
            sort_keys: true,
            separators: Some((",".into(), ":".into())),
            indent: None,
        };
        assert_eq!(
            dumps(&json!({"b": "é😀\u{7f}", "a": 1}), &style),
            r#"{"a":1,"b":"\u00e9\ud83d\ude00\u007f"}"#
        );
    }

    #[test]
    fn indented() {
        let style = Style {
            indent: Some("  ".into()),
            ..Style::default()
        };
        let text = dumps(&json!({"a": [1, {"b": 2}], "c": []}), &style);
        assert_eq!(
            text,
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"c\": []\n}"
        );
    }

    #[test]
    fn floats_like_repr() {
        for (float, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-2.5e300, "-2.5e+300"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(float_repr(float), text);
        }
    }
}
