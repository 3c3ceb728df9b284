//! What an answer says, as a tree.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

/// Longest set in which repetitions are looked for; a longer one is never compared.
const MAX_DISTINCT: usize = 100;

/// A parsed answer or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    /// A whole number or a quotient of two.
    Number(BigRational),
    /// A number written with a decimal point. Its last digits may be rounded, so it compares less strictly.
    Decimal(BigRational),
    /// So many hundredths.
    Percent(Box<Expression>),
    Constant(Constant),
    /// A variable, or a piece of text such as `\text{yes}`, in lower case and without blanks.
    Symbol(String),
    Sum(Vec<Expression>),
    Product(Vec<Expression>),
    Power(Box<Expression>, Box<Expression>),
    Function(Function, Vec<Expression>),
    /// A function of the task, such as `f(x)`.
    Apply(String, Vec<Expression>),
    /// `first ∘ next ∘ …`
    Relation(Box<Expression>, Vec<(Comparison, Expression)>),
    Tuple(Vec<Expression>),
    /// A finite set, or an unordered list.
    Set(Vec<Expression>),
    Interval(Box<Interval>),
    Union(Vec<Expression>),
    Intersection(Vec<Expression>),
    /// The first set without the second.
    Difference(Box<[Expression; 2]>),
    NamedSet(NamedSet),
    /// Rows of equal length.
    Matrix(Vec<Vec<Expression>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Constant {
    Pi,
    E,
    ImaginaryUnit,
    Infinity,
}

/// Functions with a known value. `Log` takes the argument and the base, `Mod`, `Binomial` both operands in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Function {
    Sin,
    Cos,
    Tan,
    Csc,
    Sec,
    Cot,
    Arcsin,
    Arccos,
    Arctan,
    Arccsc,
    Arcsec,
    Arccot,
    Sinh,
    Cosh,
    Tanh,
    Arsinh,
    Arcosh,
    Artanh,
    Log,
    Abs,
    Floor,
    Ceil,
    Factorial,
    Binomial,
    Mod,
    Gcd,
    Lcm,
    Max,
    Min,
    Determinant,
    Transpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The same statement with its sides exchanged.
    pub(super) fn flipped(self) -> Self {
        match self {
            Self::Equal | Self::NotEqual => self,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Interval {
    pub(super) start: Expression,
    pub(super) end: Expression,
    pub(super) open_start: bool,
    pub(super) open_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedSet {
    Empty,
    Naturals,
    Integers,
    Rationals,
    Reals,
    Complexes,
}

impl Expression {
    pub(super) fn integer(value: i64) -> Self {
        Self::Number(BigRational::from_integer(BigInt::from(value)))
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::Number(value) => Self::Number(-value),
            Self::Decimal(value) => Self::Decimal(-value),
            other => Self::product(vec![Self::integer(-1), other]),
        }
    }

    pub(super) fn power(base: Self, exponent: Self) -> Self {
        Self::Power(Box::new(base), Box::new(exponent))
    }

    /// `numerator / denominator`, a number when both are whole and the second is not 0.
    pub(super) fn quotient(numerator: Self, denominator: Self) -> Self {
        match (&numerator, &denominator) {
            // Only whole ones: a long chain of quotients must not make ever longer numbers.
            (Self::Number(a), Self::Number(b))
                if a.is_integer() && b.is_integer() && !b.is_zero() =>
            {
                Self::Number(a / b)
            }
            _ => Self::product(vec![numerator, Self::power(denominator, Self::integer(-1))]),
        }
    }

    /// A product without products directly in it.
    pub(super) fn product(factors: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(factors.len());
        for factor in factors {
            match factor {
                Self::Product(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        match flat.len() {
            1 => flat.swap_remove(0),
            _ => Self::Product(flat),
        }
    }

    /// A set: what is written twice counts once.
    pub(super) fn set(elements: Vec<Self>) -> Self {
        let mut distinct: Vec<Self> = Vec::with_capacity(elements.len());
        for element in elements {
            if distinct.len() > MAX_DISTINCT || !distinct.contains(&element) {
                distinct.push(element);
            }
        }
        Self::Set(distinct)
    }

    /// A sum without sums directly in it.
    pub(super) fn sum(terms: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(terms.len());
        for term in terms {
            match term {
                Self::Sum(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        match flat.len() {
            1 => flat.swap_remove(0),
            _ => Self::Sum(flat),
        }
    }

    pub(super) fn difference(left: Self, right: Self) -> Self {
        Self::sum(vec![left, right.negated()])
    }

    /// Whether this is one whole number of at least 0, as it is written.
    pub(super) fn is_whole_number(&self) -> bool {
        matches!(self, Self::Number(value) if value.is_integer() && !value.is_negative())
    }

    /// Whether this is a set, a list or a point.
    pub(super) fn is_collection(&self) -> bool {
        matches!(
            self,
            Self::Tuple(_)
                | Self::Set(_)
                | Self::Interval(_)
                | Self::Union(_)
                | Self::Intersection(_)
                | Self::Difference(_)
                | Self::NamedSet(_)
        )
    }

    /// Whether nothing but symbols stands in it: what an assignment has on its left.
    pub(super) fn is_only_symbols(&self) -> bool {
        match self {
            Self::Symbol(_) => true,
            // A quotient of symbols, such as A/S.
            Self::Power(base, exponent) => {
                base.is_only_symbols()
                    && (exponent.is_only_symbols()
                        || matches!(&**exponent, Self::Number(value) if (-value).is_one()))
            }
            Self::Sum(parts)
            | Self::Product(parts)
            | Self::Apply(_, parts)
            | Self::Tuple(parts) => parts.iter().all(Self::is_only_symbols),
            // A point looks like an interval: (x, y) = (2, 3).
            Self::Interval(ends) => ends.start.is_only_symbols() && ends.end.is_only_symbols(),
            _ => false,
        }
    }

    /// Calls `visit` with this and every part of it.
    pub(super) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        match self {
            Self::Number(_)
            | Self::Decimal(_)
            | Self::Constant(_)
            | Self::Symbol(_)
            | Self::NamedSet(_) => {}
            Self::Percent(inner) => inner.walk(visit),
            Self::Power(base, exponent) => {
                base.walk(visit);
                exponent.walk(visit);
            }
            Self::Sum(parts)
            | Self::Product(parts)
            | Self::Function(_, parts)
            | Self::Apply(_, parts)
            | Self::Tuple(parts)
            | Self::Set(parts)
            | Self::Union(parts)
            | Self::Intersection(parts) => parts.iter().for_each(|part| part.walk(visit)),
            Self::Difference(parts) => parts.iter().for_each(|part| part.walk(visit)),
            Self::Relation(first, rest) => {
                first.walk(visit);
                rest.iter().for_each(|(_, side)| side.walk(visit));
            }
            Self::Interval(interval) => {
                interval.start.walk(visit);
                interval.end.walk(visit);
            }
            Self::Matrix(rows) => rows.iter().flatten().for_each(|part| part.walk(visit)),
        }
    }

    /// A copy with every part that `change` gives another for replaced.
    pub(super) fn map(&self, change: &mut impl FnMut(&Self) -> Option<Self>) -> Self {
        if let Some(changed) = change(self) {
            return changed;
        }
        let mut all = |parts: &[Self]| {
            parts
                .iter()
                .map(|part| part.map(change))
                .collect::<Vec<_>>()
        };
        match self {
            Self::Number(_)
            | Self::Decimal(_)
            | Self::Constant(_)
            | Self::Symbol(_)
            | Self::NamedSet(_) => self.clone(),
            Self::Percent(inner) => Self::Percent(Box::new(inner.map(change))),
            Self::Sum(parts) => Self::Sum(all(parts)),
            Self::Product(parts) => Self::Product(all(parts)),
            Self::Power(base, exponent) => Self::power(base.map(change), exponent.map(change)),
            Self::Function(function, parts) => Self::Function(*function, all(parts)),
            Self::Apply(name, parts) => Self::Apply(name.clone(), all(parts)),
            Self::Tuple(parts) => Self::Tuple(all(parts)),
            Self::Set(parts) => Self::Set(all(parts)),
            Self::Union(parts) => Self::Union(all(parts)),
            Self::Intersection(parts) => Self::Intersection(all(parts)),
            Self::Difference(parts) => {
                Self::Difference(Box::new([parts[0].map(change), parts[1].map(change)]))
            }
            Self::Relation(first, rest) => Self::Relation(
                Box::new(first.map(change)),
                rest.iter()
                    .map(|(comparison, side)| (*comparison, side.map(change)))
                    .collect(),
            ),
            Self::Interval(interval) => Self::Interval(Box::new(Interval {
                start: interval.start.map(change),
                end: interval.end.map(change),
                ..**interval
            })),
            Self::Matrix(rows) => Self::Matrix(rows.iter().map(|row| all(row)).collect()),
        }
    }
}
