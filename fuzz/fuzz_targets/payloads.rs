//! Every reader of what stands inside an answer. The first byte chooses the reader, so that a saved input stays with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_reward::PayloadKind;

fuzz_target!(|input: (u8, &str)| {
    let (choice, answer) = input;
    let kind = PayloadKind::ALL[usize::from(choice) % PayloadKind::ALL.len()];
    if let Ok(payload) = kind.parse(answer) {
        // What was read can be written into a record.
        serde_json::to_string(&payload).unwrap();
    }
});
