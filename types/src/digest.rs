//! This file knows the digest of a blob: the hash by which its bytes are right or wrong, whoever sent them.
//!
//! It is the SHA-256 that EIP-4844 takes of a blob and its commitment for the Fiat-Shamir challenge
//! (`compute_challenge` in the specification), before the reduction to a field element. So whoever verifies a proof has
//! it already, and no second pass over the bytes is needed.

use sha2::{Digest, Sha256};

use crate::ids::{Hash, KzgCommitment};

/// `FIAT_SHAMIR_PROTOCOL_DOMAIN` of EIP-4844, then the blob's degree, 4096, as sixteen bytes, big-endian.
pub const DIGEST_PREFIX: [u8; 32] = *b"FSBLOBVERIFY_V1_\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0";

/// The digest of a blob's bytes together with its commitment.
///
/// This is the plain way, one blob at a time; `kzg-pipeline` takes the digests of sixteen blobs at once.
pub fn blob_digest(blob: &[u8], commitment: &KzgCommitment) -> Hash {
    let hasher = Sha256::new()
        .chain_update(DIGEST_PREFIX)
        .chain_update(blob)
        .chain_update(commitment.0);
    Hash(hasher.finalize().into())
}
