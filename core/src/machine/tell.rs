//! This file knows what to tell peers: our status, and once more what they may have missed.
//!
//! Malachite sends a proposal once and has no gossip. So a peer at our height gets proposals, certificates and votes
//! again if it is behind in rounds, or stuck in our round. It gets others' votes too, because it may not be connected
//! to all of them.
//!
//! What is sent again does not grow with the rounds of a height. It is of our round and the one before, and of the
//! rounds that a lock or a polka marks. The certificate of our round carries a peer that is further behind.

use std::collections::BTreeSet;

use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::network::{ClockReading, NetCommand, Recipients, Status};
use ultramarine_types::{ConsensusMessage, Height, Nanos, PeerId, Positions, Round, ValueId, ValueKey, limits};

use super::{Core, Parked, Phase};
use crate::held::RESENDS_WAITING_MAX;

/// In a round that lasts longer than this, messages may have been lost.
pub const STUCK: Nanos = Nanos::from_millis(500);
/// A status that tells of nothing but more links follows the one before no sooner. Where a hundred nodes start at once,
/// each has a new link every few milliseconds: all would tell all others of each.
const LINKS_REST: Nanos = Nanos::from_millis(50);
/// How many peers get all votes again in one status interval, in turn. The others get our own, unless they have just
/// come. A peer that has the votes passes them on, so a few turns reach all, and the copies do not drown a stuck
/// network of hundreds.
const VOTES_OF_ALL_TO: usize = 8;
const _: () = assert!(
    STUCK.0 < limits::STATUS_INTERVAL.0,
    "every status of a stuck peer is answered"
);

impl Core {
    /// Sends our status to every peer for which it is news, or due.
    pub(super) fn tell(&mut self) {
        if self.phase == Phase::Off || self.stopped {
            return;
        }
        let mine = self.status();
        // Who has signed what, and what time it is, are no news by themselves. They go with the rest.
        let is_news = self.told.as_ref() != Some(&mine);
        self.more_links_at = self.rests_until(&mine).filter(|until| is_news && *until > self.now);
        let is_told = is_news && self.more_links_at.is_none();
        let receivers = if is_told {
            self.peers.iter().map(|(id, _)| *id).collect()
        } else {
            self.peers.to_tell(self.now)
        };
        for to in receivers {
            let validator = self.peers.get(&to).and_then(|peer| peer.validator);
            let status = Status {
                seen_signed: validator.and_then(|validator| self.seen.get(&validator).cloned()),
                clock: self.clock_reading(&to),
                ..mine.clone()
            };
            self.peers.tell(&to, status.clone(), self.now);
            self.net(NetCommand::Status { to, status });
        }
        if is_told {
            self.told = Some(mine);
            self.told_at = self.now;
        }
    }

    /// Until when our status rests, if nothing is new in it but links that stand. A link that is gone may decide whom a
    /// message still has to reach, and is told at once.
    fn rests_until(&self, mine: &Status) -> Option<Nanos> {
        let told = self.told.as_ref()?;
        let links = mine.links;
        let is_more = links.both(&told.links) == told.links && Status { links, ..told.clone() } == *mine;
        is_more.then_some(self.told_at + LINKS_REST)
    }

    fn status(&self) -> Status {
        let mut holds = self.values.held(self.current());
        // Whoever knows of a value may ask for it, and gets its `Init` with our signature. So the log has our choice
        // first.
        holds.retain(|id| !self.is_unlogged(id));
        holds.truncate(limits::STATUS_VALUES_MAX);
        Status {
            tip: self.head.height,
            oldest_blobs: self.oldest_blobs,
            round: self.round().unwrap_or_default(),
            holds,
            seen_signed: None,
            clock: ClockReading::default(),
            ready: self.is_ready(),
            links: self.links,
            proposes: self.could_propose(),
        }
    }

    /// Whether a held value is of our own making, and no choice of it is in the log yet.
    fn is_unlogged(&self, id: &ValueId) -> bool {
        let key = ValueKey {
            height: self.current(),
            id: *id,
        };
        let init = self.values.get(&key).and_then(|value| value.init.as_ref());
        init.is_some_and(|init| init.metadata.origin_proposer == self.address) && !self.proposer.is_logged(&key)
    }

    /// Whether a block of ours would come if it were our turn. A client that imports what we have just decided is only
    /// a moment behind. A height that is decided by its certificate is signed no more, and the next one may be ours.
    pub fn could_propose(&self) -> bool {
        let next_is_ours = || {
            let next = self.current().next();
            self.contest.certificate_fed && self.listening_until.is_none() && self.silence(next).is_none()
        };
        let signs = match &self.phase {
            Phase::Running | Phase::Committing => self.host.is_enabled() || next_is_ours(),
            Phase::Between { .. } => self.listening_until.is_none() && self.silence(self.current()).is_none(),
            Phase::Recovering { wanted, .. } => self.listening_until.is_none() && self.are_stored(wanted),
            Phase::Off | Phase::Listening => false,
        };
        signs && self.execution.follows()
    }

    /// Looks anew which validators are connected.
    pub(super) fn note_links(&mut self) {
        let set = &self.config.validators;
        let validators = self.peers.iter().filter_map(|(_, peer)| peer.validator);
        let links: Positions = validators.filter_map(|validator| set.index_of(&validator)).collect();
        for position in self.links.iter().filter(|position| !links.contains(*position)) {
            let newest = set
                .at(position as usize)
                .and_then(|(address, _)| self.seen.get(address));
            self.lost
                .insert(position, newest.map_or_else(Default::default, SignedMessage::step));
        }
        self.lost.retain(|position, _| !links.contains(*position));
        self.links = links;
    }

    /// When the next status is due.
    pub(super) fn tell_deadline(&self) -> Option<Nanos> {
        let due = self.peers.tell_due().into_iter().chain(self.more_links_at).min();
        due.map(|at| at.max(self.now))
    }

    /// Sends a peer what it may have missed of the current height.
    pub(super) fn resend(&mut self, peer: PeerId) {
        let current = self.current();
        let Some((status, resent_at)) = self
            .peers
            .get(&peer)
            .and_then(|known| Some((known.status.clone()?, known.resent_at)))
        else {
            return;
        };
        let Some(ours) = self.round() else { return };
        if status.tip.next() != current || self.host.is_replaying() {
            return;
        }
        let stuck = self.now.since(self.contest.round_at) >= STUCK;
        let behind = status.round < ours;
        let fresh = resent_at.is_none();
        let rested = resent_at.is_none_or(|at| self.now.since(at) >= STUCK);
        if !(fresh || rested && (stuck || behind)) || self.gate.len() >= RESENDS_WAITING_MAX {
            return;
        }
        let messages = self.missed(current, status.round, fresh || self.is_turn(&peer));
        if messages.is_empty() {
            return;
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.resent_at = Some(self.now);
        }
        for message in messages {
            self.park(Parked::Send(Recipients::One(peer), message));
        }
    }

    /// Sends everybody what a replayed log said again and still matters.
    pub(super) fn publish_again(&mut self) {
        for message in self.contest.published.clone() {
            self.park(Parked::Send(Recipients::All, message));
        }
    }

    /// Whether it is a peer's turn to get all votes again.
    pub(super) fn is_turn(&self, peer: &PeerId) -> bool {
        let turns = self.peers.len().div_ceil(VOTES_OF_ALL_TO).max(1) as u64;
        let rank = self.peers.iter().take_while(|(other, _)| *other != peer).count() as u64;
        (rank + self.now.0 / limits::STATUS_INTERVAL.0).is_multiple_of(turns)
    }

    /// What helps a peer forward at the current height, certificates first. With `all`, others' votes of `round` and of
    /// our round as well.
    fn missed(&self, height: Height, round: Round, all: bool) -> Vec<ConsensusMessage> {
        let mut messages: Vec<ConsensusMessage> = Vec::new();
        if self.phase != Phase::Running || self.host.height() != height {
            return messages;
        }
        messages.extend(self.host.round_certificate());
        let ours = self.host_round();
        let tells = |round: Round| self.contest.tells(round, ours);
        let proposals = self.contest.proposals.values().filter(|proposal| tells(proposal.round));
        // A proposal that names a polka is worth nothing without it.
        let named: BTreeSet<Round> = proposals.clone().filter_map(|proposal| proposal.valid_round).collect();
        messages.extend(proposals.cloned().map(ConsensusMessage::Proposal));
        let polkas = self.host.polkas();
        messages.extend(polkas.filter(|polka| tells(polka.round()) || named.contains(&polka.round())));
        let rounds = BTreeSet::from([round, ours]);
        for votes_round in rounds.into_iter().filter(|_| all) {
            messages.extend(self.host.votes(votes_round).into_iter().map(ConsensusMessage::Vote));
        }
        for message in &self.contest.published {
            if !messages.contains(message) {
                messages.push(message.clone());
            }
        }
        messages
    }
}
