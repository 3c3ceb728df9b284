//! The collector: envs and a policy make episodes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ocelli_core::{
    Episode, FrameSizes, ImageSource, Message, Observation, Outcome, Picture, Purpose, SeedKey,
    Segment, SegmentKind, Task, chat,
};
use ocelli_env::{CallCodec, Env, EnvError};
use ocelli_model::error::ModelError;
use ocelli_model::percept::{Media, Percept};
use ocelli_model::processing_error::ProcessingError;
use ocelli_model::processor::Context;
use rayon::prelude::*;

use crate::generate::{Completion, Request, generate};
use crate::perceive;
use crate::policy::Policy;
use crate::sampling::SamplingParams;

/// What can go wrong while episodes are collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error(transparent)]
    Data(#[from] ocelli_data::DataError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Processing(#[from] ProcessingError),
    /// A row whose picture or conversation the processor refuses.
    #[error("{place}: {source}")]
    Row {
        /// The row, and which of its pictures.
        place: String,
        source: ProcessingError,
    },
    /// A row whose video or sound cannot be read.
    #[error("row `{row}`: {source}")]
    Media {
        row: String,
        source: ocelli_data::DataError,
    },
    /// An env shows something after the first turn.
    #[error(
        "row `{row}`: the env shows a picture, video or sound after the first turn, which is not supported yet; show everything at \
         the start"
    )]
    LaterPicture { row: String },
    /// A prompt does not fit.
    #[error(
        "row `{row}`: the prompt has {tokens} tokens, more than max_prompt_length {limit}; raise max_prompt_length, shorten the \
         prompt, or use smaller pictures"
    )]
    PromptTooLong {
        row: String,
        tokens: usize,
        limit: usize,
    },
}

impl CollectError {
    /// For `map_err` on what the processor says of a row's conversation.
    pub fn row(row: &str) -> impl FnOnce(ProcessingError) -> Self {
        let place = format!("row `{row}`");
        move |source| match source {
            // These name the row themselves.
            ProcessingError::PlaceholderCount { .. } | ProcessingError::PlaceholderOrder { .. } => {
                Self::Processing(source)
            }
            source => Self::Row { place, source },
        }
    }

    /// For `map_err` on what the processor says of a row's picture.
    pub fn picture(task: &Task, index: usize) -> impl FnOnce(ProcessingError) -> Self {
        let picture = match task.images.get(index) {
            Some(ImageSource::Path(path)) => path.display().to_string(),
            Some(ImageSource::Embedded(name)) => name.clone(),
            _ => index.to_string(),
        };
        let place = format!("row `{}`, picture {picture}", task.id);
        move |source| Self::Row { place, source }
    }

    /// For `map_err` on what the processor says of a row's video or sound in `path`.
    pub fn file(row: &str, path: &Path) -> impl FnOnce(ProcessingError) -> Self {
        let place = format!("row `{row}`, {}", path.display());
        move |source| Self::Row { place, source }
    }
}

/// A task about to be attempted, with all it shows at hand.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub task: Arc<Task>,
    /// The task's pictures, videos and sounds.
    pub media: Media<Arc<Percept>>,
    /// Sizes of the pictures before and after the processor's resize.
    pub sizes: Vec<FrameSizes>,
}

/// Attempts at one task.
#[derive(Clone, Debug)]
pub struct Group {
    pub task: Arc<Task>,
    pub episodes: Vec<Episode>,
    /// What the episodes' segments refer to.
    pub media: Media<Arc<Percept>>,
}

/// How a batch of episodes is made.
pub struct CollectPlan<'a> {
    /// Attempts at each task.
    pub samples: usize,
    pub sampling: SamplingParams,
    /// Longest prompt in tokens.
    pub max_prompt_length: usize,
    /// Turns after which an episode is cut.
    pub max_turns: usize,
    /// Base of the random streams; task, its occurrence among the tasks, and sample are added here. Envs draw from the streams
    /// of `Purpose::Env`.
    pub seed: SeedKey,
    pub codec: CallCodec,
    /// Makes a fresh env.
    pub env: &'a (dyn Fn() -> Box<dyn Env> + Sync),
}

/// Turns pictures, videos and sounds into rows of numbers, many tasks at a time. `picture` opens a picture; videos and sounds are
/// files.
///
/// # Errors
/// When one is unreadable or the processor refuses it.
pub fn prepare(
    policy: &Policy,
    tasks: &[Arc<Task>],
    picture: impl Fn(&Task, usize) -> Result<Picture, ocelli_data::DataError> + Sync,
) -> Result<Vec<Prepared>, CollectError> {
    tasks
        .par_iter()
        .map(|task| {
            let images = (0..task.images.len())
                .map(|index| {
                    let pixels = picture(task, index)?;
                    let percept = policy.processor.image(&pixels);
                    let percept = percept.map_err(CollectError::picture(task, index))?;
                    let sizes = policy.processor.frame_sizes(&pixels);
                    let sizes = sizes.map_err(CollectError::picture(task, index))?;
                    Ok((percept, sizes))
                })
                .collect::<Result<Vec<_>, CollectError>>()?;
            let (images, sizes) = images.into_iter().unzip();
            let (videos, audios) = (task.videos.iter(), task.audios.iter());
            let media = Media {
                images,
                videos: videos
                    .map(|source| perceive::video(policy, &task.id, source))
                    .collect::<Result<_, _>>()?,
                audios: audios
                    .map(|path| perceive::sound(policy, &task.id, path))
                    .collect::<Result<_, _>>()?,
            };
            Ok(Prepared {
                task: task.clone(),
                media,
                sizes,
            })
        })
        .collect()
}

/// An episode in the making.
struct Attempt {
    env: Box<dyn Env>,
    episode: Episode,
    context: Arc<Context>,
    seed: SeedKey,
    done: bool,
}

/// Plays `plan.samples` episodes of every task. The prompt is processed once for all samples of a task. A task that is given
/// twice is attempted anew each time. A conversation that outgrows `max_prompt_length` on the way ends there, cut.
///
/// # Errors
/// When an env refuses a task or call, or a first prompt can't be made or is too long.
pub fn collect(
    policy: &Policy,
    tasks: &[Prepared],
    plan: &CollectPlan,
) -> Result<Vec<Group>, CollectError> {
    let network = policy.network();
    let mut groups: Vec<Vec<Attempt>> = tasks
        .par_iter()
        .zip(occurrences(tasks))
        .map(|(prepared, occurrence)| start(policy, prepared, occurrence, plan))
        .collect::<Result<_, CollectError>>()?;

    for turn in 0..plan.max_turns {
        let live: Vec<&Attempt> = groups.iter().flatten().filter(|a| !a.done).collect();
        let requests: Vec<Request> = live
            .chunk_by(|a, b| Arc::ptr_eq(&a.context, &b.context))
            .map(|chunk| Request {
                context: chunk[0].context.clone(),
                samples: chunk
                    .iter()
                    .map(|a| a.seed.clone().turn(turn as u64))
                    .collect(),
            })
            .collect();
        if requests.is_empty() {
            break;
        }
        let completions = generate(
            &network,
            &requests,
            &plan.sampling,
            &policy.rules,
            &policy.device,
        );
        let mut completions = completions.into_iter().flatten();
        for attempt in groups.iter_mut().flatten().filter(|a| !a.done) {
            let completion = completions.next().expect("one completion a live attempt");
            take_turn(policy, attempt, completion, plan, turn)?;
        }
    }
    Ok(groups
        .into_iter()
        .zip(tasks)
        .map(|(attempts, prepared)| Group {
            task: prepared.task.clone(),
            media: prepared.media.clone(),
            episodes: attempts.into_iter().map(|a| a.episode).collect(),
        })
        .collect())
}

/// How often each task occurs before its own place.
fn occurrences(tasks: &[Prepared]) -> Vec<u64> {
    let mut seen: HashMap<&str, u64> = HashMap::new();
    tasks
        .iter()
        .map(|prepared| {
            let count = seen.entry(&prepared.task.id).or_default();
            *count += 1;
            *count - 1
        })
        .collect()
}

fn start(
    policy: &Policy,
    prepared: &Prepared,
    occurrence: u64,
    plan: &CollectPlan,
) -> Result<Vec<Attempt>, CollectError> {
    let task = &prepared.task;
    let mut shared: Option<(Observation, Arc<Context>, Segment)> = None;
    (0..plan.samples)
        .map(|sample| {
            let seed = plan
                .seed
                .clone()
                .task(&task.id)
                .occurrence(occurrence)
                .sample(sample as u64);
            let mut env = (plan.env)();
            let observation = env.reset(task, &seed.clone().purpose(Purpose::Env))?;
            // Samples that are shown the same share one context, and with it one pass over the prompt.
            let (context, segment) = match &shared {
                Some((shown, context, segment)) if *shown == observation => {
                    (context.clone(), segment.clone())
                }
                _ => {
                    let context = policy
                        .processor
                        .prompt(&task.id, &observation.messages, &prepared.media)
                        .map_err(CollectError::row(&task.id))?;
                    check_length(&task.id, context.ids.len(), plan.max_prompt_length)?;
                    let segment = observation_segment(None, context.ids.clone(), &observation);
                    let context = Arc::new(context);
                    shared = Some((observation, context.clone(), segment.clone()));
                    (context, segment)
                }
            };
            Ok(Attempt {
                env,
                episode: Episode {
                    task: task.clone(),
                    sample,
                    pictures: prepared.sizes.clone(),
                    segments: vec![segment],
                    outcome: Outcome::default(),
                },
                context,
                seed,
                done: false,
            })
        })
        .collect()
}

/// Refuses a prompt of `tokens` tokens where `limit` is less.
///
/// # Errors
/// Names the row.
pub fn check_length(row: &str, tokens: usize, limit: usize) -> Result<(), CollectError> {
    if tokens > limit {
        return Err(CollectError::PromptTooLong {
            row: row.to_owned(),
            tokens,
            limit,
        });
    }
    Ok(())
}

fn observation_segment(parent: Option<usize>, token_ids: Vec<u32>, shown: &Observation) -> Segment {
    let texts: Vec<String> = shown.messages.iter().map(Message::plain_text).collect();
    Segment {
        parent,
        kind: SegmentKind::Observation {
            shown: chat::shown(&shown.messages).collect(),
        },
        train_mask: vec![false; token_ids.len()],
        token_ids,
        text: texts.join("\n"),
    }
}

/// Records turn number `turn`, lets the env act on it, and, where another turn follows, appends what the env shows next.
fn take_turn(
    policy: &Policy,
    attempt: &mut Attempt,
    completion: Completion,
    plan: &CollectPlan,
    turn: usize,
) -> Result<(), CollectError> {
    let text = policy.processor.decode(&completion.token_ids)?;
    let call = plan.codec.decode(&text);
    let step = attempt.env.step(&call)?;
    let Episode {
        task,
        segments,
        outcome,
        ..
    } = &mut attempt.episode;
    // Other tokens that end a turn stand for no end of turn in the template's words.
    let ended = completion.token_ids.last() == Some(&policy.processor.end_of_turn);
    segments.push(Segment {
        parent: Some(segments.len() - 1),
        train_mask: vec![true; completion.token_ids.len()],
        kind: SegmentKind::Decision {
            behavior_logprobs: completion.logprobs,
            policy_version: policy.version,
            finish: completion.finish,
            call,
        },
        token_ids: completion.token_ids.clone(),
        text,
    });
    outcome.facts.extend(step.facts);
    attempt.done = step.done;
    if step.done {
        return Ok(());
    }
    // Nobody would read what comes after the last turn.
    if turn + 1 == plan.max_turns {
        outcome.cut = true;
        return Ok(());
    }
    // An env with nothing to show still hands the turn back.
    let observation = step.observation.unwrap_or(Observation {
        messages: Vec::new(),
    });
    if chat::shown(&observation.messages).next().is_some() {
        return Err(CollectError::LaterPicture {
            row: task.id.clone(),
        });
    }
    let ids = policy
        .processor
        .continuation(&observation.messages, ended)
        .map_err(CollectError::row(&task.id))?;
    let mut context = attempt.context.as_ref().clone();
    for id in completion.token_ids.iter().chain(&ids) {
        context.ids.push(*id);
        context.positions.push([context.next_position; 3]);
        context.next_position += 1;
    }
    if context.ids.len() > plan.max_prompt_length {
        outcome.cut = true;
        attempt.done = true;
        return Ok(());
    }
    segments.push(observation_segment(
        Some(segments.len() - 1),
        ids,
        &observation,
    ));
    attempt.context = Arc::new(context);
    Ok(())
}
