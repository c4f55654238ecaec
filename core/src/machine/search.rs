//! This file knows how to find the bytes of a value that consensus needs and that no peer has delivered.
//!
//! After a short grace we ask for a value that a verified proposal, a polka or our own log names. We ask one peer, and
//! a second one as well if the first does not begin to answer within a few of its usual answer times. If a stream has
//! begun, a second peer is asked once a few round trips, and twice the time for its bytes, have passed. Two have the
//! time that a proposal gets. We ask:
//! 1. the validator that built it;
//! 2. validators that say they hold it, or that named it;
//! 3. the other validators at our height;
//! 4. strangers that say they hold it, or that named it, and then all others at our height.
//!
//! Claims are free, and so are names. So within these ranks those that failed before come later, and a draw that is new
//! for each value decides about the rest.

use std::collections::BTreeMap;

use ultramarine_types::network::{Fault, NetCommand};
use ultramarine_types::{Nanos, PeerId, ValueKey};

use super::{Core, Phase};
use crate::peers::draw;
use crate::reputation::{PACE, PATIENCE_ANSWERS, PATIENCE_MAX, PATIENCE_MIN};
use crate::values::Judgement;

/// How long we wait before we ask: a proposal usually arrives before its stream does.
pub const GRACE: Nanos = Nanos::from_millis(150);
/// After every peer was asked, the turn begins again after this long.
pub const TURN: Nanos = Nanos::from_millis(500);
/// Peers that are asked for one value at one time.
const AT_ONCE: usize = 2;
/// A refusal within this time is the core's to charge. The network charges for silence.
const PROMPT: Nanos = Nanos::from_millis(2_000);

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
        let certified = self.sync.certifies(key.height, &key.id);
        let Some(value) = self.values.get_mut(&key) else { return };
        if value.is_stored() || !(value.proposed_in.is_some() || value.polka || value.search.is_some()) {
            return;
        }
        if matches!(value.judgement, Judgement::Invalid(_)) && !value.polka && !certified {
            // Nobody can decide it, so its bytes are worth nothing.
            value.search = None;
            return;
        }
        if value.search.as_ref().is_some_and(|search| search.next_at > now) {
            return;
        }
        // What follows looks at all validators' nodes: only when something is due, and not at each input.
        let (stream_time, trips) = (self.limits.propose_timeout(), self.few_trips());
        let others = self.config.validators.len().saturating_sub(1) as u64;
        let Some(value) = self.values.get_mut(&key) else { return };
        let bytes = value.init.as_ref().map_or(u64::MAX, |init| init.metadata.whole_bytes());
        // A proposer's line carries a copy for each of the others.
        let alone_for = |copies: u64| {
            let bytes = bytes.saturating_mul(2 * copies);
            let time = trips.0.saturating_add((bytes / PACE).saturating_mul(1_000_000));
            Nanos(time).min(stream_time)
        };
        let newest_stream = value.streams.values().copied().max();
        let search = value.search.get_or_insert_with(|| {
            let next_at = newest_stream.map_or(now + GRACE, |since| since + alone_for(others));
            crate::values::Search {
                next_at,
                ..Default::default()
            }
        });
        if search.next_at > now {
            return;
        }
        // A stream that began counts as an answer. It is the only source for a while, and one of two for as long as a
        // proposal has: further copies would slow down both.
        let streams = &value.streams;
        let time_of = |peer: &PeerId, since: Nanos| {
            let is_answer = search.asked_at.get(peer).is_some_and(|at| *at <= since);
            match search.asked.len() < AT_ONCE {
                true => alone_for(if is_answer { 1 } else { others }),
                false => stream_time,
            }
        };
        let until = |peer: &PeerId, until: Nanos| {
            let since = streams.get(peer).copied();
            since.map_or(until, |since| since + time_of(peer, since))
        };
        let is_answered = |peer: &PeerId| streams.contains_key(peer) && until(peer, now) > now;
        let waits: BTreeMap<PeerId, Nanos> = search
            .asked
            .iter()
            .map(|(peer, at)| (*peer, until(peer, *at)))
            .collect();
        if let Some(next_at) = waits
            .iter()
            .filter(|(peer, _)| is_answered(peer))
            .map(|(_, at)| *at)
            .min()
        {
            search.next_at = next_at;
            return;
        }
        if let Some(next_at) = waits.values().copied().filter(|at| *at > now).min() {
            search.next_at = next_at;
            return;
        }
        let Some(peer) = self.next_to_ask(&key) else {
            return self.end_search_turn(key);
        };
        let Some(value) = self.values.get_mut(&key) else { return };
        let patience = if value.streams.contains_key(&peer) {
            // It has begun already, and its stream says how long it has.
            Nanos::ZERO
        } else if value.streams.is_empty() {
            self.reputation.patience(&peer)
        } else {
            stream_time
        };
        let Some(search) = &mut value.search else { return };
        // Those that were asked before the last one have had their time twice.
        let oldest = waits.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer);
        let slow = oldest.filter(|_| waits.len() >= AT_ONCE);
        search.asked.retain(|peer, _| Some(*peer) != slow);
        search.asked.insert(peer, now + patience);
        search.asked_at.insert(peer, now);
        search.tried.insert(peer);
        search.next_at = now + patience;
        if let Some(slow) = slow {
            self.reputation.failed(now, slow);
        }
        self.net(NetCommand::Fetch { key, peer });
    }

    /// A few round trips, as far as we know how long they take.
    fn few_trips(&self) -> Nanos {
        let way = self.peers.usual_way(self.now);
        let trips = way.map_or(PATIENCE_MAX, |way| Nanos(way.0.saturating_mul(PATIENCE_ANSWERS)));
        trips.clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    /// The best of the peers that were not asked in this turn.
    fn next_to_ask(&self, key: &ValueKey) -> Option<PeerId> {
        let value = self.values.get(key)?;
        let search = value.search.as_ref()?;
        let set = &self.config.validators;
        let origin = match (&value.init, value.proposed_in) {
            (Some(init), _) => Some(init.metadata.origin_proposer),
            // Its metadata is missing too. Most values are proposed by whoever built them.
            (None, Some(round)) => Some(*set.proposer(key.height, round)),
            (None, None) => None,
        };
        let rank = |id: &PeerId| {
            let peer = self.peers.get(id)?;
            let status = peer.status.as_ref().filter(|status| status.tip.next() == key.height);
            let holds = status.is_some_and(|status| status.holds.contains(&key.id)) || value.namers.contains(id);
            #[cfg(feature = "planted")]
            if holds && self.config.plants(crate::Planted::ClaimsFirst) {
                return Some(0);
            }
            let is_origin = peer.validator.is_some() && peer.validator == origin;
            match (peer.validator.is_some(), holds) {
                (true, _) if is_origin => Some(0),
                (true, true) => Some(1),
                (true, false) => status.map(|_| 2),
                (false, true) => Some(3),
                (false, false) => status.map(|_| 4),
            }
        };
        let untried = self.peers.iter().filter(|(id, _)| !search.tried.contains(id));
        let ranked = untried.filter_map(|(id, _)| Some((rank(id)?, self.reputation.failures(id), *id)));
        ranked
            .min_by_key(|(rank, failures, id)| (*rank, *failures, draw(key.height, &key.id, id)))
            .map(|(.., id)| id)
    }

    fn end_search_turn(&mut self, key: ValueKey) {
        let now = self.now;
        if let Some(search) = self.values.get_mut(&key).and_then(|value| value.search.as_mut()) {
            search.tried.clear();
            search.asked.clear();
            search.next_at = now + TURN;
        }
    }

    /// A peer has ended what it sent of a value, and parts are missing still: the next one is asked. Who claims to hold
    /// a value and does not serve it pays once.
    pub(super) fn search_failed(&mut self, key: ValueKey, peer: PeerId) {
        let now = self.now;
        let claims = self.peers.holders(key.height, &key.id).contains(&peer);
        let Some(value) = self.values.get_mut(&key) else { return };
        value.streams.remove(&peer);
        if value.is_stored() {
            return;
        }
        let search = value.search.get_or_insert_default();
        search.next_at = now;
        search.tried.insert(peer);
        search.asked.remove(&peer);
        let Some(asked_at) = search.asked_at.remove(&peer) else {
            return;
        };
        self.reputation.failed(now, peer);
        if claims && now.since(asked_at) < PROMPT && self.reputation.charge(now, peer, asked_at) {
            let fault = Fault::Withheld;
            self.net(NetCommand::Charge { peer, fault });
        }
    }
}
