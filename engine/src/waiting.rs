//! This file knows which call the execution client has not answered for long, for people to see.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A call that takes longer is worth a word: clients answer most calls within milliseconds.
pub const SLOW: Duration = Duration::from_secs(2);

/// For how long a slow call is told after its end.
const TOLD: Duration = Duration::from_secs(60);

/// The calls under way, and the newest that was slow. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    calls: Arc<Mutex<Calls>>,
}

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    under_way: Vec<Call>,
    slow: Option<SlowCall>,
}

/// A call that ended after it had taken long.
#[derive(Clone, Copy, Debug)]
struct SlowCall {
    method: &'static str,
    took: Duration,
    ended: Instant,
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

    /// The newest call that took longer than [`SLOW`], if it ended within the last minute.
    pub fn slow_call(&self) -> Option<String> {
        self.slow_call_at(Instant::now())
    }

    fn slow_call_at(&self, now: Instant) -> Option<String> {
        let slow = self.lock().slow?;
        let ago = now.saturating_duration_since(slow.ended);
        (ago < TOLD).then(|| {
            format!(
                "a call of {} to the execution client took {:.1} s, {} s ago",
                slow.method,
                slow.took.as_secs_f64(),
                ago.as_secs()
            )
        })
    }

    fn end(&self, number: u64, now: Instant) {
        let mut calls = self.lock();
        let Some(at) = calls.under_way.iter().position(|call| call.number == number) else {
            return;
        };
        let Call { method, since, .. } = calls.under_way.swap_remove(at);
        let took = now.saturating_duration_since(since);
        if took >= SLOW {
            calls.slow = Some(SlowCall {
                method,
                took,
                ended: now,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        // The list is whole at every point where a panic could leave it.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waiting.end(self.number, Instant::now());
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

    #[test]
    fn a_call_that_took_long_is_told_for_a_minute_and_a_quick_one_is_not() {
        let waiting = Waiting::default();
        let now = Instant::now();
        let quick = waiting.begin("quick");
        waiting.end(quick.number, now + SLOW / 2);
        assert_eq!(waiting.slow_call_at(now + SLOW), None);
        let slow = waiting.begin("slow");
        let ended = now + SLOW * 2;
        waiting.end(slow.number, ended);
        drop((quick, slow));
        let told = waiting.slow_call_at(ended + TOLD / 2).expect("it was slow");
        assert!(
            told.starts_with("a call of slow to the execution client took ") && told.ends_with(", 30 s ago"),
            "{told}"
        );
        assert_eq!(waiting.slow_call_at(ended + TOLD), None);
    }
}
