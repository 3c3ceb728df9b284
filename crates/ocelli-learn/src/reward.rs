//! Training a reward model on preference pairs ([`crate::objective::bradley_terry`]).
//!
//! Both answers of a pair hang on one prompt, whose rows are computed once, unless a question about each answer follows it.

use burn::tensor::Tensor;
use ocelli_core::{Metrics, Task};
use ocelli_data::Dataset;
use ocelli_model::heads::Head;
use ocelli_reward::ModelScore;
use ocelli_rollout::Policy;

use crate::curriculum::Curator;
use crate::error::LearnError;
use crate::given_turns::{self, pair};
use crate::objective::bradley_terry::{PairNumbers, RewardModelTraining, pair_loss, yes_loss};
use crate::packing::{Tree, constant, values};
use crate::reward_model::Reading;
use crate::stage::{Session, StageEnd, StagePlan, record_step, run_steps, update};

/// What a row says of its pair besides the two answers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Preference {
    margin: f32,
    tie: bool,
}

impl Preference {
    /// Reads the columns `margin` and `tie`.
    fn of(task: &Task) -> Result<Self, String> {
        let column = |name: &str| task.columns.get(name).filter(|value| !value.is_null());
        let margin = match column("margin") {
            None => 0.0,
            Some(value) => value
                .as_f64()
                .filter(|m| m.is_finite())
                .ok_or_else(|| format!("`margin` is {value}, and should be a number"))?,
        };
        let tie = match column("tie") {
            None => false,
            Some(value) => value
                .as_bool()
                .ok_or_else(|| format!("`tie` is {value}, and should be true or false"))?,
        };
        if tie && margin != 0.0 {
            return Err("a tie has no `margin`; leave one of the two out".into());
        }
        Ok(Self {
            margin: margin as f32,
            tie,
        })
    }
}

/// Checks that every row is a pair that this stage can learn from.
///
/// # Errors
/// Names the first row that is none.
pub fn check(
    policy: &Policy,
    data: &Dataset,
    config: &RewardModelTraining,
) -> Result<(), LearnError> {
    reading(policy, config)?;
    given_turns::check(policy, data, pair)?;
    data.tasks
        .iter()
        .try_for_each(|task| preference(data, task, config).map(drop))
}

fn reading(policy: &Policy, config: &RewardModelTraining) -> Result<Reading, LearnError> {
    let words = (config.yes.as_deref(), config.no.as_deref());
    Reading::new(config.by, policy, config.question.as_deref(), words).map_err(|message| {
        LearnError::Config {
            place: "reward_model".into(),
            message,
        }
    })
}

fn preference(
    data: &Dataset,
    task: &Task,
    config: &RewardModelTraining,
) -> Result<Preference, LearnError> {
    let refused = |message: String| LearnError::Row {
        data: data.name.clone(),
        row: task.id.clone(),
        message,
    };
    let found = Preference::of(task).map_err(refused)?;
    if found.tie && config.by == ModelScore::YesProbability {
        return Err(refused(
            "a tie says neither yes nor no; leave the row out, or set `reward_model.by = \"score\"`"
                .into(),
        ));
    }
    if found.tie && config.tie_margin.is_none() {
        return Err(refused(
            "the pair is a tie, which has no chance without `reward_model.tie_margin`; set it (0.5 is a beginning), or leave the row out"
                .into(),
        ));
    }
    if found.margin != 0.0 && config.by == ModelScore::YesProbability {
        return Err(refused(
            "a `margin` has no effect on chances of a yes; leave it out, or set `reward_model.by = \"score\"`".into(),
        ));
    }
    Ok(found)
}

/// Runs the stage.
///
/// # Errors
/// When a row is no pair, a picture can't be read, or a file can't be written.
pub fn run(
    session: &mut Session,
    plan: &mut StagePlan,
    data: &Dataset,
) -> Result<StageEnd, LearnError> {
    let batch = plan.config.batch;
    let total = plan.config.exit.max_steps;
    let config = plan.config.reward_model.clone().unwrap_or_default();
    let stage = plan.index;
    let mut curator = Curator::new(plan.config, data, session.seed, stage)?;
    let reading = reading(&session.policy, &config)?;
    if reading == Reading::Score && !session.policy.checkpoint.has_head(Head::Score) {
        return Err(LearnError::Config {
            place: "reward_model".into(),
            message: "the model has no `score` head; give it one with `Checkpoint::attach_head`"
                .into(),
        });
    }
    run_steps(session, plan, |session, optimizer, step| {
        let prepared = given_turns::drawn(session, data, &mut curator, (stage, step))?;
        let (mut trees, mut preferences) = (Vec::new(), Vec::new());
        for prepared in &prepared {
            let task = &prepared.task;
            let turns = pair(&session.policy, data, task)?;
            let texts =
                [&task.demonstration, &task.rejected].map(|t| t.clone().unwrap_or_default());
            let answers: Vec<(String, Vec<u32>)> = texts.into_iter().zip(turns).collect();
            let made = reading.trees(&session.policy, prepared, &answers)?;
            trees.extend(made);
            preferences.push(preference(data, task, &config)?);
        }
        session.tokens += trees.iter().map(Tree::rows).sum::<usize>() as u64;
        let pairs = preferences.len() as f32;
        let margins: Vec<f32> = preferences.iter().map(|p| p.margin).collect();
        let ties: Vec<f32> = preferences
            .iter()
            .map(|p| f32::from(u8::from(p.tie)))
            .collect();

        let policy = &mut session.policy;
        let device = policy.device.clone().autodiff();
        let banned = policy.rules.banned.clone();
        let (mut loss_sum, mut numbers) = (0.0, Vec::new());
        let report = update(
            policy,
            optimizer,
            &trees,
            batch.max_tokens,
            (step, total),
            |network, range| {
                let found = reading.numbers(network, &trees[range.clone()], &banned, &device);
                numbers.extend(values(found.clone().inner()));
                let loss: Tensor<1> = match &reading {
                    Reading::Score => {
                        let count = range.len();
                        let both = found.reshape([count, 2]);
                        let column =
                            |i: usize| both.clone().slice([0..count, i..i + 1]).reshape([count]);
                        let pairs = PairNumbers {
                            chosen: column(0),
                            rejected: column(1),
                            margin: constant(&margins[range.clone()], &device),
                            tie: constant(&ties[range], &device),
                        };
                        let center = config.center_rewards_coefficient;
                        pair_loss(pairs, config.tie_margin, center).sum()
                    }
                    Reading::Yes { .. } => {
                        let signs: Vec<f32> = range.map(|i| 1.0 - 2.0 * (i % 2) as f32).collect();
                        yes_loss(found, constant(&signs, &device)).sum() * 0.5
                    }
                };
                let loss = loss / pairs;
                loss_sum += f64::from(values(loss.clone().inner())[0]);
                loss
            },
        );
        let rewards: Vec<f64> = numbers
            .iter()
            .map(|n| reading.reward(f64::from(*n)))
            .collect();
        let mut metrics = Metrics::default();
        metrics.set("loss", loss_sum);
        record_rewards(&mut metrics, &rewards, &preferences);
        record_step(&mut metrics, &report);
        Ok(metrics)
    })
}

/// TRL's metrics; ties are no part of `accuracy` and `margin`.
fn record_rewards(metrics: &mut Metrics, rewards: &[f64], preferences: &[Preference]) {
    let decided: Vec<(f64, f64)> = rewards
        .chunks_exact(2)
        .zip(preferences)
        .filter(|(_, preference)| !preference.tie)
        .map(|(pair, _)| (pair[0], pair[1]))
        .collect();
    let count = decided.len() as f64;
    let right = decided.iter().filter(|(c, r)| c > r).count();
    metrics.set("accuracy", right as f64 / count);
    metrics.set(
        "margin",
        decided.iter().map(|(c, r)| c - r).sum::<f64>() / count,
    );
    let extreme = |f: fn(f64, f64) -> f64| rewards.iter().copied().reduce(f).unwrap_or(f64::NAN);
    metrics.set("min_reward", extreme(f64::min));
    metrics.set(
        "mean_reward",
        rewards.iter().sum::<f64>() / rewards.len() as f64,
    );
    metrics.set("max_reward", extreme(f64::max));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_as_neither_right_nor_wrong() {
        let row = |tie| Preference { margin: 0.0, tie };
        let mut metrics = Metrics::default();
        record_rewards(
            &mut metrics,
            &[2.0, 1.0, 0.0, 1.0, 9.0, -3.0],
            &[row(false), row(false), row(true)],
        );
        for (name, wanted) in [
            ("accuracy", 0.5),
            ("margin", 0.0),
            ("min_reward", -3.0),
            ("mean_reward", 10.0 / 6.0),
            ("max_reward", 9.0),
        ] {
            assert_eq!(metrics.get(name), Some(wanted), "{name}");
        }
    }

    #[test]
    fn columns_say_how_far_ahead_the_better_one_is() {
        let task = |columns: &str| Task {
            columns: serde_json::from_str(columns).unwrap(),
            ..Task::default()
        };
        let found = |columns| Preference::of(&task(columns));
        assert_eq!(
            found(r#"{"margin": 1.5}"#).unwrap(),
            Preference {
                margin: 1.5,
                tie: false
            }
        );
        assert!(found(r#"{"tie": true, "margin": null}"#).unwrap().tie);
        for (columns, words) in [
            (r#"{"margin": [1]}"#, "should be a number"),
            (r#"{"tie": 1}"#, "true or false"),
            (r#"{"tie": true, "margin": 2}"#, "leave one"),
        ] {
            assert!(found(columns).unwrap_err().contains(words), "{columns}");
        }
    }
}
