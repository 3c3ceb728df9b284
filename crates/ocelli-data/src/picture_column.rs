//! Pictures as columns of data files hold them.
//!
//! | value | written by |
//! |---|---|
//! | a path, `file://…`, or `data:image/png;base64,…` | JSON files |
//! | `{bytes, path}` | the library datasets, for columns of the type Image |
//! | `{image: …}` | data made for qwen-vl-utils |
//! | bytes | pandas |
//! | a list of these | all of them |

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cell::{Cell, Columns};

/// A picture of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RowPicture {
    File(PathBuf),
    /// The contents of a picture file.
    Bytes(Vec<u8>),
}

/// The pictures under `key`, one or a list; none for null. Names are relative to `folder`.
///
/// # Errors
/// If a value is no picture.
pub(crate) fn pictures(
    key: &str,
    cell: Option<Cell>,
    folder: &Path,
) -> Result<Vec<RowPicture>, String> {
    let one = |cell| picture(cell, folder).map_err(|problem| format!("`{key}` {problem}"));
    match cell {
        None | Some(Cell::Null) => Ok(Vec::new()),
        Some(Cell::List(cells)) => cells.into_iter().map(one).collect(),
        Some(cell) => Ok(vec![one(cell)?]),
    }
}

fn picture(cell: Cell, folder: &Path) -> Result<RowPicture, String> {
    match cell {
        Cell::Bytes(bytes) => Ok(RowPicture::Bytes(bytes)),
        Cell::Text(text) => named(&text, folder),
        Cell::Struct(columns) => described(columns, folder),
        other => Err(format!(
            "holds {}: give a file name, bytes, {{bytes, path}}, or a list of these",
            other.kind()
        )),
    }
}

fn described(mut columns: Columns, folder: &Path) -> Result<RowPicture, String> {
    match columns.take("bytes") {
        Some(Cell::Bytes(bytes)) => return Ok(RowPicture::Bytes(bytes)),
        // JSON has no bytes.
        Some(Cell::Text(text)) => return base64(&text),
        Some(other) => {
            return Err(format!(
                "holds `bytes` that are {}: give bytes",
                other.kind()
            ));
        }
        None => {}
    }
    match columns.take("path").or_else(|| columns.take("image")) {
        Some(Cell::Text(text)) => named(&text, folder),
        Some(Cell::Bytes(bytes)) => Ok(RowPicture::Bytes(bytes)),
        _ => Err(format!(
            "holds a struct ({}) without a picture: give `bytes` or `path`",
            columns.names().join(", ")
        )),
    }
}

fn named(text: &str, folder: &Path) -> Result<RowPicture, String> {
    if let Some(data) = text.strip_prefix("data:") {
        let (_, encoded) = data
            .split_once(";base64,")
            .ok_or("holds a data: text that is not base64: write `data:image/png;base64,…`")?;
        return base64(encoded);
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(format!(
            "holds the address {text}: download the picture and give its file name"
        ));
    }
    let name = text.strip_prefix("file://").unwrap_or(text);
    if name.is_empty() {
        return Err("holds an empty file name: give the name of a picture".to_owned());
    }
    Ok(RowPicture::File(folder.join(name)))
}

fn base64(text: &str) -> Result<RowPicture, String> {
    STANDARD
        .decode(text.trim())
        .map(RowPicture::Bytes)
        .map_err(|error| {
            format!("holds a text that is no base64 ({error}): encode the picture again")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<RowPicture>, String> {
        let cell = serde_json::from_str(json).unwrap();
        pictures("images", Some(cell), Path::new("/data"))
    }

    fn file(name: &str) -> RowPicture {
        RowPicture::File(name.into())
    }

    #[test]
    fn all_ways_to_write_a_picture_are_read() {
        for (json, wanted) in [
            ("null", vec![]),
            ("[]", vec![]),
            (r#""a.png""#, vec![file("/data/a.png")]),
            (
                r#"["/x/a.png", "b.png"]"#,
                vec![file("/x/a.png"), file("/data/b.png")],
            ),
            (r#""file:///x/a.png""#, vec![file("/x/a.png")]),
            (
                r#"[{"bytes": null, "path": "a.png"}]"#,
                vec![file("/data/a.png")],
            ),
            (
                r#"{"image": "a.png", "max_pixels": 9}"#,
                vec![file("/data/a.png")],
            ),
            (
                r#"{"bytes": "QUJD"}"#,
                vec![RowPicture::Bytes(b"ABC".into())],
            ),
            (
                r#""data:image/png;base64,QUJD""#,
                vec![RowPicture::Bytes(b"ABC".into())],
            ),
        ] {
            assert_eq!(read(json).unwrap(), wanted, "{json}");
        }
        let both = Cell::Struct(Columns(vec![
            ("bytes".into(), Cell::Bytes(vec![7])),
            ("path".into(), Cell::Text("a.png".into())),
        ]));
        let read = pictures("images", Some(both), Path::new("")).unwrap();
        assert_eq!(read, [RowPicture::Bytes(vec![7])]);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for (json, wanted) in [
            ("7", "a number"),
            ("[[]]", "a list"),
            ("[null]", "null"),
            (r#""""#, "empty"),
            (r#"{"bytes": null, "path": null}"#, "`bytes` or `path`"),
            (r#"{"bytes": 3}"#, "`bytes`"),
            (r#"{"bytes": "not base64!"}"#, "base64"),
            (r#""data:image/png,abc""#, "base64"),
            (r#""https://example.org/a.png""#, "download"),
        ] {
            let error = read(json).unwrap_err();
            assert!(
                error.starts_with("`images` ") && error.contains(wanted),
                "{json}: {error}"
            );
        }
    }
}
