//! Reward models: what a network says of an answer, in the stage that trains it and as a verifier of later runs.
//!
//! Either a `score` head reads the hidden state of the answer's end-of-turn token, which is what sequence classifiers of transformers with one
//! output do, or the model is asked a question about the answer, and the number is `P(yes) / (P(yes) + P(no))` of its first token.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use ocelli_core::{
    Episode, FailureKind, ImageSource, Message, Picture, Role, Task, Verdict, VerifierError,
};
use ocelli_data::{DataError, decode_picture};
use ocelli_model::checkpoint::{Checkpoint, ConfigOverrides};
use ocelli_model::heads::Head;
use ocelli_model::network::Network;
use ocelli_reward::{EpisodeScorer, ModelScore, RewardError, RewardGraph, RewardModelConfig};
use ocelli_rollout::{CollectError, Policy, Prepared, prepare};

use crate::error::LearnError;
use crate::packing::{Branch, Tree, hidden, micro_batches, score, values};

/// What is asked by default.
pub const QUESTION: &str = "Is the answer above right? Reply with yes or no.";

/// How a model's number is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// By its `score` head.
    Score,
    /// By the chance of the first of two tokens as the reply to a question.
    Yes { question: String, yes: u32, no: u32 },
}

impl Reading {
    /// What a recipe's keys mean for this model.
    ///
    /// # Errors
    /// When both words begin with one token.
    pub fn new(
        by: ModelScore,
        policy: &Policy,
        question: Option<&str>,
        (yes, no): (Option<&str>, Option<&str>),
    ) -> Result<Self, String> {
        if by == ModelScore::Score {
            return Ok(Self::Score);
        }
        let (yes, no) = (yes.unwrap_or("yes"), no.unwrap_or("no"));
        let first = |key: &str, word: &str| {
            let ids = policy
                .processor
                .tokenizer
                .encode(word)
                .map_err(|e| e.to_string())?;
            ids.first()
                .copied()
                .ok_or_else(|| format!("`{key}` is empty; give a word"))
        };
        let found = (first("yes", yes)?, first("no", no)?);
        if found.0 == found.1 {
            return Err(format!(
                "`yes = {yes:?}` and `no = {no:?}` begin with the same token, so their chances are the same; give other words"
            ));
        }
        Ok(Self::Yes {
            question: question.unwrap_or(QUESTION).to_owned(),
            yes: found.0,
            no: found.1,
        })
    }

    /// Trees of a row's answers: one for all of them, or one each where a question follows them. `answers` are texts and the tokens of whole
    /// turns.
    ///
    /// # Errors
    /// When the conversation can't be made.
    pub fn trees(
        &self,
        policy: &Policy,
        prepared: &Prepared,
        answers: &[(String, Vec<u32>)],
    ) -> Result<Vec<Tree>, CollectError> {
        let task = &prepared.task;
        let context = |messages: &[Message]| {
            let made = policy.processor.prompt(&task.id, messages, &prepared.media);
            made.map(Arc::new).map_err(CollectError::row(&task.id))
        };
        match self {
            Self::Score => {
                let branch = |(_, tokens): &(String, Vec<u32>)| at_end(tokens);
                Ok(vec![Tree {
                    context: context(&task.messages)?,
                    branches: answers.iter().map(branch).collect(),
                }])
            }
            Self::Yes { question, yes, no } => answers
                .iter()
                .map(|(text, _)| {
                    let mut messages = task.messages.clone();
                    messages.push(Message::text(Role::Assistant, text));
                    messages.push(Message::text(Role::User, question));
                    let branch = |token: &u32| Branch {
                        tokens: vec![*token],
                        mask: vec![true],
                    };
                    Ok(Tree {
                        context: context(&messages)?,
                        branches: [yes, no].map(branch).into(),
                    })
                })
                .collect(),
        }
    }

    /// One number an answer of these trees: the score, or the logarithm of the odds of a yes.
    ///
    /// # Panics
    /// When a score is wanted of a network without that head.
    pub fn numbers(
        &self,
        network: &Network,
        trees: &[Tree],
        banned: &[u32],
        device: &Device,
    ) -> Tensor<1> {
        match self {
            Self::Score => {
                let (ends, _) = hidden(network, trees, device);
                network
                    .head(Head::Score, ends)
                    .expect("callers look for the head first")
            }
            Self::Yes { .. } => {
                let logprob = score(network, trees, 1.0, banned, device).logprob;
                let pairs = logprob.reshape([trees.len(), 2]);
                let column = |i: usize| pairs.clone().slice([0..trees.len(), i..i + 1]);
                (column(0) - column(1)).reshape([trees.len()])
            }
        }
    }

    /// What is said of an answer: the score as it is, or the chance of a yes.
    pub fn reward(&self, number: f64) -> f64 {
        match self {
            Self::Score => number,
            Self::Yes { .. } => 1.0 / (1.0 + (-number).exp()),
        }
    }
}

/// A branch of which nothing but the state after its last token is looked at: what would be said next is never read.
fn at_end(tokens: &[u32]) -> Branch {
    let mut with_next = tokens.to_vec();
    with_next.extend(tokens.last());
    let mut mask = vec![false; with_next.len()];
    if let Some(last) = mask.last_mut() {
        *last = true;
    }
    Branch {
        tokens: with_next,
        mask,
    }
}

/// Opens a picture of a task.
pub type Pictures = dyn Fn(&Task, usize) -> Result<Picture, DataError> + Send + Sync;

/// Pictures that are files of their own or at hand already.
///
/// # Errors
/// When the picture is neither, or cannot be read.
pub fn loose_picture(task: &Task, index: usize) -> Result<Picture, DataError> {
    match task.images.get(index) {
        Some(ImageSource::Pixels(picture)) => Ok(picture.clone()),
        Some(ImageSource::Path(path)) => decode_picture(path),
        _ => Err(DataError::Picture {
            name: task.id.clone(),
            problem: format!(
                "picture {index} is no file of its own; score such rows in a run that has their data"
            ),
        }),
    }
}

/// A reward model at work.
struct Scorer {
    policy: Policy,
    network: Network,
    reading: Reading,
    max_tokens: usize,
    pictures: Arc<Pictures>,
}

/// Gives the nodes of `reward_model` in a graph their models; does nothing where there are none.
///
/// # Errors
/// Names the node whose checkpoint can't be used.
pub fn provide(graph: &RewardGraph, pictures: &Arc<Pictures>) -> Result<(), RewardError> {
    graph.provide(&|config| Ok(Box::new(Scorer::open(config, pictures)?)))
}

impl Scorer {
    fn open(config: &RewardModelConfig, pictures: &Arc<Pictures>) -> Result<Self, String> {
        let device = Device::flex();
        let path = config.path.display().to_string();
        if !Path::new(&config.path).is_dir() {
            return Err(format!(
                "there is no folder {path}; `path` is the checkpoint that a stage `reward` has written"
            ));
        }
        let checkpoint = Checkpoint::open(&path, &ConfigOverrides::default(), 0, &device)
            .map_err(|e| e.to_string())?;
        let has_head = checkpoint.has_head(Head::Score);
        let by = match (config.by, has_head) {
            (Some(ModelScore::Score), false) => {
                return Err(format!(
                    "{path} has no `score` head; train one in a stage `kind = \"reward\"`, or set `by = \"yes_probability\"`"
                ));
            }
            (Some(by), _) => by,
            (None, true) => ModelScore::Score,
            (None, false) => ModelScore::YesProbability,
        };
        let policy = Policy::new(checkpoint, &device).map_err(|e| e.to_string())?;
        let words = (config.yes.as_deref(), config.no.as_deref());
        Ok(Self {
            reading: Reading::new(by, &policy, config.question.as_deref(), words)?,
            network: policy.network(),
            policy,
            max_tokens: config.max_tokens,
            pictures: Arc::clone(pictures),
        })
    }

    /// The answers of one task's episodes.
    fn group(&self, episodes: &[&Episode]) -> Result<Vec<Tree>, LearnError> {
        let task = &episodes[0].task;
        let prepared = prepare(&self.policy, std::slice::from_ref(task), |task, index| {
            (self.pictures)(task, index)
        })?;
        let answers = episodes
            .iter()
            .map(|episode| {
                let text = episode.answer_text().to_owned();
                let mut tokens = self.policy.processor.tokenizer.encode(&text)?;
                // What looks like a picture or an end in the middle of a text is none.
                let rules = &self.policy.rules;
                tokens.retain(|id| !rules.banned.contains(id) && !rules.stop.contains(id));
                tokens.push(self.policy.processor.end_of_turn);
                Ok((text, tokens))
            })
            .collect::<Result<Vec<_>, LearnError>>()?;
        Ok(self.reading.trees(&self.policy, &prepared[0], &answers)?)
    }
}

impl EpisodeScorer for Scorer {
    fn score(&self, episodes: &[&Episode]) -> Vec<Verdict> {
        let mut verdicts: Vec<Option<Verdict>> = vec![None; episodes.len()];
        let (mut trees, mut asked) = (Vec::new(), Vec::new());
        let mut start = 0;
        for group in episodes.chunk_by(|a, b| a.task == b.task) {
            let range = start..start + group.len();
            start = range.end;
            match self.group(group) {
                Ok(found) => {
                    trees.extend(found);
                    asked.extend(range);
                }
                Err(error) => {
                    let error = Verdict::Error(VerifierError {
                        kind: FailureKind::InputMissing,
                        message: format!("the reward model cannot be shown the row: {error}"),
                        retryable: false,
                    });
                    verdicts[range].fill(Some(error));
                }
            }
        }
        let (banned, device) = (&self.policy.rules.banned, &self.policy.device);
        let numbers: Vec<f32> = micro_batches(&trees, self.max_tokens)
            .into_iter()
            .flat_map(|range| {
                let trees = &trees[range];
                values(self.reading.numbers(&self.network, trees, banned, device))
            })
            .collect();
        for (index, number) in asked.into_iter().zip(numbers) {
            let reward = self.reading.reward(f64::from(number));
            verdicts[index] = Some(Verdict::score(reward));
        }
        let judged = verdicts.into_iter();
        judged.map(|v| v.unwrap_or(Verdict::Skip)).collect()
    }
}
