use std::cell::Cell;

use super::*;
use crate::fixtures::Seeded;
use sha2::{Digest, Sha256};
use ultramarine_types::KzgProof;

thread_local! {
    /// Bytes of blobs that this thread has hashed.
    pub static HASHED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Blobs need not be canonical to be hashed.
fn blobs(count: usize) -> Vec<(Vec<u8>, KzgCommitment)> {
    let mut seeded = Seeded(31);
    let mut bytes = |length| (0..length).map(|_| seeded.next() as u8).collect::<Vec<_>>();
    // All ones and all zeros among them: every carry, and none.
    let blob = |at, random| match at % 8 {
        3 => vec![0xff; BLOB_BYTES],
        6 => vec![0; BLOB_BYTES],
        _ => random,
    };
    (0..count)
        .map(|at| {
            (
                blob(at, bytes(BLOB_BYTES)),
                KzgCommitment(bytes(48).try_into().expect("48 bytes")),
            )
        })
        .collect()
}

/// With a proof that is no part of the hash.
fn claims(blobs: &[(Vec<u8>, KzgCommitment)]) -> Vec<Claim<'_>> {
    let claim = |(blob, commitment)| Claim {
        blob,
        commitment,
        proof: &KzgProof([0; 48]),
    };
    blobs
        .iter()
        .map(|(blob, commitment)| claim((blob.as_slice(), commitment)))
        .collect()
}

#[test]
fn every_path_gives_the_plain_hash_at_every_number_of_messages() {
    let blobs = blobs(39);
    let claims = claims(&blobs);
    let expected: Vec<_> = claims.iter().map(|claim| hash(claim.blob, claim.commitment)).collect();
    for path in HashPath::all() {
        for count in 0..=claims.len() {
            assert_eq!(
                path.hash_all(&claims[..count]),
                expected[..count],
                "{} with {count}",
                path.name()
            );
        }
    }
}

#[test]
fn a_blob_of_a_wrong_length_is_hashed_too_and_disturbs_no_other() {
    let blobs = blobs(5);
    let mut claims = claims(&blobs);
    claims[1].blob = &blobs[1].0[1..];
    claims[3].blob = &[];
    for path in HashPath::all() {
        let hashes = path.hash_all(&claims);
        let expected: Vec<_> = claims.iter().map(|claim| hash(claim.blob, claim.commitment)).collect();
        assert_eq!(hashes, expected, "{}", path.name());
    }
}

#[test]
fn the_plain_hash_is_the_specifications() {
    // compute_challenge of EIP-4844's consensus specification, by hand: tag, degree, blob, commitment.
    let (blob, commitment) = &blobs(1)[0];
    let mut message = b"FSBLOBVERIFY_V1_".to_vec();
    message.extend_from_slice(&4096u128.to_be_bytes());
    message.extend_from_slice(blob);
    message.extend_from_slice(&commitment.0);
    let expected: [u8; 32] = Sha256::digest(&message).into();
    assert_eq!(hash(blob, commitment), expected);
    assert_eq!(message.len() as u64 * 8, MESSAGE_BITS);
}

#[test]
fn blst_does_without_the_extension_for_as_long_as_it_is_told_and_hashes_the_same() {
    let message = [7; 300];
    let hash = super::blst::hash(&message);
    let found = super::blst::has_extension();
    {
        let _without = WithoutExtension::begin();
        assert!(!super::blst::has_extension());
        assert_eq!(super::blst::hash(&message), hash);
    }
    assert_eq!(super::blst::has_extension(), found);
    assert_eq!(found, is_x86_feature_detected!("sha"));
}
