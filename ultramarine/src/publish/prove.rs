//! This file knows commitments and proofs of blobs: makes each once, in parallel, and remembers it by content.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use alloy_eips::eip4844::kzg_to_versioned_hash;
use alloy_primitives::B256;
use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::sync::Semaphore;
use ultramarine_types::canonical::sha256;
use ultramarine_types::{Hash, KzgCommitment, KzgProof};

/// Remembered blobs: 144 bytes each, so a round of many gigabytes fits in a few megabytes.
const REMEMBERED_MAX: usize = 64 * 1024;

/// A blob with what proves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvenBlob {
    /// Always 131,072 bytes.
    pub blob: Bytes,
    pub commitment: KzgCommitment,
    /// Proof for EIP-4844's challenge.
    pub proof: KzgProof,
}

impl ProvenBlob {
    /// Its name on chain.
    pub fn versioned_hash(&self) -> B256 {
        kzg_to_versioned_hash(&self.commitment.0)
    }
}

type Remembered = Arc<OnceLock<Result<(KzgCommitment, KzgProof), String>>>;

/// Makes commitments and proofs on a few threads. Clones share the threads and the memory.
#[derive(Clone, Debug)]
pub struct Prover {
    threads: Arc<Semaphore>,
    remembered: Arc<Mutex<HashMap<Hash, Remembered>>>,
}

impl Prover {
    /// A prover that uses at most `threads` cores at one time.
    pub fn new(threads: usize) -> Self {
        Self {
            threads: Arc::new(Semaphore::new(threads.max(1))),
            remembered: Arc::default(),
        }
    }

    /// Proves blobs, all at once as far as the cores allow. One that was proven before costs a hash.
    pub async fn prove(&self, blobs: &[Bytes]) -> Result<Vec<ProvenBlob>> {
        self.prove_telling(blobs, |_| ()).await
    }

    /// The same; tells how many of them are proven, in order.
    pub async fn prove_telling(&self, blobs: &[Bytes], mut tell: impl FnMut(usize)) -> Result<Vec<ProvenBlob>> {
        let mut tasks = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let (this, blob) = (self.clone(), blob.clone());
            tasks.push(tokio::spawn(async move { this.prove_one(blob).await }));
        }
        let mut proven = Vec::with_capacity(tasks.len());
        for task in tasks {
            proven.push(task.await.context("proving a blob panicked")??);
            tell(proven.len());
        }
        Ok(proven)
    }

    async fn prove_one(&self, blob: Bytes) -> Result<ProvenBlob> {
        let permit = Arc::clone(&self.threads)
            .acquire_owned()
            .await
            .context("the prover is gone")?;
        let prover = self.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let entry = prover.remembered_at(sha256(&blob));
            // Of several that want the same blob at one time, one computes and the others wait for it.
            let made = entry.get_or_init(|| commit_and_prove(&blob)).clone();
            let (commitment, proof) = made.map_err(anyhow::Error::msg)?;
            Ok(ProvenBlob {
                blob,
                commitment,
                proof,
            })
        })
        .await
        .context("proving a blob panicked")?
    }

    fn remembered_at(&self, content: Hash) -> Remembered {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX && !remembered.contains_key(&content) {
            remembered.clear();
        }
        Arc::clone(remembered.entry(content).or_default())
    }
}

fn commit_and_prove(blob: &[u8]) -> Result<(KzgCommitment, KzgProof), String> {
    let settings = c_kzg::ethereum_kzg_settings(0);
    let blob = boxed(blob).map_err(|error| error.to_string())?;
    let commitment = settings
        .blob_to_kzg_commitment(&blob)
        .map_err(|error| error.to_string())?
        .to_bytes();
    let proof = settings
        .compute_blob_kzg_proof(&blob, &commitment)
        .map_err(|error| error.to_string())?
        .to_bytes();
    Ok((KzgCommitment(commitment.into_inner()), KzgProof(proof.into_inner())))
}

/// The commitment of a blob, for checking that received bytes are the ones asked for.
pub fn commitment(blob: &[u8]) -> Result<KzgCommitment> {
    let settings = c_kzg::ethereum_kzg_settings(0);
    Ok(KzgCommitment(
        settings.blob_to_kzg_commitment(&*boxed(blob)?)?.to_bytes().into_inner(),
    ))
}

/// A blob is 128 KiB: it lives on the heap.
fn boxed(blob: &[u8]) -> Result<Box<c_kzg::Blob>> {
    Ok(Box::new(c_kzg::Blob::from_bytes(blob)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::encode::encode;

    #[tokio::test]
    async fn what_is_proven_verifies_and_is_made_once() {
        let prover = Prover::new(2);
        let blobs = encode(&[7; 200_000]).expect("small");
        let proven = prover.prove(&blobs).await.expect("proven");
        for one in &proven {
            let holds = c_kzg::ethereum_kzg_settings(0)
                .verify_blob_kzg_proof(
                    &boxed(&one.blob).expect("a blob"),
                    &one.commitment.0.into(),
                    &one.proof.0.into(),
                )
                .expect("well-formed");
            assert!(holds);
            assert_eq!(commitment(&one.blob).expect("well-formed"), one.commitment);
        }
        assert_eq!(
            prover
                .prove(&[blobs.clone(), blobs].concat())
                .await
                .expect("proven")
                .len(),
            4
        );
        assert_eq!(prover.remembered.lock().expect("not poisoned").len(), 2);
    }

    #[tokio::test]
    async fn an_element_above_the_modulus_is_an_error() {
        let blob = Bytes::from(vec![0xff; ultramarine_types::limits::BLOB_BYTES]);
        assert!(Prover::new(1).prove(&[blob]).await.is_err());
    }
}
