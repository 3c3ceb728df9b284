//! Runs every reader and every grammar over mutated answers and prints the slowest call of each.
//!
//! `cargo run --release -p ocelli-reward --example parser_mutations [count]`, a million inputs by default. It fails when
//! a call takes 10 ms or more; such a call is timed again four times and the best time counts, because a busy machine
//! stops a program for longer than that.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ocelli_reward::{Grammar, PayloadKind, Preset};

const LIMIT: Duration = Duration::from_millis(10);

/// Most characters of an input: a long answer of the systems we follow.
const MAX_CHARACTERS: usize = 4000;

const SEEDS: [&str; 21] = [
    "<think>t</think><look>[[1, 2, 3, 4]]</look><answer>[]</answer>",
    "<thinking>t</thinking><answer>None</answer>",
    "<think>t</think><output>{\"x\": 0.5, \"y\": 0.25, \"width\": 0.5, \"height\": 0.5}</output>",
    "<think>\nt\n</think>\n\n<answer>\n12.5%\n</answer>",
    "30 percent",
    "<think>t</think><answer>B</answer>",
    "<info>i</info> <think>t</think>\n<answer>(B) a cat.</answer>",
    "### Image Description:\na\n### Rationales:\n### Step 1: b\n### The final answer is: 7",
    "The answer is \\boxed{\\frac{1}{2}} cm, 12,345.6e3%",
    "Answer: yes or no\n",
    "[2, 1, 3, 4] -> 5",
    "```json\n[{\"bbox_2d\": [1, 2.5, 3, 4], 'label': 'the dog's tail'},]\n```",
    "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>",
    "<ref>cat</ref><box>[[1, 2, 3, 4]]</box>",
    "<point>[[1, 2], [3, 4]]</point><depth>[500, 600]</depth>",
    "<points x1=\"1\" y1=\"2\" x2=\"3\" y2=\"4\" alt=\"cats\">cats</points>",
    "from 00:12.5 to 1:00:15 and 3s \u{2013} 4 s",
    "{\"time\": [0.5, 2], \"boxes\": {\"1\": [1, 2, 3, 4], \"12\": [5, 6, 7, 8]}}",
    "{\"boxes\": [1,2,3,4], \"positive_points\": [[1, 2]], \"negative_points\": [[9, 9]], \"time\": 1}",
    "Route Name: Line 1\nDeparture Stop: A\nArrival Stop: B\n--\nRoute Name: 2\nDeparture Stop: B\nArrival Stop: C",
    "[{\"new_object_id\": \"bed_1\", \"x\": 1, \"y\": 2.5, \"z\": 0}]\n```python\nx = 1\n```\nKEEP, LEFT_TURN",
];

const PIECES: [&str; 40] = [
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "<",
    ">",
    "\"",
    "'",
    ",",
    ":",
    ";",
    ".",
    "-",
    "+",
    "e",
    "0",
    "9",
    "1e999",
    "NaN",
    " ",
    "\n",
    "\t",
    "\\",
    "`",
    "```",
    "**",
    "$",
    "/",
    "--",
    "\u{2212}",
    "é",
    "\u{1f600}",
    "\u{0}",
    "None",
    "</answer>",
    "<think>",
    "answer",
    "\\boxed{",
];

/// SplitMix64: the example needs numbers that are the same on every machine, not good ones.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn input(&mut self) -> String {
        let mut text: Vec<char> = Vec::new();
        for _ in 0..=self.below(2) {
            text.extend(SEEDS[self.below(SEEDS.len())].chars());
        }
        for _ in 0..self.below(8) {
            let at = self.below(text.len() + 1);
            let end = (at + self.below(6)).min(text.len());
            let piece = PIECES[self.below(PIECES.len())];
            // Now and then one piece many times over: that is what quadratic readers stumble on.
            let times = if self.below(50) == 0 {
                self.below(1000)
            } else {
                1
            };
            text.splice(at..end, piece.repeat(times).chars());
        }
        if self.below(100) == 0 {
            text = text.repeat(MAX_CHARACTERS / text.len().max(1) + 1);
        }
        text.truncate(MAX_CHARACTERS);
        text.into_iter().collect()
    }
}

enum Reader {
    Payload(PayloadKind),
    Grammar(Preset, Grammar),
}

impl Reader {
    fn name(&self) -> String {
        match self {
            Self::Payload(kind) => format!("{kind:?}"),
            Self::Grammar(preset, _) => format!("grammar {}", preset.name()),
        }
    }

    /// Reads `text`; whether it could be read, and how long it took.
    fn read(&self, text: &str) -> (bool, Duration) {
        let start = Instant::now();
        let good = match self {
            Self::Payload(kind) => kind.parse(text).is_ok(),
            Self::Grammar(_, grammar) => grammar.read(text).form().is_ok(),
        };
        (good, start.elapsed())
    }
}

struct Tally {
    reader: Reader,
    good: usize,
    total: Duration,
    slowest: Duration,
    input: String,
}

fn main() -> ExitCode {
    let count = match std::env::args().nth(1).map(|count| count.parse::<usize>()) {
        None => 1_000_000,
        Some(Ok(count)) if count > 0 => count,
        Some(_) => {
            eprintln!("usage: parser_mutations [count]");
            return ExitCode::from(2);
        }
    };
    let payloads = PayloadKind::ALL.map(Reader::Payload);
    let grammars = Preset::ALL.map(|preset| Reader::Grammar(preset, Grammar::preset(preset)));
    let mut tallies: Vec<Tally> = payloads
        .into_iter()
        .chain(grammars)
        .map(|reader| Tally {
            reader,
            good: 0,
            total: Duration::ZERO,
            slowest: Duration::ZERO,
            input: String::new(),
        })
        .collect();
    let mut random = Random(1);
    for _ in 0..count {
        let text = random.input();
        for tally in &mut tallies {
            let (good, mut took) = tally.reader.read(&text);
            tally.good += usize::from(good);
            tally.total += took;
            if took > tally.slowest {
                for _ in 0..4 {
                    took = took.min(tally.reader.read(&text).1);
                }
                if took > tally.slowest {
                    tally.slowest = took;
                    tally.input.clone_from(&text);
                }
            }
        }
    }
    tallies.sort_by_key(|tally| std::cmp::Reverse(tally.slowest));
    println!("{count} inputs of at most {MAX_CHARACTERS} characters");
    println!(
        "{:26} {:>9} {:>12} {:>12}  slowest input",
        "reader", "read", "mean", "slowest"
    );
    for tally in &tallies {
        let head: String = tally.input.chars().take(40).collect();
        println!(
            "{:26} {:>9} {:>9.2} us {:>9.1} us  {head:?}",
            tally.reader.name(),
            tally.good,
            tally.total.as_secs_f64() * 1e6 / count as f64,
            tally.slowest.as_secs_f64() * 1e6,
        );
    }
    if tallies[0].slowest < LIMIT {
        ExitCode::SUCCESS
    } else {
        eprintln!(
            "the slowest call took {:?}, the limit is {LIMIT:?}",
            tallies[0].slowest
        );
        ExitCode::FAILURE
    }
}
