//! This file knows which call the execution client has not answered for long, for people to see.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A call that takes longer is worth a word: clients answer most calls within milliseconds.
pub const SLOW: Duration = Duration::from_secs(2);

/// The calls under way. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    calls: Arc<Mutex<Calls>>,
}

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    under_way: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    number: u64,
    method: &'static str,
    since: Instant,
}

/// A call under way. It is over when this is dropped.
#[derive(Debug)]
pub struct Wait {
    waiting: Waiting,
    number: u64,
}

impl Waiting {
    /// Notes a call, until the [`Wait`] is dropped.
    pub fn begin(&self, method: &'static str) -> Wait {
        let mut calls = self.lock();
        let number = calls.next;
        calls.next += 1;
        calls.under_way.push(Call {
            number,
            method,
            since: Instant::now(),
        });
        drop(calls);
        Wait {
            waiting: self.clone(),
            number,
        }
    }

    /// Names the call that we have waited for longest, if that is longer than [`SLOW`].
    pub fn reason(&self) -> Option<String> {
        self.reason_at(Instant::now())
    }

    fn reason_at(&self, now: Instant) -> Option<String> {
        let calls = self.lock();
        let oldest = calls.under_way.iter().min_by_key(|call| call.since)?;
        let waited = now.saturating_duration_since(oldest.since);
        (waited >= SLOW).then(|| {
            format!(
                "the execution client has not answered {} for {} s",
                oldest.method,
                waited.as_secs()
            )
        })
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        // The list is whole at every point where a panic could leave it.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waiting.lock().under_way.retain(|call| call.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_that_is_waited_for_longest_is_named_once_it_is_slow() {
        let waiting = Waiting::default();
        let now = Instant::now();
        assert_eq!(waiting.reason_at(now + SLOW * 9), None, "nothing is under way");
        let first = waiting.begin("first");
        let second = waiting.clone().begin("second");
        assert_eq!(waiting.reason_at(now), None, "not yet slow");
        let later = now + Duration::from_secs(31);
        assert!(
            waiting.reason_at(later).is_some_and(
                |reason| reason.contains("first") && (reason.ends_with("30 s") || reason.ends_with("31 s"))
            )
        );
        drop(first);
        assert!(waiting.reason_at(later).is_some_and(|reason| reason.contains("second")));
        drop(second);
        assert_eq!(waiting.reason_at(later), None);
    }
}
