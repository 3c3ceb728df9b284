//! The judge against a scripted chat server on loopback: what is asked again, what is not, and what is paid for once.
#![cfg(feature = "judge")]
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ocelli_reward::scorer::{
    JudgeConfig, JudgeScorer, Reading, Scale, ScoreRequest, Scorer, ScorerError,
};
use serde_json::json;

/// What the fake judge does with one request.
#[derive(Clone)]
enum Act {
    Say(&'static str),
    /// A completion that was cut by its length.
    Cut(&'static str),
    /// These bytes, and the connection is closed.
    Raw(String),
    /// Nothing for so long.
    Hang(Duration),
}

/// A chat server that follows a script; the last act is repeated.
struct FakeJudge {
    url: String,
    /// Heads and bodies of the requests.
    seen: Arc<Mutex<Vec<String>>>,
    most_at_once: Arc<AtomicUsize>,
}

impl FakeJudge {
    fn new(script: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(VecDeque::from(script.to_vec())));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let most_at_once = Arc::new(AtomicUsize::new(0));
        let (kept, most) = (seen.clone(), most_at_once.clone());
        // Ends with the test's process.
        std::thread::spawn(move || {
            let now = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming() {
                let (script, kept, most) = (script.clone(), kept.clone(), most.clone());
                let now = now.clone();
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let Some(request) = read_request(&mut stream) else {
                        return;
                    };
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    kept.lock().unwrap().push(request);
                    let act = {
                        let mut script = script.lock().unwrap();
                        let act = script[0].clone();
                        if script.len() > 1 {
                            script.pop_front();
                        }
                        act
                    };
                    // Long enough for requests to meet. A request is over before its answer is out: the client may send
                    // the next one at once.
                    std::thread::sleep(Duration::from_millis(20));
                    now.fetch_sub(1, Ordering::SeqCst);
                    play(&mut stream, act);
                });
            }
        });
        Self {
            url,
            seen,
            most_at_once,
        }
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                return Some(text);
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn play(stream: &mut TcpStream, act: Act) {
    let completion = |text: &str, finish: &str| {
        let choice =
            json!({"message": {"role": "assistant", "content": text}, "finish_reason": finish});
        status("200 OK", "", &json!({"choices": [choice]}).to_string())
    };
    let reply = match act {
        // Long enough for requests to meet.
        Act::Say(text) => {
            std::thread::sleep(Duration::from_millis(10));
            completion(text, "stop")
        }
        Act::Cut(text) => completion(text, "length"),
        Act::Raw(reply) => reply,
        Act::Hang(time) => {
            std::thread::sleep(time);
            return;
        }
    };
    // The client may have gone.
    let _ = stream.write_all(reply.as_bytes());
}

fn status(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn failing(line: &str, headers: &str) -> Act {
    Act::Raw(status(line, headers, r#"{"error": "overloaded"}"#))
}

fn config(judge: &FakeJudge) -> JudgeConfig {
    JudgeConfig {
        url: judge.url.clone(),
        model: "judge".to_owned(),
        api_key_env: None,
        system: None,
        prompt: "{question} {answer} {gold}".to_owned(),
        scale: Scale::YesNo,
        read: Reading::Whole,
        max_tokens: 16,
        concurrency: 4,
        attempts: 3,
        time_limit_seconds: 5.0,
        first_wait_seconds: 0.02,
        cache: None,
    }
}

fn request(answer: &str) -> ScoreRequest {
    ScoreRequest {
        question: "2 + 2?".to_owned(),
        answer: answer.to_owned(),
        gold: Some("4".to_owned()),
        images: Vec::new(),
    }
}

fn ask(config: &JudgeConfig, answer: &str) -> Result<f64, ScorerError> {
    let judge = JudgeScorer::new(config).unwrap();
    let mut results = judge.score(&[request(answer)]);
    assert_eq!(results.len(), 1);
    results.remove(0).map(|score| score.value)
}

#[test]
fn a_judgement_is_asked_for_and_read() {
    let judge = FakeJudge::new(&[Act::Say("Yes.")]);
    assert_eq!(ask(&config(&judge), "four"), Ok(1.0));
    let seen = judge.seen.lock().unwrap();
    assert!(seen[0].starts_with("POST /v1/chat/completions HTTP/1.1"));
    assert!(
        seen[0].contains(r#""content":"2 + 2? four 4""#),
        "{}",
        seen[0]
    );
    assert!(seen[0].contains(r#""temperature":0"#));
    assert!(!seen[0].to_lowercase().contains("authorization"));
}

#[test]
fn the_key_is_sent_and_never_told() {
    // Cargo sets this variable for every test; its value plays the key.
    let variable = "CARGO_PKG_NAME";
    let key = std::env::var(variable).unwrap();
    let echo = status("401 Unauthorized", "", &format!("wrong key {key}"));
    let judge = FakeJudge::new(&[Act::Raw(echo)]);
    let config = JudgeConfig {
        api_key_env: Some(variable.to_owned()),
        ..config(&judge)
    };
    let error = ask(&config, "4").unwrap_err();
    assert!(matches!(error, ScorerError::Refused { .. }));
    assert!(error.to_string().contains("wrong key …"), "{error}");
    assert!(!error.is_retryable());
    assert_eq!(judge.requests(), 1);
    let seen = judge.seen.lock().unwrap()[0].to_lowercase();
    assert!(
        seen.contains(&format!("authorization: bearer {key}")),
        "{seen}"
    );
}

#[test]
fn an_unreadable_judgement_is_an_error_and_not_asked_again() {
    for (act, reason) in [
        (Act::Say("Maybe."), "it is not yes or no alone"),
        (Act::Cut("yes"), "it was cut at max_tokens = 16"),
    ] {
        let judge = FakeJudge::new(&[act]);
        let error = ask(&config(&judge), "4").unwrap_err();
        assert!(
            matches!(&error, ScorerError::Unreadable { reason: found, .. } if found == reason),
            "{error}"
        );
        assert!(!error.is_retryable());
        assert_eq!(judge.requests(), 1);
    }
}

#[test]
fn failures_that_may_pass_are_asked_again() {
    let promised =
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 500\r\n\r\n{\"choices\"";
    for failure in [
        failing("500 Internal Server Error", ""),
        failing("503 Service Unavailable", ""),
        failing("429 Too Many Requests", ""),
        failing("408 Request Timeout", ""),
        Act::Raw(promised.to_owned()),
        Act::Raw(String::new()),
        Act::Raw("garbage\r\n\r\n".to_owned()),
        Act::Raw(status("200 OK", "", "<html>")),
        Act::Raw(status("200 OK", "", r#"{"choices": []}"#)),
        Act::Hang(Duration::from_secs(1)),
    ] {
        let judge = FakeJudge::new(&[failure.clone(), failure.clone(), Act::Say("no")]);
        let config = JudgeConfig {
            time_limit_seconds: 0.3,
            ..config(&judge)
        };
        assert_eq!(ask(&config, "4"), Ok(0.0));
        assert_eq!(judge.requests(), 3);

        let config = JudgeConfig {
            attempts: 2,
            url: FakeJudge::new(&[failure]).url,
            ..config
        };
        let error = ask(&config, "4").unwrap_err();
        assert!(
            matches!(error, ScorerError::Outage { attempts: 2, .. }),
            "{error}"
        );
        assert!(error.is_retryable());
    }
}

#[test]
fn other_refusals_are_final() {
    for line in ["400 Bad Request", "404 Not Found", "307 Temporary Redirect"] {
        let judge = FakeJudge::new(&[failing(line, "Location: /elsewhere\r\n")]);
        let error = ask(&config(&judge), "4").unwrap_err();
        assert!(
            matches!(&error, ScorerError::Refused { message } if message.contains(&line[..3])),
            "{error}"
        );
        assert_eq!(judge.requests(), 1);
    }
}

#[test]
fn the_server_may_say_how_long_to_wait() {
    let busy = failing("429 Too Many Requests", "Retry-After: 1\r\n");
    let judge = FakeJudge::new(&[busy, Act::Say("yes")]);
    let begun = Instant::now();
    assert_eq!(ask(&config(&judge), "4"), Ok(1.0));
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(3),
        "{took:?}"
    );
}

#[test]
fn a_server_that_is_not_there_is_an_outage() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let judge = FakeJudge::new(&[Act::Say("yes")]);
    let config = JudgeConfig {
        url: format!("http://{port}/v1"),
        ..config(&judge)
    };
    let error = ask(&config, "4").unwrap_err();
    assert!(
        matches!(error, ScorerError::Outage { attempts: 3, .. }),
        "{error}"
    );
}

#[test]
fn a_kept_reply_needs_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let judge = FakeJudge::new(&[Act::Say("hm"), Act::Say("yes"), Act::Say("no")]);
    let config = JudgeConfig {
        cache: Some(folder.path().join("replies")),
        ..config(&judge)
    };
    // A reply that cannot be read is not kept.
    assert!(ask(&config, "4").is_err());
    assert_eq!(ask(&config, "4"), Ok(1.0));
    let again = JudgeScorer::new(&config).unwrap();
    let score = again.score(&[request("4")]).remove(0).unwrap();
    assert_eq!((score.value, score.cached), (1.0, true));
    assert_eq!(judge.requests(), 2);
    // Any other request is another one.
    assert_eq!(ask(&config, "5"), Ok(0.0));
    let other = JudgeConfig {
        model: "other".to_owned(),
        ..config
    };
    assert_eq!(ask(&other, "4"), Ok(0.0));
    assert_eq!(judge.requests(), 4);
}

#[test]
fn a_batch_keeps_its_order_and_its_limit() {
    let judge = FakeJudge::new(&[Act::Say("yes")]);
    let config = JudgeConfig {
        concurrency: 3,
        ..config(&judge)
    };
    let scorer = JudgeScorer::new(&config).unwrap();
    let mut requests: Vec<ScoreRequest> = (0..12).map(|i| request(&i.to_string())).collect();
    requests.push(request("0"));
    requests[5].gold = None;
    let results = scorer.score(&requests);
    assert_eq!(results.len(), 13);
    for (position, result) in results.iter().enumerate() {
        match result {
            Ok(score) => {
                assert_eq!((score.value, score.cached), (1.0, position == 12));
                assert_ne!(position, 5);
            }
            Err(error) => {
                assert!(matches!(
                    error,
                    ScorerError::Missing {
                        placeholder: "gold",
                        ..
                    }
                ));
                assert_eq!(position, 5);
            }
        }
    }
    // Eleven that differ: one has no right answer, one is the first again.
    assert_eq!(judge.requests(), 11);
    let most = judge.most_at_once.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most}");
    assert!(scorer.score(&[]).is_empty());
}
