//! Claims about made blobs, judged by `c-kzg` alone.

use super::*;
use crate::fixtures::Seeded;
use crate::wellformed::MODULUS;

fn holds(made: &FreshBlob) -> bool {
    let blob = c_kzg::Blob::from_bytes(&made.blob).expect("131,072 bytes");
    c_kzg::ethereum_kzg_settings(0)
        .verify_blob_kzg_proof(&blob, &made.commitment.0.into(), &made.proof.0.into())
        .expect("canonical elements and points")
}

fn commitment(blob: &[u8]) -> [u8; 48] {
    let blob = c_kzg::Blob::from_bytes(blob).expect("131,072 bytes");
    let made = c_kzg::ethereum_kzg_settings(0).blob_to_kzg_commitment(&blob);
    made.expect("canonical elements").to_bytes().into_inner()
}

/// X to this power.
fn monomial(power: usize) -> Vec<[u8; 32]> {
    let mut coefficients = vec![[0; 32]; power + 1];
    coefficients[power][31] = 1;
    coefficients
}

#[test]
fn the_points_are_the_setup_s_powers_of_its_secret() {
    for (power, point) in POWERS.iter().enumerate() {
        let made = make(&monomial(power));
        assert_eq!(made.commitment.0, *point);
        assert_eq!(
            commitment(&made.blob),
            *point,
            "c-kzg commits to X^{power} by this point"
        );
    }
}

#[test]
fn every_degree_is_proven_as_c_kzg_would() {
    let settings = c_kzg::ethereum_kzg_settings(0);
    let mut seeded = Seeded(3);
    for count in 0..=COEFFICIENTS_MAX {
        let coefficients: Vec<[u8; 32]> = (0..count).map(|_| seeded.element()).collect();
        let made = make(&coefficients);
        let blob = c_kzg::Blob::from_bytes(&made.blob).expect("131,072 bytes");
        let theirs = settings.blob_to_kzg_commitment(&blob).expect("canonical").to_bytes();
        assert_eq!(made.commitment.0, *theirs, "{count} coefficients");
        let theirs = settings
            .compute_blob_kzg_proof(&blob, &theirs)
            .expect("a point")
            .to_bytes();
        assert_eq!(made.proof.0, *theirs, "{count} coefficients");
        assert!(holds(&made));
    }
}

#[test]
fn many_random_ones_hold_and_no_two_are_alike() {
    let mut seeded = Seeded(4);
    let mut commitments = std::collections::BTreeSet::new();
    for _ in 0..64 {
        let count = 1 + seeded.below(COEFFICIENTS_MAX);
        let made = make(&(0..count).map(|_| seeded.element()).collect::<Vec<_>>());
        assert!(holds(&made));
        assert!(commitments.insert(made.commitment));
        // As many different elements as there are points, but for constants.
        let elements: std::collections::BTreeSet<&[u8]> = made.blob.chunks(32).collect();
        assert_eq!(elements.len(), if count == 1 { 1 } else { ELEMENTS });
    }
}

#[test]
fn numbers_at_the_edge_are_taken_modulo_r() {
    let mut below = MODULUS;
    below[31] -= 1;
    for edge in [MODULUS, below, [0xff; 32]] {
        for coefficients in [vec![edge], vec![edge; COEFFICIENTS_MAX], vec![[0; 32], [0; 32], edge]] {
            assert!(holds(&make(&coefficients)));
        }
    }
    let zero = make(&[MODULUS]);
    assert_eq!(zero, make(&[]), "r is zero");
    assert_eq!(zero.commitment.0, crate::fixtures::INFINITY);
    assert_eq!(zero.proof.0, crate::fixtures::INFINITY);
}

#[test]
fn a_proof_is_of_its_own_blob() {
    let (one, other) = (make(&[[1; 32], [2; 32], [3; 32]]), make(&[[1; 32], [2; 32], [4; 32]]));
    assert!(!holds(&FreshBlob {
        proof: other.proof,
        ..one
    }));
}
