//! This file knows what to do with a consensus message from a peer.
//!
//! A message is verified before it is kept or fed. A message of an old or far height, or of a far round, costs nothing:
//! it is dropped before any signature is checked.

use malachitebft_core_consensus::Input as Told;
use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::network::{Fault, NetCommand, Recipients, Status};
use ultramarine_types::{ConsensusMessage, Height, PeerId, Round, Stage, ValueKey, Vote, VoteKind, limits};

use super::{Core, Phase};
use crate::certificate::{self, CertificateError};
use crate::convert;
use crate::guard::{Signed, SignedKind};
use crate::held::ROUNDS_AHEAD;
use crate::io::Event;
use crate::stop::{ForeignSignature, Stop};
use crate::values;

impl Core {
    /// Verifies votes and proposals that came together, as one batch. What becomes of each afterwards does not depend
    /// on it.
    pub fn verify_ahead<'a>(&mut self, messages: impl Iterator<Item = &'a ConsensusMessage>) {
        let due: Vec<_> = messages.filter(|message| self.is_due(message)).collect();
        let (set, chain) = (&self.config.validators, &self.config.chain.identity);
        certificate::check_ahead(set, chain, due.into_iter(), &mut self.verifier);
    }

    pub(super) fn on_message(&mut self, peer: PeerId, message: ConsensusMessage) {
        if !self.is_due(&message) {
            return;
        }
        let certificate = is_certificate(&message);
        if let Err(error) = self.verify(&message) {
            tracing::debug!(%error, "a consensus message does not verify");
            let fault = if certificate {
                Fault::Certificate
            } else {
                Fault::Signature
            };
            return self.net(NetCommand::Charge { peer, fault });
        }
        for signed in signatures(&message) {
            self.note_signed(signed);
        }
        if self.stopped {
            return;
        }
        self.pass_on(peer, &message);
        let (height, current) = (message.height(), self.current());
        if self.phase == Phase::Running && height == current {
            self.take_message(Some(peer), message);
        } else {
            let begun = matches!(self.phase, Phase::Running | Phase::Committing);
            let next = if begun { current.next() } else { current };
            self.early.keep(next, message);
        }
    }

    /// Whether a message is of a height and round for which a signature is checked.
    fn is_due(&self, message: &ConsensusMessage) -> bool {
        let (height, current) = (message.height(), self.current());
        if height != current {
            return height == current.next();
        }
        if self.phase != Phase::Running || is_certificate(message) {
            return true;
        }
        let (ours, round) = (self.host_round(), message.round());
        // Whoever signs with our key is heard in whatever round.
        round.0 <= ours.0.saturating_add(ROUNDS_AHEAD)
            && (self.contest.knows(round, ours) || self.is_signed_by_us(message))
    }

    fn is_signed_by_us(&self, message: &ConsensusMessage) -> bool {
        match message {
            ConsensusMessage::Vote(vote) => vote.voter == self.address,
            ConsensusMessage::Proposal(proposal) => proposal.proposer == self.address,
            ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => false,
        }
    }

    pub(super) fn verify(&mut self, message: &ConsensusMessage) -> Result<(), CertificateError> {
        let (set, chain) = (&self.config.validators, self.config.voting_chain());
        let verifier = &mut self.verifier;
        match message {
            ConsensusMessage::Vote(vote) => certificate::check_vote(set, chain, vote, verifier),
            ConsensusMessage::Proposal(proposal) => certificate::check_proposal(set, chain, proposal, verifier),
            ConsensusMessage::Polka(polka) => certificate::check_polka(set, chain, polka, verifier),
            ConsensusMessage::Round(round) => certificate::check_round(set, chain, round, verifier),
        }
    }

    /// Checks a verified signature of ours that came back to us.
    ///
    /// If we do not know it, another process made it, or we did before this directory was emptied. From then on we sign
    /// nothing until a whole height has passed without such a signature. A process that signs at every height is heard
    /// in time. So two processes with one key sign beside each other only until one hears the other.
    pub(super) fn check_ours(&mut self, message: &SignedMessage) {
        let (round, kind, signed) = contents(message);
        self.check_signed(message.step().0, round, kind, signed);
    }

    /// The same for any signature, `Init`s included.
    pub(super) fn check_signed(&mut self, height: Height, round: Round, kind: SignedKind, signed: Signed) {
        if height <= self.head.height || self.guard.get(height, round, kind) == Some(&signed) {
            return;
        }
        if height <= self.forgotten {
            return self.fall_silent(height);
        }
        let through = height.next();
        if self.phase != Phase::Running || !self.host.is_enabled() {
            return self.fall_silent(through);
        }
        let found = ForeignSignature { kind, height, round };
        self.stop_silent(through, Stop::ForeignSignatures(found));
    }

    /// Takes a verified message of the current height, from a peer or from those kept early.
    pub(super) fn take_message(&mut self, peer: Option<PeerId>, message: ConsensusMessage) {
        if self.phase != Phase::Running {
            return;
        }
        if !is_certificate(&message) && !self.contest.knows(message.round(), self.host_round()) {
            return;
        }
        match message {
            ConsensusMessage::Vote(vote) => self.tell_consensus(Told::Vote(convert::vote_to(&vote))),
            ConsensusMessage::Proposal(proposal) => {
                let (key, round) = (
                    ValueKey {
                        height: proposal.height,
                        id: proposal.value_id,
                    },
                    proposal.round,
                );
                // A proposer may sign any number of proposals. We keep two, and one that a polka names.
                let others = self
                    .contest
                    .proposals
                    .keys()
                    .filter(|(other, id)| *other == round && *id != key.id);
                let polka = self.values.get(&key).is_some_and(|value| value.polka);
                if others.count() >= limits::VALUES_PER_ROUND_MAX && !polka {
                    return;
                }
                // A value of a round long past is worth its bytes only if a polka names it too.
                if polka || !values::is_past(round, self.host_round()) {
                    self.name(key, peer, Some(round));
                }
                self.tell_consensus(Told::Proposal(convert::proposal_to(&proposal)));
                self.contest
                    .proposals
                    .entry((round, proposal.value_id))
                    .or_insert(proposal);
                self.contest.refeeds.push_back((key, round));
            }
            ConsensusMessage::Polka(polka) => {
                let (key, round) = (
                    ValueKey {
                        height: polka.height,
                        id: polka.value_id,
                    },
                    polka.round,
                );
                self.name(key, peer, None);
                self.tell_consensus(Told::PolkaCertificate(convert::polka_to(&polka)));
                self.contest.refeeds.push_back((key, round));
            }
            ConsensusMessage::Round(certificate) => {
                self.tell_consensus(Told::RoundCertificate(convert::round_certificate_to(&certificate)));
            }
        }
    }

    /// Notes that a verified message names a value, so that its bytes are wanted. `proposed_in` is the round if the
    /// message is a proposal, `None` if it is a polka.
    pub(super) fn name(&mut self, key: ValueKey, peer: Option<PeerId>, proposed_in: Option<Round>) {
        let now = self.now;
        let value = self.values.entry(key);
        let first = value.proposed_in.is_none() && !value.polka;
        value.proposed_in = value.proposed_in.max(proposed_in);
        value.polka |= proposed_in.is_none();
        if first && value.valid_at.is_none() && value.first_seen.is_none() {
            value.first_seen = Some(now);
        }
        if let Some(peer) = peer {
            value.note_namer(peer);
        }
    }

    /// Sends a message that the gate let pass.
    pub(super) fn send(&mut self, to: Recipients, message: ConsensusMessage) {
        let ours = match &message {
            ConsensusMessage::Vote(vote) if vote.voter == self.address => Some(SignedMessage::Vote(vote.clone())),
            ConsensusMessage::Proposal(proposal) if proposal.proposer == self.address => {
                Some(SignedMessage::Proposal(proposal.clone()))
            }
            _ => None,
        };
        if let Some(ours) = ours {
            let (round, kind, signed) = contents(&ours);
            self.event(Event::Signed {
                height: message.height(),
                round,
                kind: kind.name(),
                value_id: signed.value_id,
            });
            self.note_signed(ours);
        }
        self.net(NetCommand::Send { to, message });
    }

    pub(super) fn on_status(&mut self, peer: PeerId, status: Status) {
        if !status.links.fit(self.config.validators.len()) {
            let fault = Fault::Protocol;
            return self.net(NetCommand::Charge { peer, fault });
        }
        let seen = status.seen_signed.clone();
        self.hear_clock(&peer, &status);
        if self.reputation.is_trusted(&peer) {
            self.trusted_tip = None;
        }
        if !self.peers.heard(&peer, status) {
            return;
        }
        if let Some(seen) = seen {
            self.hear_of_ours(peer, seen);
        }
        if self.stopped {
            return;
        }
        self.resend(peer);
    }

    /// A peer shows us a message of ours. If we know it, it costs nothing. Otherwise its signature must hold, or we
    /// charge the peer.
    fn hear_of_ours(&mut self, peer: PeerId, seen: SignedMessage) {
        if self.is_known(&seen) {
            return;
        }
        if seen.signer() != self.address || self.verify(&seen.clone().into_message()).is_err() {
            let fault = Fault::Signature;
            return self.net(NetCommand::Charge { peer, fault });
        }
        self.note_signed(seen);
    }

    /// Whether a message that is said to be ours is nothing new: we know it, or its height is decided.
    pub(super) fn is_known(&self, seen: &SignedMessage) -> bool {
        let (round, kind, signed) = contents(seen);
        let height = seen.step().0;
        self.signer.is_none()
            || height <= self.head.height
            || self.guard.get(height, round, kind) == Some(&signed) && seen.signer() == self.address
    }

    /// Forgets a peer whose last connection is gone.
    pub(super) fn lose(&mut self, peer: PeerId) {
        self.peers.down(&peer);
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::FailuresForgotten) {
            self.reputation = crate::reputation::Reputation::default();
        }
        self.trusted_tip = None;
        self.note_links();
        self.hearings.lose(&peer);
        self.values.lose(&peer);
        self.sync.lose(&peer);
        self.healing.lose(self.now, &peer);
    }

    /// Reports how long a value took to execute here.
    pub(super) fn executed_stage(&mut self, key: ValueKey, since: ultramarine_types::Nanos) {
        self.stage(key, Stage::Execute, since);
    }
}

fn is_certificate(message: &ConsensusMessage) -> bool {
    matches!(message, ConsensusMessage::Polka(_) | ConsensusMessage::Round(_))
}

/// The messages with a single signature that a message is made of.
pub(super) fn signatures(message: &ConsensusMessage) -> Vec<SignedMessage> {
    match message {
        ConsensusMessage::Vote(vote) => vec![SignedMessage::Vote(vote.clone())],
        ConsensusMessage::Proposal(proposal) => vec![SignedMessage::Proposal(proposal.clone())],
        ConsensusMessage::Polka(polka) => {
            let votes = polka.signatures.iter().map(|one| Vote {
                kind: VoteKind::Prevote,
                height: polka.height,
                round: polka.round,
                value_id: Some(polka.value_id),
                voter: one.address,
                signature: one.signature,
            });
            votes.map(SignedMessage::Vote).collect()
        }
        ConsensusMessage::Round(certificate) => {
            let votes = certificate.signatures.iter().map(|one| Vote {
                kind: one.kind,
                height: certificate.height,
                round: certificate.round,
                value_id: one.value_id,
                voter: one.address,
                signature: one.signature,
            });
            votes.map(SignedMessage::Vote).collect()
        }
    }
}

/// What a message says, in the form in which the guard keeps it.
fn contents(message: &SignedMessage) -> (Round, SignedKind, Signed) {
    match message {
        SignedMessage::Vote(vote) => {
            let signed = Signed {
                value_id: vote.value_id,
                valid_round: None,
            };
            (vote.round, vote.kind.into(), signed)
        }
        SignedMessage::Proposal(proposal) => {
            let signed = Signed {
                value_id: Some(proposal.value_id),
                valid_round: proposal.valid_round,
            };
            (proposal.round, SignedKind::Proposal, signed)
        }
    }
}
