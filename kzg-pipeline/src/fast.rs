//! This file knows how to verify fast: the batch equation of EIP-4844 with independent weights and few group operations.
//!
//! A claim opens to (C, z, y, π): z its challenge, y = p(z). It holds if e(C − y·G + z·π, H) = e(π, τ·H). For several, with
//! a weight rᵢ for each, drawn from a CSPRNG after all of (Cᵢ, zᵢ, yᵢ, πᵢ) are fixed,
//!
//! ```text
//!   A = Σ rᵢ·Cᵢ + Σ (rᵢzᵢ)·πᵢ − (Σ rᵢyᵢ)·G          B = Σ rᵢ·πᵢ          e(A, H) = e(B, τ·H)
//! ```
//!
//! *Soundness.* All points are of the subgroup of prime order r, so the two sides differ by e(G, H) to the power Σ rᵢ·δᵢ, where
//! δᵢ = 0 exactly if claim i holds. If some δⱼ ≠ 0, at most one value of rⱼ makes the sum zero for any choice of the others; rⱼ
//! is uniform over 2¹²⁸ values, so a batch with a wrong claim passes with probability at most 2⁻¹²⁸. A batch of true claims always
//! passes. Weights are independent, not powers of one, so parts of the sums may be taken and checked by themselves.
//!
//! *Cost.* rᵢzᵢ has 255 bits. With λ = u² − 1 (128 bits) any k < r is k₁ + k₂·λ with k₁ = k mod λ < 2¹²⁸ and k₂ = ⌊k/λ⌋ ≤ u² < 2¹²⁸, and
//! λ·π costs one field product; so A is a sum of 3n + 2 terms of 128 bits and B one of n: two runs of Pippenger's algorithm, then one
//! pairing, whatever n is.
//!
//! *Blame.* If the equation fails, the claims are halved and each half is checked with fresh weights, over the opened
//! claims: nothing is hashed or evaluated again. One bad claim in n takes about log₂ n checks.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use rand::Rng;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{Finding, Malformed};

use crate::evaluate::{Domain, Path, Scratch};
use crate::field::Fr;
use crate::group::{self, Beta, Lines, Point, Terms, pairings_equal};
use crate::measure::{StageRow, best};
use crate::memo::{self, Memo, Name};
use crate::verifier::{Claim, Verifier};
use crate::{challenge, setup};

/// λ = u² − 1, u = −0xd201000000010000: a cube root of one modulo r.
pub const LAMBDA: u128 = 0xac45_a401_0001_a402_0000_0000_ffff_ffff;

thread_local! {
    /// Values of a polynomial being folded: half a blob, kept from claim to claim.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The fast verifier.
pub struct Fast {
    memo: Memo,
    domain: &'static Domain,
    hashing: challenge::Path,
    path: Path,
    points: group::Path,
    beta: Beta,
    generator: Point,
    generator_image: Point,
    one: Lines,
    tau: Lines,
}

/// A claim with the expensive part done: what the final check needs.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    commitment: Point,
    proof: Point,
    z: Fr,
    y: Fr,
}

impl Fast {
    /// Makes the tables and checks the setup. Panics if the setup is not the ceremony's.
    pub fn new(memo: Memo) -> Self {
        setup::check_digest();
        let beta = Beta::new();
        let generator = Point::generator();
        let this = Self {
            memo,
            domain: Domain::get(),
            hashing: challenge::Path::best(),
            path: Path::best(),
            points: group::Path::best(),
            generator_image: generator.endomorphism(&beta),
            generator,
            one: Lines::generator(),
            tau: Lines::decompress(&setup::TAU_G2),
            beta,
        };
        let (commitment, z, proof) = setup::known_claim();
        let point = |bytes| Point::decompress(bytes).expect("a constant of the setup");
        let z = Fr::from_hash(&z);
        let mut known = Opened {
            commitment: point(&commitment.0),
            proof: point(&proof.0),
            z,
            y: z,
        };
        assert!(this.holds(&[known]), "the setup's own claim does not hold");
        known.y = Fr::ONE;
        assert!(!this.holds(&[known]), "a wrong claim holds");
        this
    }

    /// The same by other instructions, for measurements and tests.
    pub(crate) fn by(mut self, hashing: challenge::Path, path: Path, points: group::Path) -> Self {
        (self.hashing, self.path, self.points) = (hashing, path, points);
        self
    }

    /// Which code hashes, which evaluates and which reads points.
    pub fn path(&self) -> String {
        let (hashing, points) = (self.hashing.name(), self.points.name());
        format!("hash {hashing}, evaluate {}, points {points}", self.path.name())
    }

    /// The commitment and the proof of each claim, read and checked.
    fn points<'a>(&self, claims: impl Iterator<Item = &'a Claim<'a>>) -> Vec<[Option<Point>; 2]> {
        let encodings: Vec<_> = claims.flat_map(|claim| [&claim.commitment.0, &claim.proof.0]).collect();
        let read = self.points.read_all(&encodings);
        let (pairs, _) = read.as_chunks::<2>();
        pairs.to_vec()
    }

    /// Does the part of a claim that needs no other claim.
    fn open(&self, claim: &Claim<'_>, challenge: &[u8; 32], points: [Option<Point>; 2]) -> Result<Opened, Malformed> {
        let blob: &[u8; BLOB_BYTES] = claim.blob.try_into().map_err(|_| Malformed::Blob)?;
        let z = Fr::from_hash(challenge);
        let y = SCRATCH
            .with_borrow_mut(|scratch| self.domain.evaluate(self.path, blob, &z, scratch))
            .ok_or(Malformed::Blob)?;
        let [commitment, proof] = points;
        Ok(Opened {
            commitment: commitment.ok_or(Malformed::Commitment)?,
            proof: proof.ok_or(Malformed::Proof)?,
            z,
            y,
        })
    }

    /// Whether all these claims hold: the equation above.
    fn holds(&self, claims: &[Opened]) -> bool {
        let (left, right) = self.terms(claims);
        pairings_equal(&self.points.sum(&left), &self.one, &self.points.sum(&right), &self.tau)
    }

    /// The terms of A and of B, with fresh weights.
    fn terms(&self, claims: &[Opened]) -> (Terms, Terms) {
        let mut random = rand::rng();
        let (mut left, mut right) = (
            Terms::with_capacity(3 * claims.len() + 2),
            Terms::with_capacity(claims.len()),
        );
        let mut weighted_y = Fr::ZERO;
        for claim in claims {
            // A claim by itself needs no weight.
            let weight: u128 = if claims.len() == 1 { 1 } else { random.random() };
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

    /// Writes a finding for each claim.
    fn settle(&self, claims: &[Opened], findings: &mut [Finding]) {
        if claims.is_empty() || self.holds(claims) {
            findings.fill(Finding::Holds);
        } else {
            self.bisect(claims, findings);
        }
    }

    /// At least one of these claims is wrong: find which.
    fn bisect(&self, claims: &[Opened], findings: &mut [Finding]) {
        if claims.len() <= 1 {
            findings.fill(Finding::Wrong);
            return;
        }
        let half = claims.len() / 2;
        let (claims_left, claims_right) = claims.split_at(half);
        let (left, right) = findings.split_at_mut(half);
        if self.holds(claims_left) {
            // The whole is wrong and this half is not, so the other is: no need to ask.
            left.fill(Finding::Holds);
            self.bisect(claims_right, right);
        } else {
            self.bisect(claims_left, left);
            self.settle(claims_right, right);
        }
    }
}

/// Where the time goes over these claims, stage by stage; for reports.
pub(crate) fn stages(verifier: &Fast, claims: &[Claim<'_>], budget: Duration) -> Vec<StageRow> {
    let challenges = verifier.hashing.hash_all(claims);
    let with_challenges = || claims.iter().zip(&challenges);
    let opened: Vec<_> = with_challenges()
        .zip(verifier.points(claims.iter()))
        .filter_map(|((claim, challenge), points)| verifier.open(claim, challenge, points).ok())
        .collect();
    let (left, right) = verifier.terms(&opened);
    let (left_sum, right_sum) = (verifier.points.sum(&left), verifier.points.sum(&right));
    let points: Vec<_> = opened
        .iter()
        .flat_map(|claim| [claim.commitment, claim.proof])
        .collect();
    let encodings: Vec<_> = claims
        .iter()
        .flat_map(|claim| [&claim.commitment.0, &claim.proof.0])
        .collect();
    let mut scratch = Scratch::default();
    let times = best(
        budget,
        claims.len(),
        [
            &mut || drop(black_box(verifier.hashing.hash_all(claims))),
            &mut || {
                for (claim, challenge) in with_challenges() {
                    let blob = claim.blob.try_into().expect("whole blobs are measured");
                    black_box(
                        verifier
                            .domain
                            .evaluate(verifier.path, blob, &Fr::from_hash(challenge), &mut scratch),
                    );
                }
            },
            &mut || drop(black_box(verifier.points.decompress_all(&encodings))),
            &mut || assert!(verifier.points.are_in_group(&points).iter().all(|member| *member)),
            &mut || drop(black_box(verifier.terms(&opened))),
            &mut || {
                black_box((verifier.points.sum(&left), verifier.points.sum(&right)));
            },
            &mut || assert!(pairings_equal(&left_sum, &verifier.one, &right_sum, &verifier.tau)),
        ],
    );
    let names = [
        "hash",
        "evaluate",
        "decompress",
        "subgroup",
        "weights",
        "sums",
        "pairing",
    ];
    names
        .into_iter()
        .zip(times)
        .map(|(stage, us)| StageRow { stage, us })
        .collect()
}

impl Verifier for Fast {
    fn name(&self) -> &'static str {
        "fast"
    }

    fn verify(&self, claims: &[Claim<'_>]) -> Vec<Finding> {
        let challenges = self.hashing.hash_all(claims);
        let mut findings = vec![Finding::Holds; claims.len()];
        let mut opened = Vec::with_capacity(claims.len());
        let mut places: Vec<(usize, Name)> = Vec::with_capacity(claims.len());
        let unknown: Vec<_> = claims
            .iter()
            .zip(&challenges)
            .enumerate()
            .map(|(index, (claim, challenge))| {
                let name = memo::name(*challenge, claim.commitment, claim.proof);
                (index, claim, challenge, name)
            })
            .filter(|(.., name)| !self.memo.knows(name))
            .collect();
        let points = self.points(unknown.iter().map(|(_, claim, ..)| *claim));
        for ((index, claim, challenge, name), points) in unknown.into_iter().zip(points) {
            match self.open(claim, challenge, points) {
                Ok(claim) => {
                    opened.push(claim);
                    places.push((index, name));
                }
                Err(malformed) => findings[index] = Finding::Malformed(malformed),
            }
        }
        let mut settled = vec![Finding::Wrong; opened.len()];
        self.settle(&opened, &mut settled);
        for ((index, name), finding) in places.into_iter().zip(settled) {
            findings[index] = finding;
            if finding == Finding::Holds {
                self.memo.remember(name);
            }
        }
        findings
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
mod tests;
