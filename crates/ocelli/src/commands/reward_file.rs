//! Files that say what is rewarded: a recipe, or a `reward` list alone.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use ocelli_core::Progress;
use ocelli_learn::reward_model::{self, Pictures};
use ocelli_reward::{RewardConfig, RewardGraph};
use serde::Deserialize;

use super::misuse;

/// Where a command takes its reward from.
#[derive(Args)]
pub(super) struct RewardArguments {
    /// File with a `reward` list: a recipe, or a file with the list alone. Paths in it start at its folder.
    #[arg(long, value_name = "FILE")]
    reward: PathBuf,
    /// The stage of the recipe whose reward is meant, from 1; needed when several stages have one.
    #[arg(long, value_name = "N")]
    stage: Option<usize>,
}

/// The parts of a file that say what is rewarded.
#[derive(Deserialize)]
struct RewardFile {
    #[serde(default)]
    reward: RewardConfig,
    #[serde(default)]
    stage: Vec<RewardedStage>,
}

#[derive(Deserialize)]
struct RewardedStage {
    #[serde(default)]
    reward: RewardConfig,
    exit: Option<Exit>,
}

#[derive(Deserialize)]
struct Exit {
    max_steps: Option<u64>,
}

/// A reward list and where it stands.
#[derive(Debug)]
pub(super) struct Reward {
    pub(super) nodes: RewardConfig,
    /// The file's folder, where paths in it start.
    pub(super) root: PathBuf,
    /// Steps of its stage, which schedules go by; `None` for a list that stands alone.
    pub(super) max_steps: Option<u64>,
}

impl Reward {
    /// The graph, its Python functions and clients running; what the functions print goes to stderr.
    ///
    /// # Errors
    /// When a node is wrong or cannot start.
    pub(super) fn start(&self) -> anyhow::Result<RewardGraph> {
        let graph = RewardGraph::rooted(&self.nodes, &self.root)?;
        let pictures: Arc<Pictures> = Arc::new(reward_model::loose_picture);
        reward_model::provide(&graph, &pictures)?;
        graph.start(|line| {
            // Nobody reads a closed stderr.
            let _ = writeln!(std::io::stderr(), "{line}");
        })?;
        Ok(graph)
    }

    /// The moment of the stage that schedules are asked about: step `step`, from 0, of `max_steps`, or of the stage's own
    /// number.
    pub(super) fn progress(&self, step: u64, max_steps: Option<u64>) -> Progress {
        Progress {
            step,
            max_steps: max_steps.or(self.max_steps).unwrap_or(0),
        }
    }
}

impl RewardArguments {
    /// Reads the one list that is meant.
    ///
    /// # Errors
    /// When the file cannot be read, or it is not clear which list is meant.
    pub(super) fn read(&self) -> anyhow::Result<Reward> {
        read_reward(&self.reward, self.stage)
    }
}

/// Reads the reward list of `stage` (from 1), or the only one that is there.
///
/// # Errors
/// When the file cannot be read, or it is not clear which list is meant.
pub(super) fn read_reward(path: &Path, stage: Option<usize>) -> anyhow::Result<Reward> {
    let at = |problem: String| misuse(format!("{}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| at(e.to_string()))?;
    let mut reward = choose(&text, stage).map_err(at)?;
    reward.root = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(reward)
}

fn choose(text: &str, stage: Option<usize>) -> Result<Reward, String> {
    let file: RewardFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let alone = Reward {
        nodes: file.reward,
        root: PathBuf::new(),
        max_steps: None,
    };
    let stages = file.stage.into_iter().map(|stage| Reward {
        nodes: stage.reward,
        root: PathBuf::new(),
        max_steps: stage.exit.and_then(|exit| exit.max_steps),
    });
    // The list alone has number 0.
    let mut rewards: Vec<(usize, Reward)> = std::iter::once(alone)
        .chain(stages)
        .enumerate()
        .filter(|(_, reward)| !reward.nodes.is_empty())
        .collect();
    let numbers: Vec<String> = rewards
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, _)| number.to_string())
        .collect();
    if let Some(wanted) = stage {
        let found = rewards
            .into_iter()
            .find(|(number, _)| *number == wanted && wanted > 0);
        return found.map(|(_, reward)| reward).ok_or_else(|| {
            let there = match numbers.as_slice() {
                [] => "no stage has a reward".to_owned(),
                numbers => format!("stages with a reward: {}", numbers.join(", ")),
            };
            format!("stage {wanted} has no reward; {there}")
        });
    }
    match rewards.len() {
        1 => Ok(rewards.remove(0).1),
        0 => Err(
            "nothing is rewarded here; write reward = [ { verifier = \"exact\" } ]".to_owned(),
        ),
        _ if numbers.len() == rewards.len() => Err(format!(
            "several stages have a `reward`; choose one with --stage ({})",
            numbers.join(", ")
        )),
        _ => Err(
            "a `reward` list stands beside stages with their own; copy the one that is meant into a file of its own".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: &str = "reward = [ { verifier = \"tags\" } ]\n";

    #[test]
    fn the_only_list_is_meant() {
        let alone = choose(TAGS, None).unwrap();
        assert_eq!((alone.nodes.len(), alone.max_steps), (1, None));
        let recipe =
            format!("[[stage]]\nkind = \"sft\"\n[[stage]]\n{TAGS}exit = {{ max_steps = 7 }}");
        let stage = choose(&recipe, None).unwrap();
        assert_eq!(stage.max_steps, Some(7));
        assert_eq!(stage.progress(3, None).max_steps, 7);
        assert_eq!(stage.progress(3, Some(9)).max_steps, 9);
        assert_eq!(choose(&recipe, Some(2)).unwrap().max_steps, Some(7));
    }

    #[test]
    fn what_is_not_clear_is_refused_with_the_mend() {
        let two = format!("[[stage]]\n{TAGS}[[stage]]\n{TAGS}");
        for (text, stage, message) in [
            ("", None, "nothing is rewarded here"),
            (two.as_str(), None, "choose one with --stage (1, 2)"),
            (
                two.as_str(),
                Some(3),
                "stage 3 has no reward; stages with a reward: 1, 2",
            ),
            (TAGS, Some(1), "no stage has a reward"),
            (TAGS, Some(0), "stage 0 has no reward"),
            (&format!("{TAGS}{two}"), None, "into a file of its own"),
            ("reward = [", None, "TOML parse error"),
        ] {
            let error = choose(text, stage).unwrap_err();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }
}
