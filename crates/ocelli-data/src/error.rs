//! What can go wrong with data, told so that the reader knows which file, row or key to mend, and how.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why data could not be loaded.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },

    /// A picture file is not a picture, is damaged, or is too large. `name` is its path, or what the caller calls it.
    #[error("{name}: {problem}")]
    Picture { name: String, problem: String },

    /// A row of a data set is wrong. `line` counts from 1.
    #[error("{}, line {line}: {problem}", path.display())]
    Row {
        path: PathBuf,
        line: usize,
        problem: String,
    },

    /// A row of a Parquet file or of a JSON list is wrong. `row` counts from 0, as pandas and pyarrow do.
    #[error("{}, row {row} (from 0): {problem}", path.display())]
    Record {
        path: PathBuf,
        row: usize,
        problem: String,
    },

    /// A data file, folder or pattern as a whole is not what it should be.
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },

    /// A data set holds no rows, or none are left after `part`, `tasks` or `rows`.
    #[error("{name}: {problem}")]
    Empty { name: String, problem: String },

    /// A key of the `data` table is missing, contradicts another, or would have no effect.
    #[error("data.{key}: {problem}")]
    Config { key: &'static str, problem: String },

    /// What is wrong with one of several sources.
    #[error("source `{name}`: {error}")]
    Source { name: String, error: Box<DataError> },

    /// A caller asked for a picture that the task does not have.
    #[error("task `{task}` has {count} pictures, so there is none with index {index}")]
    NoSuchPicture {
        task: String,
        index: usize,
        count: usize,
    },
}

impl DataError {
    pub(crate) fn config(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Config {
            key,
            problem: problem.into(),
        }
    }

    pub(crate) fn of_source(name: &str, error: Self) -> Self {
        Self::Source {
            name: name.to_owned(),
            error: Box::new(error),
        }
    }

    /// Whether the `data` table is at fault.
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Config { .. } => true,
            Self::Source { error, .. } => error.is_misuse(),
            _ => false,
        }
    }

    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    pub(crate) fn picture(name: &str, problem: impl Into<String>) -> Self {
        Self::Picture {
            name: name.to_owned(),
            problem: problem.into(),
        }
    }
}
