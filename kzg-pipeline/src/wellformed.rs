//! This file knows which bytes are well-formed at all: blobs of canonical field elements, points of the group.

use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{BlobFlaw, PointFlaw};

use crate::group::Point;

/// The order of the group, big-endian: every field element of a blob is below it (EIP-4844, `bytes_to_bls_field`).
pub const MODULUS: [u8; 32] = [
    0x73, 0xed, 0xa7, 0x53, 0x29, 0x9d, 0x7d, 0x48, 0x33, 0x39, 0xd8, 0x08, 0x09, 0xa1, 0xd8, 0x05, //
    0x53, 0xbd, 0xa4, 0x02, 0xff, 0xfe, 0x5b, 0xfe, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01,
];

/// Whether these bytes are a blob: 4096 canonical field elements.
pub fn is_blob(bytes: &[u8]) -> bool {
    bytes.len() == BLOB_BYTES && bytes.chunks_exact(32).all(is_canonical)
}

/// Whether these bytes are a compressed point of the subgroup; infinity is one.
pub fn is_point(bytes: &[u8; 48]) -> bool {
    Point::decompress(bytes).is_some_and(|point| point.is_in_group())
}

/// Why these bytes are not a blob, once it is known that they are none.
#[cold]
pub fn blob_flaw(bytes: &[u8]) -> BlobFlaw {
    if bytes.len() != BLOB_BYTES {
        return BlobFlaw::Length(bytes.len());
    }
    let canonical = bytes.chunks_exact(32).take_while(|element| is_canonical(element));
    BlobFlaw::Element(canonical.count() as u16)
}

/// Why these bytes are not a compressed point of the subgroup, once it is known that they are none.
#[cold]
pub fn point_flaw(bytes: &[u8; 48]) -> PointFlaw {
    Point::read(bytes).err().unwrap_or(PointFlaw::Subgroup)
}

fn is_canonical(element: &[u8]) -> bool {
    element < MODULUS.as_slice()
}
