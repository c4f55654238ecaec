//! This file knows how long each step of consensus waits, and which of its timers are running.
//!
//! Malachite's `Timeout` names a round but no height: a timer that outlived its height would fire into the next one.
//! So every timer carries a generation, and cancelling all starts a new one.
//!
//! Keeps: each timer stands under its own name, so that it runs once.

use std::collections::BTreeMap;

use malachitebft_core_types::{Timeout, TimeoutKind};
use ultramarine_types::{ChainParams, Nanos};

/// How long each step waits in round 0, and how much longer in each further round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Durations {
    /// For a proposal, from the start of the round until its verdict.
    pub propose: Nanos,
    /// For a proposal of a validator to whom nobody is connected, or that proposes nothing.
    pub propose_away: Nanos,
    /// For the last third of the prevotes, and for verdicts that are still under way.
    pub prevote: Nanos,
    /// For the last third of the precommits.
    pub precommit: Nanos,
    /// Between two rebroadcasts of our newest votes.
    pub rebroadcast: Nanos,
    /// Added per round to each of them.
    pub delta: Nanos,
    /// No wait is longer.
    pub ceiling: Nanos,
}

impl Durations {
    /// From the chain's largest legal block.
    pub fn of(chain: &ChainParams) -> Self {
        let limits = chain.limits();
        let propose = limits.propose_timeout();
        // The bytes of the largest block once more at 100 MB/s, for nodes whose verdict comes late.
        let late = Nanos::from_millis(limits.block_blob_bytes() as u64 / 100_000);
        let propose_away = Nanos::from_millis(100);
        assert!(propose_away < propose, "a proposer that is away is given less time");
        Self {
            propose,
            propose_away,
            prevote: Nanos::from_millis(400) + late,
            precommit: Nanos::from_millis(200),
            rebroadcast: Nanos::from_millis(1_000),
            delta: Nanos::from_millis(250),
            ceiling: propose + Nanos::from_millis(20_000),
        }
    }

    /// How long a timer of Malachite's runs. `away` says that no proposal is to be expected.
    pub fn duration(&self, timeout: Timeout, away: bool) -> Nanos {
        let base = match timeout.kind {
            TimeoutKind::Propose if away => self.propose_away,
            TimeoutKind::Propose => self.propose,
            TimeoutKind::Prevote => self.prevote,
            TimeoutKind::Precommit => self.precommit,
            TimeoutKind::Rebroadcast => self.rebroadcast,
            TimeoutKind::FinalizeHeight(duration) => return duration.into(),
        };
        let rounds = u64::from(timeout.round.as_u32().unwrap_or(0));
        let longer = base + Nanos(self.delta.0.saturating_mul(rounds));
        longer.min(self.ceiling)
    }
}

/// A timer that fired, with the generation it was set in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fired {
    pub generation: u64,
    pub timeout: Timeout,
}

#[derive(Debug, Default)]
pub struct Timers {
    generation: u64,
    running: BTreeMap<(u8, i64), (Nanos, Timeout)>,
}

impl Timers {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a timer, or starts it again.
    pub fn schedule(&mut self, due: Nanos, timeout: Timeout) {
        self.running.insert(name(timeout), (due, timeout));
    }

    pub fn cancel(&mut self, timeout: Timeout) {
        self.running.remove(&name(timeout));
    }

    /// Stops all and begins a new generation.
    pub fn cancel_all(&mut self) {
        self.generation += 1;
        self.running.clear();
    }

    /// When the next one is due.
    pub fn deadline(&self) -> Option<Nanos> {
        self.running.values().map(|(due, _)| *due).min()
    }

    /// Takes one that is due, the earliest first.
    pub fn fire(&mut self, now: Nanos) -> Option<Fired> {
        let (key, (_, timeout)) = self
            .running
            .iter()
            .filter(|(_, (due, _))| *due <= now)
            .min_by_key(|(key, (due, _))| (*due, **key))
            .map(|(key, value)| (*key, *value))?;
        self.running.remove(&key);
        Some(Fired {
            generation: self.generation,
            timeout,
        })
    }

    /// Asserts that each timer stands under its own name.
    pub fn check_whole(&self) {
        for (running, (_, timeout)) in &self.running {
            assert_eq!(*running, name(*timeout), "a timer under another's name");
        }
    }

    /// Whether a fired timer still counts.
    pub fn is_current(&self, fired: Fired) -> bool {
        fired.generation == self.generation
    }
}

fn name(timeout: Timeout) -> (u8, i64) {
    let kind = match timeout.kind {
        TimeoutKind::Propose => 0,
        TimeoutKind::Prevote => 1,
        TimeoutKind::Precommit => 2,
        TimeoutKind::Rebroadcast => 3,
        TimeoutKind::FinalizeHeight(_) => 4,
    };
    (kind, timeout.round.as_i64())
}

#[cfg(test)]
#[path = "timers/tests.rs"]
mod tests;
