//! The mathematics verifier on hostile answers: a verdict or a typed failure, in bounded time, without a panic.

use std::time::{Duration, Instant};

use ocelli_reward::math::{Options, score};

/// Far above what any input takes on a busy machine, far below what an unbounded one would.
const LONG: Duration = Duration::from_secs(30);

fn judge(gold: &str, answer: &str) {
    let start = Instant::now();
    let _ = score(answer, gold, &Options::default());
    let _ = score(gold, answer, &Options::default());
    let took = start.elapsed();
    let shown: String = answer.chars().take(40).collect();
    assert!(took < LONG, "{shown}… took {took:?}");
}

#[test]
fn hostile_answers_end() {
    let n = 4_000;
    let answers = [
        r"\boxed{9^{9^{9^9}}}".to_owned(),
        r"\boxed{2^{2^{2^{2^{2^2}}}}}".to_owned(),
        r"$((((2^{4096})^{4096})^{4096})^{4096})^{4096}^{4096}$".to_owned(),
        r"$1000000000!$".to_owned(),
        format!("${}$", "900!+".repeat(700) + "1"),
        format!("$5{}$", "!".repeat(n)),
        format!("${}x{}$", "(".repeat(n), ")".repeat(n)),
        format!("${}x{}$", "f(".repeat(35), "+1)".repeat(35)),
        format!("${}x{}$", "{".repeat(n), "}".repeat(n)),
        format!(r"${}$", r"\frac{1}{".repeat(n) + "2" + &"}".repeat(n)),
        format!(r"${}$", r"\frac".repeat(n)),
        format!(r"${}$", r"\sqrt{2+".repeat(30) + "1" + &"}".repeat(30)),
        format!("$(x+y+z+w+1)^{{200}}{}$", "(a+b+c)^{99}".repeat(50)),
        format!("${}$", "1".to_owned() + &"/3".repeat(1_900)),
        format!("${}$", "-".repeat(n) + "5"),
        format!("${}$", "9".repeat(3_000)),
        format!(
            "$\\frac{{{}}}{{{}}}\\sqrt{{2}}$",
            "7".repeat(1_900),
            "3".repeat(1_900)
        ),
        format!("${}$", "1,".repeat(1_900) + "1"),
        format!("${}$", "\\sqrt2+x,".repeat(300) + "1"),
        format!("${}$", "[1,2]\\cup".repeat(300) + "[1,2]"),
        format!("${}$", r"\{".repeat(n)),
        format!("${}$", "|".repeat(n)),
        format!("${}$", r"\sin ".repeat(n) + "x"),
        r"\boxed{".repeat(n),
        r"\boxed{1}".repeat(n),
        r"\(".repeat(n * 4),
        "$".repeat(n * 4),
        "answer ".repeat(n * 2),
        "final answer is ".repeat(n),
        "1+".repeat(n * 4),
        "1 ".repeat(n * 4),
        "7".repeat(10 << 20),
        format!("{}{}", "é".repeat(5 << 20), r"\boxed{5}"),
    ];
    for answer in &answers {
        judge("$5$", answer);
        judge(r"$\sqrt{2}+x^2$", answer);
        judge(answer, answer);
    }
}

/// Answers in the notations of the golden pairs, for mutation.
const SEEDS: &[&str] = &[
    r"$\frac{1+\sqrt{5}}{2}$",
    r"\boxed{(-\infty,3]\cup[5,\infty)}",
    r"The final answer is $x^2+2x+1=0$. I hope it is correct.",
    r"$\begin{pmatrix}1&2\\3&4\end{pmatrix}$",
    r"$\{1,2,3\}$ and $-1\le x<5$",
    r"$2\sin^2 30^\circ\cdot e^{i\pi}$",
    r"answer: 1,234.50 dollars, or 12.5%",
    r"$\log_2 8+\binom{5}{2}-3!$",
    r"$x=\pm2$, $y=3\frac12$",
    r"\(0.1\overline{6}\cdot\left|x-1\right|\text{ cm}^2\)",
];

/// Pieces that are thrown in.
const PIECES: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "$",
    "\\",
    "^",
    "_",
    "!",
    "|",
    ",",
    ";",
    "=",
    "<",
    "%",
    "&",
    "0",
    "9",
    "x",
    "i",
    "e",
    " ",
    ".",
    "-",
    "/",
    "\\frac",
    "\\sqrt",
    "\\boxed{",
    "\\\\",
    "\\cup",
    "\\infty",
    "\\pm",
    "\\text{",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "\\sin",
    "\\log_",
    "\\{",
    "\\}",
    "é",
    "∞",
    "²",
    "\n",
    "and",
    "99999999",
    "^{99}",
    "(x+y+1)^{50}",
    "\\setminus",
    "\\choose",
    "f(",
];

/// A small generator: the same mutations on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn mutated(&mut self) -> String {
        let mut characters: Vec<char> = SEEDS[self.below(SEEDS.len())].chars().collect();
        for _ in 0..=self.below(6) {
            let at = self.below(characters.len() + 1);
            match self.below(4) {
                0 if at < characters.len() => {
                    characters.remove(at);
                }
                1 if at < characters.len() => {
                    let end = (at + self.below(8)).min(characters.len());
                    let copied: Vec<char> = characters[at..end].to_vec();
                    characters.splice(at..at, copied);
                }
                2 if at < characters.len() => {
                    characters[at] = char::from(33 + self.below(94) as u8)
                }
                _ => {
                    let piece = PIECES[self.below(PIECES.len())];
                    characters.splice(at..at, piece.chars());
                }
            }
        }
        characters.into_iter().collect()
    }
}

fn judge_mutations(count: usize) {
    let mut chance = Chance(1);
    let options = Options {
        gold_is_text: true,
        ..Options::default()
    };
    for _ in 0..count {
        let (gold, answer) = (chance.mutated(), chance.mutated());
        let start = Instant::now();
        let _ = score(&answer, &gold, &options);
        // Whatever can be read equals itself.
        let same = score(&answer, &answer, &options);
        assert!(start.elapsed() < LONG, "{gold:?} {answer:?}");
        assert!(same != Ok(false), "{answer:?} differs from itself");
    }
}

#[test]
fn mutated_answers_get_a_verdict() {
    judge_mutations(3_000);
}

#[test]
#[ignore = "a million pairs take minutes"]
fn a_million_mutated_answers_get_a_verdict() {
    judge_mutations(1_000_000);
}
