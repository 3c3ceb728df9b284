//! Curricula: which rows a stage draws, when it moves on to others, and when it ends.
//!
//! [`Curator`] draws the rows of a step and learns from what came of them; everything it remembers is in [`CurriculumState`], which
//! checkpoints keep. The files beside it hold one rule each, as pure functions of numbers.

mod config;
mod curator;
pub mod cycle;
pub mod exact;
pub mod exit;
pub mod phases;
pub mod posterior;
pub mod retry;
pub mod success;
pub mod trigger;

use ocelli_core::Metrics;
use serde::{Deserialize, Serialize};

pub use config::{SamplerConfig, SamplerKind, TagOrder, TagValue};
pub use curator::{Curator, Seen};

use crate::error::LearnError;
use crate::recipe::StageConfig;
use phases::PhaseState;
use posterior::Posteriors;
use retry::RetryState;
use trigger::TriggerState;

/// What a stage's curriculum remembers from step to step; kept in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CurriculumState {
    /// How long the metric that ends the stage has been where it should be.
    pub exit: TriggerState,
    /// Whether the stage has ended by that metric.
    pub exited: bool,
    pub phase: PhaseState,
    pub posteriors: Posteriors,
    pub retry: RetryState,
}

impl CurriculumState {
    /// Looks at the metrics of a step, the `done`-th of its stage: moves to another phase, or ends the stage.
    ///
    /// # Errors
    /// When the stage's first step has no metric of a name that the recipe gives.
    pub fn after_step(
        &mut self,
        stage: &StageConfig,
        done: u64,
        metrics: &Metrics,
    ) -> Result<(), LearnError> {
        if done == 1 {
            let of_phases = stage
                .sampler
                .phases
                .iter()
                .filter_map(|p| p.metric.as_ref());
            for name in of_phases.chain(&stage.exit.metric) {
                check_metric(stage, name, metrics)?;
            }
        }
        let value = |name: &str| metrics.get(name);
        let progress = (done, stage.exit.max_steps);
        if phases::advance(&stage.sampler.phases, &mut self.phase, progress, value) {
            // Rows of the phase before may not be drawn any more.
            self.retry = RetryState::default();
        }
        if let Some((name, trigger)) = stage.exit.trigger() {
            let reached = self.exit.observe(&trigger, value(name));
            self.exited = reached && done >= stage.exit.min_steps.unwrap_or(0);
        }
        Ok(())
    }
}

fn check_metric(stage: &StageConfig, name: &str, metrics: &Metrics) -> Result<(), LearnError> {
    if metrics.contains(name) {
        return Ok(());
    }
    let known: Vec<&str> = metrics
        .iter()
        .filter(|(_, value)| !value.is_string())
        .map(|(name, _)| name)
        .collect();
    let near = ocelli_data::suggest(name, &known)
        .map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
    Err(LearnError::Config {
        place: format!("stage {}", stage.kind.name()),
        message: format!(
            "its steps have no metric `{name}`{near} They have {}",
            known.join(", ")
        ),
    })
}
