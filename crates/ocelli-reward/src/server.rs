//! The verifier server: a reward graph behind HTTP, for trainers in other processes, languages and machines.
//!
//! Routes: `POST /v1/score` ([`crate::protocol`]), `POST /judge` (V-Triune's protocol), `GET /` and `GET /health`,
//! `GET /metrics`. `docs/verifier-server.md` has examples.
//!
//! What an overloaded, hostile or broken client can do is bounded: the size of a body, the bytes and the number of
//! requests held at once (503 with `Retry-After` beyond), connections, the time to send a request and the time to judge
//! it. A verifier that takes long occupies one thread; one that panics is a typed error.

mod connections;
mod grader;
mod metrics;
mod pool;
mod routes;
mod v_triune;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

pub use grader::Grader;

/// Where and under which limits a server runs.
#[derive(Clone)]
pub struct ServerConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What clients must send as `Authorization: Bearer …`. Needed when `listen` is not a loopback address.
    pub token: Option<String>,
    /// Largest body of a request, in bytes.
    pub max_body: usize,
    /// Time from a request's head to its answer.
    pub time_limit: Duration,
    /// Requests read or judged at once.
    pub max_pending_requests: usize,
    /// Bytes of their bodies, together.
    pub max_pending_bytes: usize,
    /// Threads for verifiers. More than there are cores, so that slow ones leave some to the others.
    pub threads: usize,
}

impl ServerConfig {
    /// The default limits: bodies of 16 MiB, 30 seconds, 1,024 requests and 256 MiB at once, 64 threads; no token.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            token: None,
            max_body: 16 << 20,
            time_limit: Duration::from_secs(30),
            max_pending_requests: 1024,
            max_pending_bytes: 256 << 20,
            threads: 64,
        }
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Everybody on the network could use it.
    #[error("{0} can be reached from other machines; give the server a token with --token-file")]
    TokenNeeded(SocketAddr),
    /// A token that no header can carry.
    #[error("the token must have 16 visible ASCII characters or more, and no white space")]
    BadToken,
    /// A limit that lets nothing through.
    #[error("`{0}` is 0, so no request could be judged")]
    ZeroLimit(&'static str),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    /// The system gives no threads or signals.
    #[error("cannot start the server: {0}")]
    Start(#[from] std::io::Error),
}

/// A server that listens and does not answer yet.
pub struct VerifierServer {
    config: ServerConfig,
    grader: Arc<dyn Grader>,
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
}

impl VerifierServer {
    /// Checks `config` and takes the address.
    ///
    /// # Errors
    /// When a limit is 0, the token is bad or missing, or the address cannot be had.
    pub fn bind(config: ServerConfig, grader: Arc<dyn Grader>) -> Result<Self, ServerError> {
        check(&config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(config.threads)
            .thread_name("verifier")
            .enable_all()
            .build()?;
        let listen_error = |source| ServerError::Listen {
            address: config.listen,
            source,
        };
        let listener = runtime
            .block_on(TcpListener::bind(config.listen))
            .map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        Ok(Self {
            config,
            grader,
            runtime,
            listener,
            address,
        })
    }

    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until SIGINT or SIGTERM, then ends what has begun and returns.
    ///
    /// # Errors
    /// When the signals cannot be listened to.
    pub fn run_until_signal(self) -> Result<(), ServerError> {
        let signal = {
            let _entered = self.runtime.enter();
            stop_signal()?
        };
        self.run(signal);
        Ok(())
    }

    /// Answers on a thread of its own until the handle is stopped or dropped.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn spawn(self) -> Result<RunningServer, ServerError> {
        let address = self.address;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("verifier-server".to_owned())
            .spawn(move || {
                // A handle that is gone stops the server too.
                self.run(async { drop(stopped.await) });
            })?;
        Ok(RunningServer {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    fn run(self, stop: impl Future<Output = ()>) {
        let router = routes::router(&self.config, self.grader);
        let drain = self.config.time_limit + Duration::from_secs(1);
        self.runtime
            .block_on(connections::serve(self.listener, router, stop, drain));
        // Threads that a verifier does not give back end with the process.
        self.runtime.shutdown_background();
    }
}

/// A server on a thread of its own. Dropping it stops the server and waits for what has begun.
pub struct RunningServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RunningServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its root, `http://address:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread has been told by the panic itself.
            let _ = thread.join();
        }
    }
}

fn check(config: &ServerConfig) -> Result<(), ServerError> {
    for (name, is_zero) in [
        ("max_body", config.max_body == 0),
        ("time_limit", config.time_limit.is_zero()),
        ("max_pending_requests", config.max_pending_requests == 0),
        ("max_pending_bytes", config.max_pending_bytes == 0),
        ("threads", config.threads == 0),
    ] {
        if is_zero {
            return Err(ServerError::ZeroLimit(name));
        }
    }
    match &config.token {
        None if !config.listen.ip().is_loopback() => Err(ServerError::TokenNeeded(config.listen)),
        Some(token) if token.len() < 16 || !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(ServerError::BadToken)
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NodeConfig, RewardGraph};

    fn refused(config: ServerConfig) -> String {
        let grader = RewardGraph::new(&[NodeConfig::new("tags")]).unwrap();
        let server = VerifierServer::bind(config, Arc::new(grader));
        server.err().unwrap().to_string()
    }

    #[test]
    fn an_open_address_needs_a_token() {
        let open = ServerConfig::new(([0, 0, 0, 0], 0).into());
        assert!(refused(open).starts_with("0.0.0.0:0 can be reached from other machines"));
        let local = ServerConfig::new(([127, 0, 0, 1], 0).into());
        for token in ["short", "has white space in it", "ümlautümlautümlaut"] {
            let config = ServerConfig {
                token: Some(token.to_owned()),
                ..local.clone()
            };
            assert!(refused(config).starts_with("the token must have"));
        }
        let nothing = ServerConfig {
            threads: 0,
            ..local
        };
        assert_eq!(
            refused(nothing),
            "`threads` is 0, so no request could be judged"
        );
    }
}
