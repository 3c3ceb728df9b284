//! The grammar presets against the published patterns, on hostile texts judged by Python's `re` and TRL.

use ocelli_reward::{Grammar, Preset};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    rows: Vec<Row>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Row {
    text: String,
    vlm_r1: bool,
    vlm_r1_rec: bool,
    vlm_r1_rec_internvl: bool,
    easy_r1_math: bool,
    trl_think: bool,
    one_thinker: bool,
    info_think_answer: bool,
    optional: bool,
    first: Option<String>,
    last: Option<String>,
    second: Option<String>,
    only: Option<String>,
    r1v: String,
    math_boxed: Option<String>,
    boxed: Option<String>,
    dapo: Option<String>,
    after_think: Option<String>,
    v_triune: f64,
}

fn rows() -> Vec<Row> {
    let golden: Golden = serde_json::from_str(include_str!("golden/grammars.json"))
        .expect("make_grammars.py writes what Row reads");
    assert!(golden.rows.len() >= 500);
    golden.rows
}

/// Whether our form agrees on every row, and says yes and no often enough to mean something.
fn check_form(grammar: &Grammar, wanted: impl Fn(&Row) -> bool) {
    let rows = rows();
    for row in &rows {
        let form = grammar.read(&row.text).form();
        assert_eq!(form.is_ok(), wanted(row), "{:?}: {form:?}", row.text);
    }
    let good = rows.iter().filter(|row| wanted(row)).count();
    assert!(
        good >= 3 && rows.len() - good >= 100,
        "{good} keep to the form"
    );
}

fn check_answer(grammar: &Grammar, wanted: impl Fn(&Row) -> Option<&str>) {
    for row in &rows() {
        let reading = grammar.read(&row.text);
        let answer = reading.section("answer");
        assert_eq!(
            answer.clone().ok(),
            wanted(row),
            "{:?}: {answer:?}",
            row.text
        );
    }
}

fn own(toml: &str) -> Grammar {
    #[derive(Deserialize)]
    struct Recipe {
        grammar: Grammar,
    }
    let recipe: Recipe = toml::from_str(toml).expect("a grammar");
    recipe.grammar
}

fn picked(pick: &str) -> Grammar {
    own(&format!(
        "grammar.sections = [{{ name = \"answer\", pick = {pick} }}]"
    ))
}

#[test]
fn forms_are_those_of_the_published_patterns() {
    check_form(&Grammar::preset(Preset::VlmR1), |row| row.vlm_r1);
    check_form(&Grammar::preset(Preset::R1v), |row| row.vlm_r1);
    check_form(&Grammar::preset(Preset::VlmR1Rec), |row| row.vlm_r1_rec);
    check_form(&Grammar::preset(Preset::VlmR1RecInternvl), |row| {
        row.vlm_r1_rec_internvl
    });
    check_form(&Grammar::preset(Preset::EasyR1Math), |row| row.easy_r1_math);
    check_form(&Grammar::preset(Preset::TrlThink), |row| row.trl_think);
    check_form(&Grammar::preset(Preset::OneThinker), |row| row.one_thinker);
    check_form(&Grammar::preset(Preset::InfoThinkAnswer), |row| {
        row.info_think_answer
    });
}

#[test]
fn optional_sections_are_those_of_python() {
    let grammar = own(r#"
        [grammar]
        sections = [
            { name = "info", required = false },
            { name = "think", required = false },
            { name = "answer" },
        ]
        after = "space"
    "#);
    check_form(&grammar, |row| row.optional);
}

#[test]
fn picks_are_those_of_python() {
    check_answer(&Grammar::preset(Preset::VlmR1), |row| row.first.as_deref());
    check_answer(&picked("\"last\""), |row| row.last.as_deref());
    check_answer(&picked("{ nth = 2 }"), |row| row.second.as_deref());
    check_answer(&picked("\"only\""), |row| row.only.as_deref());
}

#[test]
fn answers_are_those_of_the_published_functions() {
    check_answer(&Grammar::preset(Preset::R1v), |row| Some(&row.r1v));
    check_answer(&Grammar::preset(Preset::Dapo), |row| row.dapo.as_deref());
    check_answer(&Grammar::preset(Preset::TrlThink), |row| {
        row.after_think.as_deref()
    });
}

/// mathruler trims and counts escaped braces too; none of the rows has an escaped brace.
#[test]
fn boxed_answers_are_those_of_mathruler() {
    for row in rows() {
        for (preset, wanted) in [
            (Preset::EasyR1Math, &row.math_boxed),
            (Preset::Boxed, &row.boxed),
        ] {
            let grammar = Grammar::preset(preset);
            let reading = grammar.read(&row.text);
            let answer = reading.section("answer").ok().map(|answer| {
                answer
                    .trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
            });
            assert_eq!(answer, wanted.as_deref(), "{preset:?} {:?}", row.text);
        }
    }
}

#[test]
fn credit_is_that_of_v_triune() {
    let grammar = Grammar::preset(Preset::VTriune);
    for row in rows() {
        assert_eq!(
            grammar.mark_credit(&row.text),
            row.v_triune,
            "{:?}",
            row.text
        );
    }
}
