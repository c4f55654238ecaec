//! This file knows how to keep one execution client's pool supplied with blobs, at the rate at which blocks take them.
//!
//! Embedded clients do not gossip, so each node has a publisher with an account of its own. The pool holds a bounded
//! number of our transactions: enough for the node's next turn to propose, never so many that it would drop some. A
//! client takes two megabytes at a time, so a large block takes many transactions; their sizes are such that they fill
//! it.

use std::time::Duration;

use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::content::{Content, Supply};
use super::prove::ProvenBlob;
use super::rpc::{Fees, Rpc};
use super::transaction::{BLOBS_MAX, Terms, sign};

/// How often the pool is looked at.
const POLL: Duration = Duration::from_millis(250);
/// A pool that loses nothing includes its first transaction within this and within [`TURNS_MAX`] of its node's turns; a
/// client that restarted lost its pool. Time alone says nothing: a chain of large blocks may take a minute for one.
const STUCK: Duration = Duration::from_secs(20);
/// Turns to propose without a transaction of ours, after which the pool has none.
const TURNS_MAX: u64 = 5;
/// Transactions in the pool beyond those of the block that is built next: another block's, or 38 MB.
const AHEAD_MAX: u64 = 48;

/// What one publisher does.
#[derive(Clone, Debug)]
pub struct PublisherOptions {
    /// Public JSON-RPC of the node's own client, `http://host:port`.
    pub rpc: String,
    /// An account that no other publisher uses.
    pub signer: PrivateKeySigner,
    pub content: Content,
    /// The chain's blob limit.
    pub blobs_per_block: u32,
    /// Validators of the chain: each proposes once in so many blocks.
    pub validators: u32,
}

/// Publishes until cancelled. Errors of the client are waited out; only content that cannot be read is an error.
pub async fn publish(options: PublisherOptions, cancel: CancellationToken) -> Result<()> {
    let rpc = Rpc::new(&options.rpc)?;
    let mut content = options.content.open()?;
    let mut account = Account::new(&options);
    loop {
        match account.supply(&rpc, &options, &mut content, &cancel).await {
            Ok(()) => {}
            Err(Trouble::Content(error)) => return Err(error),
            Err(Trouble::Client(error)) => {
                tracing::debug!("publishing through {}: {}", options.rpc, crate::program::causes(&error))
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

enum Trouble {
    /// The files are at fault.
    Content(anyhow::Error),
    /// The client is away or refuses; it may come back.
    Client(anyhow::Error),
}

/// The account's view of its own transactions.
struct Account {
    blobs_per_block: u64,
    /// Transactions that fill a block.
    per_block: u64,
    pending_max: u64,
    /// Blocks without a transaction of ours that say that the pool has none.
    stuck_blocks: u64,
    chain_id: Option<u64>,
    /// Nonce of the next transaction.
    next: u64,
    /// Transactions in blocks, and since when and which block that many.
    included: u64,
    since: Instant,
    since_block: u64,
}

impl Account {
    fn new(options: &PublisherOptions) -> Self {
        let blobs_per_block = u64::from(options.blobs_per_block.max(1));
        let per_block = blobs_per_block.div_ceil(BLOBS_MAX as u64);
        Self {
            blobs_per_block,
            per_block,
            pending_max: per_block + per_block.min(AHEAD_MAX),
            stuck_blocks: TURNS_MAX * u64::from(options.validators.max(1)),
            chain_id: None,
            next: 0,
            included: 0,
            since: Instant::now(),
            since_block: 0,
        }
    }

    /// Blobs of the transaction with this nonce: those of one block are as even as can be, and fill it.
    fn blobs_of(&self, nonce: u64) -> usize {
        let position = nonce % self.per_block;
        let before = |position: u64| self.blobs_per_block * position / self.per_block;
        usize::try_from(before(position + 1) - before(position)).unwrap_or(BLOBS_MAX)
    }

    /// Tops the pool up.
    async fn supply(
        &mut self,
        rpc: &Rpc,
        options: &PublisherOptions,
        content: &mut Supply,
        cancel: &CancellationToken,
    ) -> Result<(), Trouble> {
        let chain_id = match self.chain_id {
            Some(known) => known,
            None => *self.chain_id.insert(rpc.chain_id().await.map_err(Trouble::Client)?),
        };
        let included = rpc.nonce(options.signer.address()).await.map_err(Trouble::Client)?;
        let block = rpc.block_number().await.map_err(Trouble::Client)?;
        self.observe(included, block, Instant::now());
        let fees = rpc.fees().await.map_err(Trouble::Client)?;
        while self.next.saturating_sub(self.included) < self.pending_max && !cancel.is_cancelled() {
            let blobs = content.next(self.blobs_of(self.next)).await.map_err(Trouble::Content)?;
            self.send(rpc, options, chain_id, fees, &blobs)
                .await
                .map_err(Trouble::Client)?;
        }
        Ok(())
    }

    /// Learns how many of our transactions are in blocks by now.
    fn observe(&mut self, included: u64, block: u64, now: Instant) {
        // Fewer than before: the client lost its state and will be fed the blocks again. Its pool is empty, but the
        // transactions in those blocks will come back, so nothing may be sent with their nonces until it stands still.
        let moved = included != self.included;
        self.included = included;
        self.next = self.next.max(included);
        // A client that forgot its blocks counts them anew.
        let blocks = block.saturating_sub(self.since_block);
        let is_stuck = blocks >= self.stuck_blocks && now.duration_since(self.since) >= STUCK;
        if moved || block < self.since_block {
            (self.since, self.since_block) = (now, block);
        } else if is_stuck {
            // Nothing of ours was included for long: the pool may have lost it. What it still has it will refuse.
            self.next = included;
            (self.since, self.since_block) = (now, block);
        }
    }

    async fn send(
        &mut self,
        rpc: &Rpc,
        options: &PublisherOptions,
        chain_id: u64,
        fees: Fees,
        blobs: &[ProvenBlob],
    ) -> Result<()> {
        let terms = Terms {
            chain_id,
            nonce: self.next,
            fees,
        };
        let transaction = sign(&options.signer, &terms, blobs)?;
        match rpc.send(&transaction.raw).await {
            Ok(()) => {
                self.next += 1;
                Ok(())
            }
            Err(error) => {
                // Taken by a transaction that the pool still holds, or that a block already has: go on behind it.
                let text = error.to_string().to_lowercase();
                if ["underpriced", "nonce too low", "nonce is too low", "nonce already"]
                    .iter()
                    .any(|known| text.contains(known))
                {
                    self.next += 1;
                    return Ok(());
                }
                Err(error).with_context(|| format!("transaction with nonce {}", terms.nonce))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_node::genesis::execution::dev_account;

    use super::*;

    fn account(blobs_per_block: u32) -> Account {
        Account::new(&PublisherOptions {
            rpc: "http://127.0.0.1:1".to_owned(),
            signer: dev_account(0),
            content: Content::Fresh { seed: 1, publisher: 0 },
            blobs_per_block,
            validators: 4,
        })
    }

    #[test]
    fn the_pool_holds_two_blocks_worth_and_of_large_blocks_less() {
        for (blobs, transactions) in [(1, 2), (6, 2), (24, 8), (25, 10), (96, 32), (256, 86), (1024, 171 + 48)] {
            assert_eq!(account(blobs).pending_max, transactions, "{blobs}");
        }
    }

    #[test]
    fn transactions_fill_a_block_of_any_size() {
        for blobs in 1..=1024 {
            let account = account(blobs);
            let sizes: Vec<usize> = (0..account.per_block).map(|nonce| account.blobs_of(nonce)).collect();
            assert_eq!(sizes.iter().sum::<usize>(), blobs as usize);
            assert!(
                sizes.iter().all(|size| (1..=BLOBS_MAX).contains(size)),
                "{blobs}: {sizes:?}"
            );
            assert_eq!(
                account.blobs_of(account.per_block),
                sizes[0],
                "the next block is filled alike"
            );
        }
    }

    #[test]
    fn a_pool_that_lost_everything_is_filled_again() {
        let mut account = account(6);
        let start = Instant::now();
        account.observe(5, 100, start);
        account.next = 7;
        account.observe(5, 119, start + STUCK);
        assert_eq!(account.next, 7, "it may still come");
        account.observe(5, 120, start + STUCK / 2);
        assert_eq!(account.next, 7, "it may still come");
        account.observe(5, 120, start + STUCK);
        assert_eq!(account.next, 5, "it did not");
        account.observe(9, 121, start + STUCK);
        assert_eq!(account.next, 9, "blocks are ahead of us");
    }

    #[test]
    fn a_chain_that_decides_slowly_is_not_sent_everything_again() {
        let mut account = account(1024);
        let start = Instant::now();
        account.observe(0, 1, start);
        account.next = 171;
        for minute in 1..5 {
            account.observe(0, 1 + minute, start + Duration::from_secs(60 * minute));
        }
        assert_eq!(account.next, 171);
        account.observe(0, 0, start + Duration::from_secs(400));
        account.observe(0, 19, start + Duration::from_secs(500));
        assert_eq!(account.next, 171, "a client that counts anew has its time");
        account.observe(0, 20, start + Duration::from_secs(500));
        assert_eq!(account.next, 0);
    }
}
