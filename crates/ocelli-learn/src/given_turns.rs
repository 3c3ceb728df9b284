//! Turns of the model that the data give and nobody samples: their tokens, and the trees of a batch.

use std::sync::Arc;

use ocelli_core::Task;
use ocelli_data::Dataset;
use ocelli_rollout::collector::check_length;
use ocelli_rollout::{CollectError, Policy, Prepared, prepare};
use rayon::prelude::*;

use crate::curriculum::Curator;
use crate::error::LearnError;
use crate::packing::{Branch, Tree};
use crate::stage::Session;

/// The turns of a row, each the tokens of a branch.
pub type TurnsOf = fn(&Policy, &Dataset, &Task) -> Result<Vec<Vec<u32>>, LearnError>;

/// The one turn that a supervised stage imitates.
///
/// # Errors
/// When the row has none, or it cannot be a turn.
pub fn demonstration(
    policy: &Policy,
    data: &Dataset,
    task: &Task,
) -> Result<Vec<Vec<u32>>, LearnError> {
    let text = task.demonstration.as_deref().ok_or_else(|| {
        refused(
            data,
            task,
            "no answer to imitate; give the row an answer, or leave it out of supervised stages",
        )
    })?;
    Ok(vec![turn(policy, data, task, "answer to imitate", text)?])
}

/// The chosen and the rejected turn of a pair.
///
/// # Errors
/// When one is missing or cannot be a turn, or both are the same.
pub fn pair(policy: &Policy, data: &Dataset, task: &Task) -> Result<Vec<Vec<u32>>, LearnError> {
    let mut turns = demonstration(policy, data, task)?;
    let text = task.rejected.as_deref().ok_or_else(|| {
        refused(
            data,
            task,
            "no rejected answer; write rows with `chosen` and `rejected`, set `data.rejected_noise` where the answer is a box, \
             or leave the row out",
        )
    })?;
    turns.push(turn(policy, data, task, "rejected answer", text)?);
    if turns[0] == turns[1] {
        return Err(refused(
            data,
            task,
            "the chosen and the rejected answer are the same, which prefers nothing; leave the row out",
        ));
    }
    Ok(turns)
}

/// Checks that every row has its turns.
///
/// # Errors
/// Names the first row that has not.
pub fn check(policy: &Policy, data: &Dataset, turns: TurnsOf) -> Result<(), LearnError> {
    data.tasks
        .par_iter()
        .map(|task| turns(policy, data, task).map(drop))
        .collect::<Vec<Result<(), LearnError>>>()
        .into_iter()
        // Collected first, so that of several errors the first row's is told every time.
        .collect()
}

/// The rows that `curator` draws for a step, their pictures at hand.
///
/// # Errors
/// When a picture can't be read.
pub fn drawn(
    session: &Session,
    data: &Dataset,
    curator: &mut Curator,
    (stage_index, step): (usize, u64),
) -> Result<Vec<Prepared>, LearnError> {
    let shown = (session.seed, (stage_index as u64) << 32 | step);
    let rows = curator.draw(&session.curriculum, step, 0);
    let tasks = data.training_tasks(data.rows(&rows), shown)?;
    Ok(prepare(&session.policy, &tasks, |task, index| {
        data.training_picture(task, index, shown)
    })?)
}

/// The trees of the rows that `curator` draws for a step: each prompt with its turns.
///
/// # Errors
/// When a row lacks its turns, its prompt is longer than `max_prompt_length`, or a picture can't be read.
pub fn batch(
    session: &Session,
    data: &Dataset,
    curator: &mut Curator,
    (stage_index, step): (usize, u64),
    max_prompt_length: usize,
    turns: TurnsOf,
) -> Result<Vec<Tree>, LearnError> {
    let policy = &session.policy;
    let prepared = drawn(session, data, curator, (stage_index, step))?;
    let tree = |prepared: &Prepared| {
        let task = &prepared.task;
        let turns = turns(policy, data, task)?;
        let context = policy
            .processor
            .prompt(&task.id, &task.messages, &prepared.media)
            .map_err(CollectError::row(&task.id))?;
        check_length(&task.id, context.ids.len(), max_prompt_length)?;
        let branch = |tokens: Vec<u32>| Branch {
            mask: vec![true; tokens.len()],
            tokens,
        };
        Ok(Tree {
            context: Arc::new(context),
            branches: turns.into_iter().map(branch).collect(),
        })
    };
    prepared.iter().map(tree).collect()
}

/// The tokens of a whole turn, ended by the end-of-turn token. A turn cannot hold placeholders of pictures, whose probability is
/// zero, nor the end of the turn, after which nothing is sampled.
fn turn(
    policy: &Policy,
    data: &Dataset,
    task: &Task,
    what: &str,
    text: &str,
) -> Result<Vec<u32>, LearnError> {
    let tokenizer = &policy.processor.tokenizer;
    let mut tokens = tokenizer.encode(text)?;
    let rules = &policy.rules;
    let wrong = |id: &&u32| rules.banned.contains(id) || rules.stop.contains(id);
    if let Some(&id) = tokens.iter().find(wrong) {
        let token = tokenizer.token(id).unwrap_or_else(|| id.to_string());
        let message = format!(
            "the {what} holds {token}, which a model's turn cannot hold; take it out of the text"
        );
        return Err(refused(data, task, &message));
    }
    tokens.push(policy.processor.end_of_turn);
    Ok(tokens)
}

fn refused(data: &Dataset, task: &Task, message: &str) -> LearnError {
    LearnError::Row {
        data: data.name.clone(),
        row: task.id.clone(),
        message: message.to_owned(),
    }
}
