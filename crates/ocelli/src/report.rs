//! The report of a run: one HTML file that needs nothing beside itself.
//!
//! [`write_report`] reads a run folder and writes `report.html` into it. Style, script, curves and pictures are inside
//! the file, and nothing is loaded from elsewhere, so it can be mailed or archived. A run that has only begun, or was
//! cut short, gives a page too: a section whose file is missing says so.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use self::html::{escape, fill, json_for_script};
use self::run_folder::RunFolder;
use crate::evaluation_table::EvaluationTable;

mod curve_names;
mod curves;
mod evaluations;
mod gallery;
mod html;
mod run_folder;
mod summary;

const PAGE: &str = include_str!("report/page.html");
const STYLE: &str = include_str!("report/page.css");
const SCRIPT: &str = include_str!("report/page.js");

/// Writes `report.html` into a run folder from what the folder holds, and returns its path.
///
/// Reads `metrics.jsonl`, `evals.jsonl`, `gallery.jsonl`, `resolved.toml` and `env.json`; each may be missing, and lines
/// that cannot be read are left out and named on the page. The file appears whole or not at all, so a browser can
/// reload it while the run goes on.
///
/// # Errors
/// When the folder does not exist, one of its files exists but cannot be read, or the page cannot be written.
pub fn write_report(run_dir: &Path) -> anyhow::Result<PathBuf> {
    let run = RunFolder::read(run_dir)?;
    let page = render(&run);
    let path = run_dir.join("report.html");
    let unfinished = run_dir.join("report.html.tmp");
    fs::write(&unfinished, page).with_context(|| {
        format!(
            "cannot write {}; check the folder's permissions and the free space",
            unfinished.display()
        )
    })?;
    fs::rename(&unfinished, &path).with_context(|| {
        format!(
            "cannot rename {} to {}",
            unfinished.display(),
            path.display()
        )
    })?;
    Ok(path)
}

/// The whole page.
fn render(run: &RunFolder) -> String {
    let table = EvaluationTable::new(&run.evaluations.items);
    let stages = curves::stages(&run.metrics.items);
    fill(
        PAGE,
        &[
            ("title", &escape(&run.name)),
            ("style", STYLE),
            ("script", SCRIPT),
            ("summary", &summary::html(run, &table)),
            (
                "evaluations",
                &evaluations::html(&table, &run.evaluations.status),
            ),
            ("curves", &curves::html(&stages, &run.metrics.status)),
            ("curve_data", &json_for_script(&curves::payload(&stages))),
            (
                "gallery",
                &gallery::html(&run.gallery.items, &run.gallery.status),
            ),
            ("recipe", &summary::recipe_html(run.recipe.as_deref())),
            (
                "environment",
                &summary::environment_html(run.environment.as_ref()),
            ),
            ("version", env!("CARGO_PKG_VERSION")),
        ],
    )
}

#[cfg(test)]
mod tests;
