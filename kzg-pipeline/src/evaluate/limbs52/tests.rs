#![allow(clippy::needless_range_loop, reason = "the number is the quotient")]

use super::*;
use crate::evaluate::tests::folds_agree_with_plain_arithmetic_at_every_border;
use crate::simd::emulated::Emulated;
use crate::simd::{Avx512, Doubled, Ifma};

fn agrees<const N: usize, L: Multiply52<N>>(lanes: L) {
    let tight = |values: &[u64]| values.iter().all(|limb| *limb <= MASK);
    folds_agree_with_plain_arithmetic_at_every_border::<N, _, Limbs52, LIMBS>(lanes, cut::<BITS, 4, LIMBS>, tight);
}

#[test]
fn a_fold_of_values_agrees_with_plain_arithmetic_at_every_border() {
    agrees(Emulated::<8>);
    agrees(Doubled(Emulated::<8>));
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
