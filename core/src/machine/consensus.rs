//! This file knows how to feed consensus and carry out what it asks for.

use malachitebft_core_consensus::{Input as Told, PeerId as TransportId, ProposedValue};
use malachitebft_core_types::{Round as MRound, Validity, ValueOrigin, ValueResponse};
use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::network::Recipients;
use ultramarine_types::storage::Decision;
use ultramarine_types::{
    Address, CommitCertificate, ConsensusMessage, Round, Stage, ValueId, ValueKey, Vote, VoteKind,
};

use super::{Core, Parked, Phase};
use crate::context::{Ctx, CtxAddress, CtxHeight, CtxValue};
use crate::convert;
use crate::host::{ConsensusHost, Hands, Intent};
use crate::io::Event;
use crate::rules;
use crate::stop::{DecidedFault, ImpossibleState, Stop};

impl Core {
    /// Feeds everything that waits, one input at a time, because Malachite is not re-entrant.
    pub(super) fn consult(&mut self) {
        loop {
            while let Some(input) = self.contest.inputs.pop_front() {
                self.feed(input);
                if self.stopped {
                    return;
                }
            }
            let Some((key, round)) = self.contest.refeeds.pop_front() else {
                return;
            };
            self.refeed(key, round);
        }
    }

    /// Feeds one input and carries out what follows from it.
    pub(super) fn feed(&mut self, input: Told<Ctx>) {
        let (host, mut hands) = self.host_and_hands();
        let (intents, fatal) = host.process(input, &mut hands);
        self.carry(intents, fatal);
    }

    /// Starts the current height in Malachite.
    pub(super) fn start_consensus(&mut self, enabled: bool) {
        let height = self.current();
        let (host, mut hands) = self.host_and_hands();
        let (intents, fatal) = host.start(height, enabled, &mut hands);
        self.carry(intents, fatal);
    }

    /// Malachite, and what it needs to sign and verify.
    fn host_and_hands(&mut self) -> (&mut ConsensusHost, Hands<'_>) {
        let hands = Hands {
            signer: self.signer.as_ref(),
            guard: &mut self.guard,
            verifier: &mut self.verifier,
            set: &self.config.validators,
            chain: self.config.voting_chain(),
        };
        (&mut self.host, hands)
    }

    fn carry(&mut self, intents: Vec<Intent>, fatal: Option<Stop>) {
        if let Some(stop) = fatal {
            return self.stop(stop);
        }
        for intent in intents {
            match intent {
                Intent::Append(record) => self.append(&record),
                Intent::Publish(message) => self.publish(message),
                // A timer that is set in the batch of a decision would outlive its height.
                Intent::Schedule(_) if self.phase != Phase::Running => {}
                Intent::Schedule(timeout) => {
                    let duration = self.durations.duration(timeout, self.contest.propose);
                    self.timers.schedule(self.now + duration, timeout);
                }
                Intent::Cancel(timeout) => self.timers.cancel(timeout),
                Intent::CancelAll => self.timers.cancel_all(),
                Intent::Round { round } => self.on_round(round),
                Intent::GetValue { height, round } => {
                    self.proposer.want(height, round);
                }
                Intent::Restream(key) => {
                    if self.values.get(&key).is_some_and(|value| value.is_stored()) {
                        self.park(Parked::Stream(key));
                    }
                }
                Intent::Decide(certificate) => self.on_decide(certificate),
                Intent::Evidence(evidence) => self.keep_evidence(evidence),
                Intent::Finalize => {}
                Intent::Certified {
                    round,
                    proposer,
                    value_id,
                } => {
                    let validity = Validity::Valid;
                    let value = self.proposed_value(value_id, round, proposer, validity);
                    self.contest
                        .inputs
                        .push_back(Told::ProposedValue(value, ValueOrigin::Sync));
                }
                Intent::Rejected(why) => {
                    // We verified the certificate before we fed it, so this is our own fault: say it loudly.
                    tracing::error!(height = %self.current(), why, "consensus rejected a verified certificate");
                }
            }
        }
    }

    fn on_round(&mut self, round: Round) {
        let height = self.current();
        self.count_failures();
        let marked = self.host.marked_rounds().collect();
        #[cfg(feature = "planted")]
        let marked = if self.config.plants(crate::Planted::EverythingTold) {
            (0..=round.0).map(Round).collect()
        } else {
            marked
        };
        self.contest.begin(round, self.now, marked);
        if self.proposer.wanted().is_some_and(|(_, wanted)| wanted != round) {
            self.proposer.give_up();
        }
        let Self { values, sync, host, .. } = self;
        // Consensus may know a polka before we note that it names a value: values of a replayed log are judged only
        // after the whole log was read.
        let polkas = host.polka_ids();
        values.slim(height, round, |id| {
            sync.certifies(height, id) || host.verdict(id) == Some(true) || polkas.iter().any(|(_, named)| named == id)
        });
        self.host.forget_below(self.contest.oldest_known(round));
        self.forget_passed();
        // A log may have thousands of rounds. People hear of the last one, when its replay is over.
        if !self.host.is_replaying() {
            self.tell_round(round);
        }
    }

    /// Tells people that a round began.
    pub(super) fn tell_round(&mut self, round: Round) {
        let height = self.current();
        let proposer = *self.config.validators.proposer(height, round);
        let ours = proposer == self.address;
        self.event(Event::Round {
            height,
            round,
            proposer,
            ours,
        });
    }

    /// Sends a message of ours, or a certificate we vouch for, behind the log.
    fn publish(&mut self, message: ConsensusMessage) {
        if matches!(message, ConsensusMessage::Vote(_) | ConsensusMessage::Proposal(_))
            && !self.contest.published.contains(&message)
        {
            self.contest.published.push(message.clone());
        }
        if let ConsensusMessage::Proposal(proposal) = &message {
            self.contest
                .proposals
                .insert((proposal.round, proposal.value_id), proposal.clone());
        }
        // What a log says again was said before. When its replay is over, peers get what still matters.
        if !self.host.is_replaying() {
            self.park(Parked::Send(Recipients::All, message));
        }
    }

    /// A value in the form in which Malachite takes it.
    pub(super) fn proposed_value(
        &self,
        id: ValueId,
        round: Round,
        proposer: Address,
        validity: Validity,
    ) -> ProposedValue<Ctx> {
        ProposedValue {
            height: CtxHeight(self.current()),
            round: convert::round_to(round),
            valid_round: MRound::Nil,
            proposer: CtxAddress(proposer),
            value: CtxValue(id),
            validity,
        }
    }

    /// Tells consensus the verdict about a value, for the round in which a message named it.
    pub(super) fn refeed(&mut self, key: ValueKey, round: Round) {
        if self.phase != Phase::Running || key.height != self.current() || self.host.is_decided() {
            return;
        }
        let Some(valid) = self.verdict(&key) else { return };
        let told = self.host.verdict(&key.id);
        // A new verdict may override an `Invalid`, never a `Valid`.
        if told == Some(valid) || told == Some(true) {
            return;
        }
        let proposer = *self.config.validators.proposer(key.height, round);
        let value = self.proposed_value(key.id, round, proposer, Validity::from_bool(valid));
        self.contest
            .inputs
            .push_back(Told::ProposedValue(value, ValueOrigin::Consensus));
    }

    /// Gives consensus the commit certificate of the current height. It answers with `Certified`.
    pub(super) fn feed_certificate(&mut self, certificate: &CommitCertificate) {
        self.contest.certificate_fed = true;
        // The height is decided, so there is nothing left to sign at it.
        self.host.disable();
        // Malachite asks for a peer to blame. We verified the certificate before, so we name nobody.
        let nobody = TransportId::from_bytes(&[0, 0]).expect("an identity multihash of nothing is well-formed");
        let response = ValueResponse::new(nobody, bytes::Bytes::new(), convert::commit_to(certificate));
        self.contest.inputs.push_back(Told::SyncValueResponse(response));
    }

    /// Consensus has decided: makes the decision durable, behind the log.
    fn on_decide(&mut self, certificate: CommitCertificate) {
        let key = ValueKey {
            height: certificate.height,
            id: certificate.value_id,
        };
        let Some((init, blobs)) = self
            .values
            .get(&key)
            .and_then(|value| Some((value.init.clone()?, value.stored?)))
        else {
            return self.stop(Stop::State(ImpossibleState::BytesMissing { key }));
        };
        // The value was checked when it was judged; it is checked once more before it becomes history.
        if let Err(broken) = rules::check(&self.config.chain, &self.parent(), &init.metadata) {
            return self.stop(Stop::DecidedInvalid(DecidedFault::Metadata { key, broken }));
        }
        // What came decided was neither voted on nor committed here in a time of its own.
        if let Some(since) = self.contest.under_way_since(&key.id, self.now) {
            if let Some(valid_at) = self.values.get(&key).and_then(|value| value.valid_at) {
                self.stage(key, Stage::Vote, valid_at);
            }
            self.stage(key, Stage::Commit, since);
        }
        self.phase = Phase::Committing;
        self.timers.cancel_all();
        self.note_signers(&certificate);
        let decision = Box::new(Decision {
            certificate,
            init,
            blobs,
        });
        self.contest.decision = Some(decision.clone());
        self.park(Parked::Commit(decision));
    }

    /// Remembers who signed a certificate. A signature of ours in it counts like a message of ours.
    pub(super) fn note_signers(&mut self, certificate: &CommitCertificate) {
        for signed in &certificate.signatures {
            self.note_signed(SignedMessage::Vote(Vote {
                kind: VoteKind::Precommit,
                height: certificate.height,
                round: certificate.round,
                value_id: Some(certificate.value_id),
                voter: signed.address,
                signature: signed.signature,
            }));
        }
    }

    /// Remembers a verified message. If it is signed by us and we do not know it, another process made it.
    pub(super) fn note_signed(&mut self, message: SignedMessage) {
        let signer = message.signer();
        if signer == self.address && !self.stopped {
            self.check_ours(&message);
        }
        match self.seen.get(&signer) {
            Some(seen) if seen.step() >= message.step() => {}
            _ => drop(self.seen.insert(signer, message)),
        }
    }
}
