//! This file knows how well each peer has served us: whether it delivers, how soon, how fast, and what it was charged
//! for.
//!
//! A reputation outlives its connection: a peer that fails and connects again begins where it stopped. It only orders
//! peers and sets our patience with them. Slowness alone costs a peer nothing else.
//!
//! Keeps: few peers are remembered, and a peer that we trust has no failure since it last served us.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::limits::PEERS_MAX;
use ultramarine_types::{Nanos, PeerId};

/// Peers remembered: several times as many as can be connected, so that new keys do not wash out the others.
const REMEMBERED_MAX: usize = 4 * PEERS_MAX;
/// Answer times within which a peer is given up, or a second one is asked.
pub const PATIENCE_ANSWERS: u64 = 4;
/// Nobody is given less: an answer may wait for a disk.
pub const PATIENCE_MIN: Nanos = Nanos::from_millis(150);
/// A peer that answers slowly is given no more: it would choose how long we wait.
pub const PATIENCE_MAX: Nanos = Nanos::from_millis(2_000);
/// An answer's time, before one was measured: two round trips around the world.
const ANSWER: Nanos = Nanos::from_millis(300);
/// Bytes in a millisecond, before they were measured: the pace of the slowest honest server.
pub const PACE: u64 = 10_000;
/// By what peers are compared: six blobs and a payload.
const BLOCK_BYTES: u64 = 1024 * 1024;
/// A measurement counts one part in this many.
const WEIGHT: u64 = 4;

const _: () = assert!(PATIENCE_MIN.0 < PATIENCE_MAX.0);
const _: () = assert!(ANSWER.0 * PATIENCE_ANSWERS <= PATIENCE_MAX.0);

/// What we know of one peer.
#[derive(Clone, Copy, Default, Debug)]
struct Record {
    /// Requests that it failed since it last served one.
    failures: u8,
    /// It served something that a certificate proves, and has not failed since.
    is_trusted: bool,
    /// Its usual time from our question to the beginning of its answer.
    answer: Option<Nanos>,
    /// Bytes in a millisecond from there to the end.
    pace: Option<u64>,
    /// When it was last charged. What it was asked before is of the same stall.
    charged_at: Option<Nanos>,
    /// When it last changed.
    at: Nanos,
}

/// What we know of our peers.
#[derive(Debug, Default)]
pub struct Reputation {
    records: BTreeMap<PeerId, Record>,
    trusted: BTreeSet<PeerId>,
    trust_changes: u64,
    /// The usual time to the beginning of an answer, over all peers.
    answer: Option<Nanos>,
}

impl Reputation {
    /// A peer began to answer; we asked it at `asked_at`.
    pub fn answered(&mut self, now: Nanos, peer: PeerId, asked_at: Nanos) {
        let took = now.since(asked_at).min(PATIENCE_MAX);
        self.answer = Some(average(self.answer, took));
        let record = self.record(now, peer);
        record.answer = Some(average(record.answer, took));
    }

    /// A peer served what a certificate proves.
    pub fn served(&mut self, now: Nanos, peer: PeerId) {
        let record = self.record(now, peer);
        (record.failures, record.is_trusted) = (0, true);
        if self.trusted.insert(peer) {
            self.trust_changes += 1;
        }
    }

    /// A peer brought so many bytes; their beginning came at `since`.
    pub fn brought(&mut self, now: Nanos, peer: PeerId, bytes: u64, since: Nanos) {
        let pace = bytes / (now.since(since).0 / 1_000_000).max(1);
        let record = self.record(now, peer);
        record.pace = Some(average(record.pace.map(Nanos), Nanos(pace)).0);
    }

    /// A peer failed a request.
    pub fn failed(&mut self, now: Nanos, peer: PeerId) {
        let record = self.record(now, peer);
        (record.failures, record.is_trusted) = (record.failures.saturating_add(1), false);
        self.trust_not(&peer);
    }

    fn trust_not(&mut self, peer: &PeerId) {
        if self.trusted.remove(peer) {
            self.trust_changes += 1;
        }
    }

    /// The peers that we trust.
    pub fn trusted(&self) -> impl Iterator<Item = &PeerId> {
        self.trusted.iter()
    }

    /// How often one was trusted that was not, or the other way round.
    pub const fn trust_changes(&self) -> u64 {
        self.trust_changes
    }

    /// Whether to charge a peer for a failed request of `asked_at`: once for each stall, however many requests it
    /// broke.
    pub fn charge(&mut self, now: Nanos, peer: PeerId, asked_at: Nanos) -> bool {
        let record = self.record(now, peer);
        if record.charged_at.is_some_and(|at| asked_at <= at) {
            return false;
        }
        record.charged_at = Some(now);
        true
    }

    /// Requests that a peer failed since it last served one.
    pub fn failures(&self, peer: &PeerId) -> u8 {
        self.records.get(peer).map_or(0, |record| record.failures)
    }

    /// Whether a peer has served something that a certificate proves, and has not failed since.
    pub fn is_trusted(&self, peer: &PeerId) -> bool {
        self.records.get(peer).is_some_and(|record| record.is_trusted)
    }

    /// How long to wait for the beginning of a peer's answer before another one is asked as well.
    pub fn patience(&self, peer: &PeerId) -> Nanos {
        let answer = self.answer_of(peer);
        Nanos(answer.0 * PATIENCE_ANSWERS).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    /// How long so many bytes of a peer may take from the beginning of its answer before another one is asked as well.
    pub fn patience_for(&self, peer: &PeerId, bytes: u64) -> Nanos {
        let pace = self.records.get(peer).and_then(|record| record.pace).unwrap_or(PACE);
        let bytes = Nanos::from_millis(bytes.saturating_mul(2) / pace.clamp(PACE / 10, PACE * 100));
        self.patience(peer) + bytes
    }

    /// How long a small block of a peer's usually takes.
    pub fn cost(&self, peer: &PeerId) -> Nanos {
        let pace = self.records.get(peer).and_then(|record| record.pace).unwrap_or(PACE);
        self.answer_of(peer) + Nanos::from_millis(BLOCK_BYTES / pace.max(1))
    }

    /// A peer's usual time to the beginning of an answer, or everybody's if it has none.
    fn answer_of(&self, peer: &PeerId) -> Nanos {
        let own = self.records.get(peer).and_then(|record| record.answer);
        own.or(self.answer).unwrap_or(ANSWER)
    }

    /// Asserts that few peers are remembered.
    pub fn check(&self) {
        assert!(self.records.len() <= REMEMBERED_MAX, "too many peers are remembered");
    }

    /// Asserts the rest of what the file's head says.
    pub fn check_whole(&self) {
        for (peer, record) in &self.records {
            assert!(
                !record.is_trusted || record.failures == 0,
                "{peer} is trusted though it failed"
            );
            assert_eq!(record.is_trusted, self.trusted.contains(peer), "our trust in {peer}");
        }
    }

    fn record(&mut self, now: Nanos, peer: PeerId) -> &mut Record {
        if self.records.len() >= REMEMBERED_MAX && !self.records.contains_key(&peer) {
            // Failures are remembered longest.
            let least = self
                .records
                .iter()
                .min_by_key(|(_, record)| (record.failures, record.is_trusted, record.at));
            if let Some(least) = least.map(|(peer, _)| *peer) {
                self.records.remove(&least);
                self.trust_not(&least);
            }
        }
        let record = self.records.entry(peer).or_default();
        record.at = now;
        record
    }
}

/// A moving average; the first measurement counts whole.
fn average(before: Option<Nanos>, new: Nanos) -> Nanos {
    before.map_or(new, |before| Nanos((before.0 * (WEIGHT - 1) + new.0) / WEIGHT))
}

#[cfg(test)]
#[path = "reputation/tests.rs"]
mod tests;
