//! This file knows how to hold each message back until the record that justifies it is durable.

use std::collections::VecDeque;

use ultramarine_types::Lsn;

/// Messages waiting for the log, oldest first.
///
/// Keeps:
/// - a message leaves only when the log is durable up to the position that was current when it was made;
/// - a message that may leave does not wait;
/// - messages leave in the order in which they came.
#[derive(Debug)]
pub struct Gate<M> {
    durable: Lsn,
    parked: VecDeque<(Lsn, M)>,
}

impl<M> Gate<M> {
    /// A gate over an empty log.
    pub fn new() -> Self {
        Self {
            durable: Lsn(0),
            parked: VecDeque::new(),
        }
    }

    /// Hands in a message that position `at` justifies; returns it at once if it need not wait.
    #[must_use]
    pub fn pass(&mut self, at: Lsn, message: M) -> Option<M> {
        if at <= self.durable && self.parked.is_empty() {
            return Some(message);
        }
        if let Some((newest, _)) = self.parked.back() {
            assert!(*newest <= at, "the log's position never moves back");
        }
        self.parked.push_back((at, message));
        self.check();
        None
    }

    /// The log is durable up to `lsn`: takes every message that may leave now.
    #[must_use]
    pub fn open(&mut self, lsn: Lsn) -> Vec<M> {
        assert!(lsn >= self.durable, "durability never moves back");
        self.durable = lsn;
        let free = self.parked.iter().take_while(|(at, _)| *at <= lsn).count();
        let leave = |(at, message)| {
            assert!(at <= lsn, "a message leaves before its record is durable");
            message
        };
        let free = self.parked.drain(..free).map(leave).collect();
        self.check();
        free
    }

    /// Asserts that what waits must wait.
    fn check(&self) {
        if let Some((oldest, _)) = self.parked.front() {
            assert!(*oldest > self.durable, "a message waits whose record is durable");
        }
    }

    /// Asserts that messages wait in the order of their records.
    pub fn check_whole(&self) {
        self.check();
        assert!(
            self.parked.iter().is_sorted_by_key(|(at, _)| *at),
            "a message overtakes an older one"
        );
    }

    /// The position up to which the log must become durable for everything parked to leave.
    pub fn wanted(&self) -> Option<Lsn> {
        self.parked.back().map(|(at, _)| *at)
    }

    /// What waits, oldest first.
    pub fn parked(&self) -> impl Iterator<Item = &M> {
        self.parked.iter().map(|(_, message)| message)
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }
}

impl<M> Default for Gate<M> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;
