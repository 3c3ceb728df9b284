//! Curricula through the trainer: which rows are drawn, when stages end, and that a resumed run goes on as if nothing had been.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ocelli_core::Metrics;
use ocelli_learn::curriculum::success::SuccessRule;
use ocelli_learn::difficulty::measure;
use ocelli_learn::observer::Silent;
use ocelli_learn::run::Run;
use ocelli_learn::stage::StageEnd;
use ocelli_learn::train::{Finished, resume, train};
use ocelli_learn::{Observer, Recipe};
use serde_json::Value;

// ---- recipes ----

const MODEL: &str = r#"
[model]
path = "tiny-qwen2_5_vl"
overrides = { vision_hidden_size = 32, vision_depth = 1, vision_intermediate_size = 32, num_hidden_layers = 1 }
"#;

const SFT: &str = r#"
[[stage]]
kind = "sft"
data = { generator = "pointing", rows = 6, demonstration = "<answer>{answer}</answer>" }
batch = { size = 4 }
optim = { learning_rate = 5e-3 }
exit = { max_steps = 30 }
"#;

/// Rewards each tag that occurs exactly once: a hardly trained model's answers differ in that.
const GRPO: &str = r#"
[[stage]]
kind = "grpo"
data = { generator = "pointing", rows = 6 }
batch = { size = 2 }
rollout = { num_generations = 4, max_completion_length = 12, temperature = 1.3 }
reward = [ { verifier = "tags", partial = true } ]
optim = { learning_rate = 1e-3 }
exit = { max_steps = 5 }
"#;

fn read_recipe(folder: &Path, text: &str, changes: &[&str]) -> Result<Recipe, String> {
    let path = folder.join("recipe.toml");
    fs::write(&path, text).unwrap();
    let mut changes: Vec<String> = changes.iter().map(|s| (*s).to_owned()).collect();
    changes.push(format!("run.output_dir={:?}", folder.join("runs")));
    changes.push("run.log_episodes_steps=1".to_owned());
    Recipe::read(&path, &changes).map_err(|e| e.to_string())
}

fn run(recipe: &Recipe, name: &str) -> Finished {
    let stop = AtomicBool::new(false);
    let finished = train(recipe, name, Path::new(""), &mut Silent, &stop).unwrap();
    assert_eq!(finished.end, StageEnd::Done);
    finished
}

fn failure(recipe: &Recipe) -> String {
    let stop = AtomicBool::new(false);
    let error = train(recipe, "failing", Path::new(""), &mut Silent, &stop).unwrap_err();
    assert!(error.is_misuse(), "{error}");
    error.to_string()
}

/// A checkpoint whose answers get different rewards. Trained once.
fn warm_model() -> String {
    static FOLDER: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let recipe = read_recipe(folder.path(), &format!("{MODEL}{SFT}"), &[]).unwrap();
        let path = run(&recipe, "warm").checkpoint.unwrap();
        (folder, path)
    });
    format!("[model]\npath = {:?}\n", path.display().to_string())
}

fn grpo_recipe(folder: &Path, changes: &[&str]) -> Recipe {
    read_recipe(folder, &format!("{}{GRPO}", warm_model()), changes).unwrap()
}

/// Rows of three tasks, `a`, `b` and `c`, two of each, with a number `level`.
fn tagged_rows(folder: &Path) -> String {
    let rows: String = (0..6)
        .map(|i| {
            let task = ["a", "b", "c"][i % 3];
            let level = (i * 5) % 7;
            format!(
                "{{\"id\": \"r{i}\", \"task\": \"{task}\", \"level\": {level}, \"conversations\": [{{\"from\": \"human\", \"value\": \
                 \"What is {i}?\"}}, {{\"from\": \"gpt\", \"value\": \"<answer>{i}</answer>\"}}]}}\n"
            )
        })
        .collect();
    let path = folder.join("rows.jsonl");
    fs::write(&path, rows).unwrap();
    format!("stage.0.data={{ path = {path:?} }}")
}

// ---- what a run left ----

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn metrics(run: &Path) -> Vec<Value> {
    let lines = lines(&run.join("metrics.jsonl"));
    let rows = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|mut row| {
        let fields = row.as_object_mut().unwrap();
        for field in ["time", "step_time", "tokens_per_second"] {
            fields.shift_remove(field).unwrap();
        }
        fields.shift_remove("sampling_time");
        row
    })
    .collect()
}

fn number(row: &Value, name: &str) -> f64 {
    row[name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} in {row}"))
}

/// The rows of a step, in order.
fn drawn(run: &Path, stage: usize, step: u64) -> Vec<String> {
    let path = run.join(format!("episodes/{stage}-grpo-{step:06}.jsonl"));
    let episodes = lines(&path)
        .into_iter()
        .map(|l| serde_json::from_str::<Value>(&l).unwrap());
    episodes
        .filter(|episode| episode["sample"] == 0)
        .map(|episode| episode["task"]["id"].as_str().unwrap().to_owned())
        .collect()
}

/// All files of all checkpoints must be the same, and all metrics but the clock's.
fn assert_same_runs(got: &Path, want: &Path) {
    assert_eq!(metrics(got), metrics(want));
    let names = |run: &Path| {
        let entries = fs::read_dir(run.join("checkpoints")).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    // An interruption leaves a checkpoint of its own.
    let (got_names, want_names) = (names(got), names(want));
    assert!(
        want_names.iter().all(|name| got_names.contains(name)),
        "{got_names:?} {want_names:?}"
    );
    for name in want_names {
        for file in [
            "model.safetensors",
            "trainer/optimizer.safetensors",
            "trainer/state.json",
            "trainer/curriculum.json",
        ] {
            let read = |run: &Path| fs::read(run.join("checkpoints").join(&name).join(file)).ok();
            assert!(read(got) == read(want), "{name}/{file} differs");
        }
    }
}

/// Sets the stop flag after so many steps of a run.
struct StopAfter<'a> {
    steps: u64,
    stop: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn begin_stage(&mut self, _: &str, _: u64) {}
    fn step(&mut self, _: u64, _: &Metrics) {
        self.steps = self.steps.saturating_sub(1);
        if self.steps == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn end_stage(&mut self) {}
    fn message(&mut self, _: &str) {}
}

/// Runs a recipe with one thread and with two, and once interrupted after `steps` steps: the same bytes each time.
fn assert_sound(recipe: &Recipe, steps: u64) -> Finished {
    let on_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| run(recipe, &format!("threads-{threads}")))
    };
    let one = on_threads(1);
    assert_same_runs(&on_threads(2).folder, &one.folder);
    let stop = AtomicBool::new(false);
    let mut watch = StopAfter { steps, stop: &stop };
    let stopped = train(recipe, "stopped", Path::new(""), &mut watch, &stop).unwrap();
    assert_eq!(stopped.end, StageEnd::Stopped);
    stop.store(false, Ordering::Relaxed);
    let resumed = resume(&stopped.folder, recipe, Path::new(""), &mut Silent, &stop).unwrap();
    assert_eq!(resumed.end, StageEnd::Done);
    assert_same_runs(&resumed.folder, &one.folder);
    one
}

// ---- sources ----

#[test]
fn sources_are_mixed_by_weight() {
    let folder = tempfile::tempdir().unwrap();
    let sources = "stage.0.data=[ { generator = \"pointing\", rows = 4, weight = 2.0, source = \"easy\" }, \
                   { generator = \"pointing\", rows = 3, split = \"val\", source = \"hard\" } ]";
    let recipe = grpo_recipe(
        folder.path(),
        &[sources, "stage.0.batch.size=3", "stage.0.exit.max_steps=4"],
    );
    let run = assert_sound(&recipe, 2);
    let mut rows = Vec::new();
    for (step, row) in metrics(&run.folder).iter().enumerate() {
        assert_eq!(
            (
                number(row, "sources/easy/rows"),
                number(row, "sources/hard/rows")
            ),
            (2.0, 1.0)
        );
        let (easy, hard) = (
            number(row, "sources/easy/reward"),
            number(row, "sources/hard/reward"),
        );
        assert!(
            ((2.0 * easy + hard) / 3.0 - number(row, "reward")).abs() < 1e-9,
            "{row}"
        );
        rows.extend(drawn(&run.folder, 1, step as u64 + 1));
    }
    // Each source goes through its own rows before one comes again.
    for (source, count) in [("easy/", 4), ("hard/", 3)] {
        let of_source: Vec<&String> = rows.iter().filter(|id| id.starts_with(source)).collect();
        let once: std::collections::BTreeSet<_> = of_source[..count].iter().collect();
        assert_eq!(once.len(), count, "{of_source:?}");
    }
    // The supervised stages take lists too.
    let text = format!("{MODEL}{SFT}");
    let recipe = read_recipe(folder.path(), &text, &[sources, "stage.0.exit.max_steps=2"]).unwrap();
    run_named(&recipe, "supervised");
}

#[test]
fn sources_without_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{MODEL}{GRPO}");
    for (data, words) in [
        (
            "[ { generator = \"pointing\", rows = 4 }, { generator = \"pointing\", rows = 3 } ]",
            "`source` of its own",
        ),
        (
            "{ generator = \"pointing\", rows = 4, weight = 2.0 }",
            "one source",
        ),
        (
            "[ { generator = \"pointing\", rows = 4 }, { generator = \"pointing\", split = \"val\", wieght = 1.0, rows = 3 } ]",
            "did you mean `weight`?",
        ),
        (
            "[ { generator = \"pointing\", rows = 4, label_noise = { outward = 1.0 } }, { generator = \"pointing\", split = \"val\", rows = 3 } ]",
            "true answer",
        ),
    ] {
        let error =
            read_recipe(folder.path(), &text, &[&format!("stage.0.data={data}")]).unwrap_err();
        assert!(error.contains(words), "{data}: {error}");
    }
}

// ---- order and phases ----

#[test]
fn rows_are_drawn_in_the_order_of_a_tag() {
    let folder = tempfile::tempdir().unwrap();
    let data = tagged_rows(folder.path());
    let rows = |sampler: &str| -> Vec<String> {
        let sampler = format!("stage.0.sampler={sampler}");
        let recipe = grpo_recipe(
            folder.path(),
            &[&data, &sampler, "stage.0.exit.max_steps=3"],
        );
        let run = run(&recipe, "ordered");
        (1..=3)
            .flat_map(|step| drawn(&run.folder, 1, step))
            .collect()
    };
    // Levels 0, 5, 3, 1, 6, 4.
    let up = rows("{ kind = \"ordered\", tag = \"level\" }");
    assert_eq!(up, ["r0", "r3", "r2", "r5", "r1", "r4"]);
    let down = rows("{ kind = \"ordered\", tag = \"level\", order = \"descending\" }");
    assert_eq!(down, ["r4", "r1", "r5", "r2", "r3", "r0"]);
    let words = rows(
        "{ kind = \"ordered\", tag = \"task\", values = [\"c\", \"a\", \"b\"], shuffle = false }",
    );
    assert_eq!(words, ["r2", "r5", "r0", "r3", "r1", "r4"]);

    let refused = |sampler: &str| {
        let sampler = format!("stage.0.sampler={sampler}");
        failure(&grpo_recipe(folder.path(), &[&data, &sampler]))
    };
    for (sampler, words) in [
        (
            "{ kind = \"ordered\", tag = \"levl\" }",
            "did you mean `level`?",
        ),
        ("{ kind = \"ordered\", tag = \"task\" }", "no number"),
        (
            "{ kind = \"ordered\", tag = \"task\", values = [\"a\", \"b\"] }",
            "`values` lacks",
        ),
        (
            "{ kind = \"staged\", tag = \"task\", phases = [ { values = [\"a\"] }, { values = [\"d\"], from_step = 2 } ] }",
            "no row's tag `task` is `d`",
        ),
        (
            "{ kind = \"staged\", tag = \"tsk\", phases = [ { values = [\"a\"] }, { values = [\"d\"], from_step = 2 } ] }",
            "did you mean `task`?",
        ),
    ] {
        let error = refused(sampler);
        assert!(error.contains(words), "{sampler}: {error}");
    }
}

#[test]
fn phases_choose_rows_by_step_and_by_metric() {
    let folder = tempfile::tempdir().unwrap();
    let data = tagged_rows(folder.path());
    let staged = |phases: &str| {
        let sampler = format!(
            "stage.0.sampler={{ kind = \"staged\", tag = \"task\", phases = [ {phases} ] }}"
        );
        let changes = [
            data.as_str(),
            &sampler,
            "stage.0.exit.max_steps=6",
            "run.save_steps=1",
        ];
        grpo_recipe(folder.path(), &changes)
    };
    let recipe = staged(
        "{ values = [\"a\"] }, { values = [\"b\"], from_step = 2 }, { values = [\"a\", \"c\"], from_fraction = 0.67 }",
    );
    let steps = assert_sound(&recipe, 3);
    let rows = metrics(&steps.folder);
    let phases: Vec<f64> = rows
        .iter()
        .map(|row| number(row, "sampler/phase"))
        .collect();
    assert_eq!(phases, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    let sorted = |step| {
        let mut rows = drawn(&steps.folder, 1, step);
        rows.sort();
        rows
    };
    for (step, wanted) in [
        (1, ["r0", "r3"]),
        (2, ["r0", "r3"]),
        (3, ["r1", "r4"]),
        (4, ["r1", "r4"]),
    ] {
        assert_eq!(sorted(step), wanted);
    }
    let last: Vec<String> = [sorted(5), sorted(6)].concat();
    assert!(
        ["r0", "r2", "r3", "r5"]
            .iter()
            .all(|row| last.contains(&(*row).to_owned())),
        "{last:?}"
    );

    // A reward that is always there, and one that is never: on after two steps, and back after two more.
    let recipe = staged(
        "{ values = [\"a\"] }, { values = [\"b\"], metric = \"reward\", enter_above = -1.0, leave_below = -2.0, patience = 2 }",
    );
    let on = metrics(&assert_sound(&recipe, 3).folder);
    let phases: Vec<f64> = on.iter().map(|row| number(row, "sampler/phase")).collect();
    assert_eq!(phases, [1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    let recipe = staged(
        "{ values = [\"a\"] }, { values = [\"b\"], metric = \"frac_reward_zero_std\", enter_below = 1.0, leave_above = 1.5, min_steps = 2 }",
    );
    let on = metrics(&run(&recipe, "below").folder);
    assert_eq!(number(&on[2], "sampler/phase"), 2.0);
    let recipe =
        staged("{ values = [\"a\"] }, { values = [\"b\"], metric = \"rewrd\", enter_above = 0.5 }");
    let error = failure(&recipe);
    assert!(
        error.contains("no metric `rewrd`; did you mean `reward`?"),
        "{error}"
    );
}

// ---- rows chosen by their successes ----

#[test]
fn a_bandit_learns_which_rows_are_of_use() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = grpo_recipe(
        folder.path(),
        &[
            "stage.0.sampler={ kind = \"mopps\", candidates = 2, decay = 0.7 }",
            "stage.0.data.rows=12",
            "run.save_steps=2",
        ],
    );
    let run = assert_sound(&recipe, 3);
    let rows = metrics(&run.folder);
    assert_eq!(number(&rows[0], "sampler/posterior_mean"), 0.5);
    assert_eq!(number(&rows[0], "sampler/rows_seen"), 2.0);
    for row in &rows {
        assert!(
            (number(row, "sampler/success_rate") - number(row, "reward")).abs() < 1e-9,
            "{row}"
        );
        let informative = 1.0 - number(row, "frac_reward_zero_std");
        assert!(
            (number(row, "sampler/informative") - informative).abs() < 1e-9,
            "{row}"
        );
    }
    let state = Run::curriculum_state(&run.checkpoint.unwrap()).unwrap();
    assert_eq!(
        state.posteriors.len() as f64,
        number(&rows[4], "sampler/rows_seen")
    );
    // A row that was answered once: 0.7 + 0.3 + 4 s and 0.7 + 0.3 + 4 (1 - s), which sum to 6.
    assert!(
        state
            .posteriors
            .values()
            .any(|p| (p.alpha + p.beta - 6.0).abs() < 1e-9),
        "{state:?}"
    );

    // With groups that are replaced, all that was answered is learnt from.
    let filtered = grpo_recipe(
        folder.path(),
        &[
            "stage.0.sampler={ kind = \"mopps\", candidates = 2 }",
            "stage.0.rollout.filter_groups={ max_num_gen_batches = 2, filter_low = 99.0 }",
            "stage.0.data.rows=40",
            "stage.0.exit.max_steps=2",
        ],
    );
    let rows = metrics(&assert_sound(&filtered, 1).folder);
    assert_eq!(number(&rows[0], "sampler/rows_seen"), 4.0);

    let error = read_recipe(
        folder.path(),
        &format!("{MODEL}{GRPO}"),
        &["stage.0.sampler={ kind = \"mopps\", success = \"tgas\" }"],
    )
    .unwrap_err();
    assert!(error.contains("did you mean `tags`?"), "{error}");
}

#[test]
fn failed_rows_come_back() {
    let folder = tempfile::tempdir().unwrap();
    // No answer is that good: every row fails, and comes back twice.
    let recipe = grpo_recipe(
        folder.path(),
        &[
            "stage.0.sampler.retry={ after = 2, limit = 2 }",
            "stage.0.sampler.threshold=2.0",
            "stage.0.exit.max_steps=6",
            "run.save_steps=1",
        ],
    );
    let run = assert_sound(&recipe, 3);
    let steps: Vec<Vec<String>> = (1..=6).map(|step| drawn(&run.folder, 1, step)).collect();
    let rows = metrics(&run.folder);
    let returned: Vec<f64> = rows
        .iter()
        .map(|row| number(row, "sampler/returned"))
        .collect();
    assert_eq!(returned, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    // Half of the batch: the rows of the first step, one after the other; the other half goes on.
    assert_eq!((&steps[2][0], &steps[3][0]), (&steps[0][0], &steps[0][1]));
    let fresh: Vec<&String> = steps[..2]
        .iter()
        .flatten()
        .chain([&steps[2][1], &steps[3][1]])
        .collect();
    let once: std::collections::BTreeSet<_> = fresh.iter().collect();
    assert_eq!(once.len(), 6, "no row is lost: {fresh:?}");
}

// ---- exits and cycles ----

fn checkpoints(run: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A supervised stage of one step.
const SHORT: &str = r#"
[[stage]]
kind = "sft"
data = { generator = "pointing", rows = 6, demonstration = "<answer>{answer}</answer>" }
batch = { size = 2 }
optim = { learning_rate = 1e-4 }
exit = { max_steps = 1 }
"#;

#[test]
fn a_metric_ends_a_stage() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{}{GRPO}{GRPO}", warm_model());
    // Every reward is above -1; the next stage is pulled to the model that this one left.
    let exit = "stage.0.exit={ max_steps = 6, metric = \"reward\", above = -1.0, patience = 2 }";
    let changes = [
        exit,
        "stage.1.algorithm.beta=0.1",
        "stage.1.exit.max_steps=2",
    ];
    let recipe = read_recipe(folder.path(), &text, &changes).unwrap();
    // Interrupted in the very step that ends the stage.
    let run = assert_sound(&recipe, 2);
    assert_eq!(
        checkpoints(&run.folder),
        ["1-grpo-step-000002", "2-grpo-step-000002"]
    );
    let rows = metrics(&run.folder);
    assert_eq!(rows.len(), 4);
    // The weights moved, and the next stage compares itself with where they came to.
    assert!(rows[..2].iter().any(|row| number(row, "grad_norm") > 0.0));
    assert!(number(&rows[2], "kl").abs() < 1e-9, "{}", rows[2]);

    let never = "stage.0.exit={ max_steps = 3, metric = \"reward\", below = -1.0 }";
    let recipe = read_recipe(folder.path(), &text, &[never, "stage.1.exit.max_steps=1"]).unwrap();
    assert_eq!(
        checkpoints(&run_named(&recipe, "never")),
        ["1-grpo-step-000003", "2-grpo-step-000001"]
    );

    let unknown = "stage.0.exit={ max_steps = 3, metric = \"rewards\", below = -1.0 }";
    let error = failure(&read_recipe(folder.path(), &text, &[unknown]).unwrap());
    assert!(
        error.contains("no metric `rewards`; did you mean `reward`?"),
        "{error}"
    );
}

fn run_named(recipe: &Recipe, name: &str) -> PathBuf {
    run(recipe, name).folder
}

#[test]
fn stages_are_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{}{SHORT}{GRPO}{GRPO}", warm_model());
    let changes = |repeat: &str, exit: &str| {
        let changes = [
            format!("stage.1.repeat={repeat}"),
            format!("stage.1.exit={exit}"),
            "stage.2.algorithm.beta=0.1".to_owned(),
            "stage.2.exit.max_steps=2".to_owned(),
        ];
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        read_recipe(folder.path(), &text, &changes)
    };
    let recipe = changes("{ stages = 2, cycles = 2 }", "{ max_steps = 2 }").unwrap();
    // In the midst of the second cycle.
    let whole = assert_sound(&recipe, 5);
    assert_eq!(
        checkpoints(&whole.folder),
        [
            "1-sft-step-000001",
            "2-grpo-step-000002",
            "3-sft-step-000001",
            "4-grpo-step-000002",
            "5-grpo-step-000002"
        ]
    );
    let rows = metrics(&whole.folder);
    let places: Vec<f64> = rows.iter().map(|row| number(row, "stage_index")).collect();
    assert_eq!(places, [0.0, 1.0, 1.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
    // The last stage compares itself with the end of the last cycle.
    assert!(number(&rows[6], "kl").abs() < 1e-9, "{}", rows[6]);

    // The metric of the last stage ends the cycles; what follows compares itself with that stage.
    let repeat = "{ stages = 2, cycles = 3, until_exit = true }";
    let recipe = changes(
        repeat,
        "{ max_steps = 3, metric = \"reward\", above = -1.0 }",
    )
    .unwrap();
    let short = assert_sound(&recipe, 3);
    assert_eq!(
        checkpoints(&short.folder),
        [
            "1-sft-step-000001",
            "2-grpo-step-000001",
            "7-grpo-step-000002"
        ]
    );
    assert!(number(&metrics(&short.folder)[2], "kl").abs() < 1e-9);

    let error = changes("{ stages = 3, cycles = 2 }", "{ max_steps = 2 }").unwrap_err();
    assert!(
        error.contains("stage 2 (grpo): `repeat.stages = 3` must be from 1 to 2"),
        "{error}"
    );
}

// ---- difficulty ----

#[test]
fn rows_of_a_band_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = grpo_recipe(folder.path(), &["stage.0.data.rows=8"]);
    let measured = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let mut text = Vec::new();
        let measure = || {
            let rule = SuccessRule::default();
            measure(&recipe, (0, Some(4)), &rule, Path::new(""), &mut text).unwrap()
        };
        let rows = pool.install(measure);
        (rows, text)
    };
    let (rows, text) = measured(1);
    assert_eq!(measured(2).1, text);
    assert_eq!(rows.len(), 8);
    let mut rates: Vec<f64> = rows.iter().map(|row| row.pass_rate.unwrap()).collect();
    rates.sort_by(f64::total_cmp);
    assert!(rates[0] < rates[7], "{rates:?}");
    let path = folder.path().join("rates.jsonl");
    fs::write(&path, &text).unwrap();

    let middle = rates[4];
    let band = format!("stage.0.data.difficulty={{ file = {path:?}, min = {middle:?} }}");
    let sampler =
        "stage.0.sampler={ kind = \"ordered\", tag = \"pass_rate\", order = \"descending\" }";
    let changes = [
        "stage.0.data.rows=8",
        &band,
        sampler,
        "stage.0.exit.max_steps=2",
    ];
    let run = assert_sound(&grpo_recipe(folder.path(), &changes), 1);
    let rate = |id: &str| {
        rows.iter()
            .find(|row| row.id == id)
            .unwrap()
            .pass_rate
            .unwrap()
    };
    let drawn: Vec<f64> = drawn(&run.folder, 1, 1).iter().map(|id| rate(id)).collect();
    assert_eq!(drawn, [rates[7], rates[6]]);
    // All rows are measured again, whatever the band.
    let again = grpo_recipe(folder.path(), &changes);
    let mut out = Vec::new();
    let rule = SuccessRule {
        node: Some("tag".to_owned()),
        threshold: None,
    };
    let error = measure(&again, (0, Some(1)), &rule, Path::new(""), &mut out).unwrap_err();
    assert!(error.to_string().contains("no node"), "{error}");
    let rule = SuccessRule::default();
    assert_eq!(
        measure(&again, (0, Some(1)), &rule, Path::new(""), &mut out)
            .unwrap()
            .len(),
        8
    );

    let missing = grpo_recipe(folder.path(), &["stage.0.data.rows=9", &band]);
    let error = train(
        &missing,
        "missing",
        Path::new(""),
        &mut Silent,
        &AtomicBool::new(false),
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no line for row `pointing-train-000008`"),
        "{error}"
    );
}

// ---- groups ----

#[test]
fn groups_that_disagree_most_are_learnt_from() {
    let folder = tempfile::tempdir().unwrap();
    for by in ["reward_variance", "answers", "ranking"] {
        let select =
            format!("stage.0.rollout.select_groups={{ by = \"{by}\", oversampling = 2.5 }}");
        let recipe = grpo_recipe(
            folder.path(),
            &[&select, "stage.0.exit.max_steps=2", "stage.0.data.rows=12"],
        );
        let run = if by == "ranking" {
            assert_sound(&recipe, 1)
        } else {
            run(&recipe, by)
        };
        for (step, row) in metrics(&run.folder).iter().enumerate() {
            assert_eq!(number(row, "select_groups/drawn"), 5.0);
            assert!(
                number(row, "select_groups/disagreement")
                    >= number(row, "select_groups/disagreement_drawn")
            );
            assert_eq!(drawn(&run.folder, 1, step as u64 + 1).len(), 2);
        }
    }
    let text = format!("{MODEL}{GRPO}");
    for (change, words) in [
        (
            "stage.0.rollout={ num_generations = 4, select_groups = {}, filter_groups = {} }",
            "both choose groups",
        ),
        (
            "stage.0.rollout={ num_generations = 4, select_groups = { oversampling = 1.0 } }",
            "nothing to choose from",
        ),
    ] {
        let error = read_recipe(folder.path(), &text, &[change]).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn demonstrations_join_their_groups() {
    let folder = tempfile::tempdir().unwrap();
    // What an untrained model never says; the demonstration is the only answer with a reward.
    let changes = [
        "stage.0.reward=[ { verifier = \"box_iou\" } ]",
        "stage.0.data.demonstration=<answer>{answer}</answer>",
        "stage.0.rollout.max_completion_length=4",
        "stage.0.exit.max_steps=3",
    ];
    let with = |more: &[&str]| grpo_recipe(folder.path(), &[changes.as_slice(), more].concat());
    let run_always = assert_sound(&with(&["stage.0.algorithm.demonstration=always"]), 1);
    for row in metrics(&run_always.folder) {
        assert_eq!(number(&row, "demonstrations/joined"), 1.0);
        assert_eq!(number(&row, "demonstrations/ahead"), 1.0);
        // The metrics are the samples' own, and they alone would teach nothing.
        assert_eq!(number(&row, "reward"), 0.0);
        assert_eq!(number(&row, "completions/max_length"), 4.0);
        assert!(number(&row, "grad_norm") > 0.0, "{row}");
        assert!(
            number(&row, "sampling/sampling_logp_difference/max") < 1e-4,
            "{row}"
        );
    }
    let on_failure = metrics(&run_named(
        &with(&["stage.0.algorithm.demonstration=on_failure"]),
        "failure",
    ));
    assert_eq!(on_failure, metrics(&run_always.folder));
    // A demonstration whose only reward is left out is no better than the samples.
    let skip = [
        "stage.0.algorithm.demonstration=on_failure",
        "stage.0.algorithm.demonstration_skips=[\"box_iou\"]",
    ];
    for row in metrics(&run_named(&with(&skip), "skipped")) {
        assert!(row.get("demonstrations/joined").is_none(), "{row}");
        assert_eq!(number(&row, "grad_norm"), 0.0);
    }
    let text = format!("{MODEL}{GRPO}");
    for (change, words) in [
        (
            "stage.0.algorithm={ demonstration = \"always\", preset = \"rloo\" }",
            "group_relative",
        ),
        (
            "stage.0.algorithm={ demonstration_skips = [\"tags\"] }",
            "no effect without `demonstration`",
        ),
        (
            "stage.0.algorithm={ demonstration = \"always\", demonstration_skips = [\"tgs\"] }",
            "did you mean `tags`?",
        ),
        (
            "stage.0.algorithm={ demonstration = \"sometimes\" }",
            "unknown variant",
        ),
    ] {
        let error = read_recipe(folder.path(), &text, &[change]).unwrap_err();
        assert!(error.contains(words), "{change}: {error}");
    }
}
