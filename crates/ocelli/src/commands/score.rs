//! `ocelli score`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use ocelli_core::{Episode, Verdict};

use super::reward_file::RewardArguments;
use super::{misuse, print};
use crate::score_table::{Scored, format_score_table, summarise};

/// Arguments of `ocelli score`.
#[derive(Args)]
pub struct Arguments {
    /// Files of episodes, one JSON object a line as in a run's `episodes/`, or folders of such files. The episodes of a file are one
    /// batch, those of one prompt stand together.
    #[arg(required = true)]
    episodes: Vec<PathBuf>,
    #[command(flatten)]
    reward: RewardArguments,
    /// The step that schedules are asked about, from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    step: u64,
    /// Steps of the stage; by default those of the recipe's stage.
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
    /// The tag that the table is broken down by: `source` where rows have it, else `task`.
    #[arg(long, value_name = "TAG")]
    by: Option<String>,
    /// Print one JSON object an episode instead of a table: id, sample, reward and verdicts.
    #[arg(long)]
    json: bool,
    /// Write the episodes with their new outcomes to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Scores recorded episodes anew.
///
/// # Errors
/// When a file cannot be read or written, or the reward is wrong.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let reward = arguments.reward.read()?;
    let progress = reward.progress(arguments.step, arguments.max_steps);
    let graph = reward.start()?;
    let files = files(&arguments.episodes)?;
    let mut out = arguments.out.as_deref().map(Out::create).transpose()?;
    let mut scored = Vec::new();
    for file in files {
        let mut episodes = read(&file)?;
        let recorded: Vec<Option<f64>> = episodes.iter().map(|e| e.outcome.reward).collect();
        let mut groups: Vec<&mut [Episode]> = episodes.chunk_by_mut(same_group).collect();
        graph.score_batch(&mut groups, progress);
        if arguments.json {
            let lines: String = episodes.iter().map(json_line).collect();
            print(&lines)?;
        }
        if let Some(out) = &mut out {
            out.write(&episodes)?;
        }
        scored.extend(
            episodes
                .iter()
                .zip(recorded)
                .map(|(episode, recorded)| Scored {
                    tags: episode.task.tags.clone(),
                    reward: episode.outcome.reward,
                    recorded,
                    verdicts: episode.outcome.verdicts.clone(),
                }),
        );
    }
    if let Some(out) = out {
        out.finish()?;
    }
    if arguments.json {
        return Ok(());
    }
    print(&format_score_table(&summarise(
        &scored,
        arguments.by.as_deref(),
    )))
}

/// Whether two neighbours in a file are samples of one prompt: the same row, the second with a later sample number. A row that
/// is drawn twice begins anew at sample 0.
fn same_group(a: &Episode, b: &Episode) -> bool {
    a.task.id == b.task.id && a.sample < b.sample
}

fn json_line(episode: &Episode) -> String {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        id: &'a str,
        sample: usize,
        reward: Option<f64>,
        verdicts: &'a BTreeMap<String, Verdict>,
    }
    let line = Line {
        id: &episode.task.id,
        sample: episode.sample,
        reward: episode.outcome.reward,
        verdicts: &episode.outcome.verdicts,
    };
    serde_json::json!(line).to_string() + "\n"
}

/// The files themselves, and of a folder its `.jsonl` files by name.
fn files(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let in_path = |e: std::io::Error| misuse(format!("{}: {e}", path.display()));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(in_path)? {
            let file = entry.map_err(in_path)?.path();
            if file.extension().is_some_and(|ending| ending == "jsonl") {
                found.push(file);
            }
        }
        if found.is_empty() {
            return Err(misuse(format!(
                "{}: no .jsonl file in this folder; a run keeps its episodes in RUN/episodes",
                path.display()
            )));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn read(path: &Path) -> anyhow::Result<Vec<Episode>> {
    let at = |line: usize, problem: String| {
        misuse(format!("{}, line {line}: {problem}", path.display()))
    };
    let file = File::open(path).map_err(|e| misuse(format!("{}: {e}", path.display())))?;
    let mut episodes = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| at(index + 1, e.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let episode = serde_json::from_str(&line).map_err(|e| {
            at(
                index + 1,
                format!("no episode ({e}); each line is one record as `ocelli train` writes them"),
            )
        })?;
        episodes.push(episode);
    }
    if episodes.is_empty() {
        return Err(misuse(format!("{}: no episodes", path.display())));
    }
    Ok(episodes)
}

/// The file of `--out`. It is written under another name and then renamed, so that it may be one of the files that are read, and
/// is whole or not there.
struct Out<'a> {
    path: &'a Path,
    partial: PathBuf,
    file: BufWriter<File>,
}

impl<'a> Out<'a> {
    fn create(path: &'a Path) -> anyhow::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let file = File::create(&partial).with_context(|| partial.display().to_string())?;
        Ok(Self {
            path,
            partial,
            file: BufWriter::new(file),
        })
    }

    fn write(&mut self, episodes: &[Episode]) -> anyhow::Result<()> {
        for episode in episodes {
            serde_json::to_writer(&mut self.file, episode)
                .map_err(std::io::Error::from)
                .and_then(|()| self.file.write_all(b"\n"))
                .with_context(|| self.partial.display().to_string())?;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.file
            .flush()
            .and_then(|()| std::fs::rename(&self.partial, self.path))
            .with_context(|| self.path.display().to_string())
    }
}
