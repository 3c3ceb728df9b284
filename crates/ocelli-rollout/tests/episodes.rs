//! The collector: groups of episodes from tasks, an env and a policy.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use ocelli_core::{
    Call, Episode, Finish, ImageSource, Message, Observation, Part, Purpose, Role, SeedKey,
    Segment, SegmentKind, Shown, Task,
};
use ocelli_data::{DataConfig, Dataset, Generator};
use ocelli_env::{CallCodec, Env, EnvError, Question, Snapshot, Step};
use ocelli_model::checkpoint::{Checkpoint, ConfigOverrides};
use ocelli_model::preset::Preset;
use ocelli_rollout::generate::{Request, generate};
use ocelli_rollout::{CollectPlan, Policy, Prepared, SamplingParams, collect, prepare};
use rand::RngExt;

fn policy() -> Policy {
    let device = Device::flex();
    let preset = Preset::find("tiny-qwen2_5_vl").unwrap();
    let checkpoint =
        Checkpoint::from_preset(&preset, &ConfigOverrides::default(), 3, &device).unwrap();
    let mut policy = Policy::new(checkpoint, &device).unwrap();
    policy.version = 7;
    policy
}

fn pointing(rows: usize) -> Dataset {
    let config = DataConfig {
        generator: Some(Generator::Pointing),
        rows: Some(rows),
        ..DataConfig::default()
    };
    ocelli_data::load(&config, Path::new(""), 11).unwrap()
}

fn prepared(policy: &Policy, data: &Dataset) -> Vec<Prepared> {
    prepare(policy, &data.tasks, |task, index| data.picture(task, index)).unwrap()
}

fn plan(samples: usize, length: usize) -> CollectPlan<'static> {
    CollectPlan {
        samples,
        sampling: SamplingParams {
            temperature: 1.0,
            ..SamplingParams::greedy(length)
        },
        max_prompt_length: 512,
        max_turns: 1,
        seed: SeedKey::new(2, Purpose::Sampling).step(9),
        codec: CallCodec::WholeText,
        env: &|| Box::new(Question::default()),
    }
}

/// What holds for every segment of every episode.
fn assert_sound(policy: &Policy, episode: &Episode) {
    for (index, segment) in episode.segments.iter().enumerate() {
        assert_eq!(segment.parent, index.checked_sub(1), "a chain");
        assert_eq!(segment.train_mask.len(), segment.token_ids.len());
        assert!(!segment.token_ids.is_empty());
        match &segment.kind {
            SegmentKind::Observation { .. } => {
                assert!(
                    index.is_multiple_of(2),
                    "shown first, then every other time"
                );
                assert!(segment.train_mask.iter().all(|trained| !trained));
            }
            SegmentKind::Decision {
                behavior_logprobs,
                policy_version,
                finish,
                call,
            } => {
                assert!(!index.is_multiple_of(2));
                assert!(segment.train_mask.iter().all(|trained| *trained));
                assert_eq!(behavior_logprobs.len(), segment.token_ids.len());
                assert!(behavior_logprobs.iter().all(|l| l.is_finite() && *l <= 0.0));
                assert_eq!(*policy_version, policy.version);
                let (last, before) = segment.token_ids.split_last().unwrap();
                let stop = &policy.rules.stop;
                assert_eq!(*finish == Finish::Stop, stop.contains(last));
                assert!(!before.iter().any(|id| stop.contains(id)));
                for banned in &policy.rules.banned {
                    assert!(!segment.token_ids.contains(banned));
                }
                assert_eq!(
                    segment.text,
                    policy.processor.decode(&segment.token_ids).unwrap()
                );
                let Call::Answer { text } = call;
                assert_eq!(*text, segment.text);
            }
        }
    }
}

#[test]
fn a_group_shares_its_prompt_and_records_what_was_sampled() {
    let policy = policy();
    let data = pointing(3);
    let groups = collect(&policy, &prepared(&policy, &data), &plan(4, 10)).unwrap();
    assert_eq!(groups.len(), 3);
    for (group, task) in groups.iter().zip(&data.tasks) {
        assert_eq!(group.task.id, task.id);
        assert_eq!((group.episodes.len(), group.media.images.len()), (4, 1));
        let grid = group.media.images[0].extent.grid();
        let image_tokens = grid.iter().product::<usize>() / 4;
        let prompt = policy
            .processor
            .prompt(&task.id, &task.messages, &group.media)
            .unwrap();
        for (sample, episode) in group.episodes.iter().enumerate() {
            assert_eq!((episode.sample, episode.segments.len()), (sample, 2));
            assert_eq!(episode.task.id, task.id);
            assert_sound(&policy, episode);
            let first = &episode.segments[0];
            assert_eq!(*first, group.episodes[0].segments[0]);
            assert_eq!(first.token_ids, prompt.ids);
            assert_eq!(
                first.kind,
                SegmentKind::Observation {
                    shown: vec![Shown::Image(0)]
                }
            );
            let placeholders = first
                .token_ids
                .iter()
                .filter(|id| Some(**id) == policy.checkpoint.config.image_token_id);
            assert_eq!(placeholders.count(), image_tokens);
            assert_eq!(first.text, task.messages[0].plain_text());
            assert_eq!(
                episode.sampled_tokens(),
                episode.segments[1].token_ids.len()
            );
            assert!(episode.sampled_tokens() <= 10);
            assert!(episode.outcome.reward.is_none() && episode.outcome.verdicts.is_empty());
        }
        let answers: std::collections::BTreeSet<&[u32]> = group
            .episodes
            .iter()
            .map(|e| e.segments[1].token_ids.as_slice())
            .collect();
        assert_eq!(answers.len(), 4, "samples of a group differ");
    }
}

#[test]
fn episodes_depend_on_their_task_and_sample_only() {
    let policy = policy();
    let data = pointing(4);
    let tasks = prepared(&policy, &data);
    let all = collect(&policy, &tasks, &plan(4, 8)).unwrap();

    let fewer = collect(&policy, &tasks, &plan(2, 8)).unwrap();
    for (few, all) in fewer.iter().zip(&all) {
        assert_same_episodes(&few.episodes, &all.episodes[..2]);
    }
    let backwards: Vec<Prepared> = tasks.iter().rev().cloned().collect();
    let backwards = collect(&policy, &backwards, &plan(4, 8)).unwrap();
    for (a, b) in backwards.iter().rev().zip(&all) {
        assert_same_episodes(&a.episodes, &b.episodes);
    }
    let alone = collect(&policy, &tasks[2..3], &plan(4, 8)).unwrap();
    assert_same_episodes(&alone[0].episodes, &all[2].episodes);

    let mut other_step = plan(4, 8);
    other_step.seed = other_step.seed.step(10);
    let other = collect(&policy, &tasks, &other_step).unwrap();
    assert_ne!(
        other[0].episodes[0].segments[1].token_ids,
        all[0].episodes[0].segments[1].token_ids
    );
}

fn assert_same_episodes(got: &[Episode], want: &[Episode]) {
    assert_eq!(got.len(), want.len());
    for (a, b) in got.iter().zip(want) {
        assert_eq!(a.task.id, b.task.id);
        let ids = |e: &Episode| -> Vec<Vec<u32>> {
            e.segments.iter().map(|s| s.token_ids.clone()).collect()
        };
        assert_eq!(ids(a), ids(b));
    }
}

/// A world that asks again once: after the first call it shows how long the answer was, after the second it is over.
/// An answer that has none of `again` ends it at once.
#[derive(Clone)]
struct AskAgain {
    again: &'static [char],
    calls: usize,
}

impl AskAgain {
    fn boxed(again: &'static [char]) -> Box<dyn Env> {
        Box::new(Self { again, calls: 0 })
    }

    fn question(answer: &str) -> Message {
        Message::text(
            Role::User,
            format!(
                "You wrote {} letters. Are you sure?",
                answer.chars().count()
            ),
        )
    }
}

impl Env for AskAgain {
    fn reset(&mut self, task: &Arc<Task>, _: &SeedKey) -> Result<Observation, EnvError> {
        self.calls = 0;
        Ok(Observation {
            messages: task.messages.clone(),
        })
    }

    fn step(&mut self, call: &Call) -> Result<Step, EnvError> {
        let Call::Answer { text } = call;
        self.calls += 1;
        let facts = BTreeMap::from([
            (format!("answer_{}", self.calls), text.clone()),
            ("calls".to_owned(), self.calls.to_string()),
        ]);
        let done = self.calls == 2 || !text.contains(self.again);
        Ok(Step {
            observation: (!done).then(|| Observation {
                messages: vec![Self::question(text)],
            }),
            done,
            facts,
        })
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::new("ask-again", self.clone())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), EnvError> {
        *self = snapshot.state::<Self>("ask-again")?.clone();
        Ok(())
    }
}

const DIGITS: &[char] = &['1', '2', '3', '4', '5', '6', '7', '8', '9'];
const FEW_DIGITS: &[char] = &['1', '2'];

/// A policy that can only write digits, each a token of its own, and end its turn: its words can be tokenised again.
fn digit_policy() -> Policy {
    let mut policy = policy();
    let tokenizer = &policy.processor.tokenizer;
    let mut allowed = vec![policy.processor.end_of_turn];
    for digit in DIGITS {
        let ids = tokenizer.encode(&digit.to_string()).unwrap();
        assert_eq!(ids.len(), 1);
        allowed.extend(ids);
    }
    policy.rules.banned = (0..tokenizer.vocab_size() as u32)
        .filter(|id| !allowed.contains(id))
        .collect();
    policy
}

fn decision(segment: &Segment) -> (&[f32], Finish) {
    match &segment.kind {
        SegmentKind::Decision {
            behavior_logprobs,
            finish,
            ..
        } => (behavior_logprobs, *finish),
        SegmentKind::Observation { .. } => panic!("not sampled"),
    }
}

/// Checks a two-turn episode against the whole conversation, put to the model at once by the chat template.
fn assert_second_turn(policy: &Policy, task: &Prepared, episode: &Episode, plan: &CollectPlan) {
    let [prompt, first, shown, second] = episode.segments.as_slice() else {
        panic!("{} segments", episode.segments.len());
    };
    let mut messages = task.task.messages.clone();
    messages.push(Message::text(Role::Assistant, first.text.as_str()));
    messages.push(AskAgain::question(&first.text));
    let whole = policy
        .processor
        .prompt(&task.task.id, &messages, &task.media)
        .unwrap();
    let chain: Vec<u32> = [prompt, first, shown]
        .iter()
        .flat_map(|s| s.token_ids.iter().copied())
        .collect();
    assert_eq!(chain, whole.ids, "the chain is the conversation");
    assert_eq!(shown.kind, SegmentKind::Observation { shown: vec![] });
    assert_eq!(shown.text, AskAgain::question(&first.text).plain_text());

    // A turn that was cut off is ended by what follows; one that ended itself is not ended twice.
    let written = policy
        .processor
        .tokenizer
        .decode(&shown.token_ids, false)
        .unwrap();
    let end = match decision(first).1 {
        Finish::Stop => "",
        Finish::Length => "<|im_end|>",
    };
    let question = AskAgain::question(&first.text).plain_text();
    assert_eq!(
        written,
        format!("{end}\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
    );

    // The second turn is what would be sampled from that conversation.
    let key = plan
        .seed
        .clone()
        .task(&task.task.id)
        .sample(episode.sample as u64);
    let request = Request {
        context: Arc::new(whole),
        samples: vec![key.turn(1)],
    };
    let completion = generate(
        &policy.network(),
        &[request],
        &plan.sampling,
        &policy.rules,
        &policy.device,
    )
    .remove(0)
    .remove(0);
    assert_eq!(second.token_ids, completion.token_ids);
    for (a, b) in decision(second).0.iter().zip(&completion.logprobs) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
}

#[test]
fn an_env_of_two_turns_makes_a_chain() {
    let policy = digit_policy();
    let data = pointing(2);
    let tasks = prepared(&policy, &data);
    let mut plan = plan(4, 6);
    plan.max_turns = 5;
    plan.env = &|| AskAgain::boxed(DIGITS);
    let groups = collect(&policy, &tasks, &plan).unwrap();
    let mut finishes = Vec::new();
    for (group, task) in groups.iter().zip(&tasks) {
        for episode in &group.episodes {
            assert_sound(&policy, episode);
            if episode.segments[1].text.is_empty() {
                // Ended its turn at once: nothing to ask about.
                assert_eq!(episode.segments.len(), 2);
                continue;
            }
            assert_second_turn(&policy, task, episode, &plan);
            finishes.push(decision(&episode.segments[1]).1);
            let facts = &episode.outcome.facts;
            assert_eq!(facts["calls"], "2");
            assert_eq!(facts["answer_1"], episode.segments[1].text);
            assert_eq!(facts["answer_2"], episode.segments[3].text);
            assert_eq!(episode.answer_text(), episode.segments[3].text);
        }
    }
    assert!(
        finishes.contains(&Finish::Stop) && finishes.contains(&Finish::Length),
        "both ways to end a first turn occur: {finishes:?}"
    );
}

#[test]
fn episodes_of_different_lengths_go_on_by_themselves() {
    let policy = digit_policy();
    let data = pointing(3);
    let tasks = prepared(&policy, &data);
    let mut plan = plan(5, 3);
    plan.max_turns = 2;
    plan.env = &|| AskAgain::boxed(FEW_DIGITS);
    let groups = collect(&policy, &tasks, &plan).unwrap();
    let mut lengths = Vec::new();
    for (group, task) in groups.iter().zip(&tasks) {
        for episode in &group.episodes {
            assert_sound(&policy, episode);
            lengths.push(episode.segments.len());
            if episode.segments[1].text.contains(FEW_DIGITS) {
                assert_second_turn(&policy, task, episode, &plan);
            } else {
                assert_eq!(episode.segments.len(), 2);
                assert_eq!(episode.outcome.facts["calls"], "1");
            }
        }
    }
    assert!(lengths.contains(&2) && lengths.contains(&4), "{lengths:?}");
}

#[test]
fn a_prompt_that_is_too_long_names_its_row() {
    let policy = digit_policy();
    let data = pointing(2);
    let tasks = prepared(&policy, &data);
    let mut plan = plan(2, 4);
    plan.max_prompt_length = 5;
    let text = collect(&policy, &tasks, &plan).unwrap_err().to_string();
    assert!(
        data.tasks
            .iter()
            .any(|t| text.contains(&format!("`{}`", t.id))),
        "{text}"
    );
    assert!(text.contains("max_prompt_length 5"), "{text}");

    // Just long enough for the first turn, too short for the second.
    let lengths: Vec<usize> = tasks
        .iter()
        .map(|t| {
            let prompt = policy.processor.prompt("", &t.task.messages, &t.media);
            prompt.unwrap().ids.len()
        })
        .collect();
    plan.max_prompt_length = *lengths.iter().max().unwrap();
    assert_eq!(collect(&policy, &tasks, &plan).unwrap().len(), 2);
    // The conversation then ends where it outgrew the limit, and says so.
    plan.max_turns = 2;
    plan.env = &|| AskAgain::boxed(DIGITS);
    let groups = collect(&policy, &tasks, &plan).unwrap();
    let episodes: Vec<&Episode> = groups.iter().flat_map(|g| &g.episodes).collect();
    for episode in &episodes {
        assert_sound(&policy, episode);
        let asked = episode.segments[1].text.contains(DIGITS);
        assert_eq!(episode.outcome.cut, asked);
        assert_eq!(episode.segments.len(), 2);
    }
    assert!(episodes.iter().any(|e| e.outcome.cut && e.truncated()));

    // After the last turn nothing is shown, so nothing is too long.
    plan.max_turns = 1;
    let groups = collect(&policy, &tasks, &plan).unwrap();
    for episode in groups.iter().flat_map(|g| &g.episodes) {
        let asked = episode.segments[1].text.contains(DIGITS);
        assert_eq!((episode.outcome.cut, episode.segments.len()), (asked, 2));
    }
}

#[test]
fn a_task_drawn_twice_is_attempted_anew() {
    let policy = policy();
    let data = pointing(2);
    let tasks = prepared(&policy, &data);
    let once = collect(&policy, &tasks, &plan(3, 8)).unwrap();
    let twice = [tasks[0].clone(), tasks[1].clone(), tasks[0].clone()];
    let twice = collect(&policy, &twice, &plan(3, 8)).unwrap();
    for (a, b) in twice.iter().zip(&once) {
        assert_same_episodes(&a.episodes, &b.episodes);
    }
    for (again, first) in twice[2].episodes.iter().zip(&twice[0].episodes) {
        assert_ne!(again.segments[1].token_ids, first.segments[1].token_ids);
    }
}

/// Ends after three calls, shows nothing between them, and tells what it drew from its seed.
#[derive(Clone, Default)]
struct Mute {
    calls: usize,
    drawn: u64,
}

impl Env for Mute {
    fn reset(&mut self, task: &Arc<Task>, seed: &SeedKey) -> Result<Observation, EnvError> {
        *self = Self {
            calls: 0,
            drawn: seed.rng().random(),
        };
        Ok(Observation {
            messages: task.messages.clone(),
        })
    }

    fn step(&mut self, _: &Call) -> Result<Step, EnvError> {
        self.calls += 1;
        Ok(Step {
            observation: None,
            done: self.calls == 3,
            facts: BTreeMap::from([("drawn".to_owned(), self.drawn.to_string())]),
        })
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::new("mute", self.clone())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), EnvError> {
        *self = snapshot.state::<Self>("mute")?.clone();
        Ok(())
    }
}

#[test]
fn an_env_that_shows_nothing_hands_the_turn_back() {
    let policy = digit_policy();
    let data = pointing(1);
    let tasks = prepared(&policy, &data);
    let mut plan = plan(3, 4);
    plan.max_turns = 5;
    plan.env = &|| Box::new(Mute::default());
    let groups = collect(&policy, &tasks, &plan).unwrap();
    for episode in &groups[0].episodes {
        assert_sound(&policy, episode);
        assert_eq!(episode.segments.len(), 6, "three turns");
        assert!(!episode.outcome.cut);
        // What the second turn saw is the conversation with the first in it.
        let mut messages = data.tasks[0].messages.clone();
        messages.push(Message::text(
            Role::Assistant,
            episode.segments[1].text.as_str(),
        ));
        let whole = policy
            .processor
            .prompt("", &messages, &tasks[0].media)
            .unwrap();
        let chain: Vec<u32> = episode.segments[..3]
            .iter()
            .flat_map(|s| s.token_ids.iter().copied())
            .collect();
        assert_eq!(chain, whole.ids);

        // Worlds and sampling do not share a stream.
        let key = plan.seed.clone().task(&data.tasks[0].id);
        let key = key.sample(episode.sample as u64);
        let draw = |key: &SeedKey| key.rng().random::<u64>().to_string();
        let drawn = &episode.outcome.facts["drawn"];
        assert_eq!(*drawn, draw(&key.clone().purpose(Purpose::Env)));
        assert_ne!(*drawn, draw(&key));
    }
}

#[test]
fn the_order_in_which_pictures_are_shown_is_recorded() {
    let policy = policy();
    let data = pointing(2);
    let mut task = data.tasks[0].as_ref().clone();
    let pixels = |row: usize| ImageSource::Pixels(data.picture(&data.tasks[row], 0).unwrap());
    task.images = vec![pixels(0), pixels(1)];
    task.messages = vec![Message {
        role: Role::User,
        content: vec![Part::Image { index: 1 }, Part::Image { index: 0 }],
    }];
    let data = Dataset::new("by hand", vec![task]);
    let groups = collect(&policy, &prepared(&policy, &data), &plan(1, 2)).unwrap();
    let first = &groups[0].episodes[0].segments[0];
    assert_eq!(
        first.kind,
        SegmentKind::Observation {
            shown: vec![Shown::Image(1), Shown::Image(0)]
        }
    );
}

#[test]
fn a_picture_of_impossible_shape_names_row_and_file() {
    let policy = policy();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("line.png");
    let line = ocelli_core::Picture::new(1000, 1, vec![0; 3000]);
    std::fs::write(&path, ocelli_data::encode_png(&line)).unwrap();
    let mut task = pointing(1).tasks[0].as_ref().clone();
    task.images = vec![ImageSource::Path(path)];
    let data = Dataset::new("by hand", vec![task]);
    let error = prepare(&policy, &data.tasks, |task, index| {
        data.picture(task, index)
    });
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("`pointing-train-000000`") && text.contains("line.png"),
        "{text}"
    );
}

#[test]
fn a_picture_that_is_missing_is_named() {
    let policy = policy();
    let data = pointing(1);
    let mut task = data.tasks[0].as_ref().clone();
    task.images = vec![ImageSource::Path("/nowhere/absent-picture.png".into())];
    let data = Dataset::new("made by hand", vec![task]);
    let error = prepare(&policy, &data.tasks, |task, index| {
        data.picture(task, index)
    });
    let text = error.unwrap_err().to_string();
    assert!(text.contains("/nowhere/absent-picture.png"), "{text}");
}
