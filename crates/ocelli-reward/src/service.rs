//! Nodes that judge outside of this crate: Python plug-ins, judges, verifier servers and reward models.
//!
//! A graph that is built has only checked them. [`crate::RewardGraph::start`] starts their processes and clients; clones
//! of a graph share what runs, and the last one to go stops it.

mod asking;
mod keys;
mod model;
#[cfg(feature = "judge")]
mod shown;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ocelli_core::{Episode, FailureKind, Verdict};

use crate::plugin::{Log, Plugin, PluginConfig};

#[cfg(feature = "judge")]
use crate::client::{RemoteConfig, RemoteVerifiers};
#[cfg(feature = "judge")]
use crate::scorer::{JudgeConfig, JudgeScorer, Scorer, StubScorer};

pub(crate) use keys::{is_plugin, known_names, read};
pub use model::{EpisodeScorer, ModelScore, RewardModelConfig};
#[cfg(feature = "judge")]
use shown::Shown;

/// A checked node, and what runs for it once it is started.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) kind: Kind,
    slot: Arc<Slot>,
}

/// Makes a reward model run.
pub type OpenModel<'a> = dyn Fn(&RewardModelConfig) -> Result<Box<dyn EpisodeScorer>, String> + 'a;

/// What is asked, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A function in a Python file. `retries`: how often the rows of a retryable error are tried again.
    Plugin { config: PluginConfig, retries: u32 },
    /// A model on a chat-completions server.
    #[cfg(feature = "judge")]
    Judge {
        config: Box<JudgeConfig>,
        shown: Shown,
    },
    /// The judge's stand-in, which asks nobody.
    #[cfg(feature = "judge")]
    StubJudge { shown: Shown },
    /// Reward graphs behind HTTP.
    #[cfg(feature = "judge")]
    Remote(RemoteConfig),
    /// A checkpoint that scores answers.
    RewardModel(RewardModelConfig),
}

#[derive(Default)]
struct Slot {
    running: OnceLock<Running>,
    /// Held while starting, so that nothing is started twice.
    starting: Mutex<()>,
}

enum Running {
    Plugin(Plugin),
    #[cfg(feature = "judge")]
    Scorer(Box<dyn Scorer>),
    #[cfg(feature = "judge")]
    Remote(RemoteVerifiers),
    Model(Box<dyn EpisodeScorer>),
}

/// What a service says of one episode.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    /// What the score was made of, by name: further numbers of a plug-in, a judge's grades, a remote graph's nodes.
    pub(crate) details: BTreeMap<String, Verdict>,
}

impl Judged {
    pub(crate) fn bare(verdict: Verdict) -> Self {
        Self {
            verdict,
            details: BTreeMap::new(),
        }
    }
}

/// Equal when what they were made from is; whether they run does not count.
impl PartialEq for Service {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("kind", &self.kind)
            .field("started", &self.slot.running.get().is_some())
            .finish()
    }
}

impl Service {
    /// Names that recipes use beside those of [`crate::Verifier::NAMES`]. A plug-in has `file.py:function` for a name.
    pub(crate) const NAMES: [&'static str; 4] = ["judge", "stub_judge", "remote", "reward_model"];

    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            slot: Arc::default(),
        }
    }

    /// Whether rows that the node's gate shuts out need not be asked about. A judge is paid by the row; a plug-in or a
    /// remote graph may compare the rows of a group and sees all of them.
    pub(crate) fn heeds_gate(&self) -> bool {
        match &self.kind {
            Kind::Plugin { .. } => false,
            Kind::RewardModel(_) => true,
            #[cfg(feature = "judge")]
            Kind::Judge { .. } | Kind::StubJudge { .. } => true,
            #[cfg(feature = "judge")]
            Kind::Remote(_) => false,
        }
    }

    /// Starts what is not running yet. `log` gets the lines that a plug-in prints, opened by its name.
    ///
    /// # Errors
    /// In words that say what is missing.
    pub(crate) fn start(&self, log: &Log) -> Result<(), String> {
        let _starting = self
            .slot
            .starting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.slot.running.get().is_none() {
            // Nobody else sets it while the lock is held.
            let _ = self.slot.running.set(self.kind.launch(log)?);
        }
        Ok(())
    }

    /// Gives the service what runs for it, if it is a reward model that does not run yet.
    ///
    /// # Errors
    /// Those of `open`.
    pub(crate) fn provide(&self, open: &OpenModel) -> Result<(), String> {
        let Kind::RewardModel(config) = &self.kind else {
            return Ok(());
        };
        let _starting = self
            .slot
            .starting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.slot.running.get().is_none() {
            // Nobody else sets it while the lock is held.
            let _ = self.slot.running.set(Running::Model(open(config)?));
        }
        Ok(())
    }

    /// Judges each of `episodes`, in order, in one call. `node` names the node in messages.
    pub(crate) fn judge(&self, node: &str, episodes: &[&Episode]) -> Vec<Judged> {
        if episodes.is_empty() {
            return Vec::new();
        }
        match (&self.kind, self.slot.running.get()) {
            (Kind::Plugin { retries, .. }, Some(Running::Plugin(plugin))) => {
                asking::plugin(plugin, *retries, episodes)
            }
            #[cfg(feature = "judge")]
            (
                Kind::Judge { shown, .. } | Kind::StubJudge { shown },
                Some(Running::Scorer(scorer)),
            ) => asking::scorer(scorer.as_ref(), shown, node, episodes),
            #[cfg(feature = "judge")]
            (Kind::Remote(_), Some(Running::Remote(remote))) => {
                asking::remote(remote, node, episodes)
            }
            (Kind::RewardModel(_), Some(Running::Model(model))) => {
                let verdicts = model.score(episodes).into_iter();
                verdicts.map(Judged::bare).collect()
            }
            _ => {
                let error = asking::failure(
                    FailureKind::Internal,
                    format!("`{node}` was not started; call `RewardGraph::start` before scoring"),
                );
                vec![Judged::bare(Verdict::Error(error)); episodes.len()]
            }
        }
    }
}

impl Kind {
    fn launch(&self, log: &Log) -> Result<Running, String> {
        match self {
            Self::RewardModel(_) => Err(
                "this program runs no reward models; call `RewardGraph::provide` before `start`"
                    .to_owned(),
            ),
            Self::Plugin { config, .. } => {
                let log = Arc::clone(log);
                let forward = move |line: &str| {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log(line);
                };
                let plugin = Plugin::start(config, forward).map_err(|error| error.to_string())?;
                Ok(Running::Plugin(plugin))
            }
            #[cfg(feature = "judge")]
            Self::Judge { config, .. } => Ok(Running::Scorer(Box::new(JudgeScorer::new(config)?))),
            #[cfg(feature = "judge")]
            Self::StubJudge { .. } => Ok(Running::Scorer(Box::new(StubScorer))),
            #[cfg(feature = "judge")]
            Self::Remote(config) => {
                let remote = RemoteVerifiers::connect(config).map_err(|error| error.to_string())?;
                Ok(Running::Remote(remote))
            }
        }
    }
}
