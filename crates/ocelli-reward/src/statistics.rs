//! What the verdicts of a batch say together: mean scores, unread answers, errors.

use std::collections::{BTreeMap, BTreeSet};

use ocelli_core::metrics::mean_std;
use ocelli_core::{Episode, Metrics, Verdict};

/// How many answers each node could not read. Every node that has judged an episode is listed, also with 0.
pub fn parse_failures(episodes: &[Episode]) -> BTreeMap<String, usize> {
    let mut failures = BTreeMap::new();
    for (name, verdict) in verdicts(episodes) {
        if let Verdict::Score { parse_failure, .. } = verdict {
            *failures.entry(name.clone()).or_default() += usize::from(parse_failure.is_some());
        }
    }
    failures
}

/// Share of `episodes`, in `[0, 1]`, on which at least one verifier could not judge; 0 without episodes.
pub fn error_rate(episodes: &[Episode]) -> f64 {
    let failed = episodes.iter().filter(|episode| {
        let mut verdicts = episode.outcome.verdicts.values();
        verdicts.any(|verdict| matches!(verdict, Verdict::Error(_)))
    });
    failed.count() as f64 / episodes.len().max(1) as f64
}

/// Writes `rewards/<name>/mean` and `rewards/<name>/std` of each of `names`, then `rewards/<name>/parse_failure_rate`.
/// After them come the verdicts `<name>.<part>` that the episodes have beside those of `names`: what a plug-in or a judge
/// has said beside its score. Which there are is known from the episodes only.
///
/// They are TRL's names and meaning: scores before weights, `std` with n − 1. Skips and errors do not count; a node
/// that has judged none of the episodes gets `null`, which is not the same as 0.
pub fn record_rewards<'a>(
    metrics: &mut Metrics,
    names: impl IntoIterator<Item = &'a str>,
    episodes: &[Episode],
) {
    let failures = parse_failures(episodes);
    let names: Vec<&str> = names.into_iter().collect();
    let is_part = |recorded: &str| {
        let of = |name: &&str| recorded.strip_prefix(*name)?.strip_prefix('.');
        !names.contains(&recorded) && names.iter().any(|name| of(name).is_some())
    };
    let parts: BTreeSet<&str> = verdicts(episodes)
        .map(|(name, _)| name.as_str())
        .filter(|name| is_part(name))
        .collect();
    for name in names.iter().copied().chain(parts) {
        let scores: Vec<f64> = episodes
            .iter()
            .filter_map(|episode| episode.outcome.verdicts.get(name)?.value())
            .collect();
        let failed = failures.get(name).copied().unwrap_or(0);
        let (mean, std, rate) = if scores.is_empty() {
            (f64::NAN, f64::NAN, f64::NAN)
        } else {
            let (mean, std) = mean_std(&scores);
            (mean, std, failed as f64 / scores.len() as f64)
        };
        metrics.set(format!("rewards/{name}/mean"), mean);
        metrics.set(format!("rewards/{name}/std"), std);
        metrics.set(format!("rewards/{name}/parse_failure_rate"), rate);
    }
}

fn verdicts(episodes: &[Episode]) -> impl Iterator<Item = (&String, &Verdict)> {
    episodes.iter().flat_map(|e| &e.outcome.verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{box_target, episode, text_target};
    use crate::{NodeConfig, RewardGraph};

    fn batch() -> (RewardGraph, Vec<Episode>) {
        let mut exact = NodeConfig::new("exact");
        exact.when = Some(BTreeMap::from([(
            "task".to_owned(),
            crate::Accepted::One("count".to_owned()),
        )]));
        let graph = RewardGraph::new(&[NodeConfig::new("box_iou"), NodeConfig::new("tags"), exact])
            .unwrap();
        let target = Some(box_target([0.0, 0.0, 10.0, 10.0]));
        let mut episodes = vec![
            episode(
                target.clone(),
                "<think></think><answer>[0, 0, 10, 10]</answer>",
            ),
            episode(target.clone(), "<answer>[0, 0, 10, 5]</answer>"),
            episode(target, "<answer>nothing</answer>"),
            episode(Some(text_target("a")), "<answer>a</answer>"),
        ];
        graph.score_group(&mut episodes);
        (graph, episodes)
    }

    #[test]
    fn counts_unread_answers_by_node() {
        let (_, episodes) = batch();
        let expected = [("box_iou".to_owned(), 1), ("tags".to_owned(), 0)];
        assert_eq!(parse_failures(&episodes), BTreeMap::from(expected));
        assert!(parse_failures(&[]).is_empty());
    }

    #[test]
    fn errors_are_a_share_of_the_episodes() {
        let (_, episodes) = batch();
        assert_eq!(error_rate(&episodes), 0.25);
        assert_eq!(error_rate(&[]), 0.0);
    }

    #[test]
    fn metrics_leave_errors_and_skips_out() {
        let (graph, episodes) = batch();
        let mut metrics = Metrics::default();
        record_rewards(&mut metrics, graph.node_names(), &episodes);
        assert_eq!(metrics.get("rewards/box_iou/mean"), Some(0.5));
        assert_eq!(metrics.get("rewards/box_iou/std"), Some(0.5));
        assert_eq!(
            metrics.get("rewards/box_iou/parse_failure_rate"),
            Some(1.0 / 3.0)
        );
        assert_eq!(metrics.get("rewards/tags/mean"), Some(0.25));
        assert_eq!(metrics.get("rewards/exact/mean"), None);
        let names: Vec<&str> = metrics.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 9);
        assert!(names.contains(&"rewards/exact/mean"));
    }

    #[test]
    fn what_a_score_was_made_of_has_metrics_too() {
        let (_, mut episodes) = batch();
        for (episode, value) in episodes.iter_mut().zip([1.0, 0.0]) {
            let verdicts = &mut episode.outcome.verdicts;
            verdicts.insert("tags.first".to_owned(), Verdict::score(value));
            verdicts.insert("other.first".to_owned(), Verdict::score(value));
        }
        let mut metrics = Metrics::default();
        record_rewards(&mut metrics, ["tags"], &episodes);
        assert_eq!(metrics.get("rewards/tags.first/mean"), Some(0.5));
        assert_eq!(metrics.iter().count(), 6);
    }
}
