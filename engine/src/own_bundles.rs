//! This file knows how to have a bundle of our own client hashed and verified on the lanes, and to collect the answers.
//!
//! Keeps: a bundle waits for the digest of each blob and for one word about all of them, and a settled or abandoned
//! bundle is gone.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::oneshot;
use ultramarine_runtime::Sender;
use ultramarine_types::verify::{Refutation, Urgency, ValueOutcome, Verdict, VerifyJob, VerifyRequest};
use ultramarine_types::{Hash, Height, KzgCommitment, KzgProof, ValueId, ValueKey};

/// Why a bundle of ours is not verified.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BundleError {
    #[error("blob {0}: {1}")]
    Fails(u16, Refutation),
    #[error("nothing is known of the blobs: {0}")]
    Withheld(&'static str),
    #[error("{0} blobs are too many")]
    TooMany(usize),
    #[error("the verifier has stopped")]
    Stopped,
    #[error("the verdicts were lost")]
    Lost,
}

/// A blob of a bundle, with what our client says belongs to it.
#[derive(Clone, Debug)]
pub struct OwnBlob {
    pub commitment: KzgCommitment,
    pub proof: KzgProof,
    /// 131,072 bytes.
    pub blob: Bytes,
}

/// Bundles on their way through the lanes.
#[derive(Debug)]
pub struct OwnBundles {
    requests: Sender<VerifyRequest>,
    pending: RefCell<HashMap<ValueKey, Asked>>,
    /// How many bundles were asked about: it names the next one.
    asked_total: Cell<u64>,
}

/// What the lanes found of a bundle.
type Answer = (Vec<Hash>, ValueOutcome);

#[derive(Debug)]
struct Asked {
    /// By position; `None` while a blob's digest is awaited. Lanes answer in any order.
    digests: Vec<Option<Hash>>,
    outcome: Option<ValueOutcome>,
    settled: oneshot::Sender<Answer>,
}

impl Asked {
    /// What the lanes found, once all of it is here.
    fn answer(&self) -> Option<Answer> {
        let digests = self.digests.iter().copied().collect::<Option<Vec<_>>>()?;
        Some((digests, self.outcome?))
    }

    /// Only bundles that wait for an answer are kept.
    fn check(&self) {
        assert!(self.answer().is_none(), "a bundle whose last answer came is gone");
    }
}

/// Lets a bundle go when its asker stops waiting for the answers.
struct Forget<'a> {
    own_bundles: &'a OwnBundles,
    key: ValueKey,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if self.own_bundles.pending.borrow_mut().remove(&self.key).is_some() {
            // If the link is full, the lanes settle a bundle that nobody waits for. That costs time, and nothing else.
            let _ = self.own_bundles.requests.try_send(VerifyRequest::Forget(self.key));
        }
    }
}

impl OwnBundles {
    /// OwnBundles fed through `requests`; the verdicts come back through [`settle`](Self::settle).
    pub fn new(requests: Sender<VerifyRequest>) -> Self {
        Self {
            requests,
            pending: RefCell::default(),
            asked_total: Cell::new(0),
        }
    }

    /// Verifies every proof of a bundle built for `height`, and returns the blobs' digests in their order. An error
    /// names the first blob that fails and what is wrong with it.
    pub async fn verify(&self, height: Height, blobs: &[OwnBlob]) -> Result<Vec<Hash>, BundleError> {
        if blobs.is_empty() {
            return Ok(Vec::new());
        }
        let (digests, outcome) = self.ask(height, blobs).await?;
        match outcome {
            ValueOutcome::Holds => Ok(digests),
            ValueOutcome::Fails { index, why, .. } => Err(BundleError::Fails(index, why)),
            ValueOutcome::Withheld { why } => Err(BundleError::Withheld(why)),
        }
    }

    /// Whether each proof holds, in the order of the blobs. They are asked about together first, and each by itself if
    /// that says no.
    pub async fn judge(&self, height: Height, blobs: &[OwnBlob]) -> Result<Vec<bool>, BundleError> {
        if blobs.is_empty() || self.ask(height, blobs).await?.1 == ValueOutcome::Holds {
            return Ok(vec![true; blobs.len()]);
        }
        let mut holds = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let (_, outcome) = self.ask(height, std::slice::from_ref(blob)).await?;
            holds.push(outcome == ValueOutcome::Holds);
        }
        Ok(holds)
    }

    async fn ask(&self, height: Height, blobs: &[OwnBlob]) -> Result<Answer, BundleError> {
        let blobs_count = u16::try_from(blobs.len()).map_err(|_| BundleError::TooMany(blobs.len()))?;
        let (settled, answer) = oneshot::channel();
        let key = self.name(height);
        self.pending.borrow_mut().insert(
            key,
            Asked {
                digests: vec![None; blobs.len()],
                outcome: None,
                settled,
            },
        );
        let _forget = Forget { own_bundles: self, key };
        for (index, part) in (0..blobs_count).zip(blobs) {
            let job = VerifyRequest::Job(VerifyJob {
                key,
                index,
                blobs_count,
                sender: None,
                urgency: Urgency::Current,
                blob: part.blob.clone(),
                commitment: part.commitment,
                proof: part.proof,
                digest: None,
            });
            self.requests.send_async(job).await.map_err(|_| BundleError::Stopped)?;
        }
        answer.await.map_err(|_| BundleError::Lost)
    }

    /// Takes a verdict. Drops it if nobody waits for its bundle.
    pub fn settle(&self, verdict: &Verdict) {
        let mut pending = self.pending.borrow_mut();
        let (Verdict::Part { key, .. } | Verdict::Value { key, .. }) = verdict;
        let Some(bundle) = pending.get_mut(key) else {
            return;
        };
        bundle.check();
        match verdict {
            Verdict::Part { index, digest, .. } => {
                if let Some(place) = bundle.digests.get_mut(usize::from(*index)) {
                    *place = Some(*digest);
                }
            }
            Verdict::Value { outcome, .. } => bundle.outcome = Some(*outcome),
        }
        if let Some(answer) = bundle.answer()
            && let Some(bundle) = pending.remove(key)
        {
            // The asker may have given up.
            let _ = bundle.settled.send(answer);
        }
    }

    /// Checks every bundle that waits.
    #[cfg(test)]
    fn check_whole(&self) {
        self.pending.borrow().values().for_each(Asked::check);
    }

    /// Makes a key that no value and no other bundle has: nobody knows the value id before the digests are there.
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
    use ultramarine_types::verify::{Malformed, PointFlaw};

    use super::*;

    fn blobs(count: usize) -> Vec<OwnBlob> {
        let blob = OwnBlob {
            commitment: KzgCommitment([0; 48]),
            proof: KzgProof([0; 48]),
            blob: Bytes::new(),
        };
        vec![blob; count]
    }

    fn digest_of(index: u16) -> Hash {
        Hash([u8::try_from(index).expect("few") + 1; 32])
    }

    fn job(request: VerifyRequest) -> VerifyJob {
        match request {
            VerifyRequest::Job(job) => job,
            VerifyRequest::Forget(key) => panic!("{key} was let go"),
        }
    }

    fn part(job: &VerifyJob) -> Verdict {
        assert_eq!(job.digest, None, "nobody knows the digest of our own blobs yet");
        Verdict::Part {
            key: job.key,
            index: job.index,
            sender: None,
            digest: digest_of(job.index),
            is_right: true,
        }
    }

    /// Answers jobs last one first, with the word about all of them before, between or behind.
    async fn verified(count: usize, outcome: ValueOutcome, word_after: usize) -> Result<Vec<Hash>, BundleError> {
        let (requests, mut queue): (_, Receiver<VerifyRequest>) = link("jobs", 64).expect("a link");
        let own_bundles = OwnBundles::new(requests);
        let blobs = blobs(count);
        let verifier = async {
            let mut jobs = Vec::new();
            while jobs.len() < count {
                jobs.push(job(queue.recv().await.expect("a job")));
            }
            for at in 0..=count {
                if at == word_after
                    && let Some(first) = jobs.first()
                {
                    own_bundles.settle(&Verdict::Value {
                        key: first.key,
                        outcome,
                    });
                    own_bundles.check_whole();
                }
                if at < count {
                    own_bundles.settle(&part(&jobs[count - 1 - at]));
                    own_bundles.check_whole();
                }
            }
        };
        let (outcome, ()) = tokio::join!(own_bundles.verify(Height(1), &blobs), verifier);
        assert!(own_bundles.pending.borrow().is_empty(), "nothing is left behind");
        outcome
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_bundle_that_holds_gives_its_digests_in_order_however_the_lanes_answer() {
        for word_after in [0, 3, 7] {
            let digests = verified(7, ValueOutcome::Holds, word_after).await;
            assert_eq!(digests, Ok((0..7).map(digest_of).collect()), "word after {word_after}");
        }
        assert_eq!(verified(0, ValueOutcome::Holds, 0).await, Ok(Vec::new()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_bad_blob_fails_the_bundle_and_is_named() {
        let why = Refutation::Malformed(Malformed::Proof(PointFlaw::Curve));
        let error = verified(
            4,
            ValueOutcome::Fails {
                index: 2,
                why,
                proof: KzgProof::ZERO,
            },
            4,
        )
        .await;
        assert_eq!(error, Err(BundleError::Fails(2, why)));
        let text = error.expect_err("it fails").to_string();
        assert_eq!(text, "blob 2: its proof is not on the curve");
        let withheld = verified(1, ValueOutcome::Withheld { why: "no memory" }, 1).await;
        assert_eq!(withheld, Err(BundleError::Withheld("no memory")));
    }

    /// Judges a bundle beside lanes that say `outcomes` of one value after the other.
    async fn judged(count: usize, outcomes: &[ValueOutcome]) -> Result<Vec<bool>, BundleError> {
        let (requests, mut queue): (_, Receiver<VerifyRequest>) = link("jobs", 64).expect("a link");
        let own_bundles = OwnBundles::new(requests);
        let blobs = blobs(count);
        let verifier = async {
            for (at, outcome) in outcomes.iter().enumerate() {
                let expected = if at == 0 { count } else { 1 };
                for _ in 0..expected {
                    let job = job(queue.recv().await.expect("a job"));
                    assert_eq!(usize::from(job.blobs_count), expected, "value {at}");
                    own_bundles.settle(&part(&job));
                    if usize::from(job.index) + 1 == expected {
                        let (key, outcome) = (job.key, *outcome);
                        own_bundles.settle(&Verdict::Value { key, outcome });
                    }
                }
            }
        };
        tokio::join!(own_bundles.judge(Height(1), &blobs), verifier).0
    }

    #[tokio::test(flavor = "current_thread")]
    async fn each_proof_is_judged_by_itself_where_they_do_not_hold_together() {
        let fails = ValueOutcome::Fails {
            index: 0,
            why: Refutation::Wrong,
            proof: KzgProof::ZERO,
        };
        let withheld = ValueOutcome::Withheld { why: "a test" };
        let outcomes = [fails, fails, ValueOutcome::Holds, withheld];
        assert_eq!(judged(3, &outcomes).await, Ok(vec![false, true, false]));
        assert_eq!(judged(3, &[ValueOutcome::Holds]).await, Ok(vec![true; 3]));
        assert_eq!(judged(0, &[]).await, Ok(Vec::new()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_abandoned_bundle_is_let_go_by_the_lanes_too() {
        let (requests, mut queue): (_, Receiver<VerifyRequest>) = link("jobs", 64).expect("a link");
        let own_bundles = OwnBundles::new(requests);
        let blobs = blobs(1);
        let asked = own_bundles.verify(Height(1), &blobs);
        let given_up = tokio::time::timeout(std::time::Duration::ZERO, asked).await;
        assert!(given_up.is_err(), "nobody answers");
        let key = job(queue.recv().await.expect("a job")).key;
        assert!(matches!(queue.recv().await, Some(VerifyRequest::Forget(other)) if other == key));
        assert!(own_bundles.pending.borrow().is_empty(), "nothing is left behind");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stopped_verifier_is_an_error() {
        let (requests, queue): (_, Receiver<VerifyRequest>) = link("jobs", 1).expect("a link");
        drop(queue);
        assert!(OwnBundles::new(requests).verify(Height(1), &blobs(1)).await.is_err());
    }
}
