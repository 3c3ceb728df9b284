//! Decoded and generated pictures kept in memory up to a budget, shared between threads and data sets.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ocelli_core::Picture;

use crate::decode::decode_picture;
use crate::error::DataError;

/// Default budget of raw pixels: 1 GiB.
pub const DEFAULT_BUDGET: usize = 1 << 30;

/// Pictures by name; those unused for longest go first when the budget is spent.
#[derive(Debug)]
pub struct PictureCache {
    budget: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    pictures: HashMap<PathBuf, (Picture, u64)>,
    /// Names by the time of their last use.
    by_use: BTreeMap<u64, PathBuf>,
    clock: u64,
    bytes: usize,
}

impl Default for PictureCache {
    fn default() -> Self {
        Self::new(DEFAULT_BUDGET)
    }
}

impl PictureCache {
    /// An empty cache that keeps at most `budget` bytes of pixels.
    pub fn new(budget: usize) -> Self {
        Self {
            budget,
            kept: Mutex::default(),
        }
    }

    /// Bytes of pixels kept now.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// The picture in the file `path`.
    ///
    /// # Errors
    /// If the file cannot be decoded.
    pub fn open(&self, path: &Path) -> Result<Picture, DataError> {
        self.get(path, || decode_picture(path))
    }

    /// The picture called `name`, made by `make` when it is not kept. Generated pictures have names that no file has, see
    /// [`crate::pointing::Maker`].
    ///
    /// # Errors
    /// That of `make`.
    pub fn get(
        &self,
        name: &Path,
        make: impl FnOnce() -> Result<Picture, DataError>,
    ) -> Result<Picture, DataError> {
        if let Some(picture) = self.lock().find(name) {
            return Ok(picture);
        }
        // Without the lock, so that other threads go on; two may make the same picture once.
        let picture = make()?;
        self.keep(name, &picture);
        Ok(picture)
    }

    /// Keeps a picture if there is room; those unused for longest go.
    pub fn keep(&self, name: &Path, picture: &Picture) {
        self.lock().keep(name, picture, self.budget);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A thread that panicked cannot have left the pictures themselves half written.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&mut self, path: &Path) -> Option<Picture> {
        let (picture, last_use) = self.pictures.get_mut(path)?;
        self.clock += 1;
        if let Some(name) = self.by_use.remove(last_use) {
            self.by_use.insert(self.clock, name);
        }
        *last_use = self.clock;
        Some(picture.clone())
    }

    fn keep(&mut self, path: &Path, picture: &Picture, budget: usize) {
        let size = picture.rgb().len();
        if size > budget || self.pictures.contains_key(path) {
            return;
        }
        while self.bytes + size > budget {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                break;
            };
            if let Some((gone, _)) = self.pictures.remove(&oldest) {
                self.bytes -= gone.rgb().len();
            }
        }
        self.clock += 1;
        self.bytes += size;
        self.by_use.insert(self.clock, path.to_owned());
        self.pictures
            .insert(path.to_owned(), (picture.clone(), self.clock));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::encode_png;

    /// `count` pictures of 2×2 pixels, 12 bytes each, in a folder.
    fn files(count: u8) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let paths = (0..count)
            .map(|i| {
                let path = folder.path().join(format!("{i}.png"));
                std::fs::write(&path, encode_png(&Picture::new(2, 2, vec![i; 12]))).unwrap();
                path
            })
            .collect();
        (folder, paths)
    }

    #[test]
    fn the_picture_unused_for_longest_goes_first() {
        let (folder, paths) = files(3);
        let cache = PictureCache::new(24);
        cache.open(&paths[0]).unwrap();
        cache.open(&paths[1]).unwrap();
        cache.open(&paths[0]).unwrap();
        cache.open(&paths[2]).unwrap();
        assert_eq!(cache.bytes(), 24);
        drop(folder);
        assert_eq!(cache.open(&paths[0]).unwrap().rgb(), [0; 12]);
        assert_eq!(cache.open(&paths[2]).unwrap().rgb(), [2; 12]);
        assert!(cache.open(&paths[1]).is_err());
    }

    #[test]
    fn a_picture_over_the_budget_is_read_but_not_kept() {
        let (_folder, paths) = files(1);
        let cache = PictureCache::new(11);
        assert_eq!(cache.open(&paths[0]).unwrap().rgb(), [0; 12]);
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn threads_share_the_budget() {
        let (_folder, paths) = files(8);
        let cache = PictureCache::new(40);
        std::thread::scope(|scope| {
            for offset in 0..4 {
                let (cache, paths) = (&cache, &paths);
                scope.spawn(move || {
                    for i in 0..200 {
                        let i = (i * 3 + offset) % 8;
                        assert_eq!(cache.open(&paths[i]).unwrap().rgb(), [i as u8; 12]);
                    }
                });
            }
        });
        assert!(cache.bytes() <= 40);
    }
}
