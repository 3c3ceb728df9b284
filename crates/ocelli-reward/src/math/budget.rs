//! A bound on work that counts operations, so that a verdict never depends on the machine's load.

use std::cell::Cell;

use super::MathFailure;

/// Operations left to one call. One operation is about a microsecond at most.
pub(super) struct Budget(Cell<u32>);

impl Budget {
    /// What one comparison may spend: some milliseconds when all of it goes to long arithmetic.
    pub(super) const COMPARISON: u32 = 4_000;

    pub(super) fn new(operations: u32) -> Self {
        Self(Cell::new(operations))
    }

    /// # Errors
    /// [`MathFailure::OverBudget`] when fewer than `operations` are left.
    pub(super) fn spend(&self, operations: usize) -> Result<(), MathFailure> {
        let operations = u32::try_from(operations).unwrap_or(u32::MAX);
        let left = self
            .0
            .get()
            .checked_sub(operations)
            .ok_or(MathFailure::OverBudget);
        self.0.set(left.unwrap_or(0));
        left.map(|_| ())
    }
}
