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

use crate::field::{Fr, Limbs, Prepared, R, add_narrow, add_wide, is_canonical, limbs_of, narrow, sub_narrow};

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
        scratch.clear();
        let mut point = *z;
        let mut factor = point.prepare();
        let (elements, _) = blob.as_chunks::<32>();
        let (pairs, _) = elements.as_chunks::<2>();
        let mut canonical = true;
        scratch.extend(pairs.iter().zip(&self.inverses).map(|([left, right], inverse)| {
            let (left, right) = (limbs_of(left), limbs_of(right));
            canonical &= is_canonical(&left) & is_canonical(&right);
            fold(&left, &right, inverse, &factor)
        }));
        if !canonical {
            return None;
        }
        for _ in 1..FOLDS {
            point = point.mul(&point);
            factor = point.prepare();
            let half = scratch.len() / 2;
            for (index, inverse) in self.inverses[..half].iter().enumerate() {
                scratch[index] = fold(&scratch[2 * index], &scratch[2 * index + 1], inverse, &factor);
            }
            scratch.truncate(half);
        }
        assert_eq!(scratch.len(), 1, "twelve folds leave one value");
        Some(Fr::reduced(scratch[0]).mul(&self.scale))
    }
}

/// `(a + b) + z·v⁻¹·(a − b)` modulo r, below 1.04·r like a and b. (A non-canonical element gives some number; it is not used.)
#[inline(always)]
fn fold(a: &Limbs, b: &Limbs, inverse: &Prepared, z: &Prepared) -> Limbs {
    let difference = narrow(&inverse.times(&sub_narrow(a, b)));
    narrow(&add_wide(&z.times(&difference), &add_narrow(a, b)))
}

#[cfg(test)]
mod tests;
