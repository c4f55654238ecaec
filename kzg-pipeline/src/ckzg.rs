//! This file knows how to verify with `c-kzg`, the reference implementation: the oracle, and the fallback.
//!
//! Its batch call answers for a batch as a whole: `true`, `false`, or an error when anything is malformed. This file
//! finds out which claim is to blame. After an error, it looks at every point by itself. After a `false`, it judges
//! every claim by itself. Halving would not pay. Each call hashes and evaluates its claims again, 1.5 ms a blob beside
//! a pairing's 0.5. The worst case is a malformed proof, read last, beside a claim that is wrong. It takes the batch,
//! the batch without that one, and each claim by itself.

use std::cell::RefCell;

use c_kzg::{Blob, Bytes32, Bytes48, KzgSettings};
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{Finding, Malformed};

use crate::claim::Claim;
use crate::inquiry::{Inquiry, Tell};
use crate::memo::{self, Memo};
use crate::opening::{OpenedClaim, Opening, Summed};
use crate::verifier::Verifier;
use crate::{challenge, setup, wellformed};

thread_local! {
    /// `c-kzg` wants blobs side by side, so a batch is copied here (35 µs a blob beside 2 ms of work). Each lane has
    /// one, as large as its largest batch. Blobs are too big for the stack and for an allocation each time.
    static SIDE_BY_SIDE: RefCell<Vec<Blob>> = const { RefCell::new(Vec::new()) };
}

/// The verifier on `c-kzg`.
pub struct CKzg {
    settings: &'static KzgSettings,
    memo: Memo,
}

impl CKzg {
    /// Loads the setup (seconds, once a process) and checks it against the pinned one. Panics if it differs.
    pub fn new(memo: Memo) -> Self {
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
        Self { settings, memo }
    }

    /// Judges claims whose blobs are well-formed and stand in `blobs`; writes a finding for each.
    fn judge(&self, blobs: &[Blob], points: &[(Bytes48, Bytes48)], findings: &mut [Finding]) {
        match self.holds(blobs, points) {
            Some(true) => findings.fill(Finding::Holds),
            Some(false) if blobs.len() == 1 => findings.fill(Finding::Wrong),
            Some(false) => {
                for ((blob, point), finding) in blobs.chunks(1).zip(points.chunks(1)).zip(findings.chunks_mut(1)) {
                    self.judge(blob, point, finding);
                }
            }
            None => self.sort_out(blobs, points, findings),
        }
    }

    /// Some point is malformed. Names all such claims, and judges the others without them.
    fn sort_out(&self, blobs: &[Blob], points: &[(Bytes48, Bytes48)], findings: &mut [Finding]) {
        let mut sound = Vec::with_capacity(blobs.len());
        for (index, (commitment, proof)) in points.iter().enumerate() {
            if !wellformed::is_point(commitment) {
                findings[index] = Finding::Malformed(Malformed::Commitment(wellformed::point_flaw(commitment)));
            } else if !wellformed::is_point(proof) {
                findings[index] = Finding::Malformed(Malformed::Proof(wellformed::point_flaw(proof)));
            } else {
                sound.push(index);
            }
        }
        if sound.len() == points.len() {
            // We see no fault and c-kzg does. A claim holds only if both judges accept it.
            findings.fill(Finding::Wrong);
            return;
        }
        // Runs of sound claims lie side by side already.
        for run in sound.chunk_by(|one, next| one + 1 == *next) {
            if let (Some(&first), Some(&last)) = (run.first(), run.last()) {
                let range = first..=last;
                self.judge(&blobs[range.clone()], &points[range.clone()], &mut findings[range]);
            }
        }
    }

    /// The batch call; `None` if something is malformed.
    fn holds(&self, blobs: &[Blob], points: &[(Bytes48, Bytes48)]) -> Option<bool> {
        #[cfg(test)]
        tests::CLAIMS_ASKED.set(tests::CLAIMS_ASKED.get() + blobs.len());
        let commitments: Vec<Bytes48> = points.iter().map(|(commitment, _)| *commitment).collect();
        let proofs: Vec<Bytes48> = points.iter().map(|(_, proof)| *proof).collect();
        self.settings
            .verify_blob_kzg_proof_batch(blobs, &commitments, &proofs)
            .ok()
    }
}

impl Verifier for CKzg {
    fn name(&self) -> &'static str {
        "c-kzg"
    }

    /// Settles every claim, by one batch call: the reference implementation has no second phase.
    fn open(&self, claims: &[Claim<'_>]) -> Vec<Opening> {
        self.judge_all(claims).into_iter().map(Opening::Settled).collect()
    }

    fn sum(&self, claims: Vec<OpenedClaim>) -> Summed {
        Summed::without_sums(claims)
    }

    /// `open` leaves nothing to settle. A claim that it did not see is not accepted.
    fn inquire(&self, inquiry: &mut Inquiry, _: usize, tell: &mut Tell<'_>) {
        inquiry.settle(|_| Finding::Wrong, tell);
    }
}

impl CKzg {
    fn judge_all(&self, claims: &[Claim<'_>]) -> Vec<Finding> {
        let mut findings = vec![Finding::Wrong; claims.len()];
        let mut names = Vec::new();
        let mut open = Vec::with_capacity(claims.len());
        for (index, claim) in claims.iter().enumerate() {
            if !wellformed::is_blob(claim.blob) {
                findings[index] = Finding::Malformed(Malformed::Blob(wellformed::blob_flaw(claim.blob)));
                continue;
            }
            if self.memo.is_on() {
                let name = memo::name(
                    challenge::hash(claim.blob, claim.commitment),
                    claim.commitment,
                    claim.proof,
                );
                if self.memo.knows(&name) {
                    findings[index] = Finding::Holds;
                    continue;
                }
                names.push(name);
            }
            open.push(index);
        }

        let points: Vec<_> = open
            .iter()
            .filter_map(|&index| claims.get(index))
            .map(|claim| (Bytes48::from(claim.commitment.0), Bytes48::from(claim.proof.0)))
            .collect();
        let mut judged = vec![Finding::Wrong; open.len()];
        SIDE_BY_SIDE.with_borrow_mut(|blobs| {
            if blobs.len() < open.len() {
                blobs.resize_with(open.len(), Blob::default);
            }
            for (target, &index) in blobs.iter_mut().zip(&open) {
                // `is_blob` has checked the length.
                let target: &mut [u8; BLOB_BYTES] = target;
                target.copy_from_slice(claims[index].blob);
            }
            self.judge(&blobs[..open.len()], &points, &mut judged);
        });
        for (position, (&index, &finding)) in open.iter().zip(&judged).enumerate() {
            findings[index] = finding;
            if let (Finding::Holds, Some(name)) = (finding, names.get(position)) {
                self.memo.remember(*name);
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests;
