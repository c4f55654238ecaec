//! This file knows stand-ins for blobs: full-size buffers shared by everybody, a number in the first bytes, and a
//! verifier that compares numbers instead of pairing points.
//!
//! A commitment carries the number of the blob it commits to and a salt, so that two blocks may share bytes and still
//! differ in commitments. A proof belongs to one commitment. Digests are the real ones.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use ultramarine_types::digest::blob_digest;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{BlobFlaw, Malformed, PointFlaw, Refutation};
use ultramarine_types::{Hash, KzgCommitment, KzgProof};

/// Distinct blobs: enough that a mixed-up order shows, few enough that all fit in the cache of a small machine.
const BLOBS_COUNT: u32 = 16;
/// Digests remembered by one thread: more than one run asks for again.
const DIGESTS_MAX: usize = 16_384;

/// A blob with what a block says of it.
#[derive(Clone, Debug)]
pub struct Committed {
    pub blob: Bytes,
    pub commitment: KzgCommitment,
    /// `None` only in a forged block.
    pub proof: Option<KzgProof>,
}

/// All distinct blobs.
fn pool() -> &'static [Bytes] {
    static POOL: OnceLock<Vec<Bytes>> = OnceLock::new();
    POOL.get_or_init(|| {
        (0..BLOBS_COUNT)
            .map(|number| {
                let mut bytes = vec![0u8; BLOB_BYTES];
                bytes[..4].copy_from_slice(&number.to_le_bytes());
                Bytes::from(bytes)
            })
            .collect()
    })
}

/// The bytes of a blob; numbers wrap.
pub fn blob(number: u32) -> Bytes {
    pool()[(number % BLOBS_COUNT) as usize].clone()
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

/// A blob with the commitment and proof that satisfy it.
pub fn committed(number: u32, salt: u64) -> Committed {
    let commitment = commitment(number, salt);
    Committed {
        blob: blob(number),
        commitment,
        proof: Some(proof(&commitment)),
    }
}

/// Other bytes in place of these: they have another digest.
pub fn spoiled(bytes: &Bytes) -> Bytes {
    blob(number_of(bytes).wrapping_add(1))
}

/// The digest of a blob with its commitment. That of a shared buffer is computed once in a while.
pub fn digest(bytes: &Bytes, commitment: &KzgCommitment) -> Hash {
    thread_local! {
        static KNOWN: RefCell<BTreeMap<(u32, KzgCommitment), Hash>> = const { RefCell::new(BTreeMap::new()) };
    }
    let number = number_of(bytes);
    let is_shared = pool()
        .get(number as usize)
        .is_some_and(|shared| shared.as_ptr() == bytes.as_ptr() && shared.len() == bytes.len());
    if !is_shared {
        return blob_digest(bytes, commitment);
    }
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= DIGESTS_MAX {
            known.clear();
        }
        *known
            .entry((number, *commitment))
            .or_insert_with(|| blob_digest(bytes, commitment))
    })
}

/// What a real verifier would find of bytes that have the right digest.
pub fn finding(blob: &[u8], commitment: &KzgCommitment, proof_given: &KzgProof) -> Result<(), Refutation> {
    if blob.len() != BLOB_BYTES {
        return Err(Refutation::Malformed(Malformed::Blob(BlobFlaw::Length(blob.len()))));
    }
    if !is_well_formed(commitment) {
        return Err(Refutation::Malformed(Malformed::Commitment(PointFlaw::Encoding)));
    }
    let fits = number_of(blob).to_le_bytes() == commitment.0[4..8] && *proof_given == proof(commitment);
    if fits { Ok(()) } else { Err(Refutation::Wrong) }
}

fn number_of(blob: &[u8]) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&blob[..4]);
    u32::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_bytes_and_proof_hold() {
        let (a, b) = (committed(3, 9), committed(3, 10));
        let (of_a, of_b) = (proof(&a.commitment), proof(&b.commitment));
        assert_eq!(finding(&a.blob, &a.commitment, &of_a), Ok(()));
        assert_eq!(finding(&b.blob, &b.commitment, &of_b), Ok(()));
        assert_eq!(finding(&spoiled(&a.blob), &a.commitment, &of_a), Err(Refutation::Wrong));
        assert_eq!(finding(&a.blob, &b.commitment, &of_a), Err(Refutation::Wrong));
        assert!(finding(&a.blob, &malformed(a.commitment), &of_a).is_err());
        assert!(finding(&[], &a.commitment, &of_a).is_err());
    }

    #[test]
    fn a_remembered_digest_is_the_real_one() {
        let Committed { blob, commitment, .. } = committed(3, 9);
        for _ in 0..2 {
            assert_eq!(digest(&blob, &commitment), blob_digest(&blob, &commitment));
            let wrong = spoiled(&blob);
            assert_eq!(digest(&wrong, &commitment), blob_digest(&wrong, &commitment));
            let copy = Bytes::from(blob.to_vec());
            assert_eq!(digest(&copy, &commitment), digest(&blob, &commitment));
        }
        assert_ne!(digest(&blob, &commitment), digest(&spoiled(&blob), &commitment));
    }
}
