//! This file knows a node's two clocks.
//!
//! The monotonic one runs a little fast or slow from the start of the process. The wall clock is wrong by an offset,
//! and may jump.

use ultramarine_types::Nanos;

use crate::block::GENESIS_SECONDS;

/// Rates are in parts per million.
const MILLION: u128 = 1_000_000;

/// The clocks of one node.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    /// When the process started, in simulated time.
    pub started: Nanos,
    /// How much faster than simulated time it runs, in parts per million, plus one million.
    pub rate: u64,
    /// Wall clock minus truth, in nanoseconds.
    pub offset_ns: i64,
    /// What the wall clock says while it stands still.
    pub stands_at: Option<u64>,
}

impl NodeClock {
    /// What the process's monotonic clock says.
    pub fn local(&self, now: Nanos) -> Nanos {
        Nanos((u128::from(now.since(self.started).0) * u128::from(self.rate) / MILLION) as u64)
    }

    /// The first simulated moment at which the monotonic clock says at least `local`.
    pub fn simulated(&self, local: Nanos) -> Nanos {
        if local == Nanos::NEVER {
            return Nanos::NEVER;
        }
        let span = (u128::from(local.0) * MILLION).div_ceil(u128::from(self.rate));
        self.started + Nanos(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// What the wall clock says, in nanoseconds since the Unix epoch.
    pub fn unix_ns(&self, now: Nanos) -> u64 {
        self.stands_at.unwrap_or_else(|| self.running(now))
    }

    /// The wall clock stands still from now on.
    pub fn stop(&mut self, now: Nanos) {
        self.stands_at = Some(self.unix_ns(now));
    }

    /// What the wall clock says more than the truth.
    pub fn error_ns(&self, now: Nanos) -> i64 {
        let truth = i128::from(GENESIS_SECONDS * 1_000_000_000 + now.0);
        i64::try_from(i128::from(self.unix_ns(now)) - truth).unwrap_or(i64::MAX)
    }

    fn running(&self, now: Nanos) -> u64 {
        (GENESIS_SECONDS * 1_000_000_000 + now.0).saturating_add_signed(self.offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_stands_is_more_wrong_every_second() {
        let mut clock = NodeClock {
            started: Nanos(0),
            rate: 1_000_000,
            offset_ns: 1_000,
            stands_at: None,
        };
        let second = 1_000_000_000;
        clock.stop(Nanos(second));
        assert_eq!(clock.unix_ns(Nanos(second)), clock.unix_ns(Nanos(9 * second)));
        assert_eq!(clock.error_ns(Nanos(9 * second)), 1_000 - 8 * second as i64);
    }

    #[test]
    fn a_deadline_is_reached_when_it_is_due_and_not_before() {
        for rate in [999_000, 1_000_000, 1_000_777] {
            let clock = NodeClock {
                started: Nanos(12_345),
                rate,
                offset_ns: 0,
                stands_at: None,
            };
            for local in [0, 1, 999, 1_000_000_007] {
                let at = clock.simulated(Nanos(local));
                assert!(clock.local(at) >= Nanos(local));
                assert!(at == clock.started || clock.local(Nanos(at.0 - 1)) < Nanos(local));
            }
        }
    }
}
