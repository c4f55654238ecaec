//! This file knows which signatures hold, by one rule for a single signature and for a batch: ZIP-215.
//!
//! RFC 8032 lets a verifier choose between `S·B = R + k·A` and the same equation times the cofactor 8. Points of small
//! order make the two disagree, and a batch has only the second choice. So a vote could hold in one validator's batch
//! and fail alone at another. [ZIP-215](https://zips.z.cash/zip-0215) leaves no choice: the equation is the cofactored
//! one, `S` is below the order of the group, and `A` and `R` are any encodings of points. [`sign::holds`] has it for
//! one signature; this file has it for a batch.
//!
//! Keeps: a batch holds exactly if each of its signatures holds alone. The one exception is chance, once in 2^128.

use ed25519_zebra::batch::{Item, Verifier};
use ed25519_zebra::{Signature as ZebraSignature, VerificationKeyBytes};
use rand_chacha_03::ChaCha20Rng;
use rand_chacha_03::rand_core::SeedableRng;
use sha2::{Digest, Sha256};
use ultramarine_types::{PublicKey, Signature, sign};

use super::Seal;

/// So few signatures of a batch that failed are verified one by one.
const SINGLY_MAX: usize = 2;

/// A signature to verify, with the hash that the equation needs.
#[derive(Clone, Debug)]
pub struct PreparedSeal<'a> {
    seal: Seal<'a>,
    digest: [u8; 32],
    item: Item,
}

impl<'a> PreparedSeal<'a> {
    pub fn new(seal: Seal<'a>) -> Self {
        let key = VerificationKeyBytes::from(seal.key.0);
        let signature = ZebraSignature::from_bytes(&seal.signature.0);
        Self {
            seal,
            digest: digest(&seal.key, seal.message, &seal.signature),
            item: Item::from((key, signature, seal.message)),
        }
    }

    /// Names key, message and signature together.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Verifies it alone.
    pub fn holds(&self) -> bool {
        let Seal {
            key,
            message,
            signature,
        } = self.seal;
        sign::holds(&key, message, &signature)
    }
}

/// Names key, message and signature together.
pub fn digest(key: &PublicKey, message: &[u8], signature: &Signature) -> [u8; 32] {
    let mut hasher = Sha256::new();
    // The two fixed widths come first, so no two triples share an encoding.
    hasher.update(key.0);
    hasher.update(signature.0);
    hasher.update(message);
    hasher.finalize().into()
}

/// Verifies claims as one batch: whether all of them hold.
pub fn all_hold(claims: &[PreparedSeal<'_>]) -> bool {
    match claims {
        [] => true,
        [one] => one.holds(),
        claims => {
            let mut batch = Verifier::new();
            for claim in claims {
                batch.queue(claim.item.clone());
            }
            batch.verify(ChaCha20Rng::from_seed(seed(claims))).is_ok()
        }
    }
}

/// The position of the first claim that does not hold. It costs two verifications of the whole batch at most.
pub fn first_bad(claims: &[PreparedSeal<'_>]) -> Option<usize> {
    if all_hold(claims) {
        return None;
    }
    // Those before `good` hold, and one between `good` and `end` does not.
    let (mut good, mut end) = (0, claims.len());
    while end - good > 1 {
        let middle = good.midpoint(end);
        if claims.get(good..middle).is_some_and(all_hold) {
            good = middle;
        } else {
            end = middle;
        }
    }
    Some(good)
}

/// Whether each of the claims holds, in their order.
pub fn each_holds(claims: &[PreparedSeal<'_>]) -> Vec<bool> {
    let mut verdicts = vec![true; claims.len()];
    bisect(claims, &mut verdicts, false);
    verdicts
}

/// Fills in the verdicts, and returns whether all are good. `is_bad`: it is known that one is not.
fn bisect(claims: &[PreparedSeal<'_>], verdicts: &mut [bool], is_bad: bool) -> bool {
    assert_eq!(claims.len(), verdicts.len(), "each claim has a verdict");
    if claims.len() <= SINGLY_MAX {
        for (claim, verdict) in claims.iter().zip(&mut *verdicts) {
            *verdict = claim.holds();
        }
        return verdicts.iter().all(|verdict| *verdict);
    }
    if !is_bad && all_hold(claims) {
        return true;
    }
    let (first, second) = claims.split_at(claims.len() / 2);
    let (of_first, of_second) = verdicts.split_at_mut(first.len());
    let is_first_good = bisect(first, of_first, false);
    bisect(second, of_second, is_first_good);
    false
}

/// What the coefficients of a batch follow from: all its keys, messages and signatures. So a replay draws them again,
/// and nobody knows them before the last signature is made.
fn seed(claims: &[PreparedSeal<'_>]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"ultramarine/batch");
    for claim in claims {
        hasher.update(claim.digest);
    }
    hasher.finalize().into()
}

#[cfg(test)]
#[path = "rule/tests.rs"]
mod tests;
