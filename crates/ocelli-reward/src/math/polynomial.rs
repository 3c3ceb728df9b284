//! Polynomials with exact coefficients over generators: variables, constants, roots, and functions as they stand.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

use super::MathFailure;
use super::budget::Budget;

/// Most terms of one polynomial.
const MAX_TERMS: usize = 400;

/// Largest power of a generator.
const MAX_EXPONENT: u32 = 200;

/// Most bits of a coefficient's numerator or denominator.
pub(super) const MAX_BITS: u64 = 8_192;

/// Index of a generator in its [`Ring`].
type Generator = u32;

/// Generators with their powers, in ascending order, no power 0.
type Monomial = Vec<(Generator, u32)>;

/// The generators that two expressions share, so that equal parts have equal numbers.
#[derive(Default)]
pub(super) struct Ring {
    names: RefCell<HashMap<String, Generator>>,
    /// For a root, its index and what that power of it is: `√2² = 2`, `i² = −1`.
    rules: RefCell<Vec<Option<(u32, Polynomial)>>>,
}

impl Ring {
    /// The generator of this name, made on first use.
    pub(super) fn generator(&self, name: String, rule: Option<(u32, Polynomial)>) -> Polynomial {
        let mut rules = self.rules.borrow_mut();
        let id = *self.names.borrow_mut().entry(name).or_insert_with(|| {
            rules.push(rule);
            rules.len() as Generator - 1
        });
        Polynomial {
            terms: BTreeMap::from([(vec![(id, 1)], BigRational::one())]),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Polynomial {
    terms: BTreeMap<Monomial, BigRational>,
}

impl Polynomial {
    pub(super) fn constant(value: BigRational) -> Self {
        let mut terms = BTreeMap::new();
        if !value.is_zero() {
            terms.insert(Vec::new(), value);
        }
        Self { terms }
    }

    pub(super) fn one() -> Self {
        Self::constant(BigRational::one())
    }

    pub(super) fn is_zero(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value of a polynomial without generators.
    pub(super) fn as_constant(&self) -> Option<BigRational> {
        match self.terms.len() {
            0 => Some(BigRational::zero()),
            1 => self.terms.get(&Vec::new()).cloned(),
            _ => None,
        }
    }

    /// The term without generators.
    pub(super) fn constant_term(&self) -> BigRational {
        self.terms
            .get(&Vec::new())
            .cloned()
            .unwrap_or_else(BigRational::zero)
    }

    /// The coefficient of the last monomial, 1 for the zero polynomial.
    pub(super) fn leading_coefficient(&self) -> BigRational {
        self.terms
            .values()
            .next_back()
            .cloned()
            .unwrap_or_else(BigRational::one)
    }

    /// # Errors
    /// [`MathFailure::TooLarge`] or [`MathFailure::OverBudget`].
    pub(super) fn scaled(
        &self,
        factor: &BigRational,
        budget: &Budget,
    ) -> Result<Self, MathFailure> {
        let mut scaled = Self::constant(BigRational::zero());
        for (monomial, value) in &self.terms {
            budget.spend(1 + weight(value) + weight(factor))?;
            scaled.insert(monomial.clone(), value * factor, budget)?;
        }
        Ok(scaled)
    }

    /// Whether it can be written in few characters.
    pub(super) fn is_short(&self) -> bool {
        self.terms.len() <= 40 && self.terms.values().map(weight).sum::<usize>() <= 64
    }

    /// # Errors
    /// [`MathFailure::TooLarge`] or [`MathFailure::OverBudget`].
    pub(super) fn add(&self, other: &Self, budget: &Budget) -> Result<Self, MathFailure> {
        budget.spend(1 + other.terms.len() / 8)?;
        let mut sum = self.clone();
        for (monomial, value) in &other.terms {
            sum.insert(monomial.clone(), value.clone(), budget)?;
        }
        Ok(sum)
    }

    /// # Errors
    /// [`MathFailure::TooLarge`] or [`MathFailure::OverBudget`].
    pub(super) fn multiply(
        &self,
        other: &Self,
        ring: &Ring,
        budget: &Budget,
    ) -> Result<Self, MathFailure> {
        budget.spend(1 + self.terms.len() * other.terms.len())?;
        let mut product = Self::constant(BigRational::zero());
        for (mine, value) in &self.terms {
            for (theirs, factor) in &other.terms {
                budget.spend(weight(value) + weight(factor))?;
                let value = bounded(value * factor)?;
                product.insert_reduced(merged(mine, theirs)?, value, ring, budget)?;
            }
        }
        Ok(product)
    }

    /// # Errors
    /// [`MathFailure::TooLarge`] or [`MathFailure::OverBudget`].
    pub(super) fn power(
        &self,
        exponent: u32,
        ring: &Ring,
        budget: &Budget,
    ) -> Result<Self, MathFailure> {
        let mut result = Self::one();
        let mut square = self.clone();
        let mut left = exponent;
        while left > 0 {
            if left & 1 == 1 {
                result = result.multiply(&square, ring, budget)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.multiply(&square, ring, budget)?;
            }
        }
        Ok(result)
    }

    /// Adds a term, with the rules of its generators applied.
    fn insert_reduced(
        &mut self,
        monomial: Monomial,
        value: BigRational,
        ring: &Ring,
        budget: &Budget,
    ) -> Result<(), MathFailure> {
        let reducible = {
            let rules = ring.rules.borrow();
            monomial
                .iter()
                .enumerate()
                .find_map(|(place, (generator, power))| {
                    let (index, value) = rules[*generator as usize].as_ref()?;
                    (power >= index).then(|| (place, *index, value.clone()))
                })
        };
        let Some((place, index, replacement)) = reducible else {
            return self.insert(monomial, value, budget);
        };
        let (generator, power) = monomial[place];
        let mut rest = monomial;
        rest.remove(place);
        if power % index > 0 {
            rest.insert(place, (generator, power % index));
        }
        let rest = Self {
            terms: BTreeMap::from([(rest, value)]),
        };
        let factor = replacement.power(power / index, ring, budget)?;
        for (monomial, value) in rest.multiply(&factor, ring, budget)?.terms {
            self.insert(monomial, value, budget)?;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        monomial: Monomial,
        value: BigRational,
        budget: &Budget,
    ) -> Result<(), MathFailure> {
        use std::collections::btree_map::Entry;
        match self.terms.entry(monomial) {
            Entry::Vacant(entry) => {
                if value.is_zero() {
                    return Ok(());
                }
                entry.insert(value);
                if self.terms.len() > MAX_TERMS {
                    return Err(MathFailure::TooLarge);
                }
            }
            Entry::Occupied(mut entry) => {
                budget.spend(weight(entry.get()) + weight(&value))?;
                let sum = bounded(entry.get() + value)?;
                if sum.is_zero() {
                    entry.remove();
                } else {
                    *entry.get_mut() = sum;
                }
            }
        }
        Ok(())
    }
}

fn merged(left: &Monomial, right: &Monomial) -> Result<Monomial, MathFailure> {
    let mut product = left.clone();
    for &(generator, power) in right {
        match product.binary_search_by_key(&generator, |(generator, _)| *generator) {
            Ok(place) => product[place].1 += power,
            Err(place) => product.insert(place, (generator, power)),
        }
    }
    if product.iter().any(|(_, power)| *power > MAX_EXPONENT) {
        return Err(MathFailure::TooLarge);
    }
    Ok(product)
}

/// What arithmetic with a long number costs beyond that with a short one, in operations.
pub(super) fn weight(value: &BigRational) -> usize {
    (value.numer().bits() + value.denom().bits()) as usize / 128
}

/// `value`, unless its digits are out of hand.
pub(super) fn bounded(value: BigRational) -> Result<BigRational, MathFailure> {
    let fits = |part: &BigInt| part.bits() <= MAX_BITS;
    if fits(value.numer()) && fits(value.denom()) {
        Ok(value)
    } else {
        Err(MathFailure::TooLarge)
    }
}
