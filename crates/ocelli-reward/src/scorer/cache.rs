//! Replies on disk, so that the same request is paid for once, over runs and over processes.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A folder of replies, one file each, named by a hash of the request.
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Makes the folder where there is none.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// The reply under `key`. A file that cannot be read counts as none: the judge is then asked again.
    pub(super) fn get(&self, key: &blake3::Hash) -> Option<String> {
        fs::read_to_string(self.file(key)).ok()
    }

    /// Keeps a reply. The file gets its name when it is complete, so no other process sees half of it.
    pub(super) fn put(&self, key: &blake3::Hash, reply: &str) -> io::Result<()> {
        let file = self.file(key);
        let folder = file.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        let mut written = tempfile::NamedTempFile::new_in(folder)?;
        written.write_all(reply.as_bytes())?;
        written.persist(file)?;
        Ok(())
    }

    /// In 256 folders, for file systems that are slow with many names in one.
    fn file(&self, key: &blake3::Hash) -> PathBuf {
        let name = key.to_hex();
        self.folder.join(&name[..2]).join(format!("{name}.txt"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_replies_apart() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("a/b")).unwrap();
        let (one, two) = (blake3::hash(b"1"), blake3::hash(b"2"));
        assert_eq!(cache.get(&one), None);
        cache.put(&one, "ja").unwrap();
        cache.put(&one, "yes\n").unwrap();
        assert_eq!(cache.get(&one).as_deref(), Some("yes\n"));
        assert_eq!(cache.get(&two), None);
        // Another process on the same folder.
        let other = Cache::open(&folder.path().join("a/b")).unwrap();
        assert_eq!(other.get(&one).as_deref(), Some("yes\n"));
    }

    #[test]
    fn threads_never_see_half_a_reply() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let key = blake3::hash(b"1");
        let reply = "yes".repeat(10_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        cache.put(&key, &reply).unwrap();
                        assert_eq!(cache.get(&key).as_ref(), Some(&reply));
                    }
                });
            }
        });
    }
}
