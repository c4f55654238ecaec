//! This file knows how votes and proposals reach validators that are not connected to their signer.
//!
//! Every validator passes on what it verified, to those of its peers whose statuses show no link to the signer. A peer
//! that says nothing true about its links harms itself alone.

use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::network::Recipients;
use ultramarine_types::{Address, ConsensusMessage, Height, PeerId, Positions, Round};

use super::{Core, Parked, Phase};
use crate::early;
use crate::held::{RESENDS_WAITING_MAX, ROUNDS_AHEAD};
use crate::relay::{self, SignerStep};

impl Core {
    /// Passes a verified message on, unless that was done before. `from` sent it.
    pub(super) fn pass_on(&mut self, from: PeerId, message: &ConsensusMessage) {
        let signed = match message {
            ConsensusMessage::Vote(vote) => SignedMessage::Vote(vote.clone()),
            ConsensusMessage::Proposal(proposal) => SignedMessage::Proposal(proposal.clone()),
            ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => return,
        };
        let (height, round, kind) = signed.step();
        let set = &self.config.validators;
        let (Some(ours), Some(signer)) = (self.position(), set.index_of(&signed.signer())) else {
            return;
        };
        if signer == ours || !self.may_pass_on(height, round) || self.gate.len() >= RESENDS_WAITING_MAX {
            return;
        }
        let value = signed.value_id();
        let step = SignerStep {
            height,
            round,
            kind,
            signer,
        };
        let digest = step.digest(value.as_ref());
        let to = self.peers.iter().filter(|(peer, _)| **peer != from);
        let to: Vec<PeerId> = to
            .filter_map(|(peer, known)| {
                let receiver = set.index_of(&known.validator?)?;
                let status = known.status.as_ref()?;
                let needs = status.tip < height && height <= status.tip.next().next();
                let far = receiver != signer && !status.links.contains(signer);
                let drawn = || relay::is_drawn(&digest, receiver, &self.relays(&status.links, receiver, signer), ours);
                (needs && far && drawn()).then_some(*peer)
            })
            .collect();
        #[cfg(feature = "planted")]
        let to = if self.config.plants(crate::Planted::NothingRelayed) {
            Vec::new()
        } else {
            to
        };
        if to.is_empty() || !self.relay.pass(step, value) {
            return;
        }
        for peer in to {
            self.park(Parked::Send(Recipients::One(peer), message.clone()));
        }
    }

    /// The validators that could pass on to a receiver with these links what the signer signed. If we are connected to
    /// the signer, they are those that are connected to both: the signer's own status says who is. Otherwise it may be
    /// any that is connected to the receiver.
    fn relays(&self, links: &Positions, receiver: u32, signer: u32) -> Positions {
        let set = &self.config.validators;
        let of_signer = set.at(signer as usize).and_then(|(address, _)| self.links_of(address));
        let could = |position: u32| match &of_signer {
            Some(of_signer) => of_signer.contains(position),
            None => true,
        };
        links
            .iter()
            .filter(|position| *position != receiver && *position != signer && could(*position))
            .collect()
    }

    /// The validators to whom a connected validator's nodes are connected.
    fn links_of(&self, validator: &Address) -> Option<Positions> {
        let peer = self.peers.of_validator(validator)?;
        Some(self.peers.get(&peer)?.status.as_ref()?.links)
    }

    /// Our position in the set.
    pub(super) fn position(&self) -> Option<u32> {
        self.signer.as_ref()?;
        self.config.validators.index_of(&self.address)
    }

    /// Whether a message of this height and round is passed on: those that consensus here takes, or keeps for later.
    fn may_pass_on(&self, height: Height, round: Round) -> bool {
        let (current, ours) = (self.current(), self.host_round());
        if height == current && self.phase == Phase::Running {
            return self.contest.knows(round, ours) && round.0 <= ours.0.saturating_add(ROUNDS_AHEAD);
        }
        (height == current || height == current.next()) && round.0 < early::ROUNDS
    }

    /// Forgets what is not passed on any more.
    pub(super) fn forget_passed(&mut self) {
        let mut relay = std::mem::take(&mut self.relay);
        relay.keep(|height, round| self.may_pass_on(height, round));
        self.relay = relay;
    }
}
