//! A grammar as a recipe writes it.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::{Gap, Grammar, Preset, Section};
use crate::suggest::closest;

/// The table form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    sections: Vec<Section>,
    #[serde(default)]
    after: Gap,
    #[serde(default)]
    squeeze: bool,
}

/// Told apart by hand, because `untagged` would answer every mistake with "did not match any variant".
struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = Grammar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a grammar or a table with `sections`")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Grammar, E> {
        if let Some(preset) = Preset::from_name(name) {
            return Ok(Grammar::preset(preset));
        }
        let names = Preset::ALL.map(Preset::name);
        Err(E::custom(match closest(name, names) {
            Some(meant) => format!("unknown grammar `{name}`, did you mean `{meant}`?"),
            None => format!("unknown grammar `{name}`, known are {}", names.join(", ")),
        }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Grammar, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        Grammar::new(table.sections, table.after, table.squeeze).map_err(A::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Grammar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}
