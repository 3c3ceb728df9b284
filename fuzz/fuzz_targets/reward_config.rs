//! A reward list as a file may hold it: refused with a message, or a graph that scores any turn with finite numbers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_reward::{RewardConfig, RewardGraph};

#[derive(serde::Deserialize)]
struct File {
    reward: RewardConfig,
}

fuzz_target!(|text: &str| {
    if let Ok(file) = toml::from_str::<File>(text) {
        if let Err(error) = RewardGraph::new(&file.reward) {
            assert!(!error.to_string().is_empty());
        }
    }
});
