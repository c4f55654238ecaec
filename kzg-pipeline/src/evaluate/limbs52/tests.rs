#![allow(clippy::needless_range_loop, reason = "the number is the quotient")]

use super::*;
use crate::evaluate::tests::{folds_agree_with_plain_arithmetic_at_every_border, hundredths_of_r, is_at_most};
use crate::simd::checked::Checked;
use crate::simd::{Avx512, Doubled, Ifma};

/// 1.07·r, the bound of a tight number.
fn largest() -> Limbs {
    hundredths_of_r(107)
}

fn agrees<const N: usize, L: Multiply52<N>>(lanes: L) {
    let tight = |values: &[u64]| values.iter().all(|limb| *limb <= MASK);
    let cut = cut::<BITS, 4, LIMBS>;
    folds_agree_with_plain_arithmetic_at_every_border::<N, _, Limbs52, LIMBS>(lanes, largest(), cut, tight);
}

#[test]
fn a_fold_of_values_agrees_with_plain_arithmetic_at_every_border() {
    agrees(Checked::<8>);
    agrees(Doubled(Checked::<8>));
    if let Some(ifma) = Ifma::detect() {
        agrees(ifma);
        agrees(Doubled(ifma));
    }
    if let Some(avx512) = Avx512::detect() {
        agrees(avx512);
        agrees(Doubled(avx512));
    }
}

#[test]
fn the_largest_factors_do_not_pass_the_columns_bounds() {
    // No real number has all of these limbs; the columns must not depend on that.
    let full = [[MASK; 8]; LIMBS];
    turn(Checked::<8>, &full, &[Group(full); 2]);
    let sum = times(Checked::<8>, &full, &Prepared52([[MASK; LIMBS]; LIMBS]));
    // Two numbers are added to these.
    assert!(sum.as_flattened().iter().all(|column| column + 2 * MASK < 1 << 56));
}

/// Nor does any real factor make the largest sum.
#[test]
fn the_largest_sum_is_brought_back_below_the_bound() {
    let minus_one = cut::<BITS, 4, LIMBS>(&[R[0] - 1, R[1], R[2], R[3]]);
    let number = cut::<BITS, 4, LIMBS>(&largest());
    let mut turned = [[MASK; 8]; LIMBS];
    turned[LIMBS - 1] = [(1 << 48) - 1; 8];
    let mut sum = times(Checked::<8>, &turned, &Prepared52([minus_one; LIMBS]));
    for limb in 0..LIMBS {
        sum[limb] = sum[limb].map(|part| part + 2 * number[limb]);
    }
    // Four limbs, each −(2⁵² − 1)·2⁻⁵², and −(2⁴⁸ − 1)·2⁻⁵².
    let limbs = turned.iter().fold(Fr::ZERO, |sum, limb| sum.add(&Fr::small(limb[0])));
    let product = Fr::small(1 << BITS).inverse().mul(&limbs.negate());
    let expected = product.add(&Fr::reduced(largest()).mul(&Fr::small(2)));
    let found = join::<BITS, LIMBS, 4>(&Group(narrow(Checked::<8>, sum)).lane(0));
    assert_eq!(Fr::reduced(found), expected);
    assert!(is_at_most(&found, &largest()));
}

/// The sum, and what of it passes 2²⁶⁰.
fn plus(a: &Narrow, b: &Narrow) -> (Narrow, u64) {
    let mut sum = [0; LIMBS];
    let mut carry = 0;
    for limb in 0..LIMBS {
        carry += a[limb] + b[limb];
        sum[limb] = carry & MASK;
        carry >>= BITS;
    }
    (sum, carry)
}

#[test]
fn multiples_are_taken_off_exactly() {
    let mut multiple = [0; LIMBS];
    for quotient in 0..8 {
        let complement: Narrow = std::array::from_fn(|limb| COMPLEMENTS[limb][quotient]);
        assert!(complement.iter().all(|limb| *limb <= MASK));
        // Together 2²⁶⁰, but for none.
        let passed = u64::from(quotient > 0);
        assert_eq!(plus(&complement, &multiple), ([0; LIMBS], passed), "{quotient}·r");
        multiple = plus(&multiple, &R_NARROW).0;
    }
}

/// At every multiple of r below 7.3·r, just below the next one, and where another quotient begins to be too small; the
/// top column before carries too.
#[test]
fn the_quotient_is_right_at_its_borders() {
    let offsets = [
        [0; 4],
        [1, 0, 0, 0],
        hundredths_of_r(8),
        hundredths_of_r(29),
        [R[0] - 1, R[1], R[2], R[3]],
    ];
    let mut multiple = [0; LIMBS];
    for quotient in 0..8 {
        for offset in offsets.iter().take(if quotient == 7 { 4 } else { 5 }) {
            let (mut number, _) = plus(&multiple, &cut::<BITS, 4, LIMBS>(offset));
            for loosened in [0, (1 << 4) - 1] {
                if number[LIMBS - 1] > loosened {
                    number[LIMBS - 1] -= loosened;
                    number[LIMBS - 2] += loosened << BITS;
                }
                let narrowed = Group(narrow(Checked::<8>, Group::splat(&number).0)).lane(0);
                assert!(narrowed.iter().all(|limb| *limb <= MASK));
                let found = join::<BITS, LIMBS, 4>(&narrowed);
                assert_eq!(Fr::reduced(found), Fr::reduced(*offset), "{quotient}·r + {offset:x?}");
                assert!(is_at_most(&found, &largest()), "{quotient}·r + {offset:x?}");
            }
        }
        multiple = plus(&multiple, &R_NARROW).0;
    }
}
