//! A scorer without a model: always the same result, and no network.

use std::collections::{BTreeMap, BTreeSet};

use super::{Score, ScoreRequest, Scorer, ScorerError};

/// Scores an answer by the share of the gold answer's words that it has; letter case does not count. Without a gold
/// answer the score is a hash of question and answer, in `[0, 1)`: it means nothing, and is always the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct StubScorer;

impl Scorer for StubScorer {
    fn score(&self, requests: &[ScoreRequest]) -> Vec<Result<Score, ScorerError>> {
        let scored = requests.iter().map(|request| {
            let value = match &request.gold {
                Some(gold) => share(&words(gold), &words(&request.answer)),
                None => hash(request),
            };
            Ok(Score {
                value,
                grades: BTreeMap::new(),
                reply: String::new(),
                cached: false,
            })
        });
        scored.collect()
    }
}

fn words(text: &str) -> BTreeSet<String> {
    let split = text.split(|c: char| !c.is_alphanumeric());
    split
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// A gold answer without words is matched by an answer without words only.
fn share(gold: &BTreeSet<String>, answer: &BTreeSet<String>) -> f64 {
    if gold.is_empty() {
        return f64::from(u8::from(answer.is_empty()));
    }
    gold.intersection(answer).count() as f64 / gold.len() as f64
}

fn hash(request: &ScoreRequest) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(request.question.len() as u64).to_le_bytes());
    hasher.update(request.question.as_bytes());
    hasher.update(request.answer.as_bytes());
    let bytes = hasher.finalize();
    let four: [u8; 4] = [0, 1, 2, 3].map(|i| bytes.as_bytes()[i]);
    f64::from(u32::from_le_bytes(four)) / 2f64.powi(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(question: &str, answer: &str, gold: Option<&str>) -> f64 {
        let request = ScoreRequest {
            question: question.to_owned(),
            answer: answer.to_owned(),
            gold: gold.map(str::to_owned),
            images: Vec::new(),
        };
        StubScorer.score(&[request])[0].as_ref().unwrap().value
    }

    #[test]
    fn scores_by_shared_words() {
        for (answer, gold, score) in [
            ("A red car.", "red car", 1.0),
            ("a RED bus", "red car", 0.5),
            ("", "red car", 0.0),
            ("", "...", 1.0),
            ("x", "...", 0.0),
        ] {
            assert_eq!(value("?", answer, Some(gold)), score, "{answer}");
        }
    }

    #[test]
    fn without_gold_the_score_is_fixed_by_question_and_answer() {
        let one = value("ab", "c", None);
        assert_eq!(one, value("ab", "c", None));
        assert_ne!(one, value("a", "bc", None));
        assert!((0.0..1.0).contains(&one));
    }
}
