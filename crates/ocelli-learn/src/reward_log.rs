//! What Python rewards print: kept in the run folder.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The file's name in the run folder. It is there once something was printed.
const NAME: &str = "rewards.log";

/// Lines that rewards print. They are gathered until the run folder is known, because rewards are started, and may fail to, before
/// there is one.
#[derive(Clone, Default)]
pub(crate) struct RewardLog(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    waiting: String,
    path: Option<PathBuf>,
    file: Option<File>,
}

impl RewardLog {
    /// Takes lines from any thread.
    pub(crate) fn writer(&self) -> impl FnMut(&str) + Send + 'static {
        let kept = self.0.clone();
        move |line| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.waiting.push_str(line);
            kept.waiting.push('\n');
            kept.write();
        }
    }

    /// Writes to `folder` from now on, first what has been printed so far.
    pub(crate) fn keep_in(&self, folder: &Path) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.path = Some(folder.join(NAME));
        kept.write();
    }
}

impl Kept {
    /// A log that cannot be written costs its lines and not the run.
    fn write(&mut self) {
        let Some(path) = &self.path else {
            return;
        };
        if self.waiting.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.file = OpenOptions::new().create(true).append(true).open(path).ok();
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(self.waiting.as_bytes());
        }
        self.waiting.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_from_before_the_folder_was_known_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let log = RewardLog::default();
        log.writer()("first");
        log.keep_in(folder.path());
        log.writer()("second");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\nsecond\n");
        // A resumed run goes on in the same file.
        let log = RewardLog::default();
        log.keep_in(folder.path());
        log.writer()("third");
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "first\nsecond\nthird\n"
        );
    }

    #[test]
    fn nothing_printed_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        RewardLog::default().keep_in(folder.path());
        assert!(!folder.path().join(NAME).exists());
    }
}
