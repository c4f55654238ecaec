//! This file knows what a verifier is asked and what it promises, whichever back end does the arithmetic.

use ultramarine_types::verify::{Finding, Malformed};

use crate::claim::Claim;
use crate::inquiry::{Inquiry, Tell};
use crate::opening::{OpenedClaim, Opening, Summed};

/// Claims that [`Verifier::verify`] opens before it looks at the next: as many as a lane opens, a vector of messages
/// and two of points. Their 2 MB are still in a cache when evaluation reads what was hashed.
const OPENED_AT_ONCE: usize = 16;

/// Judges claims in two phases: opening, claim by claim as blobs arrive, and settling, for all of them together.
///
/// Each claim gets one finding. What is found of a claim does not depend on its company, nor on how claims are split
/// into batches and sums. (A convicted peer's claims may stay unjudged: see [`Inquiry`].) Malformed and wrong are
/// different findings. No input makes it panic. `suite.rs` holds every back end to this. All lanes share one verifier.
pub trait Verifier: Send + Sync {
    /// The name in the configuration and in metrics.
    fn name(&self) -> &'static str;

    /// Does for each claim, in order, what needs no other claim. Company is only for speed.
    fn open(&self, claims: &[Claim<'_>]) -> Vec<Opening>;

    /// Takes the sums of opened claims, with fresh weights: most of what settling costs.
    fn sum(&self, claims: Vec<OpenedClaim>) -> Summed;

    /// Takes at most `steps_max` steps of an inquiry, and tells what it finds. A step costs at most a pairing and the
    /// sums of half a piece, or the sums of a small piece. An inquiry about claims that all hold takes one step.
    fn inquire(&self, inquiry: &mut Inquiry, steps_max: usize, tell: &mut Tell<'_>);

    /// Settles all claims of these pieces.
    fn settle(&self, pieces: Vec<Summed>, tell: &mut Tell<'_>) {
        let mut inquiry = Inquiry::new(pieces);
        self.inquire(&mut inquiry, usize::MAX, tell);
        assert_eq!(inquiry.claims_left(), 0, "questions come to an end");
    }

    /// Judges every claim at once; findings in the claims' order.
    fn verify(&self, claims: &[Claim<'_>]) -> Vec<Finding> {
        let mut findings = vec![Finding::Wrong; claims.len()];
        let (mut indices, mut opened) = (Vec::with_capacity(claims.len()), Vec::with_capacity(claims.len()));
        let openings = claims.chunks(OPENED_AT_ONCE).flat_map(|some| self.open(some));
        for (index, opening) in openings.enumerate() {
            match opening {
                Opening::Settled(finding) => findings[index] = finding,
                Opening::Open(claim) => {
                    indices.push(index);
                    opened.push(claim);
                }
            }
        }
        if !opened.is_empty() {
            // The larger a sum, the less each of its terms costs: with all claims at hand, one is best.
            let sum = self.sum(opened);
            self.settle(vec![sum], &mut |told| {
                for at in &indices[told.positions()] {
                    findings[*at] = told.finding;
                }
            });
        }
        findings
    }
}

/// The labels of findings in metrics, in the order of [`label_index`].
pub const LABELS: [&str; 6] = [
    "holds",
    "wrong",
    "malformed_blob",
    "malformed_commitment",
    "malformed_proof",
    "unjudged",
];

/// The position of a finding's label in [`LABELS`].
pub const fn label_index(finding: Finding) -> usize {
    match finding {
        Finding::Holds => 0,
        Finding::Wrong => 1,
        Finding::Malformed(Malformed::Blob(_)) => 2,
        Finding::Malformed(Malformed::Commitment(_)) => 3,
        Finding::Malformed(Malformed::Proof(_)) => 4,
        Finding::Unjudged => 5,
    }
}
