//! Models in the Hugging Face cache: `org/name` and `org/name@revision` are looked up where `huggingface_hub` keeps them,
//! `models--org--name/{refs,snapshots,blobs}` below the cache folder. With the feature `hub`, what
//! is not there is downloaded.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::ModelError;

/// Folder of the cache: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `XDG_CACHE_HOME/huggingface/hub`, else
/// `~/.cache/huggingface/hub`.
pub fn folder() -> Option<PathBuf> {
    folder_of(|name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    })
}

fn folder_of(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(variable("HF_HOME")?.join("hub")))
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(variable("HOME")?.join(".cache/huggingface/hub")))
}

/// Parts of `org/name` or `org/name@revision`; `None` if it has another shape, such as a path.
fn parts(reference: &str) -> Option<(&str, &str, Option<&str>)> {
    let (name, revision) = match reference.split_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (reference, None),
    };
    let (org, name) = name.split_once('/')?;
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '~'])
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    // A revision may be a branch with slashes, never a way out of the folder.
    let sound = |r: &str| !r.is_empty() && r.split('/').all(plain);
    (plain(org) && plain(name) && revision.is_none_or(sound)).then_some((org, name, revision))
}

/// The folder of a cached model, or `None` if the reference does not look like `org/name`, or is not in the cache.
///
/// # Errors
/// If the model is cached but not at this revision, or can't be downloaded.
pub fn snapshot(reference: &str) -> Result<Option<PathBuf>, ModelError> {
    let Some(cache) = folder() else {
        return Ok(None);
    };
    #[cfg(feature = "hub")]
    fetch(&cache, reference)?;
    snapshot_in(&cache, reference)
}

/// Downloads a model that is not in the cache, unless `HF_HUB_OFFLINE` is set.
#[cfg(feature = "hub")]
fn fetch(cache: &Path, reference: &str) -> Result<(), ModelError> {
    let Some((org, name, revision)) = parts(reference) else {
        return Ok(());
    };
    let cached = snapshot_in(cache, reference).ok().flatten();
    // Other programs share the cache, and some fetch the configuration alone.
    let whole = cached.is_some_and(|folder| {
        let weights = crate::checkpoint::weight_files(&folder);
        folder.join("config.json").is_file()
            && weights.is_ok_and(|files| files.iter().all(|file| file.is_file()))
    });
    let hub = crate::hub_download::Hub::from_environment();
    if whole || hub.offline {
        return Ok(());
    }
    hub.download(cache, &format!("{org}/{name}"), revision)
}

pub(crate) fn snapshot_in(cache: &Path, reference: &str) -> Result<Option<PathBuf>, ModelError> {
    let Some((org, name, revision)) = parts(reference) else {
        return Ok(None);
    };
    let model = cache.join(format!("models--{org}--{name}"));
    if !model.is_dir() {
        return Ok(None);
    }
    let snapshots = model.join("snapshots");
    let revision = revision.unwrap_or("main");
    // A branch or tag names its commit in a file; a commit is named by itself, whole or by its first digits.
    let commit = fs::read_to_string(model.join("refs").join(revision));
    let commit = commit.map_or_else(|_| revision.to_owned(), |text| text.trim().to_owned());
    let mut found: Vec<String> = fs::read_dir(&snapshots)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    found.sort();
    let mut matching = found.iter().filter(|name| name.starts_with(&commit));
    match (matching.next(), matching.next()) {
        (Some(only), None) => Ok(Some(snapshots.join(only))),
        _ => Err(ModelError::NoRevision {
            reference: reference.to_owned(),
            path: model,
            revision: revision.to_owned(),
            found,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_its_library_looks() {
        let with = |set: &[(&str, &str)]| {
            let find = |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| PathBuf::from(value))
            };
            folder_of(find).map(|path| path.display().to_string())
        };
        let all = [
            ("HF_HUB_CACHE", "/a"),
            ("HUGGINGFACE_HUB_CACHE", "/b"),
            ("HF_HOME", "/c"),
            ("XDG_CACHE_HOME", "/d"),
            ("HOME", "/e"),
        ];
        let wanted = [
            "/a",
            "/b",
            "/c/hub",
            "/d/huggingface/hub",
            "/e/.cache/huggingface/hub",
        ];
        for (i, wanted) in wanted.iter().enumerate() {
            assert_eq!(with(&all[i..]).as_deref(), Some(*wanted));
        }
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn references_have_an_organisation_and_a_name() {
        assert_eq!(
            parts("Qwen/Qwen2.5-VL-3B"),
            Some(("Qwen", "Qwen2.5-VL-3B", None))
        );
        assert_eq!(parts("a/b@refs/pr/1"), Some(("a", "b", Some("refs/pr/1"))));
        for path in [
            "a", "a/b/c", "/a/b", "../b", "./b", "a/b@", "a/b@../c", "a/", "~/b",
        ] {
            assert_eq!(parts(path), None, "{path}");
        }
    }

    #[test]
    fn revisions_are_branches_commits_and_their_beginnings() {
        let cache = tempfile::tempdir().unwrap();
        let model = cache.path().join("models--org--name");
        let commits = ["0a1b2c", "0a9999", "ffff00"];
        for commit in commits {
            fs::create_dir_all(model.join("snapshots").join(commit)).unwrap();
        }
        fs::create_dir_all(model.join("refs/pr")).unwrap();
        fs::write(model.join("refs/main"), "ffff00\n").unwrap();
        fs::write(model.join("refs/pr/1"), "0a9999").unwrap();
        let find = |reference: &str| {
            let found = snapshot_in(cache.path(), reference);
            found.map(|path| path.map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()))
        };
        for (reference, wanted) in [
            ("org/name", "ffff00"),
            ("org/name@pr/1", "0a9999"),
            ("org/name@0a1b2c", "0a1b2c"),
            ("org/name@0a1", "0a1b2c"),
        ] {
            assert_eq!(
                find(reference).unwrap().as_deref(),
                Some(wanted),
                "{reference}"
            );
        }
        assert_eq!(find("org/other").unwrap(), None);
        for reference in ["org/name@0a", "org/name@v2"] {
            let message = find(reference).unwrap_err().to_string();
            assert!(
                message.contains("0a1b2c") && message.contains("hf download"),
                "{message}"
            );
        }
    }
}
