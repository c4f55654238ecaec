//! This file knows how to verify fast: many hashes in step, evaluation without inversion, few group operations.
//!
//! A claim opens to (C, z, y, π): z its challenge, y = p(z). It holds if e(C − y·G + z·π, H) = e(π, τ·H); `check.rs` asks that of many
//! at once.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{Finding, Malformed};

use crate::challenge;
use crate::check::Check;
use crate::evaluate::{Domain, Path, Scratch};
use crate::field::Fr;
use crate::group::{self, Point};
use crate::inquiry::{Inquiry, Judge, Tell};
use crate::measure::{StageRow, best};
use crate::memo::{self, Memo, Name};
use crate::opening::{Opened, Opening, Summed};
use crate::verifier::{Claim, Verifier};
use crate::wellformed;

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
    check: Check,
}

impl Fast {
    /// Makes the tables and checks the setup. Panics if the setup is not the ceremony's.
    pub fn new(memo: Memo) -> Self {
        Self {
            memo,
            domain: Domain::get(),
            hashing: challenge::Path::best(),
            path: Path::best(),
            points: group::Path::best(),
            check: Check::new(group::Path::best()),
        }
    }

    /// The same by other instructions, for measurements and tests.
    pub(crate) fn by(mut self, hashing: challenge::Path, path: Path, points: group::Path) -> Self {
        (self.hashing, self.path, self.points) = (hashing, path, points);
        self.check = Check::new(points);
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
    fn open_one(&self, claim: &Claim<'_>, name: Name, points: [Option<Point>; 2]) -> Result<Opened, Malformed> {
        let blob_flaw = || Malformed::Blob(wellformed::blob_flaw(claim.blob));
        let blob: &[u8; BLOB_BYTES] = claim.blob.try_into().map_err(|_| blob_flaw())?;
        let (challenge, ..) = &name;
        let z = Fr::from_hash(challenge);
        let y = SCRATCH
            .with_borrow_mut(|scratch| self.domain.evaluate(self.path, blob, &z, scratch))
            .ok_or_else(blob_flaw)?;
        let [commitment, proof] = points;
        Ok(Opened {
            commitment: commitment.ok_or_else(|| Malformed::Commitment(wellformed::point_flaw(&claim.commitment.0)))?,
            proof: proof.ok_or_else(|| Malformed::Proof(wellformed::point_flaw(&claim.proof.0)))?,
            z,
            y,
            name,
        })
    }
}

/// Where the time goes over these claims, stage by stage; for reports.
pub(crate) fn stages(verifier: &Fast, claims: &[Claim<'_>], budget: Duration) -> Vec<StageRow> {
    let challenges = verifier.hashing.hash_all(claims);
    let with_challenges = || claims.iter().zip(&challenges);
    let opened: Vec<_> = with_challenges()
        .zip(verifier.points(claims.iter()))
        .filter_map(|((claim, challenge), points)| {
            let name = memo::name(*challenge, claim.commitment, claim.proof);
            verifier.open_one(claim, name, points).ok()
        })
        .collect();
    let (left, right) = verifier.check.terms(&opened);
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
            &mut || drop(black_box(verifier.check.terms(&opened))),
            &mut || {
                black_box((verifier.points.sum(&left), verifier.points.sum(&right)));
            },
            &mut || assert!(verifier.check.equal(&left_sum, &right_sum)),
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
        .map(|(stage, us)| StageRow {
            stage,
            us: us / claims.len() as f64,
        })
        .collect()
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

    fn sum(&self, claims: Vec<Opened>) -> Summed {
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
