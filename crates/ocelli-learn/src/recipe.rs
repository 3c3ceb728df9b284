//! The recipe: one TOML file that says what is trained, on what, for which reward, and how.

mod check;

use std::path::PathBuf;

use ocelli_data::{DataConfig, DataSources};
use ocelli_model::adapter::AdapterConfig;
use ocelli_model::checkpoint::ConfigOverrides;
use ocelli_model::heads::Head;
use ocelli_model::part::Parts;
use ocelli_reward::{ModelScore, RewardConfig};
use ocelli_rollout::SamplingParams;
use serde::{Deserialize, Serialize};

use crate::alarms::AlarmConfig;
pub use crate::algorithm::{AlgorithmConfig, Preset};
pub use crate::curriculum::SamplerConfig;
pub use crate::curriculum::cycle::Repeat;
pub use crate::curriculum::exit::ExitConfig;
use crate::evaluation::AnswerPlan;
pub use crate::grpo::{FilterGroups, SelectGroups};
use crate::objective::bradley_terry::RewardModelTraining;
use crate::objective::preference::PreferenceConfig;
use crate::optimizer::OptimConfig;

/// A whole recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Which model is trained.
    pub model: ModelConfig,
    /// The run: its name, seed and folder.
    #[serde(default)]
    pub run: RunConfig,
    /// Where data files are.
    #[serde(default)]
    pub data: DataRoot,
    /// What is measured after every stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval: Option<EvalConfig>,
    /// The stages, in order.
    #[serde(default)]
    pub stage: Vec<StageConfig>,
}

/// Which model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A preset such as `tiny-qwen2_5_vl`, or a checkpoint folder.
    pub path: String,
    /// Sizes of a preset to change: `vision_hidden_size`, `vision_depth`, `vision_intermediate_size`, `num_hidden_layers`.
    #[serde(default, skip_serializing_if = "ConfigOverrides::is_empty")]
    pub overrides: ConfigOverrides,
    /// Trains an adapter instead of the model's own weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterConfig>,
    /// Computes the language layers' activations anew in the backward pass: less memory, a third more arithmetic.
    #[serde(default)]
    pub gradient_checkpointing: bool,
}

/// The run: its name, seed and folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the run's folder; by default the recipe's file name.
    pub name: Option<String>,
    /// Folder that holds the runs.
    pub output_dir: PathBuf,
    /// Seed of everything random in the run.
    pub seed: u64,
    /// Writes a checkpoint every so many steps, besides one at the end of each stage; 0 writes those only.
    pub save_steps: u64,
    /// Writes the episodes of every so many steps; 0 writes none.
    pub log_episodes_steps: u64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            name: None,
            output_dir: PathBuf::from("runs"),
            seed: 0,
            save_steps: 0,
            log_episodes_steps: 50,
        }
    }
}

/// Where data files are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataRoot {
    /// Folder that the stages' `path`s are relative to; by default the recipe's own. `--data DIR` sets it.
    pub root: Option<PathBuf>,
}

/// What is measured after every stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// Held-out rows.
    pub data: DataConfig,
    /// Scores to report. They are not added up, so `weight` and `on_error` are refused.
    pub metrics: RewardConfig,
    /// How answers are drawn: `greedy`, `sampled` (temperature 1), or both.
    #[serde(default = "both_modes")]
    pub modes: Vec<EvalMode>,
    /// Answers drawn for each row in mode `sampled`; a score is the mean over all of them.
    #[serde(default = "one_sample")]
    pub samples: usize,
    /// Tokens after which an answer is cut.
    #[serde(default = "default_completion_length")]
    pub max_completion_length: usize,
    /// Longest prompt in tokens, image tokens included; a longer one is an error.
    #[serde(default = "default_prompt_length")]
    pub max_prompt_length: usize,
    /// Pictures shown in the report.
    #[serde(default = "default_gallery")]
    pub gallery: usize,
}

/// How answers are drawn in an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvalMode {
    Greedy,
    Sampled,
}

impl EvalMode {
    /// The word used in recipes and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Greedy => "greedy",
            Self::Sampled => "sampled",
        }
    }

    /// The sampler's settings.
    pub fn sampling(self, max_completion_length: usize) -> SamplingParams {
        let greedy = SamplingParams::greedy(max_completion_length);
        match self {
            Self::Greedy => greedy,
            Self::Sampled => SamplingParams {
                temperature: 1.0,
                ..greedy
            },
        }
    }
}

fn both_modes() -> Vec<EvalMode> {
    vec![EvalMode::Greedy, EvalMode::Sampled]
}

fn one_sample() -> usize {
    1
}

fn default_completion_length() -> usize {
    64
}

fn default_prompt_length() -> usize {
    2048
}

fn default_gallery() -> usize {
    24
}

/// What a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// Supervised fine-tuning on demonstrations.
    Sft,
    /// Learning from pairs of a better and a worse answer.
    Dpo,
    /// Training a reward model on such pairs.
    Reward,
    /// Group-relative policy optimisation.
    Grpo,
    /// Learning from recorded answers.
    OffPolicy,
}

impl StageKind {
    /// The word used in recipes, metrics and folder names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sft => "sft",
            Self::Dpo => "dpo",
            Self::Reward => "reward",
            Self::Grpo => "grpo",
            Self::OffPolicy => "off_policy",
        }
    }
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// What it does: `sft`, `dpo`, `reward`, `grpo` or `off_policy`.
    pub kind: StageKind,
    /// Its tasks: a data table, or a list of them with weights.
    pub data: DataSources,
    /// Files of recorded episodes, or folders of such files, whose answers are learnt from (`off_policy`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub episodes: Vec<PathBuf>,
    /// Which of them are drawn, and in which order.
    #[serde(default, skip_serializing_if = "SamplerConfig::is_default")]
    pub sampler: SamplerConfig,
    /// How many rows make a step.
    #[serde(default)]
    pub batch: BatchConfig,
    /// How completions are sampled (`grpo`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutConfig>,
    /// What is rewarded (`grpo`, `off_policy`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reward: RewardConfig,
    /// Credit and objective (`grpo`, `off_policy`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<AlgorithmConfig>,
    /// When the terminal says that rewards may be won without the task being solved (`grpo`).
    #[serde(default, skip_serializing_if = "AlarmConfig::is_default")]
    pub alarms: AlarmConfig,
    /// How pairs are learnt from (`dpo`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<PreferenceConfig>,
    /// What a reward model's number is, and how it learns (`reward`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_model: Option<RewardModelTraining>,
    /// Longest prompt in tokens, image tokens included (`sft`, `dpo`, `reward`; 2048 by default); a longer one is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prompt_length: Option<usize>,
    /// Which parts are trained: `vision`, `connector`, `language`, `heads`; those not named are.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    pub trainable: Parts<bool>,
    /// Optimizer and learning rate.
    #[serde(default)]
    pub optim: OptimConfig,
    /// When the stage ends.
    pub exit: ExitConfig,
    /// Repeats this stage and those before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
}

/// How many rows make a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// Rows of data in one optimizer step: demonstrations in `sft`, pairs in `dpo` and `reward`, prompts in `grpo` and `off_policy`.
    pub size: usize,
    /// Tokens computed at once; larger batches are cut into pieces whose gradients add up.
    pub max_tokens: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            size: 16,
            max_tokens: 16_384,
        }
    }
}

/// How completions are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutConfig {
    /// Completions a prompt (the group size G).
    pub num_generations: usize,
    /// Tokens after which a completion is cut.
    pub max_completion_length: usize,
    /// Longest prompt in tokens, image tokens included; a longer one is an error.
    pub max_prompt_length: usize,
    /// Divides the logits.
    pub temperature: f32,
    /// Samples from the smallest set of tokens with this probability; 1 keeps all.
    pub top_p: f32,
    /// Samples from this many most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Replaces groups that teach nothing by others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_groups: Option<FilterGroups>,
    /// Answers more prompts than are learnt from, and keeps those whose answers disagree most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select_groups: Option<SelectGroups>,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            num_generations: 8,
            max_completion_length: 64,
            max_prompt_length: default_prompt_length(),
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            filter_groups: None,
            select_groups: None,
        }
    }
}

impl RolloutConfig {
    /// The sampler's settings.
    pub fn sampling(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            max_completion_length: self.max_completion_length,
        }
    }
}

impl EvalConfig {
    /// How answers are drawn in one of its modes.
    pub fn answers(&self, mode: EvalMode, seed: u64) -> AnswerPlan {
        AnswerPlan {
            mode,
            samples: self.samples,
            max_prompt_length: self.max_prompt_length,
            max_completion_length: self.max_completion_length,
            seed,
        }
    }
}

impl StageConfig {
    /// Longest prompt in tokens.
    pub fn max_prompt_length(&self) -> usize {
        match (self.kind, &self.rollout) {
            (StageKind::Grpo | StageKind::OffPolicy, Some(rollout)) => rollout.max_prompt_length,
            _ => self.max_prompt_length.unwrap_or_else(default_prompt_length),
        }
    }

    fn some_table(&self, has: impl Fn(&DataConfig) -> bool) -> bool {
        self.data.tables().iter().any(has)
    }

    /// Rows of a draw.
    pub(crate) fn rows_drawn(&self) -> usize {
        let select = self.rollout.as_ref().and_then(|r| r.select_groups);
        select.map_or(self.batch.size, |select| select.drawn(self.batch.size))
    }

    /// Whether demonstrations join the sampled groups.
    pub(crate) fn joins_demonstrations(&self) -> bool {
        let algorithm = self.algorithm.as_ref();
        algorithm.is_some_and(|algorithm| algorithm.resolve().demonstrations.is_some())
    }

    /// How often a step may draw.
    pub(crate) fn draws_a_step(&self) -> u64 {
        let filter = self.rollout.as_ref().and_then(|r| r.filter_groups.as_ref());
        filter.map_or(1, |filter| filter.max_num_gen_batches as u64)
    }

    /// Whether the stage needs the model it started from beside the one it trains.
    pub(crate) fn has_reference(&self) -> bool {
        match self.kind {
            StageKind::Sft | StageKind::Reward => false,
            StageKind::Dpo => self.preference.clone().unwrap_or_default().has_reference(),
            StageKind::Grpo | StageKind::OffPolicy => {
                let algorithm = self.algorithm.clone().unwrap_or_default();
                algorithm.resolve().kl.is_some()
            }
        }
    }

    /// The head that the stage trains beside the model's own.
    pub(crate) fn head(&self) -> Option<Head> {
        if self.kind == StageKind::Reward {
            let by = self.reward_model.clone().unwrap_or_default().by;
            return (by == ModelScore::Score).then_some(Head::Score);
        }
        let algorithm = self.algorithm.as_ref()?.resolve();
        algorithm.critic.map(|_| Head::Value)
    }
}
