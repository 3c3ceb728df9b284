//! `ocelli score`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use ocelli_core::{Episode, Verdict};
use ocelli_reward::protocol::ScoreItem;
use serde_json::Value;

use super::reward_file::RewardArguments;
use super::{misuse, print};
use crate::score_table::{Scored, format_score_table, summarise};

/// Arguments of `ocelli score`.
#[derive(Args)]
pub struct Arguments {
    /// Files with one JSON object a line, or folders of such files: answers as the verifier server takes them (`response`, `answer` or
    /// `target`, `tags`, `id`, `group`), or episodes as in a run's `episodes/`. A file is one batch, answers to one prompt stand together.
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
    if arguments.step > 0 && arguments.step >= progress.max_steps {
        return Err(misuse(format!(
            "--step {}: steps count from 0 and there are {}; give a smaller one, or --max-steps",
            arguments.step, progress.max_steps
        )));
    }
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
    if !arguments.json {
        print(&format_score_table(&summarise(
            &scored,
            arguments.by.as_deref(),
        )))?;
    }
    tell_errors(&scored)
}

/// Says the first error of each node on stderr.
///
/// # Errors
/// When nothing at all could be judged.
fn tell_errors(scored: &[Scored]) -> anyhow::Result<()> {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, verdict) in scored.iter().flat_map(|s| &s.verdicts) {
        if let Verdict::Error(error) = verdict {
            first.entry(name).or_insert(&error.message);
        }
    }
    for (name, message) in &first {
        // Nobody reads a closed stderr.
        let _ = writeln!(std::io::stderr(), "`{name}`, the first error: {message}");
    }
    if scored.iter().all(|s| s.reward.is_none()) && !first.is_empty() {
        anyhow::bail!("no answer could be judged");
    }
    Ok(())
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
    let mut episodes: Vec<Episode> = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| at(index + 1, e.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let read = line_of(&line, index + 1).map_err(|problem| at(index + 1, problem))?;
        episodes.push(match (read, episodes.last()) {
            (Line::Answer(answer), Some(before)) if before.task.id == answer.task.id => Episode {
                sample: before.sample + 1,
                ..answer
            },
            (Line::Answer(episode) | Line::Record(episode), _) => episode,
        });
    }
    if episodes.is_empty() {
        return Err(misuse(format!("{}: no episodes", path.display())));
    }
    Ok(episodes)
}

/// What a line holds.
enum Line {
    /// A recorded episode, which knows its place in its group.
    Record(Episode),
    /// An answer with what is needed to judge it.
    Answer(Episode),
}

/// Reads line `number`. An answer's row is named by its `id`, else by its `group`, else by the line.
fn line_of(line: &str, number: usize) -> Result<Line, String> {
    let value: Value = serde_json::from_str(line).map_err(|e| format!("not JSON ({e})"))?;
    if value.get("segments").is_some() {
        return serde_json::from_value(value).map(Line::Record).map_err(|e| {
            format!(
                "no episode ({e}); a line with `segments` is a record as `ocelli train` writes them"
            )
        });
    }
    let item: ScoreItem = serde_json::from_value(value).map_err(|e| {
        format!(
            "no answer ({e}); give {{\"response\": …, \"answer\": …}}, with `tags` that are texts"
        )
    })?;
    let name = item.id.clone().or_else(|| item.group.clone());
    let named = ScoreItem {
        id: Some(name.unwrap_or_else(|| number.to_string())),
        ..item
    };
    named.into_episode(number).map(Line::Answer)
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
