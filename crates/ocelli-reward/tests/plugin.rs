//! Plug-in rewards against real Python. Each test is skipped with a note where there is no `python3`.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use ocelli_core::{Episode, Message, Role, Target, Task, Verdict};
use ocelli_reward::{Completions, Plugin, PluginConfig, PluginError, PluginVerdict, Style};
use serde_json::json;
use tempfile::TempDir;

/// The interpreter itself: `python3` may be a script that looks for it, which takes longer than all the rest.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let ask = || {
        let output = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .ok()?;
        Some(String::from_utf8(output.stdout).ok()?.trim().into())
    };
    PYTHON.get_or_init(ask).as_deref()
}

/// Ends the test where there is no interpreter.
macro_rules! needs_python {
    () => {
        if python().is_none() {
            eprintln!("skipped: there is no python3");
            return;
        }
    };
}

/// A plug-in in a folder of its own, and what it has printed.
struct Bench {
    folder: TempDir,
    config: PluginConfig,
    printed: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new(source: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("my_rewards.py");
        fs::write(&path, source).unwrap();
        let config = PluginConfig {
            path,
            timeout_seconds: 20.0,
            python: python().map(Path::to_owned),
            ..PluginConfig::parse("my_rewards.py:compute_score").unwrap()
        };
        Self {
            folder,
            config,
            printed: Arc::default(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut PluginConfig)) -> Self {
        change(&mut self.config);
        self
    }

    fn kwargs(self, kwargs: serde_json::Value) -> Self {
        self.with(|config| config.kwargs = kwargs.as_object().unwrap().clone())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn try_start(&self) -> Result<Plugin, PluginError> {
        let printed = Arc::clone(&self.printed);
        Plugin::start(&self.config, move |line| {
            printed.lock().unwrap().push(line.to_owned())
        })
    }

    fn start(&self) -> Plugin {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(&self) -> String {
        let error = match self.try_start() {
            Ok(_) => panic!("the plug-in was accepted"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("my_rewards.py:compute_score"), "{error}");
        error
    }

    /// Waits for a printed line that contains `text`.
    fn printed(&self, text: &str) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if self
                .printed
                .lock()
                .unwrap()
                .iter()
                .any(|line| line.contains(text))
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

fn task(id: &str, target: Option<Target>) -> Task {
    Task {
        id: id.to_owned(),
        messages: vec![Message::text(Role::User, "How many?")],
        target,
        tags: BTreeMap::from([("source".to_owned(), "geo3k".to_owned())]),
        ..Task::default()
    }
}

fn answer(task: Task, text: &str) -> Episode {
    Episode::of_answer(Arc::new(task), text, vec![7, 8, 9])
}

/// Episodes of different tasks whose target is `4`.
fn answers(texts: &[&str]) -> Vec<Episode> {
    let one = |(index, text): (usize, &&str)| {
        answer(
            task(&format!("row-{index}"), Some(Target::Text("4".to_owned()))),
            text,
        )
    };
    texts.iter().enumerate().map(one).collect()
}

fn score(plugin: &Plugin, episodes: &[Episode]) -> Vec<PluginVerdict> {
    plugin.score(&episodes.iter().collect::<Vec<_>>())
}

fn values(verdicts: &[PluginVerdict]) -> Vec<Option<f64>> {
    verdicts
        .iter()
        .map(|verdict| verdict.verdict.value())
        .collect()
}

/// Message and whether to try again; panics for anything but an error, and for a message that names no plug-in.
fn error(verdict: &PluginVerdict) -> (&str, bool) {
    match &verdict.verdict {
        Verdict::Error(error) => {
            assert!(
                error.message.contains("my_rewards.py:compute_score"),
                "{error:?}"
            );
            (&error.message, error.retryable)
        }
        other => panic!("no error but {other:?}"),
    }
}

const ONE: &str = "def compute_score(solution_str, **kwargs):\n    return 1.0\n";

mod styles {
    use super::*;

    #[test]
    fn easyr1_batch_with_its_settings() {
        needs_python!();
        let bench = Bench::new(
            r#"
from __future__ import annotations
from typing import Any
REWARD_NAME = "count"
REWARD_TYPE = "batch"

def compute_score(reward_inputs: list[dict[str, Any]], weight: float = 0.5, note=None) -> list[dict[str, float]]:
    scores = []
    for reward_input in reward_inputs:
        right = float(reward_input["response"] == reward_input["ground_truth"])
        scores.append({
            "overall": (1 - weight) * right + weight * len(reward_inputs),
            "accuracy": right,
            "length": reward_input["response_length"],
            "source": reward_input["source"],
            "format": None,
        })
    return scores
"#,
        )
        .kwargs(json!({ "weight": 0.25, "note": null }));
        let plugin = bench.start();
        assert_eq!(plugin.style(), Style::EasyR1Batch);
        let verdicts = score(&plugin, &answers(&["4", "5"]));
        assert_eq!(values(&verdicts), [Some(1.25), Some(0.5)]);
        // What is no number is no named score.
        let names = BTreeMap::from([("accuracy".to_owned(), 1.0), ("length".to_owned(), 3.0)]);
        assert_eq!(verdicts[0].scores, names);
        assert!(score(&plugin, &[]).is_empty());
    }

    #[test]
    fn easyr1_sequential() {
        needs_python!();
        for global in ["", "REWARD_TYPE = 'sequential'\n"] {
            let parameter = if global.is_empty() {
                "reward_input"
            } else {
                "sample"
            };
            let plugin = Bench::new(&format!(
                "{global}def compute_score({parameter}):\n    \
                 return {{'overall': 2 * ({parameter}['response'] == {parameter}['ground_truth']), 'format': 1.0}}\n"
            ))
            .start();
            assert_eq!(plugin.style(), Style::EasyR1);
            let verdicts = score(&plugin, &answers(&["4", "x", "4"]));
            assert_eq!(values(&verdicts), [Some(2.0), Some(0.0), Some(2.0)]);
            assert_eq!(verdicts[1].scores["format"], 1.0);
        }
    }

    #[test]
    fn verl_with_numbers_and_dicts() {
        needs_python!();
        let plugin = Bench::new(
            r#"
def compute_score(data_source, solution_str, ground_truth, extra_info=None, scale=1):
    assert data_source == "geo3k" and extra_info["source"] == "geo3k" and extra_info["id"].startswith("row-")
    right = solution_str == ground_truth
    return {"score": scale * right, "acc": right, "pred": solution_str} if "4" in solution_str else -1
"#,
        )
        .kwargs(json!({ "scale": 3 }))
        .start();
        assert_eq!(plugin.style(), Style::Verl);
        let verdicts = score(&plugin, &answers(&["4", "x", "44"]));
        assert_eq!(values(&verdicts), [Some(3.0), Some(-1.0), Some(0.0)]);
        assert_eq!(
            verdicts[0].scores,
            BTreeMap::from([("acc".to_owned(), 1.0)])
        );
        assert!(verdicts[1].scores.is_empty());
    }

    #[test]
    fn trl_with_columns_none_and_logging() {
        needs_python!();
        let plugin = Bench::new(
            r#"
def compute_score(prompts, completions, completion_ids, solution, source, log_extra=None, log_metric=None, **kwargs):
    assert prompts == ["How many?"] * 3 and completion_ids == [[7, 8, 9]] * 3
    assert source == ["geo3k"] * 3 and kwargs["answer"] == kwargs["ground_truth"] == solution and len(kwargs["id"]) == 3
    log_extra("length", [len(completion) for completion in completions])
    log_extra("text", completions)
    log_metric("rows", len(prompts))
    return [None if c == "x" else float(c == s) for c, s in zip(completions, solution)]
"#,
        )
        .start();
        assert_eq!(plugin.style(), Style::Trl);
        let verdicts = score(&plugin, &answers(&["4", "x", "44"]));
        assert_eq!(values(&verdicts), [Some(1.0), None, Some(0.0)]);
        assert_eq!(verdicts[1].verdict, Verdict::Skip);
        let names = BTreeMap::from([("length".to_owned(), 2.0), ("rows".to_owned(), 3.0)]);
        assert_eq!(verdicts[2].scores, names);
    }

    #[test]
    fn trl_gets_messages_when_it_reads_them_or_the_option_says_so() {
        needs_python!();
        let helper =
            "def lengths(completions):\n    return [len(c[0]['content']) for c in completions]\n";
        for (body, sure) in [
            ("return [len(c[0]['content']) for c in completions]", true),
            (
                "return [len(c[-1].get('content', '')) for c in completions]",
                true,
            ),
            ("import helper; return helper.lengths(completions)", false),
            (
                "return [sum(len(m.get('content')) for m in c) for c in completions]",
                false,
            ),
            (
                "k = 'content'; return [len(c[0][k]) * (p[0][k] == 'How many?') for p, c in zip(prompts, completions)]",
                false,
            ),
        ] {
            let bench = Bench::new(&format!(
                "def compute_score(prompts, completions, **kwargs):\n    {body}\n"
            ));
            fs::write(bench.file("helper.py"), helper).unwrap();
            let plugin = bench.start();
            for _ in 0..2 {
                let verdicts = score(&plugin, &answers(&["one", "three"]));
                assert_eq!(values(&verdicts), [Some(3.0), Some(5.0)], "{body}");
            }
            assert!(sure || bench.printed("gets them from here on"), "{body}");
        }
        // A judge's messages are not the completions.
        let judge = "def compute_score(prompts, completions):\n    \
                     data = {'choices': [{'message': {'content': '0.5'}}], 'content': [{'text': ''}]}\n    \
                     asked = [{'role': 'user', 'content': p + c} for p, c in zip(prompts, completions)]\n    \
                     return [float(data['choices'][0]['message']['content']) + len(m['content']) for m in asked]\n";
        assert_eq!(
            values(&score(&Bench::new(judge).start(), &answers(&["one"]))),
            [Some(12.5)]
        );
        let length =
            "def compute_score(completions, **kwargs):\n    return [len(c) for c in completions]\n";
        for (completions, wanted) in [
            (None, 5.0),
            (Some(Completions::Text), 5.0),
            (Some(Completions::Messages), 1.0),
        ] {
            let bench = Bench::new(length).with(|config| config.completions = completions);
            assert_eq!(
                values(&score(&bench.start(), &answers(&["three"]))),
                [Some(wanted)]
            );
        }
    }

    #[test]
    fn async_functions_of_every_style_wait_together() {
        needs_python!();
        for (arguments, result) in [
            ("completions, **kwargs", "[float(c) for c in completions]"),
            (
                "reward_inputs",
                "[{'overall': float(r['response'])} for r in reward_inputs]",
            ),
            (
                "reward_input",
                "{'overall': float(reward_input['response'])}",
            ),
            (
                "data_source, solution_str, ground_truth, extra_info",
                "float(solution_str)",
            ),
        ] {
            let plugin = Bench::new(&format!(
                "import asyncio\nasync def compute_score({arguments}):\n    await asyncio.sleep(0.2)\n    return {result}\n"
            ))
            .start();
            let texts: Vec<String> = (0..40).map(|n| n.to_string()).collect();
            let episodes = answers(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let start = Instant::now();
            let verdicts = score(&plugin, &episodes);
            // One after the other they would take eight seconds.
            assert!(start.elapsed() < Duration::from_secs(4), "{arguments}");
            assert_eq!(
                values(&verdicts),
                (0..40).map(|n| Some(f64::from(n))).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn the_style_can_be_forced_and_must_be_when_it_cannot_be_told() {
        needs_python!();
        let source = "def compute_score(inputs):\n    return {'overall': 1}\n";
        let error = Bench::new(source).refusal();
        assert!(
            error.contains("(inputs)") && error.contains("`style = \"easyr1_batch\"`"),
            "{error}"
        );
        let plugin = Bench::new(source)
            .with(|config| config.style = Some(Style::EasyR1))
            .start();
        assert_eq!(values(&score(&plugin, &answers(&["a"]))), [Some(1.0)]);
    }

    #[test]
    fn targets_keep_their_type() {
        needs_python!();
        let plugin = Bench::new(
            "def compute_score(solution_str, ground_truth, **kwargs):\n    \
             return {None: 0, str: 1, list: 2}[ground_truth and type(ground_truth)] + (ground_truth == [0.1, 2, 3, 4])\n",
        )
        .start();
        let corners = Target::Box([0.1, 2.0, 3.0, 4.0].into());
        let episodes = [None, Some(Target::Text("a".to_owned())), Some(corners)]
            .map(|target| answer(task("row", target), ""));
        assert_eq!(
            values(&score(&plugin, &episodes)),
            [Some(0.0), Some(1.0), Some(3.0)]
        );
    }
}

mod results {
    use super::*;

    #[test]
    fn numbers_arrive_to_the_last_digit_and_scalars_by_their_item() {
        needs_python!();
        let plugin = Bench::new(
            r#"
class Scalar:  # as numpy's and torch's
    def __init__(self, value):
        self.value = value
    def item(self):
        return self.value

def compute_score(data_source, solution_str, **kwargs):
    return eval(solution_str)
"#,
        )
        .start();
        for (text, value) in [
            ("0.1 + 0.2", 0.1 + 0.2),
            ("1 / 3", 1.0 / 3.0),
            ("5e-324", 5e-324),
            ("-1.7976931348623157e308", f64::MIN),
            ("2 / 3 * 1e-200", 2.0 / 3.0 * 1e-200),
            ("True", 1.0),
            ("2 ** 60", 1_152_921_504_606_846_976.0),
            ("Scalar(0.30000000000000004)", 0.300_000_000_000_000_04),
            ("{'score': Scalar(True)}", 1.0),
        ] {
            let verdicts = score(&plugin, &answers(&[text]));
            assert_eq!(verdicts[0].verdict, Verdict::score(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_finite_number_is_an_error_of_its_episode() {
        needs_python!();
        let plugin = Bench::new("def compute_score(data_source, solution_str, **kwargs):\n    return eval(solution_str)\n").start();
        let cases = [
            ("float('nan')", "returned nan, which is not finite"),
            ("float('-inf')", "returned -inf, which is not finite"),
            (
                "{'score': float('nan')}",
                "returned `score` = nan, which is not finite",
            ),
            ("10 ** 400", "where a number is wanted"),
            ("None", "returned None (NoneType) where a number is wanted"),
            ("'1.0'", "returned '1.0' (str) where a number is wanted"),
            ("[1.0]", "returned [1.0] (list) where a number is wanted"),
            ("1j", "(complex) where a number is wanted"),
            ("{}", "a dict without the key `score`; it has: none"),
            (
                "{'overall': 1}",
                "a dict without the key `score`; it has: overall",
            ),
            ("{'score': object()}", "where a number is wanted"),
            ("'\\ud800'", "where a number is wanted"),
            ("'x' * 10**6", "where a number is wanted"),
        ];
        let mut texts: Vec<&str> = cases.iter().map(|(text, _)| *text).collect();
        texts.push("0.5");
        let verdicts = score(&plugin, &answers(&texts));
        for ((text, message), verdict) in cases.iter().zip(&verdicts) {
            let (found, retryable) = error(verdict);
            assert!(found.contains(message), "{text}: {found}");
            assert!(found.len() < 300 && !retryable, "{text}: {found}");
        }
        assert_eq!(verdicts[cases.len()].verdict, Verdict::score(0.5));
    }

    #[test]
    fn a_batch_of_the_wrong_shape_is_an_error_of_all_its_episodes() {
        needs_python!();
        for (result, message) in [
            ("[{'overall': 1.0}]", "returned a list of 1 for 2 episodes"),
            ("[]", "returned a list of 0 for 2 episodes"),
            (
                "None",
                "returned None (NoneType) where a list of 2 is wanted",
            ),
            ("{'overall': 1.0}", "(dict) where a list of 2 is wanted"),
            ("1.0", "(float) where a list of 2 is wanted"),
            (
                "[1.0, 1.0]",
                "returned 1.0 (float) where a dict with the key `overall` is wanted",
            ),
        ] {
            let plugin = Bench::new(&format!(
                "def compute_score(reward_inputs):\n    return {result}\n"
            ))
            .start();
            for verdict in score(&plugin, &answers(&["a", "b"])) {
                let (found, retryable) = error(&verdict);
                assert!(found.contains(message) && !retryable, "{result}: {found}");
            }
        }
    }

    #[test]
    fn an_exception_of_a_single_call_costs_its_episode_and_names_the_line() {
        needs_python!();
        let bench = Bench::new(
            "import json\n\ndef compute_score(data_source, solution_str, **kwargs):\n    \
             if solution_str == 'exit':\n        raise SystemExit(3)\n    \
             if solution_str == 'net':\n        raise ConnectionResetError('gone')\n    \
             return json.loads(solution_str)\n",
        );
        let verdicts = score(&bench.start(), &answers(&["1", "{", "exit", "net", "2"]));
        assert_eq!(values(&verdicts), [Some(1.0), None, None, None, Some(2.0)]);
        let (message, retryable) = error(&verdicts[1]);
        assert!(
            message.contains("raised json.decoder.JSONDecodeError: Expecting property name"),
            "{message}"
        );
        assert!(message.ends_with("(line 8)") && !retryable, "{message}");
        assert!(
            error(&verdicts[2])
                .0
                .ends_with("raised SystemExit: 3 (line 5)")
        );
        assert!(error(&verdicts[3]).1, "a lost connection may come back");
        assert!(bench.printed("Traceback (most recent call last)"));
    }

    #[test]
    fn an_exception_of_a_batch_call_costs_the_batch() {
        needs_python!();
        let plugin = Bench::new(
            "def compute_score(completions, **kwargs):\n    \
             return [1 / len(completion) for completion in completions]\n",
        )
        .start();
        for verdict in score(&plugin, &answers(&["a", ""])) {
            assert!(
                error(&verdict)
                    .0
                    .ends_with("raised ZeroDivisionError: division by zero (line 2)")
            );
        }
        assert_eq!(
            values(&score(&plugin, &answers(&["a", "bb"]))),
            [Some(1.0), Some(0.5)]
        );
    }

    #[test]
    fn a_column_that_no_row_has_is_named() {
        needs_python!();
        let plugin =
            Bench::new("def compute_score(completions, bbox, **kwargs):\n    return [1.0]\n")
                .start();
        let verdicts = score(&plugin, &answers(&["a"]));
        let (message, _) = error(&verdicts[0]);
        assert!(
            message.contains(
                "asks for the column `bbox`, which no row has; the rows have: id, target"
            ),
            "{message}"
        );
    }

    #[test]
    fn prints_go_to_the_log_and_not_into_the_protocol() {
        needs_python!();
        let bench = Bench::new(
            r#"
import os, subprocess, sys
print("loading")
def compute_score(solution_str, **kwargs):
    print('{"id":0,"rows":[{"value":99}]}')
    os.write(1, b"raw\n")
    sys.__stdout__.write("dunder\n")
    subprocess.run(["echo", "from a child"])
    print("ü", solution_str, file=sys.stderr)
    return len(sys.stdin.read())
"#,
        );
        assert_eq!(
            values(&score(&bench.start(), &answers(&["x"]))),
            [Some(0.0)]
        );
        for text in [
            "loading",
            "\"value\":99",
            "raw",
            "dunder",
            "from a child",
            "ü x",
        ] {
            assert!(
                bench.printed(&format!("my_rewards.py:compute_score: {text}"))
                    || bench.printed(text),
                "{text}"
            );
        }
    }

    #[test]
    fn any_text_goes_over_and_back() {
        needs_python!();
        let plugin = Bench::new(
            "def compute_score(reward_input):\n    r = reward_input['response']\n    \
             return {'overall': len(r), r[:1] or 'empty': sum(map(ord, r))}\n",
        )
        .start();
        for text in [
            "",
            "é漢😀",
            "a\nb\r\n\u{2028}\0\"\\",
            "\u{feff}x",
            "{\"id\":1}",
        ] {
            let verdicts = score(&plugin, &answers(&[text]));
            assert_eq!(
                verdicts[0].verdict,
                Verdict::score(text.chars().count() as f64),
                "{text:?}"
            );
            let key = text
                .chars()
                .next()
                .map_or_else(|| "empty".to_owned(), String::from);
            assert_eq!(
                verdicts[0].scores[&key],
                text.chars().map(|c| f64::from(c as u32)).sum::<f64>()
            );
        }
        let long = "é".repeat(3_000_000);
        assert_eq!(values(&score(&plugin, &answers(&[&long]))), [Some(3e6)]);
    }

    #[test]
    fn results_of_several_workers_come_in_order_and_groups_stay_together() {
        needs_python!();
        let sequential = Bench::new(
            "import time\ndef compute_score(solution_str, **kwargs):\n    \
             time.sleep(0.01 * (int(solution_str) < 5))\n    return int(solution_str)\n",
        )
        .with(|config| config.workers = 3);
        let plugin = sequential.start();
        let texts: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let episodes = answers(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        for _ in 0..3 {
            let verdicts = score(&plugin, &episodes);
            assert_eq!(
                values(&verdicts),
                (0..20).map(|n| Some(f64::from(n))).collect::<Vec<_>>()
            );
        }
        // Each call counts what it sees of a task: the whole group of four, never a part.
        let grouped = Bench::new(
            "def compute_score(completions, id, **kwargs):\n    return [id.count(i) for i in id]\n",
        )
        .with(|config| config.workers = 2);
        let episodes: Vec<Episode> = ["a", "b", "c"]
            .iter()
            .flat_map(|id| vec![answer(task(id, None), ""); 4])
            .collect();
        assert_eq!(
            values(&score(&grouped.start(), &episodes)),
            vec![Some(4.0); 12]
        );
    }
}

mod start {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_a_mend() {
        needs_python!();
        for (source, message) in [
            (
                "def compute_score(completions)\n    pass\n",
                "no valid Python: SyntaxError: ",
            ),
            (
                "x = 1\n\ndef compute_score(completions)\n    pass\n",
                "(line 3)",
            ),
            ("\0", "no valid Python"),
            (
                "import no_such_module_anywhere\n",
                "ModuleNotFoundError: No module named 'no_such_module_anywhere' (line 1)",
            ),
            (
                "import no_such_module_anywhere\n",
                "install what is missing for `",
            ),
            (
                "\nx = 1 / 0\n",
                "loading the file raised ZeroDivisionError: division by zero (line 2)",
            ),
            ("raise SystemExit('bye')\n", "raised SystemExit: bye"),
            (
                "def computescore(completions):\n    pass\n",
                "did you mean `computescore`?",
            ),
            (
                "import os\ndef reward(completions):\n    pass\n",
                "no function `compute_score`; it defines: reward",
            ),
            ("from os import getcwd\n", "it defines none"),
            ("compute_score = 5\n", "is a int and no function"),
            (
                "class compute_score:\n    pass\n",
                "is a class and no function",
            ),
            (
                "def compute_score(reward_inputs, limit, weight):\n    pass\n",
                "needs the argument `limit`, `weight`; give it in `kwargs`",
            ),
            (
                "def compute_score(response, truth):\n    pass\n",
                "from its arguments (response, truth); say so with",
            ),
            (
                "import os\nos._exit(4)\n",
                "did not start: ended its process (exit status: 4)",
            ),
        ] {
            let error = Bench::new(source).refusal();
            assert!(error.contains(message), "{source:?}: {error}");
        }
        for (kwargs, message) in [
            (
                json!({ "scales": 1 }),
                "it takes no argument `scales`; it takes: solution_str, ground_truth, scale",
            ),
            (
                json!({ "ground_truth": 1 }),
                "`ground_truth` is filled in by the trainer",
            ),
        ] {
            let bench = Bench::new(
                "def compute_score(solution_str, ground_truth, scale=1):\n    return 1\n",
            )
            .kwargs(kwargs);
            let error = bench.refusal();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn what_is_no_interpreter_is_refused() {
        needs_python!();
        let error = Bench::new(ONE)
            .with(|config| config.python = Some("/bin/false".into()))
            .refusal();
        assert!(
            error.contains("did not start: ended its process (exit status: 1)"),
            "{error}"
        );
    }

    #[test]
    fn loading_has_a_time_limit() {
        needs_python!();
        let start = Instant::now();
        let error = Bench::new("import time\ntime.sleep(60)\n")
            .with(|config| config.start_timeout_seconds = 3.0)
            .refusal();
        assert!(
            error.contains("took longer than 3 s and was killed (it was in line 2)"),
            "{error}"
        );
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn files_beside_the_plug_in_can_be_imported_and_hide_no_library() {
        needs_python!();
        let bench = Bench::new(
            "import json, random, helper\ndef compute_score(solution_str, **kwargs):\n    return helper.value\n",
        );
        fs::write(bench.file("helper.py"), "value = 5\n").unwrap();
        for name in ["json.py", "math.py", "random.py"] {
            fs::write(bench.file(name), "raise ImportError('the wrong one')\n").unwrap();
        }
        assert_eq!(
            values(&score(&bench.start(), &answers(&["a"]))),
            [Some(5.0)]
        );
    }
}

#[cfg(target_os = "linux")]
mod misbehaviour {
    use super::*;

    /// Process ids by group, running ones only, and this process's own zombies.
    fn processes(group: u32) -> (usize, usize) {
        let (mut running, mut zombies) = (0, 0);
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
            if fields[2] == group.to_string() {
                running += usize::from(fields[0] != "Z");
                zombies +=
                    usize::from(fields[0] == "Z" && fields[1] == std::process::id().to_string());
            }
        }
        (running, zombies)
    }

    /// Waits until nothing of the group is left, and says whether that came about.
    fn is_gone(group: u32) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if processes(group) == (0, 0) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// A function that does `what` for the response `bad`, and else gives the process id and how many calls it has had.
    fn behaving(what: &str) -> String {
        format!(
            "import ctypes, os, signal, sys, threading, time\ncalls = 0\n\
             def compute_score(solution_str, **kwargs):\n    global calls\n    calls += 1\n    \
             if solution_str == 'bad':\n        {what}\n    \
             return {{'score': os.getpid(), 'calls': calls}}\n"
        )
    }

    fn process_of(plugin: &Plugin) -> (u32, f64) {
        let verdicts = score(plugin, &answers(&["good"]));
        let id = verdicts[0]
            .verdict
            .value()
            .unwrap_or_else(|| panic!("{verdicts:?}"));
        (id as u32, verdicts[0].scores["calls"])
    }

    /// All episodes of a batch with a bad one among them get `message` (`…` stands for anything), the process group dies,
    /// and the next batch is scored by a fresh process.
    fn costs_its_batch(what: &str, limit: f64, message: &str) {
        let bench = Bench::new(&behaving(what)).with(|config| config.timeout_seconds = limit);
        let plugin = bench.start();
        let (before, calls) = process_of(&plugin);
        assert_eq!(calls, 1.0);
        let start = Instant::now();
        for verdict in score(&plugin, &answers(&["good", "bad", "good"])) {
            let (found, retryable) = error(&verdict);
            assert!(
                message.split('…').all(|part| found.contains(part)) && retryable,
                "{what}: {found}"
            );
        }
        assert!(
            start.elapsed() < Duration::from_secs_f64(limit + 10.0),
            "{what}"
        );
        assert!(is_gone(before), "{what}");
        let (after, calls) = process_of(&plugin);
        assert!(after != before && calls == 1.0, "{what}");
        drop(plugin);
        assert!(is_gone(after), "{what}");
    }

    #[test]
    fn hanging() {
        needs_python!();
        costs_its_batch(
            "time.sleep(1000)",
            1.0,
            "took longer than 1 s and was killed (it was in line 7)",
        );
        costs_its_batch(
            "while True: pass",
            1.0,
            "took longer than 1 s and was killed (it was in line 7)",
        );
        costs_its_batch(
            "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1000)",
            1.0,
            "was killed",
        );
        costs_its_batch(
            "os.kill(os.getpid(), signal.SIGSTOP)",
            1.0,
            "took longer than 1 s and was killed",
        );
    }

    #[test]
    fn crashing() {
        needs_python!();
        costs_its_batch(
            "print('last words', flush=True); os._exit(7)",
            20.0,
            "ended its process (exit status: 7); it printed last: last words",
        );
        costs_its_batch(
            "ctypes.string_at(0)",
            20.0,
            "ended its process (signal: 11…(it was in line 7)",
        );
        costs_its_batch(
            "os.kill(os.getpid(), signal.SIGKILL)",
            20.0,
            "ended its process (signal: 9",
        );
        costs_its_batch("os.closerange(3, 1000)", 20.0, "ended its process");
    }

    #[test]
    fn a_storm_of_forks() {
        needs_python!();
        // 2^6 processes, all of which stay. They die with the group at the time limit…
        costs_its_batch(
            "[os.fork() for _ in range(6)]; time.sleep(1000)",
            1.0,
            "took longer than 1 s",
        );
        // …and when the process that began it ends.
        costs_its_batch(
            "[os.fork() for _ in range(6)]; os.getpgid(0) == os.getpid() and os._exit(0); time.sleep(1000)",
            20.0,
            "ended its process (exit status: 0)",
        );
    }

    #[test]
    fn a_forked_copy_does_not_answer_in_its_parents_place() {
        needs_python!();
        let plugin = Bench::new(
            "import os\ndef compute_score(completions, **kwargs):\n    child = os.fork() == 0\n    \
             return [(-1.0 if child else 1.0) for _ in completions]\n",
        )
        .start();
        for _ in 0..20 {
            assert_eq!(
                values(&score(&plugin, &answers(&["a", "b"]))),
                [Some(1.0), Some(1.0)]
            );
        }
    }

    #[test]
    fn children_that_stay_die_with_the_plug_in() {
        needs_python!();
        let plugin = Bench::new(&behaving("os.fork() or time.sleep(1000)")).start();
        let (group, _) = process_of(&plugin);
        score(&plugin, &answers(&["bad", "bad"]));
        assert_eq!(processes(group), (3, 0));
        drop(plugin);
        assert!(is_gone(group));
    }

    #[test]
    fn forked_children_die_when_the_process_is_killed_from_outside() {
        needs_python!();
        // The kernel's death signal reaches them, as it does when the trainer itself is killed.
        let plugin = Bench::new(&behaving(
            "os.fork() or (os.setsid(), time.sleep(1000)); time.sleep(0.1)",
        ))
        .start();
        let (group, _) = process_of(&plugin);
        score(&plugin, &answers(&["bad"]));
        let child = fs::read_to_string(format!("/proc/{group}/task/{group}/children")).unwrap();
        let child: u32 = child.trim().parse().unwrap();
        assert_eq!(processes(child), (1, 0), "it has a group of its own");
        drop(plugin);
        assert!(is_gone(group) && is_gone(child));
    }

    #[test]
    fn all_die_when_the_trainer_is_killed() {
        needs_python!();
        const NAME: &str = "misbehaviour::all_die_when_the_trainer_is_killed";
        if std::env::var_os("OCELLI_TEST_TRAINER").is_some() {
            // This very test, started below: it says who its worker is, and waits in a call to be killed.
            let bench = Bench::new(&behaving("[os.fork() for _ in range(2)]; time.sleep(1000)"));
            let plugin = bench.start();
            eprintln!("worker {}", process_of(&plugin).0);
            score(&plugin, &answers(&["bad"]));
            return;
        }
        // Killed, it cleans up nothing.
        let folder = TempDir::new().unwrap();
        let mut trainer = Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env("OCELLI_TEST_TRAINER", "1")
            .env("TMPDIR", folder.path())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(trainer.stderr.take().unwrap()).lines();
        let group: u32 = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("worker ")?.parse().ok())
            .unwrap();
        let start = Instant::now();
        while processes(group).0 != 4 && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(processes(group), (4, 0));
        trainer.kill().unwrap();
        trainer.wait().unwrap();
        assert!(is_gone(group));
    }

    #[test]
    fn eating_memory() {
        needs_python!();
        let ten_gigabytes = "blob = bytearray(10 * 2**30)";
        let bench =
            Bench::new(&behaving(ten_gigabytes)).with(|config| config.memory_mb = Some(1024));
        let plugin = bench.start();
        let verdicts = score(&plugin, &answers(&["good", "bad", "good"]));
        let (message, _) = error(&verdicts[1]);
        assert!(
            message.contains("raised MemoryError") && message.ends_with("(line 7)"),
            "{message}"
        );
        assert!(verdicts[0].verdict.value().is_some() && verdicts[2].verdict.value().is_some());
        let small =
            Bench::new("blob = bytearray(2**30)\n").with(|config| config.memory_mb = Some(512));
        assert!(small.refusal().contains("raised MemoryError"));
    }

    #[test]
    fn writing_into_the_protocol() {
        needs_python!();
        for (what, message) in [
            (
                "[os.write(fd, b'garbage\\\\n') for fd in range(3, 9) if is_pipe(fd)]",
                "reply is not of the protocol",
            ),
            (
                "[os.write(fd, b'{\"id\":99,\"rows\":[{\"value\":1}]}\\\\n') for fd in range(3, 9) if is_pipe(fd)]",
                "reply belongs to another batch",
            ),
        ] {
            let source = format!(
                "import os\ndef is_pipe(fd):\n    try:\n        os.write(fd, b'')\n        \
                 return os.readlink(f'/proc/self/fd/{{fd}}').startswith('pipe')\n    except OSError:\n        \
                 return False\ndef compute_score(completions, **kwargs):\n    \
                 exec(\"\"\"{what}\"\"\") if completions[0] == 'bad' else None\n    return [1.0]\n"
            );
            let bench = Bench::new(&source);
            let plugin = bench.start();
            let verdicts = score(&plugin, &answers(&["bad"]));
            let (found, _) = error(&verdicts[0]);
            assert!(found.contains(message), "{found}");
            assert_eq!(values(&score(&plugin, &answers(&["good"]))), [Some(1.0)]);
        }
    }

    #[test]
    fn a_process_killed_between_batches_costs_nothing() {
        needs_python!();
        let bench = Bench::new(&behaving("pass"));
        let plugin = bench.start();
        let (before, _) = process_of(&plugin);
        Command::new("kill")
            .args(["-9", &before.to_string()])
            .status()
            .unwrap();
        let start = Instant::now();
        while processes(before) != (0, 1) && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (after, calls) = process_of(&plugin);
        assert!(after != before && calls == 1.0);
    }

    #[test]
    fn the_file_is_read_again_when_the_process_is_started_again() {
        needs_python!();
        let write = |path: &PathBuf, value: &str| {
            fs::write(
                path,
                format!(
                    "import os\ndef compute_score(solution_str, **kwargs):\n    \
                     if solution_str == 'bad': os._exit(1)\n    return {value}\n"
                ),
            )
            .unwrap();
        };
        let bench = Bench::new("");
        write(&bench.config.path, "1");
        let plugin = bench.start();
        assert_eq!(values(&score(&plugin, &answers(&["a"]))), [Some(1.0)]);
        write(&bench.config.path, "2");
        assert_eq!(values(&score(&plugin, &answers(&["a"]))), [Some(1.0)]);
        error(&score(&plugin, &answers(&["bad"]))[0]);
        assert_eq!(values(&score(&plugin, &answers(&["a"]))), [Some(2.0)]);
        // A file that has broken meanwhile is an error of the batch, and once it is mended all is well.
        error(&score(&plugin, &answers(&["bad"]))[0]);
        write(&bench.config.path, "(");
        let verdicts = score(&plugin, &answers(&["a"]));
        let (message, retryable) = error(&verdicts[0]);
        assert!(
            message.contains("no valid Python") && message.contains("started again") && retryable,
            "{message}"
        );
        write(&bench.config.path, "3");
        assert_eq!(values(&score(&plugin, &answers(&["a"]))), [Some(3.0)]);
    }

    #[test]
    fn one_worker_that_hangs_costs_its_part_only() {
        needs_python!();
        let bench = Bench::new(&behaving("time.sleep(1000)")).with(|config| {
            config.workers = 2;
            config.timeout_seconds = 1.0;
        });
        let verdicts = score(&bench.start(), &answers(&["good", "good", "good", "bad"]));
        assert!(verdicts[0].verdict.value().is_some() && verdicts[1].verdict.value().is_some());
        error(&verdicts[2]);
        error(&verdicts[3]);
    }
}
