//! Reader of VLM-R1's data files: one JSON object a line.
//!
//! ```text
//! {"id": "7", "image": "a.png", "conversations": [{"from": "human", "value": "<image>How many?"}, {"from": "gpt", "value": "3"}]}
//! ```
//!
//! - `image` is a name or a list of names (`images` is read too); each `<image>` in a human turn stands for the next
//!   one. With no `<image>` at all, the pictures come first.
//! - `video` or `videos` and `audio` or `audios` are the same with `<video>` and `<audio>`; a video is a file or a folder of
//!   frames, or `{"path": …, "fps": …}`.
//! - The last turn holds the gold answer, whole or between `<answer>` tags. Four numbers `[x1, y1, x2, y2]` are a box in
//!   pixels of the first picture, anything else is a text.
//! - Every other field with a plain value becomes a tag; `task` is the one that `data.tasks` chooses by. Lists and
//!   objects are left alone.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_core::{ImageSource, Message, Role, Target, Task};
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::box_text::parse_box;
use crate::cell::{Cell, Columns};
use crate::conversation::{Counts, WRITTEN};
use crate::error::DataError;
use crate::media_column::{take_sounds, take_videos};
use crate::template::Template;

const ANSWER_OPEN: &str = "<answer>";
const ANSWER_CLOSE: &str = "</answer>";

/// How rows are put to the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put<'a> {
    /// The folder that picture names are relative to.
    pub(crate) image_dir: &'a Path,
    /// System prompt, or the chat template's own.
    pub(crate) system: Option<&'a str>,
    /// Template with `{question}` for the last human turn.
    pub(crate) prompt: Option<&'a Template>,
}

/// One row: the task without its demonstration, and the parts to make that of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) task: Task,
    /// The last human turn as written, markers left out.
    pub(crate) question: String,
    /// The gold answer as written.
    pub(crate) answer: String,
    /// What stands around the answer in the gold turn.
    pub(crate) before_answer: String,
    pub(crate) after_answer: String,
}

/// All rows of `file`, in order. Blank lines are passed over.
///
/// # Errors
/// If the file cannot be read or holds no rows, a row is malformed, or two rows have the same id.
pub(crate) fn read(file: &Path, put: &Put<'_>) -> Result<Vec<Row>, DataError> {
    let bytes = fs::read(file).map_err(|source| DataError::Read {
        path: file.to_owned(),
        source,
    })?;
    parse(&bytes, put).map_err(|fault| match fault {
        Fault::Row { line, problem } => DataError::Row {
            path: file.to_owned(),
            line,
            problem,
        },
        Fault::Empty => DataError::Empty {
            name: file.display().to_string(),
            problem: "the file holds no rows: write one JSON object a line".to_owned(),
        },
    })
}

/// Checks that every picture, video and sound of `rows` exists, without opening any.
///
/// # Errors
/// Names the first row with a missing file, and how many files are missing in all.
pub(crate) fn check_pictures(file: &Path, rows: &[Row]) -> Result<(), DataError> {
    let mut first_lines: BTreeMap<&PathBuf, usize> = BTreeMap::new();
    for row in rows {
        for image in &row.task.images {
            if let ImageSource::Path(path) = image {
                first_lines.entry(path).or_insert(row.line);
            }
        }
        for path in &row.task.audios {
            first_lines.entry(path).or_insert(row.line);
        }
        for video in &row.task.videos {
            // A folder of frames is there, though it is no file.
            if !video.path.is_dir() {
                first_lines.entry(&video.path).or_insert(row.line);
            }
        }
    }
    let missing: Vec<(usize, &PathBuf)> = first_lines
        .into_par_iter()
        .filter(|(path, _)| !path.is_file())
        .map(|(path, line)| (line, path))
        .collect();
    missing.iter().min().map_or(Ok(()), |(line, path)| {
        let others = match missing.len() - 1 {
            0 => String::new(),
            1 => " (and 1 other)".to_owned(),
            count => format!(" (and {count} others)"),
        };
        Err(DataError::Row {
            path: file.to_owned(),
            line: *line,
            problem: format!(
                "the file {} does not exist{others}: names are relative to the file's folder, or to \
                 `data.image_dir` where that is set",
                path.display()
            ),
        })
    })
}

/// Why a file's contents are no data set, the file's name left out.
#[derive(Debug)]
enum Fault {
    Row { line: usize, problem: String },
    Empty,
}

fn parse(bytes: &[u8], put: &Put<'_>) -> Result<Vec<Row>, Fault> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut rows = Vec::new();
    let mut lines_by_id: HashMap<String, usize> = HashMap::new();
    for (index, text) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = index + 1;
        if text.trim_ascii().is_empty() {
            continue;
        }
        let row = parse_row(text, line, put).map_err(|problem| Fault::Row { line, problem })?;
        if let Some(earlier) = lines_by_id.insert(row.task.id.clone(), line) {
            let problem = format!(
                "the id `{}` was used on line {earlier}: ids name rows, so give each its own",
                row.task.id
            );
            return Err(Fault::Row { line, problem });
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(Fault::Empty);
    }
    Ok(rows)
}

/// One line. The error says what is wrong and how to mend it.
fn parse_row(text: &[u8], line: usize, put: &Put<'_>) -> Result<Row, String> {
    let mut fields: Map<String, Value> = match serde_json::from_slice(text) {
        Ok(Value::Object(fields)) => fields,
        Ok(Value::Array(_)) => return Err("a JSON list: write one object a line (JSONL)".into()),
        Ok(_) => return Err("not a JSON object: write one a line, {\"id\": …}".into()),
        Err(_) if text.trim_ascii() == b"[" => {
            return Err("the start of a JSON list: write one object a line (JSONL)".into());
        }
        Err(error) => {
            let problem = error.to_string();
            let problem = problem.split(" at line ").next().unwrap_or_default();
            return Err(format!(
                "not JSON at column {}: {problem}. Each line must be one whole object",
                error.column()
            ));
        }
    };
    let id = match fields.remove("id") {
        None | Some(Value::Null) => line.to_string(),
        Some(Value::String(id)) if !id.is_empty() => id,
        Some(Value::Number(id)) => id.to_string(),
        Some(other) => return Err(format!("`id` is {other}: give a text or a number")),
    };
    let images = picture_names(&mut fields)?;
    let mut turns = take_turns(&mut fields)?;
    let gold = match turns.pop() {
        Some((Role::Assistant, gold)) => gold,
        Some(_) => {
            return Err(
                "no gpt turn with the gold answer: end `conversations` with {\"from\": \"gpt\", \"value\": …}".into(),
            );
        }
        None => return Err("`conversations` is empty: give a human and a gpt turn".into()),
    };
    let question = match turns.last() {
        Some((Role::User, question)) => WRITTEN.strip(question),
        _ => return Err("no human turn before the gold answer: add the question".into()),
    };
    let (before_answer, answer, after_answer) = split_answer(&gold)?;
    let target = target(&answer)?;
    let mut media = media_columns(&mut fields)?;
    let videos = take_videos(&mut media, put.image_dir)?;
    let audios = take_sounds(&mut media, put.image_dir)?;
    let counts = [images.len(), videos.len(), audios.len()];
    let messages = messages(turns, counts, put)?;
    let images = images
        .into_iter()
        .map(|name| ImageSource::Path(put.image_dir.join(name)))
        .collect();
    let task = Task {
        id,
        messages,
        images,
        videos,
        audios,
        target: Some(target),
        tags: tags(fields),
        ..Task::default()
    };
    Ok(Row {
        line,
        task,
        question,
        answer,
        before_answer,
        after_answer,
    })
}

/// The fields that name videos and sounds.
fn media_columns(fields: &mut Map<String, Value>) -> Result<Columns, String> {
    let mut columns = Vec::new();
    for key in ["video", "videos", "audio", "audios"] {
        if let Some(value) = fields.remove(key) {
            let cell: Cell = serde_json::from_value(value)
                .map_err(|error| format!("`{key}` cannot be read: {error}"))?;
            columns.push((key.to_owned(), cell));
        }
    }
    Ok(Columns(columns))
}

/// The names under `image` or `images`.
fn picture_names(fields: &mut Map<String, Value>) -> Result<Vec<String>, String> {
    let value = match (fields.remove("image"), fields.remove("images")) {
        (Some(_), Some(_)) => return Err("both `image` and `images`: keep one".into()),
        (value, None) | (None, value) => value,
    };
    let name = |value: Value| match value {
        Value::String(name) if !name.is_empty() => Ok(name),
        other => Err(format!(
            "`image` holds {other}: give a file name or a list of file names"
        )),
    };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(names)) => names.into_iter().map(name).collect(),
        Some(value) => Ok(vec![name(value)?]),
    }
}

/// The turns under `conversations`, in order.
fn take_turns(fields: &mut Map<String, Value>) -> Result<Vec<(Role, String)>, String> {
    let turns = match fields.remove("conversations") {
        Some(Value::Array(turns)) => turns,
        Some(other) => return Err(format!("`conversations` is {other}: give a list of turns")),
        None => {
            return Err(
                "no `conversations`: give a list, [{\"from\": \"human\", \"value\": …}, {\"from\": \"gpt\", …}]".into(),
            );
        }
    };
    let turn = |(number, turn): (usize, &Value)| {
        let number = number + 1;
        let text = |key: &str| {
            turn.get(key).and_then(Value::as_str).ok_or_else(|| {
                format!("turn {number} has no text `{key}`: each turn needs `from` and `value`")
            })
        };
        let role = match text("from")? {
            "human" | "user" => Role::User,
            "gpt" | "assistant" => Role::Assistant,
            "system" => Role::System,
            other => {
                return Err(format!(
                    "turn {number} is from `{other}`: write `human`, `gpt` or `system`"
                ));
            }
        };
        Ok((role, text("value")?.to_owned()))
    };
    turns.iter().enumerate().map(turn).collect()
}

/// The gold turn cut into what stands before its answer, the answer, and what stands after. A turn without `<answer>`
/// tags is an answer, and gets them.
fn split_answer(gold: &str) -> Result<(String, String, String), String> {
    let empty = "the gold answer is empty: write it into the last gpt turn, or remove the row";
    let tagged = gold.rsplit_once(ANSWER_OPEN).and_then(|(before, rest)| {
        let (inner, after) = rest.split_once(ANSWER_CLOSE)?;
        Some((before, inner, after))
    });
    let (before, inner, after) = tagged.unwrap_or(("", gold, ""));
    let answer = inner.trim();
    if answer.is_empty() {
        return Err(empty.into());
    }
    Ok((
        format!("{before}{ANSWER_OPEN}"),
        answer.to_owned(),
        format!("{ANSWER_CLOSE}{after}"),
    ))
}

fn target(answer: &str) -> Result<Target, String> {
    match parse_box(answer) {
        Some(found) if found.is_valid() => Ok(Target::Box(found)),
        Some(_) => Err(format!(
            "the box {answer} has its corners out of order: write [x1, y1, x2, y2] with x1 ≤ x2 and y1 ≤ y2"
        )),
        None => Ok(Target::Text(answer.to_owned())),
    }
}

/// The conversation up to the model's turn, with pictures in their places.
fn messages(
    mut turns: Vec<(Role, String)>,
    counts: Counts,
    put: &Put<'_>,
) -> Result<Vec<Message>, String> {
    let has_system = turns.iter().any(|(role, _)| *role == Role::System);
    if let Some(system) = put.system {
        if has_system {
            return Err(
                "the row has a system turn of its own: remove it, or remove `data.system`".into(),
            );
        }
        turns.insert(0, (Role::System, system.to_owned()));
    }
    if let (Some(template), Some((_, question))) = (put.prompt, turns.last_mut()) {
        *question = WRITTEN.apply_prompt(template, question);
    }
    WRITTEN.put_first(&mut turns, counts);
    WRITTEN.check(&turns, counts).map_err(|problem| {
        format!("{problem}, or leave the markers out to show all pictures, videos and sounds first")
    })?;
    Ok(WRITTEN.messages(turns))
}

/// Fields with plain values, as text.
fn tags(fields: Map<String, Value>) -> BTreeMap<String, String> {
    fields
        .into_iter()
        .filter_map(|(key, value)| match value {
            Value::String(text) => Some((key, text)),
            Value::Number(number) => Some((key, number.to_string())),
            Value::Bool(flag) => Some((key, flag.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        })
        .collect()
}

#[cfg(test)]
#[path = "vlm_r1_tests.rs"]
mod tests;
