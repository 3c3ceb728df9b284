//! How fast pictures become patches, on one thread.
//!
//! ```text
//! cargo run --release -p ocelli-model --example picture_speed -- a.png b.png
//! ```
//!
//! Prints one JSON object a file: milliseconds, medians of 41 runs (with `cpu`, means of processor time, where Linux tells it), of decoding the file, of making patches of the decoded
//! picture with Qwen2-VL's published configuration, of both, and of the parts of the second. `bench/picture_speed.py`
//! compares with transformers.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use ocelli_core::Picture;
use ocelli_data::{PassOrder, decode_picture_bytes, resize_bicubic};
use ocelli_model::image_processor::ImageProcessorConfig;
use serde_json::json;

const RUNS: usize = 41;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = ImageProcessorConfig {
        max_pixels: 12_845_056,
        ..ImageProcessorConfig::default()
    };
    let resize = |picture: &Picture, width, height| {
        resize_bicubic(picture, width, height, PassOrder::Pillow13)
    };
    for path in std::env::args_os().skip(1).map(PathBuf::from) {
        let name = path.display().to_string();
        let bytes = std::fs::read(&path)?;
        let picture = decode_picture_bytes(&bytes, &name)?;
        let [_, rows, columns] = config.grid(picture.width(), picture.height())?;
        let (width, height) = (columns * config.patch_size, rows * config.patch_size);
        let resized = resize(&picture, width, height);
        let report = json!({
            "file": name,
            "size": [picture.width(), picture.height()],
            "resized": [width, height],
            "decode_ms": median(|| decode_picture_bytes(&bytes, &name).is_ok()),
            "process_ms": median(|| config.process(&picture, resize).is_ok()),
            "both_ms": median(|| {
                let picture = decode_picture_bytes(&bytes, &name);
                picture.is_ok_and(|picture| config.process(&picture, resize).is_ok())
            }),
            "resize_ms": median(|| resize(&picture, width, height)),
            "patches_ms": median(|| config.process(&resized, resize).is_ok()),
            "process_cpu_ms": processor_time(|| config.process(&picture, resize).is_ok()),
            "both_cpu_ms": processor_time(|| {
                let picture = decode_picture_bytes(&bytes, &name);
                picture.is_ok_and(|picture| config.process(&picture, resize).is_ok())
            }),
        });
        println!("{report}");
    }
    Ok(())
}

/// Median of the milliseconds that `work` takes, to a hundredth.
fn median<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[RUNS / 2] * 100.0).round() / 100.0
}

/// Mean of the milliseconds of processor time that `work` takes, to a hundredth. Linux counts it in ticks of 4 ms, so that one run tells
/// nothing.
fn processor_time<T>(mut work: impl FnMut() -> T) -> Option<f64> {
    let spent = || {
        let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
        let nanoseconds: f64 = text.split(' ').next()?.parse().ok()?;
        Some(nanoseconds / 1e6)
    };
    let start = spent()?;
    for _ in 0..RUNS {
        black_box(work());
    }
    Some(((spent()? - start) / RUNS as f64 * 100.0).round() / 100.0)
}
