use super::*;
use crate::evaluate::tests::folds_agree_with_plain_arithmetic_at_every_border;
use crate::simd::emulated::Emulated;
use crate::simd::{Avx2, Avx512};

fn agrees<const N: usize, L: Lanes<N>>(lanes: L) {
    let tight = |values: &[u64]| values.iter().all(|limb| *limb <= MASK);
    folds_agree_with_plain_arithmetic_at_every_border::<N, _, Limbs29, LIMBS>(lanes, cut::<BITS, 4, LIMBS>, tight);
}

#[test]
fn a_fold_of_values_agrees_with_plain_arithmetic_at_every_border() {
    agrees(Emulated::<4>);
    agrees(Emulated::<8>);
    if let Some(avx2) = Avx2::detect() {
        agrees(avx2);
    }
    if let Some(avx512) = Avx512::detect() {
        agrees(avx512);
    }
}
