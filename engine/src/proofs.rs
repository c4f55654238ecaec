//! This file knows which proof of a bundle belongs to which blob, and makes those that are missing.
//!
//! Our chains want one proof for each blob (EIP-4844). Before Osaka, some clients pool transactions with 128 cell
//! proofs for each blob (EIP-7594), and list whatever proofs they have, one transaction behind the other:
//!
//! ```text
//!   transactions      A: 2 blobs     B: 1 blob       C: 1 blob
//!   proofs            a₀ a₁          b₀ … b₁₂₇       c₀            131 for 4 blobs: one blob has cell proofs
//! ```
//!
//! The list does not say which is which. The number of proofs says how many blobs have cell proofs. Where that leaves a
//! choice, we try a proof. The lanes judge what we assigned, and we make a new proof where one does not hold. So a
//! wrong guess costs time alone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};
use ultramarine_types::limits::BLOBS_PER_BLOCK_MAX;
use ultramarine_types::{Height, KzgCommitment, KzgProof};

use crate::client::{Bundle, CELL_PROOFS};
use crate::own_bundles::{BundleError, OwnBlob, OwnBundles};

/// Proofs remembered, 100 bytes each: those of four of the largest blocks.
const REMEMBERED_MAX: usize = 4 * BLOBS_PER_BLOCK_MAX as usize;
/// Proofs that are being made at one time: one for each blob of the largest block.
const UNDER_WAY_MAX: usize = BLOBS_PER_BLOCK_MAX as usize;

// Forgetting keeps what is being made, so there must be room behind it.
const _: () = assert!(REMEMBERED_MAX > UNDER_WAY_MAX);

/// How many more proofs a blob with cell proofs has.
const CELLS_MORE: usize = CELL_PROOFS - 1;
/// The point at infinity, compressed: the proof of a blob whose elements are all the same.
const INFINITY: KzgProof = {
    let mut bytes = [0; 48];
    bytes[0] = 0xc0;
    KzgProof(bytes)
};

/// Why a bundle has not one proof a blob.
#[derive(Debug, thiserror::Error)]
pub enum ProofsError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A proof takes tens of milliseconds; the next build finds those that were made meanwhile.
    #[error(
        "the execution client has cell proofs alone for some of the block's {count} blobs, and {missing} blob proofs \
         are not made yet; they are being made"
    )]
    NotMade { count: usize, missing: usize },
    #[error("assigning proofs: {0}")]
    Assigning(tokio::task::JoinError),
}

/// Makes proofs on threads of their own, and remembers them. A clone is the same.
#[derive(Clone, Debug)]
pub struct Proofs {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    known: RefCell<HashMap<KzgCommitment, Option<KzgProof>>>,
    made: Notify,
    threads: Semaphore,
}

impl Default for Proofs {
    fn default() -> Self {
        // Half the machine: meanwhile we must verify the blocks of others.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shared: Rc::new(Shared {
                known: RefCell::default(),
                made: Notify::new(),
                threads: Semaphore::new((cores / 2).max(1)),
            }),
        }
    }
}

impl Shared {
    /// Notes a proof, or that it is being made.
    fn remember(&self, commitment: KzgCommitment, proof: Option<KzgProof>) {
        let mut known = self.known.borrow_mut();
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, proof| proof.is_none());
        }
        known.insert(commitment, proof);
        assert!(known.len() <= REMEMBERED_MAX, "memory of proofs is bounded");
    }

    /// Looked at when a proof begins to be made, which costs a thousand times more.
    fn check_whole(&self) {
        let known = self.known.borrow();
        let under_way = known.values().filter(|proof| proof.is_none()).count();
        assert!(
            under_way <= UNDER_WAY_MAX,
            "no more proofs are made at a time than a block has blobs"
        );
    }
}

impl Proofs {
    /// Gives each blob of a bundle one proof. Unless the bundle was mixed, they are not verified yet. `transactions`
    /// says how many blobs each transaction has. If a proof is not made `within` that time, its making goes on for the
    /// next build.
    pub async fn complete(
        &self,
        own_bundles: &OwnBundles,
        height: Height,
        transactions: &[usize],
        bundle: Bundle,
        within: Duration,
    ) -> Result<Vec<OwnBlob>, ProofsError> {
        if bundle.proofs.len() == bundle.blobs.len() {
            let Bundle { blobs, proofs } = bundle;
            return Ok(blobs.into_iter().zip(proofs).map(with_proof).collect());
        }
        let (count, given) = (bundle.blobs.len(), bundle.proofs.len());
        tracing::debug!(
            %height,
            "the execution client lists {given} proofs for {count} blobs: some of its pool come with cell proofs"
        );
        let until = tokio::time::Instant::now() + within;
        let mut found = self.assigned(own_bundles, height, transactions, &bundle).await?;
        for (blob, proof) in bundle.blobs.iter().zip(&mut found) {
            if proof.is_none() {
                *proof = self.remembered(&blob.0);
            }
            if proof.is_none() {
                self.make(blob);
            }
        }
        // We ask to be woken before we look, so that we miss no proof in between.
        loop {
            let made = self.shared.made.notified();
            for ((commitment, _), proof) in bundle.blobs.iter().zip(&mut found) {
                *proof = proof.or_else(|| self.remembered(commitment));
            }
            let missing = found.iter().filter(|proof| proof.is_none()).count();
            if missing == 0 {
                break;
            }
            if tokio::time::timeout_at(until, made).await.is_err() {
                return Err(ProofsError::NotMade { count, missing });
            }
        }
        let proofs = found.into_iter().flatten();
        Ok(bundle.blobs.into_iter().zip(proofs).map(with_proof).collect())
    }

    /// Finds for each blob its proof in the list, if it is there and holds.
    async fn assigned(
        &self,
        own_bundles: &OwnBundles,
        height: Height,
        transactions: &[usize],
        bundle: &Bundle,
    ) -> Result<Vec<Option<KzgProof>>, ProofsError> {
        let count = bundle.blobs.len();
        let mut found = vec![None; count];
        let known = self.shared.known.borrow().clone();
        let (sizes, list) = (transactions.to_vec(), bundle.clone());
        let assigned = tokio::task::spawn_blocking(move || {
            assign(&sizes, list.blobs.len(), list.proofs.len(), |first, count, at| {
                has_blob_proofs(&list, &known, first, count, at)
            })
        });
        let assigned = assigned.await.map_err(ProofsError::Assigning)?;
        let candidates: Vec<(usize, usize)> = assigned
            .unwrap_or_default()
            .into_iter()
            .enumerate()
            .filter_map(|(blob, at)| Some((blob, at?)))
            .collect();
        let claims: Vec<_> = candidates
            .iter()
            .map(|(blob, at)| with_proof((bundle.blobs[*blob].clone(), bundle.proofs[*at])))
            .collect();
        let holds = own_bundles.judge(height, &claims).await?;
        for ((blob, at), holds) in candidates.into_iter().zip(holds) {
            if holds {
                found[blob] = Some(bundle.proofs[at]);
                self.shared.remember(bundle.blobs[blob].0, Some(bundle.proofs[at]));
            }
        }
        Ok(found)
    }

    fn remembered(&self, commitment: &KzgCommitment) -> Option<KzgProof> {
        self.shared.known.borrow().get(commitment).copied().flatten()
    }

    /// Begins to make one proof, unless it is being made already. It is made even if nobody waits for it any more.
    fn make(&self, (commitment, blob): &(KzgCommitment, Bytes)) {
        let known = self.shared.known.borrow();
        let under_way = known.values().filter(|proof| proof.is_none()).count();
        if known.contains_key(commitment) || under_way >= UNDER_WAY_MAX {
            return;
        }
        drop(known);
        self.shared.remember(*commitment, None);
        self.shared.check_whole();
        let (shared, commitment, blob) = (Rc::clone(&self.shared), *commitment, blob.clone());
        tokio::task::spawn_local(async move {
            let Ok(_permit) = shared.threads.acquire().await else {
                return;
            };
            let made = tokio::task::spawn_blocking(move || prove(&commitment, &blob)).await;
            match made.map_err(|error| error.to_string()).and_then(|made| made) {
                Ok(proof) => shared.remember(commitment, Some(proof)),
                Err(error) => {
                    tracing::warn!("a blob's proof cannot be made: {error}");
                    shared.known.borrow_mut().remove(&commitment);
                }
            }
            shared.made.notify_waiters();
        });
    }
}

fn with_proof(((commitment, blob), proof): ((KzgCommitment, Bytes), KzgProof)) -> OwnBlob {
    OwnBlob {
        commitment,
        proof,
        blob,
    }
}

/// Finds where in the list the proof of each blob is; `None` for a blob with cell proofs. Returns `None` if no choice
/// of cell and blob proofs makes a list of this length. `has_blob_proofs` tries a transaction: it gets the position of
/// its first blob, how many blobs it has, and where its proofs would begin.
fn assign(
    transactions: &[usize],
    blobs: usize,
    proofs: usize,
    mut has_blob_proofs: impl FnMut(usize, usize, usize) -> bool,
) -> Option<Vec<Option<usize>>> {
    let more = proofs.checked_sub(blobs)?;
    if transactions.iter().sum::<usize>() != blobs || !more.is_multiple_of(CELLS_MORE) {
        return None;
    }
    let mut cells = more / CELLS_MORE;
    // For every transaction: how many blobs with cell proofs it and the transactions behind it can have together.
    let mut possible = vec![vec![false; cells + 1]; transactions.len() + 1];
    possible[transactions.len()][0] = true;
    for (index, count) in transactions.iter().enumerate().rev() {
        for total in 0..=cells {
            possible[index][total] =
                possible[index + 1][total] || total.checked_sub(*count).is_some_and(|rest| possible[index + 1][rest]);
        }
    }
    if !possible[0][cells] {
        return None;
    }
    let mut found = Vec::with_capacity(blobs);
    let mut at = 0;
    for (index, count) in transactions.iter().enumerate() {
        let behind = &possible[index + 1];
        let may_be_cells = cells.checked_sub(*count).is_some_and(|rest| behind[rest]);
        if !may_be_cells || behind[cells] && has_blob_proofs(found.len(), *count, at) {
            found.extend((at..at + count).map(Some));
            at += count;
        } else {
            found.extend(std::iter::repeat_n(None, *count));
            at += count * CELL_PROOFS;
            cells -= count;
        }
    }
    Some(found)
}

/// Whether the proofs of a transaction, which begin at `at`, are one for each blob.
fn has_blob_proofs(
    bundle: &Bundle,
    known: &HashMap<KzgCommitment, Option<KzgProof>>,
    first: usize,
    count: usize,
    at: usize,
) -> bool {
    for index in 0..count {
        let (Some((commitment, blob)), Some(proof)) = (bundle.blobs.get(first + index), bundle.proofs.get(at + index))
        else {
            return false;
        };
        // If all elements of a blob are the same, both kinds of proof look the same: the next blob tells.
        if blob.chunks_exact(32).all(|element| element == &blob[..32]) {
            continue;
        }
        return match known.get(commitment) {
            Some(Some(known)) => known == proof,
            _ => holds(commitment, blob, proof),
        };
    }
    let cells = bundle.proofs.iter().skip(at).take(count * CELL_PROOFS);
    !cells.into_iter().all(|proof| *proof == INFINITY)
}

fn holds(commitment: &KzgCommitment, blob: &Bytes, proof: &KzgProof) -> bool {
    let Ok(blob) = c_kzg::Blob::from_bytes(blob) else {
        return false;
    };
    let verified =
        c_kzg::ethereum_kzg_settings(0).verify_blob_kzg_proof(&Box::new(blob), &commitment.0.into(), &proof.0.into());
    matches!(verified, Ok(true))
}

/// Makes the one proof of a blob. We remember it by the commitment, so the commitment must be the blob's.
fn prove(commitment: &KzgCommitment, bytes: &Bytes) -> Result<KzgProof, String> {
    let blob = Box::new(c_kzg::Blob::from_bytes(bytes).map_err(|error| error.to_string())?);
    let proof = c_kzg::ethereum_kzg_settings(0).compute_blob_kzg_proof(&blob, &commitment.0.into());
    let proof = proof.map_err(|error| error.to_string())?;
    let proof = KzgProof(proof.to_bytes().into_inner());
    match holds(commitment, bytes, &proof) {
        true => Ok(proof),
        false => Err("its commitment is another blob's".to_owned()),
    }
}

#[cfg(test)]
mod tests;
