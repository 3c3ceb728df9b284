//! Rows with videos and sounds, in every format.

// Helpers of tests may unwrap as tests do; the lint knows the tests themselves only.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use ocelli_core::{Message, Part, Picture, Task, VideoSource};
use ocelli_data::{DataConfig, encode_png, load, open_clip};

/// A folder with two frames, a picture and a file that is called a sound.
fn files(root: &Path) {
    let picture = Picture::new(2, 2, vec![7; 12]);
    fs::create_dir(root.join("clip")).unwrap();
    for name in ["clip/0.png", "clip/1.png", "a.png"] {
        fs::write(root.join(name), encode_png(&picture)).unwrap();
    }
    fs::write(root.join("a.wav"), "not looked at").unwrap();
}

fn task(root: &Path, format: &str, row: &str) -> Result<Task, String> {
    fs::write(root.join("rows.jsonl"), row).unwrap();
    let config = DataConfig {
        path: Some("rows.jsonl".into()),
        ..toml::from_str(&format!("format = '{format}'")).unwrap()
    };
    let data = load(&config, root, 0).map_err(|error| error.to_string())?;
    Ok(data.tasks[0].as_ref().clone())
}

/// What the message shows, in order: `v0 text i0`.
fn shown(message: &Message) -> String {
    let parts = message.content.iter().map(|part| match part {
        Part::Text { text } => text.clone(),
        Part::Image { index } => format!("i{index}"),
        Part::Video { index } => format!("v{index}"),
        Part::Audio { index } => format!("a{index}"),
    });
    parts.collect::<Vec<_>>().join(" ")
}

#[test]
fn rows_of_all_formats_name_videos_and_sounds() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    files(root);
    for (format, row, wanted) in [
        (
            "vlm-r1",
            r#"{"videos": [{"path": "clip", "fps": 2}], "image": "a.png", "audio": "a.wav", "conversations": [
                {"from": "human", "value": "<video>What<image>?<audio>"}, {"from": "gpt", "value": "b"}]}"#,
            "v0 What i0 ? a0",
        ),
        (
            "vlm-r1",
            r#"{"videos": [{"path": "clip", "fps": 2}], "image": "a.png", "audio": ["a.wav"], "conversations": [
                {"from": "human", "value": "What?"}, {"from": "gpt", "value": "b"}]}"#,
            "i0 v0 a0 What?",
        ),
        (
            "easy-r1",
            r#"{"problem": "<image><video>What<audio>?", "answer": "b", "images": ["a.png"], "audios": ["a.wav"],
                "videos": [{"video": "clip", "fps": 2.0}]}"#,
            "i0 v0 What a0 ?",
        ),
        (
            "verl",
            r#"{"prompt": [{"role": "user", "content": "<image><video>What<audio>?"}], "images": ["a.png"],
                "audios": ["a.wav"], "videos": [{"path": "clip", "fps": 2}], "reward_model": {"ground_truth": "b"}}"#,
            "i0 v0 What a0 ?",
        ),
        (
            "trl",
            r#"{"prompt": [{"role": "user", "content": [{"type": "audio"}, {"type": "video"}, {"type": "text", "text":
                "What <video>?"}, {"type": "image"}]}], "image": "a.png", "audio": "a.wav", "video": {"path": "clip", "fps": 2}}"#,
            "a0 v0 What <video>? i0",
        ),
        (
            "trl",
            r#"{"prompt": "What?", "image": "a.png", "audio": "a.wav", "video": {"path": "clip", "fps": 2}}"#,
            "i0 v0 a0 What?",
        ),
    ] {
        // A row is one line.
        let task = task(root, format, &row.replace('\n', " ")).unwrap();
        let place = format!("{format}: {row}");
        assert_eq!(shown(task.messages.last().unwrap()), wanted, "{place}");
        let source = VideoSource {
            path: root.join("clip"),
            fps: Some(2.0),
        };
        assert_eq!(task.videos, [source], "{place}");
        assert_eq!(task.audios, [root.join("a.wav")], "{place}");
        assert_eq!(task.images.len(), 1, "{place}");
        let clip = open_clip(&task.videos[0]).unwrap();
        assert_eq!((clip.frames.len(), clip.fps), (2, Some(2.0)));
        // A record keeps the names.
        let text = serde_json::to_string(&task).unwrap();
        assert_eq!(serde_json::from_str::<Task>(&text).unwrap(), task);
    }
}

#[test]
fn wrong_numbers_and_missing_files_name_the_row() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    files(root);
    let gpt = r#"{"from": "gpt", "value": "b"}"#;
    for (format, row, wanted) in [
        (
            "vlm-r1",
            format!(
                r#"{{"video": "clip", "conversations": [{{"from": "human", "value": "<video><video>"}}, {gpt}]}}"#
            ),
            "2 `<video>` in the user's turns, but 1 videos",
        ),
        (
            "vlm-r1",
            format!(
                r#"{{"conversations": [{{"from": "human", "value": "<audio> what?"}}, {gpt}]}}"#
            ),
            "1 `<audio>` in the user's turns, but 0 sounds",
        ),
        (
            "vlm-r1",
            format!(
                r#"{{"video": "none.mp4", "conversations": [{{"from": "human", "value": "a"}}, {gpt}]}}"#
            ),
            "none.mp4 does not exist",
        ),
        (
            "vlm-r1",
            format!(
                r#"{{"audio": "clip", "conversations": [{{"from": "human", "value": "a"}}, {gpt}]}}"#
            ),
            "clip does not exist",
        ),
        (
            "easy-r1",
            r#"{"problem": "a", "answer": "b", "videos": ["clip"]}"#.to_owned(),
            "0 `<video>` in the user's turns, but 1 videos",
        ),
        (
            "easy-r1",
            r#"{"problem": "<video>a", "answer": "b", "videos": ["none.mp4"]}"#.to_owned(),
            "the video ",
        ),
        (
            "easy-r1",
            r#"{"problem": "<audio>a", "answer": "b", "audios": [7]}"#.to_owned(),
            "`audios` holds a number",
        ),
        (
            "trl",
            r#"{"prompt": [{"role": "user", "content": [{"type": "audio"}]}]}"#.to_owned(),
            "1 parts of type `audio`",
        ),
    ] {
        let error = task(root, format, &row).unwrap_err();
        assert!(error.contains(wanted), "{row}: {error}");
        assert!(error.contains("rows.jsonl"), "{row}: {error}");
    }
}
