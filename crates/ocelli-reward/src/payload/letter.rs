//! The letter of an option, and yes or no.

use super::ParseFailure;
use super::text::{after_cue, parse_text, unwrapped};

/// The option that `text` chooses, in `A` to `Z`, when the options are `options` in the order of their letters; an empty
/// slice when they are not known.
///
/// Spellings: a letter alone in either case (`B`, `b.`, `(B)`, `[B]`, `**B**`, `\boxed{B}`), a letter with a sign and
/// the option's text (`B) cat`, `(B) cat`, `B: cat`), each also after `answer is`, `answer:` or `option`; or the
/// option's text alone, folded as by [`parse_text`]. `A cat` is no letter but an article.
///
/// # Errors
/// [`ParseFailure::Empty`], [`ParseFailure::NoLetter`], [`ParseFailure::SeveralLetters`] (`A or B`),
/// [`ParseFailure::LetterBeyondOptions`], [`ParseFailure::LetterAgainstText`] when the text beside the letter is that
/// of another option.
pub fn parse_letter(text: &str, options: &[&str]) -> Result<char, ParseFailure> {
    let whole = unwrapped(text);
    if whole.is_empty() {
        return Err(ParseFailure::Empty);
    }
    let named = |text: &str| {
        // Folding a long answer is not free.
        let text = (!options.is_empty()).then(|| parse_text(unwrapped(text)).ok())??;
        let at = options
            .iter()
            .position(|option| parse_text(option).as_ref() == Ok(&text))?;
        letter_at(at)
    };
    if let Some(letter) = named(whole) {
        return Ok(letter);
    }
    let mut answer = unwrapped(after_cue(whole));
    for word in ["option", "choice"] {
        if let Some(start) = answer
            .get(..word.len())
            .filter(|s| s.eq_ignore_ascii_case(word))
        {
            answer = unwrapped(&answer[start.len()..]);
        }
    }
    if let Some(letter) = named(answer) {
        return Ok(letter);
    }
    let (letter, beside) = split_letter(answer).ok_or(ParseFailure::NoLetter)?;
    if !options.is_empty() && (letter as usize - 'A' as usize) >= options.len() {
        return Err(ParseFailure::LetterBeyondOptions);
    }
    if says_another_letter(beside, letter) {
        return Err(ParseFailure::SeveralLetters);
    }
    match named(beside) {
        Some(other) if other != letter => Err(ParseFailure::LetterAgainstText),
        _ => Ok(letter),
    }
}

fn letter_at(at: usize) -> Option<char> {
    u8::try_from(at)
        .ok()
        .filter(|at| *at < 26)
        .map(|at| char::from(b'A' + at))
}

/// A letter at the start with what follows it; the letter must be alone, in brackets or followed by a sign.
fn split_letter(text: &str) -> Option<(char, &str)> {
    let bracketed = text.strip_prefix(['(', '[', '{']).map(str::trim_start);
    let inside = bracketed.unwrap_or(text).trim_start_matches('*');
    let letter = inside.chars().next().filter(char::is_ascii_alphabetic)?;
    let rest = inside[1..].trim_start_matches('*').trim_start();
    let beside = match bracketed {
        Some(_) => rest.strip_prefix([')', ']', '}'])?,
        // `A and B` is looked at for the second letter; `A cat` has none.
        None if inside[1..].starts_with(' ') => {
            says_another_letter(rest, letter).then_some(rest)?
        }
        None if rest.is_empty() || rest.starts_with(',') => rest,
        None => rest.strip_prefix(['.', ')', ':', ']', '}'])?,
    };
    Some((letter.to_ascii_uppercase(), beside))
}

/// Whether `beside` is a list that goes on with another letter: `, B`, `or B`, `and (B)`, `& B`. An `a` before a word is
/// an article.
fn says_another_letter(beside: &str, letter: char) -> bool {
    let start = beside.trim_start_matches([' ', ',', '/', '&']);
    let joint = &beside[..beside.len() - start.len()];
    let word = ["or ", "and "]
        .iter()
        .find_map(|word| start.strip_prefix(word));
    if word.is_none() && !joint.contains([',', '/', '&']) {
        return false;
    }
    let start = word
        .unwrap_or(start)
        .trim_start_matches(['(', '[', '*', ' ']);
    let mut characters = start.chars();
    let other = characters.next().filter(char::is_ascii_alphabetic);
    let next = characters.next();
    let alone = next.is_none_or(|c| !c.is_alphanumeric());
    other.is_some_and(|c| {
        let article = c == 'a' && next == Some(' ');
        alone && !article && !c.eq_ignore_ascii_case(&letter)
    })
}

/// Whether `text` says yes: its first word, or the first after `answer is` or `answer:`, is `yes` or `true` (true), `no`
/// or `false` (false), in any case.
///
/// # Errors
/// [`ParseFailure::Empty`], [`ParseFailure::NoYesNo`], [`ParseFailure::YesAndNo`] when the other one follows at once or
/// after `and`, `or` or a slash.
pub fn parse_yes_no(text: &str) -> Result<bool, ParseFailure> {
    let whole = unwrapped(text);
    if whole.is_empty() {
        return Err(ParseFailure::Empty);
    }
    for answer in [whole, unwrapped(after_cue(whole))] {
        let mut words = answer
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty());
        let Some(said) = words.next().and_then(yes_or_no) else {
            continue;
        };
        let next = words.next().unwrap_or_default();
        let joined = ["or", "and"]
            .iter()
            .any(|word| next.eq_ignore_ascii_case(word));
        let second = if joined {
            words.next().unwrap_or_default()
        } else {
            next
        };
        // `No, no cat` repeats itself; `yes, no` does not say which.
        return match yes_or_no(second) {
            Some(other) if other != said => Err(ParseFailure::YesAndNo),
            _ => Ok(said),
        };
    }
    Err(ParseFailure::NoYesNo)
}

fn yes_or_no(word: &str) -> Option<bool> {
    let is = |known: &[&str]| known.iter().any(|k| word.eq_ignore_ascii_case(k));
    if is(&["yes", "true"]) {
        Some(true)
    } else if is(&["no", "false"]) {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: [&str; 3] = ["cat", "Dog", "a bird"];

    #[test]
    fn reads_the_usual_spellings_of_a_letter() {
        for text in [
            "B",
            "b",
            "(B)",
            "B.",
            "B)",
            "[B]",
            "**B**",
            "**B.**",
            r"\boxed{B}",
            "$B$",
            "B: dog",
            "B. dog",
            "(B) Dog",
            "b) dog",
            "**B**) dog",
            "Answer: B",
            "The answer is (B).",
            "the correct answer is **B**",
            "Option B",
            "answer: option (B)",
            "dog",
            "\"Dog\"",
            "The answer is dog.",
            r"\text{B}",
            "B. Dog.",
            " B \n",
            "B, a dog",
            "B) a dog, big",
            "B) it has a long tail, like A and C",
            "(B), because it barks",
        ] {
            assert_eq!(parse_letter(text, &OPTIONS), Ok('B'), "{text}");
        }
        assert_eq!(parse_letter("Z", &[]), Ok('Z'));
        assert_eq!(parse_letter("a bird", &OPTIONS), Ok('C'));
    }

    #[test]
    fn refuses_letters_that_are_not_clear() {
        for (text, failure) in [
            ("", ParseFailure::Empty),
            ("A cat is seen", ParseFailure::NoLetter),
            ("cats", ParseFailure::NoLetter),
            ("7", ParseFailure::NoLetter),
            ("(B", ParseFailure::NoLetter),
            ("B or C", ParseFailure::SeveralLetters),
            ("A, B", ParseFailure::SeveralLetters),
            ("(A) or (B)", ParseFailure::SeveralLetters),
            ("A and C", ParseFailure::SeveralLetters),
            ("(A), (B)", ParseFailure::SeveralLetters),
            (r"\boxed{A} or \boxed{B}", ParseFailure::NoLetter),
            ("A/B", ParseFailure::NoLetter),
            ("D", ParseFailure::LetterBeyondOptions),
            ("A) dog", ParseFailure::LetterAgainstText),
            ("é", ParseFailure::NoLetter),
        ] {
            assert_eq!(parse_letter(text, &OPTIONS), Err(failure), "{text}");
        }
    }

    #[test]
    fn reads_yes_and_no() {
        for (text, yes) in [
            ("Yes", true),
            ("yes.", true),
            ("No, there is no cat", false),
            ("Yes, there is no cat", true),
            ("**TRUE**", true),
            ("The answer is false", false),
            ("no no", false),
        ] {
            assert_eq!(parse_yes_no(text), Ok(yes), "{text}");
        }
        for (text, failure) in [
            (" ", ParseFailure::Empty),
            ("know", ParseFailure::NoYesNo),
            ("there is no cat", ParseFailure::NoYesNo),
            ("yes or no", ParseFailure::YesAndNo),
            ("yes/no", ParseFailure::YesAndNo),
            ("True, False", ParseFailure::YesAndNo),
        ] {
            assert_eq!(parse_yes_no(text), Err(failure), "{text}");
        }
    }
}
