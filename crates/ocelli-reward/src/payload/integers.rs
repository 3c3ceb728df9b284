//! A list of whole numbers: the order of a jigsaw.

use super::text::unwrapped;
use super::{MAX_ITEMS, ParseFailure};

/// The whole numbers of `text` in order, when it holds nothing else: separated by white space, commas, semicolons,
/// slashes, bars or arrows, in any brackets. A grid by rows (`2 1 / 3 4`, `[[2, 1], [3, 4]]`) is read row by row.
///
/// # Errors
/// [`ParseFailure::Empty`], [`ParseFailure::NotInteger`] for anything else (`2-1`, `1.5`, a word, beyond 64 bits),
/// [`ParseFailure::TooMany`] beyond 10,000.
pub fn parse_integers(text: &str) -> Result<Vec<i64>, ParseFailure> {
    let separator = |c: char| c.is_whitespace() || ",;/|()[]{}\u{2192}".contains(c);
    let mut integers = Vec::new();
    for word in unwrapped(text).split(separator) {
        if word.is_empty() || word == "->" {
            continue;
        }
        for part in word.split("->") {
            // `parse` also takes a sign; a plus is none that a list needs.
            let integer = part.parse().ok().filter(|_| !part.starts_with('+'));
            integers.push(integer.ok_or(ParseFailure::NotInteger)?);
            if integers.len() > MAX_ITEMS {
                return Err(ParseFailure::TooMany);
            }
        }
    }
    if integers.is_empty() {
        return Err(ParseFailure::Empty);
    }
    Ok(integers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_orders_and_grids() {
        for text in [
            "2 1 3 4",
            "2,1,3,4",
            "[2, 1, 3, 4]",
            "2 1\n3 4",
            "2 1 / 3 4",
            "[[2, 1], [3, 4]]",
            "(2; 1; 3; 4).",
            "2 -> 1 -> 3 -> 4",
            "2→1→3→4",
            "2->1->3->4",
            r"\boxed{2, 1, 3, 4}",
        ] {
            assert_eq!(parse_integers(text), Ok(vec![2, 1, 3, 4]), "{text}");
        }
        assert_eq!(parse_integers("-1"), Ok(vec![-1]));
    }

    #[test]
    fn refuses_anything_else() {
        for (text, failure) in [
            ("", ParseFailure::Empty),
            ("[]", ParseFailure::Empty),
            ("2-1-3", ParseFailure::NotInteger),
            ("1.5", ParseFailure::NotInteger),
            ("order: 1 2", ParseFailure::NotInteger),
            ("99999999999999999999", ParseFailure::NotInteger),
            ("+1", ParseFailure::NotInteger),
            ("1 ->-> 2", ParseFailure::NotInteger),
        ] {
            assert_eq!(parse_integers(text), Err(failure), "{text}");
        }
        assert_eq!(
            parse_integers(&"1 ".repeat(10_001)),
            Err(ParseFailure::TooMany)
        );
    }

    proptest! {
        #[test]
        fn a_written_list_is_read_back(integers in prop::collection::vec(any::<i64>(), 1..20)) {
            prop_assert_eq!(parse_integers(&format!("{integers:?}")), Ok(integers));
        }
    }
}
