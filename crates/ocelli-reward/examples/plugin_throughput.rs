//! How many trivial scores a second one Python worker gives, in batches of 128, by calling convention.
//!
//! `cargo run --release -p ocelli-reward --example plugin_throughput`

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_core::{Episode, Message, Role, Target, Task};
use ocelli_reward::{Plugin, PluginConfig};

const BATCH: usize = 128;
const TIME: Duration = Duration::from_secs(3);

const FUNCTIONS: [(&str, &str); 4] = [
    (
        "easyr1_batch",
        "def f(reward_inputs):\n    return [{'overall': float(r['response'] == r['ground_truth'])} for r in reward_inputs]\n",
    ),
    (
        "easyr1",
        "def f(reward_input):\n    return {'overall': float(reward_input['response'] == reward_input['ground_truth'])}\n",
    ),
    (
        "verl",
        "def f(data_source, solution_str, ground_truth, extra_info=None):\n    return float(solution_str == ground_truth)\n",
    ),
    (
        "trl",
        "def f(completions, solution, **kwargs):\n    return [float(c == s) for c, s in zip(completions, solution)]\n",
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    let folder =
        std::env::temp_dir().join(format!("ocelli-plugin-throughput-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let episodes: Vec<Episode> = (0..BATCH).map(episode).collect();
    let batch: Vec<&Episode> = episodes.iter().collect();
    println!("{BATCH} episodes a batch, 1 worker");
    for (style, source) in FUNCTIONS {
        let path = folder.join(format!("{style}_reward.py"));
        std::fs::write(&path, source)?;
        let config = PluginConfig::parse(&format!("{}:f", path.display()))?;
        let plugin = Plugin::start(&config, |line| eprintln!("{line}"))?;
        plugin.score(&batch);
        let (start, mut scored) = (Instant::now(), 0);
        while start.elapsed() < TIME {
            let verdicts = plugin.score(&batch);
            if verdicts
                .iter()
                .any(|verdict| verdict.verdict.value().is_none())
            {
                return Err(format!("{style}: an episode has no score: {:?}", verdicts[0]).into());
            }
            scored += verdicts.len();
        }
        let rate = scored as f64 / start.elapsed().as_secs_f64();
        println!("{style:>12}  {rate:>9.0} scores a second");
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// A turn of 500 characters and 128 tokens, of which every eighth is right.
fn episode(index: usize) -> Episode {
    let text = "x".repeat(499) + if index.is_multiple_of(8) { "1" } else { "0" };
    let task = Task {
        id: format!("row-{}", index / 8),
        messages: vec![Message::text(Role::User, "How many are there? ".repeat(10))],
        target: Some(Target::Text("x".repeat(499) + "1")),
        tags: BTreeMap::from([
            ("source".to_owned(), "example".to_owned()),
            ("task".to_owned(), "count".to_owned()),
        ]),
        ..Task::default()
    };
    Episode {
        sample: index % 8,
        ..Episode::of_answer(Arc::new(task), text, (100_000..100_128).collect())
    }
}
