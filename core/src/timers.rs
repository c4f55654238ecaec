//! This file knows how long each step of consensus waits, and which of its timers are running.
//!
//! Keeps: each timer stands under its own name, so that it runs once, and is put off once at most.

use std::collections::BTreeMap;

use malachitebft_core_types::{Timeout, TimeoutKind};
use ultramarine_types::{ChainParams, Nanos};

/// A timer that is overdue by more than this shows that the process did not run. What came meanwhile waits behind it.
const LATE: Nanos = Nanos::from_millis(250);
/// How long such a timer is put off, so that what came is read first.
const CATCH_UP: Nanos = Nanos::from_millis(100);

/// How long each step waits in round 0. Each further round adds a quarter to each, without a ceiling: however slow the
/// network is, some round is long enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Durations {
    /// For a proposal of a validator that cannot make one.
    pub propose_away: Nanos,
    /// For the last third of the prevotes, and for verdicts that are still under way.
    pub prevote: Nanos,
    /// For the last third of the precommits.
    pub precommit: Nanos,
    /// Between two rebroadcasts of our newest votes, in every round.
    pub rebroadcast: Nanos,
    /// Whether later rounds wait longer. Only tests of very many rounds forgo that.
    pub grow: bool,
}

impl Durations {
    /// From the chain's largest legal block.
    pub fn of(chain: &ChainParams) -> Self {
        // The bytes of the largest block once more at 100 MB/s, for nodes whose verdict comes late.
        let late = Nanos::from_millis(chain.limits().block_blob_bytes() as u64 / 100_000);
        Self {
            propose_away: Nanos::from_millis(100),
            prevote: Nanos::from_millis(400) + late,
            precommit: Nanos::from_millis(200),
            rebroadcast: Nanos::from_millis(1_000),
            grow: true,
        }
    }

    /// How long a timer of Malachite's runs, where a proposal is waited for so long in round 0.
    pub fn duration(&self, timeout: Timeout, propose: Nanos) -> Nanos {
        let base = match timeout.kind {
            TimeoutKind::Propose => propose,
            TimeoutKind::Prevote => self.prevote,
            TimeoutKind::Precommit => self.precommit,
            TimeoutKind::Rebroadcast => return self.rebroadcast,
            TimeoutKind::FinalizeHeight(duration) => return duration.into(),
        };
        let rounds = if self.grow { timeout.round.as_u32() } else { None };
        let rounds = u64::from(rounds.unwrap_or(0));
        base + Nanos((base.0 / 4).saturating_mul(rounds))
    }
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    timeout: Timeout,
    /// When it was to fire at first.
    asked: Nanos,
    /// When it was set to fire.
    set: Nanos,
    /// When it fires.
    due: Nanos,
}

#[derive(Debug, Default)]
pub struct Timers {
    running: BTreeMap<(u8, i64), Timer>,
}

impl Timers {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a timer, or starts it again.
    pub fn schedule(&mut self, due: Nanos, timeout: Timeout) {
        let timer = Timer {
            timeout,
            asked: due,
            set: due,
            due,
        };
        self.running.insert(name(timeout), timer);
    }

    /// Has a timer fire at another moment, if it runs and was set to another one.
    pub fn change(&mut self, due: Nanos, timeout: Timeout) {
        if let Some(timer) = self.running.get_mut(&name(timeout)).filter(|timer| timer.set != due) {
            (timer.set, timer.due) = (due, due);
        }
    }

    /// Has a timer that was to run for `duration` run for `most` at most.
    pub fn limit(&mut self, duration: Nanos, most: Nanos, timeout: Timeout) {
        let over = duration.since(most);
        if let Some(timer) = self.running.get_mut(&name(timeout)) {
            let due = Nanos(timer.asked.0.saturating_sub(over.0));
            if timer.set > due {
                (timer.set, timer.due) = (due, due);
            }
        }
    }

    /// Has a timer fire now, if it runs.
    pub fn hurry(&mut self, now: Nanos, timeout: Timeout) {
        if let Some(timer) = self.running.get_mut(&name(timeout)).filter(|timer| timer.due > now) {
            (timer.set, timer.due) = (now, now);
        }
    }

    pub fn is_running(&self, timeout: Timeout) -> bool {
        self.running.contains_key(&name(timeout))
    }

    pub fn cancel(&mut self, timeout: Timeout) {
        self.running.remove(&name(timeout));
    }

    pub fn cancel_all(&mut self) {
        self.running.clear();
    }

    /// When the next one is due.
    pub fn deadline(&self) -> Option<Nanos> {
        self.running.values().map(|timer| timer.due).min()
    }

    /// Puts off what is overdue because the process did not run: each timer once.
    pub fn put_off(&mut self, now: Nanos) {
        for timer in self.running.values_mut() {
            if timer.due + LATE < now && timer.due == timer.set {
                timer.due = now + CATCH_UP;
            }
        }
    }

    /// Takes one that is due, the earliest first.
    pub fn fire(&mut self, now: Nanos) -> Option<Timeout> {
        let due = self.running.iter().filter(|(_, timer)| timer.due <= now);
        let (key, timeout) = due
            .min_by_key(|(key, timer)| (timer.due, **key))
            .map(|(key, timer)| (*key, timer.timeout))?;
        self.running.remove(&key);
        Some(timeout)
    }

    /// Asserts that each timer stands under its own name, and was put off once at most.
    pub fn check_whole(&self) {
        for (running, timer) in &self.running {
            assert_eq!(*running, name(timer.timeout), "a timer under another's name");
            assert!(timer.due >= timer.set, "a timer fires before its time");
        }
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
