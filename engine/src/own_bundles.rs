//! This file knows how to have a bundle's proofs verified on the lanes, and to collect the verdicts.
//!
//! Keeps: a bundle waits for as many verdicts as it has blobs without one, and a settled or abandoned bundle is gone.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use tokio::sync::oneshot;
use ultramarine_runtime::Sender;
use ultramarine_types::assembly::BlobPart;
use ultramarine_types::verify::{Finding, Malformed, Urgency, Verdict, VerifyJob};
use ultramarine_types::{Height, KzgCommitment, ValueId, ValueKey};

/// Why a bundle of ours is not verified.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BundleError {
    #[error("the proof of blob {0} does not hold")]
    Wrong(u16),
    #[error("blob {0} is malformed: {1}")]
    Malformed(u16, Malformed),
    #[error("blob {0} was not verified")]
    Unjudged(u16),
    #[error("blob {index} has {count} proofs, not one")]
    ProofsCount { index: usize, count: usize },
    #[error("{0} blobs are too many")]
    TooMany(usize),
    #[error("the verifier has stopped")]
    Stopped,
    #[error("the verdicts were lost")]
    Lost,
}

/// Bundles on their way through the lanes.
#[derive(Debug)]
pub struct OwnBundles {
    jobs: Sender<VerifyJob>,
    pending: RefCell<HashMap<ValueKey, Asked>>,
    /// How many bundles were asked about: it names the next one.
    asked_total: Cell<u64>,
}

#[derive(Debug)]
struct Asked {
    blobs: usize,
    /// Blobs without a verdict.
    left: usize,
    /// Whether the first proof that does not hold ends it.
    strict: bool,
    found: Vec<(u16, Finding)>,
    settled: oneshot::Sender<Vec<(u16, Finding)>>,
}

impl Asked {
    /// Only bundles that wait for a verdict are kept, and every blob has one or waits for it.
    fn check(&self) {
        assert!(self.left > 0, "a bundle whose last verdict came is gone");
        assert!(
            self.found.len() + self.left == self.blobs,
            "every blob of a bundle has its verdict or waits for it"
        );
    }
}

/// Removes a bundle when its asker stops waiting for the verdicts.
struct Forget<'a> {
    own_bundles: &'a OwnBundles,
    key: ValueKey,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.own_bundles.pending.borrow_mut().remove(&self.key);
    }
}

impl OwnBundles {
    /// OwnBundles fed through `jobs`; their verdicts come back through [`settle`](Self::settle).
    pub fn new(jobs: Sender<VerifyJob>) -> Self {
        Self {
            jobs,
            pending: RefCell::default(),
            asked_total: Cell::new(0),
        }
    }

    /// Verifies every proof of a bundle built for `height`. An error names the blob and what is wrong with it.
    pub async fn verify(&self, height: Height, blobs: &[(KzgCommitment, BlobPart)]) -> Result<(), BundleError> {
        for (index, finding) in self.ask(height, blobs, true).await? {
            match finding {
                Finding::Holds => {}
                Finding::Wrong => return Err(BundleError::Wrong(index)),
                Finding::Malformed(what) => return Err(BundleError::Malformed(index, what)),
                Finding::Unjudged => return Err(BundleError::Unjudged(index)),
            }
        }
        Ok(())
    }

    /// Whether each proof holds, in the order of the blobs.
    pub async fn judge(&self, height: Height, blobs: &[(KzgCommitment, BlobPart)]) -> Result<Vec<bool>, BundleError> {
        let mut holds = vec![false; blobs.len()];
        for (index, finding) in self.ask(height, blobs, false).await? {
            if let Some(holds) = holds.get_mut(usize::from(index)) {
                *holds = matches!(finding, Finding::Holds);
            }
        }
        Ok(holds)
    }

    async fn ask(
        &self,
        height: Height,
        blobs: &[(KzgCommitment, BlobPart)],
        strict: bool,
    ) -> Result<Vec<(u16, Finding)>, BundleError> {
        let Some(last) = blobs.len().checked_sub(1) else {
            return Ok(Vec::new());
        };
        let (settled, outcome) = oneshot::channel();
        let key = self.name(height);
        self.pending.borrow_mut().insert(
            key,
            Asked {
                blobs: blobs.len(),
                left: blobs.len(),
                strict,
                found: Vec::new(),
                settled,
            },
        );
        let _forget = Forget { own_bundles: self, key };
        for (index, (commitment, part)) in blobs.iter().enumerate() {
            let [proof] = part.proofs.as_slice() else {
                return Err(BundleError::ProofsCount {
                    index,
                    count: part.proofs.len(),
                });
            };
            let job = VerifyJob {
                key,
                index: u16::try_from(index).map_err(|_| BundleError::TooMany(blobs.len()))?,
                sender: None,
                urgency: Urgency::Current,
                last: index == last,
                blob: part.blob.clone(),
                commitment: *commitment,
                proof: *proof,
            };
            self.jobs.send_async(job).await.map_err(|_| BundleError::Stopped)?;
        }
        outcome.await.map_err(|_| BundleError::Lost)
    }

    /// Takes a verdict. Drops it if nobody waits for its bundle.
    pub fn settle(&self, verdict: &Verdict) {
        let mut pending = self.pending.borrow_mut();
        let Some(bundle) = pending.get_mut(&verdict.key) else {
            return;
        };
        bundle.check();
        bundle.left -= 1;
        let is_last = bundle.left == 0 || bundle.strict && !matches!(verdict.finding, Finding::Holds);
        bundle.found.push((verdict.index, verdict.finding));
        if is_last && let Some(bundle) = pending.remove(&verdict.key) {
            // The asker may have given up.
            let _ = bundle.settled.send(bundle.found);
        }
    }

    /// Checks every bundle that waits.
    #[cfg(test)]
    fn check_whole(&self) {
        self.pending.borrow().values().for_each(Asked::check);
    }

    /// Makes a key that no value and no other bundle has: nobody knows the value id before the proofs are there.
    fn name(&self, height: Height) -> ValueKey {
        let count = self.asked_total.replace(self.asked_total.get().wrapping_add(1));
        let mut id = *b"ultramarine/own-bundle/\0\0\0\0\0\0\0\0\0";
        id[24..].copy_from_slice(&count.to_be_bytes());
        ValueKey {
            height,
            id: ValueId(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_runtime::{Receiver, link};
    use ultramarine_types::KzgProof;
    use ultramarine_types::verify::PointFlaw;

    use super::*;

    fn blobs(count: usize) -> Vec<(KzgCommitment, BlobPart)> {
        let part = BlobPart {
            blob: bytes::Bytes::new(),
            proofs: vec![KzgProof([0; 48])],
        };
        vec![(KzgCommitment([0; 48]), part); count]
    }

    async fn outcome(count: usize, finding: impl Fn(u16) -> Finding) -> Result<(), BundleError> {
        let (jobs, mut queue): (_, Receiver<VerifyJob>) = link("jobs", 64).expect("a link");
        let own_bundles = OwnBundles::new(jobs);
        let blobs = blobs(count);
        let verifier = async {
            for left in (0..count).rev() {
                let job = queue.recv().await.expect("a job");
                assert_eq!(job.last, left == 0, "the last job says so");
                own_bundles.settle(&Verdict {
                    key: job.key,
                    index: job.index,
                    sender: None,
                    finding: finding(job.index),
                });
                own_bundles.check_whole();
            }
        };
        let (outcome, ()) = tokio::join!(own_bundles.verify(Height(1), &blobs), verifier);
        assert!(own_bundles.pending.borrow().is_empty(), "nothing is left behind");
        outcome
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_bundle_holds_when_every_proof_does() {
        assert_eq!(outcome(0, |_| Finding::Wrong).await, Ok(()));
        assert_eq!(outcome(7, |_| Finding::Holds).await, Ok(()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_bad_blob_fails_the_bundle_and_is_named() {
        let wrong = |index| if index == 2 { Finding::Wrong } else { Finding::Holds };
        assert_eq!(outcome(4, wrong).await, Err(BundleError::Wrong(2)));
        let malformed = |_| Finding::Malformed(Malformed::Proof(PointFlaw::Curve));
        let error = outcome(2, malformed).await.expect_err("malformed");
        assert_eq!(error.to_string(), "blob 0 is malformed: its proof is not on the curve");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn each_proof_is_judged_by_itself_where_that_is_asked() {
        let (jobs, mut queue): (_, Receiver<VerifyJob>) = link("jobs", 64).expect("a link");
        let own_bundles = OwnBundles::new(jobs);
        let blobs = blobs(4);
        let verifier = async {
            for _ in 0..4 {
                let job = queue.recv().await.expect("a job");
                let finding = [Finding::Wrong, Finding::Holds, Finding::Unjudged, Finding::Holds];
                own_bundles.settle(&Verdict {
                    key: job.key,
                    index: 3 - job.index,
                    sender: None,
                    finding: finding[usize::from(job.index)],
                });
            }
        };
        let (judged, ()) = tokio::join!(own_bundles.judge(Height(1), &blobs), verifier);
        assert_eq!(judged, Ok(vec![true, false, true, false]));
        assert_eq!(own_bundles.judge(Height(1), &[]).await, Ok(Vec::new()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stopped_verifier_is_an_error() {
        let (jobs, queue): (_, Receiver<VerifyJob>) = link("jobs", 1).expect("a link");
        drop(queue);
        assert!(OwnBundles::new(jobs).verify(Height(1), &blobs(1)).await.is_err());
    }
}
