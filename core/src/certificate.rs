//! This file knows when a certificate proves what it claims: its signers are distinct validators, they have enough
//! power, and every signature holds.
//!
//! What costs nothing is asked first. Then all signatures of a certificate are verified as one batch.
//!
//! Commit, polka and precommit-round certificates need more than two thirds of the power, and skip-round certificates
//! more than one third. Each signature of a round certificate is verified as the vote that it is.

use std::collections::BTreeSet;

use ultramarine_types::consensus::RoundCertificateKind;
use ultramarine_types::{
    Address, ChainIdentity, CommitCertificate, ConsensusMessage, PolkaCertificate, Proposal, PublicKey,
    RoundCertificate, Signature, ValidatorSet, Vote, VoteKind, sign,
};

use crate::signing::{AHEAD_MAX, Seal, SignatureVerifier};

/// Why a certificate or message proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// A signer is not a validator.
    #[error("signed by {0}, who is not a validator")]
    Stranger(Address),
    /// A signer appears twice.
    #[error("signed twice by {0}")]
    Duplicate(Address),
    /// A signature does not verify.
    #[error("the signature of {0} does not verify")]
    Signature(Address),
    /// A vote of a kind that cannot stand in this certificate.
    #[error("the vote of {0} is of the wrong kind")]
    Kind(Address),
    /// The signer of a proposal is not its round's proposer.
    #[error("{0} is not the elected proposer")]
    Election(Address),
    #[error("signed by {signed} of {total} voting power")]
    Power { signed: u64, total: u64 },
}

/// Verifies a commit certificate without a memo, for tiles that have no [`SignatureVerifier`].
pub fn verify_commit(
    set: &ValidatorSet,
    chain: &ChainIdentity,
    certificate: &CommitCertificate,
) -> Result<(), CertificateError> {
    check_commit(set, chain, certificate, &mut SignatureVerifier::new(set))
}

/// Verifies a commit certificate.
pub fn check_commit(
    set: &ValidatorSet,
    chain: &ChainIdentity,
    certificate: &CommitCertificate,
    verifier: &mut SignatureVerifier,
) -> Result<(), CertificateError> {
    let id = Some(&certificate.value_id);
    let message = sign::vote(chain, VoteKind::Precommit, certificate.height, certificate.round, id);
    let mut tally = Tally::new(set);
    for signed in &certificate.signatures {
        tally.add(&signed.address, &message, &signed.signature)?;
    }
    tally.quorum()?;
    tally.verify(verifier)
}

/// Verifies a polka certificate.
pub fn check_polka(
    set: &ValidatorSet,
    chain: &ChainIdentity,
    certificate: &PolkaCertificate,
    verifier: &mut SignatureVerifier,
) -> Result<(), CertificateError> {
    let id = Some(&certificate.value_id);
    let message = sign::vote(chain, VoteKind::Prevote, certificate.height, certificate.round, id);
    let mut tally = Tally::new(set);
    for signed in &certificate.signatures {
        tally.add(&signed.address, &message, &signed.signature)?;
    }
    tally.quorum()?;
    tally.verify(verifier)
}

/// Verifies a round certificate.
pub fn check_round(
    set: &ValidatorSet,
    chain: &ChainIdentity,
    certificate: &RoundCertificate,
    verifier: &mut SignatureVerifier,
) -> Result<(), CertificateError> {
    let votes = certificate.signatures.iter().map(|signed| {
        let id = signed.value_id.as_ref();
        sign::vote(chain, signed.kind, certificate.height, certificate.round, id)
    });
    let messages: Vec<_> = votes.collect();
    let mut tally = Tally::new(set);
    for (signed, message) in certificate.signatures.iter().zip(&messages) {
        if certificate.kind == RoundCertificateKind::Precommit && signed.kind != VoteKind::Precommit {
            return Err(CertificateError::Kind(signed.address));
        }
        tally.add(&signed.address, message, &signed.signature)?;
    }
    match certificate.kind {
        RoundCertificateKind::Precommit => tally.quorum(),
        RoundCertificateKind::Skip => tally.honest(),
    }?;
    tally.verify(verifier)
}

pub fn check_vote(
    set: &ValidatorSet,
    chain: &ChainIdentity,
    vote: &Vote,
    verifier: &mut SignatureVerifier,
) -> Result<(), CertificateError> {
    check(set, &vote.voter, &vote_bytes(chain, vote), &vote.signature, verifier)
}

/// Verifies one proposal: its signer is the elected proposer of its round, and the signature holds.
pub fn check_proposal(
    set: &ValidatorSet,
    chain: &ChainIdentity,
    proposal: &Proposal,
    verifier: &mut SignatureVerifier,
) -> Result<(), CertificateError> {
    if set.proposer(proposal.height, proposal.round) != &proposal.proposer {
        return Err(CertificateError::Election(proposal.proposer));
    }
    let message = proposal_bytes(chain, proposal);
    check(set, &proposal.proposer, &message, &proposal.signature, verifier)
}

/// Verifies the votes and proposals among messages that came together, as one batch. [`check_vote`] and
/// [`check_proposal`] answer the same afterwards, only faster.
pub fn check_ahead<'a>(
    set: &ValidatorSet,
    chain: &ChainIdentity,
    messages: impl Iterator<Item = &'a ConsensusMessage>,
    verifier: &mut SignatureVerifier,
) {
    let single = messages.filter_map(|message| match message {
        ConsensusMessage::Vote(vote) => Some((vote.voter, vote_bytes(chain, vote), vote.signature)),
        ConsensusMessage::Proposal(proposal) if set.proposer(proposal.height, proposal.round) == &proposal.proposer => {
            let message = proposal_bytes(chain, proposal);
            Some((proposal.proposer, message, proposal.signature))
        }
        // A certificate is a batch by itself, and who was not elected is refused without arithmetic.
        ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) | ConsensusMessage::Proposal(_) => None,
    });
    let signed: Vec<_> = single.take(AHEAD_MAX).collect();
    let of_members = signed.iter().filter_map(|(signer, message, signature)| {
        Some(Seal {
            key: set.get(signer)?.public_key,
            message,
            signature: *signature,
        })
    });
    let seals: Vec<_> = of_members.collect();
    // One alone is verified when it is asked about.
    if seals.len() > 1 {
        verifier.verify_ahead(&seals);
    }
}

fn vote_bytes(chain: &ChainIdentity, vote: &Vote) -> Vec<u8> {
    sign::vote(chain, vote.kind, vote.height, vote.round, vote.value_id.as_ref())
}

fn proposal_bytes(chain: &ChainIdentity, proposal: &Proposal) -> Vec<u8> {
    let Proposal {
        height,
        round,
        value_id,
        valid_round,
        ..
    } = proposal;
    sign::proposal(chain, *height, *round, value_id, *valid_round)
}

fn check(
    set: &ValidatorSet,
    signer: &Address,
    message: &[u8],
    signature: &Signature,
    verifier: &mut SignatureVerifier,
) -> Result<(), CertificateError> {
    let key: PublicKey = set.get(signer).ok_or(CertificateError::Stranger(*signer))?.public_key;
    if verifier.verify(&key, message, signature) {
        Ok(())
    } else {
        Err(CertificateError::Signature(*signer))
    }
}

/// Adds up the power of those that signed, and keeps what is to be verified.
struct Tally<'a> {
    set: &'a ValidatorSet,
    seen: BTreeSet<Address>,
    power: u64,
    signers: Vec<Address>,
    seals: Vec<Seal<'a>>,
}

impl<'a> Tally<'a> {
    fn new(set: &'a ValidatorSet) -> Self {
        Self {
            set,
            seen: BTreeSet::new(),
            power: 0,
            signers: Vec::new(),
            seals: Vec::new(),
        }
    }

    fn add(&mut self, signer: &Address, message: &'a [u8], signature: &Signature) -> Result<(), CertificateError> {
        let validator = self.set.get(signer).ok_or(CertificateError::Stranger(*signer))?;
        if !self.seen.insert(*signer) {
            return Err(CertificateError::Duplicate(*signer));
        }
        self.signers.push(*signer);
        self.seals.push(Seal {
            key: validator.public_key,
            message,
            signature: *signature,
        });
        // The signers are distinct members, and the power of the whole set fits.
        self.power = self.power.saturating_add(validator.power);
        assert!(self.power <= self.set.total_power(), "a member was counted twice");
        Ok(())
    }

    /// Verifies all signatures. The first that does not hold is named.
    fn verify(&self, verifier: &mut SignatureVerifier) -> Result<(), CertificateError> {
        let Some(bad) = verifier.first_bad(&self.seals) else {
            return Ok(());
        };
        let signer = self.signers.get(bad).expect("each seal has its signer");
        Err(CertificateError::Signature(*signer))
    }

    fn quorum(&self) -> Result<(), CertificateError> {
        if self.set.is_quorum(self.power) {
            Ok(())
        } else {
            Err(self.lacking())
        }
    }

    fn honest(&self) -> Result<(), CertificateError> {
        if self.set.is_honest(self.power) {
            Ok(())
        } else {
            Err(self.lacking())
        }
    }

    fn lacking(&self) -> CertificateError {
        CertificateError::Power {
            signed: self.power,
            total: self.set.total_power(),
        }
    }
}

#[cfg(test)]
#[path = "certificate/tests.rs"]
mod tests;
