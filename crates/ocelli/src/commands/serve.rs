//! `ocelli serve`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use ocelli_reward::server::{ServerConfig, ServerError, VerifierServer};
use ocelli_reward::{RewardConfig, RewardGraph};
use serde::Deserialize;

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
    /// File with a `reward` list: a recipe with one rewarded stage, or a file with the list alone. Paths in it start at its
    /// folder.
    #[arg(long, value_name = "FILE")]
    reward: PathBuf,
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

/// The parts of a file that say what is rewarded.
#[derive(Deserialize)]
struct RewardFile {
    #[serde(default)]
    reward: RewardConfig,
    #[serde(default)]
    stage: Vec<RewardedStage>,
}

#[derive(Deserialize)]
struct RewardedStage {
    #[serde(default)]
    reward: RewardConfig,
}

/// Serves until it is told to stop.
///
/// # Errors
/// When a file cannot be read, the reward is wrong or cannot start, or the address cannot be had.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let What::Verifiers(arguments) = &arguments.what;
    let root = arguments.reward.parent().unwrap_or(Path::new(""));
    let grader = RewardGraph::rooted(&reward_of(&arguments.reward)?, root)?;
    // Before listening: whoever reaches the server is judged.
    grader.start(|line| {
        let _ = writeln!(std::io::stderr(), "{line}");
    })?;
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

/// The one reward list of a file.
fn reward_of(path: &Path) -> anyhow::Result<RewardConfig> {
    let text =
        std::fs::read_to_string(path).map_err(|e| misuse(format!("{}: {e}", path.display())))?;
    let file: RewardFile =
        toml::from_str(&text).map_err(|e| misuse(format!("{}: {e}", path.display())))?;
    let stages = file.stage.into_iter().map(|stage| stage.reward);
    let mut lists = std::iter::once(file.reward)
        .chain(stages)
        .filter(|list| !list.is_empty());
    match (lists.next(), lists.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(misuse(format!(
            "{}: nothing is rewarded here; write reward = [ {{ verifier = \"exact\" }} ]",
            path.display()
        ))),
        (Some(_), Some(_)) => Err(misuse(format!(
            "{}: several `reward` lists; copy the one to be served into a file of its own",
            path.display()
        ))),
    }
}

fn token(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.trim_end().to_owned())
}
