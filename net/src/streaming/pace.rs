//! This file knows whether a value still comes: how many bytes of it came since it got room, and of late.

use ultramarine_types::Nanos;

use crate::bounds;

/// Bytes of a value that were here at a moment.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Nanos,
    bytes: u64,
}

/// What came of a value since an older mark. That is set anew every [`bounds::PACE_WINDOW`] or two. So a sender that
/// began fast has no credit for long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    older: Mark,
    newer: Mark,
}

impl Pace {
    /// From now on, with so many bytes here.
    pub const fn begin(now: Nanos, bytes: u64) -> Self {
        let mark = Mark { at: now, bytes };
        Self {
            older: mark,
            newer: mark,
        }
    }

    /// Notes how many bytes are here now.
    pub fn note(&mut self, now: Nanos, bytes: u64) {
        if now.since(self.newer.at) >= bounds::PACE_WINDOW {
            self.older = self.newer;
            self.newer = Mark { at: now, bytes };
        }
    }

    /// Whether fewer bytes came than over the slowest connection that a node can live on.
    pub fn dribbles(&self, now: Nanos, bytes: u64) -> bool {
        let paced_ms = now.since(self.older.at + bounds::LAG_GRACE).0 / 1_000_000;
        bytes.saturating_sub(self.older.bytes) < paced_ms * bounds::DRIBBLE_BYTES_PER_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000 * bounds::DRIBBLE_BYTES_PER_MS;

    fn at(seconds: u64) -> Nanos {
        Nanos::from_millis(1000 * seconds)
    }

    #[test]
    fn what_comes_at_a_megabit_a_second_never_dribbles() {
        let mut pace = Pace::begin(at(0), 0);
        for seconds in 0..100 {
            pace.note(at(seconds), seconds * SECOND);
            assert!(!pace.dribbles(at(seconds), seconds * SECOND));
        }
    }

    #[test]
    fn a_fast_start_is_no_credit_for_longer_than_two_windows() {
        let (mut pace, fast) = (Pace::begin(at(0), 0), 1000 * SECOND);
        let window = bounds::PACE_WINDOW.0 / 1_000_000_000;
        for seconds in 1..2 * window {
            pace.note(at(seconds), fast);
            assert!(!pace.dribbles(at(seconds), fast));
        }
        pace.note(at(2 * window), fast);
        assert!(pace.dribbles(at(2 * window), fast));
    }
}
