//! This file knows how wire messages become Malachite's and back.
//!
//! Nothing here can fail on data from a peer: every wire message has a Malachite form. In the other direction a round
//! may be nil. No message that leaves has such a round; [`round_from`] says so where it matters.

use malachitebft_core_types as malachite;
use malachitebft_core_types::{NilOrVal, Round as MRound, SignedProposal, SignedVote, VoteType};
use ultramarine_types::consensus::{CertificateSignature, RoundCertificateKind, RoundSignature};
use ultramarine_types::{
    CommitCertificate, PolkaCertificate, Proposal, Round, RoundCertificate, Signature, ValueId, Vote, VoteKind,
};

use crate::context::{Ctx, CtxAddress, CtxHeight, CtxProposal, CtxValue, CtxVote};

/// Our round as Malachite's.
pub fn round_to(round: Round) -> MRound {
    MRound::new(round.0)
}

/// Malachite's round as ours; `None` for nil.
pub fn round_from(round: MRound) -> Option<Round> {
    round.as_u32().map(Round)
}

fn defined(round: MRound) -> Round {
    round_from(round).expect("messages that leave or are logged are of a round that began")
}

/// Vote kind to Malachite.
pub fn kind_to(kind: VoteKind) -> VoteType {
    match kind {
        VoteKind::Prevote => VoteType::Prevote,
        VoteKind::Precommit => VoteType::Precommit,
    }
}

/// Vote kind from Malachite.
pub fn kind_from(kind: VoteType) -> VoteKind {
    match kind {
        VoteType::Prevote => VoteKind::Prevote,
        VoteType::Precommit => VoteKind::Precommit,
    }
}

/// A value or nil, to Malachite.
pub fn id_to(id: Option<ValueId>) -> NilOrVal<ValueId> {
    id.map_or(NilOrVal::Nil, NilOrVal::Val)
}

/// A value or nil, from Malachite.
pub fn id_from(id: &NilOrVal<ValueId>) -> Option<ValueId> {
    match id {
        NilOrVal::Nil => None,
        NilOrVal::Val(id) => Some(*id),
    }
}

/// A vote to Malachite.
pub fn vote_to(vote: &Vote) -> SignedVote<Ctx> {
    let (height, round, value) = (CtxHeight(vote.height), round_to(vote.round), id_to(vote.value_id));
    let voter = CtxAddress(vote.voter);
    let message = match vote.kind {
        VoteKind::Prevote => malachite::Context::new_prevote(&Ctx, height, round, value, voter),
        VoteKind::Precommit => malachite::Context::new_precommit(&Ctx, height, round, value, voter),
    };
    SignedVote::new(message, vote.signature)
}

/// A vote from Malachite, with its signature.
pub fn vote_from(vote: &CtxVote, signature: Signature) -> Vote {
    Vote {
        kind: kind_from(vote.kind),
        height: vote.height.0,
        round: defined(vote.round),
        value_id: id_from(&vote.value),
        voter: vote.voter.0,
        signature,
    }
}

/// A proposal to Malachite.
pub fn proposal_to(proposal: &Proposal) -> SignedProposal<Ctx> {
    let message = CtxProposal {
        height: CtxHeight(proposal.height),
        round: round_to(proposal.round),
        value: CtxValue(proposal.value_id),
        pol_round: proposal.valid_round.map_or(MRound::Nil, round_to),
        proposer: CtxAddress(proposal.proposer),
    };
    SignedProposal::new(message, proposal.signature)
}

/// A proposal from Malachite, with its signature.
pub fn proposal_from(proposal: &CtxProposal, signature: Signature) -> Proposal {
    Proposal {
        height: proposal.height.0,
        round: defined(proposal.round),
        value_id: proposal.value.0,
        valid_round: round_from(proposal.pol_round),
        proposer: proposal.proposer.0,
        signature,
    }
}

/// A polka certificate to Malachite.
pub fn polka_to(polka: &PolkaCertificate) -> malachite::PolkaCertificate<Ctx> {
    malachite::PolkaCertificate {
        height: CtxHeight(polka.height),
        round: round_to(polka.round),
        value_id: polka.value_id,
        polka_signatures: polka
            .signatures
            .iter()
            .map(|signed| malachite::PolkaSignature::new(CtxAddress(signed.address), signed.signature))
            .collect(),
    }
}

/// A polka certificate from Malachite.
pub fn polka_from(polka: &malachite::PolkaCertificate<Ctx>) -> PolkaCertificate {
    PolkaCertificate {
        height: polka.height.0,
        round: defined(polka.round),
        value_id: polka.value_id,
        signatures: polka
            .polka_signatures
            .iter()
            .map(|signed| CertificateSignature {
                address: signed.address.0,
                signature: signed.signature,
            })
            .collect(),
    }
}

/// A commit certificate from Malachite.
pub fn commit_from(commit: &malachite::CommitCertificate<Ctx>) -> CommitCertificate {
    CommitCertificate {
        height: commit.height.0,
        round: defined(commit.round),
        value_id: commit.value_id,
        signatures: commit
            .commit_signatures
            .iter()
            .map(|signed| CertificateSignature {
                address: signed.address.0,
                signature: signed.signature,
            })
            .collect(),
    }
}

/// A commit certificate to Malachite's extended form; we use no vote extensions.
pub fn commit_to(commit: &CommitCertificate) -> malachite::ExtendedCommitCertificate<Ctx> {
    malachite::ExtendedCommitCertificate {
        height: CtxHeight(commit.height),
        round: round_to(commit.round),
        value_id: commit.value_id,
        commit_signatures: commit
            .signatures
            .iter()
            .map(|signed| malachite::ExtendedCommitSignature::new(CtxAddress(signed.address), signed.signature, None))
            .collect(),
    }
}

/// A round certificate to Malachite.
pub fn round_certificate_to(certificate: &RoundCertificate) -> malachite::RoundCertificate<Ctx> {
    malachite::RoundCertificate {
        height: CtxHeight(certificate.height),
        round: round_to(certificate.round),
        cert_type: match certificate.kind {
            RoundCertificateKind::Precommit => malachite::RoundCertificateType::Precommit,
            RoundCertificateKind::Skip => malachite::RoundCertificateType::Skip,
        },
        round_signatures: certificate
            .signatures
            .iter()
            .map(|signed| {
                malachite::RoundSignature::new(
                    kind_to(signed.kind),
                    id_to(signed.value_id),
                    CtxAddress(signed.address),
                    signed.signature,
                )
            })
            .collect(),
    }
}

/// A round certificate from Malachite.
pub fn round_certificate_from(certificate: &malachite::RoundCertificate<Ctx>) -> RoundCertificate {
    RoundCertificate {
        height: certificate.height.0,
        round: defined(certificate.round),
        kind: match certificate.cert_type {
            malachite::RoundCertificateType::Precommit => RoundCertificateKind::Precommit,
            malachite::RoundCertificateType::Skip => RoundCertificateKind::Skip,
        },
        signatures: certificate
            .round_signatures
            .iter()
            .map(|signed| RoundSignature {
                kind: kind_from(signed.vote_type),
                value_id: id_from(&signed.value_id),
                address: signed.address.0,
                signature: signed.signature,
            })
            .collect(),
    }
}
