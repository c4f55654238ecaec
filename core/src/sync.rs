//! This file knows how to catch up: which heights to ask of whom, and what has come of it.
//!
//! We ask for several heights at one time, each of one peer. If that peer does not answer within a few of its usual
//! answer times, and our own line would have brought all that is asked for twice, we ask a second one as well. As long
//! as we do not know our line, we do so for one height at a time. If we hold a height's bytes already, we ask for its
//! certificate alone. We do not ask a peer that failed for the same height again for a while.
//!
//! If old heights may come without blobs, the certificate of a high tip proves that they are old. Such questions have
//! places of their own: whatever peers claim, heights keep theirs.
//!
//! Keeps:
//! - requests, certificates and what to avoid are of heights above the head;
//! - a height is asked of two peers at most, and one tip of a peer at most, three of them at one time;
//! - only connected peers are asked;
//! - the certified tip is at or above every certificate.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ultramarine_types::chain::Limits;
use ultramarine_types::limits;
use ultramarine_types::network::SyncWant;
use ultramarine_types::{CommitCertificate, Height, Nanos, PeerId, ValueId};

use crate::line::OwnLine;
use crate::peers::{Peer, Peers, draw};
#[cfg(feature = "planted")]
use crate::planted::Planted;
use crate::reputation::Reputation;

/// How long a peer that could not serve a height is not asked for it again.
const AVOID: Nanos = Nanos::from_millis(1_000);
/// Blob bytes that may be in flight at one time over all heights, beyond two values.
const BYTES_IN_FLIGHT: usize = 64 * 1024 * 1024;
/// Peers that are asked for one height at one time.
const PEERS_PER_HEIGHT: usize = 2;
/// Requests to one peer beyond which another one goes first, if it is as good.
const BUSY: usize = 4;
/// Claimed tips whose certificates are asked for at one time.
const TIPS_AT_ONCE: usize = 3;
/// The same, with those that lost their places and may still be answered: each is a request of the network's.
const TIPS_ASKED_MAX: usize = 16;
/// Claimed tips are looked at no more often: each look costs as much as there are peers.
const TIPS_PAUSE: Nanos = Nanos::from_millis(50);
/// Bytes in a millisecond of the slowest line that a node can live on: a megabit a second.
const SLOWEST_BYTES_PER_MS: u64 = 125;
/// If we look at a deadline this late, our own process slept: the peers are not to blame.
const LATE: Nanos = Nanos::from_millis(500);

/// A request for a height under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Flight {
    peer: PeerId,
    want: SyncWant,
    asked_at: Nanos,
    /// When its answer began.
    answered_at: Option<Nanos>,
    /// When somebody else is asked as well, if our line is no slower than that.
    second_at: Nanos,
    deadline: Nanos,
}

/// A request for the certificate of a tip that a peer claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct TipFlight {
    height: Height,
    asked_at: Nanos,
    /// Until when it has one of the few places. Its answer counts later too.
    place_until: Nanos,
    deadline: Nanos,
}

/// What was asked of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    pub height: Height,
    pub peer: PeerId,
    pub want: SyncWant,
    pub asked_at: Nanos,
    /// When its answer began, if that brings a height.
    pub answered_at: Option<Nanos>,
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

/// From where to where we catch up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// The first height not decided here.
    pub next: Height,
    /// The highest one that is known to be decided. Beyond it, claims are tried for `next` alone.
    pub proven: Height,
}

#[derive(Debug)]
pub struct Sync {
    flights: BTreeMap<Height, Vec<Flight>>,
    tips: BTreeMap<PeerId, TipFlight>,
    /// When to look at claimed tips next, if one may be worth a question.
    tips_at: Option<Nanos>,
    avoid: BTreeMap<(Height, PeerId), Nanos>,
    certificates: BTreeMap<Height, CommitCertificate>,
    certified_tip: Height,
    line: OwnLine,
    timeout: Nanos,
    heights_max: usize,
    retention_min: u64,
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
}

const _: () = assert!(
    limits::SYNC_HEIGHTS_IN_FLIGHT >= 2,
    "one peer that is slow does not hold up the others"
);
const _: () = assert!(TIPS_AT_ONCE <= TIPS_ASKED_MAX);

impl Sync {
    pub fn new(limits: &Limits, retention_min: u64) -> Self {
        Self {
            flights: BTreeMap::new(),
            tips: BTreeMap::new(),
            tips_at: None,
            avoid: BTreeMap::new(),
            certificates: BTreeMap::new(),
            certified_tip: Height::GENESIS,
            line: OwnLine::default(),
            timeout: limits.sync_timeout(),
            heights_max: heights_at_once(limits),
            retention_min,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// What to ask now, heights first. `held` says what is held of a height.
    pub fn plan(
        &mut self,
        now: Nanos,
        gap: Stretch,
        peers: &Peers,
        reputation: &mut Reputation,
        held: impl Fn(Height) -> HeldOfHeight,
    ) -> Vec<(PeerId, Height, SyncWant)> {
        let mut asks = Vec::new();
        #[cfg(feature = "planted")]
        self.crowd(now, gap.next, peers);
        let last = peers.best_tip().min(gap.proven.max(gap.next));
        for height in (gap.next.0..=last.0).take(self.heights_max).map(Height) {
            let want = match held(height) {
                HeldOfHeight::All => continue,
                HeldOfHeight::Bytes => SyncWant::Certificate,
                HeldOfHeight::Nothing | HeldOfHeight::Certificate => SyncWant::Package,
            };
            if !self.flights.contains_key(&height) && self.flights.len() >= self.heights_max {
                break;
            }
            if let Some(peer) = self.one_more(now, height, height <= gap.proven, peers, reputation) {
                let flight = Flight {
                    peer,
                    want,
                    asked_at: now,
                    answered_at: None,
                    second_at: now + reputation.patience(&peer),
                    // All that is asked of one peer shares one line.
                    deadline: now + Nanos(self.timeout.0 * (1 + self.load(&peer) as u64)),
                };
                self.flights.entry(height).or_default().push(flight);
                asks.push((peer, height, want));
            }
        }
        self.plan_tips(now, gap.next, peers, reputation, &mut asks);
        asks
    }

    /// The peer to ask for a height now, if one more is to be asked. `is_proven` says that somebody must have it.
    fn one_more(
        &mut self,
        now: Nanos,
        height: Height,
        is_proven: bool,
        peers: &Peers,
        reputation: &mut Reputation,
    ) -> Option<PeerId> {
        let (flights, line) = (
            self.flights.get(&height).map_or(&[][..], Vec::as_slice),
            self.line_time(),
        );
        let (is_second, is_due) = (
            !flights.is_empty(),
            flights.iter().all(|flight| flight.second_at + line <= now),
        );
        // A stranger may have been asked for a height that it alone claimed. Once that is proven, others have it too.
        let mut asked = flights.iter().map(|flight| &flight.peer);
        let is_guess = is_proven && asked.all(|peer| is_stranger(peer, peers, reputation));
        if !is_due && !is_guess || is_second && !is_guess && self.is_line_untried(height) {
            return None;
        }
        #[cfg(feature = "planted")]
        if is_second && self.planted == Some(Planted::NoSecondPeer) {
            return None;
        }
        let chosen = self.best(height, is_second, peers, reputation);
        let chosen = chosen.filter(|peer| is_due || !is_stranger(peer, peers, reputation));
        let flights = self.flights.get_mut(&height).into_iter().flatten();
        if chosen.is_none() {
            // Nobody is left. Let us look again after a while.
            let due = flights.filter(|flight| flight.second_at + line <= now);
            due.for_each(|flight| flight.second_at = now + reputation.patience(&flight.peer));
            return None;
        }
        if flights.count() >= PEERS_PER_HEIGHT {
            self.give_up_oldest(now, height, reputation);
        }
        chosen
    }

    /// The peer that was asked first makes room. What it is sending comes all the same, and what it has sent counts.
    fn give_up_oldest(&mut self, now: Nanos, height: Height, reputation: &mut Reputation) {
        let flights = self.flights.get(&height).into_iter().flatten();
        let Some(oldest) = flights.min_by_key(|flight| flight.asked_at).map(|flight| flight.peer) else {
            return;
        };
        self.failed(now, height, oldest);
        reputation.failed(now, oldest);
    }

    /// The best peer for a height. A second one is a validator, if there is any: keys of strangers are free.
    fn best(&self, height: Height, is_second: bool, peers: &Peers, reputation: &Reputation) -> Option<PeerId> {
        let has_it = |peer: &Peer| peer.status.as_ref().is_some_and(|status| status.tip >= height);
        peers
            .iter()
            .filter(|(id, peer)| has_it(peer) && !self.avoid.contains_key(&(height, **id)))
            .filter(|(id, _)| self.asked(height, id).is_none())
            .map(|(id, _)| *id)
            // The most reliable, then the soonest done; among equals a different one for each height.
            .min_by_key(|id| {
                let (load, is_stranger) = (self.load(id), is_stranger(id, peers, reputation));
                let is_busy = load >= if is_stranger { 1 } else { BUSY };
                let done = reputation.cost(id).0.saturating_mul(1 + load as u64);
                let rank = (is_second && is_stranger, reputation.failures(id), is_busy, is_stranger);
                (rank, done, draw(height, &ValueId::ZERO, id))
            })
    }

    /// How long our own line may take for all that is asked for: twice what it took before.
    fn line_time(&self) -> Nanos {
        #[cfg(feature = "planted")]
        if self.planted == Some(Planted::LineUnmeasured) {
            return Nanos::ZERO;
        }
        self.line
            .time_for(2 * self.flights.values().map(Vec::len).sum::<usize>())
    }

    /// Whether a second peer is asked for another height, and we do not know yet whether that helps on our line.
    fn is_line_untried(&self, height: Height) -> bool {
        #[cfg(feature = "planted")]
        if self.planted == Some(Planted::LineUnmeasured) {
            return false;
        }
        let mut others = self.flights.iter().filter(|(other, _)| **other != height);
        !self.line.is_known() && others.any(|(_, flights)| flights.len() > 1)
    }

    fn load(&self, peer: &PeerId) -> usize {
        let flights = self.flights.values().flatten();
        flights.filter(|flight| flight.peer == *peer).count()
    }

    /// A certificate of a high tip proves that low heights are old. We ask for several tips at a time, so that a lie
    /// does not block the others, and each peer for its own.
    fn plan_tips(
        &mut self,
        now: Nanos,
        next: Height,
        peers: &Peers,
        reputation: &Reputation,
        asks: &mut Vec<(PeerId, Height, SyncWant)>,
    ) {
        let kept = self.retention_min;
        let proves = |tip: Height| is_past_retention(next, tip, kept);
        if proves(self.certified_tip) || !proves(peers.best_tip()) {
            self.tips_at = None;
            return;
        }
        if self.tips_at.is_some_and(|at| at > now) {
            return;
        }
        self.tips_at = Some(now + TIPS_PAUSE);
        for (peer, flight) in &mut self.tips {
            let status = peers.get(peer).and_then(|peer| peer.status.as_ref());
            if status.is_none_or(|status| status.tip != flight.height) {
                flight.place_until = flight.place_until.min(now);
            }
        }
        let mut claims: Vec<_> = peers
            .iter()
            .filter_map(|(id, peer)| Some((peer.status.as_ref()?.tip, *id)))
            .filter(|(tip, id)| proves(*tip) && !self.tips.contains_key(id) && !self.avoid.contains_key(&(*tip, *id)))
            .collect();
        claims.sort_by_cached_key(|(tip, id)| {
            let is_stranger = is_stranger(id, peers, reputation);
            (
                reputation.failures(id),
                is_stranger,
                Reverse(*tip),
                draw(*tip, &ValueId::ZERO, id),
            )
        });
        for (height, peer) in claims {
            let mut placed = self.tips.values().filter(|flight| flight.place_until > now);
            let is_asked = self.flights.contains_key(&height) || placed.clone().any(|flight| flight.height == height);
            if placed.by_ref().count() >= TIPS_AT_ONCE || self.tips.len() >= TIPS_ASKED_MAX {
                return;
            }
            if is_asked {
                continue;
            }
            let flight = TipFlight {
                height,
                asked_at: now,
                place_until: now + reputation.patience(&peer),
                deadline: now + self.timeout,
            };
            self.tips.insert(peer, flight);
            asks.push((peer, height, SyncWant::Certificate));
        }
    }

    /// What is asked of a peer about a height, if anything.
    pub fn asked(&self, height: Height, peer: &PeerId) -> Option<Asked> {
        let flights = self.flights.get(&height).into_iter().flatten();
        let flight = flights
            .into_iter()
            .find(|flight| flight.peer == *peer)
            .map(|flight| Asked {
                height,
                peer: *peer,
                want: flight.want,
                asked_at: flight.asked_at,
                answered_at: flight.answered_at,
            });
        let tip = self.tips.get(peer).filter(|flight| flight.height == height);
        flight.or(tip.map(|flight| Asked {
            height,
            peer: *peer,
            want: SyncWant::Certificate,
            asked_at: flight.asked_at,
            answered_at: None,
        }))
    }

    /// Whether anybody is asked for a height.
    #[cfg(test)]
    fn is_asked(&self, height: Height) -> bool {
        self.flights.contains_key(&height)
    }

    /// The answer to a request began, with so many bytes. As long as they come at the pace of the slowest line, the
    /// network does not give them up, and neither do we. Somebody else is asked after `patience`.
    pub fn answered(&mut self, now: Nanos, height: Height, peer: &PeerId, bytes: u64, patience: Nanos) {
        self.line.begins(now);
        let slow = Nanos::from_millis(bytes.saturating_mul(self.load(peer) as u64) / SLOWEST_BYTES_PER_MS);
        let deadline = now + self.timeout + slow;
        let flights = self.flights.get_mut(&height).into_iter().flatten();
        for flight in flights.filter(|flight| flight.peer == *peer) {
            (flight.answered_at, flight.second_at) = (Some(now), now + patience);
            flight.deadline = flight.deadline.max(deadline);
        }
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
        is_past_retention(height, self.certified_tip, self.retention_min)
    }

    /// So many bytes of a height have come, for which nobody is asked any more.
    pub fn came(&mut self, now: Nanos, bytes: u64) {
        if bytes > 0 {
            self.line.came(now, bytes);
        }
        self.look_at_line();
    }

    /// Our line is measured as long as an answer has begun and not ended.
    fn look_at_line(&mut self) {
        let mut flights = self.flights.values().flatten();
        if flights.all(|flight| flight.answered_at.is_none()) {
            self.line.rests();
        }
    }

    /// A height's bytes or its certificate have come. Returns what was asked of whom.
    pub fn finished(&mut self, height: Height) -> Vec<Asked> {
        let flights = self.flights.remove(&height).unwrap_or_default();
        let asked = flights.into_iter().map(|flight| Asked {
            height,
            peer: flight.peer,
            want: flight.want,
            asked_at: flight.asked_at,
            answered_at: flight.answered_at,
        });
        asked.collect()
    }

    /// A tip's certificate has come.
    pub fn tip_finished(&mut self, height: Height, peer: &PeerId) {
        if self.tips.get(peer).is_some_and(|flight| flight.height == height) {
            self.tips.remove(peer);
        }
    }

    /// The request failed: the next one goes to another peer.
    pub fn failed(&mut self, now: Nanos, height: Height, peer: PeerId) {
        self.remove(height, &peer);
        self.tip_finished(height, &peer);
        self.avoid.insert((height, peer), now + AVOID);
    }

    fn remove(&mut self, height: Height, peer: &PeerId) {
        let Some(flights) = self.flights.get_mut(&height) else {
            return;
        };
        flights.retain(|flight| flight.peer != *peer);
        if flights.is_empty() {
            self.flights.remove(&height);
        }
        self.look_at_line();
    }

    /// A peer is gone, and our requests to it are too.
    pub fn lose(&mut self, peer: &PeerId) {
        let heights: Vec<Height> = self.flights.keys().copied().collect();
        heights.into_iter().for_each(|height| self.remove(height, peer));
        self.tips.remove(peer);
    }

    /// Removes and returns the requests whose time is up.
    pub fn expire(&mut self, now: Nanos) -> Vec<Asked> {
        self.avoid.retain(|_, until| *until > now);
        #[cfg(feature = "planted")]
        let forgives = self.planted != Some(Planted::PauseCharged);
        #[cfg(not(feature = "planted"))]
        let forgives = true;
        if forgives {
            self.forgive_pause(now);
        }
        let line = self.line_time();
        let flights = self.flights.iter().flat_map(|(height, flights)| {
            let late = flights.iter().filter(|flight| flight.deadline + line <= now);
            late.map(|flight| (*height, flight.peer))
        });
        let tips = self.tips.iter().filter(|(_, flight)| flight.deadline <= now);
        let late: Vec<(Height, PeerId)> = flights
            .chain(tips.map(|(peer, flight)| (flight.height, *peer)))
            .collect();
        let asked: Vec<Asked> = late
            .iter()
            .filter_map(|(height, peer)| self.asked(*height, peer))
            .collect();
        for (height, peer) in late {
            self.failed(now, height, peer);
        }
        asked
    }

    /// If we slept through a deadline, answers may wait unread. Every request gets its time anew.
    fn forgive_pause(&mut self, now: Nanos) {
        let deadlines = self.flights.values().flatten().map(|flight| flight.deadline);
        let deadlines = deadlines.chain(self.tips.values().map(|flight| flight.deadline));
        if deadlines.min().is_none_or(|due| now.since(due) <= LATE) {
            return;
        }
        let (timeout, patience) = (self.timeout, AVOID);
        for flight in self.flights.values_mut().flatten() {
            (flight.asked_at, flight.second_at, flight.deadline) = (now, now + patience, now + timeout);
        }
        for flight in self.tips.values_mut() {
            (flight.asked_at, flight.deadline) = (now, now + timeout);
        }
    }

    /// How many requests are under way.
    pub fn asked_len(&self) -> usize {
        self.flights.values().map(Vec::len).sum::<usize>() + self.tips.len()
    }

    /// The most requests there may be.
    pub const ASKED_MAX: usize = PEERS_PER_HEIGHT * limits::SYNC_HEIGHTS_IN_FLIGHT + TIPS_ASKED_MAX;

    /// A height was committed: forgets what was for it.
    pub fn commit(&mut self, height: Height) {
        self.flights.retain(|other, _| *other > height);
        self.tips.retain(|_, flight| flight.height > height);
        self.certificates.retain(|other, _| *other > height);
        self.avoid.retain(|(other, _), _| *other > height);
        self.look_at_line();
    }

    /// When to look again, after `now`.
    pub fn deadline(&self, now: Nanos) -> Option<Nanos> {
        let (flights, line) = (self.flights.values().flatten(), self.line_time());
        let flights = flights.flat_map(|flight| [flight.deadline + line, flight.second_at + line]);
        let tips = self
            .tips
            .values()
            .flat_map(|flight| [flight.deadline, flight.place_until]);
        let all = flights
            .chain(tips)
            .chain(self.avoid.values().copied())
            .chain(self.tips_at);
        all.filter(|at| *at > now).min()
    }
}

/// How many heights are asked for at one time.
pub fn heights_at_once(limits: &Limits) -> usize {
    let value_bytes = limits.block_blob_bytes() + 1024 * 1024;
    (BYTES_IN_FLIGHT / value_bytes).clamp(2, limits::SYNC_HEIGHTS_IN_FLIGHT)
}

/// Whether a node whose head is `tip` may have freed the blobs of a height: it keeps those of `kept` heights.
fn is_past_retention(height: Height, tip: Height, kept: u64) -> bool {
    height.0.saturating_add(kept) <= tip.0
}

/// Whether a peer is somebody whose keys are free, and who has served us nothing yet.
fn is_stranger(peer: &PeerId, peers: &Peers, reputation: &Reputation) -> bool {
    peers.get(peer).is_none_or(|peer| peer.validator.is_none()) && !reputation.is_trusted(peer)
}

#[path = "sync/check.rs"]
mod check;

#[cfg(feature = "planted")]
#[path = "sync/planted.rs"]
mod planted;

#[cfg(test)]
#[path = "sync/tests.rs"]
mod tests;
