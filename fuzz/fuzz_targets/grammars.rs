//! Every grammar over every text: form, marks and each section.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_reward::{Grammar, Preset, sections, tag_credit};

fuzz_target!(|input: (u8, &str)| {
    let (choice, turn) = input;
    let grammar = Grammar::preset(Preset::ALL[usize::from(choice) % Preset::ALL.len()]);
    let credit = grammar.mark_credit(turn);
    assert!((0.0..=1.0).contains(&credit), "{credit}");
    let reading = grammar.read(turn);
    let _ = reading.form();
    for section in grammar.sections() {
        if let Ok(span) = reading.span(&section.name) {
            assert!(reading.text().get(span).is_some());
        }
    }
    let _ = sections(turn);
    assert!((0.0..=1.0).contains(&tag_credit(turn)));
});
