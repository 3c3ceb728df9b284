//! Evaluation on held-out rows: the same env, sampler and verifiers as in training.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ocelli_core::{Episode, Message, Progress, Purpose, SeedKey, Target, Task};
use ocelli_data::{Dataset, encode_png};
use ocelli_env::{CallCodec, Question};
use ocelli_reward::{RewardGraph, parse_box, sections};
use ocelli_rollout::{CollectPlan, Policy, collect, prepare};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::LearnError;
use crate::recipe::EvalMode;

/// The task name under which all rows together are written.
pub const ALL_TASKS: &str = "all";

/// Answers drawn at a time; bounds the memory of their pixels.
const CHUNK: usize = 128;

/// One line of `evals.jsonl`: the mean scores of held-out rows at one moment of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
    /// The stage that had just ended, or `start` before the first one.
    pub after: String,
    /// Position of that stage in the recipe; −1 for `start`. It keeps two stages of one kind apart.
    #[serde(default = "before_first_stage")]
    pub stage_index: i64,
    /// How answers were drawn: `greedy` or `sampled`.
    pub mode: String,
    /// The task the rows belong to; `all` for all rows together.
    pub task: String,
    /// Number of rows answered; a score is the mean over those of their answers that its verifier judged.
    pub rows: u64,
    /// Mean of each score over the rows. A score written as `null` (not a number) is left out when read.
    #[serde(deserialize_with = "finite_scores")]
    pub scores: BTreeMap<String, f64>,
}

fn before_first_stage() -> i64 {
    -1
}

/// Reads a map of scores and drops those that are `null`, which is how a number that is not finite is written.
///
/// # Errors
/// When the map holds anything but numbers and nulls.
pub fn finite_scores<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, f64>, D::Error> {
    let scores = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?;
    Ok(scores
        .into_iter()
        .filter_map(|(name, score)| score.map(|score| (name, score)))
        .collect())
}

/// One line of `gallery.jsonl`: a held-out picture with the model's answer at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GalleryRow {
    pub id: String,
    pub question: String,
    /// The picture as a data URI.
    pub image: String,
    pub width: usize,
    pub height: usize,
    pub gold_text: String,
    pub gold_box: Option<[f64; 4]>,
    pub after: String,
    pub stage_index: i64,
    /// The whole turn.
    pub text: String,
    /// The box in the answer, or in the whole turn when it has no `<answer>` tags; null if there is none.
    #[serde(rename = "box")]
    pub answer_box: Option<[f64; 4]>,
    pub scores: BTreeMap<String, f64>,
}

/// Which moment of a run is measured.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub after: &'a str,
    pub stage_index: i64,
}

/// How the answers of an evaluation are drawn.
#[derive(Clone, Copy, Debug)]
pub struct AnswerPlan {
    pub mode: EvalMode,
    /// Answers drawn for each row; a greedy answer is the same each time, so it is drawn once.
    pub samples: usize,
    /// Tokens; a longer prompt is an error.
    pub max_prompt_length: usize,
    /// Tokens after which an answer is cut.
    pub max_completion_length: usize,
    pub seed: u64,
}

impl AnswerPlan {
    fn answers_per_row(&self) -> usize {
        match self.mode {
            EvalMode::Greedy => 1,
            EvalMode::Sampled => self.samples,
        }
    }
}

/// Answers every row and judges the answers, those of a row side by side. Random streams depend on seed, row and the answer's number only, so two models are asked
/// under the same luck.
///
/// # Errors
/// When a picture can't be read or a prompt is too long.
pub fn answer(
    policy: &Policy,
    data: &Dataset,
    metrics: &RewardGraph,
    answers: &AnswerPlan,
) -> Result<Vec<Episode>, LearnError> {
    let plan = CollectPlan {
        samples: answers.answers_per_row(),
        sampling: answers.mode.sampling(answers.max_completion_length),
        max_prompt_length: answers.max_prompt_length,
        max_turns: 1,
        seed: SeedKey::new(answers.seed, Purpose::Evaluation),
        codec: CallCodec::WholeText,
        env: &|| Box::new(Question::default()),
    };
    let mut episodes = Vec::with_capacity(data.tasks.len());
    for tasks in data.tasks.chunks((CHUNK / plan.samples).max(1)) {
        let prepared = prepare(policy, tasks, |task, index| data.picture(task, index))?;
        let mut groups = collect(policy, &prepared, &plan)?;
        // Together, because judges and Python functions take many rows at once.
        let mut batch: Vec<&mut [Episode]> = groups
            .iter_mut()
            .map(|group| group.episodes.as_mut_slice())
            .collect();
        metrics.score_batch(&mut batch, Progress::default());
        episodes.extend(groups.into_iter().flat_map(|group| group.episodes));
    }
    Ok(episodes)
}

/// Mean scores, of each task where there are several and of all rows. The episodes are those that [`answer`] gave for this plan.
pub fn summarise(episodes: &[Episode], moment: Moment, answers: &AnswerPlan) -> Vec<EvalRow> {
    let kinds: BTreeSet<&str> = episodes.iter().map(|e| e.task.kind()).collect();
    let mut groups: Vec<(&str, Vec<&Episode>)> = vec![(ALL_TASKS, episodes.iter().collect())];
    if kinds.len() > 1 {
        groups.extend(kinds.into_iter().map(|kind| {
            (
                kind,
                episodes.iter().filter(|e| e.task.kind() == kind).collect(),
            )
        }));
    }
    groups
        .into_iter()
        .map(|(task, episodes)| EvalRow {
            after: moment.after.to_owned(),
            stage_index: moment.stage_index,
            mode: answers.mode.name().to_owned(),
            task: task.to_owned(),
            rows: (episodes.len() / answers.answers_per_row()) as u64,
            scores: mean_scores(&episodes),
        })
        .collect()
}

fn mean_scores(episodes: &[&Episode]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (name, verdict) in episodes.iter().flat_map(|e| &e.outcome.verdicts) {
        if let Some(value) = verdict.value() {
            let (sum, count) = sums.entry(name).or_default();
            *sum += value;
            *count += 1.0;
        }
    }
    sums.into_iter()
        .map(|(name, (sum, count))| (name.to_owned(), sum / count))
        .collect()
}

/// Gallery rows of the first `count` episodes, evenly spread over the data.
///
/// # Errors
/// When a picture can't be read.
pub fn gallery(
    episodes: &[Episode],
    data: &Dataset,
    moment: Moment,
    count: usize,
) -> Result<Vec<GalleryRow>, LearnError> {
    let stride = (episodes.len() / count.max(1)).max(1);
    episodes
        .iter()
        .step_by(stride)
        .take(count)
        .filter(|episode| !episode.task.images.is_empty())
        .map(|episode| gallery_row(episode, data, moment))
        .collect()
}

fn gallery_row(
    episode: &Episode,
    data: &Dataset,
    moment: Moment,
) -> Result<GalleryRow, LearnError> {
    let task: &Arc<Task> = &episode.task;
    let picture = data.picture(task, 0)?;
    let (gold_text, gold_box) = match &task.target {
        Some(Target::Box(b)) => (ocelli_data::box_text::write_box(b), Some((*b).into())),
        Some(Target::Text(text)) => (text.clone(), None),
        None => (String::new(), None),
    };
    let text = episode.answer_text().to_owned();
    let answer_box = gold_box
        .and_then(|_: [f64; 4]| {
            // Some rewards read the whole turn (`answer_in = "text"`).
            let place = sections(&text).answer.unwrap_or(&text);
            parse_box(place).ok()
        })
        .map(Into::into);
    let scores = episode
        .outcome
        .verdicts
        .iter()
        .filter_map(|(name, v)| Some((name.clone(), v.value()?)));
    Ok(GalleryRow {
        id: task.id.clone(),
        question: task
            .messages
            .last()
            .map(Message::plain_text)
            .unwrap_or_default(),
        image: format!(
            "data:image/png;base64,{}",
            BASE64_STANDARD.encode(encode_png(&picture))
        ),
        width: picture.width(),
        height: picture.height(),
        gold_text,
        gold_box,
        after: moment.after.to_owned(),
        stage_index: moment.stage_index,
        scores: scores.collect(),
        answer_box,
        text,
    })
}
