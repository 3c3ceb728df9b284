//! Data files of EasyR1, verl and TRL. The golden files are made by `golden/make_tables.py`.

// Helpers of tests may unwrap as tests do; the lint knows the tests themselves only.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use ocelli_core::{ImageSource, Part, Picture, Role, Target, Task};
use ocelli_data::{DataConfig, Dataset, encode_png, load};
use proptest::prelude::*;
use serde_json::Value;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn load_toml(toml: &str, root: &Path) -> Result<Dataset, String> {
    load(&toml::from_str(toml).unwrap(), root, 0).map_err(|error| error.to_string())
}

fn loaded(toml: &str, root: &Path) -> Dataset {
    load_toml(toml, root).unwrap_or_else(|error| panic!("{toml}: {error}"))
}

/// Roles and texts in turn, with `<image>` where a picture is shown.
fn texts(task: &Task) -> Vec<String> {
    let mut texts = Vec::new();
    let mut next = 0;
    for message in &task.messages {
        texts.push(
            serde_json::to_value(message.role)
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned(),
        );
        let parts = message.content.iter().map(|part| match part {
            Part::Text { text } => text.clone(),
            Part::Image { index } => {
                assert_eq!(*index, next);
                next += 1;
                "<image>".to_owned()
            }
            Part::Video { .. } | Part::Audio { .. } => unreachable!("these files have none"),
        });
        texts.push(parts.collect());
    }
    texts
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn files_of_the_peers_own_libraries_hold_what_they_wrote() {
    let golden = golden();
    let text = fs::read_to_string(golden.join("tables.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    for (name, rows) in all["files"].as_object().unwrap() {
        let data = loaded(&format!("path = 'tables/{name}'"), &golden);
        assert_eq!(data.tasks.len(), rows.as_array().unwrap().len(), "{name}");
        for (task, row) in data.tasks.iter().zip(rows.as_array().unwrap()) {
            let place = format!("{name}, {}", task.id);
            assert_eq!(
                serde_json::to_value(texts(task)).unwrap(),
                row["text"],
                "{place}"
            );
            assert_eq!(
                serde_json::to_value(&task.tags).unwrap(),
                row["tags"],
                "{place}"
            );
            match &task.target {
                None => assert_eq!(row["target"], Value::Null, "{place}"),
                Some(Target::Text(text)) => assert_eq!(row["target"], text.as_str(), "{place}"),
                Some(Target::Box(found)) => {
                    let corners: Vec<f64> = serde_json::from_value(row["target"].clone()).unwrap();
                    assert_eq!(<[f64; 4]>::from(*found), corners[..], "{place}");
                }
            }
            let pictures = row["pictures"].as_array().unwrap();
            assert_eq!(task.images.len(), pictures.len(), "{place}");
            for (index, wanted) in pictures.iter().enumerate() {
                let name = ImageSource::Embedded(format!("{}/{index}", task.id));
                assert_eq!(task.images[index], name);
                let picture = data.picture(task, index).unwrap();
                assert_eq!(picture.width(), wanted["width"], "{place}");
                assert_eq!(hex(picture.rgb()), wanted["rgb"], "{place}");
                let size = data.picture_size(task, index).unwrap();
                assert_eq!(size, (picture.width(), picture.height()));
            }
        }
    }
}

#[test]
fn rows_are_named_by_file_and_number() {
    let golden = golden();
    let ids = |toml: &str| -> Vec<String> {
        let data = loaded(toml, &golden);
        data.tasks.iter().map(|task| task.id.clone()).collect()
    };
    let easy_r1 = "path = 'tables/easy_r1.parquet'";
    assert_eq!(
        ids(easy_r1),
        [
            "easy_r1.parquet#0",
            "easy_r1.parquet#1",
            "easy_r1.parquet#2"
        ]
    );
    assert_eq!(
        ids("path = 'tables/trl.jsonl'"),
        ["trl.jsonl#1", "trl.jsonl#2"]
    );
    assert_eq!(
        ids(&format!("{easy_r1}\npart = [0.34, 1.0]")),
        ["easy_r1.parquet#1", "easy_r1.parquet#2"]
    );
    assert_eq!(ids(&format!("{easy_r1}\nrows = 1")), ["easy_r1.parquet#0"]);
    assert_eq!(
        ids("path = 'tables/easy_r1.json'\npart = [0.5, 1.0]"),
        ["easy_r1.json#1"]
    );
    // Of two files, the last two of six rows.
    let both = "path = 'tables/easy_r1*.parquet'\npart = [0.66, 1.0]";
    assert_eq!(
        ids(both),
        ["easy_r1_zstd.parquet#1", "easy_r1_zstd.parquet#2"]
    );
    assert_eq!(
        ids("path = 'tables/trl.parquet'\ntasks = ['ask']"),
        ["trl.parquet#1"]
    );
    let error = load_toml("path = 'tables/trl.parquet'\ntasks = ['aks']", &golden).unwrap_err();
    assert!(error.contains("did you mean `ask`"), "{error}");
}

#[test]
fn questions_are_put_as_the_recipe_says() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("pictures")).unwrap();
    let picture = Picture::new(4, 2, vec![9; 24]);
    fs::write(root.join("pictures/a.png"), encode_png(&picture)).unwrap();
    fs::write(
        root.join("math.jinja"),
        "{{ content | trim }} Think first.\n",
    )
    .unwrap();
    let rows = "{\"q\": \" <image>Find x. \", \"a\": \"[0, 0, 2, 2]\", \"pic\": \"a.png\"}\n";
    fs::write(root.join("train.jsonl"), rows).unwrap();
    let keys = "path = 'train.jsonl'\nimage_dir = 'pictures'\nformat = 'easy-r1'\nprompt_key = 'q'\n\
                answer_key = 'a'\nimage_key = 'pic'\n";
    let put = |more: &str| loaded(&format!("{keys}{more}"), root).tasks[0].clone();
    let task = put("format_prompt = 'math.jinja'\nsystem = 'S'");
    assert_eq!(
        texts(&task),
        ["system", "S", "user", "<image>Find x. Think first."]
    );
    assert_eq!(task.messages[0].role, Role::System);
    assert_eq!(task.target, Some(Target::Text("[0, 0, 2, 2]".into())));
    assert_eq!(
        task.demonstration.as_deref(),
        Some("<answer>[0, 0, 2, 2]</answer>")
    );
    let task = put("prompt = 'Q: {question}'\ndemonstration = '{question} {answer}'");
    assert_eq!(texts(&task), ["user", "<image>Q: Find x."]);
    assert_eq!(task.demonstration.as_deref(), Some("Find x. [0, 0, 2, 2]"));
    let task = put("answers = 'box'\nlabel_noise = { outward = 2.0 }");
    assert_eq!(task.target, Some(Target::Box([0.0, 0.0, 2.0, 2.0].into())));
    assert_ne!(
        task.demonstration.as_deref(),
        Some("<answer>[0, 0, 2, 2]</answer>")
    );
    for (more, wanted) in [
        ("label_noise = { outward = 2.0 }", "data.label_noise"),
        (
            "prompt = '{question}'\nformat_prompt = 'math.jinja'",
            "remove one",
        ),
        ("format_prompt = 'absent.jinja'", "absent.jinja"),
    ] {
        let error = load_toml(&format!("{keys}{more}"), root).unwrap_err();
        assert!(error.contains(wanted), "{more}: {error}");
    }
}

/// A file `name` of these bytes, loaded with these keys: the error.
fn refused(name: &str, bytes: &[u8], keys: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), bytes).unwrap();
    let error = load_toml(&format!("path = '{name}'\n{keys}"), folder.path()).unwrap_err();
    assert!(
        error.contains(name) || error.starts_with("data."),
        "{error}"
    );
    error
}

#[test]
fn formats_are_told_by_columns_or_not_at_all() {
    for (row, wanted) in [
        (
            r#"{"question": "q", "label": 1}"#,
            "(question, label) are those of no known format",
        ),
        (
            r#"{"prompt": "q", "problem": "q", "answer": "a"}"#,
            "easy-r1 or trl",
        ),
        (r#"{"conversations": [], "prompt": "q"}"#, "vlm-r1 or trl"),
        (
            r#"{"prompt": "<image>q", "images": ["a.png"], "answer": "a"}"#,
            "takes for text",
        ),
    ] {
        let error = refused("rows.jsonl", row.as_bytes(), "");
        assert!(error.contains(wanted), "{row}: {error}");
    }
    // Keys that the told format does not use.
    let error = refused(
        "r.jsonl",
        br#"{"prompt": "q", "solution": "a"}"#,
        "image_key = 'i'",
    );
    assert!(error.contains("data.image_key"), "{error}");
    let error = refused("r.jsonl", br#"{"conversations": []}"#, "answers = 'text'");
    assert!(error.contains("data.answers"), "{error}");
}

#[test]
fn every_bad_row_is_told_with_its_place_and_its_mend() {
    let easy_r1 = "format = 'easy-r1'";
    let verl = "format = 'verl'";
    let trl = "format = 'trl'";
    let good = r#"{"problem": "q", "answer": "a", "prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": "a"}}"#;
    for (format, row, wanted) in [
        (
            easy_r1,
            r#"{"answer": "a"}"#,
            "no column `problem` among answer",
        ),
        (easy_r1, r#"{"problem": "q"}"#, "data.answer_key"),
        (
            easy_r1,
            r#"{"problem": "q", "answer": null}"#,
            "`answer` is null",
        ),
        (
            easy_r1,
            r#"{"problem": "q", "answer": " "}"#,
            "answer is empty",
        ),
        (
            easy_r1,
            r#"{"problem": ["q"], "answer": "a"}"#,
            "`problem` is a list",
        ),
        (
            easy_r1,
            r#"{"problem": "<image>q", "answer": "a"}"#,
            "1 `<image>`",
        ),
        (
            easy_r1,
            r#"{"problem": "q", "answer": "a", "images": ["x.png"]}"#,
            "but 1 pictures",
        ),
        (
            easy_r1,
            r#"{"problem": "<image>q", "answer": "a", "images": ["x.png"]}"#,
            "x.png does not exist",
        ),
        (
            easy_r1,
            r#"{"problem": "<image>q", "answer": "a", "images": [{"bytes": "QUJD"}]}"#,
            "convert it",
        ),
        (
            easy_r1,
            r#"{"problem": "<image>q", "answer": "a", "images": 3}"#,
            "`images` holds a number",
        ),
        (
            easy_r1,
            r#"{"problem": "q", "answer": "a", "videos": ["v.mp4"]}"#,
            "video",
        ),
        (
            verl,
            r#"{"prompt": "q", "reward_model": {"ground_truth": "a"}}"#,
            "list of messages",
        ),
        (
            verl,
            r#"{"prompt": [{"role": "user", "content": "q"}]}"#,
            "no `reward_model`",
        ),
        (
            verl,
            r#"{"prompt": [{"role": "user", "content": "q"}], "reward_model": 3}"#,
            "`reward_model` is a number",
        ),
        (
            verl,
            r#"{"prompt": [{"role": "user", "content": "q"}], "reward_model": {}}"#,
            "no `ground_truth`",
        ),
        (
            verl,
            r#"{"prompt": [], "reward_model": {"ground_truth": "a"}}"#,
            "turn of the user",
        ),
        (
            verl,
            r#"{"prompt": ["q"], "reward_model": {"ground_truth": "a"}}"#,
            "message 1 of `prompt` is a text",
        ),
        (
            verl,
            r#"{"prompt": [{"content": "q"}], "reward_model": {"ground_truth": "a"}}"#,
            "no `role`",
        ),
        (
            verl,
            r#"{"prompt": [{"role": "tool", "content": "q"}], "reward_model": {"ground_truth": "a"}}"#,
            "`tool`",
        ),
        (
            verl,
            r#"{"prompt": [{"role": "user"}], "reward_model": {"ground_truth": "a"}}"#,
            "no `content`",
        ),
        (trl, r#"{"solution": "a"}"#, "no column `prompt`"),
        (trl, r#"{"prompt": 3}"#, "`prompt` is a number"),
        (
            trl,
            r#"{"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#,
            "turn of the user",
        ),
        (
            trl,
            r#"{"prompt": [{"role": "user", "content": [{"type": "image"}]}]}"#,
            "1 parts of type `image`",
        ),
        (
            trl,
            r#"{"prompt": [{"role": "user", "content": [{"type": "video"}]}]}"#,
            "`video`",
        ),
        (
            trl,
            r#"{"prompt": [{"role": "user", "content": [{"type": "text"}]}]}"#,
            "without `text`",
        ),
        (
            trl,
            r#"{"prompt": [{"role": "user", "content": ["q"]}]}"#,
            "{\"type\": …}",
        ),
        (
            trl,
            r#"{"prompt": "q", "image": "a.png", "images": []}"#,
            "keep one",
        ),
    ] {
        let text = format!("{good}\n\n{row}\n");
        let error = refused("rows.jsonl", text.as_bytes(), format);
        assert!(error.contains("rows.jsonl, line 3: "), "{row}: {error}");
        assert!(error.contains(wanted), "{row}: {error}");
        let error = refused("rows.json", format!("[{good}, {row}]").as_bytes(), format);
        assert!(
            error.contains("rows.json, row 1 (from 0): "),
            "{row}: {error}"
        );
    }
    let error = refused(
        "rows.jsonl",
        good.as_bytes(),
        "format = 'easy-r1'\nanswers = 'box'",
    );
    assert!(error.contains("\"a\" is no box"), "{error}");
    let error = refused(
        "rows.jsonl",
        good.as_bytes(),
        "format = 'easy-r1'\nimage_key = 'pics'",
    );
    assert!(error.contains("data.image_key"), "{error}");
    for (name, text) in [("empty.jsonl", "\n"), ("empty.json", "[]")] {
        for keys in [easy_r1, ""] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name), text).unwrap();
            let toml = format!("path = '{name}'\n{keys}");
            let error = load_toml(&toml, folder.path()).unwrap_err();
            assert!(error.contains("no rows"), "{error}");
        }
    }
    let system =
        r#"{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]}"#;
    let error = refused(
        "rows.jsonl",
        system.as_bytes(),
        "format = 'trl'\nsystem = 'S'",
    );
    assert!(error.contains("data.system"), "{error}");
}

#[test]
fn damaged_parquet_is_an_error_of_its_file() {
    let bytes = fs::read(golden().join("tables/easy_r1.parquet")).unwrap();
    for length in [4, 9, bytes.len() / 2, bytes.len() - 1] {
        let error = refused("cut.parquet", &bytes[..length], "");
        assert!(error.contains("write it again"), "{length}: {error}");
    }
    assert!(refused("no.parquet", b"version https://git-lfs.x", "").contains("git lfs pull"));
}

#[test]
fn one_cache_keeps_pictures_of_files_with_the_same_name_apart() {
    let golden = golden();
    let folders = [0u8, 1].map(|shade| {
        let folder = tempfile::tempdir().unwrap();
        let name = ["tables/easy_r1.parquet", "tables/boxes.parquet"][usize::from(shade)];
        fs::copy(golden.join(name), folder.path().join("t.parquet")).unwrap();
        folder
    });
    let cache = std::sync::Arc::default();
    let config: DataConfig = toml::from_str("path = 't.parquet'").unwrap();
    let [a, b] = [0, 1].map(|i: usize| {
        let data = ocelli_data::load_with(&config, folders[i].path(), 0, &cache).unwrap();
        data.picture(&data.tasks[0], 0).unwrap()
    });
    assert_ne!(a, b);
    // A record of the row, met without its data.
    let data = load(&config, folders[0].path(), 0).unwrap();
    let task = data.tasks[0].as_ref().clone();
    let error = Dataset::new("record", vec![task.clone()])
        .picture(&task, 0)
        .unwrap_err();
    assert!(error.to_string().contains("t.parquet#0/0"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn changed_parquet_is_read_or_refused(
        zstd in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let name = if zstd { "tables/easy_r1_zstd.parquet" } else { "tables/verl.parquet" };
        let mut bytes = fs::read(golden().join(name)).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.parquet"), &bytes).unwrap();
        let _ = load_toml("path = 't.parquet'", folder.path());
    }

    #[test]
    fn any_rows_are_read_or_refused(
        format in prop::sample::select(vec!["easy-r1", "verl", "trl"]),
        row in "\\{(\"(prompt|problem|answer|images|reward_model)\": (3|null|\"<image>\"|\\[\\]|\\{\\}|\\[\\{\"role\": \"user\", \"content\": \"<image>\"\\}\\]), ){0,4}\"x\": 1\\}",
    ) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.jsonl"), row).unwrap();
        let _ = load_toml(&format!("path = 't.jsonl'\nformat = '{format}'"), folder.path());
    }
}

/// Every TOML block of `docs/data.md` has data tables that are taken.
#[test]
fn the_examples_of_the_page_are_read() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/data.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```toml\n").skip(1);
    let mut tables = 0;
    for block in blocks {
        let recipe: toml::Table = toml::from_str(block.split("```").next().unwrap()).unwrap();
        let stages = recipe["stage"].as_array().unwrap().iter();
        for part in stages.chain(recipe.get("eval")) {
            let config: DataConfig = part["data"].clone().try_into().unwrap();
            config.check().unwrap();
            tables += 1;
        }
    }
    assert_eq!(tables, 8);
}
