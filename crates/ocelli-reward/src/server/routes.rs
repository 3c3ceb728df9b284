//! The server's routes: what is checked before a request is judged, and how its answer is written.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use ocelli_core::Episode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::metrics::{Counters, Route};
use super::v_triune::JudgeRequest;
use super::{Grader, ServerConfig, pool};
use crate::protocol::{
    ErrorKind, ErrorReply, Health, NodeVerdict, ScoreBatch, ScoreOutcome, ScoreReply, ServiceError,
};

/// Bodies above this are read and written where they may block, so that other requests go on meanwhile.
const LARGE: usize = 64 * 1024;

/// What every request can see.
struct Server {
    grader: Arc<dyn Grader>,
    /// Hash of the bearer token. Hashes are compared, in constant time, so that neither the time of the comparison nor
    /// the token's length tells anything.
    token: Option<blake3::Hash>,
    max_body: usize,
    time_limit: Duration,
    /// Room for request bodies, in bytes, and for requests.
    bytes: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    counters: Counters,
}

/// A request that will not be judged.
struct Refusal(StatusCode, ServiceError);

impl Refusal {
    fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(status, ServiceError::new(kind, message))
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::BadRequest, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, error) = self;
        let kind = error.kind;
        let mut response = json(status, &ErrorReply { error });
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Read by `guard`, which counts.
        response.extensions_mut().insert(kind);
        response
    }
}

/// The server as a router, for `grader` and under the limits of `config`.
pub(super) fn router(config: &ServerConfig, grader: Arc<dyn Grader>) -> Router {
    let server = Arc::new(Server {
        grader,
        token: config.token.as_ref().map(|t| blake3::hash(t.as_bytes())),
        max_body: config.max_body,
        time_limit: config.time_limit,
        bytes: Arc::new(Semaphore::new(config.max_pending_bytes)),
        requests: Arc::new(Semaphore::new(config.max_pending_requests)),
        counters: Counters::default(),
    });
    Router::new()
        .route("/", get(root))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/v1/score", post(score))
        .route("/judge", post(judge))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(server.clone(), guard))
        .with_state(server)
}

/// Counts each request, and asks for the token everywhere but at the two routes that tell whether the server lives.
async fn guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let _in_flight = server.counters.begin();
    let path = request.uri().path();
    let route = Route::of_path(path);
    let open = matches!(path, "/" | "/health") && request.method() == Method::GET;
    let response = if open || server.may_enter(request.headers()) {
        next.run(request).await
    } else {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            ErrorKind::Unauthorized,
            "send the server's token as `Authorization: Bearer …`",
        )
        .into_response()
    };
    if let Some(kind) = response.extensions().get::<ErrorKind>() {
        server.counters.error(*kind);
    }
    server
        .counters
        .answered(route, response.status(), begun.elapsed());
    response
}

/// What V-Triune's trainer looks for before it uses a server.
async fn root() -> Response {
    json(
        StatusCode::OK,
        &serde_json::json!({"message": "Reward Judge Server"}),
    )
}

async fn health(State(server): State<Arc<Server>>) -> Response {
    let health = Health {
        status: "ok".to_owned(),
        nodes: server.grader.node_names(),
    };
    json(StatusCode::OK, &health)
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let text = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(header::CONTENT_TYPE, text)], server.counters.page()).into_response()
}

async fn no_route() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        ErrorKind::NotFound,
        "there is no such route; there are: GET /, /health, /metrics and POST /v1/score, /judge",
    )
}

async fn no_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::MethodNotAllowed,
        "the route takes another method; there are: GET /, /health, /metrics and POST /v1/score, /judge",
    )
}

async fn score(State(server): State<Arc<Server>>, request: Request) -> Result<Response, Refusal> {
    let deadline = Instant::now() + server.time_limit;
    let (body, _room) = server.admit(request, deadline).await?;
    let batch: ScoreBatch = read(&body).map_err(Refusal::bad_request)?;
    let grader = match &batch.nodes {
        None => server.grader.clone(),
        Some(names) => server
            .grader
            .select(names)
            .map_err(|m| Refusal::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, m))?
            .into(),
    };
    let (groups, places) = in_groups(batch)?;
    let mut graded = pool::grade(grader, groups, deadline).await;
    let outcomes = places
        .into_iter()
        .map(|(group, member)| {
            let nothing = Err(ServiceError::new(ErrorKind::Other, String::new()));
            std::mem::replace(&mut graded[group][member], nothing).into()
        })
        .collect();
    let reply = ScoreReply { outcomes };
    server.count(&reply.outcomes);
    Ok(if body.len() > LARGE {
        tokio::task::block_in_place(|| json(StatusCode::OK, &reply))
    } else {
        json(StatusCode::OK, &reply)
    })
}

async fn judge(State(server): State<Arc<Server>>, request: Request) -> Result<Response, Refusal> {
    let deadline = Instant::now() + server.time_limit;
    let (body, _room) = server.admit(request, deadline).await?;
    let unprocessable = |error| Refusal(StatusCode::UNPROCESSABLE_ENTITY, error);
    let asked: JudgeRequest = read(&body)
        .map_err(|message| unprocessable(ServiceError::new(ErrorKind::BadRequest, message)))?;
    let verifier = &asked.reward_verifier;
    let known = server.grader.node_names();
    let grader = if known.contains(verifier) {
        server.grader.select(&asked.nodes(&known))
    } else {
        server.grader.select(std::slice::from_ref(verifier))
    }
    .map_err(|message| Refusal::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, message))?;
    let episode = asked
        .episode(server.grader.judges_boxes(verifier))
        .map_err(unprocessable)?;
    let graded = pool::grade(grader.into(), vec![vec![episode]], deadline).await;
    let outcome = graded
        .into_iter()
        .flatten()
        .next()
        .expect("one episode has one outcome")
        .map_err(|error| {
            let status = match error.kind {
                ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            Refusal(status, error)
        })?;
    let reply = asked
        .reply(&outcome)
        .map_err(|(status, error)| Refusal(status, error))?;
    server.counters.judged(1);
    Ok(json(StatusCode::OK, &reply))
}

/// Episodes by group, and for each item its group and its place there.
type Grouped = (Vec<Vec<Episode>>, Vec<(usize, usize)>);

fn in_groups(batch: ScoreBatch) -> Result<Grouped, Refusal> {
    let mut named = std::collections::HashMap::new();
    let mut groups: Vec<Vec<Episode>> = Vec::new();
    let mut places = Vec::with_capacity(batch.items.len());
    for (position, mut item) in batch.items.into_iter().enumerate() {
        let group = match item.group.take() {
            None => groups.len(),
            Some(name) => *named.entry(name).or_insert(groups.len()),
        };
        if group == groups.len() {
            groups.push(Vec::new());
        }
        let episode = item.into_episode(position).map_err(Refusal::bad_request)?;
        places.push((group, groups[group].len()));
        groups[group].push(episode);
    }
    Ok((groups, places))
}

impl Server {
    fn may_enter(&self, headers: &HeaderMap) -> bool {
        let Some(token) = self.token else {
            return true;
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        given.is_some_and(|given| blake3::hash(given) == token)
    }

    /// Finds room for the request and reads its body.
    async fn admit(&self, request: Request, deadline: Instant) -> Result<(Bytes, Room), Refusal> {
        let declared = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > self.max_body) {
            return Err(self.too_large());
        }
        let request_room = self
            .requests
            .clone()
            .try_acquire_owned()
            .map_err(|_| busy())?;
        let reading = self.read_body(request.into_body());
        let late = || {
            Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                ErrorKind::Timeout,
                "the request's body did not arrive in time",
            )
        };
        let (body, bytes_room) = tokio::time::timeout_at(deadline, reading)
            .await
            .map_err(|_| late())??;
        Ok((body, Room(request_room, bytes_room)))
    }

    async fn read_body(
        &self,
        mut body: Body,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
        let mut bytes = Vec::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let broken = |error| Refusal::bad_request(format!("the body broke off: {error}"));
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > self.max_body {
                return Err(self.too_large());
            }
            let wanted = u32::try_from(data.len()).map_err(|_| self.too_large())?;
            let more = self
                .bytes
                .clone()
                .try_acquire_many_owned(wanted)
                .map_err(|_| busy())?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes.into(), room))
    }

    fn too_large(&self) -> Refusal {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::TooLarge,
            format!(
                "the body is above {} bytes; send smaller batches, or start the server with a larger --max-body",
                self.max_body
            ),
        )
    }

    fn count(&self, outcomes: &[ScoreOutcome]) {
        let judged = outcomes.iter().filter(|o| o.error.is_none()).count();
        self.counters.judged(judged);
        for outcome in outcomes {
            let of_nodes = outcome
                .verdicts
                .values()
                .filter_map(|verdict| match verdict {
                    NodeVerdict::Error(error) => Some(error),
                    NodeVerdict::Score { .. } | NodeVerdict::Skip => None,
                });
            for error in outcome.error.iter().chain(of_nodes) {
                self.counters.error(error.kind);
            }
        }
    }
}

/// The places that a request holds until it is answered.
struct Room(
    #[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit,
    #[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>,
);

fn busy() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Busy,
        "the server has as many requests as it takes at once; try again",
    )
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let parse = || serde_json::from_slice(body).map_err(|error| format!("the body: {error}"));
    if body.len() > LARGE {
        tokio::task::block_in_place(parse)
    } else {
        parse()
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let kind = HeaderValue::from_static("application/json");
    let text = serde_json::to_vec(body).expect("the protocol's types can be written as JSON");
    (status, [(header::CONTENT_TYPE, kind)], text).into_response()
}
