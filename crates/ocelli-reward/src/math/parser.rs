//! Tokens into an [`Expression`].
//!
//! The grammar, from loose to tight: lists parted by `;` and `,`; `±`; relations; set operations; sums; products;
//! signs; implicit products; powers and postfixes; atoms. Where notation has two readings, math-verify's is taken,
//! unless it is a slip: `3(4)` is 12 here and 7 there.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Num, One, Pow, Signed, Zero};

use super::MathFailure;
use super::expression::{Comparison, Constant, Expression, Function, Interval, NamedSet};
use super::functions::function_named;
use super::lexer::{Token, tokens};

/// Deepest nesting of brackets, fractions and powers.
const MAX_DEPTH: usize = 40;

/// Most digits of one number.
const MAX_DIGITS: usize = 2_000;

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

    fn atom(&mut self) -> Parsed {
        let token = self.peek().ok_or(MathFailure::Unreadable)?;
        self.at += 1;
        match token {
            Token::Number(digits) => self.number(digits),
            Token::Scientific(digits, exponent) => scientific(digits, *exponent),
            Token::Letter('e') => Ok(Expression::Constant(Constant::E)),
            Token::Letter('i' | 'I') if !self.is_next('_') => {
                Ok(Expression::Constant(Constant::ImaginaryUnit))
            }
            Token::Letter(letter) => {
                self.name(letter.to_ascii_lowercase().to_string(), Some(*letter))
            }
            Token::Text(text) => self.name(text.clone(), None),
            Token::Accent(mark, content) => self.accent(mark, content),
            Token::Command(name) => self.nested(|parser| parser.command(name)),
            Token::Begin(environment) => self.nested(|parser| parser.matrix(environment)),
            Token::SetOpen => self.nested(Self::set),
            Token::Sign('{') => self.nested(Self::group),
            Token::Sign('(') => self.nested(|parser| parser.bracketed(true)),
            Token::Sign('[') => self.nested(|parser| parser.bracketed(false)),
            Token::Sign('|') => self.nested(Self::absolute_value),
            _ => Err(MathFailure::Unreadable),
        }
    }

    /// Digits, with a repeating part behind them or not: `0.1\overline{6}`.
    fn number(&mut self, digits: &str) -> Parsed {
        if let Some(Token::Accent("overline" | "bar" | "dot", repeated)) = self.peek()
            && digits.contains('.')
            && !repeated.is_empty()
            && repeated.bytes().all(|byte| byte.is_ascii_digit())
        {
            self.at += 1;
            return repeating(digits, repeated);
        }
        number(digits)
    }

    /// A variable with its index, or a function of the task: `x`, `x_1`, `f(x)`.
    fn name(&mut self, mut name: String, letter: Option<char>) -> Parsed {
        if self.take('_') {
            let start = self.at;
            self.nested(Self::subscript)?;
            name.push('_');
            for token in &self.tokens[start..self.at] {
                match token {
                    Token::Number(text) | Token::Text(text) => name.push_str(text),
                    Token::Letter(letter) => name.push(*letter),
                    Token::Command(command) => name.push_str(command),
                    Token::Sign('{' | '}') => {}
                    Token::Sign(sign) => name.push(*sign),
                    _ => return Err(MathFailure::Unreadable),
                }
            }
        }
        if letter.is_some_and(|letter| "fghFGH".contains(letter)) && self.take('(') {
            let group = self.nested(|parser| parser.bracketed(true))?;
            return Ok(match group {
                Expression::Tuple(arguments) => Expression::Apply(name, arguments),
                Expression::Interval(ends) => Expression::Apply(name, vec![ends.start, ends.end]),
                argument @ (Expression::Symbol(_)
                | Expression::Number(_)
                | Expression::Constant(_)) => Expression::Apply(name, vec![argument]),
                factor => Expression::product(vec![Expression::Symbol(name), factor]),
            });
        }
        Ok(Expression::Symbol(name))
    }

    /// An index is part of a name, so only its extent counts.
    fn subscript(&mut self) -> Result<(), MathFailure> {
        if !self.take('{') {
            self.peek().ok_or(MathFailure::Unreadable)?;
            self.at += 1;
            return Ok(());
        }
        while !self.take('}') {
            if self.peek().is_none() || self.is_next('{') {
                return Err(MathFailure::Unreadable);
            }
            self.at += 1;
        }
        Ok(())
    }

    fn accent(&mut self, mark: &str, content: &str) -> Parsed {
        if mark == "mathbb" || mark == "boldsymbol" || mark == "bm" {
            if let Some(set) = (mark == "mathbb")
                .then(|| named_set(content.trim()))
                .flatten()
            {
                return Ok(Expression::NamedSet(set));
            }
            return self.name(content.trim().to_lowercase(), None);
        }
        let mark = match mark {
            "vec" | "overrightarrow" => "vec",
            "bar" | "overline" => "bar",
            "tilde" | "widetilde" => "tilde",
            "hat" | "widehat" => "hat",
            other => other,
        };
        let content: String = content
            .chars()
            .filter(|c| !c.is_whitespace())
            .flat_map(char::to_lowercase)
            .collect();
        self.name(format!("{mark}{{{content}}}"), None)
    }

    fn command(&mut self, name: &'t str) -> Parsed {
        match name {
            "frac" | "dfrac" | "tfrac" | "cfrac" => {
                let (numerator, denominator) = self.two_arguments()?;
                Ok(Expression::quotient(numerator, denominator))
            }
            "binom" | "dbinom" | "tbinom" => {
                let (n, k) = self.two_arguments()?;
                Ok(Expression::Function(Function::Binomial, vec![n, k]))
            }
            "sqrt" => {
                let index = if self.take('[') {
                    let index = self.sum()?;
                    self.expect(']')?;
                    index
                } else {
                    Expression::integer(2)
                };
                let radicand = match self.peek() {
                    // `\sqrt12` is the root of 1 times 2 in LaTeX and for math-verify.
                    Some(Token::Number(digits)) if digits.len() > 1 && !digits.contains('.') => {
                        self.at += 1;
                        let (first, second) = digits.split_at(1);
                        let root = Expression::power(number(first)?, half());
                        return Ok(Expression::product(vec![root, number(second)?]));
                    }
                    _ => self.argument()?,
                };
                Ok(Expression::power(
                    radicand,
                    Expression::quotient(Expression::integer(1), index),
                ))
            }
            "pi" => Ok(Expression::Constant(Constant::Pi)),
            "infty" => Ok(Expression::Constant(Constant::Infinity)),
            "imath" | "jmath" => Ok(Expression::Constant(Constant::ImaginaryUnit)),
            "exponentialE" => Ok(Expression::Constant(Constant::E)),
            "exp" => {
                let argument = self.function_argument()?;
                Ok(Expression::power(
                    Expression::Constant(Constant::E),
                    argument,
                ))
            }
            "log" | "ln" | "lg" => self.logarithm(name),
            "emptyset" | "varnothing" => Ok(Expression::NamedSet(NamedSet::Empty)),
            "R" | "Z" | "N" | "Q" | "C" => named_set(name)
                .map(Expression::NamedSet)
                .ok_or(MathFailure::Unreadable),
            "lfloor" => {
                let inside = self.sum()?;
                self.closing("rfloor")?;
                Ok(Expression::Function(Function::Floor, vec![inside]))
            }
            "lceil" => {
                let inside = self.sum()?;
                self.closing("rceil")?;
                Ok(Expression::Function(Function::Ceil, vec![inside]))
            }
            "langle" => {
                let elements = self.lists()?.concat();
                self.closing("rangle")?;
                Ok(Expression::Tuple(elements))
            }
            "gcd" | "lcm" | "max" | "min" => {
                let function = function_named(name).ok_or(MathFailure::Unreadable)?;
                self.expect('(')?;
                match self.arguments(')')? {
                    Expression::Tuple(arguments) => Ok(Expression::Function(function, arguments)),
                    _ => Err(MathFailure::Unreadable),
                }
            }
            _ => match function_named(name) {
                Some(function) => self.function(function),
                None if is_atom_command(name) => self.name(name.to_lowercase(), None),
                None => Err(MathFailure::Unreadable),
            },
        }
    }

    fn closing(&mut self, command: &str) -> Result<(), MathFailure> {
        self.take_command(&[command])
            .then_some(())
            .ok_or(MathFailure::Unreadable)
    }

    /// `\sin x`, `\sin^2 x`, `\sin^{-1} x`, `\sin(x)`.
    fn function(&mut self, function: Function) -> Parsed {
        let exponent = if self.take('^') {
            Some(self.nested(Self::script)?)
        } else {
            None
        };
        let degrees = self.degrees;
        let mut argument = self.function_argument()?;
        if self.degrees > degrees && function.takes_an_angle() {
            let turn =
                Expression::quotient(Expression::Constant(Constant::Pi), Expression::integer(180));
            argument = Expression::product(vec![argument, turn]);
        }
        let minus_one = Expression::integer(-1);
        match exponent {
            Some(exponent) if exponent == minus_one => {
                let inverse = function.inverse().ok_or(MathFailure::Unreadable)?;
                Ok(Expression::Function(inverse, vec![argument]))
            }
            Some(exponent) => Ok(Expression::power(
                Expression::Function(function, vec![argument]),
                exponent,
            )),
            None => Ok(Expression::Function(function, vec![argument])),
        }
    }

    /// `\log_2 8`, `\log^2 x`, `\ln x`; the base is 10 where none is written.
    fn logarithm(&mut self, name: &str) -> Parsed {
        let mut base = if name == "ln" {
            Expression::Constant(Constant::E)
        } else {
            Expression::integer(10)
        };
        let mut exponent = None;
        loop {
            if self.take('_') {
                // `\log_28` has base 2.
                if let Some(Token::Number(digits)) = self.peek()
                    && digits.len() > 1
                    && !digits.contains('.')
                    && !matches!(
                        self.peek_second(),
                        Some(Token::Number(_) | Token::Letter(_) | Token::Sign('(' | '{'))
                    )
                {
                    self.at += 1;
                    let (first, argument) = digits.split_at(1);
                    return Ok(Expression::Function(
                        Function::Log,
                        vec![number(argument)?, number(first)?],
                    ));
                }
                base = self.nested(Self::script)?;
            } else if self.take('^') {
                exponent = Some(self.nested(Self::script)?);
            } else {
                break;
            }
        }
        let argument = self.function_argument()?;
        let value = Expression::Function(Function::Log, vec![argument, base]);
        Ok(match exponent {
            Some(exponent) => Expression::power(value, exponent),
            None => value,
        })
    }

    fn function_argument(&mut self) -> Parsed {
        if self.is_next('(') {
            self.at += 1;
            return self.nested(|parser| parser.bracketed(true));
        }
        self.nested(|parser| parser.product(false))
    }

    /// Arguments up to `close`, as a tuple.
    fn arguments(&mut self, close: char) -> Parsed {
        let elements = self.lists()?.concat();
        self.expect(close)?;
        Ok(Expression::Tuple(elements))
    }

    /// `{…}`: a group, or a set when it has several elements.
    fn group(&mut self) -> Parsed {
        if self.take('}') {
            return Ok(Expression::NamedSet(NamedSet::Empty));
        }
        let bars = std::mem::take(&mut self.bars);
        let mut elements = self.lists()?.concat();
        self.bars = bars;
        if self.take_command(&["choose"]) {
            let k = self.sum()?;
            self.expect('}')?;
            elements.push(k);
            return Ok(Expression::Function(Function::Binomial, elements));
        }
        self.expect('}')?;
        Ok(one_or(elements, Expression::set))
    }

    /// `\{…\}`
    fn set(&mut self) -> Parsed {
        if self.peek() == Some(&Token::SetClose) {
            self.at += 1;
            return Ok(Expression::NamedSet(NamedSet::Empty));
        }
        let bars = std::mem::take(&mut self.bars);
        let elements = self.lists()?.concat();
        self.bars = bars;
        if self.peek() != Some(&Token::SetClose) {
            return Err(MathFailure::Unreadable);
        }
        self.at += 1;
        Ok(Expression::set(elements))
    }

    /// Behind `(` or `[`: a group, an interval, or a point.
    fn bracketed(&mut self, open_start: bool) -> Parsed {
        let bars = std::mem::take(&mut self.bars);
        let mut lists = self.lists()?;
        self.bars = bars;
        let open_end = if self.take(')') {
            true
        } else {
            self.expect(']')?;
            false
        };
        if let [list] = lists.as_mut_slice() {
            if list.len() == 1 && open_start == open_end {
                return Ok(list.swap_remove(0));
            }
            let relation = |side: &Expression| matches!(side, Expression::Relation(..));
            if list.len() == 2 && !list.iter().any(relation) {
                let end = list.swap_remove(1);
                let start = list.swap_remove(0);
                return Ok(Expression::Interval(Box::new(Interval {
                    start,
                    end,
                    open_start,
                    open_end,
                })));
            }
        }
        if open_start != open_end {
            return Err(MathFailure::Unreadable);
        }
        Ok(Expression::Tuple(lists.concat()))
    }

    fn absolute_value(&mut self) -> Parsed {
        // `||v||`
        let double = self.take('|');
        let bars = self.bars;
        self.bars += 1;
        let inside = self.sum()?;
        self.bars = bars;
        self.expect('|')?;
        if double {
            self.expect('|')?;
        }
        Ok(Expression::Function(Function::Abs, vec![inside]))
    }

    /// Rows up to the end of `environment`.
    fn matrix(&mut self, environment: &str) -> Parsed {
        if !matches!(
            environment,
            "matrix" | "pmatrix" | "bmatrix" | "Bmatrix" | "vmatrix" | "smallmatrix" | "array"
        ) {
            return Err(MathFailure::Unreadable);
        }
        let mut rows = vec![Vec::new()];
        loop {
            match self.peek() {
                Some(Token::End(name)) if *name == environment => {
                    self.at += 1;
                    break;
                }
                Some(Token::NewRow) => {
                    self.at += 1;
                    rows.push(Vec::new());
                }
                Some(Token::Sign('&')) => self.at += 1,
                Some(_) => {
                    let cell = self.sum()?;
                    rows.last_mut().ok_or(MathFailure::Unreadable)?.push(cell);
                }
                None => return Err(MathFailure::Unreadable),
            }
        }
        rows.retain(|row| !row.is_empty());
        let width = rows.first().map_or(0, Vec::len);
        if width == 0 || rows.iter().any(|row| row.len() != width) {
            return Err(MathFailure::Unreadable);
        }
        let matrix = Expression::Matrix(rows);
        Ok(if environment == "vmatrix" {
            Expression::Function(Function::Determinant, vec![matrix])
        } else {
            matrix
        })
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

/// The value of `digits`, with a point or without.
pub(super) fn number(digits: &str) -> Parsed {
    if digits.len() > MAX_DIGITS {
        return Err(MathFailure::TooLarge);
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let value = BigInt::from_str_radix(&all, 10).map_err(|_| MathFailure::Unreadable)?;
    if digits.contains('.') {
        Ok(Expression::Decimal(BigRational::new(
            value,
            power_of_ten(fraction.len())?,
        )))
    } else {
        Ok(Expression::Number(BigRational::from_integer(value)))
    }
}

fn scientific(digits: &str, exponent: i32) -> Parsed {
    let magnitude = usize::try_from(exponent.unsigned_abs()).map_err(|_| MathFailure::TooLarge)?;
    let power = BigRational::from_integer(power_of_ten(magnitude)?);
    match number(digits)? {
        Expression::Number(value) | Expression::Decimal(value) => {
            Ok(Expression::Decimal(if exponent < 0 {
                value / power
            } else {
                value * power
            }))
        }
        _ => Err(MathFailure::Unreadable),
    }
}

/// `digits` with `repeated` behind them forever: 0.1 and 6 make 1/6.
fn repeating(digits: &str, repeated: &str) -> Parsed {
    let places = digits
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    let period = power_of_ten(repeated.len())? - BigInt::one();
    let Expression::Number(tail) = number(repeated)? else {
        return Err(MathFailure::Unreadable);
    };
    let start = match number(digits.trim_end_matches('.'))? {
        Expression::Number(value) | Expression::Decimal(value) => value,
        _ => BigRational::zero(),
    };
    let shift = BigRational::from_integer(power_of_ten(places)?);
    Ok(Expression::Number(start + tail / period / shift))
}

fn power_of_ten(exponent: usize) -> Result<BigInt, MathFailure> {
    if exponent > MAX_DIGITS {
        return Err(MathFailure::TooLarge);
    }
    Ok(Pow::pow(BigInt::from(10), exponent))
}

fn named_set(letter: &str) -> Option<NamedSet> {
    Some(match letter {
        "N" => NamedSet::Naturals,
        "Z" => NamedSet::Integers,
        "Q" => NamedSet::Rationals,
        "R" => NamedSet::Reals,
        "C" => NamedSet::Complexes,
        _ => return None,
    })
}

/// Commands that stand for a value: letters, signs without another meaning, and what opens a value.
fn is_atom_command(name: &str) -> bool {
    matches!(
        name,
        "alpha"
            | "beta"
            | "gamma"
            | "Gamma"
            | "delta"
            | "Delta"
            | "epsilon"
            | "varepsilon"
            | "zeta"
            | "eta"
            | "theta"
            | "Theta"
            | "vartheta"
            | "iota"
            | "kappa"
            | "lambda"
            | "Lambda"
            | "mu"
            | "nu"
            | "xi"
            | "Xi"
            | "Pi"
            | "varpi"
            | "rho"
            | "varrho"
            | "sigma"
            | "Sigma"
            | "varsigma"
            | "tau"
            | "upsilon"
            | "Upsilon"
            | "phi"
            | "Phi"
            | "varphi"
            | "chi"
            | "psi"
            | "Psi"
            | "omega"
            | "Omega"
            | "angle"
            | "measuredangle"
            | "triangle"
            | "square"
            | "ell"
            | "hbar"
            | "nabla"
            | "clubsuit"
            | "diamondsuit"
            | "heartsuit"
            | "spadesuit"
            | "Re"
            | "Im"
            | "top"
            | "partial"
            | "bigstar"
            | "diamond"
            | "Box"
            | "frac"
            | "dfrac"
            | "tfrac"
            | "cfrac"
            | "binom"
            | "dbinom"
            | "tbinom"
            | "sqrt"
            | "pi"
            | "infty"
            | "imath"
            | "jmath"
            | "exponentialE"
            | "emptyset"
            | "varnothing"
            | "R"
            | "Z"
            | "N"
            | "Q"
            | "C"
            | "lfloor"
            | "lceil"
            | "langle"
    )
}
