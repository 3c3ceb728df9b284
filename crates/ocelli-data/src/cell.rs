//! One value of a data file, whatever the file's kind: what JSON can hold, and bytes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    /// An encoded picture, usually. JSON has none of these.
    Bytes(Vec<u8>),
    List(Vec<Cell>),
    Struct(Columns),
}

/// The named values of a row or a struct, in the file's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Columns(pub(crate) Vec<(String, Cell)>);

impl Columns {
    /// Takes the value of `name` out; null is as good as missing.
    pub(crate) fn take(&mut self, name: &str) -> Option<Cell> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        match self.0.remove(at).1 {
            Cell::Null => None,
            cell => Some(cell),
        }
    }

    /// Whether a column of this name is there, even if it holds null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl Cell {
    /// What kind of value it is, for errors.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Struct(_) => "a struct",
        }
    }

    /// The value as a text: texts as they stand, anything else as JSON. `None` for null and bytes, which have no text.
    pub(crate) fn into_text(self) -> Option<String> {
        match self {
            Self::Null | Self::Bytes(_) => None,
            Self::Text(text) => Some(text),
            other => Some(other.into_json().to_string()),
        }
    }

    /// The value as JSON; bytes become null.
    pub(crate) fn into_json(self) -> Value {
        match self {
            Self::Null | Self::Bytes(_) => Value::Null,
            Self::Bool(flag) => Value::Bool(flag),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::String(text),
            Self::List(cells) => cells.into_iter().map(Self::into_json).collect(),
            Self::Struct(columns) => {
                let fields = columns.0.into_iter();
                Value::Object(
                    fields
                        .map(|(name, cell)| (name, cell.into_json()))
                        .collect::<Map<_, _>>(),
                )
            }
        }
    }

    /// A finite number; JSON has no others, so that these become null.
    pub(crate) fn float(value: f64) -> Self {
        Number::from_f64(value).map_or(Self::Null, Self::Number)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
        Ok(Cell::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
        Ok(Cell::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
        Ok(Cell::float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
        Ok(Cell::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Cell, E> {
        Ok(Cell::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Cell, A::Error> {
        let mut cells = Vec::new();
        while let Some(cell) = items.next_element()? {
            cells.push(cell);
        }
        Ok(Cell::List(cells))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Cell, A::Error> {
        let mut columns = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            columns.push(entry);
        }
        Ok(Cell::Struct(Columns(columns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(json: &str) -> Cell {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn texts_stand_as_they_are_and_the_rest_is_json() {
        for (json, text) in [
            (r#""a \"b\"""#, Some("a \"b\"")),
            ("72", Some("72")),
            ("-7", Some("-7")),
            ("0.5", Some("0.5")),
            ("72.0", Some("72.0")),
            ("true", Some("true")),
            ("null", None),
            (
                r#"{"b": [1, null], "a": "x"}"#,
                Some(r#"{"b":[1,null],"a":"x"}"#),
            ),
        ] {
            assert_eq!(cell(json).into_text().as_deref(), text, "{json}");
        }
        let mixed = Cell::List(vec![Cell::Bytes(vec![1]), Cell::Bool(false)]);
        assert_eq!(mixed.into_text().as_deref(), Some("[null,false]"));
    }

    #[test]
    fn null_is_as_good_as_missing() {
        let Cell::Struct(mut columns) = cell(r#"{"a": null, "b": 1}"#) else {
            panic!("not a struct");
        };
        assert!(columns.has("a") && columns.has("b") && !columns.has("c"));
        assert_eq!(columns.take("a"), None);
        assert_eq!(columns.take("b"), Some(cell("1")));
        assert_eq!(columns.take("b"), None);
    }
}
