//! The `ocelli` program.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use ocelli::commands::{self, Command};

/// Small tensors come and go by the thousand; the system's allocator costs a third of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Reinforcement learning for models that see.
#[derive(Parser)]
#[command(name = "ocelli", version, about, max_term_width = 100)]
struct Cli {
    /// Threads to compute with; by default one a core. Results do not depend on it.
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
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
    // Nothing is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::from(code)
}
