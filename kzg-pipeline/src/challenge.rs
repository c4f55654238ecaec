//! This file knows the Fiat–Shamir challenge of a blob: the point at which its polynomial is opened.
//!
//! EIP-4844, `compute_challenge`: SHA-256 over a domain tag, the degree as 16 bytes big-endian, the blob and its
//! commitment. So the challenge binds blob and commitment; with the proof beside it, it names a claim completely.

use sha2::{Digest, Sha256};
use ultramarine_types::KzgCommitment;

use crate::verifier::Claim;

/// `FIAT_SHAMIR_PROTOCOL_DOMAIN`, then 4096 as a 128-bit big-endian number.
pub const PREFIX: [u8; 32] = *b"FSBLOBVERIFY_V1_\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0";

/// The hash before its reduction modulo the group order.
pub fn hash(blob: &[u8], commitment: &KzgCommitment) -> [u8; 32] {
    Sha256::new()
        .chain_update(PREFIX)
        .chain_update(blob)
        .chain_update(commitment.0)
        .finalize()
        .into()
}

/// The hash of each claim; of a blob that is no blob, a hash nobody uses.
pub fn hash_all(claims: &[Claim<'_>]) -> Vec<[u8; 32]> {
    claims.iter().map(|claim| hash(claim.blob, claim.commitment)).collect()
}

/// Which code hashes on this processor.
pub fn path() -> &'static str {
    "sha2"
}
