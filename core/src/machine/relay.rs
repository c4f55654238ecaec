//! This file knows how votes and proposals reach validators that are not connected to their signer.
//!
//! Every validator passes on what it verified, to those of its peers whose statuses show no link to the signer. A peer
//! that says nothing true about its links harms itself alone.

use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::network::{Recipients, Status};
use ultramarine_types::{Address, ConsensusMessage, Height, PeerId, Positions, Round};

use super::{Core, Parked, Phase};
use crate::early;
use crate::held::{RESENDS_WAITING_MAX, ROUNDS_AHEAD};
use crate::relay::{Draw, SignerStep};

/// A peer that is a validator's, and is not linked to a signer.
pub(super) struct Far {
    peer: PeerId,
    /// Its validator's position in the set.
    position: u32,
    /// The validators that could pass on to it.
    relays: Positions,
}

impl Core {
    /// Passes a verified message on, unless that was done lately. `from` sent it.
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
        let needs = |status: &Status| status.tip < height && height <= status.tip.next().next();
        let far = self.far_from(signer, &from, needs);
        #[cfg(feature = "planted")]
        let far = if self.config.plants(crate::Planted::NothingRelayed) {
            Vec::new()
        } else {
            far
        };
        if far.is_empty() {
            return;
        }
        let Some(times) = self.relay.pass(self.now, step, value) else {
            return;
        };
        for peer in drawn(&far, step.draw(value.as_ref(), times), ours) {
            self.park(Parked::Send(Recipients::One(peer), message.clone()));
        }
    }

    /// The validators' nodes that need something of a signer by their statuses, and are not linked to it. Whose status
    /// has not come is not among them: its links may be on their way. `from` has the message.
    ///
    /// If we are connected to the signer, those that are connected to both could pass on to them: the signer's own
    /// status says who is. Otherwise it may be any that is connected to the receiver.
    pub(super) fn far_from(&self, signer: u32, from: &PeerId, needs: impl Fn(&Status) -> bool) -> Vec<Far> {
        let set = &self.config.validators;
        let far = self.peers.iter().filter_map(|(peer, known)| {
            let status = known.status.as_ref()?;
            if peer == from || status.links.contains(signer) || !needs(status) {
                return None;
            }
            let position = set.index_of(&known.validator?).filter(|position| *position != signer)?;
            let relays = status.links;
            let peer = *peer;
            Some(Far { peer, position, relays })
        });
        let mut far: Vec<Far> = far.collect();
        if far.is_empty() {
            return far;
        }
        let of_signer = set.at(signer as usize).and_then(|(address, _)| self.links_of(address));
        for Far { position, relays, .. } in &mut far {
            if let Some(of_signer) = &of_signer {
                *relays = relays.both(of_signer);
            }
            relays.remove(*position);
            relays.remove(signer);
        }
        far
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

/// Those to whom the validator at our position passes on.
pub(super) fn drawn(far: &[Far], draw: Draw, ours: u32) -> Vec<PeerId> {
    let drawn = far.iter().filter(|far| draw.picks(far.position, &far.relays, ours));
    drawn.map(|far| far.peer).collect()
}
