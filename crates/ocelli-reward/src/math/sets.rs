//! Sets of real numbers as unions of intervals.

use super::MathFailure;
use super::budget::Budget;
use super::compare::{Comparer, machine_value};
use super::expression::{Comparison, Constant, Expression, Interval, NamedSet};

/// Most pieces of one set.
const MAX_PIECES: usize = 64;

/// Ends closer than this, relative to their size, are one point.
const CLOSE: f64 = 1e-12;

/// An end of a piece: where it is, whether it is left out, and how it was written.
#[derive(Clone, Copy)]
struct End<'e> {
    at: f64,
    open: bool,
    written: Option<&'e Expression>,
}

/// All numbers from one end to the other.
#[derive(Clone, Copy)]
struct Piece<'e> {
    start: End<'e>,
    end: End<'e>,
}

/// Whether two unions, intersections and differences of intervals and points are the same set; `None` when one is
/// not made of these.
pub(super) fn equal(
    left: &Expression,
    right: &Expression,
    comparer: &Comparer<'_>,
) -> Result<Option<bool>, MathFailure> {
    let (Some(left), Some(right)) = (
        pieces(left, comparer.budget)?,
        pieces(right, comparer.budget)?,
    ) else {
        return Ok(None);
    };
    if left.len() != right.len() {
        return Ok(Some(false));
    }
    for (left, right) in left.iter().zip(&right) {
        for (a, b) in [(left.start, right.start), (left.end, right.end)] {
            let same = a.open == b.open
                && match (a.written, b.written) {
                    (Some(a), Some(b)) => comparer.equal(a, b)?,
                    _ => a.at == b.at,
                };
            if !same {
                return Ok(Some(false));
            }
        }
    }
    Ok(Some(true))
}

/// Where a number stands on the real line, infinite ends included.
pub(super) fn bound(expression: &Expression, budget: &Budget) -> Option<f64> {
    machine_value(expression, budget)
}

/// The interval that an inequality or a chain of them describes: a variable against values without variables.
pub(super) fn solution(relation: &Expression) -> Option<Expression> {
    let Expression::Relation(first, rest) = relation else {
        return None;
    };
    let mut interval = Interval {
        start: Expression::Constant(Constant::Infinity).negated(),
        end: Expression::Constant(Constant::Infinity),
        open_start: true,
        open_end: true,
    };
    let is_name = |side: &Expression| matches!(side, Expression::Symbol(_) | Expression::Apply(..));
    let mut name = None;
    let mut left = &**first;
    for (comparison, right) in rest {
        let (variable, comparison, value) = match (is_name(left), is_name(right)) {
            (true, false) => (left, *comparison, right),
            (false, true) => (right, comparison.flipped(), left),
            _ => return None,
        };
        if *name.get_or_insert(variable) != variable {
            return None;
        }
        match comparison {
            Comparison::Less | Comparison::LessOrEqual => {
                interval.end = value.clone();
                interval.open_end = comparison == Comparison::Less;
            }
            Comparison::Greater | Comparison::GreaterOrEqual => {
                interval.start = value.clone();
                interval.open_start = comparison == Comparison::Greater;
            }
            Comparison::NotEqual if rest.len() == 1 => {
                let reals = Expression::NamedSet(NamedSet::Reals);
                return Some(Expression::Difference(Box::new([
                    reals,
                    Expression::Set(vec![value.clone()]),
                ])));
            }
            _ => return None,
        }
        left = right;
    }
    Some(Expression::Interval(Box::new(interval)))
}

fn infinite(at: f64) -> End<'static> {
    End {
        at,
        open: true,
        written: None,
    }
}

/// Sorted pieces that do not touch; `None` for what is not a set of real numbers with known ends.
fn pieces<'e>(set: &'e Expression, budget: &Budget) -> Result<Option<Vec<Piece<'e>>>, MathFailure> {
    budget.spend(1)?;
    let found = match set {
        Expression::NamedSet(NamedSet::Empty) => Vec::new(),
        Expression::NamedSet(NamedSet::Reals) => vec![Piece {
            start: infinite(f64::NEG_INFINITY),
            end: infinite(f64::INFINITY),
        }],
        Expression::Interval(interval) => {
            let (Some(start), Some(end)) = (
                end(&interval.start, interval.open_start, budget),
                end(&interval.end, interval.open_end, budget),
            ) else {
                return Ok(None);
            };
            vec![Piece { start, end }]
        }
        Expression::Set(elements) => {
            let mut points = Vec::with_capacity(elements.len());
            for element in elements {
                let Some(end) = end(element, false, budget).filter(|end| end.at.is_finite()) else {
                    return Ok(None);
                };
                points.push(Piece { start: end, end });
            }
            points
        }
        Expression::Union(parts) => {
            let mut all = Vec::new();
            for part in parts {
                match pieces(part, budget)? {
                    Some(found) => all.extend(found),
                    None => return Ok(None),
                }
            }
            all
        }
        Expression::Intersection(parts) => {
            let mut common: Option<Vec<Piece<'e>>> = None;
            for part in parts {
                let Some(found) = pieces(part, budget)? else {
                    return Ok(None);
                };
                common = Some(match common {
                    None => found,
                    Some(before) => intersection(&before, &found, budget)?,
                });
            }
            common.unwrap_or_default()
        }
        Expression::Difference(sides) => {
            let (Some(whole), Some(removed)) =
                (pieces(&sides[0], budget)?, pieces(&sides[1], budget)?)
            else {
                return Ok(None);
            };
            intersection(&whole, &complement(&removed), budget)?
        }
        _ => return Ok(None),
    };
    if found.len() > MAX_PIECES {
        return Err(MathFailure::TooLarge);
    }
    budget.spend(found.len())?;
    Ok(Some(merged(found)))
}

fn end<'e>(written: &'e Expression, open: bool, budget: &Budget) -> Option<End<'e>> {
    let at = machine_value(written, budget).filter(|at| !at.is_nan())?;
    if at.is_infinite() {
        return Some(infinite(at));
    }
    Some(End {
        at,
        open,
        written: Some(written),
    })
}

fn same(a: f64, b: f64) -> bool {
    a == b
        || (a.is_finite()
            && b.is_finite()
            && (a - b).abs() <= CLOSE * a.abs().max(b.abs()).max(1.0))
}

fn is_empty(piece: &Piece<'_>) -> bool {
    if same(piece.start.at, piece.end.at) {
        piece.start.open || piece.end.open
    } else {
        piece.start.at > piece.end.at
    }
}

/// In ascending order, with touching pieces joined.
fn merged(mut pieces: Vec<Piece<'_>>) -> Vec<Piece<'_>> {
    pieces.retain(|piece| !is_empty(piece));
    pieces.sort_by(|a, b| {
        a.start
            .at
            .total_cmp(&b.start.at)
            .then(a.start.open.cmp(&b.start.open))
    });
    let mut joined: Vec<Piece<'_>> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if touches(last, &piece) => {
                if same(piece.start.at, last.start.at) {
                    last.start.open &= piece.start.open;
                }
                if same(piece.end.at, last.end.at) {
                    last.end.open &= piece.end.open;
                } else if piece.end.at > last.end.at {
                    last.end = piece.end;
                }
            }
            _ => joined.push(piece),
        }
    }
    joined
}

/// Whether nothing lies between a piece and a later one.
fn touches(first: &Piece<'_>, second: &Piece<'_>) -> bool {
    if same(first.end.at, second.start.at) {
        !(first.end.open && second.start.open)
    } else {
        second.start.at < first.end.at
    }
}

fn intersection<'e>(
    left: &[Piece<'e>],
    right: &[Piece<'e>],
    budget: &Budget,
) -> Result<Vec<Piece<'e>>, MathFailure> {
    budget.spend(left.len() * right.len())?;
    let mut common = Vec::new();
    for a in left {
        for b in right {
            let start = inner(a.start, b.start, a.start.at > b.start.at);
            let end = inner(a.end, b.end, a.end.at < b.end.at);
            common.push(Piece { start, end });
        }
    }
    Ok(merged(common))
}

/// The end that cuts off more.
fn inner<'e>(a: End<'e>, b: End<'e>, first_is_inner: bool) -> End<'e> {
    if same(a.at, b.at) {
        End {
            open: a.open || b.open,
            ..a
        }
    } else if first_is_inner {
        a
    } else {
        b
    }
}

/// What sorted pieces leave of the real line.
fn complement<'e>(pieces: &[Piece<'e>]) -> Vec<Piece<'e>> {
    let mut gaps = Vec::with_capacity(pieces.len() + 1);
    let mut start = infinite(f64::NEG_INFINITY);
    for piece in pieces {
        gaps.push(Piece {
            start,
            end: End {
                open: !piece.start.open,
                ..piece.start
            },
        });
        start = End {
            open: !piece.end.open,
            ..piece.end
        };
    }
    gaps.push(Piece {
        start,
        end: infinite(f64::INFINITY),
    });
    gaps.retain(|gap| gap.start.at < f64::INFINITY && gap.end.at > f64::NEG_INFINITY);
    merged(gaps)
}
