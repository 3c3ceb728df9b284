//! From files of EasyR1, verl and TRL to tasks.
//!
//! Rows are read as a stream; of a picture that stands in the file itself, memory keeps its place only
//! ([`crate::embedded`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use ocelli_core::{ImageSource, Role, Task};
use rayon::prelude::*;

use crate::data_file::DataFile;
use crate::embedded::{Collector, EmbeddedPictures};
use crate::error::DataError;
use crate::files::Files;
use crate::layout::{Draft, Layout};
use crate::picture_column::RowPicture;
use crate::source::part_of;
use crate::template::Template;

/// Which rows are kept and how they are put to the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put<'a> {
    pub(crate) layout: Layout<'a>,
    pub(crate) prompt: Option<&'a Template>,
    /// Keeps rows with one of these tasks; all, if empty.
    pub(crate) tasks: &'a [String],
    /// The most rows to keep.
    pub(crate) most: usize,
}

/// A task without its demonstration, and the parts to make that of.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) task: Task,
    pub(crate) question: String,
    pub(crate) answer: Option<String>,
    /// Whole turns of the model, the better one first.
    pub(crate) pair: Option<[String; 2]>,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    pub(crate) pictures: Option<EmbeddedPictures>,
    /// Tasks seen, kept or not.
    pub(crate) kinds: BTreeSet<String>,
}

/// The rows that `part` keeps of all rows of all files, in order, as far as `put` keeps them.
///
/// # Errors
/// If a file cannot be read, a row is malformed, or a picture is missing or none.
pub(crate) fn read(
    files: &Files,
    part: Option<[f64; 2]>,
    put: &Put<'_>,
) -> Result<Table, DataError> {
    let mut table = Table {
        rows: Vec::new(),
        pictures: None,
        kinds: BTreeSet::new(),
    };
    let mut collector = Collector::new(
        &files.folder,
        put.layout.config.image_key.as_deref().unwrap_or_default(),
    );
    let mut named: BTreeMap<PathBuf, Named> = BTreeMap::new();
    let shares = shares(&files.files, part)?;
    for (at, (file, share)) in files.files.iter().zip(shares).enumerate() {
        if table.rows.len() >= put.most || share.is_empty() {
            continue;
        }
        file.visit(share, &mut |number, columns| {
            let draft = put.layout.read(columns)?;
            let kind = draft.labels.tags.get("task").map_or("", String::as_str);
            let wanted = put.tasks.is_empty() || put.tasks.iter().any(|task| task == kind);
            if !table.kinds.contains(kind) {
                table.kinds.insert(kind.to_owned());
            }
            if wanted {
                let id = format!("{}#{number}", file.label);
                let row = row(draft, id, put, &mut collector, &mut |path, kind| {
                    let place = (at, number, kind);
                    named.entry(path.to_owned()).or_insert(place);
                })?;
                table.rows.push(row);
            }
            Ok(match table.rows.len() >= put.most {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
    }
    check_files(&files.files, named)?;
    let folder = files.folder.clone();
    table.pictures = collector
        .finish()
        .map_err(|problem| DataError::file(&folder, problem))?;
    Ok(table)
}

/// Which rows of each file `part` keeps. Rows are counted only if it matters.
fn shares(files: &[DataFile], part: Option<[f64; 2]>) -> Result<Vec<Range<usize>>, DataError> {
    if part.is_none() {
        return Ok(vec![0..usize::MAX; files.len()]);
    }
    let counts: Vec<usize> = files
        .iter()
        .map(DataFile::count)
        .collect::<Result<_, _>>()?;
    let kept = part_of(counts.iter().sum(), part);
    let mut start = 0;
    Ok(counts
        .into_iter()
        .map(|count| {
            let share = kept.start.saturating_sub(start)..kept.end.saturating_sub(start).min(count);
            start += count;
            share
        })
        .collect())
}

/// The row's task. Pictures that stand in the row go to `collector`; names of files are told to `name_file`.
fn row(
    draft: Draft,
    id: String,
    put: &Put<'_>,
    collector: &mut Collector,
    name_file: &mut dyn FnMut(&Path, Kind),
) -> Result<Row, String> {
    let Draft {
        mut turns,
        markers,
        question,
        pictures,
        videos,
        sounds,
        target,
        answer,
        pair,
        labels,
    } = draft;
    if let Some(system) = &put.layout.config.system {
        if turns.iter().any(|(role, _)| *role == Role::System) {
            return Err(
                "the row has a system turn of its own: remove it, or remove `data.system`".into(),
            );
        }
        turns.insert(0, (Role::System, system.clone()));
    }
    if let (Some(template), Some((_, question))) = (put.prompt, turns.last_mut()) {
        *question = markers.apply_prompt(template, question);
    }
    markers.check(&turns, [pictures.len(), videos.len(), sounds.len()])?;
    let mut images = Vec::with_capacity(pictures.len());
    for (index, picture) in pictures.into_iter().enumerate() {
        images.push(match picture {
            RowPicture::File(path) => {
                name_file(&path, Kind::Picture);
                ImageSource::Path(path)
            }
            RowPicture::Bytes(bytes) => {
                let name = format!("{id}/{index}");
                collector.add(&name, &bytes)?;
                ImageSource::Embedded(name)
            }
        });
    }
    for video in &videos {
        name_file(&video.path, Kind::Video);
    }
    for path in &sounds {
        name_file(path, Kind::Sound);
    }
    Ok(Row {
        task: Task {
            id,
            messages: markers.messages(turns),
            images,
            videos,
            audios: sounds,
            target,
            columns: labels.columns,
            tags: labels.tags,
            ..Task::default()
        },
        question,
        answer,
        pair,
    })
}

/// What a row names a file as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Picture,
    /// A file, or a folder of frames.
    Video,
    Sound,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::Video => "video",
            Self::Sound => "sound",
        }
    }

    fn is_there(self, path: &Path) -> bool {
        match self {
            Self::Video => path.exists(),
            Self::Picture | Self::Sound => path.is_file(),
        }
    }
}

/// Which file and row name something first, and as what.
type Named = (usize, usize, Kind);

/// Checks that every file that rows name exists, without opening any.
fn check_files(files: &[DataFile], named: BTreeMap<PathBuf, Named>) -> Result<(), DataError> {
    let missing: Vec<(Named, PathBuf)> = named
        .into_par_iter()
        .filter(|(path, (_, _, kind))| !kind.is_there(path))
        .map(|(path, place)| (place, path))
        .collect();
    let Some(((file, number, kind), path)) = missing.iter().min() else {
        return Ok(());
    };
    let others = match missing.len() - 1 {
        0 => String::new(),
        1 => " (and 1 other)".to_owned(),
        count => format!(" (and {count} others)"),
    };
    Err(files[*file].row_error(
        *number,
        format!(
            "the {} {} does not exist{others}: names are relative to the file's folder, or to `data.image_dir` where that \
             is set",
            kind.name(),
            path.display()
        ),
    ))
}
