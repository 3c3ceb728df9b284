//! Bodies of requests to the verifier server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_reward::protocol::ScoreBatch;

fuzz_target!(|body: &[u8]| {
    if let Ok(batch) = serde_json::from_slice::<ScoreBatch>(body) {
        for (index, item) in batch.items.into_iter().enumerate() {
            let _ = item.into_episode(index);
        }
    }
});
