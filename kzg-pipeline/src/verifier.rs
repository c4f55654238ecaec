//! This file knows what a verifier is asked and what it promises, whichever back end does the arithmetic.

use ultramarine_types::Hash;

use crate::claim::Claim;
use crate::opening::{OpenedClaim, Opening, Sums};

/// Claims that [`Verifier::verify`] opens before it looks at the next: as many as a lane opens, a vector of messages
/// and two of points. Their 2 MB are still in a cache when evaluation reads what was hashed.
const OPENED_AT_ONCE: usize = 16;

/// Judges claims in two phases: opening, claim by claim as blobs arrive, and settling, for all of them together.
///
/// Keeps: what is found of claims does not depend on their company, nor on how they are split into batches and sums.
/// Malformed and wrong are different findings. No input makes it panic. All lanes share one verifier.
pub trait Verifier: Send + Sync {
    /// The name in the configuration and in metrics.
    fn name(&self) -> &'static str;

    /// Hashes all claims. Tells `hashed` the digest of each by its position, before anything else is done. Opens those
    /// for which `hashed` says so. The answers are in the claims' order; company is only for speed.
    fn open(&self, claims: &[Claim<'_>], hashed: &mut dyn FnMut(usize, Hash) -> bool) -> Vec<Opening>;

    /// Takes the sums of opened claims, with fresh weights: most of what settling costs.
    fn sum(&self, claims: &[OpenedClaim]) -> Sums;

    /// Whether all claims in these sums hold: one pairing.
    fn hold(&self, pieces: &[&Sums]) -> bool;

    /// Whether all claims hold, as they do for a value that is good.
    fn verify(&self, claims: &[Claim<'_>]) -> bool {
        let mut opened = Vec::with_capacity(claims.len());
        for some in claims.chunks(OPENED_AT_ONCE) {
            for opening in self.open(some, &mut |_, _| true) {
                match opening {
                    Opening::Settled(Ok(())) => {}
                    Opening::Settled(Err(_)) | Opening::Hashed => return false,
                    Opening::Open(claim) => opened.push(claim),
                }
            }
        }
        // The larger a sum, the less each of its terms costs: with all claims at hand, one is best.
        opened.is_empty() || self.hold(&[&self.sum(&opened)])
    }
}
