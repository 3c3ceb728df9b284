//! Whether a turn keeps to its form.

use ocelli_core::FailureKind;
use serde::Deserialize;

use super::row::{Refusal, Row, one_if};
use super::{Reads, Rule, range};
use crate::grammar::{Grammar, Preset};
use crate::measure::sequences::repetition_penalty;
use crate::payload::PayloadKind;
use crate::tags::{sections, tag_credit};

/// 1 when the turn has the form of the grammar, think and answer by default, else 0; with `partial` the share of the
/// grammar's marks that occur exactly once ([`Grammar::mark_credit`]).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tags {
    #[serde(default)]
    grammar: Option<Grammar>,
    #[serde(default)]
    partial: bool,
}

impl Rule for Tags {
    fn reads(&self) -> Reads {
        Reads::Turn
    }

    fn can_fail(&self) -> bool {
        false
    }

    fn check(&self) -> Result<(), String> {
        if *self.grammar() == Grammar::preset(Preset::Whole) {
            return Err("every turn has the form of the grammar `whole`; name another".to_owned());
        }
        Ok(())
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let turn = row.turn();
        Ok(match (&self.grammar, self.partial) {
            (None, false) => one_if(sections(turn).well_formed),
            (None, true) => tag_credit(turn),
            (Some(grammar), false) => one_if(grammar.read(turn).form().is_ok()),
            (Some(grammar), true) => grammar.mark_credit(turn),
        })
    }
}

impl Tags {
    fn grammar(&self) -> std::borrow::Cow<'_, Grammar> {
        match &self.grammar {
            Some(grammar) => std::borrow::Cow::Borrowed(grammar),
            None => std::borrow::Cow::Owned(Grammar::preset(Preset::ThinkAnswer)),
        }
    }
}

/// 1 when the answer can be read as this kind ([`PayloadKind::parse`]), whatever it says, else 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Readable {
    #[serde(rename = "as")]
    kind: PayloadKind,
}

impl Rule for Readable {
    fn can_fail(&self) -> bool {
        false
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        row.read(|answer| self.kind.parse(answer)).map(|_| 1.0)
    }
}

/// [`repetition_penalty`] of the turn's words, in `(−1, 0]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Repetition {
    /// Words in a run.
    #[serde(default = "six")]
    n: usize,
}

fn six() -> usize {
    6
}

impl Rule for Repetition {
    fn reads(&self) -> Reads {
        Reads::Turn
    }

    fn can_fail(&self) -> bool {
        false
    }

    fn check(&self) -> Result<(), String> {
        range::count("n", self.n)
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let words: Vec<String> = row
            .turn()
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        Ok(repetition_penalty(&words, self.n))
    }
}

/// A penalty on answers that come near to the length limit, in `[−1, 0]`: 0 up to `max_completion_length − cache` tokens, then
/// falling in a line to −1 at the limit (DAPO; Yu et al. 2025, arXiv 2503.14476, equation 13).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SoftOverlong {
    /// Sampled tokens from which the whole penalty is due.
    max_completion_length: usize,
    /// Tokens before that over which it grows.
    cache: usize,
}

impl Rule for SoftOverlong {
    fn reads(&self) -> Reads {
        Reads::Turn
    }

    fn check(&self) -> Result<(), String> {
        range::count("cache", self.cache)?;
        if self.cache > self.max_completion_length {
            return Err(format!(
                "`cache = {}` must be at most `max_completion_length = {}`",
                self.cache, self.max_completion_length
            ));
        }
        Ok(())
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let length: usize = row
            .episode
            .decisions()
            .map(|turn| turn.token_ids.len())
            .sum();
        if length == 0 {
            return Err(row.unjudgeable(
                FailureKind::InputMissing,
                "the answer's tokens are not there to be counted",
                "give whole episodes, or leave this node out",
            ));
        }
        let free = self.max_completion_length - self.cache;
        let over = length.saturating_sub(free) as f64 / self.cache as f64;
        // Not −0.
        Ok(0.0 - over.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use ocelli_core::Verdict;
    use serde_json::json;

    use super::super::tests::{refused, verifier};
    use crate::fixtures::episode;

    #[test]
    fn long_answers_pay() {
        let rule = json!({"verifier": "soft_overlong", "max_completion_length": 20, "cache": 8});
        let value = |tokens: usize| {
            let mut episode = episode(None, "a");
            episode.segments.last_mut().unwrap().token_ids = vec![7; tokens];
            verifier(rule.clone()).verify(&episode, ocelli_core::Progress::default())
        };
        for (tokens, wanted) in [
            (1, 0.0),
            (12, 0.0),
            (13, -0.125),
            (16, -0.5),
            (20, -1.0),
            (99, -1.0),
        ] {
            assert_eq!(value(tokens).value(), Some(wanted), "{tokens}");
        }
        match value(0) {
            Verdict::Error(error) => assert!(error.message.contains("not there to be counted")),
            other => panic!("{other:?}"),
        }
        for (keys, words) in [
            (json!({"max_completion_length": 20, "cache": 0}), "cache"),
            (json!({"max_completion_length": 20, "cache": 21}), "at most"),
        ] {
            let mut rule = keys;
            rule["verifier"] = "soft_overlong".into();
            let error = refused(rule);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn answers_can_be_read_or_not() {
        let value = |kind: &str, text: &str| {
            let rule = json!({"verifier": "readable", "as": kind, "answer_in": "text"});
            let verdict =
                verifier(rule).verify(&episode(None, text), ocelli_core::Progress::default());
            verdict.value()
        };
        assert_eq!(value("interval", "from 3 to 5"), Some(1.0));
        assert_eq!(value("interval", "at the end"), Some(0.0));
        assert_eq!(
            value("layout", r#"[{"id": "a", "x": 1, "y": 2}]"#),
            Some(0.0)
        );
        let error = refused(json!({"verifier": "readable", "as": "colour"}));
        assert!(error.contains("unknown variant `colour`"), "{error}");
        let error = refused(json!({"verifier": "readable"}));
        assert!(error.contains("missing field `as`"), "{error}");
    }

    #[test]
    fn repeated_runs_cost() {
        let judged = |rule: serde_json::Value, text: &str| {
            verifier(rule).verify(&episode(None, text), ocelli_core::Progress::default())
        };
        // Of the pairs a b, b a, a b, b a two differ.
        let pairs = json!({"verifier": "repetition", "n": 2});
        assert_eq!(judged(pairs, "a b A b a"), Verdict::score(-0.5));
        assert_eq!(
            judged(json!({"verifier": "repetition"}), "a b"),
            Verdict::score(0.0)
        );
        assert!(refused(json!({"verifier": "repetition", "n": 0})).contains("from 1 on"));
    }
}
