//! This file knows how long round 0 waits for its proposal: as long as the last heights needed, within bounds.
//!
//! A height's need is the time from the start of its value's round until the value was valid here. Of each proposer the
//! newest heights are known. The wait is twice what proposers with more than two thirds of the power keep to, us among
//! them, who need no time. So a third of the power moves it neither above what some honest proposer needs nor below it.
//!
//! Nothing of this enters validity, or the log: when a wait has ended, that is logged. A node that starts knows no
//! heights, and waits as long as the chain's largest block is reckoned to need.

use std::collections::{BTreeMap, VecDeque};

use ultramarine_types::{Address, Nanos, ValidatorSet};

/// The shortest wait: a client builds a block in it, and a proposal travels around the world.
pub const LEAST: Nanos = Nanos::from_millis(1_000);
/// Heights of one proposer that count: its largest block of these.
const NEWEST: usize = 4;

/// What the newest heights of each proposer needed.
#[derive(Debug, Default)]
pub struct Pace {
    needs: BTreeMap<Address, VecDeque<Nanos>>,
}

impl Pace {
    /// A value of this proposer was decided. It was valid here so long after the start of its round.
    pub fn note(&mut self, proposer: Address, need: Nanos) {
        let needs = self.needs.entry(proposer).or_default();
        needs.push_back(need);
        if needs.len() > NEWEST {
            needs.pop_front();
        }
    }

    /// How long round 0 waits for its proposal, where the chain's largest block is `reckoned` to need so long.
    pub fn wait(&self, set: &ValidatorSet, ours: &Address, reckoned: Nanos) -> Nanos {
        let need = |address: &Address| {
            if address == ours {
                return Nanos::ZERO;
            }
            let needs = self.needs.get(address).and_then(|needs| needs.iter().max());
            needs.copied().unwrap_or(Nanos(reckoned.0 / 2))
        };
        let mut needs: Vec<(Nanos, u64)> = set.iter().map(|(address, it)| (need(address), it.power)).collect();
        needs.sort_unstable();
        let mut power = 0u64;
        let kept = needs.into_iter().find(|(_, more)| {
            power = power.saturating_add(*more);
            set.is_quorum(power)
        });
        let kept = kept.map_or(reckoned, |(need, _)| need);
        let most = Nanos(reckoned.0.saturating_mul(2)).max(LEAST);
        Nanos(kept.0.saturating_mul(2)).clamp(LEAST, most)
    }

    /// Asserts that little is kept, and of validators alone.
    pub fn check_whole(&self, set: &ValidatorSet) {
        for (address, needs) in &self.needs {
            assert!(set.get(address).is_some(), "a stranger's heights count");
            assert!((1..=NEWEST).contains(&needs.len()), "too many heights count");
        }
    }
}

#[cfg(test)]
#[path = "pace/tests.rs"]
mod tests;
