//! What a term is made of: numbers, names, commands, brackets, sets, matrices.

use super::number::{number, repeating, scientific};
use super::{Parsed, Parser, half, one_or};
use crate::math::MathFailure;
use crate::math::expression::{Constant, Expression, Function, Interval, NamedSet};
use crate::math::functions::function_named;
use crate::math::lexer::Token;

impl<'t> Parser<'t> {
    pub(super) fn atom(&mut self) -> Parsed {
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
pub(super) fn is_atom_command(name: &str) -> bool {
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
