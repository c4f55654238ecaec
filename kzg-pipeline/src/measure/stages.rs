//! This file knows how to measure where the time of our verifier goes, stage by stage.

use std::hint::black_box;
use std::time::Duration;

use serde::Serialize;

use super::best;
use crate::claim::Claim;
use crate::evaluate::Scratch;
use crate::fast::Fast;
use crate::field::Fr;
use crate::opening::Opening;
use crate::verifier::Verifier;

/// A stage of our verifier, in microseconds of thread CPU per blob.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct StageRow {
    pub stage: &'static str,
    pub us: f64,
}

/// Measures each stage over these claims, which hold.
pub(super) fn stages(verifier: &Fast, claims: &[Claim<'_>], budget: Duration) -> Vec<StageRow> {
    let challenges = verifier.hashing.hash_all(claims);
    let opened: Vec<_> = verifier
        .open(claims, &mut |_, _| true)
        .into_iter()
        .filter_map(|opening| match opening {
            Opening::Open(claim) => Some(claim),
            Opening::Settled(_) | Opening::Hashed => None,
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
                for (claim, challenge) in claims.iter().zip(&challenges) {
                    let blob = claim.blob.try_into().expect("whole blobs are measured");
                    black_box(verifier.domain.evaluate(
                        verifier.evaluating,
                        blob,
                        &Fr::from_hash(challenge),
                        &mut scratch,
                    ));
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
