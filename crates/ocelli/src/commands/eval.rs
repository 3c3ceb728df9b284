//! `ocelli eval`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ocelli_data::{DataConfig, Generator, PointingConfig, Split};
use ocelli_learn::evaluation::{AnswerPlan, EvalRow, Moment, answer, summarise};
use ocelli_learn::recipe::EvalMode;
use ocelli_learn::{LearnError, Recipe};
use ocelli_model::checkpoint::{Checkpoint, ConfigOverrides};
use ocelli_reward::{NodeConfig, RewardConfig};
use ocelli_rollout::Policy;

use super::reward_file::Reward;
use super::{data_root, misuse, print};
use crate::evaluation_table::format_eval_table;

/// Arguments of `ocelli eval`.
#[derive(Args)]
pub struct Arguments {
    /// Checkpoint folder.
    checkpoint: String,
    /// Held-out rows: a data file or folder as a recipe's `path` takes it, a folder with `val.jsonl`, or `pointing`.
    #[arg(long, required_unless_present = "recipe")]
    data: Option<PathBuf>,
    /// Take rows and metrics from the `[eval]` table of this recipe.
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// At most this many rows.
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
    /// Only rows of these tasks.
    #[arg(long, value_name = "TASK")]
    task: Vec<String>,
    /// How answers are drawn.
    #[arg(long, value_enum, default_value_t = Mode::Both)]
    mode: Mode,
    /// Answers drawn for each row in mode `sampled`; by default the recipe's, or 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    samples: Option<u32>,
    /// Tokens after which an answer is cut.
    #[arg(long, value_name = "N")]
    max_completion_length: Option<usize>,
    /// Seed of sampling and of generated rows; by default the recipe's, or 0.
    #[arg(long)]
    seed: Option<u64>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// How answers are drawn.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The most likely token at every step.
    Greedy,
    /// At temperature 1.
    Sampled,
    Both,
}

impl Mode {
    fn modes(self) -> &'static [EvalMode] {
        match self {
            Self::Greedy => &[EvalMode::Greedy],
            Self::Sampled => &[EvalMode::Sampled],
            Self::Both => &[EvalMode::Greedy, EvalMode::Sampled],
        }
    }
}

/// Rows of the generator when no number is given.
const GENERATED_ROWS: usize = 500;

/// Measures.
///
/// # Errors
/// When checkpoint or data can't be used.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.samples.is_some() && arguments.mode == Mode::Greedy {
        return Err(misuse(
            "--samples has no effect with --mode greedy: a greedy answer is the same each time",
        ));
    }
    let device = burn::tensor::Device::flex();
    let Source {
        config,
        metrics,
        root,
        samples,
        length,
        seed,
    } = source(arguments)?;
    let data = ocelli_data::load(&config, &root, seed).map_err(LearnError::from)?;
    let graph = Reward {
        nodes: metrics,
        root: PathBuf::new(),
        max_steps: None,
    }
    .start()?;
    let checkpoint = Checkpoint::open(
        &arguments.checkpoint,
        &ConfigOverrides::default(),
        seed,
        &device,
    )?;
    let policy = Policy::new(checkpoint, &device)?;
    let length = arguments.max_completion_length.unwrap_or(length);
    let samples = arguments.samples.map_or(samples, |n| n as usize);
    let moment = Moment {
        after: "checkpoint",
        stage_index: 0,
    };
    let mut rows: Vec<EvalRow> = Vec::new();
    for &mode in arguments.mode.modes() {
        let plan = AnswerPlan {
            mode,
            samples,
            max_prompt_length: usize::MAX,
            max_completion_length: length,
            seed,
        };
        let episodes = answer(&policy, &data, &graph, &plan)?;
        rows.extend(summarise(&episodes, moment, &plan));
    }
    if arguments.json {
        return print(&format!("{:#}\n", serde_json::json!(rows)));
    }
    print(&format_eval_table(&rows))
}

/// What is measured, and how.
struct Source {
    config: DataConfig,
    metrics: RewardConfig,
    /// Folder that paths are relative to.
    root: PathBuf,
    /// Answers drawn for each row in mode `sampled`.
    samples: usize,
    /// Tokens after which an answer is cut.
    length: usize,
    seed: u64,
}

fn source(arguments: &Arguments) -> anyhow::Result<Source> {
    let mut source = match &arguments.recipe {
        Some(path) => {
            let recipe = Recipe::read(path, &[])?;
            let root = data_root(&recipe, path);
            let table = recipe.eval.as_ref().map(|eval| &eval.data);
            if arguments.data.is_some() && table.is_some_and(|data| data.path.is_none()) {
                return Err(misuse(format!(
                    "--data has no effect: the rows of [eval] in {} are generated",
                    path.display()
                )));
            }
            let eval = recipe.eval.ok_or_else(|| {
                misuse(format!(
                    "{}: there is no [eval] table; give --data",
                    path.display()
                ))
            })?;
            Source {
                config: eval.data,
                metrics: eval.metrics,
                root: arguments.data.clone().unwrap_or(root),
                samples: eval.samples,
                length: eval.max_completion_length,
                seed: recipe.run.seed,
            }
        }
        None => Source {
            config: rows_of(arguments.data.as_deref().unwrap_or(Path::new(""))),
            metrics: default_metrics().into(),
            root: PathBuf::new(),
            samples: 1,
            length: 64,
            seed: 0,
        },
    };
    if arguments.rows.is_some() {
        source.config.rows = arguments.rows;
    }
    if !arguments.task.is_empty() {
        source.config.tasks.clone_from(&arguments.task);
    }
    source.seed = arguments.seed.unwrap_or(source.seed);
    Ok(source)
}

/// The data table that a path on the command line stands for.
pub(super) fn rows_of(data: &Path) -> DataConfig {
    if data == Path::new(Generator::Pointing.name()) {
        return DataConfig {
            generator: Some(Generator::Pointing),
            split: Some(Split::Val),
            rows: Some(GENERATED_ROWS),
            pointing: Some(PointingConfig::default()),
            ..DataConfig::default()
        };
    }
    // A folder without such a file may hold shards, which the reader looks for.
    let held_out = data.join("val.jsonl");
    let path = if held_out.is_file() {
        held_out
    } else {
        data.to_owned()
    };
    DataConfig {
        path: Some(path),
        ..DataConfig::default()
    }
}

/// Boxes are measured by overlap, everything else by equality; a verifier that does not fit a row's answer stays out.
pub(super) fn default_metrics() -> Vec<NodeConfig> {
    vec![
        NodeConfig::new("box_iou"),
        NodeConfig::new("box_iou")
            .named("iou_at_50")
            .with("threshold", 0.5),
        NodeConfig::new("exact"),
        NodeConfig::new("tags"),
    ]
}
