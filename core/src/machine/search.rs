//! This file knows how to find the bytes of a value that consensus needs and that no peer has delivered.
//!
//! After a short grace we ask for a value that a verified proposal, a polka or our own log names. We ask one peer after
//! another:
//! 1. those that say they hold it;
//! 2. those that named it;
//! 3. all that are at our height.

use ultramarine_types::network::NetCommand;
use ultramarine_types::{Nanos, PeerId, ValueKey};

use super::{Core, Phase};

/// How long we wait before we ask: a proposal usually arrives before its stream does.
const GRACE: Nanos = Nanos::from_millis(150);
/// After every peer was asked, the turn begins again after this long.
const TURN: Nanos = Nanos::from_millis(500);

const _: () = assert!(
    GRACE.0 < TURN.0,
    "the first peer is asked sooner than all of them again"
);

impl Core {
    /// Asks for the values that are missing and due.
    pub(super) fn search(&mut self) {
        if !matches!(
            self.phase,
            Phase::Running | Phase::Recovering { .. } | Phase::Between { .. }
        ) || self.stopped
        {
            return;
        }
        for key in self.values.keys_at(self.current()) {
            self.search_for(key);
        }
    }

    fn search_for(&mut self, key: ValueKey) {
        let now = self.now;
        let patience = self.limits.propose_timeout();
        let Some(value) = self.values.get_mut(&key) else { return };
        if value.is_stored() || !(value.proposed_in.is_some() || value.polka || value.search.is_some()) {
            return;
        }
        let newest_stream = value.streams.values().copied().max();
        let search = value.search.get_or_insert_with(|| {
            let next_at = newest_stream.map_or(now + GRACE, |since| since + patience);
            crate::values::Search {
                next_at,
                ..Default::default()
            }
        });
        // A stream that began since then counts as an answer. It gets the time that a proposal gets.
        if let Some(since) = newest_stream
            && !search.tried.is_empty()
            && search.next_at < since + patience
            && search.asked.is_some_and(|asked| value.streams.contains_key(&asked))
        {
            search.next_at = since + patience;
        }
        if search.next_at > now {
            return;
        }
        let search = search.clone();
        let mut candidates: Vec<PeerId> = self.peers.holders(key.height, &key.id);
        if let Some(value) = self.values.get(&key) {
            candidates.extend(value.namers.iter().rev().filter(|peer| self.peers.get(peer).is_some()));
        }
        candidates.extend(self.peers.at(key.height).into_iter().map(|(peer, _)| peer));
        let next = candidates.into_iter().find(|peer| !search.tried.contains(peer));
        let Some(search) = self.values.get_mut(&key).and_then(|value| value.search.as_mut()) else {
            return;
        };
        match next {
            Some(peer) => {
                search.asked = Some(peer);
                search.tried.insert(peer);
                search.next_at = now + Nanos(patience.0 / 2);
                self.net(NetCommand::Fetch { key, peer });
            }
            None => {
                search.tried.clear();
                search.asked = None;
                search.next_at = now + TURN;
            }
        }
    }
}
