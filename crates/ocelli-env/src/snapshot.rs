//! The saved state of an env of any type.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::EnvError;

/// The state of an env at one moment. Cheap to clone and to keep beside others; it lives in memory only.
///
/// The type of the state is known to the env that has taken the snapshot and to nobody else, so that envs of different
/// types fit behind one trait object.
#[derive(Clone)]
pub struct Snapshot {
    env: &'static str,
    state: Arc<dyn Any + Send + Sync>,
}

impl Snapshot {
    /// Wraps the `state` of the env named `env`.
    pub fn new<S: Any + Send + Sync>(env: &'static str, state: S) -> Self {
        Self {
            env,
            state: Arc::new(state),
        }
    }

    /// The state, for the env named `env`.
    ///
    /// # Errors
    /// [`EnvError::ForeignSnapshot`] when it is not a state of that name and type.
    pub fn state<S: Any>(&self, env: &'static str) -> Result<&S, EnvError> {
        Some(&self.state)
            .filter(|_| self.env == env)
            .and_then(|state| state.downcast_ref())
            .ok_or(EnvError::ForeignSnapshot {
                env,
                taken_by: self.env,
            })
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("env", &self.env)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_state_back_to_its_env_only() {
        let snapshot = Snapshot::new("maze", 7u32);
        assert_eq!(snapshot.state::<u32>("maze"), Ok(&7));
        assert_eq!(snapshot.clone().state::<u32>("maze"), Ok(&7));
        let foreign = EnvError::ForeignSnapshot {
            env: "cards",
            taken_by: "maze",
        };
        assert_eq!(snapshot.state::<u32>("cards"), Err(foreign));
        assert!(snapshot.state::<u64>("maze").is_err());
        assert_eq!(format!("{snapshot:?}"), "Snapshot { env: \"maze\", .. }");
    }
}
