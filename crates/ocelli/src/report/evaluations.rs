//! The evaluations section: one table a way of drawing answers, phases as columns.

use super::curve_names::score_label;
use super::html::{change_text, empty_note, escape, score_text};
use super::run_folder::FileStatus;
use super::summary;
use crate::evaluation_table::{EvaluationTable, ModeRows, ScoreRow, phase_names};

/// The section, or a note that there is nothing yet.
pub(super) fn html(table: &EvaluationTable, status: &FileStatus) -> String {
    let mut html = summary::skipped_note(status);
    if table.modes.is_empty() {
        html.push_str(&empty_note(if status.missing {
            "No evaluations: the run folder has no evals.jsonl yet."
        } else {
            "No evaluations: evals.jsonl holds no line yet."
        }));
        return html;
    }
    let columns: Vec<String> = phase_names(&table.phases)
        .iter()
        .map(|name| phase_heading(name))
        .collect();
    html.push_str("<div class=\"tables\">");
    for mode in &table.modes {
        html.push_str(&mode_html(mode, &columns));
    }
    html.push_str("</div>");
    if columns.len() > 1 {
        html.push_str(
            "<p class=\"hint\">The small number under a score is its change from the column before. \
             Bars run from 0 to 1.</p>",
        );
    }
    html
}

/// `start`, or `after` and the stage.
pub(super) fn phase_heading(name: &str) -> String {
    if name == "start" {
        "start".to_owned()
    } else {
        format!("after {name}")
    }
}

fn mode_html(mode: &ModeRows, columns: &[String]) -> String {
    let explanation = match mode.mode.as_str() {
        "greedy" => "the likeliest token each time",
        "sampled" => "drawn at temperature 1",
        _ => "",
    };
    let headings: String = columns
        .iter()
        .map(|column| format!("<th scope=\"col\">{}</th>", escape(column)))
        .collect();
    let several = mode.tasks.len() > 1;
    let bodies: String = mode
        .tasks
        .iter()
        .map(|task| {
            let heading = if several {
                format!(
                    "<tr class=\"task\"><th scope=\"rowgroup\" colspan=\"{}\">{} <small>{} rows</small></th></tr>",
                    columns.len() + 1,
                    escape(if task.task == "all" { "All tasks" } else { &task.task }),
                    task.rows
                )
            } else {
                String::new()
            };
            let rows: String = task.scores.iter().map(score_html).collect();
            format!("<tbody>{heading}{rows}</tbody>")
        })
        .collect();
    let rows = match mode.tasks.as_slice() {
        [only] => format!(", {} rows", only.rows),
        _ => String::new(),
    };
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Evaluations, {name}\">\
         <table class=\"scores\"><caption>{name} <small>{explanation}{rows}</small></caption>\
         <thead><tr><th scope=\"col\">Score</th>{headings}</tr></thead>{bodies}</table></div>",
        name = escape(&mode.mode),
    )
}

fn score_html(score: &ScoreRow) -> String {
    let label = score_label(&score.name);
    let own_name = if label == score.name {
        String::new()
    } else {
        format!(" <code>{}</code>", escape(&score.name))
    };
    let mut before = None;
    let cells: String = score
        .values
        .iter()
        .map(|value| {
            let cell = cell_html(*value, before);
            before = value.or(before);
            cell
        })
        .collect();
    format!(
        "<tr><th scope=\"row\">{}{own_name}</th>{cells}</tr>",
        escape(label)
    )
}

fn cell_html(value: Option<f64>, before: Option<f64>) -> String {
    let Some(value) = value else {
        return "<td class=\"none\">–</td>".to_owned();
    };
    let change = before.map_or_else(String::new, |before| {
        let change = value - before;
        // Scores are rewards: more is better, and the sign says it without the colour.
        let class = match change_text(change).chars().next() {
            Some('+') => "better",
            Some('\u{2212}') => "worse",
            _ => "same",
        };
        format!(
            "<span class=\"change {class}\">{}</span>",
            change_text(change)
        )
    });
    let meter = if (0.0..=1.0).contains(&value) {
        format!(
            "<span class=\"meter\"><span style=\"width:{:.1}%\"></span></span>",
            value * 100.0
        )
    } else {
        String::new()
    };
    format!("<td>{}{meter}{change}</td>", score_text(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_say_the_change_in_sign_and_class() {
        let cell = cell_html(Some(0.4), Some(0.5));
        assert!(cell.contains("0.400") && cell.contains("change worse\">\u{2212}0.100"));
        assert!(cell.contains("width:40.0%"));
        assert!(!cell_html(Some(3.0), None).contains("meter"));
        assert!(cell_html(None, Some(1.0)).contains("none"));
    }
}
