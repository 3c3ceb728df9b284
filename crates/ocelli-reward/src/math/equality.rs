//! Whether two scalar expressions have the same value.

use std::cmp::Ordering;

use num_rational::BigRational;
use num_traits::{One, ToPrimitive, Zero};

use super::MathFailure;
use super::bigfloat::BigFloat;
use super::budget::Budget;
use super::evaluate::{Complex, NoValue, evaluate};
use super::expression::Expression;
use super::normal::{Quotient, normal};
use super::polynomial::Ring;
use super::real::Real;

/// Points at which expressions with variables must agree.
const POINTS: u32 = 3;

/// Relative difference from which machine numbers are told apart.
const CLEARLY_DIFFERENT: f64 = 1e-6;

/// Two values of 320 bits are the same when they differ by less than 2^−200 of the larger one …
const SAME: i64 = -200;

/// … and that is less than 2^−100 in all: larger numbers could differ in digits that were lost …
const LARGEST: i64 = 100;

/// … or when both are what rounding leaves of 0, about 2^−320. Smaller numbers were meant to be small.
const NOISE: std::ops::Range<i64> = -400..-290;

/// Equal for all values of the variables.
///
/// The normal forms are compared first; when they differ, the values at a few points, with about 96 digits. Nothing is
/// called equal for agreeing in the digits of machine numbers only.
///
/// # Errors
/// [`MathFailure::OverBudget`]. What cannot be decided is not equal.
pub(super) fn equal(
    left: &Expression,
    right: &Expression,
    budget: &Budget,
) -> Result<bool, MathFailure> {
    if left == right {
        return Ok(true);
    }
    if let (Some(left), Some(right)) = (as_number(left), as_number(right)) {
        return Ok(left == right);
    }
    if clearly_different(left, right, budget)? {
        return Ok(false);
    }
    let ring = Ring::default();
    match difference(left, right, &ring, budget) {
        Ok(difference) if difference.is_zero() => return Ok(true),
        Err(MathFailure::OverBudget) => return Err(MathFailure::OverBudget),
        _ => {}
    }
    same_values(left, right, budget)
}

/// Where `left = c · right` for a number c that is not 0, that number.
///
/// # Errors
/// [`MathFailure::OverBudget`].
pub(super) fn ratio(
    left: &Expression,
    right: &Expression,
    budget: &Budget,
) -> Result<Option<BigRational>, MathFailure> {
    compared(left, right, budget, Quotient::ratio)
}

/// The same of what is left of both without their denominators: `y − 1/x` and `xy − 1` are 0 at the same places.
///
/// # Errors
/// [`MathFailure::OverBudget`].
pub(super) fn ratio_of_zeros(
    left: &Expression,
    right: &Expression,
    budget: &Budget,
) -> Result<Option<BigRational>, MathFailure> {
    compared(left, right, budget, |left, right, _, budget| {
        left.ratio_of_numerators(right, budget)
    })
}

type Compare = fn(&Quotient, &Quotient, &Ring, &Budget) -> Result<Option<BigRational>, MathFailure>;

fn compared(
    left: &Expression,
    right: &Expression,
    budget: &Budget,
    compare: Compare,
) -> Result<Option<BigRational>, MathFailure> {
    let ring = Ring::default();
    let forms =
        normal(left, &ring, budget).and_then(|left| Ok((left, normal(right, &ring, budget)?)));
    match forms.and_then(|(left, right)| compare(&left, &right, &ring, budget)) {
        Err(MathFailure::OverBudget) => Err(MathFailure::OverBudget),
        Err(_) => Ok(None),
        found => found,
    }
}

/// The real value of an expression without variables, as a machine number.
pub(super) fn approximation(expression: &Expression, budget: &Budget) -> Option<f64> {
    let mut constant = true;
    expression.walk(&mut |part| constant &= !matches!(part, Expression::Symbol(_)));
    if !constant {
        return None;
    }
    evaluate::<f64>(expression, 0, budget).ok()?.real().copied()
}

fn as_number(expression: &Expression) -> Option<&BigRational> {
    match expression {
        Expression::Number(value) | Expression::Decimal(value) => Some(value),
        _ => None,
    }
}

fn difference(
    left: &Expression,
    right: &Expression,
    ring: &Ring,
    budget: &Budget,
) -> Result<Quotient, MathFailure> {
    normal(left, ring, budget)?.subtract(&normal(right, ring, budget)?, ring, budget)
}

/// What evaluation at one point says.
enum At<R> {
    Values(Complex<R>, Complex<R>),
    Nothing,
    Undecidable,
}

fn both<R: Real>(
    left: &Expression,
    right: &Expression,
    point: u32,
    budget: &Budget,
) -> Result<At<R>, MathFailure> {
    let pair =
        evaluate(left, point, budget).and_then(|left| Ok((left, evaluate(right, point, budget)?)));
    match pair {
        Ok((left, right)) => Ok(At::Values(left, right)),
        Err(NoValue::Here) => Ok(At::Nothing),
        Err(NoValue::Anywhere) => Ok(At::Undecidable),
        Err(NoValue::Failure(failure)) => Err(failure),
    }
}

/// Whether machine numbers already tell the two apart.
fn clearly_different(
    left: &Expression,
    right: &Expression,
    budget: &Budget,
) -> Result<bool, MathFailure> {
    for point in 0..2 {
        if let At::Values(left, right) = both::<f64>(left, right, point, budget)? {
            let gap = left.subtract(&right).size();
            let scale = left.size().max(right.size());
            // Comparisons with NaN are false: nothing is claimed.
            if gap > CLEARLY_DIFFERENT * scale && gap > 1e-9 && scale < 1e12 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn same_values(
    left: &Expression,
    right: &Expression,
    budget: &Budget,
) -> Result<bool, MathFailure> {
    let mut agreed = 0;
    for point in 0..POINTS {
        match both::<BigFloat>(left, right, point, budget)? {
            At::Values(left, right) => {
                let gap = left.subtract(&right).size().magnitude();
                let scale = left.size().magnitude().max(right.size().magnitude());
                let same = match (gap, scale) {
                    (None, scale) => scale.is_none_or(|scale| scale < LARGEST),
                    (Some(gap), Some(scale)) => {
                        NOISE.contains(&scale) || (gap < scale + SAME && scale < LARGEST)
                    }
                    (Some(_), None) => false,
                };
                if !same {
                    return Ok(false);
                }
                agreed += 1;
            }
            At::Nothing => {}
            At::Undecidable => return Ok(false),
        }
    }
    Ok(agreed >= 2)
}

/// The value in whole units of `10^-places`, the nearest, of two equally near the even one; `None` when it has
/// variables or no real value.
pub(super) fn rounded(expression: &Expression, places: u32, budget: &Budget) -> Option<i128> {
    let scale = 10i64.checked_pow(places)?;
    if let Some(value) = as_number(expression) {
        let scaled = value * BigRational::from_integer(scale.into());
        let below = scaled.floor();
        let twice_above = (&scaled - &below) * BigRational::from_integer(2.into());
        let even = (below.to_integer() % 2u32).is_zero();
        let up = match twice_above.cmp(&BigRational::one()) {
            Ordering::Less => false,
            Ordering::Equal => !even,
            Ordering::Greater => true,
        };
        return Some(below.to_integer().to_i128()? + i128::from(up));
    }
    let scaled = approximation(expression, budget)? * scale as f64;
    // Beyond this a machine number has no digits left behind the point.
    (scaled.abs() < 9e15).then(|| scaled.round_ties_even() as i128)
}
