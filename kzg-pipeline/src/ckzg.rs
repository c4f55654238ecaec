//! This file knows how to verify with `c-kzg`, the reference implementation. It is the oracle, the fallback, and the
//! last word before a value is called false.
//!
//! Its batch call answers for a batch as a whole: `true`, `false`, or an error when anything is malformed. Unless it is
//! `true`, each claim is asked about by itself. Halving would not pay. Each call hashes and evaluates its claims again,
//! 1.5 ms a blob beside a pairing's 0.5.

use std::cell::RefCell;

use c_kzg::{Blob, Bytes32, Bytes48, CkzgError, Error, KzgSettings};
use ultramarine_types::Hash;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::Refutation;

use crate::challenge::HashPath;
use crate::claim::Claim;
use crate::opening::{Finding, OpenedClaim, Opening, Sums};
use crate::verifier::Verifier;
use crate::{setup, wellformed};

thread_local! {
    /// `c-kzg` wants blobs side by side, so a batch is copied here (35 µs a blob beside 2 ms of work). Each lane has
    /// one, as large as its largest batch. Blobs are too big for the stack and for an allocation each time.
    static SIDE_BY_SIDE: RefCell<Vec<Blob>> = const { RefCell::new(Vec::new()) };
}

/// The verifier on `c-kzg`.
pub struct CKzg {
    settings: &'static KzgSettings,
}

impl CKzg {
    /// Loads the setup (seconds, once a process) and checks it against the pinned one. Panics if it differs.
    pub fn new() -> Self {
        setup::check_digest();
        let settings = c_kzg::ethereum_kzg_settings(0);
        let (commitment, z, proof) = setup::known_claim();
        let holds = |y: [u8; 32]| {
            let (commitment, proof) = (Bytes48::from(commitment.0), Bytes48::from(proof.0));
            settings.verify_kzg_proof(&commitment, &Bytes32::from(z), &Bytes32::from(y), &proof)
        };
        let mut other = z;
        other[0] = 1;
        assert!(
            matches!(holds(z), Ok(true)),
            "c-kzg's trusted setup is not the ceremony's"
        );
        assert!(matches!(holds(other), Ok(false)), "c-kzg accepts a claim that is wrong");
        Self { settings }
    }

    fn judge_all(&self, claims: &[Claim<'_>]) -> Vec<Finding> {
        let all_hold = side_by_side(claims, |blobs| {
            let points = |side: fn(&Claim<'_>) -> [u8; 48]| -> Vec<Bytes48> {
                claims.iter().map(|claim| side(claim).into()).collect()
            };
            let (commitments, proofs) = (points(|claim| claim.commitment.0), points(|claim| claim.proof.0));
            self.settings.verify_blob_kzg_proof_batch(blobs, &commitments, &proofs)
        });
        if matches!(all_hold, Some(Ok(true))) {
            return vec![Ok(()); claims.len()];
        }
        // A claim that the library cannot judge is not accepted.
        let alone = |claim| ask(claim).unwrap_or(Err(Refutation::Wrong));
        claims.iter().map(alone).collect()
    }
}

/// What `c-kzg` says of one claim. It says *no* by `false`, or by `C_KZG_BADARGS` if an input is malformed. Any other
/// error is the library's own, and says nothing about the claim.
pub fn ask(claim: &Claim<'_>) -> Result<Finding, Error> {
    let settings = c_kzg::ethereum_kzg_settings(0);
    let (commitment, proof) = (claim.commitment.0.into(), claim.proof.0.into());
    let holds = side_by_side(std::slice::from_ref(claim), |blobs| {
        settings.verify_blob_kzg_proof(&blobs[0], &commitment, &proof)
    });
    match holds {
        Some(Ok(true)) => Ok(Ok(())),
        Some(Ok(false)) => Ok(Err(Refutation::Wrong)),
        None | Some(Err(Error::CError(CkzgError::C_KZG_BADARGS))) => Ok(Err(wellformed::refutation(claim))),
        Some(Err(error)) => Err(error),
    }
}

/// Asks about blobs as `c-kzg` wants them; `None` if one has not a blob's length.
fn side_by_side<T>(claims: &[Claim<'_>], ask: impl FnOnce(&[Blob]) -> T) -> Option<T> {
    SIDE_BY_SIDE.with_borrow_mut(|blobs| {
        if blobs.len() < claims.len() {
            blobs.resize_with(claims.len(), Blob::default);
        }
        for (place, claim) in blobs.iter_mut().zip(claims) {
            let place: &mut [u8; BLOB_BYTES] = place;
            *place = *<&[u8; BLOB_BYTES]>::try_from(claim.blob).ok()?;
        }
        Some(ask(&blobs[..claims.len()]))
    })
}

impl Verifier for CKzg {
    fn name(&self) -> &'static str {
        "c-kzg"
    }

    /// Settles every claim, by one batch call: the reference implementation has no second phase. It gives no digests,
    /// so this back end hashes twice.
    fn open(&self, claims: &[Claim<'_>], hashed: &mut dyn FnMut(usize, Hash) -> bool) -> Vec<Opening> {
        let digests = HashPath::best().hash_all(claims);
        let wanted: Vec<_> = (0..claims.len())
            .filter(|index| hashed(*index, Hash(digests[*index])))
            .collect();
        let asked: Vec<_> = wanted.iter().map(|index| claims[*index]).collect();
        let mut openings = vec![Opening::Hashed; claims.len()];
        for (index, finding) in wanted.into_iter().zip(self.judge_all(&asked)) {
            openings[index] = Opening::Settled(finding);
        }
        openings
    }

    fn sum(&self, _: &[OpenedClaim]) -> Sums {
        Sums::default()
    }

    /// `open` leaves nothing to settle. A claim that it did not see is not accepted.
    fn hold(&self, pieces: &[&Sums]) -> bool {
        pieces.is_empty()
    }
}

#[cfg(test)]
mod tests;
