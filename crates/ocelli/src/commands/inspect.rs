//! `ocelli inspect`: what a checkpoint is, what a prompt becomes, what the model sees.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use ocelli_core::Frame;
use ocelli_model::checkpoint::{Checkpoint, ConfigOverrides};
use ocelli_model::part::{Part, part_of};
use ocelli_model::percept::{Extent, Media, Percept};
use ocelli_model::stored_model::StoredTensor;
use ocelli_rollout::Policy;
use serde_json::json;

use super::shown::{ROW, ShownArguments};
use super::{misuse, print};
use crate::text_table::{align, size, thousands};

/// Arguments of `ocelli inspect`.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Parts, sizes and types of a checkpoint; its weights are not read.
    Model(ModelArguments),
    /// A conversation as the model gets it: the rendered text, token ids, and how pictures, videos and sounds are cut.
    Prompt(PromptArguments),
    /// The pixels that the model sees of a picture, as a PNG.
    Image(ImageArguments),
}

#[derive(Args)]
struct ModelArguments {
    /// A checkpoint folder, a preset, or org/name in the Hugging Face cache.
    model: String,
    /// List every tensor.
    #[arg(long)]
    tensors: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct PromptArguments {
    /// A checkpoint folder, a preset, or org/name in the Hugging Face cache.
    model: String,
    /// The question.
    prompt: String,
    #[command(flatten)]
    shown: ShownArguments,
    /// The system prompt; without it, the model's chat template decides.
    #[arg(long)]
    system: Option<String>,
    /// Print JSON with all ids and positions.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ImageArguments {
    /// A checkpoint folder, a preset, or org/name in the Hugging Face cache.
    model: String,
    /// The picture.
    image: PathBuf,
    /// The PNG to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Looks.
///
/// # Errors
/// When checkpoint, pictures, videos or sounds can't be read.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.what {
        What::Model(arguments) => model(arguments),
        What::Prompt(arguments) => prompt(arguments),
        What::Image(arguments) => image(arguments),
    }
}

/// Tensors, numbers and bytes of a part.
#[derive(Default)]
struct Share {
    tensors: usize,
    parameters: usize,
    bytes: usize,
    types: BTreeMap<String, usize>,
}

fn shares(tensors: &[StoredTensor]) -> BTreeMap<Part, Share> {
    let mut shares: BTreeMap<Part, Share> = BTreeMap::new();
    for tensor in tensors {
        let share = shares.entry(part_of(&tensor.name)).or_default();
        share.tensors += 1;
        share.parameters += tensor.parameters();
        share.bytes += tensor.bytes;
        *share.types.entry(tensor.dtype.clone()).or_default() += 1;
    }
    shares
}

fn model(arguments: &ModelArguments) -> anyhow::Result<()> {
    let stored = Checkpoint::stored(&arguments.model)?;
    let shares = shares(&stored.tensors);
    if arguments.json {
        let parts: serde_json::Map<_, _> = shares
            .iter()
            .map(|(part, share)| {
                let share = json!({
                    "tensors": share.tensors,
                    "parameters": share.parameters,
                    "bytes": share.bytes,
                    "types": share.types,
                });
                (part.name().to_owned(), share)
            })
            .collect();
        let tensors = arguments.tensors.then(|| {
            let list = stored.tensors.iter();
            list.map(|t| json!({"name": t.name, "shape": t.shape, "dtype": t.dtype}))
                .collect::<Vec<_>>()
        });
        let whole = json!({
            "origin": stored.origin,
            "model_type": stored.model_type,
            "parts": parts,
            "missing": stored.missing,
            "unexpected": stored.unexpected,
            "tensors": tensors,
        });
        return print(&format!("{whole:#}\n"));
    }
    let mut text = format!(
        "{}  {}\n{}\n\n",
        stored.model_type, stored.origin, stored.summary
    );
    let mut lines = vec![
        ["part", "tensors", "parameters", "bytes", "types"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut total = Share::default();
    for (part, share) in &shares {
        let types: Vec<String> = share.types.keys().cloned().collect();
        lines.push(vec![
            part.name().to_owned(),
            share.tensors.to_string(),
            thousands(share.parameters),
            size(share.bytes),
            types.join(", "),
        ]);
        total.tensors += share.tensors;
        total.parameters += share.parameters;
        total.bytes += share.bytes;
    }
    lines.push(vec![
        "all".to_owned(),
        total.tensors.to_string(),
        thousands(total.parameters),
        size(total.bytes),
    ]);
    text += &align(&lines, &[0, 4]);
    for (what, names) in [
        ("missing", &stored.missing),
        ("unexpected", &stored.unexpected),
    ] {
        for name in names {
            writeln!(text, "{what}  {name}")?;
        }
    }
    if arguments.tensors {
        text.push('\n');
        let lines: Vec<Vec<String>> = stored
            .tensors
            .iter()
            .map(|t| vec![t.name.clone(), format!("{:?}", t.shape), t.dtype.clone()])
            .collect();
        text += &align(&lines, &[0, 1, 2]);
    }
    print(&text)
}

fn policy(model: &str) -> anyhow::Result<Policy> {
    let device = burn::tensor::Device::flex();
    let checkpoint = Checkpoint::open(model, &ConfigOverrides::default(), 0, &device)?;
    Ok(Policy::new(checkpoint, &device)?)
}

fn prompt(arguments: &PromptArguments) -> anyhow::Result<()> {
    let policy = policy(&arguments.model)?;
    let processor = &policy.processor;
    let media = arguments.shown.media(&policy)?;
    let messages = arguments
        .shown
        .messages(arguments.system.as_deref(), &arguments.prompt);
    let context = processor.prompt(ROW, &messages, &media)?;
    let placeholders = policy.checkpoint.config.placeholder_tokens();
    if arguments.json {
        let grids = |percepts: &[Arc<Percept>]| -> Vec<[usize; 3]> {
            percepts.iter().map(|p| p.extent.grid()).collect()
        };
        let videos = media.videos.iter().map(|p| &p.extent);
        let seconds = videos.filter_map(|extent| match extent {
            Extent::Video(video) => Some(video.second_per_grid),
            _ => None,
        });
        let sounds = media.audios.iter().map(|p| &p.extent);
        let frames = sounds.filter_map(|extent| match extent {
            Extent::Sound { frames } => Some(*frames),
            _ => None,
        });
        let whole = json!({
            "text": processor.render(&messages)?,
            "token_ids": context.ids,
            "positions": context.positions,
            "image_grid_thw": grids(&media.images),
            "video_grid_thw": grids(&media.videos),
            "second_per_grid_ts": seconds.collect::<Vec<_>>(),
            "audio_frames": frames.collect::<Vec<_>>(),
            "stop_token_ids": policy.rules.stop,
        });
        return print(&format!("{whole}\n"));
    }
    let mut text = processor.render(&messages)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let places = context
        .ids
        .iter()
        .filter(|id| placeholders.contains(id))
        .count();
    write!(text, "\n{} tokens", context.ids.len())?;
    if !media.is_empty() {
        write!(text, ", {places} of them stand for what is shown")?;
    }
    text.push('\n');
    text += &shown_lines(&policy, &arguments.shown, &media)?;
    text.push('\n');
    text += &token_lines(&context.ids, &context.positions, &placeholders, |id| {
        processor.tokenizer.token(id)
    });
    print(&text)
}

/// A line for each picture, video and sound: how it is cut.
fn shown_lines(
    policy: &Policy,
    shown: &ShownArguments,
    media: &Media<Arc<Percept>>,
) -> anyhow::Result<String> {
    let mut text = String::new();
    let files = shown.image.iter().chain(&shown.video).chain(&shown.audio);
    let percepts = media
        .images
        .iter()
        .chain(&media.videos)
        .chain(&media.audios);
    for (path, percept) in files.zip(percepts) {
        let path_shown = path.display();
        match &percept.extent {
            Extent::Picture(grid) => {
                let [time, height, width] = grid.thw;
                let picture = ocelli_data::decode_picture(path)?;
                let sizes = policy.processor.frame_sizes(&picture)?;
                let [wide, tall] = sizes.extent(Frame::ModelPixels);
                let (source_wide, source_tall) = picture.size();
                writeln!(
                    text,
                    "{path_shown}  {source_wide}x{source_tall} pixels, seen as {wide}x{tall}: {time}x{height}x{width} patches"
                )?;
            }
            Extent::Video(video) => {
                let [time, height, width] = video.thw;
                let seconds: Vec<_> = video.timestamps.iter().map(|t| format!("{t:.1}")).collect();
                writeln!(
                    text,
                    "{path_shown}  {time}x{height}x{width} patches, seen at {} s",
                    seconds.join(", ")
                )?;
            }
            Extent::Sound { frames } => writeln!(text, "{path_shown}  {frames} frames")?,
        }
    }
    Ok(text)
}

/// A line a token, a run of placeholders in one line.
fn token_lines(
    ids: &[u32],
    positions: &[[i32; 3]],
    placeholders: &[u32],
    token: impl Fn(u32) -> Option<String>,
) -> String {
    let mut lines = vec![
        ["index", "id", "token", "time, height, width"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut index = 0;
    while index < ids.len() {
        let id = ids[index];
        let run = if placeholders.contains(&id) {
            ids[index..]
                .iter()
                .take_while(|other| **other == id)
                .count()
        } else {
            1
        };
        let name = token(id).unwrap_or_default();
        let place = |at: usize| positions[at].map(|p| p.to_string()).join(" ");
        let last = index + run - 1;
        lines.push(if run > 1 {
            vec![
                format!("{index}–{last}"),
                id.to_string(),
                format!("{name} ×{run}"),
                format!("{} – {}", place(index), place(last)),
            ]
        } else {
            vec![index.to_string(), id.to_string(), name, place(index)]
        });
        index += run;
    }
    align(&lines, &[2, 3])
}

fn image(arguments: &ImageArguments) -> anyhow::Result<()> {
    let policy = policy(&arguments.model)?;
    let picture = ocelli_data::decode_picture(&arguments.image)?;
    let patches = policy.processor.image(&picture)?;
    let seen = policy.processor.seen(&patches);
    let Some(seen) = seen else {
        return Err(misuse(
            "this model's numbers cannot be turned back into a picture",
        ));
    };
    let png = ocelli_data::encode_png(&seen);
    std::fs::write(&arguments.out, png).with_context(|| arguments.out.display().to_string())?;
    print(&format!(
        "{}: {}x{} pixels of {}x{}\n",
        arguments.out.display(),
        seen.width(),
        seen.height(),
        picture.width(),
        picture.height(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_placeholders_take_one_line() {
        let positions = [[0; 3], [1, 1, 1], [1, 1, 2], [3; 3]];
        let text = token_lines(&[5, 9, 9, 6], &positions, &[9], |id| Some(format!("t{id}")));
        assert_eq!(
            text,
            "index  id  token  time, height, width\n    0   5  t5     0 0 0\n  1–2   9  t9 ×2  1 1 1 – 1 1 2\n    3   6  t6     3 3 3\n"
        );
    }
}
