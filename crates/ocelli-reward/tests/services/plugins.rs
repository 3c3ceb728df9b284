//! Python rewards in a graph. Each test is skipped with a note where there is no `python3`.

use std::fs;
use std::time::{Duration, Instant};

use ocelli_core::{Metrics, Progress, Verdict};
use ocelli_reward::{RewardGraph, record_rewards};
use tempfile::TempDir;

use crate::episodes::{
    answer, build, config, error, folder, needs_python, rewards, scored, start, started,
};

#[test]
fn an_easyr1_file_is_the_whole_reward() {
    needs_python!();
    let graph = started(r#""counting.py:compute_score""#);
    assert_eq!(graph.node_names().collect::<Vec<_>>(), ["compute_score"]);
    let right = "<think>2 and 2</think><answer>4</answer>";
    let mut first = [answer("a", right), answer("a", "<answer>4</answer>")];
    let mut second = [answer("b", "<think></think><answer>5</answer>")];
    graph.score_batch(&mut [&mut first, &mut second], Progress::default());
    let episodes = [first.as_slice(), second.as_slice()].concat();
    assert_eq!(rewards(&episodes), [Some(1.0), Some(0.9), Some(0.1)]);
    let verdicts = &episodes[1].outcome.verdicts;
    assert_eq!(verdicts.len(), 3);
    assert_eq!(verdicts["compute_score"], Verdict::score(0.9));
    assert_eq!(verdicts["compute_score.accuracy"], Verdict::score(1.0));
    assert_eq!(verdicts["compute_score.format"], Verdict::score(0.0));
    let mut metrics = Metrics::default();
    record_rewards(&mut metrics, graph.node_names(), &episodes);
    let mean = |name: &str| metrics.get(&format!("rewards/{name}/mean")).unwrap();
    assert!((mean("compute_score") - 2.0 / 3.0).abs() < 1e-12);
    assert!((mean("compute_score.accuracy") - 2.0 / 3.0).abs() < 1e-12);
    assert!((mean("compute_score.format") - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn one_call_has_all_rows_that_the_node_applies_to() {
    needs_python!();
    let graph = started(
        r#"["tags",
            { verifier = "misbehaving.py:compute_score", name = "rows", weight = 2, when = { task = "count" } },
            { verifier = "counting.py:compute_score", gate = "tags", otherwise = -1, kwargs = { format_weight = 0.5 } }]"#,
    );
    let turn = "<think></think><answer>5</answer>";
    let mut other = answer("c", turn);
    std::sync::Arc::make_mut(&mut other.task).tags.clear();
    let mut first = [answer("a", turn), answer("a", "4")];
    let mut second = [answer("b", turn), other];
    graph.score_batch(&mut [&mut first, &mut second], Progress::default());
    // Three rows of the first plug-in's task; a format by itself is half of the second's reward.
    assert_eq!(rewards(&first), [Some(1.0 + 6.0 + 0.5), Some(6.0 - 1.0)]);
    assert_eq!(rewards(&second), [Some(7.5), Some(1.5)]);
    assert_eq!(second[1].outcome.verdicts["rows"], Verdict::Skip);
}

#[test]
fn files_and_functions_are_looked_for_without_python() {
    for (reward, message) in [
        (
            r#""no_such_file.py:compute_score""#,
            "reward node 0: the plug-in reward `",
        ),
        (
            r#""no_such_file.py:compute_score""#,
            "tests/services/no_such_file.py`; write its path in full",
        ),
        (
            r#"["tags", "counting.py:compute_scores"]"#,
            "has no function `compute_scores`; did you mean `compute_score`?",
        ),
        (
            r#""counting.py:zzz""#,
            "it defines: format_reward, accuracy_reward, compute_score",
        ),
        (
            r#"[{ verifier = "counting.py:compute_score", scope = "batch" }]"#,
            "`scope` has no effect on the verifier `",
        ),
        (
            r#"["counting.py:compute_score", "misbehaving.py:compute_score"]"#,
            "both named `compute_score`",
        ),
        (r#""stub_jugde""#, "did you mean `stub_judge`?"),
    ] {
        let error = build(reward).unwrap_err().to_string();
        assert!(error.contains(message), "{reward}: {error}");
    }
    RewardGraph::check(&config(r#""no_such_file.py:compute_score""#)).unwrap();
    let here = TempDir::new().unwrap();
    let loaded = |text: &str| {
        fs::write(here.path().join("a.py"), text).unwrap();
        RewardGraph::rooted(&config(r#""a.py:f""#), here.path()).is_ok()
    };
    // Functions come from other places than `def`.
    assert!(loaded("from b import f\n"));
    assert!(loaded("from b import *\n"));
    assert!(loaded("f = lambda completions: []\n"));
    assert!(!loaded("def ff(completions):\n    pass\n"));
}

#[test]
fn what_was_not_started_is_an_error_of_each_episode() {
    let graph = build(r#"["tags", "counting.py:compute_score"]"#).unwrap();
    let episodes = scored(&graph, &["4"]);
    assert_eq!(rewards(&episodes), [None]);
    let message = error(&episodes[0], "compute_score");
    assert_eq!(
        message,
        "`compute_score` was not started; call `RewardGraph::start` before scoring"
    );
}

#[test]
fn what_cannot_start_says_so() {
    needs_python!();
    let here = TempDir::new().unwrap();
    fs::write(here.path().join("a.py"), "import f_is_missing\n").unwrap();
    fs::write(here.path().join("b.py"), "f = 3\n").unwrap();
    for (reward, message) in [
        (r#""a.py:f_is_missing""#, "an import failed"),
        (
            r#"["tags", { verifier = "b.py:f", name = "three" }]"#,
            "`f` is ",
        ),
        (
            r#"[{ verifier = "b.py:f", python = "no/such/python" }]"#,
            "/no/such/python` cannot be started",
        ),
    ] {
        let graph = RewardGraph::rooted(&config(reward), here.path()).unwrap();
        let error = graph.start(|_| {}).unwrap_err().to_string();
        assert!(error.starts_with("the reward node `"), "{error}");
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn it_starts_once_and_stops_with_the_last_clone() {
    needs_python!();
    let graph = build(r#""misbehaving.py:compute_score""#).unwrap();
    let clone = graph.clone();
    let printed = start(&clone);
    let second = start(&graph);
    let pid = rewards(&scored(&graph, &["pid"]))[0].unwrap();
    assert_eq!(rewards(&scored(&clone, &["pid"])), [Some(pid)]);
    let selected = graph.select(&["compute_score".to_owned()]).unwrap();
    drop((graph, clone));
    assert_eq!(rewards(&scored(&selected, &["pid"])), [Some(pid)]);
    drop(selected);
    let process = format!("/proc/{pid}");
    assert!(!std::path::Path::new(&process).exists());
    let lines = printed.lock().unwrap();
    let loaded: Vec<_> = lines.iter().filter(|l| l.contains("loaded")).collect();
    assert_eq!(loaded.len(), 1, "{lines:?}");
    assert!(
        loaded[0].contains("misbehaving.py:compute_score"),
        "{lines:?}"
    );
    assert!(second.lock().unwrap().is_empty());
}

/// The message of a batch that is lost; the next batch is judged.
fn lost(settings: &str, wish: &str) -> String {
    let graph = started(&format!(
        r#"["tags", {{ verifier = "misbehaving.py:compute_score", {settings} }}]"#
    ));
    let episodes = scored(&graph, &[wish, "4"]);
    assert_eq!(rewards(&episodes), [None, None]);
    let message = error(&episodes[0], "compute_score");
    assert!(
        message.contains("misbehaving.py:compute_score"),
        "{message}"
    );
    assert_eq!(error(&episodes[1], "compute_score"), message);
    assert_eq!(rewards(&scored(&graph, &["4", "5", "6"])), [Some(3.0); 3]);
    message.to_owned()
}

#[test]
fn a_hang_costs_its_batch_and_is_waited_for_once() {
    needs_python!();
    let begin = Instant::now();
    let message = lost("timeout_seconds = 2", "hang");
    assert!(
        message.contains("took longer than 2 s and was killed"),
        "{message}"
    );
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_crash_costs_its_batch() {
    needs_python!();
    let message = lost("workers = 1", "crash");
    assert!(
        message.contains("ended its process (exit status: 3)"),
        "{message}"
    );
}

#[test]
fn memory_beyond_the_limit_costs_its_batch() {
    needs_python!();
    let message = lost("memory_mb = 2048", "memory");
    assert!(message.contains("MemoryError"), "{message}");
}

#[test]
fn prints_and_children_cost_nothing() {
    needs_python!();
    let graph = build(r#""misbehaving.py:compute_score""#).unwrap();
    let printed = start(&graph);
    for wish in ["garbage", "fork", "4"] {
        assert_eq!(
            rewards(&scored(&graph, &[wish, "4"])),
            [Some(2.0); 2],
            "{wish}"
        );
    }
    let begin = Instant::now();
    let said = || {
        printed
            .lock()
            .unwrap()
            .iter()
            .any(|l| l.contains("not JSON"))
    };
    while !said() && begin.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(said());
}

#[test]
fn an_error_is_dropped_zero_or_skipped_and_tried_again_when_asked() {
    needs_python!();
    for (settings, reward) in [
        ("workers = 1", None),
        ("on_error = \"zero\"", Some(0.0)),
        ("on_error = \"skip\"", Some(0.0)),
        ("retries = 1", Some(1.0)),
    ] {
        let graph = started(&format!(
            r#"["tags", {{ verifier = "misbehaving.py:compute_score", {settings} }}]"#
        ));
        assert_eq!(rewards(&scored(&graph, &["flaky"])), [reward], "{settings}");
    }
}

#[test]
fn nodes_that_are_not_selected_are_not_asked() {
    needs_python!();
    let graph = started(
        r#"["tags", { verifier = "misbehaving.py:compute_score", timeout_seconds = 300 }]"#,
    );
    let selected = graph.select(&["tags".to_owned()]).unwrap();
    assert_eq!(rewards(&scored(&selected, &["hang"])), [Some(0.0)]);
    assert!(folder().join("misbehaving.py").is_file());
}
