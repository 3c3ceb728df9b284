//! Damaged pictures: what an answer would have been worth to a model that sees half of the picture.

use std::sync::Arc;

use ocelli_core::{Picture, SeedKey, Task};
use ocelli_data::DataError;
use ocelli_rollout::{Group, prepare};
use rand::RngExt;

use crate::error::LearnError;
use crate::packing::Tree;
use crate::stage::Session;

/// Side of a patch in pixels, and the probability that it is blacked out (VPPO).
const PATCH: usize = 14;
const PROBABILITY: f64 = 0.5;

/// The groups' trees with every picture damaged, in the order of [`super::batch::trees`].
pub(super) fn trees(
    session: &Session,
    groups: &[Group],
    picture: impl Fn(&Task, usize) -> Result<Picture, DataError> + Sync,
    key: &SeedKey,
) -> Result<Vec<Tree>, LearnError> {
    let policy = &session.policy;
    let tasks: Vec<Arc<Task>> = groups.iter().map(|group| group.task.clone()).collect();
    let prepared = prepare(policy, &tasks, |task, index| {
        let key = key.clone().task(&task.id).sample(index as u64);
        Ok(blacked_out(&picture(task, index)?, &key))
    })?;
    let trees = groups
        .iter()
        .zip(&prepared)
        .map(|(group, prepared)| super::batch::trees(policy, group, &prepared.media))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(trees.concat())
}

/// The picture with each patch black with probability ½.
fn blacked_out(picture: &Picture, key: &SeedKey) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let mut rgb = picture.rgb().to_vec();
    let mut rng = key.rng();
    for top in (0..height).step_by(PATCH) {
        for left in (0..width).step_by(PATCH) {
            if !rng.random_bool(PROBABILITY) {
                continue;
            }
            let right = (left + PATCH).min(width);
            for y in top..(top + PATCH).min(height) {
                rgb[3 * (y * width + left)..3 * (y * width + right)].fill(0);
            }
        }
    }
    Picture::new(width, height, rgb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli_core::Purpose;

    #[test]
    fn about_half_of_the_patches_are_black() {
        let picture = Picture::new(280, 275, vec![200; 3 * 280 * 275]);
        let key = SeedKey::new(1, Purpose::Control);
        let damaged = blacked_out(&picture, &key);
        let black = damaged.rgb().iter().filter(|v| **v == 0).count();
        let share = black as f64 / damaged.rgb().len() as f64;
        assert!((0.4..0.6).contains(&share), "{share}");
        assert!(damaged.rgb().iter().all(|v| *v == 0 || *v == 200));
        assert_eq!(blacked_out(&picture, &key).rgb(), damaged.rgb());
    }
}
