//! A policy can write anything, so every payload reader and every grammar must stay linear and bounded: ten megabytes in
//! seconds, where a quadratic reader would take hours. The bounds are loose for slow machines, and where the system
//! tells it, time is that of the processor, because a busy machine can stop a test for longer than any bound.

use std::time::{Duration, Instant};

use ocelli_reward::{Fault, Grammar, PayloadKind, Preset};

/// Bytes of the texts that every reader gets: a quadratic reader would take minutes for each.
const BYTES: usize = 300_000;
const LIMIT: Duration = Duration::from_secs(2);

/// Processor time of this thread, where Linux tells it.
fn processor_time() -> Option<Duration> {
    let written = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = written.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

fn timed<T>(what: &str, unit: &str, limit: Duration, read: impl FnOnce() -> T) -> T {
    let (start, busy) = (Instant::now(), processor_time());
    let found = read();
    let took = match (busy, processor_time()) {
        (Some(before), Some(after)) => after - before,
        _ => start.elapsed(),
    };
    assert!(took < limit, "{what} of {unit:?}… took {took:?}");
    found
}

/// Units that each reader could stumble on when they come again and again.
const UNITS: [&str; 26] = [
    "[",
    "(",
    "{\"a\":",
    "{'",
    "'",
    "\"",
    "[1,",
    "[1 2] ",
    "[[1,2,3,4],",
    "(1,2),",
    "(1,2),(",
    "{\"bbox_2d\":[1,2,3,",
    "1-",
    "1 to ",
    "1:",
    "00:",
    "answer",
    "answer is ",
    "\\boxed{",
    "**",
    "A) ",
    "<ref>",
    "<point x=\"1",
    "Route Name:",
    "```\n",
    "--",
];

#[test]
fn payloads_are_read_in_linear_time() {
    for unit in UNITS {
        let text = unit.repeat(BYTES / unit.len());
        for kind in PayloadKind::ALL {
            let _ = timed(&format!("{kind:?}"), unit, LIMIT, || {
                kind.parse(&text).is_ok()
            });
        }
    }
}

/// Ten megabytes for each reader, of what it looks for.
#[test]
fn long_answers_are_refused_or_read_in_time() {
    for (kind, unit, good) in [
        (PayloadKind::Letter, "A or ", false),
        (PayloadKind::YesNo, "yes yes ", true),
        (PayloadKind::LabelSet, "cat, ", true),
        (PayloadKind::Integers, "1 ", false),
        (PayloadKind::Boxes, "(1,2),(3,4) ", false),
        (PayloadKind::Boxes, "[[1,2,3,4],", false),
        (PayloadKind::Points, "(1,2) ", false),
        (PayloadKind::Points, "<point x=\"1\" y=\"2\">", false),
        (PayloadKind::PointDepths, "<depth>[1,", false),
        (PayloadKind::Intervals, "1-2, ", false),
        (PayloadKind::FrameBoxes, "{\"1\": [1,2,3,4],", true),
        (
            PayloadKind::Route,
            "Route Name: 1\nDeparture Stop: A\nArrival Stop: B\n--",
            false,
        ),
        (PayloadKind::Code, "```\n", true),
        (PayloadKind::MetaAction, "KEEP STRAIGHT ", true),
        (PayloadKind::Formula, "x + ", true),
    ] {
        let text = unit.repeat(10_000_000 / unit.len() / 2 * 2);
        let limit = Duration::from_secs(10);
        let read = timed(&format!("{kind:?}"), unit, limit, || kind.parse(&text));
        assert_eq!(read.is_ok(), good, "{kind:?} of {unit:?}");
    }
}

#[test]
fn sections_are_found_in_linear_time() {
    for preset in Preset::ALL {
        let grammar = Grammar::preset(preset);
        for unit in [
            "<think>",
            "</think>",
            "<think></think><answer>",
            "<answer></answer>",
            "<",
            " ",
            "\n",
            "\\boxed{",
            "Answer: ",
            "Answer",
            "### Step 1:\n",
            "[1, 2, 3,",
            "<think></think> ",
            "</think>\u{1c}",
        ] {
            let text = format!("<think>{}", unit.repeat(BYTES / unit.len()));
            let _ = timed(preset.name(), unit, LIMIT, || {
                grammar.read(&text).form().is_ok()
            });
        }
    }
    let text = "</think> <answer>".repeat(600_000);
    let grammar = Grammar::preset(Preset::OneThinker);
    let form = timed(
        "ten megabytes",
        "</think> <answer>",
        Duration::from_secs(10),
        || grammar.read(&text).form(),
    );
    assert_eq!(form.map_err(|failure| failure.fault), Err(Fault::Missing));
}
