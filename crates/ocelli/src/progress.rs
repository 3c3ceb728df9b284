//! The terminal's view of a run: one bar a stage where somebody watches, sparse plain lines where a log is kept.
//!
//! Everything goes to stderr; stdout belongs to results. Colour is left out under `NO_COLOR`, and there are no bars
//! under `CI`, on a dumb terminal or when stderr is not a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ocelli_core::Metrics;
use ocelli_learn::Observer;

/// Least time between two plain lines of one stage.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// How often a bar is drawn again while a step takes long.
const TICK: Duration = Duration::from_millis(500);

/// What is shown where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Silent,
    Lines,
    Bars { colour: bool },
}

impl View {
    /// Chooses from what the caller and the surroundings say.
    fn choose(quiet: bool, terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        // An empty variable counts as unset, as the NO_COLOR convention has it.
        let set = |name| variable(name).is_some_and(|value| !value.is_empty());
        let in_ci = set("CI") && variable("CI").is_none_or(|v| v != "false" && v != "0");
        let dumb = variable("TERM").is_some_and(|term| term == "dumb");
        if quiet {
            Self::Silent
        } else if !terminal || in_ci || dumb {
            Self::Lines
        } else {
            Self::Bars {
                colour: !set("NO_COLOR"),
            }
        }
    }
}

/// The stage that is running.
struct Stage {
    name: String,
    total_steps: u64,
    started: Instant,
    /// Step and time of the first report; a resumed stage does not start at 1, so time left is counted from here.
    first: Option<(u64, Instant)>,
    latest_step: u64,
    /// The numbers of that step, as they are shown.
    latest_numbers: String,
    /// When the latest plain line was written.
    latest_line: Instant,
    bar: Option<ProgressBar>,
}

/// Shows how a run goes, on stderr.
pub struct Progress {
    view: View,
    stage: Option<Stage>,
}

impl Progress {
    /// Shows nothing at all if `quiet`; else bars on a terminal and plain lines elsewhere.
    pub fn new(quiet: bool) -> Self {
        let view = View::choose(quiet, std::io::stderr().is_terminal(), |name| {
            std::env::var(name).ok()
        });
        Self { view, stage: None }
    }
}

impl Observer for Progress {
    /// Begins a stage of `total_steps` steps; a stage that is still open is ended first.
    fn begin_stage(&mut self, name: &str, total_steps: u64) {
        self.end_stage();
        let now = Instant::now();
        let bar = match self.view {
            View::Bars { colour } => Some(stage_bar(name, total_steps, colour)),
            View::Lines => {
                eprintln!("{name}: {total_steps} steps");
                None
            }
            View::Silent => None,
        };
        self.stage = Some(Stage {
            name: name.to_owned(),
            total_steps,
            started: now,
            first: None,
            latest_step: 0,
            latest_numbers: String::new(),
            latest_line: now,
            bar,
        });
    }

    /// Shows that `step` (counted from 1) is done, with the numbers a reader watches.
    fn step(&mut self, step: u64, metrics: &Metrics) {
        let Some(stage) = &mut self.stage else { return };
        let now = Instant::now();
        stage.latest_step = step;
        stage.latest_numbers = watched_numbers(metrics);
        let first_report = stage.first.is_none();
        let (first_step, first_time) = *stage.first.get_or_insert((step, now));
        if let Some(bar) = &stage.bar {
            bar.set_position(step);
            if first_report && step > 1 {
                bar.reset_eta();
            }
            bar.set_message(stage.latest_numbers.clone());
        } else if self.view == View::Lines && now - stage.latest_line >= LINE_INTERVAL {
            stage.latest_line = now;
            let left = time_left(
                step - first_step.min(step),
                now - first_time,
                stage.total_steps.saturating_sub(step),
            );
            let left = left.map_or_else(String::new, |left| format!(", {} left", clock(left)));
            let place = format!("{} {step}/{}{left}", stage.name, stage.total_steps);
            eprintln!("{}", with_numbers(&place, &stage.latest_numbers));
        }
    }

    /// Ends the stage: one line with its steps, its time and its last numbers takes the place of the bar. Does nothing
    /// without a stage.
    fn end_stage(&mut self) {
        let Some(stage) = self.stage.take() else {
            return;
        };
        // A finished bar would leave the cursor in its line; a plain line is the same in a terminal and in a log.
        if let Some(bar) = &stage.bar {
            bar.finish_and_clear();
        }
        if self.view != View::Silent {
            let summary = format!(
                "{}: {} of {} steps in {}",
                stage.name,
                stage.latest_step,
                stage.total_steps,
                clock(stage.started.elapsed())
            );
            eprintln!("{}", with_numbers(&summary, &stage.latest_numbers));
        }
    }

    /// Writes a line above the bar, or as a plain line. Nothing if quiet.
    fn message(&mut self, text: &str) {
        match (self.view, self.stage.as_ref().and_then(|s| s.bar.as_ref())) {
            (View::Silent, _) => {}
            (_, Some(bar)) => bar.println(text),
            (_, None) => eprintln!("{text}"),
        }
    }
}

impl Drop for Progress {
    /// Tells how far a stage came when a run stops early by an error.
    fn drop(&mut self) {
        self.end_stage();
    }
}

fn stage_bar(name: &str, total_steps: u64, colour: bool) -> ProgressBar {
    let template = if colour {
        "{prefix:>8.bold} {bar:24.cyan/dim} {human_pos}/{human_len}  {eta} left  {wide_msg:.dim}"
    } else {
        "{prefix:>8} {bar:24} {human_pos}/{human_len}  {eta} left  {wide_msg}"
    };
    let style = ProgressStyle::with_template(template)
        .expect("the template is a constant that the tests parse")
        .progress_chars("━╸─");
    let bar = ProgressBar::with_draw_target(Some(total_steps), ProgressDrawTarget::stderr())
        .with_style(style)
        .with_prefix(name.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// The numbers worth a glance in one line: reward and what can go wrong with it, or the loss where there is no reward.
fn watched_numbers(metrics: &Metrics) -> String {
    let watched: &[(&str, &str)] = if metrics.contains("reward") {
        &[
            ("reward", "reward"),
            ("kl", "kl"),
            ("entropy", "entropy"),
            ("completions/mean_length", "length"),
        ]
    } else {
        &[
            ("loss", "loss"),
            ("accuracy", "accuracy"),
            ("learning_rate", "lr"),
        ]
    };
    let mut parts: Vec<String> = watched
        .iter()
        .filter_map(|(key, label)| match metrics.get(key) {
            Some(value) => Some(format!("{label} {}", short_number(value))),
            // Null: nothing could judge, which is not a reward of 0.
            None if *key == "reward" && metrics.contains(key) => Some("no reward known".to_owned()),
            None => None,
        })
        .collect();
    if let Some(alarms) = metrics.get("alarms/raised").filter(|count| *count > 0.0) {
        parts.push(format!("alarms {alarms}"));
    }
    if let Some(speed) = metrics.get("tokens_per_second") {
        parts.push(format!("{} tokens/s", grouped(speed)));
    }
    parts.join(", ")
}

fn with_numbers(text: &str, numbers: &str) -> String {
    if numbers.is_empty() {
        text.to_owned()
    } else {
        format!("{text}, {numbers}")
    }
}

/// Time for `steps_left` at the pace of `steps_done` in `elapsed`; unknown before there is a pace.
fn time_left(steps_done: u64, elapsed: Duration, steps_left: u64) -> Option<Duration> {
    if steps_done == 0 {
        return None;
    }
    let seconds = elapsed.as_secs_f64() / steps_done as f64 * steps_left as f64;
    Duration::try_from_secs_f64(seconds).ok()
}

/// `1:05`, or `2:01:05` from an hour on.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Two or three significant digits, with an exponent where zeros would hide them.
fn short_number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if !(1e-2..1e5).contains(&size) {
        format!("{value:.1e}")
    } else if size < 1.0 {
        format!("{value:.3}")
    } else if size < 100.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}

/// A whole number with thousands apart: `12,345`.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    if value < 0.0 {
        text.push('-');
    }
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(pairs: &[(&str, f64)]) -> Metrics {
        let mut metrics = Metrics::default();
        for (name, value) in pairs {
            metrics.set(*name, *value);
        }
        metrics
    }

    fn view(quiet: bool, terminal: bool, variables: &[(&str, &str)]) -> View {
        View::choose(quiet, terminal, |name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn the_surroundings_choose_the_view() {
        assert_eq!(view(true, true, &[]), View::Silent);
        assert_eq!(view(false, false, &[]), View::Lines);
        assert_eq!(view(false, true, &[]), View::Bars { colour: true });
        assert_eq!(view(false, true, &[("CI", "true")]), View::Lines);
        assert_eq!(view(false, true, &[("TERM", "dumb")]), View::Lines);
        let plain = View::Bars { colour: false };
        assert_eq!(view(false, true, &[("NO_COLOR", "1")]), plain);
        let colour = View::Bars { colour: true };
        assert_eq!(
            view(false, true, &[("NO_COLOR", ""), ("CI", "false")]),
            colour
        );
    }

    #[test]
    fn a_step_reads_as_one_line() {
        let reinforced = metrics(&[
            ("loss", 0.1),
            ("reward", 0.5123),
            ("kl", 0.00012),
            ("entropy", f64::NAN),
            ("completions/mean_length", 33.6),
            ("tokens_per_second", 12345.4),
        ]);
        assert_eq!(
            with_numbers("grpo 57/150", &watched_numbers(&reinforced)),
            "grpo 57/150, reward 0.512, kl 1.2e-4, length 33.60, 12,345 tokens/s"
        );
        let unjudged = metrics(&[("loss", 0.0), ("reward", f64::NAN), ("entropy", 1.5)]);
        assert_eq!(watched_numbers(&unjudged), "no reward known, entropy 1.50");
        let supervised = metrics(&[("loss", 1.5), ("learning_rate", 1e-4)]);
        assert_eq!(watched_numbers(&supervised), "loss 1.50, lr 1.0e-4");
        assert_eq!(
            with_numbers("sft 1/9", &watched_numbers(&Metrics::default())),
            "sft 1/9"
        );
    }

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(clock(Duration::from_secs(5)), "0:05");
        assert_eq!(clock(Duration::from_secs(7265)), "2:01:05");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(-999.0), "-999");
        assert_eq!(short_number(0.0), "0");
        assert_eq!(short_number(0.0012), "1.2e-3");
        assert_eq!(short_number(0.0125), "0.013");
        assert_eq!(short_number(250.4), "250");
        assert_eq!(time_left(0, Duration::from_secs(1), 5), None);
        assert_eq!(
            time_left(10, Duration::from_secs(20), 5),
            Some(Duration::from_secs(10))
        );
    }

    #[test]
    fn templates_parse_and_stages_may_be_cut_short() {
        for colour in [false, true] {
            let mut progress = Progress {
                view: View::Bars { colour },
                stage: None,
            };
            progress.step(1, &Metrics::default());
            progress.begin_stage("sft", 10);
            progress.step(3, &metrics(&[("loss", 1.0)]));
            progress.message("start: box_iou 0.02");
            progress.begin_stage("grpo", 0);
            progress.step(1, &metrics(&[("reward", 1.0)]));
            progress.end_stage();
            progress.end_stage();
        }
    }
}
