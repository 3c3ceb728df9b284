//! What every env is: reset on a task, step by calls, and go back to an earlier state.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocelli_core::{Call, Observation, SeedKey, Task};

use crate::{EnvError, Snapshot};

/// A world that a policy acts on by calls, one task at a time.
///
/// `reset` begins an episode, and each `step` until `done` continues it; the observations, one after the other, are the
/// conversation the policy sees. A bad call is part of the episode, not an error: the env answers it with an
/// observation or ends the episode, and says so in the facts. Errors are for misuse and for worlds that have failed.
pub trait Env: Send {
    /// Begins an episode on `task` and shows its opening. All that is random in the episode comes from `seed`: the same
    /// task, seed and calls give the same observations. Forgets the episode before, finished or not.
    ///
    /// # Errors
    /// When the task cannot be shown in this env; the error names it.
    fn reset(&mut self, task: &Arc<Task>, seed: &SeedKey) -> Result<Observation, EnvError>;

    /// Executes `call`.
    ///
    /// # Errors
    /// [`EnvError::NotReset`] before the first `reset`, [`EnvError::Finished`] after a step that was `done`.
    fn step(&mut self, call: &Call) -> Result<Step, EnvError>;

    /// The present state, to branch an episode or to try a call and take it back.
    fn snapshot(&self) -> Snapshot;

    /// Goes back to `snapshot`, which an env of the same type has taken, this one or another.
    ///
    /// # Errors
    /// [`EnvError::ForeignSnapshot`] when another type of env has taken it; the state is then as before.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), EnvError>;
}

/// What came of one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// What the policy is shown next; `None` when there is nothing to show, as at an end without a last word.
    pub observation: Option<Observation>,
    /// Whether the episode is over. The env then refuses further steps until it is reset.
    pub done: bool,
    /// What the env reports about this step, by name; the collector merges them into the episode's outcome.
    pub facts: BTreeMap<String, String>,
}
