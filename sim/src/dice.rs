//! This file knows how to draw every random choice of a run from its seed.
//!
//! Each concern has a stream of its own, so that a new choice in one concern does not move all the others.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ultramarine_types::canonical::Canonical;
use ultramarine_types::{Hash, Nanos};

/// A stream of random choices.
#[derive(Clone, Debug)]
pub struct Dice {
    rng: ChaCha8Rng,
}

impl Dice {
    /// How many times as long as typical most spans are at most.
    pub const LONG: u64 = 2;
    /// How many times as long as typical some spans are at most.
    pub const LONGEST: u64 = 10;
    /// How many of a thousand spans those are.
    pub const LONG_PER_MILLE: u32 = 50;

    /// The stream of one concern of one seed.
    pub fn of(seed: u64, concern: &str) -> Self {
        let hash = Canonical::new("ultramarine/sim/dice/1")
            .u64(seed)
            .bytes(concern.as_bytes())
            .sha256();
        Self {
            rng: ChaCha8Rng::from_seed(hash.0),
        }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.random_range(low..=high.max(low))
    }

    /// An index below `count`, which is not zero.
    pub fn below(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count)
    }

    /// True in `per_mille` of a thousand cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.random_range(0..1000) < per_mille
    }

    /// A span between two numbers of microseconds.
    pub fn micros(&mut self, low: u64, high: u64) -> Nanos {
        Nanos(self.between(low * 1000, high * 1000))
    }

    /// A span between two numbers of milliseconds.
    pub fn millis(&mut self, low: u64, high: u64) -> Nanos {
        self.micros(low * 1000, high * 1000)
    }

    /// A span with a long tail: mostly near `typical`, one in twenty up to ten times as long.
    pub fn latency(&mut self, typical: Nanos) -> Nanos {
        let tail = if self.chance(Self::LONG_PER_MILLE) {
            Self::LONGEST
        } else {
            Self::LONG
        };
        Nanos(self.between(typical.0 / 2, typical.0 * tail))
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// 32 random bytes.
    pub fn hash(&mut self) -> Hash {
        Hash(self.rng.random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_concern_draw_the_same() {
        let draw = |seed, concern| {
            let mut dice = Dice::of(seed, concern);
            (0..8).map(|_| dice.between(0, u64::MAX - 1)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, "disk"), draw(7, "disk"));
        assert_ne!(draw(7, "disk"), draw(7, "network"));
        assert_ne!(draw(7, "disk"), draw(8, "disk"));
    }
}
