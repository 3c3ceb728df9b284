//! Plain numbers and arithmetic in running text.

/// The length of the number that `text` opens with: `-1,234.5`, `1 234`, `12,5`, `.5`, `7`.
pub(super) fn number_at(text: &str) -> Option<usize> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let sign = usize::from(text.starts_with('-'));
    let unsigned = &text[sign..];
    let whole = digits(unsigned);
    if whole == 0 {
        let places = unsigned.strip_prefix('.').map_or(0, digits);
        return (places > 0 && sign == 0).then_some(1 + places);
    }
    // Thousands: the first group may be cut out of a longer run only by a separator.
    if whole <= 3 && !unsigned.starts_with('0') {
        let mut end = whole;
        while let Some(group) = unsigned[end..].strip_prefix([',', ' ']) {
            if digits(group) < 3 {
                break;
            }
            end += 4;
            if digits(group) > 3 {
                break;
            }
        }
        if end > whole {
            let places = unsigned[end..].strip_prefix('.').map_or(0, digits);
            return Some(sign + end + if places > 0 { places + 1 } else { 0 });
        }
    }
    let places = unsigned[whole..].strip_prefix(['.', ',']).map_or(0, digits);
    Some(sign + whole + if places > 0 { places + 1 } else { 0 })
}

/// A number as [`number_at`] finds it, written with a point and without separators.
pub(super) fn plain_number(written: &str) -> String {
    let unsigned = written.strip_prefix('-').unwrap_or(written);
    let (groups, places) = match unsigned.rsplit_once('.') {
        Some((groups, places)) => (groups, Some(places)),
        None => (unsigned, None),
    };
    let thousands = groups
        .split([',', ' '])
        .skip(1)
        .all(|group| group.len() == 3);
    let first = groups.split([',', ' ']).next().unwrap_or("");
    let is_grouped = thousands && first.len() <= 3 && !first.starts_with('0');
    let whole = if is_grouped {
        groups.replace([',', ' '], "")
    } else {
        groups.replace(',', ".")
    };
    let sign = if written.len() > unsigned.len() {
        "-"
    } else {
        ""
    };
    match places {
        Some(places) => format!(
            "{sign}{}.{places}",
            if whole.is_empty() { "0" } else { &whole }
        ),
        None => format!("{sign}{whole}"),
    }
}

/// The length of arithmetic that `text` opens with, and of what must follow it: at least one operator, and a blank, a
/// full stop, a comma, a colon, a bracket, a dollar sign or the end behind it.
pub(super) fn arithmetic_at(
    text: &str,
    may_read: &dyn Fn(usize) -> bool,
) -> Option<(usize, usize)> {
    let mut start = usize::from(text.starts_with('-'));
    start += usize::from(text[start..].starts_with('('));
    start += usize::from(text[start..].starts_with('-'));
    if !text[start..].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let part = |c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace() || is_operator(c);
    let run = text[start..]
        .find(|c: char| !part(c))
        .map_or(text.len(), |offset| start + offset);
    if !may_read(run) {
        return None;
    }
    // A number with a leading zero makes it a date or a code.
    let numbers = text[start..run].split(|c: char| !c.is_ascii_digit() && c != '.');
    if numbers
        .into_iter()
        .any(|number| number.len() > 1 && number.starts_with('0') && !number.contains('.'))
    {
        return None;
    }
    // The longest stretch with an operator in it that is not its last character.
    let first_operator = start + 1 + text[start + 1..run].find(is_operator)?;
    let after_operator = first_operator
        + text[first_operator..]
            .chars()
            .next()
            .map_or(1, char::len_utf8);
    let least = after_operator + text[after_operator..run].chars().next()?.len_utf8();
    let mut end = run;
    loop {
        if let Some(suffix) = suffix_length(&text[end..]) {
            return Some((end, suffix));
        }
        end -= text[..end].chars().next_back()?.len_utf8();
        if end < least {
            return None;
        }
    }
}

fn is_operator(c: char) -> bool {
    matches!(c, '+' | '-' | '*' | '×' | '/' | '^' | '(' | ')' | '÷')
}

fn suffix_length(rest: &str) -> Option<usize> {
    let bold = if rest.starts_with("**") { 2 } else { 0 };
    let behind = |from: usize| match rest[from..].chars().next() {
        None => Some(from),
        Some(c) if c.is_whitespace() || matches!(c, '.' | ',' | ':' | ')' | '$') => {
            Some(from + c.len_utf8())
        }
        Some(_) => None,
    };
    behind(bold).or_else(|| behind(0))
}

/// The length of a percent sign or word that `text` opens with; behind LaTeX it may be escaped, behind a number a
/// blank may precede it.
pub(super) fn percent_length(text: &str, latex: bool) -> Option<usize> {
    let blank = if latex {
        0
    } else {
        text.len() - text.trim_start().len()
    };
    let rest = &text[blank..];
    let words: &[&str] = &[
        "%",
        r"\%",
        "percentage",
        "Percentage",
        "percent",
        "Percent",
        "pct",
        "Pct",
    ];
    let word = words.iter().find(|word| rest.starts_with(**word))?;
    (latex || !word.starts_with('\\')).then_some(blank + word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_where_their_form_ends() {
        for (text, number, plain) in [
            ("1,234.5 km", "1,234.5", "1234.5"),
            ("1 234 567", "1 234 567", "1234567"),
            ("12,5", "12,5", "12.5"),
            ("12.", "12", "12"),
            (".5", ".5", "0.5"),
            ("-7x", "-7", "-7"),
            ("007", "007", "007"),
            ("1234,567", "1234,567", "1234.567"),
        ] {
            let length = number_at(text).unwrap();
            assert_eq!(&text[..length], number);
            assert_eq!(plain_number(number), plain);
        }
        assert_eq!(number_at("x"), None);
    }

    #[test]
    fn arithmetic_needs_an_operator() {
        let read = |text| arithmetic_at(text, &|_| true).map(|(length, _)| &text[..length]);
        assert_eq!(read("3/4"), Some("3/4"));
        assert_eq!(read("2*(3+4), so"), Some("2*(3+4)"));
        assert_eq!(read("34"), None);
        assert_eq!(read("34 "), None);
        assert_eq!(read("3/4m"), None);
        assert_eq!(read("2024-05-06"), None);
    }
}
