//! This file knows how to publish one file and wait until all of it is decided.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use tokio::time::Instant;
use ultramarine_engine::call::CallError;

use super::encode::{PIECE_BYTES, PIECES_MAX, encode};
use super::prove::{ProvenBlob, Prover};
use super::rpc::{Inclusion, Rpc};
use super::transaction::{BLOBS_MAX, SignedTransaction, Terms, sign};

/// Most bytes of a file that is published at one time: the file and its blobs are in memory together, 1.1 GB at most.
pub const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
const _: () = assert!(
    FILE_BYTES_MAX <= (PIECE_BYTES * PIECES_MAX) as u64,
    "its blobs can be counted"
);

/// How often a transaction is looked for.
const POLL: Duration = Duration::from_millis(200);
/// A client may know nothing of a transaction for a moment: while it starts, or between its pool and its blocks.
const GRACE: Duration = Duration::from_secs(5);

/// What to publish, and through whom.
#[derive(Clone, Debug)]
pub struct PutOptions {
    pub file: Vec<u8>,
    /// Public JSON-RPC of an execution client, `http://host:port`.
    pub rpc: String,
    /// The account that pays.
    pub signer: PrivateKeySigner,
    /// Longest time in which no further transaction is decided.
    pub patience: Duration,
    /// Cores used for proofs.
    pub threads: usize,
}

/// How far a file came.
#[derive(Debug)]
pub struct PutOutcome {
    /// Its blobs, in the file's order.
    pub blobs: Vec<PutBlob>,
    /// Why some are not decided.
    pub trouble: Option<anyhow::Error>,
}

/// A blob of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PutBlob {
    /// Its name; `blob get` wants these.
    pub versioned_hash: B256,
    /// How far it came.
    pub progress: Progress,
}

/// How far a blob came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The client did not take its transaction.
    Unsent,
    /// Its transaction was sent, and the client did not say what became of it.
    Unanswered,
    /// In the pool of the client it was sent to.
    Pooled,
    Decided(DecidedBlock),
}

/// The block that a blob is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
pub struct DecidedBlock {
    pub height: u64,
    /// By which the Beacon API finds it.
    pub slot: u64,
}

/// What is told on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News<'a> {
    /// So many of the file's blobs have this behind them.
    Step {
        step: Step,
        done: u64,
        total: u64,
    },
    Decided(&'a PutBlob),
}

/// What is done with a file's blobs, one step after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Proving,
    Publishing,
}

impl Step {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proving => "proving",
            Self::Publishing => "publishing",
        }
    }
}

/// Publishes a file, tells each blob as it is decided, and returns when all are, when nothing moves any more, or when
/// `stop` says why it should. An error: the client took nothing.
pub async fn put(
    options: PutOptions,
    stop: impl Future<Output = &'static str>,
    mut tell: impl FnMut(News<'_>),
) -> Result<PutOutcome> {
    let rpc = Rpc::new(&options.rpc)?;
    let mut stop = std::pin::pin!(stop);
    let prover = Prover::new(options.threads);
    let pieces = encode(&options.file)?;
    let total = pieces.len() as u64;
    let is_proven = |done: usize| {
        tell(News::Step {
            step: Step::Proving,
            done: done as u64,
            total,
        });
    };
    let proven = tokio::select! {
        proven = prover.prove_telling(&pieces, is_proven) => proven?,
        why = &mut stop => bail!("{why}; nothing was sent"),
    };
    let unsent = |blob: &ProvenBlob| PutBlob {
        versioned_hash: blob.versioned_hash(),
        progress: Progress::Unsent,
    };
    let mut blobs: Vec<PutBlob> = proven.iter().map(unsent).collect();
    let trouble = tokio::select! {
        carried = carry(&rpc, &options, &proven, &mut blobs, tell) => carried.err(),
        why = stop => Some(anyhow!(why)),
    };
    if blobs.iter().all(|blob| blob.progress == Progress::Unsent)
        && let Some(error) = trouble
    {
        return Err(error);
    }
    Ok(PutOutcome { blobs, trouble })
}

/// Sends all and waits for all, in order of nonces, which is the order in which blocks take them.
async fn carry(
    rpc: &Rpc,
    options: &PutOptions,
    proven: &[ProvenBlob],
    blobs: &mut [PutBlob],
    mut tell: impl FnMut(News<'_>),
) -> Result<()> {
    let (mut done, total) = (0, proven.len() as u64);
    let step = Step::Publishing;
    tell(News::Step { step, done, total });
    let chain_id = rpc
        .chain_id()
        .await
        .context("asking the execution client for its chain id")?;
    let account = options.signer.address();
    let first_nonce = rpc.pending_nonce(account).await?.max(rpc.nonce(account).await?);
    ensure!(
        first_nonce < u64::MAX / 2,
        "the client says that {account} has sent {first_nonce} transactions"
    );
    let mut pooled = VecDeque::new();
    let mut unsent = (first_nonce..).zip(proven.chunks(BLOBS_MAX).zip(blobs.chunks_mut(BLOBS_MAX)));
    let mut next = unsent.next();
    // Kept until the client has it: signed anew with other fees it would be another one beside it.
    let mut signed: Option<SignedTransaction> = None;
    let mut until = Instant::now() + options.patience;
    while next.is_some() || !pooled.is_empty() {
        if let Some((nonce, (proven, blobs))) = next.take() {
            if signed.is_none() {
                signed = Some(prepare(rpc, &options.signer, chain_id, nonce, proven).await?);
            }
            let Some(transaction) = signed.take() else { continue };
            let again = blobs.iter().any(|blob| blob.progress == Progress::Unanswered);
            // Until the client answers, and if we are stopped before.
            blobs.iter_mut().for_each(|blob| blob.progress = Progress::Unanswered);
            match send(rpc, &transaction, again).await {
                Ok(()) => {
                    blobs.iter_mut().for_each(|blob| blob.progress = Progress::Pooled);
                    pooled.push_back((Pooled { nonce, transaction }, blobs));
                    next = unsent.next();
                    continue;
                }
                Err(error) => {
                    let is_unanswered = matches!(error, CallError::Http(_) | CallError::Timeout { .. });
                    if !is_unanswered && !again {
                        blobs.iter_mut().for_each(|blob| blob.progress = Progress::Unsent);
                    }
                    if pooled.is_empty() {
                        if !is_unanswered || Instant::now() >= until {
                            return Err(error).with_context(|| format!("sending transaction {}", transaction.hash));
                        }
                        tokio::time::sleep(POLL).await;
                    }
                    // A pool takes so many of one account and no more: there is room again when one of them is decided.
                    (next, signed) = (Some((nonce, (proven, blobs))), Some(transaction));
                }
            }
        }
        let Some((transaction, blobs)) = pooled.pop_front() else {
            continue;
        };
        let block = wait(rpc, account, &transaction, Instant::now() + options.patience, GRACE).await?;
        until = Instant::now() + options.patience;
        for blob in blobs {
            blob.progress = Progress::Decided(block);
            tell(News::Decided(blob));
            done += 1;
        }
        tell(News::Step { step, done, total });
    }
    Ok(())
}

async fn prepare(
    rpc: &Rpc,
    signer: &PrivateKeySigner,
    chain_id: u64,
    nonce: u64,
    blobs: &[ProvenBlob],
) -> Result<SignedTransaction> {
    let terms = Terms {
        chain_id,
        nonce,
        fees: rpc.fees().await?,
    };
    sign(signer, &terms, blobs)
}

/// Hands one transaction to the pool. Sent again after an answer was lost it may be in a block by now, and refused for
/// that.
async fn send(rpc: &Rpc, transaction: &SignedTransaction, again: bool) -> Result<(), CallError> {
    let sent = rpc.send(&transaction.raw).await;
    if again
        && sent.is_err()
        && matches!(
            rpc.inclusion(transaction.hash).await,
            Ok(Inclusion::Pending | Inclusion::Block(_))
        )
    {
        return Ok(());
    }
    sent
}

/// A transaction that the client took.
struct Pooled {
    nonce: u64,
    transaction: SignedTransaction,
}

/// Waits until a transaction is in a block, and which. One that failed there has left its blobs there all the same. A
/// client that does not answer for a moment has the transaction still, so it is asked again until the time is up. One
/// that does not know it for longer than `grace` gets it again, unless another has taken its place.
async fn wait(rpc: &Rpc, account: Address, pooled: &Pooled, until: Instant, grace: Duration) -> Result<DecidedBlock> {
    let hash = pooled.transaction.hash;
    let mut unknown_since = None;
    loop {
        let inclusion = rpc.inclusion(hash).await;
        let now = Instant::now();
        if let Ok(Inclusion::Block(height)) = inclusion {
            match rpc.slot(height).await {
                Ok(slot) => return Ok(DecidedBlock { height, slot }),
                Err(error) if now >= until => {
                    return Err(error.context(format!(
                        "transaction {hash} is in block {height}, whose slot is not known"
                    )));
                }
                Err(_) => {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
            }
        }
        let since = match inclusion {
            Ok(Inclusion::Unknown) => *unknown_since.get_or_insert(now),
            _ => {
                unknown_since = None;
                now
            }
        };
        let included = match now >= until || now - since >= grace {
            true => rpc.nonce(account).await.ok(),
            false => None,
        };
        if now - since >= grace {
            if included.is_some_and(|included| included > pooled.nonce) {
                bail!(
                    "another transaction of {account} with nonce {} was included in place of {hash}: somebody else \
                     publishes from this account; use one each",
                    pooled.nonce
                );
            }
            unknown_since = None;
            // Whatever comes of it shows in the next look.
            let _ = rpc.send(&pooled.transaction.raw).await;
        }
        if now >= until {
            return Err(why_not(inclusion, account, pooled, included));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Why a transaction is in no block after all this time.
fn why_not(inclusion: Result<Inclusion>, account: Address, pooled: &Pooled, included: Option<u64>) -> anyhow::Error {
    let hash = pooled.transaction.hash;
    match inclusion {
        Err(error) => error,
        Ok(Inclusion::Unknown) => anyhow!(
            "transaction {hash} is in no block, and the client does not know it any more: it has dropped it from its \
             pool, \
             or was restarted"
        ),
        Ok(_) if included.is_some_and(|included| included < pooled.nonce) => anyhow!(
            "transaction {hash} is in no block yet: it has nonce {}, and {account} has earlier ones that are in no \
             block",
            pooled.nonce
        ),
        Ok(_) => anyhow!(
            "transaction {hash} is in no block yet: it stays in the pool of the client it was sent to, which only its \
             own \
             validator's blocks draw on"
        ),
    }
}

#[cfg(test)]
mod tests;
