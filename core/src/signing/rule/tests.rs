use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use sha2::Sha512;

use super::*;
use crate::signing::Signer;
use crate::signing::key::tests::small_order_encodings;

const MESSAGE: &[u8] = b"Zcash";

fn prepared(key: &PublicKey, message: &'static [u8], signature: &Signature) -> PreparedSeal<'static> {
    PreparedSeal::new(Seal {
        key: *key,
        message,
        signature: *signature,
    })
}

fn good(index: usize) -> PreparedSeal<'static> {
    let signer = Signer::new(&[index as u8 + 1; 32]);
    let message = &MESSAGE[..index % MESSAGE.len()];
    prepared(&signer.public_key(), message, &signer.sign(message))
}

/// Signed by the same key, over another message.
fn bad(index: usize) -> PreparedSeal<'static> {
    let signer = Signer::new(&[index as u8 + 1; 32]);
    prepared(&signer.public_key(), b"another", &signer.sign(b"message"))
}

fn seal(key: [u8; 32], r: [u8; 32], s: [u8; 32]) -> PreparedSeal<'static> {
    let signature = Signature(<[u8; 64]>::try_from([r, s].concat()).unwrap());
    prepared(&PublicKey(key), MESSAGE, &signature)
}

/// Alone and at each place of a batch with good ones, a signature holds or not.
fn assert_judged(seal: &PreparedSeal<'static>, holds: bool, what: &str) {
    assert_eq!(seal.holds(), holds, "{what}, alone");
    assert_eq!(all_hold(&[seal.clone(), seal.clone()]), holds, "{what}, twice");
    for place in 0..3 {
        let mut batch: Vec<_> = (0..2).map(good).collect();
        batch.insert(place, seal.clone());
        assert_eq!(all_hold(&batch), holds, "{what}, at {place}");
        assert_eq!(first_bad(&batch), (!holds).then_some(place), "{what}, at {place}");
        let verdicts: Vec<_> = (0..3).map(|at| holds || at != place).collect();
        assert_eq!(each_holds(&batch), verdicts, "{what}, at {place}");
    }
}

#[test]
fn the_196_cases_of_small_order_hold_alone_and_in_a_batch() {
    let encodings = small_order_encodings();
    assert_eq!(
        encodings.len(),
        14,
        "eight points, and six encodings that are not canonical"
    );
    let pairs = encodings.iter().flat_map(|a| encodings.iter().map(move |r| (*a, *r)));
    let cases: Vec<_> = pairs.collect();
    assert_eq!(cases.len(), 196);
    for (a, r) in &cases {
        assert_judged(&seal(*a, *r, [0; 32]), true, &format!("A {a:x?}, R {r:x?}"));
        let one = Scalar::ONE.to_bytes();
        assert_judged(&seal(*a, *r, one), false, &format!("A {a:x?}, R {r:x?}, S is one"));
    }
    let all: Vec<_> = cases.iter().map(|(a, r)| seal(*a, *r, [0; 32])).collect();
    assert!(all_hold(&all));
}

/// A signature by a secret, whose key and `R` get a part of small order.
fn with_torsion(secret: u64, of_key: EdwardsPoint, of_r: EdwardsPoint) -> ([u8; 32], [u8; 32], Scalar) {
    let (a, r) = (Scalar::from(secret), Scalar::from(secret + 1_000));
    let key = (a * B + of_key).compress().to_bytes();
    let big_r = (r * B + of_r).compress().to_bytes();
    let hash = Sha512::new()
        .chain_update(big_r)
        .chain_update(key)
        .chain_update(MESSAGE);
    (key, big_r, r + Scalar::from_hash(hash) * a)
}

#[test]
fn parts_of_small_order_change_nothing() {
    for of_key in EIGHT_TORSION {
        for of_r in EIGHT_TORSION {
            let (key, r, s) = with_torsion(77, of_key, of_r);
            let what = format!("key {:x?}, R {:x?}", of_key.compress(), of_r.compress());
            assert_judged(&seal(key, r, s.to_bytes()), true, &what);
            assert_judged(&seal(key, r, (s + Scalar::ONE).to_bytes()), false, &what);
        }
    }
}

#[test]
fn s_is_below_the_order() {
    let (key, r, s) = with_torsion(5, EIGHT_TORSION[0], EIGHT_TORSION[0]);
    assert_judged(&seal(key, r, s.to_bytes()), true, "S");
    // S plus the order: the same scalar to an equation that reduces it.
    let order_less_one = (-Scalar::ONE).to_bytes();
    let (mut above, mut carry) = ([0; 32], 1);
    for (byte, (a, b)) in above.iter_mut().zip(s.to_bytes().into_iter().zip(order_less_one)) {
        let sum = u16::from(a) + u16::from(b) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(Scalar::from_bytes_mod_order(above), s);
    assert_judged(&seal(key, r, above), false, "S and the order");
    assert_judged(&seal(key, r, [0xff; 32]), false, "all bits");
}

#[test]
fn what_is_no_point_holds_nowhere() {
    let (key, r, s) = with_torsion(6, EIGHT_TORSION[0], EIGHT_TORSION[0]);
    let no_point = (2..=255)
        .map(|byte| [byte; 32])
        .find(|bytes| CompressedEdwardsY(*bytes).decompress().is_none())
        .unwrap();
    assert_judged(&seal(no_point, r, s.to_bytes()), false, "the key");
    assert_judged(&seal(key, no_point, s.to_bytes()), false, "R");
}

#[test]
fn two_wrongs_make_no_right() {
    // Errors that cancel each other where every coefficient is one.
    let [(a, r, s), (b, q, t)] = [8, 9].map(|secret| with_torsion(secret, EIGHT_TORSION[0], EIGHT_TORSION[0]));
    let pair = [
        seal(a, r, (s + Scalar::ONE).to_bytes()),
        seal(b, q, (t - Scalar::ONE).to_bytes()),
    ];
    assert!(!all_hold(&pair));
    assert_eq!(each_holds(&pair), [false, false]);
}

fn assert_named(pattern: &[bool]) {
    let batch: Vec<_> = pattern
        .iter()
        .enumerate()
        .map(|(index, holds)| if *holds { good(index) } else { bad(index) })
        .collect();
    assert_eq!(each_holds(&batch), pattern);
    let first = pattern.iter().position(|holds| !holds);
    assert_eq!(first_bad(&batch), first, "{pattern:?}");
    assert_eq!(all_hold(&batch), first.is_none(), "{pattern:?}");
}

#[test]
fn exactly_the_bad_ones_are_named() {
    assert_named(&[]);
    for len in 1..=7 {
        for bits in 0..1 << len {
            let pattern: Vec<_> = (0..len).map(|place| bits >> place & 1 == 0).collect();
            assert_named(&pattern);
        }
    }
    for len in 8..=16 {
        for first in 0..len {
            for second in first..len {
                let pattern: Vec<_> = (0..len).map(|place| place != first && place != second).collect();
                assert_named(&pattern);
            }
            let pattern: Vec<_> = (0..len).map(|place| place == first).collect();
            assert_named(&pattern);
        }
        let halves: [Vec<bool>; 4] = [
            vec![false; len],
            (0..len).map(|place| place % 2 == 0).collect(),
            (0..len).map(|place| place < len / 2).collect(),
            (0..len).map(|place| place >= len / 2).collect(),
        ];
        halves.iter().for_each(|pattern| assert_named(pattern));
    }
}

#[test]
fn the_coefficients_follow_from_keys_messages_and_signatures() {
    let (signer, other) = (Signer::new(&[1; 32]), Signer::new(&[2; 32]));
    let (key, signature) = (signer.public_key(), signer.sign(b"message"));
    let mut malleated = signature;
    malleated.0[63] ^= 1;
    let seeds = [
        [prepared(&key, b"message", &signature), good(1)],
        [prepared(&other.public_key(), b"message", &signature), good(1)],
        [prepared(&key, b"massage", &signature), good(1)],
        [prepared(&key, b"message", &malleated), good(1)],
        [prepared(&key, b"message", &signature), good(2)],
        [good(1), prepared(&key, b"message", &signature)],
    ]
    .map(|claims| {
        assert_eq!(seed(&claims), seed(&claims.clone()), "the same batch");
        seed(&claims)
    });
    let distinct: std::collections::BTreeSet<_> = seeds.iter().collect();
    assert_eq!(distinct.len(), seeds.len());
}
