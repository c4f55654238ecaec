use std::io;
use std::sync::Arc;

use malachitebft_core_consensus::{Error, RecordKind, Resume};
use malachitebft_core_driver::Error as DriverError;
use malachitebft_core_types::{CertificateError, Round as MRound};
use ultramarine_types::{Address, CommitCertificate, Height, Round, ValueId};

use super::stop_for;
use crate::context::{Ctx, CtxAddress, CtxHeight};
use crate::convert;
use crate::stop::{ReplayFault, Stop};

const HEIGHT: Height = Height(7);
const AT: CtxHeight = CtxHeight(HEIGHT);
const ROUND: MRound = MRound::new(2);

#[test]
fn an_error_that_leaves_nothing_half_done_stops_nobody() {
    let (consensus_height, other) = (AT, CtxHeight(HEIGHT.next()));
    let whole = [
        DriverError::InvalidProposalHeight {
            proposal_height: other,
            consensus_height,
        },
        DriverError::InvalidVoteHeight {
            vote_height: other,
            consensus_height,
        },
        DriverError::InvalidCertificateHeight {
            certificate_height: other,
            consensus_height,
        },
        DriverError::ValidatorNotFound(CtxAddress(Address([9; 20]))),
    ];
    let certificate = convert::commit_to(&CommitCertificate {
        height: HEIGHT,
        round: Round(2),
        value_id: ValueId([3; 32]),
        signatures: Vec::new(),
    });
    let refused = Error::InvalidCommitCertificate(certificate, CertificateError::VerificationError(None));
    for error in whole.map(Error::DriverProcess).into_iter().chain([refused]) {
        assert_eq!(stop_for(HEIGHT, &error), None, "{error}");
    }
}

#[test]
fn an_input_that_broke_off_in_its_midst_stops_the_node_and_says_so() {
    let (round, value_id) = (ROUND, ValueId([3; 32]));
    let broken_off: [Error<Ctx>; 8] = [
        Error::UnexpectedResume(Resume::Continue, "SignedVote"),
        Error::VoteExtensionRequired(AT, ROUND, value_id),
        Error::DecisionNotFound(AT, ROUND),
        Error::MissingPolkaCertificate(AT, ROUND, value_id, "precommit"),
        Error::WalCorrupted(Arc::new(io::Error::other("bad"))),
        Error::DriverProcess(DriverError::NoProposer(AT, ROUND)),
        Error::DriverProcess(DriverError::ProposerNotFound(CtxAddress(Address([9; 20])))),
        Error::DriverProcess(DriverError::CertificateNotFound { round, value_id }),
    ];
    for error in broken_off {
        let stop = stop_for(HEIGHT, &error).expect("the node stops");
        assert!(matches!(stop, Stop::Consensus(_)), "{stop}");
        let words = stop.to_string();
        assert!(words.contains(&error.to_string()), "what: {words}");
        assert!(words.contains("at height 7"), "where: {words}");
        assert!(words.contains("Start the node again"), "what to do next: {words}");
    }
}

#[test]
fn a_log_that_consensus_does_not_come_to_again_stops_the_node_and_says_so() {
    let error: Error<Ctx> = Error::ReplayDivergence(RecordKind::Proposal, AT, ROUND);
    let stop = stop_for(HEIGHT, &error).expect("the node stops");
    assert!(matches!(stop, Stop::Replay(ReplayFault::Divergence(_))), "{stop}");
    let words = stop.to_string();
    assert!(words.contains(&error.to_string()), "what and where: {words}");
    assert!(
        words.contains("Start the version that wrote it"),
        "what to do next: {words}"
    );
}
