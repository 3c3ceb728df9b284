//! Checks of sizes that a configuration names.

use std::ops::RangeInclusive;

/// What widths and the vocabulary's size may be: above, products of sizes could leave the range of numbers.
pub(crate) const WIDTHS: RangeInclusive<usize> = 1..=1 << 24;
/// What numbers of layers and sides of patches may be, as in the image processor.
pub(crate) const COUNTS: RangeInclusive<usize> = 1..=1024;

/// Gives `Err(what)` unless the condition holds.
pub(crate) fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Refuses sizes that no network has; `section` is what their names begin with.
pub(crate) fn check_ranges(
    section: &str,
    sizes: &[(&str, usize, RangeInclusive<usize>)],
) -> Result<(), String> {
    for (name, size, range) in sizes {
        require(range.contains(size), || {
            format!(
                "{section}{name} is {size}; it lies between {} and {}",
                range.start(),
                range.end()
            )
        })?;
    }
    Ok(())
}
