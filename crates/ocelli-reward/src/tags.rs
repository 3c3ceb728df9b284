//! The think/answer grammar: where a turn's reasoning and its answer are, and whether the turn keeps to the form.
//!
//! A well-formed turn is `<think>…</think>` and then `<answer>…</answer>`, with nothing but white space before, between
//! and after. It follows VLM-R1's generic format pattern, `<think>.*?</think>\s*<answer>.*?</answer>` matched against
//! the whole text with `.` taking line breaks, and differs on purpose in two points:
//! - each of the four tags must occur exactly once. The pattern lets a second `<answer>` hide inside the first, or in
//!   the reasoning, and then nobody can say which answer was meant;
//! - white space around the turn is allowed, so a line break before the end-of-turn token does no harm.
//!
//! It is [`Preset::ThinkAnswer`] of the tag grammars, with its own types because most callers want just this.

use std::sync::LazyLock;

use crate::grammar::{Grammar, Preset};

static THINK_ANSWER: LazyLock<Grammar> = LazyLock::new(|| Grammar::preset(Preset::ThinkAnswer));

/// The parts of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections<'a> {
    /// From the first `<think>` to the next `</think>`, wherever they stand; as written, not trimmed.
    pub think: Option<&'a str>,
    /// From the first `<answer>` to the next `</answer>`, wherever they stand; as written, not trimmed.
    pub answer: Option<&'a str>,
    /// Whether the whole text keeps to the grammar of this module.
    pub well_formed: bool,
}

/// Finds the sections of `text`, in time linear in its length.
pub fn sections(text: &str) -> Sections<'_> {
    let reading = THINK_ANSWER.read(text);
    let section = |name| Some(&text[reading.span(name).ok()?]);
    Sections {
        think: section("think"),
        answer: section("answer"),
        well_formed: reading.form().is_ok(),
    }
}

/// A quarter for each of the four tags that occurs exactly once, in `{0, 0.25, 0.5, 0.75, 1}`.
///
/// This is V-Triune's rule, without the line breaks it asks for inside the tags. The order of the tags does not count.
pub fn tag_credit(text: &str) -> f64 {
    THINK_ANSWER.mark_credit(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAGS: [&str; 4] = ["<think>", "</think>", "<answer>", "</answer>"];

    #[test]
    fn splits_a_well_formed_turn() {
        let found = sections(" <think>a\nb</think>\n<answer> 7 </answer>\n");
        assert_eq!(found.think, Some("a\nb"));
        assert_eq!(found.answer, Some(" 7 "));
        assert!(found.well_formed);
    }

    #[test]
    fn finds_sections_in_a_turn_that_breaks_the_form() {
        let found = sections("so <answer>1</answer> or <answer>2</answer><think>late</think>");
        assert_eq!(found.think, Some("late"));
        assert_eq!(found.answer, Some("1"));
        assert!(!found.well_formed);
    }

    #[test]
    fn a_close_before_its_open_does_not_end_a_section() {
        assert_eq!(sections("</answer><answer>1</answer>").answer, Some("1"));
        assert_eq!(sections("</answer><answer>1").answer, None);
    }

    #[test]
    fn refuses_what_is_not_the_form() {
        for text in [
            "",
            "7",
            "<answer>7</answer>",
            "<think></think>",
            "<answer>7</answer><think>a</think>",
            "<think>a</think> so <answer>7</answer>",
            "<think>a</think><answer>7</answer>.",
            "x<think>a</think><answer>7</answer>",
            "<think>a</think><answer>7",
            "<think>a<answer>7</answer></think>",
            "<think>a</think><answer>7</answer></answer>",
            "<think><think>a</think></think><answer>7</answer>",
            "<Think>a</Think><Answer>7</Answer>",
        ] {
            assert!(!sections(text).well_formed, "{text}");
        }
    }

    #[test]
    fn a_quarter_for_each_tag_that_occurs_once() {
        for (text, credit) in [
            ("", 0.0),
            ("<think>", 0.25),
            ("<think></think><answer>", 0.75),
            ("<think><think></think><answer></answer>", 0.75),
            ("</answer><answer></think><think>", 1.0),
        ] {
            assert_eq!(tag_credit(text), credit, "{text}");
        }
    }

    proptest! {
        #[test]
        fn well_formed_iff_built_so(
            parts in prop::collection::vec("<think>|</think>|<answer>|</answer>| |\n|7|<|é", 0..9)
        ) {
            let text = parts.concat();
            let shape: Vec<&str> = parts.iter().map(String::as_str).collect();
            let tags: Vec<&str> = shape.iter().copied().filter(|p| TAGS.contains(p)).collect();
            let inside = |p: usize| {
                let before = shape[..p].iter().filter(|s| TAGS.contains(*s)).count();
                before % 2 == 1
            };
            let clean_outside = shape
                .iter()
                .enumerate()
                .all(|(p, s)| TAGS.contains(s) || inside(p) || s.trim().is_empty());
            prop_assert_eq!(sections(&text).well_formed, tags == TAGS && clean_outside);
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            let found = sections(&text);
            prop_assert!((0.0..=1.0).contains(&tag_credit(&text)));
            if found.well_formed {
                prop_assert!(found.think.is_some() && found.answer.is_some());
            }
        }
    }
}
