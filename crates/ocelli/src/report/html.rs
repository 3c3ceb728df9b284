//! Text into HTML: escaping, the page template, and data for the script.
//!
//! Whatever comes from a model, a data set or a recipe passes through [`escape`] or [`json_for_script`].

use serde::Serialize;

/// Escapes text for element content and for quoted attributes. Control characters, which a terminal log or a model's
/// bytes may hold, are shown by their Unicode pictures; line feed and tab stay.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            '\u{7f}' => escaped.push('\u{2421}'),
            control @ '\0'..='\u{1f}' => {
                escaped.extend(char::from_u32(0x2400 + u32::from(control)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// JSON that may stand inside a `<script>` element: no `<` is left that could open or close a tag or a comment.
pub(super) fn json_for_script<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value)
        .expect("plain structs of strings and finite numbers serialize")
        .replace('<', "\\u003c")
}

/// Puts values in place of `{{name}}`. The template is read once, so a value that itself holds `{{name}}` stays as it
/// is; a name without a value is left standing.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(
        template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>(),
    );
    let mut rest = template;
    while let Some(open) = rest.find("{{") {
        let (before, from_open) = rest.split_at(open);
        filled.push_str(before);
        let value = from_open.find("}}").and_then(|close| {
            let name = &from_open[2..close];
            let (_, value) = values.iter().find(|(n, _)| *n == name)?;
            Some((value, close + 2))
        });
        match value {
            Some((value, length)) => {
                filled.push_str(value);
                rest = &from_open[length..];
            }
            None => {
                filled.push_str("{{");
                rest = &from_open[2..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// The paragraph that stands where a section has nothing to show.
pub(super) fn empty_note(text: &str) -> String {
    format!("<p class=\"empty\">{}</p>", escape(text))
}

/// A score as a reader compares it: three decimals, with a true minus sign.
pub(super) fn score_text(value: f64) -> String {
    format!("{value:.3}").replace('-', "\u{2212}")
}

/// A change of a score, always signed; a change that rounds to nothing has no sign.
pub(super) fn change_text(value: f64) -> String {
    let text = format!("{value:+.3}");
    if text.trim_start_matches(['+', '-']) == "0.000" {
        "0.000".to_owned()
    } else {
        text.replace('-', "\u{2212}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_what_could_leave_its_place() {
        assert_eq!(
            escape("<img src='x' onerror=\"a()\">&\0\n"),
            "&lt;img src=&#39;x&#39; onerror=&quot;a()&quot;&gt;&amp;\u{2400}\n"
        );
        assert_eq!(
            json_for_script(&"</script><!--"),
            r#""\u003c/script>\u003c!--""#
        );
    }

    #[test]
    fn fills_once() {
        let values = [("a", "{{b}}"), ("b", "2")];
        assert_eq!(fill("{{a}} {{b}} {{c}} {{", &values), "{{b}} 2 {{c}} {{");
    }

    #[test]
    fn signs_are_true_minus_and_nothing_is_unsigned() {
        assert_eq!(score_text(-0.25), "\u{2212}0.250");
        assert_eq!(change_text(0.1), "+0.100");
        assert_eq!(change_text(-0.0001), "0.000");
    }

    proptest! {
        #[test]
        fn escaped_text_has_no_markup(text in any::<String>()) {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'', '\0']));
            let plain = escaped
                .replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")
                .replace("&#39;", "'").replace("&amp;", "&");
            prop_assert_eq!(plain.chars().count(), text.chars().count());
        }
    }
}
