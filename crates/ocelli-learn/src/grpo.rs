//! GRPO (Shao et al. 2024) and its relatives: collect → score → credit → objective → step.
//!
//! How this differs from the paper: the old log-probabilities are the sampler's own (one network samples and trains, so no
//! second pass is needed; their largest difference from the trainer's is a metric), the KL term is off by default, and the
//! `algorithm` table exchanges credit and objective ([`crate::algorithm`]).

mod batch;
mod critic;
mod damage;
mod demonstrations;
mod filter;
mod metrics;
pub mod off_policy;
mod sampling;
mod select;
mod signal;
mod step;

use std::borrow::Cow;
use std::time::Instant;

use ocelli_core::{Metrics, Progress, Purpose, SeedKey};
use ocelli_data::Dataset;
use ocelli_model::heads::Head;
use ocelli_model::network::Network;
use ocelli_reward::RewardGraph;
use ocelli_rollout::{Group, Policy};
use rand::seq::SliceRandom;

use crate::algorithm::{Algorithm, AlgorithmState};
use crate::credit::AdvantageEstimator;
use crate::curriculum::Curator;
use crate::error::LearnError;
use crate::optimizer::Optimizer;
use crate::packing::Tree;
use crate::recipe::StageConfig;
use crate::stage::{Session, StageEnd, StagePlan, Unjudged, record_step, run_steps};

pub use batch::trees;
use batch::{TokenBatch, logprobs};
use critic::{Averages, Valued, estimate, record_objective, values_before};
pub use filter::FilterGroups;
use sampling::{Sampled, Sampler};
pub use select::{Disagreement, SelectGroups};
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
    reference: Option<&Network>,
) -> Result<StageEnd, LearnError> {
    let stage = plan.config.clone();
    let rollout = stage.rollout.clone().unwrap_or_default();
    let algorithm = stage.algorithm.clone().unwrap_or_default().resolve();
    let mut curator = Curator::new(&stage, data, session.seed, plan.index)?;
    let success = stage.sampler.success();
    let (stage_index, max_steps) = (plan.index as u64, stage.exit.max_steps);
    let mut unjudged = Unjudged::default();
    let watched = stage.alarms.nodes(&stage.reward);

    run_steps(session, plan, |session, optimizer, step| {
        let key = |purpose| SeedKey::new(session.seed, purpose).step(stage_index << 32 | step);
        let (sampling_key, control_key) = (key(Purpose::Sampling), key(Purpose::Control));

        // collect and score
        let drawn = (session.seed, stage_index << 32 | step);
        let mut metrics = Metrics::default();
        let sampler = Sampler {
            policy: &session.policy,
            data,
            graph,
            rollout: &rollout,
            batch_size: stage.batch.size,
            success: &success,
            with_greedy: algorithm.estimator == AdvantageEstimator::Remax,
            progress: Progress { step, max_steps },
            drawn,
        };
        let rows = |attempt| curator.draw(&session.curriculum, step, attempt);
        let began = Instant::now();
        let Sampled {
            groups,
            greedy,
            seen,
        } = sampler.groups(rows, &sampling_key, &mut metrics)?;
        metrics.set("sampling_time", began.elapsed().as_secs_f64());
        curator.observe(&mut session.curriculum, step, &seen, &mut metrics);
        if session.log_episodes_steps > 0 && step.is_multiple_of(session.log_episodes_steps) {
            let episodes = groups.iter().flat_map(|g| &g.episodes);
            session
                .run
                .save_episodes(&format!("{}-grpo", stage_index + 1), step + 1, episodes)?;
        }
        let episodes = groups.iter().flat_map(|g| &g.episodes);
        if let Some(told) = unjudged.count((step, max_steps), graph.node_names(), episodes)? {
            session.observer.message(&told);
        }

        // credit, objective and step
        let (policy, judge) = (&session.policy, (graph, Progress { step, max_steps }));
        let rule = algorithm.demonstrations.as_ref();
        let joined = demonstrations::join(policy, data, &groups, (&stage, rule), judge)?;
        let damaged = match algorithm.dependence {
            Some(_) => {
                let picture = |task: &_, index| data.training_picture(task, index, drawn);
                damage::trees(session, &joined, picture, &control_key)?
            }
            None => Vec::new(),
        };
        let batch = Batch {
            groups: &joined,
            greedy: &greedy,
            damaged: &damaged,
        };
        let plan = LearnPlan {
            stage: &stage,
            graph,
            reference,
            progress: (step, max_steps),
            key: control_key,
        };
        let learned = learn(
            &mut session.policy,
            optimizer,
            &mut session.state,
            &batch,
            &plan,
        )?;
        session.tokens += learned.tokens;
        metrics.extend(&learned.metrics);
        let rewards = demonstrations::of_samples(&joined, &learned.rewards, &mut metrics);
        metrics::record_batch(&mut metrics, graph, &groups, &rewards);
        metrics::record_sources(&mut metrics, data, &groups, &rewards);
        let told = session
            .state
            .alarms
            .observe(&stage.alarms, &watched, &mut metrics);
        for told in told {
            session
                .observer
                .message(&format!("step {}: {told}", step + 1));
        }
        Ok(metrics)
    })
}

/// Answers to learn from.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// Judged: each episode's outcome holds its reward.
    pub groups: &'a [Group],
    /// The greedy answer of each group, wanted by `remax` alone.
    pub greedy: &'a [Group],
    /// The groups' trees with damaged pictures, wanted by `dependence_quantile` alone.
    pub damaged: &'a [Tree],
}

/// What [`learn`] needs to know besides.
pub struct LearnPlan<'a> {
    /// Algorithm, temperature, size of micro-batches.
    pub stage: &'a StageConfig,
    /// Names and weighs the rewards.
    pub graph: &'a RewardGraph,
    /// As for [`run`].
    pub reference: Option<&'a Network>,
    /// Step (from 0) and number of steps.
    pub progress: (u64, u64),
    /// Of what is chosen at random.
    pub key: SeedKey,
}

/// What [`learn`] did.
#[derive(Clone, Debug)]
pub struct Learned {
    /// Of each trained token, one list an episode.
    pub advantages: Vec<Vec<f64>>,
    /// By group, as they were before any penalty; `None` where nothing could judge.
    pub rewards: Vec<Vec<Option<f64>>>,
    /// Tokens that the network was trained on.
    pub tokens: u64,
    /// Of the optimizer steps; those of several are the last one's.
    pub metrics: Metrics,
}

/// Credit, objective and optimizer steps on judged answers: what a step of [`run`] does once its episodes are there. They may come from
/// anywhere, as long as their log-probabilities are those of the policy that sampled them.
///
/// # Errors
/// When pictures and prompts don't match, or the algorithm wants what is not there.
pub fn learn(
    policy: &mut Policy,
    optimizer: &mut Optimizer,
    state: &mut AlgorithmState,
    batch: &Batch,
    plan: &LearnPlan,
) -> Result<Learned, LearnError> {
    let stage = plan.stage;
    let rollout = stage.rollout.clone().unwrap_or_default();
    let algorithm = stage.algorithm.clone().unwrap_or_default().resolve();
    let (step, max_steps) = plan.progress;
    let look = (rollout.temperature, stage.batch.max_tokens);
    let groups = batch.groups;

    // credit
    let trees = groups
        .iter()
        .map(|group| trees(policy, group, &group.media))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    check(policy, batch, plan, &algorithm, &trees)?;
    let mut metrics = Metrics::default();
    let progress = Progress { step, max_steps };
    let mut signal = Signal::new(groups, batch.greedy, plan.graph, progress);
    if algorithm.shuffle_rewards {
        signal.shuffle(&plan.key);
    }
    let rewards = signal.rewards.clone();
    if let (Some(kl), Some(reference)) = (algorithm.kl_in_reward(), plan.reference) {
        let pulled = logprobs(policy, reference, &trees, look).0;
        let beta = algorithm.beta(state);
        metrics.set("kl", signal.penalize(kl.estimator, beta, groups, &pulled));
    }
    let valued = algorithm.critic.as_ref().map(|critic| {
        let before = values_before(policy, &policy.network(), &trees, look);
        let normalize = algorithm.normalize_advantages;
        let found = estimate(&signal, groups, &before, critic, normalize);
        (Valued::new(before, &found), found)
    });
    let (advantages, valued) = match valued {
        None => (signal.advantages(groups, &algorithm, state), None),
        Some((valued, found)) => {
            record_objective(&mut metrics, &signal, groups, &valued);
            let advantages = found.into_iter().map(|e| e.advantages).collect();
            (advantages, Some(valued))
        }
    };
    let mut tokens = TokenBatch::new(groups, &trees, &advantages, &algorithm, &rollout);
    tokens.valued = valued;
    if let Some(rule) = algorithm.staleness {
        let now = logprobs(policy, &policy.network(), &trees, look).0;
        tokens.correct(rule, now, &mut metrics);
    }
    if let Some(rule) = algorithm.dependence {
        let blind = logprobs(policy, &policy.network(), batch.damaged, look).0;
        tokens.weigh_by_dependence(rule, &blind, &mut metrics);
    }
    if let Some(rule) = algorithm.difficulty_weight {
        tokens.weigh_groups(&signal.difficulty(rule), groups);
    }

    // objective and step
    let mut averages = Averages::default();
    for iteration in 0..algorithm.num_iterations {
        let key = plan.key.clone().turn(iteration as u64);
        for (number, batch) in mini_batches(&trees, &tokens, algorithm.num_mini_batches, &key)
            .into_iter()
            .enumerate()
        {
            let learner = Learner {
                stage,
                rollout: &rollout,
                algorithm: &algorithm,
                reference: plan.reference,
                progress: plan.progress,
                key: key.clone().attempt(number as u64),
            };
            let (trees, tokens) = (&batch.0, &batch.1);
            let (report, statistics) = learner.step(policy, optimizer, trees, tokens, state);
            record_step(&mut metrics, &report);
            statistics.record(&mut metrics, &algorithm, tokens);
            state.update(&algorithm, &mut metrics, tokens.lengths.len());
            if let Some(critic) = &algorithm.critic {
                averages.add(&statistics, tokens, critic);
            }
        }
    }
    if algorithm.critic.is_some() {
        averages.record(&mut metrics);
    }
    Ok(Learned {
        advantages,
        rewards,
        tokens: trees.iter().map(Tree::rows).sum::<usize>() as u64,
        metrics,
    })
}

/// The batch in `count` parts, dealt by chance; as it is where there is one.
fn mini_batches<'a>(
    trees: &'a [Tree],
    tokens: &'a TokenBatch,
    count: usize,
    key: &SeedKey,
) -> Vec<(Cow<'a, [Tree]>, Cow<'a, TokenBatch>)> {
    if count < 2 {
        return vec![(Cow::Borrowed(trees), Cow::Borrowed(tokens))];
    }
    let mut order: Vec<usize> = (0..trees.len()).collect();
    order.shuffle(&mut key.rng());
    let count = count.min(order.len());
    let part = |i: usize| &order[i * order.len() / count..(i + 1) * order.len() / count];
    (0..count)
        .map(|i| {
            let chosen: Vec<Tree> = part(i).iter().map(|tree| trees[*tree].clone()).collect();
            (Cow::Owned(chosen), Cow::Owned(tokens.pick(part(i))))
        })
        .collect()
}

/// Whether all is there that the algorithm wants.
fn check(
    policy: &Policy,
    batch: &Batch,
    plan: &LearnPlan,
    algorithm: &Algorithm,
    trees: &[Tree],
) -> Result<(), LearnError> {
    let scored = |trees: &[Tree]| trees.iter().map(Tree::scored).sum::<usize>();
    let remax = algorithm.estimator == AdvantageEstimator::Remax;
    let message = if remax && batch.greedy.len() != batch.groups.len() {
        format!(
            "`remax` needs the greedy answer of each of {} groups, {} were given",
            batch.groups.len(),
            batch.greedy.len()
        )
    } else if algorithm.dependence.is_some() && scored(batch.damaged) != scored(trees) {
        format!(
            "`dependence_quantile` needs the groups' trees with damaged pictures, {} tokens; those given have {}",
            scored(trees),
            scored(batch.damaged)
        )
    } else if algorithm.critic.is_some() && !policy.checkpoint.has_head(Head::Value) {
        "`gae` needs a model with a value head; give it one with `Checkpoint::attach_head`".into()
    } else if algorithm.kl.is_some() && plan.reference.is_none() {
        "`beta` is above 0 and no reference is given; give one, or set it to 0".into()
    } else {
        return Ok(());
    };
    Err(LearnError::Config {
        place: "algorithm".into(),
        message,
    })
}
