//! A formula as the tree that the measure of symbolic structure takes.

use num_traits::ToPrimitive;

use super::boxed::{Boxes, unboxed};
use super::expression::{Comparison, Constant, Expression, Function};
use super::{MAX_ANSWER, MathFailure, parser};
use crate::measure::symbolic_skeleton::Expression as Formula;

/// The formula that `text` is, in LaTeX or plain; of an equation its right side, so that `a = −k x` is `−k x`.
/// Nothing at its end is taken for a unit.
///
/// # Errors
/// [`MathFailure::NoAnswer`] of an empty text, [`MathFailure::Unreadable`] of one that is no formula.
pub fn formula(text: &str) -> Result<Formula, MathFailure> {
    if text.len() > MAX_ANSWER {
        return Err(MathFailure::TooLarge);
    }
    let inside = unboxed(text, Boxes::All);
    if inside.trim().is_empty() {
        return Err(MathFailure::NoAnswer);
    }
    converted(&parser::parse(inside.trim())?)
}

fn converted(expression: &Expression) -> Result<Formula, MathFailure> {
    let all = |parts: &[Expression]| parts.iter().map(converted).collect::<Result<Vec<_>, _>>();
    let number = |value: Option<f64>| {
        let finite = value.filter(|value| value.is_finite());
        finite.map(Formula::Number).ok_or(MathFailure::TooLarge)
    };
    Ok(match expression {
        Expression::Number(value) | Expression::Decimal(value) => number(value.to_f64())?,
        Expression::Percent(inside) => {
            Formula::Product(vec![Formula::Number(0.01), converted(inside)?])
        }
        Expression::Constant(Constant::Pi) => Formula::Number(std::f64::consts::PI),
        Expression::Constant(Constant::E) => Formula::Number(std::f64::consts::E),
        Expression::Symbol(name) => Formula::Symbol(name.clone()),
        Expression::Sum(terms) => Formula::Sum(all(terms)?),
        Expression::Product(factors) => Formula::Product(all(factors)?),
        Expression::Power(base, exponent) => {
            Formula::Power(Box::new(converted(base)?), Box::new(converted(exponent)?))
        }
        Expression::Function(function, arguments) => {
            Formula::Function(name(*function), all(arguments)?)
        }
        Expression::Apply(name, arguments) => Formula::Function(name.clone(), all(arguments)?),
        Expression::Relation(_, sides) => match sides.as_slice() {
            [(Comparison::Equal, right)] => converted(right)?,
            _ => return Err(MathFailure::Unreadable),
        },
        _ => return Err(MathFailure::Unreadable),
    })
}

/// The name of a function, in lower case.
fn name(function: Function) -> String {
    format!("{function:?}").to_ascii_lowercase()
}
