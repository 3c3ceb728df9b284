//! The whole page, from run folders that are full, hostile, cut short or empty.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::write_report;

/// A 2×2 PNG.
const PICTURE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGP4z8DAwMDA8B9MMYAIEAAANe0F/+d5cbsAAAAASUVORK5CYII=";

fn write_lines(run: &Path, file: &str, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(run.join(file), text).unwrap();
}

fn metric_lines(steps: usize) -> Vec<Value> {
    (1..=steps)
        .map(|step| {
            let wave = (step as f64 * 0.7).sin();
            let mut line = json!({
                "stage": "grpo", "stage_index": 1, "step": step, "time": 1.69e9 + step as f64,
                "step_time": 0.31, "reward": 0.4 + wave / 7.0, "kl": null, "loss": wave / 3.0,
                "rewards/box_iou/mean": 0.3 + wave / 9.0, "learning_rate": 1e-4,
            });
            for column in 0..20 {
                line[format!("other/column_{column}")] = json!(wave / f64::from(column + 3));
            }
            line
        })
        .collect()
}

fn evaluations() -> Vec<Value> {
    [("start", -1, 0.02), ("sft", 0, 0.31), ("grpo", 1, 0.47)]
        .into_iter()
        .flat_map(|(after, index, score)| {
            ["greedy", "sampled"].map(|mode| {
                json!({"after": after, "stage_index": index, "mode": mode, "task": "all", "rows": 500,
                       "scores": {"box_iou": score, "tags": 0.99}})
            })
        })
        .collect()
}

fn gallery_line(after: &str, text: &str) -> Value {
    json!({"id": "pointing-val-000003", "question": "Where is the red circle?", "image": PICTURE, "width": 112,
           "height": 112, "gold_text": "[12, 30, 55, 80]", "gold_box": [12, 30, 55, 80], "after": after,
           "text": text, "box": [10, 28, 50, 77], "scores": {"box_iou": 0.4, "tags": 1}})
}

fn full_run(run: &Path) {
    write_lines(run, "metrics.jsonl", &metric_lines(40));
    write_lines(run, "evals.jsonl", &evaluations());
    write_lines(
        run,
        "gallery.jsonl",
        &[
            gallery_line(
                "sft",
                "<think>left</think>\n<answer>[10, 28, 50, 77]</answer>",
            ),
            gallery_line("grpo", "[12, 30, 55, 79]"),
        ],
    );
    fs::write(
        run.join("resolved.toml"),
        "[model]\npath = \"tiny-qwen2_5_vl\"\n",
    )
    .unwrap();
    fs::write(
        run.join("env.json"),
        r#"{"processor":"two cores","threads":2}"#,
    )
    .unwrap();
}

fn page(run: &Path) -> String {
    let path = write_report(run).unwrap();
    assert_eq!(path, run.join("report.html"));
    fs::read_to_string(path).unwrap()
}

/// Pictures, scripts, styles and links of the page, by their addresses.
fn addresses(page: &str) -> Vec<&str> {
    ["src=\"", "href=\"", "url(", "@import"]
        .into_iter()
        .flat_map(|opening| {
            page.split(opening)
                .skip(1)
                .filter_map(|rest| rest.split(['"', ')']).next())
        })
        .collect()
}

#[test]
fn a_full_run_gives_a_whole_page() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("quickstart");
    fs::create_dir(&run).unwrap();
    full_run(&run);
    let page = page(&run);
    for part in [
        "<h1>quickstart</h1>",
        "<b>0.020</b><span>start</span>",
        "<b>0.470</b><span>after grpo</span>",
        "<span class=\"change better\">+0.160</span>",
        "Stage 2</span> grpo <small>40 steps, 39 s</small>",
        "\"label\":\"Reward: box_iou\"",
        "20 more measurements",
        "Where is the red circle?",
        "<blockquote dir=\"auto\">left</blockquote>",
        "path = &quot;tiny-qwen2_5_vl&quot;",
        "<dt>threads</dt><dd dir=\"auto\">2</dd>",
    ] {
        assert!(page.contains(part), "the page lacks {part}");
    }
    assert!(
        !page.contains("{{"),
        "a place of the template is not filled"
    );
    assert_eq!(
        page.matches(PICTURE).count(),
        1,
        "a picture stands in the page once"
    );
    assert!(!run.join("report.html.tmp").exists());
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    full_run(folder.path());
    let page = page(folder.path());
    assert!(!page.contains("http://") && !page.contains("https://"));
    for address in addresses(&page) {
        assert!(
            address.starts_with('#') || address.starts_with("data:"),
            "{address}"
        );
    }
}

#[test]
fn words_of_a_model_stay_words() {
    let folder = tempfile::tempdir().unwrap();
    let attack = "</pre></script><script>alert(1)</script><img src=x onerror=\"alert(2)\">{{script}}' onload='a";
    let mut line = gallery_line(attack, attack);
    for field in ["id", "question", "gold_text", "image"] {
        line[field] = json!(attack);
    }
    line["scores"] = json!({ attack: 0.5 });
    write_lines(folder.path(), "gallery.jsonl", &[line]);
    write_lines(
        folder.path(),
        "metrics.jsonl",
        &[json!({"stage": attack, "step": 1, attack: 1.5})],
    );
    write_lines(
        folder.path(),
        "evals.jsonl",
        &[
            json!({"after": attack, "mode": attack, "task": attack, "rows": 1, "scores": {attack: 1}}),
        ],
    );
    fs::write(folder.path().join("resolved.toml"), attack).unwrap();
    fs::write(
        folder.path().join("env.json"),
        json!({ attack: attack }).to_string(),
    )
    .unwrap();
    let page = page(folder.path());
    let (before_data, from_data) = page.split_once("id=\"curve-data\">").unwrap();
    let (data, _) = from_data.split_once("</script>").unwrap();
    assert!(!data.contains('<'));
    assert!(!before_data.contains("<script>") && !before_data.contains("<img"));
    assert!(!before_data.contains("' onload='") && !before_data.contains("onerror=\""));
    assert_eq!(
        page.matches("</script>").count(),
        2,
        "only the page's own scripts end"
    );
    assert!(page.contains("&lt;script&gt;alert(1)"));
    assert!(page.contains("The picture is left out"));
    assert!(
        page.contains("{{script}}&#39;"),
        "places named in text are not filled"
    );
}

#[test]
fn an_empty_folder_gives_a_page_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let page = page(folder.path());
    for file in [
        "evals.jsonl",
        "metrics.jsonl",
        "gallery.jsonl",
        "resolved.toml",
        "env.json",
    ] {
        assert!(page.contains(file), "the page does not mention {file}");
    }
    assert!(page.contains("Not evaluated yet"));
}

#[test]
fn half_written_lines_are_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    full_run(folder.path());
    for file in ["metrics.jsonl", "evals.jsonl", "gallery.jsonl"] {
        let path = folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    }
    fs::write(folder.path().join("env.json"), "{\"proc").unwrap();
    let page = page(folder.path());
    assert!(page.contains("Left out of metrics.jsonl: line 40,"));
    assert!(page.contains("Left out of evals.jsonl: line 6,"));
    assert!(page.contains("Left out of gallery.jsonl: line 2,"));
    assert!(page.contains("<small>39 steps"));
}

#[test]
fn long_runs_stay_small() {
    for steps in [1000, 12_000] {
        let folder = tempfile::tempdir().unwrap();
        write_lines(folder.path(), "metrics.jsonl", &metric_lines(steps));
        let bytes = page(folder.path()).len();
        assert!(bytes < 1_500_000, "{steps} steps give {bytes} bytes");
    }
}

#[test]
fn a_folder_that_is_missing_is_an_error_that_names_it() {
    let error = write_report(Path::new("no/such/run")).unwrap_err();
    assert!(error.to_string().contains("no/such/run"));
}
