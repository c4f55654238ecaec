use super::*;
use crate::fixtures::{Seeded, line, random};

fn blob(bytes: &[u8]) -> &[u8; BLOB_BYTES] {
    bytes.try_into().expect("a blob")
}

/// The value by every path, which must agree.
fn value_at(bytes: &[u8], z: &Fr) -> Option<Fr> {
    let value = |path| Domain::get().evaluate(path, blob(bytes), z, &mut Scratch::default());
    let expected = value(Path::Portable);
    for path in Path::all() {
        assert_eq!(value(path), expected, "{}", path.name());
    }
    expected
}

fn big_endian(element: &Fr) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, limb) in bytes.chunks_exact_mut(8).zip(element.limbs().iter().rev()) {
        chunk.copy_from_slice(&limb.to_be_bytes());
    }
    bytes
}

#[test]
fn values_agree_with_c_kzg_at_random_and_extreme_points() {
    let settings = c_kzg::ethereum_kzg_settings(0);
    let mut seeded = Seeded(5);
    let minus_one = Fr::ONE.negate();
    let points = [
        Fr::ZERO,
        Fr::ONE,
        minus_one,
        Fr::from_hash(&seeded.element()),
        Fr::from_hash(&seeded.element()),
    ];
    for (index, z) in points.into_iter().enumerate() {
        let claim = &random()[index];
        let theirs = c_kzg::Blob::from_bytes(&claim.blob).expect("the right length");
        let (_, y) = settings
            .compute_kzg_proof(&theirs, &c_kzg::Bytes32::from(big_endian(&z)))
            .expect("canonical");
        assert_eq!(value_at(&claim.blob, &z), Some(Fr::from_hash(&y)), "point {index}");
    }
}

#[test]
fn a_line_has_its_value_everywhere_and_the_domain_is_nothing_special() {
    let claim = line(1);
    let first = Fr::from_hash(claim.blob[..32].try_into().expect("an element"));
    let second = Fr::from_hash(claim.blob[32..64].try_into().expect("an element"));
    // The domain begins 1, −1: p(1) = a + b and p(−1) = a − b.
    let half = Fr::small(2).inverse();
    let a = first.add(&second).mul(&half);
    let b = first.add(&second.negate()).mul(&half);
    let mut seeded = Seeded(9);
    for _ in 0..20 {
        let z = Fr::from_hash(&seeded.element());
        assert_eq!(value_at(&claim.blob, &z), Some(a.add(&b.mul(&z))));
    }
    assert_eq!(value_at(&claim.blob, &Fr::ONE), Some(first));
    assert_eq!(value_at(&claim.blob, &Fr::ONE.negate()), Some(second));
}

#[test]
fn blobs_of_extreme_elements_keep_their_residues() {
    let mut largest = crate::wellformed::MODULUS;
    largest[31] = 0;
    let mut seeded = Seeded(13);
    let z = Fr::from_hash(&seeded.element());
    assert_eq!(value_at(&[0; BLOB_BYTES], &z), Some(Fr::ZERO));
    assert_eq!(value_at(&largest.repeat(4096), &z), Some(Fr::ONE.negate()));
    // 0 and r − 1 in turn: differences of both signs at their largest. It is (−1 + X²⁰⁴⁸… )/2 of nothing simple, so compare
    // with the sum of its two halves, each a constant blob cut in two.
    let one_way = [[0; 32], largest].concat().repeat(2048);
    let other_way = [largest, [0; 32]].concat().repeat(2048);
    let sum = value_at(&one_way, &z)
        .expect("canonical")
        .add(&value_at(&other_way, &z).expect("canonical"));
    assert_eq!(sum, Fr::ONE.negate());
}

#[test]
fn an_element_that_is_not_canonical_is_refused_wherever_it_stands() {
    for position in [0, 1, 2, 2047, 2048, 4094, 4095] {
        let mut bytes = vec![0; BLOB_BYTES];
        bytes[32 * position..32 * (position + 1)].copy_from_slice(&crate::wellformed::MODULUS);
        assert_eq!(value_at(&bytes, &Fr::small(5)), None, "element {position}");
        bytes[32 * position + 31] = 0;
        assert!(value_at(&bytes, &Fr::small(5)).is_some(), "element {position} is r − 1");
    }
}

#[test]
fn elements_that_share_their_highest_words_with_the_modulus_are_judged_exactly() {
    let mut seeded = Seeded(17);
    for round in 0..64 {
        let mut element = crate::wellformed::MODULUS;
        for byte in &mut element[8 + round % 24..] {
            *byte = seeded.next() as u8;
        }
        let mut bytes = vec![1; BLOB_BYTES];
        let position = seeded.below(4096);
        bytes[32 * position..32 * (position + 1)].copy_from_slice(&element);
        let canonical = element < crate::wellformed::MODULUS;
        assert_eq!(value_at(&bytes, &Fr::small(77)).is_some(), canonical);
    }
    // A set top bit makes a signed word negative: below r's as a signed number.
    for top in [0x80, 0xff] {
        let mut bytes = vec![0; BLOB_BYTES];
        bytes[32 * 1001] = top;
        assert_eq!(value_at(&bytes, &Fr::small(77)), None);
    }
}
