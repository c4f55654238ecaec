//! This file knows stand-ins for blobs: full-size buffers shared by everybody, a number in the first bytes, and a
//! verifier that compares numbers instead of pairing points.
//!
//! A commitment carries the number of the blob it commits to and a salt, so that two blocks may share bytes and still
//! differ in commitments. A proof belongs to one commitment.

use std::sync::OnceLock;

use bytes::Bytes;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{BlobFlaw, Finding, Malformed, PointFlaw};
use ultramarine_types::{BlobPart, KzgCommitment, KzgProof};

/// Distinct blobs: enough that a mixed-up order shows, few enough that all fit in the cache of a small machine.
const BLOBS_COUNT: u32 = 16;

/// The bytes of a blob; numbers wrap.
pub fn blob(number: u32) -> Bytes {
    static POOL: OnceLock<Vec<Bytes>> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        (0..BLOBS_COUNT)
            .map(|number| {
                let mut bytes = vec![0u8; BLOB_BYTES];
                bytes[..4].copy_from_slice(&number.to_le_bytes());
                Bytes::from(bytes)
            })
            .collect()
    });
    pool[(number % BLOBS_COUNT) as usize].clone()
}

/// The commitment to a blob.
pub fn commitment(number: u32, salt: u64) -> KzgCommitment {
    let mut bytes = [0; 48];
    bytes[0] = 0xc0;
    bytes[4..8].copy_from_slice(&(number % BLOBS_COUNT).to_le_bytes());
    bytes[8..16].copy_from_slice(&salt.to_le_bytes());
    KzgCommitment(bytes)
}

/// A commitment to the same blob that is no point of the group.
pub fn malformed(mut commitment: KzgCommitment) -> KzgCommitment {
    commitment.0[0] = 0;
    commitment
}

/// Whether a commitment is well-formed.
pub const fn is_well_formed(commitment: &KzgCommitment) -> bool {
    commitment.0[0] == 0xc0
}

/// The one proof that holds for a commitment.
pub fn proof(commitment: &KzgCommitment) -> KzgProof {
    KzgProof(commitment.0.map(|byte| byte ^ 0x5a))
}

/// A commitment with the blob and proof that satisfy it.
pub fn part(number: u32, salt: u64) -> (KzgCommitment, BlobPart) {
    let commitment = commitment(number, salt);
    (
        commitment,
        BlobPart {
            blob: blob(number),
            proofs: vec![proof(&commitment)],
        },
    )
}

/// The same part with other bytes: its proof does not hold.
pub fn spoiled(part: &BlobPart) -> BlobPart {
    BlobPart {
        blob: blob(number_of(&part.blob).wrapping_add(1)),
        proofs: part.proofs.clone(),
    }
}

/// What a real verifier would find.
pub fn finding(blob: &Bytes, commitment: &KzgCommitment, proof_given: &KzgProof) -> Finding {
    if blob.len() != BLOB_BYTES {
        return Finding::Malformed(Malformed::Blob(BlobFlaw::Length(blob.len())));
    }
    if !is_well_formed(commitment) {
        return Finding::Malformed(Malformed::Commitment(PointFlaw::Encoding));
    }
    let fits = number_of(blob).to_le_bytes() == commitment.0[4..8] && *proof_given == proof(commitment);
    if fits { Finding::Holds } else { Finding::Wrong }
}

fn number_of(blob: &Bytes) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&blob[..4]);
    u32::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_bytes_and_proof_hold() {
        let (commitment_a, part_a) = part(3, 9);
        let (commitment_b, part_b) = part(3, 10);
        assert_eq!(finding(&part_a.blob, &commitment_a, &part_a.proofs[0]), Finding::Holds);
        assert_eq!(
            finding(&spoiled(&part_a).blob, &commitment_a, &part_a.proofs[0]),
            Finding::Wrong
        );
        assert_eq!(finding(&part_a.blob, &commitment_b, &part_a.proofs[0]), Finding::Wrong);
        assert_eq!(finding(&part_b.blob, &commitment_b, &part_b.proofs[0]), Finding::Holds);
        assert_eq!(
            finding(&Bytes::new(), &commitment_a, &part_a.proofs[0]),
            Finding::Malformed(Malformed::Blob(BlobFlaw::Length(0)))
        );
    }
}
