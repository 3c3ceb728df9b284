//! Reading a recipe file: overrides from the command line, and errors that name the line and the nearest known key.

use std::path::Path;

use crate::error::LearnError;
use crate::recipe::Recipe;

impl Recipe {
    /// Makes the paths of Python rewards and judges' caches start at `folder`.
    fn settle_rewards(&mut self, folder: &Path) {
        let metrics = self.eval.iter_mut().map(|eval| &mut eval.metrics);
        let rewards = self.stage.iter_mut().map(|stage| &mut stage.reward);
        metrics
            .chain(rewards)
            .for_each(|nodes| nodes.settle(folder));
    }

    /// Reads a recipe file and applies `key=value` overrides such as `run.seed=3` or `stage.1.optim.learning_rate=1e-4`
    /// (stages count from 0; a stage's kind also names it: `stage.grpo.…`).
    ///
    /// # Errors
    /// Names the line or key and what to write instead.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self, LearnError> {
        let fail = |message: String| LearnError::Recipe {
            path: path.to_owned(),
            message,
        };
        let text =
            std::fs::read_to_string(path).map_err(|e| fail(format!("no recipe to read: {e}")))?;
        let mut recipe = if overrides.is_empty() {
            toml::from_str(&text).map_err(|e| fail(explain(&e)))?
        } else {
            let mut table: toml::Table = toml::from_str(&text).map_err(|e| fail(explain(&e)))?;
            for change in overrides {
                set(&mut table, change).map_err(fail)?;
            }
            table.try_into::<Self>().map_err(|e| fail(explain(&e)))?
        };
        // A run keeps the recipe in another folder, so that the files of rewards are found from anywhere.
        let here = std::path::absolute(path).map_err(|e| fail(e.to_string()))?;
        recipe.settle_rewards(here.parent().unwrap_or(Path::new("/")));
        recipe.check().map_err(fail)?;
        Ok(recipe)
    }
}

/// Applies one `path.to.key=value`.
fn set(table: &mut toml::Table, change: &str) -> Result<(), String> {
    let (path, value) = change.split_once('=').ok_or_else(|| {
        format!("`--set {change}` has no `=`; write `--set key=value`, such as `--set run.seed=1`")
    })?;
    if path.split('.').any(str::is_empty) {
        return Err(format!(
            "`--set {change}`: a key is empty; write names with dots between them, such as `--set run.seed=1`"
        ));
    }
    // A word that is no TOML value is meant as a string.
    let value = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut t| t.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut parts: Vec<&str> = path.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut place = table;
    let mut parts = parts.into_iter();
    while let Some(part) = parts.next() {
        let entry = place
            .entry(part)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = match entry {
            toml::Value::Table(table) => table,
            toml::Value::Array(list) => {
                let count = list.len();
                let Some(which) = parts.next() else {
                    return Err(format!(
                        "`--set {change}`: `{part}` is a list of {count}; name an entry and a key of it, such as \
                         `--set {part}.0.exit.max_steps=10`"
                    ));
                };
                let found = list.iter_mut().enumerate().find(|(i, item)| {
                    which == i.to_string()
                        || item.get("kind").and_then(toml::Value::as_str) == Some(which)
                });
                match found.map(|(_, item)| item) {
                    Some(toml::Value::Table(table)) => table,
                    _ => {
                        return Err(format!(
                            "`--set {change}`: `{part}` has no `{which}`; it has the entries 0 to {}",
                            count.saturating_sub(1)
                        ));
                    }
                }
            }
            _ => return Err(format!("`--set {change}`: `{part}` is not a table")),
        };
    }
    place.insert(last.to_owned(), value);
    Ok(())
}

/// The message of a TOML error, with the nearest known key where a key is unknown.
fn explain(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let words: Vec<&str> = error.message().split('`').collect();
    // serde says: unknown field `x`, expected one of `a`, `b`
    let suggestion = match words.as_slice() {
        [before, unknown, known @ ..]
            if before.starts_with("unknown field") || before.starts_with("unknown variant") =>
        {
            let known: Vec<&str> = known.iter().skip(1).step_by(2).copied().collect();
            ocelli_data::suggest(unknown, &known)
        }
        _ => None,
    };
    let text = text.trim_end();
    match suggestion {
        Some(word) => format!("{text}\ndid you mean `{word}`?"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINIMAL: &str = r#"
[model]
path = "tiny-qwen2_5_vl"

[[stage]]
kind = "sft"
data = { generator = "pointing", rows = 10 }
exit = { max_steps = 3 }

[[stage]]
kind = "grpo"
data = { generator = "pointing", rows = 10 }
rollout = { num_generations = 4 }
reward = [ { verifier = "box_iou" } ]
exit = { max_steps = 2 }
"#;

    fn read(text: &str, overrides: &[&str]) -> Result<Recipe, LearnError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, text).unwrap();
        let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
        Recipe::read(&path, &overrides)
    }

    fn message(text: &str) -> String {
        read(text, &[]).unwrap_err().to_string()
    }

    #[test]
    fn resolved_recipes_read_back_as_they_are() {
        let recipe = read(
            MINIMAL,
            &[
                "run.seed=3",
                "stage.grpo.optim.learning_rate=0.5",
                "stage.0.exit.max_steps=9",
                "run.name=x",
            ],
        )
        .unwrap();
        assert_eq!(recipe.run.seed, 3);
        assert_eq!(recipe.run.name.as_deref(), Some("x"));
        assert_eq!(recipe.stage[1].optim.learning_rate, 0.5);
        assert_eq!(recipe.stage[0].exit.max_steps, 9);
        let text = toml::to_string(&recipe).unwrap();
        assert_eq!(read(&text, &[]).unwrap(), recipe);
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_known_one() {
        let text = message(&MINIMAL.replace("num_generations", "num_generation"));
        assert!(
            text.contains("num_generation") && text.contains("did you mean `num_generations`?"),
            "{text}"
        );
        let text = message(&MINIMAL.replace("kind = \"grpo\"", "kind = \"gpro\""));
        assert!(text.contains("did you mean `grpo`?"), "{text}");
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_with_the_mend() {
        for (from, to, wanted) in [
            ("num_generations = 4", "num_generations = 1", "at least 2"),
            (
                "rows = 10 }\nexit",
                "rows = 10 }\nrollout = { top_k = 3 }\nexit",
                "no effect in a stage that samples nothing",
            ),
            (
                "rows = 10 }\nrollout",
                "rows = 10, label_noise = { outward = 1.0, jitter = 1.0 } }\nrollout",
                "true answer",
            ),
            (
                "num_generations = 4",
                "num_generations = 4, temperature = 0.0",
                "above 0",
            ),
            ("box_iou", "box_iuo", "box_iou"),
            (
                "reward = [ { verifier = \"box_iou\" } ]\n",
                "",
                "no verifier",
            ),
        ] {
            assert!(MINIMAL.contains(from), "{from}");
            let text = message(&MINIMAL.replacen(from, to, 1));
            assert!(text.contains(wanted), "{to}: {text}");
        }
    }

    #[test]
    fn overrides_say_what_is_wrong_with_them() {
        for (change, wanted) in [
            ("run.seed", "no `=`"),
            ("stage.7.exit.max_steps=1", "no `7`"),
            ("model.path.x=1", "not a table"),
            (
                "stage.0=3",
                "`stage` is a list of 2; name an entry and a key",
            ),
            ("stage.sft=3", "name an entry and a key"),
            ("=3", "a key is empty"),
            ("run..seed=3", "a key is empty"),
        ] {
            let text = read(MINIMAL, &[change]).unwrap_err().to_string();
            assert!(text.contains(wanted), "{text}");
        }
    }

    /// Pointers to every value of a recipe: keys and positions.
    fn places(value: &toml::Value, at: &[String], found: &mut Vec<Vec<String>>) {
        let mut go = |key: String, value: &toml::Value| {
            let place = [at, &[key]].concat();
            places(value, &place, found);
            found.push(place);
        };
        match value {
            toml::Value::Table(table) => table.iter().for_each(|(k, v)| go(k.clone(), v)),
            toml::Value::Array(list) => {
                let entries = list.iter().enumerate();
                entries.for_each(|(i, v)| go(i.to_string(), v));
            }
            _ => {}
        }
    }

    fn put(value: &mut toml::Value, place: &[String], new: toml::Value) {
        match (value, place) {
            (value, []) => *value = new,
            (toml::Value::Table(table), [key, rest @ ..]) => {
                if let Some(inner) = table.get_mut(key) {
                    put(inner, rest, new);
                }
            }
            (toml::Value::Array(list), [key, rest @ ..]) => {
                if let Some(inner) = key.parse().ok().and_then(|i: usize| list.get_mut(i)) {
                    put(inner, rest, new);
                }
            }
            _ => {}
        }
    }

    fn new_values() -> impl Strategy<Value = toml::Value> {
        prop_oneof![
            any::<i64>().prop_map(toml::Value::Integer),
            (-2i64..3).prop_map(toml::Value::Integer),
            any::<f64>().prop_map(toml::Value::Float),
            any::<bool>().prop_map(toml::Value::Boolean),
            "[a-z_{}/.]{0,12}".prop_map(toml::Value::String),
            Just(toml::Value::Array(Vec::new())),
            Just(toml::Value::Table(toml::Table::new())),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn a_changed_recipe_is_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), new_values()), 1..4),
        ) {
            let full = format!(
                "{MINIMAL}algorithm = {{ preset = \"dapo\", epsilon = 0.1 }}\noptim = {{ weight_decay = 0.1 }}\n\
                 [run]\nseed = 1\n[eval]\ndata = {{ path = \"a.jsonl\", part = [0.0, 0.5] }}\n\
                 metrics = [ {{ verifier = \"exact\", when = {{ task = \"count\" }} }} ]\n"
            );
            let mut recipe = toml::Value::Table(toml::from_str(&full).unwrap());
            for (choice, value) in changes {
                let mut found = Vec::new();
                places(&recipe, &[], &mut found);
                let place: &Vec<String> = choice.get(&found);
                put(&mut recipe, place, value);
            }
            if let Ok(read) = read(&toml::to_string(&recipe).unwrap(), &[]) {
                // What is accepted can be written down and read again. (Not compared: NaN is not itself.)
                let text = toml::to_string(&read).unwrap();
                prop_assert!(super::tests::read(&text, &[]).is_ok(), "{text}");
            }
        }

        #[test]
        fn any_override_is_applied_or_refused(change in "(stage|run|model|eval)?[a-z0-9.=\\[\\]{}\"]{0,20}") {
            let _ = read(MINIMAL, &[&change]);
        }
    }
}
