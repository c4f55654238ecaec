//! This file knows how to evaluate a blob's polynomial at a point outside its domain or inside it, without an inversion.
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
//! Twelve such folds, each at the square of the point before, leave 4096·p(z). Every product has a [`Prepared`] factor: v⁻¹
//! from a table (the table of the half domain is a prefix of this one, as brp₁₁(j) = 2·brp₁₀(j) for j < 1024), and z^(2ᵏ), prepared
//! once a blob. The textbook's barycentric formula needs 4096 inversions (batched: 3 products each), and fails on the domain
//! itself; here no value of z is special.
//!
//! Cost: 4095 pairs × 2 products × 21 word products ≈ 172,000, no more memory than half a blob.

use std::sync::OnceLock;

use ultramarine_types::limits::BLOB_BYTES;

use crate::field::{
    Fr, Limbs, Multiply, Mulx, Portable, Prepared, R, add_narrow, add_wide, is_canonical, limbs_of, narrow, sub_narrow,
};

/// Field elements of a blob.
const ELEMENTS: usize = BLOB_BYTES / 32;
/// Folds from a blob to one value.
const FOLDS: usize = ELEMENTS.trailing_zeros() as usize;

/// What evaluation needs of the domain.
pub struct Domain {
    /// v⁻¹ of each pair of the whole domain, in the order of the pairs.
    inverses: Vec<Prepared>,
    /// 4096⁻¹.
    scale: Fr,
}

impl Domain {
    /// The domain of blobs, made once a process.
    pub fn get() -> &'static Self {
        static MADE: OnceLock<Domain> = OnceLock::new();
        MADE.get_or_init(Self::new)
    }

    fn new() -> Self {
        // 7 generates the multiplicative group, so its (r−1)/4096-th power is a primitive 4096th root of unity; it is the
        // one the specification uses. Its inverse gives every v⁻¹.
        let exponent = [
            (R[0] - 1) >> FOLDS | R[1] << (64 - FOLDS),
            R[1] >> FOLDS | R[2] << (64 - FOLDS),
            R[2] >> FOLDS | R[3] << (64 - FOLDS),
            R[3] >> FOLDS,
        ];
        let root_inverse = Fr::small(7).power(&exponent).inverse();
        let mut powers = Vec::with_capacity(ELEMENTS / 2);
        let mut power = Fr::ONE;
        for _ in 0..ELEMENTS / 2 {
            powers.push(power);
            power = power.mul(&root_inverse);
        }
        let bits = (ELEMENTS / 2).trailing_zeros();
        let pair = |index: usize| powers[index.reverse_bits() >> (usize::BITS - bits)].prepare();
        Self {
            inverses: (0..ELEMENTS / 2).map(pair).collect(),
            scale: Fr::small(ELEMENTS as u64).inverse(),
        }
    }

    /// p(z); `None` if an element of the blob is not below r. `scratch` keeps its memory between calls.
    pub fn evaluate(&self, blob: &[u8; BLOB_BYTES], z: &Fr, scratch: &mut Vec<Limbs>) -> Option<Fr> {
        match Mulx::detect() {
            Some(mulx) => self.evaluate_by(mulx, blob, z, scratch),
            None => self.evaluate_by(Portable, blob, z, scratch),
        }
    }

    /// [`evaluate`](Self::evaluate) by one kind of multiplication, for tests and reports that choose it.
    pub fn evaluate_by<M: Multiply>(
        &self,
        by: M,
        blob: &[u8; BLOB_BYTES],
        z: &Fr,
        scratch: &mut Vec<Limbs>,
    ) -> Option<Fr> {
        scratch.resize(ELEMENTS / 2, [0; 4]);
        let mut point = *z;
        if !fold_blob(by, blob, &self.inverses, &point.prepare(), scratch) {
            return None;
        }
        let mut half = ELEMENTS / 4;
        while half > 0 {
            point = point.mul(&point);
            fold_values(by, &mut scratch[..2 * half], &self.inverses[..half], &point.prepare());
            half /= 2;
        }
        Some(Fr::reduced(scratch[0]).mul(&self.scale))
    }
}

/// The first fold, from a blob's bytes; whether all its elements are canonical (if not, `values` means nothing).
#[inline(always)]
fn fold_blob<M: Multiply>(
    by: M,
    blob: &[u8; BLOB_BYTES],
    inverses: &[Prepared],
    z: &Prepared,
    values: &mut [Limbs],
) -> bool {
    let (pairs, _) = blob.as_chunks::<64>();
    let mut canonical = true;
    for ((pair, inverse), value) in pairs.iter().zip(inverses).zip(values) {
        let (elements, _) = pair.as_chunks::<32>();
        let (left, right) = (limbs_of(&elements[0]), limbs_of(&elements[1]));
        canonical &= is_canonical(&left) & is_canonical(&right);
        *value = fold(by, &left, &right, inverse, z);
    }
    canonical
}

/// A later fold, in place: the first half of `values` from all of them.
#[inline(always)]
fn fold_values<M: Multiply>(by: M, values: &mut [Limbs], inverses: &[Prepared], z: &Prepared) {
    for (index, inverse) in inverses.iter().enumerate() {
        values[index] = fold(by, &values[2 * index], &values[2 * index + 1], inverse, z);
    }
}

/// `(a + b) + z·v⁻¹·(a − b)` modulo r, below 1.04·r like a and b. (A non-canonical element gives some number; it is not used.)
#[inline(always)]
fn fold<M: Multiply>(by: M, a: &Limbs, b: &Limbs, inverse: &Prepared, z: &Prepared) -> Limbs {
    let difference = narrow(&by.times(inverse, &sub_narrow(a, b)));
    narrow(&add_wide(&by.times(z, &difference), &add_narrow(a, b)))
}

#[cfg(test)]
mod tests;
