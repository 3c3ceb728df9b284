//! Binary floating-point numbers of about 320 bits.

use std::sync::LazyLock;

use num_bigint::{BigInt, Sign};
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::real::Real;

/// Bits of the mantissa that are kept.
const PRECISION: u64 = 320;

/// Largest exponent by magnitude: sums of two of them are far from overflow.
const LARGEST_EXPONENT: i64 = 1 << 50;

/// Largest exponent of two of an angle or of an argument of `exp`.
const LARGEST_ARGUMENT: i64 = 40;

/// `mantissa · 2^exponent`
#[derive(Clone, Debug)]
pub(super) struct BigFloat {
    mantissa: BigInt,
    exponent: i64,
}

static PI: LazyLock<BigFloat> = LazyLock::new(|| {
    // Machin: π/4 = 4 arctan(1/5) − arctan(1/239).
    let scaled = inverse_series(5, true) * 16 - inverse_series(239, true) * 4;
    fixed(scaled)
});

static LN_2: LazyLock<BigFloat> = LazyLock::new(|| {
    // ln 2 = 2 artanh(1/3).
    fixed(inverse_series(3, false) * 2)
});

/// Places of the fixed-point numbers that series are summed in.
const PLACES: u64 = PRECISION + 64;

/// `arctan(1/n)` when `alternating`, else `artanh(1/n)`, as a whole number of 2^−PLACES.
fn inverse_series(n: u32, alternating: bool) -> BigInt {
    let mut power = (BigInt::one() << PLACES) / n;
    let mut sum = power.clone();
    let square = n * n;
    let mut odd = 1u32;
    while !power.is_zero() {
        power /= square;
        odd += 2;
        let term = &power / odd;
        if alternating && odd % 4 == 3 {
            sum -= term;
        } else {
            sum += term;
        }
    }
    sum
}

fn fixed(scaled: BigInt) -> BigFloat {
    BigFloat::new(scaled, -(PLACES as i64))
}

impl BigFloat {
    /// Beyond the largest exponents a number becomes the largest one, or 0.
    fn new(mantissa: BigInt, exponent: i64) -> Self {
        let excess = mantissa.bits().saturating_sub(PRECISION);
        let mantissa = mantissa >> excess;
        let exponent = exponent + excess as i64;
        if mantissa.is_zero() || exponent < -LARGEST_EXPONENT {
            return Self {
                mantissa: BigInt::zero(),
                exponent: 0,
            };
        }
        Self {
            mantissa,
            exponent: exponent.min(LARGEST_EXPONENT),
        }
    }

    /// The power of two just above the magnitude; `None` for 0.
    pub(super) fn magnitude(&self) -> Option<i64> {
        (!self.mantissa.is_zero()).then(|| self.exponent + self.mantissa.bits() as i64)
    }

    /// As a whole number of 2^−PLACES. The magnitude must be small.
    fn to_fixed(&self) -> BigInt {
        let shift = self.exponent + PLACES as i64;
        if shift >= 0 {
            &self.mantissa << shift
        } else {
            &self.mantissa >> -shift
        }
    }

    fn half(&self) -> Self {
        Self {
            mantissa: self.mantissa.clone(),
            exponent: self.exponent - 1,
        }
    }

    fn is_out_of_range(&self) -> bool {
        self.magnitude()
            .is_some_and(|magnitude| magnitude > LARGEST_ARGUMENT)
    }

    /// The nearest whole number, for magnitudes up to 2^2,000.
    fn rounded(&self) -> Option<BigInt> {
        if self.magnitude().is_some_and(|magnitude| magnitude > 2_000) {
            return None;
        }
        let doubled = self.exponent + 1;
        let twice = if doubled >= 0 {
            &self.mantissa << doubled
        } else {
            &self.mantissa >> -doubled
        };
        Some((twice + BigInt::one()) >> 1)
    }
}

impl Real for BigFloat {
    fn from_rational(value: &BigRational) -> Option<Self> {
        let numerator = Self::new(value.numer().clone(), 0);
        if value.denom().is_one() {
            return Some(numerator);
        }
        numerator.divide(&Self::new(value.denom().clone(), 0))
    }

    fn add(&self, other: &Self) -> Self {
        let (Some(mine), Some(theirs)) = (self.magnitude(), other.magnitude()) else {
            return if self.mantissa.is_zero() {
                other.clone()
            } else {
                self.clone()
            };
        };
        // The smaller one is beyond the last bit.
        if mine - theirs > PRECISION as i64 + 8 {
            return self.clone();
        }
        if theirs - mine > PRECISION as i64 + 8 {
            return other.clone();
        }
        let exponent = self.exponent.min(other.exponent);
        let sum = (&self.mantissa << (self.exponent - exponent))
            + (&other.mantissa << (other.exponent - exponent));
        Self::new(sum, exponent)
    }

    fn multiply(&self, other: &Self) -> Self {
        Self::new(
            &self.mantissa * &other.mantissa,
            self.exponent + other.exponent,
        )
    }

    fn divide(&self, other: &Self) -> Option<Self> {
        if other.mantissa.is_zero() {
            return None;
        }
        let shift = PRECISION + other.mantissa.bits();
        Some(Self::new(
            (&self.mantissa << shift) / &other.mantissa,
            self.exponent - other.exponent - shift as i64,
        ))
    }

    fn negate(&self) -> Self {
        Self {
            mantissa: -&self.mantissa,
            exponent: self.exponent,
        }
    }

    fn square_root(&self) -> Self {
        if self.mantissa.sign() != Sign::Plus {
            return Self::new(BigInt::zero(), 0);
        }
        // An even exponent, and twice the bits.
        let shift = 2 * PRECISION as i64 + self.exponent.rem_euclid(2);
        Self::new(
            (&self.mantissa << shift).sqrt(),
            (self.exponent - shift) / 2,
        )
    }

    fn exp(&self) -> Option<Self> {
        if self.is_out_of_range() {
            return None;
        }
        let turns = self.divide(&LN_2)?.rounded()?;
        let rest = self.subtract(&Self::new(turns.clone(), 0).multiply(&LN_2));
        // e^r = (e^(r/256))^256
        let small = rest.to_fixed() >> 8;
        let one = BigInt::one() << PLACES;
        let (mut term, mut sum, mut n) = (one.clone(), one, 0u32);
        while !term.is_zero() && term != -BigInt::one() {
            n += 1;
            term = ((&term * &small) >> PLACES) / n;
            sum += &term;
        }
        for _ in 0..8 {
            sum = (&sum * &sum) >> PLACES;
        }
        let mut value = fixed(sum);
        value.exponent += turns.to_i64()?;
        Some(value)
    }

    fn ln(&self) -> Option<Self> {
        let magnitude = self.magnitude().filter(|_| self.mantissa.is_positive())?;
        // ln(m 2^k) = ln m + k ln 2 with m in [1/2, 1); Newton's steps on e^y = m double the digits.
        let m = Self {
            mantissa: self.mantissa.clone(),
            exponent: self.exponent - magnitude,
        };
        let start = f64::ln(m.approximate());
        let mut y = Self::from_rational(&BigRational::from_float(start)?)?;
        for _ in 0..3 {
            let ratio = m.divide(&y.exp()?)?;
            // y + 2 (m − e^y)/(m + e^y), as Halley, triples them.
            let one = Self::new(BigInt::one(), 0);
            let step = ratio.subtract(&one).divide(&ratio.add(&one))?;
            y = y.add(&step.add(&step));
        }
        Some(y.add(&Self::new(magnitude.into(), 0).multiply(&LN_2)))
    }

    fn sin_cos(&self) -> Option<(Self, Self)> {
        if self.is_out_of_range() {
            return None;
        }
        let quarter = PI.half();
        let turns = self.divide(&quarter)?.rounded()?;
        let rest = self.subtract(&Self::new(turns.clone(), 0).multiply(&quarter));
        let x = rest.to_fixed();
        let one = BigInt::one() << PLACES;
        // Both series at once: x^n/n!, the even ones for the cosine.
        let (mut term, mut sine, mut cosine, mut n) = (one.clone(), BigInt::zero(), one, 0u32);
        while !term.is_zero() && term != -BigInt::one() {
            n += 1;
            term = ((&term * &x) >> PLACES) / n;
            match n % 4 {
                0 => cosine += &term,
                1 => sine += &term,
                2 => cosine -= &term,
                _ => sine -= &term,
            }
        }
        let (sine, cosine) = (fixed(sine), fixed(cosine));
        let quadrant: BigInt = ((turns % 4) + 4) % 4;
        Some(match quadrant.to_u8()? {
            0 => (sine, cosine),
            1 => (cosine, sine.negate()),
            2 => (sine.negate(), cosine.negate()),
            _ => (cosine.negate(), sine),
        })
    }

    fn arctan(&self) -> Option<Self> {
        let one = Self::new(BigInt::one(), 0);
        if self.is_negative() {
            return Some(self.negate().arctan()?.negate());
        }
        if self.magnitude().is_some_and(|magnitude| magnitude > 1) {
            return Some(PI.half().subtract(&one.divide(self)?.arctan()?));
        }
        let mut y = Self::from_rational(&BigRational::from_float(self.approximate().atan())?)?;
        for _ in 0..3 {
            // Newton's step on tan y = x: (x cos y − sin y) cos y, short of a square.
            let (sine, cosine) = y.sin_cos()?;
            y = y.add(&self.multiply(&cosine).subtract(&sine).multiply(&cosine));
        }
        Some(y)
    }

    fn pi() -> Self {
        PI.clone()
    }

    fn approximate(&self) -> f64 {
        let excess = self.mantissa.bits().saturating_sub(60);
        let leading = (&self.mantissa >> excess).to_f64().unwrap_or(0.0);
        let exponent = (self.exponent + excess as i64).clamp(-2_000, 2_000);
        // In two steps: 2^-1100 alone would be 0.
        let half = exponent / 2;
        leading * 2f64.powi(half as i32) * 2f64.powi((exponent - half) as i32)
    }

    fn floor(&self) -> Option<Self> {
        let nearest = Self::new(self.rounded()?, 0);
        let difference = self.subtract(&nearest);
        // Within the noise of a whole number is that whole number.
        let noise = difference
            .magnitude()
            .is_none_or(|magnitude| magnitude < -200);
        if noise || !difference.mantissa.is_negative() {
            return Some(nearest);
        }
        Some(nearest.subtract(&Self::new(BigInt::one(), 0)))
    }

    fn is_zero(&self) -> bool {
        self.mantissa.is_zero()
    }

    fn is_negative(&self) -> bool {
        self.mantissa.is_negative()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &BigFloat, b: &BigFloat) -> bool {
        a.subtract(b)
            .magnitude()
            .is_none_or(|magnitude| magnitude < -300)
    }

    fn ratio(a: i64, b: i64) -> BigFloat {
        BigFloat::from_rational(&BigRational::new(a.into(), b.into())).unwrap()
    }

    #[test]
    fn constants_have_their_digits() {
        assert_eq!(PI.approximate(), std::f64::consts::PI);
        assert_eq!(LN_2.approximate(), std::f64::consts::LN_2);
        assert!(close(&ratio(2, 1).ln().unwrap(), &LN_2));
        assert!(close(&ratio(1, 1).arctan().unwrap(), &PI.half().half()));
    }

    #[test]
    fn functions_undo_each_other() {
        for value in [ratio(1, 3), ratio(7, 2), ratio(1, 1000), ratio(900, 7)] {
            assert!(close(&value.ln().unwrap().exp().unwrap(), &value));
            let root = value.square_root();
            assert!(close(&root.multiply(&root), &value));
            let (sine, cosine) = value.sin_cos().unwrap();
            let one = sine.multiply(&sine).add(&cosine.multiply(&cosine));
            assert!(close(&one, &ratio(1, 1)));
            let (sine, cosine) = value.arctan().unwrap().sin_cos().unwrap();
            assert!(close(&sine.divide(&cosine).unwrap(), &value));
        }
    }

    #[test]
    fn floors_step_at_whole_numbers() {
        for (value, floor) in [
            (ratio(5, 2), 2.0),
            (ratio(-5, 2), -3.0),
            (ratio(3, 1), 3.0),
            (ratio(-1, 9), -1.0),
        ] {
            assert_eq!(Real::floor(&value).unwrap().approximate(), floor);
        }
    }
}
