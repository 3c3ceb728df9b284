//! Loaded tasks and the way to their pictures.

use std::sync::Arc;

use ocelli_core::{Picture, Task};

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
}

impl Dataset {
    /// A data set with a cache of its own, of the default size.
    pub fn new(name: impl Into<String>, tasks: Vec<Task>) -> Self {
        Self {
            name: name.into(),
            tasks: tasks.into_iter().map(Arc::new).collect(),
            pictures: Arc::default(),
        }
    }

    /// Picture `index` of `task`, decoded when first asked for.
    ///
    /// # Errors
    /// If the task has no such picture, or its file cannot be decoded.
    pub fn picture(&self, task: &Task, index: usize) -> Result<Picture, DataError> {
        self.pictures.picture(task, index)
    }
}
