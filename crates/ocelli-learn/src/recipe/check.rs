//! What can be known to be wrong with a recipe without reading any data, each with the mend.

use ocelli_reward::RewardGraph;

use super::{AlgorithmConfig, EvalConfig, EvalMode, Recipe, RolloutConfig, StageConfig, StageKind};
use crate::credit::AdvantageEstimator;
use crate::curriculum::cycle;

impl RolloutConfig {
    /// What answers are scored by, sampled here or not.
    fn check_scoring(&self, name: &str) -> Result<(), String> {
        require(
            self.max_completion_length > 0,
            name,
            "rollout.max_completion_length",
            "at least 1",
        )?;
        require(
            self.temperature.is_finite() && self.temperature > 0.0,
            name,
            "rollout.temperature",
            "above 0: without chance all samples of a group are the same",
        )
    }
}

impl Recipe {
    /// What can be known to be wrong without reading any data.
    ///
    /// # Errors
    /// The first mistake, with its place and the mend.
    pub fn check(&self) -> Result<(), String> {
        if let Some(eval) = &self.eval {
            eval.data.check().map_err(|e| format!("eval: {e}"))?;
            eval.refuse_keys_without_effect()?;
            require(eval.samples > 0, "eval", "samples", "at least 1")?;
            if eval.samples > 1 && !eval.modes.contains(&EvalMode::Sampled) {
                return Err(
                    "eval: `samples` has no effect without mode \"sampled\"; remove it".into(),
                );
            }
            RewardGraph::check(&eval.metrics).map_err(|e| format!("eval: {e}"))?;
            if eval.modes.is_empty() {
                return Err("eval: `modes` is empty; give \"greedy\", \"sampled\" or both".into());
            }
            require(
                eval.max_completion_length > 0,
                "eval",
                "max_completion_length",
                "at least 1",
            )?;
        }
        if let Some(adapter) = &self.model.adapter {
            adapter.check().map_err(|e| format!("model.adapter: {e}"))?;
        }
        for (index, stage) in self.stage.iter().enumerate() {
            let name = format!("stage {} ({})", index + 1, stage.kind.name());
            stage.data.check().map_err(|e| format!("{name}: {e}"))?;
            stage.check(&name)?;
        }
        cycle::check(&self.stage)
    }
}

impl EvalConfig {
    fn refuse_keys_without_effect(&self) -> Result<(), String> {
        let data = [
            ("data.label_noise", self.data.label_noise.is_some()),
            ("data.demonstration", self.data.demonstration.is_some()),
            ("data.augment", self.data.augment.is_some()),
            ("data.rejected_noise", self.data.rejected_noise.is_some()),
            ("data.weight", self.data.weight.is_some()),
            ("data.source", self.data.source.is_some()),
            ("data.difficulty", self.data.difficulty.is_some()),
        ];
        let metrics = self.metrics.iter().flat_map(|node| {
            [
                ("metrics.weight", node.weight.is_some()),
                ("metrics.on_error", node.on_error.is_some()),
            ]
        });
        if let Some((key, _)) = data.into_iter().chain(metrics).find(|(_, given)| *given) {
            return Err(format!("eval: `{key}` has no effect here; remove it"));
        }
        if self.metrics.is_empty() {
            return Err(
                "eval: `metrics` is empty; give what to measure, such as [ { verifier = \"exact\" } ]".into(),
            );
        }
        require(
            self.max_prompt_length > 0,
            "eval",
            "max_prompt_length",
            "at least 1",
        )
    }
}

fn require(holds: bool, place: &str, key: &str, mend: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("{place}: `{key}` must be {mend}"))
    }
}

impl StageConfig {
    fn check(&self, name: &str) -> Result<(), String> {
        require(self.batch.size > 0, name, "batch.size", "at least 1")?;
        require(
            self.batch.max_tokens > 0,
            name,
            "batch.max_tokens",
            "at least 1",
        )?;
        self.optim.check(name)?;
        self.check_parts(name)?;
        self.sampler
            .check(self.kind, self.exit.max_steps)
            .map_err(|e| format!("{name}: {e}"))?;
        self.exit.check().map_err(|e| format!("{name}: {e}"))?;
        let is_grpo = matches!(self.kind, StageKind::Grpo | StageKind::OffPolicy);
        if is_grpo && self.max_prompt_length.is_some() {
            return Err(format!(
                "{name}: `max_prompt_length` belongs into `rollout` here"
            ));
        }
        require(
            self.max_prompt_length() > 0,
            name,
            "max_prompt_length",
            "at least 1",
        )?;
        let pairs = matches!(self.kind, StageKind::Dpo | StageKind::Reward);
        for (key, given, belongs, kind) in [
            (
                "preference",
                self.preference.is_some(),
                self.kind == StageKind::Dpo,
                "dpo",
            ),
            (
                "reward_model",
                self.reward_model.is_some(),
                self.kind == StageKind::Reward,
                "reward",
            ),
            (
                "data.rejected_noise",
                self.some_table(|data| data.rejected_noise.is_some()),
                pairs,
                "dpo",
            ),
            (
                "episodes",
                !self.episodes.is_empty(),
                self.kind == StageKind::OffPolicy,
                "off_policy",
            ),
            (
                "alarms",
                !self.alarms.is_default(),
                self.kind == StageKind::Grpo,
                "grpo",
            ),
        ] {
            if given && !belongs {
                return Err(format!(
                    "{name}: `{key}` has no effect here; remove it or make the stage `kind = \"{kind}\"`"
                ));
            }
        }
        match self.kind {
            StageKind::Sft | StageKind::Dpo | StageKind::Reward => {
                for (key, given) in [
                    ("rollout", self.rollout.is_some()),
                    ("reward", !self.reward.is_empty()),
                    ("algorithm", self.algorithm.is_some()),
                ] {
                    if given {
                        return Err(format!(
                            "{name}: `{key}` has no effect in a stage that samples nothing; remove it or make the stage `kind = \"grpo\"`"
                        ));
                    }
                }
                let preference = self.preference.clone().unwrap_or_default();
                preference.check().map_err(|e| format!("{name}: {e}"))?;
                let reward_model = self.reward_model.clone().unwrap_or_default();
                reward_model.check().map_err(|e| format!("{name}: {e}"))
            }
            StageKind::Grpo => self.check_grpo(name),
            StageKind::OffPolicy => self.check_off_policy(name),
        }
    }

    fn check_grpo(&self, name: &str) -> Result<(), String> {
        for (key, given) in [
            (
                "data.label_noise",
                self.some_table(|data| data.label_noise.is_some()),
            ),
            (
                "data.demonstration",
                self.some_table(|data| data.demonstration.is_some()),
            ),
        ] {
            if given && !self.joins_demonstrations() {
                return Err(format!(
                    "{name}: `{key}` has no effect here, the reward sees the true answer; remove it"
                ));
            }
        }
        RewardGraph::check(&self.reward).map_err(|e| format!("{name}: {e}"))?;
        self.alarms
            .check(&self.reward)
            .map_err(|e| format!("{name}: {e}"))?;
        if let Some(node) = &self.sampler.success {
            self.check_node(name, "sampler.success", node)?;
        }
        let rollout = self.rollout.clone().unwrap_or_default();
        require(
            rollout.num_generations >= 1,
            name,
            "rollout.num_generations",
            "at least 1",
        )?;
        rollout.check_scoring(name)?;
        require(
            rollout.top_p > 0.0 && rollout.top_p <= 1.0,
            name,
            "rollout.top_p",
            "above 0 and at most 1",
        )?;
        if let Some(filter) = &rollout.filter_groups {
            filter
                .check(rollout.num_generations)
                .map_err(|e| format!("{name}: {e}"))?;
        }
        if let Some(select) = &rollout.select_groups {
            if rollout.filter_groups.is_some() {
                return Err(format!(
                    "{name}: `rollout.select_groups` and `rollout.filter_groups` both choose groups; remove one"
                ));
            }
            select
                .check(rollout.num_generations, self.batch.size)
                .map_err(|e| format!("{name}: {e}"))?;
        }
        let algorithm = self.algorithm.clone().unwrap_or_default();
        if algorithm.resolve().staleness.is_some() {
            return Err(format!(
                "{name}: `algorithm.staleness_correction` has no effect here: the policy that learns is the one that sampled; remove it, or make \
                 the stage `kind = \"off_policy\"`"
            ));
        }
        self.check_mini_batches(name, &algorithm)?;
        for skip in algorithm.demonstration_skips.iter().flatten() {
            self.check_node(name, "algorithm.demonstration_skips", skip)?;
        }
        algorithm
            .check(rollout.num_generations)
            .map_err(|e| format!("{name}: {e}"))
    }

    fn check_mini_batches(&self, name: &str, algorithm: &AlgorithmConfig) -> Result<(), String> {
        let parts = algorithm.resolve().num_mini_batches;
        if parts > self.batch.size {
            return Err(format!(
                "{name}: `algorithm.num_mini_batches = {parts}` is more than the {} prompts of a batch; raise `batch.size` or lower it",
                self.batch.size
            ));
        }
        Ok(())
    }

    fn check_off_policy(&self, name: &str) -> Result<(), String> {
        if !self.reward.is_empty() {
            RewardGraph::check(&self.reward).map_err(|e| format!("{name}: {e}"))?;
        }
        let algorithm = self.algorithm.clone().unwrap_or_default();
        let resolved = algorithm.resolve();
        let rollout = self.rollout.clone().unwrap_or_default();
        rollout.check_scoring(name)?;
        let recorded = !self.episodes.is_empty();
        let default = RolloutConfig::default();
        let several = self.data.tables().len() > 1;
        let samples = "a stage that samples nothing";
        for (wrong, message) in [
            (
                rollout.filter_groups.is_some() || rollout.select_groups.is_some(),
                format!("`rollout.filter_groups` and `select_groups` have no effect in {samples}; remove them"),
            ),
            (
                (rollout.num_generations, rollout.top_p, rollout.top_k)
                    != (default.num_generations, default.top_p, default.top_k),
                format!("`rollout.num_generations`, `top_p` and `top_k` have no effect in {samples}; remove them"),
            ),
            (
                self.some_table(|data| data.augment.is_some()),
                "`data.augment` has no effect: the answers were given to the pictures as they were shown; remove it".into(),
            ),
            (
                recorded && several,
                "`episodes` belong to the rows of one data table; give a stage for each".into(),
            ),
            (
                recorded && self.some_table(|data| data.demonstration.is_some() || data.label_noise.is_some()),
                "`data.demonstration` and `data.label_noise` have no effect beside `episodes`, which hold the answers; remove them".into(),
            ),
            (
                resolved.estimator == AdvantageEstimator::Remax,
                format!("`algorithm.advantage_estimator = \"remax\"` needs a greedy answer, and this is {samples}; use `awr`"),
            ),
            (
                resolved.demonstrations.is_some() || resolved.dependence.is_some(),
                format!(
                    "`algorithm.demonstration` and `dependence_…` have no effect in {samples}; remove them"
                ),
            ),
            (
                resolved.staleness.is_some() && !recorded,
                "`algorithm.staleness_correction` has no effect on rows: nobody knows how likely their answers were; remove it, or give `episodes`"
                    .into(),
            ),
            (
                algorithm.shuffle_rewards && self.reward.is_empty(),
                "`algorithm.shuffle_rewards` is a control of a `reward`; give one, or remove it".into(),
            ),
        ] {
            if wrong {
                return Err(format!("{name}: {message}"));
            }
        }
        self.check_mini_batches(name, &algorithm)?;
        // Sizes of groups are the data's; those of one are told by a dead signal.
        algorithm
            .check(usize::MAX)
            .map_err(|e| format!("{name}: {e}"))
    }

    /// Whether a node that a key names is there.
    fn check_node(&self, name: &str, key: &str, wanted: &str) -> Result<(), String> {
        let names: Vec<String> = self.reward.iter().map(|node| node.name()).collect();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        if known.contains(&wanted) {
            return Ok(());
        }
        let near = ocelli_data::suggest(wanted, &known)
            .map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
        Err(format!(
            "{name}: `{key}` names `{wanted}`, which is no node of `reward`{near} It has {}",
            names.join(", ")
        ))
    }
}
