//! Texts that are right or wrong as a whole, and lists of labels.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::row::{Refusal, Row, one_if};
use super::{Rule, range};
use crate::measure::similarity::{anls, jaccard, set_f1};
use crate::payload::{parse_label, parse_label_set, parse_text};

/// 1 when answer and target text are equal after [`parse_text`], else 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exact {
    #[serde(default)]
    any_of: bool,
}

impl Rule for Exact {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let accepted = row.accepted_as(self.any_of, parse_text)?;
        Ok(one_if(accepted.contains(&row.read(parse_text)?)))
    }
}

/// 1 when answer and target are the same label ([`parse_label`]), else 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Label {
    #[serde(default)]
    any_of: bool,
}

impl Rule for Label {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let accepted = row.accepted_as(self.any_of, parse_label)?;
        Ok(one_if(accepted.contains(&row.read(parse_label)?)))
    }
}

/// How alike two sets of labels are ([`parse_label_set`]), in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LabelSet {
    #[serde(default)]
    metric: SetMetric,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SetMetric {
    /// [`set_f1`].
    #[default]
    F1,
    /// [`jaccard`].
    Jaccard,
    /// 1 for equal sets, else 0.
    Exact,
}

impl Rule for LabelSet {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target(parse_label_set)?;
        let found = row.read(parse_label_set)?;
        let items = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<String>>();
        Ok(match self.metric {
            SetMetric::F1 => set_f1(&items(&found), &items(&gold)),
            SetMetric::Jaccard => jaccard(&items(&found), &items(&gold)),
            SetMetric::Exact => one_if(found == gold),
        })
    }
}

/// Average normalised Levenshtein similarity of answer and target ([`anls`]), in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Anls {
    /// Normalised distance from which on the score is 0; the benchmark's is .5 (Biten and others, 2019).
    #[serde(default = "half")]
    threshold: f64,
    #[serde(default)]
    any_of: bool,
}

fn half() -> f64 {
    0.5
}

impl Rule for Anls {
    fn check(&self) -> Result<(), String> {
        range::share("threshold", self.threshold)
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let accepted = row.accepted(self.any_of)?;
        let accepted: Vec<&str> = accepted.iter().map(String::as_str).collect();
        row.measured(anls(&row.answer()?, &accepted, self.threshold))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread};

    #[test]
    fn one_of_several_texts() {
        let rule = json!({"verifier": "exact", "any_of": true});
        let target = r#"["cat", "a kitten"]"#;
        scores(
            rule.clone(),
            target,
            &[("Cat", 1.0), ("A  Kitten", 1.0), ("kitten", 0.0)],
        );
        unread(rule.clone(), target, " ", "the answer is empty");
        bad_target(rule.clone(), "cat", "cannot be read");
        bad_target(rule.clone(), "[]", "accepts nothing");
        bad_target(rule, r#"["cat", " "]"#, "the answer is empty");
    }

    #[test]
    fn labels_lose_what_is_written_around_them() {
        let rule = json!({"verifier": "label"});
        scores(
            rule.clone(),
            "Zebra",
            &[("**zebra**.", 1.0), ("\"Zebra\"", 1.0), ("horse", 0.0)],
        );
        unread(rule.clone(), "Zebra", "", "empty");
        bad_target(rule, " ", "empty");
    }

    #[test]
    fn sets_of_labels() {
        // Two of three found, one too many: precision 2/3, recall 2/3, Jaccard 2/4.
        for (metric, part) in [("f1", 2.0 / 3.0), ("jaccard", 0.5), ("exact", 0.0)] {
            let rule = json!({"verifier": "label_set", "metric": metric});
            let target = "cat, dog, cow";
            scores(
                rule.clone(),
                target,
                &[
                    ("cow; Dog; cat", 1.0),
                    ("cat, dog, hen", part),
                    ("hen", 0.0),
                ],
            );
            unread(rule.clone(), target, " ", "empty");
            bad_target(rule, "", "empty");
        }
        assert!(refused(json!({"verifier": "label_set", "metric": "f2"})).contains("`f2`"));
    }

    #[test]
    fn anls_of_the_best_accepted_text() {
        let rule = json!({"verifier": "anls", "any_of": true});
        // One letter of five.
        scores(
            rule,
            r#"["world", "hello"]"#,
            &[("Hallo", 0.8), ("hello", 1.0), ("xyz", 0.0)],
        );
        let error = refused(json!({"verifier": "anls", "threshold": 0}));
        assert!(error.contains("`threshold = 0` is not allowed"), "{error}");
    }
}
