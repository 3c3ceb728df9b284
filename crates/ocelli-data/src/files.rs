//! From the `path` of a data table to the files it names: one file, a folder of shards, or a pattern.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::data_file::DataFile;
use crate::error::DataError;

/// Ends of the names of data files.
const ENDS: [&str; 3] = ["parquet", "jsonl", "json"];
/// What the library datasets and the Hub put beside data.
const NOT_DATA: [&str; 4] = [
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
];
/// Words that file names begin with to say which split they hold.
const SPLITS: [&str; 7] = ["train", "test", "validation", "valid", "val", "dev", "eval"];

/// The files of a data set, in the order of their names, and the folder that their labels start at.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    pub(crate) files: Vec<DataFile>,
}

/// The files that `path`, absolute, names:
/// - a file;
/// - a folder: all Parquet, JSONL or JSON files in it, or in its subfolder `data`; with `@train` at the end, those whose
///   names begin with `train`;
/// - a pattern such as `train-*.parquet`.
///
/// # Errors
/// If there is no such file, the folder holds none or several kinds or splits, or a file is not what its name says.
pub(crate) fn find(path: &Path) -> Result<Files, DataError> {
    if path.is_file() {
        return one(path);
    }
    if path.is_dir() {
        return folder(path, None);
    }
    let text = path.to_string_lossy();
    if let Some((base, split)) = text.rsplit_once('@')
        && !split.contains('/')
    {
        let base = Path::new(base);
        if base.is_file() && split == "train" {
            return one(base);
        }
        if base.is_file() {
            return Err(DataError::file(
                base,
                format!(
                    "a file has the split `train` only, not `{split}`: leave `@{split}` out, or name another file"
                ),
            ));
        }
        if base.is_dir() {
            return folder(base, Some(split));
        }
    }
    if text.contains(['*', '?', '[']) {
        return pattern(path, &text);
    }
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    Err(DataError::read(path, missing))
}

fn one(path: &Path) -> Result<Files, DataError> {
    let folder = path.parent().unwrap_or(path).to_owned();
    labelled(folder, vec![path.to_owned()])
}

fn folder(folder: &Path, split: Option<&str>) -> Result<Files, DataError> {
    let mut found = data_files(folder)?;
    let inner = folder.join("data");
    if found.is_empty() && inner.is_dir() {
        found = data_files(&inner)?;
    }
    if found.is_empty() {
        return Err(DataError::file(
            folder,
            "the folder holds no .parquet, .jsonl or .json file: name a folder or a file with data",
        ));
    }
    let splits: BTreeSet<&str> = found.iter().filter_map(|path| split_of(path)).collect();
    let listed = || splits.iter().copied().collect::<Vec<_>>().join(", ");
    match split {
        None if splits.len() > 1 => {
            return Err(DataError::file(
                folder,
                format!(
                    "the folder holds several splits ({}): say which, as in `{}@train`",
                    listed(),
                    file_name(folder)
                ),
            ));
        }
        // Files that name no split are all of `train`, as in the library datasets.
        Some("train") if splits.is_empty() => {}
        Some(split) => {
            let listed = if splits.is_empty() {
                "no file name begins with a split".to_owned()
            } else {
                format!("the folder holds {}", listed())
            };
            found.retain(|path| begins_with(path, split));
            if found.is_empty() {
                return Err(DataError::file(
                    folder,
                    format!("no file of the split `{split}`: {listed}"),
                ));
            }
        }
        None => {}
    }
    let ends: BTreeSet<_> = found.iter().filter_map(|path| path.extension()).collect();
    if ends.len() > 1 {
        return Err(DataError::file(
            folder,
            "the folder holds data files of several kinds: name one file, or a pattern such as `*.parquet`",
        ));
    }
    labelled(folder.to_owned(), found)
}

fn data_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = fs::read_dir(folder).map_err(|source| DataError::read(folder, source))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|source| DataError::read(folder, source))?
            .path();
        let name = file_name(&path);
        let end = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        if end == "arrow" {
            return Err(DataError::file(
                &path,
                "an Arrow file, which is not read: write Parquet, with `to_parquet` of the library datasets",
            ));
        }
        if ENDS.contains(&end)
            && !name.starts_with('.')
            && !NOT_DATA.contains(&name.as_str())
            && path.is_file()
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn pattern(path: &Path, text: &str) -> Result<Files, DataError> {
    let mut found = Vec::new();
    let matches = glob::glob(text)
        .map_err(|error| DataError::file(path, format!("no pattern of file names: {error}")))?;
    for entry in matches {
        let entry = entry.map_err(|error| {
            let path = error.path().to_owned();
            DataError::read(&path, error.into())
        })?;
        if entry.is_file() {
            found.push(entry);
        }
    }
    found.sort();
    let Some(first) = found.first() else {
        return Err(DataError::file(
            path,
            "no file has a name of this pattern: `*` stands for any letters, `**` for any folders",
        ));
    };
    let mut folder = first.parent().unwrap_or(first).to_owned();
    while !found.iter().all(|path| path.starts_with(&folder)) && folder.pop() {}
    labelled(folder, found)
}

fn labelled(folder: PathBuf, paths: Vec<PathBuf>) -> Result<Files, DataError> {
    let files = paths
        .iter()
        .map(|path| {
            let label = path.strip_prefix(&folder).unwrap_or(path);
            DataFile::open(path, label.display().to_string())
        })
        .collect::<Result<_, _>>()?;
    Ok(Files { folder, files })
}

fn split_of(path: &Path) -> Option<&'static str> {
    SPLITS.into_iter().find(|split| begins_with(path, split))
}

/// Whether the file's name is `split`, or begins with it and a sign that ends a word.
fn begins_with(path: &Path, split: &str) -> bool {
    file_name(path)
        .strip_prefix(split)
        .is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let start = if name.ends_with("parquet") {
                "PAR1"
            } else {
                "{}"
            };
            fs::write(path, start).unwrap();
        }
        folder
    }

    fn labels(folder: &tempfile::TempDir, path: &str) -> Vec<String> {
        let found = find(&folder.path().join(path)).unwrap();
        found.files.into_iter().map(|file| file.label).collect()
    }

    fn refused(folder: &tempfile::TempDir, path: &str) -> String {
        find(&folder.path().join(path)).unwrap_err().to_string()
    }

    const HUB: &[&str] = &[
        "README.md",
        "dataset_infos.json",
        "data/test-00000-of-00001.parquet",
        "data/train-00001-of-00002.parquet",
        "data/train-00000-of-00002.parquet",
    ];

    #[test]
    fn files_folders_splits_and_patterns_are_found_in_order() {
        let hub = folder_with(HUB);
        let train = [
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
        ];
        assert_eq!(labels(&hub, "@train"), train);
        assert_eq!(labels(&hub, "data@train"), train.map(|name| &name[5..]));
        assert_eq!(labels(&hub, "data/train-*.parquet").len(), 2);
        assert_eq!(labels(&hub, "**/*.parquet").len(), 3);
        assert_eq!(labels(&hub, "data@test").len(), 1);
        let file = "data/test-00000-of-00001.parquet";
        assert_eq!(labels(&hub, file), ["test-00000-of-00001.parquet"]);
        assert_eq!(labels(&hub, &format!("{file}@train")).len(), 1);
        let plain = folder_with(&["b.jsonl", "a.jsonl", "trainer.jsonl", ".c.jsonl"]);
        assert_eq!(labels(&plain, ""), ["a.jsonl", "b.jsonl", "trainer.jsonl"]);
        assert_eq!(labels(&plain, "@train").len(), 3);
        // A name with an @ of its own is a name.
        let at = folder_with(&["a@b.jsonl"]);
        assert_eq!(labels(&at, "a@b.jsonl"), ["a@b.jsonl"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_is_there() {
        let hub = folder_with(HUB);
        for (path, wanted) in [
            ("data", "several splits (test, train)"),
            ("data@dev", "the folder holds test, train"),
            ("data/test-00000-of-00001.parquet@test", "leave `@test` out"),
            ("data/val-*.parquet", "no file has a name"),
            ("absent.jsonl", "absent.jsonl"),
            ("absent@train", "absent"),
        ] {
            let error = refused(&hub, path);
            assert!(error.contains(wanted), "{path}: {error}");
        }
        assert!(refused(&folder_with(&["a.txt"]), "").contains("no .parquet"));
        let kinds = folder_with(&["a.jsonl", "b.parquet"]);
        assert!(refused(&kinds, "").contains("several kinds"));
        assert!(refused(&folder_with(&["data-0.arrow"]), "").contains("to_parquet"));
        let lies = folder_with(&["a.jsonl"]);
        fs::write(
            lies.path().join("b.parquet"),
            "version https://git-lfs.github.com/spec/v1",
        )
        .unwrap();
        assert!(refused(&lies, "b.parquet").contains("git lfs pull"));
        fs::write(lies.path().join("c.parquet"), "{}").unwrap();
        assert!(refused(&lies, "c.parquet").contains("PAR1"));
    }
}
