//! What evaluation asks of real numbers, and machine numbers as the quick way.

use num_rational::BigRational;
use num_traits::ToPrimitive;

/// Real numbers of some precision. `None` means that there is no value, or that it is out of range.
pub(super) trait Real: Clone {
    fn from_rational(value: &BigRational) -> Option<Self>;
    fn add(&self, other: &Self) -> Self;
    fn multiply(&self, other: &Self) -> Self;
    fn divide(&self, other: &Self) -> Option<Self>;
    fn negate(&self) -> Self;
    /// Of a number that is at least 0.
    fn square_root(&self) -> Self;
    fn exp(&self) -> Option<Self>;
    /// Of a positive number.
    fn ln(&self) -> Option<Self>;
    fn sin_cos(&self) -> Option<(Self, Self)>;
    fn arctan(&self) -> Option<Self>;
    fn pi() -> Self;
    /// As a machine number, infinite when it is too large for one.
    fn approximate(&self) -> f64;
    fn floor(&self) -> Option<Self>;

    fn subtract(&self, other: &Self) -> Self {
        self.add(&other.negate())
    }

    fn from_integer(value: i64) -> Option<Self> {
        Self::from_rational(&BigRational::from_integer(value.into()))
    }

    fn is_zero(&self) -> bool {
        self.approximate() == 0.0
    }

    fn is_negative(&self) -> bool {
        self.approximate() < 0.0
    }
}

impl Real for f64 {
    fn from_rational(value: &BigRational) -> Option<Self> {
        value.to_f64().filter(|value| value.is_finite())
    }

    fn add(&self, other: &Self) -> Self {
        self + other
    }

    fn multiply(&self, other: &Self) -> Self {
        self * other
    }

    fn divide(&self, other: &Self) -> Option<Self> {
        (*other != 0.0).then(|| self / other)
    }

    fn negate(&self) -> Self {
        -self
    }

    fn square_root(&self) -> Self {
        f64::sqrt(*self)
    }

    fn exp(&self) -> Option<Self> {
        Some(f64::exp(*self)).filter(|value| value.is_finite())
    }

    fn ln(&self) -> Option<Self> {
        Some(f64::ln(*self)).filter(|value| value.is_finite())
    }

    fn sin_cos(&self) -> Option<(Self, Self)> {
        // Beyond this a machine number says little about its angle.
        (self.abs() < 1e8).then(|| f64::sin_cos(*self))
    }

    fn arctan(&self) -> Option<Self> {
        Some(self.atan())
    }

    fn pi() -> Self {
        std::f64::consts::PI
    }

    fn approximate(&self) -> f64 {
        *self
    }

    fn floor(&self) -> Option<Self> {
        Some(f64::floor(*self))
    }
}
