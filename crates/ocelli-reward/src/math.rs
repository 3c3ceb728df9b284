//! Mathematics: finds a final answer in a text, reads it, and says whether it is the gold answer.
//!
//! What counts as an answer and as equal follows `math_verify.verify(parse(gold), parse(answer))`, version 0.9, with its
//! default settings; `docs/math-disagreements.md` lists where this crate differs and why. Work and memory are bounded
//! by counts, whatever the text: long numbers, towers of powers and deep nesting end in a typed failure.
//!
//! ```
//! use ocelli_reward::math::{Options, score};
//!
//! let answer = r"Half of it, so the area is $\boxed{\frac{\sqrt{8}}{2}}$ cm.";
//! assert_eq!(score(answer, r"\sqrt{2}", &Options::default()), Ok(true));
//! ```

mod arithmetic;
mod bigfloat;
mod boxed;
mod budget;
mod compare;
mod equality;
mod evaluate;
mod expression;
mod extract;
mod functions;
mod lexer;
mod matrix;
mod normal;
mod parser;
mod polynomial;
mod real;
mod sets;
mod units;

use boxed::{Boxes, unboxed};
use budget::Budget;
use compare::Comparer;
use expression::Expression;
use extract::{Form, Found, Piece};

/// Bytes at the end of a text in which an answer is looked for.
const MAX_TEXT: usize = 32 << 10;

/// Longest answer that is read as mathematics, in bytes.
const MAX_ANSWER: usize = 4 << 10;

/// Matches that are read before the search is given up.
const MAX_ATTEMPTS: usize = 24;

/// How answers are found and compared. The defaults are math-verify's, but for `gold_is_text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Look for the gold answer in a text too, as math-verify does: `2x + 3` without delimiters is then 2. When off,
    /// a gold answer without `$`, `\(`, `\[` or `\boxed` is read as it stands, if it can be.
    pub gold_is_text: bool,
    /// A box comes before "the final answer is", as in TRL's accuracy reward.
    pub boxed_first: bool,
    /// Decimal places to which numbers with a decimal point are compared, at most 18.
    pub float_rounding: u32,
    /// Names of variables count. When off, `x + 1` is `y + 1`.
    pub strict: bool,
    /// An answer such as `1 < x < 2` may stand for the gold interval `(1, 2)`. The other way round it always may.
    pub allow_set_relation_comp: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gold_is_text: false,
            boxed_first: false,
            float_rounding: 6,
            strict: true,
            allow_set_relation_comp: false,
        }
    }
}

/// Why there is no verdict. The texts hold nothing of the answer itself, so they can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MathFailure {
    /// The text holds no number, formula or box.
    #[error("the text holds no answer")]
    NoAnswer,
    /// The same of the gold answer: the row cannot be judged.
    #[error("the gold answer holds no mathematics and no text")]
    NoGold,
    /// Not mathematics.
    #[error("the answer cannot be read as mathematics")]
    Unreadable,
    /// More nesting than any answer needs.
    #[error("the answer is nested too deep")]
    TooDeep,
    /// More digits, terms or characters than any answer needs.
    #[error("the answer is too large")]
    TooLarge,
    /// No value, such as a division by 0.
    #[error("the answer has no value that could be compared")]
    Undecided,
    /// The comparison takes more work than it may.
    #[error("the comparison takes too much work")]
    OverBudget,
}

/// A final answer: its text, and what it says if that could be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    text: String,
    expression: Option<Expression>,
}

impl Answer {
    /// Reads all of `text` as one answer, in LaTeX or plain.
    ///
    /// # Errors
    /// [`MathFailure::NoAnswer`] when nothing but blanks is there. What cannot be read as mathematics is text.
    pub fn new(text: &str) -> Result<Self, MathFailure> {
        let whole = Piece {
            form: Form::Latex,
            body: text,
            percent: false,
        };
        let (expression, text) = read(&whole);
        if text.is_empty() {
            return Err(MathFailure::NoAnswer);
        }
        Ok(Self {
            text,
            expression: expression.ok(),
        })
    }

    /// The answer without its delimiters, boxes and units.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the answer could be read as mathematics. If not, only the same text equals it.
    pub fn is_mathematics(&self) -> bool {
        self.expression.is_some()
    }
}

/// The final answer in `text`, of which the last 32 KiB are looked at.
///
/// In order of rank: behind "final answer is", in `\boxed{…}`, behind "answer:", behind "answer", and anywhere; of one
/// rank the last that can be read.
///
/// # Errors
/// [`MathFailure::NoAnswer`].
pub fn extract(text: &str) -> Result<Answer, MathFailure> {
    extract_with(text, &Options::default())
}

fn extract_with(text: &str, options: &Options) -> Result<Answer, MathFailure> {
    let text = tail(text);
    let mut fallback: Option<String> = None;
    let mut attempts = 0;
    for rank in extract::RANKS {
        for found in extract::found(text, rank, options.boxed_first) {
            if attempts == MAX_ATTEMPTS {
                break;
            }
            attempts += 1;
            let (expression, written) = read_all(&found);
            let written = fallback.get_or_insert(written);
            if let Some(expression) = expression {
                return Ok(Answer {
                    text: std::mem::take(written),
                    expression: Some(expression),
                });
            }
        }
    }
    match fallback {
        Some(text) if !text.is_empty() => Ok(Answer {
            text,
            expression: None,
        }),
        _ => Err(MathFailure::NoAnswer),
    }
}

/// Whether `answer` says the same as `gold`, by math-verify's rules and default settings.
///
/// Where the forms differ, that of `gold` rules: the answer `x = 5` is the gold answer `5`, and the other way round.
///
/// # Errors
/// [`MathFailure::OverBudget`] and [`MathFailure::TooLarge`] when that cannot be found out with bounded work.
pub fn equivalent(gold: &Answer, answer: &Answer) -> Result<bool, MathFailure> {
    equivalent_with(gold, answer, &Options::default())
}

fn equivalent_with(gold: &Answer, answer: &Answer, options: &Options) -> Result<bool, MathFailure> {
    if gold.text == answer.text {
        return Ok(true);
    }
    let (Some(gold), Some(answer)) = (&gold.expression, &answer.expression) else {
        return Ok(false);
    };
    let budget = Budget::new(Budget::COMPARISON);
    let comparer = Comparer {
        options,
        budget: &budget,
    };
    comparer.equal(gold, answer)
}

/// Whether the final answer in `text` is `gold`.
///
/// # Errors
/// [`MathFailure::NoGold`] when the gold answer is empty; [`MathFailure::NoAnswer`] when `text` holds no answer; the
/// failures of [`equivalent`].
pub fn score(text: &str, gold: &str, options: &Options) -> Result<bool, MathFailure> {
    let gold = read_gold(gold, options)?;
    let answer = extract_with(text, options)?;
    equivalent_with(&gold, &answer, options)
}

fn read_gold(gold: &str, options: &Options) -> Result<Answer, MathFailure> {
    let delimited = ["$", r"\(", r"\[", r"\boxed"]
        .iter()
        .any(|delimiter| gold.contains(delimiter));
    if options.gold_is_text || delimited {
        return extract_with(gold, options).map_err(|_| MathFailure::NoGold);
    }
    let whole = Answer::new(gold).map_err(|_| MathFailure::NoGold)?;
    if whole.is_mathematics() {
        return Ok(whole);
    }
    Ok(extract_with(gold, options).unwrap_or(whole))
}

/// The last part of `text`, cut at a character.
fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(MAX_TEXT);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// What a match says, several pieces as a set, and its text.
fn read_all(found: &Found<'_>) -> (Option<Expression>, String) {
    let mut expressions = Vec::with_capacity(found.pieces.len());
    let mut texts = Vec::with_capacity(found.pieces.len());
    for piece in &found.pieces {
        let (expression, text) = read(piece);
        expressions.push(expression.ok());
        texts.push(text);
    }
    if expressions.len() > 1 && expressions.iter().all(Option::is_some) {
        let mut elements = Vec::with_capacity(expressions.len());
        for expression in expressions.into_iter().flatten() {
            match expression {
                Expression::Set(inner) => elements.extend(inner),
                other => elements.push(other),
            }
        }
        return (Some(Expression::set(elements)), texts.join("and"));
    }
    (expressions.swap_remove(0), texts.swap_remove(0))
}

/// What a piece says, and its text without blanks.
fn read(piece: &Piece<'_>) -> (Result<Expression, MathFailure>, String) {
    let cleaned = match piece.form {
        Form::Latex if piece.body.len() > MAX_TEXT => {
            return (Err(MathFailure::TooLarge), String::new());
        }
        Form::Latex => without_boxes_and_units(piece.body, Boxes::All),
        Form::Boxed => without_boxes_and_units(piece.body, Boxes::Last),
        Form::Number => arithmetic::plain_number(piece.body),
        Form::Arithmetic => piece.body.to_owned(),
    };
    if cleaned.len() > MAX_ANSWER {
        return (Err(MathFailure::TooLarge), String::new());
    }
    let expression = parser::parse(&cleaned).or_else(|failure| match last_side(&cleaned) {
        Some(side) => parser::parse(side),
        None => Err(failure),
    });
    let expression = expression.map(|expression| match piece.percent {
        true => Expression::Percent(Box::new(expression)),
        false => expression,
    });
    let text = cleaned.split_whitespace().collect();
    (expression, text)
}

fn without_boxes_and_units(body: &str, boxes: Boxes) -> String {
    let content = unboxed(body, boxes);
    units::without_units(content.trim().trim_end_matches(['.', ',', ';'])).to_owned()
}

/// The last side of a chain of at least two equations.
fn last_side(latex: &str) -> Option<&str> {
    if latex.contains([',', ';']) || latex.matches('=').count() < 2 {
        return None;
    }
    latex.rsplit('=').next()
}
