//! Downloads of models into the Hugging Face cache, in the layout of [`crate::hub_cache`]. Only with the feature `hub`.

use std::path::Path;

use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use crate::error::ModelError;

/// Where models come from unless `HF_ENDPOINT` names another place.
const ENDPOINT: &str = "https://huggingface.co";

/// What `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` say.
#[derive(Clone, Debug)]
pub struct Hub {
    pub endpoint: String,
    /// For models that are private or ask for consent; else what `hf auth login` has left beside the cache.
    pub token: Option<String>,
    pub offline: bool,
}

impl Hub {
    /// As the environment has it.
    pub fn from_environment() -> Self {
        let get = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let offline = get("HF_HUB_OFFLINE").unwrap_or_default().to_lowercase();
        Self {
            endpoint: get("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()),
            token: get("HF_TOKEN").or_else(|| get("HUGGING_FACE_HUB_TOKEN")),
            offline: ["1", "true", "yes", "on"].contains(&offline.as_str()),
        }
    }

    /// Brings the files of a model that are read here into the cache: safetensors, and the texts beside them.
    ///
    /// `config.json` comes last, so a snapshot that has it is whole.
    ///
    /// # Errors
    /// If the model or its revision does not exist, may not be read with this token, or the connection fails.
    pub fn download(
        &self,
        cache: &Path,
        model: &str,
        revision: Option<&str>,
    ) -> Result<(), ModelError> {
        let failed = |file: &str, error: ApiError| ModelError::Download {
            model: model.to_owned(),
            endpoint: self.endpoint.clone(),
            file: file.to_owned(),
            message: reason(&error),
        };
        let cache = Cache::new(cache.to_owned());
        let token = self.token.clone().or_else(|| cache.token());
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(self.endpoint.clone())
            .with_token(token)
            .with_retries(3)
            .build()
            .map_err(|e| failed("", e))?;
        let revision = revision.unwrap_or("main").to_owned();
        let at = |revision: &str| {
            Repo::with_revision(model.to_owned(), RepoType::Model, revision.to_owned())
        };
        let info = api.repo(at(&revision)).info();
        let info = info.map_err(|e| failed("its list of files", e))?;
        // All files of one commit, even when the branch moves on meanwhile.
        let commit = api.repo(at(&info.sha));
        let names = info.siblings.into_iter().map(|sibling| sibling.rfilename);
        for name in wanted(names) {
            commit.get(&name).map_err(|e| failed(&name, e))?;
        }
        let named = cache.repo(at(&revision)).create_ref(&info.sha);
        named.map_err(|e| failed("the name of its revision", e.into()))
    }
}

/// What went wrong, and what to do about it.
fn reason(error: &ApiError) -> String {
    let text = error.to_string();
    let mend = match text.as_str() {
        t if t.contains("401") || t.contains("403") => {
            "; it does not exist, is private, or asks for consent on its page: set HF_TOKEN to a token that may read it"
        }
        t if t.contains("404") => "; check its name and revision",
        _ => "",
    };
    format!("{text}{mend}")
}

/// The files that a checkpoint is read from, large ones first, `config.json` last.
fn wanted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut wanted: Vec<String> = names
        .filter(|name| {
            let text = [".json", ".jinja", ".txt"].iter();
            let weights = name.ends_with(".safetensors") && !name.starts_with("consolidated");
            !name.contains('/') && (weights || text.into_iter().any(|end| name.ends_with(end)))
        })
        .collect();
    wanted.sort_by_key(|name| (name == "config.json", !name.ends_with(".safetensors")));
    wanted
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::hub_cache;

    /// Answers as the hub does, on a port of its own.
    fn hub(files: BTreeMap<&'static str, Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next().unwrap().unwrap();
                let range = lines
                    .map(Result::unwrap)
                    .take_while(|line| !line.is_empty())
                    .find_map(|line| {
                        let range = line.to_lowercase();
                        let (from, to) = range.strip_prefix("range: bytes=")?.split_once('-')?;
                        Some((from.parse::<usize>().unwrap(), to.parse::<usize>().ok()))
                    });
                let path = request.split(' ').nth(1).unwrap();
                let (status, head, body) = if path == "/api/models/org/name/revision/v1" {
                    let names = files
                        .keys()
                        .map(|name| serde_json::json!({"rfilename": name}));
                    let info =
                        serde_json::json!({"sha": "0a1b", "siblings": names.collect::<Vec<_>>()});
                    ("200 OK", String::new(), info.to_string().into_bytes())
                } else if let Some(name) = path.strip_prefix("/org/name/resolve/0a1b/") {
                    let file = &files[name];
                    let (from, to) = range.unwrap();
                    let end = to.map_or(file.len(), |to| to + 1);
                    let head = format!(
                        "etag: \"tag-{name}\"\r\nx-repo-commit: 0a1b\r\ncontent-range: bytes {from}-{}/{}\r\n",
                        end - 1,
                        file.len()
                    );
                    ("206 Partial Content", head, file[from..end].to_vec())
                } else {
                    ("404 Not Found", String::new(), b"no".to_vec())
                };
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(&body).unwrap();
            }
        });
        format!("http://{address}")
    }

    #[test]
    fn a_model_is_downloaded_into_the_cache_and_found_there() {
        let files = BTreeMap::from([
            ("config.json", b"{}".to_vec()),
            ("model.safetensors", vec![7; 100_000]),
            ("consolidated.safetensors", vec![1]),
            ("pytorch_model.bin", vec![2]),
            ("onnx/model.json", b"{}".to_vec()),
            ("tokenizer.json", b"[1]".to_vec()),
        ]);
        let hub = Hub {
            endpoint: hub(files),
            token: None,
            offline: false,
        };
        let cache = tempfile::tempdir().unwrap();
        hub.download(cache.path(), "org/name", Some("v1")).unwrap();
        let folder = hub_cache::snapshot_in(cache.path(), "org/name@v1")
            .unwrap()
            .unwrap();
        let mut found: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(
            found,
            ["config.json", "model.safetensors", "tokenizer.json"]
        );
        let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
        assert_eq!(bytes, vec![7; 100_000]);

        let error = hub.download(cache.path(), "org/other", None).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("org/other") && text.contains("check its name"),
            "{text}"
        );
    }

    #[test]
    fn weights_come_first_and_the_configuration_last() {
        let names = [
            "config.json",
            "a.json",
            "model-2.safetensors",
            "README.md",
            "merges.txt",
        ];
        assert_eq!(
            wanted(names.into_iter().map(str::to_owned)),
            ["model-2.safetensors", "a.json", "merges.txt", "config.json"]
        );
    }
}
