//! This file knows what to do with a consensus message from a peer.
//!
//! Everything is verified before it is kept or fed. A message of an old or far height, or of a far round, costs
//! nothing: it is dropped before any signature is looked at.

use malachitebft_core_consensus::Input as Told;
use ultramarine_types::network::{Fault, NetCommand, Recipients, Status};
use ultramarine_types::{
    Address, ConsensusMessage, Height, PeerId, Round, Stage, ValueId, ValueKey, Vote, VoteKind, limits,
};

use super::{Core, Phase};
use crate::certificate::{self, CertificateError};
use crate::convert;
use crate::guard::{Kind, Signed};
use crate::io::{Event, Stop};

/// Rounds ahead of ours whose votes and proposals consensus takes; its own bound.
const ROUNDS_AHEAD: u32 = 10;
/// Senders remembered per named value: enough to ask for its bytes.
const NAMERS_MAX: usize = 8;

impl Core {
    pub(super) fn on_message(&mut self, peer: PeerId, message: ConsensusMessage) {
        let (height, current) = (message.height(), self.current());
        if height != current && height != current.next() {
            return;
        }
        let certificate = matches!(message, ConsensusMessage::Polka(_) | ConsensusMessage::Round(_));
        let running = self.phase == Phase::Running && height == current;
        if running && !certificate {
            let ours = self.host.round().unwrap_or_default();
            if message.round().0 > ours.0.saturating_add(ROUNDS_AHEAD) {
                return;
            }
        }
        if let Err(error) = self.verify(&message) {
            tracing::debug!(%error, "a consensus message does not verify");
            let fault = if certificate {
                Fault::Certificate
            } else {
                Fault::Signature
            };
            return self.net(NetCommand::Charge { peer, fault });
        }
        self.note_message(&message);
        if self.stopped {
            return;
        }
        if running {
            self.take_message(Some(peer), message);
        } else {
            let begun = matches!(self.phase, Phase::Running | Phase::Committing);
            let next = if begun { current.next() } else { current };
            self.early.keep(next, message);
        }
    }

    fn verify(&mut self, message: &ConsensusMessage) -> Result<(), CertificateError> {
        let (set, chain_id) = (&self.config.validators, self.config.chain.chain_id);
        let verifier = &mut self.verifier;
        match message {
            ConsensusMessage::Vote(vote) => certificate::check_vote(set, chain_id, vote, verifier),
            ConsensusMessage::Proposal(proposal) => certificate::check_proposal(set, chain_id, proposal, verifier),
            ConsensusMessage::Polka(polka) => certificate::check_polka(set, chain_id, polka, verifier),
            ConsensusMessage::Round(round) => certificate::check_round(set, chain_id, round, verifier),
        }
    }

    /// Remembers whose signatures they are. One of ours that we do not know of is somebody else's doing.
    fn note_message(&mut self, message: &ConsensusMessage) {
        let height = message.height();
        for (signer, round, kind, signed) in signatures(message) {
            self.note_signer(signer, height, round, kind.step());
            if signer == self.address && !self.stopped {
                self.check_ours(height, round, kind, signed);
            }
        }
    }

    /// A verified signature of ours came back to us.
    ///
    /// One that we know nothing of is another process's, or from before this directory was emptied. From then on nothing
    /// is signed until a whole height has passed without one: whoever signs at every height is heard in time, so two
    /// processes with one key never sign beside each other for longer than it takes to hear the other.
    pub(super) fn check_ours(&mut self, height: Height, round: Round, kind: Kind, signed: Signed) {
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
        let what = format!(
            "a {} of ours at height {height}, round {round}, which this process did not sign: another one is signing \
             with this key. Started again, this node follows without signing until a whole height has passed without \
             such a signature",
            kind.name()
        );
        self.stop_silent(through, Stop::ForeignSignatures(what));
    }

    /// Takes a verified message of the current height, from a peer or from what was kept.
    pub(super) fn take_message(&mut self, peer: Option<PeerId>, message: ConsensusMessage) {
        if self.phase != Phase::Running {
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
                // A proposer may sign any number of proposals: two are kept, and what a polka names.
                let others = self
                    .proposals
                    .keys()
                    .filter(|(other, id)| *other == round && *id != key.id);
                let polka = self.values.get(&key).is_some_and(|value| value.polka);
                if others.count() >= limits::VALUES_PER_ROUND_MAX && !polka {
                    return;
                }
                self.name(key, peer, false);
                self.tell_consensus(Told::Proposal(convert::proposal_to(&proposal)));
                self.proposals.entry((round, proposal.value_id)).or_insert(proposal);
                self.refeeds.push_back((key, round));
            }
            ConsensusMessage::Polka(polka) => {
                let (key, round) = (
                    ValueKey {
                        height: polka.height,
                        id: polka.value_id,
                    },
                    polka.round,
                );
                self.name(key, peer, true);
                self.tell_consensus(Told::PolkaCertificate(convert::polka_to(&polka)));
                self.refeeds.push_back((key, round));
            }
            ConsensusMessage::Round(certificate) => {
                self.tell_consensus(Told::RoundCertificate(convert::round_certificate_to(&certificate)));
            }
        }
    }

    /// A verified message names a value: its bytes are wanted.
    pub(super) fn name(&mut self, key: ValueKey, peer: Option<PeerId>, polka: bool) {
        let now = self.now;
        let value = self.values.entry(key);
        let first = !value.proposed && !value.polka;
        value.proposed = true;
        value.polka |= polka;
        if first && value.valid_at.is_none() && value.first_seen.is_none() {
            value.first_seen = Some(now);
        }
        if let Some(peer) = peer
            && !value.namers.contains(&peer)
        {
            if value.namers.len() >= NAMERS_MAX {
                value.namers.remove(0);
            }
            value.namers.push(peer);
        }
    }

    /// A message passed the log: it leaves.
    pub(super) fn send(&mut self, to: Recipients, message: ConsensusMessage) {
        let ours: Option<(Round, Kind, Option<ValueId>)> = match &message {
            ConsensusMessage::Vote(Vote {
                voter,
                round,
                kind,
                value_id,
                ..
            }) if *voter == self.address => Some((*round, Kind::from(*kind), *value_id)),
            ConsensusMessage::Proposal(proposal) if proposal.proposer == self.address => {
                Some((proposal.round, Kind::Proposal, Some(proposal.value_id)))
            }
            _ => None,
        };
        if let Some((round, kind, value_id)) = ours {
            self.note_signer(self.address, message.height(), round, kind.step());
            self.event(Event::Signed {
                height: message.height(),
                round,
                kind: kind.name(),
                value_id,
            });
        }
        self.net(NetCommand::Send { to, message });
    }

    pub(super) fn on_status(&mut self, peer: PeerId, status: Status) {
        if !self.peers.heard(&peer, status) {
            return;
        }
        self.check_foreign_signatures();
        if self.stopped {
            return;
        }
        self.resend(peer);
    }

    /// A connection is gone.
    pub(super) fn lose(&mut self, peer: PeerId) {
        self.peers.down(&peer);
        self.values.lose(&peer);
        self.sync.lose(&peer);
    }

    /// How long a value took to execute here.
    pub(super) fn executed_stage(&mut self, key: ValueKey, since: ultramarine_types::Nanos) {
        self.stage(key, Stage::Execute, since);
    }
}

/// Who signed what in a message, certificates included.
fn signatures(message: &ConsensusMessage) -> Vec<(Address, Round, Kind, Signed)> {
    let signed = |value_id, valid_round| Signed { value_id, valid_round };
    match message {
        ConsensusMessage::Vote(vote) => vec![(vote.voter, vote.round, vote.kind.into(), signed(vote.value_id, None))],
        ConsensusMessage::Proposal(proposal) => {
            let what = signed(Some(proposal.value_id), proposal.valid_round);
            vec![(proposal.proposer, proposal.round, Kind::Proposal, what)]
        }
        ConsensusMessage::Polka(polka) => {
            let prevote = signed(Some(polka.value_id), None);
            let each = polka.signatures.iter();
            each.map(|one| (one.address, polka.round, VoteKind::Prevote.into(), prevote))
                .collect()
        }
        ConsensusMessage::Round(certificate) => {
            let each = certificate.signatures.iter();
            each.map(|one| {
                (
                    one.address,
                    certificate.round,
                    one.kind.into(),
                    signed(one.value_id, None),
                )
            })
            .collect()
        }
    }
}
