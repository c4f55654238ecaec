//! This file knows how to hold a peer to a rate: a bucket fills with time and says how long to wait.

use ultramarine_types::Nanos;

/// A token bucket. It may go into debt for one large piece, for which the caller then waits.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate_per_second: u64,
    burst: u64,
    /// In thousand-millionths of a token, so that any rate divides evenly.
    level: i128,
    at: Nanos,
}

const SCALE: i128 = 1_000_000_000;

impl Bucket {
    pub const fn new(rate_per_second: u64, burst: u64, now: Nanos) -> Self {
        Self {
            rate_per_second,
            burst,
            level: burst as i128 * SCALE,
            at: now,
        }
    }

    /// Takes `count` tokens. Returns how long to wait before going on: zero if there were enough.
    pub fn take(&mut self, now: Nanos, count: u64) -> Nanos {
        self.level = self.level_at(now) - i128::from(count) * SCALE;
        self.at = self.at.max(now);
        if self.level >= 0 {
            return Nanos::ZERO;
        }
        let wait = -self.level / i128::from(self.rate_per_second.max(1));
        Nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    /// Gives back tokens that were taken and not used.
    pub fn give_back(&mut self, count: u64) {
        self.level += i128::from(count) * SCALE;
    }

    /// Whether the bucket holds its whole burst again.
    pub fn is_full(&self, now: Nanos) -> bool {
        self.level_at(now) >= i128::from(self.burst) * SCALE
    }

    /// Whether more tokens were taken than there were.
    pub fn is_in_debt(&self, now: Nanos) -> bool {
        self.level_at(now) < 0
    }

    /// Whole tokens that it holds.
    pub fn left(&self, now: Nanos) -> u64 {
        u64::try_from(self.level_at(now) / SCALE).unwrap_or(0)
    }

    /// When it holds a whole token.
    pub fn ready_at(&self, now: Nanos) -> Nanos {
        let missing = SCALE - self.level_at(now);
        let wait = missing.max(0) / i128::from(self.rate_per_second.max(1));
        let wait = u64::try_from(wait).unwrap_or(u64::MAX);
        if missing > 0 {
            Nanos(now.0.saturating_add(wait).saturating_add(1))
        } else {
            now
        }
    }

    /// It fills at another rate from now on. What it holds and owes stays.
    pub fn set_rate(&mut self, now: Nanos, rate_per_second: u64, burst: u64) {
        self.level = self.level_at(now).min(i128::from(burst) * SCALE);
        self.at = self.at.max(now);
        (self.rate_per_second, self.burst) = (rate_per_second, burst);
    }

    /// When tokens were last taken.
    pub const fn used(&self) -> Nanos {
        self.at
    }

    fn level_at(&self, now: Nanos) -> i128 {
        let earned = i128::from(now.since(self.at).0) * i128::from(self.rate_per_second);
        (self.level + earned).min(i128::from(self.burst) * SCALE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nobody_gets_more_than_burst_and_rate(takes in proptest::collection::vec(1u64..5_000, 1..200)) {
            let mut bucket = Bucket::new(1_000, 2_000, Nanos::ZERO);
            let (mut now, mut taken) = (Nanos::ZERO, 0);
            for count in takes {
                let before = now;
                now = now + bucket.take(now, count);
                // What was let through before the wait fits burst and rate, save the piece being waited for.
                prop_assert!(taken <= 2_000 + before.0 / 1_000_000 + 1);
                taken += count;
            }
        }
    }

    #[test]
    fn it_says_when_it_holds_a_token_and_may_fill_at_another_rate() {
        let mut bucket = Bucket::new(1_000, 10, Nanos::ZERO);
        assert_eq!(
            (bucket.left(Nanos::ZERO), bucket.ready_at(Nanos::ZERO)),
            (10, Nanos::ZERO)
        );
        bucket.take(Nanos::ZERO, 15);
        assert_eq!(bucket.left(Nanos::ZERO), 0);
        let ready = bucket.ready_at(Nanos::ZERO);
        assert!(bucket.left(ready) == 1 && bucket.left(Nanos(ready.0 - 10)) == 0);
        bucket.set_rate(Nanos::ZERO, 10, 10);
        assert_eq!(bucket.left(ready), 0, "what it owes stays");
        assert_eq!(bucket.left(Nanos::from_millis(1_000)), 5);
    }

    #[test]
    fn a_quiet_peer_earns_no_more_than_its_burst() {
        let mut bucket = Bucket::new(10, 20, Nanos::ZERO);
        let later = Nanos::from_millis(100_000);
        assert_eq!(bucket.take(later, 20), Nanos::ZERO);
        assert!(!bucket.is_in_debt(later) && !bucket.is_full(later));
        assert_eq!(bucket.take(later, 10), Nanos::from_millis(1_000));
        assert!(bucket.is_in_debt(later) && !bucket.is_in_debt(later + Nanos::from_millis(1_000)));
        assert!(bucket.is_full(later + Nanos::from_millis(3_000)));
        bucket.give_back(30);
        assert!(bucket.is_full(later), "nothing was used");
        bucket.give_back(30);
        assert_eq!(
            bucket.take(later, 30),
            Nanos::from_millis(1_000),
            "and that is all there is"
        );
    }
}
