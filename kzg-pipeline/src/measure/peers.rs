//! This file knows how to ask other libraries the same question, for figures beside ours.

use c_kzg::{Blob, Bytes48, KzgSettings};
use eip4844::{Context, TrustedSetup};
use ultramarine_types::limits::BLOB_BYTES;

use crate::claim::Claim;

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

/// `c-kzg` itself. It wants blobs of its own type side by side. They are made before any clock starts.
pub struct CKzgPeer {
    settings: &'static KzgSettings,
    blobs: Vec<Blob>,
    commitments: Vec<Bytes48>,
    proofs: Vec<Bytes48>,
}

impl CKzgPeer {
    /// Copies the claims. Panics if a blob is not whole.
    pub fn new(claims: &[Claim<'_>]) -> Self {
        let own = |claim: &Claim<'_>| Blob::from_bytes(claim.blob).expect("whole blobs are measured");
        Self {
            settings: c_kzg::ethereum_kzg_settings(0),
            blobs: claims.iter().map(own).collect(),
            commitments: claims.iter().map(|claim| claim.commitment.0.into()).collect(),
            proofs: claims.iter().map(|claim| claim.proof.0.into()).collect(),
        }
    }

    /// The first `count` of the claims that it was made of, on its own copies of the blobs. So a verifier that is
    /// measured beside it reads the same memory.
    pub fn claims<'a>(&'a self, made_of: &[Claim<'a>], count: usize) -> Vec<Claim<'a>> {
        let here = |(claim, blob): (&Claim<'a>, &'a Blob)| Claim {
            blob: blob.as_slice(),
            ..*claim
        };
        made_of.iter().zip(&self.blobs).take(count).map(here).collect()
    }

    /// Whether the first `count` claims hold, by its batch call.
    pub fn batch_holds(&self, count: usize) -> bool {
        let (blobs, commitments, proofs) = (&self.blobs[..count], &self.commitments[..count], &self.proofs[..count]);
        matches!(
            self.settings.verify_blob_kzg_proof_batch(blobs, commitments, proofs),
            Ok(true)
        )
    }

    /// Whether each of the first `count` holds, by its call for a single blob.
    pub fn each_holds(&self, count: usize) -> bool {
        let claims = self.blobs.iter().zip(&self.commitments).zip(&self.proofs);
        claims.take(count).all(|((blob, commitment), proof)| {
            matches!(self.settings.verify_blob_kzg_proof(blob, commitment, proof), Ok(true))
        })
    }
}
