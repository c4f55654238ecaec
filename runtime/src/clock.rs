//! This file knows how to tell the time: monotonic for every decision, wall clock only for block timestamps.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ultramarine_types::Nanos;

/// The process's origin of time. One for all tiles, so that a moment read on one tile can be compared on another.
static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// The monotonic clock of the process. Backward steps of the wall clock never move it.
#[derive(Clone, Copy, Debug)]
pub struct Clock;

impl Clock {
    /// The clock, started if this is its first use. All `Clock`s of a process share one origin.
    pub fn start() -> Self {
        ORIGIN.get_or_init(Instant::now);
        Self
    }

    /// Time since the origin.
    pub fn now(&self) -> Nanos {
        ORIGIN.get_or_init(Instant::now).elapsed().into()
    }

    /// Nanoseconds since 1970 on the wall clock; zero if that clock is set before 1970.
    pub fn unix_ns() -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A moment on both clocks. The wall clock may be set afterwards, and so alone says nothing of how long ago it was.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Moment {
    /// On the monotonic clock of the process.
    pub at: Nanos,
    /// What the wall clock said then, in Unix seconds.
    pub unix_s: u64,
}

impl Moment {
    pub fn now() -> Self {
        Self {
            at: Clock::start().now(),
            unix_s: Clock::unix_ns() / 1_000_000_000,
        }
    }

    /// How long ago this was, in seconds.
    pub fn seconds_ago(&self, now: Self) -> u64 {
        now.at.since(self.at).0 / 1_000_000_000
    }

    /// When this was, by the wall clock as it is now: its reader subtracts that from now, and so hears how long ago.
    pub fn unix_s_as_of(&self, now: Self) -> u64 {
        let shown = now.unix_s.saturating_sub(self.seconds_ago(now));
        // Both are whole seconds. Without a step the answer stays the same to the second.
        if shown.abs_diff(self.unix_s) <= 1 {
            self.unix_s
        } else {
            shown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_ago_a_moment_was_outlives_a_step_of_the_wall_clock() {
        let moment = |at_ms: u64, unix_s| Moment {
            at: Nanos::from_millis(at_ms),
            unix_s,
        };
        let begun = moment(100_900, 5_000);
        for (passed_ms, unix_s) in [(0, 5_000), (200, 5_001), (900, 5_000), (59_999, 5_060)] {
            let now = moment(100_900 + passed_ms, unix_s);
            assert_eq!(begun.unix_s_as_of(now), 5_000, "no step after {passed_ms} ms");
        }
        // 5 s later, with the clock set half an hour back, or forward.
        for unix_s in [3_205, 6_805] {
            let now = moment(105_900, unix_s);
            assert_eq!(begun.seconds_ago(now), 5);
            assert_eq!(now.unix_s - begun.unix_s_as_of(now), 5);
        }
        assert_eq!(
            begun.unix_s_as_of(moment(105_900, 2)),
            0,
            "the clock is set to before the beginning of time"
        );
    }

    #[test]
    fn two_clocks_of_a_process_agree() {
        let (first, second) = (Clock::start(), Clock::start());
        let before = first.now();
        let between = second.now();
        let after = first.now();
        assert!(before <= between && between <= after);
    }

    #[test]
    fn the_wall_clock_is_past_2020() {
        assert!(Clock::unix_ns() > 1_577_836_800_000_000_000);
    }
}
