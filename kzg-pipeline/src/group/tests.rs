use super::*;
use crate::fixtures::{INFINITY, Seeded, shifted_by_order_three};
use crate::setup::{GENERATOR_G1, TAU_G1};

/// u² − 1, the eigenvalue of the endomorphism.
const LAMBDA: u128 = crate::check::LAMBDA;

fn compress(sum: &Sum) -> [u8; 48] {
    let mut bytes = [0; 48];
    // SAFETY: reads one point, writes 48 bytes.
    unsafe { blst::blst_p1_compress(bytes.as_mut_ptr(), &raw const sum.0) };
    bytes
}

fn of(terms: &[(&Point, u128)]) -> [u8; 48] {
    let mut all = Terms::default();
    for (point, scalar) in terms {
        all.push(point, *scalar);
    }
    compress(&all.sum())
}

/// `scalar · point` by blst's plain multiplication.
fn times(point: &Point, scalar: u128) -> Sum {
    let (mut jacobian, mut out) = (blst_p1::default(), blst_p1::default());
    // SAFETY: reads an affine point, writes a point; then reads it and 128 bits of a scalar, writes a point.
    unsafe {
        blst::blst_p1_from_affine(&raw mut jacobian, &raw const point.0);
        blst::blst_p1_mult(&raw mut out, &raw const jacobian, scalar.to_le_bytes().as_ptr(), 128);
    }
    Sum(out)
}

#[test]
fn the_endomorphism_multiplies_by_lambda() {
    let beta = Beta::new();
    for bytes in [GENERATOR_G1, TAU_G1] {
        let point = Point::decompress(&bytes).expect("a constant");
        assert_eq!(of(&[(&point.endomorphism(&beta), 1)]), compress(&times(&point, LAMBDA)));
    }
    let infinity = Point::decompress(&INFINITY).expect("an encoding");
    assert!(infinity.endomorphism(&beta).is_infinity());
}

#[test]
fn sums_are_right_at_every_size_with_equal_opposite_and_missing_points() {
    let generator = Point::decompress(&GENERATOR_G1).expect("a constant");
    let mut negated = GENERATOR_G1;
    negated[0] ^= 0x20;
    let negated = Point::decompress(&negated).expect("the opposite point");
    let tau = Point::decompress(&TAU_G1).expect("a constant");
    let infinity = Point::decompress(&INFINITY).expect("an encoding");
    let pool = [generator, generator, negated, tau, tau, infinity, generator];
    let mut seeded = Seeded(11);
    for size in [
        0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 33, 34, 63, 64, 65, 200, 513, 1900,
    ] {
        let mut terms = Terms::default();
        let mut expected = Sum::default();
        for index in 0..size {
            let point = &pool[seeded.below(pool.len())];
            let scalar = match index % 5 {
                0 => 0,
                1 => u128::MAX,
                2 => 1,
                _ => u128::from(seeded.next()) << 64 | u128::from(seeded.next()),
            };
            terms.push(point, scalar);
            expected = expected.plus(&times(point, scalar));
        }
        assert_eq!(compress(&terms.sum()), compress(&expected), "{size} terms");
    }
    assert_eq!(of(&[(&generator, 5), (&negated, 5)]), INFINITY);
    assert_eq!(of(&[]), INFINITY);
}

#[test]
fn the_pairing_tells_the_setup_from_another() {
    let (one, tau) = (Lines::generator(), Lines::decompress(&crate::setup::TAU_G2));
    let sum = |bytes: &[u8; 48], scalar| times(&Point::decompress(bytes).expect("a constant"), scalar);
    let (g, tau_g) = (sum(&GENERATOR_G1, 3), sum(&TAU_G1, 3));
    assert!(pairings_equal(&tau_g, &one, &g, &tau), "e(3τG, H) = e(3G, τH)");
    assert!(!pairings_equal(&tau_g, &one, &sum(&GENERATOR_G1, 4), &tau));
    assert!(pairings_equal(&Sum::default(), &one, &Sum::default(), &tau));
    assert!(!pairings_equal(&Sum::default(), &one, &g, &tau));
    assert!(!pairings_equal(&tau_g, &one, &Sum::default(), &tau));
}

#[test]
fn a_point_moved_by_order_three_is_on_the_curve_and_not_in_the_group() {
    let moved = Point::decompress(&shifted_by_order_three(&GENERATOR_G1)).expect("on the curve");
    assert!(!moved.is_in_group());
    assert!(Point::decompress(&INFINITY).expect("an encoding").is_in_group());
}
