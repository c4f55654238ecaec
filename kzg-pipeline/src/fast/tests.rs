use std::io::Write;

use super::*;
use crate::ckzg::CKzg;
use crate::differential;
use crate::fixtures::{Seeded, claims, lines};
use crate::suite::{self, SPOILERS};

fn verifier() -> Fast {
    Fast::new()
}

#[test]
fn true_claims_hold() {
    suite::no_claims_hold(&verifier());
    suite::true_claims_hold(&verifier(), 130);
}

#[test]
fn every_fault_is_found_and_sinks_nobody() {
    suite::every_fault_is_found_and_sinks_nobody(&verifier());
}

#[test]
fn every_path_finds_every_fault() {
    let (hashing, evaluating, points) = (HashPath::all(), EvaluationPath::all(), PointPath::all());
    // Each of each kind at least once.
    for turn in 0..hashing.len().max(evaluating.len()).max(points.len()) {
        let verifier = verifier().by(
            hashing[turn % hashing.len()],
            evaluating[turn % evaluating.len()],
            points[turn % points.len()],
        );
        suite::true_claims_hold(&verifier, 35);
        suite::every_fault_is_found_and_sinks_nobody(&verifier);
    }
}

#[test]
fn a_finding_does_not_depend_on_company() {
    suite::a_finding_does_not_depend_on_company(&verifier(), 30, 70);
}

#[test]
fn faults_that_cancel_each_other_are_found() {
    suite::faults_that_cancel_each_other_are_found(&verifier());
}

#[test]
fn duplicates_and_infinity_are_nothing_special() {
    suite::duplicates_are_judged_like_any_other(&verifier());
    suite::infinity_commits_to_zero_and_proves_constants(&verifier());
}

#[test]
fn order_and_one_more_fault_change_no_other_finding_by_any_path() {
    for verifier in differential::every_path() {
        suite::order_changes_nothing(verifier, 6, 24);
    }
}

/// Instructions that this processor lacks are not tested here, and those of hashes have no emulation. The test run
/// names them. With `ULTRAMARINE_REQUIRE_PATHS` set, as on a machine that should have them all, it fails.
#[test]
fn paths_that_were_not_tested_are_named() {
    let every = [
        (
            "hash",
            vec![
                "avx512 ×16, sha-ni ×2",
                "avx512 ×16",
                "sha-ni ×2",
                "avx2 ×8",
                "single",
                "blst",
            ],
        ),
        (
            "evaluate",
            vec!["ifma", "avx512 doubles", "avx512", "avx2", "mulx", "portable"],
        ),
        ("points", vec!["ifma", "avx512", "blst"]),
    ];
    let here: [Vec<_>; 3] = [
        HashPath::all().into_iter().map(HashPath::name).collect(),
        EvaluationPath::all().into_iter().map(EvaluationPath::name).collect(),
        PointPath::all().into_iter().map(PointPath::name).collect(),
    ];
    let mut missing = Vec::new();
    for ((what, names), here) in every.iter().zip(&here) {
        assert!(
            here.iter().all(|name| names.contains(name)),
            "a path of {what} is new: {here:?}"
        );
        missing.extend(
            names
                .iter()
                .filter(|name| !here.contains(name))
                .map(|name| format!("{what} {name}")),
        );
    }
    if !missing.is_empty() {
        // Not by a macro: the test harness would keep it to itself.
        let text = format!(
            "this processor cannot test these paths of kzg-pipeline: {}\n",
            missing.join(", ")
        );
        std::io::stderr().write_all(text.as_bytes()).expect("somebody listens");
    }
    assert!(
        missing.is_empty() || std::env::var_os("ULTRAMARINE_REQUIRE_PATHS").is_none(),
        "not tested: {missing:?}"
    );
}

#[test]
fn batches_and_pieces_change_nothing() {
    suite::batches_and_pieces_change_nothing(&verifier(), 25, 40);
}

#[test]
fn what_is_not_wanted_is_hashed_alone() {
    suite::what_is_not_wanted_is_hashed_alone(&verifier());
}

#[test]
fn findings_agree_with_c_kzg_on_any_mixture() {
    let (ours, theirs) = (verifier(), CKzg::new());
    let pool = lines(12);
    for round in 0..40 {
        let mut seeded = Seeded(1000 + round);
        let mut batch: Vec<_> = (0..seeded.below(12)).map(|_| pool[seeded.below(12)].clone()).collect();
        for claim in &mut batch {
            match seeded.below(4) {
                0 => {}
                1 => SPOILERS[seeded.below(SPOILERS.len())].1(claim),
                2 => claim.proof = pool[seeded.below(12)].proof,
                _ => {
                    // Any bit of any part.
                    let at = seeded.below(claim.blob.len() + 96);
                    let bit = 1 << seeded.below(8);
                    if at < claim.blob.len() {
                        claim.blob[at] ^= bit;
                    } else if at < claim.blob.len() + 48 {
                        claim.commitment.0[at - claim.blob.len()] ^= bit;
                    } else {
                        claim.proof.0[at - claim.blob.len() - 48] ^= bit;
                    }
                }
            }
        }
        assert_eq!(
            suite::judge(&ours, &batch),
            suite::judge(&theirs, &batch),
            "round {round}"
        );
    }
}

#[test]
fn six_hundred_claims_hold_unless_one_is_wrong() {
    let verifier = verifier();
    let mut batch = lines(600);
    assert!(verifier.verify(&claims(&batch)));
    batch[371].proof = batch[372].proof;
    assert!(!verifier.verify(&claims(&batch)));
}
