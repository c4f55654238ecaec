//! This file knows how to fold a polynomial by 52-bit products, eight pairs at a time: AVX-512 with IFMA.
//!
//! A number is five limbs of 52 bits, one vector a limb, one pair a lane. `vpmadd52luq` and `vpmadd52huq` add the low
//! and the high half of a product of two limbs to 64 bits. So a column takes 2¹² such halves before it must be carried.
//! Since 5·52 = 260, the limbs leave room above r (255 bits): 2²⁶⁰ ≈ 35.3·r. The processor reads only the low 52 bits
//! of a factor, so a factor must be *tight*, with limbs below 2⁵². Bounds (the value of a tight number follows from its
//! limbs, as all values here are below 2²⁶⁰):
//!
//! ```text
//!   a, b          tight, below 1.07·r (level 0: canonical)
//!   U = a − b + K        K = 2r written with limbs in [2⁵² − 1, 2⁵³), so that no limb goes below zero;
//!                        0 < U < 3.2·r, then carried: tight
//!   T = U·v⁻¹            (U_low·c + U_high·c' + m·r)/2¹⁵⁶ with U_low, m < 2¹⁵⁶,
//!                        U_high < 3.2·r/2¹⁵⁶ < 2¹⁰¹, c, c' < r:
//!                        < r + 2⁻⁵⁵·r + r; columns below 20·2⁵² in all and a carry; then carried: tight, top < 2⁴⁸
//!   S = Σⱼ Tⱼ·z₍ⱼ₎, one step  (four limbs below 2⁵², one below 2⁴⁸, m < 2⁵²)·r/2⁵²: < 5.07·r;
//!                        columns < 12·2⁵² and a carry
//!   V = S + a + b        < 7.3·r, below 2²⁵⁸ and so its top limb below 2⁵⁰ even before carries; columns < 2⁵⁶
//!   V − q·r              q = ⌊t·35/2⁵²⌋ from the top column t of V before carries. As 35 < 2²⁶⁰/r and
//!                        t·2²⁰⁸ ≤ V, q ≤ V/r, and q ≤ 7. t misses 2⁴ at most (carries into it), so
//!                        q > V/r·(35/35.32 − 2⁻⁴⁰) − 1 and V − q·r < r + 0.0094·7.3·r < 1.07·r
//! ```
//!
//! The factor v⁻¹ is held twice, modulo r: c = v⁻¹·2¹⁵⁶ for the three lower limbs of U, and c' = v⁻¹·2³¹² for the two
//! upper ones. Products of both kinds meet in the same columns. So the reduction takes three steps instead of five: 77
//! products (50 and 27) instead of 95. (Held five times, as z is, one step would do. But 400 KB of table cost more time
//! to fetch than they save.)
#![allow(clippy::needless_range_loop, reason = "limbs of several numbers go together")]

use super::vectors::{Folds, carry, unzip};
use crate::field::{Fr, Limbs, R};
use crate::simd::{Group, Multiply52, cut, join};

/// Limbs of a number.
const LIMBS: usize = 5;
/// Bits of a limb.
const BITS: u32 = 52;
const MASK: u64 = (1 << BITS) - 1;
/// Limbs of U that go with the first form of a factor, and steps of its reduction.
const LOW: usize = 3;

/// A number in limbs of 52 bits, lowest first.
type Narrow = [u64; LIMBS];

/// Folding with five limbs of 52 bits.
#[derive(Clone, Copy, Debug)]
pub struct Limbs52;

/// A factor made ready: c·2^(52(j+1)) mod r for each limb position j.
#[derive(Clone, Copy)]
pub struct Prepared52([Narrow; LIMBS]);

impl<const N: usize, L: Multiply52<N>> Folds<N, L> for Limbs52 {
    type Values = Group<N, LIMBS>;
    type Factors = [Group<N, LIMBS>; 2];
    type Point = Prepared52;
    type Vectors = [L::Vector; LIMBS];

    const ZERO: Self::Values = Group::ZERO;

    /// Each factor c in two forms: c·2¹⁵⁶ and c·2³¹².
    fn factors(factors: &[Fr; N]) -> Self::Factors {
        let shift = power_of_two(BITS as usize * LOW);
        let low = factors.map(|factor| factor.mul(&shift));
        let high = low.map(|factor| factor.mul(&shift));
        [low, high].map(|form| Group::of(&form.map(|factor| cut::<BITS, 4, LIMBS>(factor.limbs()))))
    }

    fn point(point: &Fr) -> Prepared52 {
        let step = Fr::small(1 << BITS).in_montgomery_form();
        let mut factor = *point;
        let mut rows = [[0; LIMBS]; LIMBS];
        for row in &mut rows {
            factor = factor.montgomery(&step);
            *row = cut::<BITS, 4, LIMBS>(factor.limbs());
        }
        Prepared52(rows)
    }

    fn value(values: &Self::Values, lane: usize) -> Limbs {
        join::<BITS, LIMBS, 4>(&values.lane(lane))
    }

    #[inline(always)]
    fn take(lanes: L, words: &[L::Vector; 4]) -> Self::Vectors {
        let mask = lanes.splat(MASK);
        [
            lanes.and(words[0], mask),
            lanes.and(lanes.or(lanes.down(words[0], 52), lanes.up(words[1], 12)), mask),
            lanes.and(lanes.or(lanes.down(words[1], 40), lanes.up(words[2], 24)), mask),
            lanes.and(lanes.or(lanes.down(words[2], 28), lanes.up(words[3], 36)), mask),
            lanes.down(words[3], 16),
        ]
    }

    #[inline(always)]
    fn unzip(lanes: L, first: &Self::Values, second: &Self::Values) -> [Self::Vectors; 2] {
        unzip(lanes, first, second)
    }

    /// See the bounds above.
    #[inline(always)]
    fn fold(lanes: L, [a, b]: &[Self::Vectors; 2], factors: &Self::Factors, z: &Prepared52, value: &mut Self::Values) {
        let mut difference = [lanes.splat(0); LIMBS];
        for limb in 0..LIMBS {
            difference[limb] = lanes.sub(lanes.add(a[limb], lanes.splat(TWO_R_LOOSE[limb])), b[limb]);
        }
        let turned = turn(lanes, &carry::<BITS, LIMBS, N, L>(lanes, difference), factors);
        let mut sum = times(lanes, &turned, z);
        for limb in 0..LIMBS {
            sum[limb] = lanes.add(sum[limb], lanes.add(a[limb], b[limb]));
        }
        value.store(lanes, &narrow(lanes, sum));
    }
}

fn power_of_two(exponent: usize) -> Fr {
    let mut power = Fr::ONE;
    for _ in 0..exponent {
        power = power.add(&power);
    }
    power
}

/// r, the order of the group, in limbs.
const R_NARROW: Narrow = cut::<BITS, 4, LIMBS>(&R);
/// r is 1 − 2³² modulo 2⁵², so −r⁻¹ is −(1 + 2³²): the multiple that clears a lowest limb takes no product.
const _: () = assert!(R_NARROW[0] == (1 << BITS) - (1 << 32) + 1);

/// 2r with every limb but the top one in [2⁵² − 1, 2⁵³).
const TWO_R_LOOSE: Narrow = {
    let mut loose = cut::<BITS, 4, LIMBS>(&[
        R[0] << 1,
        R[1] << 1 | R[0] >> 63,
        R[2] << 1 | R[1] >> 63,
        R[3] << 1 | R[2] >> 63,
    ]);
    // Borrow one from each limb for the limb below it.
    let mut at = 0;
    while at + 1 < LIMBS {
        loose[at] += 1 << BITS;
        loose[at + 1] -= 1;
        assert!(loose[at] >= MASK && loose[at] < 1 << (BITS + 1));
        at += 1;
    }
    // What remains on top covers the top limb of b, below 1.07·r.
    assert!(loose[LIMBS - 1] > R_NARROW[LIMBS - 1] + R_NARROW[LIMBS - 1] / 8);
    loose
};

/// ⌊2²⁶⁰/r⌋, from above: no quotient that it gives is too large.
const RECIPROCAL: u64 = (1 << BITS) / (R_NARROW[LIMBS - 1] + 1);
const _: () = assert!(RECIPROCAL == 35);

/// 2²⁶⁰ − q·r for q = 0..8, limb by limb: adding one and dropping what passes 2²⁶⁰ takes off q·r. (For q = 0, zero.)
static COMPLEMENTS: [[u64; 8]; LIMBS] = {
    let mut table = [[0; 8]; LIMBS];
    let mut quotient = 1;
    while quotient < 8 {
        let (mut limb, mut borrow) = (0, 0);
        while limb < LIMBS {
            let part = table[limb][quotient - 1] + (1 << BITS) - R_NARROW[limb] - borrow;
            table[limb][quotient] = part & MASK;
            borrow = 1 - (part >> BITS);
            limb += 1;
        }
        quotient += 1;
    }
    table
};

/// `a` times the factor, modulo r and tight.
#[inline(always)]
fn turn<const N: usize, L: Multiply52<N>>(
    lanes: L,
    a: &[L::Vector; LIMBS],
    factors: &[Group<N, LIMBS>; 2],
) -> [L::Vector; LIMBS] {
    let (low, high) = (factors[0].load(lanes), factors[1].load(lanes));
    let mut columns = [lanes.splat(0); LIMBS + 1];
    for row in 0..LOW {
        add_row(lanes, &mut columns, a[row], &low);
        if LOW + row < LIMBS {
            add_row(lanes, &mut columns, a[LOW + row], &high);
        }
        columns = step(lanes, columns);
    }
    carry::<BITS, LIMBS, N, L>(lanes, [columns[0], columns[1], columns[2], columns[3], columns[4]])
}

/// `a·c` modulo r for the factor behind `c`, not tight.
#[inline(always)]
fn times<const N: usize, L: Multiply52<N>>(lanes: L, a: &[L::Vector; LIMBS], c: &Prepared52) -> [L::Vector; LIMBS] {
    let mut columns = [lanes.splat(0); LIMBS + 1];
    for row in 0..LIMBS {
        let mut factor = [lanes.splat(0); LIMBS];
        for limb in 0..LIMBS {
            factor[limb] = lanes.splat(c.0[row][limb]);
        }
        add_row(lanes, &mut columns, a[row], &factor);
    }
    let columns = step(lanes, columns);
    [columns[0], columns[1], columns[2], columns[3], columns[4]]
}

/// Adds a limb times a number.
#[inline(always)]
fn add_row<const N: usize, L: Multiply52<N>>(
    lanes: L,
    columns: &mut [L::Vector; LIMBS + 1],
    a: L::Vector,
    b: &[L::Vector; LIMBS],
) {
    for limb in 0..LIMBS {
        columns[limb] = lanes.add_low(columns[limb], a, b[limb]);
    }
    for limb in 0..LIMBS {
        columns[limb + 1] = lanes.add_high(columns[limb + 1], a, b[limb]);
    }
}

/// One step of Montgomery's reduction: adds the multiple of r that clears the lowest limb, and moves down by one limb.
#[inline(always)]
fn step<const N: usize, L: Multiply52<N>>(lanes: L, columns: [L::Vector; LIMBS + 1]) -> [L::Vector; LIMBS + 1] {
    // m = −(1 + 2³²)·column₀; products read its low 52 bits only. The low half of m·r₀ is what column₀ lacks to the
    // next multiple of 2⁵²: the carry is a rounding up.
    let m = lanes.sub_modulo(lanes.splat(0), lanes.add_modulo(columns[0], lanes.up(columns[0], 32)));
    let m = lanes.low_52(m);
    let over = lanes.down(lanes.add(columns[0], lanes.splat(MASK)), BITS);
    let mut moved = [lanes.splat(0); LIMBS + 1];
    for limb in 1..LIMBS + 1 {
        moved[limb - 1] = lanes.add_high(columns[limb], m, lanes.splat(R_NARROW[limb - 1]));
    }
    for limb in 1..LIMBS {
        moved[limb - 1] = lanes.add_low(moved[limb - 1], m, lanes.splat(R_NARROW[limb]));
    }
    moved[0] = lanes.add(moved[0], over);
    moved
}

/// The same residue, tight and little above r at most, of a number below 7.3·r in columns below 2⁵⁶.
#[inline(always)]
fn narrow<const N: usize, L: Multiply52<N>>(lanes: L, mut columns: [L::Vector; LIMBS]) -> [L::Vector; LIMBS] {
    let quotient = lanes.add_high(lanes.splat(0), columns[LIMBS - 1], lanes.splat(RECIPROCAL));
    for limb in 0..LIMBS {
        columns[limb] = lanes.add(columns[limb], lanes.look_up(&COMPLEMENTS[limb], quotient));
    }
    carry::<BITS, LIMBS, N, L>(lanes, columns)
}

#[cfg(test)]
mod tests;
