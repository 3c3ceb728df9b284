//! Stages that are repeated: from a list of stages to the list of visits that a run makes.

use serde::{Deserialize, Serialize};

use crate::recipe::StageConfig;

/// Repeats a stage and those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// How many stages make a cycle: this one and those right before it; 1 by default.
    #[serde(default = "one")]
    pub stages: usize,
    /// How often the cycle is run in all.
    pub cycles: usize,
    /// Whether the cycles end as soon as this stage, the last one of the cycle, was ended by its metric.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub until_exit: bool,
}

fn one() -> usize {
    1
}

/// One stage of a run, in the order in which they are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The stage of the recipe, from 0.
    pub stage: usize,
    /// The visit that comes after this one when its stage was ended by its metric.
    pub after_exit: usize,
}

/// All visits: each stage once, and the stages of a cycle as often as it is run. The number of a visit is the `stage_index` of metrics
/// and checkpoints; without cycles it is the stage's own.
pub fn visits(stages: &[StageConfig]) -> Vec<Visit> {
    let mut visits: Vec<Visit> = Vec::new();
    for (stage, config) in stages.iter().enumerate() {
        visits.push(Visit {
            stage,
            after_exit: visits.len() + 1,
        });
        let Some(repeat) = config.repeat else {
            continue;
        };
        let end = visits.len() + (repeat.cycles - 1) * repeat.stages;
        if let Some(last) = visits.last_mut().filter(|_| repeat.until_exit) {
            last.after_exit = end;
        }
        for number in visits.len()..end {
            let before = visits[number - repeat.stages];
            visits.push(Visit {
                stage: before.stage,
                after_exit: match before.after_exit {
                    after if after == end => end,
                    _ => number + 1,
                },
            });
        }
    }
    visits
}

/// # Errors
/// Says which stage's `repeat` is wrong and how to mend it.
pub fn check(stages: &[StageConfig]) -> Result<(), String> {
    let mut free = 0;
    for (index, stage) in stages.iter().enumerate() {
        let Some(repeat) = stage.repeat else {
            continue;
        };
        let place =
            |message: String| format!("stage {} ({}): {message}", index + 1, stage.kind.name());
        if repeat.cycles < 2 {
            return Err(place(
                "`repeat.cycles` must be at least 2; leave `repeat` out to run the stage once"
                    .into(),
            ));
        }
        if repeat.stages == 0 || repeat.stages > index + 1 - free {
            return Err(place(format!(
                "`repeat.stages = {}` must be from 1 to {}, this stage and those before it that no other `repeat` takes in",
                repeat.stages,
                index + 1 - free
            )));
        }
        if repeat.until_exit && stage.exit.metric.is_none() {
            return Err(place("`repeat.until_exit` has no effect without `exit.metric`; remove it, or give the metric".into()));
        }
        free = index + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(repeats: &[&str]) -> Vec<StageConfig> {
        let stage = |repeat: &&str| {
            toml::from_str(&format!(
                "kind = 'sft'\ndata = {{ path = 'a' }}\nexit = {{ max_steps = 2, metric = 'loss', below = 0.1 }}\n{repeat}"
            ))
            .unwrap()
        };
        repeats.iter().map(stage).collect()
    }

    fn order(stages: &[StageConfig]) -> Vec<usize> {
        visits(stages).iter().map(|visit| visit.stage).collect()
    }

    #[test]
    fn cycles_are_written_out() {
        let plain = stages(&["", ""]);
        assert_eq!(order(&plain), [0, 1]);
        let two = stages(&[
            "",
            "",
            "repeat = { stages = 2, cycles = 3 }",
            "",
            "repeat = { cycles = 2 }",
        ]);
        check(&two).unwrap();
        assert_eq!(order(&two), [0, 1, 2, 1, 2, 1, 2, 3, 4, 4]);
        let on: Vec<usize> = visits(&two).iter().map(|visit| visit.after_exit).collect();
        assert_eq!(on, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn an_exit_leads_out_of_the_cycle() {
        let stages = stages(&[
            "",
            "repeat = { stages = 2, cycles = 3, until_exit = true }",
            "",
        ]);
        check(&stages).unwrap();
        let on: Vec<usize> = visits(&stages)
            .iter()
            .map(|visit| visit.after_exit)
            .collect();
        assert_eq!(order(&stages), [0, 1, 0, 1, 0, 1, 2]);
        // The first stage of a cycle leads to the second, however it ended.
        assert_eq!(on, [1, 6, 3, 6, 5, 6, 7]);
    }

    #[test]
    fn cycles_without_sense_are_refused() {
        let mut plain = stages(&["", "repeat = { cycles = 2, until_exit = true }"]);
        plain[1].exit.metric = None;
        for (stages, words) in [
            (stages(&["repeat = { cycles = 1 }"]), "at least 2"),
            (
                stages(&["repeat = { stages = 2, cycles = 2 }"]),
                "from 1 to 1",
            ),
            (
                stages(&[
                    "repeat = { cycles = 2 }",
                    "repeat = { stages = 2, cycles = 2 }",
                ]),
                "from 1 to 1",
            ),
            (plain, "`exit.metric`"),
        ] {
            let error = check(&stages).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
