//! The program from outside: exit codes, messages and files of every sub-command.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use assert_cmd::Command;
use ocelli_core::Picture;
use serde_json::Value;

const RECIPE: &str = r#"
[model]
path = "tiny-qwen2_5_vl"
overrides = { vision_hidden_size = 32, vision_depth = 1, vision_intermediate_size = 32, num_hidden_layers = 1 }

[run]
output_dir = "runs"

[eval]
data = { generator = "pointing", split = "val", rows = 4 }
metrics = [ { verifier = "box_iou" }, { verifier = "tags" } ]
max_completion_length = 8
gallery = 2

[[stage]]
kind = "sft"
data = { generator = "pointing", rows = 8 }
batch = { size = 2 }
optim = { learning_rate = 1e-3 }
exit = { max_steps = 2 }

[[stage]]
kind = "grpo"
data = { generator = "pointing", rows = 8 }
batch = { size = 2 }
rollout = { num_generations = 2, max_completion_length = 8 }
reward = [ { verifier = "box_iou" }, { verifier = "tags", weight = 0.5 } ]
optim = { learning_rate = 1e-4 }
exit = { max_steps = 2 }
"#;

/// What a command said.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the program in `folder`. Nothing it is told may make it panic.
fn ocelli(folder: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_ocelli"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let said = Said {
        code: output.status.code().expect("no signal ended it"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    for text in [&said.stdout, &said.stderr] {
        assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    }
    said
}

fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let said = ocelli(folder, arguments);
    assert_eq!(said.code, 0, "{arguments:?}: {}", said.stderr);
    said.stdout
}

/// The message of a command that must fail, with nothing on stdout.
fn fail(folder: &Path, arguments: &[&str], code: i32) -> String {
    let said = ocelli(folder, arguments);
    assert_eq!(said.code, code, "{arguments:?}: {}", said.stderr);
    assert!(said.stdout.is_empty(), "{arguments:?}: {}", said.stdout);
    assert!(
        said.stderr.contains("error"),
        "{arguments:?}: {}",
        said.stderr
    );
    said.stderr
}

/// A folder with the recipe in it.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.toml"), RECIPE).unwrap();
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// A workplace with a finished run `runs/small`, trained once and copied.
fn trained() -> tempfile::TempDir {
    static FILES: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let folder = workplace();
        succeed(folder.path(), &["train", "small.toml", "-q"]);
        files_below(folder.path())
            .into_iter()
            .map(|path| {
                let name = path.strip_prefix(folder.path()).unwrap().to_owned();
                let bytes = fs::read(&path).unwrap();
                (name, bytes)
            })
            .collect()
    });
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

const CHECKPOINT: &str = "runs/small/checkpoints/2-grpo-step-000002";

fn picture(folder: &Path) {
    let rgb: Vec<u8> = (0..56 * 84 * 3).map(|i| (i % 251) as u8).collect();
    let bytes = ocelli_data::encode_png(&Picture::new(56, 84, rgb));
    fs::write(folder.join("picture.png"), bytes).unwrap();
}

#[test]
fn a_minimal_run_leaves_all_its_files() {
    let folder = workplace();
    let out = succeed(folder.path(), &["train", "small.toml", "-q"]);
    assert!(
        out.contains("box_iou") && out.contains("2-grpo-step-000002"),
        "{out}"
    );
    let run = folder.path().join("runs/small");
    for name in [
        "resolved.toml",
        "env.json",
        "metrics.jsonl",
        "evals.jsonl",
        "gallery.jsonl",
        "report.html",
        "episodes/2-grpo-000001.jsonl",
        "checkpoints/1-sft-step-000002/model.safetensors",
        "checkpoints/2-grpo-step-000002/model.safetensors",
        "checkpoints/2-grpo-step-000002/config.json",
        "checkpoints/2-grpo-step-000002/tokenizer.json",
        "checkpoints/2-grpo-step-000002/trainer/state.json",
    ] {
        assert!(run.join(name).is_file(), "{name}");
    }
    assert!(
        files_below(&run)
            .iter()
            .all(|f| !f.to_string_lossy().contains(".partial"))
    );
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let steps: Vec<(String, u64)> = metrics
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|row| {
            (
                row["stage"].as_str().unwrap().to_owned(),
                row["step"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [("sft", 1), ("sft", 2), ("grpo", 1), ("grpo", 2)];
    assert_eq!(
        steps,
        expected.map(|(stage, step)| (stage.to_owned(), step))
    );
    let evaluations = fs::read_to_string(run.join("evals.jsonl")).unwrap();
    assert_eq!(evaluations.lines().count(), 4);

    // A second run of that name gets a folder of its own, and an option sets what a recipe says.
    let json = succeed(
        folder.path(),
        &[
            "train",
            "small.toml",
            "--json",
            "--seed",
            "3",
            "--threads",
            "1",
            "--set",
            "stage.grpo.exit.max_steps=1",
        ],
    );
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json["run"].as_str().unwrap().ends_with("small-2"), "{json}");
    assert!(
        json["checkpoint"]
            .as_str()
            .unwrap()
            .ends_with("2-grpo-step-000001")
    );
    assert_eq!(json["evaluations"].as_array().unwrap().len(), 4);
    let resolved = fs::read_to_string(folder.path().join("runs/small-2/resolved.toml")).unwrap();
    assert!(
        resolved.contains("seed = 3") && resolved.contains("max_steps = 1"),
        "{resolved}"
    );
}

#[test]
fn a_dry_run_tells_the_plan_and_writes_nothing() {
    let folder = workplace();
    let out = succeed(folder.path(), &["train", "small.toml", "--dry-run"]);
    for part in [
        "sft: 2 steps of 2 rows",
        "grpo: 2 steps",
        "eval: 4 rows",
        "tiny-qwen2_5_vl",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn what_a_recipe_gets_wrong_is_misuse() {
    let folder = workplace();
    let here = folder.path();
    let text = fail(here, &["train", "absent.toml"], 2);
    assert!(text.contains("absent.toml"), "{text}");

    fs::write(
        here.join("typo.toml"),
        RECIPE.replace("num_generations", "num_generation"),
    )
    .unwrap();
    let text = fail(here, &["train", "typo.toml"], 2);
    assert!(text.contains("did you mean `num_generations`?"), "{text}");
    assert!(text.contains("typo.toml"), "{text}");

    for (change, wanted) in [
        (
            "stage.grpo.rollout.num_generation=4",
            "did you mean `num_generations`?",
        ),
        ("run.sed=1", "did you mean `seed`?"),
        ("stage.dpo.exit.max_steps=1", "dpo"),
        ("stage.grpo.reward=[]", "verifier"),
        ("stage.sft.batch.size=0", "batch.size"),
        (
            "stage.sft.data={ generator = \"pointing\", rows = 0 }",
            "rows",
        ),
        ("model.path=nowhere", "nowhere"),
        ("stage.sft.data={ path = \"absent.jsonl\" }", "--data"),
    ] {
        for extra in [&[][..], &["--dry-run"]] {
            let mut arguments = vec!["train", "small.toml", "--set", change];
            arguments.extend(extra);
            let text = fail(here, &arguments, 2);
            assert!(text.contains(wanted), "{change}: {text}");
        }
    }
    for arguments in [
        &["train"][..],
        &["trian"],
        &["train", "small.toml", "--resume", "runs/small"],
        &["eval", "somewhere"],
        &["generate", "a question without a model"],
    ] {
        let said = ocelli(here, arguments);
        assert_eq!(said.code, 2, "{arguments:?}: {}", said.stderr);
    }
    assert!(!here.join("runs").exists(), "no run was begun");
}

#[test]
fn a_prompt_that_is_too_long_fails_the_run_and_names_the_row() {
    let folder = workplace();
    let change = "stage.grpo.rollout.max_prompt_length=5";
    let text = fail(
        folder.path(),
        &["train", "small.toml", "-q", "--set", change],
        1,
    );
    assert!(text.contains("`pointing-train-"), "{text}");
    assert!(text.contains("max_prompt_length 5"), "{text}");
}

#[test]
fn a_checkpoint_is_evaluated() {
    let folder = trained();
    let here = folder.path();
    let arguments = ["eval", CHECKPOINT, "--data", "pointing", "--rows", "4"];
    let out = succeed(here, &arguments);
    assert!(out.contains("box_iou") && out.contains("tags"), "{out}");
    let mut with_json = arguments.to_vec();
    with_json.extend(["--json", "--mode", "greedy", "--max-completion-length", "8"]);
    let json = succeed(here, &with_json);
    let rows: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert_eq!(rows[0]["rows"], 4);
    assert_eq!(rows[0]["mode"], "greedy");
    // What does not fit the rows' answers is left out.
    assert!(rows[0]["scores"].get("box_iou").is_some());
    assert!(rows[0]["scores"].get("exact").is_none());

    let mut sampled = arguments.to_vec();
    sampled.extend(["--json", "--mode", "sampled", "--samples", "3"]);
    let rows: Value = serde_json::from_str(&succeed(here, &sampled)).unwrap();
    assert_eq!(rows[0]["rows"], 4, "three answers a row are not three rows");

    // The recipe's own rows, as at the end of the run.
    let json = succeed(
        here,
        &["eval", CHECKPOINT, "--recipe", "small.toml", "--json"],
    );
    let rows: Value = serde_json::from_str(&json).unwrap();
    let evaluations = fs::read_to_string(here.join("runs/small/evals.jsonl")).unwrap();
    let after: Vec<Value> = evaluations
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|row| row["stage_index"] == 1)
        .collect();
    assert_eq!(after.len(), 2);
    for (row, at_the_end) in rows.as_array().unwrap().iter().zip(&after) {
        assert_eq!(row["scores"], at_the_end["scores"]);
        assert_eq!(row["mode"], at_the_end["mode"]);
    }
}

#[test]
fn a_checkpoint_answers_a_question() {
    let folder = trained();
    let here = folder.path();
    picture(here);
    let ask = |more: &[&str]| {
        let mut arguments = vec!["generate", "--model", CHECKPOINT, "--image", "picture.png"];
        arguments.extend(["--max-completion-length", "9", "Where is the red circle?"]);
        arguments.extend(more);
        succeed(here, &arguments)
    };
    assert_eq!(ask(&[]), ask(&[]));
    let sampled = ask(&["--json", "-n", "3", "--temperature", "1"]);
    let answers: Vec<Value> = sampled
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 3);
    for answer in &answers {
        let ids = answer["token_ids"].as_array().unwrap();
        assert!(!ids.is_empty() && ids.len() <= 9);
        assert_eq!(answer["logprobs"].as_array().unwrap().len(), ids.len());
        assert!(answer["text"].is_string());
    }
    assert_ne!(answers[0]["token_ids"], answers[1]["token_ids"]);
    assert_eq!(
        sampled,
        ask(&["--json", "-n", "3", "--temperature", "1", "--threads", "1"])
    );
    assert_ne!(
        sampled,
        ask(&["--json", "-n", "3", "--temperature", "1", "--seed", "1"])
    );
}

#[test]
fn a_report_is_written_again() {
    let folder = trained();
    let here = folder.path();
    let page = here.join("runs/small/report.html");
    fs::remove_file(&page).unwrap();
    let out = succeed(here, &["report", "runs/small"]);
    assert!(out.trim_end().ends_with("report.html"), "{out}");
    let html = fs::read_to_string(page).unwrap();
    assert!(html.contains("</html>") && html.contains("box_iou"));
    let text = fail(here, &["report", "runs"], 2);
    assert!(text.contains("no run here"), "{text}");
}

#[test]
fn a_finished_run_is_resumed_to_the_same_end() {
    let folder = trained();
    let here = folder.path();
    let read = |name: &str| fs::read(here.join("runs/small").join(name)).unwrap();
    let names = [
        "metrics.jsonl",
        "evals.jsonl",
        "gallery.jsonl",
        "resolved.toml",
    ];
    let before = names.map(read);
    let weights = "checkpoints/2-grpo-step-000002/model.safetensors";
    let model = read(weights);
    let out = succeed(here, &["train", "--resume", "runs/small", "-q"]);
    assert!(out.contains("2-grpo-step-000002"), "{out}");
    assert!(names.map(read) == before);
    assert!(read(weights) == model);

    // The last checkpoint lost: the second stage is run again, from a copy elsewhere.
    copy_folder(&here.join("runs/small"), &here.join("moved"));
    fs::remove_dir_all(here.join("moved/checkpoints/2-grpo-step-000002")).unwrap();
    succeed(here, &["train", "--resume", "moved", "-q"]);
    assert!(fs::read(here.join("moved").join(weights)).unwrap() == model);

    let text = fail(here, &["train", "--resume", "runs"], 2);
    assert!(text.contains("no run here"), "{text}");
}

#[test]
fn an_adapter_is_trained_asked_and_merged() {
    let folder = trained();
    let here = folder.path();
    picture(here);
    let overrides = RECIPE
        .lines()
        .find(|line| line.starts_with("overrides"))
        .unwrap();
    let adapter = r#"adapter = { kind = "lora", r = 2, use_dora = true }"#;
    let recipe = RECIPE
        .replace(overrides, adapter)
        .replace("tiny-qwen2_5_vl", CHECKPOINT);
    fs::write(here.join("adapter.toml"), recipe).unwrap();
    succeed(here, &["train", "adapter.toml", "-q"]);
    let adapter = "runs/adapter/checkpoints/2-grpo-step-000002";
    assert!(
        here.join(adapter)
            .join("adapter_model.safetensors")
            .is_file()
    );
    succeed(here, &["merge", adapter, "merged"]);
    let answer = |model| {
        let arguments = [
            "generate",
            "--model",
            model,
            "--image",
            "picture.png",
            "What?",
        ];
        succeed(here, &arguments)
    };
    assert_eq!(answer(adapter), answer("merged"));

    let text = fail(here, &["merge", adapter, "merged"], 2);
    assert!(text.contains("there already"), "{text}");
    let text = fail(here, &["merge", CHECKPOINT, "other"], 2);
    assert!(text.contains("nothing to merge"), "{text}");
    let text = fail(here, &["merge", "runs", "other"], 2);
    assert!(text.contains("no checkpoint here"), "{text}");
    fs::rename(here.join(CHECKPOINT), here.join("moved")).unwrap();
    let text = fail(here, &["merge", adapter, "other"], 1);
    assert!(
        text.contains(CHECKPOINT) && text.contains("base_model_name_or_path"),
        "{text}"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = trained();
    let here = folder.path();
    picture(here);
    let model = here.join(CHECKPOINT).join("model.safetensors");

    // Pictures.
    fs::write(here.join("words.png"), "no picture").unwrap();
    fs::write(here.join("none.png"), "").unwrap();
    for name in ["words.png", "none.png", "absent.png"] {
        let text = fail(
            here,
            &["generate", "--model", CHECKPOINT, "--image", name, "What?"],
            1,
        );
        assert!(text.contains(name), "{text}");
    }

    // Checkpoints: none, a folder without one, one cut short, one of another size.
    let data = ["--data", "pointing", "--rows", "2"];
    let eval = |reference: &str, code: i32| {
        let mut arguments = vec!["eval", reference];
        arguments.extend(data);
        fail(here, &arguments, code)
    };
    let text = eval("absent", 2);
    assert!(
        text.contains("absent") && text.contains("tiny-qwen2_5_vl"),
        "{text}"
    );
    let text = eval("runs", 2);
    assert!(
        text.contains("no checkpoint here") && text.contains("config.json"),
        "{text}"
    );
    let bytes = fs::read(&model).unwrap();
    for broken in [&bytes[..bytes.len() / 2], &bytes[..4], &[]] {
        fs::write(&model, broken).unwrap();
        let text = eval(CHECKPOINT, 1);
        assert!(text.contains("model.safetensors"), "{text}");
        let text = fail(here, &["generate", "--model", CHECKPOINT, "What?"], 1);
        assert!(text.contains("model.safetensors"), "{text}");
        let text = fail(here, &["train", "--resume", "runs/small", "-q"], 1);
        assert!(text.contains("model.safetensors"), "{text}");
    }
    fs::write(&model, &bytes).unwrap();
    let config = here.join(CHECKPOINT).join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("\"hidden_size\": 128", "\"hidden_size\": 64"),
    )
    .unwrap();
    let text = eval(CHECKPOINT, 1);
    assert!(
        text.contains("shape") || text.contains("config.json"),
        "{text}"
    );
    fs::write(&config, "{").unwrap();
    assert!(eval(CHECKPOINT, 1).contains("config.json"));

    // Data.
    let text = fail(here, &["eval", CHECKPOINT, "--data", "absent.jsonl"], 1);
    assert!(text.contains("absent.jsonl"), "{text}");
}

#[test]
fn commands_without_effect_or_sense_are_misuse() {
    let folder = workplace();
    let here = folder.path();
    let supervised = RECIPE.split("[[stage]]\nkind = \"grpo\"").next().unwrap();
    fs::write(here.join("sft.toml"), supervised).unwrap();
    let bare = RECIPE.split("[[stage]]").next().unwrap();
    fs::write(here.join("bare.toml"), bare).unwrap();
    let blind = RECIPE.replace("[eval]", "[[stage]]").replace(
        "metrics = [ { verifier = \"box_iou\" }, { verifier = \"tags\" } ]\nmax_completion_length = 8\ngallery = 2",
        "kind = \"sft\"\nexit = { max_steps = 1 }",
    );
    fs::write(here.join("blind.toml"), blind).unwrap();
    let set = |change| vec!["train", "small.toml", "--set", change];
    for (arguments, wanted) in [
        (vec!["train", "bare.toml"], "no [[stage]]"),
        (vec!["train", "bare.toml", "--dry-run"], "no [[stage]]"),
        (
            vec!["train", "small.toml", "--data", "."],
            "--data has no effect",
        ),
        (
            vec!["bench", "small.toml", "--data", "."],
            "--data has no effect",
        ),
        (vec!["bench", "blind.toml"], "no [eval] table"),
        (set("eval.metrics=[]"), "`metrics` is empty"),
        (
            set("eval.metrics=[{ verifier = \"tags\", weight = 2.0 }]"),
            "metrics.weight",
        ),
        (
            set("eval.data.label_noise={ outward = 1.0 }"),
            "data.label_noise",
        ),
        (set("stage.grpo.exit.max_steps=0"), "exit.max_steps"),
        (set("stage.grpo.optim.adam_beta1=1.0"), "optim.adam_beta1"),
        (set("stage.0=3"), "`stage` is a list of 2"),
        (vec!["train", "small.toml", "--name", ""], "run name"),
        (vec!["train", "small.toml", "--name", "a/b"], "run name"),
        (
            set("stage.grpo.reward=[{ verifier = \"tags\", when = { task = \"count\" } }]"),
            "no row has such a `task`; there are pointing",
        ),
    ] {
        let text = fail(here, &arguments, 2);
        assert!(text.contains(wanted), "{arguments:?}: {text}");
    }
    let text = fail(
        here,
        &["bench", "sft.toml", "--control", "--set", "model.path=."],
        2,
    );
    assert!(text.contains("must be `grpo`"), "{text}");
    let runs = here.join("runs");
    assert!(
        !runs.exists() || fs::read_dir(runs).unwrap().count() == 0,
        "nothing was begun"
    );
}

#[test]
fn a_doctor_foretells_the_memory_of_each_phase() {
    let folder = workplace();
    let here = folder.path();
    let text = succeed(here, &["doctor", "small.toml"]);
    for phase in [
        "1 sft: update",
        "2 grpo: sampling",
        "2 grpo: update",
        "evaluation",
    ] {
        assert!(text.contains(phase), "{phase}: {text}");
    }
    let json = succeed(here, &["doctor", "small.toml", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let peaks = json["phases"].as_array().unwrap().iter();
    let largest = peaks.map(|phase| phase["peak"].as_u64().unwrap()).max();
    assert_eq!(json["peak"].as_u64(), largest);
    assert_eq!(json["fits"], true);

    // Keys and values of a thousand answers of a hundred thousand tokens.
    let long = "stage.grpo.rollout.max_completion_length=100000";
    let many = "stage.grpo.rollout.num_generations=1000";
    let said = ocelli(
        here,
        &["doctor", "small.toml", "--set", long, "--set", many],
    );
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stderr.contains("of memory and"), "{}", said.stderr);
    assert!(said.stdout.contains("num_generations"), "{}", said.stdout);
    assert!(!here.join("runs").exists(), "nothing was begun");

    let text = fail(
        here,
        &["doctor", "small.toml", "--set", "stage.grpo.batch.size=0"],
        2,
    );
    assert!(text.contains("batch.size"), "{text}");
}

#[test]
fn presets_are_compared_from_one_checkpoint() {
    let folder = workplace();
    let here = folder.path();
    // One answer a prompt, which most presets can't compare with anything.
    let single = [
        "--set",
        "stage.grpo.rollout.num_generations=1",
        "--set",
        "stage.grpo.algorithm.preset=\"reinforce++\"",
    ];
    let compare = |presets| {
        let arguments = [
            "bench",
            "algorithms",
            "small.toml",
            "-q",
            "--out",
            "compared",
        ];
        let chosen = ["--presets", presets, "--seeds", "0"];
        [arguments.as_slice(), &chosen, &single].concat()
    };
    let first = succeed(here, &compare("reinforce++,grpo"));
    assert!(first.contains("| `reinforce++` | 1 |"), "{first}");
    assert!(
        first.contains("| `grpo` | 0 |") && first.contains("refused:"),
        "{first}"
    );
    let scores = fs::read_to_string(here.join("compared/scores.csv")).unwrap();
    assert!(
        scores.starts_with("preset,seed,mode,task,score,before,after\n"),
        "{scores}"
    );
    let curves = fs::read_to_string(here.join("compared/curves.csv")).unwrap();
    assert_eq!(curves.lines().count(), 3, "two steps: {curves}");

    // What is there is not trained again; what is new starts from a checkpoint of its own.
    let runs = || fs::read_dir(here.join("runs")).unwrap().count();
    assert_eq!(runs(), 2);
    assert_eq!(succeed(here, &compare("reinforce++,grpo")), first);
    assert_eq!(runs(), 2);
    let table = succeed(here, &compare("reinforce++,remax"));
    assert_eq!(runs(), 4);
    assert!(table.contains("too few seeds"), "{table}");
    assert_eq!(
        fs::read_to_string(here.join("compared/table.md")).unwrap(),
        table
    );

    let text = fail(here, &compare("grop"), 2);
    assert!(
        text.contains("no such preset; there are grpo, dr_grpo"),
        "{text}"
    );
    let text = fail(here, &["bench"], 2);
    assert!(text.contains("<RECIPE>"), "{text}");
}

#[test]
fn a_run_keeps_its_recipe_and_finds_its_model_from_anywhere() {
    let folder = trained();
    let here = folder.path();
    let given = fs::read(here.join("small.toml")).unwrap();
    assert_eq!(
        fs::read(here.join("runs/small/recipe.toml")).unwrap(),
        given
    );

    let more = RECIPE
        .replace(
            "path = \"tiny-qwen2_5_vl\"",
            &format!("path = {CHECKPOINT:?}"),
        )
        .lines()
        .filter(|line| !line.starts_with("overrides"))
        .collect::<Vec<_>>()
        .join("\n");
    fs::write(here.join("more.toml"), &more).unwrap();
    succeed(here, &["train", "more.toml", "-q"]);
    let resolved = fs::read_to_string(here.join("runs/more/resolved.toml")).unwrap();
    let resolved: toml::Table = toml::from_str(&resolved).unwrap();
    let path = Path::new(resolved["model"]["path"].as_str().unwrap());
    assert!(path.is_absolute() && path.ends_with(CHECKPOINT), "{path:?}");

    // Sizes of a checkpoint cannot be changed: the recipe's key is at fault.
    let change = "model.overrides={ vision_depth = 1 }";
    let text = fail(here, &["train", "more.toml", "--set", change], 2);
    assert!(text.contains("model.overrides"), "{text}");
}

/// The outcomes that a run recorded, and those that `ocelli score --json` gives the same episodes.
#[test]
fn recorded_episodes_are_rescored_as_they_were_scored_live() {
    let folder = trained();
    let here = folder.path();
    let record = "runs/small/episodes/2-grpo-000001.jsonl";
    let recorded: Vec<Value> = fs::read_to_string(here.join(record))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let reward = ["--reward", "small.toml"];
    let json = succeed(here, &["score", record, "--json", reward[0], reward[1]]);
    let rescored: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rescored.len(), 4);
    for (live, again) in recorded.iter().zip(&rescored) {
        assert_eq!(again["id"], live["task"]["id"]);
        assert_eq!(again["sample"], live["sample"]);
        assert_eq!(again["reward"], live["outcome"]["reward"]);
        assert_eq!(again["verdicts"], live["outcome"]["verdicts"]);
    }

    // Another reward, a folder of records, and the records written anew.
    fs::write(
        here.join("tags.toml"),
        "reward = [ { verifier = \"tags\", weight = 2.0 } ]",
    )
    .unwrap();
    let table = succeed(
        here,
        &[
            "score",
            "runs/small/episodes",
            "--reward",
            "tags.toml",
            "--out",
            "new.jsonl",
        ],
    );
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("source  episodes  score"), "{table}");
    assert!(lines[0].contains("recorded"), "{table}");
    assert!(!table.contains("box_iou"), "{table}");
    let written = fs::read_to_string(here.join("new.jsonl")).unwrap();
    let first: Value = serde_json::from_str(written.lines().next().unwrap()).unwrap();
    assert!(first["outcome"]["verdicts"]["box_iou"].is_null());
    assert_eq!(first["segments"], recorded[0]["segments"]);

    // The file that is read may be the file that is written, and a mistake in the next one costs nothing.
    fs::write(here.join("bad.jsonl"), "{}\n").unwrap();
    let onto_itself = ["--reward", "tags.toml", "--out", "new.jsonl"];
    let mut arguments = vec!["score", "new.jsonl"];
    arguments.extend(onto_itself);
    succeed(here, &arguments);
    assert_eq!(fs::read_to_string(here.join("new.jsonl")).unwrap(), written);
    arguments.insert(2, "bad.jsonl");
    fail(here, &arguments, 2);
    assert_eq!(fs::read_to_string(here.join("new.jsonl")).unwrap(), written);
}

/// The example of the page, and what is told of answers that cannot be judged.
#[test]
fn answers_of_ones_own_are_scored() {
    let folder = workplace();
    let here = folder.path();
    let page = include_str!("../../../docs/scoring.md");
    let block = page.split("$ cat answers.jsonl\n").nth(1).unwrap();
    let (answers, rest) = block.split_once("$ cat reward.toml\n").unwrap();
    let reward = rest.split_once("$ ocelli").unwrap().0;
    fs::write(here.join("answers.jsonl"), answers).unwrap();
    fs::write(here.join("reward.toml"), reward).unwrap();
    let scored = [
        "score",
        "answers.jsonl",
        "--reward",
        "reward.toml",
        "--json",
    ];
    let lines: Vec<Value> = succeed(here, &scored)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["id"].as_str().unwrap(),
                line["sample"].as_u64().unwrap(),
                line["reward"].as_f64().unwrap(),
            )
        })
        .collect();
    // IoU 1 and tags; IoU 30·40 / 2000 and no tags; the number, and no tags.
    assert_eq!(told, [("r1", 0, 1.5), ("r1", 1, 0.6), ("r2", 0, 1.0)]);

    fs::write(
        here.join("text.jsonl"),
        "{\"response\": \"<answer>a</answer>\", \"answer\": \"no box\"}\n",
    )
    .unwrap();
    fs::write(here.join("box.toml"), "reward = [\"box_iou\"]").unwrap();
    let said = ocelli(here, &["score", "text.jsonl", "--reward", "box.toml"]);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(
        said.stderr.contains("`box_iou`, the first error: task `1`"),
        "{}",
        said.stderr
    );
    let text = fail(
        here,
        &[
            "score",
            "answers.jsonl",
            "--reward",
            "reward.toml",
            "--step",
            "6",
        ],
        2,
    );
    assert!(text.contains("--max-steps"), "{text}");
    for (line, wanted) in [
        ("{\"respons\": \"a\"}", "unknown field `respons`"),
        ("{\"answer\": \"a\"}", "give a `response`"),
        ("{", "not JSON"),
    ] {
        fs::write(here.join("bad.jsonl"), line).unwrap();
        let text = fail(here, &["score", "bad.jsonl", "--reward", "box.toml"], 2);
        assert!(
            text.contains("bad.jsonl, line 1") && text.contains(wanted),
            "{text}"
        );
    }
}

#[test]
fn records_that_cannot_be_rescored_are_named() {
    let folder = workplace();
    let here = folder.path();
    fs::write(here.join("bad.jsonl"), "\n{\"task\": 1}\n").unwrap();
    fs::write(here.join("empty.jsonl"), "").unwrap();
    fs::create_dir(here.join("none")).unwrap();
    for (file, wanted) in [
        ("bad.jsonl", "bad.jsonl, line 2: no answer"),
        ("empty.jsonl", "empty.jsonl: no episodes"),
        ("none", "none: no .jsonl file in this folder"),
        ("missing.jsonl", "missing.jsonl: No such file"),
    ] {
        let text = fail(here, &["score", file, "--reward", "small.toml"], 2);
        assert!(text.contains(wanted), "{file}: {text}");
    }
    let text = fail(
        here,
        &[
            "score",
            "bad.jsonl",
            "--reward",
            "small.toml",
            "--stage",
            "1",
        ],
        2,
    );
    assert!(text.contains("stages with a reward: 2"), "{text}");
}

#[test]
fn rows_are_validated_by_their_own_answers() {
    let folder = workplace();
    let here = folder.path();
    let out = succeed(here, &["validate", "small.toml"]);
    assert!(
        out.contains("source   rows  full marks") || out.contains("full marks"),
        "{out}"
    );
    let out = succeed(here, &["validate", "pointing"]);
    assert!(out.contains("500         500"), "{out}");

    // A box, and a number that words stand before.
    let row = |id: &str, source: &str, answer: &str| {
        serde_json::json!({
            "id": id, "image": "p.png", "source": source,
            "conversations": [
                { "from": "human", "value": "<image>What is it?" }, { "from": "gpt", "value": answer },
            ],
        })
        .to_string()
    };
    let rows = [
        row("a", "boxes", "[1, 1, 5, 5]"),
        row("b", "counts", "about 3"),
    ];
    fs::write(here.join("rows.jsonl"), rows.join("\n")).unwrap();
    let picture = Picture::new(28, 28, vec![0; 28 * 28 * 3]);
    fs::write(here.join("p.png"), ocelli_data::encode_png(&picture)).unwrap();
    fs::write(
        here.join("numbers.toml"),
        "reward = [ { verifier = \"box_iou\", when = { source = \"boxes\" } }, { verifier = \"number\", when = { source = \"counts\" } } ]",
    )
    .unwrap();
    succeed(here, &["validate", "rows.jsonl"]);
    let said = ocelli(
        here,
        &["validate", "rows.jsonl", "--reward", "numbers.toml"],
    );
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(
        said.stdout.contains("counts     1           0        1"),
        "{}",
        said.stdout
    );
    assert!(
        said.stdout.contains("rows.jsonl, row `b`: number"),
        "{}",
        said.stdout
    );
    assert!(said.stderr.contains("1 of 2 rows"), "{}", said.stderr);
    let said = ocelli(
        here,
        &[
            "validate",
            "rows.jsonl",
            "--reward",
            "numbers.toml",
            "--json",
        ],
    );
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (report["rows"].as_u64(), report["full_marks"].as_u64()),
        (Some(2), Some(1))
    );
    // Boxes are written in the frame that is read, and a penalty is no mark.
    fs::write(
        here.join("frames.toml"),
        "reward = [ { verifier = \"box_iou\", frame = \"per_thousand\", when = { source = \"boxes\" } }, \
         { verifier = \"tags\" }, { verifier = \"repetition\" } ]",
    )
    .unwrap();
    succeed(here, &["validate", "rows.jsonl", "--reward", "frames.toml"]);
    assert_eq!(report["failures"][0]["node"], "number");

    for (arguments, wanted) in [
        (
            vec!["validate", "rows.jsonl", "--template", "x"],
            "`{answer}` is missing",
        ),
        (
            vec!["validate", "rows.jsonl", "--data", "."],
            "--data goes with a recipe",
        ),
        (
            vec!["validate", "small.toml", "--stage", "1"],
            "no such stage has a reward",
        ),
    ] {
        let text = fail(here, &arguments, 2);
        assert!(text.contains(wanted), "{arguments:?}: {text}");
    }
    for (reward, wanted) in [
        (
            "reward = [ { verifier = \"exact\", when = { task = \"wich\" } } ]",
            "applies to no row",
        ),
        (
            "reward = [ { verifier = \"number\", tolerance = nan } ]",
            "`tolerance = nan",
        ),
    ] {
        fs::write(here.join("dead.toml"), reward).unwrap();
        let text = fail(
            here,
            &["validate", "rows.jsonl", "--reward", "dead.toml"],
            2,
        );
        assert!(text.contains(wanted), "{text}");
    }
    let text = fail(here, &["validate", "rows.jsonl", "--full-marks", "nan"], 2);
    assert!(text.contains("--full-marks"), "{text}");
    let text = fail(here, &["validate", "missing.jsonl"], 2);
    assert!(text.contains("missing.jsonl"), "{text}");
}

/// A reward file in EasyR1's form, which prints.
const EASY_R1_REWARD: &str = r#"
import re

REWARD_NAME = "math"
REWARD_TYPE = "batch"

print("loaded")


def compute_score(reward_inputs, format_weight=0.1):
    scores = []
    for reward_input in reward_inputs:
        answer = re.search(r"\\boxed\{(.*)\}", reward_input["response"])
        accuracy = float(answer is not None and answer.group(1) == reward_input["ground_truth"])
        form = len(reward_input["response"]) % 7 / 7
        scores.append({"overall": (1 - format_weight) * accuracy + format_weight * form, "accuracy": accuracy})
    return scores
"#;

const EASY_R1_RECIPE: &str = r#"
[model]
path = "tiny-qwen2_5_vl"
overrides = { vision_hidden_size = 32, vision_depth = 1, vision_intermediate_size = 32, num_hidden_layers = 1 }

[run]
output_dir = "runs"
log_episodes_steps = 1

[[stage]]
kind = "grpo"
data = { path = "data/easy_r1.parquet", format_prompt = "math.jinja" }
batch = { size = 2 }
rollout = { num_generations = 2, max_completion_length = 8 }
reward = "rewards/math.py:compute_score"
exit = { max_steps = 2 }
"#;

/// A folder with a data set as EasyR1's users have it, their reward file and format prompt, and a recipe below `recipes/`.
fn easy_r1_workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for name in ["recipes/data", "recipes/rewards"] {
        fs::create_dir_all(here.join(name)).unwrap();
    }
    let table = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../ocelli-data/tests/golden/tables/easy_r1.parquet");
    fs::copy(table, here.join("recipes/data/easy_r1.parquet")).unwrap();
    fs::write(here.join("recipes/rewards/math.py"), EASY_R1_REWARD).unwrap();
    let prompt = "{{ content | trim }} Put the answer in \\boxed{}.";
    fs::write(here.join("recipes/math.jinja"), prompt).unwrap();
    fs::write(here.join("recipes/easy.toml"), EASY_R1_RECIPE).unwrap();
    folder
}

#[test]
fn an_easy_r1_data_set_and_reward_file_are_trained_on_as_they_are() {
    if std::process::Command::new("python3")
        .arg("-V")
        .output()
        .is_err()
    {
        eprintln!("skipped: there is no python3");
        return;
    }
    let folder = easy_r1_workplace();
    let here = folder.path();
    succeed(here, &["train", "recipes/easy.toml", "--dry-run"]);
    succeed(here, &["train", "recipes/easy.toml", "-q"]);
    let run = here.join("runs/easy");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    for name in [
        "rewards/compute_score/mean",
        "rewards/compute_score.accuracy/mean",
    ] {
        assert!(last[name].is_number(), "{name}: {last}");
    }
    assert_eq!(last["verifier_error_rate"], 0.0);
    let log = fs::read_to_string(run.join("rewards.log")).unwrap();
    assert!(log.contains("loaded"), "{log}");

    // The record is judged anew by the same file, from another folder.
    let record = "runs/easy/episodes/1-grpo-000002.jsonl";
    let json = succeed(
        here,
        &["score", record, "--reward", "recipes/easy.toml", "--json"],
    );
    let live = fs::read_to_string(here.join(record)).unwrap();
    for (line, live) in json.lines().zip(live.lines()) {
        let again: Value = serde_json::from_str(line).unwrap();
        let live: Value = serde_json::from_str(live).unwrap();
        assert_eq!(again["verdicts"], live["outcome"]["verdicts"]);
    }
}

#[test]
fn a_python_reward_that_does_not_load_ends_the_run_before_it_begins() {
    if std::process::Command::new("python3")
        .arg("-V")
        .output()
        .is_err()
    {
        eprintln!("skipped: there is no python3");
        return;
    }
    let folder = easy_r1_workplace();
    let here = folder.path();
    let file = here.join("recipes/rewards/math.py");
    fs::write(
        &file,
        "import no_such_module\n\ndef compute_score(reward_inputs):\n    return []\n",
    )
    .unwrap();
    let text = fail(here, &["train", "recipes/easy.toml", "-q"], 2);
    assert!(text.contains("no_such_module"), "{text}");
    fs::write(&file, "def score(reward_inputs):\n    return []\n").unwrap();
    let text = fail(here, &["train", "recipes/easy.toml", "--dry-run"], 2);
    assert!(text.contains("compute_score"), "{text}");
    fs::remove_file(&file).unwrap();
    let text = fail(here, &["train", "recipes/easy.toml", "--dry-run"], 2);
    assert!(text.contains("math.py"), "{text}");
    assert!(!here.join("runs").exists(), "nothing was begun");
}

#[test]
fn rows_are_measured_and_chosen_by_difficulty() {
    let folder = workplace();
    let here = folder.path();
    let said = succeed(
        here,
        &[
            "difficulty",
            "small.toml",
            "--samples",
            "2",
            "--out",
            "rates.jsonl",
        ],
    );
    assert!(said.starts_with("8 rows: 8 never solved"), "{said}");
    let text = fs::read_to_string(here.join("rates.jsonl")).unwrap();
    let rows: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(rows.len(), 8);
    assert_eq!(rows[0]["id"], "pointing-train-000000");
    assert_eq!(
        (&rows[0]["samples"], &rows[0]["pass_rate"]),
        (&2.into(), &0.0.into())
    );
    assert!(!here.join("rates.partial").exists());
    // What is never solved can be left out, and then nothing is left.
    let band = "stage.grpo.data.difficulty={ file = \"rates.jsonl\", min = 0.1 }";
    let said = ocelli(here, &["train", "small.toml", "--dry-run", "--set", band]);
    assert_ne!(said.code, 0);
    assert!(
        said.stderr.contains("widen the band of `difficulty`"),
        "{}",
        said.stderr
    );
    let all = "stage.grpo.data.difficulty={ file = \"rates.jsonl\", max = 0.1 }";
    succeed(here, &["train", "small.toml", "--dry-run", "--set", all]);
    for (arguments, words) in [
        (["--stage", "1"], "no such stage has a reward"),
        (["--success", "iou"], "no node of the stage's reward"),
        (["--threshold", "0"], "above 0"),
    ] {
        let arguments = [
            ["difficulty", "small.toml", "--out", "x.jsonl"].as_slice(),
            &arguments,
        ]
        .concat();
        let said = ocelli(here, &arguments);
        assert_eq!(said.code, 2, "{}", said.stderr);
        assert!(said.stderr.contains(words), "{}", said.stderr);
    }
    let repeated = [
        "train",
        "small.toml",
        "--dry-run",
        "--set",
        "stage.grpo.repeat={ stages = 2, cycles = 3 }",
    ];
    let said = succeed(here, &repeated);
    assert!(said.contains("stages 1 to 2: 3 times"), "{said}");
}

#[test]
fn inspect_shows_a_model_a_prompt_and_what_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let text = succeed(here, &["inspect", "model", "tiny-qwen2_5_vl"]);
    for part in [
        "qwen2_5_vl",
        "language: Qwen2, 2 layers",
        "vision",
        "connector",
        "F32",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = succeed(here, &["inspect", "model", "tiny-qwen2_5_vl", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["missing"], serde_json::json!([]));
    assert!(json["parts"]["vision"]["parameters"].as_u64() > Some(10_000));

    // A picture whose sides the processor rounds: it sees other pixels than there are.
    let rgb: Vec<u8> = (0..60 * 50)
        .flat_map(|i| [(i % 256) as u8, 90, 200])
        .collect();
    let picture = Picture::new(60, 50, rgb);
    fs::write(here.join("a.png"), ocelli_data::encode_png(&picture)).unwrap();
    let asked = [
        "inspect",
        "prompt",
        "tiny-qwen2_5_vl",
        "Where is it?",
        "--image",
        "a.png",
    ];
    let text = succeed(here, &asked);
    for part in [
        "<|im_start|>user",
        "4 of them stand for what is shown",
        "a.png  60x50 pixels, seen as 56x56: 1x4x4 patches",
        "<|image_pad|> ×4",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = succeed(here, &[&asked[..], &["--json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    let ids = json["token_ids"].as_array().unwrap().len();
    assert_eq!(json["positions"].as_array().unwrap().len(), ids);

    let asked = [
        "inspect",
        "image",
        "tiny-qwen2_5_vl",
        "a.png",
        "--out",
        "seen.png",
    ];
    let text = succeed(here, &asked);
    assert_eq!(text, "seen.png: 56x56 pixels of 60x50\n");
    let seen = ocelli_data::decode_picture(&here.join("seen.png")).unwrap();
    let policy =
        ocelli_data::resize_bicubic(&picture, 56, 56, ocelli_data::PassOrder::PillowBefore13);
    assert_eq!(seen, policy, "numbers turn back into the very pixels");

    let text = fail(here, &["inspect", "model", "org/nothing"], 2);
    assert!(text.contains("hf download org/name"), "{text}");
}
