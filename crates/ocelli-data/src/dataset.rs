//! Loaded tasks and the way to their pictures.

use std::ops::Range;
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
    /// The data sets that were mixed into this one; none where it is one file's or one generator's.
    pub(crate) parts: Vec<Part>,
}

/// One of several sources.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    name: String,
    weight: f64,
    rows: Range<usize>,
    /// Without its tasks.
    data: Dataset,
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
            parts: Vec::new(),
        }
    }

    /// Several data sets, each with its name and weight, as one. Row `id` of a source becomes `<source>/<id>`, and gets the source's name
    /// as its tag `source` where it has no such tag.
    pub fn mixed(parts: Vec<(String, f64, Self)>) -> Self {
        let names: Vec<&str> = parts
            .iter()
            .map(|(_, _, data)| data.name.as_str())
            .collect();
        let mut mixed = Self::new(names.join(" + "), Vec::new());
        for (name, weight, mut data) in parts {
            let start = mixed.tasks.len();
            let tasks = std::mem::take(&mut data.tasks);
            mixed.tasks.extend(tasks.into_iter().map(|task| {
                let mut task = Arc::unwrap_or_clone(task);
                task.id = format!("{name}/{}", task.id);
                let tag = task.tags.entry("source".to_owned());
                tag.or_insert_with(|| name.clone());
                Arc::new(task)
            }));
            mixed.parts.push(Part {
                rows: start..mixed.tasks.len(),
                name,
                weight,
                data,
            });
        }
        mixed
    }

    /// The tasks of some rows.
    pub fn rows(&self, rows: &[usize]) -> Vec<Arc<Task>> {
        rows.iter().map(|row| self.tasks[*row].clone()).collect()
    }

    /// Name, weight and rows of each source.
    pub fn source_rows(&self) -> impl Iterator<Item = (&str, f64, Range<usize>)> {
        let alone = (self.name.as_str(), 1.0, 0..self.tasks.len());
        let alone = self.parts.is_empty().then_some(alone);
        let parts = self.parts.iter();
        alone
            .into_iter()
            .chain(parts.map(|part| (part.name.as_str(), part.weight, part.rows.clone())))
    }

    /// The name of the source that row `id` comes from.
    pub fn source_name(&self, id: &str) -> &str {
        self.part(id).map_or(&self.name, |(part, _)| &part.name)
    }

    /// The source of row `id`, where there are several, and what the row is called there.
    pub fn source_and_row<'a>(&self, id: &'a str) -> (Option<&str>, &'a str) {
        match self.part(id) {
            Some((part, id)) => (Some(&part.name), id),
            None => (None, id),
        }
    }

    /// The source of row `id`, and what the row is called there.
    fn part<'a>(&self, id: &'a str) -> Option<(&Part, &'a str)> {
        let (name, id) = id.split_once('/')?;
        let part = self.parts.iter().find(|part| part.name == name)?;
        Some((part, id))
    }

    /// The data set that has row `id`, and what the row is called there.
    fn home<'a>(&self, id: &'a str) -> (&Self, &'a str) {
        self.part(id)
            .map_or((self, id), |(part, id)| (&part.data, id))
    }

    /// Picture `index` of `task`, decoded or generated when it is not at hand.
    ///
    /// # Errors
    /// If the task has no such picture, or its file cannot be decoded.
    pub fn picture(&self, task: &Task, index: usize) -> Result<Picture, DataError> {
        let (home, id) = self.home(&task.id);
        home.open(id, source(task, index)?)
    }

    fn open(&self, id: &str, source: &ImageSource) -> Result<Picture, DataError> {
        match source {
            ImageSource::Pixels(picture) => Ok(picture.clone()),
            ImageSource::Path(path) => self.pictures.open(path),
            ImageSource::Embedded(name) => {
                let embedded = self.embedded(id, name)?;
                self.pictures
                    .get(&embedded.full_name(name), || embedded.decode(name))
            }
            ImageSource::Generated => {
                let maker = self.maker(id)?;
                self.pictures.get(&maker.name(id), || maker.picture(id))
            }
            ImageSource::Moved { of, by } => Ok(moved_picture(&self.open(id, of)?, *by)),
        }
    }

    /// Width and height in pixels of picture `index` of `task`, without its pixels.
    ///
    /// # Errors
    /// If the task has no such picture, or its file is none.
    pub fn picture_size(&self, task: &Task, index: usize) -> Result<(usize, usize), DataError> {
        let (home, id) = self.home(&task.id);
        home.size(id, source(task, index)?)
    }

    fn size(&self, id: &str, source: &ImageSource) -> Result<(usize, usize), DataError> {
        Ok(match source {
            ImageSource::Pixels(picture) => (picture.width(), picture.height()),
            ImageSource::Path(path) => picture_size(path)?,
            ImageSource::Embedded(name) => self.embedded(id, name)?.size(name)?,
            ImageSource::Generated => [self.maker(id)?.side(); 2].into(),
            ImageSource::Moved { of, .. } => self.size(id, of)?,
        })
    }

    fn embedded(&self, id: &str, name: &str) -> Result<&EmbeddedPictures, DataError> {
        self.embedded.as_deref().ok_or_else(|| {
            DataError::picture(
                id,
                format!("its picture {name} is inside a data file: load the data that the row was read from"),
            )
        })
    }

    fn maker(&self, id: &str) -> Result<&Maker, DataError> {
        self.maker.as_ref().ok_or_else(|| {
            DataError::picture(
                id,
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
        let moved = |task: Arc<Task>| {
            let augment = self.home(&task.id).0.augment;
            let Some(shift) = augment.map(|augment| augment.shift).filter(|s| *s > 0) else {
                return Ok(task);
            };
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
        let augment = self.home(&task.id).0.augment;
        let Some(augment) = augment.filter(Augment::changes_light) else {
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
