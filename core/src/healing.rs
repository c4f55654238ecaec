//! This file knows how to bring back decided heights that are damaged here: which to ask for now, and of whom.
//!
//! ```text
//!   Damaged ─▶ due ──plan──▶ in flight ──offer admitted──▶ … ──Stored──▶ healed
//!               ▲                │ no answer, no use, no room
//!               └──── a pause ◀──┘
//! ```
//! Each damaged height is asked of one peer after another: first of those that say they have its blobs. After all of
//! them comes a pause, which doubles with each turn.
//!
//! Keeps:
//! - a height is damaged once, and is either due at a moment or in flight;
//! - few heights are in flight, and fewer while this node is behind;
//! - only connected peers are asked.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::chain::Limits;
use ultramarine_types::network::SyncWant;
use ultramarine_types::{Height, Nanos, PeerId, ValueId};

use crate::peers::{Peers, draw};
use crate::reputation::Reputation;

/// Damaged heights that are remembered: all of one file of payloads, the smallest of which take a page or two. A height
/// beyond them is found again when it is read again.
pub const DAMAGED_MAX: usize = 65_536;
/// Heights in flight at one time, where nothing else is to be fetched.
const FLIGHTS_MAX: usize = 2;
/// Heights that are looked at in one go. The others wait for the next.
const LOOKS_MAX: usize = 16;
/// The pause after the first turn, and while nobody can be asked.
const PAUSE: Nanos = Nanos::from_millis(1_000);
/// The longest pause between two turns.
const PAUSE_MAX: Nanos = Nanos::from_millis(30_000);
/// After a height was fetched and the store had no room for it.
const REFUSED_PAUSE: Nanos = Nanos::from_millis(10_000);
/// How long blobs are looked for that no peer has to keep any more, before the height is taken without them.
const PATIENCE: Nanos = Nanos::from_millis(60_000);

const _: () = assert!(PAUSE.0 < PAUSE_MAX.0, "pauses grow");

/// What of a height is wanted back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// All of it.
    Blobs,
    /// Its blobs as well, if anybody has them: nobody has to, and they were looked for long enough.
    BlobsIfAny,
    /// Its blobs are past retention here.
    Payload,
}

/// What decides how much of a height is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealingTerms {
    /// From this height on this node has blobs.
    pub held_from: Height,
    /// From this height on every node has blobs.
    pub kept_from: Height,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Flight {
    peer: PeerId,
    deadline: Nanos,
}

#[derive(Debug)]
struct Damage {
    since: Nanos,
    /// When to ask next; `None` in flight.
    due: Option<Nanos>,
    /// The peers that were asked in this turn.
    tried: BTreeSet<PeerId>,
    /// The pause after this turn.
    pause: Nanos,
}

/// The damaged heights.
#[derive(Debug)]
pub struct Healing {
    damaged: BTreeMap<Height, Damage>,
    due: BTreeSet<(Nanos, Height)>,
    flights: BTreeMap<Height, Flight>,
    /// Flights that there may be now.
    flights_max: usize,
    /// Nobody could be asked: nothing is planned before.
    idle_until: Nanos,
    timeout: Nanos,
}

impl Healing {
    pub fn new(limits: &Limits) -> Self {
        Self {
            damaged: BTreeMap::new(),
            due: BTreeSet::new(),
            flights: BTreeMap::new(),
            flights_max: FLIGHTS_MAX,
            idle_until: Nanos::ZERO,
            timeout: limits.sync_timeout(),
        }
    }

    /// A decided height is damaged; `false` if that was known, or if too many are.
    pub fn add(&mut self, now: Nanos, height: Height) -> bool {
        if self.damaged.contains_key(&height) || self.damaged.len() >= DAMAGED_MAX {
            return false;
        }
        let damage = Damage {
            since: now,
            due: Some(now),
            tried: BTreeSet::new(),
            pause: PAUSE,
        };
        self.damaged.insert(height, damage);
        self.due.insert((now, height));
        true
    }

    /// A height is needed at once: it comes before all others.
    pub fn hurry(&mut self, height: Height) {
        if self.damaged.get(&height).is_some_and(|damage| damage.due.is_some()) {
            self.set_due(height, Some(Nanos::ZERO));
            self.idle_until = Nanos::ZERO;
        }
    }

    /// What to ask now, of whom. `is_behind`: this node lacks decided heights, which go first.
    pub fn plan(
        &mut self,
        now: Nanos,
        is_behind: bool,
        peers: &Peers,
        reputation: &Reputation,
        terms: &HealingTerms,
    ) -> Vec<(PeerId, Height, SyncWant)> {
        let mut asks = Vec::new();
        self.flights_max = if is_behind { 1 } else { FLIGHTS_MAX };
        if self.damaged.is_empty() {
            return asks;
        }
        self.expire(now);
        if self.idle_until > now {
            return asks;
        }
        let mut looks = 0;
        while self.flights.len() < self.flights_max && looks < LOOKS_MAX {
            let Some((_, height)) = self.due.first().copied().filter(|(due, _)| *due <= now) else {
                return asks;
            };
            looks += 1;
            let want = match self.wanted(now, height, terms) {
                Wanted::Payload => SyncWant::Payload,
                Wanted::Blobs | Wanted::BlobsIfAny => SyncWant::Package,
            };
            match self.candidate(height, want, peers, reputation) {
                Some(peer) => {
                    self.fly(now, height, peer);
                    asks.push((peer, height, want));
                }
                None => self.end_turn(now, height),
            }
        }
        if looks == LOOKS_MAX && asks.is_empty() {
            self.idle_until = now + PAUSE;
        }
        asks
    }

    /// Of the peers that have decided a height and were not asked in this turn, one that has its blobs, if blobs are
    /// wanted, and that has failed least; among equals a different one for each height.
    fn candidate(&self, height: Height, want: SyncWant, peers: &Peers, reputation: &Reputation) -> Option<PeerId> {
        let tried = self.damaged.get(&height).map(|damage| &damage.tried)?;
        let lacks_blobs = |peer: &PeerId| {
            let status = peers.get(peer).and_then(|peer| peer.status.as_ref());
            want == SyncWant::Package && status.is_none_or(|status| status.oldest_blobs > height)
        };
        peers
            .with_tip(height)
            .into_iter()
            .filter(|peer| !tried.contains(peer))
            .min_by_key(|peer| {
                let drawn = draw(height, &ValueId::ZERO, peer);
                (lacks_blobs(peer), reputation.failures(peer), drawn, *peer)
            })
    }

    fn fly(&mut self, now: Nanos, height: Height, peer: PeerId) {
        self.set_due(height, None);
        if let Some(damage) = self.damaged.get_mut(&height) {
            damage.tried.insert(peer);
        }
        let deadline = now + self.timeout;
        self.flights.insert(height, Flight { peer, deadline });
    }

    /// Everybody was asked: a pause, and then the turn begins again.
    fn end_turn(&mut self, now: Nanos, height: Height) {
        let Some(damage) = self.damaged.get_mut(&height) else {
            return;
        };
        damage.tried.clear();
        let due = now + damage.pause;
        damage.pause = Nanos(damage.pause.0.saturating_mul(2)).min(PAUSE_MAX);
        self.set_due(height, Some(due));
    }

    fn set_due(&mut self, height: Height, due: Option<Nanos>) {
        let Some(damage) = self.damaged.get_mut(&height) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut damage.due, due) {
            self.due.remove(&(before, height));
        }
        if let Some(due) = due {
            self.due.insert((due, height));
        }
    }

    /// The peer that is asked for a height.
    pub fn asked(&self, height: Height) -> Option<PeerId> {
        self.flights.get(&height).map(|flight| flight.peer)
    }

    /// When that peer was asked.
    pub fn asked_at(&self, height: Height) -> Nanos {
        let deadline = self.flights.get(&height).map(|flight| flight.deadline);
        deadline.map_or(Nanos::ZERO, |deadline| Nanos(deadline.0.saturating_sub(self.timeout.0)))
    }

    /// A peer could not bring a height: another one is asked.
    pub fn failed(&mut self, now: Nanos, height: Height, peer: PeerId) {
        if self.asked(height) == Some(peer) {
            self.flights.remove(&height);
            self.set_due(height, Some(now));
        }
    }

    /// The store did not take a height that was fetched: it is fetched again later.
    pub fn refused(&mut self, now: Nanos, height: Height) {
        self.flights.remove(&height);
        self.set_due(height, Some(now + REFUSED_PAUSE));
    }

    /// A height is whole again; `false` if it was not known to be damaged.
    pub fn healed(&mut self, height: Height) -> bool {
        self.flights.remove(&height);
        self.set_due(height, None);
        self.damaged.remove(&height).is_some()
    }

    /// A peer is gone, and our requests to it are too.
    pub fn lose(&mut self, now: Nanos, peer: &PeerId) {
        let of_peer = self.flights.iter().filter(|(_, flight)| flight.peer == *peer);
        let heights: Vec<Height> = of_peer.map(|(height, _)| *height).collect();
        heights.into_iter().for_each(|height| self.failed(now, height, *peer));
    }

    fn expire(&mut self, now: Nanos) {
        let late = self.flights.iter().filter(|(_, flight)| flight.deadline <= now);
        let late: Vec<(Height, PeerId)> = late.map(|(height, flight)| (*height, flight.peer)).collect();
        late.into_iter()
            .for_each(|(height, peer)| self.failed(now, height, peer));
    }

    /// How much of a height is wanted back.
    pub fn wanted(&self, now: Nanos, height: Height, terms: &HealingTerms) -> Wanted {
        let is_old = |damage: &Damage| now.since(damage.since) >= PATIENCE;
        if height < terms.held_from {
            Wanted::Payload
        } else if height < terms.kept_from && self.damaged.get(&height).is_some_and(is_old) {
            Wanted::BlobsIfAny
        } else {
            Wanted::Blobs
        }
    }

    /// How many heights are damaged.
    pub fn len(&self) -> usize {
        self.damaged.len()
    }

    /// When to look again.
    pub fn deadline(&self) -> Option<Nanos> {
        let flights = self.flights.values().map(|flight| flight.deadline).min();
        let due = self.due.first().filter(|_| self.flights.len() < self.flights_max);
        let due = due.map(|(due, _)| (*due).max(self.idle_until));
        flights.into_iter().chain(due).min()
    }

    /// Asserts that what is in flight is damaged and decided, and that it is little.
    pub fn check(&self, head: Height) {
        assert!(
            self.damaged.len() <= DAMAGED_MAX,
            "too many damaged heights are remembered"
        );
        assert!(
            self.flights.len() <= FLIGHTS_MAX,
            "too many damaged heights are in flight"
        );
        if let Some((highest, _)) = self.damaged.last_key_value() {
            assert!(*highest <= head, "height {highest} is damaged before it is decided");
        }
        assert_eq!(
            self.damaged.len(),
            self.due.len() + self.flights.len(),
            "a damaged height is due or in flight"
        );
    }

    /// Asserts the rest of what the file's head says.
    pub fn check_whole(&self, peers: &Peers) {
        for (height, damage) in &self.damaged {
            match damage.due {
                Some(due) => assert!(
                    self.due.contains(&(due, *height)),
                    "height {height} is due and not planned"
                ),
                None => assert!(self.flights.contains_key(height), "nobody is asked for height {height}"),
            }
        }
        for (height, flight) in &self.flights {
            assert!(
                peers.get(&flight.peer).is_some(),
                "height {height} is asked of a peer that is gone"
            );
        }
    }
}

#[cfg(test)]
#[path = "healing/tests.rs"]
mod tests;
