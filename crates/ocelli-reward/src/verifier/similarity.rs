//! How near a text is to the target's.

use serde::Deserialize;

use super::Rule;
use super::row::{Refusal, Row};
use crate::measure::MeasureError;
use crate::measure::rouge::{mean_rouge, rouge_l, rouge_n};
use crate::measure::similarity::{
    character_error_rate, keyword_coverage, levenshtein_ratio, levenshtein_similarity, token_f1,
    word_accuracy,
};
use crate::payload::{parse_label_list, parse_text};

/// An edit-distance likeness, in `[0, 1]`, outer white space apart.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Levenshtein {
    #[serde(default)]
    metric: EditMetric,
    /// Compare after [`parse_text`]: letter case and white space do not count.
    #[serde(default)]
    fold: bool,
    #[serde(default)]
    any_of: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EditMetric {
    /// [`levenshtein_similarity`].
    #[default]
    Similarity,
    /// [`levenshtein_ratio`].
    Ratio,
}

/// The largest of the likenesses, or the first refusal.
fn best(
    accepted: &[String],
    likeness: impl Fn(&str) -> Result<f64, MeasureError>,
) -> Result<f64, MeasureError> {
    let mut best = 0.0;
    for text in accepted {
        best = likeness(text)?.max(best);
    }
    Ok(best)
}

impl Rule for Levenshtein {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let read = |text: &str| match self.fold {
            true => parse_text(text),
            false => Ok(text.trim().to_owned()),
        };
        let accepted = row.accepted_as(self.any_of, read)?;
        let found = row.read(read)?;
        let likeness = match self.metric {
            EditMetric::Similarity => levenshtein_similarity,
            EditMetric::Ratio => levenshtein_ratio,
        };
        row.measured(best(&accepted, |text| likeness(&found, text)))
    }
}

/// `max(0, 1 − error rate)` of the words or the letters, in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WordAccuracy {
    #[serde(default)]
    unit: Unit,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    /// [`word_accuracy`].
    #[default]
    Words,
    /// The same of [`character_error_rate`].
    Letters,
}

impl Rule for WordAccuracy {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target_text()?;
        let found = row.answer()?;
        row.measured(match self.unit {
            Unit::Words => word_accuracy(&found, gold),
            Unit::Letters => character_error_rate(&found, gold).map(|rate| (1.0 - rate).max(0.0)),
        })
    }
}

/// F1 of shared runs of words, in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rouge {
    #[serde(default)]
    metric: RougeMetric,
    /// Whether words lose their endings first.
    #[serde(default)]
    stem: bool,
    #[serde(default)]
    any_of: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum RougeMetric {
    /// [`mean_rouge`].
    #[default]
    #[serde(rename = "mean")]
    Mean,
    #[serde(rename = "rouge_1")]
    One,
    #[serde(rename = "rouge_2")]
    Two,
    #[serde(rename = "rouge_l")]
    Longest,
}

impl Rule for Rouge {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let accepted = row.accepted(self.any_of)?;
        let wordless = |text: &&String| !text.contains(|c: char| c.is_ascii_alphanumeric());
        if let Some(text) = accepted.iter().find(wordless) {
            return Err(row.unreadable_target(text, "ROUGE knows words of a to z and 0 to 9 only"));
        }
        let found = row.answer()?;
        row.measured(best(&accepted, |gold| match self.metric {
            RougeMetric::Mean => mean_rouge(&found, gold, self.stem),
            RougeMetric::One => Ok(rouge_n(&found, gold, 1, self.stem).f1),
            RougeMetric::Two => Ok(rouge_n(&found, gold, 2, self.stem).f1),
            RougeMetric::Longest => rouge_l(&found, gold, self.stem).map(|score| score.f1),
        }))
    }
}

/// Share of the target's keywords that occur in the answer ([`keyword_coverage`]), in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keywords {}

impl Rule for Keywords {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let keywords = row.target(parse_label_list)?;
        let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
        Ok(keyword_coverage(&row.answer()?, &keywords))
    }
}

/// F1 of the words ([`token_f1`]), in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenF1 {
    #[serde(default)]
    any_of: bool,
}

impl Rule for TokenF1 {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let accepted = row.accepted(self.any_of)?;
        let found = row.answer()?;
        row.measured(best(&accepted, |gold| Ok(token_f1(&found, gold))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread, verifier};

    #[test]
    fn edit_distances() {
        // kitten → sitting: three edits of seven letters; the common subsequence has four of 6 + 7.
        let rule = json!({"verifier": "levenshtein"});
        scores(
            rule.clone(),
            "sitting",
            &[("sitting", 1.0), ("kitten", 4.0 / 7.0), ("", 0.0)],
        );
        scores(rule, "cat", &[("CAT", 0.0)]);
        let ratio = json!({"verifier": "levenshtein", "metric": "ratio", "fold": true});
        scores(
            ratio.clone(),
            "sitting",
            &[("Kitten", 8.0 / 13.0), ("Sitting", 1.0)],
        );
        unread(ratio.clone(), "sitting", "", "empty");
        bad_target(ratio, "", "empty");
        let several = json!({"verifier": "levenshtein", "any_of": true});
        scores(
            several.clone(),
            r#"["kitten", "cat"]"#,
            &[("cat", 1.0), ("cut", 2.0 / 3.0)],
        );
        bad_target(several, "cat", "cannot be read");
    }

    #[test]
    fn word_errors() {
        let words = json!({"verifier": "word_accuracy"});
        let target = "the red car stops";
        scores(
            words.clone(),
            target,
            &[
                (target, 1.0),
                ("the red cat stops", 0.75),
                ("no", 0.0),
                ("", 0.0),
            ],
        );
        let letters = json!({"verifier": "word_accuracy", "unit": "letters"});
        scores(letters, "abcd", &[("abcx", 0.75), ("abcd", 1.0)]);
        let boxed = crate::fixtures::box_target([0.0, 0.0, 1.0, 1.0]);
        let episode = crate::fixtures::episode(Some(boxed), "<answer>a</answer>");
        let verdict = verifier(words).verify(&episode, ocelli_core::Progress::default());
        assert!(
            matches!(verdict, ocelli_core::Verdict::Error(_)),
            "{verdict:?}"
        );
    }

    #[test]
    fn runs_of_words() {
        // Two of three words, one of two pairs.
        let target = "a red car";
        for (metric, part) in [
            ("rouge_1", 2.0 / 3.0),
            ("rouge_2", 0.5),
            ("rouge_l", 2.0 / 3.0),
            ("mean", (2.0 / 3.0 + 0.5 + 2.0 / 3.0) / 3.0),
        ] {
            let rule = json!({"verifier": "rouge", "metric": metric});
            scores(
                rule,
                target,
                &[("A red car.", 1.0), ("a red bus", part), ("x", 0.0)],
            );
        }
        bad_target(json!({"verifier": "rouge"}), "日本語", "ROUGE knows words");
        let stem = json!({"verifier": "rouge", "metric": "rouge_1", "stem": true, "any_of": true});
        scores(stem, r#"["stopping", "dog"]"#, &[("stopped", 1.0)]);
        assert!(refused(json!({"verifier": "rouge", "metric": "rouge_3"})).contains("rouge_3"));
    }

    #[test]
    fn keywords_that_occur() {
        let rule = json!({"verifier": "keywords"});
        let answer = "A Zebra stands in tall grass.";
        scores(
            rule.clone(),
            "zebra; grass; river; sky",
            &[(answer, 0.5), ("none", 0.0)],
        );
        scores(rule.clone(), "zebra", &[(answer, 1.0), ("", 0.0)]);
        bad_target(rule, " ", "empty");
    }

    #[test]
    fn shared_words() {
        let rule = json!({"verifier": "token_f1"});
        // Two shared of two and three: P 1, R 2/3.
        scores(
            rule,
            "red sports car",
            &[("the red car!", 0.8), ("red sports car", 1.0), ("bus", 0.0)],
        );
        let several = json!({"verifier": "token_f1", "any_of": true});
        scores(several, r#"["bus", "red car"]"#, &[("Red car", 1.0)]);
    }
}
