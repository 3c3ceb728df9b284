//! Scores of many episodes by source: what `ocelli score` and `ocelli validate` print.

use std::collections::BTreeMap;

use ocelli_core::Verdict;
use ocelli_learn::evaluation::ALL_TASKS;

use crate::text_table::align;

/// What the table needs of one episode.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scored {
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) reward: Option<f64>,
    /// The reward that stood in the record before.
    pub(crate) recorded: Option<f64>,
    pub(crate) verdicts: BTreeMap<String, Verdict>,
}

/// The means of the episodes that share a tag's value.
#[derive(Debug, PartialEq)]
pub(crate) struct SourceRow {
    pub(crate) source: String,
    pub(crate) episodes: usize,
    /// Of the episodes that have one.
    pub(crate) reward: Option<f64>,
    pub(crate) recorded: Option<f64>,
    /// Mean score, share of unread answers among the scores, and number of errors, by node.
    pub(crate) nodes: BTreeMap<String, NodeMeans>,
}

/// What one node said of some episodes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct NodeMeans {
    pub(crate) mean: Option<f64>,
    pub(crate) unread: Option<f64>,
    pub(crate) errors: usize,
}

/// A row for all episodes, then one for each value of the tag `by`, where there are several. Without a tag it is `source` if any
/// row has it, else `task`.
pub(crate) fn summarise(scored: &[Scored], by: Option<&str>) -> Vec<SourceRow> {
    let by = by.unwrap_or_else(|| {
        let sourced = scored.iter().any(|s| s.tags.contains_key("source"));
        if sourced { "source" } else { "task" }
    });
    let everything: Vec<&Scored> = scored.iter().collect();
    let mut rows = vec![means(ALL_TASKS, &everything)];
    let mut sources: BTreeMap<&str, Vec<&Scored>> = BTreeMap::new();
    for episode in scored {
        let value = episode.tags.get(by).map_or("-", String::as_str);
        sources.entry(value).or_default().push(episode);
    }
    if sources.len() > 1 {
        rows.extend(sources.iter().map(|(source, of)| means(source, of)));
    }
    rows
}

fn means(source: &str, episodes: &[&Scored]) -> SourceRow {
    let mut nodes: BTreeMap<String, NodeMeans> = BTreeMap::new();
    for name in episodes.iter().flat_map(|e| e.verdicts.keys()) {
        if nodes.contains_key(name) {
            continue;
        }
        let verdicts = || episodes.iter().filter_map(|e| e.verdicts.get(name));
        let failed = |v: &Verdict| {
            v.value()?;
            let unread = matches!(
                v,
                Verdict::Score {
                    parse_failure: Some(_),
                    ..
                }
            );
            Some(f64::from(u8::from(unread)))
        };
        nodes.insert(
            name.clone(),
            NodeMeans {
                mean: mean(verdicts().filter_map(Verdict::value)),
                unread: mean(verdicts().filter_map(failed)),
                errors: verdicts()
                    .filter(|v| matches!(v, Verdict::Error(_)))
                    .count(),
            },
        );
    }
    SourceRow {
        source: source.to_owned(),
        episodes: episodes.len(),
        reward: mean(episodes.iter().filter_map(|e| e.reward)),
        recorded: mean(episodes.iter().filter_map(|e| e.recorded)),
        nodes,
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// One line a source and node: the mean score, the share of answers that could not be read, and how many could not be judged.
/// The reward comes first, with the recorded one beside it where there was one.
pub(crate) fn format_score_table(rows: &[SourceRow]) -> String {
    let recorded = rows.iter().any(|row| row.recorded.is_some());
    let mut header = ["source", "episodes", "score", "mean"]
        .map(str::to_owned)
        .to_vec();
    if recorded {
        header.push("recorded".to_owned());
    }
    header.extend(["unread", "errors"].map(str::to_owned));
    let mut lines = vec![header];
    for row in rows {
        let mut line = vec![
            row.source.clone(),
            row.episodes.to_string(),
            "reward".to_owned(),
            cell(row.reward),
        ];
        if recorded {
            line.push(cell(row.recorded));
        }
        lines.push(line);
        for (name, node) in &row.nodes {
            let mut line = vec![String::new(), String::new(), name.clone(), cell(node.mean)];
            if recorded {
                line.push(String::new());
            }
            line.extend([cell(node.unread), node.errors.to_string()]);
            lines.push(line);
        }
    }
    align(&lines, &[0, 2])
}

fn cell(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(source: &str, verdict: Verdict, recorded: Option<f64>) -> Scored {
        Scored {
            tags: BTreeMap::from([("source".to_owned(), source.to_owned())]),
            reward: verdict.value(),
            recorded,
            verdicts: BTreeMap::from([("exact".to_owned(), verdict)]),
        }
    }

    #[test]
    fn means_by_source_leave_errors_out_and_count_them() {
        let error = Verdict::Error(ocelli_core::VerifierError {
            kind: ocelli_core::FailureKind::TargetMissing,
            message: "no target".into(),
            retryable: false,
        });
        let episodes = [
            scored("a", Verdict::score(1.0), Some(0.5)),
            scored("a", Verdict::unparsed("empty"), Some(0.0)),
            scored("b", error, None),
            scored("b", Verdict::Skip, None),
        ];
        let expected = "\
source  episodes  score    mean  recorded  unread  errors
all            4  reward  0.500     0.250
                  exact   0.500             0.500       1
a              2  reward  0.500     0.250
                  exact   0.500             0.500       0
b              2  reward      -         -
                  exact       -                 -       1
";
        assert_eq!(format_score_table(&summarise(&episodes, None)), expected);
    }

    #[test]
    fn a_single_source_is_not_repeated() {
        let episodes = [scored("a", Verdict::score(1.0), None)];
        let expected = "\
source  episodes  score    mean  unread  errors
all            1  reward  1.000
                  exact   1.000   0.000       0
";
        assert_eq!(format_score_table(&summarise(&episodes, None)), expected);
        assert_eq!(summarise(&episodes, Some("task")).len(), 1);
    }
}
