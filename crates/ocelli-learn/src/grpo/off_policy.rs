//! Learning from answers that were given before: episodes that an earlier run has kept, or rows that hold an answer and its reward. What
//! is made of them is [`super::learn`]'s part, as if they had been sampled just now.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_core::{
    Call, Episode, Finish, Metrics, Outcome, Progress, Purpose, SeedKey, Segment, SegmentKind,
    Task, chat,
};
use ocelli_data::Dataset;
use ocelli_model::network::Network;
use ocelli_reward::RewardGraph;
use ocelli_rollout::collector::check_length;
use ocelli_rollout::{CollectError, Group, Policy, Prepared, prepare};

use super::batch::{logprobs, trees};
use super::{Batch, LearnPlan, learn, metrics};
use crate::curriculum::Curator;
use crate::error::LearnError;
use crate::given_turns;
use crate::recipe::StageConfig;
use crate::stage::{Session, StageEnd, StagePlan, Unjudged, run_steps};

/// The column of a row that holds the reward of its answer.
const REWARD: &str = "reward";

/// Recorded answers by their row.
#[derive(Clone, Debug, Default)]
pub struct Records(HashMap<String, Vec<Episode>>);

impl Records {
    /// Reads files of episodes, one JSON object a line, and folders of such files.
    ///
    /// # Errors
    /// When one can't be read, or holds something else.
    pub fn read(paths: &[PathBuf]) -> Result<Self, LearnError> {
        let mut found: HashMap<String, Vec<Episode>> = HashMap::new();
        for file in files(paths)? {
            let text = fs::read_to_string(&file).map_err(LearnError::file(&file))?;
            for (number, line) in text.lines().enumerate() {
                if line.trim().is_empty() {
                    continue;
                }
                let no_episode = |why: String| LearnError::Config {
                    place: format!("{}, line {}", file.display(), number + 1),
                    message: format!("this is no episode, as `episodes/` of a run has them: {why}"),
                };
                let episode: Episode =
                    serde_json::from_str(line).map_err(|error| no_episode(error.to_string()))?;
                check_segments(&episode).map_err(|why| no_episode(why.into()))?;
                let sampled = |s: &Segment| s.train_mask.contains(&true);
                if episode.segments.len() > 1 && episode.decisions().any(sampled) {
                    found
                        .entry(episode.task.id.clone())
                        .or_default()
                        .push(episode);
                }
            }
        }
        Ok(Self(found))
    }

    /// Leaves the rows alone that have an answer.
    ///
    /// # Errors
    /// When none has one.
    pub fn restrict(&self, data: &mut Dataset) -> Result<(), LearnError> {
        let first = data.tasks.first().map(|task| task.id.clone());
        data.tasks.retain(|task| self.0.contains_key(&task.id));
        if !data.tasks.is_empty() {
            return Ok(());
        }
        let recorded = self.0.keys().min();
        Err(LearnError::Config {
            place: "episodes".into(),
            message: format!(
                "no row of `{}` has a recorded answer: its first one is `{}`, and the episodes are of {}; give the data that they were \
                 answers to",
                data.name,
                first.unwrap_or_default(),
                recorded.map_or("no row at all".to_owned(), |id| format!(
                    "rows such as `{id}`"
                ))
            ),
        })
    }
}

/// Refuses segments whose tokens, masks and log-probabilities do not belong together.
fn check_segments(episode: &Episode) -> Result<(), &'static str> {
    let is_shown = |s: &Segment| matches!(s.kind, SegmentKind::Observation { .. });
    if !episode.segments.first().is_some_and(is_shown) {
        return Err("its first segment is not what was shown");
    }
    for segment in &episode.segments {
        let tokens = segment.token_ids.len();
        if segment.train_mask.len() != tokens {
            return Err("a segment's `train_mask` is not as long as its `token_ids`");
        }
        match &segment.kind {
            SegmentKind::Decision {
                behavior_logprobs, ..
            } if behavior_logprobs.len() != tokens => {
                return Err("a segment's `behavior_logprobs` are not as many as its `token_ids`");
            }
            SegmentKind::Observation { .. } if segment.train_mask.contains(&true) => {
                return Err("what was shown is marked as sampled in `train_mask`");
            }
            _ => {}
        }
    }
    Ok(())
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, LearnError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(LearnError::file(path))? {
            let file = entry.map_err(LearnError::file(path))?.path();
            if file.extension().is_some_and(|end| end == "jsonl") {
                inside.push(file);
            }
        }
        inside.sort();
        if inside.is_empty() {
            return Err(LearnError::Config {
                place: "episodes".into(),
                message: format!(
                    "{} holds no .jsonl file; give the folder `episodes` of a run",
                    path.display()
                ),
            });
        }
        files.extend(inside);
    }
    Ok(files)
}

/// Checks that every row holds an answer and its reward, where there are no episodes.
///
/// # Errors
/// Names the first row that does not.
pub fn check(policy: &Policy, data: &Dataset, judged: bool) -> Result<(), LearnError> {
    given_turns::check(policy, data, given_turns::demonstration)?;
    let unjudged = |task: &&std::sync::Arc<Task>| !judged && reward_of(task).is_none();
    match data.tasks.iter().find(unjudged) {
        None => Ok(()),
        Some(task) => Err(refused(
            data,
            task,
            "no number in a column `reward`; write what the answer was worth, or give the stage a `reward` that judges it",
        )),
    }
}

fn reward_of(task: &Task) -> Option<f64> {
    let column = task.columns.get(REWARD)?;
    column.as_f64().filter(|reward| reward.is_finite())
}

fn refused(data: &Dataset, task: &Task, message: &str) -> LearnError {
    LearnError::Row {
        data: data.name.clone(),
        row: task.id.clone(),
        message: message.to_owned(),
    }
}

/// Runs the stage. `graph` judges the answers anew; without one their recorded rewards count.
///
/// # Errors
/// When an answer was given to another prompt than the model is shown, a picture can't be read, or a file can't be written.
pub fn run(
    session: &mut Session,
    plan: &mut StagePlan,
    data: &Dataset,
    (records, graph): (Option<&Records>, Option<&RewardGraph>),
    reference: Option<&Network>,
) -> Result<StageEnd, LearnError> {
    let stage = plan.config.clone();
    let mut curator = Curator::new(&stage, data, session.seed, plan.index)?;
    let (stage_index, max_steps) = (plan.index as u64, stage.exit.max_steps);
    let mut unjudged = Unjudged::default();
    let recorded = RewardGraph::empty();
    run_steps(session, plan, |session, optimizer, step| {
        let key = SeedKey::new(session.seed, Purpose::Control).step(stage_index << 32 | step);
        let rows = curator.draw(&session.curriculum, step, 0);
        let tasks = data.rows(&rows);
        let policy = &session.policy;
        let prepared = prepare(policy, &tasks, |task, index| data.picture(task, index))?;
        let mut groups = prepared
            .iter()
            .map(|prepared| group(policy, data, (&stage, records), prepared))
            .collect::<Result<Vec<_>, _>>()?;
        if records.is_none() {
            say_yourself(policy, &mut groups, &stage)?;
        }
        if let Some(graph) = graph {
            let episodes = groups.iter_mut().map(|g| g.episodes.as_mut_slice());
            let mut batch: Vec<&mut [Episode]> = episodes.collect();
            graph.score_batch(&mut batch, Progress { step, max_steps });
        }
        let graph = graph.unwrap_or(&recorded);
        let episodes = groups.iter().flat_map(|g| &g.episodes);
        if let Some(told) = unjudged.count((step, max_steps), graph.node_names(), episodes)? {
            session.observer.message(&told);
        }
        let batch = Batch {
            groups: &groups,
            greedy: &[],
            damaged: &[],
        };
        let plan = LearnPlan {
            stage: &stage,
            graph,
            reference,
            progress: (step, max_steps),
            key,
        };
        let (policy, state) = (&mut session.policy, &mut session.state);
        let learned = learn(policy, optimizer, state, &batch, &plan)?;
        session.tokens += learned.tokens;
        let mut recorded = Metrics::default();
        recorded.extend(&learned.metrics);
        metrics::record_batch(&mut recorded, graph, &groups, &learned.rewards);
        Ok(recorded)
    })
}

/// A row with its answers, shown what they were shown.
fn group(
    policy: &Policy,
    data: &Dataset,
    (stage, records): (&StageConfig, Option<&Records>),
    prepared: &Prepared,
) -> Result<Group, LearnError> {
    let task = &prepared.task;
    let context = policy
        .processor
        .prompt(&task.id, &task.messages, &prepared.media)
        .map_err(CollectError::row(&task.id))?;
    check_length(&task.id, context.ids.len(), stage.max_prompt_length())?;
    let episodes = match records {
        None => vec![of_row(policy, data, prepared, context.ids)?],
        Some(records) => {
            let recorded = records.0.get(&task.id).map_or(&[][..], Vec::as_slice);
            if recorded
                .iter()
                .any(|episode| episode.segments[0].token_ids != context.ids)
            {
                return Err(refused(
                    data,
                    task,
                    "its recorded answer was given to another prompt than this model is shown: another tokenizer, template, picture size or \
                     data table; give the model and the data of the run that recorded it",
                ));
            }
            let taken = recorded
                .iter()
                .enumerate()
                .map(|(sample, episode)| Episode {
                    task: task.clone(),
                    sample,
                    pictures: prepared.sizes.clone(),
                    ..episode.clone()
                });
            taken.collect()
        }
    };
    let known = policy.checkpoint.config.text.vocab_size;
    let mut ids = episodes.iter().flat_map(|e| &e.segments);
    if ids.any(|segment| segment.token_ids.iter().any(|&id| id as usize >= known)) {
        return Err(refused(
            data,
            task,
            "its recorded answer has tokens that this model lacks; give the model that recorded it",
        ));
    }
    Ok(Group {
        task: task.clone(),
        media: prepared.media.clone(),
        episodes,
    })
}

/// The episode that a row's answer would have been. Its log-probabilities are not known yet.
fn of_row(
    policy: &Policy,
    data: &Dataset,
    prepared: &Prepared,
    shown: Vec<u32>,
) -> Result<Episode, LearnError> {
    let task = &prepared.task;
    let tokens = given_turns::demonstration(policy, data, task)?.concat();
    let text = task.demonstration.clone().unwrap_or_default();
    let observation = Segment {
        parent: None,
        kind: SegmentKind::Observation {
            shown: chat::shown(&task.messages).collect(),
        },
        train_mask: vec![false; shown.len()],
        token_ids: shown,
        text: String::new(),
    };
    let answer = Segment {
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
    };
    Ok(Episode {
        task: task.clone(),
        sample: 0,
        pictures: prepared.sizes.clone(),
        segments: vec![observation, answer],
        outcome: Outcome {
            reward: reward_of(task),
            ..Outcome::default()
        },
    })
}

/// Takes the answers as if the policy had given them: nobody knows how likely they were to who wrote them.
fn say_yourself(
    policy: &Policy,
    groups: &mut [Group],
    stage: &StageConfig,
) -> Result<(), LearnError> {
    let shown = groups
        .iter()
        .map(|group| trees(policy, group, &group.media))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    let temperature = stage.rollout.clone().unwrap_or_default().temperature;
    let look = (temperature, stage.batch.max_tokens);
    let mut found = logprobs(policy, &policy.network(), &shown, look)
        .0
        .into_iter();
    for segment in groups
        .iter_mut()
        .flat_map(|g| &mut g.episodes)
        .flat_map(|e| &mut e.segments)
    {
        let count = segment.token_ids.len();
        if let SegmentKind::Decision {
            behavior_logprobs, ..
        } = &mut segment.kind
        {
            *behavior_logprobs = found.by_ref().take(count).collect();
        }
    }
    Ok(())
}

/// The paths of recorded episodes, those that are relative starting at `root`.
pub fn settled(paths: &[PathBuf], root: &Path) -> Vec<PathBuf> {
    paths.iter().map(|path| root.join(path)).collect()
}
