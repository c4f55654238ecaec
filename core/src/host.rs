//! This file knows how to run Malachite: it answers what must be answered at once, and lists the rest in order.
//!
//! Malachite is not re-entrant, and its effects come from inside `process!`. Only signing and verifying are answered
//! there. Everything else becomes an [`Intent`], which the caller carries out when `process!` has returned. The type of
//! the handler says that it cannot fail: an error would make Malachite abandon an input half done.
//!
//! Keeps: heights are started once, in order, and Malachite is at the height that was started last.

mod answer;

use std::convert::Infallible;

use malachitebft_core_consensus::{Error, Input, Params, State, process};
use malachitebft_core_driver::Error as DriverError;
use malachitebft_core_types::{
    Round as MRound, ThresholdParams, Timeout, Validity, ValuePayload, VoteExtensionPolicy, VoteType,
};
use ultramarine_types::{
    Address, ChainIdentity, CommitCertificate, ConsensusMessage, Evidence, Height, Round, ValidatorSet, ValueId,
    ValueKey, Vote,
};

use self::answer::answer;
use crate::context::{Ctx, CtxAddress, CtxHeight, CtxValidatorSet};
use crate::convert;
use crate::guard::Guard;
use crate::log::LogRecord;
use crate::signing::{SignatureVerifier, Signer};
use crate::stop::{BrokenOff, ReplayFault, Stop};

/// Heights ahead for which Malachite may buffer inputs. We buffer verified messages ourselves, so this stays empty.
const QUEUE_HEIGHTS: usize = 2;
/// Inputs buffered per height; see [`QUEUE_HEIGHTS`].
const QUEUE_PER_HEIGHT: usize = 64;

/// What Malachite wants done, in order.
#[derive(Clone, Debug)]
pub enum Intent {
    /// Append to the log.
    Append(LogRecord),
    /// Send to all peers, once everything appended so far is durable.
    Publish(ConsensusMessage),
    Schedule(Timeout),
    Cancel(Timeout),
    CancelAll,
    Round {
        round: Round,
    },
    /// Consensus wants a value from us.
    GetValue {
        height: Height,
        round: Round,
    },
    /// Stream a value's bytes again.
    Restream(ValueKey),
    /// The height is decided.
    Decide(CommitCertificate),
    /// Validators signed two different things.
    Evidence(Vec<Evidence>),
    /// The height is done; the next may be started.
    Finalize,
    /// A certificate held, and consensus waits for its value.
    Certified {
        /// The round of the certificate.
        round: Round,
        /// The proposer to name with the value.
        proposer: Address,
        value_id: ValueId,
    },
    /// A certificate did not hold.
    Rejected(String),
}

/// What signing and verifying need.
pub struct Hands<'a> {
    /// Our key; `None` on a full node.
    pub signer: Option<&'a Signer>,
    /// Asked before every signature.
    pub guard: &'a mut Guard,
    pub verifier: &'a mut SignatureVerifier,
    pub set: &'a ValidatorSet,
    /// The identity in the domains of votes and proposals.
    pub chain: &'a ChainIdentity,
}

/// The stop that an error of Malachite's means; `None` if it left nothing half done.
///
/// Malachite looks at an input first, then moves its state, and then says what is to be done. An error of the first
/// kind costs the input alone. After one of the others, a vote or a timer that the state already counts on is missing,
/// and the node could stand for ever. The log brings the height back in a new process, without the input that broke
/// off.
fn stop_for(height: Height, error: &Error<Ctx>) -> Option<Stop> {
    match error {
        Error::ReplayDivergence(..) => Some(Stop::Replay(ReplayFault::Divergence(error.to_string()))),
        // The certificate was refused whole. Ours is checked before it is fed, so none should be.
        Error::InvalidCommitCertificate(..)
        // Each is found before anything is taken. We feed what is of the height, and of validators, alone.
        | Error::DriverProcess(
            DriverError::InvalidProposalHeight { .. }
            | DriverError::InvalidVoteHeight { .. }
            | DriverError::InvalidCertificateHeight { .. }
            | DriverError::ValidatorNotFound(_),
        ) => None,
        // We gave an effect an answer of another type.
        Error::UnexpectedResume(..)
        // It has decided, and does not know what.
        | Error::DecisionNotFound(..)
        // It began a round without a proposer, or with one that the set does not have. Or it decides by a certificate
        // that it does not have.
        | Error::DriverProcess(
            DriverError::NoProposer(..) | DriverError::ProposerNotFound(_) | DriverError::CertificateNotFound { .. },
        )
        // It precommits, or proposes again, by a polka that it does not have: a vote or a proposal is missing.
        | Error::MissingPolkaCertificate(..)
        // Votes have no extensions here, and the log is ours.
        | Error::VoteExtensionRequired(..)
        | Error::WalCorrupted(_) => Some(Stop::Consensus(BrokenOff {
            height,
            error: error.to_string(),
        })),
    }
}

/// Malachite, with its state.
pub struct ConsensusHost {
    state: State<Ctx>,
    set: CtxValidatorSet,
    /// The height that was started last.
    started: Height,
}

impl ConsensusHost {
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
        Self {
            state,
            set,
            started: height,
        }
    }

    /// The height Malachite is at.
    pub fn height(&self) -> Height {
        self.state.height().0
    }

    /// The round it is in, if one began.
    pub fn round(&self) -> Option<Round> {
        convert::round_from(self.state.round())
    }

    /// Whether consensus waits for a proposal.
    pub fn is_proposing(&self) -> bool {
        self.state.driver.step_is_propose()
    }

    /// Whether consensus has decided the height.
    pub fn is_decided(&self) -> bool {
        self.state.driver.step_is_commit()
    }

    pub fn is_enabled(&self) -> bool {
        self.state.params.enabled
    }

    /// Stops signing, at once and until [`start`](Self::start) says otherwise.
    pub fn disable(&mut self) {
        self.state.params.enabled = false;
    }

    /// Starts a height. `enabled` says whether we sign at it.
    pub fn start(&mut self, height: Height, enabled: bool, hands: &mut Hands<'_>) -> (Vec<Intent>, Option<Stop>) {
        assert!(height > self.started, "heights are started once, in order");
        self.started = height;
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

    /// The verdict that Malachite has about a value of its height.
    pub fn verdict(&self, id: &ValueId) -> Option<bool> {
        let height = self.state.height();
        self.state
            .get_proposed_value_by_id(height, MRound::ZERO, id)
            .map(|value| value.validity == Validity::Valid)
    }

    /// The values that a polka names, by certificate or by votes, each with the polka's round.
    pub fn polka_ids(&self) -> Vec<(Round, ValueId)> {
        let polkas = self.state.driver.polka_certificates();
        polkas
            .iter()
            .filter_map(|polka| Some((convert::round_from(polka.round)?, polka.value_id)))
            .collect()
    }

    /// The rounds of the value that we are locked on, of the newest valid one, and of the newest polka: we may not be
    /// able to judge its value.
    pub fn marked_rounds(&self) -> impl Iterator<Item = Round> + '_ {
        let state = self.state.driver.round_state();
        let marked = [&state.locked, &state.valid].into_iter().flatten();
        let polkas = self.state.driver.polka_certificates().iter().map(|polka| polka.round);
        let rounds = marked.map(|marked| marked.round).chain(polkas.max());
        rounds.filter_map(convert::round_from)
    }

    /// Drops votes and polkas of lower rounds.
    pub fn forget_below(&mut self, round: Round) {
        self.state.driver.prune_votes_and_certificates(convert::round_to(round));
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

    /// Whether a validator's prevote for nothing was received in a round.
    pub fn has_prevoted_nil(&self, round: Round, voter: &Address) -> bool {
        let per_round = self.state.driver.votes().per_round(convert::round_to(round));
        per_round.is_some_and(|votes| {
            let voter = CtxAddress(*voter);
            let vote = votes.get_vote(VoteType::Prevote, &voter);
            vote.is_some_and(|vote| vote.message.value.is_nil())
        })
    }

    /// Asserts that Malachite is at the height that was started last.
    pub fn check(&self) {
        assert_eq!(
            self.height(),
            self.started,
            "consensus is at the height that was started"
        );
    }

    /// Gives Malachite one input, and collects what it wants done.
    pub fn process(&mut self, input: Input<Ctx>, hands: &mut Hands<'_>) -> (Vec<Intent>, Option<Stop>) {
        let mut intents = Vec::new();
        let mut fatal = None;
        let height = self.state.height();
        let result: Result<(), Error<Ctx>> = process!(
            input: input,
            state: &mut self.state,
            metrics: &(),
            with: effect => Ok::<_, Infallible>(answer(effect, hands, &mut intents, &mut fatal))
        );
        if let Err(error) = result {
            match stop_for(height.0, &error) {
                Some(stop) => fatal = fatal.or(Some(stop)),
                None => tracing::warn!(%height, %error, "consensus refused an input, and nothing of it was taken"),
            }
        }
        self.check();
        (intents, fatal)
    }
}

#[cfg(test)]
mod tests;
