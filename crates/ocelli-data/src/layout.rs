//! Rows of EasyR1, verl and TRL: which column means what.
//!
//! | | EasyR1 | verl | TRL |
//! |---|---|---|---|
//! | question | `problem`, a text with `<image>` | `prompt`, messages with `<image>` | `prompt`, a text or messages |
//! | pictures | `images` | `images` | `image` or `images` |
//! | videos, sounds | `video` or `videos`, `audio` or `audios`, and `<video>`, `<audio>` | the same | the same, parts of messages |
//! | answer | `answer` | `reward_model.ground_truth` | `solution` or `answer` |
//! | pair | | | `chosen` and `rejected`, texts or messages |
//! | tags | all other columns | the same, and each field of `extra_info` | all other columns |
//!
//! Sources: EasyR1 `verl/utils/dataset.py`, verl `verl/utils/dataset/rl_dataset.py`, TRL `trl/data_utils.py`
//! (`prepare_multimodal_messages`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ocelli_core::{BoundingBox, Role, Target, VideoSource};
use serde_json::Value;

use crate::box_text::parse_box;
use crate::cell::{Cell, Columns};
use crate::config::{Answers, DataConfig, Format};
use crate::conversation::{Markers, OBJECTS, WRITTEN};
use crate::format_prompt::FormatPrompt;
use crate::media_column::{take_sounds, take_videos};
use crate::picture_column::{RowPicture, pictures};

/// How columns are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'a> {
    pub(crate) format: Format,
    /// Whether the recipe names the format, or the columns told it.
    pub(crate) named: bool,
    pub(crate) config: &'a DataConfig,
    pub(crate) format_prompt: Option<&'a FormatPrompt>,
    /// The folder that picture names are relative to.
    pub(crate) image_dir: &'a Path,
}

/// What a row holds, whatever its layout.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draft {
    /// The conversation up to the model's turn, with one of `markers` where a picture, video or sound goes.
    pub(crate) turns: Vec<(Role, String)>,
    pub(crate) markers: Markers,
    /// The last human turn as written, without markers.
    pub(crate) question: String,
    pub(crate) pictures: Vec<RowPicture>,
    pub(crate) videos: Vec<VideoSource>,
    pub(crate) sounds: Vec<PathBuf>,
    pub(crate) target: Option<Target>,
    /// The answer as written.
    pub(crate) answer: Option<String>,
    /// Whole turns of the model, the better one first.
    pub(crate) pair: Option<[String; 2]>,
    pub(crate) labels: Labels,
}

/// What a row says besides: everything as a text, and what was none as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Labels {
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) columns: BTreeMap<String, Value>,
}

impl Labels {
    /// Texts as they stand, numbers and flags as JSON writes them, lists and structs as JSON. `prefix` comes before each name. A name
    /// that is there already is replaced.
    fn add(&mut self, prefix: &str, columns: Columns) {
        for (name, cell) in columns.0 {
            let name = format!("{prefix}{name}");
            match cell {
                Cell::Null | Cell::Bytes(_) => continue,
                Cell::Text(text) => {
                    self.columns.remove(&name);
                    self.tags.insert(name, text);
                }
                other => {
                    let value = other.into_json();
                    self.tags.insert(name.clone(), value.to_string());
                    self.columns.insert(name, value);
                }
            }
        }
    }

    fn of(columns: Columns) -> Self {
        let mut labels = Self::default();
        labels.add("", columns);
        labels
    }
}

/// The layout whose columns a row has.
///
/// # Errors
/// Lists the columns, if they are those of no layout or of several.
pub(crate) fn detect(columns: &Columns, config: &DataConfig) -> Result<Format, String> {
    let has = |key: &Option<String>, default: &str| columns.has(key.as_deref().unwrap_or(default));
    let for_easy_r1 = config.prompt_key.is_some() && config.answer_key.is_some();
    let prompt = has(&config.prompt_key, "prompt");
    let is_verl = prompt && columns.has("reward_model");
    let is_easy_r1 =
        !is_verl && has(&config.prompt_key, "problem") && has(&config.answer_key, "answer");
    let is_trl = columns.has("prompt") && !is_verl && !for_easy_r1;
    let fitting: Vec<Format> = [
        (Format::VlmR1, columns.has("conversations")),
        (Format::EasyR1, is_easy_r1),
        (Format::Verl, is_verl),
        (Format::Trl, is_trl),
    ]
    .into_iter()
    .filter_map(|(format, fits)| fits.then_some(format))
    .collect();
    let listed = columns.names().join(", ");
    match fitting.as_slice() {
        [format] => Ok(*format),
        [] => Err(format!(
            "the columns ({listed}) are those of no known format: set `data.format` to `vlm-r1`, `easy-r1`, `verl` or \
             `trl`, with `prompt_key`, `answer_key` and `image_key` where the columns have other names"
        )),
        several => {
            let names: Vec<_> = several.iter().map(|format| format.name()).collect();
            Err(format!(
                "the columns ({listed}) may be those of {}: say which with `data.format`",
                names.join(" or ")
            ))
        }
    }
}

impl Layout<'_> {
    /// Reads a row.
    ///
    /// # Errors
    /// Says what is wrong with it and how to mend it.
    pub(crate) fn read(&self, columns: Columns) -> Result<Draft, String> {
        let draft = match self.format {
            Format::EasyR1 => self.easy_r1(columns),
            Format::Verl => self.verl(columns),
            Format::Trl => self.trl(columns),
            Format::VlmR1 => {
                Err("rows of VLM-R1 are read from files with one object a line".into())
            }
        }?;
        match draft.turns.last() {
            Some((Role::User, _)) => Ok(draft),
            _ => {
                Err("the prompt does not end with a turn of the user: the model answers one".into())
            }
        }
    }

    fn easy_r1(&self, mut columns: Columns) -> Result<Draft, String> {
        let prompt_key = self.config.prompt_key.as_deref().unwrap_or("problem");
        let answer_key = self.config.answer_key.as_deref().unwrap_or("answer");
        let image_key = self.config.image_key.as_deref().unwrap_or("images");
        let pictures = self.pictures(&mut columns, image_key, self.config.image_key.is_some())?;
        let videos = take_videos(&mut columns, self.image_dir)?;
        let sounds = take_sounds(&mut columns, self.image_dir)?;
        let written = match need(&mut columns, prompt_key, "prompt_key")? {
            Cell::Text(text) => text,
            other => {
                return Err(format!(
                    "`{prompt_key}` is {}, where EasyR1 has a text: name another column with `data.prompt_key`, or set \
                     `data.format`",
                    other.kind()
                ));
            }
        };
        let (target, answer) = self.answer(need(&mut columns, answer_key, "answer_key")?)?;
        let put = match self.format_prompt {
            Some(format_prompt) => format_prompt.fill(&written)?,
            None => written.clone(),
        };
        Ok(Draft {
            question: WRITTEN.strip(&written),
            turns: vec![(Role::User, put)],
            markers: WRITTEN,
            pictures,
            videos,
            sounds,
            target: Some(target),
            answer: Some(answer),
            pair: None,
            labels: Labels::of(columns),
        })
    }

    fn verl(&self, mut columns: Columns) -> Result<Draft, String> {
        let prompt_key = self.config.prompt_key.as_deref().unwrap_or("prompt");
        let image_key = self.config.image_key.as_deref().unwrap_or("images");
        let pictures = self.pictures(&mut columns, image_key, self.config.image_key.is_some())?;
        let videos = take_videos(&mut columns, self.image_dir)?;
        let sounds = take_sounds(&mut columns, self.image_dir)?;
        let turns = match need(&mut columns, prompt_key, "prompt_key")? {
            Cell::List(messages) => turns(prompt_key, messages, &WRITTEN)?,
            other => {
                return Err(format!(
                    "`{prompt_key}` is {}, where verl has a list of messages: name another column with \
                     `data.prompt_key`, or set `data.format`",
                    other.kind()
                ));
            }
        };
        let mut reward_model = match columns.take("reward_model") {
            Some(Cell::Struct(fields)) => fields,
            Some(other) => {
                return Err(format!(
                    "`reward_model` is {}: give {{\"style\": \"rule\", \"ground_truth\": …}}",
                    other.kind()
                ));
            }
            None => {
                return Err(
                    "no `reward_model`: give {\"style\": \"rule\", \"ground_truth\": …}".into(),
                );
            }
        };
        let truth = reward_model.take("ground_truth").ok_or(
            "no `ground_truth` in `reward_model`: give the right answer, or remove the row",
        )?;
        let (target, answer) = self.answer(truth)?;
        let mut labels = Labels::default();
        match columns.take("extra_info") {
            Some(Cell::Struct(fields)) => labels.add("", fields),
            Some(other) => labels.add("", Columns(vec![("extra_info".to_owned(), other)])),
            None => {}
        }
        labels.add("reward_model.", reward_model);
        labels.add("", columns);
        Ok(Draft {
            question: last_question(&turns, &WRITTEN),
            turns,
            markers: WRITTEN,
            pictures,
            videos,
            sounds,
            target: Some(target),
            answer: Some(answer),
            pair: None,
            labels,
        })
    }

    fn trl(&self, mut columns: Columns) -> Result<Draft, String> {
        let key = match (columns.has("image"), columns.has("images")) {
            (true, true) => return Err("both `image` and `images`: keep one".into()),
            (true, false) => "image",
            _ => "images",
        };
        let pictures = self.pictures(&mut columns, key, false)?;
        let videos = take_videos(&mut columns, self.image_dir)?;
        let sounds = take_sounds(&mut columns, self.image_dir)?;
        let mut turns = match need(&mut columns, "prompt", "format")? {
            Cell::Text(text) => {
                if !self.named && !pictures.is_empty() && text.contains(WRITTEN.image) {
                    return Err(format!(
                        "`prompt` has `{}` in it, which TRL takes for text: set `data.format` to `easy-r1` with \
                         `prompt_key = \"prompt\"` if a picture goes there, or to `trl` if not",
                        WRITTEN.image
                    ));
                }
                vec![(Role::User, text)]
            }
            Cell::List(messages) => turns("prompt", messages, &OBJECTS)?,
            other => {
                return Err(format!(
                    "`prompt` is {}: give a text or a list of messages",
                    other.kind()
                ));
            }
        };
        // Without places of their own, TRL shows all pictures at the start of the first human turn.
        OBJECTS.put_first(&mut turns, [pictures.len(), videos.len(), sounds.len()]);
        let truth = match &self.config.answer_key {
            Some(key) => Some(need(&mut columns, key, "answer_key")?),
            None => columns.take("solution").or_else(|| columns.take("answer")),
        };
        let (target, answer) = match truth {
            None => (None, None),
            Some(Cell::Text(text)) if text.trim().is_empty() => (None, None),
            Some(truth) => {
                let (target, answer) = self.answer(truth)?;
                (Some(target), Some(answer))
            }
        };
        let chosen = model_turn(&mut columns, "chosen")?;
        let rejected = model_turn(&mut columns, "rejected")?;
        let pair = match (chosen, rejected) {
            (Some(chosen), Some(rejected)) => Some([chosen, rejected]),
            (None, None) => None,
            (chosen, _) => {
                let missing = if chosen.is_some() {
                    "rejected"
                } else {
                    "chosen"
                };
                return Err(format!(
                    "a pair without `{missing}`: write it, or remove the row"
                ));
            }
        };
        Ok(Draft {
            question: last_question(&turns, &OBJECTS),
            turns,
            markers: OBJECTS,
            pictures,
            videos,
            sounds,
            target,
            answer,
            pair,
            labels: Labels::of(columns),
        })
    }

    fn pictures(
        &self,
        columns: &mut Columns,
        key: &str,
        required: bool,
    ) -> Result<Vec<RowPicture>, String> {
        if required && !columns.has(key) {
            return Err(missing(columns, key, "image_key"));
        }
        pictures(key, columns.take(key), self.image_dir)
    }

    /// The target, and the answer as written.
    fn answer(&self, truth: Cell) -> Result<(Target, String), String> {
        let numbers = four_numbers(&truth);
        let written = truth
            .into_text()
            .filter(|text| !text.trim().is_empty())
            .ok_or("the answer is empty: write it into the row, or remove the row")?;
        let ordered = |found: &BoundingBox| found.is_valid();
        let target = match self.config.answers {
            Some(Answers::Text) => Target::Text(written.clone()),
            None => match numbers.filter(ordered) {
                Some(found) => Target::Box(found),
                None => Target::Text(written.clone()),
            },
            Some(Answers::Box) => {
                let found = numbers.or_else(|| parse_box(&written)).filter(ordered);
                Target::Box(found.ok_or_else(|| {
                    format!(
                        "the answer {written:?} is no box: write [x1, y1, x2, y2] with x1 ≤ x2 and y1 ≤ y2, or leave \
                         `data.answers` out"
                    )
                })?)
            }
        };
        Ok((target, written))
    }
}

/// A list of exactly four numbers.
fn four_numbers(cell: &Cell) -> Option<BoundingBox> {
    let Cell::List(cells) = cell else {
        return None;
    };
    let numbers: Option<Vec<f64>> = cells
        .iter()
        .map(|cell| match cell {
            Cell::Number(number) => number.as_f64(),
            _ => None,
        })
        .collect();
    let corners: [f64; 4] = numbers?.try_into().ok()?;
    Some(corners.into())
}

fn need(columns: &mut Columns, key: &str, config_key: &str) -> Result<Cell, String> {
    if !columns.has(key) {
        return Err(missing(columns, key, config_key));
    }
    columns
        .take(key)
        .ok_or_else(|| format!("`{key}` is null: write it, or remove the row"))
}

fn missing(columns: &Columns, key: &str, config_key: &str) -> String {
    format!(
        "no column `{key}` among {}: name the right one with `data.{config_key}`",
        columns.names().join(", ")
    )
}

/// A whole turn of the model: a text, or the one message of a list.
fn model_turn(columns: &mut Columns, key: &str) -> Result<Option<String>, String> {
    match columns.take(key) {
        None => Ok(None),
        Some(Cell::Text(text)) => Ok(Some(text)),
        Some(Cell::List(messages)) => match turns(key, messages, &OBJECTS)?.as_slice() {
            [(Role::Assistant, text)] => Ok(Some(text.clone())),
            _ => Err(format!(
                "`{key}` is not one message of the assistant: leave the prompt to `prompt`, and give a text or one message"
            )),
        },
        Some(other) => Err(format!(
            "`{key}` is {}: give a text or a message of the assistant",
            other.kind()
        )),
    }
}

fn last_question(turns: &[(Role, String)], markers: &Markers) -> String {
    turns
        .last()
        .map_or_else(String::new, |(_, text)| markers.strip(text))
}

/// Messages to turns: a text stands as it is, a list of parts is joined, with `markers` for what is shown.
fn turns(key: &str, messages: Vec<Cell>, markers: &Markers) -> Result<Vec<(Role, String)>, String> {
    let turn = |(number, message): (usize, Cell)| {
        let number = number + 1;
        let Cell::Struct(mut fields) = message else {
            return Err(format!(
                "message {number} of `{key}` is {}: give {{\"role\": …, \"content\": …}}",
                message.kind()
            ));
        };
        let role = match fields.take("role") {
            Some(Cell::Text(role)) => match role.as_str() {
                "system" => Role::System,
                "user" => Role::User,
                "assistant" => Role::Assistant,
                other => {
                    return Err(format!(
                        "message {number} of `{key}` is from `{other}`: only `system`, `user` and `assistant` are read"
                    ));
                }
            },
            _ => return Err(format!("message {number} of `{key}` has no `role`: add it")),
        };
        let content = match fields.take("content") {
            Some(Cell::Text(text)) => text,
            Some(Cell::List(parts)) => joined(parts, markers)
                .map_err(|problem| format!("message {number} of `{key}` {problem}"))?,
            _ => {
                return Err(format!(
                    "message {number} of `{key}` has no `content`: give a text or a list of parts"
                ));
            }
        };
        Ok((role, content))
    };
    messages.into_iter().enumerate().map(turn).collect()
}

fn joined(parts: Vec<Cell>, markers: &Markers) -> Result<String, String> {
    let mut text = String::new();
    for part in parts {
        let Cell::Struct(mut fields) = part else {
            return Err("has a part that is no {\"type\": …}: write it as one".into());
        };
        match (fields.take("type"), fields.take("text")) {
            (Some(Cell::Text(kind)), _) if kind == "image" => text.push_str(markers.image),
            (Some(Cell::Text(kind)), _) if kind == "video" => text.push_str(markers.video),
            (Some(Cell::Text(kind)), _) if kind == "audio" => text.push_str(markers.audio),
            (Some(Cell::Text(kind)), Some(Cell::Text(piece))) if kind == "text" => {
                text.push_str(&piece);
            }
            (Some(Cell::Text(kind)), _) if kind == "text" => {
                return Err("has a part of type text without `text`: add it".into());
            }
            (Some(Cell::Text(kind)), _) => {
                return Err(format!(
                    "has a part of type `{kind}`: only `text`, `image`, `video` and `audio` are read"
                ));
            }
            _ => return Err("has a part without `type`: add it".into()),
        }
    }
    Ok(text)
}
