#![allow(clippy::needless_range_loop, reason = "the number is the quotient")]

use super::*;
use crate::evaluate::tests::folds_agree_with_plain_arithmetic_at_every_border;
use crate::simd::Ifma;
use crate::simd::emulated::Emulated;

#[test]
fn a_fold_of_values_agrees_with_plain_arithmetic_at_every_border() {
    let tight = |values: &[u64]| values.iter().all(|limb| *limb <= MASK);
    folds_agree_with_plain_arithmetic_at_every_border::<8, _, Limbs52, LIMBS>(
        Emulated::<8>,
        cut::<BITS, 4, LIMBS>,
        tight,
    );
    if let Some(ifma) = Ifma::detect() {
        folds_agree_with_plain_arithmetic_at_every_border::<8, _, Limbs52, LIMBS>(ifma, cut::<BITS, 4, LIMBS>, tight);
    }
}

#[test]
fn multiples_are_taken_off_exactly() {
    let mut multiple = Fr::ZERO;
    for quotient in 0..8 {
        let limbs: Narrow = std::array::from_fn(|limb| COMPLEMENTS[limb][quotient]);
        // −(2²⁶⁰ − q·r) = q·r − 2²⁶⁰, so the residue is that of 2²⁶⁰, but for none.
        let number = limbs.iter().rev().fold(Fr::ZERO, |sum, limb| {
            sum.mul(&Fr::small(1 << BITS)).add(&Fr::small(*limb))
        });
        assert_eq!(number, multiple);
        multiple = power_of_two(260);
    }
}
