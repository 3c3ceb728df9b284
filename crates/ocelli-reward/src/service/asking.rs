//! One call of a service for many episodes, and what its answers are as verdicts.

use std::collections::BTreeMap;

use ocelli_core::{Episode, FailureKind, Verdict, VerifierError};

use super::Judged;
use crate::plugin::{Plugin, PluginVerdict};

#[cfg(feature = "judge")]
use super::Shown;
#[cfg(feature = "judge")]
use crate::client::RemoteVerifiers;
#[cfg(feature = "judge")]
use crate::scorer::{Score, Scorer, ScorerError};

/// The plug-in's verdicts; rows whose error may pass are tried `retries` times more.
pub(super) fn plugin(plugin: &Plugin, retries: u32, episodes: &[&Episode]) -> Vec<Judged> {
    let mut verdicts = plugin.score(episodes);
    for _ in 0..retries {
        let may_pass = |(i, scored): (usize, &PluginVerdict)| match &scored.verdict {
            Verdict::Error(error) if error.retryable => Some(i),
            _ => None,
        };
        let again: Vec<usize> = verdicts.iter().enumerate().filter_map(may_pass).collect();
        if again.is_empty() {
            break;
        }
        let rows: Vec<&Episode> = again.iter().map(|i| episodes[*i]).collect();
        for (i, scored) in again.into_iter().zip(plugin.score(&rows)) {
            verdicts[i] = scored;
        }
    }
    let judged = verdicts.into_iter().map(|scored| Judged {
        verdict: scored.verdict,
        details: numbers(scored.scores),
    });
    judged.collect()
}

/// Scores of a judge or its stand-in, with the grades they were made of.
#[cfg(feature = "judge")]
pub(super) fn scorer(
    scorer: &dyn Scorer,
    shown: &Shown,
    node: &str,
    episodes: &[&Episode],
) -> Vec<Judged> {
    let mut asked = Vec::new();
    let settled: Vec<Option<Verdict>> = shown
        .requests(node, episodes)
        .into_iter()
        .map(|request| match request {
            Ok(request) => {
                asked.push(request);
                None
            }
            Err(verdict) => Some(verdict),
        })
        .collect();
    let mut results = scorer.score(&asked).into_iter();
    let judged = settled.into_iter().map(|verdict| match verdict {
        Some(verdict) => Judged::bare(verdict),
        None => match results.next() {
            Some(result) => scored(node, result),
            None => {
                let message = format!("`{node}`: the judge has left the row out");
                Judged::bare(Verdict::Error(failure(FailureKind::Protocol, message)))
            }
        },
    });
    judged.collect()
}

#[cfg(feature = "judge")]
fn scored(node: &str, result: Result<Score, ScorerError>) -> Judged {
    match result {
        Ok(score) => Judged {
            verdict: Verdict::score(score.value),
            details: numbers(score.grades),
        },
        Err(error) => Judged::bare(Verdict::Error(named(node, error.into()))),
    }
}

/// A remote graph's reward as the score and its verdicts as the details.
///
/// Without a reward it is the first error among the verdicts, by their names; without one of those too, no node of the
/// remote graph applies to the row, and the verdict is a skip.
#[cfg(feature = "judge")]
pub(super) fn remote(remote: &RemoteVerifiers, node: &str, episodes: &[&Episode]) -> Vec<Judged> {
    let mut copies: Vec<Episode> = episodes.iter().copied().cloned().collect();
    remote.score_all(&mut copies);
    let judged = copies.into_iter().map(|copy| {
        let details = copy.outcome.verdicts;
        let first_error = details.values().find_map(|verdict| match verdict {
            Verdict::Error(error) => Some(error.clone()),
            _ => None,
        });
        let verdict = match (copy.outcome.reward, first_error) {
            (Some(reward), _) => Verdict::score(reward),
            (None, Some(error)) => Verdict::Error(named(node, error)),
            (None, None) => Verdict::Skip,
        };
        Judged { verdict, details }
    });
    judged.collect()
}

fn numbers(scores: BTreeMap<String, f64>) -> BTreeMap<String, Verdict> {
    let verdicts = scores.into_iter();
    verdicts
        .map(|(n, value)| (n, Verdict::score(value)))
        .collect()
}

/// The error with the node's name before it.
#[cfg(feature = "judge")]
fn named(node: &str, error: VerifierError) -> VerifierError {
    VerifierError {
        message: format!("`{node}`: {}", error.message),
        ..error
    }
}

/// An error that another try would not mend.
pub(super) fn failure(kind: FailureKind, message: String) -> VerifierError {
    VerifierError {
        kind,
        message,
        retryable: false,
    }
}
