//! `ocelli doctor`: whether a recipe can run on this machine, before anything starts.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use ocelli_learn::forecast::{Forecast, Phase, examine};
use ocelli_learn::memory::machine::available;
use ocelli_model::checkpoint::Checkpoint;
use serde_json::json;

use super::train::data_hint;
use super::{print, read_recipe, settle};
use crate::text_table::{align, size};

/// Arguments of `ocelli doctor`.
#[derive(Args)]
pub struct Arguments {
    /// The recipe, a TOML file.
    recipe: PathBuf,
    /// Change a key of the recipe, such as `--set batch.max_tokens=4096`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Folder with the data files that the recipe names.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Reads what `train` would read, and predicts.
///
/// # Errors
/// What `train` would fail with before its first step, and when the run does not fit into memory.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut overrides = arguments.overrides.clone();
    if let Some(seed) = arguments.seed {
        overrides.push(format!("run.seed={seed}"));
    }
    let path = &arguments.recipe;
    let mut recipe = read_recipe(path, &overrides, arguments.data.as_deref())?;
    let given = recipe.data.root.is_some();
    let root = settle(&mut recipe, path)?;
    refuse_too_large(&recipe.model.path)?;
    let (lines, forecast) = examine(&recipe, &root).map_err(|e| data_hint(e, given))?;
    if arguments.json {
        print(&format!("{:#}\n", as_json(&lines, &forecast)))?;
    } else {
        print(&as_text(&lines, &forecast))?;
    }
    match forecast.available {
        Some(available) if !forecast.fits() => bail!(
            "this recipe needs {} of memory and {} are available",
            size(forecast.peak()),
            size(available)
        ),
        _ => Ok(()),
    }
}

/// Refuses a model whose f32 weights alone are more than there is, before they are read.
fn refuse_too_large(model: &str) -> anyhow::Result<()> {
    let Some(available) = available().filter(|_| Path::new(model).is_dir()) else {
        return Ok(());
    };
    // What is wrong with the folder is told when it is read.
    let Ok(stored) = Checkpoint::stored(model) else {
        return Ok(());
    };
    let wide = stored.tensors.iter().filter(|t| t.dtype == "F32");
    let bytes: usize = wide.map(|t| t.bytes).sum();
    if bytes > available {
        bail!(
            "{model}: its weights alone need {} of memory and {} are available; use a smaller model, or store it in half precision and \
             train an adapter (model.adapter)",
            size(bytes),
            size(available)
        );
    }
    Ok(())
}

/// The parts that any phase has, as columns.
fn columns(phases: &[Phase]) -> Vec<usize> {
    let parts = |i: usize| phases.iter().any(|phase| phase.parts()[i].1 > 0);
    let count = phases.first().map_or(0, |phase| phase.parts().len());
    (0..count).filter(|&i| parts(i)).collect()
}

fn as_text(lines: &[String], forecast: &Forecast) -> String {
    let mut text = lines.join("\n") + "\n\n";
    let columns = columns(&forecast.phases);
    let mut table = Vec::new();
    for phase in &forecast.phases {
        let parts = phase.parts();
        if table.is_empty() {
            let mut head = vec!["phase".to_owned()];
            head.extend(columns.iter().map(|&i| parts[i].0.to_owned()));
            head.push("peak".into());
            table.push(head);
        }
        let mut line = vec![phase.name.clone()];
        line.extend(columns.iter().map(|&i| match parts[i].1 {
            0 => String::new(),
            bytes => size(bytes),
        }));
        line.push(size(phase.peak()));
        table.push(line);
    }
    text += &align(&table, &[0]);
    let told = |text: &mut String, line: String| {
        let _ = writeln!(text, "{line}");
    };
    text.push('\n');
    told(&mut text, format!("peak       {}", size(forecast.peak())));
    if let Some(available) = forecast.available {
        told(&mut text, format!("available  {}", size(available)));
    }
    if !forecast.advice.is_empty() {
        text += "\nWhat would need less, each by itself:\n";
        let lines: Vec<Vec<String>> = forecast
            .advice
            .iter()
            .map(|advice| vec![advice.change.clone(), size(advice.peak)])
            .collect();
        text += &align(&lines, &[0]);
    }
    text
}

fn as_json(lines: &[String], forecast: &Forecast) -> serde_json::Value {
    let phase = |phase: &Phase| {
        let parts = phase
            .parts()
            .map(|(name, bytes)| (name.to_owned(), bytes.into()));
        let parts: serde_json::Map<String, serde_json::Value> = parts.into_iter().collect();
        json!({"phase": phase.name, "peak": phase.peak(), "parts": parts})
    };
    let advice = forecast.advice.iter();
    json!({
        "plan": lines,
        "phases": forecast.phases.iter().map(phase).collect::<Vec<_>>(),
        "peak": forecast.peak(),
        "available": forecast.available,
        "fits": forecast.fits(),
        "advice": advice.map(|a| json!({"change": a.change, "peak": a.peak})).collect::<Vec<_>>(),
    })
}
