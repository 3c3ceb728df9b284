//! Supervised fine-tuning: the mean negative log-probability of the demonstrations' tokens.

use ocelli_core::{Metrics, Task};
use ocelli_data::Dataset;
use ocelli_rollout::collector::check_length;
use ocelli_rollout::{CollectError, Policy, Prepared, prepare};
use std::sync::Arc;

use crate::error::LearnError;
use crate::packing::{Branch, Tree, score, values};
use crate::stage::{RowOrder, Session, StageEnd, StagePlan, record_step, run_steps, update};

/// Runs the stage.
///
/// # Errors
/// When a row has no demonstration, a picture can't be read, or a file can't be written.
pub fn run(
    session: &mut Session,
    plan: &mut StagePlan,
    data: &Dataset,
) -> Result<StageEnd, LearnError> {
    let batch = plan.config.batch;
    let total = plan.config.exit.max_steps;
    let limit = plan.config.max_prompt_length();
    let mut order = RowOrder::new(data.tasks.len(), session.seed, plan.index);
    let stage_index = plan.index as u64;
    run_steps(session, plan, |session, optimizer, step| {
        let shown = (session.seed, stage_index << 32 | step);
        let tasks = data.training_tasks(order.tasks(data, step, batch.size), shown)?;
        let prepared = prepare(&session.policy, &tasks, |task, index| {
            data.training_picture(task, index, shown)
        })?;
        let trees = prepared
            .iter()
            .map(|prepared| demonstration_tree(&session.policy, data, prepared, limit))
            .collect::<Result<Vec<Tree>, _>>()?;
        let tokens: usize = trees.iter().map(Tree::scored).sum();
        session.tokens += trees.iter().map(Tree::rows).sum::<usize>() as u64;

        let (mut nll, mut right, mut entropy) = (0.0, 0.0, 0.0);
        let policy = &mut session.policy;
        let (device, banned) = (
            policy.device.clone().autodiff(),
            policy.rules.banned.clone(),
        );
        let report = update(
            policy,
            optimizer,
            &trees,
            batch.max_tokens,
            (step, total),
            |network, range| {
                let scores = score(network, &trees[range], 1.0, &banned, &device);
                let loss = -scores.logprob.sum() / tokens as f32;
                nll += sum(&values(loss.clone()));
                right += sum(&values(scores.is_peak));
                entropy += sum(&values(scores.entropy));
                loss
            },
        );
        let mut metrics = Metrics::default();
        metrics.set("loss", nll);
        metrics.set("mean_token_accuracy", right / tokens as f64);
        metrics.set("entropy", entropy / tokens as f64);
        record_step(&mut metrics, &report);
        Ok(metrics)
    })
}

fn sum(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum()
}

/// The row's prompt with its demonstration and the end-of-turn token.
fn demonstration_tree(
    policy: &Policy,
    data: &Dataset,
    prepared: &Prepared,
    max_prompt_length: usize,
) -> Result<Tree, LearnError> {
    let task = &prepared.task;
    let tokens = demonstration_tokens(policy, data, task)?;
    let context = policy
        .processor
        .prompt(&task.id, &task.messages, &prepared.images)
        .map_err(CollectError::row(&task.id))?;
    check_length(&task.id, context.ids.len(), max_prompt_length)?;
    Ok(Tree {
        context: Arc::new(context),
        branches: vec![Branch {
            mask: vec![true; tokens.len()],
            tokens,
        }],
    })
}

/// The tokens of the row's demonstration, ended by the end-of-turn token.
///
/// # Errors
/// When the row has none, or it holds tokens that a turn cannot hold: placeholders of pictures, whose probability is zero, and
/// the end of the turn, after which nothing is sampled.
pub fn demonstration_tokens(
    policy: &Policy,
    data: &Dataset,
    task: &Task,
) -> Result<Vec<u32>, LearnError> {
    let refuse = |message: String| LearnError::Row {
        data: data.name.clone(),
        row: task.id.clone(),
        message,
    };
    let text = task.demonstration.as_deref().ok_or_else(|| {
        refuse(
            "no answer to imitate; give the row an answer, or leave it out of supervised stages"
                .into(),
        )
    })?;
    turn_tokens(policy, text)?.map_err(|token| {
        refuse(format!(
            "the answer to imitate holds {token}, which a model's turn cannot hold; take it out of the text"
        ))
    })
}

/// The tokens of a whole turn of the model, ended by the end-of-turn token; or the first token in it that a turn cannot hold.
///
/// # Errors
/// When the text cannot be cut into tokens.
pub fn turn_tokens(policy: &Policy, text: &str) -> Result<Result<Vec<u32>, String>, LearnError> {
    let tokenizer = &policy.processor.tokenizer;
    let mut tokens = tokenizer.encode(text)?;
    let rules = &policy.rules;
    let wrong = |id: &&u32| rules.banned.contains(id) || rules.stop.contains(id);
    if let Some(&id) = tokens.iter().find(wrong) {
        return Ok(Err(tokenizer.token(id).unwrap_or_else(|| id.to_string())));
    }
    tokens.push(policy.processor.special.im_end);
    Ok(Ok(tokens))
}
