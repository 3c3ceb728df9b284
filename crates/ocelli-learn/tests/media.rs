//! Runs on rows with videos and sounds: supervised, then by rewards.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ocelli_core::Picture;
use ocelli_data::encode_png;
use ocelli_learn::Recipe;
use ocelli_learn::observer::Silent;
use ocelli_learn::train::{plan, train};
use serde_json::Value;

/// A whole folder of `ocelli-rollout/tests/golden`.
fn model(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../ocelli-rollout/tests/golden")
        .join(family)
}

/// Two stages of two steps on `rows.jsonl`.
fn recipe(folder: &Path, family: &str) -> Recipe {
    let text = format!(
        r#"
[model]
path = {:?}

[run]
output_dir = {:?}
log_episodes_steps = 1

[[stage]]
kind = "sft"
data = {{ path = "rows.jsonl" }}
batch = {{ size = 2 }}
optim = {{ learning_rate = 1e-3 }}
exit = {{ max_steps = 2 }}

[[stage]]
kind = "grpo"
data = {{ path = "rows.jsonl" }}
batch = {{ size = 2 }}
rollout = {{ num_generations = 4, max_completion_length = 8 }}
reward = [ {{ verifier = "tags", partial = true }} ]
optim = {{ learning_rate = 1e-3 }}
exit = {{ max_steps = 2 }}
"#,
        model(family),
        folder.join("runs"),
    );
    let path = folder.join("recipe.toml");
    fs::write(&path, text).unwrap();
    Recipe::read(&path, &[]).unwrap()
}

fn row(shown: &str, question: &str) -> String {
    format!(
        r#"{{{shown}, "conversations": [{{"from": "human", "value": "{question}"}}, {{"from": "gpt", "value": "<answer>b</answer>"}}]}}"#
    ) + "\n"
}

fn write_pictures(folder: &Path) {
    fs::create_dir_all(folder.join("clip")).unwrap();
    for n in 0..5u8 {
        let picture = Picture::new(40, 30, [n * 40, 90, 7].repeat(1200));
        fs::write(folder.join(format!("clip/{n}.png")), encode_png(&picture)).unwrap();
    }
}

fn write_wav(path: &Path, rate: u32, samples: usize) {
    let form = hound::WavSpec {
        channels: 2,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, form).unwrap();
    for n in 0..2 * samples {
        writer
            .write_sample(((n * 7919 + n * n * 31) % 4093) as i16 - 2046)
            .unwrap();
    }
    writer.finalize().unwrap();
}

/// Lines of a file of the run.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Trains, and checks that sampling and training saw the same and that something was learned from it.
fn trained(folder: &Path, family: &str) -> Vec<Value> {
    let recipe = recipe(folder, family);
    let finished = train(&recipe, "m", folder, &mut Silent, &AtomicBool::new(false))
        .unwrap_or_else(|error| panic!("{family}: {error}"));
    let steps = lines(&finished.folder.join("metrics.jsonl"));
    let of = |stage: &str| steps.iter().filter(|s| s["stage"] == stage).count();
    assert_eq!((of("sft"), of("grpo")), (2, 2), "{family}");
    for step in &steps {
        let norm = step["grad_norm"].as_f64().unwrap();
        assert!(norm.is_finite(), "{family}: {step}");
        if step["stage"] == "sft" {
            assert!(norm > 0.0, "{family}: {step}");
        } else {
            let off = step["sampling/sampling_logp_difference/max"]
                .as_f64()
                .unwrap();
            assert!(off < 1e-4, "{family}: {step}");
        }
    }
    steps
}

#[test]
fn rows_with_videos_are_trained_on() {
    for family in ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"] {
        let folder = tempfile::tempdir().unwrap();
        write_pictures(folder.path());
        let clip = r#"{"path": "clip", "fps": 2}"#;
        let rows = row(&format!(r#""video": {clip}"#), "<video>What happens?")
            + &row(
                &format!(r#""videos": [{clip}, {clip}], "image": "clip/0.png""#),
                "<video><image> and <video>: which?",
            );
        fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
        trained(folder.path(), family);
    }
}

#[test]
fn rows_with_sounds_are_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    write_wav(&folder.path().join("a.wav"), 16_000, 8000);
    write_wav(&folder.path().join("b.wav"), 44_100, 20_000);
    let rows = row(r#""audio": "a.wav""#, "<audio>What is it?")
        + &row(r#""audios": ["b.wav", "a.wav"]"#, "Which is louder?");
    fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
    trained(folder.path(), "qwen2_audio");
}

#[test]
fn what_no_model_can_see_or_hear_is_found_before_the_first_step() {
    for (family, shown, question, wanted) in [
        (
            "qwen2_5_vl",
            r#""video": "clip""#,
            "<video>What?",
            "frames a second",
        ),
        (
            "qwen2_audio",
            r#""video": "clip""#,
            "<video>What?",
            "reads no videos",
        ),
        (
            "llama",
            r#""audio": "a.wav""#,
            "<audio>What?",
            "hears no sounds",
        ),
        (
            "qwen2_audio",
            r#""audio": "short.wav""#,
            "<audio>What?",
            "too short",
        ),
        (
            "qwen2_5_vl",
            r#""video": {"path": "clip", "fps": 2}"#,
            "<video>What <|video_pad|>?",
            "the prompt has 2 <|video_pad|>",
        ),
        (
            "qwen3_vl",
            r#""video": {"path": "clip", "fps": 2}"#,
            "<video>What <|video_pad|>?",
            "the prompt has 2 <|video_pad|>",
        ),
        (
            "qwen2_audio",
            r#""audio": "a.wav""#,
            "<audio>What <|AUDIO|>?",
            "the prompt has 2 <|AUDIO|>",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write_pictures(folder.path());
        write_wav(&folder.path().join("a.wav"), 16_000, 8000);
        write_wav(&folder.path().join("short.wav"), 16_000, 100);
        let rows = row(&format!(r#""id": "bad", {shown}"#), question);
        fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
        let recipe = recipe(folder.path(), family);
        let text = plan(&recipe, folder.path()).unwrap_err().to_string();
        let place = format!("{family}, {shown}: {text}");
        assert!(text.contains(wanted) && text.contains("bad"), "{place}");
        assert!(!folder.path().join("runs").exists(), "{place}");
    }
}
