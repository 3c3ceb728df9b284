//! Checkpoints that are cut off, changed or mixed up: each is an error that names what is wrong, and none is a panic or a large
//! allocation.

// The helpers beside the tests may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use ocelli_core::{Message, Picture, Role};
use ocelli_model::checkpoint::{Checkpoint, ConfigOverrides};
use ocelli_model::config::ModelConfig;
use ocelli_model::percept::Media;
use ocelli_model::processor::Processor;
use ocelli_model::sight::{Resize, Resizers};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};

/// A small checkpoint in a folder of its own.
struct Whole {
    folder: tempfile::TempDir,
}

impl Whole {
    fn new() -> Self {
        let overrides = ConfigOverrides {
            vision_hidden_size: Some(32),
            vision_depth: Some(1),
            vision_intermediate_size: Some(16),
            num_hidden_layers: Some(1),
        };
        let folder = tempfile::tempdir().unwrap();
        let made = Checkpoint::open("tiny-qwen2_5_vl", &overrides, 0, &Device::flex()).unwrap();
        made.save(&folder.path().join("model"), |_| Ok(())).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path().join(file)).unwrap()
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.path().join(file), bytes).unwrap();
    }

    /// The error with a file changed, which is put back afterwards.
    fn with(&self, file: &str, bytes: &[u8]) -> Result<(), String> {
        let before = self.read(file);
        self.write(file, bytes);
        let result = open(&self.path());
        self.write(file, &before);
        result
    }

    fn without(&self, file: &str) -> String {
        let before = self.read(file);
        fs::remove_file(self.path().join(file)).unwrap();
        let result = open(&self.path());
        self.write(file, &before);
        result.expect_err(file)
    }
}

/// Loads a folder and asks it for a prompt, as every command does.
fn open(folder: &Path) -> Result<(), String> {
    let checkpoint = Checkpoint::load(folder, &Device::flex()).map_err(|e| e.to_string())?;
    let same: Resize = |_, width, height| Picture::new(width, height, vec![0; width * height * 3]);
    let resizers = Resizers {
        bicubic: same,
        lanczos: same,
        torchvision: same,
        torchvision_lanczos: same,
    };
    let processor = Processor::from_files(&checkpoint.files, &checkpoint.config, resizers)
        .map_err(|e| e.to_string())?;
    processor
        .check(&checkpoint.config)
        .map_err(|e| e.to_string())?;
    let question = Message::text(Role::User, "Where is it?");
    let prompt = processor.prompt("row", &[question], &Media::default());
    prompt.map(drop).map_err(|e| e.to_string())
}

fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn weights_cut_off_anywhere_are_refused_by_name() {
    let whole = Whole::new();
    open(&whole.path()).unwrap();
    let bytes = whole.read("model.safetensors");
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let cuts = [
        0,
        1,
        7,
        8,
        9,
        8 + header / 2,
        8 + header - 1,
        8 + header,
        8 + header + 1,
        8 + header + (bytes.len() - header) / 2,
        bytes.len() - 4,
        bytes.len() - 1,
    ];
    for cut in cuts {
        let error = whole
            .with("model.safetensors", &bytes[..cut])
            .expect_err("cut");
        says(&error, &["model.safetensors", "copy or download it again"]);
    }
    let mut longer = bytes.clone();
    longer.extend([0; 5]);
    let error = whole.with("model.safetensors", &longer).unwrap_err();
    says(&error, &["model.safetensors"]);
    for length in [0, 1, header as u64 + 1, 1 << 31, 1 << 40, u64::MAX] {
        let mut lied = bytes.clone();
        lied[..8].copy_from_slice(&length.to_le_bytes());
        let error = whole.with("model.safetensors", &lied).unwrap_err();
        says(&error, &["model.safetensors", "copy or download it again"]);
    }
}

#[test]
fn a_changed_header_is_read_or_refused() {
    let whole = Whole::new();
    let bytes = whole.read("model.safetensors");
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    // Every place is changed in one of four ways; a prime step meets all parts of an entry.
    for (index, at) in (8..8 + header).step_by(7).enumerate() {
        let mut changed = bytes.clone();
        changed[at] = match index % 4 {
            0 => changed[at] ^ 0x01,
            1 => changed[at] ^ 0x80,
            2 => b'9',
            _ => b'"',
        };
        if let Err(error) = whole.with("model.safetensors", &changed) {
            assert!(
                error.contains("model.safetensors") || error.contains("tensor"),
                "byte {at}: {error}"
            );
        }
    }
}

/// The checkpoint's tensors with one replaced.
fn replaced(bytes: &[u8], name: &str, dtype: Dtype, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let tensors = safetensors::SafeTensors::deserialize(bytes).unwrap();
    let views = tensors.tensors().into_iter().map(|(own, view)| {
        if own == name {
            (own, TensorView::new(dtype, shape.to_vec(), data).unwrap())
        } else {
            (own, view)
        }
    });
    serialize(views.collect::<Vec<_>>(), None).unwrap()
}

#[test]
fn other_shapes_types_and_names_are_told() {
    let whole = Whole::new();
    let bytes = whole.read("model.safetensors");
    let name = "model.layers.0.mlp.gate_proj.weight";
    let (rows, columns) = (352, 128);
    let data = vec![0; rows * columns * 4];
    let with = |dtype, shape: &[usize], data: &[u8]| {
        let changed = replaced(&bytes, name, dtype, shape, data);
        whole.with("model.safetensors", &changed)
    };
    with(Dtype::F32, &[rows, columns], &data).unwrap();
    let error = with(Dtype::F32, &[columns, rows], &data).unwrap_err();
    says(&error, &[name, "[128, 352]", "[352, 128]"]);
    let error = with(Dtype::F32, &[rows * columns], &data).unwrap_err();
    says(&error, &[name, "[45056]"]);
    let error = with(Dtype::F32, &[0, columns], &[]).unwrap_err();
    says(&error, &[name, "[0, 128]"]);
    let wide = vec![0; rows * columns * 8];
    for dtype in [Dtype::F64, Dtype::I64] {
        let error = with(dtype, &[rows, columns], &wide).unwrap_err();
        says(&error, &["model.safetensors", name, "use F32, BF16 or F16"]);
    }
    let text = String::from_utf8_lossy(&bytes[8..]).into_owned();
    assert!(text.contains("gate_proj"));
    let mut renamed = bytes.clone();
    let at = bytes.windows(9).position(|w| w == b"gate_proj").unwrap();
    renamed[at..at + 9].copy_from_slice(b"gaet_proj");
    let error = whole.with("model.safetensors", &renamed).unwrap_err();
    says(&error, &["lacks 1 of the tensors", name]);
}

#[test]
fn shards_that_are_missing_or_listed_wrongly_are_told() {
    let whole = Whole::new();
    let index = "model.safetensors.index.json";
    let with = |json: Value| {
        whole.write(index, json.to_string().as_bytes());
        let result = open(&whole.path());
        fs::remove_file(whole.path().join(index)).unwrap();
        result
    };
    with(json!({"weight_map": {"a": "model.safetensors"}})).unwrap();
    let error = with(json!({"weight_map": {"a": "model-00002-of-00002.safetensors"}}));
    says(
        &error.unwrap_err(),
        &["model-00002-of-00002.safetensors", "missing"],
    );
    let error = with(json!({"weight_map": {}})).unwrap_err();
    says(&error, &[index, "names no file"]);
    for wrong in [
        json!([]),
        json!({}),
        json!({"weight_map": []}),
        json!({"weight_map": {"a": 3}}),
    ] {
        says(&with(wrong).unwrap_err(), &[index]);
    }
    whole.write(index, b"{\"weight_map\": {\"a\": \"mod");
    says(&open(&whole.path()).unwrap_err(), &[index]);
    fs::remove_file(whole.path().join(index)).unwrap();
    let error = whole.without("model.safetensors");
    says(&error, &["model.safetensors", "missing"]);
}

#[test]
fn side_files_that_are_missing_or_none_are_told() {
    let whole = Whole::new();
    for (file, parts) in [
        ("config.json", ["config.json is missing", "checkpoint"]),
        ("tokenizer.json", ["tokenizer.json", "copy it"]),
        (
            "preprocessor_config.json",
            ["preprocessor_config.json", "copy it"],
        ),
        ("chat_template.jinja", ["chat template", ""]),
    ] {
        says(&whole.without(file), &parts);
        let cut = whole.read(file);
        let half = &cut[..cut.len() / 2];
        let error = whole.with(file, half);
        // Half a template may be one.
        if file != "chat_template.jinja" {
            says(&error.unwrap_err(), &[file]);
        }
        for bytes in [
            &b""[..],
            b"null",
            b"[]",
            b"7",
            b"\"a\"",
            b"{}",
            b"\xff\xfe",
            b"<html>",
        ] {
            if let Err(error) = whole.with(file, bytes) {
                let known = error.contains(file) || error.contains("template");
                assert!(known, "{file} as {bytes:?}: {error}");
            } else {
                assert!(
                    file == "preprocessor_config.json" || file.starts_with("chat"),
                    "{file} as {bytes:?} was taken"
                );
            }
        }
    }
    let config = whole.read("generation_config.json");
    for bytes in [
        &b""[..],
        b"[",
        b"{\"eos_token_id\": -1}",
        b"{\"eos_token_id\": {}}",
    ] {
        let _ = whole.with("generation_config.json", bytes);
    }
    assert_eq!(config, whole.read("generation_config.json"));
}

#[test]
fn templates_that_fail_are_told_with_their_line() {
    let whole = Whole::new();
    let file = "chat_template.jinja";
    for (template, parts) in [
        (
            "a\n{% for m in messages %}",
            ["chat_template.jinja", "parse"],
        ),
        ("\n{{ messages[", ["chat_template.jinja", "parse"]),
        (
            "{{ raise_exception('roles must alternate') }}",
            ["chat_template.jinja", "roles must alternate"],
        ),
        (
            "{% for a in nothing.at.all %}{{ a }}{% endfor %}",
            ["chat_template.jinja", "undefined"],
        ),
        (
            "{{ messages[0].nothing.more }}",
            ["chat_template.jinja", "undefined"],
        ),
        ("{{ 'x' * 100000000000 }}", ["chat_template.jinja", ""]),
    ] {
        let error = whole.with(file, template.as_bytes());
        says(&error.expect_err(template), &parts);
    }
    // A loop over a missing key writes nothing, and so no end of a turn.
    let error = whole.with(file, b"{% for a in nothing %}{{ a }}{% endfor %}");
    says(&error.unwrap_err(), &["chat template"]);
}

/// Templates that would not come to an end are given up on.
#[test]
fn endless_templates_are_given_up_on() {
    let whole = Whole::new();
    let nested = "{% for a in range(99999) %}".repeat(4) + "x" + &"{% endfor %}".repeat(4);
    for template in [
        nested.as_str(),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ] {
        let error = whole.with("chat_template.jinja", template.as_bytes());
        says(&error.unwrap_err(), &["chat_template.jinja"]);
    }
}

/// Pointers to the numbers of a JSON tree.
fn numbers(json: &Value, at: &str, found: &mut Vec<String>) {
    match json {
        Value::Object(fields) => {
            for (key, value) in fields {
                numbers(value, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                numbers(value, &format!("{at}/{i}"), found);
            }
        }
        Value::Number(_) => found.push(at.to_owned()),
        _ => {}
    }
}

#[test]
fn every_number_of_every_configuration_may_be_absurd() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    let mut read = 0;
    for family in fs::read_dir(folder).unwrap() {
        let path = family.unwrap().path().join("config.json");
        let json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        ModelConfig::parse(&json).unwrap();
        let mut found = Vec::new();
        numbers(&json, "", &mut found);
        for pointer in &found {
            for value in [
                json!(0),
                json!(-1),
                json!(1),
                json!(3),
                json!(7),
                json!(1 << 24),
                json!(u64::MAX),
                json!(1e300),
                json!(0.5),
                json!(null),
                json!("many"),
                json!([]),
            ] {
                let mut changed = json.clone();
                *changed.pointer_mut(pointer).unwrap() = value.clone();
                let Ok(config) = ModelConfig::parse(&changed) else {
                    continue;
                };
                for (name, shape) in config.parameters() {
                    let all = shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n));
                    assert!(all.is_some(), "{pointer} = {value}: {name} {shape:?}");
                }
                let _ = (config.patching(), config.placeholder_tokens());
            }
            // Left out, it has a default or is asked for.
            let mut changed = json.clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            if let Some(fields) = changed.pointer_mut(parent).and_then(Value::as_object_mut) {
                fields.shift_remove(key);
                let _ = ModelConfig::parse(&changed);
            }
        }
        read += found.len();
    }
    assert!(read > 100, "{read}");
}

#[test]
fn a_preset_is_not_made_larger_than_memory() {
    let overrides = ConfigOverrides {
        vision_hidden_size: Some(1 << 20),
        ..ConfigOverrides::default()
    };
    let error = Checkpoint::open("tiny-qwen2_5_vl", &overrides, 0, &Device::flex());
    says(
        &error.unwrap_err().to_string(),
        &["model.overrides", "parameters"],
    );
}

#[test]
fn thin_pictures_are_refused_or_read_by_every_family() {
    let whole = Whole::new();
    let checkpoint = Checkpoint::load(&whole.path(), &Device::flex()).unwrap();
    let same: Resize = |_, width, height| Picture::new(width, height, vec![0; width * height * 3]);
    let resizers = Resizers {
        bicubic: same,
        lanczos: same,
        torchvision: same,
        torchvision_lanczos: same,
    };
    let processor = Processor::from_files(&checkpoint.files, &checkpoint.config, resizers).unwrap();
    for (width, height) in [(1, 5000), (5000, 1), (1, 201), (201, 1)] {
        let picture = Picture::new(width, height, vec![7; width * height * 3]);
        let error = processor.image(&picture).unwrap_err().to_string();
        says(
            &error,
            &[&format!("{width}x{height}"), "200 times", "crop it"],
        );
    }
    for (width, height) in [(1, 200), (200, 1), (1, 1)] {
        let picture = Picture::new(width, height, vec![7; width * height * 3]);
        assert!(processor.image(&picture).is_ok(), "{width}x{height}");
    }
}
