//! Alarms for rewards that are won without the task being solved: answers that grow, answers that repeat themselves, and a form that gets better
//! while nothing else does.
//!
//! Each alarm compares the last steps of a stage with its first ones. It says so and changes nothing: what to make of it is the reader's
//! part.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ocelli_core::{Episode, Metrics};
use ocelli_reward::NodeConfig;
use serde::{Deserialize, Serialize};

/// When alarms are raised; the `alarms` table of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmConfig {
    /// Steps whose mean is compared with that of as many first ones.
    pub window: usize,
    /// Answers are so many times as long as at first; 0 for no alarm.
    pub length_growth: f64,
    /// Share of an answer's runs of four tokens that came before in it; 0 for no alarm.
    pub repetition: f64,
    /// Rise of the form's score while the others rise by `accuracy_gain` at most; 0 for no alarm.
    pub format_gain: f64,
    /// Rise of the other scores that makes a rise of the form harmless.
    pub accuracy_gain: f64,
    /// Reward nodes that judge the form; by default those of the verifiers `tags` and `readable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Vec<String>>,
    /// Reward nodes that judge what is said; by default all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Vec<String>>,
}

impl Default for AlarmConfig {
    fn default() -> Self {
        Self {
            window: 20,
            length_growth: 2.0,
            repetition: 0.5,
            format_gain: 0.1,
            accuracy_gain: 0.01,
            format: None,
            accuracy: None,
        }
    }
}

impl AlarmConfig {
    /// Whether nothing was said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// # Errors
    /// Says which key is wrong in a stage with these reward nodes, and how to mend it.
    pub fn check(&self, nodes: &[NodeConfig]) -> Result<(), String> {
        if self.window == 0 {
            return Err("`alarms.window` must be at least 1".into());
        }
        for (key, value, low) in [
            ("length_growth", self.length_growth, 1.0),
            ("repetition", self.repetition, 0.0),
            ("format_gain", self.format_gain, 0.0),
        ] {
            if !value.is_finite() || value < 0.0 || (value > 0.0 && value <= low) {
                return Err(format!(
                    "`alarms.{key}` must be above {low}, or 0 for no alarm"
                ));
            }
        }
        if !self.accuracy_gain.is_finite() {
            return Err("`alarms.accuracy_gain` must be a number".into());
        }
        let names: Vec<String> = nodes.iter().map(NodeConfig::name).collect();
        for (key, given) in [("format", &self.format), ("accuracy", &self.accuracy)] {
            let unknown = given.iter().flatten().find(|name| !names.contains(name));
            if let Some(unknown) = unknown {
                return Err(format!(
                    "`alarms.{key}` names `{unknown}`, which is no node of `reward`; it has {}",
                    names.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// Names of the nodes that judge the form, and of those that judge what is said.
    pub fn nodes(&self, nodes: &[NodeConfig]) -> Watched {
        let is_form = |node: &&NodeConfig| {
            let verifier = node.verifier.as_deref();
            matches!(verifier, Some("tags" | "readable"))
        };
        let name = NodeConfig::name;
        let by_default = |form: bool| -> Vec<String> {
            let chosen = nodes.iter().filter(|node| is_form(node) == form);
            chosen.map(name).collect()
        };
        Watched {
            format: self.format.clone().unwrap_or_else(|| by_default(true)),
            accuracy: self.accuracy.clone().unwrap_or_else(|| by_default(false)),
        }
    }
}

/// Reward nodes by what they judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub format: Vec<String>,
    pub accuracy: Vec<String>,
}

/// Tokens in a run that may come again.
const RUN: usize = 4;

/// Mean over the answers of the share of their runs of four tokens that came before in the same answer, `1 − different / all`; 0 for answers of
/// fewer tokens.
pub fn repetition<'a>(episodes: impl Iterator<Item = &'a Episode>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for episode in episodes {
        count += 1.0;
        let (mut all, mut different) = (0usize, BTreeSet::new());
        for turn in episode.decisions() {
            for run in turn.token_ids.windows(RUN) {
                all += 1;
                different.insert(run);
            }
        }
        if all > 0 {
            sum += 1.0 - different.len() as f64 / all as f64;
        }
    }
    sum / f64::max(count, 1.0)
}

/// The first and the last values of a measure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Track {
    first: Vec<f64>,
    last: VecDeque<f64>,
}

impl Track {
    fn push(&mut self, value: f64, window: usize) {
        if self.first.len() < window {
            self.first.push(value);
            return;
        }
        self.last.push_back(value);
        if self.last.len() > window {
            self.last.pop_front();
        }
    }

    /// Means of the first and of the last values, once there are enough of both.
    fn means(&self, window: usize) -> Option<(f64, f64)> {
        let mean = |values: &mut dyn Iterator<Item = &f64>| values.sum::<f64>() / window as f64;
        let full = self.first.len() == window && self.last.len() == window;
        full.then(|| (mean(&mut self.first.iter()), mean(&mut self.last.iter())))
    }
}

/// What alarms remember; kept in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmState {
    tracks: BTreeMap<String, Track>,
    /// Alarms that are raised now, and have been told.
    raised: BTreeSet<String>,
}

impl AlarmState {
    /// Looks at the metrics of a step, adds what it measures, and returns what to tell: each alarm once, until it has ended and comes back.
    pub fn observe(
        &mut self,
        config: &AlarmConfig,
        watched: &Watched,
        metrics: &mut Metrics,
    ) -> Vec<String> {
        let scores = |names: &[String]| -> Option<f64> {
            let values: Option<Vec<f64>> = names
                .iter()
                .map(|name| metrics.get(&format!("rewards/{name}/mean")))
                .collect();
            let values = values.filter(|values| !values.is_empty())?;
            Some(values.iter().sum::<f64>() / values.len() as f64)
        };
        let measured = [
            ("length", metrics.get("completions/mean_length")),
            ("repetition", metrics.get("completions/repetition")),
            ("format", scores(&watched.format)),
            ("accuracy", scores(&watched.accuracy)),
        ];
        let window = config.window;
        for (name, value) in measured {
            if let Some(value) = value {
                let track = self.tracks.entry(name.to_owned()).or_default();
                track.push(value, window);
            }
        }
        let means = |name: &str| self.tracks.get(name)?.means(window);
        let mut alarms: Vec<(&str, Option<String>)> = Vec::new();
        if let Some((first, last)) = means("length").filter(|(first, _)| *first > 0.0) {
            let growth = last / first;
            metrics.set("alarms/length_growth", growth);
            let loud = config.length_growth > 0.0 && growth > config.length_growth;
            let told = || {
                format!(
                    "answers are {growth:.1} times as long as at the beginning of the stage ({last:.0} tokens, {first:.0} before); if length \
                     is not what you reward, look at some of them in `episodes/`, and think of `soft_overlong` or `loss_type = \"dr_grpo\"`"
                )
            };
            alarms.push(("length_growth", loud.then(told)));
        }
        if let Some((_, last)) = means("repetition") {
            let loud = config.repetition > 0.0 && last > config.repetition;
            let told = || {
                format!(
                    "{:.0} % of what is said in an answer was said in it before; look at some of them in `episodes/`, and think of the \
                     verifier `repetition`, or of a KL penalty (`beta`)",
                    100.0 * last
                )
            };
            alarms.push(("repetition", loud.then(told)));
        }
        if let (Some((form, formed)), Some((right, righted))) = (means("format"), means("accuracy"))
        {
            let (gain, real) = (formed - form, righted - right);
            metrics.set("alarms/format_gain", gain);
            metrics.set("alarms/accuracy_gain", real);
            let loud = config.format_gain > 0.0
                && gain > config.format_gain
                && real <= config.accuracy_gain;
            let told = || {
                format!(
                    "the form has gained {gain:.2} since the beginning of the stage ({}) and what is said {real:.2} ({}); lower the form's \
                     weight, or gate it by the other node",
                    watched.format.join(", "),
                    watched.accuracy.join(", ")
                )
            };
            alarms.push(("format_gain", loud.then(told)));
        }
        if alarms.is_empty() {
            return Vec::new();
        }
        let loud = alarms.iter().filter(|(_, told)| told.is_some()).count();
        metrics.set_count("alarms/raised", loud as u64);
        let mut tell = Vec::new();
        for (name, told) in alarms {
            match told {
                None => {
                    self.raised.remove(name);
                }
                Some(told) => {
                    if self.raised.insert(name.to_owned()) {
                        tell.push(format!("alarm `{name}`: {told}"));
                    }
                }
            }
        }
        tell
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ocelli_core::Task;

    use super::*;

    fn config() -> AlarmConfig {
        AlarmConfig {
            window: 2,
            ..AlarmConfig::default()
        }
    }

    fn watched() -> Watched {
        let nodes = ["tags", "box_iou", "exact"].map(NodeConfig::new);
        AlarmConfig::default().nodes(&nodes)
    }

    /// What is told at each step, by the alarms' names.
    fn run(steps: &[[f64; 4]]) -> Vec<Vec<String>> {
        let mut state = AlarmState::default();
        let told = steps.iter().map(|[length, repeated, form, right]| {
            let mut metrics = Metrics::default();
            metrics.set("completions/mean_length", *length);
            metrics.set("completions/repetition", *repeated);
            metrics.set("rewards/tags/mean", *form);
            metrics.set("rewards/box_iou/mean", *right);
            metrics.set("rewards/exact/mean", *right);
            let told = state.observe(&config(), &watched(), &mut metrics);
            let name = |t: &String| t.split('`').nth(1).unwrap().to_owned();
            told.iter().map(name).collect()
        });
        told.collect()
    }

    const CALM: [f64; 4] = [10.0, 0.1, 0.5, 0.2];

    #[test]
    fn a_calm_stage_says_nothing() {
        assert!(run(&[CALM; 8]).concat().is_empty());
    }

    #[test]
    fn answers_that_grow_are_told_once_until_they_shrink() {
        let long = [25.0, 0.1, 0.5, 0.2];
        let told = run(&[CALM, CALM, CALM, long, long, long, CALM, CALM, long, long]);
        let at: Vec<usize> = (0..10).filter(|i| !told[*i].is_empty()).collect();
        // The mean of the last two steps is above 20 from the fifth step on, and again at the end.
        assert_eq!(at, [4, 9]);
        assert_eq!(told[4], ["length_growth"]);
    }

    #[test]
    fn answers_that_repeat_themselves_are_told() {
        let parrot = [10.0, 0.9, 0.5, 0.2];
        assert_eq!(run(&[CALM, CALM, parrot, parrot]).concat(), ["repetition"]);
    }

    #[test]
    fn a_form_that_gets_better_alone_is_told() {
        let formed = [10.0, 0.1, 0.9, 0.2];
        assert_eq!(run(&[CALM, CALM, formed, formed]).concat(), ["format_gain"]);
        let both = [10.0, 0.1, 0.9, 0.4];
        assert!(run(&[CALM, CALM, both, both]).concat().is_empty());
    }

    #[test]
    fn an_alarm_that_is_turned_off_is_silent_and_still_measured() {
        let off = AlarmConfig {
            length_growth: 0.0,
            ..config()
        };
        let mut state = AlarmState::default();
        let mut metrics = Metrics::default();
        for length in [1.0, 1.0, 9.0, 9.0] {
            metrics.set("completions/mean_length", length);
            assert!(state.observe(&off, &watched(), &mut metrics).is_empty());
        }
        assert_eq!(metrics.get("alarms/length_growth"), Some(9.0));
        assert_eq!(metrics.get("alarms/raised"), Some(0.0));
    }

    #[test]
    fn form_and_content_are_told_apart_by_their_verifiers() {
        let watched = watched();
        assert_eq!(watched.format, ["tags"]);
        assert_eq!(watched.accuracy, ["box_iou", "exact"]);
    }

    #[test]
    fn repetition_is_the_share_of_runs_that_came_before() {
        let answer =
            |tokens: Vec<u32>| Episode::of_answer(Arc::new(Task::default()), String::new(), tokens);
        // Five runs of four, of which two are different.
        let parrot = answer([1, 2].repeat(4)[..8].to_vec());
        let found = repetition([&parrot].into_iter());
        assert!((found - (1.0 - 2.0 / 5.0)).abs() < 1e-12, "{found}");
        let short = answer(vec![1, 1, 1]);
        assert_eq!(repetition([&short].into_iter()), 0.0);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        let nodes = ["tags"].map(NodeConfig::new);
        for (keys, words) in [
            ("window = 0", "at least 1"),
            ("length_growth = 0.5", "above 1"),
            ("repetition = -1.0", "above 0"),
            ("format_gain = nan", "above 0"),
            ("accuracy = ['exact']", "it has tags"),
        ] {
            let config: AlarmConfig = toml::from_str(keys).unwrap();
            let error = config.check(&nodes).unwrap_err();
            assert!(error.contains(words), "{keys}: {error}");
        }
    }
}
