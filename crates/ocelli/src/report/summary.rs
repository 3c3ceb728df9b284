//! The head of the page, what it says about unreadable lines, and the recipe and environment at its foot.

use serde_json::{Map, Value};

use super::curve_names::score_label;
use super::evaluations::phase_heading;
use super::html::{empty_note, escape, score_text};
use super::run_folder::{FileStatus, RunFolder};
use crate::evaluation_table::{EvaluationTable, phase_names};

/// The title: name, date and length of the run, and how its main score went through the stages.
pub(super) fn html(run: &RunFolder, table: &EvaluationTable) -> String {
    format!(
        "<h1>{}</h1>{}{}",
        escape(&run.name),
        dates_html(run),
        verdict_html(table)
    )
}

fn dates_html(run: &RunFolder) -> String {
    let times = || run.metrics.items.iter().filter_map(|line| line.time);
    let (first, last) = (
        times().fold(f64::INFINITY, f64::min),
        times().fold(f64::NEG_INFINITY, f64::max),
    );
    if first > last {
        return String::new();
    }
    format!(
        "<p class=\"dates\"><time data-seconds=\"{first}\">{}</time>, {} from the first step to the last</p>",
        date_text(first),
        duration_text(last - first)
    )
}

/// One figure a phase with an arrow between, such as `0.021 → 0.310 → 0.470`.
fn verdict_html(table: &EvaluationTable) -> String {
    let Some((mode, rows, score)) = table.headline() else {
        return "<p class=\"verdict-line empty\">Not evaluated yet.</p>".to_owned();
    };
    let figures: Vec<String> = score
        .values
        .iter()
        .zip(phase_names(&table.phases))
        .filter_map(|(value, name)| {
            Some(format!(
                "<li><b>{}</b><span>{}</span></li>",
                score_text((*value)?),
                escape(&phase_heading(&name))
            ))
        })
        .collect();
    format!(
        "<div class=\"verdict-line\"><p>{} <small>{}, {rows} held-out rows</small></p><ol class=\"figures\">{}</ol></div>",
        escape(score_label(&score.name)),
        escape(mode),
        figures.concat()
    )
}

/// Names the lines of a file that could not be read; empty when all could.
pub(super) fn skipped_note(status: &FileStatus) -> String {
    const NAMED: usize = 5;
    if status.skipped.is_empty() {
        return String::new();
    }
    let named: Vec<String> = status
        .skipped
        .iter()
        .take(NAMED)
        .map(usize::to_string)
        .collect();
    let more = match status.skipped.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let word = if status.skipped.len() == 1 {
        "line"
    } else {
        "lines"
    };
    format!(
        "<p class=\"note\">Left out of {}: {word} {}{more}, which could not be read. A last line may be half \
         written.</p>",
        status.file,
        named.join(", ")
    )
}

/// The resolved recipe, folded.
pub(super) fn recipe_html(recipe: Option<&str>) -> String {
    match recipe {
        None => empty_note("No recipe: the run folder has no resolved.toml."),
        Some(recipe) => format!(
            "<details class=\"folded\"><summary>resolved.toml, with every default written out</summary>\
             <pre tabindex=\"0\">{}</pre></details>",
            escape(recipe)
        ),
    }
}

/// Machine, versions and whatever else `env.json` tells, as name and value.
pub(super) fn environment_html(environment: Option<&Map<String, Value>>) -> String {
    let Some(environment) = environment else {
        return empty_note("No environment: the run folder has no readable env.json.");
    };
    let facts: String = environment
        .iter()
        .map(|(name, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            format!(
                "<div><dt>{}</dt><dd dir=\"auto\">{}</dd></div>",
                escape(name),
                escape(&value)
            )
        })
        .collect();
    format!("<dl class=\"facts\">{facts}</dl>")
}

/// `41 s`, `3 min 20 s` or `2 h 5 min`.
pub(super) fn duration_text(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Date and minute of a time in seconds since 1970, in UTC: `2026-03-01 09:05 UTC`. The page's script puts the reader's
/// own time zone in its place.
fn date_text(seconds: f64) -> String {
    let minutes = (seconds / 60.0).floor() as i64;
    let (year, month, day) = ocelli_core::calendar::civil_date(minutes.div_euclid(24 * 60));
    let of_day = minutes.rem_euclid(24 * 60);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        of_day / 60,
        of_day % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_date_and_minute() {
        assert_eq!(date_text(1_690_000_000.9), "2023-07-22 04:26 UTC");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration_text(4.25), "4.2 s");
        assert_eq!(duration_text(200.4), "3 min 20 s");
        assert_eq!(duration_text(7500.0), "2 h 5 min");
    }

    #[test]
    fn skipped_lines_are_named() {
        let mut status = FileStatus {
            file: "metrics.jsonl",
            missing: false,
            skipped: vec![7],
        };
        assert!(skipped_note(&status).contains("metrics.jsonl: line 7,"));
        status.skipped = (1..=8).collect();
        assert!(skipped_note(&status).contains("lines 1, 2, 3, 4, 5 and 3 more"));
    }
}
