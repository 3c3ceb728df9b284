//! `load` from recipe tables to tasks with demonstrations and pictures.

// Helpers of tests may unwrap as tests do; the lint knows the tests themselves only.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ocelli_core::{BoundingBox, Picture, Role, Target};
use ocelli_data::{DataConfig, Dataset, PictureCache, encode_png, load, load_with};

fn config(toml: &str) -> DataConfig {
    toml::from_str(toml).unwrap()
}

/// A folder with `data/train.jsonl`: ten rows about two 64×48 pictures, boxes and counts in turn.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for name in ["a.png", "b.png"] {
        let picture = Picture::new(64, 48, vec![9; 64 * 48 * 3]);
        fs::write(data.join(name), encode_png(&picture)).unwrap();
    }
    let rows: String = (0..10)
        .map(|i| {
            let (task, question, answer) = match i % 2 {
                0 => ("ref", "Where?", "[10, 20, 30, 40]"),
                _ => ("count", "How many?", "3"),
            };
            let image = if i < 5 { "a.png" } else { "b.png" };
            format!(
                r#"{{"id": "r{i}", "image": "{image}", "task": "{task}", "conversations": [{{"from": "human", "value": "<image>{question}"}}, {{"from": "gpt", "value": "{answer}"}}]}}"#
            ) + "\n"
        })
        .collect();
    fs::write(data.join("train.jsonl"), rows).unwrap();
    folder
}

fn ids(dataset: &Dataset) -> Vec<&str> {
    dataset.tasks.iter().map(|task| task.id.as_str()).collect()
}

fn demonstration(dataset: &Dataset, index: usize) -> &str {
    dataset.tasks[index].demonstration.as_deref().unwrap()
}

fn refused(toml: &str, root: &Path) -> String {
    load(&config(toml), root, 0).unwrap_err().to_string()
}

#[test]
fn a_file_is_loaded_with_its_pictures() {
    let folder = folder();
    let data = load(&config("path = 'data/train.jsonl'"), folder.path(), 0).unwrap();
    assert_eq!(data.name, "data/train.jsonl");
    assert_eq!(data.tasks.len(), 10);
    assert_eq!(demonstration(&data, 0), "<answer>[10, 20, 30, 40]</answer>");
    assert_eq!(demonstration(&data, 1), "<answer>3</answer>");
    let picture = data.picture(&data.tasks[0], 0).unwrap();
    assert_eq!((picture.width(), picture.height()), (64, 48));
    assert_eq!(data.pictures.bytes(), 64 * 48 * 3);
    let error = data.picture(&data.tasks[0], 1).unwrap_err().to_string();
    assert!(error.contains("`r0`"), "{error}");
}

#[test]
fn part_comes_before_tasks_and_tasks_before_rows() {
    let folder = folder();
    let loaded = |more: &str| {
        let toml = format!("path = 'data/train.jsonl'\n{more}");
        load(&config(&toml), folder.path(), 0).unwrap()
    };
    assert_eq!(
        ids(&loaded("part = [0.0, 0.5]")),
        ["r0", "r1", "r2", "r3", "r4"]
    );
    assert_eq!(
        ids(&loaded("part = [0.5, 1.0]\ntasks = ['ref']")),
        ["r6", "r8"]
    );
    assert_eq!(
        ids(&loaded("part = [0.5, 1.0]\ntasks = ['ref']\nrows = 1")),
        ["r6"]
    );
    assert_eq!(ids(&loaded("rows = 100")).len(), 10);
    let error = refused("path = 'data/train.jsonl'\ntasks = ['reff']", folder.path());
    assert!(
        error.contains("did you mean `ref`") && error.contains("count, ref"),
        "{error}"
    );
    let error = refused(
        "path = 'data/train.jsonl'\npart = [0.0, 0.01]",
        folder.path(),
    );
    assert!(error.contains("no rows are left"), "{error}");
}

#[test]
fn noise_touches_demonstrations_of_boxes_only() {
    let folder = folder();
    let toml = "path = 'data/train.jsonl'\nlabel_noise = { outward = 20.0, jitter = 2.0 }\n\
                demonstration = '{question} -> {answer}'";
    let data = load(&config(toml), folder.path(), 1).unwrap();
    assert_eq!(demonstration(&data, 1), "How many? -> 3");
    let truth = BoundingBox::from([10.0, 20.0, 30.0, 40.0]);
    assert_eq!(data.tasks[0].target, Some(Target::Box(truth)));
    let written = demonstration(&data, 0).strip_prefix("Where? -> ").unwrap();
    let written = ocelli_data::box_text::parse_box(written).unwrap();
    assert_ne!(written, truth);
    assert!(
        written.is_valid() && written.x2 <= 64.0 && written.y2 <= 48.0,
        "{written:?}"
    );

    let again = load(&config(toml), folder.path(), 1).unwrap();
    assert_eq!(demonstration(&again, 0), demonstration(&data, 0));
    let other = load(&config(toml), folder.path(), 2).unwrap();
    assert_ne!(demonstration(&other, 0), demonstration(&data, 0));

    let toml = "path = 'data/train.jsonl'\ntasks = ['count']\nlabel_noise = { outward = 9.0 }";
    assert!(refused(toml, folder.path()).contains("data.label_noise"));
}

#[test]
fn missing_files_are_told_before_training() {
    let folder = folder();
    let path = "path = 'data/train.jsonl'";
    fs::remove_file(folder.path().join("data/b.png")).unwrap();
    let error = refused(path, folder.path());
    assert!(
        error.contains("train.jsonl, line 6") && error.contains("b.png"),
        "{error}"
    );
    assert!(load(&config(&format!("{path}\nrows = 5")), folder.path(), 0).is_ok());
    fs::remove_file(folder.path().join("data/a.png")).unwrap();
    let error = refused(path, folder.path());
    assert!(
        error.contains("line 1:") && error.contains("and 1 other"),
        "{error}"
    );

    fs::create_dir(folder.path().join("pictures")).unwrap();
    let error = refused(&format!("{path}\nimage_dir = 'pictures'"), folder.path());
    assert!(error.contains("pictures"), "{error}");
    assert!(refused("path = 'none.jsonl'", folder.path()).contains("none.jsonl"));
}

#[test]
fn generated_rows_do_not_depend_on_how_many_are_made() {
    let loaded = |toml: &str| load(&config(toml), Path::new("."), 5).unwrap();
    let few = loaded("generator = 'pointing'\nrows = 20");
    let many = loaded("generator = 'pointing'\nrows = 60");
    assert_eq!(few.tasks, many.tasks[..20]);
    assert_eq!(few.name, "pointing-train");
    let part = loaded("generator = 'pointing'\nrows = 60\npart = [0.5, 1.0]");
    assert_eq!(part.tasks, many.tasks[30..]);
    let seeded = load(
        &config("generator = 'pointing'\nrows = 20\nseed = 5"),
        Path::new("."),
        99,
    );
    assert_eq!(seeded.unwrap().tasks, few.tasks);
    let val = loaded("generator = 'pointing'\nrows = 1\nsplit = 'val'");
    assert_eq!(ids(&val), ["pointing-val-000000"]);
}

#[test]
fn generated_demonstrations_carry_the_sloppy_box_and_tasks_the_true_one() {
    let base = "generator = 'pointing'\nrows = 30\n";
    let noise = "label_noise = { outward = 20.0 }\n";
    let loaded = |toml: String| load(&config(&toml), Path::new("."), 5).unwrap();
    let clean = loaded(base.to_owned());
    let sloppy = loaded(format!("{base}{noise}"));
    for (clean, sloppy) in clean.tasks.iter().zip(&sloppy.tasks) {
        assert_eq!(clean.target, sloppy.target);
        let Some(Target::Box(truth)) = clean.target else {
            panic!("{clean:?}");
        };
        let box_in = |task: &Arc<ocelli_core::Task>| {
            let text = task.demonstration.clone().unwrap();
            let (thought, answer) = text.split_once("\n<answer>").unwrap();
            let answer = answer.strip_suffix("</answer>").unwrap();
            (
                thought.to_owned(),
                ocelli_data::box_text::parse_box(answer).unwrap(),
            )
        };
        let ((thought, exact), (same_thought, written)) = (box_in(clean), box_in(sloppy));
        assert_eq!(exact, truth);
        assert_eq!(thought, same_thought);
        assert!(written.area() >= truth.area());
    }

    let put = loaded(format!(
        "{base}system = 'S'\nprompt = '{{question}} Box?'\ndemonstration = 'It is {{answer}}.'"
    ));
    let task = &put.tasks[0];
    assert_eq!(task.messages[0].role, Role::System);
    assert!(task.messages[1].plain_text().ends_with("? Box?"));
    assert!(demonstration(&put, 0).starts_with("It is ["));
}

#[test]
fn generated_pictures_beyond_the_budget_are_made_again() {
    let toml = "generator = 'pointing'\nrows = 6\npointing = { size = [8, 12], picture = 32 }";
    let plenty = load(&config(toml), Path::new(""), 5).unwrap();
    let size = 32 * 32 * 3;
    assert_eq!(plenty.pictures.bytes(), 6 * size);
    let cache = Arc::new(PictureCache::new(2 * size));
    let tight = load_with(&config(toml), Path::new(""), 5, &cache).unwrap();
    // Another data set, with rows of the same names, in the same cache.
    let other = load_with(&config(toml), Path::new(""), 6, &cache).unwrap();
    for _ in 0..2 {
        for (i, task) in plenty.tasks.iter().enumerate() {
            let picture = plenty.picture(task, 0).unwrap();
            assert_eq!(tight.picture(&tight.tasks[i], 0).unwrap(), picture);
            assert_ne!(other.picture(&other.tasks[i], 0).unwrap(), picture);
            assert_eq!(tight.picture_size(task, 0).unwrap(), (32, 32));
        }
    }
    assert_eq!(cache.bytes(), 2 * size);
    let error = Dataset::new("read", vec![plenty.tasks[0].as_ref().clone()])
        .picture(&plenty.tasks[0], 0)
        .unwrap_err();
    assert!(error.to_string().contains("make the row again"), "{error}");
}

/// What stands in the box of a moved row is what stood in the box of the row.
#[test]
fn rows_are_shown_at_another_place_each_time() {
    let folder = folder();
    let mut rgb = vec![9; 64 * 48 * 3];
    for y in 20..40 {
        rgb[3 * (64 * y + 10)..3 * (64 * y + 30)].fill(200);
    }
    let picture = Picture::new(64, 48, rgb);
    fs::write(folder.path().join("data/a.png"), encode_png(&picture)).unwrap();
    let written =
        "path = 'data/train.jsonl'\nlabel_noise = { outward = 3.0 }\naugment = { shift = 12 }";
    let data = load(&config(written), folder.path(), 0).unwrap();
    let rows = vec![data.tasks[0].clone(), data.tasks[1].clone()];
    let mut places = Vec::new();
    for step in 0..20 {
        let moved = data.training_tasks(rows.clone(), (0, step)).unwrap();
        assert_eq!(moved, data.training_tasks(rows.clone(), (0, step)).unwrap());
        let Some(Target::Box(target)) = moved[0].target else {
            panic!("{:?}", moved[0].target);
        };
        let shown = data.training_picture(&moved[0], 0, (0, step)).unwrap();
        assert_eq!(data.picture_size(&moved[0], 0).unwrap(), (64, 48));
        for (at, pixel) in shown.rgb().chunks(3).enumerate() {
            let (x, y) = ((at % 64) as f64, (at / 64) as f64);
            let inside = (target.x1..target.x2).contains(&x) && (target.y1..target.y2).contains(&y);
            assert_eq!(
                pixel[0] == 200,
                inside,
                "step {step}, ({x}, {y}), {target:?}"
            );
        }
        let [x1, y1, x2, y2] = <[f64; 4]>::from(target);
        let sloppy = moved[0].demonstration.as_deref().unwrap();
        let sloppy = sloppy.trim_start_matches("<answer>");
        let sloppy =
            ocelli_data::box_text::parse_box(sloppy.trim_end_matches("</answer>")).unwrap();
        assert!(sloppy.x1 <= x1 && sloppy.y1 <= y1 && sloppy.x2 >= x2 && sloppy.y2 >= y2);
        assert_eq!(moved[1].target, rows[1].target);
        places.push([x1 as i32, y1 as i32]);
    }
    places.sort_unstable();
    places.dedup();
    assert!(places.len() > 10, "{places:?}");
    // Without the key, rows are as they are.
    let still = load(&config("path = 'data/train.jsonl'"), folder.path(), 0).unwrap();
    assert_eq!(still.training_tasks(rows.clone(), (0, 3)).unwrap(), rows);
}

#[test]
fn rows_with_coordinates_that_cannot_move_are_refused() {
    let folder = folder();
    let row = r#"{"id": "p", "image": "a.png", "conversations": [{"from": "human", "value": "<image>What is at [3, 4]?"}, {"from": "gpt", "value": "a dog"}]}"#;
    fs::write(folder.path().join("data/points.jsonl"), row).unwrap();
    let error = refused(
        "path = 'data/points.jsonl'\naugment = { shift = 4 }",
        folder.path(),
    );
    assert!(error.contains("[3, 4] in row `p`"), "{error}");
    assert!(load(&config("path = 'data/points.jsonl'"), folder.path(), 0).is_ok());
}
