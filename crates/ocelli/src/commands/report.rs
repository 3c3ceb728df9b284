//! `ocelli report`.

use std::path::PathBuf;

use clap::Args;

use super::print;
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
    let page = write_report(&arguments.run)?;
    print(&format!("{}\n", page.display()))
}
