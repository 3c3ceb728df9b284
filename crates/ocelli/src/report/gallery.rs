//! The gallery: held-out pictures with the true box and the model's box before and after each stage.
//!
//! A picture stands in the page once; every further frame refers to it. Boxes are drawn over it as SVG in the picture's
//! own pixels. Solid lines are true boxes and dashed lines the model's, so the colour is not needed to tell them apart.

use std::collections::HashMap;

use ocelli_core::BoundingBox;

use super::curve_names::score_label;
use super::evaluations::phase_heading;
use super::html::{empty_note, escape, json_for_script, score_text};
use super::run_folder::{FileStatus, GalleryLine};
use super::summary;
use crate::evaluation_table::{ordered_phases, phase_names, score_rank};

/// Pictures up to this many pixels wide are shown with visible pixels instead of a blur.
const PIXELATED_WIDTH: f64 = 160.0;
/// Kinds of picture that a `data:` address may hold. SVG is not among them: it can hold a script.
const PICTURE_KINDS: [&str; 5] = ["png", "jpeg", "gif", "webp", "bmp"];

/// One picture with its lines, one a phase.
struct Case<'a> {
    /// The latest line, which tells question, truth and picture.
    about: &'a GalleryLine,
    phases: Vec<Option<&'a GalleryLine>>,
}

/// The section with its tools, or a note that there is nothing yet.
pub(super) fn html(lines: &[GalleryLine], status: &FileStatus) -> String {
    let mut html = summary::skipped_note(status);
    if lines.is_empty() {
        html.push_str(&empty_note(if status.missing {
            "No pictures: the run folder has no gallery.jsonl yet."
        } else {
            "No pictures: gallery.jsonl holds no line yet."
        }));
        return html;
    }
    let phases = ordered_phases(
        lines
            .iter()
            .map(|line| (line.stage_index, line.after.as_str())),
    );
    let headings: Vec<String> = phase_names(&phases)
        .iter()
        .map(|name| phase_heading(name))
        .collect();
    let cases = cases(lines, &phases);
    html.push_str(&tools_html(&headings, &score_names(lines)));
    html.push_str(
        "<p class=\"legend\"><span><i class=\"key true-box\"></i> true box (solid)</span>\
         <span><i class=\"key model-box\"></i> the model’s box (dashed)</span></p>\
         <div class=\"cases\" id=\"cases\">",
    );
    for (position, case) in cases.iter().enumerate() {
        html.push_str(&case_html(position, case, &headings));
    }
    html.push_str("</div>");
    html
}

/// Lines by picture, in the order in which the pictures came. A later line of the same picture and phase wins.
fn cases<'a>(lines: &'a [GalleryLine], phases: &[(i64, String)]) -> Vec<Case<'a>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut cases: Vec<Case> = Vec::new();
    for line in lines {
        let place = *places.entry(&line.id).or_insert_with(|| {
            cases.push(Case {
                about: line,
                phases: vec![None; phases.len()],
            });
            cases.len() - 1
        });
        let case = &mut cases[place];
        case.about = line;
        if let Some(phase) = phases
            .iter()
            .position(|(index, after)| *index == line.stage_index && *after == line.after)
        {
            case.phases[phase] = Some(line);
        }
    }
    cases
}

fn score_names(lines: &[GalleryLine]) -> Vec<&str> {
    let mut names: Vec<&str> = lines
        .iter()
        .flat_map(|line| line.scores.keys().map(String::as_str))
        .collect();
    names.sort_by_key(|name| (score_rank(name), *name));
    names.dedup();
    names
}

/// Filter, comparison and order; the script brings them to life and shows them.
fn tools_html(headings: &[String], scores: &[&str]) -> String {
    let last = headings.len().saturating_sub(1);
    let options = |chosen: usize| -> String {
        headings
            .iter()
            .enumerate()
            .map(|(phase, heading)| {
                let selected = if phase == chosen { " selected" } else { "" };
                format!(
                    "<option value=\"{phase}\"{selected}>{}</option>",
                    escape(heading)
                )
            })
            .collect()
    };
    let score_options: String = scores
        .iter()
        .map(|name| {
            let label = score_label(name);
            format!(
                "<option value=\"{}\">{}</option>",
                escape(name),
                escape(label)
            )
        })
        .collect();
    let filters: String = ["all", "improved", "worsened", "unchanged"]
        .iter()
        .map(|filter| {
            let checked = if *filter == "all" { " checked" } else { "" };
            format!(
                "<label><input type=\"radio\" name=\"filter\" value=\"{filter}\"{checked}>\
                 <span>{filter} <b data-count=\"{filter}\"></b></span></label>"
            )
        })
        .collect();
    format!(
        "<form class=\"tools\" id=\"gallery-tools\" hidden>\
         <fieldset class=\"segments\"><legend>Show</legend>{filters}</fieldset>\
         <label>Score <select name=\"score\">{score_options}</select></label>\
         <label>From <select name=\"from\">{}</select></label>\
         <label>To <select name=\"to\">{}</select></label>\
         <label>Order <select name=\"order\"><option value=\"file\">as evaluated</option>\
         <option value=\"gain\">largest gain first</option><option value=\"loss\">largest loss first</option></select></label>\
         <label class=\"check\"><input type=\"checkbox\" name=\"open\"> open all reasoning</label>\
         <output class=\"shown\" id=\"gallery-shown\"></output></form>",
        options(last.saturating_sub(1)),
        options(last),
    )
}

fn case_html(position: usize, case: &Case, headings: &[String]) -> String {
    let about = case.about;
    let scores: Vec<_> = case
        .phases
        .iter()
        .map(|line| line.map(|line| &line.scores))
        .collect();
    let gold = about.gold_text.as_deref().map_or_else(String::new, |gold| {
        format!(
            "<p class=\"truth\">truth <code dir=\"auto\">{}</code></p>",
            escape(gold)
        )
    });
    let answers: String = case
        .phases
        .iter()
        .zip(headings)
        .filter_map(|(line, heading)| Some(answer_html((*line)?, heading)))
        .collect();
    format!(
        "<article class=\"case\" data-position=\"{position}\" data-scores=\"{}\">\
         <header><h3 dir=\"auto\">{}</h3><p class=\"verdict\"></p>\
         <button type=\"button\" class=\"enlarge\" aria-pressed=\"false\" hidden>Enlarge</button></header>\
         <p class=\"case-id\">{}</p>{gold}{}<div class=\"answers\">{answers}</div></article>",
        escape(&json_for_script(&scores)),
        escape(if about.question.is_empty() {
            &about.id
        } else {
            &about.question
        }),
        escape(&about.id),
        frames_html(position, case, headings),
    )
}

/// One frame a phase; a single one when there is no box to draw.
fn frames_html(position: usize, case: &Case, headings: &[String]) -> String {
    let about = case.about;
    // JSON has no infinity, so a positive size is a finite one.
    if !picture_is_safe(&about.image) || about.width.min(about.height) <= 0.0 {
        return "<p class=\"empty\">The picture is left out: it is not an embedded PNG, JPEG, GIF, WebP or BMP \
                with a size.</p>"
            .to_owned();
    }
    let picture = format!(
        "<image id=\"picture-{position}\" href=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\"{}/>",
        escape(&about.image),
        about.width,
        about.height,
        if about.width <= PIXELATED_WIDTH {
            " class=\"pixelated\""
        } else {
            ""
        }
    );
    let reference = format!("<use href=\"#picture-{position}\"/>");
    let has_boxes =
        about.gold_box.is_some() || case.phases.iter().flatten().any(|l| l.answer_box.is_some());
    let frames: String = if has_boxes {
        case.phases
            .iter()
            .zip(headings)
            .filter_map(|(line, heading)| Some((line.as_ref()?, heading)))
            .enumerate()
            .map(|(frame, (line, heading))| {
                let picture = if frame == 0 { &picture } else { &reference };
                frame_html(about, line.answer_box, picture, heading)
            })
            .collect()
    } else {
        format!(
            "<figure>{}</figure>",
            drawing(about, picture, &format!("Picture {}", about.id))
        )
    };
    format!("<div class=\"frames\">{frames}</div>")
}

fn frame_html(
    about: &GalleryLine,
    answer: Option<BoundingBox>,
    picture: &str,
    heading: &str,
) -> String {
    let mut shapes = picture.to_owned();
    let mut alternative = format!("Picture {}, {heading}.", about.id);
    if let Some(gold) = about.gold_box {
        shapes.push_str(&box_html(gold, "true-box"));
        alternative.push_str(&format!(" True box {}.", corners(gold)));
    }
    let mut remark = String::new();
    match answer {
        Some(answer) => {
            shapes.push_str(&box_html(answer, "model-box"));
            alternative.push_str(&format!(" The model’s box {}.", corners(answer)));
            if answer.x1 > answer.x2 || answer.y1 > answer.y2 {
                remark = "corners out of order".to_owned();
            } else if answer.x1.min(answer.y1) < 0.0
                || answer.x2 > about.width
                || answer.y2 > about.height
            {
                remark = "reaches outside".to_owned();
            }
        }
        None => {
            remark = "no box read".to_owned();
            alternative.push_str(" The model gave no box that could be read.");
        }
    }
    if !remark.is_empty() {
        remark = format!("<small>{remark}</small>");
    }
    format!(
        "<figure>{}<figcaption>{}{remark}</figcaption></figure>",
        drawing(about, shapes, &alternative),
        escape(heading)
    )
}

fn drawing(about: &GalleryLine, shapes: String, alternative: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{shapes}</svg>",
        about.width,
        about.height,
        escape(alternative)
    )
}

/// A box as a light halo with the line over it, so that it is seen on any picture.
fn box_html(bounds: BoundingBox, class: &str) -> String {
    let shape = format!(
        "x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"",
        bounds.x1.min(bounds.x2),
        bounds.y1.min(bounds.y2),
        (bounds.x2 - bounds.x1).abs(),
        (bounds.y2 - bounds.y1).abs()
    );
    format!("<rect class=\"halo\" {shape}/><rect class=\"{class}\" {shape}/>")
}

fn corners(bounds: BoundingBox) -> String {
    let [x1, y1, x2, y2] = <[f64; 4]>::from(bounds).map(|corner| (corner * 10.0).round() / 10.0);
    format!("[{x1}, {y1}, {x2}, {y2}]")
}

/// A `data:` address with a raster picture and nothing but base64 after it.
fn picture_is_safe(address: &str) -> bool {
    let Some((kind, data)) = address
        .strip_prefix("data:image/")
        .and_then(|rest| rest.split_once(";base64,"))
    else {
        return false;
    };
    PICTURE_KINDS.contains(&kind)
        && !data.is_empty()
        && data
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}

fn answer_html(line: &GalleryLine, heading: &str) -> String {
    let parts = AnswerParts::of(&line.text);
    let mut names: Vec<&String> = line.scores.keys().collect();
    names.sort_by_key(|name| (score_rank(name), *name));
    let main_score = names.first().map_or_else(String::new, |name| {
        format!(
            "<span class=\"score\">{}</span>",
            score_text(line.scores[*name])
        )
    });
    let scores: String = names
        .iter()
        .map(|name| {
            format!(
                "<li><code>{}</code> {}</li>",
                escape(name),
                score_text(line.scores[*name])
            )
        })
        .collect();
    let reasoning = match parts.reasoning {
        Some("") => "<p class=\"empty\">empty reasoning</p>".to_owned(),
        Some(reasoning) => format!(
            "<blockquote dir=\"auto\">{}</blockquote>",
            escape(reasoning)
        ),
        None => "<p class=\"empty\">no reasoning in tags</p>".to_owned(),
    };
    let answer = match parts.answer {
        "" => "<span class=\"empty\">empty answer</span>".to_owned(),
        answer => format!("<code dir=\"auto\">{}</code>", escape(answer)),
    };
    format!(
        "<details class=\"answer\"><summary><span class=\"phase\">{}</span>{answer}{main_score}</summary>\
         {reasoning}<ul class=\"all-scores\">{scores}</ul>\
         <p class=\"as-written\">As written</p><pre dir=\"auto\">{}</pre></details>",
        escape(heading),
        escape(&line.text)
    )
}

/// A model's text taken apart for reading only; scores come from the verifiers.
#[derive(Debug, PartialEq)]
struct AnswerParts<'a> {
    /// What stands between the think tags.
    reasoning: Option<&'a str>,
    /// What stands between the answer tags; without them, what follows the reasoning, or the whole text.
    answer: &'a str,
}

impl<'a> AnswerParts<'a> {
    fn of(text: &'a str) -> Self {
        let (reasoning, rest) = match between(text, "<think>", "</think>") {
            Some((inside, after)) => (Some(inside), after),
            None => (None, text),
        };
        let answer = between(rest, "<answer>", "</answer>").map_or(rest, |(inside, _)| inside);
        Self {
            reasoning: reasoning.map(str::trim),
            answer: answer.trim(),
        }
    }
}

/// The text between two tags, and the text after the closing one.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<(&'a str, &'a str)> {
    let (_, from_open) = text.split_once(open)?;
    from_open.split_once(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_answers_apart() {
        let parts =
            AnswerParts::of("<think> left of\nthe square </think>\n<answer>[1, 2]</answer> x");
        assert_eq!(parts.reasoning, Some("left of\nthe square"));
        assert_eq!(parts.answer, "[1, 2]");
        assert_eq!(
            AnswerParts::of(" [1, 2] "),
            AnswerParts {
                reasoning: None,
                answer: "[1, 2]"
            }
        );
        assert_eq!(AnswerParts::of("<think>cut").answer, "<think>cut");
        assert_eq!(AnswerParts::of("<think></think>7").reasoning, Some(""));
    }

    #[test]
    fn only_embedded_raster_pictures_are_shown() {
        assert!(picture_is_safe("data:image/png;base64,iVBORw0KGgo="));
        for address in [
            "",
            "data:image/png;base64,",
            "data:image/svg+xml;base64,AAAA",
            "data:text/html;base64,AAAA",
            "//elsewhere/picture.png",
            "data:image/png;base64,AA\" onload=\"x",
        ] {
            assert!(!picture_is_safe(address), "{address}");
        }
    }

    #[test]
    fn boxes_with_swapped_corners_are_still_drawn() {
        let html = box_html(BoundingBox::from([30.0, 5.0, 10.0, 9.0]), "model-box");
        assert!(html.contains("x=\"10\" y=\"5\" width=\"20\" height=\"4\""));
    }
}
