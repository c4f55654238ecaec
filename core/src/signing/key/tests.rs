use std::collections::BTreeSet;

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};

use super::*;
use crate::signing::Signer;

/// All encodings of the eight points of small order.
pub fn small_order_encodings() -> BTreeSet<[u8; 32]> {
    // The prime 2^255 - 19, and what is above it and fits into 255 bits: second encodings of 0 to 18.
    let second = (0..19).map(|above| {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (0xed + above, 0x7f);
        bytes
    });
    let first = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes());
    let both_signs = first.chain(second).flat_map(|mut bytes| {
        let sign = bytes;
        bytes[31] ^= 0x80;
        [sign, bytes]
    });
    let is_small = |bytes: &[u8; 32]| {
        let point = CompressedEdwardsY(*bytes).decompress();
        point.is_some_and(|point| point.mul_by_cofactor().is_identity())
    };
    both_signs.filter(is_small).collect()
}

#[test]
fn keys_of_secrets_are_taken() {
    for byte in 0..=255 {
        assert_eq!(check_key(&Signer::new(&[byte; 32]).public_key()), Ok(()));
    }
}

#[test]
fn points_of_small_order_are_refused_in_all_encodings() {
    let canonical: BTreeSet<_> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
    for bytes in small_order_encodings() {
        let flaw = if canonical.contains(&bytes) {
            KeyFlaw::SmallOrder
        } else {
            KeyFlaw::Encoding
        };
        assert_eq!(check_key(&PublicKey(bytes)), Err(flaw), "{bytes:x?}");
    }
}

#[test]
fn a_part_of_small_order_is_refused() {
    for torsion in &EIGHT_TORSION[1..] {
        let mixed = (ED25519_BASEPOINT_POINT + torsion).compress().to_bytes();
        assert_eq!(check_key(&PublicKey(mixed)), Err(KeyFlaw::Torsion));
    }
}

#[test]
fn what_is_no_point_is_refused() {
    let no_points = (0..=255)
        .map(|byte| [byte; 32])
        .filter(|bytes| CompressedEdwardsY(*bytes).decompress().is_none());
    let no_points: Vec<_> = no_points.collect();
    assert!(no_points.len() > 64, "about half of all numbers");
    for bytes in no_points {
        assert_eq!(check_key(&PublicKey(bytes)), Err(KeyFlaw::NoPoint));
    }
}
