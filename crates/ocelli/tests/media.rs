//! Videos and sounds on the command line.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use ocelli_core::Picture;
use serde_json::{Value, json};

/// A whole folder of `ocelli-rollout/tests/golden`.
fn model(family: &str) -> String {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ocelli-rollout/tests/golden");
    golden.join(family).to_str().unwrap().to_owned()
}

/// Exit code, and what was said on either channel.
fn ocelli(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ocelli"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let code = output.status.code().expect("no signal ended it");
    (code, String::from_utf8(said).unwrap())
}

fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let (code, said) = ocelli(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
    said
}

/// Six frames of 61×47 pixels in `clip`, half a second of a tone in `a.wav`.
fn files(folder: &Path) -> PathBuf {
    fs::create_dir(folder.join("clip")).unwrap();
    for n in 0..6u8 {
        let picture = Picture::new(61, 47, [n * 30, 200, 9].repeat(61 * 47));
        let path = folder.join(format!("clip/{n}.png"));
        fs::write(path, ocelli_data::encode_png(&picture)).unwrap();
    }
    let path = folder.join("a.wav");
    let form = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&path, form).unwrap();
    for n in 0..4000i32 {
        writer
            .write_sample(((n * 700) % 20_000 - 10_000) as i16)
            .unwrap();
    }
    writer.finalize().unwrap();
    path
}

#[test]
fn videos_and_sounds_are_shown_and_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    files(here);
    let vision = model("qwen2_5_vl");
    let shown = ["--video", "clip", "--fps", "4"];
    let asked = [&["inspect", "prompt", &vision, "What happens?"][..], &shown].concat();
    let text = succeed(here, &asked);
    // Six frames at 4 a second are 1.5 seconds, of which 2 a second would be 3; the fewest are 4, one in 1.5 frames.
    for part in [
        "<|vision_start|><|video_pad|><|vision_end|>What happens?",
        "40 of them stand for what is shown",
        "clip  2x8x10 patches, seen at 0.1, 0.9 s",
        "<|video_pad|> ×40",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let told: Value =
        serde_json::from_str(&succeed(here, &[&asked[..], &["--json"]].concat())).unwrap();
    assert_eq!(told["video_grid_thw"], json!([[2, 8, 10]]));
    assert_eq!(told["second_per_grid_ts"], json!([0.75]));
    let limit = ["--max-completion-length", "4"];
    let ask = [
        &["generate", "--model", &vision, "What?"][..],
        &shown,
        &limit,
    ]
    .concat();
    succeed(here, &ask);

    let hearing = model("qwen2_audio");
    let shown = ["--audio", "a.wav"];
    let asked = [&["inspect", "prompt", &hearing, "What is it?"][..], &shown].concat();
    let text = succeed(here, &asked);
    // Half a second is 50 frames, which the tower makes 12 tokens of.
    for part in [
        "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>",
        "12 of them stand for what is shown",
        "a.wav  50 frames",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let ask = [
        &["generate", "--model", &hearing, "What?"][..],
        &shown,
        &limit,
    ]
    .concat();
    succeed(here, &ask);
}

#[test]
fn what_cannot_be_shown_is_told_with_a_mend() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    files(here);
    fs::write(here.join("a.mp3"), "ID3 no WAV file").unwrap();
    for (family, shown, wanted) in [
        ("qwen2_5_vl", &["--audio", "a.wav"][..], "hears no sounds"),
        ("qwen2_audio", &["--video", "clip"], "reads no videos"),
        ("qwen2_audio", &["--audio", "a.mp3"], "ffmpeg -i"),
        ("qwen2_audio", &["--audio", "none.wav"], "none.wav"),
        ("qwen2_5_vl", &["--video", "none"], "none"),
        ("qwen2_5_vl", &["--video", "clip"], "frames a second"),
        ("qwen2_5_vl", &["--video", "clip", "--fps", "0"], "--fps 0"),
    ] {
        let model = model(family);
        let ask = [&["generate", "--model", &model, "What?"][..], shown].concat();
        let (code, said) = ocelli(here, &ask);
        assert_ne!(code, 0, "{shown:?}: {said}");
        assert!(said.contains(wanted), "{shown:?}: {said}");
    }
}
