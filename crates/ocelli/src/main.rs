//! The `ocelli` program.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use ocelli::commands::{self, Command};

/// Small tensors come and go by the thousand; the system's allocator costs a third of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps freed pages. A training step frees and takes the same few hundred megabytes again and again; giving them back to the
/// system makes the kernel clear every page anew.
fn keep_freed_pages() {
    /// `mi_option_purge_delay` in mimalloc 2 and 3, in milliseconds; −1 is never.
    const PURGE_DELAY: std::ffi::c_int = 15;
    #[allow(
        unsafe_code,
        reason = "the allocator's options are set through its C interface"
    )]
    // SAFETY: sets one integer option, before any other thread runs.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}

/// Reinforcement learning for models that see.
#[derive(Parser)]
#[command(
    name = "ocelli",
    version,
    about = "Reinforcement learning for models that see.",
    max_term_width = 100
)]
struct Cli {
    /// Threads to compute with; by default one a core. Results do not depend on it.
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    keep_freed_pages();
    let cli = Cli::parse();
    if let Some(threads) = cli.threads
        && let Err(error) = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
    {
        return fail(&anyhow::anyhow!("--threads {threads}: {error}"), 2);
    }
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if commands::is_misuse(&error) { 2 } else { 1 };
            fail(&error, code)
        }
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    // Many errors already say what caused them; only causes that add something are told.
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    // Nothing is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "error: {text}");
    ExitCode::from(code)
}
