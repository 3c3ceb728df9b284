//! The normal form: a quotient of two polynomials.
//!
//! Two expressions with the same value mostly have the same normal form after cross-multiplication: all of rational
//! functions, and roots of whole numbers. What it does not know, such as `sin(π/6) = 1/2`, is left to evaluation.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::MathFailure;
use super::budget::Budget;
use super::expression::{Constant, Expression, Function};
use super::polynomial::{MAX_BITS, Polynomial, Ring, bounded, weight};

/// Largest argument of a factorial that is computed: 1,000! has 8,530 bits.
const LARGEST_FACTORIAL: u32 = 900;

/// Largest index of a root that is taken apart.
const LARGEST_INDEX: u32 = 24;

/// Largest divisor that is tried when a number is taken apart.
const LARGEST_DIVISOR: u32 = 1_000;

/// Longest name of a generator, in bytes.
const LONGEST_NAME: usize = 4_000;

/// `numerator / denominator`, the second never 0 and with leading coefficient 1.
#[derive(Clone, Debug)]
pub(super) struct Quotient {
    numerator: Polynomial,
    denominator: Polynomial,
}

/// The normal form of `expression`.
///
/// # Errors
/// [`MathFailure::Undecided`] when there is none: a set, infinity, a division by 0; [`MathFailure::TooLarge`] and
/// [`MathFailure::OverBudget`].
pub(super) fn normal(
    expression: &Expression,
    ring: &Ring,
    budget: &Budget,
) -> Result<Quotient, MathFailure> {
    budget.spend(1)?;
    match expression {
        Expression::Number(value) | Expression::Decimal(value) => {
            Ok(Quotient::constant(value.clone()))
        }
        Expression::Percent(inner) => {
            let hundredth = BigRational::new(BigInt::one(), BigInt::from(100));
            normal(inner, ring, budget)?.multiply(&Quotient::constant(hundredth), ring, budget)
        }
        Expression::Constant(Constant::Infinity) => Err(MathFailure::Undecided),
        Expression::Constant(Constant::Pi) => Ok(generator(ring, "π".to_owned())),
        Expression::Constant(Constant::E) => Ok(generator(ring, "e".to_owned())),
        Expression::Constant(Constant::ImaginaryUnit) => Ok(imaginary_unit(ring)),
        Expression::Symbol(name) => Ok(generator(ring, format!("x {name}"))),
        Expression::Sum(terms) => {
            let mut sum = Quotient::constant(BigRational::zero());
            for term in terms {
                sum = sum.add(&normal(term, ring, budget)?, ring, budget)?;
            }
            Ok(sum)
        }
        Expression::Product(factors) => {
            let mut product = Quotient::constant(BigRational::one());
            for factor in factors {
                product = product.multiply(&normal(factor, ring, budget)?, ring, budget)?;
            }
            Ok(product)
        }
        Expression::Power(base, exponent) => {
            let base = normal(base, ring, budget)?;
            let exponent = normal(exponent, ring, budget)?;
            power(&base, &exponent, ring, budget)
        }
        Expression::Function(function, arguments) => {
            let mut forms = Vec::with_capacity(arguments.len());
            for argument in arguments {
                forms.push(normal(argument, ring, budget)?);
            }
            let constants: Option<Vec<_>> = forms.iter().map(Quotient::as_constant).collect();
            if let Some(constants) = &constants {
                budget.spend(exact_cost(constants))?;
            }
            if let Some(value) = constants.and_then(|constants| exact(*function, &constants)) {
                return Ok(Quotient::constant(bounded(value)?));
            }
            match function {
                Function::Factorial => factorial(&forms[0], ring, budget),
                Function::Binomial => binomial(&forms, ring, budget),
                _ => opaque(&format!("{function:?}"), &forms, None, ring),
            }
        }
        Expression::Apply(name, arguments) => {
            let mut forms = Vec::with_capacity(arguments.len());
            for argument in arguments {
                forms.push(normal(argument, ring, budget)?);
            }
            opaque(&format!("f {name}"), &forms, None, ring)
        }
        _ => Err(MathFailure::Undecided),
    }
}

impl Quotient {
    pub(super) fn constant(value: BigRational) -> Self {
        Self {
            numerator: Polynomial::constant(value),
            denominator: Polynomial::one(),
        }
    }

    /// The value when there are no generators.
    pub(super) fn as_constant(&self) -> Option<BigRational> {
        Some(self.numerator.as_constant()? / self.denominator.as_constant()?)
    }

    /// The term without generators of a polynomial, 0 for a quotient.
    fn constant_term(&self) -> BigRational {
        match self.denominator.as_constant() {
            Some(_) => self.numerator.constant_term(),
            None => BigRational::zero(),
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.numerator.is_zero()
    }

    /// `self = c · other` for a number c that is not 0; `None` when there is none.
    pub(super) fn ratio(
        &self,
        other: &Self,
        ring: &Ring,
        budget: &Budget,
    ) -> Result<Option<BigRational>, MathFailure> {
        let left = self.numerator.multiply(&other.denominator, ring, budget)?;
        let right = other.numerator.multiply(&self.denominator, ring, budget)?;
        ratio(&left, &right, budget)
    }

    /// The same of the numerators alone.
    pub(super) fn ratio_of_numerators(
        &self,
        other: &Self,
        budget: &Budget,
    ) -> Result<Option<BigRational>, MathFailure> {
        ratio(&self.numerator, &other.numerator, budget)
    }

    pub(super) fn subtract(
        &self,
        other: &Self,
        ring: &Ring,
        budget: &Budget,
    ) -> Result<Self, MathFailure> {
        let negative = Self {
            numerator: other.numerator.scaled(&-BigRational::one(), budget)?,
            denominator: other.denominator.clone(),
        };
        self.add(&negative, ring, budget)
    }

    fn add(&self, other: &Self, ring: &Ring, budget: &Budget) -> Result<Self, MathFailure> {
        if self.denominator == other.denominator {
            return Ok(Self {
                numerator: self.numerator.add(&other.numerator, budget)?,
                denominator: self.denominator.clone(),
            });
        }
        let left = self.numerator.multiply(&other.denominator, ring, budget)?;
        let right = other.numerator.multiply(&self.denominator, ring, budget)?;
        let denominator = self
            .denominator
            .multiply(&other.denominator, ring, budget)?;
        Self::reduced(left.add(&right, budget)?, denominator, budget)
    }

    fn multiply(&self, other: &Self, ring: &Ring, budget: &Budget) -> Result<Self, MathFailure> {
        Self::reduced(
            self.numerator.multiply(&other.numerator, ring, budget)?,
            self.denominator
                .multiply(&other.denominator, ring, budget)?,
            budget,
        )
    }

    fn inverted(&self, budget: &Budget) -> Result<Self, MathFailure> {
        Self::reduced(self.denominator.clone(), self.numerator.clone(), budget)
    }

    /// With the denominator's leading coefficient moved to the numerator.
    fn reduced(
        numerator: Polynomial,
        denominator: Polynomial,
        budget: &Budget,
    ) -> Result<Self, MathFailure> {
        if denominator.is_zero() {
            return Err(MathFailure::Undecided);
        }
        let leading = denominator.leading_coefficient();
        if leading.is_one() {
            return Ok(Self {
                numerator,
                denominator,
            });
        }
        let factor = leading.recip();
        Ok(Self {
            numerator: numerator.scaled(&factor, budget)?,
            denominator: denominator.scaled(&factor, budget)?,
        })
    }

    fn integer_power(
        &self,
        exponent: i32,
        ring: &Ring,
        budget: &Budget,
    ) -> Result<Self, MathFailure> {
        let size = exponent.unsigned_abs();
        let power = Self {
            numerator: self.numerator.power(size, ring, budget)?,
            denominator: self.denominator.power(size, ring, budget)?,
        };
        if exponent < 0 {
            power.inverted(budget)
        } else {
            Ok(power)
        }
    }
}

fn ratio(
    left: &Polynomial,
    right: &Polynomial,
    budget: &Budget,
) -> Result<Option<BigRational>, MathFailure> {
    if left.is_zero() || right.is_zero() {
        return Ok(None);
    }
    let ratio = left.leading_coefficient() / right.leading_coefficient();
    Ok((*left == right.scaled(&ratio, budget)?).then_some(ratio))
}

fn generator(ring: &Ring, name: String) -> Quotient {
    Quotient {
        numerator: ring.generator(name, None),
        denominator: Polynomial::one(),
    }
}

fn imaginary_unit(ring: &Ring) -> Quotient {
    let minus_one = Polynomial::constant(-BigRational::one());
    Quotient {
        numerator: ring.generator("i".to_owned(), Some((2, minus_one))),
        denominator: Polynomial::one(),
    }
}

/// A generator for a function of these arguments.
fn opaque(
    name: &str,
    arguments: &[Quotient],
    rule: Option<(u32, Polynomial)>,
    ring: &Ring,
) -> Result<Quotient, MathFailure> {
    if !arguments
        .iter()
        .all(|argument| argument.numerator.is_short() && argument.denominator.is_short())
    {
        return Err(MathFailure::TooLarge);
    }
    let name = format!("{name}{arguments:?}");
    if name.len() > LONGEST_NAME {
        return Err(MathFailure::TooLarge);
    }
    Ok(Quotient {
        numerator: ring.generator(name, rule),
        denominator: Polynomial::one(),
    })
}

fn power(
    base: &Quotient,
    exponent: &Quotient,
    ring: &Ring,
    budget: &Budget,
) -> Result<Quotient, MathFailure> {
    let Some(ratio) = exponent.as_constant() else {
        return opaque("power", &[base.clone(), exponent.clone()], None, ring);
    };
    if let Some(whole) = ratio.is_integer().then(|| ratio.to_integer()) {
        if base.is_zero() {
            // 0^0 and 1/0 have no value.
            return if whole.is_positive() {
                Ok(base.clone())
            } else {
                Err(MathFailure::Undecided)
            };
        }
        if let Some(value) = base
            .as_constant()
            .filter(|value| value.numer().abs().is_one() && value.is_integer())
        {
            let odd = whole.is_odd();
            return Ok(Quotient::constant(if odd {
                value
            } else {
                BigRational::one()
            }));
        }
        let bits = base
            .as_constant()
            .map_or(1, |value| value.numer().bits() + value.denom().bits());
        let affordable = whole
            .to_i32()
            .filter(|small| u64::from(small.unsigned_abs()) * bits <= MAX_BITS);
        return match affordable {
            Some(small) => base.integer_power(small, ring, budget),
            None => opaque("power", &[base.clone(), exponent.clone()], None, ring),
        };
    }
    let index = ratio
        .denom()
        .to_u32()
        .filter(|index| *index <= LARGEST_INDEX);
    let (Some(index), Some(times)) = (
        index,
        ratio.numer().to_i32().filter(|times| times.abs() <= 64),
    ) else {
        return opaque("power", &[base.clone(), exponent.clone()], None, ring);
    };
    let root = match base.as_constant() {
        Some(value) => root_of_number(&value, index, ring, budget)?,
        None if base.denominator.as_constant().is_some() => opaque(
            &format!("root {index}"),
            std::slice::from_ref(base),
            Some((index, base.numerator.clone())),
            ring,
        )?,
        None => opaque(
            &format!("root {index}"),
            std::slice::from_ref(base),
            None,
            ring,
        )?,
    };
    root.integer_power(times, ring, budget)
}

/// The root of a number as a product of roots of primes, so that `√8 = 2√2` and `√6 = √2 √3`.
///
/// An odd root of a negative number is the negative one, a square root of it is imaginary.
fn root_of_number(
    value: &BigRational,
    index: u32,
    ring: &Ring,
    budget: &Budget,
) -> Result<Quotient, MathFailure> {
    if value.is_zero() {
        return Ok(Quotient::constant(BigRational::zero()));
    }
    let mut root = Quotient::constant(BigRational::one());
    if value.is_negative() {
        if index % 2 == 1 {
            root = Quotient::constant(-BigRational::one());
        } else if index == 2 {
            root = imaginary_unit(ring);
        } else {
            return opaque(
                &format!("root {index}"),
                &[Quotient::constant(value.clone())],
                None,
                ring,
            );
        }
    }
    let above = root_of_whole(&value.numer().abs(), index, ring, budget)?;
    let below = root_of_whole(value.denom(), index, ring, budget)?;
    root.multiply(&above, ring, budget)?
        .multiply(&below.inverted(budget)?, ring, budget)
}

fn root_of_whole(
    value: &BigInt,
    index: u32,
    ring: &Ring,
    budget: &Budget,
) -> Result<Quotient, MathFailure> {
    let mut root = Quotient::constant(BigRational::one());
    for (prime, times) in factors(value, budget)? {
        let whole = BigRational::from_integer(prime.pow(times / index));
        root = root.multiply(&Quotient::constant(bounded(whole)?), ring, budget)?;
        let rest = times % index;
        if rest > 0 {
            let shared = rest.gcd(&index);
            let (rest, index) = (rest / shared, index / shared);
            let rule = Polynomial::constant(BigRational::from_integer(prime.clone()));
            let surd = Quotient {
                numerator: ring.generator(format!("{index} √ {prime}"), Some((index, rule))),
                denominator: Polynomial::one(),
            };
            let rest = i32::try_from(rest).map_err(|_| MathFailure::TooLarge)?;
            root = root.multiply(&surd.integer_power(rest, ring, budget)?, ring, budget)?;
        }
    }
    Ok(root)
}

/// Prime factors with their powers; a last factor without small divisors stays whole, as its root if it is a square.
fn factors(value: &BigInt, budget: &Budget) -> Result<Vec<(BigInt, u32)>, MathFailure> {
    let mut found = Vec::new();
    let mut rest = value.clone();
    let mut divisor = 2u32;
    budget.spend(1 + value.bits() as usize / 16)?;
    while divisor <= LARGEST_DIVISOR && !rest.is_one() {
        if rest.bits() < 64 && u64::from(divisor).pow(2) > rest.to_u64().unwrap_or(u64::MAX) {
            break;
        }
        let mut times = 0;
        while (&rest % divisor).is_zero() {
            rest /= divisor;
            times += 1;
        }
        if times > 0 {
            budget.spend(times as usize)?;
            found.push((BigInt::from(divisor), times));
        }
        divisor += if divisor == 2 { 1 } else { 2 };
    }
    if !rest.is_one() {
        let root = rest.sqrt();
        if &root * &root == rest {
            found.push((root, 2));
        } else {
            found.push((rest, 1));
        }
    }
    Ok(found)
}

/// `(m + c)! = (m + c) … (m + 1) m!` where c is the whole part of the constant term, so that (n + 1)! = (n + 1) n!.
fn factorial(argument: &Quotient, ring: &Ring, budget: &Budget) -> Result<Quotient, MathFailure> {
    let shift = argument.constant_term().floor().to_integer();
    let Some(steps) = shift.to_i32().filter(|steps| steps.abs() <= 20) else {
        return opaque("Factorial", std::slice::from_ref(argument), None, ring);
    };
    let least = argument.subtract(
        &Quotient::constant(BigRational::from_integer(steps.into())),
        ring,
        budget,
    )?;
    let mut value = opaque("Factorial", std::slice::from_ref(&least), None, ring)?;
    for step in 1..=steps {
        let factor = least.add(
            &Quotient::constant(BigRational::from_integer(step.into())),
            ring,
            budget,
        )?;
        value = value.multiply(&factor, ring, budget)?;
    }
    for step in 0..-steps {
        let factor = least.add(
            &Quotient::constant(BigRational::from_integer((-step).into())),
            ring,
            budget,
        )?;
        value = value.multiply(&factor.inverted(budget)?, ring, budget)?;
    }
    Ok(value)
}

/// `n (n − 1) … (n − k + 1) / k!` for a number k.
fn binomial(arguments: &[Quotient], ring: &Ring, budget: &Budget) -> Result<Quotient, MathFailure> {
    let [n, k] = arguments else {
        return Err(MathFailure::Undecided);
    };
    let small = k
        .as_constant()
        .filter(BigRational::is_integer)
        .and_then(|k| k.to_integer().to_i64());
    let Some(times) = small.filter(|times| (0..=20).contains(times)) else {
        return opaque("Binomial", arguments, None, ring);
    };
    let mut value = Quotient::constant(BigRational::one());
    for step in 0..times {
        let factor = n.subtract(
            &Quotient::constant(BigRational::from_integer(step.into())),
            ring,
            budget,
        )?;
        let over = Quotient::constant(BigRational::new(BigInt::one(), BigInt::from(step + 1)));
        value = value
            .multiply(&factor, ring, budget)?
            .multiply(&over, ring, budget)?;
    }
    Ok(value)
}

/// What [`exact`] costs at most: a long product for a factorial, a division for each argument.
fn exact_cost(arguments: &[BigRational]) -> usize {
    let largest = arguments
        .iter()
        .filter_map(|value| value.to_integer().to_usize())
        .max();
    let product = largest
        .filter(|largest| *largest <= LARGEST_FACTORIAL as usize)
        .unwrap_or(0);
    product / 8
        + arguments
            .iter()
            .map(|value| 2 + weight(value))
            .sum::<usize>()
}

/// The value of a function of numbers that is a number for sure.
fn exact(function: Function, arguments: &[BigRational]) -> Option<BigRational> {
    let first = arguments.first()?;
    let whole = |value: &BigRational| value.is_integer().then(|| value.to_integer());
    let small = |value: &BigRational| {
        let value = whole(value)?.to_u32()?;
        (value <= LARGEST_FACTORIAL).then_some(value)
    };
    match function {
        Function::Abs => Some(first.abs()),
        Function::Floor => Some(first.floor()),
        Function::Ceil => Some(first.ceil()),
        Function::Factorial => Some(falling(&first.to_integer(), small(first)?)),
        Function::Binomial => {
            let k = small(arguments.get(1)?)?;
            Some(falling(&whole(first)?, k) / falling(&k.into(), k))
        }
        Function::Mod => {
            let modulus = arguments.get(1).filter(|modulus| !modulus.is_zero())?;
            Some(first - modulus * (first / modulus).floor())
        }
        Function::Max => arguments.iter().max().cloned(),
        Function::Min => arguments.iter().min().cloned(),
        Function::Gcd | Function::Lcm => {
            let mut folded = whole(first)?;
            for other in &arguments[1..] {
                let other = whole(other)?;
                folded = if function == Function::Gcd {
                    folded.gcd(&other)
                } else {
                    folded.lcm(&other)
                };
            }
            Some(BigRational::from_integer(folded))
        }
        _ => None,
    }
}

/// `n (n − 1) … (n − k + 1)`
fn falling(n: &BigInt, k: u32) -> BigRational {
    BigRational::from_integer((0..k).fold(BigInt::one(), |product, i| product * (n - i)))
}
