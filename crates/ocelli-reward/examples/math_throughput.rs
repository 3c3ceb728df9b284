//! Times the mathematics verifier on the golden pairs, or prints where it differs from math-verify.
//!
//! `cargo run --release -p ocelli-reward --example math_throughput -- [rounds | differences]`; `bench/math_verify.py`
//! runs this beside math-verify.

use std::time::Instant;

use ocelli_reward::math::{Options, score};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = std::env::args().nth(1).unwrap_or_else(|| "20".to_owned());
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../tests/golden/math.json"))?;
    let pairs: Vec<(String, String, bool)> = serde_json::from_value(golden["pairs"].clone())?;
    let options = Options {
        gold_is_text: true,
        ..Options::default()
    };
    if argument == "differences" {
        for (gold, response, theirs) in &pairs {
            let ours = score(response, gold, &options);
            if ours != Ok(*theirs) && (ours == Ok(true) || *theirs) {
                println!(
                    "{}  theirs {theirs}, ours {ours:?}",
                    serde_json::json!([gold, response])
                );
            }
        }
        return Ok(());
    }
    let rounds: u32 = argument.parse()?;
    let mut slowest = 0.0f64;
    let mut equal = 0usize;
    let start = Instant::now();
    for _ in 0..rounds {
        for (gold, response, _) in &pairs {
            let one = Instant::now();
            equal += usize::from(score(response, gold, &options) == Ok(true));
            slowest = slowest.max(one.elapsed().as_secs_f64());
        }
    }
    let seconds = start.elapsed().as_secs_f64() / f64::from(rounds);
    println!(
        "{{\"pairs\": {}, \"equal\": {}, \"seconds\": {seconds:.6}, \"slowest_ms\": {:.3}}}",
        pairs.len(),
        equal / rounds.max(1) as usize,
        slowest * 1e3,
    );
    Ok(())
}
