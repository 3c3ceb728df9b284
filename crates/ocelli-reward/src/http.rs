//! HTTP requests with a time limit, and when and how long to wait before the next try.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ocelli_core::FailureKind;
use ureq::Agent;
use ureq::http::{HeaderMap, Uri, header};

/// Largest reply that is read, in bytes.
const MAX_REPLY: u64 = 64 << 20;
/// Characters of a failed reply that its message quotes.
const EXCERPT: usize = 300;

/// A client of one server or of several alike.
pub(crate) struct Http {
    agent: Agent,
    token: Option<String>,
}

/// A request without a usable reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpFailure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    /// Whether trying again may help: 408, 429, 5xx, a time-out, a connection that broke or was not made.
    pub(crate) retryable: bool,
    /// The status of a reply that was read.
    pub(crate) status: Option<u16>,
    /// Its body.
    pub(crate) body: Vec<u8>,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl HttpFailure {
    /// A reply that was read and is of another form than agreed on.
    pub(crate) fn retryable(message: String) -> Self {
        Self {
            kind: FailureKind::Protocol,
            message,
            retryable: true,
            status: None,
            body: Vec::new(),
            retry_after: None,
        }
    }
}

impl Http {
    /// A client that gives each request `time_limit` in all, and sends `token` as a bearer token.
    pub(crate) fn new(time_limit: Duration, token: Option<String>) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(time_limit))
            .http_status_as_error(false)
            // A redirected POST loses its body; whoever is asked must answer.
            .max_redirects(0)
            .max_idle_connections(64)
            .max_idle_connections_per_host(64)
            .build();
        Self {
            agent: config.new_agent(),
            token,
        }
    }

    pub(crate) fn get(&self, url: &str) -> Result<Vec<u8>, HttpFailure> {
        let mut request = self.agent.get(url);
        if let Some(bearer) = self.bearer() {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request.config().proxy(proxy(url)).build();
        self.read(url, request.call())
    }

    pub(crate) fn post(&self, url: &str, json: &[u8]) -> Result<Vec<u8>, HttpFailure> {
        let mut request = self
            .agent
            .post(url)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(bearer) = self.bearer() {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request.config().proxy(proxy(url)).build();
        self.read(url, request.send(json))
    }

    fn bearer(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }

    fn read(
        &self,
        url: &str,
        reply: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Vec<u8>, HttpFailure> {
        let failed = |error: ureq::Error| HttpFailure {
            kind: match error {
                ureq::Error::Timeout(_) => FailureKind::Timeout,
                _ => FailureKind::Network,
            },
            message: format!("{url}: {error}"),
            retryable: may_pass(&error),
            status: None,
            body: Vec::new(),
            retry_after: None,
        };
        let mut reply = reply.map_err(failed)?;
        let (status, retry_after) = (reply.status(), retry_after(reply.headers()));
        let body = reply
            .body_mut()
            .with_config()
            .limit(MAX_REPLY)
            .read_to_vec()
            .map_err(failed)?;
        if status.is_success() {
            return Ok(body);
        }
        Err(HttpFailure {
            kind: kind_of(status.as_u16()),
            message: format!("{url}: status {}: {}", status.as_u16(), self.excerpt(&body)),
            retryable: status.is_server_error() || matches!(status.as_u16(), 408 | 429),
            status: Some(status.as_u16()),
            body,
            retry_after,
        })
    }

    /// The beginning of a reply, on one line, without the token: some servers send back what they were sent.
    pub(crate) fn excerpt(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        let text = match &self.token {
            Some(token) => text.replace(token.as_str(), "…"),
            None => text.into_owned(),
        };
        let words = text.split_whitespace();
        let line = words.collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(EXCERPT) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// The environment's proxy, but none to this machine.
fn proxy(url: &str) -> Option<ureq::Proxy> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let is_local = host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback());
    if is_local {
        None
    } else {
        ureq::Proxy::try_from_env()
    }
}

fn may_pass(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Io(error) => error.kind() != io::ErrorKind::InvalidInput,
        // A reply that is not HTTP or broke off in its head.
        ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

/// `Retry-After` in seconds. Its other form, a date, is left to the usual waiting time.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// Checks a server's address and takes a last `/` off.
pub(crate) fn checked_url(url: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "`{url}` is not the address of a server; write it as http://host:port or https://host"
        )
    };
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    if known && uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none() {
        Ok(url.trim_end_matches('/').to_owned())
    } else {
        Err(wrong())
    }
}

/// The secret in the environment variable `name`.
pub(crate) fn secret(name: Option<&str>) -> Result<Option<String>, String> {
    let Some(name) = name else {
        return Ok(None);
    };
    match std::env::var(name) {
        Ok(value) if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(value))
        }
        Ok(_) => Err(format!(
            "the environment variable `{name}` is empty, or has characters that no header can carry"
        )),
        Err(_) => Err(format!(
            "the environment variable `{name}`, which should hold the key, is not set"
        )),
    }
}

/// A number of seconds above 0 as a time.
pub(crate) fn seconds(key: &str, seconds: f64) -> Result<Duration, String> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() && seconds <= 86_400.0 => Ok(time),
        _ => Err(format!(
            "`{key} = {seconds}` is not allowed; it takes seconds above 0, at most 86400"
        )),
    }
}

/// How long to wait between tries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Backoff {
    /// Half a second at first, 30 seconds at most.
    pub(crate) const USUAL: Self = Self {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(30),
    };

    /// The wait after try number `attempt`, from 0 on: `first · 2^attempt`, at most `longest`, times a factor in
    /// `[½, 1)` that spreads the tries of many clients; or what the server asked for if that is longer, at most
    /// `longest`. The factor is a hash of `salt`, `attempt` and the process: no random stream is used up.
    pub(crate) fn wait(
        &self,
        attempt: u32,
        retry_after: Option<Duration>,
        salt: &[u8],
    ) -> Duration {
        let doubled = self.first.saturating_mul(2u32.saturating_pow(attempt));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&attempt.to_le_bytes());
        hasher.update(&std::process::id().to_le_bytes());
        hasher.update(salt);
        let byte = hasher.finalize().as_bytes()[0];
        let factor = 0.5 + f64::from(byte) / 512.0;
        let spread = doubled.min(self.longest).mul_f64(factor);
        spread
            .max(retry_after.unwrap_or_default())
            .min(self.longest)
    }
}

/// What a status that is no success says of the server.
fn kind_of(status: u16) -> FailureKind {
    match status {
        408 | 504 => FailureKind::Timeout,
        429 | 503 => FailureKind::RateLimited,
        500..600 => FailureKind::Crash,
        _ => FailureKind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_bounds() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(10),
        };
        for (attempt, most) in [(0, 1), (1, 2), (3, 8), (4, 10), (1000, 10)] {
            let wait = backoff.wait(attempt, None, b"a");
            let most = Duration::from_secs(most);
            assert!(wait >= most / 2 && wait < most, "{attempt}: {wait:?}");
        }
        let asked = |seconds| backoff.wait(0, Some(Duration::from_secs(seconds)), b"a");
        assert_eq!(asked(5), Duration::from_secs(5));
        assert_eq!(asked(1000), Duration::from_secs(10));
        let waits: Vec<Duration> = (0..50u8)
            .map(|salt| backoff.wait(2, None, &[salt]))
            .collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!(
            checked_url("http://127.0.0.1:8192/").as_deref(),
            Ok("http://127.0.0.1:8192")
        );
        assert_eq!(
            checked_url("https://host/v1").as_deref(),
            Ok("https://host/v1")
        );
        for url in [
            "",
            "127.0.0.1:8192",
            "ftp://host",
            "http://",
            "http://a b",
            "http://h/?k=1",
        ] {
            assert!(checked_url(url).is_err(), "{url}");
        }
        assert!(seconds("time", f64::NAN).is_err());
        assert!(seconds("time", -1.0).is_err());
        assert!(seconds("time", 0.0).is_err());
        assert_eq!(seconds("time", 0.5), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn an_excerpt_is_short_and_without_the_token() {
        let http = Http::new(Duration::from_secs(1), Some("secret-key".to_owned()));
        let text = http.excerpt(b"bad key\n  secret-key!");
        assert_eq!(text, "bad key …!");
        let long = http.excerpt("ä".repeat(1000).as_bytes());
        assert_eq!(long.chars().count(), EXCERPT + 1);
    }
}
