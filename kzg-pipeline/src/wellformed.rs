//! This file knows which bytes are well-formed at all: blobs of canonical field elements, points of the group.

use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{BlobFlaw, Malformed, PointFlaw, Refutation};

use crate::claim::Claim;
use crate::group::Point;

/// The order of the group, big-endian: every field element of a blob is below it (EIP-4844, `bytes_to_bls_field`).
pub const MODULUS: [u8; 32] = [
    0x73, 0xed, 0xa7, 0x53, 0x29, 0x9d, 0x7d, 0x48, 0x33, 0x39, 0xd8, 0x08, 0x09, 0xa1, 0xd8, 0x05, //
    0x53, 0xbd, 0xa4, 0x02, 0xff, 0xfe, 0x5b, 0xfe, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01,
];

/// What is malformed in a claim, the first of it: the blob, the commitment or the proof.
#[cold]
pub fn flaw(claim: &Claim<'_>) -> Option<Malformed> {
    let point = |bytes| match Point::read(bytes) {
        Ok(point) => (!point.is_in_group()).then_some(PointFlaw::Subgroup),
        Err(flaw) => Some(flaw),
    };
    blob_flaw(claim.blob)
        .map(Malformed::Blob)
        .or_else(|| point(&claim.commitment.0).map(Malformed::Commitment))
        .or_else(|| point(&claim.proof.0).map(Malformed::Proof))
}

/// Why a claim does not hold, once that is known.
#[cold]
pub fn refutation(claim: &Claim<'_>) -> Refutation {
    // If we see no flaw, somebody else did or the equation fails: both make it wrong.
    flaw(claim).map_or(Refutation::Wrong, Refutation::Malformed)
}

/// Why these bytes are not a blob: 4096 canonical field elements.
pub fn blob_flaw(bytes: &[u8]) -> Option<BlobFlaw> {
    if bytes.len() != BLOB_BYTES {
        return Some(BlobFlaw::Length(bytes.len()));
    }
    let odd = bytes.chunks_exact(32).position(|element| !is_canonical(element));
    odd.map(|element| BlobFlaw::Element(element as u16))
}

fn is_canonical(element: &[u8]) -> bool {
    element < MODULUS.as_slice()
}
