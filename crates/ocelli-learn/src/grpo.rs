//! GRPO (Shao et al. 2024) and its relatives: collect → score → credit → objective → step.
//!
//! How this differs from the paper: the old log-probabilities are the sampler's own (one network samples and trains, so no
//! second pass is needed; their largest difference from the trainer's is a metric), the KL term is off by default, and the
//! `algorithm` table exchanges credit and objective ([`crate::algorithm`]).

mod batch;
mod damage;
mod metrics;
mod signal;
mod step;

use ocelli_core::{Episode, Metrics, Progress, Purpose, SeedKey};
use ocelli_data::Dataset;
use ocelli_env::{CallCodec, Question};
use ocelli_model::qwen2_5_vl::QwenVl;
use ocelli_reward::RewardGraph;
use ocelli_rollout::{CollectPlan, SamplingParams, collect, prepare};

use crate::credit::AdvantageEstimator;
use crate::error::LearnError;
use crate::packing::Tree;
use crate::recipe::RolloutConfig;
use crate::stage::{RowOrder, Session, StageEnd, StagePlan, Unjudged, record_step, run_steps};

pub use batch::trees;
use batch::{TokenBatch, logprobs};
use signal::Signal;
use step::Learner;

/// Runs the stage. `graph` judges, its services started; `reference` is the model that the KL penalty pulls to, needed when `beta > 0`.
///
/// # Errors
/// When a picture can't be read, a prompt is too long, or a file can't be written.
pub fn run(
    session: &mut Session,
    plan: &mut StagePlan,
    data: &Dataset,
    graph: &RewardGraph,
    reference: Option<&QwenVl>,
) -> Result<StageEnd, LearnError> {
    let stage = plan.config.clone();
    let rollout = stage.rollout.clone().unwrap_or_default();
    let algorithm = stage.algorithm.clone().unwrap_or_default().resolve();
    let mut order = RowOrder::new(data.tasks.len(), session.seed, plan.index);
    let (stage_index, max_steps) = (plan.index as u64, stage.exit.max_steps);
    let mut unjudged = Unjudged::default();

    run_steps(session, plan, |session, optimizer, step| {
        let key = |purpose| SeedKey::new(session.seed, purpose).step(stage_index << 32 | step);
        let (sampling_key, control_key) = (key(Purpose::Sampling), key(Purpose::Control));

        // collect
        let drawn = (session.seed, stage_index << 32 | step);
        let tasks = data.training_tasks(order.tasks(data, step, stage.batch.size), drawn)?;
        let picture = |task: &_, index| data.training_picture(task, index, drawn);
        let prepared = prepare(&session.policy, &tasks, picture)?;
        let plan = collect_plan(&rollout, sampling_key.clone());
        let mut groups = collect(&session.policy, &prepared, &plan)?;
        let mut greedy = Vec::new();
        if algorithm.estimator == AdvantageEstimator::Remax {
            greedy = collect(
                &session.policy,
                &prepared,
                &CollectPlan {
                    samples: 1,
                    sampling: SamplingParams::greedy(rollout.max_completion_length),
                    ..collect_plan(&rollout, sampling_key)
                },
            )?;
        }

        // score
        let progress = Progress { step, max_steps };
        for groups in [&mut groups, &mut greedy] {
            if groups.is_empty() {
                continue;
            }
            let mut batch: Vec<&mut [Episode]> = groups
                .iter_mut()
                .map(|group| group.episodes.as_mut_slice())
                .collect();
            graph.score_batch(&mut batch, progress);
        }
        if session.log_episodes_steps > 0 && step.is_multiple_of(session.log_episodes_steps) {
            let episodes = groups.iter().flat_map(|g| &g.episodes);
            session
                .run
                .save_episodes(&format!("{}-grpo", stage_index + 1), step + 1, episodes)?;
        }
        let episodes = groups.iter().flat_map(|g| &g.episodes);
        unjudged.count((step, max_steps), graph.node_names(), episodes)?;

        // credit
        let trees = groups
            .iter()
            .map(|group| trees(&session.policy, group, &group.images))
            .collect::<Result<Vec<_>, _>>()?
            .concat();
        let mut metrics = Metrics::default();
        let mut signal = Signal::new(&groups, &greedy, graph, progress);
        if algorithm.shuffle_rewards {
            signal.shuffle(&control_key);
        }
        let shown = signal.rewards.clone();
        if let (Some(kl), Some(reference)) = (algorithm.kl_in_reward(), reference) {
            let look = (rollout.temperature, stage.batch.max_tokens);
            let pulled = logprobs(&session.policy, reference, &trees, look).0;
            let beta = algorithm.beta(&session.state);
            metrics.set("kl", signal.penalize(kl.estimator, beta, &groups, &pulled));
        }
        let advantages = signal.advantages(&groups, &algorithm, &mut session.state);
        let mut tokens = TokenBatch::new(&groups, &trees, &advantages, &algorithm, &rollout);
        if let Some(rule) = algorithm.dependence {
            let damaged = damage::trees(session, &tasks, &groups, picture, &control_key)?;
            let look = (rollout.temperature, stage.batch.max_tokens);
            let network = session.policy.network();
            let blind = logprobs(&session.policy, &network, &damaged, look).0;
            tokens.weigh_by_dependence(rule, &blind, &mut metrics);
        }
        if let Some(rule) = algorithm.difficulty_weight {
            tokens.weigh_groups(&signal.difficulty(rule), &groups);
        }

        // objective and step
        session.tokens += trees.iter().map(Tree::rows).sum::<usize>() as u64;
        for iteration in 0..algorithm.num_iterations {
            let learner = Learner {
                stage: &stage,
                rollout: &rollout,
                algorithm: &algorithm,
                reference,
                progress: (step, max_steps),
                key: control_key.clone().turn(iteration as u64),
            };
            let (report, statistics) = learner.step(
                &mut session.policy,
                optimizer,
                &trees,
                &tokens,
                &session.state,
            );
            record_step(&mut metrics, &report);
            statistics.record(&mut metrics, &algorithm, &tokens);
            session
                .state
                .update(&algorithm, &mut metrics, tokens.lengths.len());
        }
        metrics::record_batch(&mut metrics, graph, &groups, &shown);
        Ok(metrics)
    })
}

/// Single-turn questions, `num_generations` samples each.
fn collect_plan(rollout: &RolloutConfig, seed: SeedKey) -> CollectPlan<'static> {
    CollectPlan {
        samples: rollout.num_generations,
        sampling: rollout.sampling(),
        max_prompt_length: rollout.max_prompt_length,
        max_turns: 1,
        seed,
        codec: CallCodec::WholeText,
        env: &|| Box::new(Question::default()),
    }
}
