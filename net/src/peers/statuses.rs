//! This file knows when a peer's status reaches the core: of each peer the newest, a few a second.
//!
//! - A peer that repeats itself, and any stranger, has [`STATUSES_PER_SECOND`].
//! - News of a node that a validator attests may decide whom a round waits for, and who relays to whom. It is not held
//!   back unless there is a flood of it: [`NEWS_PER_SECOND`].
//! - All strangers together have [`STRANGERS_STATUSES_PER_SECOND`].
//!
//! Time is an input, so the simulator's nodes hold statuses back by the same code.
//!
//! Keeps: one status waits for each connected peer at most, and at most [`bounds::PURSES_MAX`] peers are remembered.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::network::{ClockReading, Status};
use ultramarine_types::{Height, Nanos, PeerId};

use crate::bounds::{
    self, NEWS_BURST, NEWS_PER_SECOND, STATUSES_BURST, STATUSES_PER_SECOND, STRANGERS_STATUSES_BURST,
    STRANGERS_STATUSES_PER_SECOND,
};
use crate::peers::pace::Bucket;

#[derive(Debug)]
struct Peer {
    statuses: Bucket,
    news: Bucket,
    /// What was in its newest status.
    newest: Option<Status>,
    waiting: Option<(Nanos, Status)>,
}

/// Statuses that wait until the core may hear them.
#[derive(Debug)]
pub struct Statuses {
    peers: BTreeMap<PeerId, Peer>,
    due: BTreeSet<(Nanos, PeerId)>,
    strangers: Bucket,
    merged: u64,
    /// A bug for the simulator to find: the core hears every status at once.
    #[cfg(feature = "planted")]
    pub nothing_waits: bool,
}

impl Default for Statuses {
    fn default() -> Self {
        Self {
            peers: BTreeMap::new(),
            due: BTreeSet::new(),
            strangers: Bucket::new(STRANGERS_STATUSES_PER_SECOND, STRANGERS_STATUSES_BURST, Nanos::ZERO),
            merged: 0,
            #[cfg(feature = "planted")]
            nothing_waits: false,
        }
    }
}

impl Statuses {
    /// A status has come. Returned is one that the core may hear at once.
    pub fn hear(&mut self, now: Nanos, id: PeerId, is_stranger: bool, status: Status) -> Option<Status> {
        self.make_room(now, &id);
        let peer = self.peers.entry(id).or_insert_with(|| Peer {
            statuses: Bucket::new(STATUSES_PER_SECOND, STATUSES_BURST, now),
            news: Bucket::new(NEWS_PER_SECOND, NEWS_BURST, now),
            newest: None,
            waiting: None,
        });
        let said = essence(&status);
        let is_news = !is_stranger && peer.newest.as_ref() != Some(&said);
        peer.newest = Some(said);
        #[cfg(feature = "planted")]
        if self.nothing_waits {
            return Some(status);
        }
        let waited = peer.waiting.take();
        if let Some((due, _)) = waited {
            self.merged += 1;
            self.due.remove(&(due, id));
        }
        let due = match waited {
            Some((due, _)) if !is_news => due,
            waited => {
                let wait = match (is_news, is_stranger) {
                    (true, _) => peer.news.take(now, 1),
                    (false, false) => peer.statuses.take(now, 1),
                    (false, true) => peer.statuses.take(now, 1).max(self.strangers.take(now, 1)),
                };
                waited.map_or(now + wait, |(due, _)| due.min(now + wait))
            }
        };
        if due <= now {
            return Some(status);
        }
        peer.waiting = Some((due, status));
        self.due.insert((due, id));
        self.check();
        None
    }

    /// When the core may hear the next one.
    pub fn deadline(&self) -> Option<Nanos> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes one that the core may hear now.
    pub fn next(&mut self, now: Nanos) -> Option<(PeerId, Status)> {
        let (due, id) = self.due.first().copied().filter(|(due, _)| *due <= now)?;
        self.due.remove(&(due, id));
        let (_, status) = self.peers.get_mut(&id)?.waiting.take()?;
        Some((id, status))
    }

    /// Whether a peer has said that it is so far behind that it can take no value of this height.
    pub fn is_behind(&self, id: &PeerId, height: Height) -> bool {
        let newest = self.peers.get(id).and_then(|peer| peer.newest.as_ref());
        // It takes values of the height that it is at, and of the next.
        newest.is_some_and(|status| status.tip.next().next() < height)
    }

    /// A peer is gone. What it has spent is remembered.
    pub fn forget(&mut self, id: &PeerId) {
        if let Some((due, _)) = self.peers.get_mut(id).and_then(|peer| peer.waiting.take()) {
            self.due.remove(&(due, *id));
        }
    }

    /// Statuses that the core never heard, as newer ones came while they waited.
    pub const fn merged(&self) -> u64 {
        self.merged
    }

    fn make_room(&mut self, now: Nanos, id: &PeerId) {
        if self.peers.len() < bounds::PURSES_MAX || self.peers.contains_key(id) {
            return;
        }
        self.peers
            .retain(|_, peer| peer.waiting.is_some() || !peer.is_rested(now));
        if self.peers.len() >= bounds::PURSES_MAX {
            let idle = self.peers.iter().filter(|(_, peer)| peer.waiting.is_none());
            let oldest = idle.min_by_key(|(_, peer)| peer.statuses.used().max(peer.news.used()));
            let oldest = oldest.map(|(id, _)| *id);
            oldest.map(|id| self.peers.remove(&id));
        }
    }

    fn check(&self) {
        assert!(self.peers.len() <= bounds::PURSES_MAX, "memory for statuses is bounded");
        assert!(self.due.len() <= self.peers.len(), "one status waits for each peer");
    }
}

impl Peer {
    fn is_rested(&self, now: Nanos) -> bool {
        self.statuses.is_full(now) && self.news.is_full(now)
    }
}

/// What of a status is news if it changes: neither the sender's clocks, nor what it has seen of ours.
fn essence(status: &Status) -> Status {
    Status {
        seen_signed: None,
        clock: ClockReading::default(),
        ..status.clone()
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_types::fixtures;

    use super::*;

    fn status(tip: u64) -> Status {
        fixtures::status(Height(tip))
    }

    fn peer(key: u64) -> PeerId {
        let mut peer = PeerId([1; 32]);
        peer.0[..8].copy_from_slice(&key.to_le_bytes());
        peer
    }

    /// What the core hears in ten seconds in which each peer sends 2,000 statuses a second: how many, and the newest.
    fn flood(peers: u64, is_stranger: bool, said: impl Fn(u64) -> Status) -> (u64, Option<Status>) {
        let (mut statuses, mut heard, mut newest) = (Statuses::default(), 0, None);
        for step in 0..20_000 {
            let now = Nanos(step * 500_000);
            for key in 0..peers {
                let at_once = statuses.hear(now, peer(key), is_stranger, said(step));
                let later = std::iter::from_fn(|| statuses.next(now).map(|(_, status)| status));
                for status in at_once.into_iter().chain(later.collect::<Vec<_>>()) {
                    heard += 1;
                    newest = Some(status);
                }
            }
        }
        (heard, newest)
    }

    #[test]
    fn a_peer_that_lacks_the_two_heights_before_is_behind() {
        let mut statuses = Statuses::default();
        assert!(!statuses.is_behind(&peer(1), Height(9)), "it has said nothing");
        statuses.hear(Nanos::ZERO, peer(1), true, status(7));
        assert!(!statuses.is_behind(&peer(1), Height(9)));
        assert!(statuses.is_behind(&peer(1), Height(10)));
        statuses.hear(Nanos::ZERO, peer(1), true, status(8));
        assert!(!statuses.is_behind(&peer(1), Height(10)), "it has come nearer");
    }

    #[test]
    fn a_flood_of_statuses_reaches_the_core_a_few_times_a_second_and_is_the_newest() {
        let (heard, newest) = flood(1, true, status);
        assert!(heard <= 10 * STATUSES_PER_SECOND + STATUSES_BURST, "{heard}");
        assert!(newest.is_some_and(|status| status.tip.0 >= 19_000), "not an old one");
        let (heard, _) = flood(1, false, |_| status(7));
        assert!(
            heard <= 10 * STATUSES_PER_SECOND + STATUSES_BURST + 1,
            "no news: {heard}"
        );
        let (heard, _) = flood(1, false, status);
        assert!(heard <= 10 * NEWS_PER_SECOND + NEWS_BURST, "news without end: {heard}");
    }

    #[test]
    fn all_strangers_together_have_one_budget() {
        let (heard, _) = flood(200, true, status);
        assert!(
            heard <= 10 * STRANGERS_STATUSES_PER_SECOND + STRANGERS_STATUSES_BURST,
            "{heard}"
        );
    }

    #[test]
    fn news_of_a_validator_is_heard_at_once_though_it_repeated_itself() {
        let mut statuses = Statuses::default();
        let one = peer(1);
        for _ in 0..100 {
            statuses.hear(Nanos::ZERO, one, false, status(7));
        }
        assert!(statuses.deadline().is_some(), "the newest of them waits");
        let heard = statuses.hear(Nanos::ZERO, one, false, status(8));
        assert_eq!(heard, Some(status(8)));
        assert_eq!(statuses.deadline(), None, "and what is older is not heard after it");
    }

    #[test]
    fn what_waits_of_a_peer_that_is_gone_is_not_heard_and_its_new_connection_is_no_new_budget() {
        let mut statuses = Statuses::default();
        let one = peer(1);
        let heard = |statuses: &mut Statuses| {
            let heard = (0..100).filter_map(|tip| statuses.hear(Nanos::ZERO, one, true, status(tip)));
            heard.count() as u64
        };
        assert_eq!(heard(&mut statuses), STATUSES_BURST);
        statuses.forget(&one);
        assert_eq!(statuses.next(Nanos::from_millis(10_000)), None);
        assert_eq!(heard(&mut statuses), 0);
    }

    #[test]
    fn memory_for_statuses_is_bounded() {
        let mut statuses = Statuses::default();
        for key in 0..3 * bounds::PURSES_MAX as u64 {
            statuses.hear(Nanos(key), peer(key), true, status(1));
            statuses.forget(&peer(key));
        }
        assert!(statuses.peers.len() <= bounds::PURSES_MAX);
    }
}
