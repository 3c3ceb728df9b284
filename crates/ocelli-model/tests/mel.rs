//! Log-mel spectrograms against transformers, within 1e-5.
//!
//! The wanted values are in `golden/mel.json`, made by `golden/make_mel.py` with the NumPy path of
//! `WhisperFeatureExtractor` of transformers 5.23; lengths and token counts are `Qwen2AudioProcessor`'s.

// The helpers beside the tests may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

mod support;

use ocelli_model::mel::MelConfig;
use serde_json::json;

use support::{golden, number};

/// The formula of `sound` in the script.
fn sound(kind: &str, count: usize) -> Vec<f32> {
    let value = |n: i64| match kind {
        "silence" => 0.0,
        "noise" => ((n * 7919 + n * n * 31) % 4093 - 2046) as f64 / 4096.0,
        _ => {
            let phase = if kind == "chirp" { n * n / 90 } else { n * 11 } % 512;
            (((phase - 256).abs() - 128) * 12) as f64 / 4096.0
        }
    };
    (0..count as i64).map(|n| value(n) as f32).collect()
}

#[test]
fn spectrograms_are_those_of_transformers() {
    let golden = golden("mel.json");
    assert!(golden["transformers"].as_str().unwrap().starts_with("5.23"));
    for case in golden["cases"].as_array().unwrap() {
        let config =
            MelConfig::from_json(case["config"].to_string().as_bytes(), "mel.json").unwrap();
        let (kind, count) = (case["kind"].as_str().unwrap(), number(&case["count"]));
        let name = format!("{kind}, {count} samples");
        let features = config
            .process(&sound(kind, count), config.sampling_rate)
            .unwrap();
        assert_eq!(
            json!([config.feature_size, features.frames]),
            case["shape"],
            "{name}"
        );
        assert_eq!(json!([1, features.mask().len()]), case["masked"], "{name}");
        assert_eq!(features.sounding, number(&case["sounding"]), "{name}");
        assert_eq!(features.tokens(), number(&case["tokens"]), "{name}");
        let step = number(&golden["stride"]) * (features.values.len() / 40_000 + 1);
        let wanted = case["values"].as_array().unwrap();
        let found: Vec<f32> = features.values.iter().step_by(step).copied().collect();
        assert_eq!(found.len(), wanted.len(), "{name}");
        for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let wanted = wanted.as_f64().unwrap();
            assert!(
                (f64::from(*found) - wanted).abs() < 1e-5,
                "{name}, value {index}: {found} is not {wanted}"
            );
        }
        let sum: f64 = features.values.iter().map(|&v| f64::from(v)).sum();
        let mean = sum / features.values.len() as f64;
        assert!(
            (mean - case["mean"].as_f64().unwrap()).abs() < 1e-6,
            "{name}"
        );
    }
}
