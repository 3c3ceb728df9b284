//! Free text, labels and formulas: what is compared as text.

use std::collections::BTreeSet;

use super::json::{Value, documents};
use super::{MAX_ITEMS, ParseFailure};

/// `text` trimmed, with runs of white space as one blank, and letter case folded.
///
/// Folding goes to lower, upper and lower case again, letter by letter: so `ß`, `ẞ` and `SS` are equal, and so are the
/// two small sigmas.
///
/// # Errors
/// [`ParseFailure::Empty`] when nothing is left.
pub fn parse_text(text: &str) -> Result<String, ParseFailure> {
    let mut folded = String::new();
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        if word.is_ascii() {
            // The same without the way over upper case.
            folded.push_str(&word.to_ascii_lowercase());
            continue;
        }
        let upper = word
            .chars()
            .flat_map(char::to_lowercase)
            .flat_map(char::to_uppercase);
        folded.extend(upper.flat_map(char::to_lowercase));
    }
    if folded.is_empty() {
        return Err(ParseFailure::Empty);
    }
    Ok(folded)
}

/// `text` without what is written around an answer: white space, `\boxed{…}`, `\text{…}`, `$…$`, `**…**`, backticks,
/// quotes, and one full stop at the end.
pub(super) fn unwrapped(text: &str) -> &str {
    const PAIRS: [(&str, &str); 11] = [
        (r"\boxed{", "}"),
        (r"\text{", "}"),
        (r"\mathrm{", "}"),
        ("**", "**"),
        ("$", "$"),
        ("`", "`"),
        ("\"", "\""),
        ("'", "'"),
        ("\u{201c}", "\u{201d}"),
        (r"\(", r"\)"),
        (r"\[", r"\]"),
    ];
    // More than these around an answer are a game, and each costs a look at all that is inside.
    const MOST: usize = 8;
    let mut rest = text.trim();
    for _ in 0..MOST {
        let inside = PAIRS.iter().find_map(|(open, close)| {
            let inside = rest.strip_prefix(open)?.strip_suffix(close)?;
            // `$a$ and $b$` is not one formula, nor is `\boxed{a} or \boxed{b}`.
            let one = if *close == "}" {
                is_balanced(inside)
            } else {
                !inside.contains(close)
            };
            one.then_some(inside)
        });
        match inside.or_else(|| rest.strip_suffix('.')) {
            Some(inside) => rest = inside.trim(),
            None => break,
        }
    }
    rest
}

/// Whether no brace of `text` is closed that was not opened in it.
fn is_balanced(text: &str) -> bool {
    let mut depth = 0usize;
    text.bytes().all(|byte| match byte {
        b'{' => {
            depth += 1;
            true
        }
        b'}' if depth == 0 => false,
        b'}' => {
            depth -= 1;
            true
        }
        _ => true,
    })
}

/// What stands after the last `answer is` or `answer:` in `text`, letter case ignored; all of it without one.
pub(super) fn after_cue(text: &str) -> &str {
    const CUE: &[u8] = b"answer";
    let last = text
        .as_bytes()
        .windows(CUE.len())
        .rposition(|window| window.eq_ignore_ascii_case(CUE));
    let after = last.and_then(|at| {
        let rest = text[at + CUE.len()..].trim_start_matches(['*', ' ']);
        let is = || {
            rest.strip_prefix("is")
                .filter(|after| after.starts_with([' ', ':']))
        };
        rest.strip_prefix(':').or_else(is)
    });
    after.map_or(text, |rest| rest.trim_start_matches(['*', ':', ' ']))
}

/// One label: the text without what is written around it, folded as by [`parse_text`].
///
/// # Errors
/// [`ParseFailure::Empty`].
pub fn parse_label(text: &str) -> Result<String, ParseFailure> {
    parse_text(unwrapped(text))
}

/// Labels in order, each as by [`parse_label`]: a JSON list of texts, or labels between commas, semicolons or lines,
/// bullets and numbers of a list left out. An empty JSON list is an empty list. What occurs twice stays twice.
///
/// # Errors
/// [`ParseFailure::Empty`] when no label is left; [`ParseFailure::TooMany`] beyond 10,000.
pub fn parse_label_list(text: &str) -> Result<Vec<String>, ParseFailure> {
    let mut labels = Vec::new();
    each_label(text, |label| {
        labels.push(label);
        labels.len()
    })?;
    Ok(labels)
}

/// The labels of [`parse_label_list`] as a set, which counts equal ones once.
///
/// # Errors
/// As [`parse_label_list`].
pub fn parse_label_set(text: &str) -> Result<BTreeSet<String>, ParseFailure> {
    let mut labels = BTreeSet::new();
    each_label(text, |label| {
        labels.insert(label);
        labels.len()
    })?;
    Ok(labels)
}

/// Hands each label of `text` to `add`, which says how many it holds.
fn each_label(text: &str, mut add: impl FnMut(String) -> usize) -> Result<(), ParseFailure> {
    if let Some(Ok(document)) = documents(text).next() {
        let texts = document
            .value
            .list()
            .map(|items| items.iter().map(Value::text).collect());
        let texts: Option<Option<Vec<&str>>> = texts;
        if let (Some(Some(texts)), false) = (texts, document.cut) {
            if texts.len() > MAX_ITEMS {
                return Err(ParseFailure::TooMany);
            }
            for label in texts.into_iter().filter_map(|text| parse_label(text).ok()) {
                add(label);
            }
            return Ok(());
        }
    }
    let mut empty = true;
    for part in unwrapped(text).split([',', ';', '\n']) {
        let part = part.trim_start();
        let part = part.trim_start_matches(['-', '*', '\u{2022}']);
        let digits = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let part = match digits.strip_prefix(['.', ')']) {
            Some(rest) if digits.len() < part.len() => rest,
            _ => part,
        };
        if let Ok(label) = parse_label(part) {
            empty = false;
            if add(label) > MAX_ITEMS {
                return Err(ParseFailure::TooMany);
            }
        }
    }
    if empty {
        return Err(ParseFailure::Empty);
    }
    Ok(())
}

/// A formula as it is written, without what is written around it. Whether it means anything is for the verifier.
///
/// # Errors
/// [`ParseFailure::Empty`].
pub fn parse_formula(text: &str) -> Result<String, ParseFailure> {
    match unwrapped(text) {
        "" => Err(ParseFailure::Empty),
        formula => Ok(formula.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folds_text() {
        for (text, folded) in [
            ("  A  red\n Car ", "a red car"),
            ("STRASSE", "strasse"),
            ("Straße", "strasse"),
            ("STRAẞE", "strasse"),
            ("ΟΔΟΣ οδος", "οδοσ οδοσ"),
            ("a\u{a0}b", "a b"),
        ] {
            assert_eq!(parse_text(text).as_deref(), Ok(folded), "{text}");
        }
        assert_eq!(parse_text("\t \n"), Err(ParseFailure::Empty));
    }

    #[test]
    fn takes_off_what_is_around_an_answer() {
        for (text, inside) in [
            (r" $\boxed{\text{ cat }}$. ", "cat"),
            ("**`x`**", "x"),
            ("\"'x'\"", "x"),
            ("$a$ and $b$", "$a$ and $b$"),
            (r"\frac{1}{2}", r"\frac{1}{2}"),
            ("...", ""),
            (r"\boxed{a} or \boxed{b}", r"\boxed{a} or \boxed{b}"),
            ("'", "'"),
        ] {
            assert_eq!(unwrapped(text), inside, "{text}");
        }
    }

    #[test]
    fn a_cue_opens_the_answer() {
        for (text, rest) in [
            ("The answer is B", "B"),
            ("Answer: the ANSWER is: C", "C"),
            ("**Answer:** 7", "7"),
            ("no cue", "no cue"),
            ("I answered", "I answered"),
            ("é answer: é", "é"),
        ] {
            assert_eq!(after_cue(text), rest, "{text}");
        }
    }

    #[test]
    fn label_sets_are_lists_of_any_form() {
        for (text, labels) in [
            ("cat, Dog", vec!["cat", "dog"]),
            ("[\"cat\", 'Dog']", vec!["cat", "dog"]),
            ("- cat\n- dog\n", vec!["cat", "dog"]),
            ("1. cat\n2) dog", vec!["cat", "dog"]),
            ("cat; cat.", vec!["cat"]),
            ("[]", vec![]),
            ("3d chart", vec!["3d chart"]),
        ] {
            let wanted: BTreeSet<String> = labels.into_iter().map(str::to_owned).collect();
            assert_eq!(parse_label_set(text), Ok(wanted), "{text}");
        }
        assert_eq!(parse_label_set(" ,; "), Err(ParseFailure::Empty));
        assert_eq!(parse_label(r"\boxed{ A  Cat }."), Ok("a cat".to_owned()));
        assert_eq!(
            parse_formula(r"$-k x - \beta x^3$"),
            Ok(r"-k x - \beta x^3".to_owned())
        );
        assert_eq!(parse_formula("$$"), Err(ParseFailure::Empty));
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in any::<String>()) {
            if let Ok(once) = parse_text(&text) {
                prop_assert_eq!(parse_text(&once), Ok(once.clone()));
            }
        }
    }
}
