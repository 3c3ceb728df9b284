//! The `data` of a stage: one table, or a list of tables whose rows are mixed.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cache::PictureCache;
use crate::config::DataConfig;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::source::load_with;

/// Where a stage's tasks come from: one table, or several with `weight`s.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSources(Vec<DataConfig>);

impl From<DataConfig> for DataSources {
    fn from(table: DataConfig) -> Self {
        Self(vec![table])
    }
}

impl From<Vec<DataConfig>> for DataSources {
    fn from(tables: Vec<DataConfig>) -> Self {
        Self(tables)
    }
}

impl Serialize for DataSources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [table] => table.serialize(serializer),
            tables => tables.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for DataSources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TableOrList)
    }
}

/// Reads either form by itself, so that errors are those of a table and not "fits neither".
struct TableOrList;

impl<'de> Visitor<'de> for TableOrList {
    type Value = DataSources;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a data table, or a list of data tables")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DataSources, A::Error> {
        DataConfig::deserialize(MapAccessDeserializer::new(map)).map(DataSources::from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<DataSources, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(DataSources)
    }
}

impl DataSources {
    /// The tables.
    pub fn tables(&self) -> &[DataConfig] {
        &self.0
    }

    /// Checks everything that can be known without reading files.
    ///
    /// # Errors
    /// If a table is wrong, or the tables do not go together.
    pub fn check(&self) -> Result<(), DataError> {
        match self.0.as_slice() {
            [] => Err(DataError::config(
                "path",
                "the list of sources is empty: give `path` or `generator` in one or more tables",
            )),
            [table] => {
                for (key, given) in [
                    ("weight", table.weight.is_some()),
                    ("source", table.source.is_some()),
                ] {
                    if given {
                        return Err(DataError::config(
                            key,
                            "has no effect where there is one source: remove it, or make `data` a list of several",
                        ));
                    }
                }
                table.check()
            }
            tables => {
                for (index, table) in tables.iter().enumerate() {
                    let name = table.source_name();
                    let place = |error| DataError::of_source(&name, error);
                    table.check().map_err(place)?;
                    let weight = table.weight.unwrap_or(1.0);
                    if !(weight.is_finite() && weight > 0.0) {
                        return Err(place(DataError::config(
                            "weight",
                            format!(
                                "`{weight}` must be a number above 0; leave the source out to draw none of it"
                            ),
                        )));
                    }
                    if name.is_empty() || name.contains('/') {
                        return Err(DataError::config(
                            "source",
                            format!("`{name}` must be a name without `/`"),
                        ));
                    }
                    if tables[..index]
                        .iter()
                        .any(|other| other.source_name() == name)
                    {
                        return Err(DataError::config(
                            "source",
                            format!(
                                "two sources are called `{name}`: give each a `source` of its own"
                            ),
                        ));
                    }
                }
                Ok(())
            }
        }
    }
}

/// Loads every source of a stage. As [`load_with`], which see, for one; the rows of several are called `<source>/<row>`.
///
/// # Errors
/// As [`DataSources::check`] and [`load_with`].
pub fn load_sources(
    sources: &DataSources,
    root: &Path,
    run_seed: u64,
    pictures: &Arc<PictureCache>,
) -> Result<Dataset, DataError> {
    sources.check()?;
    if let [table] = sources.tables() {
        return load_with(table, root, run_seed, pictures);
    }
    let parts = sources.tables().iter().map(|table| {
        let name = table.source_name();
        let data = load_with(table, root, run_seed, pictures);
        let data = data.map_err(|error| DataError::of_source(&name, error))?;
        Ok((name, table.weight.unwrap_or(1.0), data))
    });
    Ok(Dataset::mixed(parts.collect::<Result<_, DataError>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Stage {
        data: DataSources,
    }

    fn read(text: &str) -> DataSources {
        toml::from_str::<Stage>(text).unwrap().data
    }

    fn refused(text: &str) -> String {
        read(text).check().unwrap_err().to_string()
    }

    const TWO: &str = r#"data = [
        { generator = "pointing", rows = 4, weight = 3.0, source = "easy" },
        { generator = "pointing", rows = 6, split = "val" },
    ]"#;

    #[test]
    fn a_table_and_a_list_are_read_and_written_back() {
        for (text, count) in [(TWO, 2), ("data = { path = 'a.jsonl' }", 1)] {
            let stage: Stage = toml::from_str(text).unwrap();
            stage.data.check().unwrap();
            assert_eq!(stage.data.tables().len(), count);
            let again: Stage = toml::from_str(&toml::to_string(&stage).unwrap()).unwrap();
            assert_eq!(again, stage);
        }
        let error = toml::from_str::<Stage>("data = [{ pathh = 'a' }]").unwrap_err();
        assert!(
            error.to_string().contains("unknown field `pathh`"),
            "{error}"
        );
        let error = toml::from_str::<Stage>("data = 3").unwrap_err();
        assert!(
            error.to_string().contains("a list of data tables"),
            "{error}"
        );
    }

    #[test]
    fn lists_without_sense_are_refused_with_the_mend() {
        for (text, words) in [
            ("data = []", "list of sources is empty"),
            ("data = { path = 'a', weight = 2.0 }", "one source"),
            ("data = [{ path = 'a', source = 'x' }]", "one source"),
            (
                "data = [{ path = 'a' }, { path = 'b/a.jsonl' }]",
                "`source` of its own",
            ),
            (
                "data = [{ path = 'a' }, { path = 'b', weight = 0.0 }]",
                "above 0",
            ),
            (
                "data = [{ path = 'a' }, { path = 'b', weight = nan }]",
                "source `b`",
            ),
            (
                "data = [{ path = 'a' }, { path = 'b', source = 'x/y' }]",
                "without `/`",
            ),
            (
                "data = [{ path = 'a' }, { path = 'b', part = [0.5, 0.1] }]",
                "source `b`: data.part",
            ),
        ] {
            let error = refused(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn rows_know_their_source() {
        let data = load_sources(&read(TWO), Path::new(""), 5, &Arc::default()).unwrap();
        assert_eq!(data.tasks.len(), 10);
        let task = &data.tasks[0];
        assert_eq!(task.id, "easy/pointing-train-000000");
        // A row's own tag stays.
        assert_eq!(task.tags["source"], "pointing");
        let row = ocelli_core::Task {
            id: "r".to_owned(),
            ..ocelli_core::Task::default()
        };
        let plain = Dataset::mixed(vec![("easy".to_owned(), 1.0, Dataset::new("a", vec![row]))]);
        assert_eq!(plain.tasks[0].tags["source"], "easy");
        assert_eq!(data.source_name(&task.id), "easy");
        assert_eq!(data.source_name(&data.tasks[9].id), "pointing-val");
        let rows: Vec<_> = data.source_rows().collect();
        assert_eq!(rows, [("easy", 3.0, 0..4), ("pointing-val", 1.0, 4..10)]);
        // The picture that was painted when the row was read, and the same one painted anew.
        let kept = data.picture(task, 0).unwrap();
        let alone = load_with(&read(TWO).0[0], Path::new(""), 5, &Arc::default()).unwrap();
        assert_eq!(kept, alone.picture(&alone.tasks[0], 0).unwrap());
        assert_eq!(data.picture_size(task, 0).unwrap(), (112, 112));
    }
}
