//! This file knows what a claim is, the thing that everything here is about.

use ultramarine_types::verify::VerifyJob;
use ultramarine_types::{KzgCommitment, KzgProof};

/// What somebody claims: this proof shows that this commitment is to this blob (EIP-4844).
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The blob's bytes, of whatever length they came in.
    pub blob: &'a [u8],
    /// A compressed G1 point, unchecked.
    pub commitment: &'a KzgCommitment,
    /// A compressed G1 point, unchecked.
    pub proof: &'a KzgProof,
}

impl<'a> Claim<'a> {
    /// What a job claims.
    pub fn of(job: &'a VerifyJob) -> Self {
        Self {
            blob: &job.blob,
            commitment: &job.commitment,
            proof: &job.proof,
        }
    }
}
