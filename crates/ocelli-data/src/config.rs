//! The `data = { … }` table of a stage.
//!
//! The doc comments of the fields are the reference text of the keys.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::augment::Augment;
use crate::difficulty::Difficulty;
use crate::error::DataError;
use crate::label_noise::LabelNoise;
use crate::pointing::PointingConfig;
use crate::template::Template;

/// Makers of tasks that need no files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generator {
    /// Coloured shapes, and the question where one of them is.
    Pointing,
}

impl Generator {
    /// The word used in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pointing => "pointing",
        }
    }
}

/// Layouts of data files. Without one, the columns of the first row tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// One JSON object a line, as VLM-R1 reads them: `id`, `image`, `conversations`.
    #[default]
    #[serde(rename = "vlm-r1")]
    VlmR1,
    /// EasyR1's columns: `problem` with `<image>` where a picture goes, `answer`, `images`.
    #[serde(rename = "easy-r1")]
    EasyR1,
    /// verl's columns: `prompt` (messages), `images`, `data_source`, `ability`, `reward_model`, `extra_info`.
    #[serde(rename = "verl")]
    Verl,
    /// TRL's columns: `prompt` (a text or messages), `image` or `images`, and whatever rewards take.
    #[serde(rename = "trl")]
    Trl,
}

impl Format {
    /// The word used in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::VlmR1 => "vlm-r1",
            Self::EasyR1 => "easy-r1",
            Self::Verl => "verl",
            Self::Trl => "trl",
        }
    }
}

/// What the right answers of a file are. VLM-R1's files tell text and box apart by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answers {
    /// Texts, as they stand.
    Text,
    /// Boxes `[x1, y1, x2, y2]` in pixels of the first picture.
    Box,
}

/// Which of a generator's two endless lists of rows; they share none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Rows to learn from.
    #[default]
    Train,
    /// Rows to measure on.
    Val,
}

impl Split {
    /// The word used in recipes and row names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }
}

/// Where a stage's tasks come from and how they are put.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The data file, relative to the recipe's folder or `data.root`; or a folder of files, `folder@train` for the files of one split, or
    /// a pattern such as `train-*.parquet`. JSON, JSONL or Parquet. Give either this or `generator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The layout of the file: `vlm-r1`, `easy-r1`, `verl` or `trl`. By default the columns of the first row tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The column with the question, in `easy-r1` (default `problem`) and `verl` (default `prompt`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_key: Option<String>,
    /// The column with the right answer, in `easy-r1` (default `answer`) and `trl` (default `solution`, else `answer`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_key: Option<String>,
    /// The column with the pictures, in `easy-r1` and `verl` (default `images`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_key: Option<String>,
    /// EasyR1's format prompt: a Jinja file, relative to the recipe's folder or `data.root`, that the question is put into as `content`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format_prompt: Option<PathBuf>,
    /// What the right answers are: `text` or `box`. By default lists of four numbers in order are boxes and all else is
    /// text. Not for `vlm-r1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
    /// The folder that picture names in the file are relative to; by default the file's own folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_dir: Option<PathBuf>,
    /// Keeps the rows whose field `task` is one of these; applied after `part`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,

    /// Makes the tasks instead of reading them: `pointing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<Generator>,
    /// Which rows a generator makes: `train` (the default) or `val`. The two share none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Settings of the generator `pointing`: `objects`, `size`, `picture`, `colors`, `shapes`, `noise`, `smooth`,
    /// `lighting`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointing: Option<PointingConfig>,

    /// How many rows a generator makes. For a file, the most rows to keep, counted after `part` and `tasks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    /// Keeps a stretch of the rows in their order, as fractions: `[0.0, 0.5]` is the first half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<[f64; 2]>,
    /// Seed of generated rows and of label noise; by default the run's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,

    /// The system prompt; without it, the model's chat template decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What is asked, with `{question}` where the row's own question goes. Pictures stay in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The model turn that supervised stages imitate, with `{answer}` and, if wanted, `{question}`. By default the
    /// row's own turn if it has `<answer>` tags, `<answer>{answer}</answer>` if not, and the generator's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demonstration: Option<String>,
    /// Makes the boxes in demonstrations sloppy, in pixels: `{ outward = 20.0, jitter = 4.0 }`. Rewards see true boxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_noise: Option<LabelNoise>,
    /// Rejected answers for stages that learn from pairs, where answers are boxes: the demonstration with a sloppy box.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_noise: Option<LabelNoise>,
    /// Changes light and colour of the pictures, drawn anew each time a row is shown, as shares of the range, and moves
    /// them with their boxes by up to `shift` pixels: `{ brightness = 0.2, contrast = 0.3, color = 0.1, noise = 0.02,
    /// shift = 8 }`. For stages; refused in `eval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<Augment>,
    /// Keeps the rows whose pass rate, measured before by `ocelli difficulty`, lies in a band: `{ file = "rates.jsonl", min = 0.1,
    /// max = 0.9 }`. Applied last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<Difficulty>,

    /// In a list of sources: how often its rows are drawn, in proportion to the other sources' weights (1 by default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// In a list of sources: its name, which its rows get as the tag `source` where they have none. By default the file's name without
    /// its ending, or generator and split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// The one source that a checked [`DataConfig`] names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source<'a> {
    File {
        path: &'a PathBuf,
    },
    Generated {
        generator: Generator,
        split: Split,
        rows: usize,
    },
}

/// The templates of a checked [`DataConfig`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Templates {
    pub(crate) prompt: Option<Template>,
    pub(crate) demonstration: Option<Template>,
}

impl DataConfig {
    /// What a list of sources calls it.
    pub(crate) fn source_name(&self) -> String {
        let of_path = |path: &PathBuf| {
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            stem.to_string_lossy().into_owned()
        };
        let of_generator = |generator: Generator| {
            format!(
                "{}-{}",
                generator.name(),
                self.split.unwrap_or_default().name()
            )
        };
        self.source
            .clone()
            .or_else(|| self.path.as_ref().map(of_path))
            .or_else(|| self.generator.map(of_generator))
            .unwrap_or_default()
    }

    /// The first of its keys that makes boxes sloppy, for which the pictures' sizes are needed.
    pub(crate) fn noise_key(&self) -> Option<&'static str> {
        let label = self.label_noise.map(|_| "label_noise");
        label.or(self.rejected_noise.map(|_| "rejected_noise"))
    }

    /// Checks everything that can be known without reading files.
    ///
    /// # Errors
    /// If there is no source or two, a value makes no sense, or a key would have no effect.
    pub fn check(&self) -> Result<(), DataError> {
        let source = self.source()?;
        if matches!(source, Source::Generated { .. }) && self.augment.is_some_and(|a| a.shift > 0) {
            return Err(DataError::config(
                "augment",
                "`shift` has no place beside a generator, whose demonstrations say in words where things are: raise `rows` instead",
            ));
        }
        self.templates()?;
        for (key, noise) in [
            ("label_noise", &self.label_noise),
            ("rejected_noise", &self.rejected_noise),
        ] {
            if let Some(noise) = noise {
                noise.check(key)?;
            }
        }
        if let Some(augment) = &self.augment {
            augment.check()?;
        }
        if let Some(difficulty) = &self.difficulty {
            difficulty.check()?;
        }
        if let Some([start, end]) = self.part
            && !(0.0 <= start && start < end && end <= 1.0)
        {
            return Err(DataError::config(
                "part",
                format!("`[{start}, {end}]` must be two fractions in order, such as [0.0, 0.5]"),
            ));
        }
        if self.rows == Some(0) {
            return Err(DataError::config(
                "rows",
                "0 rows are no data: give 1 or more",
            ));
        }
        Ok(())
    }

    /// The source, once keys that do not belong to it are ruled out.
    pub(crate) fn source(&self) -> Result<Source<'_>, DataError> {
        match (&self.path, self.generator) {
            (None, None) => Err(DataError::config(
                "path",
                "no source: give `path` (a file) or `generator` (such as \"pointing\")",
            )),
            (Some(path), Some(generator)) => Err(DataError::config(
                "generator",
                format!(
                    "`{}` and `path = {path:?}` are two sources: remove one",
                    generator.name()
                ),
            )),
            (Some(path), None) => {
                refuse_present(
                    "a file",
                    &[
                        ("split", self.split.is_some()),
                        ("pointing", self.pointing.is_some()),
                    ],
                )?;
                if self.seed.is_some() && self.noise_key().is_none() {
                    return Err(DataError::config(
                        "seed",
                        "has no effect on a file without `label_noise` or `rejected_noise`: remove it, or seed the run",
                    ));
                }
                if let Some(format) = self.format {
                    self.check_format_keys(format)?;
                }
                if self.prompt.is_some() && self.format_prompt.is_some() {
                    return Err(DataError::config(
                        "format_prompt",
                        "and `prompt` both say how the question is put: remove one",
                    ));
                }
                Ok(Source::File { path })
            }
            (None, Some(generator)) => {
                refuse_present(
                    "a generator",
                    &[
                        ("format", self.format.is_some()),
                        ("image_dir", self.image_dir.is_some()),
                        ("prompt_key", self.prompt_key.is_some()),
                        ("answer_key", self.answer_key.is_some()),
                        ("image_key", self.image_key.is_some()),
                        ("format_prompt", self.format_prompt.is_some()),
                        ("answers", self.answers.is_some()),
                        ("tasks", !self.tasks.is_empty()),
                    ],
                )?;
                if let Some(pointing) = &self.pointing {
                    pointing.check()?;
                }
                let rows = self.rows.ok_or_else(|| {
                    DataError::config("rows", "a generator needs to know how many rows to make")
                })?;
                Ok(Source::Generated {
                    generator,
                    split: self.split.unwrap_or_default(),
                    rows,
                })
            }
        }
    }

    /// An error for the first key that files of `format` do not use.
    pub(crate) fn check_format_keys(&self, format: Format) -> Result<(), DataError> {
        let source = match format {
            Format::VlmR1 => "a file of VLM-R1",
            Format::EasyR1 => "a file of EasyR1",
            Format::Verl => "a file of verl",
            Format::Trl => "a file of TRL",
        };
        let used: &[&str] = match format {
            Format::VlmR1 => &[],
            Format::EasyR1 => &[
                "prompt_key",
                "answer_key",
                "image_key",
                "format_prompt",
                "answers",
            ],
            Format::Verl => &["prompt_key", "image_key", "answers"],
            Format::Trl => &["answer_key", "answers"],
        };
        let keys = [
            ("prompt_key", self.prompt_key.is_some()),
            ("answer_key", self.answer_key.is_some()),
            ("image_key", self.image_key.is_some()),
            ("format_prompt", self.format_prompt.is_some()),
            ("answers", self.answers.is_some()),
        ]
        .map(|(key, present)| (key, present && !used.contains(&key)));
        refuse_present(source, &keys)
    }

    pub(crate) fn templates(&self) -> Result<Templates, DataError> {
        let parse = |key, text: &Option<String>, known| {
            text.as_ref()
                .map(|text| Template::parse(key, text, known))
                .transpose()
        };
        Ok(Templates {
            prompt: parse("prompt", &self.prompt, &["question"])?,
            demonstration: parse(
                "demonstration",
                &self.demonstration,
                &["answer", "question"],
            )?,
        })
    }
}

/// An error for the first key that is set although `source` does not use it.
fn refuse_present(source: &str, keys: &[(&'static str, bool)]) -> Result<(), DataError> {
    keys.iter()
        .find(|(_, present)| *present)
        .map_or(Ok(()), |(key, _)| {
            Err(DataError::config(
                key,
                format!("has no effect when {source} is the source: remove it"),
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(toml: &str) -> String {
        let config: DataConfig = toml::from_str(toml).unwrap();
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn a_full_table_is_read_and_written_back() {
        let text = r#"
            path = "data/train.jsonl"
            format = "vlm-r1"
            image_dir = "images"
            tasks = ["ref"]
            rows = 100
            part = [0.0, 0.5]
            seed = 3
            system = "Answer briefly."
            prompt = "{question} Think first."
            demonstration = "<answer>{answer}</answer>"
            label_noise = { outward = 20.0, jitter = 4.0 }
        "#;
        let config: DataConfig = toml::from_str(text).unwrap();
        config.check().unwrap();
        let again: DataConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(config, again);
    }

    #[test]
    fn generator_settings_are_read_and_written_back() {
        let text = r#"
            generator = "pointing"
            split = "val"
            rows = 10
            pointing = { objects = [2, 3], size = [20, 30], picture = 140, colors = ["red", "cyan"], noise = 4 }
        "#;
        let config: DataConfig = toml::from_str(text).unwrap();
        config.check().unwrap();
        let again: DataConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(config, again);
    }

    #[test]
    fn unknown_keys_and_words_are_refused() {
        for text in [
            "pathh = 'x'",
            "generator = 'pointin'",
            "format = 'parquet'",
            "label_noise = { outwards = 1.0 }",
            "pointing = { colours = [] }",
        ] {
            assert!(toml::from_str::<DataConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn exactly_one_source_is_asked_for() {
        assert!(refused("").contains("no source"));
        assert!(refused("path = 'a'\ngenerator = 'pointing'\nrows = 1").contains("two sources"));
        assert!(refused("generator = 'pointing'").contains("data.rows"));
    }

    #[test]
    fn keys_without_effect_are_refused() {
        for (text, key) in [
            ("path = 'a'\nsplit = 'val'", "data.split"),
            ("path = 'a'\npointing = {}", "data.pointing"),
            ("path = 'a'\nseed = 1", "data.seed"),
            ("generator = 'pointing'\nformat = 'vlm-r1'", "data.format"),
            ("generator = 'pointing'\nimage_dir = 'a'", "data.image_dir"),
            ("generator = 'pointing'\ntasks = ['ref']", "data.tasks"),
            ("path = 'a'\nlabel_noise = {}", "data.label_noise"),
            (
                "generator = 'pointing'\nrows = 9\naugment = { shift = 4 }",
                "data.augment",
            ),
        ] {
            let error = refused(text);
            assert!(error.contains(key), "{text}: {error}");
        }
    }

    #[test]
    fn values_without_sense_are_refused() {
        for part in [
            "[0.5, 0.5]",
            "[0.6, 0.4]",
            "[-0.1, 0.4]",
            "[0.0, 1.1]",
            "[nan, 1.0]",
        ] {
            assert!(refused(&format!("path = 'a'\npart = {part}")).contains("data.part"));
        }
        assert!(refused("path = 'a'\nrows = 0").contains("data.rows"));
        assert!(refused("path = 'a'\nprompt = 'Think.'").contains("{question}"));
        assert!(refused("path = 'a'\ndemonstration = '{answr}'").contains("`answer`"));
    }
}
