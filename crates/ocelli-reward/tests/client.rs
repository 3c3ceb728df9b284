//! The client of verifier servers against real ones on loopback, and against some that fail.
#![cfg(all(feature = "judge", feature = "server"))]
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ocelli_core::{Episode, Target, Task, Verdict};
use ocelli_reward::client::{ClientError, RemoteConfig, RemoteVerifiers};
use ocelli_reward::server::{Grader, RunningServer, ServerConfig, VerifierServer};
use ocelli_reward::{NodeConfig, RewardGraph};

fn episode(id: &str, answer: &str, target: Option<Target>) -> Episode {
    Episode::of_answer(
        Arc::new(Task {
            id: id.to_owned(),
            target,
            ..Task::default()
        }),
        answer,
        vec![1],
    )
}

fn nodes() -> Vec<NodeConfig> {
    vec![NodeConfig::new("number"), NodeConfig::new("tags")]
}

fn local() -> ServerConfig {
    ServerConfig::new(([127, 0, 0, 1], 0).into())
}

fn start(config: ServerConfig, grader: impl Grader + 'static) -> RunningServer {
    let server = VerifierServer::bind(config, Arc::new(grader)).unwrap();
    server.spawn().unwrap()
}

fn graph_server(nodes: &[NodeConfig]) -> RunningServer {
    start(local(), RewardGraph::new(nodes).unwrap())
}

/// Twenty tasks with three samples each, some of which cannot be judged.
fn episodes() -> Vec<Episode> {
    let sample = |i: usize| {
        let target = (!i.is_multiple_of(7)).then(|| Target::Text((i / 3).to_string()));
        let text = format!("<think>a</think><answer>{}</answer>", i % 5);
        episode(&format!("row-{}", i / 3), &text, target)
    };
    (0..60).map(sample).collect()
}

/// A server that answers `GET /health` as one with `nodes`, and everything else with `reply`; counts the latter.
fn broken_server(nodes: &str, reply: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, nodes) = (count.clone(), nodes.to_owned());
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = vec![0; 1 << 16];
            let length = stream.read(&mut head).unwrap();
            let health = format!(r#"{{"status": "ok", "nodes": [{nodes}]}}"#);
            let answer = if head[..length].starts_with(b"GET /health") {
                let length = health.len();
                format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{health}"
                )
            } else {
                counted.fetch_add(1, Ordering::SeqCst);
                reply.to_owned()
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, count)
}

const BROKEN_NODES: &str = r#""number", "tags""#;
const UNAVAILABLE: &str =
    "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
const REFUSING: &str =
    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn far_verdicts_are_the_near_ones() {
    let servers = [graph_server(&nodes()), graph_server(&nodes())];
    let config = RemoteConfig {
        batch: 7,
        ..RemoteConfig::new(servers.iter().map(RunningServer::url).collect())
    };
    let remote = RemoteVerifiers::connect(&config).unwrap();
    assert_eq!(remote.node_names().collect::<Vec<_>>(), ["number", "tags"]);
    let mut far = episodes();
    remote.score_all(&mut far);
    let mut near = episodes();
    RewardGraph::new(&nodes()).unwrap().score_group(&mut near);
    assert_eq!(far, near);
    assert!(near.iter().any(|episode| episode.outcome.reward.is_none()));
    remote.score_all(&mut []);
}

#[test]
fn scores_keep_their_last_digit_on_the_way() {
    let nodes = [NodeConfig::new("box_iou")];
    let server = graph_server(&nodes);
    let sample = |i: usize| {
        let corner = |k: f64| (i as f64 * k).sin().abs();
        let (x1, y1) = (corner(1.1), corner(1.3));
        let target = [x1, y1, x1 + 0.1 + corner(1.7), y1 + 0.1 + corner(1.9)];
        let answer = format!("<answer>[{x1}, {y1}, {}, {}]</answer>", x1 + 0.7, y1 + 0.3);
        episode("a", &answer, Some(Target::Box(target.into())))
    };
    let mut far: Vec<Episode> = (0..500).map(sample).collect();
    let mut near = far.clone();
    let remote = RemoteVerifiers::connect(&RemoteConfig::new(vec![server.url()])).unwrap();
    remote.score_all(&mut far);
    RewardGraph::new(&nodes).unwrap().score_group(&mut near);
    assert_eq!(far, near);
}

#[test]
fn chosen_nodes_alone_are_asked() {
    let server = graph_server(&nodes());
    let config = RemoteConfig {
        nodes: Some(vec!["tags".to_owned()]),
        ..RemoteConfig::new(vec![server.url()])
    };
    let mut far = episodes();
    RemoteVerifiers::connect(&config)
        .unwrap()
        .score_all(&mut far);
    for episode in far {
        assert_eq!(episode.outcome.verdicts.len(), 1);
        assert_eq!(episode.outcome.reward, Some(1.0));
    }
}

#[test]
fn a_failing_server_passes_its_batch_to_the_next() {
    let good = graph_server(&nodes());
    let (bad, asked) = broken_server(BROKEN_NODES, UNAVAILABLE);
    let config = RemoteConfig {
        batch: 6,
        ..RemoteConfig::new(vec![bad, good.url()])
    };
    let mut far = episodes();
    RemoteVerifiers::connect(&config)
        .unwrap()
        .score_all(&mut far);
    let mut near = episodes();
    RewardGraph::new(&nodes()).unwrap().score_group(&mut near);
    assert_eq!(far, near);
    assert!(asked.load(Ordering::SeqCst) > 0);
}

#[test]
fn an_outage_is_an_error_of_every_node_and_never_a_zero() {
    for (reply, retryable, tries) in [(UNAVAILABLE, true, 2), (REFUSING, false, 1)] {
        let (url, asked) = broken_server(BROKEN_NODES, reply);
        let config = RemoteConfig {
            attempts: 2,
            ..RemoteConfig::new(vec![url])
        };
        let mut far = episodes();
        far[0].outcome.reward = Some(7.0);
        RemoteVerifiers::connect(&config)
            .unwrap()
            .score_all(&mut far);
        assert_eq!(asked.load(Ordering::SeqCst), tries);
        for episode in far {
            assert_eq!(episode.outcome.reward, None);
            assert_eq!(episode.outcome.verdicts.len(), 2);
            for verdict in episode.outcome.verdicts.values() {
                assert!(matches!(verdict, Verdict::Error(e) if e.retryable == retryable));
            }
        }
    }
}

/// Takes its time with the tasks named `slow`.
struct Slow(RewardGraph);

impl Grader for Slow {
    fn node_names(&self) -> Vec<String> {
        Grader::node_names(&self.0)
    }

    fn select(&self, names: &[String]) -> Result<Box<dyn Grader>, String> {
        Grader::select(&self.0, names)
    }

    fn judges_boxes(&self, node: &str) -> bool {
        self.0.judges_boxes(node)
    }

    fn grade(&self, episodes: &mut [Episode]) {
        if episodes[0].task.id == "slow" {
            std::thread::sleep(Duration::from_millis(300));
        }
        self.0.grade(episodes);
    }
}

#[test]
fn a_response_that_timed_out_is_an_error_of_its_own() {
    let config = ServerConfig {
        time_limit: Duration::from_millis(100),
        ..local()
    };
    let server = start(config, Slow(RewardGraph::new(&nodes()).unwrap()));
    let remote = RemoteVerifiers::connect(&RemoteConfig::new(vec![server.url()])).unwrap();
    let target = || Some(Target::Text("1".to_owned()));
    let turn = "<think>a</think><answer>1</answer>";
    let mut far = vec![
        episode("slow", turn, target()),
        episode("fast", turn, target()),
    ];
    remote.score_all(&mut far);
    assert!(matches!(&far[0].outcome.verdicts["tags"], Verdict::Error(e) if e.retryable));
    assert_eq!(far[0].outcome.reward, None);
    assert_eq!(far[1].outcome.reward, Some(2.0));
}

#[test]
fn servers_that_cannot_be_used_are_named_at_the_start() {
    let connect = |config: &RemoteConfig| RemoteVerifiers::connect(config).err().unwrap();
    let (one, _) = broken_server(BROKEN_NODES, UNAVAILABLE);
    let (two, _) = broken_server(r#""tags""#, UNAVAILABLE);
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gone = format!("http://{free}");

    let error = connect(&RemoteConfig::new(vec![gone.clone()]));
    assert!(
        matches!(&error, ClientError::NoServer(all) if all[0].starts_with(&gone)),
        "{error}"
    );
    let error = connect(&RemoteConfig::new(vec![one.clone(), two]));
    assert!(
        error.to_string().contains("(number, tags; tags)"),
        "{error}"
    );
    let unknown = RemoteConfig {
        nodes: Some(vec!["tag".to_owned()]),
        ..RemoteConfig::new(vec![one.clone()])
    };
    let error = connect(&unknown);
    assert!(
        error.to_string().contains("no reward node `tag`"),
        "{error}"
    );
    for (config, message) in [
        (
            RemoteConfig::new(Vec::new()),
            "`servers` needs at least one",
        ),
        (
            RemoteConfig::new(vec!["localhost".to_owned()]),
            "`localhost` is not the address",
        ),
    ] {
        let error = connect(&config).to_string();
        assert!(error.contains(message), "{error}");
    }
    // One that is not there yet does no harm beside one that is.
    assert!(RemoteVerifiers::connect(&RemoteConfig::new(vec![gone, one])).is_ok());
}

#[test]
fn the_token_comes_from_the_environment() {
    // Cargo sets this variable for every test; its value plays the token.
    let variable = "CARGO_MANIFEST_DIR";
    let config = ServerConfig {
        token: Some(std::env::var(variable).unwrap()),
        ..local()
    };
    let server = start(config, RewardGraph::new(&nodes()).unwrap());
    let mut remote = RemoteConfig::new(vec![server.url()]);
    let mut one = [episode(
        "a",
        "<answer>1</answer>",
        Some(Target::Text("1".to_owned())),
    )];
    RemoteVerifiers::connect(&remote)
        .unwrap()
        .score_all(&mut one);
    let Verdict::Error(error) = &one[0].outcome.verdicts["number"] else {
        panic!("scored without the token")
    };
    assert!(!error.retryable && error.message.contains("Authorization: Bearer"));
    remote.token_env = Some(variable.to_owned());
    RemoteVerifiers::connect(&remote)
        .unwrap()
        .score_all(&mut one);
    assert_eq!(one[0].outcome.reward, Some(1.0));
}
