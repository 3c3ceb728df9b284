//! Classes in a tree, and the structure of formulas.

use std::collections::BTreeMap;

use ocelli_core::FailureKind;
use serde::Deserialize;

use super::row::{Refusal, Row};
use super::{Rule, range};
use crate::math;
use crate::measure::symbolic_skeleton::{Exponents, skeleton_similarity};
use crate::measure::taxonomy::{Taxonomy, listed_category_credit};
use crate::payload::{parse_formula, parse_label};

/// Credit of a class by where it stands beside the target's, in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaxonomyCredit {
    #[serde(default)]
    metric: TreeMetric,
    /// `common_ancestor`: the parent of each class.
    #[serde(default)]
    parents: Tree,
    /// `listed`: the classes that there are.
    #[serde(default)]
    classes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TreeMetric {
    /// [`Taxonomy::credit`].
    #[default]
    CommonAncestor,
    /// [`listed_category_credit`].
    Listed,
}

/// A taxonomy of labels.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
struct Tree(Taxonomy);

impl TryFrom<BTreeMap<String, String>> for Tree {
    type Error = String;

    fn try_from(parents: BTreeMap<String, String>) -> Result<Self, String> {
        let label = |name: &String| {
            parse_label(name).map_err(|_| "`parents` has a class without a name".to_owned())
        };
        let mut edges = Vec::with_capacity(parents.len());
        for (child, parent) in &parents {
            edges.push((label(child)?, label(parent)?));
        }
        let edges = edges.iter().map(|(c, p)| (c.as_str(), p.as_str()));
        Taxonomy::new(edges)
            .map(Self)
            .map_err(|error| format!("`parents`: {error}"))
    }
}

impl Rule for TaxonomyCredit {
    fn check(&self) -> Result<(), String> {
        let empty = self.parents == Tree::default();
        match self.metric {
            TreeMetric::CommonAncestor => {
                let with = "`metric = \"common_ancestor\"`";
                range::unused("classes", !self.classes.is_empty(), with)?;
                range::needed("parents", (!empty).then_some(()), with)
            }
            TreeMetric::Listed => {
                let with = "`metric = \"listed\"`";
                range::unused("parents", !empty, with)?;
                range::needed("classes", (!self.classes.is_empty()).then_some(()), with)
            }
        }
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target(parse_label)?;
        let classes = self
            .classes
            .iter()
            .filter_map(|class| parse_label(class).ok());
        let classes: Vec<String> = classes.collect();
        let known = match self.metric {
            TreeMetric::CommonAncestor => self.parents.0.contains(&gold),
            TreeMetric::Listed => classes.contains(&gold),
        };
        if !known {
            let reason = "it is none of the node's classes";
            return Err(row.unreadable_target(row.target_text()?, reason));
        }
        let found = row.read(parse_label)?;
        let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
        Ok(match self.metric {
            TreeMetric::CommonAncestor => self.parents.0.credit(&found, &gold),
            TreeMetric::Listed => listed_category_credit(&found, &gold, &classes),
        })
    }
}

/// How alike the terms of two formulas are whatever their numbers ([`skeleton_similarity`]), in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Skeleton {
    /// The symbols that stay; all others are parameters.
    #[serde(default = "viper_r1")]
    variables: Vec<String>,
    #[serde(default)]
    exponents: Exponents,
}

fn viper_r1() -> Vec<String> {
    ["x", "v", "t"].map(str::to_owned).to_vec()
}

impl Rule for Skeleton {
    fn check(&self) -> Result<(), String> {
        let given = (!self.variables.is_empty()).then_some(());
        range::needed(
            "variables",
            given,
            "a skeleton, of which nothing else is left,",
        )
    }

    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let gold = row.target(parse_formula)?;
        let gold = math::formula(&gold).map_err(|failure| {
            row.unjudgeable(
                FailureKind::TargetUnreadable,
                &format!("the row's formula: {failure}"),
                "mend the row",
            )
        })?;
        let found = math::formula(&row.read(parse_formula)?);
        let found = found.map_err(|failure| Refusal::Unparsed(failure.to_string()))?;
        let variables: Vec<&str> = self.variables.iter().map(String::as_str).collect();
        row.measured(skeleton_similarity(
            &found,
            &gold,
            &variables,
            self.exponents,
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, refused, scores, unread};

    #[test]
    fn classes_in_a_tree() {
        // Skin-R1's example: inflammatory > eczema > atopic.
        let rule = json!({"verifier": "taxonomy", "parents": {"eczema": "inflammatory", "Atopic": "eczema",
            "contact": "eczema", "psoriasis": "inflammatory", "melanoma": "neoplastic"}});
        scores(
            rule.clone(),
            "atopic",
            &[
                ("Atopic.", 1.0),
                ("contact", 2.0 / 3.0),
                ("psoriasis", 1.0 / 3.0),
                ("melanoma", 0.0),
                ("flu", 0.0),
            ],
        );
        unread(rule.clone(), "atopic", "", "empty");
        bad_target(rule, "flu", "none of the node's classes");
        let listed =
            json!({"verifier": "taxonomy", "metric": "listed", "classes": ["violence", "fraud"]});
        scores(
            listed.clone(),
            "fraud",
            &[("Fraud", 1.0), ("violence", 0.5), ("spam", 0.0)],
        );
        bad_target(listed, "spam", "none of the node's classes");
        for (keys, message) in [
            (json!({}), "`parents` is missing"),
            (
                json!({"parents": {"a": "b"}, "classes": ["c"]}),
                "`classes` has no effect",
            ),
            (json!({"metric": "listed"}), "`classes` is missing"),
            (
                json!({"metric": "listed", "classes": ["c"], "parents": {"a": "b"}}),
                "`parents` has no effect",
            ),
            (json!({"parents": {"a": "b", "b": "a"}}), "`parents`: "),
        ] {
            let mut rule = keys;
            rule["verifier"] = "taxonomy".into();
            let error = refused(rule);
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn skeletons_of_formulas() {
        // VIPER-R1's examples.
        let rule = json!({"verifier": "skeleton"});
        scores(
            rule.clone(),
            "-k x",
            &[
                ("-2 k x", 1.0),
                (r"$a = -k x$", 1.0),
                ("-k x - c v", 0.5),
                ("c v", 0.0),
                ("-k x - b x^3", 0.5),
            ],
        );
        scores(rule.clone(), "-k x - c v + t", &[("-k x - c v", 2.0 / 3.0)]);
        scores(rule.clone(), r"\sin(t)", &[(r"3 \sin(t)", 1.0)]);
        unread(rule.clone(), "-k x", r"\{1, 2\}", "cannot be read");
        unread(rule.clone(), "-k x", "", "empty");
        bad_target(rule, r"\{1, 2\}", "cannot be read");
        let sign = json!({"verifier": "skeleton", "exponents": "sign"});
        scores(sign, "-k x", &[("-k x - b x^3", 1.0)]);
        let error = refused(json!({"verifier": "skeleton", "variables": []}));
        assert!(error.contains("`variables` is missing"), "{error}");
    }
}
