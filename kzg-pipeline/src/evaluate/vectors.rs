//! This file knows how to fold a polynomial `N` pairs at a time: the order of things, whatever a number looks like in
//! registers.
//!
//! [`Folds`] is what differs: limbs of 29 bits or of 52. [`VectorUnit`] is the processor, or its emulation.
//!
//! Values lie in their order, `N` to a group, so the pairs of two groups are their even and odd lanes.
#![allow(clippy::needless_range_loop, reason = "the limb is the number of a column")]

use ultramarine_types::limits::BLOB_BYTES;

use super::FOLDS;
use crate::field::{Fr, Limbs, R};
use crate::simd::{Group, VectorUnit, Work};

/// A way to hold numbers in vectors and to fold them.
pub trait Folds<const N: usize, L: VectorUnit<N>> {
    /// `N` values in memory.
    type Values: Copy;
    /// `N` known factors, each v⁻¹ of a pair, made ready.
    type Factors;
    /// The point z, made ready.
    type Point;
    /// `N` values in registers.
    type Vectors;

    const ZERO: Self::Values;

    fn factors(factors: &[Fr; N]) -> Self::Factors;
    fn point(point: &Fr) -> Self::Point;
    /// One of the values, below 2²⁵⁶.
    fn value(values: &Self::Values, lane: usize) -> Limbs;
    /// Values from their 64-bit words, lowest first.
    fn take(lanes: L, words: &[L::Vector; 4]) -> Self::Vectors;
    /// The even and the odd ones of two groups.
    fn unzip(lanes: L, first: &Self::Values, second: &Self::Values) -> [Self::Vectors; 2];
    /// `(a + b) + z·v⁻¹·(a − b)`, modulo r and as small as the next fold wants it.
    fn fold(lanes: L, sides: &[Self::Vectors; 2], factors: &Self::Factors, z: &Self::Point, value: &mut Self::Values);
}

/// The even and the odd ones of two groups, limb by limb.
#[inline(always)]
pub fn unzip<const N: usize, const LIMBS: usize, L: VectorUnit<N>>(
    lanes: L,
    first: &Group<N, LIMBS>,
    second: &Group<N, LIMBS>,
) -> [[L::Vector; LIMBS]; 2] {
    let (mut even, mut odd) = ([lanes.splat(0); LIMBS], [lanes.splat(0); LIMBS]);
    for limb in 0..LIMBS {
        [even[limb], odd[limb]] = lanes.unzip(lanes.load(&first.0[limb]), lanes.load(&second.0[limb]));
    }
    [even, odd]
}

/// Tight limbs of `BITS` bits of the number in these columns, modulo the power of two behind the last limb. What passes
/// that power is there on purpose: a complement of r was added to take r off.
#[inline(always)]
pub fn carry<const BITS: u32, const LIMBS: usize, const N: usize, L: VectorUnit<N>>(
    lanes: L,
    mut columns: [L::Vector; LIMBS],
) -> [L::Vector; LIMBS] {
    let mask = lanes.splat((1 << BITS) - 1);
    for limb in 0..LIMBS - 1 {
        columns[limb + 1] = lanes.add(columns[limb + 1], lanes.down(columns[limb], BITS));
        columns[limb] = lanes.and(columns[limb], mask);
    }
    columns[LIMBS - 1] = lanes.and(columns[LIMBS - 1], mask);
    columns
}

/// All factors of a domain, made ready.
pub fn factors<const N: usize, L: VectorUnit<N>, F: Folds<N, L>>(inverses: &[Fr]) -> Vec<F::Factors> {
    let (groups, rest) = inverses.as_chunks::<N>();
    assert!(rest.is_empty(), "a domain fills its groups");
    groups.iter().map(F::factors).collect()
}

/// What is left of a blob.
pub struct Folded<const N: usize> {
    pub values: [Limbs; N],
    /// Where to fold them.
    pub point: Fr,
    /// Whether the blob's elements are all canonical for certain. If not, the caller must look at each exactly.
    pub surely_canonical: bool,
}

/// Folds a blob at z until one group of values is left.
pub fn fold<const N: usize, L: VectorUnit<N>, F: Folds<N, L>>(
    lanes: L,
    blob: &[u8; BLOB_BYTES],
    z: &Fr,
    factors: &[F::Factors],
    values: &mut Vec<F::Values>,
) -> Folded<N> {
    assert_eq!(factors.len() * N, 1 << (FOLDS - 1), "a factor for each pair of a blob");
    values.resize(factors.len(), F::ZERO);
    let surely_canonical = lanes.enter(FoldBlob::<N, L, F> {
        blob,
        factors,
        z: &F::point(z),
        values,
    });
    let (mut point, mut half) = (z.mul(z), factors.len() / 2);
    while half > 0 {
        lanes.enter(FoldValues::<N, L, F> {
            factors: &factors[..half],
            z: &F::point(&point),
            values: &mut values[..2 * half],
        });
        point = point.mul(&point);
        half /= 2;
    }
    Folded {
        values: std::array::from_fn(|lane| F::value(&values[0], lane)),
        point,
        surely_canonical,
    }
}

/// The first fold, of pairs from a blob's bytes. Gives whether every element is surely canonical.
struct FoldBlob<'a, const N: usize, L: VectorUnit<N>, F: Folds<N, L>> {
    blob: &'a [u8; BLOB_BYTES],
    factors: &'a [F::Factors],
    z: &'a F::Point,
    values: &'a mut [F::Values],
}

impl<const N: usize, L: VectorUnit<N>, F: Folds<N, L>> Work<N, L> for FoldBlob<'_, N, L, F> {
    type Output = bool;

    #[inline(always)]
    fn work(self, lanes: L) -> bool {
        let (groups, _) = self.blob.as_chunks::<64>().0.as_chunks::<N>();
        let mut highest = lanes.splat(0);
        for ((group, factors), value) in groups.iter().zip(self.factors).zip(self.values) {
            let [left, right] = lanes.pairs(group);
            highest = lanes.larger(highest, lanes.larger(left[3], right[3]));
            F::fold(
                lanes,
                &[F::take(lanes, &left), F::take(lanes, &right)],
                factors,
                self.z,
                value,
            );
        }
        let mut words = [0; N];
        lanes.store(highest, &mut words);
        let mut below = true;
        for word in words {
            // Only the highest words are looked at; an honest element equals r there once in 2⁶².
            below &= word < R[3];
        }
        below
    }
}

/// A later fold, in place: the first half of the values from all of them.
struct FoldValues<'a, const N: usize, L: VectorUnit<N>, F: Folds<N, L>> {
    factors: &'a [F::Factors],
    z: &'a F::Point,
    values: &'a mut [F::Values],
}

impl<const N: usize, L: VectorUnit<N>, F: Folds<N, L>> Work<N, L> for FoldValues<'_, N, L, F> {
    type Output = ();

    #[inline(always)]
    fn work(self, lanes: L) {
        assert_eq!(self.values.len(), 2 * self.factors.len(), "two groups fold to one");
        for (index, factors) in self.factors.iter().enumerate() {
            let sides = F::unzip(lanes, &self.values[2 * index], &self.values[2 * index + 1]);
            F::fold(lanes, &sides, factors, self.z, &mut self.values[index]);
        }
    }
}

/// Folds two groups to one, for tests of the arithmetic.
#[cfg(test)]
pub fn fold_groups<const N: usize, L: VectorUnit<N>, F: Folds<N, L>>(
    lanes: L,
    values: [F::Values; 2],
    factors: &[Fr; N],
    z: &Fr,
) -> F::Values {
    let mut values = values;
    lanes.enter(FoldValues::<N, L, F> {
        factors: &[F::factors(factors)],
        z: &F::point(z),
        values: &mut values,
    });
    values[0]
}
