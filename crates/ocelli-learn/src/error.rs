//! What ends a run with an error.

use std::path::{Path, PathBuf};

use ocelli_data::DataError;
use ocelli_model::error::ModelError;

/// Errors of training and evaluation.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Reward(#[from] ocelli_reward::RewardError),
    #[error(transparent)]
    Collect(#[from] ocelli_rollout::CollectError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Processing(#[from] ocelli_model::processing_error::ProcessingError),
    /// The recipe can't be read or means nothing.
    #[error("{path}: {message}")]
    Recipe { path: PathBuf, message: String },
    /// Recipe and data don't fit together; `place` is the stage and key.
    #[error("{place}: {message}")]
    Config { place: String, message: String },
    /// A run folder that another process writes to.
    #[error(
        "{folder}: this run is in use by another process; wait for its end, or stop it, and try again"
    )]
    Busy { folder: PathBuf },
    /// A file of the run folder can't be read or written.
    #[error("{path}: {source}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A run that can't be continued.
    #[error("{path}: {message}")]
    Resume { path: PathBuf, message: String },
    /// A row without what its stage needs.
    #[error("data set `{data}`, row `{row}`: {message}")]
    Row {
        data: String,
        row: String,
        message: String,
    },
    /// Too many steps in a row in which no episode got a reward.
    #[error(
        "stage {stage}, step {step}: in {count} steps in a row no episode got a reward from {nodes}; {reason}"
    )]
    Unjudged {
        stage: String,
        step: u64,
        count: u64,
        nodes: String,
        reason: String,
    },
    /// Too many steps in a row without a finite gradient.
    #[error(
        "stage {stage}, step {step}: {count} steps in a row had a gradient that is not finite; lower learning_rate or max_grad_norm"
    )]
    Diverged {
        stage: String,
        step: u64,
        count: u64,
    },
}

impl LearnError {
    /// Whether the user's recipe or command is at fault (exit code 2) rather than the run (exit code 1).
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Recipe { .. } | Self::Config { .. } | Self::Reward(_) => true,
            Self::Data(error) => error.is_misuse(),
            Self::Model(error) => error.is_misuse(),
            _ => false,
        }
    }

    /// For `map_err` on file operations.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
