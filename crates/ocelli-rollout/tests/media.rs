//! Conversations with videos and sounds against whole checkpoints of transformers: the same ids, the same positions and the same
//! greedy answer. `tests/golden/make_prompts.py` made the folders.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use std::sync::Arc;

use ocelli_core::{Clip, Message, Part, Picture, Role, Task, VideoSource};
use ocelli_model::percept::{Extent, Media, Percept};
use ocelli_rollout::{Policy, perceive, prepare};
use serde_json::{Value, json};

use support::{greedy, number, numbers, picture, policy, read, sound};

const FAMILIES: [&str; 6] = [
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "internvl",
    "smolvlm",
    "qwen2_audio",
];

fn clip(part: &Value) -> Clip {
    let (width, height) = (number(&part["width"]), number(&part["height"]));
    Clip {
        frames: (0..number(&part["frames"]))
            .map(|n| picture(width, height, n))
            .collect(),
        fps: part["fps"].as_f64(),
    }
}

/// The parts of the case's message, and what they show.
fn shown(policy: &Policy, case: &Value) -> (Vec<Message>, Media<Arc<Percept>>) {
    let processor = &policy.processor;
    let (mut content, mut media) = (Vec::new(), Media::default());
    for part in case["shown"].as_array().unwrap() {
        match part["type"].as_str().unwrap() {
            "image" => {
                let size = [number(&part["width"]), number(&part["height"])];
                let image = picture(size[0], size[1], number(&part["seed"]));
                let index = media.images.len();
                content.push(Part::Image { index });
                media.images.push(processor.image(&image).unwrap());
            }
            "video" => {
                let index = media.videos.len();
                content.push(Part::Video { index });
                media.videos.push(processor.video(&clip(part)).unwrap());
            }
            _ => {
                let index = media.audios.len();
                content.push(Part::Audio { index });
                let sound = sound(part["kind"].as_str().unwrap(), number(&part["count"]));
                media.audios.push(processor.sound(&sound).unwrap());
            }
        }
    }
    content.push(Part::Text {
        text: case["question"].as_str().unwrap().to_owned(),
    });
    let message = Message {
        role: Role::User,
        content,
    };
    (vec![message], media)
}

fn extents(media: &Media<Arc<Percept>>) -> Media<Extent> {
    let of = |list: &[Arc<Percept>]| list.iter().map(|p| p.extent.clone()).collect();
    Media {
        images: of(&media.images),
        videos: of(&media.videos),
        audios: of(&media.audios),
    }
}

#[test]
fn videos_and_sounds_give_the_ids_positions_and_answers_of_transformers() {
    for family in FAMILIES {
        let (policy, golden) = (policy(family), read(family, "media.json"));
        let version = golden["versions"]["transformers"].as_str().unwrap();
        assert!(version.starts_with("5.23"));
        for (number, case) in golden["cases"].as_array().unwrap().iter().enumerate() {
            let name = format!("{family}, case {number}");
            let (messages, media) = shown(&policy, case);
            if !case["video_grid_thw"].is_null() {
                let grids: Vec<_> = media.videos.iter().map(|v| v.extent.grid()).collect();
                assert_eq!(json!(grids), case["video_grid_thw"], "{name}");
            }
            let context = policy.processor.prompt("row", &messages, &media).unwrap();
            assert_eq!(context.ids, numbers(&case["input_ids"]), "{name}");
            if !case["positions"].is_null() {
                assert_eq!(json!(context.positions), case["positions"], "{name}");
                let delta = i64::from(context.next_position) - context.ids.len() as i64;
                assert_eq!(json!(delta), case["delta"], "{name}");
            }
            let length = policy
                .processor
                .prompt_length("row", &messages, &extents(&media));
            assert_eq!(length.unwrap(), context.ids.len(), "{name}");
            let answer = numbers(&case["answer"]);
            let found = greedy(&policy, context, answer.len(), numbers(&golden["banned"]));
            assert_eq!(found, answer, "{name}");
        }
    }
}

/// Writes the frames of a case as pictures, and gives their folder as a row would.
fn write_frames(folder: &Path, part: &Value) -> VideoSource {
    std::fs::create_dir_all(folder).unwrap();
    let clip = clip(part);
    for (n, frame) in clip.frames.iter().enumerate() {
        let path = folder.join(format!("{n}.png"));
        std::fs::write(path, ocelli_data::encode_png(frame)).unwrap();
    }
    VideoSource {
        path: folder.to_owned(),
        fps: clip.fps,
    }
}

fn write_wav(path: &Path, rate: u32, samples: &[f32]) {
    let form = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut writer = hound::WavWriter::create(path, form).unwrap();
    for &sample in samples {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
}

fn no_pictures(_: &Task, _: usize) -> Result<Picture, ocelli_data::DataError> {
    unreachable!("the row has no pictures")
}

#[test]
fn rows_are_prepared_from_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let golden = read("qwen2_5_vl", "media.json");
    let case = &golden["cases"][0];
    let vision = policy("qwen2_5_vl");
    let (messages, media) = shown(&vision, case);
    let mut task = Task {
        id: "film".into(),
        messages,
        videos: vec![write_frames(
            &folder.path().join("frames"),
            &case["shown"][0],
        )],
        ..Task::default()
    };
    let tasks = [Arc::new(task.clone())];
    let prepared = prepare(&vision, &tasks, no_pictures).unwrap();
    assert_eq!(prepared[0].media.videos, media.videos);
    let measured = perceive::video_extent(&vision, "film", &task.videos[0]);
    assert_eq!(measured.unwrap().as_ref(), Some(&media.videos[0].extent));

    // What is wrong with a video is told with its row and its place.
    task.videos[0].fps = None;
    let error = prepare(&vision, &[Arc::new(task.clone())], no_pictures).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("row `film`, ") && text.contains("frames: nobody said how many"),
        "{text}"
    );
    task.videos[0].path = folder.path().join("absent");
    let error = prepare(&vision, &[Arc::new(task)], no_pictures).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("row `film`: ") && text.contains("absent"),
        "{text}"
    );

    let hearing = policy("qwen2_audio");
    let part = Part::Audio { index: 0 };
    let message = |content| Message {
        role: Role::User,
        content,
    };
    let path = folder.path().join("a.wav");
    let mut task = Task {
        id: "song".into(),
        messages: vec![message(vec![part])],
        audios: vec![path.clone()],
        ..Task::default()
    };
    let chirp = sound("chirp", 9000);
    write_wav(&path, 16_000, &chirp.samples);
    let prepared = prepare(&hearing, &[Arc::new(task.clone())], no_pictures).unwrap();
    assert_eq!(
        prepared[0].media.audios,
        [hearing.processor.sound(&chirp).unwrap()]
    );
    // Another rate is brought to the network's.
    write_wav(&path, 8000, &chirp.samples[..4000]);
    let prepared = prepare(&hearing, &[Arc::new(task.clone())], no_pictures).unwrap();
    let found = &prepared[0].media.audios[0].extent;
    assert_eq!(found, &Extent::Sound { frames: 50 });
    let measured = perceive::sound_extent(&hearing, "song", &path).unwrap();
    assert_eq!(found, &measured);
    write_wav(&path, 16_000, &[0.5; 100]);
    let error = prepare(&hearing, &[Arc::new(task.clone())], no_pictures).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("row `song`") && text.contains("too short"),
        "{text}"
    );

    // Models that don't see or hear say so, and a part without a file does.
    write_wav(&path, 16_000, &chirp.samples);
    let error = prepare(&vision, &[Arc::new(task.clone())], no_pictures).unwrap_err();
    assert!(error.to_string().contains("hears no sounds"), "{error}");
    task.audios.clear();
    let media = Media::default();
    let error = hearing.processor.prompt("song", &task.messages, &media);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("shows sound number 0"), "{text}");
}

#[test]
fn packed_contexts_keep_their_positions() {
    // What a batch would pad on either side stands behind or before it here: rows and positions are each context's own.
    for family in ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"] {
        let (policy, golden) = (policy(family), read(family, "media.json"));
        let contexts: Vec<_> = golden["cases"].as_array().unwrap()[..2]
            .iter()
            .map(|case| {
                let (messages, media) = shown(&policy, case);
                policy.processor.prompt("row", &messages, &media).unwrap()
            })
            .collect();
        let device = &policy.device;
        let both: Vec<_> = contexts.iter().collect();
        let packed =
            ocelli_rollout::generate::PackedContexts::new(&policy.network(), &both, device);
        let apart: Vec<_> = contexts.iter().flat_map(|c| c.positions.clone()).collect();
        assert_eq!(packed.positions, apart, "{family}");
    }
}
