use super::*;
use crate::fixtures::Seeded;

/// Values at the borders of what a fold may meet, below 1.1·r, and random ones.
fn borders() -> Vec<Limbs> {
    let mut all = vec![
        [0; 4],
        [1, 0, 0, 0],
        R,
        [R[0] - 1, R[1], R[2], R[3]],
        [u64::MAX, u64::MAX, u64::MAX, R[3] + (R[3] >> 4)],
    ];
    // Every limb of 29 bits full, but for the top.
    all.push([u64::MAX, u64::MAX, u64::MAX, (1 << 62) - 1]);
    let mut seeded = Seeded(23);
    all.extend((0..40).map(|_| {
        let mut limbs: Limbs = std::array::from_fn(|_| seeded.next());
        limbs[3] %= R[3];
        limbs
    }));
    all
}

#[test]
fn a_fold_of_values_agrees_with_plain_arithmetic_at_every_border() {
    let Some(avx2) = Avx2::detect() else { return };
    let minus_one = Fr::ONE.negate();
    let mut seeded = Seeded(29);
    let points = [Fr::ZERO, Fr::ONE, minus_one, Fr::from_hash(&seeded.element())];
    let values = borders();
    for (turn, a) in values.iter().enumerate() {
        for z in &points {
            let mut picked: [Limbs; 8] = std::array::from_fn(|_| values[seeded.below(values.len())]);
            picked[2 * (turn % 4)] = *a;
            let factors = [
                minus_one,
                Fr::ONE,
                Fr::from_hash(&seeded.element()),
                Fr::from_hash(&seeded.element()),
            ];
            let inverses = [montgomery_quad(factors.each_ref())];
            let mut quads = [
                Quad::of([&picked[0], &picked[1], &picked[2], &picked[3]]),
                Quad::of([&picked[4], &picked[5], &picked[6], &picked[7]]),
            ];
            fold_values(avx2, &mut quads, &inverses, &Prepared::of(z));
            for lane in 0..LANES {
                let (a, b) = (Fr::reduced(picked[2 * lane]), Fr::reduced(picked[2 * lane + 1]));
                let expected = a.add(&b).add(&factors[lane].mul(z).mul(&a.add(&b.negate())));
                let found = quads[0].lane(lane);
                assert_eq!(Fr::reduced(found), expected, "lane {lane}");
                assert!(found[3] <= R[3] + 1, "little above r at most");
                assert!(quads[0].0.iter().all(|limb| limb[lane] <= MASK), "tight");
            }
        }
    }
}

#[test]
fn limbs_of_29_bits_give_their_number_back() {
    for number in borders() {
        let quad = Quad::of([&number, &[0; 4], &[u64::MAX; 4], &number]);
        assert_eq!(
            (quad.lane(0), quad.lane(1), quad.lane(2), quad.lane(3)),
            (number, [0; 4], [u64::MAX; 4], number)
        );
    }
    assert_eq!(Quad::of([&R; LANES]).0.map(|limb| limb[0] as u32), R_NARROW);
}
