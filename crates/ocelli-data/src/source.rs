//! From the `data` table of a recipe to a [`Dataset`]: choose the rows, put the questions, write the demonstrations.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use ocelli_core::{ImageSource, Message, Part, Role, Target, Task};
use rayon::prelude::*;

use crate::box_text::write_box;
use crate::config::{DataConfig, Format, Generator, Source, Split, Templates};
use crate::dataset::Dataset;
use crate::decode::picture_size;
use crate::error::DataError;
use crate::pointing::{self, PointingConfig};
use crate::suggest::did_you_mean;
use crate::vlm_r1;

/// Loads or makes the tasks that `config` describes. Relative paths start at `root`, the recipe's folder; `run_seed`
/// is used where the table has no `seed`.
///
/// # Errors
/// If the table is wrong (see [`DataConfig::check`]), the file or one of its rows is, a picture is missing, or no row is
/// left.
pub fn load(config: &DataConfig, root: &Path, run_seed: u64) -> Result<Dataset, DataError> {
    config.check()?;
    let templates = config.templates()?;
    let seed = config.seed.unwrap_or(run_seed);
    let (name, tasks) = match config.source()? {
        Source::Generated {
            generator: Generator::Pointing,
            split,
            rows,
        } => (
            format!("{}-{}", Generator::Pointing.name(), split.name()),
            make_pointing(config, &templates, seed, split, rows),
        ),
        Source::File {
            path,
            format: Format::VlmR1,
        } => (
            path.display().to_string(),
            read_vlm_r1(config, &templates, seed, root, path)?,
        ),
    };
    if tasks.is_empty() {
        return Err(DataError::Empty {
            name,
            problem: "no rows are left: widen `part`".to_owned(),
        });
    }
    Ok(Dataset {
        augment: config.augment,
        ..Dataset::new(name, tasks)
    })
}

/// The rows of `0..count` that `part` keeps. Adjacent parts share no row and leave none out.
fn part_of(count: usize, part: Option<[f64; 2]>) -> std::ops::Range<usize> {
    let [start, end] = part.unwrap_or([0.0, 1.0]);
    let at = |fraction: f64| (fraction * count as f64).round() as usize;
    at(start)..at(end)
}

fn make_pointing(
    config: &DataConfig,
    templates: &Templates,
    seed: u64,
    split: Split,
    rows: usize,
) -> Vec<Task> {
    let settings: PointingConfig = config.pointing.clone().unwrap_or_default();
    part_of(rows, config.part)
        .into_par_iter()
        .map(|index| {
            let pointing::Row { mut task, scene } =
                pointing::generate(&settings, seed, split, index);
            let question = scene.question();
            let truth = scene.subject().bounding_box;
            let written = config.label_noise.map_or(truth, |noise| {
                noise.apply(&truth, scene.side, scene.side, seed, &task.id)
            });
            task.demonstration = Some(match &templates.demonstration {
                Some(template) => {
                    template.fill(&[("answer", &write_box(&written)), ("question", &question)])
                }
                None => pointing::demonstration(&scene, &written),
            });
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
        refuse_unknown_tasks(&config.tasks, &rows)?;
        rows.retain(|row| config.tasks.iter().any(|kind| kind == row.task.kind()));
    }
    rows.truncate(config.rows.unwrap_or(usize::MAX));
    vlm_r1::check_pictures(&file, &rows)?;

    let sizes = match config.label_noise {
        Some(_) => sizes_of_boxed_pictures(&file, &rows)?,
        None => HashMap::new(),
    };
    rows.into_iter()
        .map(|row| {
            let size = first_picture(&row.task).and_then(|path| sizes.get(path));
            let answer = match (config.label_noise, &row.task.target, size) {
                (Some(noise), Some(Target::Box(truth)), Some(&(width, height))) => {
                    write_box(&noise.apply(truth, width, height, seed, &row.task.id))
                }
                _ => row.answer.clone(),
            };
            let mut task = row.task;
            task.demonstration = Some(match &templates.demonstration {
                Some(template) => {
                    template.fill(&[("answer", &answer), ("question", &row.question)])
                }
                None => format!("{}{answer}{}", row.before_answer, row.after_answer),
            });
            Ok(task)
        })
        .collect()
}

fn absolute(path: &Path) -> Result<PathBuf, DataError> {
    std::path::absolute(path).map_err(|source| DataError::Read {
        path: path.to_owned(),
        source,
    })
}

/// An error for the first wanted task that no row has.
fn refuse_unknown_tasks(wanted: &[String], rows: &[vlm_r1::Row]) -> Result<(), DataError> {
    let present: BTreeSet<&str> = rows.iter().map(|row| row.task.kind()).collect();
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
    file: &Path,
    rows: &[vlm_r1::Row],
) -> Result<HashMap<PathBuf, (usize, usize)>, DataError> {
    let boxed = rows
        .iter()
        .filter(|row| matches!(row.task.target, Some(Target::Box(_))));
    let paths: BTreeSet<&PathBuf> = boxed.filter_map(|row| first_picture(&row.task)).collect();
    if paths.is_empty() {
        return Err(DataError::config(
            "label_noise",
            format!(
                "has no effect: no row of {} has a picture and a box for an answer",
                file.display()
            ),
        ));
    }
    let sizes: Vec<_> = paths
        .into_par_iter()
        .map(|path| Ok((path.clone(), picture_size(path)?)))
        .collect();
    // Collected first, so that of several errors the same one is told every time.
    sizes.into_iter().collect()
}
