//! Videos and sounds as data files name them.
//!
//! | value | meaning |
//! |---|---|
//! | a path, or `file://…` | the file or, for a video, the folder of its frames |
//! | `{path: …}`, `{video: …}`, `{audio: …}` | the same; for a video with `fps`, the frames a second of its frames |
//! | a list of these | several |

use std::path::{Path, PathBuf};

use ocelli_core::VideoSource;

use crate::cell::{Cell, Columns};

/// The videos under `video` or `videos`, taken out of the row. Names are relative to `folder`.
///
/// # Errors
/// If both columns are there, or a value names no video.
pub(crate) fn take_videos(
    columns: &mut Columns,
    folder: &Path,
) -> Result<Vec<VideoSource>, String> {
    let (key, cells) = take(columns, "video", "videos")?;
    let one = |cell| {
        let (path, fps) = described(cell, "video", folder)?;
        Ok(VideoSource { path, fps })
    };
    let named = |problem: String| format!("`{key}` {problem}");
    cells
        .into_iter()
        .map(|cell| one(cell).map_err(named))
        .collect()
}

/// The sounds under `audio` or `audios`, as [`take_videos`].
///
/// # Errors
/// As [`take_videos`].
pub(crate) fn take_sounds(columns: &mut Columns, folder: &Path) -> Result<Vec<PathBuf>, String> {
    let (key, cells) = take(columns, "audio", "audios")?;
    let one = |cell| Ok(described(cell, "audio", folder)?.0);
    let named = |problem: String| format!("`{key}` {problem}");
    cells
        .into_iter()
        .map(|cell| one(cell).map_err(named))
        .collect()
}

fn take<'a>(
    columns: &mut Columns,
    one: &'a str,
    many: &'a str,
) -> Result<(&'a str, Vec<Cell>), String> {
    let list = |cell| match cell {
        Cell::List(cells) => cells,
        cell => vec![cell],
    };
    match (columns.take(one), columns.take(many)) {
        (Some(_), Some(_)) => Err(format!("both `{one}` and `{many}`: keep one")),
        (Some(cell), None) => Ok((one, list(cell))),
        (None, cell) => Ok((many, cell.map(list).unwrap_or_default())),
    }
}

/// Frames a second of anything filmed; positions in time stay small enough to count.
const FRAME_RATES: std::ops::RangeInclusive<f64> = 1e-3..=1e4;

/// Path, and frames a second if the value says so.
fn described(cell: Cell, kind: &str, folder: &Path) -> Result<(PathBuf, Option<f64>), String> {
    match cell {
        Cell::Text(text) => Ok((named(&text, folder)?, None)),
        Cell::Struct(mut columns) => {
            let fps = match columns.take("fps") {
                None => None,
                Some(Cell::Number(fps)) => fps.as_f64(),
                Some(other) => {
                    return Err(format!(
                        "holds `fps` that is {}: give a number",
                        other.kind()
                    ));
                }
            };
            if let Some(fps) = fps.filter(|fps| !FRAME_RATES.contains(fps)) {
                return Err(format!(
                    "holds `fps` = {fps}: give a number from {} to {}",
                    FRAME_RATES.start(),
                    FRAME_RATES.end()
                ));
            }
            match columns.take("path").or_else(|| columns.take(kind)) {
                Some(Cell::Text(text)) => Ok((named(&text, folder)?, fps)),
                _ => Err(format!(
                    "holds a struct ({}) without a file name: give `path`",
                    columns.names().join(", ")
                )),
            }
        }
        other => Err(format!(
            "holds {}: write it to a file, and give the file's name, {{path}}, or a list of these",
            other.kind()
        )),
    }
}

fn named(text: &str, folder: &Path) -> Result<PathBuf, String> {
    if ["http://", "https://", "data:"]
        .iter()
        .any(|start| text.starts_with(start))
    {
        let shown: String = text.chars().take(60).collect();
        return Err(format!(
            "holds the address {shown}: download it and give its file name"
        ));
    }
    let name = text.strip_prefix("file://").unwrap_or(text);
    if name.is_empty() {
        return Err("holds an empty file name: give the name of a file".to_owned());
    }
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(json: &str) -> Columns {
        match serde_json::from_str(json).unwrap() {
            Cell::Struct(columns) => columns,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_ways_to_name_a_video_are_read() {
        let source = |path: &str, fps| VideoSource {
            path: path.into(),
            fps,
        };
        for (json, wanted) in [
            ("{}", vec![]),
            (r#"{"videos": null}"#, vec![]),
            (r#"{"videos": []}"#, vec![]),
            (r#"{"video": "a.mp4"}"#, vec![source("/data/a.mp4", None)]),
            (
                r#"{"videos": ["file:///x/a", {"path": "b", "fps": 2}]}"#,
                vec![source("/x/a", None), source("/data/b", Some(2.0))],
            ),
            (
                r#"{"video": {"video": "b", "max_frames": 9}}"#,
                vec![source("/data/b", None)],
            ),
        ] {
            let read = take_videos(&mut columns(json), Path::new("/data"));
            assert_eq!(read.unwrap(), wanted, "{json}");
        }
        let read = take_sounds(
            &mut columns(r#"{"audio": {"path": "a.wav"}}"#),
            Path::new("/d"),
        );
        assert_eq!(read.unwrap(), [PathBuf::from("/d/a.wav")]);
    }

    #[test]
    fn what_names_no_video_is_refused() {
        for (json, wanted) in [
            (r#"{"video": "a", "videos": ["b"]}"#, "keep one"),
            (r#"{"video": 7}"#, "`video` holds a number"),
            (r#"{"videos": [""]}"#, "`videos` holds an empty"),
            (r#"{"video": {"fps": 1}}"#, "without a file name"),
            (
                r#"{"video": {"path": "a", "fps": 0}}"#,
                "from 0.001 to 10000",
            ),
            (
                r#"{"video": {"path": "a", "fps": 1e-9}}"#,
                "from 0.001 to 10000",
            ),
            (r#"{"video": {"path": "a", "fps": "x"}}"#, "`fps`"),
            (r#"{"video": "https://example.org/a.mp4"}"#, "download"),
        ] {
            let error = take_videos(&mut columns(json), Path::new("/data")).unwrap_err();
            assert!(error.contains(wanted), "{json}: {error}");
        }
    }
}
