//! The client of verifier servers: a reward graph that runs somewhere else.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ocelli_core::{Episode, FailureKind, Verdict, VerifierError};
use serde::{Deserialize, Serialize};

use crate::http::{Backoff, Http, HttpFailure, checked_url, seconds, secret};
use crate::protocol::{ErrorReply, Health, ScoreBatch, ScoreItem, ScoreReply};

/// Which servers to ask, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// Addresses such as `http://127.0.0.1:8192`. Batches take turns; a server that fails passes its batch to the next.
    pub servers: Vec<String>,
    /// The environment variable that holds the servers' token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
    /// Names of the reward nodes to ask; all that the servers have by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<String>>,
    /// Episodes a request; a group is never cut, so it may be more.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Requests under way at once.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Rounds through all servers before a batch is given up.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Time for one request, in seconds. Longer than the servers' own limit, so that theirs speaks first.
    #[serde(default = "default_time_limit")]
    pub time_limit_seconds: f64,
}

fn default_batch() -> usize {
    64
}

fn default_concurrency() -> usize {
    8
}

fn default_attempts() -> u32 {
    4
}

fn default_time_limit() -> f64 {
    60.0
}

impl RemoteConfig {
    /// Asks `servers`, everything else by default.
    pub fn new(servers: Vec<String>) -> Self {
        Self {
            servers,
            token_env: None,
            nodes: None,
            batch: default_batch(),
            concurrency: default_concurrency(),
            attempts: default_attempts(),
            time_limit_seconds: default_time_limit(),
        }
    }

    /// The servers' addresses and the time for a request. Nobody is asked.
    ///
    /// # Errors
    /// Names the key with a value it does not take.
    pub(crate) fn check(&self) -> Result<(Vec<String>, Duration), ClientError> {
        let bad = ClientError::BadConfig;
        for (key, is_zero) in [
            ("servers", self.servers.is_empty()),
            ("nodes", self.nodes.as_ref().is_some_and(Vec::is_empty)),
            ("batch", self.batch == 0),
            ("concurrency", self.concurrency == 0),
            ("attempts", self.attempts == 0),
        ] {
            if is_zero {
                return Err(bad(format!("`{key}` needs at least one")));
            }
        }
        let servers: Result<_, _> = self.servers.iter().map(|url| checked_url(url)).collect();
        let time_limit = seconds("time_limit_seconds", self.time_limit_seconds).map_err(bad)?;
        Ok((servers.map_err(bad)?, time_limit))
    }
}

/// Why the servers cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// A key of the configuration has a value it does not take.
    #[error("verifier servers: {0}")]
    BadConfig(String),
    /// No server has answered.
    #[error("no verifier server answers: {}", .0.join("; "))]
    NoServer(Vec<String>),
    /// Two servers score with different nodes.
    #[error(
        "the verifier servers {first} and {second} have different reward nodes ({first_nodes}; {second_nodes}); \
         start them with one recipe"
    )]
    DifferentNodes {
        first: String,
        first_nodes: String,
        second: String,
        second_nodes: String,
    },
    /// A node that the servers do not have.
    #[error("the verifier servers have no reward node `{name}`; there are: {known}")]
    UnknownNode { name: String, known: String },
}

/// Verifiers on one server or several, used as a reward graph is.
pub struct RemoteVerifiers {
    http: Http,
    servers: Vec<String>,
    /// Sent with each batch.
    asked: Option<Vec<String>>,
    /// Names of the verdicts.
    nodes: Vec<String>,
    batch: usize,
    concurrency: usize,
    attempts: u32,
    backoff: Backoff,
    turn: AtomicUsize,
}

impl RemoteVerifiers {
    /// Checks `config` and asks the servers what they score. One that does not answer yet may come later, if another
    /// does.
    ///
    /// # Errors
    /// When the configuration is wrong, no server answers, or those that do have not the same nodes.
    pub fn connect(config: &RemoteConfig) -> Result<Self, ClientError> {
        let (servers, time_limit) = config.check()?;
        let token = secret(config.token_env.as_deref()).map_err(ClientError::BadConfig)?;
        let http = Http::new(time_limit, token);
        let known = common_nodes(&http, &servers)?;
        let mut names = config.nodes.iter().flatten();
        if let Some(name) = names.find(|name| !known.contains(name)) {
            return Err(ClientError::UnknownNode {
                name: name.clone(),
                known: known.join(", "),
            });
        }
        Ok(Self {
            http,
            servers,
            nodes: config.nodes.clone().unwrap_or(known),
            asked: config.nodes.clone(),
            batch: config.batch,
            concurrency: config.concurrency,
            attempts: config.attempts,
            backoff: Backoff::USUAL,
            turn: AtomicUsize::new(0),
        })
    }

    /// The nodes' names.
    pub fn node_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.nodes.iter().map(String::as_str)
    }

    /// Judges each of `episodes` and writes `outcome.verdicts` and `outcome.reward`, over whatever stood there.
    ///
    /// Samples of one task that stand together are judged as one group. What no server has judged in the end has an
    /// error for each node's verdict, and no reward.
    pub fn score_all(&self, episodes: &mut [Episode]) {
        let mut rest = episodes;
        let mut batches = Vec::new();
        for range in self.batches(rest) {
            let (batch, after) = rest.split_at_mut(range.len());
            batches.push(batch);
            rest = after;
        }
        let threads = self.concurrency.min(batches.len());
        let queue = Mutex::new(batches.into_iter());
        let next = || queue.lock().ok().and_then(|mut queue| queue.next());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(batch) = next() {
                        self.score_batch(batch);
                    }
                });
            }
        });
    }

    /// Where to cut: after `batch` episodes, but not between samples of one task.
    fn batches(&self, episodes: &[Episode]) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let mut begin = 0;
        for end in 1..=episodes.len() {
            let may_cut = episodes
                .get(end)
                .is_none_or(|next| next.task.id != episodes[end - 1].task.id);
            if may_cut && (end - begin >= self.batch || end == episodes.len()) {
                ranges.push(begin..end);
                begin = end;
            }
        }
        ranges
    }

    fn score_batch(&self, episodes: &mut [Episode]) {
        match self.ask(episodes) {
            Ok(reply) => {
                for (episode, outcome) in episodes.iter_mut().zip(reply.outcomes) {
                    if let Some(error) = outcome.error {
                        self.write_error(episode, &error.into());
                        continue;
                    }
                    let verdicts = outcome.verdicts.into_iter();
                    episode.outcome.verdicts = verdicts.map(|(n, v)| (n, v.into())).collect();
                    episode.outcome.reward = outcome.reward;
                }
            }
            Err(error) => {
                for episode in episodes {
                    self.write_error(episode, &error);
                }
            }
        }
    }

    fn write_error(&self, episode: &mut Episode, error: &VerifierError) {
        let verdicts = self.nodes.iter();
        episode.outcome.verdicts = verdicts
            .map(|name| (name.clone(), Verdict::Error(error.clone())))
            .collect();
        episode.outcome.reward = None;
    }

    /// Sends one batch, to one server after the other until one answers. There is a wait after each round.
    fn ask(&self, episodes: &[Episode]) -> Result<ScoreReply, VerifierError> {
        let batch = ScoreBatch {
            nodes: self.asked.clone(),
            items: episodes.iter().map(ScoreItem::of_episode).collect(),
        };
        let body = serde_json::to_vec(&batch).map_err(|error| VerifierError {
            kind: FailureKind::Internal,
            message: format!("the episodes cannot be written as JSON: {error}"),
            retryable: false,
        })?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut last = None;
        for attempt in 0..self.attempts {
            let mut asked_for = None;
            for step in 0..self.servers.len() {
                let server = &self.servers[(turn + step) % self.servers.len()];
                match self.ask_server(server, &body, episodes.len()) {
                    Ok(reply) => return Ok(reply),
                    Err(failure) if !failure.retryable => return Err(failure.into()),
                    Err(failure) => {
                        asked_for = asked_for.max(failure.retry_after);
                        last = Some(failure);
                    }
                }
            }
            if attempt + 1 < self.attempts {
                let salt = turn.to_le_bytes();
                std::thread::sleep(self.backoff.wait(attempt, asked_for, &salt));
            }
        }
        Err(last.expect("there is a server and an attempt").into())
    }

    fn ask_server(
        &self,
        server: &str,
        body: &[u8],
        items: usize,
    ) -> Result<ScoreReply, HttpFailure> {
        let url = format!("{server}/v1/score");
        let reply = self.http.post(&url, body).map_err(|mut failure| {
            // The server knows better than its status whether it is worth another try.
            if let Ok(reply) = serde_json::from_slice::<ErrorReply>(&failure.body) {
                failure.retryable = reply.error.retryable;
                failure.message = format!("{server}: {}", reply.error.message);
            }
            failure
        })?;
        let reply: ScoreReply = serde_json::from_slice(&reply).map_err(|error| {
            HttpFailure::retryable(format!(
                "{server}: the reply is not a verifier server's: {error}"
            ))
        })?;
        if reply.outcomes.len() == items {
            Ok(reply)
        } else {
            Err(HttpFailure::retryable(format!(
                "{server}: {} outcomes for {items} episodes",
                reply.outcomes.len()
            )))
        }
    }
}

impl From<HttpFailure> for VerifierError {
    fn from(failure: HttpFailure) -> Self {
        Self {
            kind: failure.kind,
            message: failure.message,
            retryable: failure.retryable,
        }
    }
}

/// The nodes of all servers that answer.
fn common_nodes(http: &Http, servers: &[String]) -> Result<Vec<String>, ClientError> {
    let mut found: Option<(&String, Vec<String>)> = None;
    let mut silent = Vec::new();
    for server in servers {
        let health = match http.get(&format!("{server}/health")) {
            Ok(body) => serde_json::from_slice::<Health>(&body)
                .map_err(|_| format!("{server}: not a verifier server")),
            Err(failure) => Err(failure.message),
        };
        match (health, &found) {
            (Err(message), _) => silent.push(message),
            (Ok(health), None) => found = Some((server, health.nodes)),
            (Ok(health), Some((first, nodes))) if health.nodes != *nodes => {
                return Err(ClientError::DifferentNodes {
                    first: (*first).clone(),
                    first_nodes: nodes.join(", "),
                    second: server.clone(),
                    second_nodes: health.nodes.join(", "),
                });
            }
            (Ok(_), Some(_)) => {}
        }
    }
    found
        .map(|(_, nodes)| nodes)
        .ok_or(ClientError::NoServer(silent))
}
