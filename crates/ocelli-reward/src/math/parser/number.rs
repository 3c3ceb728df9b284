//! The values of written numbers.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Num, One, Pow, Zero};

use super::Parsed;
use crate::math::MathFailure;
use crate::math::expression::Expression;

/// Most digits of one number.
const MAX_DIGITS: usize = 2_000;

/// The value of `digits`, with a point or without.
pub(in crate::math) fn number(digits: &str) -> Parsed {
    if digits.len() > MAX_DIGITS {
        return Err(MathFailure::TooLarge);
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let value = BigInt::from_str_radix(&all, 10).map_err(|_| MathFailure::Unreadable)?;
    if digits.contains('.') {
        Ok(Expression::Decimal(BigRational::new(
            value,
            power_of_ten(fraction.len())?,
        )))
    } else {
        Ok(Expression::Number(BigRational::from_integer(value)))
    }
}

/// `digits` times a power of ten.
pub(super) fn scientific(digits: &str, exponent: i32) -> Parsed {
    let magnitude = usize::try_from(exponent.unsigned_abs()).map_err(|_| MathFailure::TooLarge)?;
    let power = BigRational::from_integer(power_of_ten(magnitude)?);
    match number(digits)? {
        Expression::Number(value) | Expression::Decimal(value) => {
            Ok(Expression::Decimal(if exponent < 0 {
                value / power
            } else {
                value * power
            }))
        }
        _ => Err(MathFailure::Unreadable),
    }
}

/// `digits` with `repeated` behind them forever: 0.1 and 6 make 1/6.
pub(super) fn repeating(digits: &str, repeated: &str) -> Parsed {
    let places = digits
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    let period = power_of_ten(repeated.len())? - BigInt::one();
    let Expression::Number(tail) = number(repeated)? else {
        return Err(MathFailure::Unreadable);
    };
    let start = match number(digits.trim_end_matches('.'))? {
        Expression::Number(value) | Expression::Decimal(value) => value,
        _ => BigRational::zero(),
    };
    let shift = BigRational::from_integer(power_of_ten(places)?);
    Ok(Expression::Number(start + tail / period / shift))
}

fn power_of_ten(exponent: usize) -> Result<BigInt, MathFailure> {
    if exponent > MAX_DIGITS {
        return Err(MathFailure::TooLarge);
    }
    Ok(Pow::pow(BigInt::from(10), exponent))
}
