//! Why a measure refuses its input.

/// Why a measure cannot be taken. It is never a wrong answer: those score low.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MeasureError {
    /// The comparison would need more steps than its limit. Predictions come from a model, so they can be of any size.
    #[error("{what} of {rows} by {columns} is over the limit of {limit} steps")]
    TooLarge {
        what: &'static str,
        rows: usize,
        columns: usize,
        limit: usize,
    },
    /// A number that must be finite is not.
    #[error("{what} {index} is {value}, which is not a finite number")]
    NotFinite {
        what: &'static str,
        index: usize,
        value: f64,
    },
    /// The gold value makes no sense.
    #[error("the gold {what} is not usable: {reason}")]
    BadGold {
        what: &'static str,
        reason: &'static str,
    },
}

/// Refuses a table of `rows` by `columns` that has more than `limit` cells.
pub(super) fn check_size(
    what: &'static str,
    rows: usize,
    columns: usize,
    limit: usize,
) -> Result<(), MeasureError> {
    match rows.checked_mul(columns) {
        Some(cells) if cells <= limit => Ok(()),
        _ => Err(MeasureError::TooLarge {
            what,
            rows,
            columns,
            limit,
        }),
    }
}
