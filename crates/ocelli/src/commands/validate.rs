//! `ocelli validate`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use ocelli_core::{Episode, Frame, FrameSizes, Progress};
use ocelli_core::{Target, Task, Verdict};
use ocelli_data::{Dataset, box_text};
use ocelli_learn::preflight;
use ocelli_learn::recipe::StageKind;
use ocelli_reward::{NodeConfig, RewardConfig, RewardGraph};
use serde::Serialize;

use super::eval::{default_metrics, rows_of};
use super::reward_file::{Reward, read_reward};
use super::{misuse, print, read_recipe, settle};
use crate::gold_table::{format_failures, format_gold_table};

/// Arguments of `ocelli validate`.
#[derive(Args)]
pub struct Arguments {
    /// Rows: a file or folder as `ocelli eval --data` takes it, or a recipe, whose rewarded stages are checked each with its own
    /// rows and reward.
    rows: PathBuf,
    /// File with the `reward` list that the rows are for; by default boxes are judged by `box_iou` and texts by `exact`.
    #[arg(long, value_name = "FILE")]
    reward: Option<PathBuf>,
    /// The stage whose reward is meant, from 1, where several have one.
    #[arg(long, value_name = "N")]
    stage: Option<usize>,
    /// With a recipe: folder with the data files that it names.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What a right turn looks like; `{answer}` is the row's answer.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "<think>The answer is known.</think>\n<answer>{answer}</answer>"
    )]
    template: String,
    /// Score that counts as full marks.
    #[arg(long, value_name = "SCORE", default_value_t = 1.0)]
    full_marks: f64,
    /// List at most this many rows that fail.
    #[arg(long, value_name = "N", default_value_t = 20)]
    list: usize,
    /// Print JSON: the number of rows, and every row that fails.
    #[arg(long)]
    json: bool,
}

/// What is wrong with a row, by one verifier's account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Failure {
    pub(crate) data: String,
    pub(crate) row: String,
    pub(crate) source: String,
    /// The reward node; absent when the row has no answer to put to any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<f64>,
    pub(crate) reason: String,
}

/// What was found in one set of rows.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Source of each row, and whether the row has full marks.
    pub(crate) rows: Vec<(String, bool)>,
    pub(crate) failures: Vec<Failure>,
}

/// Puts the true answer of every row to the verifiers.
///
/// # Errors
/// When rows or reward cannot be read, and when a row's own answer does not get full marks.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.template.contains("{answer}") {
        return Err(misuse(
            "--template: `{answer}` is missing; write it where the row's answer belongs",
        ));
    }
    if !arguments.full_marks.is_finite() {
        return Err(misuse(format!(
            "--full-marks {}: give a number",
            arguments.full_marks
        )));
    }
    let mut found = Found::default();
    for (data, reward, forgiving) in checks(arguments)? {
        let reward = Reward {
            nodes: plain(&reward.nodes)?,
            ..reward
        };
        preflight::check_when("the reward", &reward.nodes, &data)
            .map_err(|e| misuse(e.to_string()))?;
        let graph = reward.start()?;
        let turn = Turn::of(&reward.nodes, &arguments.template)?;
        validate(
            &data,
            &graph,
            forgiving,
            &turn,
            arguments.full_marks,
            &mut found,
        );
    }
    let failed = found.rows.iter().filter(|(_, full)| !full).count();
    if arguments.json {
        let rows = found.rows.len();
        let report = serde_json::json!({
            "rows": rows, "full_marks": rows - failed, "failures": found.failures,
        });
        print(&format!("{report:#}\n"))?;
    } else {
        print(&format_gold_table(&found.rows))?;
        print(&format_failures(&found.failures, arguments.list))?;
    }
    if failed > 0 {
        anyhow::bail!(
            "{failed} of {} rows do not get full marks for their own answer; mend the rows, or the reward that judges them",
            found.rows.len()
        );
    }
    Ok(())
}

/// Rows, the reward they are for, and whether a verifier that does not fit a row is no fault of the row.
fn checks(arguments: &Arguments) -> anyhow::Result<Vec<(Dataset, Reward, bool)>> {
    let given = &arguments.rows;
    if given.extension().is_none_or(|ending| ending != "toml") {
        if arguments.data.is_some() {
            return Err(misuse(
                "--data goes with a recipe; the rows are given already",
            ));
        }
        let data = ocelli_data::load(&rows_of(given), Path::new(""), 0)
            .map_err(|e| misuse(e.to_string()))?;
        return Ok(vec![match &arguments.reward {
            Some(file) => (data, read_reward(file, arguments.stage)?, false),
            None if arguments.stage.is_some() => {
                return Err(misuse("--stage needs --reward with a recipe"));
            }
            None => {
                let mut nodes = default_metrics();
                nodes.retain(|node| node.name() == "box_iou" || node.name() == "exact");
                (data, alone(nodes.into()), true)
            }
        }]);
    }
    if arguments.reward.is_some() {
        return Err(misuse(
            "--reward: the recipe's stages have rewards of their own",
        ));
    }
    let mut recipe = read_recipe(given, &[], arguments.data.as_deref())?;
    let root = settle(&mut recipe, given)?;
    let rewarded = recipe.stage.iter().enumerate().filter(|(index, stage)| {
        stage.kind == StageKind::Grpo && arguments.stage.is_none_or(|wanted| wanted == index + 1)
    });
    let checks: Vec<_> = rewarded
        .map(|(_, stage)| {
            let pictures = Arc::default();
            let data = ocelli_data::load_sources(&stage.data, &root, recipe.run.seed, &pictures);
            Ok((
                data.map_err(|e| misuse(e.to_string()))?,
                alone(stage.reward.clone()),
                false,
            ))
        })
        .collect::<anyhow::Result<_>>()?;
    if checks.is_empty() {
        return Err(misuse(format!(
            "{}: no such stage has a reward; rows are checked against the rewards of `grpo` stages",
            given.display()
        )));
    }
    Ok(checks)
}

/// A reward whose paths need no root.
fn alone(nodes: RewardConfig) -> Reward {
    Reward {
        nodes,
        root: PathBuf::new(),
        max_steps: None,
    }
}

/// Verifiers whose best score is 0: they take something away from what another one gives.
const PENALTIES: [&str; 2] = ["repetition", "soft_overlong"];

/// The verifiers alone, as they judge before shapes, gates and weights. A node of negative weight rewards its absence, so a right
/// answer need not have it.
fn plain(nodes: &RewardConfig) -> anyhow::Result<RewardConfig> {
    let wanted = |node: &&NodeConfig| {
        let negative = |weight: &ocelli_core::Schedule| weight.values().iter().any(|&w| w < 0.0);
        let judges = |name: &String| !PENALTIES.contains(&name.as_str());
        node.verifier.as_ref().is_some_and(judges) && !node.weight.as_ref().is_some_and(negative)
    };
    let verifiers: Vec<NodeConfig> = nodes
        .iter()
        .filter(wanted)
        .map(|node| NodeConfig {
            verifier: node.verifier.clone(),
            name: node.name.clone(),
            when: node.when.clone(),
            settings: node.settings.clone(),
            ..NodeConfig::default()
        })
        .collect();
    if verifiers.is_empty() {
        return Err(misuse(
            "the reward has no verifier of a weight above 0, so nothing can be checked",
        ));
    }
    Ok(verifiers.into())
}

fn validate(
    data: &Dataset,
    graph: &RewardGraph,
    forgiving: bool,
    turn: &Turn,
    full_marks: f64,
    found: &mut Found,
) {
    let mut episodes: Vec<Episode> = data
        .tasks
        .iter()
        .map(|task| turn.episode(data, task))
        .collect();
    let mut groups: Vec<&mut [Episode]> = episodes.chunks_mut(1).collect();
    // Thresholds are at their last value.
    let end = Progress {
        step: 1,
        max_steps: 1,
    };
    graph.score_batch(&mut groups, end);
    for episode in &episodes {
        let failures = faults(episode, graph, data, forgiving, full_marks);
        found
            .rows
            .push((source(&episode.task), failures.is_empty()));
        found.failures.extend(failures);
    }
}

/// What each verifier has against the row's own answer.
fn faults(
    episode: &Episode,
    graph: &RewardGraph,
    data: &Dataset,
    forgiving: bool,
    full_marks: f64,
) -> Vec<Failure> {
    let task = &episode.task;
    let failure = |node: Option<&str>, score, reason: String| Failure {
        data: data.name.clone(),
        row: task.id.clone(),
        source: source(task),
        node: node.map(str::to_owned),
        score,
        reason,
    };
    if task.target.is_none() {
        return vec![failure(None, None, "the row has no answer".to_owned())];
    }
    // The nodes' own verdicts: what a score was made of is recorded beside them.
    let verdicts = &episode.outcome.verdicts;
    let verdicts: Vec<(&str, &Verdict)> = graph
        .node_names()
        .filter_map(|name| Some((name, verdicts.get(name)?)))
        .collect();
    let judged = verdicts
        .iter()
        .any(|(_, verdict)| verdict.value().is_some());
    if verdicts
        .iter()
        .all(|(_, verdict)| matches!(verdict, Verdict::Skip))
    {
        let reason = "no verifier of the reward judges it: look at `when`".to_owned();
        return vec![failure(None, None, reason)];
    }
    let faults = verdicts
        .into_iter()
        .filter_map(|(name, verdict)| match verdict {
            Verdict::Score {
                parse_failure: Some(reason),
                ..
            } => Some(failure(Some(name), Some(0.0), format!("unread: {reason}"))),
            // Room for rounding in the last digits.
            Verdict::Score { value, .. } if *value < full_marks - 1e-9 => Some(failure(
                Some(name),
                Some(*value),
                "below full marks".to_owned(),
            )),
            Verdict::Error(_) if forgiving && judged => None,
            Verdict::Error(error) => Some(failure(Some(name), None, error.message.clone())),
            Verdict::Score { .. } | Verdict::Skip => None,
        });
    faults.collect()
}

fn source(task: &Task) -> String {
    let tag = task.tags.get("source").or_else(|| task.tags.get("task"));
    tag.cloned().unwrap_or_else(|| "-".to_owned())
}

/// How a policy that knows the answer writes its turn.
struct Turn<'a> {
    /// With `{answer}` in it.
    template: &'a str,
    /// The frame that boxes are written in.
    frame: Frame,
    /// Whether a target is a list of accepted texts, of which any one is a right answer.
    any_of: bool,
}

impl<'a> Turn<'a> {
    /// The turn that the verifiers of `nodes` read.
    ///
    /// # Errors
    /// When they read boxes in several frames.
    fn of(nodes: &RewardConfig, template: &'a str) -> anyhow::Result<Self> {
        let mut frames: Vec<Frame> = nodes
            .iter()
            .filter_map(|node| node.settings.get("frame"))
            .filter_map(|frame| serde_json::from_value(frame.clone()).ok())
            .collect();
        frames.dedup();
        if frames.len() > 1 {
            return Err(misuse(
                "the reward reads places in several frames, which one turn cannot have; check its nodes one by one",
            ));
        }
        let any_of = |node: &NodeConfig| node.settings.get("any_of") == Some(&true.into());
        Ok(Self {
            template,
            frame: frames.pop().unwrap_or(Frame::SourcePixels),
            any_of: nodes.iter().any(any_of),
        })
    }

    fn answer(&self, task: &Task, pictures: &[FrameSizes]) -> String {
        match &task.target {
            Some(Target::Text(text)) => {
                let accepted = self.any_of.then(|| serde_json::from_str(text).ok());
                match accepted.flatten() {
                    Some(accepted) => Vec::into_iter(accepted).next().unwrap_or_default(),
                    None => text.clone(),
                }
            }
            Some(Target::Box(truth)) => {
                let sizes = pictures.first();
                let there = sizes.and_then(|sizes| {
                    let converted = sizes.convert_box(*truth, Frame::SourcePixels, self.frame);
                    converted.ok()
                });
                box_text::write_box(&there.unwrap_or(*truth))
            }
            None => String::new(),
        }
    }

    /// The episode of that policy on `task`.
    fn episode(&self, data: &Dataset, task: &Arc<Task>) -> Episode {
        // No model has resized the picture.
        let size = |index| {
            let (width, height) = data.picture_size(task, index).ok()?;
            let side = [u32::try_from(width).ok()?, u32::try_from(height).ok()?];
            FrameSizes::new(side, side).ok()
        };
        let pictures: Vec<FrameSizes> = (0..task.images.len()).map_while(size).collect();
        let text = self
            .template
            .replace("{answer}", &self.answer(task, &pictures));
        Episode {
            pictures,
            ..Episode::of_answer(task.clone(), text, Vec::new())
        }
    }
}
