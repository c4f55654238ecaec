//! This file knows how to verify fast: many hashes in step, evaluation without inversion, few group operations.
//!
//! A claim opens to (C, z, y, π), where z is its challenge and y = p(z). It holds if e(C − y·G + z·π, H) = e(π, τ·H).
//! `check.rs` asks that of many claims at once.

use std::cell::RefCell;

use ultramarine_types::Hash;
use ultramarine_types::limits::BLOB_BYTES;

use crate::challenge::HashPath;
use crate::check::Check;
use crate::claim::Claim;
use crate::evaluate::{Domain, EvaluationPath, Scratch};
use crate::field::Fr;
use crate::group::{Point, PointPath};
use crate::opening::{OpenedClaim, Opening, Sums};
use crate::verifier::Verifier;
use crate::wellformed;

thread_local! {
    /// Values of a polynomial being folded: half a blob, kept from claim to claim.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Our own verifier, on blst's primitives.
pub struct Fast {
    pub(crate) domain: &'static Domain,
    pub(crate) hashing: HashPath,
    pub(crate) evaluating: EvaluationPath,
    pub(crate) points: PointPath,
    pub(crate) check: Check,
}

impl Fast {
    /// Makes the tables and checks the setup. Panics if the setup is not the ceremony's.
    pub fn new() -> Self {
        Self {
            domain: Domain::get(),
            hashing: HashPath::best(),
            evaluating: EvaluationPath::best(),
            points: PointPath::best(),
            check: Check::new(PointPath::best()),
        }
    }

    /// The same verifier by other instructions, for measurements and tests.
    pub(crate) fn by(mut self, hashing: HashPath, evaluating: EvaluationPath, points: PointPath) -> Self {
        (self.hashing, self.evaluating, self.points) = (hashing, evaluating, points);
        self.check = Check::new(points);
        self
    }

    /// Which code hashes, which evaluates and which reads points.
    pub fn path(&self) -> String {
        let (hashing, points) = (self.hashing.name(), self.points.name());
        format!("hash {hashing}, evaluate {}, points {points}", self.evaluating.name())
    }

    /// The commitment and the proof of each claim, read and checked.
    fn points<'a>(&self, claims: impl Iterator<Item = &'a Claim<'a>>) -> Vec<[Option<Point>; 2]> {
        let encodings: Vec<_> = claims.flat_map(|claim| [&claim.commitment.0, &claim.proof.0]).collect();
        let read = self.points.read_all(&encodings);
        let (pairs, _) = read.as_chunks::<2>();
        pairs.to_vec()
    }

    /// Does the part of a claim that needs no other claim; `None` if it is malformed.
    fn open_one(&self, claim: &Claim<'_>, z: Fr, points: [Option<Point>; 2]) -> Option<OpenedClaim> {
        let blob: &[u8; BLOB_BYTES] = claim.blob.try_into().ok()?;
        let y = SCRATCH.with_borrow_mut(|scratch| self.domain.evaluate(self.evaluating, blob, &z, scratch))?;
        let [commitment, proof] = points;
        Some(OpenedClaim {
            commitment: commitment?,
            proof: proof?,
            z,
            y,
        })
    }
}

impl Verifier for Fast {
    fn name(&self) -> &'static str {
        "fast"
    }

    fn open(&self, claims: &[Claim<'_>], hashed: &mut dyn FnMut(usize, Hash) -> bool) -> Vec<Opening> {
        let challenges = self.hashing.hash_all(claims);
        let mut wanted = Vec::with_capacity(claims.len());
        for (index, challenge) in challenges.iter().enumerate() {
            if hashed(index, Hash(*challenge)) {
                wanted.push(index);
            }
        }
        let mut openings = vec![Opening::Hashed; claims.len()];
        let points = self.points(wanted.iter().map(|index| &claims[*index]));
        for (index, points) in wanted.into_iter().zip(points) {
            openings[index] = match self.open_one(&claims[index], Fr::from_hash(&challenges[index]), points) {
                Some(opened) => Opening::Open(opened),
                None => Opening::Settled(Err(wellformed::refutation(&claims[index]))),
            };
        }
        openings
    }

    fn sum(&self, claims: &[OpenedClaim]) -> Sums {
        self.check.sum(claims)
    }

    fn hold(&self, pieces: &[&Sums]) -> bool {
        self.check.hold(pieces)
    }
}

#[cfg(test)]
mod tests;
