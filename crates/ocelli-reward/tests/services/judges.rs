//! Judges and their stand-in in a graph, against a chat server on loopback.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use ocelli_core::{ImageSource, Verdict};
use ocelli_reward::RewardGraph;
use tempfile::TempDir;

use crate::episodes::{answer, build, config, error, rewards, scored, started};

/// A chat server that always says `reply`; and the bodies that it was sent.
fn chat_server(reply: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_lowercase();
                let (head, body) = text.split_once("\r\n\r\n")?;
                let length = head.split("content-length: ").nth(1)?;
                let length: usize = length.lines().next()?.trim().parse().ok()?;
                (body.len() >= length).then_some(())
            };
            while whole(&request).is_none() {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&buffer[..read]),
                }
            }
            let request = String::from_utf8(request).unwrap();
            let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            kept.lock().unwrap().push(body.to_owned());
            let reply = serde_json::json!({
                "choices": [{ "message": { "content": reply }, "finish_reason": "stop" }]
            })
            .to_string();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reply}",
                reply.len()
            );
        }
    });
    (url, seen)
}

#[test]
fn grades_stand_beside_the_score_and_gated_rows_are_not_asked() {
    let (url, seen) = chat_server("realism: 8\nlayout: 4");
    let here = TempDir::new().unwrap();
    let reward = format!(
        r#"["tags", {{
            verifier = "judge", url = "{url}", model = "m", prompt = "{{question}} {{answer}} {{gold}}",
            scale = {{ one_to_ten = ["realism", "layout"] }}, cache = "kept", gate = "tags", otherwise = -1
        }}]"#
    );
    let graph = RewardGraph::rooted(&config(&reward), here.path()).unwrap();
    assert!(!here.path().join("kept").exists(), "nothing is started yet");
    graph.start(|_| {}).unwrap();
    let turn = "<think></think><answer>five</answer>";
    let episodes = scored(&graph, &[turn, "no form", turn]);
    for episode in [&episodes[0], &episodes[2]] {
        let verdicts = &episode.outcome.verdicts;
        assert_eq!(verdicts["judge"], Verdict::score(0.6));
        assert_eq!(verdicts["judge.realism"], Verdict::score(8.0));
        assert_eq!(verdicts["judge.layout"], Verdict::score(4.0));
    }
    assert_eq!(rewards(&episodes), [Some(1.6), Some(-1.0), Some(1.6)]);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1, "equal requests are asked once");
    assert!(seen[0].contains("How many? five 4"), "{}", seen[0]);
    assert!(here.path().join("kept").is_dir());
}

#[test]
fn pictures_are_sent_and_those_that_are_no_files_are_errors_of_their_rows() {
    let (url, seen) = chat_server("yes");
    let graph = started(&format!(
        r#"[{{
            verifier = "judge", url = "{url}", model = "m", prompt = "{{image}}{{answer}}", scale = "yes_no",
            pictures = true, answer_in = "text"
        }}]"#
    ));
    let here = TempDir::new().unwrap();
    let (gif, text) = (here.path().join("a.gif"), here.path().join("a.txt"));
    std::fs::write(&gif, b"GIF89a").unwrap();
    std::fs::write(&text, b"hello").unwrap();
    let mut episodes: Vec<_> = [
        ImageSource::Path(gif),
        ImageSource::Generated,
        ImageSource::Path(text),
        ImageSource::Path(here.path().join("b.png")),
    ]
    .into_iter()
    .map(|image| {
        let mut episode = answer("row-1", "a cat");
        Arc::make_mut(&mut episode.task).images = vec![image];
        episode
    })
    .collect();
    graph.score_group(&mut episodes);
    assert_eq!(rewards(&episodes), [Some(1.0), None, None, None]);
    for (episode, message) in episodes[1..].iter().zip([
        "task `row-1`: `judge` cannot judge it, picture 0 is generated and no file",
        "a.txt is neither PNG, JPEG, WebP nor GIF",
        "b.png cannot be read",
    ]) {
        let error = error(episode, "judge");
        assert!(error.contains(message), "{error}");
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert!(
        seen[0].contains("data:image/gif;base64,R0lGODlh"),
        "{}",
        seen[0]
    );
}

#[test]
fn replies_that_cannot_be_read_and_outages_are_no_scores() {
    let (url, _) = chat_server("perhaps");
    let judge = |url: &str| {
        started(&format!(
            r#"[{{ verifier = "judge", url = "{url}", model = "m", prompt = "{{answer}}", scale = "yes_no",
                   attempts = 1, name = "sure", answer_in = "text" }}]"#
        ))
    };
    let episodes = scored(&judge(&url), &["4"]);
    assert_eq!(rewards(&episodes), [None]);
    let message = error(&episodes[0], "sure");
    assert!(
        message.starts_with("`sure`: the judge's reply"),
        "{message}"
    );
    let episodes = scored(&judge("http://127.0.0.1:9/v1"), &["4"]);
    let Verdict::Error(error) = &episodes[0].outcome.verdicts["sure"] else {
        panic!("{episodes:?}");
    };
    assert!(error.retryable, "{error:?}");
}

#[test]
fn the_key_is_asked_for_at_the_start_only() {
    let graph = build(
        r#"[{ verifier = "judge", url = "http://127.0.0.1:9/v1", model = "m", prompt = "{answer}", scale = "yes_no",
              api_key_env = "OCELLI_NOT_SET" }]"#,
    )
    .unwrap();
    let error = graph.start(|_| {}).unwrap_err().to_string();
    assert!(
        error.starts_with("the reward node `judge` cannot start: "),
        "{error}"
    );
    assert!(error.contains("OCELLI_NOT_SET"), "{error}");
}

#[test]
fn the_stand_in_takes_the_judges_keys_and_asks_nobody() {
    let graph = started(
        r#"[{ verifier = "stub_judge", url = "http://127.0.0.1:9/v1", model = "m", prompt = "{answer}", scale = "yes_no" }]"#,
    );
    let episodes = scored(
        &graph,
        &["<answer>it is 4</answer>", "<answer>5</answer>", "4"],
    );
    assert_eq!(rewards(&episodes), [Some(1.0), Some(0.0), Some(0.0)]);
    let verdict = &episodes[2].outcome.verdicts["stub_judge"];
    assert_eq!(*verdict, Verdict::unparsed("no <answer>…</answer> section"));
}
