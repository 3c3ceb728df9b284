//! Demonstrations that join the groups they are answers to (ViSurf, arXiv 2510.10606): imitation and reinforcement in one loss.
//!
//! A demonstration is one more episode of its group, with the log-probabilities that the policy itself gives to its tokens, so that its
//! ratio is 1 before the first optimizer step like a sample's. What its reward counts for is in [`crate::credit::demonstration`].

use std::borrow::Cow;
use std::sync::Arc;

use ocelli_core::{
    Call, Episode, Finish, Metrics, Outcome, Progress, Segment, SegmentKind, Verdict,
};
use ocelli_data::Dataset;
use ocelli_reward::RewardGraph;
use ocelli_rollout::{Group, Policy};

use super::batch::{logprobs, trees};
use crate::algorithm::{DemonstrationRule, Demonstrations};
use crate::error::LearnError;
use crate::given_turns;
use crate::recipe::StageConfig;

/// The fact that marks a demonstration among the episodes of a group.
const FACT: &str = "demonstration";

/// Whether an episode is a demonstration.
pub(super) fn is_demonstration(episode: &Episode) -> bool {
    episode.outcome.facts.contains_key(FACT)
}

/// The groups, each with its demonstration as the last episode; as they are without a rule. `on_failure` leaves out those that a sample is as good as.
///
/// # Errors
/// When a row has none.
pub(super) fn join<'a>(
    policy: &Policy,
    data: &Dataset,
    groups: &'a [Group],
    (stage, rule): (&StageConfig, Option<&Demonstrations>),
    (graph, progress): (&RewardGraph, Progress),
) -> Result<Cow<'a, [Group]>, LearnError> {
    let Some(rule) = rule else {
        return Ok(Cow::Borrowed(groups));
    };
    let mut demonstrations = groups
        .iter()
        .map(|group| demonstration(policy, data, group))
        .collect::<Result<Vec<_>, _>>()?;
    let mut judged: Vec<&mut [Episode]> = demonstrations
        .iter_mut()
        .map(std::slice::from_mut)
        .collect();
    graph.score_batch(&mut judged, progress);
    for episode in &mut demonstrations {
        episode.outcome.reward = reward(&episode.outcome, graph, progress, &rule.skips);
    }
    let mut joined = groups.to_vec();
    let mut shown = Vec::new();
    for (group, episode) in joined.iter_mut().zip(demonstrations) {
        let matched = group
            .episodes
            .iter()
            .any(|e| e.outcome.reward >= episode.outcome.reward);
        if rule.rule == DemonstrationRule::Always || !matched {
            let alone = Group {
                task: group.task.clone(),
                media: group.media.clone(),
                episodes: vec![episode.clone()],
            };
            shown.extend(trees(policy, &alone, &group.media)?);
            group.episodes.push(episode);
        }
    }
    let temperature = stage.rollout.clone().unwrap_or_default().temperature;
    let look = (temperature, stage.batch.max_tokens);
    let mut found = logprobs(policy, &policy.network(), &shown, look)
        .0
        .into_iter();
    for episode in joined
        .iter_mut()
        .flat_map(|g| g.episodes.last_mut())
        .filter(|e| is_demonstration(e))
    {
        for segment in &mut episode.segments {
            let count = segment.token_ids.len();
            if let SegmentKind::Decision {
                behavior_logprobs, ..
            } = &mut segment.kind
            {
                *behavior_logprobs = found.by_ref().take(count).collect();
            }
        }
    }
    Ok(Cow::Owned(joined))
}

/// An episode whose answer is the demonstration, shown what the group's samples were shown. Its log-probabilities are not known yet.
fn demonstration(policy: &Policy, data: &Dataset, group: &Group) -> Result<Episode, LearnError> {
    let tokens = given_turns::demonstration(policy, data, &group.task)?.concat();
    let text = group.task.demonstration.clone().unwrap_or_default();
    let sampled = &group.episodes[0];
    let mut outcome = Outcome::default();
    outcome.facts.insert(FACT.to_owned(), "true".to_owned());
    Ok(Episode {
        task: Arc::clone(&group.task),
        sample: group.episodes.len(),
        pictures: sampled.pictures.clone(),
        segments: vec![
            sampled.segments[0].clone(),
            Segment {
                parent: Some(0),
                kind: SegmentKind::Decision {
                    behavior_logprobs: vec![0.0; tokens.len()],
                    policy_version: policy.version,
                    finish: Finish::Stop,
                    call: Call::Answer { text: text.clone() },
                },
                train_mask: vec![true; tokens.len()],
                token_ids: tokens,
                text,
            },
        ],
        outcome,
    })
}

/// The rewards of the samples alone, by group. Records how many demonstrations joined, and how many of those had an advantage, for no
/// sample was as good.
pub(super) fn of_samples(
    groups: &[Group],
    rewards: &[Vec<Option<f64>>],
    metrics: &mut Metrics,
) -> Vec<Vec<Option<f64>>> {
    let (mut joined, mut ahead) = (0, 0);
    let of_group = |(group, rewards): (&Group, &Vec<Option<f64>>)| {
        let samples: Vec<Option<f64>> = group
            .episodes
            .iter()
            .zip(rewards)
            .filter(|(episode, _)| !is_demonstration(episode))
            .map(|(_, reward)| *reward)
            .collect();
        if samples.len() < rewards.len() {
            joined += 1;
            let own = rewards.last().copied().flatten();
            ahead += usize::from(own.is_some() && samples.iter().all(|reward| *reward < own));
        }
        samples
    };
    let samples = groups.iter().zip(rewards).map(of_group).collect();
    if joined > 0 {
        metrics.set("demonstrations/joined", joined as f64 / groups.len() as f64);
        metrics.set("demonstrations/ahead", ahead as f64 / groups.len() as f64);
    }
    samples
}

/// The reward without what some nodes give to it.
fn reward(
    outcome: &Outcome,
    graph: &RewardGraph,
    progress: Progress,
    skips: &[String],
) -> Option<f64> {
    let given: f64 = graph
        .node_names()
        .zip(graph.weights(progress))
        .filter(|(name, _)| skips.iter().any(|skip| skip == name))
        .filter_map(|(name, weight)| match outcome.verdicts.get(name) {
            Some(Verdict::Score { value, .. }) => Some(weight * value),
            _ => None,
        })
        .sum();
    outcome.reward.map(|reward| reward - given)
}
