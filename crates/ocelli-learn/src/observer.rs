//! Whoever watches a run: the terminal, a test, nobody.

use ocelli_core::Metrics;

/// Told what happens while it happens.
pub trait Observer {
    /// A stage of `total` steps begins.
    fn begin_stage(&mut self, name: &str, total: u64);
    /// A step is done.
    fn step(&mut self, step: u64, metrics: &Metrics);
    /// The stage is over.
    fn end_stage(&mut self);
    /// Something worth a line.
    fn message(&mut self, text: &str);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn begin_stage(&mut self, _: &str, _: u64) {}
    fn step(&mut self, _: u64, _: &Metrics) {}
    fn end_stage(&mut self) {}
    fn message(&mut self, _: &str) {}
}
