use blst::blst_fp;

use super::*;
use crate::fixtures::Seeded;
use crate::fixtures::by_blst::{fp as from_words, fp_add, fp_mul as multiply, fp_negated, fp_words as words_of};
use crate::simd::checked::Checked;
use crate::simd::{Avx512, Doubled, Ifma};

/// Tight numbers at the borders of what formulas may meet, below 2¹⁴·p, and random ones.
fn borders(seeded: &mut Seeded) -> Vec<[u64; LIMBS]> {
    let full = [MASK, MASK, MASK, MASK, MASK, MASK, MASK, P_LIMBS[7] << 14];
    let mut all = vec![
        [0; LIMBS],
        [1, 0, 0, 0, 0, 0, 0, 0],
        P_LIMBS,
        limbs_of(&subtract(&P, &[1, 0, 0, 0, 0, 0]).0),
        limbs_of(&[P[0] + 1, P[1], P[2], P[3], P[4], P[5]]),
        full,
        [MASK, 0, 0, 0, 0, 0, 0, 0],
        [0, MASK, 0, MASK, 0, MASK, 0, 7],
        [1 << 51; LIMBS].map(|limb| limb),
        [0, 0, 0, 0, 0, 0, 0, P_LIMBS[7] << 14],
    ];
    all[8][7] = P_LIMBS[7];
    for _ in 0..30 {
        let mut limbs: [u64; LIMBS] = std::array::from_fn(|_| seeded.next() & MASK);
        limbs[7] %= P_LIMBS[7] << 14;
        all.push(limbs);
    }
    all
}

/// A number by blst, from its limbs.
fn by_blst(limbs: &[u64; LIMBS]) -> blst_fp {
    let step = from_words(&[1 << BITS, 0, 0, 0, 0, 0]);
    let mut sum = blst_fp::default();
    for limb in limbs.iter().rev() {
        let (one, part) = (multiply(&sum, &step), from_words(&[*limb, 0, 0, 0, 0, 0]));
        sum = fp_add(&one, &part);
    }
    sum
}

/// a·b and a², out of Montgomery's form; a·b + a − 8·a²; a·b + b².
struct Samples<'a, const N: usize>(&'a [Group<N, LIMBS>; 2]);

impl<const N: usize, L: Multiply52<N>> Work<N, L> for Samples<'_, N> {
    type Output = [Group<N, LIMBS>; 4];

    #[inline(always)]
    fn work(self, lanes: L) -> [Group<N, LIMBS>; 4] {
        let [a, b] = [Number::load(lanes, &self.0[0]), Number::load(lanes, &self.0[1])];
        let form = Number::splat(lanes, &limbs_of(&power_of_two(832)));
        let mut one = [0; LIMBS];
        one[0] = 1;
        let one = Number::splat(lanes, &one);
        let mut out = [Group::ZERO; 4];
        let products = [a.times(lanes, &b), a.squared(lanes)];
        products[0].times(lanes, &form).store(lanes, &mut out[0]);
        products[1].times(lanes, &form).store(lanes, &mut out[1]);
        let a_form = a.times(lanes, &form);
        let products = [a_form.times(lanes, &b.times(lanes, &form)), a_form.squared(lanes)];
        let sum = products[0].sum(lanes, 1).plus(lanes, &a_form).biased(lanes);
        let sum = sum.minus(lanes, &products[1], 8).tight(lanes);
        sum.times(lanes, &one).store(lanes, &mut out[2]);
        a.times_and(lanes, &b, &b, &b)
            .times(lanes, &form)
            .store(lanes, &mut out[3]);
        out
    }
}

fn agrees<const N: usize, L: Multiply52<N>>(lanes: L) {
    let mut seeded = Seeded(83);
    let values = borders(&mut seeded);
    for round in 0..values.len() {
        for turn in 0..values.len().div_ceil(N) {
            let a: [[u64; LIMBS]; N] = [values[round]; N];
            let b: [[u64; LIMBS]; N] = std::array::from_fn(|lane| values[(turn * N + lane) % values.len()]);
            let out = lanes.enter(Samples(&[Group::of(&a), Group::of(&b)]));
            for lane in 0..N {
                let (a, b) = (by_blst(&a[lane]), by_blst(&b[lane]));
                let (product, square) = (multiply(&a, &b), multiply(&a, &a));
                assert_eq!(canonical(&out[0], lane), words_of(&product), "product");
                assert_eq!(canonical(&out[1], lane), words_of(&square), "square");
                let eight = multiply(&square, &from_words(&[8, 0, 0, 0, 0, 0]));
                let sum = fp_add(&fp_add(&product, &a), &fp_negated(&eight));
                assert_eq!(canonical(&out[2], lane), words_of(&sum), "sum");
                let two = fp_add(&product, &multiply(&b, &b));
                assert_eq!(canonical(&out[3], lane), words_of(&two), "two products");
                assert!(
                    out.iter()
                        .all(|group| group.lane(lane).iter().all(|limb| *limb <= MASK)),
                    "tight"
                );
            }
        }
    }
}

#[test]
fn products_squares_and_sums_agree_with_blst_at_every_border() {
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

/// Fifteen times a number that is added and a product that is taken off, each as large as the head allows.
fn takes_fifteen<const N: usize, L: Multiply52<N>>(lanes: L) {
    let full = |top| [MASK, MASK, MASK, MASK, MASK, MASK, MASK, top];
    let (number, product) = (full(1041 * P_LIMBS[7]), full(P_LIMBS[7] + P_LIMBS[7] / 50 - 1));
    let [added, taken] = [number, product].map(|limbs| Number::splat(lanes, &limbs));
    let mut sum = added.sum(lanes, 12);
    for _ in 0..3 {
        sum = sum.plus(lanes, &added);
    }
    let zero = Number::splat(lanes, &[0; LIMBS]);
    let less = |sum: Loose<L::Vector>| sum.biased(lanes).minus(lanes, &taken, 12).minus(lanes, &taken, 3);
    let fifteen = |limbs| multiply(&by_blst(limbs), &from_words(&[15, 0, 0, 0, 0, 0]));
    let negated = fp_negated(&fifteen(&product));
    let both = fp_add(&fifteen(&number), &negated);
    let form = Number::splat(lanes, &limbs_of(&power_of_two(832)));
    let one = Number::splat(lanes, &limbs_of(&[1, 0, 0, 0, 0, 0]));
    for (sum, expected) in [
        (sum, fifteen(&number)),
        (less(zero.sum(lanes, 1)), negated),
        (less(sum), both),
    ] {
        let (mut tight, mut plain) = (Group::ZERO, Group::ZERO);
        let sum = sum.tight(lanes);
        sum.store(lanes, &mut tight);
        sum.times(lanes, &form).times(lanes, &one).store(lanes, &mut plain);
        assert!(tight.lane(0).iter().all(|limb| *limb <= MASK), "tight");
        assert_eq!(canonical(&plain, N - 1), words_of(&expected));
    }
}

#[test]
fn fifteen_of_the_largest_are_added_and_taken_off_without_going_below_zero() {
    takes_fifteen(Checked::<8>);
    if let Some(ifma) = Ifma::detect() {
        takes_fifteen(ifma);
    }
    if let Some(avx512) = Avx512::detect() {
        takes_fifteen(avx512);
    }
}

#[test]
fn p_is_the_modulus_of_the_curve() {
    // p − 1 is −1, and p is zero.
    let minus_one = from_words(&subtract(&P, &[1, 0, 0, 0, 0, 0]).0);
    assert_eq!(words_of(&multiply(&minus_one, &minus_one)), [1, 0, 0, 0, 0, 0]);
    assert_eq!(power_of_two(382), subtract(&twice(&power_of_two(381)), &[0; 6]).0);
    assert_eq!(power_of_two(384), words_of(&by_blst(&limbs_of(&power_of_two(384)))));
}
