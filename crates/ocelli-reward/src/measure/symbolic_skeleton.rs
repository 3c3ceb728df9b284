//! How alike two formulas are in their terms, whatever their numbers: the structural reward of VIPER-R1.
//!
//! A formula is brought to a normal form as sympy does on reading (like terms and equal factors are joined, numbers are
//! multiplied into sums, products of sums stay), then split into its terms. In each term numbers become their sign and
//! every symbol that is not a variable becomes 1. The score is the Jaccard index of the two sets of such skeletons.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::error::MeasureError;

/// A formula, as the reader of texts hands it over. `a − b` is `a + (−1) · b` and `a / b` is `a · b⁻¹`.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Number(f64),
    Symbol(String),
    Sum(Vec<Expression>),
    Product(Vec<Expression>),
    Power(Box<Expression>, Box<Expression>),
    Function(String, Vec<Expression>),
}

/// What becomes of a number in an exponent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exponents {
    /// It stays, so `x³` is not `x`.
    #[default]
    Kept,
    /// It becomes its sign as any number does: VIPER-R1's released code, for which `x³` is `x`.
    Sign,
}

/// Deepest nesting of a formula.
const MAX_DEPTH: usize = 64;
/// Most numbers, symbols and operations of a formula.
const MAX_SIZE: usize = 4096;

/// Jaccard index of the skeletons of the terms, in `[0, 1]`. `variables` are the symbols that stay; VIPER-R1's are x, v
/// and t.
///
/// # Errors
/// A formula that is nested deeper than 64 levels or has more than 4,096 parts.
pub fn skeleton_similarity(
    predicted: &Expression,
    gold: &Expression,
    variables: &[&str],
    exponents: Exponents,
) -> Result<f64, MeasureError> {
    let skeleton = Skeleton {
        variables,
        exponents,
    };
    let (predicted, gold) = (skeleton.terms(predicted)?, skeleton.terms(gold)?);
    // A sum has at least the term 0, so the union is not empty.
    let shared = predicted.intersection(&gold).count();
    Ok(shared as f64 / predicted.union(&gold).count() as f64)
}

/// A number with a total order; −0 is 0.
#[derive(Clone, Copy, Debug)]
struct Number(f64);

impl Number {
    fn ordered(self) -> f64 {
        self.0 + 0.0
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.ordered().total_cmp(&other.ordered())
    }
}

/// What a factor is a power of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Base {
    Symbol(String),
    Function(String, Vec<Form>),
    /// A sum of several terms.
    Group(Form),
    /// A power whose exponent is not a number, or whose base is a number without an exact power.
    Power(Form, Form),
}

/// A product of powers with numbers as exponents, none of them 0.
type Monomial = BTreeMap<Base, Number>;

/// A sum of monomials with their coefficients, none of them 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Form(BTreeMap<Monomial, Number>);

impl Form {
    fn number(value: f64) -> Self {
        Self::term(Monomial::new(), value)
    }

    fn of(base: Base) -> Self {
        Self::term(Monomial::from([(base, Number(1.0))]), 1.0)
    }

    fn term(monomial: Monomial, coefficient: f64) -> Self {
        let mut form = Self::default();
        form.add(monomial, coefficient);
        form
    }

    fn add(&mut self, monomial: Monomial, coefficient: f64) {
        let sum = self.0.get(&monomial).map_or(0.0, |before| before.0) + coefficient;
        if sum == 0.0 {
            self.0.remove(&monomial);
        } else {
            self.0.insert(monomial, Number(sum));
        }
    }

    /// The number, if it is one.
    fn as_number(&self) -> Option<f64> {
        match self.as_term() {
            Some((monomial, coefficient)) if monomial.is_empty() => Some(coefficient),
            None if self.0.is_empty() => Some(0.0),
            _ => None,
        }
    }

    /// The only term, if there is one only.
    fn as_term(&self) -> Option<(&Monomial, f64)> {
        let mut terms = self.0.iter();
        let (monomial, coefficient) = terms.next()?;
        terms.next().is_none().then_some((monomial, coefficient.0))
    }

    /// A sum as one factor.
    fn grouped(&self) -> (Monomial, f64) {
        match self.as_term() {
            Some((monomial, coefficient)) => (monomial.clone(), coefficient),
            None => (
                Monomial::from([(Base::Group(self.clone()), Number(1.0))]),
                1.0,
            ),
        }
    }

    /// Whether all coefficients are below 0.
    fn is_negative(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|coefficient| coefficient.0 < 0.0)
    }

    fn scaled(mut self, factor: f64) -> Self {
        if factor == 0.0 {
            return Self::default();
        }
        for coefficient in self.0.values_mut() {
            coefficient.0 *= factor;
        }
        self
    }

    fn sum(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut sum = Self::default();
        for part in parts {
            for (monomial, coefficient) in part.0 {
                sum.add(monomial, coefficient.0);
            }
        }
        sum
    }

    fn product(parts: &[Self]) -> Self {
        let mut number = 1.0;
        let mut others = Vec::new();
        for part in parts {
            match part.as_number() {
                Some(value) => number *= value,
                None => others.push(part),
            }
        }
        // A number is multiplied into a sum that stands alone.
        if let [only] = others.as_slice() {
            return (*only).clone().scaled(number);
        }
        let mut product = Monomial::new();
        for part in others {
            let (monomial, coefficient) = part.grouped();
            number *= coefficient;
            for (base, exponent) in monomial {
                let sum = product.get(&base).map_or(0.0, |before: &Number| before.0) + exponent.0;
                if sum == 0.0 {
                    product.remove(&base);
                } else {
                    product.insert(base, Number(sum));
                }
            }
        }
        Self::term(product, number)
    }

    fn power(base: Self, exponent: &Self) -> Self {
        let Some(power) = exponent.as_number() else {
            return Self::of(Base::Power(base, exponent.clone()));
        };
        if power == 0.0 {
            return Self::number(1.0);
        }
        if power == 1.0 {
            return base;
        }
        let (monomial, coefficient) = base.grouped();
        let raised = coefficient.powf(power);
        // (x²)^½ is not x, and (−2)^½ is no number.
        let exact =
            power.fract() == 0.0 || (coefficient == 1.0 && monomial.values().all(|e| e.0 == 1.0));
        if !exact || !raised.is_finite() || base.0.is_empty() {
            return Self::of(Base::Power(base, exponent.clone()));
        }
        let raise = |(base, exponent): (Base, Number)| (base, Number(exponent.0 * power));
        Self::term(monomial.into_iter().map(raise).collect(), raised)
    }

    /// sin and tan of a negative sum are turned into their opposite, cos into that of the positive sum.
    fn function(name: &str, arguments: Vec<Self>) -> Self {
        let turned = |mut arguments: Vec<Self>| {
            let argument = arguments.pop().unwrap_or_default();
            Self::of(Base::Function(name.to_owned(), vec![argument.scaled(-1.0)]))
        };
        match (name, arguments.as_slice()) {
            ("sin" | "tan", [only]) if only.is_negative() => turned(arguments).scaled(-1.0),
            ("sin" | "tan", [only]) if only.0.is_empty() => Self::default(),
            ("cos", [only]) if only.is_negative() => turned(arguments),
            ("cos" | "exp", [only]) if only.0.is_empty() => Self::number(1.0),
            _ => Self::of(Base::Function(name.to_owned(), arguments)),
        }
    }
}

/// The normal form; counts the parts down.
fn normal_form(
    expression: &Expression,
    depth: usize,
    left: &mut usize,
) -> Result<Form, MeasureError> {
    if depth > MAX_DEPTH || *left == 0 {
        return Err(MeasureError::TooLarge {
            what: "a formula",
            rows: depth,
            columns: MAX_SIZE - *left,
            limit: MAX_SIZE,
        });
    }
    *left -= 1;
    let mut forms = |list: &[Expression]| -> Result<Vec<Form>, MeasureError> {
        list.iter()
            .map(|part| normal_form(part, depth + 1, left))
            .collect()
    };
    Ok(match expression {
        Expression::Number(value) => Form::number(*value),
        Expression::Symbol(name) => Form::of(Base::Symbol(name.clone())),
        Expression::Sum(parts) => Form::sum(forms(parts)?),
        Expression::Product(parts) => Form::product(&forms(parts)?),
        Expression::Power(base, exponent) => {
            let base = forms(std::slice::from_ref(base))?.remove(0);
            Form::power(base, &forms(std::slice::from_ref(exponent))?[0])
        }
        Expression::Function(name, arguments) => Form::function(name, forms(arguments)?),
    })
}

struct Skeleton<'a> {
    variables: &'a [&'a str],
    exponents: Exponents,
}

impl Skeleton<'_> {
    fn terms(&self, expression: &Expression) -> Result<BTreeSet<Form>, MeasureError> {
        let form = normal_form(expression, 0, &mut MAX_SIZE.clone())?;
        if form.0.is_empty() {
            return Ok(BTreeSet::from([form]));
        }
        let terms = form.0.iter();
        Ok(terms
            .map(|(monomial, coefficient)| self.of_term(monomial, *coefficient))
            .collect())
    }

    fn of_form(&self, form: &Form) -> Form {
        let terms = form.0.iter();
        Form::sum(terms.map(|(monomial, coefficient)| self.of_term(monomial, *coefficient)))
    }

    fn of_term(&self, monomial: &Monomial, coefficient: Number) -> Form {
        let mut parts = vec![Form::number(sign(coefficient.0))];
        parts.extend(monomial.iter().map(|(base, exponent)| {
            let exponent = match self.exponents {
                Exponents::Kept => exponent.0,
                Exponents::Sign => sign(exponent.0),
            };
            Form::power(self.of_base(base), &Form::number(exponent))
        }));
        Form::product(&parts)
    }

    fn of_base(&self, base: &Base) -> Form {
        match base {
            Base::Symbol(name) if self.variables.contains(&name.as_str()) => Form::of(base.clone()),
            Base::Symbol(_) => Form::number(1.0),
            Base::Function(name, arguments) => {
                Form::function(name, arguments.iter().map(|a| self.of_form(a)).collect())
            }
            Base::Group(form) => self.of_form(form),
            Base::Power(base, exponent) => {
                let exponent = match (self.exponents, exponent.as_number()) {
                    (Exponents::Kept, Some(_)) => exponent.clone(),
                    _ => self.of_form(exponent),
                };
                Form::power(self.of_form(base), &exponent)
            }
        }
    }
}

/// −1, 0 or 1; 0 for NaN.
fn sign(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: f64) -> Expression {
        Expression::Number(value)
    }

    fn product(number_: f64, symbols: &[&str]) -> Expression {
        let symbols = symbols
            .iter()
            .map(|name| Expression::Symbol((*name).to_owned()));
        Expression::Product(std::iter::once(number(number_)).chain(symbols).collect())
    }

    fn similarity(predicted: &[Expression], gold: &[Expression], exponents: Exponents) -> f64 {
        let (predicted, gold) = (predicted.to_vec(), gold.to_vec());
        let sum = Expression::Sum;
        skeleton_similarity(&sum(predicted), &sum(gold), &["x", "v", "t"], exponents).unwrap()
    }

    fn cube(name: &str) -> Expression {
        Expression::Power(
            Box::new(Expression::Symbol(name.to_owned())),
            Box::new(number(3.0)),
        )
    }

    #[test]
    fn viper_r1_worked_examples() {
        let spring = product(-1.0, &["k", "x"]);
        let drag = product(-1.0, &["c", "v"]);
        let drive = Expression::Product(vec![
            Expression::Symbol("F".to_owned()),
            Expression::Function("cos".to_owned(), vec![product(1.0, &["omega", "t"])]),
        ]);
        let bump = Expression::Product(vec![product(-1.0, &["beta"]), cube("x")]);
        let kept = |a: &[Expression], b: &[Expression]| similarity(a, b, Exponents::Kept);
        assert_eq!(
            kept(
                std::slice::from_ref(&spring),
                &[spring.clone(), drag.clone()]
            ),
            0.5
        );
        assert_eq!(
            kept(&[product(-2.0, &["k", "x"])], std::slice::from_ref(&spring)),
            1.0
        );
        let three = [spring.clone(), drag.clone(), drive];
        assert_eq!(kept(&three, &three[..2]), 2.0 / 3.0);
        // The released code cannot tell x³ from x.
        let duffing = [spring.clone(), bump];
        assert_eq!(kept(&duffing, std::slice::from_ref(&spring)), 0.5);
        assert_eq!(
            similarity(&duffing, std::slice::from_ref(&spring), Exponents::Sign),
            1.0
        );
    }

    #[test]
    fn signs_and_places_matter_and_order_does_not() {
        let kept = |a: &[Expression], b: &[Expression]| similarity(a, b, Exponents::Kept);
        let (spring, drag) = (product(-1.0, &["k", "x"]), product(-1.0, &["c", "v"]));
        assert_eq!(
            kept(&[product(1.0, &["k", "x"])], std::slice::from_ref(&spring)),
            0.0
        );
        assert_eq!(
            kept(&[spring.clone(), drag.clone()], &[drag, spring.clone()]),
            1.0
        );
        assert_eq!(
            kept(&[product(-1.0, &["x", "k"])], std::slice::from_ref(&spring)),
            1.0
        );
        // k x − k x is 0, and nothing is like it but 0.
        let nothing = [product(1.0, &["k", "x"]), spring.clone()];
        assert_eq!(kept(&nothing, &[spring]), 0.0);
        assert_eq!(kept(&nothing, &[]), 1.0);
    }

    #[test]
    fn deep_and_long_formulas_are_refused() {
        let mut deep = number(1.0);
        for _ in 0..100 {
            deep = Expression::Sum(vec![deep]);
        }
        let long = Expression::Sum(vec![number(1.0); 5000]);
        for formula in [deep, long] {
            let result = skeleton_similarity(&formula, &number(1.0), &[], Exponents::Kept);
            assert!(matches!(result, Err(MeasureError::TooLarge { .. })));
        }
    }

    #[test]
    fn odd_numbers_are_no_panic() {
        for value in [f64::NAN, f64::INFINITY, -0.0, 0.0, 1e308] {
            let power = Expression::Power(Box::new(number(value)), Box::new(number(value)));
            let found = skeleton_similarity(&power, &power, &[], Exponents::Kept);
            assert_eq!(found, Ok(1.0), "{value}");
        }
    }
}
