//! LaTeX or plain mathematics into tokens.

use super::MathFailure;

/// Commands whose argument is text.
pub(super) const TEXT_COMMANDS: &[&str] = &[
    "text",
    "mbox",
    "mathrm",
    "textrm",
    "textnormal",
    "textbf",
    "textit",
    "mathbf",
    "mathit",
    "rm",
    "bf",
    "it",
    "mathsf",
    "mathtt",
    "textsf",
    "hbox",
    "operatorname",
];

/// Commands that change nothing but the look.
const SILENT: &[&str] = &[
    "left",
    "right",
    "mleft",
    "mright",
    "displaystyle",
    "textstyle",
    "quad",
    "qquad",
    "thinspace",
    "medspace",
    "thickspace",
    "negthinspace",
    "negmedspace",
    "negthickspace",
    "limits",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "biggl",
    "biggr",
    "Biggl",
    "Biggr",
    "ldots",
    "dots",
    "cdots",
    "hfill",
    "boxed",
    "fbox",
    "phantom",
    "nolimits",
    "hline",
    "rm",
    "bf",
    "it",
];

/// Marks over a name, which become part of it.
const ACCENTS: &[&str] = &[
    "vec",
    "overrightarrow",
    "hat",
    "widehat",
    "tilde",
    "widetilde",
    "bar",
    "overline",
    "dot",
    "ddot",
    "mathbb",
    "mathcal",
    "mathfrak",
    "mathscr",
    "boldsymbol",
    "bm",
];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// Digits, with a point or without.
    Number(String),
    /// `1.5E-3`
    Scientific(String, i32),
    Letter(char),
    /// The content of `\text{…}`, without blanks.
    Text(String),
    /// The mark and what stands under it.
    Accent(&'a str, &'a str),
    /// A command without its backslash, or its sign in Unicode.
    Command(&'a str),
    /// `\begin{…}` and `\end{…}`
    Begin(&'a str),
    End(&'a str),
    /// `\\`
    NewRow,
    /// `\{` and `\}`
    SetOpen,
    SetClose,
    /// One of `+-*/^_()[]{}|,;:=<>!%&'`
    Sign(char),
}

/// The tokens of `source`.
///
/// # Errors
/// [`MathFailure::Unreadable`] at a character that mathematics does not have.
pub(super) fn tokens(source: &str) -> Result<Vec<Token<'_>>, MathFailure> {
    let mut lexer = Lexer {
        rest: source,
        tokens: Vec::new(),
        brackets: 0,
    };
    while !lexer.rest.is_empty() {
        lexer.step()?;
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    tokens: Vec<Token<'a>>,
    /// Open parentheses, brackets and set braces: inside of them a comma parts elements and never thousands.
    brackets: usize,
}

impl<'a> Lexer<'a> {
    fn step(&mut self) -> Result<(), MathFailure> {
        let Some(first) = self.rest.chars().next() else {
            return Ok(());
        };
        match first {
            c if c.is_whitespace() => self.advance(c.len_utf8()),
            '$' | '"' | '~' | '`' | '\u{200b}' => self.advance(first.len_utf8()),
            '0'..='9' | '.' => self.number()?,
            '\\' => self.command()?,
            'a'..='z' | 'A'..='Z' => self.word(),
            _ => self.sign(first)?,
        }
        Ok(())
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn push(&mut self, token: Token<'a>) {
        self.tokens.push(token);
    }

    fn number(&mut self) -> Result<(), MathFailure> {
        let mut digits = self.take_digits().to_owned();
        // Thousands: 12,345 outside of brackets, 12{,}345, 12\,345 and 12 345.
        if (1..=3).contains(&digits.len()) {
            while let Some(group) = self.thousands() {
                digits.push_str(group);
            }
        }
        if self.rest.starts_with('.') && self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            self.advance(1);
            let fraction = self.take_digits();
            digits = format!("{digits}.{fraction}");
        } else if self.rest.starts_with('.') && digits.is_empty() {
            // A full stop.
            self.advance(1);
            return if self.rest.trim().is_empty() || self.rest.starts_with('.') {
                self.rest = self.rest.trim_start_matches('.');
                Ok(())
            } else {
                Err(MathFailure::Unreadable)
            };
        } else if self.rest.starts_with(r".\overline") || self.rest.starts_with(r".\dot") {
            self.advance(1);
            digits.push('.');
        } else if self.rest.starts_with('.') {
            // `5.` is 5.
            self.advance(1);
        }
        if let Some(after) = self.rest.strip_prefix('E') {
            let unsigned = after.strip_prefix(['+', '-']).unwrap_or(after);
            let length = unsigned.bytes().take_while(u8::is_ascii_digit).count();
            let exponent = after.len() - unsigned.len() + length;
            if length > 0 {
                let exponent_value = after[..exponent]
                    .parse()
                    .map_err(|_| MathFailure::TooLarge)?;
                self.rest = &after[exponent..];
                self.push(Token::Scientific(digits, exponent_value));
                return Ok(());
            }
        }
        self.push(Token::Number(digits));
        Ok(())
    }

    fn take_digits(&mut self) -> &'a str {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        digits
    }

    /// Three digits behind a separator and not more than three.
    fn thousands(&mut self) -> Option<&'a str> {
        let separators: &[&str] = if self.brackets == 0 {
            &[",", "{,}", r"\,", r",\!", r"\ ", " "]
        } else {
            &["{,}", r"\,", r",\!"]
        };
        let group = separators
            .iter()
            .find_map(|separator| self.rest.strip_prefix(separator))?;
        let digits = group.bytes().take_while(u8::is_ascii_digit).count();
        if digits != 3 {
            return None;
        }
        self.rest = &group[3..];
        Some(&group[..3])
    }

    fn command(&mut self) -> Result<(), MathFailure> {
        let after = &self.rest[1..];
        let length = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        if length == 0 {
            let Some(sign) = after.chars().next() else {
                self.rest = after;
                return Ok(());
            };
            self.rest = &after[sign.len_utf8()..];
            match sign {
                '\\' => {
                    // `\\frac` is a command escaped twice, except where rows are parted.
                    let in_rows = self
                        .tokens
                        .iter()
                        .any(|token| matches!(token, Token::Begin(_)));
                    if in_rows || !self.rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
                        self.push(Token::NewRow);
                    } else {
                        self.rest = after;
                    }
                }
                '{' => {
                    self.brackets += 1;
                    self.push(Token::SetOpen);
                }
                '}' => {
                    self.brackets = self.brackets.saturating_sub(1);
                    self.push(Token::SetClose);
                }
                '%' => self.push(Token::Sign('%')),
                '|' => self.push(Token::Sign('|')),
                '(' | '[' => self.push(Token::Sign(sign)),
                ')' | ']' => self.push(Token::Sign(sign)),
                ',' | ';' | ':' | '!' | '$' | ' ' | '>' | '&' | '-' | '\n' | '\t' | '#' => {}
                _ => return Err(MathFailure::Unreadable),
            }
            return Ok(());
        }
        let name = &after[..length];
        self.rest = &after[length..];
        if name == "begin" || name == "end" {
            let environment = self.braced().ok_or(MathFailure::Unreadable)?;
            let environment = environment.trim_end_matches('*');
            if name == "begin" {
                if environment == "array" {
                    self.braced();
                }
                self.push(Token::Begin(environment));
            } else {
                self.push(Token::End(environment));
            }
        } else if TEXT_COMMANDS.contains(&name) && self.rest.trim_start().starts_with('{') {
            let content = self.braced().ok_or(MathFailure::Unreadable)?;
            self.text(content);
        } else if ACCENTS.contains(&name) && self.rest.trim_start().starts_with('{') {
            let content = self.braced().ok_or(MathFailure::Unreadable)?;
            self.push(Token::Accent(name, content));
        } else if name == "left" || name == "right" || name == "mleft" || name == "mright" {
            // `\left.` opens nothing.
            self.rest = self.rest.strip_prefix('.').unwrap_or(self.rest);
        } else if !SILENT.contains(&name) {
            match name {
                "lbrace" => self.push(Token::SetOpen),
                "rbrace" => self.push(Token::SetClose),
                "lbrack" | "lgroup" => {
                    self.push(Token::Sign(if name == "lbrack" { '[' } else { '(' }))
                }
                "rbrack" | "rgroup" => {
                    self.push(Token::Sign(if name == "rbrack" { ']' } else { ')' }))
                }
                "lvert" | "rvert" | "vert" | "mid" | "lVert" | "rVert" | "Vert" => {
                    self.push(Token::Sign('|'))
                }
                "times" | "cdot" | "ast" => self.push(Token::Sign('*')),
                "div" | "over" => self.push(Token::Sign('/')),
                "lt" => self.push(Token::Sign('<')),
                "gt" => self.push(Token::Sign('>')),
                "colon" => self.push(Token::Sign(':')),
                _ => self.push(Token::Command(name)),
            }
        }
        Ok(())
    }

    /// The content of the braces that come next, up to the first closing one.
    fn braced(&mut self) -> Option<&'a str> {
        let inside = self.rest.trim_start().strip_prefix('{')?;
        let close = inside.find('}')?;
        self.rest = &inside[close + 1..];
        Some(&inside[..close])
    }

    fn text(&mut self, content: &'a str) {
        match content.trim() {
            "and" | "or" | ",and" | ",or" | ", and" | ", or" | "," => self.comma(),
            "" => {}
            "percent" | "pct" | "percentage" => self.push(Token::Sign('%')),
            "i" | "e" | "d" => {
                self.push(Token::Letter(content.trim().chars().next().unwrap_or('i')))
            }
            "sin" | "cos" | "tan" | "log" | "ln" | "cot" | "sec" | "csc" | "arcsin" | "arccos"
            | "arctan" | "gcd" | "lcm" | "floor" | "ceil" | "max" | "min" | "det" | "sqrt" => {
                self.push(Token::Command(content.trim()))
            }
            _ => {
                let name: String = content
                    .chars()
                    .filter(|c| {
                        !c.is_whitespace() && !matches!(c, '(' | ')' | '\\' | '$' | '"' | '\'')
                    })
                    .flat_map(char::to_lowercase)
                    .collect();
                self.push(Token::Text(name));
            }
        }
    }

    /// A comma, unless one stands there already: `1, and 2`.
    fn comma(&mut self) {
        if self.tokens.last() != Some(&Token::Sign(',')) {
            self.push(Token::Sign(','));
        }
    }

    /// Letters without a backslash: each is a variable, but for a few words.
    fn word(&mut self) {
        let length = self
            .rest
            .bytes()
            .take_while(u8::is_ascii_alphabetic)
            .count();
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        match word {
            "and" | "or" => self.comma(),
            "infinity" | "inf" => self.push(Token::Command("infty")),
            "percent" | "percentage" | "pct" => self.push(Token::Sign('%')),
            "sqrt" | "sin" | "cos" | "tan" | "log" | "ln" | "pi" => self.push(Token::Command(word)),
            _ => self.tokens.extend(word.chars().map(Token::Letter)),
        }
    }

    fn sign(&mut self, sign: char) -> Result<(), MathFailure> {
        self.advance(sign.len_utf8());
        let token = match sign {
            '(' | '[' => {
                self.brackets += 1;
                Token::Sign(sign)
            }
            ')' | ']' => {
                self.brackets = self.brackets.saturating_sub(1);
                Token::Sign(sign)
            }
            '<' if self.take("=") => Token::Command("le"),
            '>' if self.take("=") => Token::Command("ge"),
            '!' if self.take("=") => Token::Command("ne"),
            '=' => {
                self.take("=");
                Token::Sign('=')
            }
            '*' => {
                // Python's power.
                if self.take("*") {
                    Token::Sign('^')
                } else {
                    Token::Sign('*')
                }
            }
            '{' | '}' | '+' | '-' | '/' | '^' | '_' | '|' | ',' | ';' | ':' | '<' | '>' | '!'
            | '%' | '&' | '\'' => Token::Sign(sign),
            '−' | '–' | '—' | '﹣' => Token::Sign('-'),
            '×' | '⋅' | '·' | '∙' | '∗' | '∘' | '•' => Token::Sign('*'),
            '÷' | '∕' | '⁄' => Token::Sign('/'),
            '，' => Token::Sign(','),
            '（' => Token::Sign('('),
            '）' => Token::Sign(')'),
            '：' => Token::Sign(':'),
            '²' | '³' | '⁴' | '¹' | '⁵' | '⁶' | '⁷' | '⁸' | '⁹' | '⁰' => {
                self.push(Token::Sign('^'));
                Token::Number(superscript(sign).to_string())
            }
            '½' => return self.replace(r"\frac{1}{2}"),
            '¼' => return self.replace(r"\frac{1}{4}"),
            '¾' => return self.replace(r"\frac{3}{4}"),
            '⅓' => return self.replace(r"\frac{1}{3}"),
            '⅔' => return self.replace(r"\frac{2}{3}"),
            '€' | '£' | '¥' | '₹' | '₽' | '₩' | '¢' | '’' | '‘' | '“' | '”' => {
                return Ok(());
            }
            _ => Token::Command(command_of(sign).ok_or(MathFailure::Unreadable)?),
        };
        self.push(token);
        Ok(())
    }

    fn replace(&mut self, source: &'static str) -> Result<(), MathFailure> {
        self.tokens.extend(tokens(source)?);
        Ok(())
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

fn superscript(sign: char) -> u32 {
    match sign {
        '¹' => 1,
        '²' => 2,
        '³' => 3,
        '⁰' => 0,
        other => u32::from(other) - u32::from('⁰'),
    }
}

/// The command whose sign this is in Unicode.
fn command_of(sign: char) -> Option<&'static str> {
    Some(match sign {
        '≤' | '≦' | '⩽' => "le",
        '≥' | '≧' | '⩾' => "ge",
        '≠' => "ne",
        '≈' | '≃' | '≅' => "approx",
        '∞' => "infty",
        '±' => "pm",
        '∓' => "mp",
        '√' => "sqrt",
        '°' => "degree",
        '∪' => "cup",
        '∩' => "cap",
        '∖' => "setminus",
        '∅' => "emptyset",
        '∈' => "in",
        '∉' => "notin",
        'ℝ' => "R",
        'ℤ' => "Z",
        'ℕ' => "N",
        'ℚ' => "Q",
        'ℂ' => "C",
        'π' => "pi",
        'α' => "alpha",
        'β' => "beta",
        'γ' => "gamma",
        'δ' => "delta",
        'ε' => "epsilon",
        'θ' => "theta",
        'λ' => "lambda",
        'μ' => "mu",
        'ρ' => "rho",
        'σ' => "sigma",
        'τ' => "tau",
        'φ' => "phi",
        'ω' => "omega",
        'Δ' => "Delta",
        'Ω' => "Omega",
        'Σ' => "Sigma",
        '∠' => "angle",
        '△' => "triangle",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(source: &str) -> Vec<String> {
        tokens(source)
            .unwrap()
            .into_iter()
            .filter_map(|token| match token {
                Token::Number(digits) => Some(digits),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn thousands_are_one_number_outside_of_brackets() {
        assert_eq!(numbers("12,345,678.9"), ["12345678.9"]);
        assert_eq!(numbers(r"12\,345"), ["12345"]);
        assert_eq!(numbers("12{,}345"), ["12345"]);
        assert_eq!(numbers("12 345"), ["12345"]);
        assert_eq!(numbers("(12,345)"), ["12", "345"]);
        assert_eq!(numbers("12,34"), ["12", "34"]);
        assert_eq!(numbers("12, 345"), ["12", "345"]);
        assert_eq!(numbers("1234,567"), ["1234", "567"]);
    }

    #[test]
    fn text_is_one_name() {
        assert_eq!(
            tokens(r"\text{ Not Enough }").unwrap(),
            [Token::Text("notenough".into())]
        );
        assert_eq!(tokens(r"\text{ and }").unwrap(), [Token::Sign(',')]);
        assert_eq!(
            tokens("ab").unwrap(),
            [Token::Letter('a'), Token::Letter('b')]
        );
    }

    #[test]
    fn refuses_what_mathematics_does_not_have() {
        assert_eq!(tokens("5 ☃"), Err(MathFailure::Unreadable));
    }
}
