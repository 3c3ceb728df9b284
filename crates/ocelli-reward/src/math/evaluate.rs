//! Complex values of expressions, with chosen numbers for the variables.

use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive};

use super::MathFailure;
use super::budget::Budget;
use super::expression::{Constant, Expression, Function};
use super::real::Real;

/// `re + im i`
#[derive(Clone, Debug)]
pub(super) struct Complex<R> {
    pub(super) re: R,
    pub(super) im: R,
}

/// Why there is no value at a point.
pub(super) enum NoValue {
    /// A pole, or a number out of range: another point may do.
    Here,
    /// No point will do: a set, an unknown function.
    Anywhere,
    Failure(MathFailure),
}

impl From<MathFailure> for NoValue {
    fn from(failure: MathFailure) -> Self {
        Self::Failure(failure)
    }
}

type Valued<R> = Result<Complex<R>, NoValue>;

/// Largest argument of a factorial or binomial that is computed.
const LARGEST_FACTORIAL: u32 = 170;

/// The value of `expression` at the point of this number.
///
/// Variables take fixed numbers that depend on their names and on the point. Cube roots and the like of negative
/// numbers are the real ones, as in school.
pub(super) fn evaluate<R: Real>(expression: &Expression, point: u32, budget: &Budget) -> Valued<R> {
    budget.spend(1)?;
    match expression {
        Expression::Number(value) | Expression::Decimal(value) => real(R::from_rational(value)),
        Expression::Percent(inner) => {
            let hundredth = R::from_rational(&BigRational::new(1.into(), 100.into()));
            Ok(evaluate::<R>(inner, point, budget)?.multiply(&real(hundredth)?))
        }
        Expression::Constant(Constant::Pi) => real(Some(R::pi())),
        Expression::Constant(Constant::E) => real(R::from_integer(1).and_then(|one| one.exp())),
        Expression::Constant(Constant::ImaginaryUnit) => Ok(Complex {
            re: integer(0)?,
            im: integer(1)?,
        }),
        Expression::Symbol(name) => real(R::from_rational(&sample(name, point))),
        Expression::Sum(terms) => {
            let mut sum = Complex::<R>::integer(0)?;
            for term in terms {
                sum = sum.add(&evaluate(term, point, budget)?);
            }
            Ok(sum)
        }
        Expression::Product(factors) => {
            let mut product = Complex::<R>::integer(1)?;
            for factor in factors {
                product = product.multiply(&evaluate(factor, point, budget)?);
            }
            Ok(product)
        }
        Expression::Power(base, exponent) => power(base, exponent, point, budget),
        Expression::Function(function, arguments) => {
            let mut values = Vec::with_capacity(arguments.len());
            for argument in arguments {
                values.push(evaluate::<R>(argument, point, budget)?);
            }
            budget.spend(20)?;
            apply(*function, &values)
        }
        _ => Err(NoValue::Anywhere),
    }
}

/// The number that stands for `name`: a ratio in ±(1/8, 3), never 0, the same on every machine.
fn sample(name: &str, point: u32) -> BigRational {
    // FNV-1a.
    let mut hash = 0xcbf2_9ce4_8422_2325u64 ^ u64::from(point).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 29;
    let numerator = i64::try_from(hash % 2_903).unwrap_or(0) + 126;
    // The first point is positive throughout, so that roots and logarithms are real at least there.
    let negative = point > 0 && (hash >> 17) & 1 == 1;
    BigRational::new(
        (if negative { -numerator } else { numerator }).into(),
        1009.into(),
    )
}

fn real<R: Real>(value: Option<R>) -> Valued<R> {
    Ok(Complex {
        re: value.ok_or(NoValue::Here)?,
        im: integer(0)?,
    })
}

fn integer<R: Real>(value: i64) -> Result<R, NoValue> {
    R::from_integer(value).ok_or(NoValue::Here)
}

fn power<R: Real>(
    base: &Expression,
    exponent: &Expression,
    point: u32,
    budget: &Budget,
) -> Valued<R> {
    let base = evaluate::<R>(base, point, budget)?;
    budget.spend(10)?;
    if let Expression::Number(ratio) | Expression::Decimal(ratio) = exponent {
        if ratio.is_integer() {
            if let Some(small) = ratio
                .to_integer()
                .to_i32()
                .filter(|small| small.unsigned_abs() <= 4_096)
            {
                return base.integer_power(small).ok_or(NoValue::Here);
            }
        } else if base.im.is_zero() && base.re.is_negative() && (ratio.denom() % 2u32).is_one() {
            // An odd root of a negative number.
            let negative = (ratio.numer() % 2u32).abs().is_one();
            let size = R::from_rational(ratio)
                .and_then(|exponent| base.re.negate().ln()?.multiply(&exponent).exp());
            return real(size.map(|size| if negative { size.negate() } else { size }));
        }
        if *ratio == BigRational::new(1.into(), 2.into()) {
            return base.square_root().ok_or(NoValue::Here);
        }
    }
    let exponent = evaluate::<R>(exponent, point, budget)?;
    if base.re.is_zero() && base.im.is_zero() {
        return if exponent.im.is_zero() && exponent.re.approximate() > 0.0 {
            Ok(base)
        } else {
            Err(NoValue::Here)
        };
    }
    base.ln()
        .and_then(|ln| ln.multiply(&exponent).exp())
        .ok_or(NoValue::Here)
}

fn apply<R: Real>(function: Function, arguments: &[Complex<R>]) -> Valued<R> {
    let first = arguments.first().ok_or(NoValue::Anywhere)?;
    let one = Complex::<R>::integer(1)?;
    let value = match function {
        Function::Sin => first.sin(),
        Function::Cos => first.cos(),
        Function::Tan => first.tan(),
        Function::Csc => first.sin().and_then(|sin| one.divide(&sin)),
        Function::Sec => first.cos().and_then(|cos| one.divide(&cos)),
        Function::Cot => first
            .sin()
            .zip(first.cos())
            .and_then(|(sin, cos)| cos.divide(&sin)),
        Function::Arcsin => first.arcsin(),
        Function::Arccos => first.arccos(),
        Function::Arctan => first.arctan(),
        Function::Arccsc => one.divide(first).and_then(|inverse| inverse.arcsin()),
        Function::Arcsec => one.divide(first).and_then(|inverse| inverse.arccos()),
        Function::Arccot => one.divide(first).and_then(|inverse| inverse.arctan()),
        Function::Sinh => hyperbolic(first).map(|(sinh, _)| sinh),
        Function::Cosh => hyperbolic(first).map(|(_, cosh)| cosh),
        Function::Tanh => hyperbolic(first).and_then(|(sinh, cosh)| sinh.divide(&cosh)),
        // arsinh x = ln(x + √(x² + 1))
        Function::Arsinh => first
            .multiply(first)
            .add(&one)
            .square_root()
            .and_then(|root| root.add(first).ln()),
        // arcosh x = ln(x + √(x + 1) √(x − 1))
        Function::Arcosh => first
            .add(&one)
            .square_root()
            .zip(first.subtract(&one).square_root())
            .and_then(|(a, b)| a.multiply(&b).add(first).ln()),
        // artanh x = ln((1 + x)/(1 − x))/2
        Function::Artanh => one
            .add(first)
            .divide(&one.subtract(first))
            .and_then(|ratio| ratio.ln())
            .and_then(|ln| ln.divide(&one.add(&one))),
        Function::Log => {
            let base = arguments.get(1).and_then(Complex::ln);
            first.ln().zip(base).and_then(|(ln, base)| ln.divide(&base))
        }
        Function::Abs => Some(Complex {
            re: first.size(),
            im: integer(0)?,
        }),
        Function::Floor => first
            .real()
            .and_then(Real::floor)
            .and_then(Complex::from_real),
        Function::Ceil => {
            let floor = first.real().and_then(|value| value.negate().floor());
            floor.and_then(|floor| Complex::from_real(floor.negate()))
        }
        Function::Factorial => whole(first).and_then(|n| falling(n, n)),
        Function::Binomial => {
            let n = arguments.first().and_then(whole);
            let k = arguments.get(1).and_then(whole);
            n.zip(k)
                .and_then(|(n, k)| falling(n, k)?.divide(&falling(k, k)?))
        }
        Function::Mod => {
            let quotient = arguments.get(1).and_then(|modulus| first.divide(modulus));
            let floor = quotient
                .as_ref()
                .and_then(Complex::real)
                .and_then(Real::floor);
            floor
                .and_then(Complex::from_real)
                .zip(arguments.get(1))
                .map(|(floor, modulus)| first.subtract(&floor.multiply(modulus)))
        }
        Function::Max | Function::Min => {
            let mut best = first.real().ok_or(NoValue::Here)?;
            for other in &arguments[1..] {
                let other = other.real().ok_or(NoValue::Here)?;
                if other.subtract(best).is_negative() == (function == Function::Min) {
                    best = other;
                }
            }
            Complex::from_real(best.clone())
        }
        Function::Gcd | Function::Lcm => {
            let mut folded = whole(first).ok_or(NoValue::Here)?;
            for other in &arguments[1..] {
                let other = whole(other).ok_or(NoValue::Here)?;
                folded = match function {
                    Function::Gcd => num_integer::gcd(folded, other),
                    _ => num_integer::lcm(u64::from(folded), u64::from(other))
                        .to_u32()
                        .ok_or(NoValue::Here)?,
                };
            }
            Complex::integer(i64::from(folded)).ok()
        }
        Function::Determinant | Function::Transpose => return Err(NoValue::Anywhere),
    };
    value.ok_or(NoValue::Here)
}

/// A whole number of at least 0.
fn whole<R: Real>(value: &Complex<R>) -> Option<u32> {
    let real = value.real()?;
    let floor = real.floor()?;
    // Only exact whole numbers: a factorial of a variable has no value at a sample.
    let near = real.subtract(&floor).approximate().abs() < 1e-12;
    near.then(|| floor.approximate())
        .filter(|value| (0.0..1e9).contains(value))
        .map(|value| value as u32)
}

/// `n (n − 1) … (n − k + 1)`
fn falling<R: Real>(n: u32, k: u32) -> Option<Complex<R>> {
    if k > LARGEST_FACTORIAL {
        return None;
    }
    let mut product = R::from_integer(1)?;
    for i in 0..k {
        product = product.multiply(&R::from_integer(i64::from(n) - i64::from(i))?);
    }
    Complex::from_real(product)
}

/// `(sinh z, cosh z)`
fn hyperbolic<R: Real>(z: &Complex<R>) -> Option<(Complex<R>, Complex<R>)> {
    let (up, down) = (z.exp()?, z.negate().exp()?);
    let two = Complex::integer(2).ok()?;
    Some((
        up.subtract(&down).divide(&two)?,
        up.add(&down).divide(&two)?,
    ))
}

impl<R: Real> Complex<R> {
    fn integer(value: i64) -> Result<Self, NoValue> {
        real(R::from_integer(value))
    }

    fn from_real(re: R) -> Option<Self> {
        Some(Self {
            re,
            im: R::from_integer(0)?,
        })
    }

    /// The value of a number without an imaginary part.
    pub(super) fn real(&self) -> Option<&R> {
        self.im.is_zero().then_some(&self.re)
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        Self {
            re: self.re.add(&other.re),
            im: self.im.add(&other.im),
        }
    }

    fn negate(&self) -> Self {
        Self {
            re: self.re.negate(),
            im: self.im.negate(),
        }
    }

    pub(super) fn subtract(&self, other: &Self) -> Self {
        self.add(&other.negate())
    }

    fn multiply(&self, other: &Self) -> Self {
        if self.im.is_zero() && other.im.is_zero() {
            return Self {
                re: self.re.multiply(&other.re),
                im: self.im.clone(),
            };
        }
        Self {
            re: self
                .re
                .multiply(&other.re)
                .subtract(&self.im.multiply(&other.im)),
            im: self
                .re
                .multiply(&other.im)
                .add(&self.im.multiply(&other.re)),
        }
    }

    fn divide(&self, other: &Self) -> Option<Self> {
        if other.im.is_zero() {
            return Some(Self {
                re: self.re.divide(&other.re)?,
                im: self.im.divide(&other.re)?,
            });
        }
        let size = other
            .re
            .multiply(&other.re)
            .add(&other.im.multiply(&other.im));
        let conjugate = Self {
            re: other.re.clone(),
            im: other.im.negate(),
        };
        let product = self.multiply(&conjugate);
        Some(Self {
            re: product.re.divide(&size)?,
            im: product.im.divide(&size)?,
        })
    }

    /// `|z|`
    pub(super) fn size(&self) -> R {
        if self.im.is_zero() {
            return if self.re.is_negative() {
                self.re.negate()
            } else {
                self.re.clone()
            };
        }
        self.re
            .multiply(&self.re)
            .add(&self.im.multiply(&self.im))
            .square_root()
    }

    fn integer_power(&self, exponent: i32) -> Option<Self> {
        let mut result = Self::integer(1).ok()?;
        let mut square = self.clone();
        let mut left = exponent.unsigned_abs();
        while left > 0 {
            if left & 1 == 1 {
                result = result.multiply(&square);
            }
            left >>= 1;
            if left > 0 {
                square = square.multiply(&square);
            }
        }
        if exponent < 0 {
            Self::integer(1).ok()?.divide(&result)
        } else {
            Some(result)
        }
    }

    /// The root with a real part of at least 0.
    fn square_root(&self) -> Option<Self> {
        let zero = R::from_integer(0)?;
        if self.im.is_zero() {
            return Some(if self.re.is_negative() {
                Self {
                    re: zero,
                    im: self.re.negate().square_root(),
                }
            } else {
                Self {
                    re: self.re.square_root(),
                    im: zero,
                }
            });
        }
        let two = R::from_integer(2)?;
        let size = self.size();
        let re = size.add(&self.re).divide(&two)?.square_root();
        let im = size.subtract(&self.re).divide(&two)?.square_root();
        Some(Self {
            re,
            im: if self.im.is_negative() {
                im.negate()
            } else {
                im
            },
        })
    }

    fn exp(&self) -> Option<Self> {
        let size = self.re.exp()?;
        if self.im.is_zero() {
            return Self::from_real(size);
        }
        let (sin, cos) = self.im.sin_cos()?;
        Some(Self {
            re: size.multiply(&cos),
            im: size.multiply(&sin),
        })
    }

    /// The principal logarithm.
    fn ln(&self) -> Option<Self> {
        if self.im.is_zero() {
            let im = if self.re.is_negative() {
                R::pi()
            } else {
                R::from_integer(0)?
            };
            return Some(Self {
                re: self.size().ln()?,
                im,
            });
        }
        Some(Self {
            re: self.size().ln()?,
            im: self.angle()?,
        })
    }

    /// The angle in (−π, π] of a number off the real axis.
    fn angle(&self) -> Option<R> {
        // tan(φ/2) = im / (|z| + re); near the negative axis the other form is stable.
        let two = R::from_integer(2)?;
        let size = self.size();
        let half = if self.re.is_negative() {
            size.subtract(&self.re).divide(&self.im)?
        } else {
            self.im.divide(&size.add(&self.re))?
        };
        Some(half.arctan()?.multiply(&two))
    }

    fn sin(&self) -> Option<Self> {
        if let Some(real) = self.real() {
            return Self::from_real(real.sin_cos()?.0);
        }
        // sin z = −i sinh(iz)
        let (sinh, _) = hyperbolic(&self.turned())?;
        Some(sinh.turned().negate())
    }

    fn cos(&self) -> Option<Self> {
        if let Some(real) = self.real() {
            return Self::from_real(real.sin_cos()?.1);
        }
        Some(hyperbolic(&self.turned())?.1)
    }

    fn tan(&self) -> Option<Self> {
        self.sin()?.divide(&self.cos()?)
    }

    /// `i z`
    fn turned(&self) -> Self {
        Self {
            re: self.im.negate(),
            im: self.re.clone(),
        }
    }

    fn arctan(&self) -> Option<Self> {
        Self::from_real(self.real()?.arctan()?)
    }

    /// Of a number in [−1, 1].
    fn arcsin(&self) -> Option<Self> {
        let x = self.real()?;
        let one = R::from_integer(1)?;
        let rest = one.subtract(&x.multiply(x));
        if rest.is_negative() {
            return None;
        }
        // tan(φ/2) = x / (1 + √(1 − x²))
        let half = x.divide(&one.add(&rest.square_root()))?.arctan()?;
        Self::from_real(half.add(&half))
    }

    fn arccos(&self) -> Option<Self> {
        let quarter = R::pi().divide(&R::from_integer(2)?)?;
        Some(Self::from_real(quarter)?.subtract(&self.arcsin()?))
    }
}
