//! This file knows how to publish one file and wait until all of it is decided.

use std::time::Duration;

use alloy_primitives::B256;
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result, bail};
use tokio::time::Instant;

use super::encode::encode;
use super::prove::Prover;
use super::rpc::Rpc;
use super::transaction::{BLOBS_MAX, SignedTransaction, Terms, sign};

/// How often receipts are looked for.
const POLL: Duration = Duration::from_millis(200);

/// What to publish, and through whom.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// The file's bytes.
    pub file: Vec<u8>,
    /// Public JSON-RPC of an execution client, `http://host:port`.
    pub rpc: String,
    /// Who pays.
    pub signer: PrivateKeySigner,
    /// Longest time to wait for the last decision.
    pub timeout: Duration,
    /// Cores used for proofs.
    pub threads: usize,
}

/// A published file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutOutcome {
    /// Its blobs, in order.
    pub blobs: Vec<PutBlob>,
}

/// A published blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct PutBlob {
    /// Its name; `blob get` wants these.
    pub versioned_hash: B256,
    /// The block it was decided in.
    pub height: u64,
    /// The transaction that carried it.
    pub transaction: B256,
}

/// Publishes a file and returns when every blob of it is in a block.
pub async fn put(options: PutOptions) -> Result<PutOutcome> {
    let rpc = Rpc::new(&options.rpc)?;
    let until = Instant::now() + options.timeout;
    let chain_id = rpc
        .chain_id()
        .await
        .context("asking the execution client for its chain id")?;
    let blobs = Prover::new(options.threads).prove(&encode(&options.file)?).await?;
    let account = options.signer.address();
    let first_nonce = rpc.pending_nonce(account).await?.max(rpc.nonce(account).await?);
    let mut sent: Vec<SignedTransaction> = Vec::new();
    for (nonce, blobs) in (first_nonce..).zip(blobs.chunks(BLOBS_MAX)) {
        let terms = Terms {
            chain_id,
            nonce,
            fees: rpc.fees().await?,
        };
        let mut transaction = sign(&options.signer, &terms, blobs)?;
        rpc.send(&transaction.raw)
            .await
            .with_context(|| format!("sending transaction {}", transaction.hash))?;
        // The raw form of a large file would be held twice otherwise.
        transaction.raw = Vec::new();
        sent.push(transaction);
    }
    let mut published = Vec::with_capacity(blobs.len());
    for transaction in sent {
        let height = wait(&rpc, &transaction, until).await?;
        let blob = |versioned_hash| PutBlob {
            versioned_hash,
            height,
            transaction: transaction.hash,
        };
        published.extend(transaction.versioned_hashes.iter().copied().map(blob));
    }
    Ok(PutOutcome { blobs: published })
}

/// Waits until a transaction is in a block. A client that does not answer for a moment has the transaction all the same, so
/// it is asked again until the time is up.
async fn wait(rpc: &Rpc, transaction: &SignedTransaction, until: Instant) -> Result<u64> {
    loop {
        let inclusion = match rpc.inclusion(transaction.hash).await {
            Ok(inclusion) => inclusion,
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => None,
        };
        match inclusion {
            Some(inclusion) if inclusion.success => return Ok(inclusion.height),
            Some(inclusion) => bail!("transaction {} failed in block {}", transaction.hash, inclusion.height),
            None if Instant::now() >= until => bail!(
                "transaction {} is in no block yet: it stays in the pool of the client it was sent to, \
                 which only its own validator's blocks draw on",
                transaction.hash
            ),
            None => tokio::time::sleep(POLL).await,
        }
    }
}
