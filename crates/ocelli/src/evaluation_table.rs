//! Evaluations side by side: the rows of `evals.jsonl`, and the table of before and after that is made of them.
//!
//! The same pivot feeds the terminal ([`format_eval_table`]) and the report page, so both order phases, tasks and
//! scores alike.

use ocelli_learn::evaluation::ALL_TASKS;
pub use ocelli_learn::evaluation::EvalRow;
pub(crate) use ocelli_learn::evaluation::finite_scores;

use crate::text_table::align;

/// A moment of a run at which it was evaluated: after which stage, and that stage's position.
pub(crate) type Phase = (i64, String);

/// Evaluations pivoted: phases are columns; modes, tasks and scores are nested rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EvaluationTable {
    /// Columns in the order of the run.
    pub(crate) phases: Vec<Phase>,
    /// Greedy first, then sampled, then any other.
    pub(crate) modes: Vec<ModeRows>,
}

/// All that was evaluated with one way of drawing answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModeRows {
    pub(crate) mode: String,
    /// `all` first, then the tasks as they came.
    pub(crate) tasks: Vec<TaskRows>,
}

/// The scores of one task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskRows {
    pub(crate) task: String,
    /// Number of rows scored in the latest phase.
    pub(crate) rows: u64,
    pub(crate) scores: Vec<ScoreRow>,
}

/// One score through the phases.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScoreRow {
    pub(crate) name: String,
    /// One value a phase, `None` where the phase has no such score.
    pub(crate) values: Vec<Option<f64>>,
}

impl ScoreRow {
    /// Last value minus first, when the score is known in at least two phases.
    pub(crate) fn change(&self) -> Option<f64> {
        let mut known = self.values.iter().flatten();
        let first = known.next()?;
        Some(known.next_back()? - first)
    }
}

impl EvaluationTable {
    /// Pivots rows. A later row with the same phase, mode and task replaces an earlier one, as after a resumed run.
    /// With a single task beside `all`, the task is left out, since it says the same.
    pub(crate) fn new(rows: &[EvalRow]) -> Self {
        let phases = ordered_phases(rows.iter().map(|row| (row.stage_index, row.after.as_str())));
        let mut modes = distinct(rows.iter().map(|row| row.mode.as_str()));
        modes.sort_by_key(|mode| match *mode {
            "greedy" => 0,
            "sampled" => 1,
            _ => 2,
        });
        let modes = modes
            .into_iter()
            .map(|mode| {
                let of_mode: Vec<&EvalRow> = rows.iter().filter(|row| row.mode == mode).collect();
                ModeRows {
                    mode: mode.to_owned(),
                    tasks: task_rows(&of_mode, &phases),
                }
            })
            .collect();
        Self { phases, modes }
    }

    /// The row that tells best how the run went: the first score of the first task of the first mode, since all three
    /// are ordered by weight. With it come the mode and the number of rows.
    pub(crate) fn headline(&self) -> Option<(&str, u64, &ScoreRow)> {
        let mode = self.modes.first()?;
        let task = mode.tasks.first()?;
        Some((&mode.mode, task.rows, task.scores.first()?))
    }
}

fn task_rows(rows: &[&EvalRow], phases: &[Phase]) -> Vec<TaskRows> {
    let mut tasks = distinct(rows.iter().map(|row| row.task.as_str()));
    tasks.sort_by_key(|task| *task != ALL_TASKS);
    if tasks.len() == 2 && tasks[0] == ALL_TASKS {
        tasks.truncate(1);
    }
    tasks
        .into_iter()
        .map(|task| {
            let latest: Vec<Option<&EvalRow>> = phases
                .iter()
                .map(|(index, after)| {
                    rows.iter().copied().rfind(|row| {
                        row.task == task && row.stage_index == *index && row.after == *after
                    })
                })
                .collect();
            let mut names = distinct(
                latest
                    .iter()
                    .flatten()
                    .flat_map(|row| row.scores.keys())
                    .map(String::as_str),
            );
            names.sort_by_key(|name| (score_rank(name), *name));
            TaskRows {
                task: task.to_owned(),
                rows: latest.iter().flatten().last().map_or(0, |row| row.rows),
                scores: names
                    .into_iter()
                    .map(|name| ScoreRow {
                        name: name.to_owned(),
                        values: latest
                            .iter()
                            .map(|row| row.and_then(|row| row.scores.get(name).copied()))
                            .collect(),
                    })
                    .collect(),
            }
        })
        .collect()
}

/// Phases without repeats, ordered by stage; those of one stage stay in the order in which they came.
pub(crate) fn ordered_phases<'a>(phases: impl Iterator<Item = (i64, &'a str)>) -> Vec<Phase> {
    let mut ordered: Vec<Phase> = Vec::new();
    for (index, after) in phases {
        if !ordered.iter().any(|(i, a)| *i == index && a == after) {
            ordered.push((index, after.to_owned()));
        }
    }
    ordered.sort_by_key(|(index, _)| *index);
    ordered
}

/// Short column names: the stage's name, with its position (from 1) where two stages share a name.
pub(crate) fn phase_names(phases: &[Phase]) -> Vec<String> {
    phases
        .iter()
        .map(|(index, after)| {
            if phases.iter().filter(|(_, other)| other == after).count() > 1 {
                format!("{after} {}", index + 1)
            } else {
                after.clone()
            }
        })
        .collect()
}

/// Orders scores by how much they say about the task: the graded box overlap, then any other score of the answer, then
/// scores of the answer's form.
pub(crate) fn score_rank(name: &str) -> u8 {
    match name {
        "box_iou" => 0,
        "tags" | "format" => 2,
        _ => 1,
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// The table of before and after for the terminal: one line a score, one column a phase, and the change from the first
/// phase to the last. Columns are aligned, there is no colour, and every line ends with a line feed. Empty without rows.
pub fn format_eval_table(rows: &[EvalRow]) -> String {
    let table = EvaluationTable::new(rows);
    let phases = phase_names(&table.phases);
    let with_change = phases.len() > 1;

    let mut header: Vec<String> = ["mode", "task", "rows", "score"].map(str::to_owned).into();
    header.extend(phases);
    if with_change {
        header.push("change".to_owned());
    }
    let mut lines = vec![header];
    for mode in &table.modes {
        let mut mode_cell = mode.mode.as_str();
        for task in &mode.tasks {
            let mut task_cells = (task.task.as_str(), task.rows.to_string());
            for score in &task.scores {
                let mut line = vec![
                    mode_cell.to_owned(),
                    task_cells.0.to_owned(),
                    task_cells.1,
                    score.name.clone(),
                ];
                line.extend(score.values.iter().map(|v| cell(*v, false)));
                if with_change {
                    line.push(cell(score.change(), true));
                }
                lines.push(line);
                // What a line repeats from the one above is left blank.
                mode_cell = "";
                task_cells = ("", String::new());
            }
        }
    }
    if lines.len() == 1 {
        return String::new();
    }
    align(&lines, &[0, 1, 3])
}

fn cell(value: Option<f64>, signed: bool) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if signed => format!("{value:+.3}"),
        Some(value) => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row(after: &str, index: i64, mode: &str, task: &str, scores: &[(&str, f64)]) -> EvalRow {
        EvalRow {
            after: after.into(),
            stage_index: index,
            mode: mode.into(),
            task: task.into(),
            rows: 500,
            scores: scores.iter().map(|(n, v)| ((*n).into(), *v)).collect(),
        }
    }

    #[test]
    fn prints_phases_side_by_side() {
        let rows = [
            row("start", -1, "sampled", "all", &[("box_iou", 0.02)]),
            row("start", -1, "greedy", "all", &[("box_iou", 0.021)]),
            row(
                "grpo",
                1,
                "greedy",
                "all",
                &[("tags", 0.99), ("box_iou", 0.47)],
            ),
            row("sft", 0, "greedy", "all", &[("box_iou", 0.31)]),
        ];
        let expected = "\
mode     task  rows  score    start    sft   grpo  change
greedy   all    500  box_iou  0.021  0.310  0.470  +0.449
                     tags         -      -  0.990       -
sampled  all    500  box_iou  0.020      -      -       -
";
        assert_eq!(format_eval_table(&rows), expected);
        assert_eq!(format_eval_table(&[]), "");
    }

    #[test]
    fn lists_tasks_only_when_there_are_several() {
        let one = [
            row("start", -1, "greedy", "ref", &[("box_iou", 0.1)]),
            row("start", -1, "greedy", "all", &[("box_iou", 0.1)]),
        ];
        let table = EvaluationTable::new(&one);
        assert_eq!(table.modes[0].tasks.len(), 1);
        assert_eq!(table.modes[0].tasks[0].task, "all");

        let mut two = one.to_vec();
        two.push(row("start", -1, "greedy", "count", &[("exact", 0.3)]));
        let table = EvaluationTable::new(&two);
        let tasks: Vec<&str> = table.modes[0]
            .tasks
            .iter()
            .map(|t| t.task.as_str())
            .collect();
        assert_eq!(tasks, ["all", "ref", "count"]);
        assert!(!format_eval_table(&two).contains("change"));
    }

    #[test]
    fn later_rows_replace_earlier_ones_and_equal_names_are_numbered() {
        let rows = [
            row("grpo", 0, "greedy", "all", &[("exact", 0.1)]),
            row("grpo", 1, "greedy", "all", &[("exact", 0.2)]),
            row("grpo", 1, "greedy", "all", &[("exact", 0.4)]),
        ];
        let table = EvaluationTable::new(&rows);
        assert_eq!(phase_names(&table.phases), ["grpo 1", "grpo 2"]);
        let (mode, count, score) = table.headline().unwrap();
        assert_eq!((mode, count), ("greedy", 500));
        assert_eq!(score.values, [Some(0.1), Some(0.4)]);
        assert!((score.change().unwrap() - 0.3).abs() < 1e-12);
    }

    #[test]
    fn reads_a_line_without_stage_and_with_a_null_score() {
        let line =
            r#"{"after":"start","mode":"greedy","task":"all","rows":5,"scores":{"a":null,"b":1}}"#;
        let row: EvalRow = serde_json::from_str(line).unwrap();
        assert_eq!(row.stage_index, -1);
        assert_eq!(row.scores, BTreeMap::from([("b".to_owned(), 1.0)]));
    }
}
