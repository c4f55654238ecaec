//! This file knows how to ask other libraries the same question, for figures beside ours.

use c_kzg::{Blob, Bytes48, KzgSettings};
use eip4844::{Context, TrustedSetup};
use ultramarine_types::limits::BLOB_BYTES;

use crate::verifier::Claim;

/// The `eip4844` crate (of the rust-eth-kzg family), on one thread.
pub struct Eip4844(Context);

impl Eip4844 {
    /// Loads its trusted setup: a second.
    #[expect(clippy::new_without_default, reason = "it takes a second")]
    pub fn new() -> Self {
        Self(Context::new(&TrustedSetup::default()))
    }

    /// Whether all these claims hold, by its batch call.
    pub fn holds(&self, claims: &[Claim<'_>]) -> bool {
        let blobs: Option<Vec<&[u8; BLOB_BYTES]>> = claims.iter().map(|claim| claim.blob.try_into().ok()).collect();
        let commitments = claims.iter().map(|claim| claim.commitment.as_bytes()).collect();
        let proofs = claims.iter().map(|claim| claim.proof.as_bytes()).collect();
        blobs.is_some_and(|blobs| self.0.verify_blob_kzg_proof_batch(blobs, commitments, proofs).is_ok())
    }
}

/// `c-kzg`'s call for a single blob. It wants blobs of its own type, which are made before any clock starts.
pub(super) struct CKzgSingle {
    settings: &'static KzgSettings,
    claims: Vec<(Blob, Bytes48, Bytes48)>,
}

impl CKzgSingle {
    pub(super) fn new(claims: &[Claim<'_>]) -> Self {
        let own = |claim: &Claim<'_>| {
            let blob = Blob::from_bytes(claim.blob).expect("whole blobs are measured");
            (blob, claim.commitment.0.into(), claim.proof.0.into())
        };
        Self {
            settings: c_kzg::ethereum_kzg_settings(0),
            claims: claims.iter().map(own).collect(),
        }
    }

    /// Asks about the first `count`, one after the other.
    pub(super) fn all_hold(&self, count: usize) -> bool {
        let holds = |(blob, commitment, proof): &(Blob, Bytes48, Bytes48)| {
            matches!(self.settings.verify_blob_kzg_proof(blob, commitment, proof), Ok(true))
        };
        self.claims[..count].iter().all(holds)
    }
}
