//! What values the keys of verifiers may have.

use ocelli_core::Schedule;

fn refused(key: &str, value: f64, wanted: &str) -> Result<(), String> {
    Err(format!(
        "`{key} = {value}` is not allowed; it takes {wanted}"
    ))
}

/// Above 0 and at most 1.
pub(super) fn share(key: &str, value: f64) -> Result<(), String> {
    if value > 0.0 && value <= 1.0 {
        return Ok(());
    }
    refused(key, value, "a number in (0, 1]")
}

/// From 0 to 1.
pub(super) fn unit(key: &str, value: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    refused(key, value, "a number from 0 to 1")
}

/// From 0 on.
pub(super) fn at_least_zero(key: &str, value: f64) -> Result<(), String> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    refused(key, value, "a finite number from 0 on")
}

/// Above 0.
pub(super) fn positive(key: &str, value: f64) -> Result<(), String> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    refused(key, value, "a finite number above 0")
}

/// A count of at least 1.
pub(super) fn count(key: &str, value: usize) -> Result<(), String> {
    if value > 0 {
        return Ok(());
    }
    refused(key, 0.0, "a whole number from 1 on")
}

/// A schedule all of whose values are [`share`]s.
pub(super) fn share_schedule(key: &str, schedule: &Schedule) -> Result<(), String> {
    schedule
        .check()
        .map_err(|problem| format!("`{key}`: {problem}"))?;
    schedule
        .values()
        .into_iter()
        .try_for_each(|value| share(key, value))
}

/// A ramp of a distance or an error: 1 up to `best`, 0 from `worst` on.
pub(super) fn ramp(best: f64, worst: f64) -> Result<(), String> {
    at_least_zero("best", best)?;
    at_least_zero("worst", worst)?;
    if best < worst {
        return Ok(());
    }
    Err(format!(
        "`best = {best}` with `worst = {worst}` is not allowed; the error that scores 1 is the smaller one"
    ))
}

/// Refuses a key that is given and has no effect.
pub(super) fn unused(key: &str, given: bool, with: &str) -> Result<(), String> {
    if given {
        return Err(format!("`{key}` has no effect with {with}; remove the key"));
    }
    Ok(())
}

/// Asks for a key that is not given.
pub(super) fn needed<T>(key: &str, given: Option<T>, with: &str) -> Result<T, String> {
    given.ok_or_else(|| format!("`{key}` is missing; {with} needs it"))
}
