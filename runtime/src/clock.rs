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

#[cfg(test)]
mod tests {
    use super::*;

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
