//! The rewards of 48 published systems, each as the reward list of a recipe, on cases worked by hand.
//!
//! Every file of `sheets/` is one system: its number, the reward list of each of its tasks, and cases with the arithmetic
//! beside them. A system without a file is in [`WITHOUT_A_REWARD`] with the reason; what a formula has that no key says
//! stands in the file under `missing`. A model that judges is a stand-in: only how its score is combined is shown.
#![cfg(feature = "judge")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ocelli_core::{BoundingBox, Episode, FrameSizes, Progress, Target, Task, Verdict};
use ocelli_reward::{RewardConfig, RewardGraph};
use serde::Deserialize;

/// The systems in the order of their numbers, which start at 1.
const SYSTEMS: [&str; 48] = [
    "VLM-R1",
    "Visionary-R1",
    "Embodied-R1",
    "Skin-R1",
    "Skywork-R1V3",
    "UAV-VL-R1",
    "Med-R1",
    "LMM-R1",
    "AlphaDrive",
    "R1-Onevision",
    "Jigsaw-R1",
    "RRVF",
    "V-Triune",
    "UniVG-R1",
    "ViCrit",
    "PeBR-R1",
    "RewardMap",
    "SSL4RL",
    "R1-AQA",
    "WeThink",
    "ChartM3",
    "DIP-R1",
    "GUI-G1",
    "We-Math 2.0",
    "GRiP",
    "OneThinker",
    "CLS-RL",
    "SEED-Bench-R1",
    "SOPHIA",
    "SkinFlow",
    "PIVOT",
    "Vision-R1",
    "VPPO",
    "MoPPS",
    "VLAA-Thinker",
    "Metis-SPECS",
    "ViSurf",
    "VLA-R1",
    "ARMed",
    "ProGuard",
    "Alpamayo-R1",
    "FGAIF",
    "GTA1",
    "VIPER-R1",
    "MetaSpatial",
    "DAS",
    "Vision-Zero",
    "UAL-Bench",
];

/// Numbers of the systems that no reward list can stand for, and why.
const WITHOUT_A_REWARD: [(usize, &str); 5] = [
    (31, "PIVOT learns from pairs (DPO) and has no reward"),
    (
        36,
        "Metis-SPECS is a cold start by pairs (DPO); the rewards of the stages around it are those of its model",
    ),
    (
        37,
        "ViSurf puts the demonstration into the group: its control of rewards is part of the advantage",
    ),
    (
        42,
        "FGAIF rewards segments of a response by heads that it trains; a node has one score an episode",
    ),
    (
        46,
        "DAS searches for layers to skip by exp(−loss), which is no score of an answer",
    ),
];

/// One system.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sheet {
    sheet: usize,
    system: String,
    /// What of the published reward has no key.
    #[serde(default)]
    missing: Vec<String>,
    part: Vec<Part>,
}

/// One of its tasks or stages.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    name: String,
    reward: RewardConfig,
    case: Vec<Case>,
}

/// A prompt with one turn and its reward, or the turns of a group with theirs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    about: String,
    target: Option<Wanted>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Width and height of each picture.
    #[serde(default)]
    pictures: Vec<[u32; 2]>,
    /// Steps taken and steps in all.
    #[serde(default)]
    progress: [u64; 2],
    #[serde(default)]
    turn: Option<String>,
    #[serde(default)]
    reward: Option<f64>,
    #[serde(default)]
    turns: Vec<String>,
    #[serde(default)]
    rewards: Vec<f64>,
    /// Of the first turn, by node.
    #[serde(default)]
    verdicts: BTreeMap<String, f64>,
    /// Of all turns.
    #[serde(default)]
    sample_weights: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Wanted {
    Text(String),
    Box([f64; 4]),
}

fn sheets() -> Vec<(String, Sheet)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sheets");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = std::fs::read_to_string(path).expect("a readable file");
        let sheet = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name.into_owned(), sheet)
    };
    paths.iter().map(read).collect()
}

fn episode(task: &Arc<Task>, pictures: &[FrameSizes], sample: usize, text: &str) -> Episode {
    Episode {
        sample,
        pictures: pictures.to_vec(),
        ..Episode::of_answer(Arc::clone(task), text, vec![1])
    }
}

/// The scored group of a case.
fn scored(graph: &RewardGraph, case: &Case) -> Vec<Episode> {
    let task = Arc::new(Task {
        id: "row".to_owned(),
        target: case.target.as_ref().map(|target| match target {
            Wanted::Text(text) => Target::Text(text.clone()),
            Wanted::Box(corners) => Target::Box(BoundingBox::from(*corners)),
        }),
        tags: case.tags.clone(),
        ..Task::default()
    });
    let sizes = |size: &[u32; 2]| FrameSizes::new(*size, *size).expect("a size above 0");
    let pictures: Vec<FrameSizes> = case.pictures.iter().map(sizes).collect();
    let turns = case.turn.iter().chain(&case.turns).enumerate();
    let mut group: Vec<Episode> = turns
        .map(|(sample, turn)| episode(&task, &pictures, sample, turn))
        .collect();
    let [step, max_steps] = case.progress;
    graph.score_batch(&mut [&mut group], Progress { step, max_steps });
    group
}

fn near(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() < 1e-9
}

/// What is wrong with a case, one line each.
fn differences(graph: &RewardGraph, case: &Case) -> Vec<String> {
    let group = scored(graph, case);
    let wanted: Vec<f64> = case.reward.iter().chain(&case.rewards).copied().collect();
    let mut wrong = Vec::new();
    if wanted.len() != group.len() || group.is_empty() {
        let (rewards, turns) = (wanted.len(), group.len());
        wrong.push(format!("{rewards} rewards for {turns} turns"));
    }
    for (sample, (episode, wanted)) in group.iter().zip(wanted).enumerate() {
        let reward = episode.outcome.reward;
        if !reward.is_some_and(|reward| near(reward, wanted)) {
            let verdicts = &episode.outcome.verdicts;
            wrong.push(format!(
                "turn {sample}: reward {reward:?} and not {wanted}: {verdicts:?}"
            ));
        }
    }
    for (node, wanted) in &case.verdicts {
        let found = group[0].outcome.verdicts.get(node).and_then(Verdict::value);
        if !found.is_some_and(|found| near(found, *wanted)) {
            wrong.push(format!("node {node}: {found:?} and not {wanted}"));
        }
    }
    for (episode, wanted) in group.iter().zip(&case.sample_weights) {
        let found = episode.outcome.sample_weight;
        if !near(found, *wanted) {
            wrong.push(format!("sample weight {found} and not {wanted}"));
        }
    }
    wrong
}

#[test]
fn every_system_is_accounted_for_once() {
    let sheets = sheets();
    let mut count = [0; SYSTEMS.len()];
    for (file, sheet) in &sheets {
        let name = SYSTEMS.get(sheet.sheet.wrapping_sub(1));
        assert_eq!(name, Some(&sheet.system.as_str()), "{file}");
        count[sheet.sheet - 1] += 1;
        let opening = format!("{:02}-", sheet.sheet);
        assert!(file.starts_with(&opening), "{file} opens with {opening}");
        assert!(!sheet.part.is_empty(), "{file} has no part");
        assert!(sheet.missing.iter().all(|m| !m.trim().is_empty()), "{file}");
    }
    for (number, why) in WITHOUT_A_REWARD {
        assert!(why.starts_with(SYSTEMS[number - 1]), "{number}");
        count[number - 1] += 1;
    }
    let wrong: Vec<_> = SYSTEMS.iter().zip(count).filter(|(_, n)| *n != 1).collect();
    assert!(
        wrong.is_empty(),
        "each system has one file or one reason: {wrong:?}"
    );
}

/// The line of the documentation's table that a system has: its nodes in the order in which its file names them first.
fn table_line(file: &str, sheet: &Sheet) -> String {
    let mut nodes: Vec<String> = Vec::new();
    let lists = sheet.part.iter().flat_map(|part| part.reward.iter());
    for node in lists {
        let combine = node.combine.as_ref().map(|how| serde_json::json!(how));
        let transform = node.transform.as_ref().map(|how| serde_json::json!(how));
        let named = |value: serde_json::Value| value.as_str().map(str::to_owned);
        let name = node.verifier.clone();
        let name = name.or(combine.or(transform).and_then(named));
        nodes.extend(name.filter(|name| !nodes.contains(name)));
    }
    let nodes: Vec<String> = nodes.iter().map(|node| format!("`{node}`")).collect();
    let stem = file.trim_end_matches(".toml");
    format!(
        "| {} | {} | [{stem}](../crates/ocelli-reward/tests/sheets/{file}) |\n",
        sheet.system,
        nodes.join(", ")
    )
}

/// The table of systems says what the files say. With `UPDATE_TABLES=1` it is written anew.
#[test]
fn the_table_of_systems_is_that_of_the_sheets() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rewards.md");
    let text = std::fs::read_to_string(&page).expect("the page is in the repository");
    let (before, rest) = text
        .split_once("| system | nodes | file |\n|---|---|---|\n")
        .expect("the page has the table");
    let (table, after) = rest.split_once("\n\n").expect("text follows the table");
    let wanted: String = sheets()
        .iter()
        .map(|(file, sheet)| table_line(file, sheet))
        .collect();
    if std::env::var_os("UPDATE_TABLES").is_some() {
        let text = format!("{before}| system | nodes | file |\n|---|---|---|\n{wanted}\n{after}");
        std::fs::write(&page, text).expect("the page can be written");
        return;
    }
    for (found, wanted) in table.lines().zip(wanted.lines()) {
        assert_eq!(found, wanted, "write the table anew with UPDATE_TABLES=1");
    }
    assert_eq!(table.lines().count(), wanted.lines().count());
}

#[test]
fn rewards_are_those_of_the_sheets() {
    let mut wrong = Vec::new();
    for (file, sheet) in sheets() {
        for part in &sheet.part {
            let graph = match RewardGraph::new(&part.reward) {
                Ok(graph) => graph,
                Err(error) => {
                    wrong.push(format!("{file}, {}: {error}", part.name));
                    continue;
                }
            };
            graph
                .start(|line| eprintln!("{line}"))
                .expect("stand-ins always start");
            assert!(part.case.len() >= 2, "{file}, {}: two cases", part.name);
            for case in &part.case {
                let place = format!("{file}, {}, {}", part.name, case.about);
                let lines = differences(&graph, case);
                wrong.extend(lines.iter().map(|line| format!("{place}: {line}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
