//! Judging on threads that may block, so that one slow response holds up nobody else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ocelli_core::{Episode, Outcome};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Grader;
use crate::protocol::{ErrorKind, ServiceError};

/// After this long without an end, the rest of a batch gets one thread more. Longer than nearly all batches take, and
/// short beside what a person or a trainer notices.
const PATIENCE: Duration = Duration::from_millis(10);

/// The groups of a batch on their way through the threads.
struct Work {
    grader: Arc<dyn Grader>,
    /// The first group that no thread has taken.
    next: AtomicUsize,
    groups: Vec<Mutex<Group>>,
}

enum Group {
    Waiting(Vec<Episode>),
    Taken,
    Done(Vec<Result<Outcome, ServiceError>>),
}

/// Grades `groups` and gives an outcome for each episode, in order.
///
/// The groups are taken one after the other by one thread, and by one more for each [`PATIENCE`] that passes: a group
/// that takes long delays the others by no more than that. A group that is not done at `deadline` has a time-out for an
/// outcome; a thread that is still at work on it ends its group and then stops.
pub(super) async fn grade(
    grader: Arc<dyn Grader>,
    groups: Vec<Vec<Episode>>,
    deadline: Instant,
) -> Vec<Vec<Result<Outcome, ServiceError>>> {
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    let work = Arc::new(Work {
        grader,
        next: AtomicUsize::new(0),
        groups: groups
            .into_iter()
            .map(|group| Mutex::new(Group::Waiting(group)))
            .collect(),
    });
    let mut threads = JoinSet::new();
    loop {
        if work.next.load(Ordering::Relaxed) < work.groups.len() {
            let work = work.clone();
            threads.spawn_blocking(move || while work.grade_next() {});
        }
        let wake = deadline.min(Instant::now() + PATIENCE);
        if tokio::time::timeout_at(wake, ended(&mut threads))
            .await
            .is_ok()
            || wake >= deadline
        {
            break;
        }
    }
    work.next.store(work.groups.len(), Ordering::Relaxed);
    work.groups
        .iter()
        .zip(sizes)
        .map(|(group, size)| {
            let mut group = group.lock().unwrap_or_else(PoisonError::into_inner);
            match std::mem::replace(&mut *group, Group::Taken) {
                Group::Done(outcomes) => outcomes,
                Group::Waiting(_) | Group::Taken => vec![Err(time_is_up()); size],
            }
        })
        .collect()
}

/// Waits until no thread is left.
async fn ended(threads: &mut JoinSet<()>) {
    while threads.join_next().await.is_some() {}
}

fn time_is_up() -> ServiceError {
    ServiceError::new(
        ErrorKind::Timeout,
        "the response was not judged within the request's time",
    )
}

impl Work {
    /// Grades the next group; false when there is none.
    fn grade_next(&self) -> bool {
        let position = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(group) = self.groups.get(position) else {
            return false;
        };
        let taken = self.put(group, Group::Taken);
        if let Group::Waiting(episodes) = taken {
            self.put(group, Group::Done(grade_group(&*self.grader, episodes)));
        }
        true
    }

    fn put(&self, group: &Mutex<Group>, state: Group) -> Group {
        let mut group = group.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *group, state)
    }
}

/// Grades one group; a panic is an error of each of its episodes.
fn grade_group(
    grader: &dyn Grader,
    mut episodes: Vec<Episode>,
) -> Vec<Result<Outcome, ServiceError>> {
    match catch_unwind(AssertUnwindSafe(|| grader.grade(&mut episodes))) {
        Ok(()) => episodes.into_iter().map(|e| Ok(e.outcome)).collect(),
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            let error = ServiceError::new(ErrorKind::Panic, format!("a verifier panicked: {text}"));
            vec![Err(error); episodes.len()]
        }
    }
}
