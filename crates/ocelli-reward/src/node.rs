//! A node of the reward graph, and its verdicts over a batch.

use std::collections::BTreeMap;
use std::ops::Range;

use ocelli_core::{Episode, FailureKind, Progress, Schedule, Task, Verdict, VerifierError};

use crate::Verifier;
use crate::combine::{combine, transform};
use crate::condition::Condition;
use crate::config::{Accepted, Combine, OnError, Role, Scope, Shape, Transform};
use crate::service::{Judged, Service};
use crate::shape::shaped;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) shape: Option<Shape>,
    pub(crate) gate: Vec<Condition>,
    pub(crate) otherwise: f64,
    pub(crate) weight: Schedule,
    pub(crate) role: Role,
    pub(crate) when: Option<BTreeMap<String, Accepted>>,
    pub(crate) on_error: OnError,
    /// Whether verdict and score of the node are kept. What is not kept is computed for those that read it.
    pub(crate) kept: bool,
}

/// Where a node's score comes from. Numbers are positions of earlier nodes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Verifier(Verifier),
    Service(Service),
    Combine {
        how: Combine,
        of: Vec<usize>,
    },
    Ladder {
        rungs: Vec<(Condition, f64)>,
    },
    Transform {
        how: Transform,
        of: usize,
        scope: Scope,
    },
}

/// The episodes of a step and where each group begins and ends.
pub(crate) struct Batch<'a> {
    pub(crate) episodes: Vec<&'a Episode>,
    pub(crate) groups: Vec<Range<usize>>,
    pub(crate) progress: Progress,
}

/// One verdict an episode, in the batch's order.
pub(crate) type Column = Vec<Verdict>;

/// What the verdicts of a service's column were made of, by name; no entries for other nodes.
pub(crate) type Details = Vec<BTreeMap<String, Verdict>>;

impl Source {
    pub(crate) fn reads(&self) -> Vec<usize> {
        match self {
            Self::Verifier(_) | Self::Service(_) => Vec::new(),
            Self::Combine { of, .. } => of.clone(),
            Self::Ladder { rungs } => rungs.iter().map(|(rung, _)| rung.node).collect(),
            Self::Transform { of, .. } => vec![*of],
        }
    }
}

impl Node {
    /// Whether the node's score ever counts in the reward.
    pub(crate) fn rewards(&self) -> bool {
        self.role == Role::Reward && !self.weight.is_zero()
    }

    /// The nodes whose verdicts it needs.
    pub(crate) fn needs(&self) -> impl Iterator<Item = usize> {
        let gate = self.gate.iter().map(|condition| condition.node);
        self.source.reads().into_iter().chain(gate)
    }

    /// The node's verdicts over the batch, given those of the nodes before it.
    pub(crate) fn column(&self, batch: &Batch, before: &[Column]) -> (Column, Details) {
        let mut details = Vec::new();
        let raw = match &self.source {
            Source::Verifier(verifier) => self.judged(verifier, batch),
            Source::Service(service) => {
                let asked = self.asked(service, batch, before);
                let (verdicts, found) = asked.into_iter().map(|j| (j.verdict, j.details)).unzip();
                details = found;
                verdicts
            }
            Source::Combine { how, of } => self.each(batch, |i| {
                combine(*how, of.iter().map(|node| &before[*node][i]))
            }),
            Source::Ladder { rungs } => self.each(batch, |i| {
                for (rung, value) in rungs {
                    match rung.holds(&before[rung.node][i]) {
                        Ok(true) => return Verdict::score(*value),
                        Ok(false) => {}
                        Err(error) => return Verdict::Error(error.clone()),
                    }
                }
                Verdict::score(self.otherwise)
            }),
            Source::Transform { how, of, scope } => {
                let everything = 0..batch.episodes.len();
                let scopes = match scope {
                    Scope::Group => batch.groups.as_slice(),
                    Scope::Batch => std::slice::from_ref(&everything),
                };
                let of = &before[*of];
                let values = scopes
                    .iter()
                    .flat_map(|span| transform(*how, &of[span.clone()]));
                let values: Column = values.collect();
                self.each(batch, |i| values[i].clone())
            }
        };
        let finished = raw.into_iter().enumerate();
        let finished = finished.map(|(i, verdict)| self.finished(verdict, i, before));
        (finished.collect(), details)
    }

    /// Hands the service, in one call, all rows that it is to judge.
    fn asked(&self, service: &Service, batch: &Batch, before: &[Column]) -> Vec<Judged> {
        let mut judged: Vec<Judged> = Vec::with_capacity(batch.episodes.len());
        let mut positions = Vec::new();
        for (i, episode) in batch.episodes.iter().enumerate() {
            let verdict = if !self.applies(&episode.task) {
                Verdict::Skip
            } else if service.heeds_gate()
                && let Some(shut) = self.shut(i, before)
            {
                shut
            } else {
                positions.push(i);
                // Replaced by what the service says.
                Verdict::Skip
            };
            judged.push(Judged::bare(verdict));
        }
        let episodes: Vec<&Episode> = positions.iter().map(|i| batch.episodes[*i]).collect();
        let answers = service.judge(&self.name, &episodes);
        for (i, answer) in positions.into_iter().zip(answers) {
            judged[i] = answer;
        }
        judged
    }

    fn judged(&self, verifier: &Verifier, batch: &Batch) -> Column {
        self.each(batch, |i| {
            verifier.verify(batch.episodes[i], batch.progress)
        })
    }

    /// Skips where the row lacks a wanted tag; what `judge` says elsewhere.
    fn each(&self, batch: &Batch, judge: impl Fn(usize) -> Verdict) -> Column {
        let verdict = |(i, episode): (usize, &&Episode)| {
            if self.applies(&episode.task) {
                judge(i)
            } else {
                Verdict::Skip
            }
        };
        batch.episodes.iter().enumerate().map(verdict).collect()
    }

    /// Whether the row has every wanted tag with an accepted value.
    fn applies(&self, task: &Task) -> bool {
        self.when.iter().flatten().all(|(tag, accepted)| {
            let value = task.tags.get(tag);
            value.is_some_and(|value| accepted.holds(value))
        })
    }

    /// The verdict after shape and gate.
    fn finished(&self, verdict: Verdict, index: usize, before: &[Column]) -> Verdict {
        let (value, parse_failure) = match verdict {
            Verdict::Score {
                value,
                parse_failure,
            } => (value, parse_failure),
            Verdict::Skip => return Verdict::Skip,
            // Where the gate is shut, nobody wants to know what was behind it.
            Verdict::Error(_) => return self.shut(index, before).unwrap_or(verdict),
        };
        match self.shut(index, before) {
            None => {
                let value = self.shape.map_or(value, |shape| shaped(shape, value));
                if !value.is_finite() {
                    return Verdict::Error(VerifierError {
                        kind: FailureKind::Internal,
                        message: format!(
                            "`{}` comes to {value}, which is no score; look at its `shape` and at what it reads",
                            self.name
                        ),
                        retryable: false,
                    });
                }
                Verdict::Score {
                    value,
                    parse_failure,
                }
            }
            Some(Verdict::Score { value, .. }) => Verdict::Score {
                value,
                parse_failure,
            },
            Some(error) => error,
        }
    }

    /// The verdict where the gate does not let the score through: `otherwise`, or the error of what it reads.
    fn shut(&self, index: usize, before: &[Column]) -> Option<Verdict> {
        self.gate.iter().find_map(|condition| {
            match condition.holds(&before[condition.node][index]) {
                Ok(true) => None,
                Ok(false) => Some(Verdict::score(self.otherwise)),
                Err(error) => Some(Verdict::Error(error.clone())),
            }
        })
    }

    /// What an error counts as.
    pub(crate) fn resolved(&self, verdict: &Verdict) -> Verdict {
        match (verdict, self.on_error) {
            (Verdict::Error(_), OnError::Zero) => Verdict::score(0.0),
            (Verdict::Error(_), OnError::Skip) => Verdict::Skip,
            (verdict, _) => verdict.clone(),
        }
    }
}
