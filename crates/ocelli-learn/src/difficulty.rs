//! How often a model solves each row of a stage: the offline difficulty that `data.difficulty` reads.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use ocelli_core::{Episode, Progress, Purpose, SeedKey};
use ocelli_data::difficulty::PassRate;
use ocelli_data::{DataSources, Dataset, PictureCache};
use ocelli_env::{CallCodec, Question};
use ocelli_model::checkpoint::Checkpoint;
use ocelli_reward::RewardGraph;
use ocelli_rollout::{CollectPlan, Group, Policy, collect, prepare};

use crate::curriculum::success::{SuccessRule, largest_reward};
use crate::error::LearnError;
use crate::preflight;
use crate::recipe::{Recipe, StageConfig};
use crate::reward_log::RewardLog;
use crate::reward_model::{self, Pictures};

/// Answers drawn at a time; bounds the memory of their pixels.
const CHUNK: usize = 128;

/// Asks the recipe's model every row of stage `index` (from 0), `samples` times as the stage samples, and writes one [`PassRate`] a line to
/// `out`. All rows are asked, also those that a `difficulty` of the stage leaves out, and pictures are shown as they are. Random streams
/// depend on seed, row and sample only.
///
/// # Errors
/// When the stage rewards nothing, or model, data or file can't be used.
pub fn measure(
    recipe: &Recipe,
    (index, samples): (usize, Option<usize>),
    success: &SuccessRule,
    root: &Path,
    out: &mut impl Write,
) -> Result<Vec<PassRate>, LearnError> {
    let stage = recipe
        .stage
        .get(index)
        .filter(|stage| !stage.reward.is_empty());
    let stage = stage.ok_or_else(|| LearnError::Config {
        place: format!("stage {}", index + 1),
        message: "no such stage has a reward, and without one nothing says what is solved; choose a `grpo` stage".into(),
    })?;
    let pictures = Arc::new(PictureCache::default());
    let sources = without_bands(&stage.data);
    let data = ocelli_data::load_sources(&sources, root, recipe.run.seed, &pictures)?;
    let data = Arc::new(data);
    let graph = RewardGraph::new(&stage.reward)?;
    check_node(success, &graph)?;
    let device = Device::flex();
    let model = &recipe.model;
    let checkpoint = Checkpoint::open(&model.path, &model.overrides, recipe.run.seed, &device)?;
    let policy = Policy::new(checkpoint, &device)?;
    preflight::check_prompts(&policy, &data, stage.max_prompt_length())?;
    let rows = Arc::clone(&data);
    let shown: Arc<Pictures> = Arc::new(move |task, index| rows.picture(task, index));
    reward_model::provide(&graph, &shown)?;
    graph.start(RewardLog::default().writer())?;
    let plan = plan(stage, samples, recipe.run.seed);
    let progress = Progress {
        step: 0,
        max_steps: stage.exit.max_steps,
    };
    let mut rows = Vec::new();
    for tasks in data.tasks.chunks((CHUNK / plan.samples).max(1)) {
        let prepared = prepare(&policy, tasks, |task, index| data.picture(task, index))?;
        let mut groups = collect(&policy, &prepared, &plan)?;
        let mut batch: Vec<&mut [Episode]> = groups
            .iter_mut()
            .map(|group| group.episodes.as_mut_slice())
            .collect();
        graph.score_batch(&mut batch, progress);
        for group in &groups {
            let row = pass_rate(&data, group, success, largest_reward(&graph, progress));
            let line = serde_json::json!(row).to_string() + "\n";
            out.write_all(line.as_bytes())
                .map_err(LearnError::file(Path::new("the file of pass rates")))?;
            rows.push(row);
        }
    }
    Ok(rows)
}

fn plan(stage: &StageConfig, samples: Option<usize>, seed: u64) -> CollectPlan<'static> {
    let rollout = stage.rollout.clone().unwrap_or_default();
    CollectPlan {
        samples: samples.unwrap_or(rollout.num_generations).max(1),
        sampling: rollout.sampling(),
        max_prompt_length: rollout.max_prompt_length,
        max_turns: 1,
        seed: SeedKey::new(seed, Purpose::Curriculum),
        codec: CallCodec::WholeText,
        env: &|| Box::new(Question::default()),
    }
}

/// The tables without their bands, which are not measured yet.
fn without_bands(sources: &DataSources) -> DataSources {
    let mut tables = sources.tables().to_vec();
    tables.iter_mut().for_each(|table| table.difficulty = None);
    tables.into()
}

fn check_node(success: &SuccessRule, graph: &RewardGraph) -> Result<(), LearnError> {
    let names: Vec<&str> = graph.node_names().collect();
    match &success.node {
        Some(node) if !names.contains(&node.as_str()) => Err(LearnError::Config {
            place: "success".into(),
            message: format!(
                "`{node}` is no node of the stage's reward, which has {}",
                names.join(", ")
            ),
        }),
        _ => Ok(()),
    }
}

fn pass_rate(data: &Dataset, group: &Group, rule: &SuccessRule, largest: f64) -> PassRate {
    let mean = |values: &[f64]| {
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let outcomes = || group.episodes.iter().map(|episode| &episode.outcome);
    let successes: Vec<f64> = outcomes()
        .filter_map(|outcome| rule.of(outcome, largest))
        .collect();
    let rewards: Vec<f64> = outcomes().filter_map(|outcome| outcome.reward).collect();
    let (source, id) = data.source_and_row(&group.task.id);
    PassRate {
        id: id.to_owned(),
        source: source.map(str::to_owned),
        samples: successes.len(),
        pass_rate: mean(&successes),
        reward: mean(&rewards),
    }
}
