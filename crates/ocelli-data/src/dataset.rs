//! Loaded tasks and the way to their pictures.

use std::sync::Arc;

use ocelli_core::{Picture, Purpose, SeedKey, Task};

use crate::augment::Augment;
use crate::cache::PictureCache;
use crate::error::DataError;

/// Tasks in their order, with demonstrations where the row has a target.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What logs and reports call it: the file as the recipe names it, or generator and split.
    pub name: String,
    pub tasks: Vec<Arc<Task>>,
    /// Pictures of files decoded so far; cloning the data set shares them.
    pub pictures: Arc<PictureCache>,
    /// How [`Dataset::training_picture`] changes pictures.
    pub augment: Option<Augment>,
}

impl Dataset {
    /// A data set with a cache of its own, of the default size.
    pub fn new(name: impl Into<String>, tasks: Vec<Task>) -> Self {
        Self {
            name: name.into(),
            tasks: tasks.into_iter().map(Arc::new).collect(),
            pictures: Arc::default(),
            augment: None,
        }
    }

    /// Picture `index` of `task`, decoded when first asked for.
    ///
    /// # Errors
    /// If the task has no such picture, or its file cannot be decoded.
    pub fn picture(&self, task: &Task, index: usize) -> Result<Picture, DataError> {
        self.pictures.picture(task, index)
    }

    /// Picture `index` of `task` as a training stage shows it: augmented, if the data table says so, with a stream of its
    /// own for each seed and step of `shown`.
    ///
    /// # Errors
    /// As [`Dataset::picture`].
    pub fn training_picture(
        &self,
        task: &Task,
        index: usize,
        (seed, step): (u64, u64),
    ) -> Result<Picture, DataError> {
        let picture = self.picture(task, index)?;
        let Some(augment) = &self.augment else {
            return Ok(picture);
        };
        let key = SeedKey::new(seed, Purpose::Augment).step(step);
        Ok(augment.apply(&picture, &key.task(&task.id).sample(index as u64)))
    }
}
