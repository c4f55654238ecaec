//! This file knows how to fold a polynomial by vectors of 32-bit products: four pairs at a time with AVX2, eight with
//! AVX-512.
//!
//! A number is nine limbs of 29 bits, one vector a limb, one pair a lane. `vpmuludq` multiplies pairs of 32-bit numbers
//! into 64 bits. Nine products of limbs fit in 64 bits together. So columns are summed without looking at carries,
//! which are the bottleneck of 64-bit code. Since 9·29 = 261 bits leave room above r (255 bits), with 2²⁶¹ ≈ 70.6·r,
//! sums need no correction either.
//!
//! Bounds, with a *tight* number having limbs below 2²⁹ (the value follows from the limbs below 2²⁶¹):
//!
//! ```text
//!   a, b          tight, below 1.1·r (level 0: canonical)
//!   U = a − b + K        K = 4r written with limbs in [2²⁹ − 1, 2³⁰), so that no limb goes below zero;
//!                        limbs < 1.5·2³⁰, U < 5.1·r
//!   T = U·v⁻¹            Montgomery with 2²⁶¹: < 5.1·r·r/2²⁶¹ + r < 1.1·r; columns < 9·1.5·2⁵⁹ + 9·2⁵⁸ + a carry < 2⁶⁴
//!   S = Σⱼ Tⱼ·z₍ⱼ₎, one step  < 9·2²⁹·r/2²⁹ + r = 10r; columns < 9·2⁵⁸ + 2⁵⁸
//!   V = S + a + b        < 12.2·r
//!   V − q·r              q from the top limb of V and a reciprocal: never above V/r, and V/r − q < 1 + 2⁻¹⁸;
//!                        so < 1.1·r
//! ```
#![allow(clippy::needless_range_loop, reason = "limbs of several numbers go together")]

use super::vectors::{Folds, carry, unzip};
use crate::field::{Fr, Limbs, R};
use crate::simd::{Group, VectorUnit, cut, join};

/// Limbs of a number.
const LIMBS: usize = 9;
/// Bits of a limb.
const BITS: u32 = 29;
const MASK: u64 = (1 << BITS) - 1;

/// A number in limbs of 29 bits, lowest first.
type Narrow = [u64; LIMBS];

/// Folding with nine limbs of 29 bits.
#[derive(Clone, Copy, Debug)]
pub struct Limbs29;

/// A factor made ready: c·2^(29(j+1)) mod r for each limb position j, each limb in all lanes.
#[derive(Clone, Copy)]
pub struct Prepared29<const N: usize>([Group<N, LIMBS>; LIMBS]);

impl<const N: usize, L: VectorUnit<N>> Folds<N, L> for Limbs29 {
    type Values = Group<N, LIMBS>;
    type Factors = Group<N, LIMBS>;
    type Point = Prepared29<N>;
    type Vectors = [L::Vector; LIMBS];

    const ZERO: Self::Values = Group::ZERO;

    /// Montgomery's form with 2²⁶¹.
    fn factors(factors: &[Fr; N]) -> Self::Factors {
        // 2²⁶¹ = 2⁵ · 2²⁵⁶.
        Group::of(&factors.map(|factor| cut::<BITS, 4, LIMBS>(factor.in_montgomery_form().mul(&Fr::small(32)).limbs())))
    }

    fn point(point: &Fr) -> Self::Point {
        let step = Fr::small(1 << BITS).in_montgomery_form();
        let mut factor = *point;
        let mut rows = [Group::ZERO; LIMBS];
        for row in &mut rows {
            factor = factor.montgomery(&step);
            *row = Group::splat(&cut::<BITS, 4, LIMBS>(factor.limbs()));
        }
        Prepared29(rows)
    }

    fn value(values: &Self::Values, lane: usize) -> Limbs {
        join::<BITS, LIMBS, 4>(&values.lane(lane))
    }

    #[inline(always)]
    fn take(lanes: L, words: &[L::Vector; 4]) -> Self::Vectors {
        let mask = lanes.splat(MASK);
        let mut limbs = [
            words[0],
            lanes.down(words[0], 29),
            lanes.or(lanes.down(words[0], 58), lanes.up(words[1], 6)),
            lanes.down(words[1], 23),
            lanes.or(lanes.down(words[1], 52), lanes.up(words[2], 12)),
            lanes.down(words[2], 17),
            lanes.or(lanes.down(words[2], 46), lanes.up(words[3], 18)),
            lanes.down(words[3], 11),
            lanes.down(words[3], 40),
        ];
        for limb in &mut limbs {
            *limb = lanes.and(*limb, mask);
        }
        limbs
    }

    #[inline(always)]
    fn unzip(lanes: L, first: &Self::Values, second: &Self::Values) -> [Self::Vectors; 2] {
        unzip(lanes, first, second)
    }

    /// See the bounds above.
    #[inline(always)]
    fn fold(lanes: L, [a, b]: &[Self::Vectors; 2], factors: &Self::Factors, z: &Self::Point, value: &mut Self::Values) {
        let mut difference = [lanes.splat(0); LIMBS];
        for limb in 0..LIMBS {
            difference[limb] = lanes.sub(lanes.add(a[limb], lanes.splat(FOUR_R_LOOSE[limb])), b[limb]);
        }
        let turned = montgomery(lanes, &difference, factors);
        let mut sum = times(lanes, &turned, z);
        for limb in 0..LIMBS {
            sum[limb] = lanes.add(sum[limb], lanes.add(a[limb], b[limb]));
        }
        value.store(lanes, &narrow(lanes, sum));
    }
}

/// r, the order of the group, in limbs.
const R_NARROW: Narrow = cut::<BITS, 4, LIMBS>(&R);
/// r is 1 modulo 2²⁹, so −r⁻¹ is −1: the multiple that clears a lowest limb is its negative.
const _: () = assert!(R_NARROW[0] == 1);

/// 4r with every limb but the top one in [2²⁹ − 1, 2³⁰).
const FOUR_R_LOOSE: Narrow = {
    let mut loose = [0u64; LIMBS];
    let mut carry = 0u64;
    let mut at = 0;
    while at < LIMBS {
        let sum = 4 * R_NARROW[at] + carry;
        loose[at] = if at + 1 < LIMBS { sum & MASK } else { sum };
        carry = sum >> BITS;
        at += 1;
    }
    // Borrow one from each limb for the limb below it.
    let mut at = 0;
    while at + 1 < LIMBS {
        loose[at] += 1 << BITS;
        loose[at + 1] -= 1;
        at += 1;
    }
    let mut at = 0;
    while at < LIMBS {
        assert!(loose[at] < 1 << 30 && (loose[at] >= MASK || at + 1 == LIMBS));
        at += 1;
    }
    // What remains on top covers the top limb of b.
    assert!(loose[LIMBS - 1] > R_NARROW[LIMBS - 1] + R_NARROW[LIMBS - 1] / 8);
    loose
};

/// 2²⁶¹ − r: adding q of it and dropping what passes 2²⁶¹ takes off q·r.
const COMPLEMENT: Narrow = {
    let mut complement = [0; LIMBS];
    let mut at = 0;
    while at < LIMBS {
        // The lowest limb of r is 1, so 2²⁹ − 1 there and the rest is bitwise.
        complement[at] = if at == 0 { MASK } else { MASK - R_NARROW[at] };
        at += 1;
    }
    complement
};

/// ⌊2⁴⁴/(top limb of r + 1)⌋: q = top·this >> 44 is never above the true quotient.
const RECIPROCAL: u64 = (1 << 44) / (R_NARROW[LIMBS - 1] + 1);
const _: () = assert!(RECIPROCAL < 1 << 32);

/// `a·b/2²⁶¹` modulo r, tight.
#[inline(always)]
fn montgomery<const N: usize, L: VectorUnit<N>>(
    lanes: L,
    a: &[L::Vector; LIMBS],
    b: &Group<N, LIMBS>,
) -> [L::Vector; LIMBS] {
    let mut columns = [lanes.splat(0); LIMBS];
    for row in 0..LIMBS {
        let factor = lanes.load(&b.0[row]);
        for limb in 0..LIMBS {
            columns[limb] = lanes.add(columns[limb], lanes.product32(a[limb], factor));
        }
        columns = step(lanes, columns);
    }
    carry::<BITS, LIMBS, N, L>(lanes, columns)
}

/// `a·c` modulo r for the factor behind `c`, not tight: `a`'s limbs are below 2²⁹, the result's below 2⁶³.
#[inline(always)]
fn times<const N: usize, L: VectorUnit<N>>(lanes: L, a: &[L::Vector; LIMBS], c: &Prepared29<N>) -> [L::Vector; LIMBS] {
    let mut columns = [lanes.splat(0); LIMBS];
    for row in 0..LIMBS {
        for limb in 0..LIMBS {
            let product = lanes.product32(a[row], lanes.load(&c.0[row].0[limb]));
            columns[limb] = lanes.add(columns[limb], product);
        }
    }
    step(lanes, columns)
}

/// One step of Montgomery's reduction: adds the multiple of r that clears the lowest limb, and moves down by one limb.
#[inline(always)]
fn step<const N: usize, L: VectorUnit<N>>(lanes: L, columns: [L::Vector; LIMBS]) -> [L::Vector; LIMBS] {
    let mask = lanes.splat(MASK);
    // −r⁻¹ is −1 modulo 2²⁹, so m = −column₀, and m·r₀ = m clears the low bits by itself.
    let low = lanes.and(columns[0], mask);
    let m = lanes.and(lanes.sub(lanes.splat(1 << BITS), low), mask);
    let over = lanes.down(lanes.add(columns[0], m), BITS);
    let mut moved = [lanes.splat(0); LIMBS];
    for limb in 1..LIMBS {
        moved[limb - 1] = lanes.add(columns[limb], lanes.product32(m, lanes.splat(R_NARROW[limb])));
    }
    moved[0] = lanes.add(moved[0], over);
    moved
}

/// The same residue, tight and little above r at most, of a number below 2²⁶¹.
#[inline(always)]
fn narrow<const N: usize, L: VectorUnit<N>>(lanes: L, columns: [L::Vector; LIMBS]) -> [L::Vector; LIMBS] {
    let mut tight = carry::<BITS, LIMBS, N, L>(lanes, columns);
    let quotient = lanes.down(lanes.product32(tight[LIMBS - 1], lanes.splat(RECIPROCAL)), 44);
    for limb in 0..LIMBS {
        tight[limb] = lanes.add(tight[limb], lanes.product32(quotient, lanes.splat(COMPLEMENT[limb])));
    }
    carry::<BITS, LIMBS, N, L>(lanes, tight)
}

#[cfg(test)]
mod tests;
