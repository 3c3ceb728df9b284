//! `ocelli merge`.

use std::path::PathBuf;

use clap::Args;
use ocelli_model::checkpoint::Checkpoint;

use super::{misuse, print};

/// Arguments of `ocelli merge`.
#[derive(Args)]
pub struct Arguments {
    /// Folder of an adapter: a checkpoint of a run with `model.adapter`, or one that PEFT wrote.
    adapter: PathBuf,
    /// Folder to write; it must not be there yet.
    out: PathBuf,
}

/// Writes the merged checkpoint.
///
/// # Errors
/// When the folder is no adapter, the model under it is gone, or the new folder can't be written.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { adapter, out } = arguments;
    if out.exists() {
        return Err(misuse(format!(
            "{}: this is there already; give the name of a new folder",
            out.display()
        )));
    }
    let device = burn::tensor::Device::flex();
    let checkpoint = Checkpoint::load(adapter, &device)?;
    if checkpoint.weights.adapter().is_none() {
        return Err(misuse(format!(
            "{}: this is a whole model, with nothing to merge; an adapter's folder holds adapter_config.json",
            adapter.display()
        )));
    }
    checkpoint.merged().save(out, |_| Ok(()))?;
    print(&format!("{}\n", out.display()))
}
