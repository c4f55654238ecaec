//! This file knows how to verify fast: many hashes in step, evaluation without inversion, few group operations.
//!
//! A claim opens to (C, z, y, π), where z is its challenge and y = p(z). It holds if e(C − y·G + z·π, H) = e(π, τ·H).
//! `check.rs` asks that of many claims at once.

use std::cell::RefCell;

use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{Finding, Malformed};

use crate::challenge::HashPath;
use crate::check::Check;
use crate::claim::Claim;
use crate::evaluate::{Domain, EvaluationPath, Scratch};
use crate::field::Fr;
use crate::group::{Point, PointPath};
use crate::inquiry::{Inquiry, Judge, Tell};
use crate::memo::{self, Memo, Name};
use crate::opening::{OpenedClaim, Opening, Summed};
use crate::verifier::Verifier;
use crate::wellformed;

thread_local! {
    /// Values of a polynomial being folded: half a blob, kept from claim to claim.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Our own verifier, on blst's primitives.
pub struct Fast {
    memo: Memo,
    pub(crate) domain: &'static Domain,
    pub(crate) hashing: HashPath,
    pub(crate) evaluating: EvaluationPath,
    pub(crate) points: PointPath,
    pub(crate) check: Check,
}

impl Fast {
    /// Makes the tables and checks the setup. Panics if the setup is not the ceremony's.
    pub fn new(memo: Memo) -> Self {
        Self {
            memo,
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

    /// Does the part of a claim that needs no other claim.
    fn open_one(&self, claim: &Claim<'_>, name: Name, points: [Option<Point>; 2]) -> Result<OpenedClaim, Malformed> {
        let blob_flaw = || Malformed::Blob(wellformed::blob_flaw(claim.blob));
        let blob: &[u8; BLOB_BYTES] = claim.blob.try_into().map_err(|_| blob_flaw())?;
        let (challenge, ..) = &name;
        let z = Fr::from_hash(challenge);
        let y = SCRATCH
            .with_borrow_mut(|scratch| self.domain.evaluate(self.evaluating, blob, &z, scratch))
            .ok_or_else(blob_flaw)?;
        let [commitment, proof] = points;
        Ok(OpenedClaim {
            commitment: commitment.ok_or_else(|| Malformed::Commitment(wellformed::point_flaw(&claim.commitment.0)))?,
            proof: proof.ok_or_else(|| Malformed::Proof(wellformed::point_flaw(&claim.proof.0)))?,
            z,
            y,
            name,
        })
    }
}

impl Verifier for Fast {
    fn name(&self) -> &'static str {
        "fast"
    }

    fn open(&self, claims: &[Claim<'_>]) -> Vec<Opening> {
        let challenges = self.hashing.hash_all(claims);
        let name = |(index, challenge)| {
            let claim: &Claim<'_> = &claims[index];
            (index, memo::name(challenge, claim.commitment, claim.proof))
        };
        let fresh: Vec<(usize, Name)> = challenges
            .into_iter()
            .enumerate()
            .map(name)
            .filter(|(_, name)| !self.memo.knows(name))
            .collect();
        let mut openings = vec![Opening::Settled(Finding::Holds); claims.len()];
        let points = self.points(fresh.iter().map(|(index, _)| &claims[*index]));
        for ((index, name), points) in fresh.into_iter().zip(points) {
            openings[index] = match self.open_one(&claims[index], name, points) {
                Ok(opened) => Opening::Open(opened),
                Err(malformed) => Opening::Settled(Finding::Malformed(malformed)),
            };
        }
        openings
    }

    fn sum(&self, claims: Vec<OpenedClaim>) -> Summed {
        self.check.sum(claims)
    }

    fn inquire(&self, inquiry: &mut Inquiry, steps_max: usize, tell: &mut Tell<'_>) {
        inquiry.ask(steps_max, &self.check, &mut |told| {
            if told.finding == Finding::Holds {
                told.claims.iter().for_each(|claim| self.memo.remember(claim.name));
            }
            tell(told);
        });
    }
}

#[cfg(test)]
mod tests;
