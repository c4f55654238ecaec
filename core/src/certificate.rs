//! This file knows when a certificate proves what it claims: its signers are distinct validators, they have enough
//! power, and every signature holds.
//!
//! Commit, polka and precommit-round certificates need more than two thirds of the power, and skip-round certificates
//! more than one third. Each signature of a round certificate is verified as the vote that it is.

use std::collections::BTreeSet;

use ultramarine_types::consensus::RoundCertificateKind;
use ultramarine_types::{
    Address, ChainIdentity, CommitCertificate, PolkaCertificate, Proposal, PublicKey, RoundCertificate, Signature,
    ValidatorSet, Vote, VoteKind, sign,
};

use crate::signing::SignatureVerifier;

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
        tally.add(&signed.address, &message, &signed.signature, verifier)?;
    }
    tally.quorum()
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
        tally.add(&signed.address, &message, &signed.signature, verifier)?;
    }
    tally.quorum()
}

/// Verifies a round certificate.
pub fn check_round(
    set: &ValidatorSet,
    chain: &ChainIdentity,
    certificate: &RoundCertificate,
    verifier: &mut SignatureVerifier,
) -> Result<(), CertificateError> {
    let mut tally = Tally::new(set);
    for signed in &certificate.signatures {
        if certificate.kind == RoundCertificateKind::Precommit && signed.kind != VoteKind::Precommit {
            return Err(CertificateError::Kind(signed.address));
        }
        let id = signed.value_id.as_ref();
        let message = sign::vote(chain, signed.kind, certificate.height, certificate.round, id);
        tally.add(&signed.address, &message, &signed.signature, verifier)?;
    }
    match certificate.kind {
        RoundCertificateKind::Precommit => tally.quorum(),
        RoundCertificateKind::Skip => tally.honest(),
    }
}

pub fn check_vote(
    set: &ValidatorSet,
    chain: &ChainIdentity,
    vote: &Vote,
    verifier: &mut SignatureVerifier,
) -> Result<(), CertificateError> {
    let message = sign::vote(chain, vote.kind, vote.height, vote.round, vote.value_id.as_ref());
    check(set, &vote.voter, &message, &vote.signature, verifier)
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
    let Proposal {
        height,
        round,
        value_id,
        valid_round,
        ..
    } = proposal;
    let message = sign::proposal(chain, *height, *round, value_id, *valid_round);
    check(set, &proposal.proposer, &message, &proposal.signature, verifier)
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

/// Adds up the power of those that signed.
struct Tally<'a> {
    set: &'a ValidatorSet,
    seen: BTreeSet<Address>,
    power: u64,
}

impl<'a> Tally<'a> {
    fn new(set: &'a ValidatorSet) -> Self {
        Self {
            set,
            seen: BTreeSet::new(),
            power: 0,
        }
    }

    fn add(
        &mut self,
        signer: &Address,
        message: &[u8],
        signature: &Signature,
        verifier: &mut SignatureVerifier,
    ) -> Result<(), CertificateError> {
        let validator = self.set.get(signer).ok_or(CertificateError::Stranger(*signer))?;
        if !self.seen.insert(*signer) {
            return Err(CertificateError::Duplicate(*signer));
        }
        if !verifier.verify(&validator.public_key, message, signature) {
            return Err(CertificateError::Signature(*signer));
        }
        // The signers are distinct members, and the power of the whole set fits.
        self.power = self.power.saturating_add(validator.power);
        assert!(self.power <= self.set.total_power(), "a member was counted twice");
        Ok(())
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
