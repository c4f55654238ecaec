//! This file knows how to catch up: which heights to ask of whom, and what has come of it.
//!
//! We ask for several heights at one time, each of one peer, each with a deadline. If we hold a height's bytes already,
//! we ask for its certificate alone. We do not ask a peer that failed for the same height again for a while.
//!
//! Keeps:
//! - requests, certificates and what to avoid are of heights above the head;
//! - only connected peers are asked, and only their failures are remembered;
//! - the certified tip is at or above every certificate.

use std::collections::BTreeMap;

use ultramarine_types::chain::Limits;
use ultramarine_types::limits;
use ultramarine_types::network::SyncWant;
use ultramarine_types::{CommitCertificate, Height, Nanos, PeerId, ValueId};

use crate::peers::Peers;

/// How long a peer that could not serve a height is not asked for it again.
const AVOID: Nanos = Nanos::from_millis(1_000);
/// Blob bytes that may be in flight at one time over all heights, beyond two values.
const BYTES_IN_FLIGHT: usize = 64 * 1024 * 1024;

/// A request under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flight {
    pub peer: PeerId,
    pub want: SyncWant,
    pub deadline: Nanos,
}

/// What is held of a height.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeldOfHeight {
    Nothing,
    /// One value's bytes, maybe the decided one's.
    Bytes,
    /// A certificate, and not its value's bytes.
    Certificate,
    All,
}

#[derive(Debug)]
pub struct Sync {
    flights: BTreeMap<Height, Flight>,
    avoid: BTreeMap<(Height, PeerId), Nanos>,
    /// Requests that each peer failed since it last served one. A peer that promises and does not deliver is asked
    /// last.
    failures: BTreeMap<PeerId, u8>,
    certificates: BTreeMap<Height, CommitCertificate>,
    certified_tip: Height,
    timeout: Nanos,
    flights_max: usize,
    retention_min: u64,
}

/// Claimed tips whose certificates are asked for at one time.
const TIPS_AT_ONCE: usize = 3;

const _: () = assert!(
    limits::SYNC_HEIGHTS_IN_FLIGHT >= 2,
    "one peer that is slow does not hold up the others"
);
const _: () = assert!(
    TIPS_AT_ONCE < limits::SYNC_HEIGHTS_IN_FLIGHT,
    "claimed tips leave room for heights"
);

impl Sync {
    pub fn new(limits: &Limits, retention_min: u64) -> Self {
        let value_bytes = limits.block_blob_bytes() + 1024 * 1024;
        let flights_max = (BYTES_IN_FLIGHT / value_bytes).clamp(2, limits::SYNC_HEIGHTS_IN_FLIGHT);
        Self {
            flights: BTreeMap::new(),
            avoid: BTreeMap::new(),
            failures: BTreeMap::new(),
            certificates: BTreeMap::new(),
            certified_tip: Height::GENESIS,
            timeout: limits.sync_timeout(),
            flights_max,
            retention_min,
        }
    }

    /// What to ask now. `next` is the first height not decided here; `held` says what is held of a height.
    pub fn plan(
        &mut self,
        now: Nanos,
        next: Height,
        peers: &Peers,
        held: impl Fn(Height) -> HeldOfHeight,
    ) -> Vec<(PeerId, Height, SyncWant)> {
        let mut asks = Vec::new();
        let best = peers.best_tip();
        if best < next {
            return asks;
        }
        // If old heights may come without blobs, a tip's certificate comes first: it proves that they are old. We ask
        // for several tips at a time, and for lower ones if no peer is left to ask, so that a lie does not block the
        // others.
        let proves = |tip: Height| tip.0.saturating_sub(next.0) > self.retention_min;
        if self.certified_tip.0 <= next.0.saturating_add(self.retention_min) {
            let mut asked = 0;
            for tip in peers.tips().into_iter().filter(|tip| proves(*tip)).collect::<Vec<_>>() {
                self.ask(now, tip, SyncWant::Certificate, peers, &mut asks);
                asked += usize::from(self.flights.contains_key(&tip));
                if asked == TIPS_AT_ONCE {
                    break;
                }
            }
        }
        for height in (next.0..=best.0).take(self.flights_max).map(Height) {
            if self.flights.len() > self.flights_max {
                break;
            }
            let want = match held(height) {
                HeldOfHeight::All => continue,
                HeldOfHeight::Bytes => SyncWant::Certificate,
                HeldOfHeight::Nothing | HeldOfHeight::Certificate => SyncWant::Package,
            };
            self.ask(now, height, want, peers, &mut asks);
        }
        asks
    }

    fn ask(
        &mut self,
        now: Nanos,
        height: Height,
        want: SyncWant,
        peers: &Peers,
        asks: &mut Vec<(PeerId, Height, SyncWant)>,
    ) {
        if self.flights.contains_key(&height) {
            return;
        }
        let candidates = peers.with_tip(height);
        let load = |peer: &PeerId| self.flights.values().filter(|flight| flight.peer == *peer).count();
        let Some(peer) = candidates
            .iter()
            .filter(|peer| !self.avoid.contains_key(&(height, **peer)))
            // The most reliable, then the least busy; among equals a different one for each height.
            .min_by_key(|peer| {
                let failures = self.failures.get(peer).copied().unwrap_or(0);
                (failures, load(peer), peer.0[0] ^ height.0.to_le_bytes()[0], **peer)
            })
        else {
            return;
        };
        self.flights.insert(
            height,
            Flight {
                peer: *peer,
                want,
                deadline: now + self.timeout,
            },
        );
        asks.push((*peer, height, want));
    }

    /// The request under way for a height.
    pub fn flight(&self, height: Height) -> Option<&Flight> {
        self.flights.get(&height)
    }

    pub fn certify(&mut self, certificate: CommitCertificate) {
        self.certified_tip = self.certified_tip.max(certificate.height);
        self.certificates.entry(certificate.height).or_insert(certificate);
    }

    /// The certificate of a height, if one is known.
    pub fn certificate(&self, height: Height) -> Option<&CommitCertificate> {
        self.certificates.get(&height)
    }

    /// The heights with a certificate, and the values they name.
    pub fn certified_heights(&self) -> BTreeMap<Height, ValueId> {
        self.certificates
            .iter()
            .map(|(height, certificate)| (*height, certificate.value_id))
            .collect()
    }

    /// Whether a certificate names this value.
    pub fn certifies(&self, height: Height, id: &ValueId) -> bool {
        self.certificates
            .get(&height)
            .is_some_and(|certificate| certificate.value_id == *id)
    }

    /// The highest height that a certificate has proven to be decided.
    pub fn certified_tip(&self) -> Height {
        self.certified_tip
    }

    /// Whether a height is so old that its blobs may be missing everywhere.
    pub fn may_lack_blobs(&self, height: Height) -> bool {
        height.0 < self.certified_tip.0.saturating_sub(self.retention_min)
    }

    /// The request for a height brought what it asked for.
    pub fn finished(&mut self, height: Height) {
        if let Some(flight) = self.flights.remove(&height) {
            self.failures.remove(&flight.peer);
        }
    }

    /// The request failed: the next one goes to another peer.
    pub fn failed(&mut self, now: Nanos, height: Height, peer: PeerId) {
        if self.flights.get(&height).is_some_and(|flight| flight.peer == peer) {
            self.flights.remove(&height);
        }
        self.avoid.insert((height, peer), now + AVOID);
        let failures = self.failures.entry(peer).or_default();
        *failures = failures.saturating_add(1);
    }

    /// A peer is gone, and our requests to it are too.
    pub fn lose(&mut self, peer: &PeerId) {
        self.flights.retain(|_, flight| flight.peer != *peer);
        self.failures.remove(peer);
    }

    /// Removes and returns the requests whose time is up.
    pub fn expire(&mut self, now: Nanos) -> Vec<(Height, Flight)> {
        let late: Vec<(Height, Flight)> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.deadline <= now)
            .map(|(h, f)| (*h, *f))
            .collect();
        self.avoid.retain(|_, until| *until > now);
        for (height, flight) in &late {
            self.failed(now, *height, flight.peer);
        }
        late
    }

    /// Asserts that requests, certificates and what to avoid are of heights above the head.
    pub fn check(&self, head: Height) {
        if let Some((lowest, _)) = self.flights.first_key_value() {
            assert!(*lowest > head, "height {lowest} is asked for, which is decided");
        }
        if let Some(((lowest, _), _)) = self.avoid.first_key_value() {
            assert!(*lowest > head, "a peer is avoided at height {lowest}, which is decided");
        }
        if let Some((lowest, _)) = self.certificates.first_key_value() {
            assert!(
                *lowest > head,
                "a certificate of height {lowest} is kept, which is decided"
            );
        }
        if let Some((highest, _)) = self.certificates.last_key_value() {
            assert!(
                *highest <= self.certified_tip,
                "the certified tip is below a certificate"
            );
        }
    }

    /// Asserts that only connected peers are asked or remembered, and that each certificate stands at its height.
    pub fn check_whole(&self, peers: &Peers) {
        for (height, flight) in &self.flights {
            assert!(
                peers.get(&flight.peer).is_some(),
                "height {height} is asked of a peer that is gone"
            );
        }
        for peer in self.failures.keys() {
            assert!(
                peers.get(peer).is_some(),
                "the failures of {peer} outlived its connection"
            );
        }
        for (height, certificate) in &self.certificates {
            assert_eq!(certificate.height, *height, "a certificate stands at another height");
        }
    }

    /// A height was committed: forgets what was for it.
    pub fn commit(&mut self, height: Height) {
        self.flights.retain(|other, _| *other > height);
        self.certificates.retain(|other, _| *other > height);
        self.avoid.retain(|(other, _), _| *other > height);
    }

    /// When to look again.
    pub fn deadline(&self) -> Option<Nanos> {
        let flights = self.flights.values().map(|flight| flight.deadline);
        flights.chain(self.avoid.values().copied()).min()
    }
}

#[cfg(test)]
#[path = "sync/tests.rs"]
mod tests;
