//! Loaded tasks and the way to their pictures.

use std::sync::Arc;

use ocelli_core::{ImageSource, Picture, Purpose, SeedKey, Task};
use rayon::prelude::*;

use crate::augment::Augment;
use crate::cache::PictureCache;
use crate::decode::picture_size;
use crate::embedded::EmbeddedPictures;
use crate::error::DataError;
use crate::pointing::Maker;
use crate::shift::{moved_picture, moved_row};

/// Tasks in their order, with demonstrations where the row has a target.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What logs and reports call it: the file as the recipe names it, or generator and split.
    pub name: String,
    pub tasks: Vec<Arc<Task>>,
    /// Pictures at hand; data sets may share it.
    pub pictures: Arc<PictureCache>,
    /// How [`Dataset::training_tasks`] and [`Dataset::training_picture`] change rows.
    pub augment: Option<Augment>,
    /// Makes the pictures of generated rows again.
    pub(crate) maker: Option<Maker>,
    /// Pictures inside the data files.
    pub(crate) embedded: Option<Arc<EmbeddedPictures>>,
}

impl Dataset {
    /// A data set with a cache of its own, of the default size.
    pub fn new(name: impl Into<String>, tasks: Vec<Task>) -> Self {
        Self {
            name: name.into(),
            tasks: tasks.into_iter().map(Arc::new).collect(),
            pictures: Arc::default(),
            augment: None,
            maker: None,
            embedded: None,
        }
    }

    /// Picture `index` of `task`, decoded or generated when it is not at hand.
    ///
    /// # Errors
    /// If the task has no such picture, or its file cannot be decoded.
    pub fn picture(&self, task: &Task, index: usize) -> Result<Picture, DataError> {
        self.open(task, source(task, index)?)
    }

    fn open(&self, task: &Task, source: &ImageSource) -> Result<Picture, DataError> {
        match source {
            ImageSource::Pixels(picture) => Ok(picture.clone()),
            ImageSource::Path(path) => self.pictures.open(path),
            ImageSource::Embedded(name) => {
                let embedded = self.embedded(task, name)?;
                self.pictures
                    .get(&embedded.full_name(name), || embedded.decode(name))
            }
            ImageSource::Generated => {
                let maker = self.maker(task)?;
                self.pictures
                    .get(&maker.name(&task.id), || maker.picture(&task.id))
            }
            ImageSource::Moved { of, by } => Ok(moved_picture(&self.open(task, of)?, *by)),
        }
    }

    /// Width and height in pixels of picture `index` of `task`, without its pixels.
    ///
    /// # Errors
    /// If the task has no such picture, or its file is none.
    pub fn picture_size(&self, task: &Task, index: usize) -> Result<(usize, usize), DataError> {
        self.size(task, source(task, index)?)
    }

    fn size(&self, task: &Task, source: &ImageSource) -> Result<(usize, usize), DataError> {
        Ok(match source {
            ImageSource::Pixels(picture) => (picture.width(), picture.height()),
            ImageSource::Path(path) => picture_size(path)?,
            ImageSource::Embedded(name) => self.embedded(task, name)?.size(name)?,
            ImageSource::Generated => [self.maker(task)?.side(); 2].into(),
            ImageSource::Moved { of, .. } => self.size(task, of)?,
        })
    }

    fn embedded(&self, task: &Task, name: &str) -> Result<&EmbeddedPictures, DataError> {
        self.embedded.as_deref().ok_or_else(|| {
            DataError::picture(
                &task.id,
                format!("its picture {name} is inside a data file: load the data that the row was read from"),
            )
        })
    }

    fn maker(&self, task: &Task) -> Result<&Maker, DataError> {
        self.maker.as_ref().ok_or_else(|| {
            DataError::picture(
                &task.id,
                "the record did not keep its generated picture: make the row again with its generator",
            )
        })
    }

    /// `tasks` as a training stage shows them: moved, if the data table says so, with a stream of its own for each seed and
    /// step of `shown`.
    ///
    /// # Errors
    /// As [`Dataset::picture_size`].
    pub fn training_tasks(
        &self,
        tasks: Vec<Arc<Task>>,
        (seed, step): (u64, u64),
    ) -> Result<Vec<Arc<Task>>, DataError> {
        let Some(shift) = self.augment.map(|augment| augment.shift).filter(|s| *s > 0) else {
            return Ok(tasks);
        };
        let moved = |task: Arc<Task>| {
            let size = |index| Ok(self.picture(&task, index)?.size());
            let sizes = (0..task.images.len())
                .map(size)
                .collect::<Result<Vec<_>, DataError>>()?;
            let key = SeedKey::new(seed, Purpose::Shift).step(step).task(&task.id);
            Ok(moved_row(&task, shift, &sizes, &key))
        };
        tasks.into_par_iter().map(moved).collect()
    }

    /// Picture `index` of a task of [`Dataset::training_tasks`] as a training stage shows it: in other light, if the data
    /// table says so, with a stream of its own for each seed and step of `shown`.
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
        let Some(augment) = self.augment.filter(Augment::changes_light) else {
            return Ok(picture);
        };
        let key = SeedKey::new(seed, Purpose::Augment).step(step);
        Ok(augment.apply(&picture, &key.task(&task.id).sample(index as u64)))
    }
}

fn source(task: &Task, index: usize) -> Result<&ImageSource, DataError> {
    task.images
        .get(index)
        .ok_or_else(|| DataError::NoSuchPicture {
            task: task.id.clone(),
            index,
            count: task.images.len(),
        })
}
