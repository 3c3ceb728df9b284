//! Prompt and demonstration templates: text with `{name}` where a value goes.

use crate::error::DataError;
use crate::suggest::did_you_mean;

/// A text cut at its places; everything that is not a known place, such as `\boxed{}` or JSON, is kept as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Place(String),
}

impl Template {
    /// Cuts `text` at the places named in `known`.
    ///
    /// # Errors
    /// If the first of `known` does not occur, or a place is named that is very like one of `known`: a typing error
    /// must not reach the model as text. `key` is the recipe key that the error names.
    pub(crate) fn parse(key: &'static str, text: &str, known: &[&str]) -> Result<Self, DataError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            literal.push_str(&rest[..open]);
            let after = &rest[open + 1..];
            let name = after.find('}').map(|close| &after[..close]);
            match name {
                Some(name) if known.contains(&name) => {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    pieces.push(Piece::Place(name.to_owned()));
                    rest = &after[name.len() + 1..];
                }
                _ => {
                    let word = |c: char| c.is_ascii_alphabetic() || c == '_';
                    if let Some(name) = name.filter(|name| name.chars().all(word)) {
                        let hint = did_you_mean(name, known);
                        if !hint.is_empty() {
                            return Err(DataError::config(
                                key,
                                format!("`{{{name}}}` is not a place of this template{hint}"),
                            ));
                        }
                    }
                    literal.push('{');
                    rest = after;
                }
            }
        }
        literal.push_str(rest);
        pieces.push(Piece::Literal(literal));
        let template = Self(pieces);
        match known.first() {
            Some(needed) if !template.mentions(needed) => Err(DataError::config(
                key,
                format!("write `{{{needed}}}` where the {needed} goes; {text:?} has no such place"),
            )),
            _ => Ok(template),
        }
    }

    fn mentions(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|piece| matches!(piece, Piece::Place(place) if place == name))
    }

    /// The text with every place filled by the value of its name. Values are not searched for places again.
    pub(crate) fn fill(&self, values: &[(&str, &str)]) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => text.as_str(),
                Piece::Place(name) => values
                    .iter()
                    .find(|(known, _)| known == name)
                    .map_or("", |(_, value)| value),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: &[&str] = &["answer", "question"];

    #[test]
    fn fills_places_once_and_keeps_other_braces() {
        let template = Template::parse(
            "demonstration",
            r#"{"q": {}} {question} \boxed{{answer}}"#,
            KNOWN,
        )
        .unwrap();
        let filled = template.fill(&[("answer", "{question}"), ("question", "why?")]);
        assert_eq!(filled, r#"{"q": {}} why? \boxed{{question}}"#);
    }

    #[test]
    fn typing_errors_are_refused() {
        let error = Template::parse("demonstration", "<answer>{anwser}</answer>", KNOWN)
            .unwrap_err()
            .to_string();
        assert!(error.contains("data.demonstration"), "{error}");
        assert!(error.contains("did you mean `answer`"), "{error}");
        let error = Template::parse("prompt", "no place", &["question"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("{question}"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_cut_or_refused(text in ".{0,80}") {
            let text = format!("{text}{{answer}}");
            if let Ok(template) = Template::parse("demonstration", &text, KNOWN) {
                let filled = template.fill(&[("answer", "{answer}"), ("question", "{question}")]);
                prop_assert_eq!(filled, text);
            }
        }
    }
}
