//! The verifier server over loopback: its routes, its limits, and what a slow or broken verifier does to others.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_core::{Episode, Verdict};
use ocelli_reward::server::{Grader, RunningServer, ServerConfig, VerifierServer};
use ocelli_reward::{NodeConfig, RewardGraph};
use serde_json::{Value, json};

/// Gives 1, and does what the response says: `panic`, or `sleep` for half a second.
struct Moody;

impl Grader for Moody {
    fn node_names(&self) -> Vec<String> {
        vec!["moody".to_owned()]
    }

    fn select(&self, _: &[String]) -> Result<Box<dyn Grader>, String> {
        Ok(Box::new(Moody))
    }

    fn judges_boxes(&self, _: &str) -> bool {
        false
    }

    fn grade(&self, episodes: &mut [Episode]) {
        for episode in episodes {
            match episode.answer_text() {
                "panic" => panic!("out of temper"),
                "sleep" => std::thread::sleep(Duration::from_millis(500)),
                _ => {}
            }
            let verdict = ("moody".to_owned(), Verdict::score(1.0));
            episode.outcome.verdicts = [verdict].into();
            episode.outcome.reward = Some(1.0);
        }
    }
}

fn local() -> ServerConfig {
    ServerConfig::new(([127, 0, 0, 1], 0).into())
}

fn start(config: ServerConfig, grader: impl Grader + 'static) -> RunningServer {
    let server = VerifierServer::bind(config, Arc::new(grader)).unwrap();
    server.spawn().unwrap()
}

fn graph() -> RewardGraph {
    RewardGraph::new(&[
        NodeConfig::new("exact"),
        NodeConfig {
            weight: Some(0.5.into()),
            ..NodeConfig::new("tags")
        },
        NodeConfig {
            name: Some("detection".to_owned()),
            ..NodeConfig::new("box_iou")
        },
    ])
    .unwrap()
}

/// Status, head and body of the answer to one request on a connection of its own.
fn send(server: &RunningServer, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn get(server: &RunningServer, path: &str, headers: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    let (status, _, body) = send(server, &request);
    (status, body)
}

fn post_with(
    server: &RunningServer,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String, Value) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let (status, head, body) = send(server, &request);
    (status, head, serde_json::from_str(&body).unwrap())
}

fn post(server: &RunningServer, path: &str, body: &Value) -> (u16, Value) {
    let (status, _, body) = post_with(server, path, "", &body.to_string());
    (status, body)
}

fn responses(texts: &[&str]) -> Value {
    let items: Vec<Value> = texts.iter().map(|text| json!({"response": text})).collect();
    json!({ "items": items })
}

/// The value of one line of `/metrics`.
fn metric(server: &RunningServer, line: &str) -> f64 {
    let (_, page) = get(server, "/metrics", "");
    let found = page.lines().find_map(|l| l.strip_prefix(line));
    found
        .unwrap_or_else(|| panic!("{line} in\n{page}"))
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn a_batch_is_scored_in_order() {
    let server = start(local(), graph());
    let turn = "<think>a</think><answer>7</answer>";
    let (status, reply) = post(
        &server,
        "/v1/score",
        &json!({"nodes": ["exact", "tags"], "items": [
            {"response": turn, "answer": "7"},
            {"response": turn, "answer": "8", "group": "g"},
            {"response": "7", "answer": "7"},
            {"response": turn, "group": "g"},
        ]}),
    );
    assert_eq!(status, 200, "{reply}");
    let rewards: Vec<&Value> = reply["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|outcome| &outcome["reward"])
        .collect();
    assert_eq!(
        rewards,
        [&json!(1.5), &json!(0.5), &json!(0.0), &Value::Null]
    );
    let verdicts = |item: usize| &reply["outcomes"][item]["verdicts"];
    assert_eq!(verdicts(0)["tags"], json!({"score": {"value": 1.0}}));
    assert_eq!(
        verdicts(2)["exact"]["score"]["parse_failure"],
        "no <answer>…</answer> section"
    );
    assert_eq!(verdicts(3)["exact"]["error"]["kind"], "verifier");
    assert_eq!(verdicts(3)["exact"]["error"]["retryable"], false);
    assert!(verdicts(0).get("detection").is_none());
    assert_eq!(
        metric(&server, "ocelli_verifier_responses_judged_total"),
        4.0
    );
    assert_eq!(
        metric(&server, r#"ocelli_verifier_errors_total{kind="verifier"}"#),
        1.0
    );
}

#[test]
fn the_judge_speaks_v_triunes_protocol() {
    let server = start(local(), graph());
    assert_eq!(
        get(&server, "/", ""),
        (200, r#"{"message":"Reward Judge Server"}"#.to_owned())
    );
    let mut request = json!({
        "response": "<think>\na\n</think>\n<answer>\n[0, 0, 10, 5]\n</answer>",
        "prompt": "Where is the truck?",
        "answer": "[0, 0, 10, 10]",
        "solution": "<answer> [0, 0, 10, 10] </answer>",
        "data_source": "coco2017",
        "reward_verifier": "detection",
        "reward_verifier_parm": "{\"is_training\": true, \"step\": 50, \"total_steps\": 100}",
        "format_ratio": 1.0,
    });
    let (status, reply) = post(&server, "/judge", &request);
    let expected = json!({"rewards": {
        "accuracy_reward": 0.5, "final_reward": 0.75, "format_reward": 1.0, "reflection_reward": 0.0}});
    assert_eq!((status, reply), (200, expected));

    for (key, value, status, kind) in [
        ("reward_verifier", json!("detektion"), 404, "not_found"),
        ("reward_verifier_parm", json!("{"), 422, "bad_request"),
        ("accuracy_ratio", json!(-1), 422, "bad_request"),
        // The row's answer is no box, so nobody can say how right the response is.
        ("answer", json!("a truck"), 422, "verifier"),
        ("response", json!(7), 422, "bad_request"),
    ] {
        let good = request[key].clone();
        request[key] = value;
        let (found, reply) = post(&server, "/judge", &request);
        assert_eq!(found, status, "{reply}");
        assert_eq!(reply["error"]["kind"], kind, "{reply}");
        request[key] = good;
    }
}

#[test]
fn a_panic_is_an_error_of_its_response_alone() {
    let server = start(local(), Moody);
    let (status, reply) = post(&server, "/v1/score", &responses(&["a", "panic", "b"]));
    assert_eq!(status, 200);
    assert_eq!(reply["outcomes"][0]["reward"], 1.0);
    assert_eq!(reply["outcomes"][1]["reward"], Value::Null);
    assert_eq!(
        reply["outcomes"][1]["error"],
        json!({"kind": "panic", "message": "a verifier panicked: out of temper", "retryable": false})
    );
    assert_eq!(reply["outcomes"][2]["reward"], 1.0);
    assert_eq!(
        metric(&server, r#"ocelli_verifier_errors_total{kind="panic"}"#),
        1.0
    );
}

#[test]
fn a_slow_response_stalls_nobody_and_times_out_alone() {
    let config = ServerConfig {
        time_limit: Duration::from_millis(250),
        ..local()
    };
    let server = start(config, Moody);
    let batch = responses(&["sleep", "a", "sleep", "b"]);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let begun = Instant::now();
            (post(&server, "/v1/score", &batch), begun.elapsed())
        });
        std::thread::sleep(Duration::from_millis(50));
        let begun = Instant::now();
        let (status, reply) = post(&server, "/v1/score", &responses(&["c"]));
        assert_eq!(
            (status, &reply["outcomes"][0]["reward"]),
            (200, &json!(1.0))
        );
        assert!(begun.elapsed() < Duration::from_millis(150));

        let ((status, reply), took) = slow.join().unwrap();
        assert_eq!(status, 200);
        for (item, timed_out) in [true, false, true, false].into_iter().enumerate() {
            let outcome = &reply["outcomes"][item];
            if timed_out {
                assert_eq!(outcome["error"]["kind"], "timeout", "{reply}");
                assert_eq!(outcome["error"]["retryable"], true);
            } else {
                assert_eq!(outcome["reward"], 1.0, "{reply}");
            }
        }
        assert!(took < Duration::from_millis(450), "{took:?}");
    });
}

#[test]
fn what_has_begun_is_answered_before_the_server_ends() {
    let server = start(local(), Moody);
    let address = server.address();
    let mut stream = TcpStream::connect(address).unwrap();
    let body = responses(&["sleep"]).to_string();
    write!(
        stream,
        "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    // An idle connection must not hold the end up.
    let _idle = TcpStream::connect(address).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn the_token_is_asked_for() {
    let config = ServerConfig {
        token: Some("0123456789abcdef".to_owned()),
        ..local()
    };
    let server = start(config, Moody);
    let body = responses(&["a"]).to_string();
    for (header, status) in [
        ("", 401),
        ("Authorization: Bearer 0123456789abcdeX\r\n", 401),
        ("Authorization: Bearer 0123456789abcdef0\r\n", 401),
        ("Authorization: 0123456789abcdef\r\n", 401),
        ("Authorization: Bearer 0123456789abcdef\r\n", 200),
    ] {
        let (found, head, reply) = post_with(&server, "/v1/score", header, &body);
        assert_eq!(found, status, "{header}");
        if status == 401 {
            assert!(head.contains("www-authenticate: bearer"));
            assert_eq!(reply["error"]["kind"], "unauthorized");
        }
    }
    assert_eq!(get(&server, "/health", "").0, 200);
    assert_eq!(get(&server, "/", "").0, 200);
    assert_eq!(get(&server, "/metrics", "").0, 401);
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let config = ServerConfig {
        max_body: 1000,
        time_limit: Duration::from_millis(300),
        ..local()
    };
    let server = start(config, graph());
    let long = format!(
        "{{\"items\": [{{\"response\": \"{}\"}}]}}",
        "a".repeat(1000)
    );
    for (path, body, status, message) in [
        ("/v1/score", "{", 400, "the body: "),
        (
            "/v1/score",
            r#"{"items": [{"respones": "a"}]}"#,
            400,
            "respones",
        ),
        (
            "/v1/score",
            r#"{"items": [{}]}"#,
            400,
            "item 0: give a `response`",
        ),
        (
            "/v1/score",
            r#"{"items": [], "nodes": ["exat"]}"#,
            404,
            "did you mean `exact`?",
        ),
        ("/v1/score", &"[".repeat(900), 400, "the body: "),
        ("/v1/score", &long, 413, "above 1000 bytes"),
        ("/v1/scores", "{}", 404, "there are: GET /"),
    ] {
        let (found, _, reply) = post_with(&server, path, "", body);
        assert_eq!(found, status, "{reply}");
        let error = reply["error"]["message"].as_str().unwrap();
        assert!(error.contains(message), "{error}");
        assert_eq!(reply["error"]["retryable"], false);
    }
    assert_eq!(get(&server, "/judge", "").0, 405);
    let (status, _, reply) = send(
        &server,
        "POST /v1/score HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 50\r\n\r\n{",
    );
    assert_eq!(status, 408, "{reply}");
    // A body without a length cannot get around the limit.
    let chunk = format!("3E8\r\n{}\r\n", "a".repeat(1000));
    let (status, _, reply) = send(
        &server,
        &format!(
            "POST /v1/score HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
        ),
    );
    assert_eq!(status, 413, "{reply}");
}

#[test]
fn a_full_server_says_when_to_come_back() {
    let config = ServerConfig {
        max_pending_requests: 1,
        max_pending_bytes: 100,
        ..local()
    };
    let server = start(config, Moody);
    let (status, head, reply) = post_with(&server, "/v1/score", "", &" ".repeat(101));
    assert_eq!(status, 503, "{reply}");
    assert!(head.contains("retry-after: 1"), "{head}");
    std::thread::scope(|scope| {
        scope.spawn(|| post(&server, "/v1/score", &responses(&["sleep"])));
        std::thread::sleep(Duration::from_millis(150));
        let (status, reply) = post(&server, "/v1/score", &responses(&["a"]));
        assert_eq!(status, 503);
        assert_eq!(reply["error"]["kind"], "busy");
        assert_eq!(reply["error"]["retryable"], true);
        assert_eq!(get(&server, "/health", "").0, 200);
    });
    assert_eq!(post(&server, "/v1/score", &responses(&["a"])).0, 200);
}
