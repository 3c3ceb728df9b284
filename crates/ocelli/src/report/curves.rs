//! Learning curves: from metric lines to what the page's script draws.
//!
//! The page must stay small and true for long runs, so a curve keeps at most [`POINT_LIMIT`] points: first, last, and
//! the lowest and highest of equal spans, which keeps every spike. The smooth line is a centred mean over all points of
//! the run and is only evaluated at those kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::curve_names;
use super::html::{empty_note, escape};
use super::run_folder::{FileStatus, MetricLine};
use super::summary;

/// Most points that a curve keeps.
const POINT_LIMIT: usize = 1000;
/// A smooth line averages over about one part in this many of its stage.
const SMOOTHING_PARTS: usize = 12;

/// A stage of the run with its curves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Stage {
    /// The stage's kind, such as `sft`.
    name: String,
    /// Steps at which most curves have a value; a curve with other steps brings its own.
    steps: Vec<u64>,
    curves: Vec<Curve>,
    /// Position in the recipe, from 0.
    #[serde(skip)]
    index: i64,
    /// Number of steps reported.
    #[serde(skip)]
    step_count: usize,
    /// Seconds from the first report to the last, with the first step's own time where it is known.
    #[serde(skip)]
    seconds: Option<f64>,
}

/// One measurement through a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Curve {
    name: String,
    label: String,
    /// Whether it is drawn at once, or in the folded part with what the page has no words for.
    known: bool,
    /// Its own steps, unless they are the stage's.
    steps: Option<Vec<u64>>,
    raw: Vec<f64>,
    smooth: Vec<f64>,
    /// Number of points that the smooth line averages over.
    window: usize,
    #[serde(skip)]
    range: Range,
}

/// What the table of numbers says of a curve, over all points.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    first: f64,
    lowest: f64,
    highest: f64,
    last: f64,
}

/// The stages of a run, in the recipe's order. A step that was reported twice, as after a resume, counts as reported
/// last.
pub(super) fn stages(lines: &[MetricLine]) -> Vec<Stage> {
    let mut by_stage: BTreeMap<i64, BTreeMap<u64, &MetricLine>> = BTreeMap::new();
    for line in lines {
        by_stage
            .entry(line.stage_index as i64)
            .or_default()
            .insert(line.step.max(0.0) as u64, line);
    }
    by_stage
        .into_iter()
        .filter_map(|(index, lines)| stage(index, &lines))
        .collect()
}

fn stage(index: i64, lines: &BTreeMap<u64, &MetricLine>) -> Option<Stage> {
    let (_, last) = lines.last_key_value()?;
    let mut names: Vec<&str> = Vec::new();
    for name in lines.values().flat_map(|line| line.values.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| curve_names::known(name).map_or(usize::MAX, |known| known.rank));

    let all_steps: Vec<u64> = lines.keys().copied().collect();
    let steps = if all_steps.len() > POINT_LIMIT {
        Vec::new()
    } else {
        all_steps
    };
    let curves = names
        .into_iter()
        .filter_map(|name| curve(name, lines, &steps))
        .collect();
    Some(Stage {
        name: last.stage.clone(),
        steps,
        curves,
        index,
        step_count: lines.len(),
        seconds: seconds(lines),
    })
}

fn seconds(lines: &BTreeMap<u64, &MetricLine>) -> Option<f64> {
    let times: Vec<f64> = lines.values().filter_map(|line| line.time).collect();
    let first_step = lines
        .first_key_value()
        .and_then(|(_, line)| line.values.get("step_time")?.as_f64())
        .unwrap_or(0.0);
    Some((times.last()? - times.first()? + first_step).max(0.0))
}

fn curve(name: &str, lines: &BTreeMap<u64, &MetricLine>, stage_steps: &[u64]) -> Option<Curve> {
    let (steps, values): (Vec<u64>, Vec<f64>) = lines
        .iter()
        .filter_map(|(step, line)| Some((*step, line.values.get(name)?.as_f64()?)))
        .unzip();
    let range = Range {
        first: *values.first()?,
        lowest: values.iter().copied().fold(f64::INFINITY, f64::min),
        highest: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        last: *values.last()?,
    };
    let kept = kept_points(&values, POINT_LIMIT);
    // An odd window has a middle.
    let window = if curve_names::is_exact(name) {
        1
    } else {
        values.len() / SMOOTHING_PARTS / 2 * 2 + 1
    };
    let steps: Vec<u64> = kept.iter().map(|&point| steps[point]).collect();
    let known = curve_names::known(name);
    Some(Curve {
        name: name.to_owned(),
        known: known.is_some(),
        label: known.map_or_else(|| name.to_owned(), |known| known.label),
        steps: (steps != stage_steps).then_some(steps),
        raw: kept.iter().map(|&point| rounded(values[point])).collect(),
        smooth: kept
            .iter()
            .map(|&point| rounded(centred_mean(&values, point, window)))
            .collect(),
        window,
        range,
    })
}

/// Positions of at most `limit` points that keep the shape of a curve: all of them if they are few, else the first, the
/// last, and the lowest and highest of equal spans. `limit` is at least 4.
fn kept_points(values: &[f64], limit: usize) -> Vec<usize> {
    if values.len() <= limit {
        return (0..values.len()).collect();
    }
    let spans = (limit - 2) / 2;
    let mut kept = BTreeSet::from([0, values.len() - 1]);
    for span in 0..spans {
        let from = span * values.len() / spans;
        let to = (span + 1) * values.len() / spans;
        let by_value = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]);
        kept.extend((from..to).min_by(by_value));
        kept.extend((from..to).max_by(by_value));
    }
    kept.into_iter().collect()
}

/// Mean of the `window` values around `point`; near an end, of those that there are, so that the first and the last
/// value of the line are means too and not single noisy steps.
fn centred_mean(values: &[f64], point: usize, window: usize) -> f64 {
    let reach = window / 2;
    let from = point.saturating_sub(reach);
    let to = (point + reach).min(values.len() - 1);
    let around = &values[from..=to];
    around.iter().sum::<f64>() / around.len() as f64
}

/// Five significant digits: more than a screen can show, and half the bytes.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// What the script draws.
#[derive(Serialize)]
pub(super) struct Payload<'a> {
    stages: &'a [Stage],
}

/// The data for the page's script; see [`Stage`].
pub(super) fn payload(stages: &[Stage]) -> Payload<'_> {
    Payload { stages }
}

/// The section of the page, with an empty place for each stage's charts and all numbers as a table.
pub(super) fn html(stages: &[Stage], status: &FileStatus) -> String {
    let mut html = summary::skipped_note(status);
    if stages.is_empty() {
        html.push_str(&empty_note(if status.missing {
            "No curves: the run folder has no metrics.jsonl yet."
        } else {
            "No curves: metrics.jsonl holds no step yet."
        }));
    }
    if !stages.is_empty() {
        html.push_str(&format!(
            "<p class=\"hint\">Faint: single steps. Line: their mean over about one {SMOOTHING_PARTS}th of the stage, \
             from whose first and last value the figures above the charts are taken. To read a step, point at it, or \
             focus a chart and press the arrow keys.</p>"
        ));
    }
    for (position, stage) in stages.iter().enumerate() {
        html.push_str(&stage_html(position, stage));
    }
    html
}

fn stage_html(position: usize, stage: &Stage) -> String {
    let folded = stage.curves.iter().filter(|curve| !curve.known).count();
    let time = stage.seconds.map_or_else(String::new, |seconds| {
        format!(", {}", summary::duration_text(seconds))
    });
    let unknown = if folded > 0 {
        format!(
            "<details class=\"folded\"><summary>{folded} more {}</summary>\
             <div class=\"charts\" data-stage=\"{position}\" data-known=\"false\"></div></details>",
            plural(folded, "measurement"),
        )
    } else {
        String::new()
    };
    let rows: String = stage
        .curves
        .iter()
        .map(|curve| {
            let Range {
                first,
                lowest,
                highest,
                last,
            } = curve.range;
            format!(
                "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&curve.name),
                number(first),
                number(lowest),
                number(highest),
                number(last)
            )
        })
        .collect();
    format!(
        "<section class=\"stage\" aria-label=\"Stage {number}, {name}\">\
         <h3><span class=\"stage-number\">Stage {number}</span> {name} <small>{steps} {word}{time}</small></h3>\
         <div class=\"charts\" data-stage=\"{position}\" data-known=\"true\"></div>{unknown}\
         <details class=\"folded\"><summary>All numbers as a table</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Numbers of stage {number}\">\
         <table class=\"numbers\"><thead><tr><th scope=\"col\">Measurement</th><th scope=\"col\">first</th>\
         <th scope=\"col\">lowest</th><th scope=\"col\">highest</th><th scope=\"col\">last</th></tr></thead>\
         <tbody>{rows}</tbody></table></div></details></section>",
        number = stage.index + 1,
        name = escape(&stage.name),
        steps = stage.step_count,
        word = plural(stage.step_count, "step"),
    )
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}

/// Four significant digits, with an exponent only where the number would be long.
fn number(value: f64) -> String {
    let text = if value == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e7).contains(&value.abs()) {
        format!("{value:.2e}")
    } else {
        // 3 − (digits before the point − 1), within what reads well.
        let decimals = (3 - value.abs().log10().floor() as i64).clamp(0, 7) as usize;
        format!("{value:.decimals$}")
    };
    text.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(value: serde_json::Value) -> MetricLine {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn stages_come_in_order_and_repeated_steps_count_once() {
        let lines = [
            line(json!({"stage":"grpo","stage_index":1,"step":1,"reward":0.5,"time":110.0})),
            line(
                json!({"stage":"sft","stage_index":0,"step":1,"loss":3,"note":"x","time":100.0,"step_time":2.0}),
            ),
            line(
                json!({"stage":"sft","stage_index":0,"step":2,"loss":2,"odd":1,"kl":null,"time":104.0}),
            ),
            line(json!({"stage":"sft","stage_index":0,"step":2,"loss":1,"odd":2,"time":106.0})),
        ];
        let stages = stages(&lines);
        assert_eq!(stages.len(), 2);
        let sft = &stages[0];
        assert_eq!(
            (sft.name.as_str(), sft.step_count, sft.seconds),
            ("sft", 2, Some(8.0))
        );
        let names: Vec<&str> = sft.curves.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["loss", "step_time", "odd"]);
        assert_eq!(sft.curves[0].raw, [3.0, 1.0]);
        assert_eq!(sft.curves[0].steps, None);
        assert_eq!(sft.curves[2].steps, Some(vec![2]));
        assert!(!sft.curves[2].known);
    }

    #[test]
    fn thinning_keeps_ends_and_spikes() {
        let mut values: Vec<f64> = (0..50_000).map(|i| f64::from(i % 7)).collect();
        values[31_415] = 1e6;
        values[27_182] = -1e6;
        let kept = kept_points(&values, POINT_LIMIT);
        assert!(kept.len() <= POINT_LIMIT);
        for point in [0, 27_182, 31_415, 49_999] {
            assert!(kept.contains(&point));
        }
        assert!(kept.is_sorted());
        assert_eq!(kept_points(&values[..5], POINT_LIMIT), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_mean_is_centred_and_one_sided_at_the_ends() {
        let values = [0.0, 1.0, 5.0, 3.0, 4.0];
        assert_eq!(centred_mean(&values, 2, 5), 13.0 / 5.0);
        assert_eq!(centred_mean(&values, 1, 5), 9.0 / 4.0);
        assert_eq!(centred_mean(&values, 0, 5), 2.0);
        assert_eq!(centred_mean(&values, 4, 5), 4.0);
        assert_eq!(centred_mean(&values, 4, 1), 4.0);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(rounded(0.123_456_789), 0.123_46);
        assert_eq!(number(0.0), "0");
        assert_eq!(number(1234.56), "1235");
        assert_eq!(number(-0.012_346), "\u{2212}0.01235");
        assert_eq!(number(1e-5), "1.00e\u{2212}5");
    }
}
