//! What a run needs besides its model, found to be there before anything is trained: rows, recorded answers, and what judges.

use std::path::Path;
use std::sync::Arc;

use ocelli_data::{Dataset, PictureCache};
use ocelli_reward::RewardGraph;
use ocelli_rollout::Policy;

use crate::curriculum::Curator;
use crate::error::LearnError;
use crate::grpo::off_policy::{self, Records};
use crate::recipe::{EvalConfig, Recipe, StageConfig, StageKind};
use crate::reward_log::RewardLog;
use crate::reward_model::{self, Pictures};
use crate::{given_turns, preflight, reward};

/// The data sets of a recipe, read before anything is trained: a mistake in the last stage is found at once.
pub(crate) struct RecipeData {
    pub(crate) stages: Vec<StageData>,
    pub(crate) eval: Option<(EvalConfig, Arc<Dataset>, RewardGraph)>,
}

/// The rows of a stage, and what judges the answers to them.
pub(crate) struct StageData {
    pub(crate) rows: Arc<Dataset>,
    /// Without nodes in a stage that rewards nothing.
    pub(crate) reward: Option<RewardGraph>,
    /// Recorded answers, where there are some.
    pub(crate) records: Option<Records>,
}

impl RecipeData {
    pub(crate) fn load(recipe: &Recipe, root: &Path) -> Result<Self, LearnError> {
        if recipe.stage.is_empty() {
            return Err(LearnError::Config {
                place: "stage".into(),
                message: "the recipe has no [[stage]], so there is nothing to train; `ocelli eval` measures a model".into(),
            });
        }
        let seed = recipe.run.seed;
        // One for all: stages and evaluation often show the same pictures.
        let pictures = Arc::new(PictureCache::default());
        let load = |data| ocelli_data::load_with(data, root, seed, &pictures);
        let mix = |data| ocelli_data::load_sources(data, root, seed, &pictures);
        let stages = recipe
            .stage
            .iter()
            .map(|stage| {
                let rewarded = stage.kind == StageKind::Grpo || !stage.reward.is_empty();
                let mut rows = mix(&stage.data)?;
                let records = match stage.episodes.as_slice() {
                    [] => None,
                    paths => Some(Records::read(&off_policy::settled(paths, root))?),
                };
                if let Some(records) = &records {
                    records.restrict(&mut rows)?;
                }
                Ok(StageData {
                    records,
                    rows: Arc::new(rows),
                    reward: rewarded
                        .then(|| RewardGraph::new(&stage.reward))
                        .transpose()?,
                })
            })
            .collect::<Result<Vec<_>, LearnError>>()?;
        let eval = match &recipe.eval {
            None => None,
            Some(eval) => Some((
                eval.clone(),
                Arc::new(load(&eval.data)?),
                RewardGraph::new(&eval.metrics)?,
            )),
        };
        for (index, (stage, data)) in recipe.stage.iter().zip(&stages).enumerate() {
            preflight::check_when(&place(index, stage), &stage.reward, &data.rows)?;
            Curator::new(stage, &data.rows, seed, index)?;
        }
        Ok(Self { stages, eval })
    }

    /// Starts what judges outside of the program, for all stages: a Python file that does not load is found before the first step.
    pub(crate) fn start(&self, log: &RewardLog) -> Result<(), LearnError> {
        let of_stages = self
            .stages
            .iter()
            .filter_map(|stage| Some((&stage.rows, stage.reward.as_ref()?)));
        let of_eval = self.eval.iter().map(|(_, rows, metrics)| (rows, metrics));
        for (rows, graph) in of_stages.chain(of_eval) {
            let rows = Arc::clone(rows);
            let pictures: Arc<Pictures> = Arc::new(move |task, index| rows.picture(task, index));
            reward_model::provide(graph, &pictures)?;
            graph.start(log.writer())?;
        }
        Ok(())
    }

    /// Checks that the model can be shown every row.
    pub(crate) fn check(&self, recipe: &Recipe, policy: &Policy) -> Result<(), LearnError> {
        for (stage, data) in recipe.stage.iter().zip(&self.stages) {
            preflight::check_prompts(policy, &data.rows, stage.max_prompt_length())?;
            match stage.kind {
                StageKind::Sft => {
                    given_turns::check(policy, &data.rows, given_turns::demonstration)?
                }
                StageKind::Dpo => given_turns::check(policy, &data.rows, given_turns::pair)?,
                StageKind::Reward => {
                    let config = stage.reward_model.clone().unwrap_or_default();
                    reward::check(policy, &data.rows, &config)?;
                }
                StageKind::Grpo if stage.joins_demonstrations() => {
                    given_turns::check(policy, &data.rows, given_turns::demonstration)?
                }
                StageKind::OffPolicy if data.records.is_none() => {
                    off_policy::check(policy, &data.rows, data.reward.is_some())?
                }
                StageKind::Grpo | StageKind::OffPolicy => {}
            }
        }
        if let Some((config, data, _)) = &self.eval {
            preflight::check_prompts(policy, data, config.max_prompt_length)?;
        }
        Ok(())
    }
}

/// How a stage is called in errors.
fn place(index: usize, stage: &StageConfig) -> String {
    format!("stage {} ({})", index + 1, stage.kind.name())
}
