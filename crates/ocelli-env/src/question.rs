//! The single-turn question: the task is shown, one answer ends it.

use std::sync::Arc;

use ocelli_core::{Call, Observation, SeedKey, Task};

use crate::{Env, EnvError, Snapshot, Step};

/// An env whose only call is `answer`. It judges nothing: whether the answer is right is a verifier's to say.
#[derive(Clone, Debug, Default)]
pub struct Question {
    state: State,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    NotReset,
    Asked(Arc<Task>),
    Answered(Arc<Task>),
}

impl Question {
    /// Name in errors.
    pub const NAME: &'static str = "question";
}

impl Env for Question {
    /// Shows the task's messages as they are. Nothing is random here.
    fn reset(&mut self, task: &Arc<Task>, _seed: &SeedKey) -> Result<Observation, EnvError> {
        if task.messages.is_empty() {
            return Err(EnvError::NoMessages {
                env: Self::NAME,
                task: task.id.clone(),
            });
        }
        self.state = State::Asked(Arc::clone(task));
        Ok(Observation {
            messages: task.messages.clone(),
        })
    }

    fn step(&mut self, call: &Call) -> Result<Step, EnvError> {
        let task = match &self.state {
            State::NotReset => return Err(EnvError::NotReset { env: Self::NAME }),
            State::Answered(task) => {
                return Err(EnvError::Finished {
                    env: Self::NAME,
                    task: task.id.clone(),
                });
            }
            State::Asked(task) => Arc::clone(task),
        };
        match call {
            Call::Answer { .. } => {
                self.state = State::Answered(task);
                Ok(Step {
                    done: true,
                    ..Step::default()
                })
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::new(Self::NAME, self.state.clone())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), EnvError> {
        self.state = snapshot.state::<State>(Self::NAME)?.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ocelli_core::{ImageSource, Message, Part, Picture, Purpose, Role};

    use super::*;

    fn task(messages: Vec<Message>) -> Arc<Task> {
        Arc::new(Task {
            id: "row-1".to_owned(),
            messages,
            images: vec![ImageSource::Pixels(Picture::new(1, 1, vec![0u8; 3]))],
            ..Task::default()
        })
    }

    fn question() -> Arc<Task> {
        task(vec![
            Message::text(Role::System, "Be short."),
            Message {
                role: Role::User,
                content: vec![
                    Part::Image { index: 0 },
                    Part::Text {
                        text: "What is it?".to_owned(),
                    },
                ],
            },
        ])
    }

    fn seed() -> SeedKey {
        SeedKey::new(1, Purpose::Sampling)
    }

    fn answer() -> Call {
        Call::Answer {
            text: "a car".to_owned(),
        }
    }

    fn finished() -> EnvError {
        EnvError::Finished {
            env: "question",
            task: "row-1".to_owned(),
        }
    }

    #[test]
    fn shows_the_task_and_ends_with_the_answer() {
        let mut env = Question::default();
        let task = question();
        let shown = env.reset(&task, &seed()).unwrap();
        assert_eq!(shown.messages, task.messages);
        let step = env.step(&answer()).unwrap();
        let expected = Step {
            observation: None,
            done: true,
            facts: BTreeMap::new(),
        };
        assert_eq!(step, expected);
    }

    #[test]
    fn a_step_after_the_end_is_an_error_until_the_next_reset() {
        let mut env = Question::default();
        env.reset(&question(), &seed()).unwrap();
        env.step(&answer()).unwrap();
        for _ in 0..2 {
            assert_eq!(env.step(&answer()), Err(finished()));
        }
        assert_eq!(
            finished().to_string(),
            "env `question`: the episode on task `row-1` is over; call reset before another step"
        );
        env.reset(&question(), &seed()).unwrap();
        assert!(env.step(&answer()).unwrap().done);
    }

    #[test]
    fn a_step_before_the_first_reset_is_an_error() {
        let error = EnvError::NotReset { env: "question" };
        assert_eq!(Question::default().step(&answer()), Err(error));
    }

    #[test]
    fn a_task_without_messages_is_refused_and_named() {
        let mut env = Question::default();
        env.reset(&question(), &seed()).unwrap();
        let error = env.reset(&task(Vec::new()), &seed()).unwrap_err();
        assert!(
            error.to_string().contains("`row-1` has no messages"),
            "{error}"
        );
    }

    #[test]
    fn goes_back_to_any_moment_of_the_episode() {
        let mut env = Question::default();
        let fresh = env.snapshot();
        env.reset(&question(), &seed()).unwrap();
        let asked = env.snapshot();
        env.step(&answer()).unwrap();
        let answered = env.snapshot();

        env.restore(&asked).unwrap();
        assert!(env.step(&answer()).unwrap().done);
        env.restore(&answered).unwrap();
        assert_eq!(env.step(&answer()), Err(finished()));
        env.restore(&fresh).unwrap();
        assert!(matches!(
            env.step(&answer()),
            Err(EnvError::NotReset { .. })
        ));

        let mut other = Question::default();
        other.restore(&asked).unwrap();
        assert!(other.step(&answer()).unwrap().done);
    }

    #[test]
    fn a_foreign_snapshot_changes_nothing() {
        let mut env: Box<dyn Env> = Box::new(Question::default());
        env.reset(&question(), &seed()).unwrap();
        let error = env.restore(&Snapshot::new("maze", 3u8)).unwrap_err();
        assert!(
            error.to_string().contains("env `maze` has taken"),
            "{error}"
        );
        assert!(env.step(&answer()).unwrap().done);
    }
}
