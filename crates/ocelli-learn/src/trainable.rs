//! What a stage trains: parts of the model, or an adapter over it, and at which learning rates.

use std::collections::BTreeSet;

use ocelli_model::part::{Part, Parts, part_of};
use ocelli_model::weights::Weights;

use crate::error::LearnError;
use crate::recipe::{Recipe, StageConfig};

/// What a stage trains, and how its passes are run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Training {
    /// Parts that are trained or not; those that are not named are.
    pub trainable: Parts<bool>,
    /// Of what falls out.
    pub seed: u64,
    /// Computes the language layers' activations anew in the backward pass instead of keeping them.
    pub gradient_checkpointing: bool,
}

impl Training {
    /// What a stage of a recipe trains.
    pub fn of(recipe: &Recipe, stage: &StageConfig) -> Self {
        Self {
            trainable: stage.trainable,
            seed: recipe.run.seed,
            gradient_checkpointing: recipe.model.gradient_checkpointing,
        }
    }

    /// Whether a parameter is trained: its part is, and where there is an adapter it belongs to that.
    pub fn trains(&self, weights: &Weights, name: &str) -> bool {
        weights.trains(name) && self.trainable.get(part_of(name)) != Some(false)
    }
}

impl StageConfig {
    /// What can be known to be wrong without a model.
    pub(crate) fn check_parts(&self, place: &str) -> Result<(), String> {
        let frozen = |part| self.trainable.get(part) == Some(false);
        if Part::ALL.into_iter().all(frozen) {
            return Err(format!(
                "{place}: `trainable` freezes all parts, so there is nothing to train; set one of them to true"
            ));
        }
        for (part, rate) in self.optim.part_learning_rates.given() {
            let key = format!("optim.part_learning_rates.{}", part.name());
            if !(rate.is_finite() && rate >= 0.0) {
                return Err(format!("{place}: `{key}` must be a number from 0 on"));
            }
            if frozen(part) {
                return Err(format!(
                    "{place}: `{key}` has no effect, for `trainable.{}` is false; remove one of the two",
                    part.name()
                ));
            }
        }
        Ok(())
    }
}

/// Checks that every stage trains something of this model, and that the parts it names are there.
///
/// # Errors
/// Names the stage, the key and the mend.
pub fn check(recipe: &Recipe, weights: &Weights) -> Result<(), LearnError> {
    let present: BTreeSet<Part> = weights.iter().map(|(name, _)| part_of(name)).collect();
    for (index, stage) in recipe.stage.iter().enumerate() {
        check_stage(recipe, stage, weights, &present).map_err(|message| LearnError::Config {
            place: format!("stage {} ({})", index + 1, stage.kind.name()),
            message,
        })?;
    }
    Ok(())
}

fn check_stage(
    recipe: &Recipe,
    stage: &StageConfig,
    weights: &Weights,
    present: &BTreeSet<Part>,
) -> Result<(), String> {
    let training = Training::of(recipe, stage);
    // A head that the stage adds is there once it begins.
    let added: Vec<String> = stage
        .head()
        .into_iter()
        .flat_map(|head| head.parameters(1))
        .map(|(name, _)| name)
        .collect();
    if !added.is_empty() && stage.trainable.heads == Some(false) {
        return Err(
            "`trainable.heads = false` keeps the head that this stage needs from learning; remove it"
                .into(),
        );
    }
    let own = || weights.iter().map(|(name, _)| name);
    let names = || own().chain(added.iter().map(String::as_str));
    // Parts that hold something that can be trained, and those where it is.
    let able: BTreeSet<Part> = names()
        .filter(|name| weights.trains(name))
        .map(part_of)
        .collect();
    let trained: BTreeSet<Part> = names()
        .filter(|name| training.trains(weights, name))
        .map(part_of)
        .collect();
    let given = stage.trainable.given();
    let named = given
        .map(|(part, on)| (part, format!("trainable.{}", part.name()), on))
        .chain(stage.optim.part_learning_rates.given().map(|(part, _)| {
            let key = format!("optim.part_learning_rates.{}", part.name());
            (part, key, true)
        }));
    for (part, key, on) in named {
        if !present.contains(&part) && (part != Part::Heads || added.is_empty()) {
            let why = if part == Part::Heads {
                "its output matrix is its embeddings, which belong to `language`"
            } else {
                "it is a language model alone"
            };
            return Err(format!(
                "`{key}`: this model has no such part, for {why}; remove the key"
            ));
        }
        if on && !able.contains(&part) {
            return Err(format!(
                "`{key}` has no effect: no target of the adapter lies in `{}`; add modules of it to target_modules or modules_to_save, \
                 or remove the key",
                part.name()
            ));
        }
    }
    if trained.is_empty() {
        let list: Vec<&str> = able.iter().map(|part| part.name()).collect();
        return Err(format!(
            "nothing is trained: what could be lies in {}, which `trainable` freezes; set one of these to true, or give other \
             target_modules to model.adapter",
            list.join(" and ")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use ocelli_model::checkpoint::Checkpoint;

    use super::*;

    const RECIPE: &str = r#"
[model]
path = "tiny-qwen2_5_vl"
overrides = { vision_hidden_size = 32, vision_depth = 1, vision_intermediate_size = 32, num_hidden_layers = 1 }
ADAPTER

[[stage]]
kind = "sft"
data = { generator = "pointing", rows = 1 }
TRAINABLE
exit = { max_steps = 1 }
"#;

    fn recipe(adapter: &str, trainable: &str) -> Recipe {
        let text = RECIPE.replace("ADAPTER", adapter);
        toml::from_str(&text.replace("TRAINABLE", trainable)).unwrap()
    }

    fn checked(adapter: &str, trainable: &str) -> Result<Vec<String>, String> {
        let recipe = recipe(adapter, trainable);
        recipe.check()?;
        let device = Device::flex();
        let model = &recipe.model;
        let made = Checkpoint::open(&model.path, &model.overrides, 0, &device).unwrap();
        let weights = match &model.adapter {
            None => made.weights,
            Some(adapter) => adapter
                .attach(&made.config, &made.weights, "base", 0, &device)
                .unwrap(),
        };
        check(&recipe, &weights).map_err(|e| e.to_string())?;
        let training = Training::of(&recipe, &recipe.stage[0]);
        let names = weights.iter().map(|(name, _)| name);
        let names = names.filter(|name| training.trains(&weights, name));
        Ok(names.map(str::to_owned).collect())
    }

    const LORA: &str = r#"adapter = { kind = "lora", r = 2, target_modules = ["q_proj"] }"#;

    #[test]
    fn parts_are_trained_or_not() {
        let all = checked("", "").unwrap();
        let some = checked("", "trainable = { vision = false, language = false }").unwrap();
        assert!(some.len() < all.len() && some.contains(&"visual.merger.mlp.0.weight".to_owned()));
        assert!(some.iter().all(|name| part_of(name) == Part::Connector));
        let lora = checked(LORA, "").unwrap();
        assert_eq!(
            lora,
            ["A", "B"].map(|m| format!("model.layers.0.self_attn.q_proj.lora_{m}.weight"))
        );
        let whole = LORA.replace("]", "], modules_to_save = [\"merger\"]");
        let with_merger = checked(&whole, "").unwrap();
        assert_eq!(with_merger.len(), 2 + 5);
        let merger = checked(&whole, "trainable = { language = false }").unwrap();
        assert_eq!(merger.len(), 5);
    }

    #[test]
    fn contradictions_are_refused_with_the_mend() {
        for (adapter, trainable, wanted) in [
            (
                "",
                "trainable = { vision = false, connector = false, language = false, heads = false }",
                "freezes all parts",
            ),
            (
                "",
                "trainable = { vision = false }\noptim = { part_learning_rates = { vision = 1e-6 } }",
                "`trainable.vision` is false",
            ),
            (
                "",
                "optim = { part_learning_rates = { vision = -1.0 } }",
                "must be a number from 0 on",
            ),
            ("", "trainable = { heads = true }", "no such part"),
            (
                LORA,
                "trainable = { language = false }",
                "nothing is trained",
            ),
            (
                LORA,
                "trainable = { vision = true }",
                "no target of the adapter",
            ),
            (
                LORA,
                "optim = { part_learning_rates = { connector = 1e-6 } }",
                "no target of the adapter",
            ),
            (
                "adapter = { kind = \"lora\", lora_dropout = 1.5 }",
                "",
                "model.adapter: `lora_dropout`",
            ),
        ] {
            let error = checked(adapter, trainable).unwrap_err();
            assert!(error.contains(wanted), "{adapter} {trainable}: {error}");
        }
        let unknown = RECIPE
            .replace("ADAPTER", "")
            .replace("TRAINABLE", "trainable = { vison = true }");
        let error = toml::from_str::<Recipe>(&unknown).unwrap_err().to_string();
        assert!(
            error.contains("vison") && error.contains("`vision`"),
            "{error}"
        );
    }
}
