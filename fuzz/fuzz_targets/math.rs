//! Mathematics: an answer equals itself or is refused, whatever it is, and comparing takes bounded work.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_reward::math::{self, Options};

fuzz_target!(|input: (&str, &str)| {
    let (answer, gold) = input;
    let _ = math::score(answer, gold, &Options::default());
});
