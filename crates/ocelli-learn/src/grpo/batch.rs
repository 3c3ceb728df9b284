//! Episodes as packed trees, and one number a trained token beside them.

use std::ops::Range;
use std::sync::Arc;

use ocelli_core::{Episode, Metrics, SegmentKind};
use ocelli_model::network::Network;
use ocelli_model::percept::{Media, Percept};
use ocelli_rollout::{CollectError, Group, Policy};

use super::critic::Valued;
use crate::algorithm::{Algorithm, Dependence};
use crate::error::LearnError;
use crate::objective::dependence::{dependence, most_dependent, trajectory_factors};
use crate::objective::staleness::{StalenessRule, staleness_weights};
use crate::objective::{BatchSize, LossAggregation, token_weight};
use crate::packing::{Branch, Tree, micro_batches, score, values};
use crate::recipe::RolloutConfig;

/// One tree for each run of episodes that were shown the same first observation (all of them, in the envs so far), and what
/// follows it in each episode. Sampled tokens are scored, shown ones are not.
///
/// # Errors
/// When what is shown and the prompt don't match.
pub fn trees(
    policy: &Policy,
    group: &Group,
    media: &Media<Arc<Percept>>,
) -> Result<Vec<Tree>, LearnError> {
    fn shown(episode: &Episode) -> (&[u32], &SegmentKind) {
        let first = &episode.segments[0];
        (&first.token_ids, &first.kind)
    }
    group
        .episodes
        .chunk_by(|a, b| shown(a) == shown(b))
        .map(|episodes| {
            let (ids, kind) = shown(&episodes[0]);
            let percepts: Vec<_> = match kind {
                SegmentKind::Observation { shown } => shown
                    .iter()
                    .filter_map(|&shown| media.get(shown).cloned())
                    .collect(),
                SegmentKind::Decision { .. } => unreachable!("episodes begin with what is shown"),
            };
            let context = policy.processor.expanded(ids, &percepts);
            let context = context.map_err(CollectError::row(&group.task.id))?;
            Ok(Tree {
                context: Arc::new(context),
                branches: episodes.iter().map(branch).collect(),
            })
        })
        .collect()
}

fn branch(episode: &Episode) -> Branch {
    let later = &episode.segments[1..];
    Branch {
        tokens: later.iter().flat_map(|s| &s.token_ids).copied().collect(),
        mask: later.iter().flat_map(|s| &s.train_mask).copied().collect(),
    }
}

/// Log-probabilities of an episode's trained tokens when they were sampled.
pub(super) fn behavior_logprobs(episode: &Episode) -> impl Iterator<Item = f32> {
    episode.decisions().flat_map(|segment| {
        let SegmentKind::Decision {
            behavior_logprobs, ..
        } = &segment.kind
        else {
            unreachable!("decisions are of that kind");
        };
        let trained = segment.train_mask.iter();
        behavior_logprobs
            .iter()
            .zip(trained)
            .filter(|(_, t)| **t)
            .map(|(l, _)| *l)
    })
}

/// Log-probabilities and entropies of all trained tokens under a network that does not learn, at `(temperature, max_rows)`.
pub(super) fn logprobs(
    policy: &Policy,
    network: &Network,
    trees: &[Tree],
    (temperature, max_rows): (f32, usize),
) -> (Vec<f32>, Vec<f32>) {
    let (mut logprob, mut entropy) = (Vec::new(), Vec::new());
    for range in micro_batches(trees, max_rows) {
        let found = score(
            network,
            &trees[range],
            temperature,
            &policy.rules.banned,
            &policy.device,
        );
        logprob.extend(values(found.logprob));
        entropy.extend(values(found.entropy));
    }
    (logprob, entropy)
}

/// One number a trained token, in the order in which [`score`] returns them.
#[derive(Clone)]
pub(super) struct TokenBatch {
    pub(super) old_logprob: Vec<f32>,
    pub(super) advantage: Vec<f32>,
    /// Of the token's loss in the batch's; 0 for answers that are left out.
    pub(super) weight: Vec<f32>,
    /// Factor of the surrogate, but not of the KL term; `None` where all are 1.
    pub(super) factor: Option<Vec<f32>>,
    /// What a value head learns, where there is one.
    pub(super) valued: Option<Valued>,
    /// Trained tokens of each answer.
    pub(super) lengths: Vec<usize>,
    /// Share of each answer in the loss; `None` for those that are left out.
    shares: Vec<Option<f64>>,
    /// How token losses are averaged.
    averaging: (LossAggregation, usize),
    /// Where each tree's tokens and answers begin, and the ends.
    starts: Vec<(usize, usize)>,
}

impl TokenBatch {
    /// `advantages` holds one list an answer, one number a trained token.
    pub(super) fn new(
        groups: &[Group],
        trees: &[Tree],
        advantages: &[Vec<f64>],
        algorithm: &Algorithm,
        rollout: &RolloutConfig,
    ) -> Self {
        let episodes: Vec<&Episode> = groups.iter().flat_map(|g| &g.episodes).collect();
        let left_out = |episode: &Episode| algorithm.mask_truncated && episode.truncated();
        let lengths: Vec<usize> = trees
            .iter()
            .flat_map(|tree| tree.branches.iter().map(Branch::scored))
            .collect();
        let share = |e: &&Episode| (!left_out(e)).then_some(e.outcome.sample_weight);
        let mut batch = Self {
            old_logprob: episodes.iter().flat_map(|e| behavior_logprobs(e)).collect(),
            advantage: advantages.iter().flatten().map(|a| *a as f32).collect(),
            weight: Vec::new(),
            factor: None,
            valued: None,
            shares: episodes.iter().map(share).collect(),
            averaging: (algorithm.aggregation, rollout.max_completion_length),
            lengths,
            starts: vec![(0, 0)],
        };
        batch.weigh();
        let (mut tokens, mut answers) = (0, 0);
        for tree in trees {
            tokens += tree.scored();
            answers += tree.branches.len();
            batch.starts.push((tokens, answers));
        }
        batch
    }

    /// Weighs the tokens such that the weighted sum of their losses is the batch's.
    fn weigh(&mut self) {
        let answers = || self.lengths.iter().zip(&self.shares);
        let trained = answers().filter(|(_, share)| share.is_some());
        let (aggregation, max_completion_length) = self.averaging;
        let size = BatchSize {
            sequences: self.lengths.len(),
            tokens: trained.map(|(length, _)| length).sum(),
            max_completion_length,
        };
        let weights = answers().flat_map(|(&length, share)| {
            let weight = share.map_or(0.0, |s| s * token_weight(aggregation, length, size));
            std::iter::repeat_n(weight as f32, length)
        });
        self.weight = weights.collect();
    }

    /// The batch of some of the trees, in this order, weighed as one by itself.
    pub(super) fn pick(&self, trees: &[usize]) -> Self {
        let mut starts = vec![(0, 0)];
        let (mut tokens, mut answers): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        for &tree in trees {
            let (of_tokens, of_answers) = self.span(&(tree..tree + 1));
            tokens.extend(of_tokens);
            answers.extend(of_answers);
            starts.push((tokens.len(), answers.len()));
        }
        let of = |values: &[f32]| -> Vec<f32> { tokens.iter().map(|i| values[*i]).collect() };
        let mut batch = Self {
            old_logprob: of(&self.old_logprob),
            advantage: of(&self.advantage),
            weight: Vec::new(),
            factor: self.factor.as_deref().map(of),
            valued: self.valued.as_ref().map(|valued| valued.pick(&tokens)),
            lengths: answers.iter().map(|i| self.lengths[*i]).collect(),
            shares: answers.iter().map(|i| self.shares[*i]).collect(),
            averaging: self.averaging,
            starts,
        };
        batch.weigh();
        batch
    }

    /// The tokens and the answers of a range of trees.
    pub(super) fn span(&self, trees: &Range<usize>) -> (Range<usize>, Range<usize>) {
        let (from, to) = (self.starts[trees.start], self.starts[trees.end]);
        (from.0..to.0, from.1..to.1)
    }

    /// The tokens of each answer.
    pub(super) fn answers(&self) -> impl Iterator<Item = Range<usize>> {
        self.lengths.iter().scan(0, |start, length| {
            let span = *start..*start + length;
            *start = span.end;
            Some(span)
        })
    }

    /// Answers of an older policy: `now` are the log-probabilities that their tokens have before this step. Ratios are taken from these, and
    /// the surrogate is weighed by how much likelier the tokens have become since they were recorded.
    pub(super) fn correct(&mut self, rule: StalenessRule, now: Vec<f32>, metrics: &mut Metrics) {
        let weights: Vec<f64> = self
            .answers()
            .flat_map(|span| staleness_weights(&now[span.clone()], &self.old_logprob[span], rule))
            .collect();
        let count = weights.len().max(1) as f64;
        let extreme = |f: fn(f64, f64) -> f64| weights.iter().copied().reduce(f);
        for (name, value) in [
            ("min", extreme(f64::min)),
            ("mean", Some(weights.iter().sum::<f64>() / count)),
            ("max", extreme(f64::max)),
        ] {
            metrics.set(
                format!("sampling/importance_sampling_ratio/{name}"),
                value.unwrap_or(f64::NAN),
            );
        }
        let left_out = weights.iter().filter(|weight| **weight == 0.0).count();
        metrics.set("staleness/left_out", left_out as f64 / count);
        self.scale(weights.iter().map(|weight| *weight as f32));
        self.old_logprob = now;
    }

    /// Multiplies every token's factor.
    fn scale(&mut self, factors: impl Iterator<Item = f32>) {
        let old = self
            .factor
            .take()
            .unwrap_or_else(|| vec![1.0; self.weight.len()]);
        self.factor = Some(old.iter().zip(factors).map(|(a, b)| a * b).collect());
    }

    /// Multiplies the surrogate of each group's answers by a number of its own.
    pub(super) fn weigh_groups(&mut self, weights: &[f64], groups: &[Group]) {
        let of_answers = groups
            .iter()
            .zip(weights)
            .flat_map(|(group, weight)| std::iter::repeat_n(*weight as f32, group.episodes.len()));
        let factors: Vec<f32> = of_answers
            .zip(&self.lengths)
            .flat_map(|(weight, length)| std::iter::repeat_n(weight, *length))
            .collect();
        self.scale(factors.into_iter());
    }

    /// VPPO: answers that depend on the picture weigh more, and only their most dependent tokens learn. `blind` are the tokens'
    /// log-probabilities given damaged pictures.
    pub(super) fn weigh_by_dependence(
        &mut self,
        rule: Dependence,
        blind: &[f32],
        metrics: &mut Metrics,
    ) {
        let dependence = dependence(&self.old_logprob, blind);
        let mean = |values: &[f32]| {
            values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64
        };
        let means: Vec<f64> = self.answers().map(|span| mean(&dependence[span])).collect();
        let kept: Vec<f32> = self
            .answers()
            .zip(trajectory_factors(&means, rule.floor))
            .flat_map(|(span, factor)| {
                most_dependent(&dependence[span], rule.share)
                    .into_iter()
                    .map(move |kept| if kept { factor as f32 } else { 0.0 })
            })
            .collect();
        self.scale(kept.into_iter());
        metrics.set("picture_dependence", mean(&dependence));
    }
}
