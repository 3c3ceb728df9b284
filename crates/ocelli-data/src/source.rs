//! From the `data` table of a recipe to a [`Dataset`]: choose the rows, put the questions, write the demonstrations.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelli_core::{ImageSource, Message, Part, Role, Target, Task};
use rayon::prelude::*;

use crate::box_text::write_box;
use crate::cache::PictureCache;
use crate::config::{DataConfig, Format, Generator, Source, Templates};
use crate::data_file::Kind;
use crate::dataset::Dataset;
use crate::decode::picture_size;
use crate::embedded::EmbeddedPictures;
use crate::error::DataError;
use crate::files::{self, Files};
use crate::format_prompt::FormatPrompt;
use crate::label_noise::LabelNoise;
use crate::layout::{self, Layout};
use crate::pointing::{self, Maker, PointingConfig};
use crate::shift;
use crate::suggest::did_you_mean;
use crate::table;
use crate::vlm_r1;

/// Loads or makes the tasks that `config` describes. Relative paths start at `root`, the recipe's folder; `run_seed`
/// is used where the table has no `seed`.
///
/// # Errors
/// If the table is wrong (see [`DataConfig::check`]), the file or one of its rows is, a picture is missing, or no row is
/// left.
pub fn load(config: &DataConfig, root: &Path, run_seed: u64) -> Result<Dataset, DataError> {
    load_with(config, root, run_seed, &Arc::default())
}

/// As [`load`], with `pictures` that other data sets may share: one budget of memory for all of them.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    config: &DataConfig,
    root: &Path,
    run_seed: u64,
    pictures: &Arc<PictureCache>,
) -> Result<Dataset, DataError> {
    config.check()?;
    let templates = config.templates()?;
    let seed = config.seed.unwrap_or(run_seed);
    let mut embedded = None;
    let (name, tasks, maker) = match config.source()? {
        Source::Generated {
            generator: Generator::Pointing,
            split,
            rows,
        } => {
            let settings: PointingConfig = config.pointing.clone().unwrap_or_default();
            let maker = Maker::new(settings, seed, split);
            (
                format!("{}-{}", Generator::Pointing.name(), split.name()),
                make_pointing(config, &templates, seed, &maker, rows, pictures),
                Some(maker),
            )
        }
        Source::File { path } => {
            let files = files::find(&absolute(&root.join(path))?)?;
            let tasks = match (format_of(config, &files)?, files.files.as_slice()) {
                (Format::VlmR1, [file]) if file.kind != Kind::Parquet => {
                    read_vlm_r1(config, &templates, seed, root, &file.path)?
                }
                (Format::VlmR1, _) => {
                    return Err(DataError::config(
                        "format",
                        "`vlm-r1` is one file with one JSON object a line: write the rows into one",
                    ));
                }
                (format, _) => {
                    let (tasks, pictures) =
                        read_table(config, &templates, seed, root, &files, format)?;
                    embedded = pictures.map(Arc::new);
                    tasks
                }
            };
            (path.display().to_string(), tasks, None)
        }
    };
    if tasks.is_empty() {
        return Err(DataError::Empty {
            name,
            problem: "no rows are left: widen `part`".to_owned(),
        });
    }
    let tasks = match &config.difficulty {
        Some(band) => band.keep(tasks, root, &config.source_name())?,
        None => tasks,
    };
    if tasks.is_empty() {
        return Err(DataError::Empty {
            name,
            problem: "no rows are left: widen the band of `difficulty`".to_owned(),
        });
    }
    if config.augment.is_some_and(|augment| augment.shift > 0)
        && let Some((task, list)) = tasks.iter().find_map(|t| Some((t, shift::coordinates(t)?)))
    {
        return Err(DataError::config(
            "augment",
            format!(
                "`shift` moves pictures and target boxes, but not {list} in row `{}`: leave `shift` out, or choose other rows \
                 with `tasks`",
                task.id
            ),
        ));
    }
    Ok(Dataset {
        augment: config.augment,
        pictures: pictures.clone(),
        maker,
        embedded,
        ..Dataset::new(name, tasks)
    })
}

/// The rows of `0..count` that `part` keeps. Adjacent parts share no row and leave none out.
pub(crate) fn part_of(count: usize, part: Option<[f64; 2]>) -> std::ops::Range<usize> {
    let [start, end] = part.unwrap_or([0.0, 1.0]);
    let at = |fraction: f64| (fraction * count as f64).round() as usize;
    at(start)..at(end)
}

fn make_pointing(
    config: &DataConfig,
    templates: &Templates,
    seed: u64,
    maker: &Maker,
    rows: usize,
    pictures: &PictureCache,
) -> Vec<Task> {
    part_of(rows, config.part)
        .into_par_iter()
        .map(|index| {
            let pointing::Row { mut task, scene } = maker.row(index);
            // Painting is most of the work, so that the picture is kept where there is room.
            for image in &mut task.images {
                if let ImageSource::Pixels(picture) = image {
                    pictures.keep(&maker.name(&task.id), picture);
                    *image = ImageSource::Generated;
                }
            }
            let question = scene.question();
            let truth = write_box(&scene.subject().bounding_box);
            let size = Some((scene.side, scene.side));
            demonstrate(
                config,
                seed,
                &mut task,
                truth,
                size,
                |written| match &templates.demonstration {
                    Some(template) => {
                        template.fill(&[("answer", written), ("question", &question)])
                    }
                    None => pointing::demonstration(&scene, written),
                },
            );
            if let Some(template) = &templates.prompt {
                let text = template.fill(&[("question", &question)]);
                task.messages = vec![Message {
                    role: Role::User,
                    content: vec![Part::Image { index: 0 }, Part::Text { text }],
                }];
            }
            if let Some(system) = &config.system {
                let message = Message::text(Role::System, system.as_str());
                task.messages.insert(0, message);
            }
            task
        })
        .collect()
}

fn read_vlm_r1(
    config: &DataConfig,
    templates: &Templates,
    seed: u64,
    root: &Path,
    path: &Path,
) -> Result<Vec<Task>, DataError> {
    let file = absolute(&root.join(path))?;
    let image_dir = match &config.image_dir {
        Some(folder) => absolute(&root.join(folder))?,
        None => file.parent().unwrap_or(&file).to_owned(),
    };
    let put = vlm_r1::Put {
        image_dir: &image_dir,
        system: config.system.as_deref(),
        prompt: templates.prompt.as_ref(),
    };
    let mut rows = vlm_r1::read(&file, &put)?;
    rows = rows.drain(part_of(rows.len(), config.part)).collect();
    if !config.tasks.is_empty() {
        refuse_unknown_tasks(&config.tasks, rows.iter().map(|row| row.task.kind()))?;
        rows.retain(|row| config.tasks.iter().any(|kind| kind == row.task.kind()));
    }
    rows.truncate(config.rows.unwrap_or(usize::MAX));
    vlm_r1::check_pictures(&file, &rows)?;

    let sizes = match config.noise_key() {
        Some(key) => sizes_of_boxed_pictures(key, &file, &rows)?,
        None => HashMap::new(),
    };
    rows.into_iter()
        .map(|row| {
            let mut task = row.task;
            let size = first_picture(&task).and_then(|path| sizes.get(path));
            let (before, after) = (&row.before_answer, &row.after_answer);
            demonstrate(
                config,
                seed,
                &mut task,
                row.answer,
                size.copied(),
                |answer| match &templates.demonstration {
                    Some(template) => {
                        template.fill(&[("answer", answer), ("question", &row.question)])
                    }
                    None => format!("{before}{answer}{after}"),
                },
            );
            Ok(task)
        })
        .collect()
}

/// Writes the row's demonstration, and the rejected answer where a sloppy box makes one. `answer` is the right answer as it is
/// written; `size`, of the first picture, is needed where boxes become sloppy. `write` makes a whole turn of an answer.
fn demonstrate(
    config: &DataConfig,
    seed: u64,
    task: &mut Task,
    answer: String,
    size: Option<(usize, usize)>,
    write: impl Fn(&str) -> String,
) {
    let sloppy = |noise: Option<LabelNoise>, stream: &str| match (noise, &task.target, size) {
        (Some(noise), Some(Target::Box(truth)), Some((width, height))) => {
            Some(write_box(&noise.apply(truth, width, height, seed, stream)))
        }
        _ => None,
    };
    let shown = sloppy(config.label_noise, &task.id).unwrap_or(answer);
    // A box that came out as the other one did is drawn again.
    let rejected = (0..16)
        .filter_map(|draw| {
            sloppy(
                config.rejected_noise,
                &format!("{}/rejected/{draw}", task.id),
            )
        })
        .find(|rejected| *rejected != shown);
    task.rejected = rejected.map(|rejected| write(&rejected));
    task.demonstration = Some(write(&shown));
}

/// The layout of the files: the one that the recipe names, or that of the first row.
fn format_of(config: &DataConfig, files: &Files) -> Result<Format, DataError> {
    if let Some(format) = config.format {
        return Ok(format);
    }
    let Some(mut first) = files.files.first() else {
        return Ok(Format::VlmR1);
    };
    let mut found = None;
    let mut looked = Ok(());
    // A file may be empty, as filters leave them.
    for file in &files.files {
        looked = file
            .visit(0..1, &mut |_, columns| {
                found = Some(layout::detect(&columns, config));
                Ok(ControlFlow::Break(()))
            })
            .map(drop);
        if found.is_some() || looked.is_err() {
            first = file;
            break;
        }
    }
    match (found, first.kind) {
        (Some(Ok(format)), _) => {
            config.check_format_keys(format)?;
            Ok(format)
        }
        (Some(Err(problem)), _) => Err(DataError::file(&first.path, problem)),
        // Whatever is wrong with such a file, the reader of VLM-R1 says it.
        (None, Kind::Lines)
            if files.files.len() == 1 && config.check_format_keys(Format::VlmR1).is_ok() =>
        {
            Ok(Format::VlmR1)
        }
        (None, _) => {
            looked?;
            Err(DataError::Empty {
                name: first.path.display().to_string(),
                problem: "the file holds no rows: write some".to_owned(),
            })
        }
    }
}

/// Tasks of files of EasyR1, verl and TRL, and the pictures inside the files.
fn read_table(
    config: &DataConfig,
    templates: &Templates,
    seed: u64,
    root: &Path,
    files: &Files,
    format: Format,
) -> Result<(Vec<Task>, Option<EmbeddedPictures>), DataError> {
    let image_dir = match &config.image_dir {
        Some(folder) => absolute(&root.join(folder))?,
        None => files.folder.clone(),
    };
    let format_prompt = config
        .format_prompt
        .as_ref()
        .map(|path| FormatPrompt::read(&absolute(&root.join(path))?))
        .transpose()?;
    let put = table::Put {
        layout: Layout {
            format,
            named: config.format.is_some(),
            config,
            format_prompt: format_prompt.as_ref(),
            image_dir: &image_dir,
        },
        prompt: templates.prompt.as_ref(),
        tasks: &config.tasks,
        most: config.rows.unwrap_or(usize::MAX),
    };
    let table = table::read(files, config.part, &put)?;
    if table.kinds.is_empty() && config.part.is_none() {
        return Err(DataError::Empty {
            name: files.folder.display().to_string(),
            problem: "the data files hold no rows: write some".to_owned(),
        });
    }
    // Reading ends with the last row wanted; what would have come is not known then.
    if config.rows.is_none_or(|most| table.rows.len() < most) {
        refuse_unknown_tasks(&config.tasks, table.kinds.iter().map(String::as_str))?;
    }
    let pictures = table.pictures;
    let size = |task: &Task| match task.images.first()? {
        ImageSource::Path(path) => Some(picture_size(path)),
        ImageSource::Embedded(name) => Some(pictures.as_ref()?.size(name)),
        ImageSource::Pixels(_) | ImageSource::Generated | ImageSource::Moved { .. } => None,
    };
    let mut boxed = 0;
    let mut tasks = Vec::with_capacity(table.rows.len());
    for mut row in table.rows {
        let size = match (config.noise_key(), &row.task.target) {
            (Some(_), Some(Target::Box(_))) => size(&row.task).transpose()?,
            _ => None,
        };
        boxed += usize::from(size.is_some());
        if let Some(answer) = row.answer {
            demonstrate(
                config,
                seed,
                &mut row.task,
                answer,
                size,
                |answer| match &templates.demonstration {
                    Some(template) => {
                        template.fill(&[("answer", answer), ("question", &row.question)])
                    }
                    None => format!("<answer>{answer}</answer>"),
                },
            );
        }
        // Turns that were judged as they stand.
        if let Some([chosen, rejected]) = row.pair {
            (row.task.demonstration, row.task.rejected) = (Some(chosen), Some(rejected));
        }
        tasks.push(row.task);
    }
    if let (Some(key), 0, false) = (config.noise_key(), boxed, tasks.is_empty()) {
        return Err(noise_without_boxes(key, &files.folder));
    }
    Ok((tasks, pictures))
}

fn absolute(path: &Path) -> Result<PathBuf, DataError> {
    std::path::absolute(path).map_err(|source| DataError::Read {
        path: path.to_owned(),
        source,
    })
}

/// An error for the first wanted task that no row has.
fn refuse_unknown_tasks<'a>(
    wanted: &[String],
    present: impl Iterator<Item = &'a str>,
) -> Result<(), DataError> {
    let present: BTreeSet<&str> = present.collect();
    let present: Vec<&str> = present
        .into_iter()
        .filter(|kind| !kind.is_empty())
        .collect();
    wanted
        .iter()
        .find(|kind| !present.contains(&kind.as_str()))
        .map_or(Ok(()), |kind| {
            let known = match present.as_slice() {
                [] => "the rows have no field `task`".to_owned(),
                known => format!("the rows have {}", known.join(", ")),
            };
            Err(DataError::config(
                "tasks",
                format!(
                    "no row has the task `{kind}`{}: {known}",
                    did_you_mean(kind, &present)
                ),
            ))
        })
}

fn first_picture(task: &Task) -> Option<&PathBuf> {
    match task.images.first() {
        Some(ImageSource::Path(path)) => Some(path),
        _ => None,
    }
}

/// Width and height of the first picture of every row whose target is a box.
fn sizes_of_boxed_pictures(
    key: &'static str,
    file: &Path,
    rows: &[vlm_r1::Row],
) -> Result<HashMap<PathBuf, (usize, usize)>, DataError> {
    let boxed = rows
        .iter()
        .filter(|row| matches!(row.task.target, Some(Target::Box(_))));
    let paths: BTreeSet<&PathBuf> = boxed.filter_map(|row| first_picture(&row.task)).collect();
    if paths.is_empty() {
        return Err(noise_without_boxes(key, file));
    }
    let sizes: Vec<_> = paths
        .into_par_iter()
        .map(|path| Ok((path.clone(), picture_size(path)?)))
        .collect();
    // Collected first, so that of several errors the same one is told every time.
    sizes.into_iter().collect()
}

fn noise_without_boxes(key: &'static str, place: &Path) -> DataError {
    DataError::config(
        key,
        format!(
            "has no effect: no row of {} has a picture and a box for an answer",
            place.display()
        ),
    )
}
