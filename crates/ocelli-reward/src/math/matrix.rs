//! Arithmetic with matrices whose entries are expressions.

use num_traits::ToPrimitive;

use super::MathFailure;
use super::budget::Budget;
use super::compare::has_matrix;
use super::expression::{Expression, Function};

type Rows = Vec<Vec<Expression>>;

/// Most entries of a matrix that is computed with.
const MAX_ENTRIES: usize = 100;

/// Largest matrix whose determinant is computed: 5! products.
const LARGEST_DETERMINANT: usize = 5;

/// `expression` with sums, products and determinants of matrices carried out; `None` when they have no value.
///
/// # Errors
/// [`MathFailure::OverBudget`] or [`MathFailure::TooLarge`].
pub(super) fn without_matrix_arithmetic(
    expression: &Expression,
    budget: &Budget,
) -> Result<Option<Expression>, MathFailure> {
    if !has_matrix(expression) {
        return Ok(Some(expression.clone()));
    }
    computed(expression, budget)
}

fn computed(expression: &Expression, budget: &Budget) -> Result<Option<Expression>, MathFailure> {
    budget.spend(1)?;
    let folded = |parts: &[Expression],
                  combine: fn(Expression, Expression) -> Option<Expression>| {
        let mut result: Option<Expression> = None;
        for part in parts {
            let Some(next) = computed(part, budget)? else {
                return Ok(None);
            };
            budget.spend(entries(&next)? + result.as_ref().map_or(Ok(0), entries)?)?;
            result = match result {
                None => Some(next),
                Some(before) => match combine(before, next) {
                    None => return Ok(None),
                    some => some,
                },
            };
        }
        Ok(result)
    };
    match expression {
        Expression::Sum(terms) => folded(terms, add),
        Expression::Product(factors) => folded(factors, multiply),
        Expression::Power(base, exponent) if has_matrix(base) => {
            let times = match &**exponent {
                Expression::Number(value) if value.is_integer() => value.to_integer().to_usize(),
                _ => None,
            };
            let Some(times) = times.filter(|times| (1..=8).contains(times)) else {
                return Ok(None);
            };
            folded(&vec![(**base).clone(); times], multiply)
        }
        Expression::Function(Function::Determinant, arguments) => {
            let Some(Expression::Matrix(rows)) = arguments.first() else {
                return Ok(None);
            };
            let square =
                rows.len() <= LARGEST_DETERMINANT && rows.iter().all(|row| row.len() == rows.len());
            Ok(square.then(|| determinant(rows)))
        }
        Expression::Function(Function::Transpose, arguments) => {
            let Some(Some(Expression::Matrix(rows))) = arguments
                .first()
                .map(|inner| computed(inner, budget))
                .transpose()?
            else {
                return Ok(None);
            };
            Ok(Some(Expression::Matrix(transposed(&rows))))
        }
        Expression::Matrix(_) => Ok(Some(expression.clone())),
        other => Ok((!has_matrix(other)).then(|| other.clone())),
    }
}

fn entries(expression: &Expression) -> Result<usize, MathFailure> {
    match expression {
        Expression::Matrix(rows) => {
            let entries = rows.iter().map(Vec::len).sum();
            if entries > MAX_ENTRIES {
                Err(MathFailure::TooLarge)
            } else {
                Ok(entries)
            }
        }
        _ => Ok(0),
    }
}

fn add(left: Expression, right: Expression) -> Option<Expression> {
    match (left, right) {
        (Expression::Matrix(left), Expression::Matrix(right)) => {
            if left.len() != right.len() || left[0].len() != right[0].len() {
                return None;
            }
            let rows = left.into_iter().zip(right).map(|(left, right)| {
                let pairs = left.into_iter().zip(right);
                pairs
                    .map(|(left, right)| Expression::sum(vec![left, right]))
                    .collect()
            });
            Some(Expression::Matrix(rows.collect()))
        }
        (Expression::Matrix(_), _) | (_, Expression::Matrix(_)) => None,
        (left, right) => Some(Expression::sum(vec![left, right])),
    }
}

fn multiply(left: Expression, right: Expression) -> Option<Expression> {
    match (left, right) {
        (Expression::Matrix(left), Expression::Matrix(right)) => {
            if left[0].len() != right.len() {
                return None;
            }
            let columns = transposed(&right);
            let dot = |row: &Vec<Expression>, column: &Vec<Expression>| {
                let products = row.iter().zip(column);
                let products =
                    products.map(|(a, b)| Expression::product(vec![a.clone(), b.clone()]));
                Expression::sum(products.collect())
            };
            let rows = left
                .iter()
                .map(|row| columns.iter().map(|column| dot(row, column)).collect());
            Some(Expression::Matrix(rows.collect()))
        }
        (Expression::Matrix(rows), factor) | (factor, Expression::Matrix(rows)) => {
            let scaled = |entry: Expression| Expression::product(vec![factor.clone(), entry]);
            let rows = rows
                .into_iter()
                .map(|row| row.into_iter().map(scaled).collect());
            Some(Expression::Matrix(rows.collect()))
        }
        (left, right) => Some(Expression::product(vec![left, right])),
    }
}

fn transposed(rows: &Rows) -> Rows {
    let width = rows.first().map_or(0, Vec::len);
    (0..width)
        .map(|column| rows.iter().map(|row| row[column].clone()).collect())
        .collect()
}

/// Laplace's expansion along the first row of a square matrix.
fn determinant(rows: &[Vec<Expression>]) -> Expression {
    let [first, rest @ ..] = rows else {
        return Expression::integer(1);
    };
    let terms = first.iter().enumerate().map(|(column, entry)| {
        let minor: Rows = rest
            .iter()
            .map(|row| {
                let kept = row.iter().enumerate().filter(|(place, _)| *place != column);
                kept.map(|(_, entry)| entry.clone()).collect()
            })
            .collect();
        let term = Expression::product(vec![entry.clone(), determinant(&minor)]);
        if column % 2 == 0 {
            term
        } else {
            term.negated()
        }
    });
    Expression::sum(terms.collect())
}
