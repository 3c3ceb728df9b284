//! The judge's prompt: a text with placeholders.

use super::{ScoreRequest, ScorerError};

/// A prompt that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Question,
    Answer,
    Gold,
    Image,
}

/// A filled prompt: texts with the places of the pictures between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    Text(String),
    Images,
}

impl Template {
    /// Reads `{question}`, `{answer}`, `{gold}` and `{image}`; `{{` and `}}` stand for braces.
    ///
    /// # Errors
    /// When a placeholder is unknown, a brace is alone, or the answer is nowhere shown.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(position) = rest.find(['{', '}']) {
            plain.push_str(&rest[..position]);
            let (brace, after) = rest[position..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let inside = after.split_once('}').filter(|_| brace == "{");
            let Some((name, after)) = inside else {
                return Err(format!(
                    "the judge's prompt has a lone `{brace}`; write `{brace}{brace}` for a brace"
                ));
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(match name {
                "question" => Piece::Question,
                "answer" => Piece::Answer,
                "gold" => Piece::Gold,
                "image" => Piece::Image,
                _ => {
                    return Err(format!(
                        "the judge's prompt has the unknown placeholder `{{{name}}}`; there are \
                         {{question}}, {{answer}}, {{gold}}, {{image}}, and `{{{{` for a brace"
                    ));
                }
            });
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        if !pieces.contains(&Piece::Answer) {
            return Err(
                "the judge's prompt has no {answer}, so the judge would not see what it judges"
                    .to_owned(),
            );
        }
        Ok(Self { pieces })
    }

    pub(super) fn shows_images(&self) -> bool {
        self.pieces.contains(&Piece::Image)
    }

    /// Fills the places in one go, so that braces in an answer stay what they are. Neighbouring texts are joined.
    pub(super) fn fill(&self, request: &ScoreRequest) -> Result<Vec<Filled>, ScorerError> {
        let mut filled = Vec::new();
        for piece in &self.pieces {
            let text = match piece {
                Piece::Text(text) => text,
                Piece::Question => &request.question,
                Piece::Answer => &request.answer,
                Piece::Gold => request.gold.as_ref().ok_or(ScorerError::Missing {
                    placeholder: "gold",
                    what: "right answer",
                })?,
                Piece::Image if request.images.is_empty() => {
                    return Err(ScorerError::Missing {
                        placeholder: "image",
                        what: "picture",
                    });
                }
                Piece::Image => {
                    filled.push(Filled::Images);
                    continue;
                }
            };
            match filled.last_mut() {
                Some(Filled::Text(before)) => before.push_str(text),
                _ => filled.push(Filled::Text(text.clone())),
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorer::ScoreImage;

    fn request() -> ScoreRequest {
        ScoreRequest {
            question: "2 + 2?".to_owned(),
            answer: "{gold} }} 5".to_owned(),
            gold: Some("4".to_owned()),
            images: vec![ScoreImage::new(b"GIF89a".to_vec()).unwrap()],
        }
    }

    fn text(text: &str) -> Filled {
        Filled::Text(text.to_owned())
    }

    #[test]
    fn places_are_filled_once() {
        let template = Template::parse("{{Q}} {question} A: {answer}, right: {gold}").unwrap();
        assert_eq!(
            template.fill(&request()),
            Ok(vec![text("{Q} 2 + 2? A: {gold} }} 5, right: 4")])
        );
        let template = Template::parse("{image}Is {answer} right?{image}").unwrap();
        assert_eq!(
            template.fill(&request()),
            Ok(vec![
                Filled::Images,
                text("Is {gold} }} 5 right?"),
                Filled::Images
            ])
        );
    }

    #[test]
    fn bad_prompts_are_refused() {
        for (prompt, message) in [
            ("{answer} {anser}", "the unknown placeholder `{anser}`"),
            ("{answer} {", "a lone `{`"),
            ("{answer} }", "a lone `}`; write `}}`"),
            ("{question}", "has no {answer}"),
            ("", "has no {answer}"),
        ] {
            let error = Template::parse(prompt).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn what_the_row_lacks_is_named() {
        let bare = ScoreRequest {
            gold: None,
            images: Vec::new(),
            ..request()
        };
        for (prompt, message) in [
            (
                "{answer} {gold}",
                "`{gold}`, and the row has no right answer",
            ),
            ("{answer} {image}", "`{image}`, and the row has no picture"),
        ] {
            let error = Template::parse(prompt).unwrap().fill(&bare).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
