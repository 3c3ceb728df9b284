//! Episodes, graphs and where to find Python.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use ocelli_core::{Episode, Message, Role, Target, Task, Verdict};
use ocelli_reward::{RewardConfig, RewardError, RewardGraph};
use serde::Deserialize;

/// The folder of this file, with the plug-ins beside it.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services")
}

/// The interpreter itself: `python3` may be a script that looks for it, which takes longer than all the rest.
pub(crate) fn python() -> Option<&'static str> {
    static PYTHON: OnceLock<Option<String>> = OnceLock::new();
    let ask = || {
        let output = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .ok()?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    PYTHON.get_or_init(ask).as_deref()
}

/// Ends the test where there is no interpreter.
macro_rules! needs_python {
    () => {
        if crate::episodes::python().is_none() {
            eprintln!("skipped: there is no python3");
            return;
        }
    };
}
pub(crate) use needs_python;

pub(crate) fn config(reward: &str) -> RewardConfig {
    #[derive(Deserialize)]
    struct Stage {
        reward: RewardConfig,
    }
    let mut stage: Stage = toml::from_str(&format!("reward = {reward}")).unwrap();
    for node in &mut stage.reward.0 {
        if node.verifier.as_ref().is_some_and(|v| v.contains(".py:"))
            && let Some(python) = python()
        {
            node.settings
                .entry("python")
                .or_insert_with(|| python.into());
        }
    }
    stage.reward
}

pub(crate) fn build(reward: &str) -> Result<RewardGraph, RewardError> {
    RewardGraph::rooted(&config(reward), &folder())
}

/// What plug-ins have printed.
pub(crate) type Printed = Arc<Mutex<Vec<String>>>;

pub(crate) fn start(graph: &RewardGraph) -> Printed {
    let printed = Printed::default();
    let kept = printed.clone();
    graph
        .start(move |line| kept.lock().unwrap().push(line.to_owned()))
        .unwrap();
    printed
}

pub(crate) fn started(reward: &str) -> RewardGraph {
    let graph = build(reward).unwrap();
    start(&graph);
    graph
}

/// An answer to the question whose answer is `4`.
pub(crate) fn answer(id: &str, text: &str) -> Episode {
    Episode::of_answer(
        Arc::new(Task {
            id: id.to_owned(),
            messages: vec![Message::text(Role::User, "How many?")],
            target: Some(Target::Text("4".to_owned())),
            tags: BTreeMap::from([("task".to_owned(), "count".to_owned())]),
            ..Task::default()
        }),
        text,
        vec![1],
    )
}

/// One task a text, each judged in the same batch.
pub(crate) fn scored(graph: &RewardGraph, texts: &[&str]) -> Vec<Episode> {
    let one = |(i, text): (usize, &&str)| answer(&format!("row-{i}"), text);
    let mut episodes: Vec<Episode> = texts.iter().enumerate().map(one).collect();
    graph.score_group(&mut episodes);
    episodes
}

pub(crate) fn rewards(episodes: &[Episode]) -> Vec<Option<f64>> {
    episodes.iter().map(|e| e.outcome.reward).collect()
}

/// The message of a node's error.
pub(crate) fn error<'a>(episode: &'a Episode, node: &str) -> &'a str {
    match &episode.outcome.verdicts[node] {
        Verdict::Error(error) => &error.message,
        other => panic!("no error but {other:?}"),
    }
}
