//! How fast a data file is read, and in how much memory.
//!
//! ```text
//! cargo run --release -p ocelli-data --example reading_speed -- train.parquet
//! ```
//!
//! Prints one JSON object: rows and rows a second, from opening the file to tasks that can be drawn; the most memory the
//! process had (Linux only); and, if rows have pictures, how many a second are decoded when 1,000 are drawn in a shuffled
//! order. `bench/data_tables.py` writes files and compares with the library datasets.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_data::{DataConfig, DataError, epoch_order, load};
use serde_json::json;

fn main() -> Result<(), DataError> {
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: reading_speed DATA_FILE");
        std::process::exit(2);
    };
    let config = DataConfig {
        path: Some(path),
        ..DataConfig::default()
    };
    let start = Instant::now();
    let data = load(&config, Path::new("."), 0)?;
    let seconds = start.elapsed().as_secs_f64();
    let rows = data.tasks.len();

    let mut pictures = 0_u32;
    let start = Instant::now();
    for row in epoch_order(rows, 0, 0).into_iter().take(1000) {
        let task = &data.tasks[row];
        for index in 0..task.images.len() {
            data.picture(task, index)?;
            pictures += 1;
        }
    }
    let decoding = start.elapsed().as_secs_f64();
    let report = json!({
        "rows": rows,
        "seconds": seconds,
        "rows_per_second": (rows as f64 / seconds).round(),
        "pictures_per_second": (pictures > 0).then(|| (f64::from(pictures) / decoding).round()),
        "peak_memory_mb": peak_memory(),
    });
    println!("{report}");
    Ok(())
}

/// Most resident memory so far, in megabytes.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024)
}
