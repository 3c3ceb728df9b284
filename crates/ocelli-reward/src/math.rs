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
mod formula;
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
pub use formula::formula;

/// Bytes at the end of a text in which an answer is looked for.
const MAX_TEXT: usize = 32 << 10;

/// Longest answer that is read as mathematics, in bytes.
const MAX_ANSWER: usize = 4 << 10;

/// Matches that are read before the search is given up.
const MAX_ATTEMPTS: usize = 24;

/// How answers are found and compared. The defaults are math-verify's, but for `gold_is_text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Look for the gold answer in a text too, as math-verify does: `2x + 3` without delimiters is then 3. When off,
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

/// Whether `section`, a text that is all answer, is `gold`. Without `$`, `\\(`, `\\[` or `\\boxed`, and without words, it
/// is read as a whole, as if it stood in a box: `\\frac12` is a half, where [`score`] finds the number 12. Anything else,
/// and what cannot be read so, is left to [`score`].
///
/// # Errors
/// Those of [`score`].
pub fn score_section(section: &str, gold: &str, options: &Options) -> Result<bool, MathFailure> {
    let trimmed = section.trim();
    if !is_delimited(trimmed) && trimmed.len() <= MAX_ANSWER && !has_words(trimmed) {
        let gold = read_gold(gold, options)?;
        if let Ok(whole) = Answer::new(trimmed)
            && whole.is_mathematics()
        {
            return equivalent_with(&gold, &whole, options);
        }
    }
    score(section, gold, options)
}

/// Whether a delimiter says where mathematics stands in `text`.
fn is_delimited(text: &str) -> bool {
    let delimiters = ["$", r"\(", r"\[", r"\boxed"];
    delimiters.iter().any(|delimiter| text.contains(delimiter))
}

/// Whether two letters or more stand together that are neither a command nor a function: prose or a unit.
fn has_words(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_alphabetic()) {
        let command = rest[..at].ends_with('\\');
        let end = rest[at..].find(|c: char| !c.is_alphabetic());
        let end = end.map_or(rest.len(), |length| at + length);
        let word = &rest[at..end];
        let is_word = word.chars().nth(1).is_some() && functions::function_named(word).is_none();
        if is_word && !command {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

fn read_gold(gold: &str, options: &Options) -> Result<Answer, MathFailure> {
    if options.gold_is_text || is_delimited(gold) {
        return extract_with(gold, options).map_err(|_| MathFailure::NoGold);
    }
    let whole = Answer::new(gold).map_err(|_| MathFailure::NoGold)?;
    if whole.is_mathematics() && !is_sentence(gold) {
        return Ok(whole);
    }
    Ok(extract_with(gold, options).unwrap_or(whole))
}

/// Whether a number stands among words: `The sum is 5.`, which letter by letter would be a product.
fn is_sentence(text: &str) -> bool {
    let is_word = |piece: &&str| {
        let letters = piece.trim_matches(|c: char| c.is_ascii_punctuation() && c != '\\');
        letters.len() > 1
            && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
            && functions::function_named(letters).is_none()
    };
    let words: Vec<&str> = text.split_whitespace().filter(is_word).collect();
    let long = words.iter().any(|word| word.len() > 3);
    (words.len() > 1 || long) && text.bytes().any(|byte| byte.is_ascii_digit())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(gold: &str, answer: &str) -> bool {
        equivalent(&Answer::new(gold).unwrap(), &Answer::new(answer).unwrap()).unwrap()
    }

    #[test]
    fn spellings_of_one_value_are_equal() {
        for (gold, answer) in [
            (r"\frac{3}{2}", r"1\frac12"),
            ("1,234.5", r"\frac{2469}{2}"),
            ("50\\%", "0.5"),
            ("0.1\\overline{6}", r"\frac16"),
            (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt2"),
            (r"\sin 30^\circ", r"\frac12"),
            (r"\log_2 8", "3"),
            (r"\frac{x^2-1}{x-1}", "x+1"),
            (r"(n+1)!", r"(n+1)\,n!"),
            (r"(1+i)^2", "2i"),
            (r"\{1,2\}", "2, 1"),
            (r"[0,2]\setminus\{1\}", r"[0,1)\cup(1,2]"),
            ("5", "x = 5"),
            ("y = 2x", "y - 2x = 0"),
            ("1 < x < 2", "(1, 2)"),
            (
                r"\begin{pmatrix}2\\4\end{pmatrix}",
                r"2\begin{bmatrix}1\\2\end{bmatrix}",
            ),
            (r"\text{Yes}", "yes"),
        ] {
            assert!(judged(gold, answer), "{gold} and {answer}");
        }
    }

    #[test]
    fn near_or_related_values_are_different() {
        for (gold, answer) in [
            ("0.33", r"\frac13"),
            (r"\pi", "3.14"),
            // These agree in 30 digits.
            (r"e^{\pi\sqrt{163}}", "262537412640768744"),
            // The difference is beyond the digits that are kept.
            (r"10^{200}\sqrt{2}+\pi", r"10^{200}\sqrt{2}+e"),
            (r"10^{-300}\pi", r"2\cdot10^{-300}\pi"),
            (r"\sqrt{x^2}", "x"),
            (r"9^{9^{9^9}}", r"9^{9^{9^8}}"),
            ("(1,2)", "[1,2]"),
            ("(1,2,3)", "(1,3,2)"),
            ("x = 5", "2x = 10"),
            ("x > 1", "x < 1"),
            ("(1, 2)", "1 < x < 2"),
            ("x + 1", "y + 1"),
            (r"[2,\infty)", r"(-\infty,-1)\cup(1,\infty)"),
        ] {
            assert!(!judged(gold, answer), "{gold} and {answer}");
        }
    }

    #[test]
    fn options_change_what_they_say() {
        let score = |text, gold, options: Options| score(text, gold, &options).unwrap();
        let loose = Options {
            strict: false,
            ..Options::default()
        };
        assert!(score("$y+1$", "x+1", loose));
        let sets = Options {
            allow_set_relation_comp: true,
            ..Options::default()
        };
        assert!(score("$1<x<2$", "(1,2)", sets));
        let text = r"\boxed{4}, so the final answer is $5$.";
        assert!(score(text, "5", Options::default()));
        let boxed = Options {
            boxed_first: true,
            ..Options::default()
        };
        assert!(score(text, "4", boxed));
        let coarse = Options {
            float_rounding: 2,
            ..Options::default()
        };
        assert!(score("$0.333$", r"\frac13", coarse));
        let as_text = Options {
            gold_is_text: true,
            ..Options::default()
        };
        assert!(score("$3$", "2x + 3", as_text));
        assert!(score("$2x+3$", "2x + 3", Options::default()));
        assert!(score("$5$", "The sum is 5.", Options::default()));
        assert!(score("$2\\sin x$", "2 sin x", Options::default()));
    }

    #[test]
    fn missing_answers_are_failures() {
        let options = Options::default();
        assert_eq!(score("no idea", "5", &options), Err(MathFailure::NoAnswer));
        assert_eq!(score("$5$", " ", &options), Err(MathFailure::NoGold));
    }

    #[test]
    fn unfinished_answers_are_text() {
        for text in ["x_", "|{|", "x_{", "2^", "(1,", r"\frac{1}"] {
            assert!(!Answer::new(text).unwrap().is_mathematics(), "{text}");
        }
    }

    #[test]
    fn answers_keep_their_text() {
        assert_eq!(extract(r"so \boxed{5 \text{ cm}}").unwrap().text(), "5");
        let text = extract(r"\boxed{x ☃}").unwrap();
        assert_eq!((text.text(), text.is_mathematics()), ("x☃", false));
    }
}
