use super::*;
use crate::{fixtures, suite};

fn verifier() -> CKzg {
    CKzg::new()
}

#[test]
fn true_claims_hold() {
    suite::no_claims_hold(&verifier());
    suite::true_claims_hold(&verifier(), 20);
}

#[test]
fn every_fault_is_found_and_sinks_nobody() {
    suite::every_fault_is_found_and_sinks_nobody(&verifier());
}

#[test]
fn a_finding_does_not_depend_on_company() {
    suite::a_finding_does_not_depend_on_company(&verifier(), 20, 20);
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
fn order_and_one_more_fault_change_no_other_finding() {
    suite::order_changes_nothing(&verifier(), 5, 9);
}

#[test]
fn batches_and_pieces_change_nothing() {
    suite::batches_and_pieces_change_nothing(&verifier(), 8, 12);
}

#[test]
fn what_is_not_wanted_is_hashed_alone() {
    suite::what_is_not_wanted_is_hashed_alone(&verifier());
}

/// The blob of p(X) = X is the domain itself, and commits to τ·G. So all 4096 points that commitments are made with
/// take part.
#[test]
fn the_points_that_commitments_are_made_with_are_the_ceremonys() {
    let domain: Vec<u8> = fixtures::roots().iter().flat_map(fixtures::bytes).collect();
    let blob = Blob::from_bytes(&domain).expect("4096 elements");
    let commitment = c_kzg::ethereum_kzg_settings(0).blob_to_kzg_commitment(&blob);
    assert_eq!(*commitment.expect("a blob").to_bytes(), setup::TAU_G1);
}
