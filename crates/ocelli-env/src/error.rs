//! What can go wrong between a collector and an env.

/// A misuse of an env, or a task it cannot show. Each names the env, and the task where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A step before the first reset.
    #[error("env `{env}` has no task yet; call reset before step")]
    NotReset { env: &'static str },
    /// A step after the end.
    #[error("env `{env}`: the episode on task `{task}` is over; call reset before another step")]
    Finished { env: &'static str, task: String },
    /// A task with nothing to show.
    #[error("env `{env}`: task `{task}` has no messages; give the row a question")]
    NoMessages { env: &'static str, task: String },
    /// A snapshot that another type of env has taken.
    #[error(
        "env `{env}` cannot go back to a snapshot that env `{taken_by}` has taken; restore it there"
    )]
    ForeignSnapshot {
        env: &'static str,
        taken_by: &'static str,
    },
}
