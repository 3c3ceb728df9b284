//! Orders of things: puzzles and rankings.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::row::{Refusal, Row, one_if};
use super::{Rule, range};
use crate::measure::sequences::{adjacency_share, hit_at, ndcg, position_share, reciprocal_rank};
use crate::payload::{parse_integers, parse_label, parse_label_list};

/// How much of an order is right, in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Permutation {
    #[serde(default)]
    metric: OrderMetric,
    /// `adjacency`: columns of the grid.
    #[serde(default)]
    columns: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OrderMetric {
    /// [`position_share`].
    #[default]
    Position,
    /// [`adjacency_share`].
    Adjacency,
    /// 1 for the same order, else 0.
    Exact,
}

impl Rule for Permutation {
    fn check(&self) -> Result<(), String> {
        if self.metric == OrderMetric::Adjacency {
            let columns = range::needed("columns", self.columns, "`metric = \"adjacency\"`")?;
            return range::count("columns", columns);
        }
        let with = "another metric than `adjacency`";
        range::unused("columns", self.columns.is_some(), with)
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target(parse_integers)?;
        let columns = self.columns.unwrap_or(1);
        if self.metric == OrderMetric::Adjacency && gold.len() % columns != 0 {
            let reason = "`columns` does not divide its length";
            return Err(row.unreadable_target(row.target_text()?, reason));
        }
        let found = row.read(parse_integers)?;
        Ok(match self.metric {
            OrderMetric::Position => position_share(&found, &gold),
            OrderMetric::Adjacency => adjacency_share(&found, &gold, columns),
            OrderMetric::Exact => one_if(found == gold),
        })
    }
}

/// The answered labels in order, each the first time only.
fn ranking(row: &Row) -> Result<Vec<String>, Refusal> {
    let mut seen = BTreeSet::new();
    let mut ranked = row.read(parse_label_list)?;
    ranked.retain(|label| seen.insert(label.clone()));
    Ok(ranked)
}

/// [`ndcg`] of a ranking by the target's relevances, in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ndcg {
    /// How many of the ranking count; all when nothing is said.
    #[serde(default)]
    most: Option<usize>,
}

impl Rule for Ndcg {
    fn check(&self) -> Result<(), String> {
        self.most.map_or(Ok(()), |most| range::count("most", most))
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let relevances: BTreeMap<String, f64> = row.target_json()?;
        if !relevances.values().any(|r| *r > 0.0 && r.is_finite()) {
            return Err(row.unreadable_target(row.target_text()?, "nothing in it is relevant"));
        }
        let mut left = BTreeMap::new();
        for (name, relevance) in relevances {
            let label = parse_label(&name)
                .map_err(|failure| row.unreadable_target(&name, &failure.to_string()))?;
            left.insert(label, relevance);
        }
        let mut ranked = ranking(row)?;
        ranked.truncate(self.most.unwrap_or(usize::MAX));
        let gained = ranked.iter().map(|label| left.remove(label).unwrap_or(0.0));
        let mut relevances: Vec<f64> = gained.collect();
        let retrieved = relevances.len();
        relevances.extend(left.into_values());
        Ok(ndcg(&relevances, retrieved))
    }
}

/// 1 when the target's label is among the first answered ones ([`hit_at`]), else 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HitAt {
    most: usize,
}

impl Rule for HitAt {
    fn check(&self) -> Result<(), String> {
        range::count("most", self.most)
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target(parse_label)?;
        Ok(one_if(hit_at(&ranking(row)?, &gold, self.most)))
    }
}

/// One over the rank of the target's label among the answered ones ([`reciprocal_rank`]), in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReciprocalRank {}

impl Rule for ReciprocalRank {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target(parse_label)?;
        Ok(reciprocal_rank(&ranking(row)?, &gold))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread};

    #[test]
    fn puzzles() {
        let rule = json!({"verifier": "permutation"});
        scores(
            rule.clone(),
            "1 2 3 4",
            &[("1, 2, 3, 4", 1.0), ("2 1 / 3 4", 0.5), ("4 3 2 1", 0.0)],
        );
        unread(rule.clone(), "1 2", "first", "whole number");
        bad_target(rule, "first", "cannot be read");
        // Jigsaw-R1's example: one of four neighbours in a 2 × 2 grid.
        let rule = json!({"verifier": "permutation", "metric": "adjacency", "columns": 2});
        scores(
            rule.clone(),
            "1 2 3 4",
            &[("[[2, 1], [3, 4]]", 0.25), ("1 2 3 4", 1.0), ("1 2", 0.0)],
        );
        bad_target(rule, "1 2 3", "does not divide");
        let rule = json!({"verifier": "permutation", "metric": "exact"});
        scores(rule, "2 1", &[("2, 1", 1.0), ("1, 2", 0.0)]);
        for (keys, message) in [
            (json!({"columns": 2}), "`columns` has no effect"),
            (json!({"metric": "adjacency"}), "`columns` is missing"),
            (json!({"metric": "adjacency", "columns": 0}), "from 1 on"),
        ] {
            let mut rule = keys;
            rule["verifier"] = "permutation".into();
            let error = refused(rule);
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn rankings() {
        let rule = json!({"verifier": "ndcg"});
        let target = r#"{"a": 1, "b": 0, "c": 1}"#;
        // a at 1 and c at 3 of a best at 1 and 2.
        let best = 1.0 + 1.0 / 3.0f64.log2();
        scores(
            rule.clone(),
            target,
            &[
                ("a, c", 1.0),
                ("a, b, c", 1.5 / best),
                ("b", 0.0),
                ("a, a", 1.0 / best),
            ],
        );
        unread(rule.clone(), target, " ", "empty");
        bad_target(rule.clone(), "a, c", "cannot be read");
        bad_target(rule, r#"{"a": 0}"#, "nothing in it is relevant");
        let first = json!({"verifier": "ndcg", "most": 1});
        scores(first, target, &[("b, a, c", 0.0)]);
        assert!(refused(json!({"verifier": "ndcg", "most": 0})).contains("from 1 on"));
    }

    #[test]
    fn the_rank_of_the_right_label() {
        let hit = json!({"verifier": "hit_at", "most": 2});
        let target = "eczema";
        scores(
            hit.clone(),
            target,
            &[
                ("1. acne\n2. Eczema\n3. wart", 1.0),
                ("acne, wart, eczema", 0.0),
                ("acne, acne, eczema", 1.0),
            ],
        );
        unread(hit.clone(), target, "", "empty");
        bad_target(hit, "", "empty");
        let rank = json!({"verifier": "reciprocal_rank"});
        scores(
            rank.clone(),
            target,
            &[("acne, eczema", 0.5), ("eczema", 1.0), ("acne", 0.0)],
        );
        unread(rank, target, "", "empty");
        assert!(refused(json!({"verifier": "hit_at"})).contains("most"));
        assert!(refused(json!({"verifier": "hit_at", "most": 0})).contains("from 1 on"));
    }
}
