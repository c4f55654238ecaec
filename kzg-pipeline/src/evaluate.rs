//! This file knows how to evaluate a blob's polynomial at a point outside its domain or inside it, without an
//! inversion.
//!
//! A blob holds p(ωⁱ) for the 4096th roots of unity, in bit-reversed order. In that order neighbours are v and −v, and
//!
//! ```text
//!   p(X) = e(X²) + X·o(X²)         e(v²) = (p(v) + p(−v))/2        o(v²) = (p(v) − p(−v))/(2v)
//! ```
//!
//! so f(X) = e(X) + z·o(X) is a polynomial of half the degree with f(z²) = p(z), and its values on the half domain
//! {v²}, again in bit-reversed order, are
//!
//! ```text
//!   2·f(v²) = (a + b) + z·v⁻¹·(a − b)                a = p(v), b = p(−v)
//! ```
//!
//! Twelve such folds, each at the square of the point before, leave 4096·p(z). Every product has a [`Prepared`] factor.
//! One is v⁻¹ from a table. (The table of the half domain is a prefix of this one, as brp₁₁(j) = 2·brp₁₀(j) for
//! j < 1024.) The other is z^(2ᵏ), prepared once a blob. The textbook's barycentric formula needs 4096 inversions
//! (batched: 3 products each), and fails on the domain itself; here no value of z is special.
//!
//! Cost: 4095 pairs × 2 products × 21 word products ≈ 172,000, no more memory than half a blob.

use std::sync::OnceLock;

use ultramarine_types::limits::BLOB_BYTES;

use self::limbs29::Limbs29;
use self::limbs52::Limbs52;
use self::vectors::{Folded, Folds};
use crate::field::{
    Fr, Limbs, Multiply, Mulx, Portable, Prepared, R, add_narrow, add_wide, is_canonical, limbs_of, narrow, sub_narrow,
};
use crate::simd::{Avx2, Avx512, Doubled, Group, Ifma, VectorUnit};
use crate::wellformed;

/// Field elements of a blob.
const ELEMENTS: usize = BLOB_BYTES / 32;
/// Folds from a blob to one value.
const FOLDS: usize = ELEMENTS.trailing_zeros() as usize;

/// The instructions that evaluate polynomials.
#[derive(Clone, Copy, Debug)]
pub enum EvaluationPath {
    /// AVX-512's 52-bit products, eight pairs at a time.
    Ifma(Ifma),
    /// AVX-512's fused products of doubles, eight pairs at a time.
    Doubles(Avx512),
    /// AVX-512's 32-bit products, eight pairs at a time.
    Avx512(Avx512),
    /// AVX2's 32-bit products, four pairs at a time.
    Avx2(Avx2),
    /// 64-bit products with BMI2 and ADX.
    Mulx(Mulx),
    /// What every processor has.
    Portable,
}

impl EvaluationPath {
    /// The fastest path that this processor has.
    pub fn best() -> Self {
        Self::all()[0]
    }

    /// Every path this processor can take, the fastest first.
    pub fn all() -> Vec<Self> {
        let fast = [
            Ifma::detect().map(Self::Ifma),
            Avx512::detect().map(Self::Doubles),
            Avx512::detect().map(Self::Avx512),
            Avx2::detect().map(Self::Avx2),
            Mulx::detect().map(Self::Mulx),
            Some(Self::Portable),
        ];
        fast.into_iter().flatten().collect()
    }

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ifma(_) => "ifma",
            Self::Doubles(_) => "avx512 doubles",
            Self::Avx512(_) => "avx512",
            Self::Avx2(_) => "avx2",
            Self::Mulx(_) => "mulx",
            Self::Portable => "portable",
        }
    }
}

/// Memory for values being folded, kept from blob to blob: half a blob's worth.
#[derive(Default)]
pub struct Scratch {
    limbs: Vec<Limbs>,
    fours: Vec<Group<4, 9>>,
    eights: Vec<Group<8, 9>>,
    sixteens: Vec<Group<16, 5>>,
}

/// The primitive 4096th root of unity that the specification uses: 7 generates the multiplicative group, so its
/// (r−1)/4096-th power is one.
pub fn primitive_root() -> Fr {
    let exponent = [
        (R[0] - 1) >> FOLDS | R[1] << (64 - FOLDS),
        R[1] >> FOLDS | R[2] << (64 - FOLDS),
        R[2] >> FOLDS | R[3] << (64 - FOLDS),
        R[3] >> FOLDS,
    ];
    Fr::small(7).power(&exponent)
}

/// The tables that evaluation needs of the domain. Those of vectors are made at their first use.
pub struct Domain {
    /// v⁻¹ of each pair of the whole domain, in the order of the pairs.
    inverses: Vec<Fr>,
    /// The inverses above, as prepared factors.
    prepared: Vec<Prepared>,
    fours: OnceLock<Vec<Group<4, 9>>>,
    eights: OnceLock<Vec<Group<8, 9>>>,
    sixteens: OnceLock<Vec<[Group<16, 5>; 2]>>,
    /// 4096⁻¹, which undoes the factor that the folds leave.
    scale: Fr,
}

impl Domain {
    /// The domain of blobs, made once a process, with the tables of the best path.
    pub fn get() -> &'static Self {
        static MADE: OnceLock<Domain> = OnceLock::new();
        MADE.get_or_init(|| {
            let domain = Self::new();
            domain.evaluate(
                EvaluationPath::best(),
                &[0; BLOB_BYTES],
                &Fr::ONE,
                &mut Scratch::default(),
            );
            domain
        })
    }

    fn new() -> Self {
        // The powers of the inverse are all the v⁻¹.
        let root_inverse = primitive_root().inverse();
        let mut powers = Vec::with_capacity(ELEMENTS / 2);
        let mut power = Fr::ONE;
        for _ in 0..ELEMENTS / 2 {
            powers.push(power);
            power = power.mul(&root_inverse);
        }
        let bits = (ELEMENTS / 2).trailing_zeros();
        let inverses: Vec<_> = (0..ELEMENTS / 2)
            .map(|index: usize| powers[index.reverse_bits() >> (usize::BITS - bits)])
            .collect();
        Self {
            prepared: inverses.iter().map(Fr::prepare).collect(),
            inverses,
            fours: OnceLock::new(),
            eights: OnceLock::new(),
            sixteens: OnceLock::new(),
            scale: Fr::small(ELEMENTS as u64).inverse(),
        }
    }

    /// p(z); `None` if an element of the blob is not below r.
    pub fn evaluate(&self, path: EvaluationPath, blob: &[u8; BLOB_BYTES], z: &Fr, scratch: &mut Scratch) -> Option<Fr> {
        match path {
            EvaluationPath::Ifma(ifma) => {
                self.by_vectors::<16, _, Limbs52>(Doubled(ifma), &self.sixteens, blob, z, &mut scratch.sixteens)
            }
            EvaluationPath::Doubles(avx512) => {
                self.by_vectors::<16, _, Limbs52>(Doubled(avx512), &self.sixteens, blob, z, &mut scratch.sixteens)
            }
            EvaluationPath::Avx512(avx512) => {
                self.by_vectors::<8, _, Limbs29>(avx512, &self.eights, blob, z, &mut scratch.eights)
            }
            EvaluationPath::Avx2(avx2) => {
                self.by_vectors::<4, _, Limbs29>(avx2, &self.fours, blob, z, &mut scratch.fours)
            }
            EvaluationPath::Mulx(mulx) => self.by_words(mulx, blob, z, &mut scratch.limbs),
            EvaluationPath::Portable => self.by_words(Portable, blob, z, &mut scratch.limbs),
        }
    }

    fn by_words<M: Multiply>(&self, by: M, blob: &[u8; BLOB_BYTES], z: &Fr, values: &mut Vec<Limbs>) -> Option<Fr> {
        values.resize(ELEMENTS / 2, [0; 4]);
        if !fold_blob(by, blob, &self.prepared, &z.prepare(), values) {
            return None;
        }
        Some(self.finish(by, values, &z.mul(z)))
    }

    fn by_vectors<const N: usize, L: VectorUnit<N>, F: Folds<N, L>>(
        &self,
        lanes: L,
        factors: &OnceLock<Vec<F::Factors>>,
        blob: &[u8; BLOB_BYTES],
        z: &Fr,
        values: &mut Vec<F::Values>,
    ) -> Option<Fr> {
        let factors = factors.get_or_init(|| vectors::factors::<N, L, F>(&self.inverses));
        let mut folded: Folded<N> = vectors::fold::<N, L, F>(lanes, blob, z, factors, values);
        if !folded.surely_canonical && wellformed::blob_flaw(blob).is_some() {
            return None;
        }
        // One group is left, too few values for vectors.
        Some(self.finish(Portable, &mut folded.values, &folded.point))
    }

    /// Folds values to one, the first time at `point`, and takes off the factor that the folds have left.
    fn finish<M: Multiply>(&self, by: M, values: &mut [Limbs], point: &Fr) -> Fr {
        let (mut point, mut half) = (*point, values.len() / 2);
        while half > 0 {
            fold_values(by, &mut values[..2 * half], &self.prepared[..half], &point.prepare());
            point = point.mul(&point);
            half /= 2;
        }
        Fr::reduced(values[0]).mul(&self.scale)
    }
}

/// The first fold, from a blob's bytes. Returns whether all its elements are canonical, and ends at the first that is
/// not, as folds are for numbers little above r at most.
#[inline(always)]
fn fold_blob<M: Multiply>(
    by: M,
    blob: &[u8; BLOB_BYTES],
    inverses: &[Prepared],
    z: &Prepared,
    values: &mut [Limbs],
) -> bool {
    let (pairs, _) = blob.as_chunks::<64>();
    for ((pair, inverse), value) in pairs.iter().zip(inverses).zip(values) {
        let (elements, _) = pair.as_chunks::<32>();
        let (left, right) = (limbs_of(&elements[0]), limbs_of(&elements[1]));
        if !(is_canonical(&left) & is_canonical(&right)) {
            return false;
        }
        *value = fold(by, &left, &right, inverse, z);
    }
    true
}

/// A later fold, in place: the first half of `values` from all of them.
#[inline(always)]
fn fold_values<M: Multiply>(by: M, values: &mut [Limbs], inverses: &[Prepared], z: &Prepared) {
    for (index, inverse) in inverses.iter().enumerate() {
        values[index] = fold(by, &values[2 * index], &values[2 * index + 1], inverse, z);
    }
}

/// `(a + b) + z·v⁻¹·(a − b)` modulo r, below 1.04·r like a and b.
#[inline(always)]
fn fold<M: Multiply>(by: M, a: &Limbs, b: &Limbs, inverse: &Prepared, z: &Prepared) -> Limbs {
    let difference = narrow(&by.times(inverse, &sub_narrow(a, b)));
    narrow(&add_wide(&by.times(z, &difference), &add_narrow(a, b)))
}

mod limbs29;
mod limbs52;
#[cfg(test)]
mod tests;
mod vectors;
