//! `ocelli serve`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use ocelli_reward::server::{ServerConfig, ServerError, VerifierServer};

use super::reward_file::RewardArguments;
use super::{misuse, print};

/// Arguments of `ocelli serve`.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// What is served.
#[derive(Subcommand)]
enum What {
    /// Judge responses over HTTP, also in V-Triune's protocol, until SIGINT or SIGTERM.
    Verifiers(Verifiers),
}

/// Arguments of `ocelli serve verifiers`.
#[derive(Args)]
struct Verifiers {
    #[command(flatten)]
    reward: RewardArguments,
    /// Address and port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8192")]
    listen: SocketAddr,
    /// File with the token that clients must send; needed when other machines can reach the address.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Largest body of a request, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    max_body: usize,
    /// Time for one request, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    time_limit: f64,
    /// Requests taken at once; further ones are asked to come back.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_pending: usize,
    /// Threads for verifiers.
    #[arg(long, value_name = "N", default_value_t = 64)]
    verifier_threads: usize,
}

/// Serves until it is told to stop.
///
/// # Errors
/// When a file cannot be read, the reward is wrong or cannot start, or the address cannot be had.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let What::Verifiers(arguments) = &arguments.what;
    // Before listening: whoever reaches the server is judged.
    let grader = arguments.reward.read()?.start()?;
    let nodes: Vec<&str> = grader.node_names().collect();
    let nodes = nodes.join(", ");
    let time_limit = Duration::try_from_secs_f64(arguments.time_limit)
        .map_err(|error| misuse(format!("--time-limit {}: {error}", arguments.time_limit)))?;
    let config = ServerConfig {
        token: arguments.token_file.as_deref().map(token).transpose()?,
        max_body: arguments.max_body,
        time_limit,
        max_pending_requests: arguments.max_pending,
        threads: arguments.verifier_threads,
        ..ServerConfig::new(arguments.listen)
    };
    let server = VerifierServer::bind(config, Arc::new(grader)).map_err(|error| match error {
        ServerError::Listen { .. } | ServerError::Start(_) => error.into(),
        wrong => misuse(wrong.to_string()),
    })?;
    // Nobody reads a closed stderr.
    let _ = writeln!(std::io::stderr(), "judging with {nodes}; stop with Ctrl-C");
    print(&format!("http://{}\n", server.address()))?;
    Ok(server.run_until_signal()?)
}

fn token(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.trim_end().to_owned())
}
