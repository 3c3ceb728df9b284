use proptest::prelude::*;

use super::*;

fn from_toml(text: &str) -> Result<Grammar, toml::de::Error> {
    #[derive(Debug, serde::Deserialize)]
    struct Recipe {
        grammar: Grammar,
    }
    toml::from_str::<Recipe>(text).map(|recipe| recipe.grammar)
}

fn fault(grammar: &Grammar, text: &str) -> Option<(String, Fault)> {
    let failure = grammar.read(text).form().err()?;
    Some((failure.section, failure.fault))
}

#[test]
fn a_broken_form_names_the_section_and_the_fault() {
    let ours = Grammar::preset(Preset::ThinkAnswer);
    let vlm_r1 = Grammar::preset(Preset::VlmR1);
    let rec = Grammar::preset(Preset::VlmR1Rec);
    for (grammar, text, section, wanted) in [
        (&ours, "", "think", Fault::Missing),
        (&ours, "<think>a</think>", "answer", Fault::Missing),
        (
            &ours,
            "<think>a<answer>7</answer>",
            "think",
            Fault::NotClosed,
        ),
        (
            &ours,
            "<think>a</think><answer>7",
            "answer",
            Fault::NotClosed,
        ),
        (
            &ours,
            "<think>a</think><think><answer>7</answer>",
            "think",
            Fault::Repeated,
        ),
        (
            &ours,
            "<answer>7</answer><think>a</think>",
            "think",
            Fault::TextBefore,
        ),
        (
            &vlm_r1,
            "<think>a<answer>7</answer></think>",
            "answer",
            Fault::OutOfOrder,
        ),
        (
            &vlm_r1,
            "so <think>a</think><answer>7</answer>",
            "think",
            Fault::TextBefore,
        ),
        (
            &vlm_r1,
            "<think>a</think>.<answer>7</answer>",
            "answer",
            Fault::TextBefore,
        ),
        (
            &vlm_r1,
            "<think>a</think><answer>7</answer>.",
            "answer",
            Fault::TextAfter,
        ),
        (
            &vlm_r1,
            "<think>a</think><answer>7",
            "answer",
            Fault::NotClosed,
        ),
        (
            &rec,
            "<think>a</think><answer>[1,2,3,4]</answer>",
            "answer",
            Fault::NoBox,
        ),
    ] {
        assert_eq!(
            fault(grammar, text),
            Some((section.to_owned(), wanted)),
            "{text}"
        );
    }
}

#[test]
fn a_section_that_cannot_be_read_says_why() {
    let grammar = |pick| {
        let answer = Section {
            pick,
            ..Section::tag("answer")
        };
        Grammar::new(vec![answer], Gap::Anything, false).unwrap()
    };
    for (pick, text, wanted) in [
        (Pick::First, "7", Fault::Missing),
        (Pick::First, "</answer><answer>7", Fault::NotClosed),
        (Pick::Nth(2), "<answer>7</answer>", Fault::TooFew),
        (
            Pick::Only,
            "<answer>7</answer><answer>7</answer>",
            Fault::Repeated,
        ),
    ] {
        let failure = grammar(pick)
            .read(text)
            .section("answer")
            .unwrap_err()
            .fault;
        assert_eq!(failure, wanted, "{text}");
    }
    let unknown = grammar(Pick::First).read("").section("think").unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "section `think` is not a section of the grammar"
    );
}

#[test]
fn spans_are_bytes_of_the_text() {
    let text = "<think>é</think><answer>ß7</answer>";
    let grammar = Grammar::preset(Preset::ThinkAnswer);
    let reading = grammar.read(text);
    assert_eq!(reading.span("answer"), Ok(25..28));
    assert_eq!(&text[25..28], "ß7");
    let grammar = Grammar::preset(Preset::EasyR1Math);
    let reading = grammar.read("< think > t </ think > \\boxed{1 / 2}");
    assert_eq!(reading.text(), "<think>t</think>\\boxed{1/2}");
    assert_eq!(reading.section("answer"), Ok("1/2"));
    assert_eq!(reading.form(), Ok(()));
}

#[test]
fn headers_hold_what_follows_up_to_the_next() {
    let text = "### Image Description:\na cat\n### Rationales: because\n\
                ### Step 1: look\n### Step 12: see\nit\n ### The final answer is: 7\n";
    let grammar = Grammar::preset(Preset::PebrHeaders);
    let reading = grammar.read(text);
    for (name, contents) in [
        ("description", "\na cat\n"),
        ("rationales", " because\n"),
        ("step", " see\nit\n"),
        ("answer", " 7\n"),
    ] {
        assert_eq!(reading.section(name), Ok(contents));
    }
    assert_eq!(reading.form(), Ok(()));
    let swapped =
        "### Rationales:\n### Image Description:\n### Step 1:\n### The final answer is: 7";
    assert_eq!(
        fault(&grammar, swapped),
        Some(("description".into(), Fault::TextBefore))
    );
    let stepless = "### Image Description:\n### Rationales:\n### Step:\n### The final answer is: 7";
    assert_eq!(
        fault(&grammar, stepless),
        Some(("step".into(), Fault::Missing))
    );
    let prefaced = format!("Sure!\n{text}");
    assert_eq!(
        fault(&grammar, &prefaced),
        Some(("description".into(), Fault::TextBefore))
    );
}

#[test]
fn an_escaped_brace_is_no_brace() {
    let grammar = Grammar::preset(Preset::Boxed);
    for (text, wanted) in [
        (r"\boxed{\{1, 2\}}", Ok(r"\{1, 2\}")),
        (r"\boxed{\left\{ x \right.}", Ok(r"\left\{ x \right.")),
        (r"\boxed{\\}", Ok(r"\\")),
        (r"\boxed{\}", Err(Fault::NotClosed)),
        (r"\boxed{1} \boxed{2", Err(Fault::NotClosed)),
        ("boxed{1}", Err(Fault::Missing)),
    ] {
        let reading = grammar.read(text);
        assert_eq!(
            reading.section("answer").map_err(|e| e.fault),
            wanted,
            "{text}"
        );
    }
}

#[test]
fn recipes_write_a_name_or_a_table() {
    for preset in Preset::ALL {
        let written = format!("grammar = \"{}\"", preset.name());
        let grammar = from_toml(&written).unwrap();
        assert_eq!(grammar, Grammar::preset(preset));
        // A preset passes the checks of a grammar written by hand, and its table form is read back.
        let table = format!("[grammar]\n{}", toml::to_string(&grammar).unwrap());
        let table = table
            .replace("[[sections", "[[grammar.sections")
            .replace("[sections", "[grammar.sections");
        assert_eq!(from_toml(&table).unwrap(), grammar, "{table}");
        let name = serde_json::to_value(preset).unwrap();
        assert_eq!(name, preset.name());
    }
}

#[test]
fn mistakes_in_recipes_are_named() {
    for (written, message) in [
        ("grammar = \"think_anser\"", "did you mean `think_answer`?"),
        (
            "grammar = \"mathematics\"",
            "unknown grammar `mathematics`, known are think_answer, ",
        ),
        ("grammar = 7", "the name of a grammar or a table"),
        (
            "grammar = { sections = [], after = \"space\" }",
            "1 to 16 sections, not 0",
        ),
        (
            "grammar = { sections = [{ name = \"a\", picks = 1 }] }",
            "unknown field `picks`",
        ),
        ("grammar = { section = [] }", "unknown field `section`"),
        (
            "grammar = { sections = [{ name = \"a\" }, { name = \"a\" }] }",
            "`a` is empty or used twice",
        ),
        (
            "grammar = { sections = [{ name = \"a\", marks = { between = [\"\", \"x\"] } }] }",
            "is empty",
        ),
        (
            "grammar = { sections = [{ name = \"a\", pick = { nth = 0 } }] }",
            "counts from 1",
        ),
    ] {
        let error = from_toml(written).unwrap_err().to_string();
        assert!(error.contains(message), "{written}: {error}");
    }
}

/// A box is looked for in every kind of section, in those without a place in the order too.
#[test]
fn a_line_or_the_whole_text_holds_a_box() {
    for marks in ["\"whole\"", r#"{ line = "Answer" }"#, r#"{ after = "so" }"#] {
        let written =
            format!("sections = [{{ name = \"answer\", marks = {marks}, holds = \"whole_box\" }}]");
        let grammar: Grammar = toml::from_str(&written).unwrap();
        let form = |text: &str| grammar.read(text).form();
        assert_eq!(form("so\nAnswer: [1, 2, 3, 4]"), Ok(()), "{marks}");
        let fault = form("so\nAnswer: None").unwrap_err().fault;
        assert_eq!(fault, Fault::NoBox, "{marks}");
    }
}

proptest! {
    /// Spans are inside the text and on characters, and a form that holds has every required section to read.
    #[test]
    fn any_text_is_read(
        parts in prop::collection::vec(
            "<think>|</think>|<answer>|</answer>|### Step 3:|Answer:|[\\\\]boxed[{]|[}]| |\n|7|é|\u{1c}|.", 0..12
        )
    ) {
        let text = parts.concat();
        for preset in Preset::ALL {
            let grammar = Grammar::preset(preset);
            let reading = grammar.read(&text);
            let credit = grammar.mark_credit(&text);
            prop_assert!((0.0..=1.0).contains(&credit));
            let read = grammar
                .sections()
                .iter()
                .filter(|section| reading.section(&section.name).is_ok())
                .count();
            // EasyR1's pattern takes an unbalanced box, which holds nothing.
            if reading.form().is_ok() && preset != Preset::EasyR1Math && preset != Preset::Boxed {
                prop_assert_eq!(read, grammar.sections().len(), "{:?} {:?}", preset, text);
            }
        }
    }
}
