use super::*;
use crate::evaluate::tests::folds_agree_with_plain_arithmetic_at_every_border;
use crate::simd::emulated::Emulated;
use crate::simd::{Avx2, Avx512};

#[test]
fn a_fold_of_values_agrees_with_plain_arithmetic_at_every_border() {
    let tight = |values: &[u64]| values.iter().all(|limb| *limb <= MASK);
    folds_agree_with_plain_arithmetic_at_every_border::<4, _, Limbs29, LIMBS>(
        Emulated::<4>,
        cut::<BITS, 4, LIMBS>,
        tight,
    );
    folds_agree_with_plain_arithmetic_at_every_border::<8, _, Limbs29, LIMBS>(
        Emulated::<8>,
        cut::<BITS, 4, LIMBS>,
        tight,
    );
    if let Some(avx2) = Avx2::detect() {
        folds_agree_with_plain_arithmetic_at_every_border::<4, _, Limbs29, LIMBS>(avx2, cut::<BITS, 4, LIMBS>, tight);
    }
    if let Some(avx512) = Avx512::detect() {
        folds_agree_with_plain_arithmetic_at_every_border::<8, _, Limbs29, LIMBS>(avx512, cut::<BITS, 4, LIMBS>, tight);
    }
}
