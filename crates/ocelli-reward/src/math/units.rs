//! Units at the end of an answer, which do not count.

use super::lexer::TEXT_COMMANDS;

/// Words and abbreviations that math-verify 0.9 (latex2sympy2_extended 1.11) drops at the end of an answer, each also
/// with `s` or `es`. Its list has "integer point" by accident as one word; here it is left out. A few, such as `t` or
/// `h`, are also names of variables, so `2t` and `2` are the same answer here as there.
const UNITS: &[&str] = &[
    "feet",
    "sue",
    "digit",
    "pound",
    "meal",
    "edge",
    "student",
    "children ticket",
    "multiple",
    "east",
    "degree",
    "mph",
    "kmph",
    "ft",
    "m square",
    "m east",
    "sq m",
    "deg",
    "mile",
    "q .",
    "monkey",
    "prime",
    "ratio",
    "profit of rs",
    "rd",
    "o",
    "gm",
    "p . m",
    "lb",
    "tile",
    "per",
    "dm",
    "lt",
    "gain",
    "ab",
    "way",
    "west",
    "a .",
    "b .",
    "c .",
    "d .",
    "e .",
    "f .",
    "g .",
    "h .",
    "t",
    "h",
    "no change",
    "men",
    "soldier",
    "pie",
    "bc",
    "excess",
    "st",
    "inches",
    "noon",
    "cent",
    "by",
    "gal",
    "kmh",
    "c",
    "acre",
    "rise",
    "a . m",
    "th",
    "π r 2",
    "sq",
    "mark",
    "l",
    "toy",
    "coin",
    "sq . m",
    "gallon",
    "° f",
    "profit",
    "minw",
    "yr",
    "women",
    "am",
    "pm",
    "hr",
    "cu cm",
    "square",
    "are",
    "rupee",
    "rounds",
    "cubic",
    "cc",
    "mtr",
    "s",
    "ohm",
    "number",
    "day",
    "hour",
    "minute",
    "min",
    "second",
    "man",
    "woman",
    "sec",
    "cube",
    "mt",
    "sq inch",
    "mp",
    "∏ cm ³",
    "hectare",
    "more",
    "unit",
    "cu . m",
    "cm 2",
    "rs .",
    "rs",
    "kg",
    "g",
    "month",
    "km",
    "m",
    "cm",
    "mm",
    "apple",
    "liter",
    "loss",
    "yard",
    "pure",
    "year",
    "increase",
    "decrease",
    "d",
    "less",
    "Surface",
    "litre",
    "pi sq m",
    "s .",
    "metre",
    "meter",
    "inch",
];

/// `answer` without a closing piece of text, such as `\text{ cm}^2`, and without up to two closing units.
///
/// Whatever is left when nothing would be: an answer that is only text stays as it is.
pub(super) fn without_units(answer: &str) -> &str {
    let mut rest = answer.trim();
    if let Some(shorter) = without_closing_text(rest) {
        rest = shorter;
    }
    for _ in 0..2 {
        match without_closing_unit(rest) {
            Some(shorter) => rest = shorter,
            None => break,
        }
    }
    rest
}

/// Takes off `\text{…}`, with `^2` or `{^2}` behind it or not.
fn without_closing_text(answer: &str) -> Option<&str> {
    let mut end = answer;
    if let Some(power) = end.strip_suffix('}').and_then(without_digit_power) {
        end = power.strip_suffix('{').unwrap_or(power);
    } else if let Some(base) = without_digit_power(end) {
        end = base;
    }
    let inside = end.strip_suffix('}')?;
    let open = inside.rfind('{')?;
    if inside[open..].contains('}') {
        return None;
    }
    let before = inside[..open].trim_end();
    let command = before.rfind('\\')?;
    let name = &before[command + 1..];
    let rest = before[..command].trim_end();
    (TEXT_COMMANDS.contains(&name) && !rest.is_empty()).then_some(rest)
}

/// `x` of `x^2`
fn without_digit_power(text: &str) -> Option<&str> {
    text.strip_suffix(|c: char| c.is_ascii_digit())?
        .strip_suffix('^')
}

fn without_closing_unit(answer: &str) -> Option<&str> {
    // A unit stands behind a digit, a closing brace or a blank, and has at most a few words.
    for plural in ["", "s", "es"] {
        let Some(singular) = answer.strip_suffix(plural) else {
            continue;
        };
        for unit in UNITS {
            let Some(rest) = singular.strip_suffix(unit) else {
                continue;
            };
            let follows = |c: char| c.is_ascii_digit() || c == '}' || c.is_whitespace();
            if rest.ends_with(follows) && !rest.trim().is_empty() {
                return Some(rest.trim_end());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_units_that_follow_a_value() {
        for (answer, rest) in [
            ("5 cm", "5"),
            (r"5\text{ cm}", "5"),
            (r"5\text{ cm}^2", "5"),
            (r"5\text{ cm}{^2}", "5"),
            (r"\frac{1}{2}\mathrm{kg}", r"\frac{1}{2}"),
            ("20 miles", "20"),
            ("3 sq inches", "3"),
            ("7 m cm", "7"),
        ] {
            assert_eq!(without_units(answer), rest, "{answer}");
        }
    }

    #[test]
    fn keeps_answers_that_are_only_text() {
        for answer in [r"\text{cm}", "cm", "x", r"\text{A}^2", "2x", r"\sqrt{3}"] {
            assert_eq!(without_units(answer), answer);
        }
    }
}
