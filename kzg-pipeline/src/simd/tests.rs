use super::checked::Checked;
use super::emulated::Emulated;
use super::*;
use crate::fixtures::Seeded;

/// Numbers at the borders of the operations, and random ones.
fn numbers(seeded: &mut Seeded) -> u64 {
    let borders = [
        0,
        1,
        u64::MAX,
        (1 << 52) - 1,
        1 << 52,
        (1 << 32) - 1,
        1 << 32,
        1 << 63,
        (1 << 29) - 1,
    ];
    match seeded.below(2) {
        0 => borders[seeded.below(borders.len())],
        _ => seeded.next(),
    }
}

/// Every operation on some vectors, as rows of numbers.
struct Everything<'a, const N: usize> {
    operands: &'a [[u64; N]; 2],
    chunks: &'a [[u8; 64]; N],
}

impl<const N: usize, L: VectorUnit<N>> Work<N, L> for Everything<'_, N> {
    type Output = Vec<[u64; N]>;

    #[inline(always)]
    fn work(self, lanes: L) -> Vec<[u64; N]> {
        let [a, b] = [lanes.load(&self.operands[0]), lanes.load(&self.operands[1])];
        let mut all = vec![
            lanes.splat(77),
            lanes.add(a, b),
            lanes.sub(a, b),
            lanes.add_modulo(a, b),
            lanes.sub_modulo(a, b),
            lanes.and(a, b),
            lanes.or(a, b),
            lanes.down(a, 52),
            lanes.up(a, 12),
            lanes.larger(a, b),
            lanes.product32(a, b),
        ];
        all.extend(lanes.unzip(a, b));
        for side in lanes.pairs(self.chunks) {
            all.extend(side);
        }
        let mut rows = vec![[0; N]; all.len()];
        for (row, vector) in rows.iter_mut().zip(all) {
            lanes.store(vector, row);
        }
        rows
    }
}

struct Products<'a, const N: usize>(&'a [[u64; N]; 3]);

impl<const N: usize, L: Multiply52<N>> Work<N, L> for Products<'_, N> {
    type Output = [[u64; N]; 3];

    #[inline(always)]
    fn work(self, lanes: L) -> [[u64; N]; 3] {
        let [sum, a, b] = [lanes.load(&self.0[0]), lanes.load(&self.0[1]), lanes.load(&self.0[2])];
        let mut rows = [[0; N]; 3];
        lanes.store(lanes.add_low(sum, a, b), &mut rows[0]);
        lanes.store(lanes.add_high(sum, a, b), &mut rows[1]);
        lanes.store(
            lanes.look_up(&[3, 1, 4, 1, 5, 9, 2, 6], lanes.and(sum, lanes.splat(7))),
            &mut rows[2],
        );
        rows
    }
}

fn agrees<const N: usize, L: VectorUnit<N>>(lanes: L) {
    let mut seeded = Seeded(61);
    for _ in 0..200 {
        let operands = [0; 2].map(|_| [0; N].map(|_| numbers(&mut seeded)));
        let chunks = [0; N].map(|_| [0; 64].map(|_| seeded.next() as u8));
        let work = || Everything {
            operands: &operands,
            chunks: &chunks,
        };
        assert_eq!(lanes.enter(work()), Emulated::<N>.enter(work()));
    }
}

fn multiplies<const N: usize, L: Multiply52<N>>(lanes: L) {
    let mut seeded = Seeded(67);
    for _ in 0..2000 {
        let operands = [0; 3].map(|_| [0; N].map(|_| numbers(&mut seeded)));
        assert_eq!(
            lanes.enter(Products(&operands)),
            Emulated::<N>.enter(Products(&operands))
        );
    }
}

#[test]
fn the_processors_operations_are_the_emulated_ones() {
    if let Some(avx2) = Avx2::detect() {
        agrees(avx2);
    }
    if let Some(avx512) = Avx512::detect() {
        agrees(avx512);
    }
    agrees(Doubled(Emulated::<8>));
    if let Some(ifma) = Ifma::detect() {
        agrees(ifma);
        agrees(Doubled(ifma));
        multiplies(ifma);
        multiplies(Doubled(ifma));
    }
    multiplies(Doubled(Emulated::<8>));
    if let Some(avx512) = Avx512::detect() {
        agrees(Doubled(avx512));
        multiplies(avx512);
        multiplies(Doubled(avx512));
    }
}

/// The mathematics of products by doubles, on any processor: sums are exact here, and rounding towards zero drops bits.
#[test]
fn a_double_holds_each_half_of_a_product_of_52_bits() {
    let mut seeded = Seeded(73);
    let mask = (1 << 52) - 1;
    for _ in 0..20_000 {
        let [a, b] = [0; 2].map(|_| u128::from(numbers(&mut seeded) & mask));
        let high = ((a * b + (1 << 104)) >> 52) << 52;
        let low = a * b + (1 << 104) + (1 << 52) - high;
        for (sum, half) in [(high, (a * b) >> 52), (low, (a * b) & u128::from(mask))] {
            let double = sum as f64;
            assert_eq!(double as u128, sum, "53 bits are enough");
            assert_eq!(u128::from(double.to_bits() & mask), half, "{a:x} × {b:x}");
        }
    }
}

#[test]
fn the_emulated_operations_are_the_manuals() {
    let lanes = Emulated::<8>;
    let (top, one) = ([(1 << 52) - 1; 8], [1; 8]);
    // (2⁵² − 1)² = 2¹⁰⁴ − 2⁵³ + 1.
    assert_eq!(lanes.add_low(one, top, top), [2; 8]);
    assert_eq!(lanes.add_high(one, top, top), [(1 << 52) - 1; 8]);
    // Bits above 52 of the factors do not count, all bits of the sum do.
    assert_eq!(
        lanes.add_low([u64::MAX; 8], [1 << 52 | 3; 8], [u64::MAX << 52 | 5; 8]),
        [14; 8]
    );
    assert_eq!(
        lanes.unzip([0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15]),
        [[0, 2, 4, 6, 8, 10, 12, 14], [1, 3, 5, 7, 9, 11, 13, 15],]
    );
}

#[test]
fn the_checked_operations_refuse_what_the_processor_would_lose() {
    let (lanes, most) = (Checked::<2>, [3, u64::MAX]);
    let refused = |operation: &dyn Fn() -> [u64; 2]| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(operation)).expect_err("it must not pass");
    };
    refused(&|| lanes.add(most, [1; 2]));
    refused(&|| lanes.sub([3; 2], [3, 4]));
    refused(&|| lanes.product32([1; 2], [1, 1 << 32]));
    refused(&|| lanes.product32([1, 1 << 32], [1; 2]));
    refused(&|| lanes.add_low([0; 2], [1, 1 << 52], [1; 2]));
    refused(&|| lanes.add_low([0; 2], [1; 2], [1, 1 << 52]));
    refused(&|| lanes.add_high([0; 2], [1, 1 << 52], [1; 2]));
    refused(&|| lanes.add_high([0; 2], [1; 2], [1, 1 << 52]));
    refused(&|| lanes.add_low(most, [1; 2], [1; 2]));
    refused(&|| lanes.add_high(most, [1 << 51; 2], [2; 2]));
    refused(&|| lanes.look_up(&[0; 8], [7, 8]));
    // Where it is meant, it is let.
    assert_eq!(lanes.add_modulo(most, [1; 2]), [4, 0]);
    assert_eq!(lanes.sub_modulo([3; 2], [3, 4]), [0, u64::MAX]);
    assert_eq!(lanes.add_low([0; 2], lanes.low_52([1, 1 << 52 | 1]), [5; 2]), [5; 2]);
}

#[test]
fn limbs_give_their_number_back() {
    let mut seeded = Seeded(71);
    for round in 0..200 {
        let words: [u64; 4] = [0; 4].map(|_| if round == 0 { u64::MAX } else { seeded.next() });
        let (short, long): ([u64; 9], [u64; 5]) = (cut::<29, 4, 9>(&words), cut::<52, 4, 5>(&words));
        assert!(short.iter().all(|limb| *limb < 1 << 29) && long.iter().all(|limb| *limb < 1 << 52));
        assert_eq!(join::<29, 9, 4>(&short), words);
        assert_eq!(join::<52, 5, 4>(&long), words);
        let group = Group::of(&[long, short[..5].try_into().expect("five")]);
        assert_eq!(group.lane(0), long);
        assert_eq!(Group::<3, 5>::splat(&long).lane(2), long);
    }
}
