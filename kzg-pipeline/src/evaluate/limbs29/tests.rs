use super::*;
use crate::evaluate::tests::{folds_agree_with_plain_arithmetic_at_every_border, hundredths_of_r, is_at_most};
use crate::simd::checked::Checked;
use crate::simd::{Avx2, Avx512};

/// 1.1·r, the bound of a tight number.
fn largest() -> Limbs {
    hundredths_of_r(110)
}

fn agrees<const N: usize, L: VectorUnit<N>>(lanes: L) {
    let tight = |values: &[u64]| values.iter().all(|limb| *limb <= MASK);
    let cut = cut::<BITS, 4, LIMBS>;
    folds_agree_with_plain_arithmetic_at_every_border::<N, _, Limbs29, LIMBS>(lanes, largest(), cut, tight);
}

#[test]
fn a_fold_of_values_agrees_with_plain_arithmetic_at_every_border() {
    agrees(Checked::<4>);
    agrees(Checked::<8>);
    if let Some(avx2) = Avx2::detect() {
        agrees(avx2);
    }
    if let Some(avx512) = Avx512::detect() {
        agrees(avx512);
    }
}

#[test]
fn the_largest_factors_do_not_overflow() {
    // No real number has all of these limbs; the columns must not depend on that.
    let full = [[MASK; 4]; LIMBS];
    let loose = [[MASK + (1 << 30) - 1; 4]; LIMBS];
    montgomery(Checked::<4>, &loose, &Group(full));
    times(Checked::<4>, &full, &Prepared29([Group(full); LIMBS]));
}

/// Nor does any real factor make the largest sum.
#[test]
fn the_largest_sum_is_brought_back_below_the_bound() {
    let minus_one = Group::splat(&cut::<BITS, 4, LIMBS>(&[R[0] - 1, R[1], R[2], R[3]]));
    let number = cut::<BITS, 4, LIMBS>(&largest());
    let mut sum = times(Checked::<4>, &[[MASK; 4]; LIMBS], &Prepared29([minus_one; LIMBS]));
    for limb in 0..LIMBS {
        sum[limb] = sum[limb].map(|part| part + 2 * number[limb]);
    }
    // Nine limbs, each −(2²⁹ − 1)·2⁻²⁹.
    let product = Fr::small(1 << BITS).inverse().add(&Fr::ONE.negate()).mul(&Fr::small(9));
    let expected = product.add(&Fr::reduced(largest()).mul(&Fr::small(2)));
    let found = join::<BITS, LIMBS, 4>(&Group(narrow(Checked::<4>, sum)).lane(0));
    assert_eq!(Fr::reduced(found), expected);
    assert!(is_at_most(&found, &largest()));
}

fn plus(a: &Narrow, b: &Narrow) -> Narrow {
    let mut sum = [0; LIMBS];
    let mut carry = 0;
    for limb in 0..LIMBS {
        carry += a[limb] + b[limb];
        sum[limb] = carry & MASK;
        carry >>= BITS;
    }
    assert_eq!(carry, 0, "below 2^261");
    sum
}

/// At every multiple of r below 2²⁶¹, just below the next one, and where another quotient begins to be too small.
#[test]
fn the_quotient_is_right_at_its_borders() {
    let offsets = [[0; 4], [1, 0, 0, 0], hundredths_of_r(11), [R[0] - 1, R[1], R[2], R[3]]];
    let mut multiple = [0; LIMBS];
    for quotient in 0..70 {
        for offset in offsets {
            let number = plus(&multiple, &cut::<BITS, 4, LIMBS>(&offset));
            let narrowed = Group(narrow(Checked::<4>, Group::splat(&number).0)).lane(0);
            assert!(narrowed.iter().all(|limb| *limb <= MASK));
            let found = join::<BITS, LIMBS, 4>(&narrowed);
            assert_eq!(Fr::reduced(found), Fr::reduced(offset), "{quotient}·r + {offset:x?}");
            assert!(is_at_most(&found, &largest()), "{quotient}·r + {offset:x?}");
        }
        multiple = plus(&multiple, &R_NARROW);
    }
}
