//! Answers to a batch of prompts, judged.

use std::sync::Arc;

use ocelli_core::{Episode, Metrics, Picture, Progress, Purpose, SeedKey, Task};
use ocelli_data::{DataError, Dataset};
use ocelli_env::{CallCodec, Question};
use ocelli_reward::RewardGraph;
use ocelli_rollout::{CollectPlan, Group, Policy, SamplingParams, collect, prepare};

use super::filter::FilterGroups;
use super::select::SelectGroups;
use crate::curriculum::Seen;
use crate::curriculum::success::{SuccessRule, largest_reward};
use crate::error::LearnError;
use crate::recipe::RolloutConfig;

/// Judged answers to a batch of prompts.
#[derive(Default)]
pub(super) struct Sampled {
    pub(super) groups: Vec<Group>,
    /// One a group where they are wanted, else none.
    pub(super) greedy: Vec<Group>,
    /// What came of every row that was answered, whether its group is kept or not.
    pub(super) seen: Vec<Seen>,
}

/// What sampling needs to know.
pub(super) struct Sampler<'a> {
    pub(super) policy: &'a Policy,
    pub(super) data: &'a Dataset,
    pub(super) graph: &'a RewardGraph,
    pub(super) rollout: &'a RolloutConfig,
    /// Groups to learn from.
    pub(super) batch_size: usize,
    pub(super) success: &'a SuccessRule,
    pub(super) with_greedy: bool,
    pub(super) progress: Progress,
    /// Seed and step of what chance does to the rows.
    pub(super) drawn: (u64, u64),
}

impl Sampler<'_> {
    /// Groups to learn from. `draw` gives the rows of one batch after the other.
    pub(super) fn groups(
        &self,
        draw: impl FnMut(u64) -> Vec<usize>,
        key: &SeedKey,
        metrics: &mut Metrics,
    ) -> Result<Sampled, LearnError> {
        let mut draw = draw;
        match (&self.rollout.filter_groups, &self.rollout.select_groups) {
            (Some(filter), _) => self.sample_filtered(filter, draw, key, metrics),
            (None, Some(select)) => {
                let sampled = self.sample(&draw(0), key.clone())?;
                Ok(self.select(select, sampled, key, metrics))
            }
            (None, None) => self.sample(&draw(0), key.clone()),
        }
    }

    /// The groups whose answers disagree most.
    fn select(
        &self,
        select: &SelectGroups,
        sampled: Sampled,
        key: &SeedKey,
        metrics: &mut Metrics,
    ) -> Sampled {
        let disagreements: Vec<f64> = sampled
            .groups
            .iter()
            .map(|group| select.disagreement(group))
            .collect();
        let key = key.clone().purpose(Purpose::Curriculum);
        let chosen = select.choose(&disagreements, self.batch_size, &key);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let of_chosen: Vec<f64> = chosen.iter().map(|i| disagreements[*i]).collect();
        let episodes = sampled.groups.iter().flat_map(|group| &group.episodes);
        let rewards: Vec<f64> = episodes
            .filter_map(|episode| episode.outcome.reward)
            .collect();
        metrics.set_count("select_groups/drawn", disagreements.len() as u64);
        metrics.set("select_groups/disagreement", mean(&of_chosen));
        metrics.set("select_groups/disagreement_drawn", mean(&disagreements));
        metrics.set("select_groups/reward", mean(&rewards));
        let keep = |groups: Vec<Group>| -> Vec<Group> {
            let numbered = groups.into_iter().enumerate();
            numbered
                .filter(|(i, _)| chosen.binary_search(i).is_ok())
                .map(|(_, group)| group)
                .collect()
        };
        Sampled {
            groups: keep(sampled.groups),
            greedy: keep(sampled.greedy),
            seen: sampled.seen,
        }
    }

    /// Answers of all rows.
    fn sample(&self, rows: &[usize], key: SeedKey) -> Result<Sampled, LearnError> {
        let tasks = self.data.training_tasks(self.data.rows(rows), self.drawn)?;
        let picture = |task: &Task, index| -> Result<Picture, DataError> {
            self.data.training_picture(task, index, self.drawn)
        };
        let Judged { groups, greedy } = self.answer(&tasks, picture, key)?;
        let largest = largest_reward(self.graph, self.progress);
        let success = |episode: &Episode| self.success.of(&episode.outcome, largest);
        let seen = rows.iter().zip(&groups).map(|(row, group)| Seen {
            row: *row,
            successes: group.episodes.iter().filter_map(success).collect(),
        });
        Ok(Sampled {
            seen: seen.collect(),
            groups,
            greedy,
        })
    }

    fn answer(
        &self,
        tasks: &[Arc<Task>],
        picture: impl Fn(&Task, usize) -> Result<Picture, DataError> + Sync,
        key: SeedKey,
    ) -> Result<Judged, LearnError> {
        let prepared = prepare(self.policy, tasks, picture)?;
        let plan = collect_plan(self.rollout, key);
        let mut groups = collect(self.policy, &prepared, &plan)?;
        let mut greedy = Vec::new();
        if self.with_greedy {
            let plan = CollectPlan {
                samples: 1,
                sampling: SamplingParams::greedy(self.rollout.max_completion_length),
                ..plan
            };
            greedy = collect(self.policy, &prepared, &plan)?;
        }
        for groups in [&mut groups, &mut greedy] {
            if groups.is_empty() {
                continue;
            }
            let mut batch: Vec<&mut [Episode]> = groups
                .iter_mut()
                .map(|group| group.episodes.as_mut_slice())
                .collect();
            self.graph.score_batch(&mut batch, self.progress);
        }
        Ok(Judged { groups, greedy })
    }

    /// Answers of as many rows that `filter` keeps as make a batch.
    fn sample_filtered(
        &self,
        filter: &FilterGroups,
        mut draw: impl FnMut(u64) -> Vec<usize>,
        key: &SeedKey,
        metrics: &mut Metrics,
    ) -> Result<Sampled, LearnError> {
        let mut kept = Sampled::default();
        let mut sampled = Sampled::default();
        let (mut count, mut batches) = (0, 0);
        let mut rewards = Vec::new();
        for attempt in 0..filter.max_num_gen_batches as u64 {
            let rows = draw(attempt);
            let wanted = rows.len();
            // The same row may come again, and is answered anew.
            sampled = self.sample(&rows, key.clone().attempt(attempt))?;
            kept.seen.append(&mut sampled.seen);
            batches += 1;
            count += sampled.groups.len();
            let episodes = sampled.groups.iter().flat_map(|group| &group.episodes);
            rewards.extend(episodes.filter_map(|episode| episode.outcome.reward));
            let keeps: Vec<bool> = sampled
                .groups
                .iter()
                .map(|group| filter.keeps_group(group))
                .collect();
            if keeps.contains(&true) {
                let room = wanted - kept.groups.len();
                let Sampled { groups, greedy, .. } = std::mem::take(&mut sampled);
                let teaching = |groups: Vec<Group>| {
                    let judged = groups.into_iter().zip(&keeps);
                    let teaching = judged.filter_map(|(group, keeps)| keeps.then_some(group));
                    teaching.take(room).collect::<Vec<_>>()
                };
                kept.groups.extend(teaching(groups));
                kept.greedy.extend(teaching(greedy));
            }
            if kept.groups.len() == wanted {
                break;
            }
        }
        metrics.set_count("filter_groups/batches", batches);
        metrics.set(
            "filter_groups/kept",
            kept.groups.len() as f64 / count.max(1) as f64,
        );
        let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
        metrics.set("filter_groups/reward", mean);
        // Nothing teaches; a step without groups would be none.
        if kept.groups.is_empty() {
            (kept.groups, kept.greedy) = (sampled.groups, sampled.greedy);
        }
        Ok(kept)
    }
}

/// Groups, and the greedy answer of each where they are wanted.
struct Judged {
    groups: Vec<Group>,
    greedy: Vec<Group>,
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
