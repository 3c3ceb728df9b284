//! What `ocelli validate` prints: how many rows of each source get full marks, and those that do not.

use std::collections::BTreeMap;
use std::fmt::Write;

use ocelli_learn::evaluation::ALL_TASKS;

use crate::commands::validate::Failure;
use crate::text_table::align;

/// One line a source; `rows` are the source of each row and whether it has full marks.
pub(crate) fn format_gold_table(rows: &[(String, bool)]) -> String {
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let mut all = [0, 0];
    for (source, full) in rows {
        for count in [&mut all, counts.entry(source).or_default()] {
            count[0] += 1;
            count[1] += usize::from(*full);
        }
    }
    let header = ["source", "rows", "full marks", "failing"].map(str::to_owned);
    let line = |source: &str, [rows, full]: [usize; 2]| {
        vec![
            source.to_owned(),
            rows.to_string(),
            full.to_string(),
            (rows - full).to_string(),
        ]
    };
    let mut lines = vec![header.to_vec(), line(ALL_TASKS, all)];
    if counts.len() > 1 {
        lines.extend(counts.iter().map(|(source, count)| line(source, *count)));
    }
    align(&lines, &[0])
}

/// A line for each of the first `most` failures, and how many more there are.
pub(crate) fn format_failures(failures: &[Failure], most: usize) -> String {
    let mut text = String::new();
    for failure in failures.iter().take(most) {
        let Failure {
            data,
            row,
            node,
            score,
            reason,
            ..
        } = failure;
        let _ = write!(text, "{data}, row `{row}`: ");
        if let Some(node) = node {
            let _ = write!(text, "{node} ");
        }
        if let Some(score) = score {
            let _ = write!(text, "{score:.3} ");
        }
        let _ = writeln!(text, "({reason})");
    }
    if failures.len() > most {
        let _ = writeln!(
            text,
            "… and {} more; --list {} shows all",
            failures.len() - most,
            failures.len()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_rows_by_source() {
        let rows = [
            ("a".to_owned(), true),
            ("b".to_owned(), false),
            ("a".to_owned(), true),
        ];
        let expected = "\
source  rows  full marks  failing
all        3           2        1
a          2           2        0
b          1           0        1
";
        assert_eq!(format_gold_table(&rows), expected);
        assert_eq!(format_gold_table(&rows[..1]).lines().count(), 2);
    }

    #[test]
    fn lists_some_failures_and_says_how_many_more() {
        let failure = Failure {
            data: "train.jsonl".into(),
            row: "7".into(),
            source: "-".into(),
            node: Some("exact".into()),
            score: Some(0.0),
            reason: "unread: the answer is empty".into(),
        };
        let nothing = Failure {
            node: None,
            score: None,
            reason: "the row has no answer".into(),
            ..failure.clone()
        };
        let text = format_failures(&[failure, nothing.clone(), nothing], 2);
        assert_eq!(
            text,
            "train.jsonl, row `7`: exact 0.000 (unread: the answer is empty)\n\
             train.jsonl, row `7`: (the row has no answer)\n… and 1 more; --list 3 shows all\n"
        );
    }
}
