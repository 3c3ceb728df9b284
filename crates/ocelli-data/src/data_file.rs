//! One data file: which kind it is, how many rows it has, and its rows in order.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use crate::cell::Columns;
use crate::error::DataError;
use crate::json_rows::{self, Fault};
use crate::parquet_rows;

/// How rows stand in a file. Its first bytes tell; its name is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One JSON object a line.
    Lines,
    /// One JSON list of objects.
    List,
    Parquet,
}

/// A file of a data set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
    /// What rows and pictures are named by: `train.parquet` of `train.parquet#17`.
    pub(crate) label: String,
    pub(crate) kind: Kind,
}

impl DataFile {
    /// Looks at the first bytes of the file `path`.
    ///
    /// # Errors
    /// If it cannot be read, is a pointer of Git LFS, or is called Parquet and is none.
    pub(crate) fn open(path: &Path, label: String) -> Result<Self, DataError> {
        let mut start = Vec::new();
        File::open(path)
            .and_then(|file| file.take(256).read_to_end(&mut start))
            .map_err(|source| DataError::read(path, source))?;
        let first = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
        if first.starts_with(b"version https://git-lfs") {
            return Err(DataError::file(
                path,
                "only a pointer of Git LFS, not the data: fetch it with `git lfs pull`",
            ));
        }
        let kind = if start.starts_with(b"PAR1") {
            Kind::Parquet
        } else if path.extension().is_some_and(|end| end == "parquet") {
            return Err(DataError::file(
                path,
                "no Parquet file, for it does not begin with PAR1: copy, download or write it again",
            ));
        } else if start.starts_with(b"ARROW1") || path.extension().is_some_and(|end| end == "arrow")
        {
            return Err(DataError::file(
                path,
                "an Arrow file, which is not read: write Parquet, with `to_parquet` of the library datasets",
            ));
        } else if first.trim_ascii_start().starts_with(b"[") {
            Kind::List
        } else {
            Kind::Lines
        };
        Ok(Self {
            path: path.to_owned(),
            label,
            kind,
        })
    }

    /// How many rows it has.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn count(&self) -> Result<usize, DataError> {
        let file = self.file()?;
        match self.kind {
            Kind::Lines => {
                json_rows::count_lines(BufReader::new(file)).map_err(|fault| self.fault(fault))
            }
            Kind::List => {
                json_rows::count_items(BufReader::new(file)).map_err(|fault| self.fault(fault))
            }
            Kind::Parquet => {
                parquet_rows::count(&file).map_err(|problem| DataError::file(&self.path, problem))
            }
        }
    }

    /// Shows the rows of `range` (from 0) with their numbers to `each` until it breaks or fails. A number is a line,
    /// from 1, of a file with one object a line, and a row, from 0, of any other.
    ///
    /// # Errors
    /// If the file cannot be read, a row is malformed, or `each` says what is wrong with a row.
    pub(crate) fn visit(
        &self,
        range: Range<usize>,
        each: &mut dyn FnMut(usize, Columns) -> Result<ControlFlow<()>, String>,
    ) -> Result<(), DataError> {
        let mut refused = None;
        let mut each = |number, columns| {
            each(number, columns).unwrap_or_else(|problem| {
                refused = Some(self.row_error(number, problem));
                ControlFlow::Break(())
            })
        };
        let mut file = self.file()?;
        let read = match self.kind {
            Kind::Lines => json_rows::visit_lines(BufReader::new(file), range, &mut each)
                .map_err(|fault| self.fault(fault)),
            Kind::List => json_rows::visit_items(BufReader::new(file), range, &mut each)
                .map_err(|fault| self.fault(fault)),
            Kind::Parquet => file
                .rewind()
                .map_err(|source| DataError::read(&self.path, source))
                .and_then(|()| {
                    parquet_rows::visit(&file, range, &mut each)
                        .map_err(|problem| DataError::file(&self.path, problem))
                }),
        };
        refused.map_or(read, Err)
    }

    /// The error of the row with this number.
    pub(crate) fn row_error(&self, number: usize, problem: String) -> DataError {
        let path = self.path.clone();
        match self.kind {
            Kind::Lines => DataError::Row {
                path,
                line: number,
                problem,
            },
            Kind::List | Kind::Parquet => DataError::Record {
                path,
                row: number,
                problem,
            },
        }
    }

    fn fault(&self, fault: Fault) -> DataError {
        match fault.row {
            Some(number) => self.row_error(number, fault.problem),
            None => DataError::file(&self.path, fault.problem),
        }
    }

    fn file(&self) -> Result<File, DataError> {
        File::open(&self.path).map_err(|source| DataError::read(&self.path, source))
    }
}
