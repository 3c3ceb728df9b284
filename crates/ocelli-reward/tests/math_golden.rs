//! The mathematics verifier against math-verify on the golden pairs of `golden/make_math.py`.

use std::collections::BTreeSet;

use ocelli_reward::math::{Options, score};

/// Where the two differ, and why, is written here; this test keeps the list complete.
const DISAGREEMENTS: &str = include_str!("../../../docs/math-disagreements.md");

#[derive(serde::Deserialize)]
struct Golden {
    pairs: Vec<(String, String, bool)>,
}

/// The pairs of the document: lines that are JSON lists of gold answer, response and math-verify's verdict.
fn listed() -> Result<BTreeSet<(String, String, bool)>, serde_json::Error> {
    let rows = DISAGREEMENTS.lines().filter(|line| line.starts_with("[\""));
    rows.map(serde_json::from_str).collect()
}

#[test]
fn agrees_with_math_verify_but_for_the_listed_pairs() {
    let golden: Golden = serde_json::from_str(include_str!("golden/math.json")).unwrap();
    let options = Options {
        gold_is_text: true,
        ..Options::default()
    };
    let mut differing = BTreeSet::new();
    for (gold, response, theirs) in &golden.pairs {
        // No verdict is no reward, as there.
        let ours = score(response, gold, &options).unwrap_or(false);
        if ours != *theirs {
            differing.insert((gold.clone(), response.clone(), *theirs));
        }
    }
    let listed = listed().unwrap();
    let unlisted: Vec<_> = differing.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&differing).collect();
    assert!(
        unlisted.is_empty(),
        "not in docs/math-disagreements.md: {unlisted:#?}"
    );
    assert!(
        gone.is_empty(),
        "in docs/math-disagreements.md, but these agree: {gone:#?}"
    );
    assert!(golden.pairs.len() >= 2_000);
    assert!(
        differing.len() * 100 <= golden.pairs.len(),
        "{} disagreements",
        differing.len()
    );
}
