//! This file knows how to run Malachite: it answers what must be answered at once and lists, in order, what is to be
//! done about the rest.
//!
//! Malachite is not re-entrant and its effects come from inside `process!`. Only signing and verifying are answered
//! there; everything else becomes an [`Action`] that the caller carries out when `process!` has returned. The handler
//! cannot fail, by type: an error would make Malachite abandon an input half done.

use std::convert::Infallible;

use malachitebft_core_consensus::{
    ConsensusMsg, Effect, Error, Input, LivenessMsg, MisbehaviorEvidence, Params, Resumable, Resume,
    SignedConsensusMsg, State, VoteExtensionError, process,
};
use malachitebft_core_types::{
    CertificateError as MCertificateError, NilOrVal, Round as MRound, SignedMessage, ThresholdParams, Timeout,
    Validity, ValuePayload, VoteExtensionPolicy,
};
use ultramarine_types::{
    Address, CommitCertificate, ConsensusMessage, Height, Proposal, Round, Signature, ValidatorSet, ValueId, ValueKey,
    Vote, sign,
};

use crate::certificate;
use crate::context::{Ctx, CtxAddress, CtxHeight, CtxProposal, CtxValidatorSet, CtxVote};
use crate::convert;
use crate::guard::{Conflict, Guard, Kind, Signed};
use crate::log::Record;
use crate::signing::{Signer, Verifier};

/// Heights ahead that Malachite may buffer inputs for. We buffer verified messages ourselves, so this stays empty.
const QUEUE_HEIGHTS: usize = 2;
/// Inputs buffered per height; see [`QUEUE_HEIGHTS`].
const QUEUE_PER_HEIGHT: usize = 64;

/// What Malachite wants done, in order.
#[derive(Clone, Debug)]
pub enum Action {
    /// Append to the log.
    Append(Record),
    /// Send to all peers, behind everything appended so far.
    Publish(ConsensusMessage),
    /// Start a timer.
    Schedule(Timeout),
    /// Stop a timer.
    Cancel(Timeout),
    /// Stop all timers.
    CancelAll,
    /// A round began.
    Round {
        /// The round.
        round: Round,
        /// Its proposer.
        proposer: Address,
    },
    /// A value is wanted from us.
    GetValue {
        /// For this height.
        height: Height,
        /// For this round.
        round: Round,
    },
    /// Stream a value's bytes again.
    Restream(ValueKey),
    /// The height is decided.
    Decide(CommitCertificate),
    /// Somebody signed two different things.
    Evidence {
        /// Who.
        validator: Address,
        /// Both messages.
        what: String,
    },
    /// The height is done; the next may be started.
    Finalize,
    /// A certificate held; consensus waits for its value.
    Certified {
        /// The round of the certificate.
        round: Round,
        /// The proposer to name with the value.
        proposer: Address,
        /// The value.
        value_id: ValueId,
    },
    /// A certificate did not hold.
    Rejected(String),
}

/// Why the node must stop signing, found while running Malachite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fatal {
    /// A signature was asked for that contradicts one on record.
    Conflict(Conflict),
    /// Replay derived something else than what the log has.
    Divergence(String),
}

/// What signing and verifying need.
pub struct Hands<'a> {
    /// `None` on a full node.
    pub signer: Option<&'a Signer>,
    /// Asked before every signature.
    pub guard: &'a mut Guard,
    /// Verifies and remembers.
    pub verifier: &'a mut Verifier,
    /// The validators.
    pub set: &'a ValidatorSet,
    /// The chain.
    pub chain_id: u64,
}

/// Malachite, with its state.
pub struct Host {
    state: State<Ctx>,
    set: CtxValidatorSet,
}

impl Host {
    /// A host that has not started a height.
    pub fn new(address: Address, set: CtxValidatorSet, height: Height) -> Self {
        let params = Params {
            address: CtxAddress(address),
            threshold_params: ThresholdParams::default(),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: false,
        };
        let state = State::new(
            Ctx,
            CtxHeight(height),
            set.clone(),
            params,
            QUEUE_HEIGHTS,
            QUEUE_PER_HEIGHT,
        );
        Self { state, set }
    }

    /// The height Malachite is at.
    pub fn height(&self) -> Height {
        self.state.height().0
    }

    /// The round it is in, if one began.
    pub fn round(&self) -> Option<Round> {
        convert::round_from(self.state.round())
    }

    /// Whether it waits for a proposal.
    pub fn is_proposing(&self) -> bool {
        self.state.driver.step_is_propose()
    }

    /// Whether it has decided.
    pub fn is_decided(&self) -> bool {
        self.state.driver.step_is_commit()
    }

    /// Whether it signs.
    pub fn is_enabled(&self) -> bool {
        self.state.params.enabled
    }

    /// Stops signing, at once and until [`start`](Self::start) says otherwise.
    pub fn disable(&mut self) {
        self.state.params.enabled = false;
    }

    /// Starts a height; `enabled`: we sign at it.
    pub fn start(&mut self, height: Height, enabled: bool, hands: &mut Hands<'_>) -> (Vec<Action>, Option<Fatal>) {
        self.state.params.enabled = enabled;
        let input = Input::StartHeight(
            CtxHeight(height),
            self.set.clone(),
            false,
            None,
            VoteExtensionPolicy::Disabled,
        );
        self.process(input, hands)
    }

    /// Tells Malachite that the inputs which follow are its own log.
    pub fn begin_replay(&mut self, inputs: &[Input<Ctx>]) {
        self.state.record_recovered_own_precommit_extensions(inputs);
        self.state.index_wal_entries(inputs);
    }

    /// The log was replayed.
    pub fn end_replay(&mut self) {
        self.state.reset_entries_index();
    }

    /// Whether the log is being replayed.
    pub fn is_replaying(&self) -> bool {
        self.state.is_replaying_wal()
    }

    /// The verdict Malachite has about a value of its height.
    pub fn verdict(&self, id: &ValueId) -> Option<bool> {
        let height = self.state.height();
        self.state
            .get_proposed_value_by_id(height, MRound::ZERO, id)
            .map(|value| value.validity == Validity::Valid)
    }

    /// Polka certificates of the height.
    pub fn polkas(&self) -> impl Iterator<Item = ConsensusMessage> + '_ {
        self.state
            .driver
            .polka_certificates()
            .iter()
            .map(|polka| ConsensusMessage::Polka(convert::polka_from(polka)))
    }

    /// The certificate that justifies the round we are in.
    pub fn round_certificate(&self) -> Option<ConsensusMessage> {
        let entered = self.state.round_certificate()?;
        Some(ConsensusMessage::Round(convert::round_certificate_from(
            &entered.certificate,
        )))
    }

    /// Votes received in a round, ours included.
    pub fn votes(&self, round: Round) -> Vec<Vote> {
        let Some(per_round) = self.state.driver.votes().per_round(convert::round_to(round)) else {
            return Vec::new();
        };
        per_round
            .received_votes()
            .iter()
            .map(|vote| convert::vote_from(&vote.message, vote.signature))
            .collect()
    }

    /// Hands Malachite one input and collects what it wants done.
    pub fn process(&mut self, input: Input<Ctx>, hands: &mut Hands<'_>) -> (Vec<Action>, Option<Fatal>) {
        let mut actions = Vec::new();
        let mut fatal = None;
        let height = self.state.height();
        let result: Result<(), Error<Ctx>> = process!(
            input: input,
            state: &mut self.state,
            metrics: &(),
            with: effect => Ok::<_, Infallible>(answer(effect, hands, &mut actions, &mut fatal))
        );
        if let Err(error) = result {
            match error {
                Error::ReplayDivergence(..) => fatal = fatal.or(Some(Fatal::Divergence(error.to_string()))),
                other => tracing::warn!(%height, error = %other, "consensus refused an input"),
            }
        }
        (actions, fatal)
    }
}

/// Answers one effect.
fn answer(
    effect: Effect<Ctx>,
    hands: &mut Hands<'_>,
    actions: &mut Vec<Action>,
    fatal: &mut Option<Fatal>,
) -> Resume<Ctx> {
    let next = match effect {
        Effect::SignVote(vote, resume) => return resume.resume_with(sign_vote(vote, hands, fatal)),
        Effect::SignProposal(proposal, resume) => return resume.resume_with(sign_proposal(proposal, hands, fatal)),
        Effect::VerifySignature(message, _, resume) => return resume.resume_with(verify(&message, hands)),
        Effect::VerifyCommitCertificate(commit, _, _, resume) => {
            let commit = convert::commit_from(&commit);
            let result = certificate::check_commit(hands.set, hands.chain_id, &commit, hands.verifier);
            return resume.resume_with(result.map_err(|_| MCertificateError::VerificationError(None)));
        }
        Effect::VerifyExtendedCommitCertificate(commit, _, _, _, resume) => {
            let commit = convert::commit_from(&commit.trim_vote_extensions());
            let result = certificate::check_commit(hands.set, hands.chain_id, &commit, hands.verifier);
            return resume.resume_with(result.map_err(|_| MCertificateError::VerificationError(None)));
        }
        Effect::VerifyPolkaCertificate(polka, _, _, resume) => {
            let polka = convert::polka_from(&polka);
            let result = certificate::check_polka(hands.set, hands.chain_id, &polka, hands.verifier);
            return resume.resume_with(result.map_err(|_| MCertificateError::VerificationError(None)));
        }
        Effect::VerifyRoundCertificate(round, _, _, resume) => {
            let round = convert::round_certificate_from(&round);
            let result = certificate::check_round(hands.set, hands.chain_id, &round, hands.verifier);
            return resume.resume_with(result.map_err(|_| MCertificateError::VerificationError(None)));
        }
        // The policy is `Disabled`: none is asked for and one that comes is refused.
        Effect::ExtendVote(_, _, _, _, resume) => return resume.resume_with(None),
        Effect::VerifyVoteExtension(_, _, _, _, _, _, resume) => {
            return resume.resume_with(Err(VoteExtensionError::InvalidVoteExtension));
        }

        Effect::CancelAllTimeouts(next) => {
            actions.push(Action::CancelAll);
            next
        }
        Effect::CancelTimeout(timeout, next) => {
            actions.push(Action::Cancel(timeout));
            next
        }
        Effect::ScheduleTimeout(timeout, next) => {
            actions.push(Action::Schedule(timeout));
            next
        }
        Effect::StartRound(_, round, proposer, _, next) => {
            if let Some(round) = convert::round_from(round) {
                actions.push(Action::Round {
                    round,
                    proposer: proposer.0,
                });
            }
            next
        }
        Effect::PublishConsensusMsg(message, next) => {
            actions.push(Action::Publish(match message {
                SignedConsensusMsg::Vote(vote) => {
                    ConsensusMessage::Vote(convert::vote_from(&vote.message, vote.signature))
                }
                SignedConsensusMsg::Proposal(proposal) => {
                    ConsensusMessage::Proposal(convert::proposal_from(&proposal.message, proposal.signature))
                }
            }));
            next
        }
        Effect::PublishLivenessMsg(message, next) => {
            actions.push(Action::Publish(match message {
                LivenessMsg::Vote(vote) => ConsensusMessage::Vote(convert::vote_from(&vote.message, vote.signature)),
                LivenessMsg::PolkaCertificate(polka) => ConsensusMessage::Polka(convert::polka_from(&polka)),
                LivenessMsg::SkipRoundCertificate(round) => {
                    ConsensusMessage::Round(convert::round_certificate_from(&round))
                }
            }));
            next
        }
        Effect::RepublishVote(vote, next) => {
            let vote = convert::vote_from(&vote.message, vote.signature);
            actions.push(Action::Publish(ConsensusMessage::Vote(vote)));
            next
        }
        Effect::RepublishRoundCertificate(round, next) => {
            let round = convert::round_certificate_from(&round);
            actions.push(Action::Publish(ConsensusMessage::Round(round)));
            next
        }
        Effect::GetValue(height, round, _, next) => {
            if let Some(round) = convert::round_from(round) {
                actions.push(Action::GetValue {
                    height: height.0,
                    round,
                });
            }
            next
        }
        Effect::RestreamProposal(height, _, _, _, id, next) => {
            actions.push(Action::Restream(ValueKey { height: height.0, id }));
            next
        }
        Effect::CertVerifiedSyncValue(response, proposer, next) => {
            if let Some(round) = convert::round_from(response.certificate.round) {
                let value_id = response.certificate.value_id;
                actions.push(Action::Certified {
                    round,
                    proposer: proposer.0,
                    value_id,
                });
            }
            next
        }
        Effect::CertRejectedSyncValue(_, _, error, next) => {
            actions.push(Action::Rejected(error.to_string()));
            next
        }
        Effect::Decide(commit, _, next) => {
            actions.push(Action::Decide(convert::commit_from(&commit)));
            next
        }
        Effect::Finalize(_, _, evidence, next) => {
            list_evidence(&evidence, actions);
            actions.push(Action::Finalize);
            next
        }
        Effect::WalAppend(_, input, next) => {
            if let Some(record) = Record::of_input(&input) {
                actions.push(Action::Append(record));
            }
            next
        }
    };
    next.resume_with(())
}

fn sign_vote(vote: CtxVote, hands: &mut Hands<'_>, fatal: &mut Option<Fatal>) -> SignedMessage<Ctx, CtxVote> {
    let unsigned: Vote = convert::vote_from(&vote, Signature::ZERO);
    let signed = Signed {
        value_id: unsigned.value_id,
        valid_round: None,
    };
    let bytes = sign::vote(
        hands.chain_id,
        unsigned.kind,
        unsigned.height,
        unsigned.round,
        unsigned.value_id.as_ref(),
    );
    let signature = sign_guarded(
        hands,
        fatal,
        (unsigned.height, unsigned.round, unsigned.kind.into()),
        signed,
        &bytes,
    );
    SignedMessage::new(vote, signature)
}

fn sign_proposal(
    proposal: CtxProposal,
    hands: &mut Hands<'_>,
    fatal: &mut Option<Fatal>,
) -> SignedMessage<Ctx, CtxProposal> {
    let unsigned: Proposal = convert::proposal_from(&proposal, Signature::ZERO);
    let Proposal {
        height,
        round,
        value_id,
        valid_round,
        ..
    } = unsigned;
    let bytes = sign::proposal(hands.chain_id, height, round, &value_id, valid_round);
    let signed = Signed {
        value_id: Some(value_id),
        valid_round,
    };
    let signature = sign_guarded(hands, fatal, (height, round, Kind::Proposal), signed, &bytes);
    SignedMessage::new(proposal, signature)
}

/// Signs if the guard allows it. Malachite cannot be refused a signature: it gets one of zeros, which verifies
/// nowhere, and the node stops before anything of it leaves.
fn sign_guarded(
    hands: &mut Hands<'_>,
    fatal: &mut Option<Fatal>,
    (height, round, kind): (Height, Round, Kind),
    signed: Signed,
    bytes: &[u8],
) -> Signature {
    let signer = hands
        .signer
        .expect("a node without a key runs disabled, and then Malachite asks for no signature");
    if fatal.is_some() {
        return Signature::ZERO;
    }
    match hands.guard.ask(height, round, kind, signed) {
        Ok(()) => {
            let signature = signer.sign(bytes);
            hands.verifier.trust(&signer.public_key(), bytes, &signature);
            signature
        }
        Err(conflict) => {
            *fatal = Some(Fatal::Conflict(conflict));
            Signature::ZERO
        }
    }
}

fn verify(message: &SignedMessage<Ctx, ConsensusMsg<Ctx>>, hands: &mut Hands<'_>) -> bool {
    match &message.message {
        ConsensusMsg::Vote(vote) => {
            let vote = convert::vote_from(vote, message.signature);
            certificate::check_vote(hands.set, hands.chain_id, &vote, hands.verifier).is_ok()
        }
        ConsensusMsg::Proposal(proposal) => {
            let proposal = convert::proposal_from(proposal, message.signature);
            certificate::check_proposal(hands.set, hands.chain_id, &proposal, hands.verifier).is_ok()
        }
    }
}

fn list_evidence(evidence: &MisbehaviorEvidence<Ctx>, actions: &mut Vec<Action>) {
    for (validator, pairs) in evidence.votes.iter() {
        for (first, second) in pairs {
            let what = format!("{} and {}", show_vote(first), show_vote(second));
            actions.push(Action::Evidence {
                validator: validator.0,
                what,
            });
        }
    }
    for (validator, pairs) in evidence.proposals.iter() {
        for (first, second) in pairs {
            let what = format!("{} and {}", show_proposal(first), show_proposal(second));
            actions.push(Action::Evidence {
                validator: validator.0,
                what,
            });
        }
    }
}

fn show_vote(vote: &SignedMessage<Ctx, CtxVote>) -> String {
    let id = match vote.message.value {
        NilOrVal::Nil => "nil".to_owned(),
        NilOrVal::Val(id) => id.to_string(),
    };
    format!(
        "{:?} in round {} for {id}, signature {}",
        vote.message.kind, vote.message.round, vote.signature
    )
}

fn show_proposal(proposal: &SignedMessage<Ctx, CtxProposal>) -> String {
    let CtxProposal {
        round,
        value,
        pol_round,
        ..
    } = &proposal.message;
    format!(
        "proposal in round {round} of {} (valid round {pol_round}), signature {}",
        value.0, proposal.signature
    )
}
