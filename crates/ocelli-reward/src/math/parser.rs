//! Tokens into an [`Expression`].
//!
//! The grammar, from loose to tight: lists parted by `;` and `,`; `±`; relations; set operations; sums; products;
//! signs; implicit products; powers and postfixes; atoms. Where notation has two readings, math-verify's is taken,
//! unless it is a slip: `3(4)` is 12 here and 7 there.

mod atom;
mod number;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed};

use self::atom::is_atom_command;
pub(super) use self::number::number;
use super::MathFailure;
use super::expression::{Comparison, Expression, Function};
use super::functions::function_named;
use super::lexer::{Token, tokens};

/// Deepest nesting of brackets, fractions and powers.
const MAX_DEPTH: usize = 40;

/// Most tokens of one answer.
const MAX_TOKENS: usize = 2_000;

type Parsed = Result<Expression, MathFailure>;

/// Reads all of `source`.
///
/// # Errors
/// [`MathFailure::Unreadable`] when it is not mathematics, [`MathFailure::TooDeep`], [`MathFailure::TooLarge`].
pub(super) fn parse(source: &str) -> Parsed {
    let tokens = tokens(source)?;
    if tokens.len() > MAX_TOKENS {
        return Err(MathFailure::TooLarge);
    }
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
        bars: 0,
        degrees: 0,
    };
    parser.answer()
}

struct Parser<'t> {
    tokens: &'t [Token<'t>],
    at: usize,
    depth: usize,
    /// Open absolute values: inside of one a bar closes it.
    bars: usize,
    /// Degree signs read so far.
    degrees: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token<'t>> {
        self.tokens.get(self.at)
    }

    fn peek_second(&self) -> Option<&'t Token<'t>> {
        self.tokens.get(self.at + 1)
    }

    fn take(&mut self, sign: char) -> bool {
        let found = self.is_next(sign);
        self.at += usize::from(found);
        found
    }

    fn is_next(&self, sign: char) -> bool {
        self.peek() == Some(&Token::Sign(sign))
    }

    fn expect(&mut self, sign: char) -> Result<(), MathFailure> {
        self.take(sign).then_some(()).ok_or(MathFailure::Unreadable)
    }

    fn take_command(&mut self, names: &[&str]) -> bool {
        let found = matches!(self.peek(), Some(Token::Command(name)) if names.contains(name));
        self.at += usize::from(found);
        found
    }

    /// Runs `read` one level deeper.
    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, MathFailure>,
    ) -> Result<T, MathFailure> {
        if self.depth == MAX_DEPTH {
            return Err(MathFailure::TooDeep);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// A whole answer: `a`, `a, b`, `(1, 2); (3, 4)`, `x = 1, 2`, `x = 1, y = 2`.
    fn answer(&mut self) -> Parsed {
        while self.take(',') || self.take(';') {}
        if self.peek().is_none() {
            return Err(MathFailure::Unreadable);
        }
        let groups = self.lists()?;
        if self.at != self.tokens.len() {
            return Err(MathFailure::Unreadable);
        }
        Ok(gathered(spread_assignment(groups)))
    }

    /// `a, b; c, d`: lists of elements. A closing comma or semicolon means nothing.
    fn lists(&mut self) -> Result<Vec<Vec<Expression>>, MathFailure> {
        let mut lists = vec![Vec::new()];
        loop {
            let list = lists.last_mut().ok_or(MathFailure::Unreadable)?;
            self.element(list)?;
            let comma = self.take(',');
            let semicolon = !comma && self.take(';');
            if !(comma || semicolon) {
                break;
            }
            match self.peek() {
                None | Some(Token::Sign(')' | ']' | '}') | Token::SetClose) => break,
                _ if semicolon => lists.push(Vec::new()),
                _ => {}
            }
        }
        Ok(lists)
    }

    /// `a`, `a ± b`, `± b`, `x = a ± b`: one element, or the two that `±` stands for.
    fn element(&mut self, list: &mut Vec<Expression>) -> Result<(), MathFailure> {
        const PLUS_MINUS: &[&str] = &["pm", "mp"];
        let both = |left: Option<Expression>, right: Expression| match left {
            Some(left) => [
                Expression::sum(vec![left.clone(), right.clone()]),
                Expression::difference(left, right),
            ],
            None => [right.clone(), right.negated()],
        };
        if self.take_command(PLUS_MINUS) {
            let right = self.sum()?;
            list.extend(both(None, right));
            return Ok(());
        }
        let first = self.set_difference()?;
        if self.take_command(PLUS_MINUS) {
            let right = self.sum()?;
            list.extend(both(Some(first), right));
            return Ok(());
        }
        let mut rest: Vec<(Comparison, Expression)> = Vec::new();
        let mut first = first;
        loop {
            let approximate = self.take_command(&["approx", "sim", "simeq", "cong"]);
            let Some(comparison) = (if approximate {
                Some(Comparison::Equal)
            } else {
                self.comparison()
            }) else {
                break;
            };
            let side = if self.take_command(PLUS_MINUS) {
                let right = self.sum()?;
                Expression::Set(both(None, right).into())
            } else {
                let left = self.set_difference()?;
                if self.take_command(PLUS_MINUS) {
                    let right = self.sum()?;
                    Expression::Set(both(Some(left), right).into())
                } else {
                    left
                }
            };
            if !approximate {
                rest.push((comparison, side));
            } else if rest.is_empty() && first.is_only_symbols() {
                // An approximation of a name is its value; of a value, a repetition.
                first = side;
            }
        }
        list.push(if rest.is_empty() {
            first
        } else {
            Expression::Relation(Box::new(first), rest)
        });
        Ok(())
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.peek()? {
            Token::Sign('=') | Token::Command("in" | "equiv") => Comparison::Equal,
            Token::Sign('<') => Comparison::Less,
            Token::Sign('>') => Comparison::Greater,
            Token::Command("le" | "leq" | "leqslant" | "leqq") => Comparison::LessOrEqual,
            Token::Command("ge" | "geq" | "geqslant" | "geqq") => Comparison::GreaterOrEqual,
            Token::Command("ne" | "neq" | "notin") => Comparison::NotEqual,
            _ => return None,
        };
        self.at += 1;
        Some(comparison)
    }

    fn set_difference(&mut self) -> Parsed {
        let mut left = self.set_union()?;
        while self.take_command(&["setminus", "backslash"]) {
            left = Expression::Difference(Box::new([left, self.set_union()?]));
            self.deepen()?;
        }
        Ok(left)
    }

    /// Counts a level that lasts: a left-leaning chain makes a tree as deep as it is long.
    fn deepen(&mut self) -> Result<(), MathFailure> {
        if self.depth >= MAX_DEPTH {
            return Err(MathFailure::TooDeep);
        }
        self.depth += 1;
        Ok(())
    }

    fn set_union(&mut self) -> Parsed {
        let mut parts = vec![self.set_intersection()?];
        while self.take_command(&["cup", "bigcup", "vee", "lor"]) {
            parts.push(self.set_intersection()?);
        }
        Ok(one_or(parts, Expression::Union))
    }

    fn set_intersection(&mut self) -> Parsed {
        let mut parts = vec![self.sum()?];
        while self.take_command(&["cap", "bigcap"]) {
            parts.push(self.sum()?);
        }
        Ok(one_or(parts, Expression::Intersection))
    }

    fn sum(&mut self) -> Parsed {
        let mut terms = vec![self.product(true)?];
        loop {
            if self.take('+') {
                terms.push(self.product(true)?);
            } else if self.take('-') {
                terms.push(self.product(true)?.negated());
            } else {
                break;
            }
        }
        Ok(Expression::sum(terms))
    }

    /// `a · b / c`. Without `functions`, what a function without parentheses takes: `sin 2x · y cos z` is
    /// `sin(2xy) cos z`.
    fn product(&mut self, functions: bool) -> Parsed {
        let mut left = self.signed(functions)?;
        loop {
            if self.take('*') {
                left = Expression::product(vec![left, self.signed(functions)?]);
            } else if self.take('/') || self.take(':') {
                left = Expression::quotient(left, self.signed(functions)?);
            } else if self.take_command(&["mod", "bmod"]) {
                left = Expression::Function(Function::Mod, vec![left, self.signed(functions)?]);
                self.deepen()?;
            } else {
                return Ok(left);
            }
        }
    }

    fn signed(&mut self, functions: bool) -> Parsed {
        let mut negative = false;
        loop {
            if self.take('-') {
                negative = !negative;
            } else if !self.take('+') {
                break;
            }
        }
        let value = self.implicit_product(functions)?;
        Ok(if negative { value.negated() } else { value })
    }

    /// Factors side by side, or a whole number and a fraction: `2x`, `3\frac{1}{2}`.
    fn implicit_product(&mut self, functions: bool) -> Parsed {
        let start = self.at;
        let mut factors = vec![self.postfix()?];
        let mut juxtaposed_numbers = false;
        while self.starts_factor(factors.len(), functions) {
            let number_before = matches!(self.tokens.get(self.at - 1), Some(Token::Number(_)));
            let number_after = matches!(self.peek(), Some(Token::Number(_)));
            juxtaposed_numbers |= number_before && number_after;
            factors.push(self.postfix()?);
        }
        let plain_whole = matches!(self.tokens.get(start), Some(Token::Number(_)))
            && factors[0].is_whole_number();
        // `2 1/2`
        if juxtaposed_numbers {
            if let ([whole, over], true) = (factors.as_slice(), plain_whole)
                && over.is_whole_number()
                && self.is_next('/')
                && matches!(self.peek_second(), Some(Token::Number(_)))
            {
                self.at += 1;
                let under = self.postfix()?;
                let fraction = Expression::quotient(over.clone(), under);
                return mixed(whole, &fraction).ok_or(MathFailure::Unreadable);
            }
            return Err(MathFailure::Unreadable);
        }
        if let ([whole, fraction], true) = (factors.as_slice(), plain_whole)
            && matches!(
                self.tokens.get(start + 1),
                Some(Token::Command("frac" | "dfrac" | "tfrac" | "cfrac"))
            )
            && let Some(sum) = mixed(whole, fraction)
        {
            return Ok(sum);
        }
        Ok(Expression::product(factors))
    }

    /// Whether the next token begins another factor of an implicit product.
    fn starts_factor(&self, factors: usize, functions: bool) -> bool {
        let Some(next) = self.peek() else {
            return false;
        };
        match next {
            Token::Number(_)
            | Token::Scientific(..)
            | Token::Letter(_)
            | Token::Text(_)
            | Token::Accent(..) => true,
            Token::Begin(_) | Token::SetOpen => true,
            Token::Sign('(' | '[' | '{') => true,
            // A bar closes an absolute value when one is open and something stands in it.
            Token::Sign('|') => self.bars == 0,
            Token::Command(name) => {
                let function = function_named(name).is_some();
                if function {
                    functions || factors == 0
                } else {
                    is_atom_command(name)
                }
            }
            _ => false,
        }
    }

    /// An atom with its powers, factorials, percent and degree signs.
    fn postfix(&mut self) -> Parsed {
        let mut value = self.atom()?;
        let mut levels = 0;
        loop {
            if self.take('!') {
                value = Expression::Function(Function::Factorial, vec![value]);
            } else if self.take('%') {
                value = Expression::Percent(Box::new(value));
            } else if self.take_command(&["degree", "circ"]) {
                self.degrees += 1;
                continue;
            } else if self.take('\'') {
                continue;
            } else if self.is_next('^') {
                self.at += 1;
                if self.degree_mark() {
                    self.degrees += 1;
                    continue;
                }
                if self.prime_mark() {
                    continue;
                }
                let exponent = self.nested(Self::script)?;
                value = match (&value, &exponent) {
                    (Expression::Matrix(_), Expression::Symbol(name))
                        if name == "t" || name == "top" =>
                    {
                        Expression::Function(Function::Transpose, vec![value])
                    }
                    _ => Expression::power(value, exponent),
                };
            } else if self.is_next('_') {
                // The base of a numeral, or a stray index.
                self.at += 1;
                self.nested(Self::script)?;
                continue;
            } else {
                break;
            }
            levels += 1;
            if self.depth + levels > MAX_DEPTH {
                return Err(MathFailure::TooDeep);
            }
        }
        Ok(value)
    }

    /// `\circ` or `{\circ}` behind a caret.
    fn degree_mark(&mut self) -> bool {
        let is_degree = |token: Option<&Token>| {
            matches!(token, Some(Token::Command("circ" | "degree" | "circle")))
        };
        if is_degree(self.peek()) {
            self.at += 1;
            return true;
        }
        let braced = self.is_next('{')
            && is_degree(self.peek_second())
            && self.tokens.get(self.at + 2) == Some(&Token::Sign('}'));
        self.at += if braced { 3 } else { 0 };
        braced
    }

    /// `\prime` or `{\prime}` behind a caret.
    fn prime_mark(&mut self) -> bool {
        if self.take_command(&["prime"]) {
            return true;
        }
        let braced = self.is_next('{')
            && matches!(self.peek_second(), Some(Token::Command("prime")))
            && self.tokens.get(self.at + 2) == Some(&Token::Sign('}'));
        self.at += if braced { 3 } else { 0 };
        braced
    }

    /// What an exponent or a command without braces takes: `{…}`, `(…)`, or one token with its sign.
    fn script(&mut self) -> Parsed {
        if self.take('-') {
            return Ok(self.nested(Self::script)?.negated());
        }
        self.take('+');
        self.atom()
    }

    /// The argument of `\frac`, `\sqrt`: `{…}`, or one digit of a run of them.
    fn argument(&mut self) -> Parsed {
        self.nested(Self::atom)
    }

    /// Two arguments that may be digits of one run: `\frac12`, `\frac{1}2`.
    fn two_arguments(&mut self) -> Result<(Expression, Expression), MathFailure> {
        if let Some(Token::Number(digits)) = self.peek()
            && digits.len() > 1
            && !digits.contains('.')
        {
            let (first, second) = digits.split_at(1);
            self.at += 1;
            return Ok((number(first)?, number(second)?));
        }
        Ok((self.argument()?, self.argument()?))
    }
}

/// `x = 1, 2` says that x is 1 or 2, where `x = 1, y = 2` says two things.
fn spread_assignment(mut groups: Vec<Vec<Expression>>) -> Vec<Vec<Expression>> {
    let [list] = groups.as_mut_slice() else {
        return groups;
    };
    let is_relation = |side: &Expression| matches!(side, Expression::Relation(..));
    if list.len() < 2 || list[1..].iter().any(is_relation) {
        return groups;
    }
    if let Expression::Relation(first, rest) = &list[0]
        && let [(Comparison::Equal, value)] = rest.as_slice()
        && first.is_only_symbols()
    {
        let mut values = match value {
            Expression::Set(pair) => pair.clone(),
            other => vec![other.clone()],
        };
        let name = first.clone();
        values.extend(list.drain(1..));
        list[0] = Expression::Relation(name, vec![(Comparison::Equal, Expression::Set(values))]);
    }
    groups
}

/// One element as it is, several as a set, several lists as a set of points.
fn gathered(mut groups: Vec<Vec<Expression>>) -> Expression {
    if groups.len() == 1 {
        return one_or(groups.swap_remove(0), Expression::set);
    }
    if groups.iter().all(|group| group.len() == 1) {
        return Expression::set(groups.concat());
    }
    Expression::Set(groups.into_iter().map(Expression::Tuple).collect())
}

fn one_or(
    mut parts: Vec<Expression>,
    several: impl FnOnce(Vec<Expression>) -> Expression,
) -> Expression {
    if parts.len() == 1 {
        parts.swap_remove(0)
    } else {
        several(parts)
    }
}

fn half() -> Expression {
    Expression::Number(BigRational::new(BigInt::one(), BigInt::from(2)))
}

/// `whole + fraction` when the second is a positive number.
fn mixed(whole: &Expression, fraction: &Expression) -> Option<Expression> {
    match (whole, fraction) {
        (Expression::Number(whole), Expression::Number(fraction)) if fraction.is_positive() => {
            Some(Expression::Number(whole + fraction))
        }
        _ => None,
    }
}
