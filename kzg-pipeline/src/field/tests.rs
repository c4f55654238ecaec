use super::*;
use crate::fixtures::{self, Seeded};

/// Numbers at and around every border the code knows.
fn extremes() -> Vec<Limbs> {
    let mut all = vec![
        [0; 4],
        [1, 0, 0, 0],
        [u64::MAX; 4],
        R,
        sub(&R, &[1, 0, 0, 0]).0,
        add(&R, &[1, 0, 0, 0]).0,
        TWO_R,
        sub(&TWO_R, &[1, 0, 0, 0]).0,
        [u64::MAX, u64::MAX, u64::MAX, R[3]],
        [0, 0, 0, u64::MAX],
        [u64::MAX, 0, 0, 0],
        TWO_256,
        add(&R, &[0, 0, 0, (1 << 58) - 1]).0,
    ];
    let mut seeded = Seeded(3);
    all.extend((0..40).map(|_| std::array::from_fn(|_| seeded.next())));
    all
}

/// The product by blst, as the judge.
fn blst_product(a: &Limbs, b: &Limbs) -> Fr {
    let (a, b) = (
        fixtures::fr(&bytes(&Fr::reduced(*a))),
        fixtures::fr(&bytes(&Fr::reduced(*b))),
    );
    Fr(limbs_of(&fixtures::bytes(&fixtures::mul(&a, &b))))
}

fn bytes(element: &Fr) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, limb) in bytes.chunks_exact_mut(8).zip(element.0.iter().rev()) {
        chunk.copy_from_slice(&limb.to_be_bytes());
    }
    bytes
}

fn value(wide: &Wide) -> Fr {
    let low = Fr::reduced([wide[0], wide[1], wide[2], wide[3]]);
    (0..wide[4]).fold(low, |sum, _| sum.add(&Fr(TWO_256)))
}

#[test]
fn products_agree_with_blst_on_extreme_numbers() {
    for a in extremes() {
        for b in extremes() {
            assert_eq!(
                Fr::reduced(a).mul(&Fr::reduced(b)),
                blst_product(&a, &b),
                "{a:x?} × {b:x?}"
            );
        }
    }
}

#[test]
fn prepared_products_agree_with_blst_for_any_four_limbs_and_stay_below_five_r() {
    let five_r = (0..5).fold([0; 5], |sum, _| plus_r(&sum));
    for c in extremes() {
        let prepared = Fr::reduced(c).prepare();
        for a in extremes() {
            let product = Portable.times(&prepared, &a);
            assert!(!at_least(&product, &five_r), "{a:x?} × {c:x?} is too large");
            assert_eq!(value(&product), blst_product(&a, &c), "{a:x?} × {c:x?}");
            if let Some(mulx) = Mulx::detect() {
                assert_eq!(mulx.times(&prepared, &a), product, "{a:x?} × {c:x?} by mulx");
            }
        }
    }
}

#[test]
fn the_largest_prepared_factors_do_not_overflow() {
    // No real factor has all four of these; the arithmetic must not depend on that.
    let largest = sub(&R, &[1, 0, 0, 0]).0;
    let factors = [
        Prepared([largest; 4]),
        Prepared([R; 4]),
        Prepared([[0; 4], largest, [0; 4], largest]),
    ];
    for factor in factors {
        for a in extremes() {
            let product = Portable.times(&factor, &a);
            assert!(product[4] <= 2);
            if let Some(mulx) = Mulx::detect() {
                assert_eq!(mulx.times(&factor, &a), product);
            }
        }
    }
}

#[test]
fn narrowing_keeps_the_residue_and_reaches_its_bound() {
    let bound = add(&R, &[0, 0, 0, 1 << 58]).0;
    for low in extremes() {
        for high in 0..4 {
            let wide = [low[0], low[1], low[2], low[3], high];
            let narrowed = narrow(&wide);
            assert!(sub(&narrowed, &bound).1, "{wide:x?} is not below r + 2^250");
            assert_eq!(Fr::reduced(narrowed), value(&wide), "{wide:x?}");
        }
    }
    // Every entry of the table, at both ends of its interval.
    for index in 0..256u64 {
        for rest in [0, u64::MAX] {
            let wide = [rest, rest, rest, index << 58 | rest >> 6, index >> 6];
            let narrowed = narrow(&wide);
            assert!(sub(&narrowed, &bound).1, "entry {index}");
            assert_eq!(Fr::reduced(narrowed), value(&wide), "entry {index}");
        }
    }
}

#[test]
fn narrow_sums_and_differences_keep_the_residue() {
    let largest = add(&R, &[u64::MAX, u64::MAX, u64::MAX, (1 << 58) - 1]).0;
    let narrow_ones = [[0; 4], [1, 0, 0, 0], R, sub(&R, &[1, 0, 0, 0]).0, largest];
    for a in narrow_ones {
        for b in narrow_ones {
            assert_eq!(Fr::reduced(add_narrow(&a, &b)), Fr::reduced(a).add(&Fr::reduced(b)));
            let difference = sub_narrow(&a, &b);
            assert_eq!(Fr::reduced(difference), Fr::reduced(a).add(&Fr::reduced(b).negate()));
            assert!(sub(&difference, &TWO_R).1);
        }
    }
}

#[test]
fn inverses_are_inverses_and_a_hash_is_taken_modulo_r() {
    for a in extremes() {
        let a = Fr::reduced(a);
        if a != Fr::ZERO {
            assert_eq!(a.mul(&a.inverse()), Fr::ONE);
        }
        assert_eq!(a.add(&a.negate()), Fr::ZERO);
    }
    assert_eq!(Fr::from_hash(&MODULUS), Fr::ZERO);
    assert_eq!(Fr::from_hash(&[0xff; 32]), Fr(TWO_256).add(&Fr::ONE.negate()));
}

#[test]
fn only_numbers_below_r_are_canonical() {
    assert!(is_canonical(&[0; 4]) && is_canonical(&sub(&R, &[1, 0, 0, 0]).0));
    assert!(!is_canonical(&R) && !is_canonical(&add(&R, &[1, 0, 0, 0]).0) && !is_canonical(&[u64::MAX; 4]));
}
