//! This file knows consensus messages as they travel and are logged: votes, proposals, certificates.
//!
//! Plain data; signatures are checked by `ultramarine-core`, over the bytes [`crate::sign`] defines.

use rkyv::{Archive, Deserialize, Serialize};

use crate::ids::{Address, Height, Round, Signature, ValueId};

/// Which of the two votes of a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub enum VoteKind {
    /// "I accept this value in this round."
    Prevote,
    /// "I saw two thirds accept it."
    Precommit,
}

#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Vote {
    pub kind: VoteKind,
    pub height: Height,
    pub round: Round,
    /// The value, or nil.
    pub value_id: Option<ValueId>,
    pub voter: Address,
    /// Signs the bytes of [`crate::sign::vote`].
    pub signature: Signature,
}

/// A signed proposal: who proposes which value in which round, and since when it is known valid.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Proposal {
    pub height: Height,
    pub round: Round,
    pub value_id: ValueId,
    /// The round in which the proposer saw a polka for it, if any.
    pub valid_round: Option<Round>,
    /// Who proposes in this round (not necessarily the value's origin proposer).
    pub proposer: Address,
    /// Signs the bytes of [`crate::sign::proposal`].
    pub signature: Signature,
}

/// A message with one signature: what proves that a validator signed at a step.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub enum SignedMessage {
    Vote(Vote),
    Proposal(Proposal),
}

impl SignedMessage {
    pub const fn signer(&self) -> Address {
        match self {
            Self::Vote(vote) => vote.voter,
            Self::Proposal(proposal) => proposal.proposer,
        }
    }

    /// Height and round, and within the round a number that grows in the order in which one validator signs.
    pub const fn step(&self) -> (Height, Round, u8) {
        match self {
            Self::Proposal(proposal) => (proposal.height, proposal.round, 0),
            Self::Vote(vote) => match vote.kind {
                VoteKind::Prevote => (vote.height, vote.round, 1),
                VoteKind::Precommit => (vote.height, vote.round, 2),
            },
        }
    }

    /// The value that it names; `None` for nil.
    pub const fn value_id(&self) -> Option<ValueId> {
        match self {
            Self::Vote(vote) => vote.value_id,
            Self::Proposal(proposal) => Some(proposal.value_id),
        }
    }

    /// The message as it is sent.
    pub fn into_message(self) -> ConsensusMessage {
        match self {
            Self::Vote(vote) => ConsensusMessage::Vote(vote),
            Self::Proposal(proposal) => ConsensusMessage::Proposal(proposal),
        }
    }
}

/// One validator's signature within a certificate.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct CertificateSignature {
    pub address: Address,
    /// Over the vote the certificate describes.
    pub signature: Signature,
}

/// More than two thirds precommitted a value in a round: it is decided.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct CommitCertificate {
    pub height: Height,
    /// Round of the precommits.
    pub round: Round,
    pub value_id: ValueId,
    /// Precommit signatures, distinct, members only.
    pub signatures: Vec<CertificateSignature>,
}

/// More than two thirds prevoted a value in a round.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct PolkaCertificate {
    pub height: Height,
    /// Round of the prevotes.
    pub round: Round,
    pub value_id: ValueId,
    /// Prevote signatures, distinct, members only.
    pub signatures: Vec<CertificateSignature>,
}

/// What kind of event a round certificate proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub enum RoundCertificateKind {
    /// More than two thirds precommitted anything: the round may be left.
    Precommit,
    /// More than one third is already in a later round: skip to it.
    Skip,
}

/// One vote within a round certificate; each is verified as the individual vote it is.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct RoundSignature {
    pub kind: VoteKind,
    /// The value voted for, or nil.
    pub value_id: Option<ValueId>,
    pub address: Address,
    /// Signs the bytes of [`crate::sign::vote`].
    pub signature: Signature,
}

/// Enough votes of a round to leave it or skip to it.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct RoundCertificate {
    pub height: Height,
    /// Round of the votes.
    pub round: Round,
    pub kind: RoundCertificateKind,
    pub signatures: Vec<RoundSignature>,
}

/// A message of the consensus protocol.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub enum ConsensusMessage {
    Vote(Vote),
    Proposal(Proposal),
    Polka(PolkaCertificate),
    Round(RoundCertificate),
}

impl ConsensusMessage {
    /// The height the message is about.
    pub fn height(&self) -> Height {
        match self {
            Self::Vote(vote) => vote.height,
            Self::Proposal(proposal) => proposal.height,
            Self::Polka(polka) => polka.height,
            Self::Round(round) => round.height,
        }
    }

    /// The round the message is about.
    pub fn round(&self) -> Round {
        match self {
            Self::Vote(vote) => vote.round,
            Self::Proposal(proposal) => proposal.round,
            Self::Polka(polka) => polka.round,
            Self::Round(round) => round.round,
        }
    }
}
