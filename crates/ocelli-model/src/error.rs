//! What can go wrong with models and checkpoints.

use std::path::PathBuf;

/// Errors of this crate's network and checkpoint parts.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file was read but is not what it should be.
    #[error("{path}: {message}")]
    Malformed { path: PathBuf, message: String },
    /// The model is of a kind this version does not know.
    #[error(
        "{path}: model type `{found}` is not supported; supported: {}",
        crate::config::SUPPORTED.join(", ")
    )]
    Unsupported { path: PathBuf, found: String },
    /// Tensors the configuration asks for are not in the checkpoint.
    #[error("the checkpoint lacks {} of the tensors its config.json asks for: {}", .names.len(), list(.names))]
    MissingTensors { names: Vec<String> },
    /// Tensors in the checkpoint that the configuration has no place for.
    #[error("the checkpoint holds {} tensors its config.json has no place for: {}", .names.len(), list(.names))]
    UnexpectedTensors { names: Vec<String> },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{name}` has shape {found:?}, config.json asks for {expected:?}")]
    Shape {
        name: String,
        found: Vec<usize>,
        expected: Vec<usize>,
    },
    /// The model reference is neither a preset nor a folder, nor in the cache.
    #[error(
        "no model at `{reference}`: give a checkpoint folder, one of the presets {}, or org/name of a model in the Hugging Face \
         cache (`hf download org/name` puts it there)",
        .presets.join(", ")
    )]
    NoSuchModel {
        reference: String,
        presets: Vec<String>,
    },
    /// The model could not be downloaded.
    #[cfg(feature = "hub")]
    #[error("{model}: {endpoint} does not give {file}: {message}")]
    Download {
        model: String,
        endpoint: String,
        file: String,
        message: String,
    },
    /// The model is in the cache, but not at the revision.
    #[error(
        "{reference}: {path} has no single snapshot of revision `{revision}`; it has {}. `hf download` fetches others",
        if .found.is_empty() { "none".to_owned() } else { .found.join(", ") }
    )]
    NoRevision {
        reference: String,
        path: PathBuf,
        revision: String,
        found: Vec<String>,
    },
    /// A folder that holds no checkpoint.
    #[error(
        "{path}: no checkpoint here, for config.json is missing; a checkpoint is a folder with config.json, model.safetensors, \
         tokenizer.json and preprocessor_config.json, such as runs/NAME/checkpoints/1-sft-step-001000"
    )]
    NoCheckpoint { path: PathBuf },
    /// Other sizes asked of a checkpoint.
    #[error(
        "model.overrides: {path} is a checkpoint, whose weights have the sizes they have; remove the key, or name a preset as \
         model.path"
    )]
    Overrides { path: PathBuf },
    /// Tokenizer, template or image processing failed.
    #[error(transparent)]
    Processing(#[from] crate::processing_error::ProcessingError),
}

impl ModelError {
    /// Whether the model was asked for wrongly, as opposed to being damaged.
    pub fn is_misuse(&self) -> bool {
        matches!(
            self,
            Self::NoSuchModel { .. }
                | Self::NoCheckpoint { .. }
                | Self::NoRevision { .. }
                | Self::Overrides { .. }
        )
    }
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
