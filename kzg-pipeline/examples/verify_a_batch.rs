//! Makes six blobs with their proofs, spoils one, and asks both back ends about all of them, then about each
//! alone.
//!
//! `cargo run --release --example verify_a_batch`

use ultramarine_kzg_pipeline::claim::Claim;
use ultramarine_kzg_pipeline::fresh::{self, FreshBlob};
use ultramarine_kzg_pipeline::{BackEnd, verifier};

fn main() {
    // A blob is the values of a polynomial; these have few coefficients, so that their proofs cost little to make.
    let mut blobs: Vec<FreshBlob> = (1..=6u8)
        .map(|number| {
            let coefficient = |last| {
                let mut bytes = [0; 32];
                bytes[31] = last;
                bytes
            };
            fresh::make(&[coefficient(number), coefficient(number + 1)])
        })
        .collect();
    blobs[3].proof = blobs[2].proof;

    let claims: Vec<Claim<'_>> = blobs
        .iter()
        .map(|made| Claim {
            blob: &made.blob,
            commitment: &made.commitment,
            proof: &made.proof,
        })
        .collect();
    for back_end in BackEnd::ALL {
        let verifier = verifier(back_end);
        let all_hold = verifier.verify(&claims);
        let alone = claims.iter().map(|claim| verifier.verify(std::slice::from_ref(claim)));
        println!(
            "{:>6}: all hold: {all_hold}; each alone: {:?}",
            back_end.name(),
            alone.collect::<Vec<_>>()
        );
    }
}
