//! Supervised fine-tuning: the mean negative log-probability of the demonstrations' tokens.

use ocelli_core::Metrics;
use ocelli_data::Dataset;

use crate::curriculum::Curator;
use crate::error::LearnError;
use crate::given_turns::{self, demonstration};
use crate::packing::{Tree, score, values};
use crate::stage::{Session, StageEnd, StagePlan, record_step, run_steps, update};

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
    let stage = plan.index;
    let mut curator = Curator::new(plan.config, data, session.seed, stage)?;
    run_steps(session, plan, |session, optimizer, step| {
        let trees = given_turns::batch(
            session,
            data,
            &mut curator,
            (stage, step),
            limit,
            demonstration,
        )?;
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
