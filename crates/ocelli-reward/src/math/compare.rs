//! Whether an answer says what the gold answer says: the rules of `math_verify.verify`.

use num_traits::{One, Signed};

use super::budget::Budget;
use super::equality::{self, approximation, rounded};
use super::expression::{Comparison, Constant, Expression, Function, Interval};
use super::matrix::without_matrix_arithmetic;
use super::sets;
use super::{MathFailure, Options};

/// Most elements of a set or list that is compared.
const MAX_ELEMENTS: usize = 100;

type Verdict = Result<bool, MathFailure>;

/// One comparison with its settings and what it may still spend.
pub(super) struct Comparer<'a> {
    pub(super) options: &'a Options,
    pub(super) budget: &'a Budget,
}

impl Comparer<'_> {
    /// Whether `answer` is `gold`.
    ///
    /// The two do not have equal rights: where one is an equation and the other a value, the form of `gold` rules.
    ///
    /// # Errors
    /// [`MathFailure::OverBudget`] or [`MathFailure::TooLarge`].
    pub(super) fn equal(&self, gold: &Expression, answer: &Expression) -> Verdict {
        self.budget.spend(1)?;
        if !self.options.strict
            && let Some(renamed) = with_names_of(gold, answer)
        {
            return self.equal_as_named(gold, &renamed);
        }
        self.equal_as_named(gold, answer)
    }

    fn equal_as_named(&self, gold: &Expression, answer: &Expression) -> Verdict {
        // `x = 1 + 1 = 2` says x = 2.
        let gold_start = assignment(gold);
        let answer_start = assignment(answer);
        let mut gold = gold_start.as_ref().unwrap_or(gold);
        let mut answer = answer_start.as_ref().unwrap_or(answer);
        let (gold_value, answer_value) = (equation_value(gold), equation_value(answer));
        match (gold_value, answer_value) {
            (None, Some(value)) => answer = value,
            (Some(value), None) if gold_start.is_some() => gold = value,
            _ => {}
        }
        let gold_set = as_point(gold, self.budget).or_else(|| self.solved(gold, answer, true));
        let answer_set = as_point(answer, self.budget).or_else(|| self.solved(answer, gold, false));
        let gold = gold_set.as_ref().unwrap_or(gold);
        let answer = answer_set.as_ref().unwrap_or(answer);
        if gold == answer {
            return Ok(true);
        }
        match (gold, answer) {
            (Expression::Relation(..), Expression::Relation(..)) => {
                self.equal_relations(gold, answer)
            }
            _ if gold.is_collection() || answer.is_collection() => self.equal_sets(gold, answer),
            (Expression::Symbol(name), other) | (other, Expression::Symbol(name)) => {
                if spelled(other).is_some_and(|spelled| spelled == *name) {
                    return Ok(true);
                }
                equality::equal(gold, answer, self.budget)
            }
            (Expression::Relation(..), _) | (_, Expression::Relation(..)) => Ok(false),
            _ => self.equal_values(gold, answer),
        }
    }

    /// The set that an inequality describes, where the other side is a set: `1 < x < 2` for `(1, 2)`.
    fn solved(
        &self,
        side: &Expression,
        other: &Expression,
        side_is_gold: bool,
    ) -> Option<Expression> {
        let allowed = side_is_gold || self.options.allow_set_relation_comp;
        let is_set = other.is_collection() && !matches!(other, Expression::Tuple(_));
        if !(allowed && is_set) {
            return None;
        }
        sets::solution(side)
    }

    fn equal_values(&self, gold: &Expression, answer: &Expression) -> Verdict {
        let folded = |side: &Expression| without_matrix_arithmetic(side, self.budget);
        if let (Some(gold), Some(answer)) = (folded(gold)?, folded(answer)?) {
            return match (&gold, &answer) {
                (Expression::Matrix(gold), Expression::Matrix(answer)) => {
                    self.equal_matrices(gold, answer)
                }
                (Expression::Matrix(_), _) | (_, Expression::Matrix(_)) => Ok(false),
                _ => self.equal_scalars(&gold, &answer),
            };
        }
        Ok(false)
    }

    fn equal_matrices(&self, gold: &[Vec<Expression>], answer: &[Vec<Expression>]) -> Verdict {
        let same_shape =
            gold.len() == answer.len() && gold.iter().zip(answer).all(|(a, b)| a.len() == b.len());
        if !same_shape {
            return Ok(false);
        }
        for (gold, answer) in gold.iter().flatten().zip(answer.iter().flatten()) {
            if !self.equal_scalars(gold, answer)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Numbers, and expressions with numbers as values.
    ///
    /// A number written with a decimal point equals what rounds to the same digits. A whole number of percent equals
    /// that whole number, and so many hundredths.
    fn equal_scalars(&self, gold: &Expression, answer: &Expression) -> Verdict {
        if let Some(found) = self.infinite(gold, answer) {
            return Ok(found);
        }
        if is_decimal(gold) || is_decimal(answer) {
            let places = self.options.float_rounding;
            let gold = rounded(gold, places, self.budget);
            let answer = rounded(answer, places, self.budget);
            if gold.is_some() && gold == answer {
                return Ok(true);
            }
        } else if let (Some(gold), Some(answer)) =
            (whole_of_percent(gold), whole_of_percent(answer))
            && gold == answer
        {
            return Ok(true);
        }
        equality::equal(gold, answer, self.budget)
    }

    /// Whether two sides are infinite in the same direction, when one is infinite.
    fn infinite(&self, gold: &Expression, answer: &Expression) -> Option<bool> {
        let (gold, answer) = (direction(gold), direction(answer));
        (gold.is_some() || answer.is_some()).then_some(gold == answer)
    }

    fn equal_relations(&self, gold: &Expression, answer: &Expression) -> Verdict {
        let (gold, answer) = (links(gold), links(answer));
        if gold.len() != answer.len() {
            return Ok(false);
        }
        if self.equal_links(gold.iter(), answer.iter())? {
            return Ok(true);
        }
        // `2 > x > 1` is `1 < x < 2`.
        Ok(gold.len() > 1 && self.equal_links(gold.iter(), answer.iter().rev())?)
    }

    fn equal_links<'a, 'b>(
        &self,
        gold: impl Iterator<Item = &'a Link<'a>>,
        answer: impl Iterator<Item = &'b Link<'b>>,
    ) -> Verdict {
        for (gold, answer) in gold.zip(answer) {
            if !self.equal_link(*gold, *answer)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `a < b` and `c < d` are the same when a − b is a positive multiple of c − d.
    fn equal_link(&self, gold: Link, answer: Link) -> Verdict {
        let symmetric = matches!(gold.comparison, Comparison::Equal | Comparison::NotEqual);
        if gold.comparison != answer.comparison && gold.comparison != answer.comparison.flipped() {
            return Ok(false);
        }
        let sides = [gold.left, gold.right, answer.left, answer.right];
        if sides
            .iter()
            .any(|side| side.is_collection() || matches!(side, Expression::Relation(..)))
        {
            return Ok(gold.comparison == answer.comparison
                && self.equal(gold.left, answer.left)?
                && self.equal(gold.right, answer.right)?);
        }
        let [Some(a), Some(b), Some(c), Some(d)] =
            sides.map(|side| without_matrix_arithmetic(side, self.budget).ok().flatten())
        else {
            return Ok(false);
        };
        if gold.comparison == answer.comparison
            && self.equal_scalars(&a, &c)?
            && self.equal_scalars(&b, &d)?
        {
            return Ok(true);
        }
        let gold_difference = Expression::difference(a, b);
        let answer_difference = Expression::difference(c, d);
        if gold.comparison == answer.comparison
            && self.equal_scalars(&gold_difference, &answer_difference)?
        {
            return Ok(true);
        }
        let ratio = if symmetric {
            equality::ratio_of_zeros(&gold_difference, &answer_difference, self.budget)?
        } else {
            equality::ratio(&gold_difference, &answer_difference, self.budget)?
        };
        let Some(ratio) = ratio else {
            return Ok(false);
        };
        // Who is asked for x = 5 must not answer with the equation 2x = 10 of the question.
        if gold.is_solved() && !ratio.abs().is_one() {
            return Ok(false);
        }
        Ok(symmetric || ratio.is_positive() == (gold.comparison == answer.comparison))
    }

    fn equal_sets(&self, gold: &Expression, answer: &Expression) -> Verdict {
        match (gold, answer) {
            (Expression::Interval(gold), Expression::Interval(answer)) => {
                return Ok(gold.open_start == answer.open_start
                    && gold.open_end == answer.open_end
                    && self.equal(&gold.start, &answer.start)?
                    && self.equal(&gold.end, &answer.end)?);
            }
            (Expression::Tuple(gold), Expression::Tuple(answer)) => {
                return self.equal_in_order(gold, answer);
            }
            // An open interval is also how a point looks.
            (Expression::Interval(gold), Expression::Set(answer))
                if is_open(gold) && answer.len() == 2 =>
            {
                return self.equal_in_order(&[gold.start.clone(), gold.end.clone()], answer);
            }
            (Expression::Interval(gold), Expression::Tuple(answer))
                if is_open(gold) && answer.len() == 2 =>
            {
                return self.equal_in_order(&[gold.start.clone(), gold.end.clone()], answer);
            }
            (Expression::Tuple(gold), Expression::Interval(answer))
                if is_open(answer) && gold.len() == 2 =>
            {
                return self.equal_in_order(gold, &[answer.start.clone(), answer.end.clone()]);
            }
            (Expression::Set(gold), Expression::Interval(answer))
                if is_open(answer) && gold.len() == 2 =>
            {
                return self.equal_in_any_order(gold, &[answer.start.clone(), answer.end.clone()]);
            }
            // The elements of a gold point have an order, so those of an answered list have it too.
            (Expression::Tuple(gold), Expression::Set(answer)) => {
                return self.equal_in_order(gold, answer);
            }
            (Expression::Set(gold), Expression::Tuple(answer))
            | (Expression::Set(gold), Expression::Set(answer)) => {
                return self.equal_in_any_order(gold, answer);
            }
            _ => {}
        }
        if let Some(same) = sets::equal(gold, answer, self)? {
            return Ok(same);
        }
        match (gold, answer) {
            (Expression::Set(gold), other) if !other.is_collection() => {
                self.equal_in_any_order(gold, std::slice::from_ref(other))
            }
            (other, Expression::Set(answer)) if !other.is_collection() => {
                self.equal_in_any_order(std::slice::from_ref(other), answer)
            }
            (Expression::Union(gold), Expression::Union(answer))
            | (Expression::Intersection(gold), Expression::Intersection(answer)) => {
                self.equal_in_any_order(gold, answer)
            }
            (Expression::Difference(gold), Expression::Difference(answer)) => {
                self.equal_in_order(&gold[..], &answer[..])
            }
            _ => Ok(false),
        }
    }

    fn equal_in_order(&self, gold: &[Expression], answer: &[Expression]) -> Verdict {
        if gold.len() != answer.len() {
            return Ok(false);
        }
        for (gold, answer) in gold.iter().zip(answer) {
            if !self.equal(gold, answer)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn equal_in_any_order(&self, gold: &[Expression], answer: &[Expression]) -> Verdict {
        if gold.len() > MAX_ELEMENTS || answer.len() > MAX_ELEMENTS {
            return Err(MathFailure::TooLarge);
        }
        if gold.len() != answer.len() {
            return Ok(false);
        }
        let mut left: Vec<&Expression> = answer.iter().collect();
        for element in gold {
            let mut found = None;
            for (place, candidate) in left.iter().enumerate() {
                if self.equal(element, candidate)? {
                    found = Some(place);
                    break;
                }
            }
            match found {
                Some(place) => left.swap_remove(place),
                None => return Ok(false),
            };
        }
        Ok(true)
    }
}

/// One statement of a chain.
#[derive(Clone, Copy)]
struct Link<'a> {
    left: &'a Expression,
    comparison: Comparison,
    right: &'a Expression,
}

impl Link<'_> {
    /// Whether a name stands against a value without names.
    fn is_solved(self) -> bool {
        let is_name =
            |side: &Expression| matches!(side, Expression::Symbol(_) | Expression::Apply(..));
        is_name(self.left) && !has_name(self.right) || is_name(self.right) && !has_name(self.left)
    }
}

fn has_name(expression: &Expression) -> bool {
    let mut found = false;
    expression.walk(&mut |part| found |= matches!(part, Expression::Symbol(_)));
    found
}

/// `a < b < c` as `a < b` and `b < c`.
fn links(relation: &Expression) -> Vec<Link<'_>> {
    let Expression::Relation(first, rest) = relation else {
        return Vec::new();
    };
    let mut left = &**first;
    let mut links = Vec::with_capacity(rest.len());
    for (comparison, right) in rest {
        links.push(Link {
            left,
            comparison: *comparison,
            right,
        });
        left = right;
    }
    links
}

/// `name = … = value` as `name = value`.
fn assignment(expression: &Expression) -> Option<Expression> {
    let value = equation_value(expression)?;
    let Expression::Relation(first, _) = expression else {
        return None;
    };
    first
        .is_only_symbols()
        .then(|| Expression::Relation(first.clone(), vec![(Comparison::Equal, value.clone())]))
}

/// The last side of a chain of equations.
fn equation_value(expression: &Expression) -> Option<&Expression> {
    match expression {
        Expression::Relation(_, rest)
            if rest
                .iter()
                .all(|(comparison, _)| *comparison == Comparison::Equal) =>
        {
            rest.last().map(|(_, value)| value)
        }
        _ => None,
    }
}

/// An interval that would be empty is a point: `(3, 1)`, `[3, 1]`.
fn as_point(expression: &Expression, budget: &Budget) -> Option<Expression> {
    let Expression::Interval(interval) = expression else {
        return None;
    };
    let start = sets::bound(&interval.start, budget)?;
    let end = sets::bound(&interval.end, budget)?;
    let point = match (interval.open_start, interval.open_end) {
        (true, true) => end <= start,
        (false, false) => end < start,
        _ => false,
    };
    point.then(|| Expression::Tuple(vec![interval.start.clone(), interval.end.clone()]))
}

fn is_open(interval: &Interval) -> bool {
    interval.open_start && interval.open_end
}

fn is_decimal(expression: &Expression) -> bool {
    match expression {
        Expression::Decimal(_) => true,
        Expression::Percent(inner) => matches!(**inner, Expression::Decimal(_)),
        Expression::Product(factors) => match factors.as_slice() {
            [Expression::Number(sign), rest] => {
                sign.is_negative() && sign.is_integer() && is_decimal(rest)
            }
            _ => false,
        },
        _ => false,
    }
}

/// `9` of 9 and of 9 %.
fn whole_of_percent(expression: &Expression) -> Option<&num_rational::BigRational> {
    match expression {
        Expression::Number(value) if value.is_integer() => Some(value),
        Expression::Percent(inner) => match &**inner {
            Expression::Number(value) if value.is_integer() => Some(value),
            _ => None,
        },
        _ => None,
    }
}

/// Whether this is ∞ or −∞.
pub(super) fn direction(expression: &Expression) -> Option<f64> {
    match expression {
        Expression::Constant(Constant::Infinity) => Some(f64::INFINITY),
        Expression::Product(factors) => match factors.as_slice() {
            [
                Expression::Number(sign),
                Expression::Constant(Constant::Infinity),
            ] if sign.is_negative() => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// The word that a product of letters spells.
fn spelled(expression: &Expression) -> Option<String> {
    let letter = |part: &Expression| match part {
        Expression::Symbol(name) => Some(name.clone()),
        Expression::Constant(Constant::E) => Some("e".to_owned()),
        Expression::Constant(Constant::ImaginaryUnit) => Some("i".to_owned()),
        _ => None,
    };
    match expression {
        Expression::Product(parts) => parts.iter().map(letter).collect(),
        part => letter(part),
    }
}

/// `answer` with its variables renamed to those of `gold`, in alphabetical order, when there are as many.
fn with_names_of(gold: &Expression, answer: &Expression) -> Option<Expression> {
    let names = |side: &Expression| {
        let mut names = std::collections::BTreeSet::new();
        side.walk(&mut |part| {
            if let Expression::Symbol(name) = part {
                names.insert(name.clone());
            }
        });
        names
    };
    let (gold, of_answer) = (names(gold), names(answer));
    if gold.len() != of_answer.len() || gold == of_answer {
        return None;
    }
    let pairs = of_answer.into_iter().zip(gold).collect();
    Some(renamed(answer, &pairs))
}

fn renamed(
    expression: &Expression,
    names: &std::collections::BTreeMap<String, String>,
) -> Expression {
    expression.map(&mut |part| match part {
        Expression::Symbol(name) => names.get(name).map(|name| Expression::Symbol(name.clone())),
        _ => None,
    })
}

/// The value of an expression without variables, for ordering.
pub(super) fn machine_value(expression: &Expression, budget: &Budget) -> Option<f64> {
    direction(expression).or_else(|| approximation(expression, budget))
}

/// Whether `expression` holds a matrix.
pub(super) fn has_matrix(expression: &Expression) -> bool {
    let mut found = false;
    expression.walk(&mut |part| {
        found |= matches!(
            part,
            Expression::Matrix(_) | Expression::Function(Function::Determinant, _)
        );
    });
    found
}
