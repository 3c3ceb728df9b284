//! Learning from preference pairs (DPO; Rafailov et al. 2023, and its relatives in [`crate::objective::preference`]).
//!
//! Both answers of a pair hang on one prompt, whose rows (in a vision-language model most of all rows) are computed once; a
//! trainer that pads computes them twice.

use burn::tensor::Tensor;
use ocelli_core::Metrics;
use ocelli_data::Dataset;
use ocelli_model::network::Network;

use crate::curriculum::Curator;
use crate::error::LearnError;
use crate::given_turns::{self, pair};
use crate::objective::Sequences;
use crate::objective::preference::{PairScores, preference_loss};
use crate::packing::{Branch, Tree, score, values};
use crate::stage::{Session, StageEnd, StagePlan, record_step, run_steps, update};

/// What the steps of a batch's pairs add up to.
#[derive(Default)]
struct Sums {
    loss: f64,
    chosen_reward: f64,
    rejected_reward: f64,
    chosen_logprob: f64,
    rejected_logprob: f64,
    /// Pairs whose chosen answer has the larger reward.
    right: f64,
    /// Negative log-probability of the chosen answers' tokens.
    chosen_nll: f64,
    entropy: f64,
}

/// Runs the stage. `reference` is the model that answers are compared with; needed where the loss has one.
///
/// # Errors
/// When a row is no pair, a picture can't be read, or a file can't be written.
pub fn run(
    session: &mut Session,
    plan: &mut StagePlan,
    data: &Dataset,
    reference: Option<&Network>,
) -> Result<StageEnd, LearnError> {
    let batch = plan.config.batch;
    let total = plan.config.exit.max_steps;
    let limit = plan.config.max_prompt_length();
    let config = plan.config.preference.clone().unwrap_or_default();
    let stage = plan.index;
    let mut curator = Curator::new(plan.config, data, session.seed, stage)?;
    run_steps(session, plan, |session, optimizer, step| {
        let trees = given_turns::batch(session, data, &mut curator, (stage, step), limit, pair)?;
        session.tokens += trees.iter().map(Tree::rows).sum::<usize>() as u64;
        let tokens: usize = trees.iter().map(Tree::scored).sum();
        let chosen_tokens: usize = trees.iter().map(|tree| tree.branches[0].scored()).sum();
        let pairs = trees.len() as f32;

        let policy = &mut session.policy;
        let (inner, device) = (policy.device.clone(), policy.device.clone().autodiff());
        let banned = policy.rules.banned.clone();
        let mut sums = Sums::default();
        let report = update(
            policy,
            optimizer,
            &trees,
            batch.max_tokens,
            (step, total),
            |network, range| {
                let trees = &trees[range];
                let new = score(network, trees, 1.0, &banned, &device);
                let reference = reference.map(|reference| {
                    Tensor::from_inner(score(reference, trees, 1.0, &banned, &inner).logprob)
                });
                let lengths = trees.iter().flat_map(|tree| &tree.branches);
                let sequences = Sequences::new(lengths.map(Branch::scored).collect());
                let found = preference_loss(
                    &config,
                    PairScores {
                        logprob: new.logprob,
                        reference,
                        sequences: &sequences,
                    },
                );
                let nll = -found.chosen_logprob.clone().sum();
                let mut loss = found.loss.sum() / pairs;
                if config.sft_weight > 0.0 {
                    let weight = config.sft_weight as f32 / chosen_tokens.max(1) as f32;
                    loss = loss + nll.clone() * weight;
                }
                let numbers = |t: Tensor<1>| values(t.inner());
                let total = |t: &[f32]| t.iter().map(|v| f64::from(*v)).sum::<f64>();
                let chosen = numbers(found.chosen_reward);
                let rejected = numbers(found.rejected_reward);
                sums.loss += total(&numbers(loss.clone()));
                sums.chosen_reward += total(&chosen);
                sums.rejected_reward += total(&rejected);
                sums.right += chosen.iter().zip(&rejected).filter(|(c, r)| c > r).count() as f64;
                sums.chosen_logprob += total(&numbers(found.chosen_logprob));
                sums.rejected_logprob += total(&numbers(found.rejected_logprob));
                sums.chosen_nll += total(&numbers(nll));
                sums.entropy += total(&numbers(new.entropy));
                loss
            },
        );
        let share = |sum: f64| sum / f64::from(pairs);
        let mut metrics = Metrics::default();
        metrics.set("loss", sums.loss);
        metrics.set("rewards/chosen", share(sums.chosen_reward));
        metrics.set("rewards/rejected", share(sums.rejected_reward));
        metrics.set(
            "rewards/margins",
            share(sums.chosen_reward - sums.rejected_reward),
        );
        metrics.set("rewards/accuracies", share(sums.right));
        metrics.set("logps/chosen", share(sums.chosen_logprob));
        metrics.set("logps/rejected", share(sums.rejected_logprob));
        metrics.set("nll_loss", sums.chosen_nll / chosen_tokens.max(1) as f64);
        metrics.set("entropy", sums.entropy / tokens.max(1) as f64);
        record_step(&mut metrics, &report);
        Ok(metrics)
    })
}
