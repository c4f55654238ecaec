//! This file knows which call the execution client has not answered for long, for people to see.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A call that takes longer is worth a word: clients answer most calls within milliseconds.
pub const SLOW: Duration = Duration::from_secs(2);

/// For how long a slow call is told after its end.
const TOLD: Duration = Duration::from_secs(60);

/// A call that was given up on, and is not made again for this long, is told no more. Retries come sooner.
const LAPSE: Duration = Duration::from_secs(4);

/// The calls under way, those that were given up on, and the newest that was slow. Clones are the same list.
///
/// A client that hangs answers no retry either. So a call that follows one of its method that was given up on is waited
/// for since that one began.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    calls: Arc<Mutex<Calls>>,
}

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    under_way: Vec<Call>,
    /// One a method at most: the newest that was given up on.
    given_up: Vec<GivenUp>,
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
    /// Since when the client has not answered this method.
    silent_since: Instant,
}

/// A call that had no answer in time.
#[derive(Clone, Copy, Debug)]
struct GivenUp {
    method: &'static str,
    silent_since: Instant,
    ended: Instant,
}

/// A call under way. It is over when this is dropped.
#[derive(Debug)]
pub struct Wait {
    waiting: Waiting,
    number: u64,
}

impl Waiting {
    /// Notes a call, until the [`Wait`] is dropped or given up.
    pub fn begin(&self, method: &'static str) -> Wait {
        self.begin_at(method, Instant::now())
    }

    fn begin_at(&self, method: &'static str, now: Instant) -> Wait {
        let mut calls = self.lock();
        let number = calls.next;
        calls.next += 1;
        let before = calls.given_up.iter().find(|given_up| given_up.method == method);
        let silent_since = before
            .filter(|before| now.saturating_duration_since(before.ended) < LAPSE)
            .map_or(now, |before| before.silent_since);
        calls.under_way.push(Call {
            number,
            method,
            since: now,
            silent_since,
        });
        drop(calls);
        Wait {
            waiting: self.clone(),
            number,
        }
    }

    /// Names the call that we have waited for longest, over all its tries, if that is longer than [`SLOW`].
    pub fn reason(&self) -> Option<String> {
        self.reason_at(Instant::now())
    }

    fn reason_at(&self, now: Instant) -> Option<String> {
        let calls = self.lock();
        let under_way = calls.under_way.iter().map(|call| (call.silent_since, call.method));
        let given_up = calls.given_up.iter();
        let recent = given_up.filter(|given_up| now.saturating_duration_since(given_up.ended) < LAPSE);
        let silences = under_way.chain(recent.map(|given_up| (given_up.silent_since, given_up.method)));
        let (since, method) = silences.min()?;
        let waited = now.saturating_duration_since(since);
        (waited >= SLOW).then(|| {
            format!(
                "the execution client has not answered {method} for {} s",
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

    fn end(&self, number: u64, now: Instant, is_given_up: bool) {
        let mut calls = self.lock();
        let Some(at) = calls.under_way.iter().position(|call| call.number == number) else {
            return;
        };
        let Call {
            method,
            since,
            silent_since,
            ..
        } = calls.under_way.swap_remove(at);
        calls.given_up.retain(|given_up| given_up.method != method);
        if is_given_up {
            calls.given_up.push(GivenUp {
                method,
                silent_since,
                ended: now,
            });
        }
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

impl Wait {
    /// The call had no answer in the time that it may take.
    pub fn give_up(self) {
        self.waiting.end(self.number, Instant::now(), true);
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // After it was given up, there is nothing left to end.
        self.waiting.end(self.number, Instant::now(), false);
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
    fn a_client_that_answers_no_retry_either_is_silent_since_the_first_call() {
        let waiting = Waiting::default();
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let first = waiting.begin_at("engine_newPayloadV4", now);
        waiting.end(first.number, now + seconds(8), true);
        let between = waiting.reason_at(now + seconds(10)).expect("a retry is due");
        assert!(between.ends_with("engine_newPayloadV4 for 10 s"), "{between}");
        let retry = waiting.begin_at("engine_newPayloadV4", now + seconds(10));
        let other = waiting.begin_at("engine_forkchoiceUpdatedV3", now + seconds(10));
        waiting.end(other.number, now + seconds(10), false);
        let meanwhile = waiting.reason_at(now + seconds(11)).expect("still no answer");
        assert!(meanwhile.ends_with("engine_newPayloadV4 for 11 s"), "{meanwhile}");
        waiting.end(retry.number, now + seconds(12), false);
        assert_eq!(waiting.reason_at(now + seconds(12)), None, "it has answered");
    }

    #[test]
    fn a_call_that_was_given_up_on_and_is_not_made_again_is_told_no_more() {
        let waiting = Waiting::default();
        let now = Instant::now();
        let call = waiting.begin_at("engine_getPayloadV4", now);
        let ended = now + SLOW * 4;
        waiting.end(call.number, ended, true);
        assert!(waiting.reason_at(ended + LAPSE / 2).is_some());
        assert_eq!(waiting.reason_at(ended + LAPSE), None);
        let later = waiting.begin_at("engine_getPayloadV4", ended + LAPSE);
        assert_eq!(waiting.reason_at(ended + LAPSE + SLOW / 2), None, "another one");
        drop((call, later));
    }

    #[test]
    fn a_call_that_took_long_is_told_for_a_minute_and_a_quick_one_is_not() {
        let waiting = Waiting::default();
        let now = Instant::now();
        let quick = waiting.begin("quick");
        waiting.end(quick.number, now + SLOW / 2, false);
        assert_eq!(waiting.slow_call_at(now + SLOW), None);
        let slow = waiting.begin("slow");
        let ended = now + SLOW * 2;
        waiting.end(slow.number, ended, false);
        drop((quick, slow));
        let told = waiting.slow_call_at(ended + TOLD / 2).expect("it was slow");
        assert!(
            told.starts_with("a call of slow to the execution client took ") && told.ends_with(", 30 s ago"),
            "{told}"
        );
        assert_eq!(waiting.slow_call_at(ended + TOLD), None);
    }
}
