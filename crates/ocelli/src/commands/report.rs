//! `ocelli report`.

use std::path::PathBuf;

use clap::Args;

use super::{misuse, print};
use crate::report::write_report;

/// Arguments of `ocelli report`.
#[derive(Args)]
pub struct Arguments {
    /// Run folder.
    run: PathBuf,
}

/// Writes the page.
///
/// # Errors
/// When the folder can't be read or written.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.run.join("resolved.toml").is_file() {
        return Err(misuse(format!(
            "{}: no run here (resolved.toml is missing); give a folder that `ocelli train` made",
            arguments.run.display()
        )));
    }
    let page = write_report(&arguments.run)?;
    print(&format!("{}\n", page.display()))
}
