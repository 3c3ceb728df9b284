//! What can be known to be wrong with a recipe's rows before anything is trained: a reward that applies to none of them, a prompt
//! that is too long, a picture of impossible shape.

use std::collections::{BTreeSet, HashSet};

use ocelli_core::{Message, Task};
use ocelli_data::Dataset;
use ocelli_model::image_processor::PictureGrid;
use ocelli_model::percept::{Extent, Media};
use ocelli_reward::NodeConfig;
use ocelli_rollout::collector::check_length;
use ocelli_rollout::{CollectError, Policy, perceive};
use rayon::prelude::*;

use crate::error::LearnError;

/// Checks that every node with a `when` applies to some row; `place` names the stage.
///
/// # Errors
/// Names the node, the tag, and the values that the rows have.
pub fn check_when(place: &str, nodes: &[NodeConfig], data: &Dataset) -> Result<(), LearnError> {
    for node in nodes {
        let Some(when) = &node.when else { continue };
        let fits = |row: &Task, tag: &String| {
            let value = row.tags.get(tag);
            value.is_some_and(|value| when[tag].holds(value))
        };
        let rows = &data.tasks;
        if rows.iter().any(|row| when.keys().all(|tag| fits(row, tag))) {
            continue;
        }
        let alone = when
            .keys()
            .find(|tag| !rows.iter().any(|row| fits(row, tag)));
        let message = match alone {
            None => "no row has all of its tags together".to_owned(),
            Some(tag) => {
                let values: BTreeSet<&str> = rows
                    .iter()
                    .filter_map(|row| row.tags.get(tag).map(String::as_str))
                    .collect();
                const SHOWN: usize = 12;
                let shown: Vec<&str> = values.iter().copied().take(SHOWN).collect();
                match values.len() {
                    0 => format!("no row has a tag `{tag}`"),
                    1..=SHOWN => {
                        format!("no row has such a `{tag}`; there are {}", shown.join(", "))
                    }
                    count => format!(
                        "no row has such a `{tag}`; there are {} and {} more",
                        shown.join(", "),
                        count - SHOWN
                    ),
                }
            }
        };
        return Err(LearnError::Config {
            place: format!("{place}: `when` of the reward node `{}`", node.name()),
            message: format!("it applies to no row of {}: {message}", data.name),
        });
    }
    Ok(())
}

/// Checks that every row's prompt can be made and has at most `limit` tokens. What is shown is measured, not decoded; a row with a
/// video that only ffmpeg can measure is checked when it is drawn.
///
/// # Errors
/// Names the first row that cannot be used.
pub fn check_prompts(policy: &Policy, data: &Dataset, limit: usize) -> Result<(), LearnError> {
    let measured: Vec<(Vec<PictureGrid>, Option<Others>)> = data
        .tasks
        .par_iter()
        .map(|task| Ok((grids(policy, data, task)?, others(policy, task)?)))
        .collect::<Vec<Result<_, LearnError>>>()
        .into_iter()
        // Collected first, so that of several errors the first row's is told every time.
        .collect::<Result<_, LearnError>>()?;
    // Generated rows ask few questions, each a thousand times.
    let mut seen: HashSet<(&[Message], &[PictureGrid])> = HashSet::new();
    let distinct: Vec<_> = data
        .tasks
        .iter()
        .zip(&measured)
        .filter_map(|(task, (grids, others))| Some((task, grids, others.as_ref()?)))
        .filter(|(task, grids, [videos, audios])| {
            let alone = videos.is_empty() && audios.is_empty();
            !alone || seen.insert((&task.messages, grids))
        })
        .collect();
    distinct
        .into_par_iter()
        .map(|(task, grids, [videos, audios])| {
            let media = Media {
                images: grids.iter().copied().map(Extent::Picture).collect(),
                videos: videos.clone(),
                audios: audios.clone(),
            };
            let length = policy
                .processor
                .prompt_length(&task.id, &task.messages, &media)
                .map_err(CollectError::row(&task.id))?;
            Ok(check_length(&task.id, length, limit)?)
        })
        .collect::<Vec<Result<(), LearnError>>>()
        .into_iter()
        .collect()
}

/// How everything that a row shows is cut; `None` if a video cannot be measured without decoding.
pub(crate) fn extents(
    policy: &Policy,
    data: &Dataset,
    task: &Task,
) -> Result<Option<Media<Extent>>, LearnError> {
    let images = grids(policy, data, task)?.into_iter();
    let images = images.map(Extent::Picture).collect();
    Ok(others(policy, task)?.map(|[videos, audios]| Media {
        images,
        videos,
        audios,
    }))
}

/// A row's videos and sounds.
type Others = [Vec<Extent>; 2];

fn grids(policy: &Policy, data: &Dataset, task: &Task) -> Result<Vec<PictureGrid>, LearnError> {
    (0..task.images.len())
        .map(|index| {
            let (width, height) = data.picture_size(task, index)?;
            let grid = policy.processor.grid(width, height);
            Ok(grid.map_err(CollectError::picture(task, index))?)
        })
        .collect()
}

/// `None` if one of them cannot be measured without decoding.
fn others(policy: &Policy, task: &Task) -> Result<Option<Others>, LearnError> {
    let videos = task.videos.iter();
    let videos: Option<Vec<Extent>> = videos
        .map(|source| perceive::video_extent(policy, &task.id, source))
        .collect::<Result<_, _>>()?;
    let audios = task.audios.iter();
    let audios = audios
        .map(|path| perceive::sound_extent(policy, &task.id, path))
        .collect::<Result<_, _>>()?;
    Ok(videos.map(|videos| [videos, audios]))
}
