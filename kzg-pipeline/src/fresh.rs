//! This file knows how to make blobs that were never seen before, with their commitments and proofs, a hundred times
//! faster than for any blob. They serve as load: they cost a network what real blobs cost it, and their maker next to
//! nothing.
//!
//! A polynomial p(X) = c₀ + c₁X + … of low degree has values at all 4096 points, no two alike. So to a node that
//! carries or verifies its blob, it is as good as random. But its commitment, Σ cₖ·[τᵏ]₁, is a sum of as many points as
//! it has coefficients. Its proof is a sum of one point less. For the quotient (p(X) − p(z))/(X − z) has lower degree
//! still, and long division gives its coefficients.
//!
//! ```text
//!   c₀ … c₃ ──Horner, 4096 times──▶ blob ──┐
//!       └────Σ cₖ·[τᵏ]₁────▶ commitment ───┴─▶ challenge z ──division──▶ b₀ … b₂ ──Σ bₖ·[τᵏ]₁──▶ proof
//! ```

use std::sync::OnceLock;

use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{KzgCommitment, KzgProof};

use crate::challenge;
use crate::evaluate::primitive_root;
use crate::field::Fr;
use crate::group::{Point, PointPath, PointTerms};
use crate::setup::hex48;

/// Coefficients that a polynomial here may have.
pub const COEFFICIENTS_MAX: usize = 8;

/// `g1_monomial[0..8]` of the ceremony, compressed: `[τᵏ]₁`. `fresh/tests.rs` has `c-kzg` make them.
const POWERS: [[u8; 48]; COEFFICIENTS_MAX] = [
    hex48("97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"),
    hex48("ad3eb50121139aa34db1d545093ac9374ab7bca2c0f3bf28e27c8dcd8fc7cb42d25926fc0c97b336e9f0fb35e5a04c81"),
    hex48("8029c8ce0d2dce761a7f29c2df2290850c85bdfaec2955626d7acc8864aeb01fe16c9e156863dc63b6c22553910e27c1"),
    hex48("b1386c995d3101d10639e49b9e5d39b9a280dcf0f135c2e6c6928bb3ab8309a9da7178f33925768c324f11c3762cfdd5"),
    hex48("9596d929610e6d2ed3502b1bb0f1ea010f6b6605c95d4859f5e53e09fa68dc71dfd5874905447b5ec6cd156a76d6b6e8"),
    hex48("851e3c3d4b5b7cdbba25d72abf9812cf3d7c5a9dbdec42b6635e2add706cbeea18f985afe5247459f6c908620322f434"),
    hex48("b10f4cf8ec6e02491bbe6d9084d88c16306fdaf399fef3cd1453f58a4f7633f80dc60b100f9236c3103eaf727468374f"),
    hex48("ade11ec630127e04d17e70db0237d55f2ff2a2094881a483797e8cddb98b622245e1f608e5dcd1172b9870e733b4a32f"),
];

/// Elements of a blob.
const ELEMENTS: usize = BLOB_BYTES / 32;

/// A blob with what proves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FreshBlob {
    /// All 131,072 bytes of the blob.
    pub blob: Vec<u8>,
    pub commitment: KzgCommitment,
    /// The proof for EIP-4844's challenge.
    pub proof: KzgProof,
}

/// The tables, made once a process.
struct Tables {
    /// The roots of unity in the order of a blob's elements (bit-reversed), in Montgomery's form.
    roots: Vec<Fr>,
    /// `[τᵏ]₁` and 2¹²⁸ times it: a scalar is two halves.
    powers: Vec<(Point, Point)>,
}

impl Tables {
    fn get() -> &'static Self {
        static MADE: OnceLock<Tables> = OnceLock::new();
        MADE.get_or_init(|| {
            let root = primitive_root();
            let mut straight = Vec::with_capacity(ELEMENTS);
            let mut power = Fr::ONE;
            for _ in 0..ELEMENTS {
                straight.push(power.in_montgomery_form());
                power = power.mul(&root);
            }
            let bits = ELEMENTS.trailing_zeros();
            Self {
                roots: (0..ELEMENTS)
                    .map(|index| straight[index.reverse_bits() >> (usize::BITS - bits)])
                    .collect(),
                powers: POWERS.iter().map(with_upper_half).collect(),
            }
        })
    }

    /// The compressed point Σ cₖ·[τᵏ]₁.
    fn commit(&self, coefficients: &[Fr]) -> [u8; 48] {
        let mut terms = PointTerms::with_capacity(2 * coefficients.len());
        for (coefficient, (point, upper)) in coefficients.iter().zip(&self.powers) {
            let [first, second, third, fourth] = *coefficient.limbs();
            terms.push(point, u128::from(second) << 64 | u128::from(first));
            terms.push(upper, u128::from(fourth) << 64 | u128::from(third));
        }
        PointPath::best().sum(&terms).compress()
    }
}

/// The point, and 2¹²⁸ times it.
fn with_upper_half(bytes: &[u8; 48]) -> (Point, Point) {
    let point = Point::decompress(bytes).expect("a constant of the setup");
    let times_two_64 = |point: &Point| {
        let mut terms = PointTerms::with_capacity(1);
        terms.push(point, 1 << 64);
        terms.sum().to_point()
    };
    (point, times_two_64(&times_two_64(&point)))
}

/// The blob of the polynomial with these coefficients, lowest first, each a 256-bit big-endian number that is taken
/// modulo r. Panics if there are more than [`COEFFICIENTS_MAX`].
pub fn make(coefficients: &[[u8; 32]]) -> FreshBlob {
    assert!(
        coefficients.len() <= COEFFICIENTS_MAX,
        "a polynomial here has at most {COEFFICIENTS_MAX} coefficients"
    );
    let tables = Tables::get();
    let coefficients: Vec<Fr> = coefficients.iter().map(Fr::from_hash).collect();
    let blob = evaluate(&tables.roots, &coefficients);
    let commitment = KzgCommitment(tables.commit(&coefficients));
    let z = Fr::from_hash(&challenge::hash(&blob, &commitment));
    let proof = KzgProof(tables.commit(&quotient(&coefficients, &z)));
    FreshBlob {
        blob,
        commitment,
        proof,
    }
}

/// The values at all points, by Horner's rule. A root in Montgomery's form makes each product a plain number again.
fn evaluate(roots: &[Fr], coefficients: &[Fr]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(BLOB_BYTES);
    let (highest, lower) = coefficients.split_last().unwrap_or((&Fr::ZERO, &[]));
    for root in roots {
        let mut value = *highest;
        for coefficient in lower.iter().rev() {
            value = value.montgomery(root).add(coefficient);
        }
        for limb in value.limbs().iter().rev() {
            blob.extend_from_slice(&limb.to_be_bytes());
        }
    }
    blob
}

/// (p(X) − p(z))/(X − z), by long division: from the highest on, bₖ₋₁ = cₖ + z·bₖ.
fn quotient(coefficients: &[Fr], z: &Fr) -> Vec<Fr> {
    let mut quotient = Vec::with_capacity(coefficients.len());
    let mut above = Fr::ZERO;
    for coefficient in coefficients.iter().skip(1).rev() {
        above = coefficient.add(&z.mul(&above));
        quotient.push(above);
    }
    quotient.reverse();
    quotient
}

#[cfg(test)]
mod tests;
