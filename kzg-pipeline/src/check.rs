//! This file knows the final check of opened claims: weighted sums, and one pairing for any number of them.
//!
//! With H and τ·H fixed points of G2 and a weight rᵢ for each claim (Cᵢ, zᵢ, yᵢ, πᵢ), drawn from a CSPRNG after all
//! four are fixed,
//!
//! ```text
//!   A = Σ rᵢ·Cᵢ + Σ (rᵢzᵢ)·πᵢ − (Σ rᵢyᵢ)·G          B = Σ rᵢ·πᵢ          e(A, H) = e(B, τ·H)
//! ```
//!
//! *Soundness.* All points are of the subgroup of prime order r. So the two sides differ by e(G, H) to the power Σ
//! rᵢ·δᵢ, where δᵢ = 0 exactly if claim i holds. If some δⱼ ≠ 0, at most one value of rⱼ makes the sum zero for any
//! choice of the others. Each rⱼ is uniform over 2¹²⁸ values, so claims with a wrong one among them pass with
//! probability at most 2⁻¹²⁸. True claims always pass.
//!
//! *Split sums.* A and B are sums over claims, and the weights are independent. So both may be taken piece by piece
//! while later claims are still on their way, and added at the end. A claim gets its weight when its piece is summed.
//! The claim is fixed by then, and the makers of later claims see nothing of that weight. Even a piece of a single
//! claim is weighted: its sums will be added to others, and unweighted pieces could be made to cancel.
//!
//! *Cost.* rᵢzᵢ has 255 bits. With λ = u² − 1 (128 bits), any k < r is k₁ + k₂·λ, where k₁ = k mod λ < 2¹²⁸ and
//! k₂ = ⌊k/λ⌋ ≤ u² < 2¹²⁸. λ·π costs one field product. So A is a sum of 3n + 2 terms of 128 bits and B one of n: two
//! runs of Pippenger's algorithm.

use rand::Rng;

use crate::field::Fr;
use crate::group::{Beta, Lines, Point, PointPath, PointTerms, Sum, pairings_equal};
use crate::opening::{OpenedClaim, Sums};
use crate::setup;

/// λ = u² − 1, u = −0xd201000000010000: a cube root of one modulo r.
pub const LAMBDA: u128 = 0xac45_a401_0001_a402_0000_0000_ffff_ffff;

/// The constants of the equation, and the path by which points are summed.
pub struct Check {
    points: PointPath,
    beta: Beta,
    generator: Point,
    generator_image: Point,
    one: Lines,
    tau: Lines,
}

impl Check {
    /// Works out the constants and tries them on a claim that is known. Panics if the setup is not the ceremony's.
    pub fn new(points: PointPath) -> Self {
        setup::check_digest();
        let beta = Beta::new();
        let generator = Point::generator();
        let this = Self {
            points,
            generator_image: generator.endomorphism(&beta),
            generator,
            one: Lines::generator(),
            tau: Lines::decompress(&setup::TAU_G2),
            beta,
        };
        let (commitment, z, proof) = setup::known_claim();
        let point = |bytes| Point::decompress(bytes).expect("a constant of the setup");
        let z = Fr::from_hash(&z);
        let mut known = OpenedClaim {
            commitment: point(&commitment.0),
            proof: point(&proof.0),
            z,
            y: z,
        };
        assert!(
            this.hold(&[&this.sum(std::slice::from_ref(&known))]),
            "the setup's own claim does not hold"
        );
        known.y = Fr::ONE;
        assert!(!this.hold(&[&this.sum(&[known])]), "a wrong claim holds");
        this
    }

    /// The sums of these claims, with fresh weights.
    pub fn sum(&self, claims: &[OpenedClaim]) -> Sums {
        #[cfg(test)]
        tests::COUNTS.with_borrow_mut(|counts| {
            counts.sums += 1;
            counts.claims_summed += claims.len();
        });
        let (left, right) = self.terms(claims);
        Sums {
            left: self.points.sum(&left),
            right: self.points.sum(&right),
        }
    }

    /// Whether all claims of these pieces hold.
    pub fn hold(&self, pieces: &[&Sums]) -> bool {
        let total = |side: fn(&Sums) -> &Sum| {
            let sums = pieces.iter().map(|piece| side(piece));
            sums.fold(Sum::default(), |sum, one| sum.plus(one))
        };
        pieces.is_empty() || self.equal(&total(|piece| &piece.left), &total(|piece| &piece.right))
    }

    /// Whether e(A, H) = e(B, τ·H).
    pub fn equal(&self, left: &Sum, right: &Sum) -> bool {
        #[cfg(test)]
        tests::COUNTS.with_borrow_mut(|counts| counts.pairings += 1);
        pairings_equal(left, &self.one, right, &self.tau)
    }

    /// The terms of A and of B, with fresh weights.
    pub fn terms(&self, claims: &[OpenedClaim]) -> (PointTerms, PointTerms) {
        let mut random = rand::rng();
        let (mut left, mut right) = (
            PointTerms::with_capacity(3 * claims.len() + 2),
            PointTerms::with_capacity(claims.len()),
        );
        let mut weighted_y = Fr::ZERO;
        for claim in claims {
            let weight: u128 = random.random();
            let weight_fr = Fr::from_u128(weight);
            let (low, high) = split(&weight_fr.mul(&claim.z));
            left.push(&claim.commitment, weight);
            left.push(&claim.proof, low);
            left.push(&claim.proof.endomorphism(&self.beta), high);
            right.push(&claim.proof, weight);
            weighted_y = weighted_y.add(&weight_fr.mul(&claim.y));
        }
        let (low, high) = split(&weighted_y.negate());
        left.push(&self.generator, low);
        left.push(&self.generator_image, high);
        (left, right)
    }
}

/// k = k₁ + k₂·λ with both below 2¹²⁸: (k mod λ, ⌊k/λ⌋).
fn split(k: &Fr) -> (u128, u128) {
    let limbs = k.limbs();
    // Schoolbook division by bits: remainder < λ < 2¹²⁸ before each step, so one carry bit is all it needs.
    let (mut remainder, mut quotient) = (0u128, 0u128);
    for bit in (0..256).rev() {
        let carry = remainder >> 127 == 1;
        remainder = remainder << 1 | u128::from(limbs[bit / 64] >> (bit % 64) & 1);
        let fits = carry || remainder >= LAMBDA;
        if fits {
            remainder = remainder.wrapping_sub(LAMBDA);
        }
        quotient = quotient << 1 | u128::from(fits);
    }
    (remainder, quotient)
}

#[cfg(test)]
pub(crate) mod tests;
