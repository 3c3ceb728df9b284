//! A policy can write anything, so every reader must stay linear: ten megabytes in seconds, where a quadratic reader
//! would take hours. The bound is loose for slow and busy machines.

use std::time::{Duration, Instant};

use ocelli_reward::{parse_box, parse_number, parse_text, sections, tag_credit};

const BYTES: usize = 10_000_000;
const LIMIT: Duration = Duration::from_secs(10);

fn long(unit: &str) -> String {
    unit.repeat(BYTES / unit.len())
}

fn timed<'a, T>(what: &str, text: &'a str, read: impl Fn(&'a str) -> T) -> T {
    let start = Instant::now();
    let found = read(text);
    let took = start.elapsed();
    let head: String = text.chars().take(12).collect();
    assert!(took < LIMIT, "{what} of {head}… took {took:?}");
    found
}

#[test]
fn tags_are_found_in_linear_time() {
    let mut texts = [
        "<think>",
        "</think>",
        "<think></think><answer>",
        "<answer></answer>",
        "<",
        "<answer",
        " ",
    ]
    .map(long)
    .to_vec();
    texts.push(format!("<think>{}", long("<answer>")));
    for text in &texts {
        assert!(!timed("sections", text, sections).well_formed);
        assert!(timed("tag_credit", text, tag_credit) <= 0.25);
    }
}

#[test]
fn boxes_and_numbers_are_read_in_linear_time() {
    let mut texts = [
        "7",
        "-",
        " ",
        "[",
        "(",
        "[1, 2, 3, 4",
        "[1, 2, 3, ",
        "(1,2),",
        "(1,2),(",
        "1,",
        "1,234,",
        "1e",
        ".1",
        "\u{2212}",
        "\u{3000}",
    ]
    .map(long)
    .to_vec();
    texts.push(format!("[{}", long("7")));
    texts.push(format!("[1,{}", long(" ")));
    texts.push(format!("(1,2){}(", long(" ")));
    texts.push(format!("1{}", long(",234")));
    for text in &texts {
        // Of these only "(1,2),(1,2),…" holds a box.
        let found = timed("parse_box", text, parse_box);
        assert_eq!(found.is_ok(), text.starts_with("(1,2),(1"), "{found:?}");
        assert!(timed("parse_number", text, parse_number).is_err());
    }
}

#[test]
fn text_is_folded_in_linear_time() {
    for unit in ["a", "a ", "ß", "\u{3000}"] {
        let text = long(unit);
        let folded = timed("parse_text", &text, parse_text);
        assert_eq!(folded.is_ok(), unit != "\u{3000}");
    }
}
